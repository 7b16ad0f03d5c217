"""Answers kept for repeated requests (``Idempotency-Key``): one row per key, written with what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, Update, bindparam, delete, select

from shared_db.connection import UnitOfWork
from shared_db.queries.purging import purge
from shared_db.schema.wherry_db import WHERRY_DB, answers

RUNNING = 0


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A kept answer; ``sealed`` is what its keeper made of headers and body."""

    request_hash: str
    status: int
    sealed: str
    created_at: datetime


async def reserve_answer(work: UnitOfWork, key_hash: str, request_hash: str, now: datetime) -> None:
    """Take a key, before anything else is done in this unit of work.

    Whoever has the same key at the same time waits here until this unit has ended.
    Raises Conflict when the key was taken by a unit that has been kept.
    """
    row = {
        "key_hash": key_hash,
        "request_hash": request_hash,
        "status": RUNNING,
        "sealed": "",
        "created_at": now,
    }
    await work.change(WHERRY_DB, answers.insert(), row)


async def keep_answer(work: UnitOfWork, key_hash: str, status: int, sealed: str) -> None:
    """Write the answer beside the key that this unit of work has taken."""
    await work.change(WHERRY_DB, _keeping(), {"key": key_hash, "new_status": status, "new_sealed": sealed})


async def find_answer(work: UnitOfWork, key_hash: str) -> StoredAnswer | None:
    """The answer that was kept under a key."""
    rows = await work.rows(WHERRY_DB, _kept(), {"key": key_hash})
    return StoredAnswer(*rows[0]) if rows else None


async def forget_answer(work: UnitOfWork, key_hash: str, created_at: datetime) -> None:
    """Give a key free again; not, if it was taken anew since ``created_at``."""
    await work.change(WHERRY_DB, _forgetting(), {"key": key_hash, "created": created_at})


async def purge_answers(work: UnitOfWork, before: datetime, most: int = 1000) -> int:
    """Forget answers that were kept before a time, so many at most; returns how many."""
    return await purge(work, answers.c.key_hash, answers.c.created_at < before, most)


@cache
def _kept() -> Select[Any]:
    c = answers.c
    return select(c.request_hash, c.status, c.sealed, c.created_at).where(c.key_hash == bindparam("key"))


@cache
def _keeping() -> Update:
    return (
        answers.update()
        .where(answers.c.key_hash == bindparam("key"))
        .values(status=bindparam("new_status"), sealed=bindparam("new_sealed"))
    )


@cache
def _forgetting() -> Delete:
    c = answers.c
    return delete(answers).where(c.key_hash == bindparam("key"), c.created_at == bindparam("created"))
