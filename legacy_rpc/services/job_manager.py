"""WorkloadManagement/JobManager (legacy-methods.md, section 3): jobs that exist; see job_submission, too."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Failure, Reply, Write
from legacy_rpc.services.table import Context, Service
from shared_db.connection import UnitOfWork
from shared_db.queries.descriptions import rebuilding
from shared_db.queries.jobs import locked_jobs
from shared_db.queries.optimisation import optimise
from shared_db.queries.proxies import proxy_seconds
from shared_db.queries.removal import delete_jobs, kill_jobs, remove_jobs
from shared_db.queries.rescheduling import Rescheduled, reschedule_jobs
from shared_db.rules.job_ids import ids_to_manage, selectable
from shared_db.rules.job_policy import DELETE, RESCHEDULE, RESET
from shared_db.rules.killing import (
    NEEDED,
    PROXY_SECONDS,
    SOME_FAILED,
    Sorted,
    not_removed,
    plan_delete,
    plan_kill,
    sort_ids,
    specified,
)
from shared_db.rules.refusals import Refusal
from shared_db.rules.rescheduling import NOT_RESCHEDULED, NOT_RESET
from shared_db.rules.site import site_jobs
from shared_db.rules.status_updates import DIRAC

job_manager = Service(
    "WorkloadManagement/JobManager",
    handler_class="JobManagerHandlerMixin",
    about=(
        '`jobIDs` are a job\'s id, its text, or a list of those; what is not understood (`"1,2"`) is no job.'
        " Who may act on a job: its owner, a member of its group where that has JobSharing, JobAdministrator;"
        " GenericPilot may reschedule any. `requireProxyUpload` is True where one of the jobs is the caller's"
        " and no proxy of his that lasts five hours is stored here."
    ),
)


async def wants_proxy(context: Context, work: UnitOfWork, *, own: bool = True) -> bool:
    """Whether the caller should upload a proxy: he owns jobs, and none is stored that lasts."""
    if not own or context.common.seal is None:
        return False
    dns = context.registry.current.dns_of(context.call.identity.username)
    return not dns or await proxy_seconds(work, dns) < PROXY_SECONDS


@job_manager.method(write=Write.IDEMPOTENT)
async def killJob(context: Context, jobIDs: Any, force: Any = False) -> Reply:
    """Kill those of the jobs that may be killed; answers their ids, by ascending id.

    Jobs that cannot be killed (Done, say) are left out in silence, ids of no job are named in
    `InvalidJobIDs`.  `Some jobs failed deletion` names in `NonauthorizedJobIDs` jobs that the caller may not
    kill, in `FailedJobIDs` those that were told to stop within the same second; the others are killed.
    `force` changes nothing: only jobs that the state machine lets go are killed at all, in DIRAC too.
    """
    requested = ids_to_manage(jobIDs)
    if not requested:
        return Reply([])
    async with context.databases.unit_of_work(write=True) as work:
        plan = plan_kill(*await _looked_up(work, requested), **_caller(context))
        failed = await kill_jobs(work, plan.kill)
        upload = await wants_proxy(context, work, own=plan.own)
    succeeds, extra = plan.extra(failed, wants_proxy=upload)
    if not succeeds:
        raise Failure(SOME_FAILED, 0, extra)
    return Reply(plan.kill, extra)


@job_manager.method(write=Write.IDEMPOTENT)
async def deleteJob(context: Context, jobIDs: Any, force: Any = False) -> Reply:
    """Put those of the jobs that may be to Deleted; answers their ids, by ascending id.

    Jobs that may be Killed are killed first, and a Running one is Killed only, so its id is not in the
    answer.  The extra keys, the error and `force` are those of `killJob`.  Rows stay; `removeJob` removes
    them.
    """
    requested = ids_to_manage(jobIDs)
    if not requested:
        return Reply([])
    async with context.databases.unit_of_work(write=True) as work:
        plan = plan_delete(*await _looked_up(work, requested), **_caller(context))
        failed = await delete_jobs(work, plan.kill, plan.delete)
        upload = await wants_proxy(context, work, own=plan.own)
    succeeds, extra = plan.extra(failed, wants_proxy=upload)
    if not succeeds:
        raise Failure(SOME_FAILED, 0, extra)
    return Reply(plan.delete, extra)


@job_manager.method(write=Write.IDEMPOTENT)
async def removeJob(context: Context, jobIDs: Any) -> list[int]:
    """Remove all there is of jobs, whatever their state; answers their ids, in the order of the call.

    `Some jobs failed removal: invalid jobs`, `...: non-authorized jobs` or both name the others in
    `InvalidJobIDs` and `NonauthorizedJobIDs`; those that may be are removed nevertheless.  Without any id:
    `Invalid job specification: []`.
    """
    requested = specified(jobIDs)
    async with context.databases.unit_of_work(write=True) as work:
        ids = await _sorted(context, work, DELETE, requested)
        await remove_jobs(work, ids.valid)
    if problem := not_removed(ids):
        raise Failure(problem, 0, ids.lists())
    return ids.in_order(requested)


@job_manager.method(write=Write.APPEND)
async def rescheduleJob(context: Context, jobIDs: Any) -> Reply:
    """Have jobs start anew from the JDL that was submitted; answers their ids, in the order of the call.

    A job that did so too often (`MaxRescheduling`, 3) is Failed, and its id is answered all the same, as is
    that of a job whose JDL does not do any more.  `Some jobs can not be rescheduled` names the others in
    `InvalidJobIDs` and `NonauthorizedJobIDs`.  Without any id: `Invalid job specification: []`.
    """
    requested = specified(jobIDs)
    async with context.databases.unit_of_work(write=True) as work:
        ids = await _sorted(context, work, RESCHEDULE, requested)
        await _start_anew(context, work, ids.valid, reset=False)
        upload = await wants_proxy(context, work, own=ids.own)
    if lists := ids.lists():
        raise Failure(NOT_RESCHEDULED, 0, lists)
    return Reply(ids.in_order(requested), {"requireProxyUpload": upload})


@job_manager.method(write=Write.APPEND)
async def resetJob(context: Context, jobIDs: Any) -> Reply:
    """Have jobs start anew, and count from 0 again how often they did (JobAdministrator); answers None.

    `Some jobs failed resetting` names the others in `InvalidJobIDs`, `NonauthorizedJobIDs` and, where the JDL
    does not do any more, `FailedJobIDs`.  Without any id: `Invalid job specification: []`.
    """
    requested = specified(jobIDs)
    async with context.databases.unit_of_work(write=True) as work:
        ids = await _sorted(context, work, RESET, requested)
        outcome = await _start_anew(context, work, ids.valid, reset=True)
        upload = await wants_proxy(context, work, own=ids.own)
    if lists := ids.lists(sorted(outcome.refused)):
        raise Failure(NOT_RESET, 0, lists)
    return Reply(None, {"requireProxyUpload": upload})


async def _start_anew(context: Context, work: UnitOfWork, job_ids: list[int], *, reset: bool) -> Rescheduled:
    cfg, registry = context.registry.cfg, context.registry.current
    limit = site_jobs(cfg, context.call.identity.vo or "").max_rescheduling
    rebuild = rebuilding(work, cfg, registry)
    outcome = await reschedule_jobs(work, job_ids, rebuild, policy=DIRAC, reset=reset, limit=limit)
    if context.common.optimise and outcome.jobs:
        await optimise(work, list(outcome.jobs), registry)
    return outcome


async def _sorted(context: Context, work: UnitOfWork, right: str, requested: list[int]) -> Sorted:
    """The ids by the caller's right on their jobs, which nobody else changes meanwhile."""
    return sort_ids(right, *await _looked_up(work, requested), **_caller(context))


async def _looked_up(work: UnitOfWork, requested: list[int]) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """The ids, and what must be known of those of the jobs that exist; these are locked.

    None of either where DIRAC cannot look them up (an id twice, one that no job can have): it logs that, and
    goes on as if none had been named.
    """
    try:
        wanted = selectable(requested)
    except Refusal:
        return [], {}
    rows = await locked_jobs(work, wanted, NEEDED)
    return requested, {row.JobID: dict(zip(NEEDED, row[1:], strict=True)) for row in rows}


def _caller(context: Context) -> dict[str, Any]:
    identity = context.call.identity
    return {"username": identity.username, "group": identity.group, "properties": identity.group_properties}
