"""WorkloadManagement/PilotManager (legacy-methods.md, section 7): which pilots there are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from legacy_rpc.messages import Errno, Failure, Write
from legacy_rpc.services.older_pilots import OLDER_CONDITIONS, OLDER_INFO, OLDER_REFERENCES
from legacy_rpc.services.table import Context, Service
from shared_db.queries import pilots
from shared_db.queries.pilot_counts import count_groups, selected_references
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.pilot_counts import Count, current_counters, current_counts, total_of
from shared_db.rules.pilot_output import job_id_of, no_pilot
from shared_db.rules.pilot_selections import selection
from shared_db.rules.pilots import PILOT_INFO, no_pilots, no_vo_of, registrations, summary_of

pilot_manager = Service(
    "WorkloadManagement/PilotManager", handler_class="PilotManagerHandler", authorization=("Operator",)
)


@pilot_manager.method(list, str, write=Write.CREATE, since="8.0", older=OLDER_REFERENCES)
async def addPilotReferences(
    context: Context,
    pilotRef: list[Any],
    VO: str,
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> None:
    """Add pilots as Submitted; neither references nor stamps need be new. All are added, or none.

    Releases before 9 name a group in place of the VO: its VO is meant, and a group without one is refused.
    """
    rows = registrations(pilotRef, VO, gridType, pilotStampDict)
    async with context.databases.unit_of_work(write=True) as work:
        await pilots.add_pilots(work, rows)


@pilot_manager.method(list, int, str, str, write=Write.CREATE, until="8.0")
async def addPilotTQReference(
    context: Context,
    pilotRef: list[Any],
    taskQueueID: int,
    ownerDN: str,
    ownerGroup: str,
    broker: Any = "Unknown",
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> None:
    """As `addPilotReferences`, for the VO of a group. Task queue, DN and broker are not kept: no release
    since 9 has a place for them.
    """
    if not pilotRef:
        return
    vo = context.registry.current.vo_of(ownerGroup)
    if vo is None:
        raise no_vo_of(ownerGroup)
    rows = registrations(pilotRef, vo, gridType, pilotStampDict)
    async with context.databases.unit_of_work(write=True) as work:
        await pilots.add_pilots(work, rows)


@pilot_manager.method([list, str], older=OLDER_INFO)
async def getPilotInfo(context: Context, pilotReference: list[Any] | str) -> dict[str, dict[str, Any]]:
    """`{reference: {column: value, …, "Jobs": [ids]}}`; `Jobs` only for pilots that ran some.

    Of several pilots with one reference the youngest is given; no reference at all means every pilot. None:
    error 1550.
    """
    asked = pilotReference if isinstance(pilotReference, list) else [pilotReference]
    references = [str(each) for each in asked if pilotReference]
    async with context.databases.unit_of_work() as work:
        found = await pilots.pilots_with_jobs(work, references, PILOT_INFO)
    if not found:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    return _infos(found)


@pilot_manager.method([str, int], older=OLDER_INFO)
async def getPilots(context: Context, jobID: str | int) -> dict[str, dict[str, Any]]:
    """The pilots that ran a job, as `getPilotInfo` gives them. None: `Failed to get pilot for Job …`.

    Pilots of the task queue of a job that waits, which 8.0 gives, are not known: a pilot has no task queue
    since 9.
    """
    job_id = job_id_of(jobID)
    async with context.databases.unit_of_work() as work:
        ids = await pilots.pilots_of_jobs(work, [job_id])
        found = await pilots.pilots_with_jobs(work, ids, PILOT_INFO, "PilotID") if ids else []
    if not ids:
        raise no_pilot(job_id)
    if not found:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(None))
    return _infos(found)


def _infos(found: Iterable[tuple[dict[str, Any], list[int]]]) -> dict[str, dict[str, Any]]:
    return {pilot["PilotJobReference"]: pilot | ({"Jobs": jobs} if jobs else {}) for pilot, jobs in found}


@pilot_manager.method(dict, older=OLDER_CONDITIONS)
async def selectPilots(context: Context, condDict: dict[Any, Any]) -> list[str]:
    """The references of the pilots that meet all conditions, `{column: value or list of values}`, by
    ascending PilotID. Unknown column, or a list without values: error 1131.
    """
    async with context.databases.unit_of_work() as work:
        return await selected_references(work, selection(condDict))


@pilot_manager.method(dict, until="9.1.12", older=OLDER_CONDITIONS)
async def countPilots(
    context: Context,
    condDict: dict[Any, Any],
    older: Any = None,
    newer: Any = None,
    timeStamp: Any = "SubmissionTime",
) -> int:
    """How many pilots meet all conditions; of a time `newer` is included, `older` is not. Errors as in
    `selectPilots`.
    """
    search = selection(condDict, older=older, newer=newer, time_stamp=timeStamp)
    async with context.databases.unit_of_work() as work:
        return total_of(await count_groups(work, Count(("Status",), tuple(search))))


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


@pilot_manager.method(dict, until="9.1.12", older=OLDER_CONDITIONS)
async def getCurrentPilotCounters(context: Context, attrDict: dict[Any, Any] = {}) -> dict[str, int]:  # noqa: B006
    """`{status: number}` of the pilots that meet all conditions; of statuses that are final (Done, Aborted,
    Deleted, Failed) those updated in the last day. Errors as in `getPilotsCounters`.
    """
    everything, recent = current_counts(attrDict, to_column(utc_now()))
    async with context.databases.unit_of_work() as work:
        return current_counters(await count_groups(work, everything), await count_groups(work, recent))
