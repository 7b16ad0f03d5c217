"""What pilots run, say and write, and how they go (``rest-diracx.md``, 7; ``legacy-methods.md``, 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from rest_backend.settings import PilotSettings
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents, PilotOutput
from shared_db.schema.wherry_db import WHERRY_DB, pilot_logs

from .conftest import SETTINGS, Grid, Said, one

JOBS = "/api/pilots/jobs"
LOGS = "/api/pilots/logs"
SEARCH_LOGS = "/api/pilots/search/logs"
LEGACY_MESSAGE = "/api/pilots/legacy/message"
OUTPUT = "/api/pilots/output"
KILL = "/api/pilots/kill"
PILOTS = "/api/pilots/"
INTERNAL = "/api/pilots/internal"
LATER = "2024-05-01T10:00:00Z"


def line(message: str, second: int = 0, **others: Any) -> dict[str, Any]:
    """A line of a pilot's log."""
    moment = f"2024-06-01T08:00:{second:02}.250Z"
    return {"timestamp": moment, "severity": "INFO", "message": message, "scope": "Core", **others}


async def say(grid: Grid, stamp: str, *lines: Mapping[str, Any], caller: str = "pilot", **more: Any) -> Said:
    """Have a pilot's lines kept."""
    body = {"pilot_stamp": stamp, "lines": lines, **more}
    return await grid.http("POST", LEGACY_MESSAGE, body, caller=caller)


async def text(grid: Grid, stamp: str, caller: str = "alice", **query: Any) -> tuple[int, str]:
    """A pilot's log as plain text, or what an error says."""
    headers = {"Authorization": f"Bearer {grid.token(caller)}"}
    given = {"pilot_stamp": stamp, **query}
    async with grid.client.get(LOGS, params=given, headers=headers) as response:
        if response.status != 200:
            return response.status, (await response.json())["detail"]
        assert response.content_type == "text/plain"
        return response.status, await response.text()


async def pilot_ids(grid: Grid) -> list[int]:
    """Every pilot there is."""
    rows = await grid.rows(PILOT_AGENTS_DB, select(PilotAgents.c.PilotID).order_by(PilotAgents.c.PilotID))
    return [row[0] for row in rows]


# --- Which pilots ran which jobs


@pytest.mark.parametrize(
    ("query", "caller", "answer"),
    [
        ({"pilot_stamp": "s1"}, "alice", [2, 6]),
        ({"pilot_stamp": "s3"}, "alice", []),
        ({"pilot_stamp": "s3"}, "operator", [7]),
        ({"pilot_stamp": "none"}, "admin", []),
        ({"job_id": 3}, "bob", [2]),
        ({"job_id": 7}, "bob", []),
        ({"job_id": 7}, "olga", [3]),
        ({"job_id": 999}, "admin", []),
    ],
)
async def test_jobs_of_a_pilot_and_pilots_of_a_job(grid, query, caller, answer) -> None:
    """By stamp come jobs, by job come pilots, of the own VO unless an operator asks."""
    said = await grid.http("GET", JOBS, query=query, caller=caller)
    assert (said.status, said.body) == (200, answer)


async def test_neither_pilot_nor_job(grid) -> None:
    """One of them is needed."""
    said = await grid.http("GET", JOBS)
    assert (said.status, said.detail) == (400, "You must provide either pilot_stamp or job_id")


async def test_a_pilot_is_associated_with_jobs(grid) -> None:
    """Several at once, and none a second time; a stamp that is shared means the youngest pilot."""
    said = await grid.http("PATCH", JOBS, {"pilot_stamp": "twin", "job_ids": [1, 4]})
    assert (said.status, said.body) == (204, None)
    rows = await grid.rows(
        PILOT_AGENTS_DB, select(JobToPilotMapping.c.JobID).where(JobToPilotMapping.c.PilotID == 5)
    )
    assert sorted(rows) == [(1,), (4,)]
    again = await grid.http("PATCH", JOBS, {"pilot_stamp": "twin", "job_ids": [2, 4]})
    assert (again.status, again.detail) == (409, "This pilot is already associated with this job.")
    assert (await grid.http("GET", JOBS, query={"pilot_stamp": "twin"})).body == [1, 4]
    unknown = await grid.http("PATCH", JOBS, {"pilot_stamp": "none", "job_ids": [1]})
    assert (unknown.status, unknown.detail) == (400, "This pilot does not exist.")
    assert (await grid.http("PATCH", JOBS, {"pilot_stamp": "s1", "job_ids": [2**32]})).status == 400


# --- Fields in the plan's form


async def test_fields_in_the_plans_form(grid) -> None:
    """Each pilot gets its own fields; a stamp that nobody has refuses all of them."""
    given = [{"PilotStamp": "s1", "Status": "Done"}, {"PilotStamp": "s3", "BenchMark": 3.5, "Queue": "long"}]
    said = await grid.http("PATCH", "/api/pilots/fields", {"pilot_stamps_to_fields_mapping": given})
    assert (said.status, said.body) == (204, None)
    c = PilotAgents.c
    wanted = select(c.Status, c.BenchMark, c.Queue).where(c.PilotID.in_([1, 3])).order_by(c.PilotID)
    assert await grid.rows(PILOT_AGENTS_DB, wanted) == [("Done", 10.5, "demo"), ("Submitted", 3.5, "long")]
    given = [{"PilotStamp": "s2", "Status": "Failed"}, {"PilotStamp": "none"}]
    said = await grid.http("PATCH", "/api/pilots/fields", {"pilot_stamps_to_fields_mapping": given})
    assert (said.status, said.detail) == (404, "At least one pilot does not exist.")
    [row] = await grid.rows(PILOT_AGENTS_DB, select(c.Status).where(c.PilotID == 2))
    assert row == ("Done",)


# --- What they say


async def test_lines_are_read_back_in_their_order(grid) -> None:
    """As plain text, the last ones, by whoever is of the VO."""
    assert (await say(grid, "s1", line("one"), line("two", 1, severity="ERROR", scope=""))).status == 204
    assert (await say(grid, "s1", line("three", 2))).status == 204
    status, log = await text(grid, "s1")
    assert status == 200
    assert log.splitlines(keepends=True) == [
        "2024-06-01T08:00:00.250Z INFO [Core] one\n",
        "2024-06-01T08:00:01.250Z ERROR two\n",
        "2024-06-01T08:00:02.250Z INFO [Core] three\n",
    ]
    assert await text(grid, "s1", lines=1) == (200, "2024-06-01T08:00:02.250Z INFO [Core] three\n")
    assert await text(grid, "s1", "olga") == (404, "This pilot does not exist.")


async def test_a_pilot_that_said_nothing(grid) -> None:
    """As PilotManager says it, with the type of the computing element."""
    assert await text(grid, "s1") == (404, "Pilot logging not available for HTCondorCE CEs")
    assert await text(grid, "none") == (404, "This pilot does not exist.")


async def test_lines_are_searched(grid) -> None:
    """By any field, with the pilot's id, a page at a time."""
    await say(grid, "s1", line("one"), line("two", 1, severity="ERROR"))
    await say(grid, "s3", line("three"), caller="other_pilot")
    said = await grid.http("POST", SEARCH_LOGS, {"search": [one("Severity", "eq", "ERROR")]})
    assert said.status == 200
    assert said.body == [
        {
            "LineID": 2,
            "PilotStamp": "s1",
            "VO": "demo",
            "TimeStamp": "2024-06-01T08:00:01.250000Z",
            "Severity": "ERROR",
            "Scope": "Core",
            "Message": "two",
            "PilotID": 1,
        }
    ]
    by_id = {"search": [one("PilotID", "eq", 3)], "parameters": ["Message", "PilotID"]}
    assert (await grid.http("POST", SEARCH_LOGS, by_id)).body == [{"Message": "three", "PilotID": 3}]
    when = {"search": [one("TimeStamp", "lt", "2024-06-01T08:00:01")], "parameters": ["Message"]}
    messages = (await grid.http("POST", SEARCH_LOGS, when)).body
    assert [row["Message"] for row in messages] == ["one", "three"]
    page = await grid.http("POST", SEARCH_LOGS, query={"page": "1", "per_page": "2"})
    assert (page.status, page.headers["Content-Range"]) == (206, "logs 0-1/3")
    own = await grid.http("POST", SEARCH_LOGS, caller="olga")
    assert [row["Message"] for row in own.body] == ["three"]


async def test_what_is_cut_off_is_said(make_grid) -> None:
    """A long line keeps its beginning and tells what is missing; a long message is refused whole."""
    settings = replace(SETTINGS, pilots=PilotSettings(lines_per_message=3, longest_line=10))
    async with make_grid(rest=settings) as grid:
        await say(grid, "s1", line("x" * 10), line("y" * 15))
        [first, second] = await grid.rows(WHERRY_DB, select(pilot_logs.c.message))
        assert first == ("x" * 10,)
        assert second == ("y" * 10 + " [5 characters more were cut off]",)
        said = await say(grid, "s1", *[line("z")] * 4)
        assert said.status == 413
        assert said.detail.startswith("4 lines in one message, at most 3 may be")
        assert len(await grid.rows(WHERRY_DB, select(pilot_logs.c.line_id))) == 2
        limits = await grid.http("GET", f"{LOGS}/limits", caller="guest")
        assert limits.body == {"lines_per_message": 3, "characters_per_line": 10, "days_kept": 30}


async def test_odd_lines_are_kept(grid) -> None:
    """Times without zone are UTC; a character that no database holds is replaced."""
    said = await say(grid, "s1", line("a\0b\u00e9", timestamp="2024-06-01 08:00:00"))
    assert said.status == 204
    assert await text(grid, "s1") == (200, "2024-06-01T08:00:00.000Z INFO [Core] a\ufffdb\u00e9\n")


@pytest.mark.parametrize(
    ("stamp", "caller", "more", "status"),
    [
        ("s1", "pilot", {}, 204),
        ("s3", "pilot", {}, 403),
        ("unknown", "pilot", {}, 204),
        ("unknown", "pilot", {"vo": "other"}, 403),
        ("s1", "alice", {}, 403),
        ("s3", "operator", {}, 204),
        ("unknown", "host", {}, 400),
        ("unknown", "host", {"vo": "demo"}, 204),
    ],
)
async def test_who_may_tell_of_pilots(grid, stamp, caller, more, status) -> None:
    """Pilots of the own VO, operators of any; lines of a pilot that is not registered need a VO."""
    assert (await say(grid, stamp, line("x"), caller=caller, **more)).status == status


async def test_logs_are_deleted(grid) -> None:
    """Those of the pilots that are named."""
    await say(grid, "s1", line("one"))
    await say(grid, "s2", line("two"))
    query = {"pilot_stamps": "s1"}
    assert (await grid.http("DELETE", LOGS, query=query, caller="alice")).status == 403
    assert (await grid.http("DELETE", LOGS, query=query)).status == 204
    assert await grid.rows(WHERRY_DB, select(pilot_logs.c.pilot_stamp)) == [("s2",)]


# --- What they wrote


async def test_outputs(grid) -> None:
    """An output is kept once, and found by pilot or by the job that it ran."""
    body = {"pilot_reference": "htcondorce://ce01.geneva.example.org/s1", "StdOut": "out", "StdErr": "err"}
    said = await grid.http("POST", OUTPUT, body)
    assert (said.status, said.body) == (201, {"PilotID": 1, "truncated": False})
    again = await grid.http("POST", OUTPUT, body)
    assert (again.status, again.detail) == (409, "The output of this pilot is stored already.")
    kept = {
        "PilotID": 1,
        "PilotJobReference": "htcondorce://ce01.geneva.example.org/s1",
        "PilotStamp": "s1",
        "VO": "demo",
        "StdOut": "out",
        "StdErr": "err",
    }
    for query in ({"pilot_id": 1}, {"pilot_stamp": "s1"}, {"job_id": 2}):
        assert (await grid.http("GET", OUTPUT, query=query, caller="bob")).body == [kept]


async def test_outputs_that_are_not_kept_here(grid) -> None:
    """They are null; an unknown pilot is 404, in PilotManager's words."""
    said = await grid.http("GET", OUTPUT, query={"pilot_stamp": "twin"})
    assert [(each["PilotID"], each["StdOut"]) for each in said.body] == [(4, None), (5, None)]
    for query, detail in [
        ({"pilot_stamp": "none"}, "Failed to get info for pilot"),
        ({"job_id": 777}, "Failed to get pilot for Job 777: "),
    ]:
        said = await grid.http("GET", OUTPUT, query=query)
        assert (said.status, said.detail) == (404, detail)
    assert (await grid.http("GET", OUTPUT, query={"pilot_id": 3}, caller="alice")).status == 404
    assert (await grid.http("GET", OUTPUT)).status == 400
    assert (await grid.http("GET", OUTPUT, query={"pilot_id": 1, "job_id": 1})).status == 400
    said = await grid.http("POST", OUTPUT, {"pilot_reference": "zz", "StdOut": ""})
    assert (said.status, said.detail) == (404, "Pilot reference not found zz")


async def test_of_a_large_output_the_end_is_kept(make_grid) -> None:
    """That is said in the answer and in what is read; characters stay whole."""
    settings = replace(SETTINGS, pilots=PilotSettings(largest_output=5))
    async with make_grid(rest=settings) as grid:
        said = await grid.http("POST", OUTPUT, {"pilot_id": 1, "StdOut": "abc\u00e9defg", "StdErr": "12345"})
        assert said.body == {"PilotID": 1, "truncated": True}
        [kept] = (await grid.http("GET", OUTPUT, query={"pilot_id": 1})).body
        assert kept["StdOut"] == "[4 bytes before this were cut off]\ndefg"
        assert kept["StdErr"] == "12345"


async def test_two_quotes_are_an_empty_output(grid) -> None:
    """DIRAC writes them for nothing."""
    async with grid.databases.unit_of_work(write=True) as work:
        row = {"PilotID": 2, "StdOutput": '""', "StdError": None}
        await work.change(PILOT_AGENTS_DB, PilotOutput.insert(), row)
    [kept] = (await grid.http("GET", OUTPUT, query={"pilot_id": 2})).body
    assert (kept["StdOut"], kept["StdErr"]) == ("", "")


# --- How they go


async def test_pilots_are_deleted_with_all_that_is_theirs(grid) -> None:
    """By stamp, every pilot with it; nothing of them is left, and nothing of others is touched."""
    await grid.http("POST", OUTPUT, {"pilot_id": 1, "StdOut": "x"})
    await say(grid, "s1", line("x"))
    await say(grid, "s2", line("y"))
    query = {"pilot_stamps": ["s1", "twin", "none"]}
    said = await grid.call("DELETE", PILOTS, query=query)
    assert said.status == 204
    assert await pilot_ids(grid) == [2, 3, 6]
    assert await grid.rows(PILOT_AGENTS_DB, select(PilotOutput.c.PilotID)) == []
    mapped = await grid.rows(PILOT_AGENTS_DB, select(JobToPilotMapping.c.PilotID))
    assert sorted(mapped) == [(2,), (3,)]
    assert await grid.rows(WHERRY_DB, select(pilot_logs.c.pilot_stamp)) == [("s2",)]


async def test_logs_of_a_shared_stamp_stay(grid) -> None:
    """As long as one of its pilots does."""
    await say(grid, "twin", line("x"))
    assert (await grid.http("DELETE", PILOTS, query={"pilot_ids": "4"})).status == 204
    assert len(await grid.rows(WHERRY_DB, select(pilot_logs.c.line_id))) == 1
    assert (await grid.http("DELETE", f"{PILOTS}?pilot_stamps[]=twin")).status == 204
    assert await grid.rows(WHERRY_DB, select(pilot_logs.c.line_id)) == []
    assert await pilot_ids(grid) == [1, 2, 3, 6]


async def test_old_pilots_are_deleted(grid) -> None:
    """All that were submitted so long ago, or only the aborted ones of them."""
    noon = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    async with grid.databases.unit_of_work(write=True) as work:
        for pilot_id, days in ((1, 40), (2, 31), (5, 8), (6, 8), (3, 1), (4, 0)):
            update = PilotAgents.update().where(PilotAgents.c.PilotID == pilot_id)
            await work.change(
                PILOT_AGENTS_DB, update.values(SubmissionTime=noon - timedelta(days=days, minutes=5))
            )
    aborted = {"age_in_days": "7", "delete_only_aborted": "true"}
    assert (await grid.http("DELETE", PILOTS, query=aborted)).status == 204
    assert await pilot_ids(grid) == [1, 2, 3, 4, 6]
    assert (await grid.http("DELETE", PILOTS, query={"age_in_days": "30"})).status == 204
    assert await pilot_ids(grid) == [3, 4, 6]


async def test_more_old_pilots_than_one_step_takes(grid, monkeypatch) -> None:
    """They go in steps, all of them."""
    monkeypatch.setattr("rest_backend.resources.pilot_removal.BATCH", 2)
    assert (await grid.http("DELETE", PILOTS, query={"age_in_days": "1"})).status == 204
    assert await pilot_ids(grid) == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({}, "You must provide either pilot_stamps, pilot_ids or age_in_days"),
        ({"pilot_ids": "1", "age_in_days": "1"}, "You must provide either pilots or age_in_days, not both"),
        ({"delete_only_aborted": "true"}, "You must provide either pilot_stamps, pilot_ids or age_in_days"),
    ],
)
async def test_refused_deletions(grid, query, detail) -> None:
    """A deletion that does not say of what deletes nothing."""
    said = await grid.http("DELETE", PILOTS, query=query)
    assert (said.status, said.detail) == (400, detail)
    assert await pilot_ids(grid) == [1, 2, 3, 4, 5, 6]


async def test_killing(grid) -> None:
    """Pilots that run are Aborted by whoever said so; those that had ended stay as they are."""
    said = await grid.http("POST", KILL, {"pilot_ids": [1, 2], "pilot_stamps": ["s3"]}, caller="operator")
    assert (said.status, said.body) == (200, {"aborted": [1, 3], "ended_before": [2]})
    c = PilotAgents.c
    wanted = select(c.Status, c.StatusReason).where(c.PilotID.in_([1, 2, 3])).order_by(c.PilotID)
    killed = ("Aborted", "Killed by dave")
    assert await grid.rows(PILOT_AGENTS_DB, wanted) == [killed, ("Done", "Report"), killed]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"pilot_ids": [1, 99]}, 404, "Failed to get info for pilot 99"),
        ({"pilot_stamps": ["s1", "none"]}, 404, "Failed to get info for pilot none"),
        ({}, 422, "give pilot_ids or pilot_stamps"),
    ],
)
async def test_refused_killing(grid, body, status, detail) -> None:
    """One that is not there, and none is killed."""
    said = await grid.http("POST", KILL, body)
    assert said.status == status
    assert detail in str(said.detail)
    [row] = await grid.rows(PILOT_AGENTS_DB, select(PilotAgents.c.Status).where(PilotAgents.c.PilotID == 1))
    assert row == ("Running",)


# --- With a token of its own


async def as_pilot(grid: Grid, stamp: str, method: str, path: str, body: Any = None) -> Said:
    """Ask over HTTP with the token of a pilot of the VO ``demo``."""
    return await grid.http(method, f"{INTERNAL}{path}", body, caller=f"pilot:{stamp}")


async def test_a_pilot_reports_its_own_jobs(grid) -> None:
    """Statuses, heartbeats and metadata of jobs that it runs, as for users' tokens."""
    said = await as_pilot(grid, "s1", "PATCH", "/jobs/status", {"2": {LATER: {"MinorStatus": "Application"}}})
    assert (said.status, said.body["failed"]) == (200, {})
    assert said.body["success"].keys() == {"2"}
    said = await as_pilot(grid, "s1", "PATCH", "/jobs/heartbeat", {"6": {"LoadAverage": 1.5}})
    assert (said.status, said.body) == (200, [])
    assert (await grid.job(6, "Status"))["Status"] == "Running"
    said = await as_pilot(grid, "s1", "PATCH", "/jobs/metadata", {"2": {"Site": "DEMO.Lyon.fr"}})
    assert said.status == 204
    assert (await grid.job(2, "Site"))["Site"] == "DEMO.Lyon.fr"


@pytest.mark.parametrize("jobs", [[3], [2, 3], [999], [7], []])
@pytest.mark.parametrize(
    ("path", "report"),
    [
        ("/jobs/status", {LATER: {"MinorStatus": "x"}}),
        ("/jobs/heartbeat", {"LoadAverage": 1.5}),
        ("/jobs/metadata", {"Site": "x"}),
    ],
)
async def test_a_pilot_has_no_business_with_others_jobs(grid, path, report, jobs) -> None:
    """One job that is not its own refuses the whole call."""
    said = await as_pilot(grid, "s1", "PATCH", path, {str(job): report for job in jobs})
    assert (said.status, said.detail) == (403, "Pilot can't access this job.")


async def test_a_pilot_speaks_for_itself(grid) -> None:
    """Its lines are kept under its own stamp and VO."""
    assert (await as_pilot(grid, "s1", "POST", "/message", {"lines": [line("x")]})).status == 204
    body = {"pilot_stamp": "s1", "lines": [line("y")]}
    assert (await as_pilot(grid, "s1", "POST", "/message", body)).status == 204
    said = await as_pilot(grid, "s1", "POST", "/message", {**body, "pilot_stamp": "s2"})
    assert (said.status, said.detail) == (403, "A pilot can only speak for itself.")
    c = pilot_logs.c
    rows = await grid.rows(WHERRY_DB, select(c.pilot_stamp, c.vo, c.message))
    assert rows == [("s1", "demo", "x"), ("s1", "demo", "y")]


async def test_a_pilot_says_that_it_is_done(grid) -> None:
    """It sets its own fields; after a final status its token is worth nothing."""
    body = {"Status": "Done", "DestinationSite": "ce7"}
    assert (await as_pilot(grid, "s1", "PATCH", "/metadata", body)).status == 204
    c = PilotAgents.c
    rows = await grid.rows(PILOT_AGENTS_DB, select(c.Status, c.DestinationSite).where(c.PilotID.in_([1, 2])))
    assert rows == [("Done", "ce7"), ("Done", "ce01.lyon.example.org")]
    assert (await as_pilot(grid, "s1", "PATCH", "/metadata", {"Status": "Running"})).status == 401


async def test_one_stamp_in_two_vos(grid) -> None:
    """A pilot's token is of one VO: a pilot of another with the same stamp is somebody else."""
    async with grid.databases.unit_of_work(write=True) as work:
        update = PilotAgents.update().where(PilotAgents.c.PilotID == 3).values(PilotStamp="s1")
        await work.change(PILOT_AGENTS_DB, update)
    assert (await as_pilot(grid, "s1", "PATCH", "/jobs/metadata", {"7": {"Site": "x"}})).status == 403
    assert (await as_pilot(grid, "s1", "PATCH", "/metadata", {"Status": "Done"})).status == 204
    rows = await grid.rows(
        PILOT_AGENTS_DB, select(PilotAgents.c.Status).where(PilotAgents.c.PilotID.in_([1, 3]))
    )
    assert rows == [("Done",), ("Submitted",)]


@pytest.mark.parametrize("stamp", ["s2", "none", "s3", "S1"])
async def test_pilots_that_ended_or_are_not_there(grid, stamp) -> None:
    """A signed token is not enough: the pilot must be there, in its VO, and not have ended."""
    assert (await as_pilot(grid, stamp, "GET", "/pilotinfo")).status == 401


@pytest.mark.parametrize("caller", ["admin", "pilot", "host"])
async def test_internal_routes_are_for_pilots_only(grid, caller) -> None:
    """Whatever properties a user's token has."""
    said = await grid.http("GET", f"{INTERNAL}/pilotinfo", caller=caller)
    assert (said.status, said.detail) == (403, "Only a pilot with a token of its own may do this.")


# --- What PilotManager's older methods need


async def test_groups_stand_for_their_vo(grid) -> None:
    """Releases before 9 add pilots for a group."""
    pilots = [{"pilot_reference": "r", "pilot_stamp": "new", "owner_group": "other_user"}]
    assert (await grid.http("POST", "/api/pilots/legacy", pilots)).status == 201
    [row] = await grid.rows(
        PILOT_AGENTS_DB, select(PilotAgents.c.VO).where(PilotAgents.c.PilotStamp == "new")
    )
    assert row == ("other",)
    said = await grid.http("POST", "/api/pilots/legacy", [{"pilot_reference": "r", "owner_group": "nope"}])
    assert said.status == 400
    for given in ({"vo": "demo", "owner_group": "demo_user"}, {}):
        said = await grid.http("POST", "/api/pilots/legacy", [{"pilot_reference": "r", **given}])
        assert said.status == 422


async def test_marks_and_flags_by_id(grid, stopped_clock) -> None:
    """They are set without a status, count changed rows, and leave LastUpdateTime as it is."""
    c = PilotAgents.c
    wanted = select(c.BenchMark, c.AccountingSent, c.CurrentJobID, c.LastUpdateTime).where(c.PilotID == 1)
    [before] = await grid.rows(PILOT_AGENTS_DB, wanted)
    body = {"pilot_ids": [1], "metadata": {"BenchMark": 3.0, "AccountingSent": True, "CurrentJobID": 6}}
    assert (await grid.http("PATCH", "/api/pilots/legacy", body)).body == {"changed": 1}
    assert (await grid.http("PATCH", "/api/pilots/legacy", body)).body == {"changed": 0}
    assert await grid.rows(PILOT_AGENTS_DB, wanted) == [(3.0, "True", 6, before[3])]
