"""Jobs: reading their attributes, killing them, and DiracX's time-stamped status updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import by_columns, check_values, chunks
from shared_db.rules.clock import from_column, status_time_order, to_column, utc_now
from shared_db.rules.job_states import FINAL_STATES, MARKED_FOR_TERMINATION, REMOVED_STATES, may_move
from shared_db.schema.job_db import JOB_DB, JobCommands, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs

UNCHANGED = "idem"


async def job_attributes(work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str]) -> list[AnyRow]:
    """``JobID`` and the named columns of those of the jobs that exist, by ascending id."""
    return await find_by_ids(work, [Jobs.c.JobID, *[Jobs.c[name] for name in names]], Jobs.c.JobID, job_ids)


async def kill_jobs(work: UnitOfWork, job_ids: Sequence[int]) -> list[int]:
    """Do to each job what DIRAC's killJob does: a Kill command, status Killed, out of the task queue.

    No logging record is written, no execution time is set.  The caller has checked that the jobs exist and
    may move to Killed.  Returns the ids that failed: a second Kill command within one second meets the
    primary key of JobCommands, and DIRAC then leaves the job alone (legacy-schema.md, 0.10).
    """
    now = to_column(utc_now())
    failed = await _already_commanded(work, job_ids, now)
    killed = [job_id for job_id in job_ids if job_id not in failed]
    await _send_kill(work, killed, now)
    for chunk in chunks(killed):
        values = {"Status": "Killed", "MinorStatus": MARKED_FOR_TERMINATION, "LastUpdateTime": now}
        await work.change(JOB_DB, Jobs.update().where(Jobs.c.JobID.in_(chunk)).values(values))
    await leave_task_queue(work, killed)
    return sorted(failed)


async def _already_commanded(work: UnitOfWork, job_ids: Iterable[int], now: datetime) -> set[int]:
    """Jobs to which a command without arguments was sent in this very second."""
    commanded: set[int] = set()
    for chunk in chunks(job_ids):
        statement = select(JobCommands.c.JobID).where(
            JobCommands.c.JobID.in_(chunk), JobCommands.c.Arguments == "", JobCommands.c.ReceptionTime == now
        )
        commanded.update(row[0] for row in await work.rows(JOB_DB, statement))
    return commanded


async def _send_kill(work: UnitOfWork, job_ids: Sequence[int], now: datetime) -> None:
    if job_ids:
        rows = [
            {"JobID": job_id, "Command": "Kill", "Arguments": "", "ReceptionTime": now} for job_id in job_ids
        ]
        await work.change(JOB_DB, JobCommands.insert(), rows)


async def leave_task_queue(work: UnitOfWork, job_ids: Iterable[int]) -> None:
    """Take jobs out of their task queues; a queue left empty is not removed here (DIRAC waits 300 s)."""
    for chunk in chunks(job_ids):
        await work.change(TASK_QUEUE_DB, tq_Jobs.delete().where(tq_Jobs.c.JobId.in_(chunk)))


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """What a job reports at one moment; None means unchanged.  ``moment`` is aware."""

    moment: datetime
    status: str | None = None
    minor_status: str | None = None
    application_status: str | None = None
    source: str = "Unknown"


_STATUS_COLUMNS = ("Status", "MinorStatus", "ApplicationStatus", "StartExecTime", "EndExecTime")


async def set_job_statuses(
    work: UnitOfWork, updates: Mapping[int, Sequence[StatusUpdate]], *, force: bool = False
) -> dict[int, dict[str, Any]]:
    """Apply time-stamped updates to jobs as DiracX does (rest-diracx.md, 6.4), in few statements.

    Returns, for each job that exists, what was set of Status, MinorStatus, ApplicationStatus, HeartBeatTime,
    StartExecTime, EndExecTime and LastUpdateTime (aware times; None where nothing was).
    Raises InvalidValue for a text longer than its column.
    """
    jobs = {row.JobID: row for row in await job_attributes(work, updates, _STATUS_COLUMNS)}
    logged = await _last_logged(work, jobs)
    changes: dict[int, dict[str, Any]] = {}
    records: list[dict[str, Any]] = []
    for job_id, job in jobs.items():
        sequence, order = logged.get(job_id, (0, 0.0))
        steps = _judged(job.Status, updates[job_id], order, force=force)
        changes[job_id] = _resulting_change(job, steps)
        records += [_record(job_id, sequence + number, step) for number, step in enumerate(steps, 1)]
    check_values(Jobs, list(changes.values()), may_be_unset=True)
    await _write_changes(work, changes)
    if records:
        await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)
    await _remove(work, [job_id for job_id, change in changes.items() if change["Status"] in REMOVED_STATES])
    return {
        job_id: {name: _aware(name, value) for name, value in change.items()}
        for job_id, change in changes.items()
    }


def _aware(name: str, value: Any) -> Any:
    return from_column(value) if name.endswith("Time") else value


async def _last_logged(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, tuple[int, float]]:
    """``{JobID: (highest SeqNum, highest StatusTimeOrder)}``."""
    highest: dict[int, tuple[int, float]] = {}
    for chunk in chunks(job_ids):
        statement = (
            select(
                LoggingInfo.c.JobID, func.max(LoggingInfo.c.SeqNum), func.max(LoggingInfo.c.StatusTimeOrder)
            )
            .where(LoggingInfo.c.JobID.in_(chunk))
            .group_by(LoggingInfo.c.JobID)
        )
        for job_id, sequence, order in await work.rows(JOB_LOGGING_DB, statement):
            highest[job_id] = (sequence, order)
    return highest


@dataclass(frozen=True, slots=True)
class _Step:
    """An update and what the state machine made of it.

    ``counts``: it is not older than what was logged last.  ``status`` is the status that the job has after
    it, ``logged`` the one that is logged for it, ``refused`` that another one was asked for.
    """

    update: StatusUpdate
    counts: bool
    status: str
    logged: str | None
    refused: bool = False


def _judged(current: str, updates: Sequence[StatusUpdate], last_order: float, *, force: bool) -> list[_Step]:
    """The updates of one job in order of time, each judged where the job stands by then.

    A Stalled job that reports is Running.  An update that is older than the last one logged is logged as it
    came and changes no status.
    """
    current = "Running" if current == "Stalled" else current
    steps = []
    for update in sorted(updates, key=lambda each: each.moment):
        wanted = update.status
        if status_time_order(update.moment) < last_order:
            steps.append(_Step(update, False, current, wanted))
        elif wanted is None or force or may_move(current, wanted):
            current = wanted or current
            steps.append(_Step(update, True, current, wanted))
        else:
            steps.append(_Step(update, True, current, current, refused=True))
    return steps


_SETTABLE = (
    "Status",
    "MinorStatus",
    "ApplicationStatus",
    "HeartBeatTime",
    "StartExecTime",
    "EndExecTime",
    "LastUpdateTime",
)


def _resulting_change(job: AnyRow, steps: Sequence[_Step]) -> dict[str, Any]:
    """The columns that one job gets, in column form.

    Old updates change no status, but the times of start, end and heartbeat may still be filled, by a status
    that was refused too.
    """
    change: dict[str, Any] = dict.fromkeys(_SETTABLE)
    for step in steps:
        update, moment = step.update, to_column(step.update.moment)
        if update.status == "Running" and job.StartExecTime is None:
            change["StartExecTime"] = change["StartExecTime"] or moment
        if update.status in FINAL_STATES and job.EndExecTime is None:
            change["EndExecTime"] = change["EndExecTime"] or moment
        if update.source.startswith("Job") or update.source == "Heartbeat":
            change["HeartBeatTime"] = moment
        if step.counts:
            change["Status"] = step.status
            change["MinorStatus"] = update.minor_status or change["MinorStatus"]
            application_status = (update.application_status or "")[:APPLICATION_STATUS_SIZE]
            change["ApplicationStatus"] = application_status or change["ApplicationStatus"]
            change["LastUpdateTime"] = to_column(utc_now())
    return change


# DIRAC cuts these texts where it refuses others that are too long.
APPLICATION_STATUS_SIZE = 255
SOURCE_SIZE = 32


def _record(job_id: int, sequence: int, step: _Step) -> dict[str, Any]:
    """The LoggingInfo row of an update; what it leaves out is logged as unchanged."""
    update = step.update
    source = f"{update.source}(SM)" if step.refused else update.source
    return {
        "JobID": job_id,
        "SeqNum": sequence,
        "Status": step.logged or UNCHANGED,
        "MinorStatus": update.minor_status or UNCHANGED,
        "ApplicationStatus": (update.application_status or UNCHANGED)[:APPLICATION_STATUS_SIZE],
        "StatusTime": to_column(update.moment),
        "StatusTimeOrder": status_time_order(update.moment),
        "StatusSource": source[:SOURCE_SIZE],
    }


async def _write_changes(work: UnitOfWork, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Write what is not None; jobs that get the same columns share one statement."""
    rows = [
        {"which": job_id} | {name: value for name, value in change.items() if value is not None}
        for job_id, change in changes.items()
    ]
    for some in by_columns(sorted((row for row in rows if len(row) > 1), key=list)):
        values: dict[str, Any] = {name: bindparam(name) for name in some[0] if name != "which"}
        statement = Jobs.update().where(Jobs.c.JobID == bindparam("which")).values(values)
        await work.change(JOB_DB, statement, some)


async def _remove(work: UnitOfWork, job_ids: Sequence[int]) -> None:
    """Tell jobs that became Killed or Deleted to stop, and take them out of the task queues."""
    if job_ids:
        now = to_column(utc_now())
        commanded = await _already_commanded(work, job_ids, now)
        await _send_kill(work, [job_id for job_id in job_ids if job_id not in commanded], now)
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
                **{name: _resolved(getattr(row, name), before.get(name)) for name in _STATUS_COLUMNS[:3]},
                "StatusTime": from_column(row.StatusTime),
                "Source": row.StatusSource,
            }
        )
    return history


async def _logging_rows(work: UnitOfWork, job_ids: Iterable[int]) -> list[AnyRow]:
    table = LoggingInfo
    rows: list[AnyRow] = []
    for chunk in chunks(job_ids):
        statement = (
            select(table)
            .where(table.c.JobID.in_(chunk))
            .order_by(table.c.JobID, table.c.StatusTimeOrder, table.c.StatusTime, table.c.SeqNum)
        )
        rows += await work.rows(JOB_LOGGING_DB, statement)
    return rows


def _resolved(value: str, before: str | None) -> str:
    return (before or "Unknown") if value == UNCHANGED else value
