"""Jobs report about themselves, and what they reported is read back (``rest-diracx.md``, 6.5)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from shared_db.queries.commands import Command, queue_commands

from .conftest import Grid, one

HEARTBEAT = "/api/jobs/heartbeat"
LEGACY_HEARTBEAT = "/api/jobs/legacy/heartbeat"
METADATA = "/api/jobs/metadata"
ATTRIBUTES = "/api/jobs/attributes"
PARAMETERS = "/api/jobs/parameters"
STATUS = "/api/jobs/status"
# Later than all that is logged of the jobs.
LATER = "2024-05-01T10:00:00Z"


async def parameters_of(grid: Grid, job_id: int) -> dict[str, str]:
    """What is known of a job by name."""
    said = await grid.http("GET", f"/api/jobs/{job_id}/parameters", caller="bob")
    assert said.status == 200
    return said.body


async def measured(grid: Grid, job_id: int) -> list[tuple[str, str]]:
    """What a job measured."""
    said = await grid.http("GET", f"/api/jobs/{job_id}/heartbeats", caller="bob")
    assert said.status == 200
    return [(each["Name"], each["Value"]) for each in said.body]


# --- Heartbeats


async def test_a_heartbeat(grid, stopped_clock) -> None:
    """Numbers are kept with their time, the output becomes a parameter, and the job has shown to be alive."""
    beat = {"LoadAverage": 1.5, "CPUConsumed": 12, "Vsize": None, "StandardOutput": "so far"}
    said = await grid.http("PATCH", HEARTBEAT, {2: beat}, caller="alice")
    assert (said.status, said.body) == (200, [])
    moment = "2024-06-01T08:30:00Z"
    said = await grid.http("POST", "/api/jobs/heartbeats/search", {"job_ids": [2, 3]}, caller="bob")
    assert said.body == {
        "2": [
            {"Name": "CPUConsumed", "Value": "12.0", "HeartBeatTime": moment},
            {"Name": "LoadAverage", "Value": "1.5", "HeartBeatTime": moment},
        ]
    }
    assert await parameters_of(grid, 2) == {"StandardOutput": "so far"}
    job = await grid.job(2)
    assert (job["HeartBeatTime"], job["Status"]) == (moment, "Running")


@pytest.mark.parametrize("job_id", [5, 6])
async def test_a_heartbeat_wakes(grid, job_id) -> None:
    """A Matched or Stalled job that shows to be alive is Running, by a status update of its own."""
    assert (await grid.http("PATCH", HEARTBEAT, {job_id: {}}, caller="carol")).status == 200
    job = await grid.job(job_id, "Status", "LoggingInfo")
    assert job["Status"] == "Running"
    assert job["LoggingInfo"][-1]["Source"] == "Heartbeat"


async def test_a_heartbeat_does_not_bring_back(grid) -> None:
    """A job that is Done stays so; DIRAC's own heartbeat makes it Running."""
    assert (await grid.http("PATCH", HEARTBEAT, {3: {}})).status == 200
    assert (await grid.job(3))["Status"] == "Done"
    assert (await grid.http("PATCH", LEGACY_HEARTBEAT, {3: {}})).status == 200
    assert (await grid.job(3))["Status"] == "Running"


async def test_two_heartbeats_in_one_second(grid, stopped_clock) -> None:
    """Of two values for one second the first stays, and nobody is told of an error."""
    for load, output in ((1, "one"), (2, "two")):
        said = await grid.http("PATCH", HEARTBEAT, {2: {"LoadAverage": load, "StandardOutput": output}})
        assert said.status == 200
    assert await measured(grid, 2) == [("LoadAverage", "1.0")]
    assert await parameters_of(grid, 2) == {"StandardOutput": "two"}


async def test_many_reports_at_once(grid) -> None:
    """Heartbeats and status updates of one job at the same time all succeed; each update is logged once."""
    beats = [grid.http("PATCH", HEARTBEAT, {2: {"LoadAverage": number}}) for number in range(8)]
    updates = [
        grid.http("PATCH", STATUS, {2: {f"2024-05-01T10:00:{number:02}Z": {"MinorStatus": str(number)}}})
        for number in range(16)
    ]
    assert {said.status for said in await asyncio.gather(*beats, *updates)} == {200}
    history = (await grid.job(2, "LoggingInfo"))["LoggingInfo"]
    assert {record["MinorStatus"] for record in history} >= {str(number) for number in range(16)}


async def test_commands_are_delivered_once(grid) -> None:
    """A job that was killed hears of it with its next heartbeat, and no second time."""
    async with grid.databases.unit_of_work(write=True) as work:
        await queue_commands(work, [Command(3, "Peek", "now")])
    killed = {2: {LATER: {"Status": "Killed"}}}
    assert (await grid.http("PATCH", STATUS, killed, caller="alice")).status == 200
    said = await grid.http("PATCH", HEARTBEAT, {2: {}, 3: {}}, caller="alice")
    assert said.body == [
        {"job_id": 2, "command": "Kill", "arguments": ""},
        {"job_id": 3, "command": "Peek", "arguments": "now"},
    ]
    assert (await grid.http("PATCH", HEARTBEAT, {2: {}, 3: {}}, caller="alice")).body == []


async def test_heartbeats_of_no_job(grid) -> None:
    """One unknown job refuses the whole request, and nothing of it is kept."""
    said = await grid.http("PATCH", HEARTBEAT, {2: {"LoadAverage": 1}, 999: {}})
    assert (said.status, said.detail) == (404, "Job 999 not found")
    assert await measured(grid, 2) == []


async def test_long_output(grid) -> None:
    """Of what a job wrote the end is kept, and what no column can hold is left out."""
    output = "a\0b" + "x" * 70_000 + "end"
    assert (await grid.http("PATCH", HEARTBEAT, {2: {"StandardOutput": output}})).status == 200
    [(name, kept)] = (await parameters_of(grid, 2)).items()
    assert (name, len(kept), kept[-4:]) == ("StandardOutput", 65_535, "xend")
    assert (await grid.http("PATCH", HEARTBEAT, {2: {"StandardOutput": "a\0b"}})).status == 200
    assert await parameters_of(grid, 2) == {"StandardOutput": "ab"}


async def test_a_legacy_heartbeat(grid) -> None:
    """Any names and texts, parameters beside them, and a moment that is somebody else's."""
    beat = {"dynamic": {"Load": 1, "Node": "n1", "Half": 0.5}, "static": {"CPU": "fast"}, "moment": LATER}
    said = await grid.http("PATCH", LEGACY_HEARTBEAT, {2: beat}, caller="pilot")
    assert (said.status, said.body) == (200, [])
    assert sorted(await measured(grid, 2)) == [("Half", "0.5"), ("Load", "1"), ("Node", "n1")]
    assert await parameters_of(grid, 2) == {"CPU": "fast"}
    assert (await grid.job(2))["HeartBeatTime"] == LATER


# --- Metadata, attributes and parameters


async def test_metadata(grid) -> None:
    """The site is set, and every other name is a parameter, kept as a text."""
    metadata = {
        "Site": "DEMO.Lyon.fr",
        "timestamp": "2024-05-01T10:00:00Z",
        "NormCPUTime(s)": "12.7",
        "TotalCPUTime(s)": 8.2,
        "Memory(MB)": 5,
        "HostName": "n1",
        "GridCE": None,
        "Number": 1.5,
        "Flag": True,
        "Nested": {"a": [1, None, {"b": "c"}]},
        "Empty": "",
    }
    said = await grid.http("PATCH", METADATA, {2: metadata, 3: {"Free": "x"}}, caller="alice")
    assert (said.status, said.body) == (204, None)
    assert (await grid.job(2))["Site"] == "DEMO.Lyon.fr"
    assert await parameters_of(grid, 2) == {
        "timestamp": "2024-05-01T10:00:00+00:00",
        "NormCPUTime(s)": "12",
        "TotalCPUTime(s)": "8",
        "Memory(MB)": "5",
        "HostName": "n1",
        "Number": "1.5",
        "Flag": "True",
        "Nested": '{"a":[1,null,{"b":"c"}]}',
        "Empty": "",
    }
    assert await parameters_of(grid, 3) == {"Free": "x"}
    assert (await grid.http("PATCH", METADATA, {2: {"HostName": "n2"}})).status == 204
    assert (await parameters_of(grid, 2))["HostName"] == "n2"


@pytest.mark.parametrize(
    ("updates", "status", "detail"),
    [
        ({2: {"Status": "Done"}}, 400, "Job attribute Status cannot be modified through this endpoint"),
        ({2: {"a": 1}, 3: {"JobID": 5}}, 400, "Job attribute JobID cannot be modified through this endpoint"),
        ({2: {"a": 1}, 999: {"a": 1}}, 404, "Job 999 not found"),
        ({2: {"a": "x" * 70_000}}, 400, "Value of Value is too long"),
    ],
)
async def test_metadata_that_is_refused(grid, updates, status, detail) -> None:
    """What is refused names the attribute or the job, and nothing of the request is kept."""
    said = await grid.http("PATCH", METADATA, updates)
    assert (said.status, said.detail) == (status, detail)
    assert await parameters_of(grid, 2) == {}


@pytest.mark.parametrize(
    "value", ['"fast"', "{}", '"1e999"', '"nan"', '"1' + "0" * 400 + '"'], ids=lambda value: value[:9]
)
async def test_numbers_that_are_none(grid, value) -> None:
    """A number that is none is 422, never 500."""
    said = await grid.http("PATCH", METADATA, data=f'{{"2": {{"CPUNormalizationFactor": {value}}}}}'.encode())
    assert said.status == 422
    assert said.detail[0]["loc"] == ["body", "2", "CPUNormalizationFactor"]


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}], ids=str)
async def test_no_number_in_a_free_value(grid, value) -> None:
    """In process, where JSON does not keep them out, NaN and infinities are refused."""
    said = await grid.call("PATCH", METADATA, {2: {"Free": value}})
    assert said.status == 422
    assert "NaN and infinities" in said.detail[0]["msg"]


@pytest.mark.parametrize("depth", [31, 40, 300, 900])
async def test_deep_values(grid, depth) -> None:
    """A value may nest; one that nests without end is refused, and the refusal can be sent."""
    data = b'{"2": {"Free": ' + b"[" * depth + b"]" * depth + b"}}"
    assert orjson.loads(data)
    said = await grid.http("PATCH", METADATA, data=data)
    assert said.status == (204 if depth < 32 else 422)


async def test_attributes(grid) -> None:
    """Attributes are set without a trace in the history; only jobs that changed are counted."""
    before = (await grid.job(2, "LoggingInfo"))["LoggingInfo"]
    updates: dict[int, Any] = {
        2: {"Site": "DEMO.Lyon.fr", "EndExecTime": "2024-05-01T12:00:00+02:00"},
        3: {"Status": "Running"},  # a job that is Done does not run again
        4: {"Site": "ANY"},  # it is there already
        999: {"Site": "ANY"},
    }
    said = await grid.http("PATCH", ATTRIBUTES, updates)
    assert (said.status, said.body) == (200, {"changed": 1})
    job = await grid.job(2)
    assert (job["Site"], job["EndExecTime"]) == ("DEMO.Lyon.fr", "2024-05-01T10:00:00Z")
    assert (await grid.job(3))["Status"] == "Done"
    assert (await grid.job(2, "LoggingInfo"))["LoggingInfo"] == before
    said = await grid.http("PATCH", ATTRIBUTES, {2: {"Status": "Bogus"}})
    assert (said.status, said.detail) == (400, "getNextState: 'Bogus' is not a valid state")


async def test_parameters(grid) -> None:
    """Any name may be a parameter, also an attribute's; what is new or different is counted."""
    values = {2: {"Status": "a text", "Memory(MB)": "much"}, 999: {"a": "b"}}
    assert (await grid.http("PATCH", PARAMETERS, values)).body == {"changed": 2}
    assert (await grid.http("PATCH", PARAMETERS, values)).body == {"changed": 0}
    assert await parameters_of(grid, 2) == {"Status": "a text", "Memory(MB)": "much"}
    assert (await grid.job(2))["Status"] == "Running"
    wanted = {"job_ids": [2, 3, 999], "names": ["Status", "Other"]}
    said = await grid.http("POST", f"{PARAMETERS}/search", wanted, caller="guest")
    assert (said.status, said.body) == (200, {"2": {"Status": "a text"}})


# --- Where not everybody may look


async def test_where_jobs_are_private(make_grid) -> None:
    """Where GlobalJobsInfo is False one sees one's own jobs, in every answer; administrators see all."""
    async with make_grid(
        settings={"Operations/Defaults/Services/JobMonitoring/GlobalJobsInfo": "False"}
    ) as grid:
        values = {number: {"a": "b"} for number in range(1, 8)}
        assert (await grid.http("PATCH", PARAMETERS, values)).body == {"changed": 7}
        for caller, seen in (
            ("alice", [1, 2, 3]),
            ("operator", [6]),
            ("admin", range(1, 8)),
            ("guest", range(1, 8)),
        ):
            body = {"parameters": ["JobID"]}
            said = await grid.http("POST", "/api/jobs/search", body, caller=caller)
            assert [job["JobID"] for job in said.body] == [*seen]
            said = await grid.http("POST", "/api/jobs/summary", {"grouping": ["VO"]}, caller=caller)
            assert sum(row["count"] for row in said.body) == len(seen)
            said = await grid.http("POST", f"{PARAMETERS}/search", {"job_ids": [*values]}, caller=caller)
            assert [int(job_id) for job_id in said.body] == [*seen]
            said = await grid.http("GET", "/api/jobs/7/input-data", caller=caller)
            assert said.status == (200 if 7 in seen else 404)


# --- Summaries


async def test_summary(grid) -> None:
    """Jobs are counted by the columns asked for, with the conditions of a search."""

    async def counted(*grouping: str, search: list[Any] | None = None) -> dict[tuple[Any, ...], int]:
        body = {"grouping": grouping, "search": search or []}
        said = await grid.http("POST", "/api/jobs/summary", body, caller="bob")
        assert said.status == 200, said.body
        return {tuple(row[name] for name in grouping): row["count"] for row in said.body}

    assert await counted("Owner") == {
        ("alice",): 3,
        ("bob",): 1,
        ("carol",): 1,
        ("dave",): 1,
        ("olga",): 1,
    }
    recent = [one("LastUpdateTime", "gt", "2024-03-02 11:59:59")]
    assert await counted("Status", search=recent) == {
        ("Waiting",): 1,
        ("Matched",): 1,
        ("Stalled",): 1,
        ("Received",): 1,
    }
    assert await counted("Status", "VO", search=[one("PilotStamp", "in", ["s1", "s3"])]) == {
        ("Running", "demo"): 1,
        ("Stalled", "demo"): 1,
        ("Received", "other"): 1,
    }
    said = await grid.http("POST", "/api/jobs/summary", {"grouping": []})
    assert len(said.body) == 7
