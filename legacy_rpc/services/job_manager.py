"""WorkloadManagement/JobManager (legacy-methods.md, section 3)."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Failure, Reply, Write
from legacy_rpc.services.table import Context, Service
from shared_db.queries.jobs import locked_jobs
from shared_db.queries.removal import kill_jobs
from shared_db.rules.job_ids import ids_to_manage, selectable
from shared_db.rules.killing import NEEDED, SOME_FAILED, plan_kill
from shared_db.rules.refusals import Refusal

job_manager = Service("WorkloadManagement/JobManager", handler_class="JobManagerHandlerMixin")


@job_manager.method(write=Write.IDEMPOTENT)
async def killJob(context: Context, jobIDs: Any, force: Any = False) -> Reply:
    """Kill those of the jobs that may be killed; answers their ids.

    ``force`` changes nothing: only jobs that the state machine lets go are killed at all, in DIRAC too.
    """
    requested = ids_to_manage(jobIDs)
    if not requested:
        return Reply([])
    try:
        wanted = selectable(requested)
    except Refusal:
        # DIRAC logs that it could not look the jobs up, and goes on as if there were none.
        return Reply([], {"requireProxyUpload": False})
    caller = context.call.identity
    async with context.databases.unit_of_work(write=True) as work:
        rows = await locked_jobs(work, wanted, NEEDED)
        plan = plan_kill(
            requested,
            {row.JobID: dict(zip(NEEDED, row[1:], strict=True)) for row in rows},
            username=caller.username,
            group=caller.group,
            properties=caller.properties,
        )
        failed = await kill_jobs(work, plan.kill)
    succeeds, extra = plan.extra(failed)
    if not succeeds:
        raise Failure(SOME_FAILED, 0, extra)
    return Reply(plan.kill, extra)
