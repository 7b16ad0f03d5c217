"""Numbers of pilots by some of their columns, and what is made of them (legacy-methods.md, section 7).

Both routes count the same groups of pilots and make the same of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared_db.rules.pilot_selections import TABLE, Comparison, counted_selection, grouping_of, since
from shared_db.rules.pilots import FINAL_STATES
from shared_db.rules.refusals import Refusal

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Numbers = dict[str, int]
# Pilots that ended well and had no job.
EMPTY = "Done_Empty"


@dataclass(frozen=True, slots=True)
class Count:
    """Numbers of pilots to ask for: by which columns, and of which pilots."""

    grouping: tuple[str, ...]
    search: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Of one group: its columns' values in DIRAC's form, and how many pilots are in it."""

    values: tuple[Any, ...]
    count: int


def in_order(groups: Iterable[Group], grouping: Sequence[str]) -> list[Group]:
    """Groups as MySQL sorts them: texts without regard to case, 'True' before 'False', nothing first."""
    return sorted(groups, key=lambda group: list(map(_rank, grouping, group.values)))


def _rank(column: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return (0,)
    if column == "AccountingSent":
        return (1, value != "True")
    return (1, value.casefold(), value) if isinstance(value, str) else (1, value)


def total_of(groups: Iterable[Group]) -> int:
    """The number of all pilots."""
    return sum(group.count for group in groups)


def current_counts(conditions: Mapping[Any, Any], now: datetime) -> tuple[Count, Count]:
    """All pilots by status, and those updated within the last day."""
    search = tuple(counted_selection(conditions))
    return Count(("Status",), search), Count(("Status",), (*search, since("LastUpdateTime", now - DAY)))


def current_counters(of_all: Sequence[Group], of_day: Iterable[Group]) -> dict[str, int]:
    """``{status: number}``; of statuses that are final those of the last day."""
    recent = {group.values[0]: group.count for group in of_day}
    counters = {}
    for group in in_order(of_all, ["Status"]):
        [status] = group.values
        counters[status] = recent.get(status, 0) if status in FINAL_STATES else group.count
    return counters


def counters_of(keys: Sequence[str], groups: Iterable[Group]) -> list[tuple[dict[str, Any], int]]:
    """``[({key: value, ...}, number), ...]`` of groups that are in order; keys as the caller writes them."""
    return [(dict(zip(keys, group.values, strict=True)), group.count) for group in groups]


def statistics_count(attribute: str, selected: Mapping[Any, Any]) -> Count | None:
    """What getPilotStatistics counts; None for an attribute or a condition that is unknown.

    ``FromDate``, else ``LastUpdate``, and ``ToDate`` are a range of LastUpdateTime.
    """
    conditions = dict(selected)
    start = conditions.pop("FromDate") if conditions.get("FromDate") else None
    if start is None and conditions.get("LastUpdate"):
        start = conditions.pop("LastUpdate")
    end = conditions.pop("ToDate") if conditions.get("ToDate") else None
    try:
        columns = grouping_of(TABLE, [attribute])
        search = counted_selection(conditions, newer=start, older=end, time_stamp="LastUpdateTime")
    except Refusal:
        return None
    return Count(tuple(columns), tuple(search))


def pilots_per_job(numbers: Numbers) -> float:
    """How many pilots that ended well there were for each that had a job."""
    done, empty = numbers["Done"], numbers[EMPTY]
    if done > empty:
        return done / (done - empty)
    return 99.0 if done and done == empty else 0.0


def efficiency_of(numbers: Numbers, total: int) -> float:
    return (total - numbers["Aborted"]) / total * 100 if total else 100.0
