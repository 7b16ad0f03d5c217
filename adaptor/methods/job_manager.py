"""WorkloadManagement/JobManager over REST.

Differences between the two routes, all deliberate:

- killJob: REST writes a LoggingInfo record and EndExecTime, as DiracX does; DIRAC's killJob writes neither.
- killJob: a second kill within one second fails on the native route, as in DIRAC (FailedJobIDs); REST
  succeeds, and one command is enough.
"""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request
from adaptor.values import search_in
from legacy_rpc.messages import Call, Failure, Reply
from shared_db.rules.clock import utc_now
from shared_db.rules.job_ids import ids_to_manage, selectable
from shared_db.rules.job_states import MARKED_FOR_TERMINATION
from shared_db.rules.killing import NEEDED, SOME_FAILED, plan_kill
from shared_db.rules.refusals import Refusal

job_manager = LegacyService("WorkloadManagement/JobManager")

# Not `JobManager`: to REST a source that begins with `Job` is a heartbeat of the job.
SOURCE = "killJob"


@job_manager.adapts
def killJob(jobIDs: Any, force: Any = False, *, call: Call) -> Conversation:  # noqa: ARG001 - see the native
    requested = ids_to_manage(jobIDs)
    if not requested:
        return []
    try:
        wanted = selectable(requested)
    except Refusal:
        return Reply([], {"requireProxyUpload": False})
    rows = yield from search_in("/api/jobs/search", ["JobID", *NEEDED], "JobID", wanted, "JobID")
    plan = plan_kill(
        requested,
        {row["JobID"]: row for row in rows},
        username=call.identity.username,
        group=call.identity.group,
        properties=call.identity.properties,
    )
    if plan.kill:
        yield Request("PATCH", "/api/jobs/status", _killed(plan.kill))
    succeeds, extra = plan.extra()
    if not succeeds:
        raise Failure(SOME_FAILED, 0, extra)
    return Reply(plan.kill, extra)


def _killed(job_ids: list[int]) -> dict[str, Any]:
    moment = utc_now().isoformat()
    update = {"Status": "Killed", "MinorStatus": MARKED_FOR_TERMINATION, "Source": SOURCE}
    return {str(job_id): {moment: update} for job_id in job_ids}
