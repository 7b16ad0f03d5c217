"""Refresh tokens that were issued: their rows decide what they are good for (rest-diracx.md, 3 and 5).

Changes compare and set in one statement, so that of two uses at once one wins, on every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update

from shared_db.connection import UnitOfWork
from shared_db.queries.purging import purge
from shared_db.schema.wherry_db import WHERRY_DB, refresh_tokens

CREATED = "CREATED"
REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A row; ``subject`` is ``VO:sub``."""

    jti: str
    family: str
    subject: str
    vo: str
    scope: str
    status: str
    legacy_exchange: bool
    expires_at: datetime


_COLUMNS = [refresh_tokens.c[name] for name in StoredToken.__dataclass_fields__]


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
    family: str = "",
) -> None:
    """Keep that a token was issued; ``subject`` is ``VO:sub``, ``family`` its own jti unless given."""
    row = {
        "jti": jti,
        "family": family or jti,
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


async def stored_token(work: UnitOfWork, jti: str) -> StoredToken | None:
    """The row of a token."""
    rows = await work.rows(WHERRY_DB, select(*_COLUMNS).where(refresh_tokens.c.jti == jti))
    return StoredToken(*rows[0]) if rows else None


async def live_tokens(work: UnitOfWork, subject: str | None, now: datetime) -> list[StoredToken]:
    """Tokens that have not ended, the oldest first.

    Of ``subject`` those that are good; for None everybody's, the revoked ones too.
    """
    wanted = select(*_COLUMNS).where(refresh_tokens.c.expires_at > now)
    if subject is not None:
        wanted = wanted.where(refresh_tokens.c.subject == subject, refresh_tokens.c.status == CREATED)
    rows = await work.rows(WHERRY_DB, wanted.order_by(refresh_tokens.c.created_at, refresh_tokens.c.jti))
    return [StoredToken(*row) for row in rows]


async def use_up(work: UnitOfWork, jti: str, now: datetime) -> bool:
    """Revoke a token that is being rotated; False when somebody else was first."""
    return await _revoke(work, refresh_tokens.c.jti == jti, now) == 1


async def revoke_family(work: UnitOfWork, family: str, now: datetime) -> int:
    """Revoke what is left of a chain of rotations; returns how many tokens were good."""
    return await _revoke(work, refresh_tokens.c.family == family, now)


async def revoke_subject(work: UnitOfWork, subject: str, now: datetime) -> int:
    """Revoke all tokens of ``VO:sub``; returns how many were good."""
    return await _revoke(work, refresh_tokens.c.subject == subject, now)


async def _revoke(work: UnitOfWork, which: ColumnElement[bool], now: datetime) -> int:
    values: Mapping[str, Any] = {"status": REVOKED, "revoked_at": now}
    statement = update(refresh_tokens).where(which, refresh_tokens.c.status == CREATED).values(values)
    return await work.change(WHERRY_DB, statement)


async def purge_refresh_tokens(work: UnitOfWork, now: datetime, most: int = 1000) -> int:
    """Remove tokens that have ended, so many at most; returns how many."""
    return await purge(work, refresh_tokens.c.jti, refresh_tokens.c.expires_at <= now, most)
