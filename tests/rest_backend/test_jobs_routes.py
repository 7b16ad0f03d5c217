"""Searching jobs and updating their statuses (``rest-diracx.md``, sections 1, 6.3 and 6.4).

Where the sheet is silent about a status update, DIRAC 9.1.22's own code decides, which DiracX runs too:
DIRACCommon/WorkloadManagementSystem/Utilities/JobStatusUtility.py, and setJobStatusBulk around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs

from .conftest import Grid, Said, one

ALL = [1, 2, 3, 4, 5, 6, 7]
SEARCH = "/api/jobs/search"
STATUS = "/api/jobs/status"
COLUMNS = """
    JobID JobType JobGroup Site JobName Owner OwnerGroup VO SubmissionTime RescheduleTime LastUpdateTime
    StartExecTime HeartBeatTime EndExecTime Status MinorStatus ApplicationStatus UserPriority
    RescheduleCounter VerifiedFlag AccountedFlag
""".split()  # noqa: SIM905 - a table's head reads better in lines


async def found(grid: Grid, *conditions: Mapping[str, Any], **rest: Any) -> list[int]:
    """The ids of the jobs that meet all conditions."""
    said = await grid.http("POST", SEARCH, {"parameters": ["JobID"], "search": conditions, **rest})
    assert said.status == 200, said.body
    return [job["JobID"] for job in said.body]


# --- Conditions


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (one("Status", "eq", "Waiting"), [1, 4]),
        (one("Status", "eq", "waiting"), []),
        (one("Status", "neq", "Waiting"), [2, 3, 5, 6, 7]),
        (one("Status", "gt", "Stalled"), [1, 4]),
        (one("Status", "lt", "Matched"), [3]),
        (one("Site", "like", "DEMO.%"), [2, 6]),
        (one("Site", "like", "DEMO.L___.fr"), [6]),
        (one("Site", "not like", "DEMO.%"), [1, 3, 4, 5, 7]),
        (one("Site", "regex", "^DEMO\\.(Geneva|Tsukuba)"), [2]),
        (one("Site", "regex", "ANY|fr$"), [1, 3, 4, 5, 6, 7]),
        (one("Status", "in", ["Waiting", "Done"]), [1, 3, 4]),
        (one("Status", "in", []), []),
        (one("Status", "not in", ["Waiting", "Done"]), [2, 5, 6, 7]),
        (one("Status", "not in", []), ALL),
        (one("JobID", "eq", 5), [5]),
        (one("JobID", "eq", "5"), [5]),
        (one("JobID", "neq", 5), [1, 2, 3, 4, 6, 7]),
        (one("JobID", "gt", "5"), [6, 7]),
        (one("JobID", "lt", 3), [1, 2]),
        (one("JobID", "in", [1, 99, 3]), [1, 3]),
        (one("JobID", "in", ["1", "3"]), [1, 3]),
        (one("JobID", "in", []), []),
        (one("JobID", "not in", [1, 2, 3]), [4, 5, 6, 7]),
        (one("JobID", "eq", -1), []),
        (one("UserPriority", "gt", 1), [1]),
        (one("JobName", "eq", 5), []),
        (one("JobGroup", "eq", "00000000"), [2, 4, 5, 6, 7]),
        # A text that no condition can break out of.
        (one("Owner", "eq", "' OR 1=1 --"), []),
        (one("Owner", "eq", "a\x00b"), []),
        (one("ApplicationStatus", "eq", "Unknown"), [1, 2, 3, 5, 6, 7]),
        (one("ApplicationStatus", "neq", "x"), [1, 2, 3, 5, 6, 7]),
        # Flags are searched by the texts that the columns hold (DiracX answers 500).
        (one("VerifiedFlag", "eq", "False"), [7]),
        (one("AccountedFlag", "in", ["Failed", "True"]), [3, 5]),
    ],
    ids=str,
)
async def test_operators(grid, condition, expected) -> None:
    """Each operator on texts, numbers and flags; a number may be given as a text."""
    assert await found(grid, condition) == expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("eq", "2024", ALL),
        ("eq", "2023", []),
        ("eq", "2024-03", [1, 2, 3, 4, 5, 6]),
        ("eq", "2024-03-01", [1, 2, 3]),
        ("eq", "2024-03-01 13", [2]),
        ("eq", "2024-03-01T13", [2]),
        ("eq", "2024-03-01 13:00", [2]),
        ("eq", "2024-03-01 13:01", []),
        ("eq", "2024-03-01T13:00:00", [2]),
        ("eq", "2024-03-01 13:00:01", []),
        ("eq", "2024-03-01 13:00:00.999999", [2]),
        ("eq", "2024-03-01T13:00:00.5Z", [2]),
        ("eq", "2024-03-01T13:00:00.373445Z", [2]),
        ("neq", "2024-03", [7]),
        ("neq", "2024-03-01", [4, 5, 6, 7]),
        ("neq", "2024-03-01 12:00:00", [2, 3, 4, 5, 6, 7]),
        ("gt", "2024", []),
        ("gt", "2023", ALL),
        ("gt", "2024-03", [7]),
        ("gt", "2024-03-01", [4, 5, 6, 7]),
        ("gt", "2024-03-01 13", [3, 4, 5, 6, 7]),
        ("gt", "2024-03-01 13:00:00", [3, 4, 5, 6, 7]),
        ("gt", "2024-03-01 12:59:59", [2, 3, 4, 5, 6, 7]),
        ("lt", "2024", []),
        ("lt", "2025", ALL),
        ("lt", "2024-04", [1, 2, 3, 4, 5, 6]),
        ("lt", "2024-03-02", [1, 2, 3]),
        ("lt", "2024-03-01 13:00:00", [1]),
        ("in", ["2024-03-01", "2024-04-10"], [1, 2, 3, 7]),
        ("not in", ["2024-03-01", "2024-04-10"], [4, 5, 6]),
    ],
    ids=str,
)
async def test_periods(grid, operator, value, expected) -> None:
    """A date text means its whole period: a year, month, day, hour, minute or second."""
    assert await found(grid, one("SubmissionTime", operator, value)) == expected


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [("eq", "2024-03-01", [2, 3]), ("neq", "2024-03-01", [6]), ("lt", "2030", [2, 3, 6])],
)
async def test_no_time_is_in_no_period(grid, operator, value, expected) -> None:
    """A job that never started neither started in a period nor outside it."""
    assert await found(grid, one("StartExecTime", operator, value)) == expected


@pytest.mark.parametrize(("operator", "value", "expected"), [("lt", "9999-12-31", ALL), ("gt", "9999", [])])
async def test_the_last_year(grid, operator, value, expected) -> None:
    """The end of time may be given, as scripts do that mean `always`."""
    assert await found(grid, one("SubmissionTime", operator, value)) == expected


@pytest.mark.parametrize(("operator", "expected"), [("in", []), ("not in", ALL)])
@pytest.mark.parametrize("column", ["JobID", "Status", "SubmissionTime"])
async def test_no_values(grid, column, operator, expected) -> None:
    """No job is in an empty list, and all are outside it."""
    assert await found(grid, one(column, operator, [])) == expected


async def test_conditions_are_anded(grid) -> None:
    """A job must meet every condition, also two on one column."""
    owner = one("Owner", "eq", "alice")
    assert await found(grid, owner, one("Status", "eq", "Waiting")) == [1]
    assert await found(grid, owner, one("JobID", "gt", 1), one("JobID", "lt", 3)) == [2]
    assert await found(grid, owner, one("Owner", "eq", "bob")) == []


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([one("PilotStamp", "eq", "s1")], [2, 6]),
        ([one("PilotStamp", "in", ["s1", "s3"])], [2, 6, 7]),
        ([one("PilotStamp", "eq", "none")], []),
        ([one("PilotStamp", "eq", "twin")], []),
        ([one("PilotStamp", "in", [])], []),
        ([one("PilotStamp", "eq", "s1"), one("Status", "eq", "Running")], [2]),
        ([one("PilotStamp", "eq", "s1"), one("PilotStamp", "in", ["s2"])], []),
    ],
)
async def test_pilot_stamp(grid, conditions, expected) -> None:
    """The pseudo-parameter PilotStamp means the jobs that a pilot ran; an unknown one ran none."""
    assert await found(grid, *conditions) == expected


@pytest.mark.parametrize("operator", ["neq", "gt", "lt", "like", "not like", "regex", "not in"])
async def test_pilot_stamp_knows_two_operators(grid, operator) -> None:
    """Only `eq` and `in` can be asked of PilotStamp."""
    value = ["s1"] if operator == "not in" else "s1"
    said = await grid.http("POST", SEARCH, {"search": [one("PilotStamp", operator, value)]})
    assert (said.status, said.detail) == (
        400,
        f"Operator {operator} is not supported on the 'PilotStamp' pseudo-parameter; use 'eq' or 'in'.",
    )


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"search": [one("Nope", "eq", "x")]}, "Unknown column Nope"),
        ({"search": [one("status", "eq", "x")]}, "Unknown column status"),
        ({"parameters": ["JobID", "Nope"]}, "Unrecognised parameters requested {'Nope'}"),
        ({"parameters": ["PilotStamp"]}, "Unrecognised parameters requested {'PilotStamp'}"),
        ({"sort": [{"parameter": "Nope", "direction": "asc"}]}, "Cannot sort by Nope: unknown column"),
        ({"search": [one("Site", "regex", "[")]}, "Invalid regex ["),
        ({"search": [one("SubmissionTime", "eq", "yesterday")]}, "Cannot parse value='yesterday'"),
        ({"search": [one("SubmissionTime", "eq", "")]}, "Cannot parse value=''"),
        ({"search": [one("SubmissionTime", "eq", "2024-13")]}, "Cannot parse value='2024-13'"),
        ({"search": [one("SubmissionTime", "eq", "2024-02-30")]}, "Cannot parse value='2024-02-30'"),
        (
            {"search": [one("SubmissionTime", "eq", "2024-03-01T12:00:00+00:00")]},
            "Cannot parse value='2024-03-01T12:00:00+00:00'",
        ),
        (
            {"search": [one("PilotStamp", "eq", "s1"), one("JobID", "eq", 1)]},
            "Cannot combine 'PilotStamp' pseudo-parameter with a real 'JobID' filter in the same request.",
        ),
    ],
    ids=str,
)
async def test_searches_that_mean_nothing(grid, body, detail) -> None:
    """A column, date or expression that means nothing is named in a 400."""
    said = await grid.http("POST", SEARCH, body)
    assert (said.status, said.detail) == (400, detail)


@pytest.mark.parametrize(
    "condition",
    [
        one("JobID", "regex", "1"),
        one("JobID", "like", "1%"),
        one("JobID", "eq", "five"),
        one("JobID", "eq", "5.5"),
        one("JobID", "in", ["1", "x"]),
        one("SubmissionTime", "regex", "2024"),
        one("SubmissionTime", "like", "2024"),
        one("SubmissionTime", "not like", "2024"),
    ],
    ids=str,
)
async def test_operators_that_do_not_fit(grid, condition) -> None:
    """What cannot be compared is a 400 that names the column."""
    said = await grid.http("POST", SEARCH, {"search": [condition]})
    assert said.status == 400
    assert condition["parameter"] in said.detail


async def test_long_lists(grid) -> None:
    """Thirty thousand values can be given in one list; more are a bad request, not a broken database."""
    body = {"parameters": ["JobID"], "search": [one("JobID", "in", list(range(30_000)))]}
    said = await grid.http("POST", SEARCH, body)
    assert [job["JobID"] for job in said.body] == ALL
    body["search"][0]["values"].append(30_000)
    said = await grid.http("POST", SEARCH, body)
    assert (said.status, said.detail) == (400, "At most 30000 values can be given for JobID")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"search": [one("JobID", "gt", 0)] * 1200}, id="conditions"),
        pytest.param({"search": [one("SubmissionTime", "in", ["2024-03-01"] * 1200)]}, id="periods"),
        pytest.param({"sort": [{"parameter": "JobID", "direction": "asc"}] * 3000}, id="sort keys"),
    ],
)
async def test_long_searches(grid, body) -> None:
    """A search too long for the database is answered, or refused as the client's error."""
    assert (await grid.http("POST", SEARCH, body)).status < 500


async def test_an_endless_expression(grid) -> None:
    """An expression that would take for ever on some text is the client's error, and ends soon."""
    await grid.http("PATCH", STATUS, {"1": {at(LATER): {"MinorStatus": "a" * 60 + "!"}}})
    async with asyncio.timeout(10):
        said = await grid.http("POST", SEARCH, {"search": [one("MinorStatus", "regex", "^(a|a)*$")]})
    assert said.status == 400


async def test_mixed_resolutions(grid) -> None:
    """Periods of different lengths cannot be mixed in one condition."""
    said = await grid.http("POST", SEARCH, {"search": [one("SubmissionTime", "in", ["2024", "2024-03"])]})
    assert said.status == 400
    assert said.detail.startswith("Cannot mix different time resolutions in query=")


# --- Columns, order, pages


async def test_all_columns(grid) -> None:
    """Without parameters a job has all of DIRAC's columns, in table order, with DiracX's types."""
    [job] = (await grid.http("POST", SEARCH, {"search": [one("JobID", "eq", 3)]})).body
    assert list(job) == COLUMNS
    assert job == {
        "JobID": 3,
        "JobType": "User",
        "JobGroup": "prod",
        "Site": "ANY",
        "JobName": "job-3",
        "Owner": "alice",
        "OwnerGroup": "demo_admin",
        "VO": "demo",
        "SubmissionTime": "2024-03-01T14:00:00Z",
        "RescheduleTime": None,
        "LastUpdateTime": "2024-03-01T16:00:00Z",
        "StartExecTime": "2024-03-01T15:00:00Z",
        "HeartBeatTime": None,
        "EndExecTime": "2024-03-01T16:00:00Z",
        "Status": "Done",
        "MinorStatus": "Job accepted",
        "ApplicationStatus": "Unknown",
        "UserPriority": 1,
        "RescheduleCounter": 0,
        "VerifiedFlag": True,
        "AccountedFlag": True,
    }


async def test_flags(grid) -> None:
    """Flags are booleans, but for the one that can say Failed."""
    job = await grid.job(5, "VerifiedFlag", "AccountedFlag")
    assert job == {"VerifiedFlag": True, "AccountedFlag": "Failed"}


async def test_columns_come_in_table_order(grid) -> None:
    """The columns that were asked for come in the table's order, once each."""
    job = await grid.job(1, "Status", "JobID", "Owner", "JobID", "JobType")
    assert list(job) == ["JobID", "JobType", "Owner", "Status"]


async def test_no_parameters_at_all(grid) -> None:
    """`null` parameters are all columns, as none are."""
    said = await grid.http("POST", SEARCH, {"parameters": None})
    assert (said.status, list(said.body[0])) == (200, COLUMNS)


async def test_an_empty_list_of_parameters(grid) -> None:
    """An empty list of parameters is all columns, as in DiracX."""
    said = await grid.http("POST", SEARCH, {"parameters": []})
    assert said.status == 200
    assert list(said.body[0]) == COLUMNS


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ([("JobID", "desc")], [7, 6, 5, 4, 3, 2, 1]),
        ([("Owner", "asc"), ("JobID", "desc")], [3, 2, 1, 4, 5, 6, 7]),
        ([("Owner", "desc"), ("JobID", "asc")], [7, 6, 5, 4, 1, 2, 3]),
        ([("SubmissionTime", "desc")], [7, 6, 5, 4, 3, 2, 1]),
        ([("UserPriority", "desc")], [1, 2, 3, 4, 5, 6, 7]),
    ],
)
async def test_sort(grid, sort, expected) -> None:
    """Jobs come in the order of the sort keys, each in its direction."""
    keys = [{"parameter": name, "direction": direction} for name, direction in sort]
    assert await found(grid, sort=keys) == expected


@pytest.mark.parametrize(
    ("query", "status", "expected", "content_range"),
    [
        ({}, 200, ALL, None),
        ({"per_page": "7"}, 200, ALL, None),
        ({"per_page": "8", "page": "1"}, 200, ALL, None),
        ({"per_page": "10000"}, 200, ALL, None),
        ({"per_page": "3"}, 206, [1, 2, 3], "jobs 0-2/7"),
        ({"per_page": "3", "page": "2"}, 206, [4, 5, 6], "jobs 3-5/7"),
        ({"per_page": "3", "page": "3"}, 206, [7], "jobs 6-6/7"),
        ({"per_page": "3", "page": "4"}, 416, [], "jobs */7"),
        ({"page": "2"}, 416, [], "jobs */7"),
        ({"per_page": "1", "page": "7"}, 206, [7], "jobs 6-6/7"),
    ],
)
async def test_pages(grid, query, status, expected, content_range) -> None:
    """A whole result is 200; a part 206 and a page beyond the end 416, both with Content-Range."""
    said = await grid.http("POST", SEARCH, {"parameters": ["JobID"]}, query=query)
    assert said.status == status
    assert [job["JobID"] for job in said.body] == expected
    assert said.headers.get("Content-Range") == content_range


@pytest.mark.parametrize("page", ["1", "2"])
async def test_nothing_found(grid, page) -> None:
    """A search that finds nothing is a whole result, on whichever page."""
    body = {"search": [one("Status", "eq", "Nope")]}
    said = await grid.http("POST", SEARCH, body, query={"page": page})
    assert (said.status, said.body, said.headers.get("Content-Range")) == (200, [], None)


async def test_pages_neither_overlap_nor_leave_out(grid) -> None:
    """Page by page, every job comes once, also where the sort key is the same for all."""
    body = {"parameters": ["JobID"], "sort": [{"parameter": "JobType", "direction": "desc"}]}
    seen = []
    for page in range(1, 5):
        said = await grid.http("POST", SEARCH, body, query={"page": str(page), "per_page": "2"})
        seen += [job["JobID"] for job in said.body]
    assert sorted(seen) == ALL


async def test_distinct(grid) -> None:
    """Distinct rows are counted and paged as such."""
    body = {
        "parameters": ["Owner"],
        "distinct": True,
        "sort": [{"parameter": "Owner", "direction": "asc"}],
    }
    said = await grid.http("POST", SEARCH, body)
    assert [job["Owner"] for job in said.body] == ["alice", "bob", "carol", "dave", "olga"]
    said = await grid.http("POST", SEARCH, body, query={"per_page": "2", "page": "3"})
    assert (said.status, said.headers["Content-Range"], said.body) == (206, "jobs 4-4/5", [{"Owner": "olga"}])


async def test_unknown_keys_are_ignored(grid) -> None:
    """Keys that a search does not know are passed over, at every depth."""
    body = {
        "unknown": 1,
        "parameters": ["JobID"],
        "search": [{**one("JobID", "eq", 1), "unknown": 1}],
        "sort": [{"parameter": "JobID", "direction": "asc", "unknown": 1}],
    }
    assert (await grid.http("POST", SEARCH, body)).body == [{"JobID": 1}]


async def test_search_shows_all_vos(grid) -> None:
    """A search is not limited to the caller's VO or jobs."""
    for caller in ("alice", "olga"):
        said = await grid.http("POST", SEARCH, {"parameters": ["VO"]}, caller=caller)
        assert [job["VO"] for job in said.body] == ["demo"] * 6 + ["other"]


# --- LoggingInfo


async def test_logging_info(grid) -> None:
    """A job's history comes in order of time, with what was left out taken from the record before."""
    job = await grid.job(2, "LoggingInfo", "Status")
    assert list(job) == ["JobID", "Status", "LoggingInfo"]
    names = ("Status", "MinorStatus", "ApplicationStatus", "StatusTime", "Source")
    assert job["LoggingInfo"] == [
        dict(zip(names, record, strict=True))
        for record in [
            ("Received", "Job accepted", "Unknown", "2024-03-01T13:00:00Z", "JobManager"),
            ("Matched", "Assigned", "Unknown", "2024-03-01T13:30:00Z", "Matcher"),
            ("Running", "Assigned", "Unknown", "2024-03-01T14:00:00Z", "JobWrapper"),
            ("Running", "Application", "starting", "2024-03-01T14:30:00Z", "JobWrapper"),
        ]
    ]


async def test_logging_info_alone(grid) -> None:
    """Asked for alone, LoggingInfo comes with all columns, for every job of the page."""
    said = await grid.http("POST", SEARCH, {"parameters": ["LoggingInfo"]}, query={"per_page": "3"})
    assert said.status == 206
    assert [list(job) for job in said.body] == [[*COLUMNS, "LoggingInfo"]] * 3
    assert [len(job["LoggingInfo"]) for job in said.body] == [1, 4, 3]


# --- Status updates


def at(hours: float) -> str:
    """A time, so many hours after noon of the day of the first jobs."""
    return (datetime(2024, 3, 1, 12, tzinfo=UTC) + timedelta(hours=hours)).isoformat()


# Later than everything that is logged about jobs 1 to 6.
LATER = 100.0


async def patch(grid: Grid, updates: Mapping[Any, Any], **rest: Any) -> Said:
    """Send updates: hours after noon and what happened, by job."""
    body = {
        str(job): {at(hours): update for hours, update in moments.items()} for job, moments in updates.items()
    }
    return await grid.http("PATCH", STATUS, body, **rest)


async def log(grid: Grid, job_id: int) -> list[tuple[str, str, str]]:
    """Status, minor status and source of a job's records, in order of time."""
    job = await grid.job(job_id, "LoggingInfo")
    return [(record["Status"], record["MinorStatus"], record["Source"]) for record in job["LoggingInfo"]]


UNSET = dict.fromkeys(
    (
        "Status",
        "MinorStatus",
        "ApplicationStatus",
        "HeartBeatTime",
        "StartExecTime",
        "EndExecTime",
        "LastUpdateTime",
    )
)
NOW = "2024-06-01T08:30:00Z"  # the stopped clock's


async def test_an_update(grid, stopped_clock) -> None:
    """What an update sets is answered, searched and logged."""
    change = {"Status": "Matched", "MinorStatus": "Assigned", "ApplicationStatus": "app", "Source": "Matcher"}
    said = await patch(grid, {1: {LATER: change}}, caller="alice")
    kept = {name: change[name] for name in ("Status", "MinorStatus", "ApplicationStatus")}
    assert (said.status, said.body) == (
        200,
        {"success": {"1": {**UNSET, **kept, "LastUpdateTime": NOW}}, "failed": {}},
    )
    assert await grid.job(1, *kept, "LastUpdateTime") == {**kept, "LastUpdateTime": NOW}
    job = await grid.job(1, "LoggingInfo")
    assert job["LoggingInfo"][-1] == {**change, "StatusTime": "2024-03-05T16:00:00Z"}
    assert len(job["LoggingInfo"]) == 2


async def test_what_is_left_out_stays(grid) -> None:
    """An update without a status leaves the status, and is logged with what was before."""
    said = await patch(grid, {2: {LATER: {"MinorStatus": "Uploading", "unknown": 1}}})
    assert said.body["success"]["2"]["MinorStatus"] == "Uploading"
    assert (await grid.job(2, "Status", "MinorStatus")) == {"Status": "Running", "MinorStatus": "Uploading"}
    assert (await log(grid, 2))[-1] == ("Running", "Uploading", "Unknown")


@pytest.mark.parametrize(
    ("update", "status"),
    [
        pytest.param({"MinorStatus": "x"}, "Waiting", id="none was given"),
        pytest.param({"Status": "Done"}, "Waiting", id="it was refused"),
    ],
)
async def test_the_status_that_was_kept_is_answered(grid, update, status) -> None:
    """The answer names the status that the job has after the update, also when it is the old one."""
    said = await patch(grid, {1: {LATER: update}})
    assert said.body["success"]["1"]["Status"] == status


async def test_several_times_in_one_call(grid, stopped_clock) -> None:
    """Updates are applied in order of time, whatever order they are sent in."""
    said = await patch(
        grid,
        {
            1: {
                LATER + 3: {"Status": "Done", "Source": "JobWrapper"},
                LATER: {"Status": "Matched", "MinorStatus": "one"},
                LATER + 2: {"ApplicationStatus": "two"},
                LATER + 1: {"Status": "Running", "MinorStatus": "half"},
            }
        },
    )
    result = {
        "Status": "Done",
        "MinorStatus": "half",
        "ApplicationStatus": "two",
        "HeartBeatTime": "2024-03-05T19:00:00Z",
        "StartExecTime": "2024-03-05T17:00:00Z",
        "EndExecTime": "2024-03-05T19:00:00Z",
        "LastUpdateTime": NOW,
    }
    assert said.body["success"]["1"] == result
    assert await grid.job(1, *result) == result
    assert await log(grid, 1) == [
        ("Received", "Job accepted", "JobManager"),
        ("Matched", "one", "Unknown"),
        ("Running", "half", "Unknown"),
        ("Running", "half", "Unknown"),
        ("Done", "half", "JobWrapper"),
    ]


TRANSITIONS: Mapping[str, str] = {
    "Submitting": "Received Checking Deleted Killed",
    "Received": "Scouting Checking Staging Waiting Failed Deleted Killed",
    "Checking": "Scouting Staging Waiting Rescheduled Failed Deleted Killed",
    "Scouting": "Checking Failed Stalled Killed",
    "Staging": "Checking Waiting Failed Killed",
    "Waiting": "Matched Rescheduled Deleted Killed",
    "Matched": "Running Failed Rescheduled Killed",
    "Rescheduled": "Waiting Received Deleted Failed Killed",
    "Running": "Stalled Done Failed Rescheduled Completing Killed Received",
    # Treated as Running before the check.
    "Stalled": "Running Stalled Done Failed Rescheduled Completing Killed Received",
    "Completing": "Done Failed Completed Stalled Killed",
    "Completed": "Done Failed",
    "Done": "Deleted",
    "Failed": "Rescheduled Deleted",
    "Killed": "Deleted",
    # No way out written down means no restriction (DIRACCommon's StateMachine; legacy-methods.md, 0.13).
    "Deleted": "Submitting Received Checking Staging Waiting Matched Rescheduled Running Stalled Completing "
    "Completed Done Failed Killed",
}
STATES = list(TRANSITIONS)
REST_STATES = [state for state in STATES if state != "Scouting"]


FIRST_OF_MARCH = datetime(2024, 3, 1, tzinfo=UTC).replace(tzinfo=None)


async def add_jobs(grid: Grid, statuses: Mapping[int, str]) -> None:
    """Jobs of alice with one record each."""
    jdl = {"JDL": "", "JobRequirements": "", "OriginalJDL": ""}
    record = {"SeqNum": 1, "StatusTime": FIRST_OF_MARCH, "StatusTimeOrder": 439_200_000.0}
    async with grid.databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, JobJDLs.insert(), [{"JobID": job, **jdl} for job in statuses])
        rows = [{"JobID": job, "Status": status, "Owner": "alice"} for job, status in statuses.items()]
        await work.change(JOB_DB, Jobs.insert(), rows)
        records = [{"JobID": job, "Status": status, **record} for job, status in statuses.items()]
        await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)


@pytest.mark.parametrize("force", ["false", "true"])
async def test_transitions(grid, force) -> None:
    """From every state to every state: legal moves and forced ones are made, others silently are not."""
    moves = {
        1000 + number: (before, wanted)
        for number, (before, wanted) in enumerate(
            (before, wanted) for before in STATES for wanted in REST_STATES
        )
    }
    await add_jobs(grid, {job: before for job, (before, _) in moves.items()})
    updates = {job: {LATER: {"Status": wanted}} for job, (_, wanted) in moves.items()}
    said = await patch(grid, updates, query={"force": force})
    assert (said.status, said.body["failed"], len(said.body["success"])) == (200, {}, len(moves))
    after = await grid.http(
        "POST",
        SEARCH,
        {"parameters": ["JobID", "Status", "LoggingInfo"], "search": [one("JobID", "gt", 999)]},
        query={"per_page": "1000"},
    )
    for job in after.body:
        before, wanted = moves[job["JobID"]]
        allowed = force == "true" or before == wanted or wanted in TRANSITIONS[before].split()
        kept = "Running" if before == "Stalled" else before
        assert job["Status"] == (wanted if allowed else kept), (before, wanted)
        record = job["LoggingInfo"][-1]
        assert (record["Status"], record["Source"]) == (
            (wanted, "Unknown") if allowed else (kept, "Unknown(SM)")
        )


@pytest.mark.parametrize(
    "update",
    [
        pytest.param({"ApplicationStatus": "still here"}, id="any report"),
        pytest.param({"Status": "Waiting"}, id="a refused status"),
    ],
)
async def test_a_stalled_job_that_reports_is_running(grid, update) -> None:
    """A stalled job from which any update comes is Running again."""
    await patch(grid, {6: {LATER: update}})
    assert await grid.job(6, "Status") == {"Status": "Running"}


@pytest.mark.parametrize(
    ("job", "update", "expected"),
    [
        pytest.param(5, {"Status": "Running"}, {"StartExecTime": at(LATER)}, id="first Running"),
        pytest.param(2, {"Status": "Running"}, {}, id="Running again"),
        pytest.param(2, {"Status": "Done"}, {"EndExecTime": at(LATER)}, id="first Done"),
        pytest.param(2, {"Status": "Failed"}, {"EndExecTime": at(LATER)}, id="first Failed"),
        pytest.param(1, {"Status": "Killed"}, {"EndExecTime": at(LATER)}, id="first Killed"),
        pytest.param(3, {"Status": "Deleted"}, {}, id="Deleted is not an end"),
        pytest.param(1, {"Status": "Done"}, {"EndExecTime": at(LATER)}, id="a refused end"),
        pytest.param(1, {"Status": "Running"}, {"StartExecTime": at(LATER)}, id="a refused start"),
        pytest.param(1, {"Source": "JobWrapper"}, {"HeartBeatTime": at(LATER)}, id="the job speaks"),
        pytest.param(1, {"Source": "Heartbeat"}, {"HeartBeatTime": at(LATER)}, id="a heartbeat"),
        pytest.param(1, {"Source": "Heartbeats"}, {}, id="no heartbeat"),
        pytest.param(1, {"Source": "Matcher"}, {}, id="somebody else speaks"),
    ],
)
async def test_times_of_a_job(grid, job, update, expected) -> None:
    """The first Running and the first final status fill start and end; the source says who is alive."""
    names = ("StartExecTime", "EndExecTime", "HeartBeatTime")
    before = await grid.job(job, *names)
    said = await patch(grid, {job: {LATER: update}})
    wanted = {name: time.replace("+00:00", "Z") for name, time in expected.items()}
    assert await grid.job(job, *names) == before | wanted
    assert {name: said.body["success"][str(job)][name] for name in names} == {
        **dict.fromkeys(names),
        **wanted,
    }


@pytest.mark.parametrize("status", ["Killed", "Deleted"])
async def test_killed_and_deleted_jobs_leave(grid, status) -> None:
    """A job that is killed or deleted is told to stop and leaves the task queue; others stay in it."""
    await patch(grid, {1: {LATER: {"Status": status}}, 4: {LATER: {"MinorStatus": "x"}}})
    commands = select(JobCommands.c.JobID, JobCommands.c.Command, JobCommands.c.Status)
    assert await grid.rows(JOB_DB, commands) == [(1, "Kill", "Received")]
    assert await grid.rows(TASK_QUEUE_DB, select(tq_Jobs.c.JobId)) == [(4,)]


async def test_a_refused_kill_changes_nothing_else(grid) -> None:
    """A job that may not be deleted gets no command and stays in its queue."""
    await patch(grid, {1: {LATER: {"Status": "Running"}}, 2: {LATER: {"Status": "Deleted"}}})
    assert await grid.rows(JOB_DB, select(JobCommands.c.JobID)) == []
    assert await grid.rows(TASK_QUEUE_DB, select(tq_Jobs.c.JobId)) == [(1,), (4,)]


async def test_killing_twice(grid, stopped_clock) -> None:
    """A second kill within the same second is no error, and no second command."""
    for hours in (LATER, LATER + 1):
        said = await patch(grid, {1: {hours: {"Status": "Killed"}}})
        assert (said.status, said.body["success"]["1"]["Status"]) == (200, "Killed")
    assert await grid.rows(JOB_DB, select(JobCommands.c.JobID)) == [(1,)]


async def test_an_old_update(grid) -> None:
    """An update older than the last one logged is logged, and fills an empty time; statuses stay."""
    names = ("Status", "MinorStatus", "ApplicationStatus", "LastUpdateTime")
    before = await grid.job(2, *names)
    said = await patch(
        grid, {2: {1.75: {"Status": "Done", "MinorStatus": "old", "ApplicationStatus": "old"}}}
    )
    assert said.status == 200
    assert said.body["success"]["2"] == {**UNSET, "EndExecTime": "2024-03-01T13:45:00Z"}
    assert await grid.job(2, *names) == before
    assert len(await log(grid, 2)) == 5


async def test_an_old_update_is_logged_as_it_was(grid) -> None:
    """A report that comes late is logged with its own status and source, at its own time."""
    await patch(grid, {3: {3.5: {"Status": "Completing", "Source": "JobWrapper"}}})
    assert (await log(grid, 3))[2] == ("Completing", "Application", "JobWrapper")


async def test_old_updates_beside_a_new_one(grid) -> None:
    """Of several updates only those not older than the last one logged change statuses."""
    await patch(
        grid,
        {2: {1.75: {"Status": "Completing", "MinorStatus": "old"}, LATER: {"ApplicationStatus": "new"}}},
    )
    job = await grid.job(2, "Status", "MinorStatus", "ApplicationStatus")
    assert job == {"Status": "Running", "MinorStatus": "Job accepted", "ApplicationStatus": "new"}


async def test_a_refused_move_after_others(grid) -> None:
    """A refused status is logged as the status that the job has at that moment."""
    moves = ("Matched", "Running", "Waiting")
    await patch(grid, {1: {LATER + number: {"Status": status} for number, status in enumerate(moves)}})
    assert await grid.job(1, "Status") == {"Status": "Running"}
    assert [status for status, _, _ in await log(grid, 1)] == ["Received", "Matched", "Running", "Running"]


async def test_an_update_of_the_same_moment(grid) -> None:
    """An update of the very moment of the last one counts as new."""
    said = await patch(grid, {2: {2.5: {"MinorStatus": "same moment"}}})
    assert said.body["success"]["2"]["MinorStatus"] == "same moment"


async def test_times_of_any_zone(grid) -> None:
    """An aware time may be written in any zone; what is stored and answered is UTC."""
    body = {"5": {"2024-04-01T01:30:00+05:30": {"Status": "Running"}}}
    said = await grid.http("PATCH", STATUS, body)
    assert said.body["success"]["5"]["StartExecTime"] == "2024-03-31T20:00:00Z"


async def test_naive_times(grid) -> None:
    """A time without zone is a bad request that names time and job."""
    said = await grid.http("PATCH", STATUS, {"1": {"2026-11-21T21:11:00": {"Status": "Killed"}}})
    assert (said.status, said.detail) == (
        400,
        "Timestamp 2026-11-21 21:11:00 is not timezone aware for job 1",
    )


async def test_a_naive_time_changes_nothing(grid) -> None:
    """A time without zone refuses the whole call."""
    body = {"1": {at(LATER): {"Status": "Killed"}}, "4": {"2026-11-21T21:11:00": {"Status": "Killed"}}}
    said = await grid.http("PATCH", STATUS, body)
    assert said.status in (400, 422)
    assert await grid.job(1, "Status") == {"Status": "Waiting"}


@pytest.mark.parametrize("status", ["Scouting", "Bogus", "running", "", 5])
async def test_unknown_statuses(grid, status) -> None:
    """A status that the route does not know, Scouting among them, is 422."""
    said = await patch(grid, {1: {LATER: {"Status": status}}})
    assert said.status == 422
    assert said.detail[0]["loc"] == ["body", "1", at(LATER), "Status"]


@pytest.mark.parametrize(
    ("updates", "failed"),
    [({}, {}), ({999: {LATER: {"Status": "Done"}}, 998: {LATER: {}}}, {"999", "998"})],
)
async def test_no_job_is_there(grid, updates, failed) -> None:
    """When none of the jobs exists it is 404, with the same body as a success would have."""
    said = await patch(grid, updates)
    assert said.status == 404
    assert said.detail == {"success": {}, "failed": {job: {"detail": "Not found"} for job in failed}}


async def test_some_jobs_are_there(grid) -> None:
    """Jobs that do not exist are told apart; the others are updated."""
    said = await patch(grid, {1: {LATER: {"MinorStatus": "x"}}, 999: {LATER: {"MinorStatus": "x"}}})
    assert said.status == 200
    assert list(said.body["success"]) == ["1"]
    assert said.body["failed"] == {"999": {"detail": "Not found"}}


@pytest.mark.parametrize(
    "updates",
    [
        pytest.param({}, id="no job"),
        pytest.param({999: {LATER: {"Status": "Killed"}}}, id="one that does not exist"),
        pytest.param({1: {LATER: {"Status": "Killed"}}, 999: {LATER: {}}}, id="beside his own"),
        pytest.param({1: {LATER: {"Status": "Killed"}}, 4: {LATER: {}}}, id="another's beside his own"),
    ],
)
async def test_one_bad_job_refuses_the_whole_call(grid, updates) -> None:
    """To a plain user a job that does not exist is another's: 403, and nothing is done."""
    said = await patch(grid, updates, caller="alice")
    assert (said.status, said.detail) == (403, "Forbidden")
    assert await grid.job(1, "Status") == {"Status": "Waiting"}


@pytest.mark.parametrize("caller", ["alice", "pilot"])
async def test_only_administrators_force(grid, caller) -> None:
    """Going round the state machine is for administrators, even on one's own job."""
    said = await patch(grid, {1: {LATER: {"Status": "Done"}}}, caller=caller, query={"force": "true"})
    assert (said.status, said.detail) == (403, "Forbidden")
    assert len(await log(grid, 1)) == 1


async def test_a_job_without_a_moment(grid) -> None:
    """A job that exists is not said to be missing because nothing was sent about it."""
    said = await patch(grid, {1: {}, 2: {LATER: {"MinorStatus": "x"}}})
    assert said.status < 500
    assert said.body.get("failed", {}) == {}


async def test_hundreds_of_jobs(grid) -> None:
    """Any number of jobs is updated in one call."""
    await add_jobs(grid, dict.fromkeys(range(1000, 2500), "Waiting"))
    said = await patch(grid, {job: {LATER: {"Status": "Killed"}} for job in range(1000, 2500)})
    assert (said.status, len(said.body["success"])) == (200, 1500)
    killed = {"parameters": ["JobID"], "search": [one("Status", "eq", "Killed")]}
    assert len((await grid.http("POST", SEARCH, killed, query={"per_page": "10000"})).body) == 1500
