"""Status updates of jobs and the history that they leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.commands import KILL, Command, queue_commands
from shared_db.queries.jobs import leave_task_queue, locked_jobs, update_jobs
from shared_db.queries.values import check_values, chunks
from shared_db.rules import clock
from shared_db.rules.job_ids import LARGEST, SMALLEST
from shared_db.rules.job_states import REMOVED_STATES, UNKNOWN
from shared_db.rules.status_updates import (
    DIRACX,
    UNCHANGED,
    Job,
    Policy,
    StatusUpdate,
    apply_updates,
)
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo

# The source of what happens to jobs by their owners' wish.
JOB_MANAGER = "JobManager"


async def set_job_statuses(
    work: UnitOfWork,
    updates: Mapping[int, Sequence[StatusUpdate]],
    *,
    policy: Policy = DIRACX,
    force: bool = False,
) -> dict[int, dict[str, Any]]:
    """Apply time-stamped updates to jobs, as DIRAC or as DiracX does, in few statements.

    Returns, for each job that exists, what was set of Status, MinorStatus, ApplicationStatus, HeartBeatTime,
    StartExecTime, EndExecTime and LastUpdateTime (aware times; None where nothing was).
    Raises InvalidValue for a text longer than its column; with DIRAC's policy also Refusal, for a status that
    is none and for a job of which nothing was logged.
    """
    rows = await locked_jobs(work, updates, ("Status", "StartExecTime", "EndExecTime"))
    histories = await _histories(work, [row.JobID for row in rows])
    now = clock.utc_now()
    changes: dict[int, dict[str, Any]] = {}
    records: list[dict[str, Any]] = []
    for row in rows:
        history = histories.get(row.JobID, {})
        job = Job(row.JobID, row.Status, row.StartExecTime, row.EndExecTime)
        outcome = apply_updates(job, updates[row.JobID], history, policy=policy, force=force, now=now)
        changes[row.JobID] = outcome.change
        records += outcome.records
    await update_jobs(work, changes)
    await log(work, records)
    if policy.stops_removed_jobs:
        await _stop(
            work, [job_id for job_id, change in changes.items() if change["Status"] in REMOVED_STATES]
        )
    return {
        job_id: {name: _aware(name, value) for name, value in change.items()}
        for job_id, change in changes.items()
    }


def _aware(name: str, value: Any) -> Any:
    return clock.from_column(value) if name.endswith("Time") else value


async def log(work: UnitOfWork, records: Sequence[Mapping[str, Any]]) -> None:
    """Add rows of LoggingInfo; the database numbers them in this order.  Raises InvalidValue."""
    check_values(LoggingInfo, records)
    if records:
        await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)


async def _histories(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, dict[str, float]]:
    """``{JobID: {Status as logged: its highest StatusTimeOrder}}``."""
    histories: dict[int, dict[str, float]] = {}
    for chunk in chunks(job_ids):
        for job_id, status, order in await work.rows(JOB_LOGGING_DB, _highest_orders(), {"ids": chunk}):
            histories.setdefault(job_id, {})[status] = float(order)
    return histories


@cache
def _highest_orders() -> Select[Any]:
    c = LoggingInfo.c
    return (
        select(c.JobID, c.Status, func.max(c.StatusTimeOrder))
        .where(c.JobID.in_(bindparam("ids", expanding=True)))
        .group_by(c.JobID, c.Status)
    )


async def _stop(work: UnitOfWork, job_ids: Sequence[int]) -> None:
    """Tell jobs that became Killed or Deleted to stop, and take them out of the task queues."""
    await queue_commands(work, [Command(job_id, KILL) for job_id in job_ids])
    await leave_task_queue(work, job_ids)


async def logging_by_job(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """The logging records of jobs in order of time, with ``idem`` resolved from the record before.

    ``{JobID: [{"Status", "MinorStatus", "ApplicationStatus", "StatusTime" (aware), "Source"}]}``.
    """
    history: dict[int, list[dict[str, Any]]] = {}
    for row in await _logging_rows(work, job_ids):
        records = history.setdefault(row.JobID, [])
        before = records[-1] if records else {}
        records.append(
            {
                **{name: _resolved(getattr(row, name), before.get(name)) for name in _TEXTS},
                "StatusTime": clock.from_column(row.StatusTime),
                "Source": row.StatusSource,
            }
        )
    return history


_TEXTS = ("Status", "MinorStatus", "ApplicationStatus")


async def _logging_rows(work: UnitOfWork, job_ids: Iterable[int]) -> list[AnyRow]:
    rows: list[AnyRow] = []
    # PostgreSQL refuses to look for a number that the column cannot hold.
    for chunk in chunks(each for each in job_ids if SMALLEST <= each <= LARGEST):
        rows += await work.rows(JOB_LOGGING_DB, _in_order_of_time(), {"ids": chunk})
    return rows


@cache
def _in_order_of_time() -> Select[Any]:
    c = LoggingInfo.c
    return (
        select(LoggingInfo)
        .where(c.JobID.in_(bindparam("ids", expanding=True)))
        .order_by(c.JobID, c.StatusTimeOrder, c.StatusTime, c.SeqNum)
    )


def _resolved(value: str, before: str | None) -> str:
    return (before or UNKNOWN) if value == UNCHANGED else value
