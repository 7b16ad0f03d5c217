"""Pilots that nobody has heard of for days: they are taken for gone, as by DIRAC's PilotStatusAgent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, Update, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.search import find_by_ids
from shared_db.queries.stuck_jobs import MOST
from shared_db.rules import clock
from shared_db.rules.pilots import REASON_NOT_GIVEN
from shared_db.rules.stalling import TRANSIENT_PILOTS
from shared_db.schema.job_db import Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents


async def silent_pilots(work: UnitOfWork, before: datetime) -> list[int]:
    """Ids of pilots that have not ended and were not updated since an aware time, ascending."""
    bound = {"statuses": list(TRANSIENT_PILOTS), "before": clock.to_column(before), "most": MOST}
    return sorted(row[0] for row in await work.rows(PILOT_AGENTS_DB, _silent(), bound))


@cache
def _silent() -> Select[Any]:
    # In no order, as of jobs.
    c = PilotAgents.c
    statuses = c.Status.in_(bindparam("statuses", expanding=True))
    return select(c.PilotID).where(statuses, c.LastUpdateTime < bindparam("before")).limit(bindparam("most"))


async def give_up_pilots(work: UnitOfWork, pilot_ids: Iterable[int], before: datetime) -> int:
    """Put pilots that are still silent to Deleted; returns how many.

    A pilot one of whose jobs was updated since stays as it is.
    """
    bound = {"ids": list(pilot_ids), "statuses": list(TRANSIENT_PILOTS), "before": clock.to_column(before)}
    rows = await work.rows(PILOT_AGENTS_DB, _still_silent(), bound)
    silent = [row[0] for row in rows]
    lost = sorted(set(silent) - await _with_living_jobs(work, silent, before))
    if not lost:
        return 0
    now = clock.to_column(clock.utc_now())
    await work.change(PILOT_AGENTS_DB, _giving_up(), {"ids": lost, "now": now})
    return len(lost)


async def _with_living_jobs(work: UnitOfWork, pilot_ids: Sequence[int], before: datetime) -> set[int]:
    mapping = JobToPilotMapping.c
    pairs = await find_by_ids(work, [mapping.PilotID, mapping.JobID], mapping.PilotID, pilot_ids)
    columns = [Jobs.c.JobID, Jobs.c.LastUpdateTime]
    jobs = await find_by_ids(work, columns, Jobs.c.JobID, {row.JobID for row in pairs})
    limit = clock.to_column(before)
    living = {row.JobID for row in jobs if row.LastUpdateTime and row.LastUpdateTime > limit}
    return {row.PilotID for row in pairs if row.JobID in living}


@cache
def _still_silent() -> Select[Any]:
    c = PilotAgents.c
    return (
        select(c.PilotID)
        .where(
            c.PilotID.in_(bindparam("ids", expanding=True)),
            c.Status.in_(bindparam("statuses", expanding=True)),
            c.LastUpdateTime < bindparam("before"),
        )
        .order_by(c.PilotID)
        .with_for_update()
    )


@cache
def _giving_up() -> Update:
    return (
        PilotAgents.update()
        .where(PilotAgents.c.PilotID.in_(bindparam("ids", expanding=True)))
        .values(Status="Deleted", StatusReason=REASON_NOT_GIVEN, LastUpdateTime=bindparam("now"))
    )
