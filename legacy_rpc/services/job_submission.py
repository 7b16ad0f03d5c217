"""WorkloadManagement/JobManager: jobs that come (legacy-methods.md, sections 2 and 3)."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any

from legacy_rpc.messages import Failure, Reply, Write
from legacy_rpc.services.job_manager import job_manager, wants_proxy
from legacy_rpc.services.table import Context
from shared_db.connection import UnitOfWork
from shared_db.queries.descriptions import description_policy, submitter_of
from shared_db.queries.jdls import new_job_ids
from shared_db.queries.jobs import locked_jobs
from shared_db.queries.optimisation import optimise
from shared_db.queries.submission import confirm_jobs, submit_jobs
from shared_db.rules.jdl.description import RefusedAfterInsertion
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.site import site_jobs
from shared_db.rules.submission import (
    ACCEPTED,
    WHOSE,
    Order,
    check_confirmer,
    check_submitter,
    ids_to_confirm,
    order_of,
    refused_job,
)


@job_manager.method(str, write=Write.CREATE)
async def submitJob(context: Context, jobDesc: str) -> Reply:
    """Submit a job by its JDL; answers its id, of a parametric job the ids of its members, `JobID` likewise.

    Members wait as Submitting for `confirmBulkSubmission`; a single job is Received, and where this server
    optimises (`jobs.optimise`) it goes on to Waiting at once. Owner, group and VO are the caller's, whatever
    the JDL says. Errors: 1503 for a limited proxy, for a caller without NormalUser and for another VO in the
    JDL (then `JobId`, `Status` and `MinorStatus` tell of the id that was spent on it); 1501 for what is no
    parametric job, or one of more members than `MaxParametricJobs`; DIRAC's own texts for the rest.
    """
    caller = context.call.identity
    limited = bool(getattr(caller.credential, "limited", False))
    check_submitter(
        limited=limited, username=caller.username, group=caller.group, properties=caller.group_properties
    )
    async with context.databases.unit_of_work(write=True) as work:
        try:
            order = await _order(context, work, jobDesc)
        except RefusedAfterInsertion as refusal:
            # As DIRAC does: whoever asks about this id finds what was submitted.
            [job_id] = await new_job_ids(work, [compressed(refusal.original_jdl)])
            failure = Failure(refusal.message, refusal.errno, refused_job(refusal, job_id))
        else:
            submitted = await submit_jobs(work, order.jobs, state=order.state)
            if order.state is ACCEPTED:
                await _optimised(context, work, submitted.job_ids)
            value = order.answer(submitted.job_ids)
            upload = await wants_proxy(context, work)
            return Reply(value, {"JobID": value, "requireProxyUpload": upload})
    raise failure


async def _order(context: Context, work: UnitOfWork, text: str) -> Order:
    caller, cfg, registry = context.call.identity, context.registry.cfg, context.registry.current
    vo = caller.vo or ""
    policy = description_policy(work, cfg, registry, vo)
    owner = submitter_of(registry, caller.username, caller.group, vo)
    # Before the first statement, so that nobody waits for a transaction that reads a long text.
    return await to_thread(order_of, text, owner, policy, site_jobs(cfg, vo).most_parametric)


async def _optimised(context: Context, work: UnitOfWork, job_ids: list[int]) -> None:
    """Have Received jobs go on to Waiting, unless DIRAC's own optimisers do that here."""
    if context.common.optimise and job_ids:
        await optimise(work, job_ids, context.registry.current)


@job_manager.method(list, write=Write.IDEMPOTENT)
async def confirmBulkSubmission(context: Context, jobIDs: list[Any]) -> list[int]:
    """Let the members of a parametric job go on; answers their ids, in the order of the call.

    To confirm jobs that are on their way already is no error. Error 1503: `Invalid job specification: []`,
    and `Requested jobs for bulk transaction are not valid` for anything but the caller's jobs, all of them
    Submitting or all on their way. (DIRAC lets every NormalUser confirm everybody's.)
    """
    requested = ids_to_confirm(jobIDs)
    caller = context.call.identity
    async with context.databases.unit_of_work(write=True) as work:
        rows = await locked_jobs(work, requested, WHOSE)
        check_confirmer(
            [dict(zip(WHOSE, row[1:], strict=True)) for row in rows],
            username=caller.username,
            group=caller.group,
            properties=caller.group_properties,
        )
        await _optimised(context, work, await confirm_jobs(work, requested))
    return requested


@job_manager.method(until="8.0")
async def getMaxParametricJobs(context: Context) -> int:
    """How many members a parametric job may have (`MaxParametricJobs`, 20)."""
    return site_jobs(context.registry.cfg, context.call.identity.vo or "").most_parametric
