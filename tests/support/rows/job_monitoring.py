"""Rows of WorkloadManagement/JobMonitoring."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request, RestFailure
from adaptor.values import LARGEST_PAGE
from rows.conversation import MOMENT, Row, job_search
from rows.jobs import (
    DISTINCT,
    condition,
    count,
    counter_rows,
    distinct_rows,
    legacy_job,
    page_rows,
    pilot_jobs,
    rest_job,
    statistics_rows,
)
from shared_db.rules.job_attributes import JOB_ATTRIBUTES
from shared_db.rules.refusals import Refusal, UnfitArgument

SERVICE = "WorkloadManagement/JobMonitoring"


WHOLE = tuple(name for name in JOB_ATTRIBUTES if name != "JobID")
PARAMETERS = "/api/jobs/parameters/search"


def one_attribute(method: str, column: str, *, several: bool = False) -> dict[str, Row]:
    """Methods that give one attribute, of a job or of several."""
    asked = (job_search((column,), [3]), [{"JobID": 3, column: "x"}])
    missing = (job_search((column,), [3]), [])
    return {
        f"{method}: there": Row(SERVICE, method, [3], [asked], {3: {column: "x"}} if several else "x"),
        f"{method}: not there": Row(SERVICE, method, [3], [missing], {} if several else None),
    }


def whole_jobs(method: str) -> Row:
    """Methods that give all attributes of several jobs."""
    return Row(SERVICE, method, [[3]], [(job_search(WHOLE, [3]), [rest_job(3)])], {3: legacy_job(3)})


def whole_job(method: str) -> Row:
    """Methods that give all attributes of a job."""
    return Row(SERVICE, method, [3], [(job_search(WHOLE, [3]), [rest_job(3)])], legacy_job(3))


def details(path: str, ids: list[int], **more: Any) -> Request:
    """A search for details of jobs."""
    return Request("POST", path, {"job_ids": ids, **more})


def jdl(*answer: Any, original: bool = False) -> list[tuple[Request, Any]]:
    """How a JDL is asked for."""
    query = {"original": "true"} if original else {}
    return [(Request("GET", "/api/jobs/7/jdl", None, query), *answer)]


def ids(*search: dict[str, Any]) -> Request:
    """The ids of all jobs that meet conditions."""
    return Request("POST", "/api/jobs/ids/search", {"search": list(search)})


def ids_page(first: list[dict[str, Any]], *behind: int) -> Request:
    """A page of ids, behind the last one of the page before."""
    search = [*first, *(condition("JobID", "gt", each) for each in behind)]
    body = {"parameters": ["JobID"], "search": search, "sort": [{"parameter": "JobID", "direction": "asc"}]}
    return Request("POST", "/api/jobs/search", body, {"page": 1, "per_page": LARGEST_PAGE})


HISTORY = {"Status": "Done", "MinorStatus": "m", "ApplicationStatus": "a", "Source": "JobWrapper"}
HISTORY_OF_7 = Request(
    "POST", "/api/jobs/search", {"parameters": ["LoggingInfo"], "search": [condition("JobID", "eq", 7)]}
)
DAY = condition("LastUpdateTime", "gt", MOMENT)

DETAILS = {
    "a JDL": Row(SERVICE, "getJobJDL", [7, False], jdl({"JobID": 7, "JDL": "[]"}), "[]"),
    "the JDL that was submitted": Row(
        SERVICE, "getJobJDL", [7, True], jdl({"JobID": 7, "JDL": "[ ]"}, original=True), "[ ]"
    ),
    "the JDL of no job": Row(SERVICE, "getJobJDL", [7, False], jdl(RestFailure(404, "Job 7 not found")), ()),
    "a JDL that may not be seen": Row(
        SERVICE, "getJobJDL", [7, False], jdl(RestFailure(403, "no")), RestFailure(403, "no")
    ),
    "a history": Row(
        SERVICE,
        "getJobLoggingInfo",
        [7],
        [(HISTORY_OF_7, [{"LoggingInfo": [{**HISTORY, "StatusTime": "2026-11-20T10:00:00.9+00:00"}]}])],
        [("Done", "m", "a", "2026-11-20 10:00:00", "JobWrapper")],
    ),
    "no history": Row(
        SERVICE, "getJobLoggingInfo", [7], [(HISTORY_OF_7, [])], Refusal("No Logging information for job 7")
    ),
    "one parameter": Row(
        SERVICE,
        "getJobParameter",
        ["7", "Host"],
        [((details(PARAMETERS, [7], names=["Host"]),), ({"7": {"Host": "wn"}},))],
        {"Host": "wn"},
    ),
    "a parameter of what is no id": Row(
        SERVICE,
        "getJobParameter",
        ["x", "Host"],
        [],
        UnfitArgument("invalid literal for int() with base 10: 'x'"),
    ),
    "parameters of many jobs": Row(
        SERVICE,
        "getJobParameters",
        [[*range(1, 1002)]],
        [
            (
                (details(PARAMETERS, [*range(1, 1001)]), details(PARAMETERS, [1001])),
                ({"1": {"a": "b"}}, {"1001": {"c": "d"}}),
            )
        ],
        {1: {"a": "b"}, 1001: {"c": "d"}},
    ),
    "parameters of ids that no job has": Row(SERVICE, "getJobParameters", [[-1, 2**40]], [], {}),
    "parameters of optimizers": Row(
        SERVICE,
        "getJobOptParameters",
        [7],
        [((details(PARAMETERS, [7], kind="optimizer"),), ({7: {"a": "b"}},))],
        {"a": "b"},
    ),
    "the attic": Row(
        SERVICE,
        "getAtticJobParameters",
        [7, ["a"], 1],
        [
            (
                (details("/api/jobs/attic-parameters/search", [7], names=["a"], cycle=1),),
                ({7: {"1": {"a": "b"}}},),
            )
        ],
        {1: {"a": "b"}},
    ),
    "measurements, by name and time": Row(
        SERVICE,
        "getJobHeartBeatData",
        [7],
        [
            (
                (details("/api/jobs/heartbeats/search", [7]),),
                (
                    {
                        7: [
                            {"Name": "b", "Value": "x", "HeartBeatTime": "2026-11-20T10:00:00+00:00"},
                            {"Name": "a", "Value": "12.46", "HeartBeatTime": "2026-11-20T11:00:00+00:00"},
                        ]
                    },
                ),
            )
        ],
        [("a", "12.5", "2026-11-20 11:00:00"), ("b", "x", "2026-11-20 10:00:00")],
    ),
    "files of a job": Row(
        SERVICE,
        "getInputData",
        [7],
        [((details("/api/jobs/input-data/search", [7]),), ({7: ["/a", "lfn:/b"]},))],
        ["/a", "/b"],
    ),
    "files of several jobs": Row(
        SERVICE,
        "getInputData",
        [["7", 8]],
        [((details("/api/jobs/input-data/search", [7, 8]),), ({7: ["LFN:/a"]},))],
        {7: ["/a"], 8: []},
    ),
}

LISTS = {
    "jobs under a condition": Row(
        SERVICE,
        "getJobs",
        [{"site": "ANY"}],
        [(ids(condition("Site", "eq", "ANY")), [3, 5])],
        ["3", "5"],
    ),
    "more jobs than a page has, of a backend without our extension": Row(
        SERVICE,
        "getJobs",
        [],
        [
            (ids(), RestFailure(404, "Not Found")),
            (ids_page([]), [{"JobID": each} for each in range(1, LARGEST_PAGE + 1)]),
            (ids_page([], LARGEST_PAGE), []),
        ],
        [str(each) for each in range(1, LARGEST_PAGE + 1)],
    ),
    "jobs without a value": Row(
        SERVICE,
        "getJobs",
        [{"StartExecTime": None}],
        [],
        RestFailure(501, "no search can ask for jobs without StartExecTime"),
    ),
    "jobs under what is no condition": Row(
        SERVICE,
        "getJobs",
        [["x"]],
        [],
        Refusal("MySQL Error ( 1131 : 'list' object has no attribute 'items')", 1131),
    ),
    "current counters": Row(
        SERVICE,
        "getCurrentJobCounters",
        [],
        [
            (
                (count("Status"), count("Status", search=[DAY])),
                (
                    [{"Status": each, "count": 9} for each in ("Running", "Failed", "Done")],
                    [{"Status": "Done", "count": 4}],
                ),
            )
        ],
        {"Done": 4, "Failed": 0, "Running": 9},
    ),
    "current counters of the jobs of a pilot": Row(
        SERVICE,
        "getCurrentJobCounters",
        [{"PilotJobReference": "ref"}],
        [
            *pilot_jobs("ref", [3]),
            (
                (
                    count("Status", search=[condition("JobID", "eq", 3)]),
                    count("Status", search=[condition("JobID", "eq", 3), DAY]),
                ),
                ([], []),
            ),
        ],
        {},
    ),
    "a summary by site": Row(
        SERVICE,
        "getSiteSummary",
        [],
        [
            (
                (count("Site", "Status"),),
                (
                    [
                        {"Site": "ANY", "Status": "Waiting", "count": 5},
                        {"Site": "S", "Status": "Matched", "count": 1},
                        {"Site": "S", "Status": "Waiting", "count": 2},
                        {"Site": "S", "Status": "Killed", "count": 2},
                    ],
                ),
            )
        ],
        {
            "S": {"Waiting": 3, "Running": 0, "Stalled": 0, "Done": 0, "Failed": 0},
            "Total": {"Waiting": 3, "Running": 0, "Stalled": 0, "Done": 0, "Failed": 0},
        },
    ),
}

ROWS = {
    **DETAILS,
    **LISTS,
    **page_rows(SERVICE),
    **distinct_rows(SERVICE, {**DISTINCT, "getProductionIds": "JobGroup"}),
    **counter_rows(SERVICE, "getCounters"),
    **statistics_rows(SERVICE),
    **one_attribute("getJobsMinorStatus", "MinorStatus", several=True),
    **one_attribute("getJobsApplicationStatus", "ApplicationStatus", several=True),
    **one_attribute("getJobsSites", "Site", several=True),
    **one_attribute("getJobStatus", "Status"),
    **one_attribute("getJobOwner", "Owner"),
    **one_attribute("getJobSite", "Site"),
    "whole jobs": whole_jobs("getJobsSummary"),
    "whole jobs, as 7.3 asks": whole_jobs("getJobsPrimarySummary"),
    "whole jobs, as 8.0 asks": Row(
        SERVICE, "getJobsParameters", [[3], []], [(job_search(WHOLE, [3]), [rest_job(3)])], {3: legacy_job(3)}
    ),
    "a whole job": whole_job("getJobSummary"),
    "a whole job, as 7.3 asks": whole_job("getJobPrimarySummary"),
    "some attributes": Row(
        SERVICE,
        "getJobAttributes",
        [3, ["status", "Owner", "Status", "JobID"]],
        [(job_search(("Owner", "Status"), [3]), [{"JobID": 3, "Owner": "alice", "Status": "Done"}])],
        {"JobID": 3, "Owner": "alice", "Status": "Done", "status": "Done"},
    ),
    "an attribute": Row(
        SERVICE,
        "getJobAttribute",
        [3, "HeartBeatTime"],
        [(job_search(("HeartBeatTime",), [3]), [{"JobID": 3, "HeartBeatTime": None}])],
        None,
    ),
    "an unknown attribute": Row(
        SERVICE, "getJobAttribute", [0, "Foo"], [], Refusal("Unknown job attribute: Foo")
    ),
    "status of jobs that exist": Row(
        SERVICE,
        "getJobsStatus",
        [[1, "2", 9]],
        [
            (
                job_search(("Status",), [1, 2, 9]),
                [{"JobID": 1, "Status": "Done"}, {"JobID": 2, "Status": "Failed"}],
            )
        ],
        {1: {"Status": "Done"}, 2: {"Status": "Failed"}},
    ),
    "ids as a text": Row(SERVICE, "getJobsStatus", ["1, 2"], [(job_search(("Status",), [1, 2]), [])], {}),
    "no ids, no request": Row(SERVICE, "getJobsStatus", [[]], [], {}),
    "unreadable ids, no request": Row(
        SERVICE,
        "getJobsStatus",
        ["abc"],
        [],
        Refusal(
            "ValueError(\"invalid literal for int() with base 10: 'abc'\"):"
            " invalid literal for int() with base 10: 'abc'"
        ),
    ),
    "a second page": Row(
        SERVICE,
        "getJobsStatus",
        [[5]],
        [
            (job_search(("Status",), [5]), [{"JobID": n, "Status": "Done"} for n in range(LARGEST_PAGE)]),
            (
                Request(
                    "POST",
                    "/api/jobs/search",
                    job_search(("Status",), [5]).body,
                    {"page": 2, "per_page": LARGEST_PAGE},
                ),
                RestFailure(416, []),
            ),
        ],
        {n: {"Status": "Done"} for n in range(LARGEST_PAGE)},
    ),
    "states, sorted by name": Row(
        SERVICE,
        "getJobsStates",
        [3],
        [
            (
                job_search(("ApplicationStatus", "MinorStatus", "Status"), [3]),
                [{"JobID": 3, "Status": "Done", "MinorStatus": "m", "ApplicationStatus": None}],
            )
        ],
        {3: {"ApplicationStatus": None, "MinorStatus": "m", "Status": "Done"}},
    ),
}
