"""WorkloadManagement/PilotManager over REST: which pilots there are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request, RestFailure, Step
from adaptor.pilots import JOBS, LEGACY, SEARCH, SUMMARY, counted, legacy_row, named_by_any, searched
from adaptor.values import search_all, search_in, where
from legacy_rpc.messages import Errno, Failure
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.pilot_counts import Count, current_counters, current_counts, total_of
from shared_db.rules.pilot_output import job_id_of, no_pilot
from shared_db.rules.pilot_selections import selection
from shared_db.rules.pilots import PILOT_INFO, no_pilots, registrations, summary_of

pilot_manager = LegacyService("WorkloadManagement/PilotManager")


@pilot_manager.adapts
def addPilotReferences(
    pilotRef: list[Any],
    VO: str,
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> Conversation:
    """`POST /api/pilots/` for one pilot with a stamp, or `POST /api/pilots/legacy` for others, and where
    DiracX's route wants a registered VO or a new stamp.

    Differences: a pilot that comes without a stamp gets an invented one, since REST addresses pilots by
    stamp; the native route leaves it empty, as DIRAC does.
    """
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
        yield Request("POST", LEGACY, [_registration(pilot) for pilot in pilots])


def _registration(pilot: dict[str, str]) -> dict[str, str]:
    return {
        "pilot_stamp": pilot["PilotStamp"],
        "vo": pilot["VO"],
        "grid_type": pilot["GridType"],
        "pilot_reference": pilot["PilotJobReference"],
    }


@pilot_manager.adapts
def addPilotTQReference(
    pilotRef: list[Any],
    taskQueueID: int,  # noqa: ARG001 - what it and the next ones say is kept nowhere
    ownerDN: str,  # noqa: ARG001
    ownerGroup: str,
    broker: Any = "Unknown",  # noqa: ARG001
    gridType: Any = "DIRAC",
    pilotStampDict: Any = {},  # noqa: B006 - never changed
) -> Conversation:
    """`POST /api/pilots/legacy`, which knows the VO of the group.

    Differences: a pilot that comes without a stamp gets an invented one.
    """
    pilots = registrations(pilotRef, "", gridType, pilotStampDict)
    body = []
    for pilot in pilots:
        registration = _registration(pilot) | {"owner_group": ownerGroup}
        del registration["vo"]
        body.append(registration)
    if not body:
        return
    try:
        yield Request("POST", LEGACY, body)
    except RestFailure as failure:
        if failure.status == 400:
            raise Failure(str(failure.detail)) from failure
        raise


@pilot_manager.adapts
def getPilotInfo(pilotReference: list[Any] | str) -> Conversation:
    """`POST /api/pilots/search`, one for every 10,000 pilots, and `POST /api/pilots/jobs/search` for theirs.

    Differences: none.
    """
    asked = pilotReference if isinstance(pilotReference, list) else [pilotReference]
    if pilotReference:
        rows = yield from named_by_any([str(each) for each in asked], PILOT_INFO)
    else:
        rows = yield from search_all(SEARCH, PILOT_INFO, [], "PilotID")
    if not rows:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    return (yield from _infos(rows))


@pilot_manager.adapts
def getPilots(jobID: str | int) -> Conversation:
    """`POST /api/pilots/search` with the condition `JobID`, and `POST /api/pilots/jobs/search`.

    Differences: none.
    """
    job_id = job_id_of(jobID)
    rows = yield from search_all(SEARCH, PILOT_INFO, [where("JobID", "eq", job_id)], "PilotID")
    if not rows:
        ran = yield from search_all(JOBS, ("PilotID",), [where("JobID", "eq", job_id)], "PilotID")
        # Pilots that are gone may have left behind what they ran.
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(None)) if ran else no_pilot(job_id)
    return (yield from _infos(rows))


def _infos(rows: Sequence[dict[str, Any]]) -> Generator[Step, Any, dict[str, dict[str, Any]]]:
    """Of several pilots with one reference the youngest, with the jobs that it ran."""
    info = {row["PilotJobReference"]: legacy_row(row, PILOT_INFO) for row in rows}
    pilot_ids = [pilot["PilotID"] for pilot in info.values()]
    mapping = yield from search_in(JOBS, ("PilotID", "JobID"), "PilotID", pilot_ids, "JobID")
    jobs: dict[int, list[int]] = {}
    for row in mapping:
        jobs.setdefault(row["PilotID"], []).append(row["JobID"])
    for pilot in info.values():
        if pilot["PilotID"] in jobs:
            pilot["Jobs"] = jobs[pilot["PilotID"]]
    return info


@pilot_manager.adapts
def selectPilots(condDict: dict[Any, Any]) -> Conversation:
    """`POST /api/pilots/search`, one for every 10,000 pilots. Differences: none."""
    conditions = searched(selection(condDict))
    rows = yield from search_all(SEARCH, ("PilotID", "PilotJobReference"), conditions, "PilotID")
    return [row["PilotJobReference"] for row in rows]


@pilot_manager.adapts
def countPilots(
    condDict: dict[Any, Any], older: Any = None, newer: Any = None, timeStamp: Any = "SubmissionTime"
) -> Conversation:
    """`POST /api/pilots/summary`. Differences: none."""
    search = selection(condDict, older=older, newer=newer, time_stamp=timeStamp)
    [groups] = yield from counted([Count(("Status",), tuple(search))])
    return total_of(groups)


@pilot_manager.adapts
def getPilotSummary(startdate: Any = "", enddate: Any = "") -> Conversation:
    """`POST /api/pilots/summary`, three at once. Differences: none."""
    submitted_from = mysql_datetime(startdate) if startdate else None
    submitted_to = mysql_datetime(enddate) if enddate else None
    submitted = []
    # REST's gt and lt leave the second itself out, DIRAC's range takes it in.
    if submitted_from is not None:
        submitted.append(where("SubmissionTime", "gt", _text(submitted_from - timedelta(seconds=1))))
    if submitted_to is not None:
        submitted.append(where("SubmissionTime", "lt", _text(submitted_to + timedelta(seconds=1))))
    now = to_column(utc_now())
    answers = yield (
        Request("POST", SUMMARY, {"grouping": ["DestinationSite", "Status"], "search": submitted}),
        _aborted_since(now - timedelta(hours=1)),
        _aborted_since(now - timedelta(days=1)),
    )
    everything, hour, day = answers
    # Nothing was submitted before an end that MySQL reads as its zero date.
    nothing = enddate and submitted_to is None
    counts = [] if nothing else [(row["DestinationSite"], row["Status"], row["count"]) for row in everything]
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
def getCurrentPilotCounters(attrDict: dict[Any, Any] = {}) -> Conversation:  # noqa: B006 - never changed
    """`POST /api/pilots/summary`, two at once. Differences: none."""
    everything, recent = yield from counted(current_counts(attrDict, to_column(utc_now())))
    return current_counters(everything, recent)
