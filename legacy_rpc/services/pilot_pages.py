"""PilotManager and WebApp: the tables of pilots that web pages and commands show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from legacy_rpc.services.older_pilots import (
    OLDER_COUNTERS,
    OLDER_GROUPS,
    OLDER_PAGE,
    OLDER_SELECTORS,
    OLDER_STATISTICS,
    OLDER_SUMMARY,
)
from legacy_rpc.services.pilot_manager import pilot_manager
from legacy_rpc.services.table import Context
from legacy_rpc.services.web_app import web_app
from shared_db.connection import UnitOfWork
from shared_db.queries.pilot_counts import count_groups, references_on, youngest_pilots
from shared_db.queries.site_mask import allowed_sites
from shared_db.rules import pilot_monitor as monitor
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.pilot_counts import Count, Group, counters_of, in_order, statistics_count, total_of
from shared_db.rules.pilot_selections import counted_selection, grouping_of
from shared_db.rules.pilot_tables import grouped_counts, grouped_table, summary_plan, summary_table
from shared_db.rules.site import site_jobs


@web_app.method(dict, list, int, int, since="9.0")
@pilot_manager.method(dict, list, int, int, until="8.0", older=OLDER_PAGE)
async def getPilotMonitorWeb(
    context: Context, selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int
) -> dict[str, Any]:
    """`{"TotalRecords", "ParameterNames", "Records"}`: `maxItems` pilots from `startItem` on (from 0), sorted
    by the one key `[[column, "ASC" or "DESC"]]`, else by PilotID; all but whole numbers are texts.

    `selectDict`: conditions, and a range of LastUpdateTime, `FromDate` (included) and `ToDate`. No pilots:
    `TotalRecords` only; beyond the end `Item number out of range`.
    """
    search, order = monitor.monitored(selectDict, sortList)
    async with context.databases.unit_of_work() as work:
        total = total_of(await count_groups(work, Count(("Status",), tuple(search))))
        if not total:
            return {"TotalRecords": 0}
        pages = monitor.pages_of(monitor.window(total, startItem, maxItems))
        references = await references_on(work, search, order, pages) if pages else []
        pilots = await youngest_pilots(work, references, monitor.COLUMNS)
    return monitor.page(total, references, pilots, context.registry.current.site_by_ce)


@web_app.method(since="9.0")
@pilot_manager.method(until="8.0", older=OLDER_SELECTORS)
async def getPilotMonitorSelectors(context: Context) -> dict[str, list[Any]]:
    """`{column: [values]}` of what pilots have: VO, GridType, Status, DestinationSite, GridSite."""
    async with context.databases.unit_of_work() as work:
        groups = {name: await _sorted(work, Count((name,))) for name in monitor.SELECTORS}
    return {name: [group.values[0] for group in found] for name, found in groups.items()}


async def _sorted(work: UnitOfWork, count: Count) -> list[Group]:
    return in_order(await count_groups(work, count), count.grouping)


@web_app.method(dict, list, int, int, since="9.0")
@pilot_manager.method(dict, list, int, int, until="8.0", older=OLDER_SUMMARY)
async def getPilotSummaryWeb(
    context: Context, selectDict: dict[Any, Any], sortList: list[Any], startItem: int, maxItems: int
) -> dict[str, Any]:
    """`{"TotalRecords", "ParameterNames", "Records", "Extras"}`: numbers of pilots by site, one row with the
    CE `Multiple` for a site with several, and of all (`Extras`). `maxItems` 0: every row.

    `selectDict`: conditions; `LastUpdateTime` (from then on); `GridSite` chooses rows; `ExpandSite` gives a
    row for each CE of a site. `Status` is compared with `PilotsPerJob`, as in DIRAC. Done and Aborted are
    those of the last day, where there were any. `InMask`: whether the site may run jobs of the caller's VO.
    """
    plan = summary_plan(selectDict, to_column(utc_now()))
    vo = context.call.identity.vo or ""
    known = site_jobs(context.registry.cfg, vo).description.sites
    async with context.databases.unit_of_work() as work:
        groups = [await count_groups(work, count) for count in plan.counts]
        usable = await allowed_sites(work, vo, known)
    return summary_table(plan, groups, context.registry.current.site_by_ce, usable, startItem, maxItems)


@web_app.method(list, since="9.1")
@pilot_manager.method(list, until="9.1.12", older=OLDER_GROUPS)
async def getGroupedPilotSummary(context: Context, columnList: list[Any]) -> dict[str, Any]:
    """`{"ParameterNames", "Records", "TotalRecords"}`: numbers of pilots and efficiencies by the columns, of
    Done and Aborted pilots those of the last day. `Status` is `Idle` in every row, as in DIRAC.

    Before 9 there is a dictionary before the columns, which DIRAC never looked at. `Column not known: …`.
    """
    counts = grouped_counts(columnList, to_column(utc_now()))
    async with context.databases.unit_of_work() as work:
        return grouped_table(columnList, [await count_groups(work, count) for count in counts])


@web_app.method(str, dict, since="9.0")
@pilot_manager.method(str, dict, until="8.0", older=OLDER_STATISTICS)
async def getPilotStatistics(context: Context, attribute: str, selectDict: dict[Any, Any]) -> dict[Any, int]:
    """`{value of the attribute: number}` of the pilots that meet all conditions; `FromDate` (or `LastUpdate`)
    and `ToDate` are a range of LastUpdateTime. Empty where an attribute or a condition is unknown.
    """
    count = statistics_count(attribute, selectDict)
    if count is None:
        return {}
    async with context.databases.unit_of_work() as work:
        return {group.values[0]: group.count for group in await _sorted(work, count)}


@pilot_manager.method(str, list, dict, until="8.0", older=OLDER_COUNTERS)
async def getCounters(
    context: Context,
    table: str,
    keys: list[Any],
    condDict: dict[Any, Any],
    newer: Any = None,
    timeStamp: Any = "SubmissionTime",
) -> list[tuple[dict[str, Any], int]]:
    """As `getPilotsCounters` of `Monitoring/WebApp`."""
    return await _counters(context, table, keys, condDict, newer, timeStamp)


@web_app.method(str, list, dict, since="9.0")
async def getPilotsCounters(
    context: Context,
    table: str,
    keys: list[Any],
    condDict: dict[Any, Any],
    newer: Any = None,
    timeStamp: Any = "SubmissionTime",
) -> list[tuple[dict[str, Any], int]]:
    """`[({key: value, …}, number), …]` of the pilots that meet all conditions, sorted by the keys, which are
    columns. The table is `PilotAgents`; `newer` is included. Unknown names: error 1131.
    """
    return await _counters(context, table, keys, condDict, newer, timeStamp)


async def _counters(
    context: Context,
    table: str,
    keys: Sequence[Any],
    conditions: dict[Any, Any],
    newer: Any,
    time_stamp: Any,
) -> list[tuple[dict[str, Any], int]]:
    columns = grouping_of(table, keys)
    search = counted_selection(conditions, newer=newer, time_stamp=time_stamp)
    async with context.databases.unit_of_work() as work:
        return counters_of(keys, await _sorted(work, Count(tuple(columns), tuple(search))))
