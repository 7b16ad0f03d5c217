"""States of sites and resources, as DIRAC's ResourceStatusSystem left them (rest-diracx.md, section 8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rest_backend.conditional import conditional
from rest_backend.models.configuration import Conditional
from rest_backend.models.resource_status import (
    AllowedStatus,
    BannedStatus,
    ComputeElementStatus,
    FTSStatus,
    SiteStatus,
    State,
    StorageElementStatus,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.resource_status import states_of_resources, states_of_sites

WITH_CARE, FINE = "Degraded", "Active"
REFUSED = ("Banned", "Probing", "Error", "Unknown")
# DIRAC's own word is the second; DiracX asks for the first.
COMPUTE = ("ComputeElement", "ComputingElement")
EVERY_USE = {"all": "all"}
STORAGE_USES = {
    "read": "ReadAccess",
    "write": "WriteAccess",
    "check": "CheckAccess",
    "remove": "RemoveAccess",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Rows = Callable[[UnitOfWork, str], Awaitable[Sequence[AnyRow]]]


async def get_site_status(context: Context, _body: None, _parameters: Conditional) -> Answer:
    """Which sites may be used."""
    return await _answer(context, states_of_sites, EVERY_USE)


async def get_compute_status(context: Context, _body: None, _parameters: Conditional) -> Answer:
    """Which computing elements may be used."""
    return await _answer(context, partial(states_of_resources, element_types=COMPUTE), EVERY_USE)


async def get_fts_status(context: Context, _body: None, _parameters: Conditional) -> Answer:
    """Which file transfer servers may be used."""
    return await _answer(context, partial(states_of_resources, element_types=("FTS",)), EVERY_USE)


async def get_storage_status(context: Context, _body: None, _parameters: Conditional) -> Answer:
    """Which storage elements may be used, and for what; one of which not all is known is left out."""
    return await _answer(
        context, partial(states_of_resources, element_types=("StorageElement",)), STORAGE_USES
    )


async def _answer(context: Context, rows_for: Rows, uses: Mapping[str, str]) -> Answer:
    vo = context.caller.vo
    rows = await rows_for(context.work, vo)
    newest = max((row.DateEffective for row in rows), default=None)
    modified = _EPOCH if newest is None else newest.replace(tzinfo=UTC)
    tag = f"{'empty' if newest is None else modified.isoformat()}-{len(rows)}-{vo}"
    told = {"Vary": "Authorization"}
    return conditional(context.request.headers, _by_name(rows, uses), tag, modified, told)


def _by_name(rows: Sequence[AnyRow], uses: Mapping[str, str]) -> dict[str, dict[str, State]]:
    """States by element and use; of two rows for one use the later, which is the VO's own, holds."""
    found: dict[str, dict[str, State]] = {}
    for row in rows:
        found.setdefault(row.Name, {})[row.StatusType] = state_of(row.Status, row.Reason)
    return {
        name: {use: states[column] for use, column in uses.items()}
        for name, states in found.items()
        if states.keys() >= set(uses.values())
    }


def state_of(status: str, reason: str) -> State:
    """What a status means for whoever wants to use an element."""
    if status == FINE:
        return AllowedStatus(allowed=True)
    if status == WITH_CARE:
        return AllowedStatus(allowed=True, warnings=reason)
    return BannedStatus(allowed=False, reason=reason if status in REFUSED else f"Unknown status: {status}")


def _operation(what: str, handler: Any, model: Any) -> Operation:
    return Operation(
        f"rss_get_{what}_status",
        "GET",
        f"/api/rss/{what}",
        handler,
        AUTHENTICATED,
        parameters=Conditional,
        response=dict[str, model],
        statuses=(200, 304),
    )


OPERATIONS = (
    _operation("storage", get_storage_status, StorageElementStatus),
    _operation("compute", get_compute_status, ComputeElementStatus),
    _operation("site", get_site_status, SiteStatus),
    _operation("fts", get_fts_status, FTSStatus),
)
