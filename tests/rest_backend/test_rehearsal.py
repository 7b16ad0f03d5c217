"""Conversations that are tried and taken back: their answers, their effects, and nothing left behind."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from rest_backend.operations import Operation, RestRequest
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.rehearsal import NotRehearsable, rehearsing
from rest_backend.resources.health import live

STATUS = "/api/jobs/status"
MOMENT = "2024-03-02T00:00:00Z"
SECONDS = 30.0


def contents(grid: Any) -> list[str]:
    """The whole database as text."""
    with closing(sqlite3.connect(grid.file)) as connection:
        return list(connection.iterdump())


def patch(updates: Any) -> RestRequest:
    return RestRequest("PATCH", STATUS, body=updates)


def search(job_id: int) -> RestRequest:
    wanted = {"search": [{"parameter": "JobID", "operator": "eq", "value": job_id}], "parameters": ["Status"]}
    return RestRequest("POST", "/api/jobs/search", body=wanted)


async def test_each_request_sees_those_before_it_and_nothing_is_kept(grid) -> None:
    admin = grid.principal("admin")
    before = contents(grid)
    async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
        assert (await rehearsal.call(patch({1: {MOMENT: {"Status": "Killed"}}}), admin)).status == 200
        assert (await rehearsal.call(search(1), admin)).body == [{"Status": "Killed"}]
    assert [answer.status for answer in rehearsal.answers] == [200, 200]
    assert contents(grid) == before
    assert (await grid.job(1))["Status"] == "Waiting"


async def test_effects_are_those_of_the_real_request(grid, twin) -> None:
    """Every row that the rehearsal names changes in the real run as it said, and no other row does."""
    request = patch({1: {MOMENT: {"Status": "Killed", "MinorStatus": "By hand"}}})
    before = contents(grid)
    async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
        await rehearsal.call(request, grid.principal("admin"))
    effects = {(effect.table, effect.key): effect for effect in rehearsal.effects}

    job = effects["Jobs", (("JobID", 1),)]
    assert (job.before["Status"], job.after["Status"]) == ("Waiting", "Killed")
    assert job.after["MinorStatus"] == "By hand"
    assert "Owner" not in job.after
    left = effects["tq_Jobs", (("JobId", 1),)]
    assert (left.before["TQId"], left.after) == (1, None)
    assert {table for table, _ in effects} == {"Jobs", "tq_Jobs", "LoggingInfo", "JobCommands"}
    [logged] = [effect for effect in rehearsal.effects if effect.table == "LoggingInfo"]
    assert (logged.before, logged.after["Status"]) == (None, "Killed")

    assert contents(grid) == before
    await grid.runner.call(request, grid.principal("admin"))
    changed = {
        line.split()[2].strip('"') for line in set(contents(grid)) ^ set(before) if "INSERT INTO" in line
    }
    assert changed - {"sqlite_sequence"} == {table for table, _ in effects}


async def test_a_request_that_is_refused_has_no_effect(grid) -> None:
    """One request fails after others have written; only theirs are told."""
    admin, bob = grid.principal("admin"), grid.principal("bob")
    async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
        await rehearsal.call(patch({4: {MOMENT: {"MinorStatus": "Mine"}}}), bob)
        refused = await rehearsal.call(patch({1: {MOMENT: {"MinorStatus": "Not mine"}}}), bob)
        absent = await rehearsal.call(patch({999: {MOMENT: {"MinorStatus": "Nobody's"}}}), admin)
    assert (refused.status, absent.status) == (403, 404)
    assert {dict(effect.key).get("JobID") for effect in rehearsal.effects} == {4}


async def test_a_row_that_is_new_and_then_changed(grid) -> None:
    """The statement that added it did not ask for its number: its change is told by the number, apart."""
    admin = grid.principal("admin")
    new = {"pilot_stamp": "fresh", "vo": "demo"}
    async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
        await rehearsal.call(RestRequest("POST", "/api/pilots/", body=new), admin)
        body = {"fresh": {"Status": "Running"}}
        await rehearsal.call(RestRequest("PATCH", "/api/pilots/metadata", body=body), admin)
    added, changed = rehearsal.effects
    assert (added.table, added.key, added.before, added.after["PilotStamp"]) == (
        "PilotAgents",
        (),
        None,
        "fresh",
    )
    assert (changed.before["Status"], changed.after["Status"]) == ("Submitted", "Running")


async def test_time_runs_out(grid) -> None:
    before = contents(grid)
    with pytest.raises(TimeoutError):
        async with rehearsing(grid.runner, seconds=0.2) as rehearsal:
            await rehearsal.call(patch({1: {MOMENT: {"Status": "Killed"}}}), grid.principal("admin"))
            await asyncio.sleep(10)
    assert contents(grid) == before
    assert (await grid.http("PATCH", STATUS, {1: {MOMENT: {"Status": "Killed"}}})).status == 200


async def test_what_others_would_keep_is_not_rehearsed(make_grid) -> None:
    outside = Operation("outside", "POST", "/api/test/outside", live, AUTHENTICATED, transactional=False)
    async with make_grid(operations=[outside]) as grid:
        with pytest.raises(NotRehearsable, match="outside asks others"):
            async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
                await rehearsal.call(RestRequest("POST", "/api/test/outside"), grid.principal("admin"))


async def test_an_unknown_route_is_answered(grid) -> None:
    async with rehearsing(grid.runner, seconds=SECONDS) as rehearsal:
        answer = await rehearsal.call(RestRequest("POST", "/api/nowhere"), grid.principal("admin"))
    assert (answer.status, rehearsal.effects) == (404, [])
