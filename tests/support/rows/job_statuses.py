"""Rows of WorkloadManagement/JobStateUpdate: statuses."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure, Identity
from rows.conversation import AWARE, AnyKey, Row, job_search
from shared_db.rules.refusals import Refusal, UnfitArgument

SERVICE = "WorkloadManagement/JobStateUpdate"

ADMIN = Identity("alice", "demo_admin", vo="demo", properties=("NormalUser", "JobAdministrator"))
OPERATOR = Identity("dave", "demo_ops", vo="demo", properties=("Operator",))
PILOT = Identity("pilot", "demo_pilot", vo="demo", properties=("GenericPilot",))

OWN = {"JobID": 1, "Owner": "alice", "OwnerGroup": "demo_user"}
BOBS = {"JobID": 1, "Owner": "bob", "OwnerGroup": "demo_user"}
NOT_AUTHORIZED = Refusal("Not authorized to modify job 1")
NOT_THERE = RestFailure(404, {"success": {}, "failed": {"1": {"detail": "Not found"}}})
FORBIDDEN = RestFailure(403, "Forbidden")
BOGUS = Refusal("getNextState: 'Bogus' is not a valid state")


def mysql(code: int, text: str) -> Refusal:
    return Refusal(f'MySQL Error ( 1131 : Execution failed.: (({code}, "{text}") ))', 1131)


def whose(*ids: int) -> Request:
    return job_search(("Owner", "OwnerGroup"), list(ids))


def reported(update: dict[str, str], query: dict[str, str] | None = None, *, moment: Any = AWARE) -> Request:
    moments = AnyKey(AWARE, update) if moment is AWARE else {moment: update}
    return Request("PATCH", "/api/jobs/status", {"1": moments}, query or {})


def changed(**texts: str) -> dict[str, Any]:
    names = ("Status", "MinorStatus", "ApplicationStatus", "StartExecTime")
    return {"success": {"1": dict.fromkeys(names) | texts}, "failed": {}}


RUNNING = {"Status": "Running", "MinorStatus": "Application", "Source": "JobWrapper"}
SET_RUNNING = ("Running", "Application", "JobWrapper")

STATUS = {
    "a status now": Row(
        SERVICE,
        "setJobStatus",
        ["1", *SET_RUNNING],
        [(reported(RUNNING), changed(Status="Running", MinorStatus="Application"))],
        (["MinorStatus"], ["Application"]),
    ),
    "a status then, forced by an administrator": Row(
        SERVICE,
        "setJobStatus",
        [1, *SET_RUNNING, "2026-11-21 20:59:57.5", True],
        [
            (
                reported(RUNNING, {"force": "true"}, moment="2026-11-21T20:59:57.500000+00:00"),
                changed(Status="Running", MinorStatus="Application"),
            )
        ],
        (["MinorStatus"], ["Application"]),
        ADMIN,
    ),
    "force of others is ignored": Row(
        SERVICE,
        "setJobStatus",
        [1, *SET_RUNNING, None, True],
        [(reported(RUNNING), changed())],
        ([], []),
    ),
    "nothing to set": Row(SERVICE, "setJobStatus", [1, "", "", "x"], [(whose(1), [OWN])], None),
    "nothing to set, of any job": Row(SERVICE, "setJobStatus", [1, "", "", "x"], [], None, ADMIN),
    "nothing to set of another's": Row(
        SERVICE, "setJobStatus", [1, "", "", "x"], [(whose(1), [BOBS])], NOT_AUTHORIZED
    ),
    "a status of another's job": Row(
        SERVICE, "setJobStatus", [1, *SET_RUNNING], [(reported(RUNNING), FORBIDDEN)], NOT_AUTHORIZED
    ),
    "a status of no job, by who may learn that": Row(
        SERVICE,
        "setJobStatus",
        [1, *SET_RUNNING],
        [(reported(RUNNING), NOT_THERE)],
        Failure("No Matching Job"),
        OPERATOR,
    ),
    "a status of no job, by a pilot": Row(
        SERVICE, "setJobStatus", [1, *SET_RUNNING], [(reported(RUNNING), NOT_THERE)], NOT_AUTHORIZED, PILOT
    ),
    "a backend without the route": Row(
        SERVICE,
        "setJobStatus",
        [1, *SET_RUNNING],
        [(reported(RUNNING), RestFailure(404, "Not Found"))],
        RestFailure(404, "Not Found"),
    ),
    "what is no status": Row(SERVICE, "setJobStatus", [1, "Bogus", "", ""], [(whose(1), [OWN])], BOGUS),
    "what is no status, of no job": Row(
        SERVICE,
        "setJobStatus",
        [1, "Bogus", "", ""],
        [(whose(1), [])],
        Failure("No Matching Job"),
        ADMIN,
    ),
    "what is no status, forced": Row(
        SERVICE,
        "setJobStatus",
        [1, "Bogus", "", "", None, True],
        [(reported({"Status": "Bogus", "Source": "Unknown"}, {"force": "true"}), RestFailure(422, []))],
        RestFailure(422, []),
        ADMIN,
    ),
    "an id that is none": Row(
        SERVICE,
        "setJobStatus",
        ["x", *SET_RUNNING],
        [],
        UnfitArgument("invalid literal for int() with base 10: 'x'"),
    ),
    "an id that no job can have": Row(
        SERVICE,
        "setJobStatus",
        [2**40, *SET_RUNNING],
        [],
        mysql(1264, "Out of range value for column 'JobID' at row 1"),
        ADMIN,
    ),
    "a minor status that is too long": Row(
        SERVICE,
        "setJobStatus",
        [1, "", "m" * 129, "x"],
        [(whose(1), [OWN])],
        mysql(1406, "Data too long for column 'MinorStatus' at row 1"),
    ),
    "a time that is none": Row(
        SERVICE,
        "setJobStatus",
        [1, "Done", "", "", "yesterday"],
        [(whose(1), [OWN])],
        UnfitArgument("'NoneType' object is not iterable"),
    ),
    "several at once, two of one moment": Row(
        SERVICE,
        "setJobStatusBulk",
        [
            1,
            {
                "2026-11-21 20:59:57": {"Status": "Running", "MinorStatus": "", "Source": "JobAgent"},
                "2026-11-21 20:59:57.0": {"ApplicationStatus": "a"},
            },
        ],
        [
            (
                Request(
                    "PATCH",
                    "/api/jobs/status",
                    {
                        "1": {
                            "2026-11-21T20:59:57+00:00": {"Status": "Running", "Source": "JobAgent"},
                            "2026-11-21T20:59:57.000001+00:00": {
                                "ApplicationStatus": "a",
                                "Source": "Unknown",
                            },
                        }
                    },
                ),
                changed(Status="Running", ApplicationStatus="a"),
            )
        ],
        (["ApplicationStatus"], ["a"]),
    ),
    "no update": Row(
        SERVICE, "setJobStatusBulk", [1, {}], [(whose(1), [OWN])], UnfitArgument("there is no update")
    ),
    "no update of another's": Row(SERVICE, "setJobStatusBulk", [1, {}], [(whose(1), [BOBS])], NOT_AUTHORIZED),
    "an application status": Row(
        SERVICE,
        "setJobApplicationStatus",
        [1, "app", ""],
        [(reported({"ApplicationStatus": "app", "Source": "Unknown"}), changed(ApplicationStatus="app"))],
        (["ApplicationStatus"], ["app"]),
    ),
    "no application status": Row(SERVICE, "setJobApplicationStatus", [1, "", "x"], [(whose(1), [OWN])], None),
    "an application status that is too long": Row(
        SERVICE,
        "setJobApplicationStatus",
        [1, "y" * 256, "x"],
        [(whose(1), [OWN])],
        mysql(1406, "Data too long for column 'ApplicationStatus' at row 1"),
    ),
}
