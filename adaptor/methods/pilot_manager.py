"""WorkloadManagement/PilotManager over REST.

Differences between the two routes, all deliberate:

- addPilotReferences: a pilot that comes without a stamp gets an invented one, since REST addresses
  pilots by stamp; the native route leaves it empty, as DIRAC does.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request, RestFailure
from adaptor.values import legacy_flag, legacy_time, search_all, search_in, where
from legacy_rpc.messages import Errno, Failure
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.pilots import (
    DIRACX_PILOT_STATES,
    PILOT_INFO,
    no_pilots,
    registrations,
    status_changes,
    summary_of,
)

pilot_manager = LegacyService("WorkloadManagement/PilotManager")

SEARCH = "/api/pilots/search"
SUMMARY = "/api/pilots/summary"
JOBS = "/api/pilots/jobs/search"


@pilot_manager.adapts
def addPilotReferences(
    pilotRef: list[Any],
    VO: str,
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> Conversation:
    pilots = registrations(pilotRef, VO, gridType, pilotStampDict)
    if len(pilots) == 1 and pilots[0]["PilotStamp"]:
        try:
            yield Request("POST", "/api/pilots/", _registration(pilots[0]))
        except RestFailure as failure:
            # DiracX wants a registered VO and a new stamp, and says so before it does anything.
            if failure.status not in (400, 409):
                raise
        else:
            return
    if pilots:
        yield Request("POST", "/api/pilots/legacy", [_registration(pilot) for pilot in pilots])


def _registration(pilot: dict[str, str]) -> dict[str, str]:
    return {
        "pilot_stamp": pilot["PilotStamp"],
        "vo": pilot["VO"],
        "grid_type": pilot["GridType"],
        "pilot_reference": pilot["PilotJobReference"],
    }


@pilot_manager.adapts
def getPilotInfo(pilotReference: list[Any] | str) -> Conversation:
    asked = pilotReference if isinstance(pilotReference, list) else [pilotReference]
    references = [str(each) for each in asked]
    if pilotReference:
        rows = yield from search_in(SEARCH, PILOT_INFO, "PilotJobReference", references, "PilotID")
    else:
        rows = yield from search_all(SEARCH, PILOT_INFO, [], "PilotID")
    if not rows:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    info = {row["PilotJobReference"]: _pilot_info(row) for row in rows}
    pilot_ids = [pilot["PilotID"] for pilot in info.values()]
    mapping = yield from search_in(JOBS, ("PilotID", "JobID"), "PilotID", pilot_ids, "JobID")
    jobs: dict[int, list[int]] = {}
    for row in mapping:
        jobs.setdefault(row["PilotID"], []).append(row["JobID"])
    for pilot in info.values():
        if pilot["PilotID"] in jobs:
            pilot["Jobs"] = jobs[pilot["PilotID"]]
    return info


def _pilot_info(row: dict[str, Any]) -> dict[str, Any]:
    info = {column: row[column] for column in PILOT_INFO}
    info["AccountingSent"] = legacy_flag(row["AccountingSent"])
    for column in ("SubmissionTime", "LastUpdateTime"):
        info[column] = legacy_time(row[column])
    return info


@pilot_manager.adapts
def getPilotSummary(startdate: Any = "", enddate: Any = "") -> Conversation:
    submitted_from = mysql_datetime(startdate) if startdate else None
    submitted_to = mysql_datetime(enddate) if enddate else None
    submitted = []
    # REST's gt and lt leave the second itself out, DIRAC's range takes it in.
    if submitted_from is not None:
        submitted.append(where("SubmissionTime", "gt", _text(submitted_from - timedelta(seconds=1))))
    if submitted_to is not None:
        submitted.append(where("SubmissionTime", "lt", _text(submitted_to + timedelta(seconds=1))))
    now = to_column(utc_now())
    counted, hour, day = yield (
        Request("POST", SUMMARY, {"grouping": ["DestinationSite", "Status"], "search": submitted}),
        _aborted_since(now - timedelta(hours=1)),
        _aborted_since(now - timedelta(days=1)),
    )
    # Nothing was submitted before an end that MySQL reads as its zero date.
    nothing = enddate and submitted_to is None
    counts = [] if nothing else [(row["DestinationSite"], row["Status"], row["count"]) for row in counted]
    return summary_of(counts, _by_destination(hour), _by_destination(day))


def _aborted_since(moment: datetime) -> Request:
    conditions = [
        where("Status", "eq", "Aborted"),
        where("LastUpdateTime", "gt", _text(moment - timedelta(seconds=1))),
    ]
    return Request("POST", SUMMARY, {"grouping": ["DestinationSite"], "search": conditions})


def _by_destination(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["DestinationSite"], row["count"]) for row in rows]


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@pilot_manager.adapts
def setPilotStatus(
    pilotRef: str,
    status: str,
    destination: Any = None,
    reason: Any = None,
    gridSite: Any = None,
    queue: Any = None,
) -> Conversation:
    changes = status_changes(status, destination, reason, gridSite, queue)
    columns = ("PilotID", "PilotStamp", "LastUpdateTime", *changes)
    pilots = yield from search_all(SEARCH, columns, [where("PilotJobReference", "eq", pilotRef)], "PilotID")
    if not pilots:
        return 0
    if not _diracx_can(pilots, changes):
        update = {"pilot_ids": [pilot["PilotID"] for pilot in pilots], "metadata": changes}
        return (yield Request("PATCH", "/api/pilots/legacy", update))["changed"]
    now = to_column(utc_now())
    yield Request("PATCH", "/api/pilots/metadata", {pilot["PilotStamp"]: changes for pilot in pilots})
    return sum(
        any(pilot[column] != value for column, value in changes.items())
        or legacy_time(pilot["LastUpdateTime"]) != now
        for pilot in pilots
    )


def _diracx_can(pilots: list[dict[str, Any]], changes: dict[str, str]) -> bool:
    """Whether DiracX's own route can carry an update.

    It names pilots by stamp, knows a fixed set of statuses, and does not look up the site of a CE.
    """
    wants_site = "DestinationSite" in changes and "GridSite" not in changes
    return (
        changes["Status"] in DIRACX_PILOT_STATES
        and not wants_site
        and all(pilot["PilotStamp"] for pilot in pilots)
    )
