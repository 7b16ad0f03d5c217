"""Rows of WorkloadManagement/PilotManager."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import MOMENT, Row, search
from shared_db.rules.pilots import PILOT_INFO, PILOT_STATES
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/PilotManager"


def pilot_row(**changes: Any) -> dict[str, Any]:
    """A pilot as REST gives it."""
    return {
        "PilotJobReference": "ref1",
        "VO": "demo",
        "GridType": "DIRAC",
        "Status": "Running",
        "DestinationSite": "ce1",
        "BenchMark": 1.5,
        "AccountingSent": False,
        "SubmissionTime": "2026-11-21T20:56:16Z",
        "PilotID": 7,
        "LastUpdateTime": "2026-11-21T20:57:16.5+00:00",
        "GridSite": "SITE",
        "PilotStamp": "s1",
        "Queue": "q",
        **changes,
    }


def pilot_info(**changes: Any) -> dict[str, Any]:
    """The same pilot as getPilotInfo gives it."""
    return {
        **pilot_row(),
        "AccountingSent": "False",
        "SubmissionTime": datetime(2026, 11, 21, 20, 56, 16),  # noqa: DTZ001 - DIRAC's are naive
        "LastUpdateTime": datetime(2026, 11, 21, 20, 57, 16),  # noqa: DTZ001
        **changes,
    }


def pilot_search(*references: str) -> Request:
    return search(
        "/api/pilots/search", PILOT_INFO, ("PilotJobReference", "in", list(references)), order="PilotID"
    )


def pilot_jobs(*pilot_ids: int) -> Request:
    return search(
        "/api/pilots/jobs/search", ("PilotID", "JobID"), ("PilotID", "in", list(pilot_ids)), order="JobID"
    )


def status_search(*columns: str) -> Request:
    return search(
        "/api/pilots/search",
        ("PilotID", "PilotStamp", "LastUpdateTime", *columns),
        ("PilotJobReference", "eq", "ref1"),
        order="PilotID",
    )


def legacy(pilot_ids: list[int], metadata: dict[str, Any], **more: Any) -> Request:
    """The update by ids that an adaptor is expected to send."""
    return Request("PATCH", "/api/pilots/legacy", {"pilot_ids": pilot_ids, "metadata": metadata} | more)


def named(*columns: str) -> Request:
    """The search for the pilots with the reference ``ref1``."""
    return search("/api/pilots/search", columns, ("PilotJobReference", "eq", "ref1"), order="PilotID")


def summary(submitted: list[dict[str, str]]) -> tuple[Request, Request, Request]:
    def aborted() -> Request:
        conditions = [
            {"parameter": "Status", "operator": "eq", "value": "Aborted"},
            {"parameter": "LastUpdateTime", "operator": "gt", "value": MOMENT},
        ]
        return Request("POST", "/api/pilots/summary", {"grouping": ["DestinationSite"], "search": conditions})

    grouped = {"grouping": ["DestinationSite", "Status"], "search": submitted}
    return (Request("POST", "/api/pilots/summary", grouped), aborted(), aborted())


ZERO = dict.fromkeys(PILOT_STATES, 0)
CHANGES = {"Status": "Done", "StatusReason": "Not given"}
FULL = {"Status": "Done", "StatusReason": "why", "GridSite": "SITE", "Queue": "q", "DestinationSite": "ce1"}
NO_ROUTE = RestFailure(404, "Not Found", sent=False)
LONG_AGO = {"PilotID": 7, "PilotStamp": "s1", "LastUpdateTime": "2020-01-01T00:00:00Z", **CHANGES}


ROWS = {
    "a pilot that ran jobs": Row(
        SERVICE,
        "getPilotInfo",
        ["ref1"],
        [
            (pilot_search("ref1"), [pilot_row()]),
            (pilot_jobs(7), [{"PilotID": 7, "JobID": 1}, {"PilotID": 7, "JobID": 2}]),
        ],
        {"ref1": pilot_info(Jobs=[1, 2])},
    ),
    "of two pilots with one reference the youngest": Row(
        SERVICE,
        "getPilotInfo",
        [["ref1", "zz"]],
        [
            (pilot_search("ref1", "zz"), [pilot_row(), pilot_row(PilotID=8, AccountingSent=True)]),
            (pilot_jobs(8), []),
        ],
        {"ref1": pilot_info(PilotID=8, AccountingSent="True")},
    ),
    "no pilots": Row(
        SERVICE,
        "getPilotInfo",
        [["zz", "yy"]],
        [(pilot_search("zz", "yy"), [])],
        Failure("No pilots found ( 1550 : No pilots found for PilotJobReference(s): ['zz', 'yy'])", 1550),
    ),
    "no reference is every pilot": Row(
        SERVICE,
        "getPilotInfo",
        [""],
        [(search("/api/pilots/search", PILOT_INFO, order="PilotID"), [pilot_row()]), (pilot_jobs(7), [])],
        {"ref1": pilot_info()},
    ),
    "summary of all pilots": Row(
        SERVICE,
        "getPilotSummary",
        [],
        [
            (
                summary([]),
                (
                    [
                        {"DestinationSite": "ce1", "Status": "Aborted", "count": 2},
                        {"DestinationSite": "ce1", "Status": "Bogus", "count": 5},
                    ],
                    [{"DestinationSite": "ce1", "count": 1}, {"DestinationSite": "gone", "count": 1}],
                    [{"DestinationSite": "ce1", "count": 2}],
                ),
            )
        ],
        {
            "Total": {**ZERO, "Aborted": 2},
            "ce1": {"Aborted": 2, "Aborted_Hour": 1, "Aborted_Day": 2},
        },
    ),
    "summary of a range, both ends included": Row(
        SERVICE,
        "getPilotSummary",
        ["2026-11-21", "2026-11-22 10:00:00"],
        [
            (
                summary(
                    [
                        {"parameter": "SubmissionTime", "operator": "gt", "value": "2026-11-20 23:59:59"},
                        {"parameter": "SubmissionTime", "operator": "lt", "value": "2026-11-22 10:00:01"},
                    ]
                ),
                ([], [], []),
            )
        ],
        {"Total": ZERO},
    ),
    "summary up to an unreadable end": Row(
        SERVICE,
        "getPilotSummary",
        ["", "abc"],
        [(summary([]), ([{"DestinationSite": "ce1", "Status": "Done", "count": 2}], [], []))],
        {"Total": ZERO},
    ),
    "status of a pilot, by its id": Row(
        SERVICE,
        "setPilotStatus",
        ["ref1", "Done", "ce1", "why", "SITE", "q"],
        [
            (
                status_search("Status", "StatusReason", "GridSite", "Queue", "DestinationSite"),
                [LONG_AGO | FULL | {"GridSite": "x"}, LONG_AGO | FULL | {"PilotID": 8}],
            ),
            (legacy([7, 8], FULL), {"changed": 2}),
        ],
        2,
    ),
    "status of a pilot, where there is DiracX's route only": Row(
        SERVICE,
        "setPilotStatus",
        ["ref1", "Done", "ce1", "why", "SITE", "q"],
        [
            (
                status_search("Status", "StatusReason", "GridSite", "Queue", "DestinationSite"),
                [LONG_AGO | FULL | {"GridSite": "x"}],
            ),
            (legacy([7], FULL), NO_ROUTE),
            (Request("PATCH", "/api/pilots/metadata", {"s1": FULL}), None),
        ],
        1,
    ),
    "status of no pilot": Row(
        SERVICE, "setPilotStatus", ["ref1", "Done"], [(status_search("Status", "StatusReason"), [])], 0
    ),
    **{
        f"what DiracX's route cannot do: {name}": Row(
            SERVICE,
            "setPilotStatus",
            ["ref1", *arguments],
            [
                (status_search("Status", "StatusReason", *(("DestinationSite",) if more else ())), [pilot]),
                (legacy([7], CHANGES | {"Status": arguments[0]} | more), NO_ROUTE),
            ],
            NO_ROUTE,
        )
        for name, arguments, pilot, more in (
            ("a status that it does not know", ["Scheduled"], LONG_AGO, {}),
            ("a pilot without a stamp", ["Done"], LONG_AGO | {"PilotStamp": ""}, {}),
            ("the site of a computing element", ["Done", "ce1"], LONG_AGO, {"DestinationSite": "ce1"}),
        )
    },
    "a status that fails otherwise is not tried again": Row(
        SERVICE,
        "setPilotStatus",
        ["ref1", "Done"],
        [
            (status_search("Status", "StatusReason"), [LONG_AGO]),
            (legacy([7], CHANGES), RestFailure(503, "away")),
        ],
        RestFailure(503, "away"),
    ),
    "a status longer than its column": Row(
        SERVICE,
        "setPilotStatus",
        ["ref1", "x" * 33],
        [],
        Refusal(
            "MySQL Error ( 1131 : Execution failed.: "
            "((1406, \"Data too long for column 'Status' at row 1\") ))",
            1131,
        ),
    ),
    "one new pilot, by DiracX's route": Row(
        SERVICE,
        "addPilotReferences",
        [["ref1"], "demo", "CREAM", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "CREAM", "pilot_reference": "ref1"},
                ),
                None,
            )
        ],
    ),
    "one pilot whose stamp is known": Row(
        SERVICE,
        "addPilotReferences",
        [["ref1"], "demo", "DIRAC", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                ),
                RestFailure(409, "Pilot with stamp 's1' already exists"),
            ),
            (
                Request(
                    "POST",
                    "/api/pilots/legacy",
                    [{"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"}],
                ),
                None,
            ),
        ],
    ),
    "many pilots in one request": Row(
        SERVICE,
        "addPilotReferences",
        [["ref1", 5], "demo"],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/legacy",
                    [
                        {"pilot_stamp": "", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                        {"pilot_stamp": "", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "5"},
                    ],
                ),
                None,
            )
        ],
    ),
    "no pilots to add, no request": Row(SERVICE, "addPilotReferences", [[], "demo"]),
    "a registration that fails otherwise is no reason to try again": Row(
        SERVICE,
        "addPilotReferences",
        [["ref1"], "demo", "DIRAC", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                ),
                RestFailure(503, "away"),
            )
        ],
        RestFailure(503, "away"),
    ),
}
