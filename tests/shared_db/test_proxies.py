"""Delegated proxies in the database: requests, proxies, the log; in every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from guests import HOMES

from shared_db.administration import upgrade_own
from shared_db.connection import Databases, open_databases
from shared_db.queries import proxies
from shared_db.queries.proxies import LogEntry, Page, StoredProxy
from shared_db.queries.refresh_tokens import record_refresh_token
from shared_db.rules import clock as present
from shared_db.schema.wherry_db import WHERRY_DB, refresh_tokens

DN = "/O=Lab/CN="
HOUR = timedelta(hours=1)


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Our own tables are in no guest's way."""
    return str(request.param)


@pytest.fixture
async def databases(url: str, clock: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Databases]:
    """Our own tables, empty; time stands still until a test lets it pass."""
    monkeypatch.setattr(present, "utc_now", clock)
    opened = open_databases(url, create=True)
    await upgrade_own(opened)
    yield opened
    await opened.dispose()


class Queries:
    """Each query in a unit of work of its own: ``await queries.proxy_of(dn)``."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    def __getattr__(self, name: str) -> Any:
        async def run(*arguments: Any, **more: Any) -> Any:
            async with self._databases.unit_of_work(write=True) as work:
                return await getattr(proxies, name)(work, *arguments, **more)

        return run


@pytest.fixture
def queries(databases: Databases) -> Queries:
    """The queries."""
    return Queries(databases)


def stored(name: str, end: Any, key: bytes = b"\x00\xffsealed") -> StoredProxy:
    """A proxy."""
    return StoredProxy(DN + name, name, "-----BEGIN CERTIFICATE-----\n", key, end)


async def test_requests(queries: Queries, clock: Any) -> None:
    """A key is found by id and DN, in whatever spelling, for 300 s; new requests take old ones away."""
    first = await queries.add_request(r"/O=Lab/CN=a\/b", b"\x00key")
    second = await queries.add_request(DN + "bob", b"other")
    assert first != second
    assert await queries.requested_key(first, "/O=Lab/CN=a/b") == b"\x00key"
    assert await queries.requested_key(first, DN + "bob") is None
    assert await queries.requested_key(second + 1, DN + "bob") is None
    await queries.remove_request(second)
    assert await queries.requested_key(second, DN + "bob") is None
    clock.advance(299)
    assert await queries.requested_key(first, r"/O=Lab/CN=a\/b") == b"\x00key"
    clock.advance(1)
    assert await queries.requested_key(first, r"/O=Lab/CN=a\/b") is None
    third = await queries.add_request(DN + "bob", b"x")
    assert third > second, "an id is never used again"


async def test_put_and_find(queries: Queries, clock: Any) -> None:
    """One proxy per DN, the one that ends last; none after its end."""
    alice = stored("alice", clock.now + 2 * HOUR)
    assert await queries.put_proxy(alice) is True
    assert await queries.put_proxy(stored("alice", clock.now + HOUR, b"shorter")) is False
    assert await queries.put_proxy(alice) is False
    assert await queries.proxy_of(DN + "alice") == alice
    longer = stored("alice", clock.now + 3 * HOUR, b"longer")
    assert await queries.put_proxy(longer) is True
    assert await queries.proxy_of(DN + "alice") == longer
    assert await queries.proxy_of(DN + "ALICE") is None
    clock.advance(3 * 3600)
    assert await queries.proxy_of(DN + "alice") is None
    assert await queries.put_proxy(stored("alice", clock.now + HOUR)) is True, "an ended one gives way"


async def test_list_and_remove(queries: Queries, clock: Any) -> None:
    """By user, by DN, by the time that is left; ended ones go when they are purged."""
    ends = {name: clock.now + hours * HOUR for name, hours in (("alice", 3), ("bob", 1), ("carol", 2))}
    for name, end in ends.items():
        await queries.put_proxy(stored(name, end))

    async def names(**wanted: Any) -> list[str]:
        found = await queries.list_proxies(**wanted)
        assert all(dn == DN + name and end == ends[name] for name, dn, end in found)
        return [name for name, _, _ in found]

    assert await names() == ["alice", "bob", "carol"]
    assert await names(usernames=["carol", "nobody"]) == ["carol"]
    assert await names(dns=[DN + "bob"], usernames=["bob"]) == ["bob"]
    assert await names(dns=[]) == []
    assert await names(longer_than=HOUR) == ["alice", "carol"]
    assert await names(page=Page([("expires_at", True)])) == ["alice", "carol", "bob"]
    assert await names(page=Page(start=1, limit=1)) == ["bob"]
    clock.advance(3600)
    assert await names() == ["alice", "carol"]
    assert await queries.purge_proxies() == 1
    assert await queries.remove_proxies([DN + "alice", DN + "nobody"]) == 1
    assert await names() == ["carol"]


async def test_log(queries: Queries, clock: Any) -> None:
    """Entries are selected by their texts and times, sorted and cut; all are counted."""
    entries = [
        LogEntry("store proxy", DN + "alice", "lab_user", DN + "alice"),
        LogEntry("download proxy", DN + "pilot", "lab_pilot", DN + "alice", "lab_user"),
        LogEntry("download proxy", DN + "pilot", "lab_pilot", DN + "bob", "lab_user"),
    ]
    for each in entries:
        await queries.log_actions([each])
        clock.advance(60)
    await queries.log_actions([])

    async def read(having: Any = None, page: Page | None = None, **times: Any) -> tuple[list[str], int]:
        rows, total = await queries.read_log(having=having or {}, page=page or Page(), **times)
        return [f"{row[0].split()[0]} {row[3][-3:]}" for row in rows], total

    assert await read() == (["store ice", "download ice", "download bob"], 3)
    assert await read({"target_dn": [DN + "alice"], "action": ["download proxy"]}) == (["download ice"], 1)
    assert await read({"action": []}) == ([], 0)
    assert await read(page=Page([("happened_at", True)], 0, 2)) == (["download bob", "download ice"], 3)
    middle = clock.now - timedelta(seconds=120)
    assert await read(before=middle) == (["store ice"], 1)
    assert await read(after=middle) == (["download bob"], 1)


async def test_refresh_tokens(databases: Databases, clock: Any) -> None:
    """A token begins a family of its own."""
    async with databases.unit_of_work(write=True) as work:
        await record_refresh_token(
            work,
            jti="0192",
            subject="lab:sub",
            vo="lab",
            scope="vo:lab group:lab_user",
            created=clock.now,
            expires=clock.now + HOUR,
            legacy_exchange=True,
        )
        [row] = await work.rows(WHERRY_DB, refresh_tokens.select())
    values = row._mapping
    assert (values["jti"], values["family"], values["status"]) == ("0192", "0192", "CREATED")
    assert (values["legacy_exchange"], values["policies_json"], values["revoked_at"]) == (True, "{}", None)
    assert (values["created_at"], values["expires_at"]) == (clock.now, clock.now + HOUR)


async def test_how_long_a_proxy_lasts(queries: Queries, clock: Any) -> None:
    """Of several DNs the longest counts; one that has ended, and none at all, last no time."""
    alice, bob = DN + "alice", DN + "bob"
    assert await queries.proxy_seconds([]) == 0
    assert await queries.proxy_seconds([alice]) == 0
    await queries.put_proxy(stored("alice", clock.now + HOUR))
    await queries.put_proxy(stored("bob", clock.now + 2 * HOUR))
    assert await queries.proxy_seconds([alice]) == 3600
    assert await queries.proxy_seconds([alice, bob]) == 7200
    clock.now += 3 * HOUR
    assert await queries.proxy_seconds([alice, bob]) == 0
