"""Rows of the methods about jobs and sites that several services have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adaptor.conversation import Request, RestFailure
from adaptor.values import LARGEST_PAGE
from rows.conversation import MOMENT, Row
from shared_db.rules.job_attributes import JOB_ATTRIBUTES
from shared_db.rules.refusals import Refusal, UnfitArgument

JOB_MONITORING, WEB_APP = "WorkloadManagement/JobMonitoring", "Monitoring/WebApp"
MOMENT_OF_JOB = datetime(2026, 11, 20, 10, 0, 0)  # noqa: DTZ001 - DIRAC's are naive
JSON_MOMENT = "2026-11-20T10:00:00+00:00"
TIMES = (
    "EndExecTime",
    "HeartBeatTime",
    "LastUpdateTime",
    "RescheduleTime",
    "StartExecTime",
    "SubmissionTime",
)


def rest_job(job_id: int, **changes: Any) -> dict[str, Any]:
    """A job as REST gives it, with all attributes."""
    numbers = {"JobID": job_id, "UserPriority": 1, "RescheduleCounter": 0}
    times = {**dict.fromkeys(TIMES), "LastUpdateTime": JSON_MOMENT}
    return {
        **dict.fromkeys(JOB_ATTRIBUTES, "x"),
        **numbers,
        **times,
        "VerifiedFlag": True,
        "AccountedFlag": "Failed",
        **changes,
    }


def legacy_job(job_id: int, **changes: Any) -> dict[str, Any]:
    """The same job as DIRAC gives it."""
    flags = {"VerifiedFlag": "True", "AccountedFlag": "Failed"}
    return {**rest_job(job_id), "LastUpdateTime": MOMENT_OF_JOB, **flags, **changes}


def count(*grouping: str, search: list[dict[str, Any]] | None = None) -> Request:
    """A summary that an adaptor is expected to ask for."""
    return Request("POST", "/api/jobs/summary", {"grouping": list(grouping), "search": search or []})


def condition(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    """One condition of it."""
    return {"parameter": parameter, "operator": operator, ("values" if operator == "in" else "value"): value}


def values(column: str, *search: dict[str, Any], number: int = 1) -> Request:
    """A page of distinct values."""
    body = {"parameters": [column], "search": list(search), "distinct": True}
    return Request("POST", "/api/jobs/search", body, {"page": number, "per_page": LARGEST_PAGE})


def page(number: int, size: int, *search: dict[str, Any], sort: str = "JobID", down: bool = False) -> Request:
    """A page of whole jobs."""
    body = {
        "parameters": list(JOB_ATTRIBUTES),
        "search": list(search),
        "sort": [{"parameter": sort, "direction": "desc" if down else "asc"}],
    }
    return Request("POST", "/api/jobs/search", body, {"page": number, "per_page": size})


def pilot_jobs(reference: str, jobs: list[int]) -> list[tuple[Request, Any]]:
    """How the jobs of a pilot are found."""
    whole = {"page": 1, "per_page": LARGEST_PAGE}
    pilots = {
        "parameters": ["PilotID", "PilotJobReference"],
        "search": [condition("PilotJobReference", "in", [reference])],
        "sort": [{"parameter": "PilotID", "direction": "asc"}],
    }
    mapping = {
        "parameters": ["PilotID", "JobID"],
        "search": [condition("PilotID", "in", [8])],
        "sort": [{"parameter": "JobID", "direction": "asc"}],
    }
    return [
        (
            Request("POST", "/api/pilots/search", pilots, whole),
            [{"PilotID": each, "PilotJobReference": reference} for each in (7, 8)],
        ),
        (
            Request("POST", "/api/pilots/jobs/search", mapping, whole),
            [{"PilotID": 8, "JobID": each} for each in jobs],
        ),
    ]


HEADS = [{"Status": "Done", "count": 2}, {"Status": "Checking", "count": 1}]
HEAD = {"TotalRecords": 3, "Extras": {"Checking": 1, "Done": 2}}


def page_rows(service: str) -> dict[str, Row]:
    """getJobPageSummaryWeb."""

    def row(arguments: list[Any], exchange: list[Any], expected: Any) -> Row:
        return Row(service, "getJobPageSummaryWeb", arguments, exchange, expected)

    names = [*JOB_ATTRIBUTES, "LastSignOfLife"]
    job = rest_job(5, HeartBeatTime=JSON_MOMENT)
    record = [*legacy_job(5, HeartBeatTime=MOMENT_OF_JOB).values(), MOMENT_OF_JOB]
    body = {"ParameterNames": names, "Records": [record]}
    done, since = condition("Status", "eq", "Done"), condition("LastUpdateTime", "gt", "2026-11-19 23:59:59")
    until = condition("LastUpdateTime", "lt", "2026-11-21 00:00:00")
    of_pilot = condition("JobID", "in", [3, 4])
    return {
        "a page": row(
            [{"Status": "Done", "FromDate": "2026-11-20", "ToDate": "2026-11-21"}, [["Site", "DESC"]], 2, 2],
            [
                (
                    (
                        count("Status", search=[done, since, until]),
                        page(2, 2, done, since, until, sort="Site", down=True),
                    ),
                    (HEADS, [job]),
                )
            ],
            HEAD | body,
        ),
        "a window that is no page of REST's": row(
            [{}, [], 1, 2],
            [
                (count("Status"), HEADS),
                (page(1, 3), [rest_job(3), rest_job(4), job]),
            ],
            HEAD | body | {"Records": [[*legacy_job(4).values(), MOMENT_OF_JOB], record]},
        ),
        "no jobs": row([{}, [], 3, 10], [(count("Status"), [])], {"TotalRecords": 0}),
        "no jobs, sorted by nothing": row(
            [{}, [["Nope", "ASC"]], 0, 10], [(count("Status"), [])], {"TotalRecords": 0}
        ),
        "a first page of nothing": row(
            [{}, [], 0, 10],
            [((count("Status"), page(1, 10)), ([], []))],
            {"TotalRecords": 0},
        ),
        "a page of REST's behind the last": row(
            [{}, [], 10, 10],
            [((count("Status"), page(2, 10)), (HEADS, RestFailure(416, []))), (count("Status"), HEADS)],
            Refusal("Item number out of range"),
        ),
        "numbers only": row([{}, [], 9, 10, False], [(count("Status"), HEADS)], HEAD),
        "a page behind the last": row(
            [{}, [], 3, 10], [(count("Status"), HEADS)], Refusal("Item number out of range")
        ),
        "jobs of a pilot": row(
            [{"PilotJobReference": "ref"}, [], 0, 10, False],
            [*pilot_jobs("ref", [4, 3]), (count("Status", search=[of_pilot]), HEADS)],
            HEAD,
        ),
        "a sort that is none": row([{}, [["JobID"]], 0, 10], [], UnfitArgument("list index out of range")),
    }


def distinct_rows(service: str, columns: dict[str, str]) -> dict[str, Row]:
    """Those that give distinct values, by method."""
    return {
        f"{method}: sorted": Row(
            service,
            method,
            [],
            [(values(column), [{column: each} for each in ("b", "A", None)])],
            [None, "A", "b"],
        )
        for method, column in columns.items()
    } | {
        "as many distinct values as a page has": Row(
            service,
            "getSites",
            [],
            [
                (values("Site"), [{"Site": "s"}] * LARGEST_PAGE),
                (values("Site", number=2), RestFailure(416, [])),
            ],
            ["s"] * LARGEST_PAGE,
        ),
        "distinct values under conditions": Row(
            service,
            "getStates",
            [{"Owner": ["alice", "bob"]}, "2026-11-21 12:00:00.5", "abc"],
            [
                (
                    values(
                        "Status",
                        condition("Owner", "in", ["alice", "bob"]),
                        condition("LastUpdateTime", "gt", "1000-01-01 00:00:00"),
                        condition("LastUpdateTime", "lt", "2026-11-21 12:00:01"),
                    ),
                    [{"Status": "Done"}],
                )
            ],
            ["Done"],
        ),
    }


DISTINCT = {
    "getApplicationStates": "ApplicationStatus",
    "getJobTypes": "JobType",
    "getOwners": "Owner",
    "getOwnerGroup": "OwnerGroup",
    "getJobGroups": "JobGroup",
    "getSites": "Site",
    "getStates": "Status",
    "getMinorStates": "MinorStatus",
}


def counter_rows(service: str, method: str) -> dict[str, Row]:
    """getCounters, or what it is called since DIRAC 9."""
    since = condition("LastUpdateTime", "gt", "2026-11-19 23:59:59")
    no_bound = condition("LastUpdateTime", "gt", "1000-01-01 00:00:00")
    of_pilot = condition("JobID", "in", [3, 4])
    return {
        "counters of the jobs of a pilot": Row(
            service,
            method,
            [["Status"], {"PilotJobReference": "ref"}],
            [*pilot_jobs("ref", [4, 3]), (count("Status", search=[of_pilot]), HEADS)],
            [({"Status": "Checking"}, 1), ({"Status": "Done"}, 2)],
        ),
        "counters by two attributes": Row(
            service,
            method,
            [["Status", "owner"], {"FromDate": "2020-01-01"}, "2026-11-20"],
            [
                (
                    count("Status", "Owner", search=[since]),
                    [
                        {"Owner": "bob", "Status": "Done", "count": 3},
                        {"Owner": "alice", "Status": "Done", "count": 4},
                    ],
                )
            ],
            [({"Status": "Done", "owner": "alice"}, 4), ({"Status": "Done", "owner": "bob"}, 3)],
        ),
        "a cut date of None": Row(
            service, method, [["Status"], None, None], [(count("Status", search=[no_bound]), [])], []
        ),
        "counters by an unknown attribute": Row(
            service,
            method,
            [["Nope"]],
            [],
            Refusal(
                "MySQL Error ( 1131 : Execution failed.: ((1054, \"Unknown column 'Nope' in 'SELECT'\") ))",
                1131,
            ),
        ),
    }


def statistics_rows(service: str) -> dict[str, Row]:
    """getJobStats."""
    of_pilot = condition("JobID", "eq", 3)
    return {
        "statistics of the job of a pilot": Row(
            service,
            "getJobStats",
            ["Status", {"PilotJobReference": "ref"}],
            [*pilot_jobs("ref", [3]), (count("Status", search=[of_pilot]), HEADS)],
            {"Checking": 1, "Done": 2},
        ),
        "statistics": Row(
            service,
            "getJobStats",
            ["VerifiedFlag", {"JobID": ["1", 2, "x"]}],
            [
                (
                    count("VerifiedFlag", search=[condition("JobID", "in", [1, 2, 0])]),
                    [{"VerifiedFlag": True, "count": 2}],
                )
            ],
            {"True": 2},
        ),
    }


KNOWN = Request("GET", "/api/site-mask/known")
STATES = (
    *("Submitting", "Received", "Checking", "Scouting", "Staging", "Waiting", "Matched", "Rescheduled"),
    *("Running", "Stalled", "Completing", "Done", "Completed", "Failed", "Deleted", "Killed"),
)
SITES = {
    "DEMO.Lyon.fr": {"Tier": 1, "MaskStatus": "Active", "Configured": True},
    "DEMO.Old.fr": {"Tier": 2, "MaskStatus": "Banned", "Configured": False},
}


def site_rows(service: str) -> dict[str, Row]:
    """getSiteSummaryWeb and getSiteSummarySelectors."""
    unfinished = count("Site", "Status", search=[condition("LastUpdateTime", "gt", "2026-11-19 23:59:59")])
    finished = count("Site", "Status", search=[condition("EndExecTime", "gt", MOMENT)])
    numbers = dict.fromkeys(STATES, 0)
    lyon = numbers | {"Running": 5, "Done": 3, "Failed": 1}
    return {
        "the summary of sites": Row(
            service,
            "getSiteSummaryWeb",
            [{"LastUpdateTime": "2026-11-20", "Country": "fr"}, [["Running", "DESC"]], 0, 1],
            [
                (
                    (unfinished, finished, KNOWN),
                    (
                        [
                            {"Site": "ANY", "Status": "Waiting", "count": 7},
                            {"Site": "DEMO.Lyon.fr", "Status": "Running", "count": 5},
                            {"Site": "DEMO.Lyon.fr", "Status": "Done", "count": 90},
                        ],
                        [
                            {"Site": "DEMO.Lyon.fr", "Status": "Done", "count": 3},
                            {"Site": "DEMO.Lyon.fr", "Status": "Failed", "count": 1},
                            {"Site": "DEMO.Geneva.ch", "Status": "Deleted", "count": 1},
                        ],
                        SITES,
                    ),
                )
            ],
            {
                "ParameterNames": [
                    "Site",
                    "GridType",
                    "Country",
                    "Tier",
                    "MaskStatus",
                    *numbers,
                    "Efficiency",
                    "Status",
                ],
                "Records": [["DEMO.Lyon.fr", "DEMO", "fr", 1, "Active", *lyon.values(), "75.0", "Poor"]],
                "TotalRecords": 1,
                "Extras": {"ch": numbers, "fr": lyon},
            },
        ),
        "what the summary of sites can be narrowed down to": Row(
            service,
            "getSiteSummarySelectors",
            [],
            [(KNOWN, SITES)],
            {
                "Status": ["Good", "Fair", "Poor", "Bad", "Idle"],
                "MaskStatus": ["Active", "Banned", "NoMask", "Reduced"],
                "Country": ["fr"],
                "Site": ["DEMO.Lyon.fr"],
            },
        ),
    }


NO_TRANSFORMATIONS = UnfitArgument("type object 'WebAppHandler' has no attribute 'transformationDB'")

WEB_APP_ROWS: dict[str, Row] = {
    **page_rows(WEB_APP),
    **distinct_rows(WEB_APP, DISTINCT),
    **counter_rows(WEB_APP, "getJobsCounters"),
    **statistics_rows(WEB_APP),
    **site_rows(WEB_APP),
    "values of transformations": Row(
        WEB_APP, "getDistinctAttributeValues", ["a", {}], [], NO_TRANSFORMATIONS
    ),
    "transformations": Row(WEB_APP, "getTransformationSummaryWeb", [{}, [], 0, 1], [], NO_TRANSFORMATIONS),
    "files of transformations": Row(
        WEB_APP, "getTransformationFilesSummaryWeb", [{}, [], 0, 1], [], NO_TRANSFORMATIONS
    ),
}
