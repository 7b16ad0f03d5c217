"""WorkloadManagement/PilotManager over REST: what becomes of pilots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from adaptor.conversation import Conversation, Request, RestFailure
from adaptor.methods.pilot_manager import pilot_manager
from adaptor.pilots import LEGACY, SEARCH, named, named_by_any, searched
from adaptor.values import LARGEST_PAGE, legacy_time, search_all
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.pilot_selections import Comparison, before
from shared_db.rules.pilots import (
    DIRACX_PILOT_STATES,
    all_known,
    benchmark_of,
    days_of,
    destination_changes,
    flag_of,
    ids_to_delete,
    job_number,
    references_of,
    report_from,
    status_changes,
    unknown_reference,
)

DELETED = "/api/pilots/"
# Ids stand in the URL, which may not be too long for the servers between.
IDS_IN_URL = 500


@pilot_manager.adapts
def setPilotStatus(
    pilotRef: str,
    status: str,
    destination: Any = None,
    reason: Any = None,
    gridSite: Any = None,
    queue: Any = None,
) -> Conversation:
    """`POST /api/pilots/search`, then `PATCH /api/pilots/metadata` or `PATCH /api/pilots/legacy`: the latter
    names pilots by their ids, where a stamp may stand for others, too. DiracX's own route is asked where
    there is no other, and can do it for statuses that DiracX knows and pilots with a stamp.

    Differences: none.
    """
    changes = status_changes(status, destination, reason, gridSite, queue)
    columns = ("PilotID", "PilotStamp", "LastUpdateTime", *changes)
    pilots = yield from named(pilotRef, columns)
    if not pilots:
        return 0
    update = {"pilot_ids": [pilot["PilotID"] for pilot in pilots], "metadata": changes}
    try:
        return (yield Request("PATCH", LEGACY, update))["changed"]
    except RestFailure as failure:
        if not failure.not_executed or not _diracx_can(pilots, changes):
            raise
    now = to_column(utc_now())
    yield Request("PATCH", "/api/pilots/metadata", {pilot["PilotStamp"]: changes for pilot in pilots})
    return sum(
        any(pilot[column] != value for column, value in changes.items())
        or legacy_time(pilot["LastUpdateTime"]) != now
        for pilot in pilots
    )


def _diracx_can(pilots: Sequence[dict[str, Any]], changes: dict[str, str]) -> bool:
    """Whether DiracX's own route can carry an update.

    It names pilots by stamp, which is unique there, knows a fixed set of statuses, and does not look up the
    site of a CE.
    """
    wants_site = "DestinationSite" in changes and "GridSite" not in changes
    return (
        changes["Status"] in DIRACX_PILOT_STATES
        and not wants_site
        and all(pilot["PilotStamp"] for pilot in pilots)
    )


@pilot_manager.adapts
def setPilotBenchmark(pilotRef: str, mark: float) -> Conversation:
    """`POST /api/pilots/search`, then `PATCH /api/pilots/legacy`. Differences: none."""
    return (yield from _set(pilotRef, {"BenchMark": benchmark_of(mark)}))


@pilot_manager.adapts
def setAccountingFlag(pilotRef: str, mark: Any = "True") -> Conversation:
    """`POST /api/pilots/search`, then `PATCH /api/pilots/legacy`. Differences: none."""
    return (yield from _set(pilotRef, {"AccountingSent": flag_of(mark)}))


def _set(reference: str, values: dict[str, Any]) -> Conversation:
    pilots = yield from named(reference, ("PilotID",))
    if not pilots:
        return 0
    update = {"pilot_ids": [pilot["PilotID"] for pilot in pilots], "metadata": values}
    return (yield Request("PATCH", LEGACY, update))["changed"]


@pilot_manager.adapts
def setJobForPilot(jobID: str | int, pilotRef: str, destination: Any = None) -> Conversation:
    """`POST /api/pilots/search`, then `PATCH /api/pilots/legacy`, `PATCH /api/pilots/jobs` (a job that it
    runs already is no error), and `PATCH /api/pilots/legacy` again.

    Differences: a failure half-way leaves the first steps done; the call can be repeated.
    """
    job_id = job_number(jobID)
    changes = destination_changes(destination)
    pilots = yield from named(pilotRef, ("PilotID",))
    if not pilots:
        raise unknown_reference(pilotRef)
    ids = [pilot["PilotID"] for pilot in pilots]
    yield Request("PATCH", LEGACY, {"pilot_ids": ids, "metadata": report_from(job_id)})
    try:
        yield Request("PATCH", "/api/pilots/jobs", {"pilot_id": ids[0], "job_ids": [job_id]})
    except RestFailure as failure:
        if failure.status != 409:
            raise
    answer = yield Request("PATCH", LEGACY, {"pilot_ids": ids, "metadata": {"CurrentJobID": job_id}})
    if changes:
        answer = yield Request(
            "PATCH", LEGACY, {"pilot_ids": ids, "metadata": changes, "site_of_unknown_ce": "Unknown"}
        )
    return answer["changed"]


@pilot_manager.adapts
def killPilot(pilotRefList: str | list[Any]) -> Conversation:
    """`POST /api/pilots/search`, one for every 10,000 references, then `POST /api/pilots/kill`.

    Differences: none.
    """
    references = references_of(pilotRefList)
    pilots = yield from named_by_any(references, ("PilotID", "PilotJobReference"))
    all_known(references, {pilot["PilotJobReference"] for pilot in pilots})
    ids = [pilot["PilotID"] for pilot in pilots]
    for first in range(0, len(ids), LARGEST_PAGE):
        yield Request("POST", "/api/pilots/kill", {"pilot_ids": ids[first : first + LARGEST_PAGE]})


@pilot_manager.adapts
def deletePilots(pilotIDs: list[Any] | str | int) -> Conversation:
    """`DELETE /api/pilots/`, one for every 500 ids, perhaps `POST /api/pilots/search` (a reference is given).

    Differences: more than 500 pilots go in several steps, each of which stays done.
    """
    if isinstance(pilotIDs, str):
        found = yield from named(pilotIDs, ("PilotID",))
        ids = [row["PilotID"] for row in found[:1]]
    else:
        ids = ids_to_delete(pilotIDs)
    for first in range(0, len(ids), IDS_IN_URL):
        yield Request("DELETE", DELETED, query={"pilot_ids": ids[first : first + IDS_IN_URL]})
    return (ids or [0]) if isinstance(pilotIDs, str) else None


@pilot_manager.adapts
def clearPilots(interval: int = 30, aborted_interval: int = 7) -> Conversation:
    """`POST /api/pilots/search` for the ids that are answered, and where there are some
    `DELETE /api/pilots/`, twice each.

    Differences: pilots go in several steps, each of which stays done.
    """
    now = to_column(utc_now())
    ages = (days_of(interval), False), (days_of(aborted_interval), True)
    gone = None
    for days, aborted_only in ages:
        ids = yield from _older_than(now - timedelta(days=days), aborted_only=aborted_only)
        if ids:
            query = {"age_in_days": days} | ({"delete_only_aborted": True} if aborted_only else {})
            yield Request("DELETE", DELETED, query=query)
        gone = ids or gone
    return gone


def _older_than(moment: datetime, *, aborted_only: bool) -> Conversation:
    search = [before("SubmissionTime", moment)]
    if aborted_only:
        search.append(Comparison("Status", "eq", "Aborted"))
    rows = yield from search_all(SEARCH, ("PilotID",), searched(search), "PilotID")
    return [row["PilotID"] for row in rows]
