"""Numbers of jobs by some of their attributes, and distinct values (legacy-methods.md, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared_db.rules.job_attributes import MOST_SPELLINGS
from shared_db.rules.job_selections import mysql_refusal, named_column
from shared_db.rules.job_states import FINAL_STATES
from shared_db.rules.pilot_selections import Comparison, since

# Values of the columns asked for, and how many jobs have them.
Count = tuple[tuple[Any, ...], int]

# Those that getSiteSummary counts as waiting, and the others of its columns.
_WAITING = frozenset({"Submitted", "Assigned", "Waiting", "Matched"})
_SHOWN = ("Waiting", "Running", "Stalled", "Done", "Failed")
# Statuses in which a job ended, whose numbers are those of the last day.
ENDED = FINAL_STATES | {"Deleted"}


def counted_attributes(names: Iterable[Any]) -> dict[str, str]:
    """``{name as it is written: column}`` to count by.  Raises Refusal."""
    found = {name: named_column(name, "updateFields", "SELECT") for name in names if isinstance(name, str)}
    if not found or not all(isinstance(name, str) for name in names):
        raise mysql_refusal("Invalid updateFields argument")
    if len(found) > MOST_SPELLINGS:
        raise mysql_refusal(f"More than {MOST_SPELLINGS} attributes to count by")
    return found


def in_order(counts: Iterable[Count]) -> list[Count]:
    """Counts as MySQL sorts them: nothing first, texts without regard to case."""
    return sorted(counts, key=lambda count: [_rank(value) for value in count[0]])


def _rank(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (0,)
    return (1, value.casefold(), value) if isinstance(value, str) else (1, value)


def counters(asked: Mapping[str, str], counts: Iterable[Count]) -> list[tuple[dict[str, Any], int]]:
    """``[({name: value, ...}, number), ...]``, in order; values are those of ``asked``'s distinct columns."""
    columns = list(dict.fromkeys(asked.values()))
    places = {name: columns.index(column) for name, column in asked.items()}
    return [
        ({name: values[place] for name, place in places.items()}, number)
        for values, number in in_order(counts)
    ]


def statistics(counts: Iterable[Count]) -> dict[Any, int]:
    """``{value: number}`` of one attribute, in order.

    Times are texts: a reply whose keys are times cannot be written as JSON (DIRAC then answers nothing).
    """
    return {
        str(values[0]) if isinstance(values[0], datetime) else values[0]: number
        for values, number in in_order(counts)
    }


def distinct_values(counts: Iterable[Count]) -> list[Any]:
    """The values of one attribute, in order."""
    return [values[0] for values, _ in in_order(counts)]


def of_last_day(now: datetime) -> Comparison:
    """Jobs that were updated within a day before a naive UTC time."""
    return since("LastUpdateTime", now - timedelta(days=1))


def current_counters(of_all: Iterable[Count], of_day: Iterable[Count]) -> dict[str, int]:
    """``{status: number}``; of statuses in which jobs ended those of the last day."""
    recent = statistics(of_day)
    return {
        status: recent.get(status, 0) if status in ENDED else number
        for status, number in statistics(of_all).items()
    }


def site_summary(counts: Sequence[Count]) -> dict[str, dict[str, int]]:
    """``{site: {status: number}}`` of counts by Site and Status, with ``Total``; not of jobs for any site."""
    summary: dict[str, dict[str, int]] = {}
    total = dict.fromkeys(_SHOWN, 0)
    for (site, status), number in in_order(counts):
        if site == "ANY":
            continue
        numbers = summary.setdefault(site, dict.fromkeys(_SHOWN, 0))
        shown = "Waiting" if status in _WAITING else status
        if shown in numbers:
            numbers[shown] += number
            total[shown] += number
    return {**summary, "Total": total}
