"""Jobs: search and status updates (rest-diracx.md, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rest_backend.errors import Forbidden, RestError
from rest_backend.models.jobs import JobStatusQuery, JobStatusUpdate, JobStatusUpdates, SetJobStatusReturn
from rest_backend.models.search import Paging, SearchParams
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import MANAGE_JOBS, QUERY_JOBS
from rest_backend.resources.answers import paged
from rest_backend.resources.pseudo_parameters import resolved
from shared_db.queries.pilots import jobs_of_stamps
from shared_db.queries.search import find_page
from shared_db.queries.statuses import logging_by_job, set_job_statuses
from shared_db.rules.status_updates import StatusUpdate
from shared_db.schema.job_db import Jobs

LOGGING_INFO = "LoggingInfo"
PILOT_STAMP = "PilotStamp"


async def search_jobs(context: Context, body: SearchParams | None, paging: Paging) -> Answer:
    """Jobs that meet all conditions, a page at a time.

    Two pseudo-parameters: ``PilotStamp`` (a condition) means the jobs that a pilot ran, ``LoggingInfo``
    (a column) adds each job's history.
    """
    search = (body or SearchParams()).search_for(paging)
    search = await resolved(
        search,
        PILOT_STAMP,
        "JobID",
        lambda stamps: jobs_of_stamps(context.work, [str(each) for each in stamps]),
    )
    wants_logging = search.columns is not None and LOGGING_INFO in search.columns
    if wants_logging:
        search = replace(search, columns=_besides_logging(search.columns or []))
    page = await find_page(context.work, Jobs, search)
    if wants_logging:
        history = await logging_by_job(context.work, [row["JobID"] for row in page.rows])
        for row in page.rows:
            row[LOGGING_INFO] = history.get(row["JobID"], [])
    return paged(page, paging, "jobs")


def _besides_logging(columns: Any) -> list[str] | None:
    """The real columns asked for beside LoggingInfo; alone it means all, and JobID always comes."""
    others = [name for name in columns if name != LOGGING_INFO]
    return ["JobID", *others] if others else None


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


OPERATIONS = (
    Operation(
        "jobs_search",
        "POST",
        "/api/jobs/search",
        search_jobs,
        QUERY_JOBS,
        body=SearchParams | None,
        parameters=Paging,
        response=list[dict[str, Any]],
        statuses=(200, 206),
    ),
    Operation(
        "jobs_set_job_statuses",
        "PATCH",
        "/api/jobs/status",
        patch_job_statuses,
        MANAGE_JOBS,
        body=JobStatusUpdates,
        parameters=JobStatusQuery,
        response=SetJobStatusReturn,
        writes=True,
    ),
)
