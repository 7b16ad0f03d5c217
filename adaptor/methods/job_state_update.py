"""WorkloadManagement/JobStateUpdate over REST."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import UTC, timedelta
from typing import Any

from adaptor.conversation import Conversation, LegacyService, Pause, Request, RestFailure, Step
from adaptor.values import search_in
from legacy_rpc.messages import Call, Failure
from shared_db.rules import staging
from shared_db.rules.heartbeats import measurements
from shared_db.rules.job_reports import (
    NO_MATCHING_JOB,
    WHOSE,
    attribute_answer,
    attribute_value,
    bulk_updates,
    check_selectable,
    check_sendable,
    given_parameters,
    heartbeat_of,
    is_privileged,
    is_storable,
    last_refused,
    may_force,
    may_report,
    no_flag,
    not_authorized,
    parameters_of_jobs,
    reported_id,
    status_updates,
)
from shared_db.rules.metadata import check_settable
from shared_db.rules.refusals import Refusal, UnfitArgument
from shared_db.rules.status_updates import StatusUpdate, dirac_answer

job_state_update = LegacyService("WorkloadManagement/JobStateUpdate")

SEARCH = "/api/jobs/search"
STATUS = "/api/jobs/status"


@job_state_update.adapts
def setJobStatus(
    jobID: str | int,
    status: str = "",
    minorStatus: str = "",
    source: str = "Unknown",
    datetime: Any = None,
    force: Any = False,
    *,
    call: Call,
) -> Conversation:
    """`PATCH /api/jobs/status`; perhaps `POST /api/jobs/search` (there is nothing to set, or it cannot be
    set).

    Differences: times of start and end are those of the updates, DIRAC's the server's present, and a start
    is no heartbeat. A job that is Killed or Deleted after the update is told to stop, and leaves its task
    queue. A job of which nothing was logged is served, DIRAC refuses it. What is no status, or too long for
    ApplicationStatus, is an error also in an update that is older than the last. `Scouting`, which DiracX
    does not know, and with `force` what is no status, go to the native side.
    """

    def updates() -> list[StatusUpdate]:
        return status_updates(status, minorStatus, source=source, moment=datetime)

    return (yield from _update(call, jobID, updates, force))


@job_state_update.adapts
def setJobStatusBulk(
    jobID: str | int, statusDict: dict[Any, Any], force: Any = False, *, call: Call
) -> Conversation:
    """`PATCH /api/jobs/status`; perhaps `POST /api/jobs/search` (an update cannot be set).

    Differences: those of `setJobStatus`.
    """
    return (yield from _update(call, jobID, lambda: bulk_updates(statusDict), force))


@job_state_update.adapts
def setJobApplicationStatus(
    jobID: str | int, appStatus: str, source: str = "Unknown", *, call: Call
) -> Conversation:
    """`PATCH /api/jobs/status`; perhaps `POST /api/jobs/search` (there is nothing to set, or it cannot be
    set).

    Differences: a job of which nothing was logged is served, DIRAC refuses it.
    """
    return (yield from _update(call, jobID, lambda: status_updates(application=appStatus, source=source)))


def _update(
    call: Call, job_id: str | int, updates: Callable[[], Sequence[StatusUpdate]], force: Any = False
) -> Conversation:
    """Who may report on the job comes first, then what is reported, then whether there is a job."""
    number = reported_id(job_id)
    forced = may_force(force, call.identity.properties)
    try:
        wanted = updates()
        check_selectable(number if wanted else 0)
    except (Refusal, UnfitArgument):
        yield from _check(call, job_id)
        raise
    if not wanted:
        yield from _check(call, job_id)
        return None
    try:
        check_sendable(wanted, force=forced)
    except Refusal:
        if not (yield from _check(call, job_id, look=True)):
            raise Failure(NO_MATCHING_JOB) from None
        raise
    try:
        change = yield from _send(number, wanted, forced=forced)
    except RestFailure as failure:
        _explain(failure, call, job_id, NO_MATCHING_JOB)
        raise
    return dirac_answer(change)


def _send(
    job_id: int, updates: Iterable[StatusUpdate], *, forced: bool = False
) -> Generator[Step, Any, dict[str, Any]]:
    """Send the updates of a job; returns what was set of it."""
    moments: dict[str, dict[str, str]] = {}
    for update in updates:
        moment = update.moment
        while moment.isoformat() in moments:  # of two of the same moment both are logged, in this order
            moment += timedelta(microseconds=1)
        texts = {
            "Status": update.status,
            "MinorStatus": update.minor_status,
            "ApplicationStatus": update.application_status,
            "Source": update.source,
        }
        moments[moment.isoformat()] = {name: text for name, text in texts.items() if text}
    query = {"force": "true"} if forced else {}
    answer = yield Request("PATCH", STATUS, {str(job_id): moments}, query)
    change: dict[str, Any] = next(iter(answer["success"].values()))
    return change


def _explain(failure: RestFailure, call: Call, job_id: str | int, missing: str) -> None:
    """Raises what a caller is told of a request that was refused for its job's sake."""
    there_is_none = failure.status == 404 and not failure.not_executed
    if there_is_none and is_privileged(call.identity.properties):
        raise Failure(missing) from failure
    if there_is_none or failure.status == 403:
        raise not_authorized(job_id) from failure


@job_state_update.adapts
def setJobAttribute(jobID: str | int, attribute: str, value: str, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, then `PATCH /api/jobs/attributes`.

    Differences: none.
    """
    check_settable(attribute)
    return (yield from _set_attribute(call, jobID, attribute, value))


@job_state_update.adapts
def setJobSite(jobID: str | int, site: str, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, then `PATCH /api/jobs/attributes`.

    Differences: none.
    """
    return (yield from _set_attribute(call, jobID, "Site", site))


def _set_attribute(call: Call, job_id: str | int, attribute: str, value: str) -> Conversation:
    number = reported_id(job_id)
    exists = yield from _check(call, job_id, look=True)
    if attribute == "Status":
        check_selectable(number)
    wanted = attribute_value(attribute, value)
    changed = 0
    if exists:
        if not isinstance(wanted, str):
            wanted = wanted.replace(tzinfo=UTC).isoformat()
        try:
            answer = yield Request("PATCH", "/api/jobs/attributes", {str(number): {attribute: wanted}})
        except RestFailure as failure:
            if failure.status == 400:
                raise Failure(str(failure.detail)) from failure
            raise
        changed = answer["changed"]
    return attribute_answer(attribute, exists=exists, changed=changed)


@job_state_update.adapts
def setJobFlag(jobID: str | int, flag: str) -> Conversation:  # noqa: ARG001 - no job has any
    """No request: DIRAC's last releases that have the method refuse every flag.

    Differences: none.
    """
    yield from ()
    raise no_flag(flag)


@job_state_update.adapts
def unsetJobFlag(jobID: str | int, flag: str) -> Conversation:  # noqa: ARG001 - no job has any
    """No request: DIRAC's last releases that have the method refuse every flag.

    Differences: none.
    """
    yield from ()
    raise no_flag(flag)


@job_state_update.adapts
def setJobParameter(jobID: str | int, name: str, value: str, *, call: Call) -> Conversation:
    """`PATCH /api/jobs/parameters`; before it perhaps `POST /api/jobs/search` (the caller may not report on
    any job).

    Differences: none.
    """
    return (yield from _set_parameters(call, jobID, [(name, value)]))


@job_state_update.adapts
def setJobParameters(jobID: str | int, parameters: list[Any], *, call: Call) -> Conversation:
    """`PATCH /api/jobs/parameters`; before it perhaps `POST /api/jobs/search` (the caller may not report on
    any job).

    Differences: none.
    """
    return (yield from _set_parameters(call, jobID, parameters))


def _set_parameters(call: Call, job_id: str | int, pairs: Sequence[Any]) -> Conversation:
    number = reported_id(job_id)
    yield from _check(call, job_id)
    parameters = given_parameters(pairs)
    if parameters and is_storable(number):
        yield Request("PATCH", "/api/jobs/parameters", {str(number): parameters})
    return None


@job_state_update.adapts
def setJobsParameter(jobsParameterDict: dict[Any, Any], *, call: Call) -> Conversation:
    """`PATCH /api/jobs/parameters` of all jobs at once; before it perhaps `POST /api/jobs/search` (the
    caller may not report on any job).

    Differences: none.
    """
    parameters = parameters_of_jobs(jobsParameterDict)
    allowed = yield from _reportable(call, parameters)
    body = {
        str(job_id): each for job_id, each in parameters.items() if job_id in allowed and is_storable(job_id)
    }
    if body:
        yield Request("PATCH", "/api/jobs/parameters", body)
    if refusal := last_refused(jobsParameterDict, allowed):
        raise refusal
    return None


@job_state_update.adapts
def sendHeartBeat(
    jobID: str | int, dynamicData: dict[Any, Any], staticData: dict[Any, Any], *, call: Call
) -> Conversation:
    """`PATCH /api/jobs/legacy/heartbeat`; perhaps `POST /api/jobs/search` (the heartbeat is none).

    Differences: none.
    """
    number = reported_id(jobID)
    try:
        beat = heartbeat_of(dynamicData, staticData)
        check_selectable(number)
    except (Refusal, UnfitArgument):
        yield from _check(call, jobID)
        raise
    body: dict[str, Any] = {"dynamic": measurements(beat.measured), "static": dict(beat.parameters)}
    if beat.moment is not None:
        body["moment"] = beat.moment.isoformat()
    try:
        commands = yield Request("PATCH", "/api/jobs/legacy/heartbeat", {str(number): body})
    except RestFailure as failure:
        _explain(failure, call, jobID, f"Job {jobID} not found")
        raise
    return {each["command"]: each["arguments"] for each in commands}


@job_state_update.adapts
def updateJobFromStager(jobID: str | int, status: str, *, call: Call) -> Conversation:
    """`POST /api/jobs/search`, up to ten times with a second between, until the job is in Staging; then
    `PATCH /api/jobs/status`.

    Differences: a job of which nothing was logged is served, DIRAC refuses it.
    """
    number = reported_id(jobID)
    for trial in range(staging.TRIALS):
        rows = yield from _search([number] if is_storable(number) else [], (*WHOSE, "Status"))
        if not _allowed(call, rows.get(number)):
            raise not_authorized(jobID)
        check_selectable(number)
        if number not in rows:
            return NO_MATCHING_JOB
        if rows[number]["Status"] == staging.STAGING:
            change = yield from _send(number, [staging.stager_update(status)])
            return staging.found_staging(trial) if trial else dirac_answer(change)
        yield Pause(staging.PAUSE)
    return staging.not_staging()


def _check(call: Call, job_id: str | int, *, look: bool = False) -> Generator[Step, Any, bool]:
    """Whether there is such a job.  Raises Refusal for a caller who may not report on it.

    Of a caller who may report on any job this is asked only with ``look``; else the answer is True.
    """
    number = reported_id(job_id)
    if not look and is_privileged(call.identity.properties):
        return True
    rows = yield from _search([number] if is_storable(number) else [], WHOSE)
    if not _allowed(call, rows.get(number)):
        raise not_authorized(job_id)
    return number in rows


def _reportable(call: Call, job_ids: Iterable[int]) -> Generator[Step, Any, set[int]]:
    """The ids that the caller may report on."""
    ids = list(job_ids)
    if is_privileged(call.identity.properties):
        return set(ids)
    rows = yield from _search([each for each in ids if is_storable(each)], WHOSE)
    return {job_id for job_id in ids if _allowed(call, rows.get(job_id))}


def _search(job_ids: Sequence[int], names: Sequence[str]) -> Generator[Step, Any, dict[int, dict[str, Any]]]:
    rows = yield from search_in(SEARCH, ["JobID", *names], "JobID", job_ids, "JobID")
    return {row["JobID"]: row for row in rows}


def _allowed(call: Call, job: dict[str, Any] | None) -> bool:
    caller = call.identity
    return may_report(job, username=caller.username, group=caller.group, properties=caller.properties)
