"""What callers are told of the proxies that they have stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared_db.queries.proxies import StoredProxy, put_proxy

from .conftest import SETTINGS, Grid

OWN = "/api/proxies/own"
NONE = {"kept": True, "seconds_left": 0}


async def store(grid: Grid, username: str, lasts: timedelta) -> None:
    dn = grid.runner.resources.registry().dns_of(username)[0]
    async with grid.databases.unit_of_work(write=True) as work:
        await put_proxy(work, StoredProxy(dn, username, "chain", b"key", datetime.now(UTC) + lasts))


async def test_the_own_proxy(make_grid) -> None:
    """For how long it lasts, in every group of its owner; nobody sees another's, and an ended one is none."""
    async with make_grid(rest=replace(SETTINGS, keeps_proxies=True)) as grid:
        assert (await grid.http("GET", OWN, caller="alice")).body == NONE
        await store(grid, "alice", timedelta(hours=1))
        for caller in ("alice", "admin"):
            told = (await grid.http("GET", OWN, caller=caller)).body
            assert told["kept"] is True
            assert 3500 < told["seconds_left"] <= 3600
        assert (await grid.http("GET", OWN, caller="bob")).body == NONE
        assert (await grid.http("GET", OWN, caller="host")).body == NONE
        await store(grid, "bob", timedelta(hours=-1))
        assert (await grid.http("GET", OWN, caller="bob")).body == NONE


async def test_where_none_are_kept(grid) -> None:
    """A server without a legacy side says so."""
    assert (await grid.http("GET", OWN, caller="alice")).body == {"kept": False, "seconds_left": 0}
