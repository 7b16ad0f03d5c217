"""Rows of WorkloadManagement/PilotManager: the tables of pilots, and what they wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import MOMENT, Row, search
from rows.pilot_changes import count
from rows.pilot_manager import named
from shared_db.rules.pilot_monitor import COLUMNS, SELECTORS
from shared_db.rules.pilot_tables import SUMMARY_COLUMNS
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/PilotManager"

SITES = Request("GET", "/api/pilots/legacy/sites")
OUTPUT = Request("GET", "/api/pilots/output", query={"pilot_reference": "ref1"})
KNOWN = (named("PilotID", "PilotStamp", "GridType"), [{"PilotID": 7, "PilotStamp": "s1", "GridType": "HTC"}])
LOG_COLUMNS = ("LineID", "TimeStamp", "Severity", "Scope", "Message")
LOGS = search("/api/pilots/search/logs", LOG_COLUMNS, ("PilotStamp", "eq", "s1"), order="LineID")


def line(number: int, message: str, scope: str = "") -> dict[str, Any]:
    """A line as REST gives it."""
    return {
        "LineID": number,
        "TimeStamp": "2026-11-21T20:56:16.5+00:00",
        "Severity": "INFO",
        "Scope": scope,
        "Message": message,
    }


def written(output: str | None, error: str | None, **more: Any) -> dict[str, Any]:
    """What a pilot wrote as REST gives it."""
    pilot = {"PilotID": 7, "PilotJobReference": "ref1", "PilotStamp": "s1", "VO": "demo"}
    return {**pilot, "StdOut": output, "StdErr": error, **more}


def monitored(**changes: Any) -> dict[str, Any]:
    """A pilot as REST gives it."""
    return {
        "PilotJobReference": "ref1",
        "VO": "demo",
        "GridType": "DIRAC",
        "Status": "Running",
        "DestinationSite": "ce1",
        "BenchMark": 1.5,
        "SubmissionTime": "2026-11-21T20:56:16Z",
        "PilotID": 7,
        "LastUpdateTime": None,
        "CurrentJobID": 0,
        "GridSite": "Unknown",
        **changes,
    }


def page_of(number: int, size: int, *sort: dict[str, str]) -> Request:
    order = [*sort, {"parameter": "PilotID", "direction": "asc"}]
    body = {"parameters": ["PilotJobReference"], "search": [], "sort": order}
    return Request("POST", "/api/pilots/search", body, {"page": number, "per_page": size})


def infos(*references: str) -> Request:
    return search(
        "/api/pilots/search", COLUMNS, ("PilotJobReference", "in", list(references)), order="PilotID"
    )


def group(site: str, ce: str, status: str, number: int) -> dict[str, Any]:
    return {"GridSite": site, "DestinationSite": ce, "Status": status, "count": number}


WEB = ["GridSite", "DestinationSite", "Status"]
RECORD = ["ref1", "demo", "DIRAC", "Running", "ce1", "1.5", "2026-11-21 20:56:16", 7, "None", 0]
TOTAL = ((count(["Status"]),), ([{"Status": "Running", "count": 5}],))

ROWS = {
    "a page between two of REST's": Row(
        SERVICE,
        "getPilotMonitorWeb",
        [{}, [["BenchMark", "desc"]], 1, 2],
        [
            TOTAL,
            (
                (
                    page_of(1, 2, {"parameter": "BenchMark", "direction": "desc"}),
                    page_of(2, 2, {"parameter": "BenchMark", "direction": "desc"}),
                ),
                (
                    [{"PilotJobReference": "no"}, {"PilotJobReference": "ref1"}],
                    [{"PilotJobReference": "ref1"}, {"PilotJobReference": "no"}],
                ),
            ),
            (infos("ref1", "ref1"), [monitored(PilotID=3), monitored()]),
            (SITES, {"ce1": "SITE"}),
        ],
        {
            "TotalRecords": 5,
            "ParameterNames": list(COLUMNS),
            "Records": [[*RECORD, "SITE"], [*RECORD, "SITE"]],
        },
    ),
    "a page with known sites": Row(
        SERVICE,
        "getPilotMonitorWeb",
        [{}, [], 0, 1],
        [
            TOTAL,
            ((page_of(1, 1),), ([{"PilotJobReference": "ref1"}],)),
            (infos("ref1"), [monitored(GridSite="HERE")]),
        ],
        {"TotalRecords": 5, "ParameterNames": list(COLUMNS), "Records": [[*RECORD, "HERE"]]},
    ),
    "an empty page": Row(
        SERVICE,
        "getPilotMonitorWeb",
        [{}, [], 0, 0],
        [TOTAL],
        {"TotalRecords": 5, "ParameterNames": list(COLUMNS), "Records": []},
    ),
    "a page beyond the end": Row(
        SERVICE, "getPilotMonitorWeb", [{}, [], 5, 1], [TOTAL], Refusal("Item number out of range")
    ),
    "a page of no pilots": Row(
        SERVICE,
        "getPilotMonitorWeb",
        [{}, [], 0, 1],
        [((count(["Status"]),), ([],))],
        {"TotalRecords": 0},
    ),
    "a page sorted by what is no column": Row(
        SERVICE,
        "getPilotMonitorWeb",
        [{}, [["Foo", "ASC"]], 0, 1],
        [],
        Refusal("Failed to select pilots: Unknown order attribute field Foo"),
    ),
    "selectors": Row(
        SERVICE,
        "getPilotMonitorSelectors",
        [],
        [
            (
                tuple(count([name]) for name in SELECTORS),
                tuple([{name: each, "count": 1} for each in ("b", "A")] for name in SELECTORS),
            )
        ],
        {name: ["A", "b"] for name in SELECTORS},
    ),
    "a summary by site": Row(
        SERVICE,
        "getPilotSummaryWeb",
        [{"VO": "demo", "GridSite": ["S1", "S2"]}, [], 0, 0],
        [
            (
                (
                    count(WEB, ("VO", "eq", "demo")),
                    count(
                        WEB,
                        ("VO", "eq", "demo"),
                        ("Status", "eq", "Aborted"),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                    count(
                        WEB,
                        ("VO", "eq", "demo"),
                        ("Status", "in", ["Aborted", "Done"]),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                    count(
                        WEB,
                        ("VO", "eq", "demo"),
                        ("Status", "eq", "Done"),
                        ("CurrentJobID", "eq", 0),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                ),
                (
                    [
                        group("S1", "ce1", "Done", 9),
                        group("S1", "ce2", "Aborted", 4),
                        group("Unknown", "ce3", "Running", 2),
                        group("S3", "ce4", "Bogus", 1),
                    ],
                    [group("S1", "ce2", "Aborted", 1)],
                    [group("S1", "ce1", "Done", 6), group("S9", "ce9", "Done", 1)],
                    [group("S1", "ce1", "Done", 2)],
                ),
            ),
            (Request("GET", "/api/site-mask/allowed"), ["S1"]),
            (SITES, {"ce3": "S2"}),
        ],
        {
            "TotalRecords": 2,
            "ParameterNames": list(SUMMARY_COLUMNS),
            "Records": [
                ["S1", "Multiple", 0, 0, 0, 6, 0, 0, 4, 0, 0, 2, 1, 10, "1.50", "60.00", "Idle", "Yes"],
                ["S2", "ce3", 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, "0.00", "100.00", "Idle", "No"],
            ],
            "Extras": {
                **dict.fromkeys(SUMMARY_COLUMNS[2:13], 0),
                "Running": 2,
                "Done": 6,
                "Aborted": 4,
                "Done_Empty": 2,
                "Aborted_Hour": 1,
                "Total": 12,
                "PilotsPerJob": "1.50",
                "PilotJobEff": "66.67",
                "Status": "Idle",
            },
        },
    ),
    "a summary by columns": Row(
        SERVICE,
        "getGroupedPilotSummary",
        [["GridSite"]],
        [
            (
                (
                    count(["GridSite", "Status"], ("Status", "not in", ["Done", "Aborted"])),
                    count(
                        ["GridSite", "Status"],
                        ("Status", "in", ["Done", "Aborted"]),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                    count(
                        ["GridSite", "Status"],
                        ("Status", "eq", "Done"),
                        ("CurrentJobID", "eq", 0),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                    count(
                        ["GridSite", "Status"],
                        ("Status", "eq", "Aborted"),
                        ("LastUpdateTime", "gt", MOMENT),
                    ),
                ),
                (
                    [{"GridSite": "s2", "Status": "Bogus", "count": 1}],
                    [
                        {"GridSite": "S1", "Status": "Done", "count": 4},
                        {"GridSite": "S1", "Status": "Aborted", "count": 2},
                    ],
                    [{"GridSite": "S1", "Status": "Done", "count": 1}],
                    [{"GridSite": "S1", "Status": "Aborted", "count": 1}],
                ),
            )
        ],
        {
            "ParameterNames": [
                "Site",
                *("Submitted", "Done", "Failed", "Aborted", "Running", "Waiting", "Scheduled", "Ready"),
                *("Aborted_Hour", "Total", "PilotsPerJob", "PilotJobEff", "CE", "Status"),
            ],
            "Records": [
                ["S1", 0, 4, 0, 2, 0, 0, 0, 0, 1, 6, 1.3333, 66.66667, "Multiple", "Idle"],
                ["s2", 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0.0, 100.0, "Multiple", "Idle"],
            ],
            "TotalRecords": 2,
        },
    ),
    "statistics of a range": Row(
        SERVICE,
        "getPilotStatistics",
        ["Status", {"LastUpdate": "2026-11-21", "VO": "demo"}],
        [
            (
                (count(["Status"], ("VO", "eq", "demo"), ("LastUpdateTime", "gt", "2026-11-20 23:59:59")),),
                ([{"Status": "Running", "count": 2}, {"Status": "Done", "count": 1}],),
            )
        ],
        {"Done": 1, "Running": 2},
    ),
    "statistics of what is no column": Row(SERVICE, "getPilotStatistics", ["Foo", {}], [], {}),
    "counters": Row(
        SERVICE,
        "getCounters",
        ["PilotAgents", ["AccountingSent", "SubmissionTime"], {}],
        [
            (
                (count(["AccountingSent", "SubmissionTime"]),),
                (
                    [
                        {"AccountingSent": False, "SubmissionTime": "2026-11-21T20:56:16Z", "count": 2},
                        {"AccountingSent": True, "SubmissionTime": None, "count": 1},
                    ],
                ),
            )
        ],
        [
            ({"AccountingSent": "True", "SubmissionTime": None}, 1),
            ({"AccountingSent": "False", "SubmissionTime": datetime(2026, 11, 21, 20, 56, 16)}, 2),  # noqa: DTZ001
        ],
    ),
    "counters of another table": Row(
        SERVICE,
        "getCounters",
        ["Foo", ["Status"], {}],
        [],
        Refusal(
            "MySQL Error ( 1131 : Execution failed.: ((1146, \"Table 'PilotAgentsDB.Foo' doesn't exist\") ))",
            1131,
        ),
    ),
    "an output that was stored": Row(
        SERVICE,
        "getPilotOutput",
        ["ref1"],
        [(OUTPUT, [written(None, None), written("out", "", PilotID=8, VO="other")])],
        {"StdOut": "out", "StdErr": "", "VO": "other", "FileList": []},
    ),
    "an output that the pilot sent": Row(
        SERVICE,
        "getPilotOutput",
        ["ref1"],
        [(OUTPUT, [written("", "")]), (LOGS, [line(1, "one"), line(2, "two")])],
        {"StdOut": "one\ntwo\n", "StdErr": "", "VO": "demo", "FileList": []},
    ),
    "an output that is not kept": Row(
        SERVICE,
        "getPilotOutput",
        ["ref1"],
        [
            (OUTPUT, [written(None, None, PilotStamp="")]),
            (named("PilotID", "GridType"), [{"PilotID": 7, "GridType": "HTC"}]),
        ],
        Refusal("Pilot output not available for HTC CEs"),
    ),
    "an output of no pilot": Row(
        SERVICE,
        "getPilotOutput",
        ["ref1"],
        [(OUTPUT, RestFailure(404, "Failed to get info for pilot"))],
        Refusal("Failed to get info for pilot"),
    ),
    "an output to store": Row(
        SERVICE,
        "storePilotOutput",
        ["ref1", "out", "error"],
        [
            (named("PilotID"), [{"PilotID": 7}, {"PilotID": 8}]),
            (
                Request("POST", "/api/pilots/output", {"pilot_id": 7, "StdOut": "out", "StdErr": "error"}),
                {"PilotID": 7, "truncated": False},
            ),
        ],
        1,
    ),
    "an output that is stored already": Row(
        SERVICE,
        "storePilotOutput",
        ["ref1", "out", ""],
        [
            (named("PilotID"), [{"PilotID": 7}]),
            (
                Request("POST", "/api/pilots/output", {"pilot_id": 7, "StdOut": "out", "StdErr": ""}),
                RestFailure(409, "The output of this pilot is stored already."),
            ),
        ],
        Refusal(
            "MySQL Error ( 1131 : Execution failed.: ((1062, \"Duplicate entry '7' for key 'PRIMARY'\") ))",
            1131,
        ),
    ),
    "an output to store of no pilot": Row(
        SERVICE,
        "storePilotOutput",
        ["ref1", "out", ""],
        [(named("PilotID"), [])],
        Refusal("Pilot reference not found ref1"),
    ),
    "what a pilot said": Row(
        SERVICE,
        "getPilotLoggingInfo",
        ["ref1"],
        [KNOWN, (LOGS, [line(1, "one"), line(2, "two", "setup")])],
        "2026-11-21T20:56:16.500Z INFO one\n2026-11-21T20:56:16.500Z INFO [setup] two\n",
    ),
    "a pilot that said nothing": Row(
        SERVICE,
        "getPilotLoggingInfo",
        ["ref1"],
        [KNOWN, (LOGS, [])],
        Refusal("Pilot logging not available for HTC CEs"),
    ),
    "no pilot that could have said something": Row(
        SERVICE,
        "getPilotLoggingInfo",
        ["ref1"],
        [(named("PilotID", "PilotStamp", "GridType"), [])],
        Failure("No pilots found ( 1550 : No pilots found for PilotJobReference(s): ref1)", 1550),
    ),
}
