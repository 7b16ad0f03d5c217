"""Jobs: search and summary (rest-diracx.md, 6.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rest_backend.models.search import Conditions, Paging, SearchParams, SummaryParams
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import QUERY_JOBS, sees_all_jobs
from rest_backend.resources.answers import paged
from rest_backend.resources.pseudo_parameters import resolved
from shared_db.queries.conditions import Condition
from shared_db.queries.job_selections import ids_of_jobs
from shared_db.queries.pilots import jobs_of_stamps
from shared_db.queries.search import Search, find_page, summarise
from shared_db.queries.statuses import logging_by_job
from shared_db.schema.job_db import Jobs

LOGGING_INFO = "LoggingInfo"
PILOT_STAMP = "PilotStamp"


async def search_jobs(context: Context, body: SearchParams | None, paging: Paging) -> Answer:
    """Jobs that meet all conditions, a page at a time.

    Two pseudo-parameters: ``PilotStamp`` (a condition) means the jobs that a pilot ran, ``LoggingInfo``
    (a column) adds each job's history.
    """
    search = await _meant(context, (body or SearchParams()).search_for(paging))
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


async def summarise_jobs(context: Context, body: SummaryParams, _parameters: None) -> Answer:
    """Numbers of jobs by some columns; ``PilotStamp`` may be a condition as in searches."""
    search = await _meant(context, Search(conditions=[spec.condition() for spec in body.search]))
    return Answer(await summarise(context.work, Jobs, body.grouping, search.conditions))


async def list_ids(context: Context, body: Conditions, _parameters: None) -> Answer:
    """The ids of all jobs that meet all conditions, ascending."""
    search = await _meant(context, Search(conditions=[spec.condition() for spec in body.search]))
    return Answer(await ids_of_jobs(context.work, search.conditions))


async def _meant(context: Context, search: Search) -> Search:
    """The search in terms of columns, limited to what the caller may see."""
    search = await resolved(
        search,
        PILOT_STAMP,
        "JobID",
        lambda stamps: jobs_of_stamps(context.work, [str(each) for each in stamps]),
    )
    if sees_all_jobs(context):
        return search
    return replace(search, conditions=[*search.conditions, Condition("Owner", "eq", context.caller.username)])


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
        "jobs_list_ids",
        "POST",
        "/api/jobs/ids/search",
        list_ids,
        QUERY_JOBS,
        body=Conditions,
        response=list[int],
        extension=True,
    ),
    Operation(
        "jobs_summary",
        "POST",
        "/api/jobs/summary",
        summarise_jobs,
        QUERY_JOBS,
        body=SummaryParams,
        response=list[dict[str, Any]],
    ),
)
