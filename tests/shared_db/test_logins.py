"""Logins under way, refresh tokens, revocations in the database: each step once, on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from guests import HOMES

from shared_db.administration import upgrade_own
from shared_db.connection import Databases, again, open_databases
from shared_db.errors import Conflict
from shared_db.queries import flows as flow_queries
from shared_db.queries import refresh_tokens as token_queries
from shared_db.queries import revocations as revocation_queries
from shared_db.queries.flows import AUTHORIZATION, DEVICE, DONE, PENDING, READY, Flow
from shared_db.queries.revocations import FAMILY, SUBJECT, TOKEN, Revocation
from shared_db.schema.wherry_db import WHERRY_DB, flows, refresh_tokens, revocations

HOUR = timedelta(hours=1)


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Our own tables are in no guest's way."""
    return str(request.param)


@pytest.fixture
async def databases(url: str) -> AsyncIterator[Databases]:
    """Our own tables, empty."""
    opened = open_databases(url, create=True)
    await upgrade_own(opened)
    yield opened
    await opened.dispose()


@pytest.fixture
def run(databases: Databases) -> Callable[..., Awaitable[Any]]:
    """``await run(query, ...)``: a query in a unit of work of its own."""

    async def once(query: Callable[..., Awaitable[Any]], *arguments: Any, **more: Any) -> Any:
        async def attempt() -> Any:
            async with databases.unit_of_work(write=True) as work:
                return await query(work, *arguments, **more)

        return await again(attempt)

    return once


@pytest.fixture
def flow(clock: Any) -> Flow:
    """A device flow that has just begun."""
    return Flow(
        "0192-flow",
        DEVICE,
        "client",
        "vo:lab",
        clock.now,
        clock.now + HOUR,
        user_code="BCDF",
        code_hash="h" * 64,
    )


async def test_the_steps_of_a_flow(run, flow, clock) -> None:
    """PENDING, READY, DONE; each step once, and none before the one before it."""
    await run(flow_queries.add_flow, flow)
    assert await run(flow_queries.pending_flow, clock.now, user_code="BCDF") == flow
    assert await run(flow_queries.pending_flow, clock.now, flow_id="0192-flow") == flow
    assert await run(flow_queries.pending_flow, clock.now, user_code="bcdf") is None
    assert not await run(flow_queries.finish, "0192-flow")
    assert await run(flow_queries.make_ready, "0192-flow", clock.now, '{"sub": "ü"}')
    assert not await run(flow_queries.make_ready, "0192-flow", clock.now, "{}")
    assert not await run(flow_queries.fail, "0192-flow")
    ready = replace(flow, status=READY, id_token_json='{"sub": "ü"}')
    assert await run(flow_queries.flow_of_code, DEVICE, "h" * 64) == ready
    assert await run(flow_queries.flow_of_code, AUTHORIZATION, "h" * 64) is None
    assert await run(flow_queries.pending_flow, clock.now, user_code="BCDF") is None
    assert await run(flow_queries.finish, "0192-flow")
    assert not await run(flow_queries.finish, "0192-flow")
    assert (await run(flow_queries.flow_of_code, DEVICE, "h" * 64)).status == DONE


async def test_a_flow_that_is_over(run, flow, clock) -> None:
    """After its time a flow waits for nobody."""
    await run(flow_queries.add_flow, flow)
    end = clock.now + HOUR
    assert await run(flow_queries.pending_flow, end, user_code="BCDF") is None
    assert not await run(flow_queries.make_ready, "0192-flow", end, "{}")
    assert (await run(flow_queries.flow_of_code, DEVICE, "h" * 64)).status == PENDING


async def test_codes_are_nobody_elses(run, flow) -> None:
    """A user code that is in use is a Conflict; flows without one are no conflict to each other."""
    await run(flow_queries.add_flow, flow)
    with pytest.raises(Conflict):
        await run(flow_queries.add_flow, replace(flow, flow_id="other", code_hash="i" * 64))
    for number in range(2):
        await run(flow_queries.add_flow, replace(flow, flow_id=f"a{number}", user_code=None, code_hash=None))


async def test_one_of_many_finishes(run, flow, clock) -> None:
    """Of many at once one gets the tokens."""
    await run(flow_queries.add_flow, flow)
    ready = await asyncio.gather(
        *(run(flow_queries.make_ready, "0192-flow", clock.now, "{}") for _ in range(5))
    )
    assert sorted(ready) == [False] * 4 + [True]
    done = await asyncio.gather(*(run(flow_queries.finish, "0192-flow") for _ in range(5)))
    assert sorted(done) == [False] * 4 + [True]


async def test_purging_flows(run, flow, databases, clock) -> None:
    """Flows that have ended go, a bounded number at a time."""
    for number in range(5):
        ends = clock.now + (HOUR if number == 4 else -HOUR)
        each = replace(flow, flow_id=f"f{number}", user_code=None, code_hash=None, expires_at=ends)
        await run(flow_queries.add_flow, each)
    assert [await run(flow_queries.purge_flows, clock.now, 3) for _ in range(3)] == [3, 1, 0]
    async with databases.unit_of_work() as work:
        assert [row.flow_id for row in await work.rows(WHERRY_DB, flows.select())] == ["f4"]


# --- Refresh tokens


@pytest.fixture
def record(run, clock) -> Callable[..., Awaitable[None]]:
    """``await record(jti, ...)``: a token was issued."""

    async def once(jti: str, **changed: Any) -> None:
        values = {
            "subject": "lab:alice",
            "vo": "lab",
            "scope": "vo:lab",
            "created": clock.now,
            "expires": clock.now + HOUR,
            "legacy_exchange": False,
            **changed,
        }
        await run(token_queries.record_refresh_token, jti=jti, **values)

    return once


async def good(run: Callable[..., Awaitable[Any]], clock: Any) -> list[str]:
    """The tokens that are good, whosever."""
    rows = await run(token_queries.live_tokens, None, clock.now)
    return [row.jti for row in rows if row.status == "CREATED"]


async def test_rotation(run, record, clock) -> None:
    """A token is used up once, by whoever is first, and its family goes on."""
    await record("one")
    used = await asyncio.gather(*(run(token_queries.use_up, "one", clock.now) for _ in range(5)))
    assert sorted(used) == [False] * 4 + [True]
    await record("two", family="one")
    first, second = await run(token_queries.stored_token, "one"), await run(token_queries.stored_token, "two")
    assert (first.family, first.status) == ("one", "REVOKED")
    assert (second.family, second.status, second.expires_at) == ("one", "CREATED", clock.now + HOUR)
    assert await run(token_queries.stored_token, "three") is None


async def test_revoking_many(run, record, databases, clock) -> None:
    """A family, or a subject: letters count, and what was revoked keeps its time."""
    await record("one")
    await record("two", family="one")
    await record("legacy", legacy_exchange=True)
    await record("Alice", subject="lab:Alice")
    assert await run(token_queries.revoke_family, "one", clock.now) == 2
    clock.advance(5)
    assert await run(token_queries.revoke_family, "one", clock.now) == 0
    assert await good(run, clock) == ["Alice", "legacy"]
    assert await run(token_queries.revoke_subject, "lab:alice", clock.now) == 1
    assert await good(run, clock) == ["Alice"]
    async with databases.unit_of_work() as work:
        rows = {row.jti: row.revoked_at for row in await work.rows(WHERRY_DB, refresh_tokens.select())}
    assert clock.now - rows["one"] == timedelta(seconds=5)
    assert (rows["legacy"], rows["Alice"]) == (clock.now, None)


async def test_listing(run, record, clock) -> None:
    """A subject's good tokens, oldest first; everybody's with the revoked ones; none that have ended."""
    await record("one")
    clock.advance(1)
    await record("two")
    await record("ended", expires=clock.now)
    await record("bob", subject="lab:bob")
    await run(token_queries.use_up, "one", clock.now)
    own = await run(token_queries.live_tokens, "lab:alice", clock.now)
    assert [row.jti for row in own] == ["two"]
    everybodys = await run(token_queries.live_tokens, None, clock.now)
    assert [(row.jti, row.status) for row in everybodys] == [
        ("one", "REVOKED"),
        ("bob", "CREATED"),
        ("two", "CREATED"),
    ]


async def test_purging_tokens(run, record, clock) -> None:
    """Tokens that have ended go, a bounded number at a time; revoked ones stay until then."""
    for number in range(5):
        await record(f"t{number}", expires=clock.now - HOUR)
    await record("revoked")
    await run(token_queries.use_up, "revoked", clock.now)
    assert [await run(token_queries.purge_refresh_tokens, clock.now, 3) for _ in range(3)] == [3, 2, 0]
    assert (await run(token_queries.stored_token, "revoked")).status == "REVOKED"


# --- Revocations


async def test_revocations(run, databases, clock) -> None:
    """They are in force until their tokens have expired, once each, and then go."""
    ends = clock.now + HOUR
    given = [Revocation(kind, "x", clock.now, ends, "admin", "ü") for kind in (TOKEN, FAMILY, SUBJECT)]
    for each in given:
        await run(revocation_queries.add_revocation, each)
    later = replace(given[2], revoked_at=clock.now + timedelta(seconds=9), until=ends + HOUR)
    await run(revocation_queries.add_revocation, later)
    in_force = await run(revocation_queries.revocations_in_force, clock.now)
    assert sorted(in_force, key=lambda each: each.kind) == sorted(
        [*given[:2], later], key=lambda each: each.kind
    )
    assert await run(revocation_queries.revocations_in_force, ends) == [later]
    assert [await run(revocation_queries.purge_revocations, ends, 1) for _ in range(3)] == [1, 1, 0]
    async with databases.unit_of_work() as work:
        assert len(await work.rows(WHERRY_DB, revocations.select())) == 1


async def test_revocations_at_once(databases, clock) -> None:
    """Many who revoke the same at once leave one row; at most they must try again."""

    async def attempt() -> None:
        async with databases.unit_of_work(write=True) as work:
            await revocation_queries.add_revocation(work, given)

    given = Revocation(TOKEN, "x", clock.now, clock.now + HOUR, "", "")

    async def insist() -> None:
        for _ in range(10):
            try:
                return await again(attempt)
            except Conflict:
                continue
        raise AssertionError("never")

    await asyncio.gather(*(insist() for _ in range(5)))

    async with databases.unit_of_work() as work:
        assert len(await work.rows(WHERRY_DB, revocations.select())) == 1
