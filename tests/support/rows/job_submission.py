"""Rows of WorkloadManagement/JobManager: jobs that come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Credential, Failure, Identity, Reply
from rows.conversation import ALICE, Row
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/JobManager"

OWN_PROXY = Request("GET", "/api/proxies/own")
LASTS = {"kept": True, "seconds_left": 18_000}
ENDS = {"kept": True, "seconds_left": 17_999}
NOT_KEPT = {"kept": False, "seconds_left": 0}
NO_ROUTE = RestFailure(404, "Not Found")
PILOT = Identity("pilot", "demo_pilot", vo="demo", properties=("GenericPilot",))

LIMITS = Request("GET", "/api/jobs/limits")
SITE = {
    "jobs_per_submission": 20,
    "parametric_jobs": 3,
    "reschedulings": 3,
    "job_types": ["User", "Merge"],
    "log_levels": ["INFO"],
    "input_data": 500,
    "default_cpu_time": 86400,
    "min_cpu_time": 100,
    "max_cpu_time": 500_000,
    "default_priority": 1,
    "min_priority": 0,
    "max_priority": 10,
    "min_processors": 1,
    "max_processors": 1024,
    "sites": ["DEMO.Lyon.fr"],
    "platforms": {"x86_64-el9": ["x86_64-el8"]},
}
ECHO = 'Executable = "/bin/echo";'
LIMITED = replace(
    ALICE,
    credential=Credential("/CN=a", "/CN=a", "/CN=c", datetime.now(UTC) + timedelta(days=1), limited=True),
)


def submit(jdl: str) -> Request:
    return Request("POST", "/api/jobs/jdl", [jdl])


def inserted(*ids: int) -> list[dict[str, Any]]:
    return [{"JobID": job_id, "Status": "Received", "MinorStatus": "Job accepted"} for job_id in ids]


def refused(jdl: str, expected: Any, **more: Any) -> Row:
    """A job that is not sent."""
    return Row(SERVICE, "submitJob", [jdl], [(LIMITS, SITE)], expected, **more)


def error(errno: int, text: str, detail: str) -> Refusal:
    return Refusal(f"{text} ( {errno} : {detail})", errno)


WRONG_VO = "Wrong Virtual Organization in JDL"

SUBMIT = {
    "submit": Row(
        SERVICE,
        "submitJob",
        [ECHO],
        [(LIMITS, SITE), (submit(ECHO), inserted(7)), (OWN_PROXY, LASTS)],
        Reply(7, {"JobID": 7, "requireProxyUpload": False}),
    ),
    "submit one that asks for a platform, a site and a job type": Row(
        SERVICE,
        "submitJob",
        [f'{ECHO} Platform = "x86_64-el8"; Site = "DEMO.Lyon.fr"; JobType = "Merge";'],
        [
            (LIMITS, SITE),
            (
                submit(f'{ECHO} Platform = "x86_64-el8"; Site = "DEMO.Lyon.fr"; JobType = "Merge";'),
                inserted(7),
            ),
            (OWN_PROXY, ENDS),
        ],
        Reply(7, {"JobID": 7, "requireProxyUpload": True}),
    ),
    "submit a parametric one": Row(
        SERVICE,
        "submitJob",
        [f'{ECHO} Parameters = {{"a"}};'],
        [
            (LIMITS, SITE),
            (submit(f'{ECHO} Parameters = {{"a"}};'), inserted(7)),
            (OWN_PROXY, LASTS),
        ],
        Reply([7], {"JobID": [7], "requireProxyUpload": False}),
    ),
    "submit to a backend that tells no limits": Row(
        SERVICE,
        "submitJob",
        [f'{ECHO} JobType = "Odd"; Parameters = 200;'],
        [
            (LIMITS, NO_ROUTE),
            (submit(f'{ECHO} JobType = "Odd"; Parameters = 200;'), inserted(7, 8)),
            (OWN_PROXY, NO_ROUTE),
        ],
        Reply([7, 8], {"JobID": [7, 8], "requireProxyUpload": False}),
    ),
    "limits that cannot be told just now": Row(
        SERVICE, "submitJob", [ECHO], [(LIMITS, RestFailure(503, "later"))], RestFailure(503, "later")
    ),
    "submit with a limited proxy": Row(
        SERVICE,
        "submitJob",
        [ECHO],
        [],
        error(1503, "Job submission error", "Can't submit using a limited proxy"),
        LIMITED,
    ),
    "a pilot submits nothing": Row(
        SERVICE,
        "submitJob",
        [ECHO],
        [],
        error(1503, "Job submission error", "Job submission not authorized"),
        PILOT,
    ),
    "submit too many members": refused(
        f"{ECHO} Parameters = 4;",
        error(1501, "Invalid job description", "Number of parametric jobs exceeds the limit of 3"),
    ),
    "submit nothing": refused("  ", error(1501, "Invalid job description", "The job description is empty")),
    "submit for another VO": refused(
        f'{ECHO} VirtualOrganization = "other";',
        Failure(
            f"Job submission error ( 1503 : {WRONG_VO})", 1503, {"Status": "Failed", "MinorStatus": WRONG_VO}
        ),
    ),
    "submit for an unknown platform": refused(
        f'{ECHO} Platform = "amiga";', Failure("No compatible DIRAC platform found for amiga")
    ),
    "submit a name that is too long": refused(
        f'{ECHO} JobName = "{"n" * 129}";',
        Refusal(
            "MySQL Error ( 1131 : Execution failed.:"
            " ((1406, \"Data too long for column 'JobName' at row 1\") ))",
            1131,
        ),
    ),
}

NOT_VALID = error(1503, "Job submission error", "Requested jobs for bulk transaction are not valid")


def confirm(*ids: int) -> Request:
    return Request("POST", "/api/jobs/confirm", {"job_ids": list(ids)})


CONFIRM = {
    "confirm": Row(
        SERVICE, "confirmBulkSubmission", [["3", 2]], [(confirm(3, 2), {"confirmed": [3, 2]})], [3, 2]
    ),
    "confirm again": Row(
        SERVICE, "confirmBulkSubmission", [[3, 2]], [(confirm(3, 2), {"confirmed": []})], [3, 2]
    ),
    "confirm another's": Row(
        SERVICE, "confirmBulkSubmission", [[3]], [(confirm(3), RestFailure(403, "Forbidden"))], NOT_VALID
    ),
    "confirm what is done": Row(
        SERVICE, "confirmBulkSubmission", [[3]], [(confirm(3), RestFailure(400, "not valid"))], NOT_VALID
    ),
    "a backend that confirms nothing": Row(
        SERVICE, "confirmBulkSubmission", [[3]], [(confirm(3), NO_ROUTE)], NO_ROUTE
    ),
    "confirm twice in one call": Row(SERVICE, "confirmBulkSubmission", [[3, 3]], [], NOT_VALID),
    "confirm what no job can be": Row(SERVICE, "confirmBulkSubmission", [[3, 2**40]], [], NOT_VALID),
    "a pilot confirms nothing": Row(SERVICE, "confirmBulkSubmission", [[3]], [], NOT_VALID, PILOT),
    "confirm nothing": Row(
        SERVICE,
        "confirmBulkSubmission",
        [["x"]],
        [],
        error(1503, "Job submission error", "Invalid job specification: ['x']"),
    ),
    "how many members": Row(SERVICE, "getMaxParametricJobs", [], [(LIMITS, SITE)], 3),
}
