"""Pages of the job monitor and of the site summary over REST: JobMonitoring's, WMSAdministrator's and
WebApp's.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from adaptor.conversation import Conversation, Request, RestFailure, Step
from adaptor.jobs import counted, counting, counts_in, job_page, jobs_of, legacy_job, window
from adaptor.methods.job_monitoring import job_monitoring
from adaptor.methods.web_app import web_app
from adaptor.methods.wms_administrator import wms_administrator
from adaptor.values import LARGEST_PAGE
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.job_pages import PageSort, Window, no_transformations, page_body, page_head, page_sort
from shared_db.rules.job_selections import selectors
from shared_db.rules.pilot_selections import Comparison
from shared_db.rules.refusals import Refusal
from shared_db.rules.site_pages import KnownSite, finished_since, read_page, selectors_of, site_page

KNOWN_SITES = Request("GET", "/api/site-mask/known")


@web_app.adapts
@job_monitoring.adapts
def getJobPageSummaryWeb(
    selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int, selectJobs: Any = True
) -> Conversation:
    """`POST /api/jobs/summary` and perhaps `POST /api/jobs/search`; for PilotJobReference before them
    perhaps `POST /api/pilots/search` and perhaps `POST /api/pilots/jobs/search`.

    Differences: none; conditions on None are the native side's.
    """
    meant, sort = selectors(selectDict), page_sort(sortList)
    jobs = yield from jobs_of(meant)
    wanted = meant.comparisons(jobs)
    if selectJobs and 0 < maxItems <= LARGEST_PAGE and startItem >= 0 and startItem % maxItems == 0:
        page = yield from _at_a_time(wanted, sort, startItem, maxItems)
        if page is not None:
            return page
    [counts] = yield from counted(["Status"], wanted)
    page = page_head(counts)
    if not page["TotalRecords"] or not selectJobs:
        return page
    shown = Window(startItem, maxItems).within(page["TotalRecords"])
    return page | page_body((yield from window(wanted, sort.column(), shown.start, shown.most)))


def _at_a_time(
    wanted: list[Comparison], sort: PageSort, start: int, most: int
) -> Generator[Step, Any, dict[str, Any] | None]:
    """A page that is one of REST's, whose head and body are asked for together.

    None where something is wrong with it: what is answered then depends on how many jobs there are.
    """
    try:
        column = sort.column()
        counts, rows = yield counting(["Status"], wanted), job_page(wanted, column, start // most, most)
    except Refusal:
        return None
    except RestFailure as failure:
        if failure.status != 416:
            raise
        return None
    page = page_head(counts_in(counts, ["Status"]))
    if not page["TotalRecords"]:
        return page
    Window(start, most).within(page["TotalRecords"])
    return page | page_body([legacy_job(row) for row in rows])


@web_app.adapts
@wms_administrator.adapts
def getSiteSummaryWeb(
    selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int
) -> Conversation:
    """`POST /api/jobs/summary` twice and `GET /api/site-mask/known`.  Differences: none."""
    page = read_page(selectDict, sortList, startItem, maxItems)
    columns = ["Site", "Status"]
    *counts, known = yield (
        counting(columns, page.unfinished()),
        counting(columns, finished_since(to_column(utc_now()))),
        KNOWN_SITES,
    )
    unfinished, finished = (counts_in(rows, columns) for rows in counts)
    return site_page(page, unfinished, finished, _known(known))


@web_app.adapts
@wms_administrator.adapts
def getSiteSummarySelectors() -> Conversation:
    """`GET /api/site-mask/known`.  Differences: none."""
    return selectors_of(_known((yield KNOWN_SITES)))


def _known(answer: dict[str, Any]) -> dict[str, KnownSite]:
    return {
        name: KnownSite(site["Tier"], site["MaskStatus"], site["Configured"]) for name, site in answer.items()
    }


@web_app.adapts
def getDistinctAttributeValues(
    attribute: str,  # noqa: ARG001 - nothing is asked
    selectDict: dict[Any, Any],  # noqa: ARG001
) -> Conversation:
    """No request.  Differences: none."""
    yield from ()
    raise no_transformations()


@web_app.adapts
def getTransformationFilesSummaryWeb(
    selectDict: dict[Any, Any],  # noqa: ARG001 - nothing is asked
    sortList: list[Any],  # noqa: ARG001
    startItem: int,  # noqa: ARG001
    maxItems: int,  # noqa: ARG001
) -> Conversation:
    """No request.  Differences: none."""
    yield from ()
    raise no_transformations()


@web_app.adapts
def getTransformationSummaryWeb(
    selectDict: dict[Any, Any],  # noqa: ARG001 - nothing is asked
    sortList: list[Any],  # noqa: ARG001
    startItem: int,  # noqa: ARG001
    maxItems: int,  # noqa: ARG001
) -> Conversation:
    """No request.  Differences: none."""
    yield from ()
    raise no_transformations()
