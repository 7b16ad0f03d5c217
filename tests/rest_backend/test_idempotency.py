"""Requests that make something make it once, however often they come."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from empty_databases import empty_database
from sqlalchemy import func, select

from rest_backend import idempotency
from rest_backend.errors import Forbidden, RestError
from rest_backend.idempotency import Claim, claim_of, once
from rest_backend.messages import Answer, RestRequest
from rest_backend.operations import Operation, Policy
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.principals import Principal
from shared_db.administration import initialise
from shared_db.connection import Databases, UnitOfWork, open_databases
from shared_db.engines.base import Limits
from shared_db.queries.answers import purge_answers
from shared_db.queries.pilots import add_pilots
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from shared_db.schema.wherry_db import WHERRY_DB, answers

from .conftest import Grid, Said

PILOTS = "/api/pilots/legacy"
PILOT = [{"pilot_reference": "made", "vo": "demo"}]
KEY = {"Idempotency-Key": "5f2b7d9e"}


async def made(grid: Grid, reference: str = "made") -> int:
    """How many pilots were made."""
    statement = select(func.count()).where(PilotAgents.c.PilotJobReference == reference)
    [[number]] = await grid.rows(PILOT_AGENTS_DB, statement)
    return number


async def post(grid: Grid, body: Any = PILOT, headers: Mapping[str, str] = KEY, **given: Any) -> Said:
    """Add pilots, which nothing but the key keeps from being there twice."""
    return await grid.http("POST", PILOTS, body, headers=headers, **given)


async def test_a_repeat_is_answered_and_makes_nothing(grid) -> None:
    """The same request with the same key has the first one's answer, marked as such."""
    first, second = await post(grid), await post(grid)
    assert (first.status, second.status) == (201, 201)
    assert second.body == first.body
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await made(grid) == 1


async def test_without_a_key_a_repeat_is_another_request(grid) -> None:
    """Nobody is kept from adding the same pilot twice."""
    assert [(await post(grid, headers={})).status for _ in range(2)] == [201, 201]
    assert await made(grid) == 2


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"headers": {"Idempotency-Key": "another"}}, id="key"),
        pytest.param({"caller": "operator"}, id="caller"),
    ],
)
async def test_what_a_key_is_bound_to(grid, other) -> None:
    """A key means something for one caller and one operation only."""
    await post(grid)
    said = await post(grid, **other)
    assert (said.status, "Idempotency-Replayed" in said.headers) == (201, False)
    assert await made(grid) == 2


async def test_a_key_of_another_operation(grid) -> None:
    """The same key may name a request for something else."""
    await post(grid)
    said = await grid.http("POST", "/api/pilots/", {"pilot_stamp": "new", "vo": "demo"}, headers=KEY)
    assert (said.status, "Idempotency-Replayed" in said.headers) == (201, False)


async def test_a_key_that_was_used_for_something_else(grid) -> None:
    """The same key with another body is a mistake of the client's, who is told the mend."""
    await post(grid)
    said = await post(grid, [{"pilot_reference": "made", "vo": "other"}])
    assert said.status == 422
    assert "a key of its own" in said.detail
    assert await made(grid) == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "\t", "é"])
async def test_keys_that_are_none(grid, key) -> None:
    """A key is printable ASCII of some length."""
    said = await post(grid, headers={"Idempotency-Key": key})
    assert (said.status, await made(grid)) == (400, 0)
    assert "Idempotency-Key" in said.detail


async def test_a_refused_request_may_be_mended(grid) -> None:
    """What was refused has done nothing: the same key is still free."""
    headers = {"Idempotency-Key": "mended"}
    wrong = await grid.http("POST", "/api/pilots/", {"pilot_stamp": "new", "vo": "novo"}, headers=headers)
    right = await grid.http("POST", "/api/pilots/", {"pilot_stamp": "new", "vo": "demo"}, headers=headers)
    again = await grid.http("POST", "/api/pilots/", {"pilot_stamp": "new", "vo": "demo"}, headers=headers)
    assert [said.status for said in (wrong, right, again)] == [400, 201, 201]


async def test_a_key_on_what_makes_nothing(grid) -> None:
    """Where a repeat does no harm the header says nothing."""
    for _ in range(2):
        said = await grid.http("POST", "/api/pilots/search", {}, headers=KEY)
        assert (said.status, "Idempotency-Replayed" in said.headers) == (200, False)


async def test_in_process(grid) -> None:
    """A request in process with the header means the same as over HTTP."""
    request = RestRequest("POST", PILOTS, {}, PILOT, headers={"idempotency-key": "5f2b7d9e"})
    for replayed in (None, "true"):
        answer = await grid.runner.call(request, grid.principal("admin"))
        assert (answer.status, answer.headers.get("Idempotency-Replayed")) == (201, replayed)
    assert (await post(grid)).headers["Idempotency-Replayed"] == "true"
    assert await made(grid) == 1


# --- DiracX's clients


async def test_a_client_that_repeats(grid) -> None:
    """The same client request id and body is the same request; another body is another one."""
    headers = {"x-ms-client-request-id": "c0ffee00-0000-4000-8000-000000000001"}
    assert (await post(grid, headers=headers)).status == 201
    assert (await post(grid, headers=headers)).headers["Idempotency-Replayed"] == "true"
    assert await made(grid) == 1
    said = await post(grid, PILOT * 2, headers=headers)
    assert (said.status, await made(grid)) == (201, 3)


async def test_a_client_request_is_remembered_for_minutes(grid, monkeypatch) -> None:
    """After some minutes the same id is another request, a key is not."""
    headers = {"x-ms-client-request-id": "c0ffee00"}
    await post(grid, headers=headers)
    await post(grid)
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(idempotency, "utc_now", lambda: later)
    assert "Idempotency-Replayed" not in (await post(grid, headers=headers)).headers
    assert "Idempotency-Replayed" in (await post(grid, headers=headers)).headers
    assert "Idempotency-Replayed" in (await post(grid)).headers


async def test_a_lost_answer_to_a_submission(grid) -> None:
    """Whoever repeats a submission whose answer was lost has one set of jobs, and their ids."""
    jdls = orjson.dumps(['[Executable = "x"; JobName = "lost";]'] * 3)
    headers = {
        "Authorization": f"Bearer {grid.token('alice')}",
        "x-ms-client-request-id": "c0ffee00-0000-4000-8000-000000000002",
    }
    async with losing_first_answer(grid) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            # On a connection of its own: aiohttp's client repeats by itself on a used one.
            await session.post(url, data=jdls, headers=headers)
        async with session.post(url, data=jdls, headers=headers) as response:
            assert (response.status, response.headers["Idempotency-Replayed"]) == (201, "true")
            ids = [job["JobID"] for job in await response.json()]
    wanted = {
        "parameters": ["JobID"],
        "search": [{"parameter": "JobName", "operator": "eq", "value": "lost"}],
    }
    found = await grid.http("POST", "/api/jobs/search", wanted)
    assert [job["JobID"] for job in found.body] == ids
    assert len(ids) == 3


class losing_first_answer:  # noqa: N801 - used as a function
    """A proxy before a grid's submission that drops the connection in place of the first answer."""

    def __init__(self, grid: Grid) -> None:
        self._target = str(grid.client.make_url("/api/jobs/jdl"))
        self._lost = False

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_post("/", self._pass_on)
        self._server = TestServer(app)
        await self._server.start_server()
        return str(self._server.make_url("/"))

    async def __aexit__(self, *_error: object) -> None:
        await self._server.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "x-ms-client-request-id")}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._target, data=await request.read(), headers=headers) as answer,
        ):
            body = await answer.read()
            assert answer.status == 201, body
        if not self._lost:
            self._lost = True
            assert request.transport is not None
            request.transport.abort()
        replayed = answer.headers.get("Idempotency-Replayed", "")
        return web.Response(
            body=body,
            status=answer.status,
            headers={"Idempotency-Replayed": replayed, "Content-Type": "application/json"},
        )


# --- What is stored


SECRET = "a very secret answer"


async def _tell(context: Any, _body: Any, _query: Any) -> Answer:
    return Answer({"secret": SECRET}, 201, {"Location": f"/secrets/{SECRET}"})


TELLING = Operation(
    "tell", "POST", "/api/test/tell", _tell, AUTHENTICATED, statuses=(201,), writes=True, creates=True
)


async def test_whoever_may_no_more_is_told_nothing(make_grid) -> None:
    """What was kept is given only to a caller who might ask for it now."""
    allowed = [True]

    async def check(_context: Any, _body: Any, _parameters: Any) -> None:
        if not allowed:
            raise Forbidden

    policy = Policy("while-allowed", "For a while.", check)
    operation = Operation("tell", "POST", "/api/test/tell", _tell, policy, writes=True, creates=True)
    async with make_grid(operations=[operation]) as grid:
        said = [await grid.http("POST", "/api/test/tell", headers=KEY) for _ in range(2)]
        assert said[1].headers["Idempotency-Replayed"] == "true"
        allowed.clear()
        assert (await grid.http("POST", "/api/test/tell", headers=KEY)).status == 403


async def test_secrets_are_not_stored_in_clear(make_grid) -> None:
    """Neither the key nor what was answered can be read in the database; a repeat has all of it."""
    async with make_grid(operations=[TELLING]) as grid:
        first, second = [await grid.http("POST", "/api/test/tell", headers=KEY) for _ in range(2)]
        assert first.body == second.body == {"secret": SECRET}
        assert second.headers["Location"] == f"/secrets/{SECRET}"
        with closing(sqlite3.connect(grid.file)) as database:
            dump = "\n".join(database.iterdump())
        assert "wherry_answers" in dump
        assert SECRET not in dump
        assert KEY["Idempotency-Key"] not in dump


def test_what_creates_writes() -> None:
    """An operation whose work the runner cannot keep together with its answer cannot be one that creates."""
    for wrong in ({"writes": False}, {"transactional": False}):
        given = {"writes": True, "creates": True, **wrong}
        with pytest.raises(ValueError, match="tell: what creates must write"):
            Operation("tell", "POST", "/api/test/tell", _tell, AUTHENTICATED, **given)


# --- On every engine


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
async def databases(request, tmp_path, filled_file) -> AsyncIterator[Databases]:
    """Databases with all tables, on each kind of engine."""
    kind = request.param
    if kind == "sqlite":
        url = f"sqlite:///{shutil.copy(filled_file, tmp_path / 'grid.db')}"
        opened = open_databases(url)
        yield opened
        await opened.dispose()
        return
    servers = request.getfixturevalue("servers")
    with request.getfixturevalue("empty_server_database")(kind, servers, tmp_path) as url:
        opened = open_databases(url, limits=Limits(busy_seconds=10))
        await initialise(opened)
        yield opened
        await opened.dispose()


@pytest.fixture
def empty_server_database() -> Any:
    """Makes a database on a server, in a thread: it runs an event loop of its own."""
    return partial(_in_a_thread)


class _in_a_thread:  # noqa: N801 - used as a function
    def __init__(self, *given: Any) -> None:
        self._made = empty_database(*given)

    def __enter__(self) -> str:
        return _threaded(self._made.__enter__)

    def __exit__(self, *error: Any) -> None:
        _threaded(lambda: self._made.__exit__(*error))


def _threaded(function: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


CALLER = Principal("subject", "demo", "demo_admin", "alice", ("ServiceAdministrator",))


def claim(key: str = "one", body: Any = None) -> Claim:
    """What a request with a key claims."""
    request = RestRequest("POST", PILOTS, {}, body, headers={"idempotency-key": key})
    made = claim_of("operation", request, CALLER)
    assert made is not None
    return made


async def anybody(_work: UnitOfWork) -> None:
    """Refuses nobody."""


async def number_of_pilots(databases: Databases) -> int:
    """How many pilots there are with the test's reference."""
    async with databases.unit_of_work() as work:
        statement = select(func.count()).where(PilotAgents.c.PilotJobReference == "raced")
        [[number]] = await work.rows(PILOT_AGENTS_DB, statement)
        return number


async def add(work: UnitOfWork, seconds: float = 0.0) -> Answer:
    """Add a pilot, and take some time about it."""
    await add_pilots(work, [{"PilotJobReference": "raced", "VO": "demo"}])
    await asyncio.sleep(seconds)
    return Answer({"made": datetime.now(UTC).isoformat()}, 201)


async def test_two_at_once(databases) -> None:
    """Of several requests with one key at the same time one does the work; the others wait for its answer."""
    racing = [once(databases, claim(), anybody, lambda work: add(work, 0.3)) for _ in range(4)]
    given = await asyncio.gather(*racing)
    assert await number_of_pilots(databases) == 1
    assert len({str(each.body) for each in given}) == 1
    assert sorted(each.headers.get("Idempotency-Replayed", "") for each in given) == [
        "",
        "true",
        "true",
        "true",
    ]


async def test_the_first_of_two_fails(databases) -> None:
    """A request that waits for one that comes to nothing does the work itself."""
    failing = asyncio.Event()

    async def fail(work: UnitOfWork) -> Answer:
        await add(work)
        failing.set()
        await asyncio.sleep(0.2)
        raise RestError(409, "no")

    first = asyncio.create_task(once(databases, claim(), anybody, fail))
    await failing.wait()
    second = await once(databases, claim(), anybody, add)
    with pytest.raises(RestError, match="no"):
        await first
    assert (second.status, await number_of_pilots(databases)) == (201, 1)


async def test_another_body_at_once(databases) -> None:
    """Two different requests with one key at the same time: one is done, the other refused."""
    given = await asyncio.gather(
        once(databases, claim(body=1), anybody, lambda work: add(work, 0.2)),
        once(databases, claim(body=2), anybody, lambda work: add(work, 0.2)),
        return_exceptions=True,
    )
    refused = [each.status for each in given if isinstance(each, RestError)]
    assert (refused, await number_of_pilots(databases)) == ([422], 1)


async def test_keys_in_any_case(databases) -> None:
    """Two keys that differ in case only are two keys, whatever the database thinks of texts."""
    for key in ("key", "KEY"):
        answer = await once(databases, claim(key), anybody, add)
        assert "Idempotency-Replayed" not in answer.headers
    assert await number_of_pilots(databases) == 2


async def test_old_answers_go(databases) -> None:
    """Answers older than a time are forgotten, younger ones stay."""
    for key in ("old", "young"):
        await once(databases, claim(key), anybody, add)
    async with databases.unit_of_work(write=True) as work:
        aged = answers.update().where(answers.c.key_hash == claim("old").key_hash)
        long_ago = datetime.now(UTC) - timedelta(hours=25)
        await work.change(WHERRY_DB, aged.values(created_at=long_ago))
    async with databases.unit_of_work(write=True) as work:
        assert await purge_answers(work, datetime.now(UTC) - timedelta(hours=24)) == 1
    assert "Idempotency-Replayed" in (await once(databases, claim("young"), anybody, add)).headers
    assert "Idempotency-Replayed" not in (await once(databases, claim("old"), anybody, add)).headers


async def test_a_refusal_that_is_kept_otherwise(databases) -> None:
    """An answer that refuses is committed with its work, and not remembered."""

    async def refuse(work: UnitOfWork) -> Answer:
        await add(work)
        return Answer({"detail": "refused"}, 401)

    assert [(await once(databases, claim(), anybody, refuse)).status for _ in range(2)] == [401, 401]
    assert await number_of_pilots(databases) == 2
