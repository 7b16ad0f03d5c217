"""Rows of WorkloadManagement/PilotManager: what becomes of pilots, and which are selected."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import MOMENT, Row, search
from rows.pilot_manager import legacy, named, pilot_info, pilot_jobs, pilot_row
from shared_db.rules.pilots import PILOT_INFO
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/PilotManager"

FOUND = (named("PilotID"), [{"PilotID": 7}, {"PilotID": 8}])
NOT_FOUND: tuple[Request, list[Any]] = (named("PilotID"), [])
GROUP = "Group 'x' is not registered in this installation, or has no VO."


def refused(name: str, message: str, errno: int = 1131) -> Refusal:
    return Refusal(f"{name}{message}", errno)


def count(grouping: list[str], *conditions: tuple[str, str, Any]) -> Request:
    """The summary that an adaptor is expected to send."""
    found = [
        {
            "parameter": name,
            "operator": operator,
            ("values" if operator in ("in", "not in") else "value"): value,
        }
        for name, operator, value in conditions
    ]
    return Request("POST", "/api/pilots/summary", {"grouping": grouping, "search": found})


def of_job(*parameters: str, path: str = "/api/pilots/search") -> Request:
    return search(path, parameters, ("JobID", "eq", 12), order="PilotID")


def mapping(job_id: int) -> Request:
    return Request("PATCH", "/api/pilots/jobs", {"pilot_id": 7, "job_ids": [job_id]})


def running(job_id: int) -> Request:
    return legacy([7, 8], {"Status": "Running", "StatusReason": f"Report from job {job_id}"})


def older_than(*conditions: tuple[str, str, Any]) -> Request:
    return search("/api/pilots/search", ("PilotID",), *conditions, order="PilotID")


def new_pilot(**more: str) -> dict[str, str]:
    return {"pilot_reference": "ref1", "pilot_stamp": "s1", "grid_type": "CREAM", **more}


ROWS = {
    "a new pilot of a group": Row(
        SERVICE,
        "addPilotTQReference",
        [["ref1"], 5, "/CN=x", "demo_pilot", "broker", "CREAM", {"ref1": "s1"}],
        [(Request("POST", "/api/pilots/legacy", [new_pilot(owner_group="demo_pilot")]), None)],
    ),
    "a new pilot of a group that has no VO": Row(
        SERVICE,
        "addPilotTQReference",
        [["ref1"], 5, "/CN=x", "x", "broker", "CREAM", {"ref1": "s1"}],
        [(Request("POST", "/api/pilots/legacy", [new_pilot(owner_group="x")]), RestFailure(400, GROUP))],
        Failure(GROUP),
    ),
    "no new pilots of a group": Row(SERVICE, "addPilotTQReference", [[], 5, "/CN=x", "x"]),
    "pilots of a job": Row(
        SERVICE,
        "getPilots",
        ["12"],
        [(of_job(*PILOT_INFO), [pilot_row()]), (pilot_jobs(7), [{"PilotID": 7, "JobID": 12}])],
        {"ref1": pilot_info(Jobs=[12])},
    ),
    "a job without pilots": Row(
        SERVICE,
        "getPilots",
        [12],
        [(of_job(*PILOT_INFO), []), (of_job("PilotID", path="/api/pilots/jobs/search"), [])],
        Refusal("Failed to get pilot for Job 12: "),
    ),
    "a job whose pilots are gone": Row(
        SERVICE,
        "getPilots",
        [12],
        [
            (of_job(*PILOT_INFO), []),
            (of_job("PilotID", path="/api/pilots/jobs/search"), [{"PilotID": 3}]),
        ],
        Failure("No pilots found ( 1550 : No pilots found)", 1550),
    ),
    "selected pilots": Row(
        SERVICE,
        "selectPilots",
        [{"Status": ["Done", "Failed"], "PilotID": "5x", "VO": None, "SubmissionTime": "2026-11-21"}],
        [
            (
                search(
                    "/api/pilots/search",
                    ("PilotID", "PilotJobReference"),
                    ("Status", "in", ["Done", "Failed"]),
                    ("PilotID", "eq", 5),
                    ("PilotID", "in", []),
                    ("SubmissionTime", "eq", "2026-11-21 00:00:00"),
                    order="PilotID",
                ),
                [{"PilotID": 1, "PilotJobReference": "a"}, {"PilotID": 2, "PilotJobReference": "a"}],
            )
        ],
        ["a", "a"],
    ),
    "an unknown column": Row(
        SERVICE,
        "selectPilots",
        [{"Foo": 1}],
        [],
        refused(
            "MySQL Error ( 1131 : ", "Execution failed.: ((1054, \"Unknown column 'Foo' in 'WHERE'\") ))"
        ),
    ),
    "the number of pilots in a range": Row(
        SERVICE,
        "countPilots",
        [{"VO": "demo"}, "2026-11-22", "2026-11-21", "LastUpdateTime"],
        [
            (
                (
                    count(
                        ["Status"],
                        ("VO", "eq", "demo"),
                        ("LastUpdateTime", "gt", "2026-11-20 23:59:59"),
                        ("LastUpdateTime", "lt", "2026-11-22 00:00:00"),
                    ),
                ),
                ([{"Status": "Done", "count": 2}, {"Status": "Failed", "count": 3}],),
            )
        ],
        5,
    ),
    "current counters": Row(
        SERVICE,
        "getCurrentPilotCounters",
        [{"VO": "demo"}],
        [
            (
                (
                    count(["Status"], ("VO", "eq", "demo")),
                    count(["Status"], ("VO", "eq", "demo"), ("LastUpdateTime", "gt", MOMENT)),
                ),
                (
                    [
                        {"Status": "Running", "count": 2},
                        {"Status": "Done", "count": 9},
                        {"Status": "Aborted", "count": 4},
                    ],
                    [{"Status": "Done", "count": 3}, {"Status": "Running", "count": 1}],
                ),
            )
        ],
        {"Aborted": 0, "Done": 3, "Running": 2},
    ),
    "a benchmark, with six decimals": Row(
        SERVICE,
        "setPilotBenchmark",
        ["ref1", 1.23456789],
        [FOUND, (legacy([7, 8], {"BenchMark": 1.234568}), {"changed": 1})],
        1,
    ),
    "a benchmark of no pilot": Row(SERVICE, "setPilotBenchmark", ["ref1", 1.5], [NOT_FOUND], 0),
    "accounted": Row(
        SERVICE,
        "setAccountingFlag",
        ["ref1"],
        [FOUND, (legacy([7, 8], {"AccountingSent": True}), {"changed": 2})],
        2,
    ),
    "neither accounted nor not": Row(
        SERVICE,
        "setAccountingFlag",
        ["ref1", "yes"],
        [],
        refused(
            "MySQL Error ( 1131 : ",
            "Execution failed.: ((1265, \"Data truncated for column 'AccountingSent' at row 1\") ))",
        ),
    ),
    "a job of a pilot": Row(
        SERVICE,
        "setJobForPilot",
        ["12", "ref1"],
        [
            FOUND,
            (running(12), {"changed": 2}),
            (mapping(12), None),
            (legacy([7, 8], {"CurrentJobID": 12}), {"changed": 1}),
        ],
        1,
    ),
    "a job that it runs already, somewhere else": Row(
        SERVICE,
        "setJobForPilot",
        [12, "ref1", "ce9"],
        [
            FOUND,
            (running(12), {"changed": 2}),
            (mapping(12), RestFailure(409, "This pilot is already associated with this job.")),
            (legacy([7, 8], {"CurrentJobID": 12}), {"changed": 0}),
            (legacy([7, 8], {"DestinationSite": "ce9"}, site_of_unknown_ce="Unknown"), {"changed": 2}),
        ],
        2,
    ),
    "a job of no pilot": Row(
        SERVICE,
        "setJobForPilot",
        [12, "ref1"],
        [NOT_FOUND],
        Refusal("PilotJobReference ref1 not found"),
    ),
    "pilots to kill": Row(
        SERVICE,
        "killPilot",
        ["ref1"],
        [
            (
                search(
                    "/api/pilots/search",
                    ("PilotID", "PilotJobReference"),
                    ("PilotJobReference", "in", ["ref1"]),
                    order="PilotID",
                ),
                [{"PilotID": 7, "PilotJobReference": "ref1"}, {"PilotID": 8, "PilotJobReference": "ref1"}],
            ),
            (Request("POST", "/api/pilots/kill", {"pilot_ids": [7, 8]}), {"aborted": [7]}),
        ],
    ),
    "one of the pilots to kill is not there": Row(
        SERVICE,
        "killPilot",
        [["ref1", "zz"]],
        [
            (
                search(
                    "/api/pilots/search",
                    ("PilotID", "PilotJobReference"),
                    ("PilotJobReference", "in", ["ref1", "zz"]),
                    order="PilotID",
                ),
                [{"PilotID": 7, "PilotJobReference": "ref1"}],
            )
        ],
        Refusal("Failed to get info for pilot zz"),
    ),
    "pilots to delete, by id": Row(
        SERVICE,
        "deletePilots",
        [[7, "8x", None, 1.5]],
        [(Request("DELETE", "/api/pilots/", query={"pilot_ids": [7, 8]}), None)],
    ),
    "many pilots to delete": Row(
        SERVICE,
        "deletePilots",
        [list(range(1, 502))],
        [
            (Request("DELETE", "/api/pilots/", query={"pilot_ids": list(range(1, 501))}), None),
            (Request("DELETE", "/api/pilots/", query={"pilot_ids": [501]}), None),
        ],
    ),
    "the pilot to delete, by reference": Row(
        SERVICE,
        "deletePilots",
        ["ref1"],
        [FOUND, (Request("DELETE", "/api/pilots/", query={"pilot_ids": [7]}), None)],
        [7],
    ),
    "no pilot to delete, by reference": Row(SERVICE, "deletePilots", ["ref1"], [NOT_FOUND], [0]),
    "nothing to delete": Row(
        SERVICE,
        "deletePilots",
        [[]],
        [],
        Refusal("Failed to remove pilot from PilotOutput, JobToPilotMapping, PilotAgents tables"),
    ),
    "old pilots": Row(
        SERVICE,
        "clearPilots",
        [30, 7],
        [
            (older_than(("SubmissionTime", "lt", MOMENT)), [{"PilotID": 1}, {"PilotID": 2}]),
            (Request("DELETE", "/api/pilots/", query={"age_in_days": 30}), None),
            (
                older_than(("SubmissionTime", "lt", MOMENT), ("Status", "eq", "Aborted")),
                [{"PilotID": 3}],
            ),
            (
                Request("DELETE", "/api/pilots/", query={"age_in_days": 7, "delete_only_aborted": True}),
                None,
            ),
        ],
        [3],
    ),
    "no old pilots": Row(
        SERVICE,
        "clearPilots",
        [30, 7],
        [
            (older_than(("SubmissionTime", "lt", MOMENT)), []),
            (older_than(("SubmissionTime", "lt", MOMENT), ("Status", "eq", "Aborted")), []),
        ],
    ),
}
