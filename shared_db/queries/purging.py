"""Taking away rows that nobody needs any more, in small bites, so that nobody waits long for a lock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, delete, select
from sqlalchemy.sql.schema import Table

from shared_db.connection import UnitOfWork
from shared_db.schema.wherry_db import WHERRY_DB


async def purge(work: UnitOfWork, key: Column[Any], ended: ColumnElement[bool], most: int) -> int:
    """Remove at most so many rows of our own table that ``key`` identifies; returns how many.

    MySQL has no LIMIT within IN, and PostgreSQL none on DELETE: the keys are read first.
    """
    table = key.table
    assert isinstance(table, Table)
    keys = [row[0] for row in await work.rows(WHERRY_DB, select(key).where(ended).limit(most))]
    if not keys:
        return 0
    return await work.change(WHERRY_DB, delete(table).where(key.in_(keys), ended))
