"""Jobs report: statuses, heartbeats, attributes and parameters (rest-diracx.md, 6.4 and 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rest_backend.errors import Forbidden, RestError
from rest_backend.models.job_reports import (
    AttributeUpdates,
    ChangedJobs,
    ChangedParameters,
    HeartbeatData,
    Heartbeats,
    JobAttributes,
    JobCommand,
    JobMetaData,
    LegacyHeartbeat,
    LegacyHeartbeats,
    MetadataUpdates,
    ParameterUpdates,
    as_text,
)
from rest_backend.models.jobs import JobStatusQuery, JobStatusUpdate, JobStatusUpdates, SetJobStatusReturn
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import REPORT_ON_JOBS
from shared_db.queries.heartbeats import add_heartbeats
from shared_db.queries.jobs import locked_jobs, set_job_attributes
from shared_db.queries.parameters import set_job_parameters
from shared_db.queries.statuses import set_job_statuses
from shared_db.rules.clock import to_column
from shared_db.rules.heartbeats import HeartBeat, kept_output
from shared_db.rules.metadata import divided
from shared_db.rules.refusals import Refusal
from shared_db.rules.status_updates import DIRAC, DIRACX, Policy, StatusUpdate
from shared_db.schema.job_db import Jobs

STANDARD_OUTPUT = "StandardOutput"


async def patch_job_statuses(
    context: Context, body: Mapping[int, Mapping[datetime, JobStatusUpdate]], query: JobStatusQuery
) -> Answer:
    """Apply time-stamped status updates; an illegal transition is no error, the status stays."""
    if query.force and not context.caller.has("JobAdministrator"):
        raise Forbidden
    updates = {
        job_id: [_update(job_id, *each) for each in moments.items()] for job_id, moments in body.items()
    }
    success = await set_job_statuses(context.work, updates, force=query.force)
    failed = {job_id: {"detail": "Not found"} for job_id in body if job_id not in success}
    answer = {"success": success, "failed": failed}
    if not success:
        raise RestError(404, answer)
    return Answer(answer)


def _update(job_id: int, moment: datetime, update: JobStatusUpdate) -> StatusUpdate:
    if moment.tzinfo is None:
        raise RestError(400, f"Timestamp {moment} is not timezone aware for job {job_id}")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise RestError(400, f"Timestamp {moment} is out of range for job {job_id}") from error
    return StatusUpdate(
        utc, update.Status, update.MinorStatus, update.ApplicationStatus, update.Source or "Unknown"
    )


async def add_heartbeat(context: Context, beats: Mapping[int, HeartbeatData], _parameters: None) -> Answer:
    """Note that jobs are alive, with what they measured; answers the commands that wait for them.

    Each command is delivered once.  A Matched or Stalled job is Running now.
    """
    heard = {
        job_id: HeartBeat(
            beat.model_dump(exclude={STANDARD_OUTPUT}, exclude_none=True),
            {} if beat.StandardOutput is None else {STANDARD_OUTPUT: kept_output(beat.StandardOutput)},
        )
        for job_id, beat in beats.items()
    }
    return await _heard(context, heard, DIRACX)


async def add_legacy_heartbeat(
    context: Context, beats: Mapping[int, LegacyHeartbeat], _parameters: None
) -> Answer:
    """Note heartbeats as JobStateUpdate does: any names, and a job is Running whatever it was."""
    heard = {job_id: HeartBeat(beat.dynamic, beat.static, beat.moment) for job_id, beat in beats.items()}
    return await _heard(context, heard, DIRAC)


async def _heard(context: Context, beats: Mapping[int, HeartBeat], policy: Policy) -> Answer:
    answer = await add_heartbeats(context.work, beats, policy=policy)
    if answer.missing:
        raise _not_found(answer.missing[0])
    return Answer(
        [
            JobCommand(job_id=each.job_id, command=each.command, arguments=each.arguments)
            for each in answer.commands
        ]
    )


def _not_found(job_id: int) -> RestError:
    return RestError(404, f"Job {job_id} not found")


async def patch_metadata(context: Context, updates: Mapping[int, JobMetaData], _parameters: None) -> Answer:
    """Set the Site of jobs, and job parameters: every name that is no attribute of jobs."""
    sites, parameters = {}, {}
    for job_id, metadata in updates.items():
        try:
            attributes, free = divided(metadata.given(), Jobs.c.keys())
        except Refusal as refusal:
            raise RestError(400, refusal.message) from refusal
        if attributes:
            sites[job_id] = attributes
        if free:
            parameters[job_id] = {name: as_text(value) for name, value in free.items()}
    if parameters:
        there = {row.JobID for row in await locked_jobs(context.work, updates)}
        if missing := parameters.keys() - there:
            raise _not_found(min(missing))
        await set_job_parameters(context.work, parameters)
    await set_job_attributes(context.work, sites)
    return Answer(None, 204)


async def patch_attributes(
    context: Context, updates: Mapping[int, JobAttributes], _parameters: None
) -> Answer:
    """Set attributes of jobs as JobStateUpdate's setJobAttribute does; nothing is logged.

    A status that the state machine does not allow is left out in silence.  Jobs that do not exist, and those
    that had the values already, are not counted.
    """
    values = {job_id: _columns(attributes) for job_id, attributes in updates.items()}
    try:
        changed = await set_job_attributes(context.work, values)
    except Refusal as refusal:
        raise RestError(400, refusal.message) from refusal
    return Answer(ChangedJobs(changed=changed))


def _columns(attributes: JobAttributes) -> dict[str, object]:
    given = attributes.model_dump(exclude_none=True)
    return {name: to_column(value) if isinstance(value, datetime) else value for name, value in given.items()}


async def patch_parameters(
    context: Context, updates: Mapping[int, Mapping[str, str]], _parameters: None
) -> Answer:
    """Set job parameters of any name, also of one that means something else to ``/api/jobs/metadata``.

    Jobs that do not exist are left out.
    """
    return Answer(ChangedParameters(changed=await set_job_parameters(context.work, updates)))


OPERATIONS = (
    Operation(
        "jobs_set_job_statuses",
        "PATCH",
        "/api/jobs/status",
        patch_job_statuses,
        REPORT_ON_JOBS,
        body=JobStatusUpdates,
        parameters=JobStatusQuery,
        response=SetJobStatusReturn,
        writes=True,
    ),
    Operation(
        "jobs_add_heartbeat",
        "PATCH",
        "/api/jobs/heartbeat",
        add_heartbeat,
        REPORT_ON_JOBS,
        body=Heartbeats,
        response=list[JobCommand],
        writes=True,
    ),
    Operation(
        "jobs_patch_metadata",
        "PATCH",
        "/api/jobs/metadata",
        patch_metadata,
        REPORT_ON_JOBS,
        body=MetadataUpdates,
        statuses=(204,),
        writes=True,
    ),
    Operation(
        "jobs_add_legacy_heartbeat",
        "PATCH",
        "/api/jobs/legacy/heartbeat",
        add_legacy_heartbeat,
        REPORT_ON_JOBS,
        body=LegacyHeartbeats,
        response=list[JobCommand],
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_patch_attributes",
        "PATCH",
        "/api/jobs/attributes",
        patch_attributes,
        REPORT_ON_JOBS,
        body=AttributeUpdates,
        response=ChangedJobs,
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_patch_parameters",
        "PATCH",
        "/api/jobs/parameters",
        patch_parameters,
        REPORT_ON_JOBS,
        body=ParameterUpdates,
        response=ChangedParameters,
        writes=True,
        extension=True,
    ),
)
