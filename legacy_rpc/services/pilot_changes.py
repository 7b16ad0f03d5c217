"""WorkloadManagement/PilotManager: what becomes of pilots."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.older_pilots import OLDER_CLEARED
from legacy_rpc.services.pilot_manager import pilot_manager
from legacy_rpc.services.table import Context
from shared_db.connection import UnitOfWork
from shared_db.errors import Conflict
from shared_db.queries.pilot_jobs import associate_jobs
from shared_db.queries.pilot_removal import old_pilots, remove_pilots
from shared_db.queries.pilots import ids_of_references, update_pilots
from shared_db.rules.clock import utc_now
from shared_db.rules.pilots import (
    FINAL_STATES,
    all_known,
    benchmark_of,
    days_of,
    destination_changes,
    flag_of,
    ids_to_delete,
    job_number,
    killed_by,
    references_of,
    report_from,
    status_changes,
    unknown_reference,
)


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
    """Set the status (any text) of every pilot with a reference; returns how many rows changed, 0 for none.

    A destination without a site: the site is the one that the configuration has the CE in.
    """
    changes = status_changes(status, destination, reason, gridSite, queue)
    if "DestinationSite" in changes and "GridSite" not in changes:
        site = context.registry.current.site_by_ce.get(changes["DestinationSite"])
        changes |= {"GridSite": site} if site else {}
    async with context.databases.unit_of_work(write=True) as work:
        return await update_pilots(work, "PilotJobReference", [pilotRef], changes)


@pilot_manager.method(str, float, write=Write.IDEMPOTENT, until="9.1.12")
async def setPilotBenchmark(context: Context, pilotRef: str, mark: float) -> int:
    """Set the benchmark of every pilot with a reference; returns how many rows changed."""
    return await _set(context, pilotRef, {"BenchMark": benchmark_of(mark)})


@pilot_manager.method(str, write=Write.IDEMPOTENT, until="9.1.12")
async def setAccountingFlag(context: Context, pilotRef: str, mark: Any = "True") -> int:
    """Set whether pilots with a reference are accounted for, `True` or `False`; returns how many rows
    changed. Other texts: error 1131.
    """
    return await _set(context, pilotRef, {"AccountingSent": str(flag_of(mark))})


async def _set(context: Context, reference: str, values: dict[str, Any]) -> int:
    async with context.databases.unit_of_work(write=True) as work:
        return await update_pilots(work, "PilotJobReference", [reference], values, touch=False)


@pilot_manager.method([str, int], str, write=Write.IDEMPOTENT, until="9.1.12")
async def setJobForPilot(context: Context, jobID: str | int, pilotRef: str, destination: Any = None) -> int:
    """Note that the (oldest) pilot with a reference runs a job, and that it is running; returns how many rows
    the last change changed.

    A destination sets the site, too: `Unknown` where the configuration has not the CE. Unknown pilot:
    `PilotJobReference … not found`. A job that it runs already is noted once, where DIRAC notes it again.
    """
    job_id = job_number(jobID)
    changes = destination_changes(destination)
    if changes:
        changes["GridSite"] = context.registry.current.site_by_ce.get(changes["DestinationSite"], "Unknown")
    async with context.databases.unit_of_work(write=True) as work:
        ids = [row.PilotID for row in await ids_of_references(work, [pilotRef])]
        if not ids:
            raise unknown_reference(pilotRef)
        await update_pilots(work, "PilotID", ids, report_from(job_id))
        await _note_job(work, ids[0], job_id)
        changed = await update_pilots(work, "PilotID", ids, {"CurrentJobID": job_id}, touch=False)
        return await update_pilots(work, "PilotID", ids, changes, touch=False) if changes else changed


async def _note_job(work: UnitOfWork, pilot_id: int, job_id: int) -> None:
    try:
        await associate_jobs(work, [pilot_id], [job_id])
    except Conflict:
        return  # it runs it already


@pilot_manager.method([str, list], write=Write.IDEMPOTENT, until="8.0")
async def killPilot(context: Context, pilotRefList: str | list[Any]) -> None:
    """Put pilots that have not ended to Aborted, which ends their tokens.

    Their computing elements are not told: nobody here may speak to them, and the batch job ends when its
    pilot finds no work. A reference that no pilot has: `Failed to get info for pilot …`, and none is killed.
    """
    references = references_of(pilotRefList)
    async with context.databases.unit_of_work(write=True) as work:
        found = await ids_of_references(work, references)
        all_known(references, {row.PilotJobReference for row in found})
        alive = [row.PilotID for row in found if row.Status not in FINAL_STATES]
        await update_pilots(work, "PilotID", alive, killed_by(context.call.identity.username))


@pilot_manager.method([list, str, int], write=Write.IDEMPOTENT, until="9.1.12")
async def deletePilots(context: Context, pilotIDs: list[Any] | str | int) -> list[int] | None:
    """Forget pilots by their ids, with their outputs, jobs and logs; unknown ones are no error.

    A text is a reference: the oldest pilot with it goes, and the answer is `[id]`, `[0]` for none. A list
    without ids is an error.
    """
    async with context.databases.unit_of_work(write=True) as work:
        if isinstance(pilotIDs, str):
            found = await ids_of_references(work, [pilotIDs])
            oldest = [row.PilotID for row in found[:1]]
            await remove_pilots(work, oldest)
            return oldest or [0]
        await remove_pilots(work, ids_to_delete(pilotIDs))
    return None


@pilot_manager.method(int, int, write=Write.IDEMPOTENT, until="9.1.12", older=OLDER_CLEARED)
async def clearPilots(context: Context, interval: int = 30, aborted_interval: int = 7) -> list[int] | None:
    """Forget pilots submitted more than `interval` days ago, and aborted ones more than `aborted_interval`
    days ago (0 to 36500).

    Answers the ids of the aborted ones, else of the others, else nothing (before 9 always).
    """
    now = utc_now()
    ages = (days_of(interval), False), (days_of(aborted_interval), True)
    gone = None
    async with context.databases.unit_of_work(write=True) as work:
        for days, aborted_only in ages:
            before = now - timedelta(days=days)
            ids = await old_pilots(work, before, aborted_only=aborted_only, most=None)
            await remove_pilots(work, ids)
            gone = ids or gone
    return gone
