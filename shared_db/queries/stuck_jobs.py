"""Jobs that nobody has heard of for too long: finding them, and what becomes of them.

Finding reads by the key on Status and locks nothing.  Whatever becomes of a job is decided on its row, read
under a lock in the same unit of work: one that has reported in the meantime stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Select, bindparam, func, or_, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.commands import KILL, Command, queue_commands
from shared_db.queries.jobs import leave_task_queue, locked_jobs, update_jobs
from shared_db.queries.optimisation import optimise
from shared_db.queries.removal import delete_jobs, remove_jobs
from shared_db.queries.rescheduling import Rebuild, Rescheduled, reschedule_jobs
from shared_db.queries.sandbox_jobs import unassign_sandboxes
from shared_db.queries.search import find_by_ids
from shared_db.queries.statuses import log
from shared_db.registry import Registry
from shared_db.rules import clock
from shared_db.rules.rescheduling import MAX_RESCHEDULING
from shared_db.rules.stalling import REPORTING, STALLED_JOB_AGENT, is_lost, last_news, why_failed
from shared_db.rules.status_updates import DIRAC, log_record
from shared_db.schema.job_db import JOB_DB, Jobs
from shared_db.schema.pilot_agents_db import JobToPilotMapping, PilotAgents

# How many a run looks at, at most: a list of ids of some megabytes.
MOST = 50_000
_TIMES = ("Status", "MinorStatus", "HeartBeatTime", "LastUpdateTime")


async def silent_jobs(
    work: UnitOfWork,
    statuses: Sequence[str],
    before: datetime,
    *,
    heartbeats: bool = False,
    but_types: Collection[str] = (),
) -> list[int]:
    """Ids of jobs in one of the statuses that were not updated since an aware time, ascending.

    ``heartbeats``: nor have they sent one.  ``but_types``: of other types than these, in statuses that jobs
    end in.
    """
    bound = {"before": clock.to_column(before), "types": sorted(but_types), "most": MOST}
    statement = _silent(heartbeats=heartbeats, many=bool(but_types))
    found: list[int] = []
    # One by one: engines that know little of their rows take several of a few statuses for all of them.
    for status in statuses:
        found += [row[0] for row in await work.rows(JOB_DB, statement, {**bound, "status": status})]
    return sorted(found)


@cache
def _silent(*, heartbeats: bool, many: bool) -> Select[Any]:
    """In no order: to have jobs in order of their ids, an engine may look through all there are.

    ``many``: of jobs that have ended there are so many that the key on LastUpdateTime may be the better one.
    Elsewhere COALESCE keeps engines from it, since nearly all jobs that are stored are old.
    """
    c = Jobs.c
    before: BindParameter[datetime] = bindparam("before", type_=c.LastUpdateTime.type)
    updated = (c.LastUpdateTime if many else func.coalesce(c.LastUpdateTime, before)) < before
    times = updated
    if heartbeats:
        alive = func.coalesce(c.HeartBeatTime, before) < before
        times = or_(updated & (c.HeartBeatTime.is_(None) | alive), c.LastUpdateTime.is_(None) & alive)
    status = c.Status == bindparam("status")
    types = c.JobType.not_in(bindparam("types", expanding=True))
    return select(c.JobID).where(status, times, types).limit(bindparam("most"))


async def mark_stalled(work: UnitOfWork, job_ids: Iterable[int], patience: timedelta) -> int:
    """Put jobs to Stalled that ought to report and have not done so; returns how many."""
    now = clock.utc_now()
    jobs = [
        row
        for row in await locked_jobs(work, job_ids, _TIMES)
        if row.Status in REPORTING and is_lost(_news(row), patience, now)
    ]
    await _set(work, {row.JobID: ("Stalled", row.MinorStatus) for row in jobs}, now)
    return len(jobs)


async def fail_stalled(work: UnitOfWork, job_ids: Iterable[int], patience: timedelta) -> int:
    """Fail Stalled jobs whose pilots do not run, or which are silent for too long; returns how many.

    They are told to stop, should they live after all.
    """
    now = clock.utc_now()
    jobs = [row for row in await locked_jobs(work, job_ids, _TIMES) if row.Status == "Stalled"]
    pilots = await _pilot_statuses(work, [row.JobID for row in jobs])
    reasons = {row.JobID: why_failed(pilots.get(row.JobID, ()), _news(row), patience, now) for row in jobs}
    failed = {job_id: ("Failed", reason) for job_id, reason in reasons.items() if reason}
    await queue_commands(work, [Command(job_id, KILL) for job_id in failed])
    await leave_task_queue(work, failed)
    await _set(work, failed, now)
    return len(failed)


async def fail_unconfirmed(work: UnitOfWork, job_ids: Iterable[int], patience: timedelta) -> int:
    """Fail jobs that are still Submitting; returns how many."""
    now = clock.utc_now()
    jobs = await _still(work, job_ids, ("Submitting",), patience)
    await _set(work, {row.JobID: ("Failed", row.MinorStatus) for row in jobs}, now)
    return len(jobs)


async def start_anew(
    work: UnitOfWork,
    job_ids: Iterable[int],
    status: str,
    patience: timedelta,
    rebuild: Rebuild,
    limit: int = MAX_RESCHEDULING,
) -> Rescheduled:
    """Reschedule jobs that are still in a status, as DIRAC does."""
    stuck = [row.JobID for row in await _still(work, job_ids, (status,), patience)]
    return await reschedule_jobs(work, stuck, rebuild, policy=DIRAC, limit=limit, source=STALLED_JOB_AGENT)


async def optimise_again(
    work: UnitOfWork, job_ids: Iterable[int], patience: timedelta, registry: Registry
) -> int:
    """Optimise jobs that are still on their way to Waiting; returns how many."""
    stuck = await _still(work, job_ids, ("Received", "Checking"), patience)
    # The optimisers start with Received; nobody else sees it, for they leave none there.
    await update_jobs(work, {row.JobID: {"Status": "Received"} for row in stuck if row.Status == "Checking"})
    await optimise(work, [row.JobID for row in stuck], registry)
    return len(stuck)


async def delete_ended(
    work: UnitOfWork, job_ids: Iterable[int], status: str, keeping: timedelta, kept_types: Collection[str]
) -> int:
    """Put jobs that ended so long ago to Deleted, as deleteJob does; returns how many.

    Jobs of the ``kept_types`` stay.
    """
    rows = await _still(work, job_ids, (status,), keeping)
    ended = [row.JobID for row in rows if row.JobType not in kept_types]
    await delete_jobs(work, [], ended)
    return len(ended)


async def remove_deleted(work: UnitOfWork, job_ids: Iterable[int], keeping: timedelta) -> int:
    """Remove jobs for good that were Deleted so long ago; returns how many.

    Their sandboxes belong to nobody from then on.
    """
    deleted = [row.JobID for row in await _still(work, job_ids, ("Deleted",), keeping)]
    await unassign_sandboxes(work, deleted)
    return len(await remove_jobs(work, deleted))


async def _still(
    work: UnitOfWork, job_ids: Iterable[int], statuses: Collection[str], patience: timedelta
) -> list[AnyRow]:
    """Those of the jobs, locked, that are in one of the statuses and were not updated for so long."""
    now = clock.utc_now()
    rows = await locked_jobs(work, job_ids, (*_TIMES, "JobType"))
    return [
        row
        for row in rows
        if row.Status in statuses and is_lost(clock.from_column(row.LastUpdateTime), patience, now)
    ]


def _news(row: AnyRow) -> datetime | None:
    return last_news(row.HeartBeatTime, row.LastUpdateTime)


async def _set(work: UnitOfWork, states: Mapping[int, tuple[str, str]], now: datetime) -> None:
    """Set status and minor status, whatever the state machine says, and log it."""
    moment = clock.to_column(now)
    await update_jobs(
        work,
        {
            job_id: {"Status": status, "MinorStatus": minor, "LastUpdateTime": moment}
            for job_id, (status, minor) in states.items()
        },
    )
    records = [
        log_record(job_id, now, status=status, minor_status=minor, source=STALLED_JOB_AGENT)
        for job_id, (status, minor) in states.items()
    ]
    await log(work, records)


async def _pilot_statuses(work: UnitOfWork, job_ids: Sequence[int]) -> dict[int, set[str]]:
    """The statuses of the pilots that jobs were given to."""
    mapping, pilot = JobToPilotMapping.c, PilotAgents.c
    pairs = await find_by_ids(work, [mapping.JobID, mapping.PilotID], mapping.JobID, job_ids)
    rows = await find_by_ids(work, [pilot.PilotID, pilot.Status], pilot.PilotID, {row[1] for row in pairs})
    statuses = {row.PilotID: row.Status for row in rows}
    found: dict[int, set[str]] = {}
    for job_id, pilot_id in pairs:
        if pilot_id in statuses:
            found.setdefault(job_id, set()).add(statuses[pilot_id])
    return found
