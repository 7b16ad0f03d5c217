"""Requests about pilots that the adaptors of several services send, and their answers in DIRAC's form."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from adaptor.conversation import Request, Step
from adaptor.values import legacy_flag, legacy_time, search_all, search_in, where
from shared_db.rules.pilot_counts import Count, Group, in_order
from shared_db.rules.pilot_logs import Line
from shared_db.rules.pilot_selections import TIMES, Comparison

SEARCH = "/api/pilots/search"
SUMMARY = "/api/pilots/summary"
JOBS = "/api/pilots/jobs/search"
LOGS = "/api/pilots/search/logs"
LEGACY = "/api/pilots/legacy"
SITES = "/api/pilots/legacy/sites"


def searched(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Conditions as a search has them."""
    return [where(each.column, each.operator, each.value) for each in comparisons]


def legacy_value(column: str, value: Any) -> Any:
    """A column's value as DIRAC gives it."""
    if column in TIMES:
        return legacy_time(value)
    return legacy_flag(value) if column == "AccountingSent" else value


def legacy_row(row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Some columns of a pilot as DIRAC gives them."""
    return {column: legacy_value(column, row[column]) for column in columns}


def counted(counts: Iterable[Count]) -> Generator[Step, Any, list[list[Group]]]:
    """The groups of several counts, each in order."""
    asked = list(counts)
    answers = yield tuple(
        Request("POST", SUMMARY, {"grouping": list(count.grouping), "search": searched(count.search)})
        for count in asked
    )
    return [_groups(rows, count.grouping) for rows, count in zip(answers, asked, strict=True)]


def _groups(rows: Sequence[Mapping[str, Any]], grouping: Sequence[str]) -> list[Group]:
    groups = [Group(tuple(legacy_value(name, row[name]) for name in grouping), row["count"]) for row in rows]
    return in_order(groups, grouping)


def named(reference: str, columns: Sequence[str]) -> Generator[Step, Any, list[dict[str, Any]]]:
    """Columns of every pilot with a reference, the oldest first."""
    return (yield from search_all(SEARCH, columns, [where("PilotJobReference", "eq", reference)], "PilotID"))


def named_by_any(
    references: Sequence[str], columns: Sequence[str]
) -> Generator[Step, Any, list[dict[str, Any]]]:
    """Columns of every pilot with one of the references, the oldest first."""
    return (yield from search_in(SEARCH, columns, "PilotJobReference", references, "PilotID"))


def lines_of(stamp: str, vo: str | None = None) -> Generator[Step, Any, list[Line]]:
    """All that a pilot said, in the order in which it came; ``vo``: only the lines of this VO."""
    conditions = [where("PilotStamp", "eq", stamp), *([] if vo is None else [where("VO", "eq", vo)])]
    columns = ("LineID", "TimeStamp", "Severity", "Scope", "Message")
    rows = yield from search_all(LOGS, columns, conditions, "LineID")
    return [
        Line(datetime.fromisoformat(row["TimeStamp"]), row["Message"], row["Severity"], row["Scope"])
        for row in rows
    ]


def sites_of_ces() -> Generator[Step, Any, dict[str, str]]:
    """Which site each computing element belongs to, by the configuration."""
    sites: dict[str, str] = yield Request("GET", SITES)
    return sites
