"""ResourceStatus/ResourceStatus, as far as clients of workload management need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Table

from legacy_rpc.messages import Failure, Reply, Write
from legacy_rpc.services.table import Context, Service
from shared_db.connection import UnitOfWork
from shared_db.queries.element_states import TABLES, delete_states, put_state
from shared_db.queries.resource_status import EVERY_VO, all_states
from shared_db.queries.site_mask import mask_sites, site_mask, site_statuses
from shared_db.rules import element_states as rules
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.site import site_jobs
from shared_db.rules.site_mask import ACTIVE, BANNED

SITES, RESOURCES = "SiteStatus", "ResourceStatus"
# With these a site may run jobs.
USABLE = (ACTIVE, "Degraded")

resource_status = Service(
    "ResourceStatus/ResourceStatus",
    handler_class="ResourceStatusHandlerMixin",
    authorization=("SiteManager",),
    about="""\
The states of sites and resources, which 9.x clients ask for before they use a storage element or match a
job; `dirac-wms-job-get-input` fails without. Native only, and only the present states (`SiteStatus`,
`ResourceStatus`): histories, logs and the agents that probe elements are DIRAC's, to which calls can be
[passed through](plan.md#the-old-side). Conditions are `{column: value or list}`; in the key `Meta` stand
`columns`, `order`, `limit`, `newer`, `older` and `distinct`.""",
)


@resource_status.method(str, dict, authorization=("all",))
async def select(context: Context, table: str, params: dict[str, Any]) -> Reply:
    """Answers the states that meet the conditions, as lists of values, and `Columns` beside them. What no row
    speaks of is told too: sites, by the [site mask](rest.md#matching) and the configuration; its computing
    elements and our own storage element of sandboxes, which are Active.
    """
    chosen = rules.selection(table, params)
    target = _table(table)
    async with context.databases.unit_of_work() as work:
        rows = await all_states(work, target.name)
        unsaid = await _unsaid(context, work, target)
    return Reply(chosen.of(unsaid.added_to(rows)), {"Columns": chosen.told_columns})


async def _unsaid(context: Context, work: UnitOfWork, table: Table) -> rules.Unsaid:
    now = to_column(utc_now())
    if table.name == SITES:
        known = site_jobs(context.registry.cfg, context.call.identity.vo or "").description.sites
        configured = dict.fromkeys(known or (), ACTIVE)
        return rules.sites_said(configured | await site_statuses(work, EVERY_VO), now)
    files = context.common.sandboxes
    storage = files.storage_element if files is not None else ""
    return rules.resources_said(storage, context.registry.current.site_by_ce, now)


@resource_status.method(str, dict, write=Write.IDEMPOTENT)
async def insert(context: Context, table: str, params: dict[str, Any]) -> None:
    """Says something of an element of which nothing is said yet; what is said already stays. Answers None."""
    await _put(context, table, params, change=False)


@resource_status.method(str, dict, write=Write.IDEMPOTENT)
async def addIfNotThere(context: Context, table: str, params: dict[str, Any]) -> None:
    """The same as `insert`."""
    await _put(context, table, params, change=False)


@resource_status.method(str, dict, write=Write.IDEMPOTENT)
async def addOrModify(context: Context, table: str, params: dict[str, Any]) -> None:
    """Says something of an element, by `Name`, `StatusType` and `VO` (`all` unless given). Answers None. A
    site that the site mask names is allowed or banned there too, since the mask goes before the states.
    """
    await _put(context, table, params, change=True)


async def _put(context: Context, table: str, params: Mapping[str, Any], *, change: bool) -> None:
    target, state = _table(table), rules.given_state(params)
    async with context.databases.unit_of_work(write=True) as work:
        await put_state(work, target, state, change=change)
        if change and target.name == SITES and "Status" in state:
            await _follow(context, work, state)


async def _follow(context: Context, work: UnitOfWork, state: Mapping[str, Any]) -> None:
    """Have the mask say the same of a site that it names."""
    site = state["Name"]
    if state.get("VO", EVERY_VO) != EVERY_VO or site not in await site_mask(work, [site]):
        return
    status = ACTIVE if state["Status"] in USABLE else BANNED
    await mask_sites(work, {site: status}, context.call.identity.username, str(state.get("Reason", "")))


@resource_status.method(str, dict, write=Write.IDEMPOTENT)
async def delete(context: Context, table: str, params: dict[str, Any]) -> int:
    """Forgets the states that meet the conditions; answers how many there were."""
    chosen = rules.selection(table, params)
    target = _table(table)
    async with context.databases.unit_of_work(write=True) as work:
        rows = await all_states(work, target.name)
        doomed = [tuple(row) for row in _keys(chosen, rows)]
        return await delete_states(work, target, doomed)


def _keys(chosen: rules.Selection, rows: list[dict[str, Any]]) -> list[list[Any]]:
    """The keys of the rows that meet the conditions, however they are to be shown."""
    return replace(chosen, shown=rules.KEY, order=(), limit=None).of(rows)


def _table(name: str) -> Table:
    """One of the two tables that are kept here.  Raises Failure."""
    table = TABLES.get(name)
    if table is None:
        raise Failure(
            f"There is no {name} here, only {' and '.join(TABLES)}: have ResourceStatus/ResourceStatus passed"
            " through to DIRAC's own service (`old: upstream` in the plan)"
        )
    return table
