"""WorkloadManagement/JobStateUpdate (legacy-methods.md, section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from legacy_rpc.messages import Failure, Write
from legacy_rpc.services.table import Context, Service
from shared_db.connection import UnitOfWork
from shared_db.queries.heartbeats import add_heartbeats
from shared_db.queries.jobs import job_attributes, set_job_attributes
from shared_db.queries.parameters import set_job_parameters
from shared_db.queries.statuses import set_job_statuses
from shared_db.rules import staging
from shared_db.rules.job_reports import (
    NO_MATCHING_JOB,
    WHOSE,
    attribute_answer,
    attribute_value,
    bulk_updates,
    check_selectable,
    given_parameters,
    heartbeat_of,
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
from shared_db.rules.status_updates import DIRAC, StatusUpdate, dirac_answer

job_state_update = Service(
    "WorkloadManagement/JobStateUpdate",
    handler_class="JobStateUpdateHandlerMixin",
    about=(
        "A job's id is a number or its text. Who is not its owner, a member of its group (where that has"
        " JobSharing), GenericPilot, JobAdministrator, TrustedHost or Operator, or names no job, is told"
        " `Not authorized to modify job N`; the last three of those may name no job."
    ),
)

JOB = [str, int]
Names = tuple[list[str], list[str]]


@job_state_update.method(JOB, str, str, str, write=Write.APPEND)
async def setJobStatus(
    context: Context,
    jobID: str | int,
    status: str = "",
    minorStatus: str = "",
    source: str = "Unknown",
    datetime: Any = None,
    force: Any = False,
) -> Names | None:
    """Set status and minor status; answers `(names, values)` of what was set but for the status.

    `datetime` (`2026-11-21 20:59:57`, UTC) is when it was, now without; an update that is older than the last
    one is logged only. A status that the state machine does not allow is no error, the job stays where it is;
    `force` goes round the machine, and is ignored for others than JobAdministrator. None where there is
    nothing to set. Errors: `No Matching Job`, `getNextState: 'Bogus' is not a valid state`, `No Logging Info
    for job N`.
    """

    def updates() -> list[StatusUpdate]:
        return status_updates(status, minorStatus, source=source, moment=datetime)

    return await _update(context, jobID, updates, force)


@job_state_update.method(JOB, dict, write=Write.APPEND)
async def setJobStatusBulk(
    context: Context, jobID: str | int, statusDict: dict[Any, Any], force: Any = False
) -> Names | None:
    """Set what a job reports of several moments: `{time: {"Status", "MinorStatus", "ApplicationStatus",
    "Source"}}`, empty texts left out.

    All of it is logged, the newest counts. Answers and errors as `setJobStatus`.
    """
    return await _update(context, jobID, lambda: bulk_updates(statusDict), force)


@job_state_update.method(JOB, str, str, write=Write.APPEND)
async def setJobApplicationStatus(
    context: Context, jobID: str | int, appStatus: str, source: str = "Unknown"
) -> Names | None:
    """Set the application status now. Answers and errors as `setJobStatus`."""
    return await _update(context, jobID, lambda: status_updates(application=appStatus, source=source))


async def _update(
    context: Context, job_id: str | int, updates: Callable[[], Sequence[StatusUpdate]], force: Any = False
) -> Names | None:
    """Who may report on the job comes first, then what is reported, then whether there is a job."""
    number = reported_id(job_id)
    forced = may_force(force, context.call.identity.properties)
    async with context.databases.unit_of_work(write=True) as work:
        await _check(context, work, job_id)
        wanted = updates()
        if not wanted:
            return None
        check_selectable(number)
        changes = await set_job_statuses(work, {number: wanted}, policy=DIRAC, force=forced)
    if number not in changes:
        raise Failure(NO_MATCHING_JOB)
    return dirac_answer(changes[number])


@job_state_update.method(JOB, str, str, write=Write.IDEMPOTENT)
async def setJobAttribute(context: Context, jobID: str | int, attribute: str, value: str) -> int | None:
    """Set Status, MinorStatus, ApplicationStatus, Site, StartExecTime, EndExecTime or HeartBeatTime;
    nothing is logged. Answers how many rows changed, as MySQL counts them: of a new Status 2, else 1 or 0.

    An illegal status is no error, and 0. `Job attribute 'Owner' cannot be modified through JobStateUpdate`
    for any other attribute; MySQL's errors 1406 and 1292 for texts too long and for what is no time.
    """
    check_settable(attribute)
    return await _set_attribute(context, jobID, attribute, value)


@job_state_update.method(JOB, str, write=Write.IDEMPOTENT)
async def setJobSite(context: Context, jobID: str | int, site: str) -> int | None:
    """Set the site of a job; answers 1, or 0 where it is the same already or there is no such job."""
    return await _set_attribute(context, jobID, "Site", site)


async def _set_attribute(context: Context, job_id: str | int, attribute: str, value: str) -> int | None:
    number = reported_id(job_id)
    async with context.databases.unit_of_work(write=True) as work:
        exists = await _check(context, work, job_id)
        if attribute == "Status":
            check_selectable(number)
        wanted = {attribute: attribute_value(attribute, value)}
        changed = await set_job_attributes(work, {number: wanted}) if exists else 0
    return attribute_answer(attribute, exists=exists, changed=changed)


@job_state_update.method(JOB, str, write=Write.IDEMPOTENT, until="8.0")
async def setJobFlag(context: Context, jobID: str | int, flag: str) -> int:
    """Always `Job flag 'X' cannot be modified through JobStateUpdate`, as in DIRAC's last releases that
    have it.
    """
    raise no_flag(flag)


@job_state_update.method(JOB, str, write=Write.IDEMPOTENT, until="8.0")
async def unsetJobFlag(context: Context, jobID: str | int, flag: str) -> int:
    """As `setJobFlag`."""
    raise no_flag(flag)


@job_state_update.method(JOB, str, str, write=Write.IDEMPOTENT)
async def setJobParameter(context: Context, jobID: str | int, name: str, value: str) -> None:
    """Set a job parameter, in place of one of this name; answers None."""
    await _set_parameters(context, jobID, [(name, value)])


@job_state_update.method(JOB, list, write=Write.IDEMPOTENT)
async def setJobParameters(context: Context, jobID: str | int, parameters: list[Any]) -> None:
    """Set job parameters, a list of pairs of a name and a value; answers None."""
    await _set_parameters(context, jobID, parameters)


async def _set_parameters(context: Context, job_id: str | int, pairs: Sequence[Any]) -> None:
    number = reported_id(job_id)
    async with context.databases.unit_of_work(write=True) as work:
        exists = await _check(context, work, job_id)
        parameters = given_parameters(pairs)
        if exists:
            await set_job_parameters(work, {number: parameters})


@job_state_update.method(dict, write=Write.IDEMPOTENT)
async def setJobsParameter(context: Context, jobsParameterDict: dict[Any, Any]) -> None:
    """Set a parameter of each of some jobs, `{job: (name, value)}`; answers None.

    `Not authorized to modify job N` names the last one that is not the caller's to change; those of the
    others are set nevertheless.
    """
    parameters = parameters_of_jobs(jobsParameterDict)
    async with context.databases.unit_of_work(write=True) as work:
        allowed = await _reportable(context, work, parameters)
        await set_job_parameters(
            work, {job_id: each for job_id, each in parameters.items() if allowed.get(job_id)}
        )
    if refusal := last_refused(jobsParameterDict, allowed):
        raise refusal


@job_state_update.method(JOB, dict, dict, write=Write.APPEND)
async def sendHeartBeat(
    context: Context, jobID: str | int, dynamicData: dict[Any, Any], staticData: dict[Any, Any]
) -> dict[str, str]:
    """Note that a job is alive: it is Running now, whatever it was.

    `dynamicData` are measurements by name, `staticData` becomes job parameters. A `HeartBeatTime` among the
    measurements is when that was; then only a Matched or Stalled job is Running. Answers the commands that
    wait for the job, `{}` or `{"Kill": ""}`, each once. Error: `Job N not found`.
    """
    number = reported_id(jobID)
    async with context.databases.unit_of_work(write=True) as work:
        await _check(context, work, jobID)
        beat = heartbeat_of(dynamicData, staticData)
        check_selectable(number)
        answer = await add_heartbeats(work, {number: beat}, policy=DIRAC)
    if answer.missing:
        raise Failure(f"Job {jobID} not found")
    return {each.command: each.arguments for each in answer.commands}


@job_state_update.method(JOB, str, write=Write.APPEND)
async def updateJobFromStager(context: Context, jobID: str | int, status: str) -> Names | str | None:
    """What the stager says of a job's input files: with `Done` a job in Staging goes on to Checking, with
    anything else it stays there as `Staging input files failed`.

    Waits up to 10 s for the job to be in Staging. Answers as `setJobStatus`, or a text: `No Matching Job`,
    `Job is not in Staging after 10 seconds`, `Found job in Staging after N seconds`.
    """
    for trial in range(staging.TRIALS):
        # A unit of work of its own, which only reads: nothing is open during the wait, and to repeat it does
        # no harm.
        found = await _status(context, jobID)
        if found is None:
            return NO_MATCHING_JOB
        if found == staging.STAGING:
            answer = await _staged(context, reported_id(jobID), status)
            return staging.found_staging(trial) if trial else answer
        await asyncio.sleep(staging.PAUSE)
    return staging.not_staging()


async def _status(context: Context, job_id: str | int) -> str | None:
    """The status of a job that the caller may report on; None: there is none."""
    number = reported_id(job_id)
    async with context.databases.unit_of_work() as work:
        exists = await _check(context, work, job_id)
        check_selectable(number)
        rows = await job_attributes(work, [number], ("Status",)) if exists else []
    return rows[0].Status if rows else None


async def _staged(context: Context, job_id: int, status: str) -> Names | None:
    async with context.databases.unit_of_work(write=True) as work:
        changes = await set_job_statuses(work, {job_id: [staging.stager_update(status)]}, policy=DIRAC)
    return dirac_answer(changes[job_id]) if job_id in changes else None


async def _check(context: Context, work: UnitOfWork, job_id: str | int) -> bool:
    """Whether there is such a job.  Raises Refusal for a caller who may not report on it."""
    number = reported_id(job_id)
    allowed = await _reportable(context, work, [number])
    if number not in allowed:
        raise not_authorized(job_id)
    return allowed[number]


async def _reportable(context: Context, work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, bool]:
    """The ids that the caller may report on, and whether there is such a job."""
    ids = list(job_ids)
    caller = context.call.identity
    rows = await job_attributes(work, [each for each in ids if is_storable(each)], WHOSE)
    jobs = {row.JobID: dict(zip(WHOSE, row[1:], strict=True)) for row in rows}
    return {
        job_id: job_id in jobs
        for job_id in ids
        if may_report(
            jobs.get(job_id), username=caller.username, group=caller.group, properties=caller.properties
        )
    }
