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
from shared_db.queries.values import chunks
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
    StartExecTime, EndExecTime and LastUpdateTime (aware times; None where nothing was).  A job without any
    update is left out.
    """
    jobs = {row.JobID: row for row in await job_attributes(work, updates, _STATUS_COLUMNS)}
    logged = await _last_logged(work, jobs)
    changes: dict[int, dict[str, Any]] = {}
    records: list[dict[str, Any]] = []
    for job_id, job in jobs.items():
        wanted = sorted(updates[job_id], key=lambda update: update.moment)
        if wanted:
            sequence, order = logged.get(job_id, (0, 0.0))
            changes[job_id] = _resulting_change(job, wanted, force=force, last_order=order)
            records += _records(job, wanted, sequence, force=force)
    await _write_changes(work, changes)
    if records:
        await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)
    await _remove(work, [job_id for job_id, change in changes.items() if change["Status"] in REMOVED_STATES])
    return {
        job_id: {
            name: from_column(value) if name.endswith("Time") else value for name, value in change.items()
        }
        for job_id, change in changes.items()
    }


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


def _walk(job: AnyRow, updates: Sequence[StatusUpdate], *, force: bool) -> list[tuple[StatusUpdate, bool]]:
    """Each update with whether its status, if it has one, is accepted where the job then stands.

    A Stalled job that reports counts as Running.
    """
    current = "Running" if job.Status == "Stalled" else job.Status
    walked = []
    for update in updates:
        accepted = update.status is None or force or may_move(current, update.status)
        if accepted and update.status is not None:
            current = update.status
        walked.append((update, accepted))
    return walked


def _resulting_change(
    job: AnyRow, updates: Sequence[StatusUpdate], *, force: bool, last_order: float
) -> dict[str, Any]:
    """The columns that one job gets, in column form.

    When the newest update is older than the last one logged, statuses stay as they are; the times of start,
    end and heartbeat may still be filled.
    """
    change: dict[str, Any] = dict.fromkeys(
        (
            "Status",
            "MinorStatus",
            "ApplicationStatus",
            "HeartBeatTime",
            "StartExecTime",
            "EndExecTime",
            "LastUpdateTime",
        )
    )
    newest = status_time_order(updates[-1].moment) >= last_order
    for update, accepted in _walk(job, updates, force=force):
        moment = to_column(update.moment)
        if update.status == "Running" and job.StartExecTime is None:
            change["StartExecTime"] = change["StartExecTime"] or moment
        if update.status in FINAL_STATES and job.EndExecTime is None:
            change["EndExecTime"] = change["EndExecTime"] or moment
        if update.source.startswith("Job") or update.source == "Heartbeat":
            change["HeartBeatTime"] = moment
        if newest:
            if accepted and update.status is not None:
                change["Status"] = update.status
            change["MinorStatus"] = update.minor_status or change["MinorStatus"]
            change["ApplicationStatus"] = update.application_status or change["ApplicationStatus"]
            change["LastUpdateTime"] = to_column(utc_now())
    return change


def _records(
    job: AnyRow, updates: Sequence[StatusUpdate], sequence: int, *, force: bool
) -> list[dict[str, Any]]:
    """One LoggingInfo row per update; what an update leaves out is logged as unchanged."""
    records = []
    for update, accepted in _walk(job, updates, force=force):
        sequence += 1
        records.append(
            {
                "JobID": job.JobID,
                "SeqNum": sequence,
                "Status": (update.status if accepted else job.Status) or UNCHANGED,
                "MinorStatus": update.minor_status or UNCHANGED,
                "ApplicationStatus": (update.application_status or UNCHANGED)[:255],
                "StatusTime": to_column(update.moment),
                "StatusTimeOrder": status_time_order(update.moment),
                "StatusSource": (update.source if accepted else f"{update.source}(SM)")[:32],
            }
        )
    return records


async def _write_changes(work: UnitOfWork, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Write what is not None; jobs that get the same columns share one statement."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for job_id, change in changes.items():
        given = {name: value for name, value in change.items() if value is not None}
        if given:
            by_columns.setdefault(tuple(given), []).append({"which": job_id, **given})
    for names, rows in by_columns.items():
        statement = (
            Jobs.update()
            .where(Jobs.c.JobID == bindparam("which"))
            .values({name: bindparam(name) for name in names})
        )
        await work.change(JOB_DB, statement, rows)


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
