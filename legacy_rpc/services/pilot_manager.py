"""WorkloadManagement/PilotManager (legacy-methods.md, section 7)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from legacy_rpc.messages import Errno, Failure, Write
from legacy_rpc.services.table import Context, Service
from shared_db.queries import pilots
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.pilots import PILOT_INFO, no_pilots, registrations, status_changes, summary_of

pilot_manager = Service(
    "WorkloadManagement/PilotManager", handler_class="PilotManagerHandler", authorization=("Operator",)
)


@pilot_manager.method(list, str, write=Write.CREATE)
async def addPilotReferences(
    context: Context,
    pilotRef: list[Any],
    VO: str,
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> None:
    """Add pilots as Submitted; neither references nor stamps need be new."""
    rows = registrations(pilotRef, VO, gridType, pilotStampDict)
    async with context.databases.unit_of_work(write=True) as work:
        await pilots.add_pilots(work, rows)


@pilot_manager.method([list, str])
async def getPilotInfo(context: Context, pilotReference: list[Any] | str) -> dict[str, dict[str, Any]]:
    """``{reference: {column: value, ..., "Jobs": [ids]}}``; ``Jobs`` only for pilots that ran some.

    Of several pilots with one reference the youngest is given; no reference at all means every pilot.
    """
    asked = pilotReference if isinstance(pilotReference, list) else [pilotReference]
    references = [str(each) for each in asked if pilotReference]
    async with context.databases.unit_of_work() as work:
        found = await pilots.pilots_with_jobs(work, references, PILOT_INFO)
    if not found:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    return {pilot["PilotJobReference"]: pilot | ({"Jobs": jobs} if jobs else {}) for pilot, jobs in found}


@pilot_manager.method()
async def getPilotSummary(
    context: Context, startdate: Any = "", enddate: Any = ""
) -> dict[str, dict[str, int]]:
    """Numbers of pilots by CE and status, submitted between two dates (both included, both optional)."""
    now = utc_now()
    submitted_to = mysql_datetime(enddate) if enddate else None
    async with context.databases.unit_of_work() as work:
        hour = await pilots.count_aborted_since(work, to_column(now - timedelta(hours=1)))
        day = await pilots.count_aborted_since(work, to_column(now - timedelta(days=1)))
        if enddate and submitted_to is None:
            # Nothing was submitted before MySQL's zero date.
            return summary_of([], hour, day)
        counts = await pilots.count_by_destination(work, mysql_datetime(startdate), submitted_to)
    return summary_of(counts, hour, day)


@pilot_manager.method(str, str, write=Write.IDEMPOTENT, authorization=("Operator", "Pilot", "GenericPilot"))
async def setPilotStatus(
    context: Context,
    pilotRef: str,
    status: str,
    destination: Any = None,
    reason: Any = None,
    gridSite: Any = None,
    queue: Any = None,
) -> int:
    """Set the status of every pilot with a reference; returns how many rows changed, 0 for none."""
    changes = status_changes(status, destination, reason, gridSite, queue)
    if "DestinationSite" in changes and "GridSite" not in changes:
        site = context.registry.current.site_by_ce.get(changes["DestinationSite"])
        changes |= {"GridSite": site} if site else {}
    async with context.databases.unit_of_work(write=True) as work:
        return await pilots.update_pilots(work, "PilotJobReference", [pilotRef], changes)
