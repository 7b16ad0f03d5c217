"""The tables of pilots that DIRAC's web pages and commands show (legacy-methods.md, section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from shared_db.rules.pilot_counts import (
    DAY,
    EMPTY,
    HOUR,
    Count,
    Group,
    Numbers,
    efficiency_of,
    in_order,
    pilots_per_job,
)
from shared_db.rules.pilot_selections import ALLOWED_COLUMNS, Comparison, after, counted_selection, since
from shared_db.rules.pilots import PILOT_STATES
from shared_db.rules.refusals import EMYSQL, Refusal

# getPilotSummaryWeb

_ABORTED_HOUR = "Aborted_Hour"
_SUMMED = (*PILOT_STATES, EMPTY, _ABORTED_HOUR)
SUMMARY_COLUMNS = ("Site", "CE", *_SUMMED, "Total", "PilotsPerJob", "PilotJobEff", "Status", "InMask")
_GROUPING = ("GridSite", "DestinationSite", "Status")
UNKNOWN = "Unknown"
# More pilots than so many, and their efficiency is judged.
_FEW, _FEW_IN_ALL = 10, 100

# By site and computing element.
Cells = dict[str, dict[str, Numbers]]


@dataclass(frozen=True, slots=True)
class SummaryPlan:
    """What getPilotSummaryWeb counts, in this order: all, aborted in the last hour, ended in the last day,
    and of these such as had no job.

    ``sites`` and ``statuses`` choose among the rows; ``expanded``: a row for each computing element.
    """

    counts: tuple[Count, Count, Count, Count]
    sites: Sequence[Any]
    statuses: Sequence[Any]
    expanded: bool


def summary_plan(selected: Mapping[Any, Any], now: datetime) -> SummaryPlan:
    """What the arguments of getPilotSummaryWeb mean at a naive UTC time.  Raises Refusal."""
    conditions = dict(selected)
    updated = conditions.pop("LastUpdateTime", None)
    sites = _listed(conditions.pop("GridSite", []))
    statuses = _listed(conditions.pop("Status", []))
    expanded = conditions.pop("ExpandSite", "")
    all_of = counted_selection(conditions, newer=updated, time_stamp="LastUpdateTime")
    of = counted_selection(conditions)
    day = since("LastUpdateTime", now - DAY)
    aborted, done = (Comparison("Status", "eq", state) for state in ("Aborted", "Done"))
    ended = Comparison("Status", "in", ["Aborted", "Done"])
    without_job = [each for each in of if each.column != "CurrentJobID"]
    counts = (
        all_of,
        [*of, aborted, since("LastUpdateTime", now - HOUR)],
        [*of, ended, day],
        [*without_job, done, Comparison("CurrentJobID", "eq", 0), day],
    )
    first, hour, last_day, empty = (Count(_GROUPING, tuple(search)) for search in counts)
    return SummaryPlan(
        (first, hour, last_day, empty), [expanded] if expanded else sites, statuses, bool(expanded)
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def wants_sites(groups: Iterable[Group]) -> bool:
    """Whether some pilots are of no known site, which their computing element may tell."""
    return any(group.values[0] == UNKNOWN for group in groups)


def summary_table(
    plan: SummaryPlan,
    groups: Sequence[Sequence[Group]],
    site_by_ce: Mapping[str, str],
    usable_sites: Iterable[str],
    start: int,
    most: int,
) -> dict[str, Any]:
    """What getPilotSummaryWeb answers; ``groups`` are of the plan's counts, ``most`` 0 means every row."""
    cells = _cells(groups, site_by_ce)
    rows = [row for site, ces in cells.items() for row in _site_rows(site, ces, expanded=plan.expanded)]
    if plan.sites:
        rows = [row for row in rows if row[0] in plan.sites]
    if plan.statuses:
        # DIRAC compares the wrong column, and nobody selects by it.
        wrong = SUMMARY_COLUMNS.index("PilotsPerJob")
        rows = [row for row in rows if row[wrong] in plan.statuses]
    usable = set(usable_sites)
    for row in rows:
        row.append("Yes" if row[0] in usable else "No")
    return {
        "TotalRecords": len(rows),
        "ParameterNames": list(SUMMARY_COLUMNS),
        "Records": rows[start : start + most] if most else rows,
        "Extras": _extras(cells),
    }


def _cells(groups: Sequence[Sequence[Group]], site_by_ce: Mapping[str, str]) -> Cells:
    """The numbers of each computing element; the first counts say which there are."""
    every, hour, day, empty = (in_order(each, _GROUPING) for each in groups)
    cells: Cells = {UNKNOWN: {}}
    for group in every:
        site, ce, status = group.values
        site = _site(site, ce, site_by_ce)
        numbers = cells.setdefault(site, {}).setdefault(ce, dict.fromkeys(_SUMMED, 0))
        numbers[status] = group.count
    # Of pilots that ended, those of the last day, where there were any.
    for counted, column in ((day, None), (empty, EMPTY), (hour, _ABORTED_HOUR)):
        for group in counted:
            site, ce, status = group.values
            found = cells.get(_site(site, ce, site_by_ce), {}).get(ce)
            if found is not None:
                found[column or status] = group.count
    return cells


def _site(site: str, ce: str, site_by_ce: Mapping[str, str]) -> str:
    return site_by_ce.get(ce, site) if site == UNKNOWN and ce not in (UNKNOWN, "Multiple") else site


def _site_rows(site: str, ces: Mapping[str, Numbers], *, expanded: bool) -> list[list[Any]]:
    if expanded or len(ces) == 1:
        return [_row(site, ce, numbers) for ce, numbers in ces.items()]
    return [_row(site, "Multiple", _sum(ces.values()))] if ces else []


def _sum(several: Iterable[Numbers]) -> Numbers:
    total = dict.fromkeys(_SUMMED, 0)
    for numbers in several:
        for name in _SUMMED:
            total[name] += numbers[name]
    return total


def _row(site: str, ce: str, numbers: Numbers) -> list[Any]:
    total = _all_pilots(numbers)
    efficiency = efficiency_of(numbers, total)
    judged = _judgement(total, efficiency, _FEW)
    counts = [numbers[name] for name in _SUMMED]
    return [site, ce, *counts, total, f"{pilots_per_job(numbers):.2f}", f"{efficiency:.2f}", judged]


def _extras(cells: Cells) -> dict[str, Any]:
    numbers = _sum(each for ces in cells.values() for each in ces.values())
    total = _all_pilots(numbers)
    efficiency = efficiency_of(numbers, total)
    return {
        **numbers,
        "Total": total,
        "PilotsPerJob": f"{pilots_per_job(numbers):.2f}",
        "PilotJobEff": f"{efficiency:.2f}",
        "Status": _judgement(total, efficiency, _FEW_IN_ALL),
    }


def _all_pilots(numbers: Numbers) -> int:
    return sum(numbers[state] for state in PILOT_STATES)


def _judgement(total: int, efficiency: float, few: int) -> str:
    if total <= few:
        return "Idle"
    limits = ((25.0, "Bad"), (60.0, "Poor"), (85.0, "Fair"))
    return next((word for limit, word in limits if efficiency < limit), "Good")


# getGroupedPilotSummary

_GROUPED_STATES = (
    "Submitted",
    "Done",
    "Failed",
    "Aborted",
    "Running",
    "Waiting",
    "Scheduled",
    "Ready",
)
_RENAMED = {"GridSite": "Site", "DestinationSite": "CE"}


def grouped_counts(columns: Sequence[Any], now: datetime) -> tuple[Count, Count, Count, Count]:
    """What getGroupedPilotSummary counts: pilots that have not ended, those that did in the last day, of
    these such as had no job, and those aborted in the last hour.  Raises Refusal.
    """
    for name in columns:
        if not isinstance(name, str) or name not in ALLOWED_COLUMNS:
            raise Refusal(f"Column not known: {name}")
    if not columns:
        raise Refusal(f"MySQL Error ( {EMYSQL} : No columns are given)", EMYSQL)
    seen = {"Status"}
    for name in columns:
        if name in seen:
            reason = f"Execution failed.: ((1060, \"Duplicate column name '{name}'\") )"
            raise Refusal(f"MySQL Error ( {EMYSQL} : {reason})", EMYSQL)
        seen.add(name)
    by = (*columns, "Status")
    day = after("LastUpdateTime", now - DAY)
    ended = ["Done", "Aborted"]
    done, aborted = (Comparison("Status", "eq", state) for state in ended)
    return (
        Count(by, (Comparison("Status", "not in", ended),)),
        Count(by, (Comparison("Status", "in", ended), day)),
        Count(by, (done, Comparison("CurrentJobID", "eq", 0), day)),
        Count(by, (aborted, after("LastUpdateTime", now - HOUR))),
    )


def grouped_table(columns: Sequence[str], groups: Sequence[Sequence[Group]]) -> dict[str, Any]:
    """What getGroupedPilotSummary answers, of the four counts.

    Nothing is judged there: the status of every row is ``Idle``, as in DIRAC.
    """
    running, ended, empty, hour = groups
    numbers: dict[tuple[Any, ...], Numbers] = {}
    for counted, column in (((*running, *ended), None), (empty, EMPTY), (hour, _ABORTED_HOUR)):
        for group in counted:
            *key, status = group.values
            found = numbers.setdefault(tuple(key), {})
            found[column or status] = found.get(column or status, 0) + group.count
    rows = [Group(key, 0) for key in numbers]
    names = [_RENAMED.get(name, name) for name in columns]
    names += [*_GROUPED_STATES, _ABORTED_HOUR, "Total", "PilotsPerJob", "PilotJobEff"]
    several_ces = "CE" not in names
    tail = ["Multiple", "Idle"] if several_ces else ["Idle"]
    return {
        "ParameterNames": [*names, *(["CE"] if several_ces else []), "Status"],
        "Records": [
            [*row.values, *_grouped_numbers(numbers[row.values]), *tail] for row in in_order(rows, columns)
        ],
        "TotalRecords": len(rows),
    }


def _grouped_numbers(numbers: Numbers) -> list[Any]:
    zeros = dict.fromkeys((*_GROUPED_STATES, EMPTY, _ABORTED_HOUR), 0)
    filled = zeros | numbers
    total = sum(count for name, count in numbers.items() if name not in (EMPTY, _ABORTED_HOUR))
    counts = [filled[name] for name in (*_GROUPED_STATES, _ABORTED_HOUR)]
    # As MySQL divides: so many digits are kept.
    per_job = _rounded(pilots_per_job(filled), "0.0001")
    return [*counts, total, per_job, _rounded(efficiency_of(filled, total), "0.00001")]


def _rounded(number: float, step: str) -> float:
    return float(Decimal(number).quantize(Decimal(step), ROUND_HALF_UP))
