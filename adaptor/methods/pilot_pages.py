"""PilotManager and WebApp over REST: the tables of pilots that web pages and commands show.

A caller with a bearer token sees pilots of his VO only; a certificate shows all, as in DIRAC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adaptor.conversation import Conversation, Request
from adaptor.methods.pilot_manager import pilot_manager
from adaptor.methods.web_app import web_app
from adaptor.pilots import SEARCH, counted, legacy_row, named_by_any, searched, sites_of_ces
from shared_db.rules import pilot_monitor as monitor
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.pilot_counts import Count, counters_of, statistics_count, total_of
from shared_db.rules.pilot_selections import Comparison, counted_selection, grouping_of
from shared_db.rules.pilot_tables import (
    grouped_counts,
    grouped_table,
    summary_plan,
    summary_table,
    wants_sites,
)


@web_app.adapts
@pilot_manager.adapts
def getPilotMonitorWeb(
    selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int
) -> Conversation:
    """`POST /api/pilots/summary` for the total, `POST /api/pilots/search` for the page and for its pilots,
    perhaps `GET /api/pilots/legacy/sites` (some are of no known site).

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    search, order = monitor.monitored(selectDict, sortList)
    [groups] = yield from counted([Count(("Status",), tuple(search))])
    total = total_of(groups)
    if not total:
        return {"TotalRecords": 0}
    pages = monitor.pages_of(monitor.window(total, startItem, maxItems))
    references = (yield from _references(search, order, pages)) if pages else []
    rows = (yield from named_by_any(references, monitor.COLUMNS)) if references else []
    pilots = {row["PilotJobReference"]: legacy_row(row, monitor.COLUMNS) for row in rows}
    sites = (yield from sites_of_ces()) if monitor.lack_site(pilots) else {}
    return monitor.page(total, references, pilots, sites)


def _references(
    search: Sequence[Comparison], order: Sequence[monitor.Order], pages: monitor.Pages
) -> Conversation:
    body = {
        "parameters": ["PilotJobReference"],
        "search": searched(search),
        "sort": [
            {"parameter": key.column, "direction": "desc" if key.descending else "asc"}
            for key in (*order, monitor.Order("PilotID", descending=False))
        ],
    }
    answers = yield tuple(
        Request("POST", SEARCH, body, {"page": number, "per_page": pages.size}) for number in pages.numbers
    )
    rows = [row for rows in answers for row in rows]
    return [row["PilotJobReference"] for row in rows[pages.rows]]


@web_app.adapts
@pilot_manager.adapts
def getPilotMonitorSelectors() -> Conversation:
    """`POST /api/pilots/summary`, one for each column, at once.

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    found = yield from counted([Count((name,)) for name in monitor.SELECTORS])
    return {
        name: [group.values[0] for group in groups]
        for name, groups in zip(monitor.SELECTORS, found, strict=True)
    }


@web_app.adapts
@pilot_manager.adapts
def getPilotSummaryWeb(
    selectDict: dict[Any, Any],
    sortList: list[Any],  # noqa: ARG001 - DIRAC does not sort these
    startItem: int,
    maxItems: int,
) -> Conversation:
    """`POST /api/pilots/summary`, four at once, `GET /api/site-mask/allowed` for `InMask`, perhaps
    `GET /api/pilots/legacy/sites` (some pilots are of no known site).

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    plan = summary_plan(selectDict, to_column(utc_now()))
    groups = yield from counted(plan.counts)
    usable = yield Request("GET", "/api/site-mask/allowed")
    sites = (yield from sites_of_ces()) if wants_sites(groups[0]) else {}
    return summary_table(plan, groups, sites, usable, startItem, maxItems)


@web_app.adapts
@pilot_manager.adapts
def getGroupedPilotSummary(columnList: list[Any]) -> Conversation:
    """`POST /api/pilots/summary`, four at once.

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    groups = yield from counted(grouped_counts(columnList, to_column(utc_now())))
    return grouped_table(columnList, groups)


@web_app.adapts
@pilot_manager.adapts
def getPilotStatistics(attribute: str, selectDict: dict[Any, Any]) -> Conversation:
    """`POST /api/pilots/summary`.

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    count = statistics_count(attribute, selectDict)
    if count is None:
        return {}
    [groups] = yield from counted([count])
    return {group.values[0]: group.count for group in groups}


@pilot_manager.adapts
def getCounters(
    table: str,
    keys: list[Any],
    condDict: dict[Any, Any],
    newer: Any = None,
    timeStamp: Any = "SubmissionTime",
) -> Conversation:
    """`POST /api/pilots/summary`. Differences: none."""
    return (yield from _counters(table, keys, condDict, newer, timeStamp))


@web_app.adapts
def getPilotsCounters(
    table: str,
    keys: list[Any],
    condDict: dict[Any, Any],
    newer: Any = None,
    timeStamp: Any = "SubmissionTime",
) -> Conversation:
    """`POST /api/pilots/summary`.

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    return (yield from _counters(table, keys, condDict, newer, timeStamp))


def _counters(
    table: str, keys: Sequence[Any], conditions: dict[Any, Any], newer: Any, time_stamp: Any
) -> Conversation:
    columns = grouping_of(table, keys)
    search = counted_selection(conditions, newer=newer, time_stamp=time_stamp)
    [groups] = yield from counted([Count(tuple(columns), tuple(search))])
    return counters_of(keys, groups)
