"""Access tokens that are refused though their time is not over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, or_, select

from shared_db.connection import UnitOfWork
from shared_db.schema.wherry_db import WHERRY_DB, revocations

TOKEN = "jti"  # noqa: S105 - no secret
FAMILY = "family"
SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Revocation:
    """``kind`` and ``value`` as in the table; ``until``: when the last such token has expired."""

    kind: str
    value: str
    revoked_at: datetime
    until: datetime
    who: str
    why: str


_COLUMNS = [revocations.c[name] for name in Revocation.__dataclass_fields__]


async def add_revocation(work: UnitOfWork, given: Revocation) -> None:
    """Refuse tokens from now on; what was refused already is refused anew.

    Raises Conflict where somebody else does the same at the same time.
    """
    values = {name: getattr(given, name) for name in Revocation.__dataclass_fields__}
    same = and_(revocations.c.kind == given.kind, revocations.c.value == given.value)
    await work.change(WHERRY_DB, delete(revocations).where(same))
    await work.change(WHERRY_DB, revocations.insert(), values)


async def revocations_in_force(work: UnitOfWork, now: datetime) -> list[Revocation]:
    """Every one whose tokens have not all expired."""
    rows = await work.rows(WHERRY_DB, select(*_COLUMNS).where(revocations.c.until > now))
    return [Revocation(*row) for row in rows]


async def purge_revocations(work: UnitOfWork, now: datetime, most: int = 1000) -> int:
    """Remove those whose tokens have all expired, so many at most; returns how many."""
    ended = revocations.c.until <= now
    keys = await work.rows(
        WHERRY_DB, select(revocations.c.kind, revocations.c.value).where(ended).limit(most)
    )
    if not keys:
        return 0
    these = or_(*[and_(revocations.c.kind == kind, revocations.c.value == value) for kind, value in keys])
    return await work.change(WHERRY_DB, delete(revocations).where(these, ended))
