"""Rescheduling: jobs start anew from their original JDL."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Delete, Table, bindparam

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.jdls import original_jdls, store_jdls
from shared_db.queries.jobs import leave_task_queue, locked_jobs, update_jobs
from shared_db.queries.parameters import job_parameters, set_attic_parameters
from shared_db.queries.statuses import JOB_MANAGER, log, set_job_statuses
from shared_db.queries.values import chunks
from shared_db.rules import clock
from shared_db.rules.jdl.description import JobRecord, RefusedAfterInsertion
from shared_db.rules.jdl.storage import DamagedJdl, compressed, extracted
from shared_db.rules.job_states import JOB_RESCHEDULED, MAXIMUM_OF_RESCHEDULINGS, UNKNOWN
from shared_db.rules.refusals import Refusal
from shared_db.rules.rescheduling import MAX_RESCHEDULING, next_count
from shared_db.rules.status_updates import DIRACX, Policy, StatusUpdate, log_record
from shared_db.schema.job_db import JOB_DB, JobParameters, OptimizerParameters


@dataclass(frozen=True, slots=True)
class Original:
    """What a job was submitted as, and whose it is."""

    job_id: int
    jdl: str
    owner: str
    owner_group: str
    vo: str


# What the original JDL makes of a job that starts anew; raises Refusal where it cannot.
Rebuild = Callable[[Original], JobRecord]


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """Jobs by what became of them; unknown ids are nowhere.

    ``jobs`` holds what was set of each that starts anew: JDL (the text), Site, UserPriority, RescheduleTime,
    RescheduleCounter and, with DiracX's policy, what ``set_job_statuses`` answers (times are aware).
    ``exhausted`` have started anew often enough and are Failed now.  ``refused`` have a JDL that does not do
    any more; they stay as they are, or are Failed where DIRAC has a minor status for the reason.
    """

    jobs: dict[int, dict[str, Any]]
    exhausted: list[int]
    refused: dict[int, Refusal | DamagedJdl]


async def reschedule_jobs(
    work: UnitOfWork,
    job_ids: Iterable[int],
    rebuild: Rebuild,
    *,
    policy: Policy,
    reset: bool = False,
    limit: int = MAX_RESCHEDULING,
    source: str = JOB_MANAGER,
) -> Rescheduled:
    """Have jobs start anew, whatever their state: Received, out of the task queue, with a rebuilt JDL.

    Parameters move to the attic, those of optimizers are forgotten; input data, times of start and end and
    queued commands stay.  DIRAC writes the states as they are and logs the jobs that start anew, DiracX
    forces status updates.  ``source``: who does it, by DIRAC's policy.  Raises InvalidValue.
    """
    now = clock.utc_now()
    jobs = {row.JobID: row for row in await locked_jobs(work, job_ids, _NEEDED)}
    counts = {
        job_id: next_count(row.RescheduleCounter, reset=reset, limit=limit) for job_id, row in jobs.items()
    }
    exhausted = [job_id for job_id, count in counts.items() if count is None]
    rebuilt, refused = await _rebuilt(
        work, [jobs[each] for each, count in counts.items() if count is not None], rebuild
    )
    again = {job_id: count for job_id, count in counts.items() if job_id in rebuilt and count is not None}
    await _clear_parameters(work, {each: max(jobs[each].RescheduleCounter, 0) for each in again})
    changes = {job_id: _recomputed(rebuilt[job_id], count, now) for job_id, count in again.items()}
    await update_jobs(work, changes)
    failures = dict.fromkeys(exhausted, MAXIMUM_OF_RESCHEDULINGS) | _minor_statuses(refused)
    await leave_task_queue(work, [*again, *failures])
    if policy is DIRACX:
        states = await _set_states_as_diracx(work, again, failures, now)
    else:
        states = await _set_states_as_dirac(work, again, failures, now, source)
    answers = {
        job_id: {"JDL": rebuilt[job_id].jdl} | _answer(changes[job_id]) | states.get(job_id, {})
        for job_id in again
    }
    return Rescheduled(answers, exhausted, refused)


_NEEDED = ("RescheduleCounter", "Owner", "OwnerGroup", "VO")


async def _rebuilt(
    work: UnitOfWork, jobs: Sequence[AnyRow], rebuild: Rebuild
) -> tuple[dict[int, JobRecord], dict[int, Refusal | DamagedJdl]]:
    """What becomes of jobs, already stored as their JDL, and why nothing becomes of some."""
    stored = await original_jdls(work, [job.JobID for job in jobs])
    records: dict[int, JobRecord] = {}
    texts: dict[int, str] = {}
    refused: dict[int, Refusal | DamagedJdl] = {}

    def run() -> None:
        for job in jobs:
            try:
                jdl = extracted(stored[job.JobID])
                record = rebuild(Original(job.JobID, jdl, job.Owner, job.OwnerGroup, job.VO))
                texts[job.JobID] = compressed(record.jdl)
                records[job.JobID] = record
            except (Refusal, DamagedJdl) as error:
                refused[job.JobID] = error

    # To read a thousand JDLs takes its time, in which other callers are served.
    await to_thread(run)
    await store_jdls(work, texts)
    return records, refused


def _minor_statuses(refused: Mapping[int, Exception]) -> dict[int, str]:
    """Those of the refused jobs that are Failed by it, with their minor status."""
    return {
        job_id: error.minor_status
        for job_id, error in refused.items()
        if isinstance(error, RefusedAfterInsertion) and error.minor_status
    }


# What is recomputed of a job; its name and type stay, also where its JDL says otherwise.
_RECOMPUTED = ("Site", "UserPriority")


def _recomputed(rebuilt: JobRecord, count: int, now: datetime) -> dict[str, Any]:
    return {
        **{name: rebuilt.columns[name] for name in _RECOMPUTED if name in rebuilt.columns},
        "RescheduleTime": clock.to_column(now),
        "RescheduleCounter": count,
    }


def _answer(change: Mapping[str, Any]) -> dict[str, Any]:
    return {**change, "RescheduleTime": clock.from_column(change["RescheduleTime"])}


async def _set_states_as_dirac(
    work: UnitOfWork, again: Iterable[int], failures: Mapping[int, str], now: datetime, source: str
) -> dict[int, dict[str, Any]]:
    moment = {"LastUpdateTime": clock.to_column(now)}
    anew = {"Status": "Received", "MinorStatus": JOB_RESCHEDULED, "ApplicationStatus": UNKNOWN, **moment}
    failed = {
        job_id: {"Status": "Failed", "MinorStatus": minor, **moment} for job_id, minor in failures.items()
    }
    await update_jobs(work, {**dict.fromkeys(again, anew), **failed})
    texts = {"status": "Received", "minor_status": JOB_RESCHEDULED, "application_status": UNKNOWN}
    await log(work, [log_record(job_id, now, **texts, source=source) for job_id in again])
    return {}


async def _set_states_as_diracx(
    work: UnitOfWork, again: Iterable[int], failures: Mapping[int, str], now: datetime
) -> dict[int, dict[str, Any]]:
    anew = StatusUpdate(now, "Received", JOB_RESCHEDULED, UNKNOWN)
    updates = {job_id: [anew] for job_id in again} | {
        job_id: [StatusUpdate(now, "Failed", minor, UNKNOWN)] for job_id, minor in failures.items()
    }
    return await set_job_statuses(work, updates, policy=DIRACX, force=True)


async def _clear_parameters(work: UnitOfWork, cycles: Mapping[int, int]) -> None:
    """Move parameters to the attic, under the number of times that a job had started anew before."""
    for chunk in chunks(sorted(cycles)):
        if work.has(JobParameters):
            kept = await job_parameters(work, chunk)
            await set_attic_parameters(work, kept, cycles)
            await work.change(JOB_DB, _emptying(JobParameters), {"ids": chunk})
        await work.change(JOB_DB, _emptying(OptimizerParameters), {"ids": chunk})


@cache
def _emptying(table: Table) -> Delete:
    return table.delete().where(table.c.JobID.in_(bindparam("ids", expanding=True)))
