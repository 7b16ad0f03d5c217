"""Pilots that go for good, with all that is kept about them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, Table, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.pilot_jobs import known_pilots, pilots_of_stamps
from shared_db.queries.pilot_logs import remove_logs
from shared_db.queries.values import chunks
from shared_db.rules.clock import to_column
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents, PilotOutput

# How many pilots one statement takes away: locks are held for a short time only.
BATCH = 1_000


async def remove_pilots(work: UnitOfWork, pilot_ids: Iterable[int]) -> int:
    """Remove pilots, their outputs, what they ran, and their logs; returns how many there were.

    Logs go by stamp: those of a stamp that another pilot has stay.
    """
    removed = 0
    for chunk in chunks(sorted(set(pilot_ids)), BATCH):
        stamps = {pilot.stamp for pilot in await known_pilots(work, chunk)}
        for table in (PilotOutput, JobToPilotMapping):
            await work.change(PILOT_AGENTS_DB, _removing(table), {"ids": chunk})
        removed += await work.change(PILOT_AGENTS_DB, _removing(PilotAgents), {"ids": chunk})
        left = {pilot.stamp for pilot in await pilots_of_stamps(work, stamps)}
        await remove_logs(work, stamps - left)
    return removed


@cache
def _removing(table: Table) -> Delete:
    return table.delete().where(table.c.PilotID.in_(bindparam("ids", expanding=True)))


async def old_pilots(
    work: UnitOfWork, before: datetime, *, aborted_only: bool = False, most: int | None = BATCH
) -> list[int]:
    """Ids of at most so many pilots that were submitted before an aware time, the oldest ones; None: all."""
    bound = {"before": to_column(before)} | ({} if most is None else {"most": most})
    statement = _old(aborted_only=aborted_only, some=most is not None)
    return [row[0] for row in await work.rows(PILOT_AGENTS_DB, statement, bound)]


@cache
def _old(*, aborted_only: bool, some: bool) -> Select[Any]:
    c = PilotAgents.c
    statement = select(c.PilotID).where(c.SubmissionTime < bindparam("before"))
    if aborted_only:
        statement = statement.where(c.Status == "Aborted")
    # Ids grow with time, so that the first ones are found at once.
    statement = statement.order_by(c.PilotID)
    return statement.limit(bindparam("most")) if some else statement


async def remove_old_pilots(
    work: UnitOfWork, before: datetime, *, aborted_only: bool = False, most: int = BATCH
) -> int:
    """Remove at most so many pilots submitted before an aware time; returns how many: 0 when none is left."""
    return await remove_pilots(work, await old_pilots(work, before, aborted_only=aborted_only, most=most))
