"""Which pilots run which jobs (rest-diracx.md, section 7)."""

from __future__ import annotations

from typing import Any

from rest_backend.errors import RestError
from rest_backend.models.pilot_work import PilotJobs, PilotJobsQuery
from rest_backend.models.search import Paging, SearchParams
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import JOBS_OF_PILOTS
from rest_backend.policies.pilots import OPERATE_PILOTS, READ_PILOT_LOGS, may_read_of
from rest_backend.resources.answers import paged
from shared_db.queries.pilot_jobs import (
    KnownPilot,
    associate_jobs,
    jobs_of_pilots,
    known_pilots,
    pilots_of_stamps,
)
from shared_db.queries.pilots import pilots_of_jobs
from shared_db.queries.search import find_page
from shared_db.schema.pilot_agents_db import JobToPilotMapping


async def search_pilot_jobs(context: Context, body: SearchParams | None, paging: Paging) -> Answer:
    """Which pilots ran which jobs: columns PilotID, JobID, StartTime, a page at a time."""
    search = (body or SearchParams()).search_for(paging)
    return paged(await find_page(context.work, JobToPilotMapping, search), paging, "jobs")


async def pilot_jobs(context: Context, _body: None, query: PilotJobsQuery) -> Answer:
    """The ids of the jobs that a pilot ran, or of the pilots that ran a job."""
    if query.pilot_stamp is not None:
        pilots = readable(context, await pilots_of_stamps(context.work, [query.pilot_stamp]))
        return Answer(await jobs_of_pilots(context.work, [pilot.pilot_id for pilot in pilots]))
    if query.job_id is not None:
        pilot_ids = await pilots_of_jobs(context.work, [query.job_id])
        pilots = readable(context, await known_pilots(context.work, pilot_ids))
        return Answer([pilot.pilot_id for pilot in pilots])
    raise RestError(400, "You must provide either pilot_stamp or job_id")


def readable(context: Context, pilots: list[KnownPilot]) -> list[KnownPilot]:
    """Those of the pilots that the caller may know of."""
    return [pilot for pilot in pilots if may_read_of(context.caller, pilot.vo)]


async def add_pilot_jobs(context: Context, given: PilotJobs, _query: None) -> Answer:
    """Note that a pilot runs jobs, none of which it ran before.

    A stamp that several pilots share means the youngest.
    """
    if given.pilot_id is not None:
        pilots = await known_pilots(context.work, [given.pilot_id], lock=True)
    else:
        pilots = await pilots_of_stamps(context.work, [given.pilot_stamp or ""], lock=True)
    if not pilots:
        raise RestError(400, "This pilot does not exist.")
    await associate_jobs(context.work, [pilots[-1].pilot_id], given.job_ids)
    return Answer(None, 204)


OPERATIONS = (
    Operation(
        "pilots_search_pilot_jobs",
        "POST",
        "/api/pilots/jobs/search",
        search_pilot_jobs,
        JOBS_OF_PILOTS,
        body=SearchParams | None,
        parameters=Paging,
        response=list[dict[str, Any]],
        statuses=(200, 206),
        errors=(400, 416),
        extension=True,
    ),
    Operation(
        "pilots_get_pilot_jobs",
        "GET",
        "/api/pilots/jobs",
        pilot_jobs,
        READ_PILOT_LOGS,
        parameters=PilotJobsQuery,
        response=list[int],
        errors=(400,),
        extension=True,
    ),
    Operation(
        "pilots_add_jobs_to_pilot",
        "PATCH",
        "/api/pilots/jobs",
        add_pilot_jobs,
        OPERATE_PILOTS,
        body=PilotJobs,
        statuses=(204,),
        errors=(400, 409),
        writes=True,
        extension=True,
    ),
)
