"""The optimisers: submitted jobs go to Waiting, in the task queue of those that ask for the same."""

from __future__ import annotations

from asyncio import to_thread
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.jdls import current_jdls, store_jdls
from shared_db.queries.jobs import locked_jobs, update_jobs
from shared_db.queries.parameters import set_optimizer_parameters
from shared_db.queries.sandbox_jobs import assign_input_sandboxes
from shared_db.queries.statuses import log
from shared_db.queries.task_queues import Queued, enqueue
from shared_db.registry import Registry
from shared_db.rules import clock
from shared_db.rules.jdl.reader import JdlError
from shared_db.rules.jdl.storage import DamagedJdl, compressed, extracted
from shared_db.rules.job_states import UNKNOWN
from shared_db.rules.optimisation import JOB_PATH, JOB_SANITY, Schedule, Unschedulable, Whose, schedule
from shared_db.rules.sandboxes import Owner, Reach
from shared_db.rules.status_updates import log_record
from shared_db.rules.task_queues import shares_jobs

WAITING = "Pilot Agent Submission"
CHAIN = "OptimizerChain"
_NEEDED = ("Status", "Owner", "OwnerGroup", "VO", "UserPriority")


async def optimise(work: UnitOfWork, job_ids: Iterable[int], registry: Registry) -> None:
    """Take submitted jobs from Received to Waiting, with their task queue, as DIRAC's optimisers do.

    Jobs that no pilot can ever have are Failed, with the reason as their ApplicationStatus.  Jobs in any
    other state stay as they are.  The number of statements does not grow with that of the jobs.

    Other than DIRAC's, these optimisers neither ask a catalogue where input data is nor hold jobs back: a
    rescheduled job waits at once, and one whose sites are all banned waits until one is not.
    """
    jobs = {row.JobID: row for row in await locked_jobs(work, job_ids, _NEEDED) if row.Status == "Received"}
    if not jobs:
        return
    now = clock.utc_now()
    stored = await current_jdls(work, jobs)
    # To read a thousand JDLs takes its time, in which other callers are served.
    schedules, failed, jdls = await to_thread(_scheduled, jobs, stored)
    failed |= await _assign_sandboxes(work, jobs, schedules, registry)
    schedules = {job_id: each for job_id, each in schedules.items() if job_id not in failed}
    await store_jdls(work, {job_id: jdl for job_id, jdl in jdls.items() if job_id in schedules})
    await set_optimizer_parameters(
        work, {job_id: {CHAIN: ",".join(each.chain)} for job_id, each in schedules.items()}
    )
    await enqueue(
        work,
        {job_id: Queued(each.demand, jobs[job_id].UserPriority) for job_id, each in schedules.items()},
        registry,
    )
    await _set_states(work, schedules, failed, now)


def _scheduled(
    jobs: Mapping[int, AnyRow], stored: Mapping[int, str]
) -> tuple[dict[int, Schedule], dict[int, Unschedulable], dict[int, str]]:
    """What becomes of the jobs, why nothing becomes of some, and the JDLs that change, as they are stored."""
    schedules: dict[int, Schedule] = {}
    failed: dict[int, Unschedulable] = {}
    jdls: dict[int, str] = {}
    for job_id, job in jobs.items():
        try:
            whose = Whose(job.Owner, job.OwnerGroup, job.VO)
            schedules[job_id] = found = schedule(extracted(stored.get(job_id, "")), whose)
            if found.jdl is not None:
                jdls[job_id] = compressed(found.jdl)
        except Unschedulable as problem:
            failed[job_id] = problem
        except (JdlError, DamagedJdl) as problem:
            failed[job_id] = Unschedulable(JOB_PATH, str(problem))
    return schedules, failed, jdls


async def _assign_sandboxes(
    work: UnitOfWork, jobs: Mapping[int, AnyRow], schedules: Mapping[int, Schedule], registry: Registry
) -> dict[int, Unschedulable]:
    """Give jobs the sandboxes that they name; those that may not have theirs, and why."""
    wanted: dict[tuple[str, str, str], dict[int, Sequence[str]]] = defaultdict(dict)
    for job_id, each in schedules.items():
        if each.inputs:
            job = jobs[job_id]
            wanted[job.Owner, job.OwnerGroup, job.VO][job_id] = each.inputs
    refused: dict[int, str] = {}
    for (owner, group, vo), entries in sorted(wanted.items()):
        reach = Reach(Owner(owner, group, vo), shares=shares_jobs(registry, group))
        refused |= await assign_input_sandboxes(work, entries, reach)
    return {job_id: Unschedulable(JOB_SANITY, text) for job_id, text in refused.items()}


async def _set_states(
    work: UnitOfWork, schedules: Mapping[int, Schedule], failed: Mapping[int, Unschedulable], now: datetime
) -> None:
    moment = {"LastUpdateTime": clock.to_column(now)}
    waiting = {
        job_id: {
            "Status": "Waiting",
            "MinorStatus": WAITING,
            "ApplicationStatus": UNKNOWN,
            "Site": each.site,
            **moment,
        }
        for job_id, each in schedules.items()
    }
    refused = {
        job_id: {
            "Status": "Failed",
            "MinorStatus": problem.minor_status,
            "ApplicationStatus": problem.reason[:255],
            **moment,
        }
        for job_id, problem in failed.items()
    }
    await update_jobs(work, waiting | refused)
    records: list[dict[str, Any]] = []
    for job_id, each in schedules.items():
        records += _passed(job_id, each.chain, now)
        texts = {"status": "Waiting", "minor_status": WAITING, "application_status": UNKNOWN}
        records.append(log_record(job_id, now, **texts, source=each.chain[-1]))
    for job_id, problem in failed.items():
        texts = {"minor_status": problem.minor_status, "application_status": problem.reason}
        records.append(log_record(job_id, now, status="Failed", **texts, source=problem.optimizer))
    await log(work, records)


def _passed(job_id: int, chain: Sequence[str], now: datetime) -> list[dict[str, Any]]:
    """What each optimiser but the last logs: that the next one is to come."""
    return [
        log_record(job_id, now, status="Checking", minor_status=after, source=optimizer)
        for optimizer, after in pairwise(chain)
    ]
