"""What a pilot does with a token of its own (rest-diracx.md, section 7, unreleased routes)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.models.job_reports import (
    HeartbeatData,
    Heartbeats,
    JobCommand,
    JobMetaData,
    MetadataUpdates,
)
from rest_backend.models.jobs import JobStatusQuery, JobStatusUpdate, JobStatusUpdates, SetJobStatusReturn
from rest_backend.models.pilot_work import PilotInfo, PilotMessage
from rest_backend.models.pilots import PilotMetadata
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.pilots import PILOT_ITSELF, PILOTS_OWN_JOBS
from rest_backend.resources.job_reports import add_heartbeat, patch_job_statuses, patch_metadata
from rest_backend.resources.pilot_logs import keep_lines
from rest_backend.resources.pilots import columns_of
from shared_db.queries.pilot_jobs import pilots_of_stamps
from shared_db.queries.pilots import update_pilots


async def pilot_info(context: Context, _body: None, _query: None) -> Answer:
    """Who the pilot's token says it is."""
    pilot = context.caller
    return Answer(PilotInfo(sub=f"{pilot.vo}:{pilot.subject}", vo=pilot.vo, pilot_stamp=pilot.pilot_stamp))


async def message(context: Context, given: PilotMessage, _query: None) -> Answer:
    """Keep lines that the pilot says of itself."""
    pilot = context.caller
    if given.pilot_stamp not in (None, pilot.pilot_stamp):
        raise Forbidden("A pilot can only speak for itself.")
    return await keep_lines(context, pilot.pilot_stamp, pilot.vo, given.lines)


async def own_metadata(context: Context, metadata: PilotMetadata, _query: None) -> Answer:
    """Set fields of the pilot itself; after a final status its tokens are refused."""
    caller = context.caller
    known = await pilots_of_stamps(context.work, [caller.pilot_stamp])
    own = [pilot.pilot_id for pilot in known if pilot.vo == caller.vo and not pilot.ended]
    await update_pilots(context.work, "PilotID", own, columns_of(metadata))
    return Answer(None, 204)


async def own_job_statuses(
    context: Context, body: Mapping[int, Mapping[datetime, JobStatusUpdate]], _query: Any
) -> Answer:
    """Time-stamped status updates of the pilot's own jobs, as on ``/api/jobs/status``, never forced."""
    return await patch_job_statuses(context, body, JobStatusQuery())


async def own_heartbeats(context: Context, beats: Mapping[int, HeartbeatData], _query: None) -> Answer:
    """Signs of life of the pilot's own jobs; answers the commands that wait for them."""
    return await add_heartbeat(context, beats, None)


async def own_job_metadata(context: Context, updates: Mapping[int, JobMetaData], _query: None) -> Answer:
    """Site and parameters of the pilot's own jobs, as on ``/api/jobs/metadata``."""
    return await patch_metadata(context, updates, None)


OPERATIONS = (
    Operation(
        "pilots_get_pilot_info",
        "GET",
        "/api/pilots/internal/pilotinfo",
        pilot_info,
        PILOT_ITSELF,
        response=PilotInfo,
        extension=True,
    ),
    Operation(
        "pilots_send_message",
        "POST",
        "/api/pilots/internal/message",
        message,
        PILOT_ITSELF,
        body=PilotMessage,
        statuses=(204,),
        errors=(413,),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "pilots_update_own_metadata",
        "PATCH",
        "/api/pilots/internal/metadata",
        own_metadata,
        PILOT_ITSELF,
        body=PilotMetadata,
        statuses=(204,),
        writes=True,
        extension=True,
    ),
    Operation(
        "pilots_set_own_job_statuses",
        "PATCH",
        "/api/pilots/internal/jobs/status",
        own_job_statuses,
        PILOTS_OWN_JOBS,
        body=JobStatusUpdates,
        response=SetJobStatusReturn,
        errors=(400, 404),
        writes=True,
        extension=True,
    ),
    Operation(
        "pilots_add_own_heartbeats",
        "PATCH",
        "/api/pilots/internal/jobs/heartbeat",
        own_heartbeats,
        PILOTS_OWN_JOBS,
        body=Heartbeats,
        response=list[JobCommand],
        errors=(400, 404),
        writes=True,
        extension=True,
    ),
    Operation(
        "pilots_update_own_job_metadata",
        "PATCH",
        "/api/pilots/internal/jobs/metadata",
        own_job_metadata,
        PILOTS_OWN_JOBS,
        body=MetadataUpdates,
        statuses=(204,),
        errors=(400, 404),
        writes=True,
        extension=True,
    ),
)
