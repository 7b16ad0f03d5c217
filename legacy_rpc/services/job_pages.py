"""Pages of the job monitor and of the site summary: JobMonitoring's and WMSAdministrator's, WebApp's since
DIRAC 9.
"""

from __future__ import annotations

from typing import Any

from legacy_rpc.services.job_lists import jobs_of
from legacy_rpc.services.job_monitoring import job_monitoring
from legacy_rpc.services.older_jobs import OLDER_PAGE
from legacy_rpc.services.table import Context
from legacy_rpc.services.web_app import web_app
from legacy_rpc.services.wms_administrator import wms_administrator
from shared_db.queries.job_selections import counts_by, selected_jobs
from shared_db.queries.site_mask import site_statuses
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.job_pages import Window, no_transformations, page_body, page_head, page_sort
from shared_db.rules.job_policy import LOOKS_AT_ALL
from shared_db.rules.job_selections import selectors
from shared_db.rules.pilot_selections import Comparison
from shared_db.rules.site import site_jobs
from shared_db.rules.site_pages import finished_since, known_sites, read_page, selectors_of, site_page

Page = dict[str, Any]


@web_app.method(dict, list, int, int, since="9.0")
@job_monitoring.method(dict, list, int, int, until="8.0", older=OLDER_PAGE)
async def getJobPageSummaryWeb(
    context: Context,
    selectDict: dict[Any, Any],
    sortList: list[Any],
    startItem: int,
    maxItems: int,
    selectJobs: Any = True,
) -> Page:
    """A page of jobs: ``{"TotalRecords", "Extras": {status: number}, "ParameterNames", "Records"}``.

    ``selectDict`` has conditions as in `getJobs`, and FromDate (or LastUpdate), ToDate, PilotJobReference
    (one or a list; of pilots without jobs nothing is asked, as in DIRAC).  ``sortList`` is ``[[attribute,
    "ASC" or "DESC"]]``; records are in that order, and by id.  ``maxItems`` 0 means all, ``selectJobs`` False
    no records.  No jobs: ``TotalRecords`` alone.  Where GlobalJobsInfo is False only the own jobs are shown,
    but to JobAdministrator, JobMonitor and GenericPilot.  Error: ``Item number out of range``; number 1131
    for unknown attributes.
    """
    meant, sort = selectors(selectDict), page_sort(sortList)
    async with context.databases.unit_of_work() as work:
        wanted = [*meant.comparisons(await jobs_of(work, meant)), *_only_own(context)]
        page = page_head(await counts_by(work, ["Status"], wanted))
        if not page["TotalRecords"] or not selectJobs:
            return page
        window = Window(startItem, maxItems).within(page["TotalRecords"])
        rows = await selected_jobs(work, wanted, sort.column(), window.start, window.most)
    return page | page_body([row._asdict() for row in rows])


def _only_own(context: Context) -> list[Comparison]:
    """What limits a caller to the own jobs, where there is such a limit."""
    caller = context.call.identity
    if caller.has(*LOOKS_AT_ALL) or site_jobs(context.registry.cfg, caller.vo or "").all_may_look:
        return []
    return [Comparison("Owner", "eq", caller.username)]


@web_app.method(dict, list, int, int, since="9.0")
@wms_administrator.method(dict, list, int, int, until="8.0")
async def getSiteSummaryWeb(
    context: Context, selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int
) -> Page:
    """Numbers of jobs by site and status: ``{"ParameterNames", "Records", "TotalRecords", "Extras"}``.

    Jobs that have ended count if they did within the last day, others if they were updated at or after
    ``LastUpdateTime`` of the ``selectDict``; its other conditions are on the columns.  ``Extras`` has the
    numbers by country.  ``maxItems`` 0 means all.  The mask of sites, else ResourceStatusSystem, gives
    ``MaskStatus``.
    """
    page = read_page(selectDict, sortList, startItem, maxItems)
    async with context.databases.unit_of_work() as work:
        unfinished = await counts_by(work, ["Site", "Status"], page.unfinished())
        finished = await counts_by(work, ["Site", "Status"], finished_since(to_column(utc_now())))
        statuses = await site_statuses(work, context.call.identity.vo or "")
    return site_page(page, unfinished, finished, known_sites(context.registry.cfg, statuses))


@web_app.method(since="9.0")
@wms_administrator.method(until="8.0")
async def getSiteSummarySelectors(context: Context) -> dict[str, list[str]]:
    """``{"Status", "MaskStatus", "Country", "Site"}``: by what the site summary can be narrowed down."""
    return selectors_of(known_sites(context.registry.cfg, {}))


@web_app.method(str, dict, since="9.0")
async def getDistinctAttributeValues(
    context: Context,
    attribute: str,
    selectDict: dict[Any, Any],
) -> None:
    """Values of transformations: always the error of a site that has no Transformation System."""
    raise no_transformations()


@web_app.method(dict, list, int, int, since="9.0")
async def getTransformationFilesSummaryWeb(
    context: Context,
    selectDict: dict[Any, Any],
    sortList: list[Any],
    startItem: int,
    maxItems: int,
) -> None:
    """A page of files of transformations: always the error of a site that has no Transformation System."""
    raise no_transformations()


@web_app.method(dict, list, int, int, since="9.0")
async def getTransformationSummaryWeb(
    context: Context,
    selectDict: dict[Any, Any],
    sortList: list[Any],
    startItem: int,
    maxItems: int,
) -> None:
    """A page of transformations: always the error of a site that has no Transformation System."""
    raise no_transformations()
