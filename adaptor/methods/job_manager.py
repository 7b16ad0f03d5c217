"""WorkloadManagement/JobManager over REST: jobs that exist.  New ones: job_submission."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request, RestFailure, Step
from adaptor.values import LARGEST_PAGE, search_in
from legacy_rpc.messages import Call, Failure, Reply
from shared_db.rules.clock import utc_now
from shared_db.rules.job_ids import ids_to_manage, selectable
from shared_db.rules.job_policy import DELETE, RESCHEDULE, RESET
from shared_db.rules.job_states import CHECKING_ACCOUNTING, MARKED_FOR_TERMINATION
from shared_db.rules.killing import (
    NEEDED,
    PROXY_SECONDS,
    SOME_FAILED,
    DeletePlan,
    KillPlan,
    Sorted,
    not_removed,
    plan_delete,
    plan_kill,
    sort_ids,
    specified,
)
from shared_db.rules.refusals import Refusal
from shared_db.rules.rescheduling import NOT_RESCHEDULED, NOT_RESET

job_manager = LegacyService("WorkloadManagement/JobManager")

SEARCH = "/api/jobs/search"
# Not `JobManager`: to REST a source that begins with `Job` is a heartbeat of the job.
KILLING, DELETING = "killJob", "deleteJob"

Jobs = dict[int, dict[str, Any]]


def wants_proxy() -> Generator[Step, Any, bool]:
    """Whether the caller should upload a proxy; never where the backend knows of none."""
    try:
        proxy = yield Request("GET", "/api/proxies/own")
    except RestFailure:
        return False
    return bool(proxy["kept"]) and proxy["seconds_left"] < PROXY_SECONDS


@job_manager.adapts
def killJob(jobIDs: Any, force: Any = False, *, call: Call) -> Conversation:  # noqa: ARG001 - see the native
    """`POST /api/jobs/search`, then `PATCH /api/jobs/status` with `Killed` for those that may be, each for
    every 10,000 ids; perhaps `GET /api/proxies/own` (the caller owns one of the jobs).

    Differences: REST writes a LoggingInfo record and EndExecTime, as DiracX does; DIRAC's killJob writes
    neither. A second kill within one second fails on the native route, as in DIRAC (`FailedJobIDs`); on REST
    it succeeds, and one command is enough. A job whose history says that it is later than now cannot be
    killed on REST (`FailedJobIDs`).
    """
    requested = ids_to_manage(jobIDs)
    if not requested:
        return []
    plan = plan_kill(*(yield from _looked_up(requested)), **_caller(call))
    failed = yield from _end({job_id: _killed() for job_id in plan.kill})
    return (yield from _ended(plan, plan.kill, failed))


@job_manager.adapts
def deleteJob(jobIDs: Any, force: Any = False, *, call: Call) -> Conversation:  # noqa: ARG001 - see the native
    """`POST /api/jobs/search`, then `PATCH /api/jobs/status` with `Deleted` for those that may be and
    `Killed` for those that may only be that, each for every 10,000 ids; perhaps `GET /api/proxies/own` (the
    caller owns one of the jobs).

    Differences: those of `killJob`, likewise for `Deleted`; and REST tells every job that is Deleted to stop,
    DIRAC only those that could be Killed.
    """
    requested = ids_to_manage(jobIDs)
    if not requested:
        return []
    plan = plan_delete(*(yield from _looked_up(requested)), **_caller(call))
    updates = {job_id: _killed() for job_id in plan.kill} | {job_id: _deleted() for job_id in plan.delete}
    failed = yield from _end(updates)
    return (yield from _ended(plan, plan.delete, failed))


def _killed() -> dict[str, str]:
    return {"Status": "Killed", "MinorStatus": MARKED_FOR_TERMINATION, "Source": KILLING}


def _deleted() -> dict[str, str]:
    return {"Status": "Deleted", "MinorStatus": CHECKING_ACCOUNTING, "Source": DELETING}


def _end(updates: Mapping[int, dict[str, str]]) -> Generator[Step, Any, list[int]]:
    """Send status updates of this moment; returns the ids of jobs that did not go where they were sent."""
    failed: list[int] = []
    for some in _pages(updates):
        moment = utc_now().isoformat()
        body = {str(job_id): {moment: updates[job_id]} for job_id in some}
        answer = yield Request("PATCH", "/api/jobs/status", body)
        failed += [int(job_id) for job_id in answer["failed"]]
        failed += [
            int(job_id)
            for job_id, change in answer["success"].items()
            if change["Status"] != updates[int(job_id)]["Status"]
        ]
    return sorted(failed)


def _ended(plan: KillPlan | DeletePlan, answered: list[int], failed: list[int]) -> Conversation:
    upload = (yield from wants_proxy()) if plan.own else False
    succeeds, told = plan.extra(failed, wants_proxy=upload)  # noqa: S610 - no query of Django's
    if not succeeds:
        raise Failure(SOME_FAILED, 0, told)
    return Reply(answered, told)


@job_manager.adapts
def removeJob(jobIDs: Any, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, then `POST /api/jobs/remove` of those that are the caller's to remove, each
    for every 10,000 ids.

    Differences: none.
    """
    requested = specified(jobIDs)
    ids = yield from _sorted(DELETE, requested, call)
    for some in _pages(ids.valid):
        yield Request("POST", "/api/jobs/remove", {"job_ids": some})
    if problem := not_removed(ids):
        raise Failure(problem, 0, ids.lists())
    return ids.in_order(requested)


@job_manager.adapts
def rescheduleJob(jobIDs: Any, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, then `POST /api/jobs/reschedule` of those that are the caller's to reschedule;
    perhaps `GET /api/proxies/own` (the caller owns one of the jobs).

    Differences: REST logs as DiracX does: the source is `Unknown`, jobs that are Failed for having started
    anew too often are logged too, and get ApplicationStatus `Unknown` and an EndExecTime.
    """
    requested = specified(jobIDs)
    ids = yield from _sorted(RESCHEDULE, requested, call)
    yield from _start_anew(ids.valid)
    upload = (yield from wants_proxy()) if ids.own else False
    if lists := ids.lists():
        raise Failure(NOT_RESCHEDULED, 0, lists)
    return Reply(ids.in_order(requested), {"requireProxyUpload": upload})


@job_manager.adapts
def resetJob(jobIDs: Any, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, then `POST /api/jobs/reschedule` with `?reset_jobs=true`, if the caller is
    JobAdministrator; perhaps `GET /api/proxies/own` (the caller owns one of the jobs).

    Differences: those of `rescheduleJob`.
    """
    requested = specified(jobIDs)
    ids = yield from _sorted(RESET, requested, call)
    failed = yield from _start_anew(ids.valid, reset_jobs="true")
    upload = (yield from wants_proxy()) if ids.own else False
    if lists := ids.lists(failed):
        raise Failure(NOT_RESET, 0, lists)
    return Reply(None, {"requireProxyUpload": upload})


def _start_anew(job_ids: list[int], **query: Any) -> Generator[Step, Any, list[int]]:
    """Have jobs start anew, all or none of them; returns the ids of those that do not."""
    if not job_ids:
        return []
    try:
        answer = yield Request("POST", "/api/jobs/reschedule", {"job_ids": job_ids}, query)
    except RestFailure as failure:
        # None of them starts anew, and that has been kept.
        if failure.status != 400 or not isinstance(failure.detail, dict):
            raise
        answer = failure.detail
    return sorted(int(job_id) for job_id in answer["failed"])


def _sorted(right: str, requested: list[int], call: Call) -> Generator[Step, Any, Sorted]:
    return sort_ids(right, *(yield from _looked_up(requested)), **_caller(call))


def _looked_up(requested: list[int]) -> Generator[Step, Any, tuple[list[int], Jobs]]:
    """The ids, and what must be known of those of the jobs that exist; none of either as in the native
    side.
    """
    try:
        wanted = selectable(requested)
    except Refusal:
        return [], {}
    rows = yield from search_in(SEARCH, ["JobID", *NEEDED], "JobID", wanted, "JobID")
    return requested, {row["JobID"]: row for row in rows}


def _pages(job_ids: Iterable[int]) -> list[list[int]]:
    """The ids in as many requests as they need."""
    ids = list(job_ids)
    return [ids[first : first + LARGEST_PAGE] for first in range(0, len(ids), LARGEST_PAGE)]


def _caller(call: Call) -> dict[str, Any]:
    identity = call.identity
    return {"username": identity.username, "group": identity.group, "properties": identity.group_properties}
