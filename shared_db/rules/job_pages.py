"""Pages of the job monitor (legacy-methods.md, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared_db.rules.job_attributes import JOB_ATTRIBUTES
from shared_db.rules.job_counts import Count, statistics
from shared_db.rules.job_selections import mysql_refusal, named_column
from shared_db.rules.refusals import Refusal, UnfitArgument

PAGE_COLUMNS = (*JOB_ATTRIBUTES, "LastSignOfLife")
OUT_OF_RANGE = "Item number out of range"


@dataclass(frozen=True, slots=True)
class PageSort:
    """What a page is sorted by, besides JobID, as it was written; it is judged when there is a page."""

    written: str | None = None

    def column(self) -> tuple[str, bool] | None:
        """The column and whether it is descending.  Raises Refusal."""
        if self.written is None:
            return None
        name, _, direction = self.written.partition(":")
        if direction.upper() not in ("ASC", "DESC"):
            raise mysql_refusal("Invalid orderAttribute argument")
        return named_column(name, "orderAttribute", "ORDER BY"), direction.upper() == "DESC"


def page_sort(sort_list: Sequence[Any]) -> PageSort:
    """The sort of a page; of several keys the first counts.  Raises UnfitArgument."""
    if not sort_list:
        return PageSort()
    try:
        return PageSort(sort_list[0][0] + ":" + sort_list[0][1])
    except (TypeError, LookupError) as error:
        raise UnfitArgument(str(error)) from error


@dataclass(frozen=True, slots=True)
class Window:
    """Which of the jobs a page shows: from ``start`` (counted from 0), so many."""

    start: int
    most: int

    def within(self, total: int) -> Window:
        """The same of as many jobs as there are; 0 wants all of them, wherever it starts, as in DIRAC.

        Raises Refusal for a page that begins behind them.
        """
        if not 0 <= self.start < total or self.most < 0:
            raise Refusal(OUT_OF_RANGE)
        if not self.most:
            return Window(0, total)
        return Window(self.start, min(self.most, total - self.start))


def page_head(counts: Sequence[Count]) -> dict[str, Any]:
    """What a page begins with, from numbers by Status: ``Extras`` only where there are jobs."""
    by_status = statistics(counts)
    total = sum(by_status.values())
    return {"TotalRecords": total, "Extras": by_status} if total else {"TotalRecords": 0}


def page_body(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Names and records of a page's jobs; nothing where they have gone meanwhile."""
    if not jobs:
        return {}
    return {"ParameterNames": list(PAGE_COLUMNS), "Records": [_record(job) for job in jobs]}


def _record(job: Mapping[str, Any]) -> list[Any]:
    return [*(job[name] for name in JOB_ATTRIBUTES), job["HeartBeatTime"] or job["LastUpdateTime"]]


def no_transformations() -> UnfitArgument:
    """What a WebApp answers about transformations that found no TransformationDB."""
    return UnfitArgument("type object 'WebAppHandler' has no attribute 'transformationDB'")
