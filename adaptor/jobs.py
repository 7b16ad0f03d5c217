"""Requests about jobs that several adaptors send, and their answers in DIRAC's form."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from adaptor.conversation import Request, RestFailure, Step
from adaptor.pilots import JOBS as JOBS_OF_PILOTS
from adaptor.pilots import named_by_any
from adaptor.values import LARGEST_PAGE, legacy_flag, legacy_time, search_in, where
from shared_db.rules.job_attributes import FLAGS, JOB_ATTRIBUTES, TIMES
from shared_db.rules.job_counts import Count
from shared_db.rules.job_selections import NO_VALUE, Selectors
from shared_db.rules.pilot_selections import Comparison

SEARCH = "/api/jobs/search"
SUMMARY = "/api/jobs/summary"
IDS = "/api/jobs/ids/search"
# As many jobs as one request tells details of.
MOST_DETAILED = 1_000

Rows = list[dict[str, Any]]
# A column, and whether it is descending.
SortKey = tuple[str, bool]


def searched(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Conditions as a search has them.

    Raises RestFailure (nothing is sent, so that the native side answers) for one that searches have not.
    """
    found = []
    for each in comparisons:
        if each.operator == NO_VALUE:
            raise RestFailure(501, f"no search can ask for jobs without {each.column}", sent=False)
        found.append(where(each.column, each.operator, each.value))
    return found


def legacy_value(column: str, value: Any) -> Any:
    """A column's value as DIRAC gives it."""
    if column in TIMES:
        return legacy_time(value)
    return legacy_flag(value) if column in FLAGS else value


def legacy_job(row: Mapping[str, Any]) -> dict[str, Any]:
    """A job, or some columns of it, as DIRAC gives them."""
    job = dict(row)
    for column in _CONVERTED & job.keys():
        if job[column] is not None:
            job[column] = legacy_value(column, job[column])
    return job


_CONVERTED = TIMES | FLAGS


def found_by_id(job_ids: Sequence[int], columns: Sequence[str]) -> Generator[Step, Any, Rows]:
    """JobID and columns of those of the jobs that exist."""
    rows = yield from search_in(SEARCH, ["JobID", *columns], "JobID", job_ids, "JobID")
    return [legacy_job(row) for row in rows]


def every_id(comparisons: Sequence[Comparison]) -> Generator[Step, Any, list[int]]:
    """The ids of all jobs that meet comparisons, ascending; a backend without our extension tells pages."""
    conditions = searched(comparisons)
    try:
        found: list[int] = yield Request("POST", IDS, {"search": conditions})
    except RestFailure as failure:
        if not failure.not_executed or failure.status == 422:
            raise
        return (yield from _ids_by_pages(conditions))
    return found


def _ids_by_pages(conditions: list[dict[str, Any]]) -> Generator[Step, Any, list[int]]:
    """Each request begins behind the last id of the one before."""
    found: list[int] = []
    while True:
        behind = [where("JobID", "gt", found[-1])] if found else []
        body = {"parameters": ["JobID"], "search": [*conditions, *behind], "sort": _sort("JobID")}
        rows = yield Request("POST", SEARCH, body, {"page": 1, "per_page": LARGEST_PAGE})
        found += [row["JobID"] for row in rows]
        if len(rows) < LARGEST_PAGE:
            return found


def _sort(column: str, *, descending: bool = False) -> list[dict[str, str]]:
    return [{"parameter": column, "direction": "desc" if descending else "asc"}]


def window(
    comparisons: Sequence[Comparison], sort: SortKey | None, start: int, most: int
) -> Generator[Step, Any, Rows]:
    """So many jobs from ``start`` on, sorted by a column and by id, out of the pages that have them."""
    size = _page_size(start, most)
    first = start // size
    rows: Rows = []
    for page in range(first, (start + most - 1) // size + 1):
        try:
            rows += yield job_page(comparisons, sort, page, size)
        except RestFailure as failure:
            if failure.status != 416:  # jobs have gone meanwhile
                raise
            break
    begin = start - first * size
    return [legacy_job(row) for row in rows[begin : begin + most]]


def _page_size(start: int, most: int) -> int:
    """The size of the pages to ask for: if possible, such that one of them has the whole window."""
    sizes = range(most, min(4 * most, LARGEST_PAGE) + 1)
    return next((size for size in sizes if start % size + most <= size), min(most, LARGEST_PAGE))


def job_page(comparisons: Sequence[Comparison], sort: SortKey | None, page: int, size: int) -> Request:
    """One page of whole jobs; pages are counted from 0."""
    column, descending = sort or ("JobID", False)
    body = {
        "parameters": list(JOB_ATTRIBUTES),
        "search": searched(comparisons),
        "sort": _sort(column, descending=descending),
    }
    return Request("POST", SEARCH, body, {"page": page + 1, "per_page": size})


def counting(columns: Sequence[str], comparisons: Sequence[Comparison]) -> Request:
    """Numbers of jobs by columns."""
    return Request("POST", SUMMARY, {"grouping": list(columns), "search": searched(comparisons)})


def counted(
    columns: Sequence[str], *searches: Sequence[Comparison]
) -> Generator[Step, Any, list[list[Count]]]:
    """Numbers of jobs by columns, for each search, asked for at a time."""
    answers = yield tuple(counting(columns, each) for each in searches)
    return [counts_in(rows, columns) for rows in answers]


def values_of(column: str, comparisons: Sequence[Comparison]) -> Generator[Step, Any, list[Any]]:
    """The distinct values of a column."""
    body = {"parameters": [column], "search": searched(comparisons), "distinct": True}
    values: list[Any] = []
    page = 1
    while True:
        try:
            rows = yield Request("POST", SEARCH, body, {"page": page, "per_page": LARGEST_PAGE})
        except RestFailure as failure:
            if failure.status == 416:  # the last page was full
                return values
            raise
        values += [legacy_value(column, row[column]) for row in rows]
        if len(rows) < LARGEST_PAGE:
            return values
        page += 1


def counts_in(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[Count]:
    """The counts of a summary's answer."""
    return [(tuple(legacy_value(name, row[name]) for name in columns), row["count"]) for row in rows]


def jobs_of(meant: Selectors) -> Generator[Step, Any, list[int]]:
    """The jobs that the pilots ran which are asked for; of pilots with one reference the youngest counts."""
    if not meant.pilots:
        return []
    pilots = yield from named_by_any(meant.pilots, ("PilotID", "PilotJobReference"))
    youngest = {pilot["PilotJobReference"]: pilot["PilotID"] for pilot in pilots}
    rows = yield from search_in(
        JOBS_OF_PILOTS, ("PilotID", "JobID"), "PilotID", list(youngest.values()), "JobID"
    )
    return sorted({row["JobID"] for row in rows})


def detailed(path: str, job_ids: Sequence[int], **more: Any) -> Generator[Step, Any, dict[int, Any]]:
    """What a search for details tells, by job."""
    chunks = [list(job_ids[at : at + MOST_DETAILED]) for at in range(0, len(job_ids), MOST_DETAILED)]
    if not chunks:
        return {}
    given = {name: value for name, value in more.items() if value is not None}
    answers = yield tuple(Request("POST", path, {"job_ids": some, **given}) for some in chunks)
    # A REST answer is JSON, whose keys are texts.
    return {int(job_id): value for answer in answers for job_id, value in answer.items()}
