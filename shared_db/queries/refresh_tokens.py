"""Refresh tokens that were issued: their rows decide what they are good for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete

from shared_db.connection import UnitOfWork
from shared_db.schema.wherry_db import WHERRY_DB, refresh_tokens

CREATED = "CREATED"


async def record_refresh_token(
    work: UnitOfWork,
    *,
    jti: str,
    subject: str,
    vo: str,
    scope: str,
    created: datetime,
    expires: datetime,
    legacy_exchange: bool,
) -> None:
    """Keep that a token was issued, the first of its family; ``subject`` is ``VO:sub``.

    Those that have ended go: nobody can use them any more.
    """
    await work.change(WHERRY_DB, delete(refresh_tokens).where(refresh_tokens.c.expires_at <= created))
    row = {
        "jti": jti,
        "family": jti,
        "subject": subject,
        "vo": vo,
        "scope": scope,
        "status": CREATED,
        "legacy_exchange": legacy_exchange,
        "policies_json": "{}",
        "created_at": created,
        "expires_at": expires,
    }
    await work.change(WHERRY_DB, refresh_tokens.insert(), row)
