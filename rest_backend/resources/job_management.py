"""Jobs start anew, or are removed for good (rest-diracx.md, 6.5)."""

from __future__ import annotations

from typing import Any

from rest_backend.models.job_submission import RemovedJobs, RescheduleQuery
from rest_backend.models.jobs import JobIds, SomeJobIds
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import MANAGE_JOBS, OWN_JOBS
from rest_backend.resources.job_submission import optimised
from shared_db.queries.descriptions import rebuilding
from shared_db.queries.removal import remove_jobs
from shared_db.queries.rescheduling import Rescheduled, reschedule_jobs
from shared_db.rules.rescheduling import exhausted
from shared_db.rules.site import site_jobs
from shared_db.rules.status_updates import DIRACX


async def reschedule(context: Context, body: JobIds, query: RescheduleQuery) -> Answer:
    """Have jobs start anew from the JDL that was submitted; those that did so too often are Failed.

    Jobs that do not exist are left out of the answer.  400 when no job starts anew, with the same members
    below ``detail``.  ``InputData`` is the job's new JDL.
    """
    cfg = context.resources.cfg()
    limit = site_jobs(cfg, context.caller.vo).max_rescheduling
    rebuild = rebuilding(context.work, cfg, context.resources.registry())
    outcome = await reschedule_jobs(
        context.work, body.job_ids, rebuild, policy=DIRACX, reset=query.reset_jobs, limit=limit
    )
    await optimised(context, list(outcome.jobs))
    answer = {"failed": _failed(outcome, limit), "success": _success(outcome)}
    # Answered, not raised: that jobs are Failed now has to be kept.
    return Answer(answer) if outcome.jobs else Answer({"detail": answer}, 400)


def _success(outcome: Rescheduled) -> dict[int, Any]:
    """What was set of each job; DiracX calls the JDL InputData."""
    return {
        job_id: {"InputData": job["JDL"], **{name: value for name, value in job.items() if name != "JDL"}}
        for job_id, job in outcome.jobs.items()
    }


def _failed(outcome: Rescheduled, limit: int) -> dict[int, dict[str, str]]:
    reasons = {job_id: exhausted(limit) for job_id in outcome.exhausted}
    reasons |= {job_id: str(error) for job_id, error in outcome.refused.items()}
    return {job_id: {"detail": reason} for job_id, reason in reasons.items()}


async def remove(context: Context, body: SomeJobIds, _parameters: None) -> Answer:
    """Remove all there is of jobs, for good and whatever their state; ids of no job are left out.

    To mark a job as deleted, set its status.
    """
    return Answer(RemovedJobs(removed=await remove_jobs(context.work, body.job_ids)))


OPERATIONS = (
    Operation(
        "jobs_reschedule_jobs",
        "POST",
        "/api/jobs/reschedule",
        reschedule,
        MANAGE_JOBS,
        body=JobIds,
        parameters=RescheduleQuery,
        response=dict[str, Any],
        writes=True,
        creates=True,
    ),
    Operation(
        "jobs_remove_jobs",
        "POST",
        "/api/jobs/remove",
        remove,
        OWN_JOBS,
        body=SomeJobIds,
        response=RemovedJobs,
        writes=True,
        extension=True,
    ),
)
