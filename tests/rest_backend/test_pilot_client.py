"""The unreleased pilot's own ways (``rest-diracx.md``, end of section 7), over real HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pilot_client import PilotClient

from rest_backend.errors import RestError
from rest_backend.grants import issue
from rest_backend.operations import Answer, Operation
from rest_backend.policies.pilots import PILOT_ITSELF
from rest_backend.tokens import TokenIssuer
from rest_backend.tokens import pilot as pilot_principal

from .conftest import Grid

VACUUM = {"vo": "demo", "grid_type": "Vacuum", "grid_site": "DEMO.Geneva.ch", "status": "Running"}
LINES = [
    {"timestamp": "2026-05-01T08:00:00.000123Z", "severity": "INFO", "message": "hello", "scope": "Core"},
    {"timestamp": "2026-05-01 08:00:01.5", "severity": "ERROR", "message": "oh\nno", "scope": "Install"},
]


def client(grid: Grid, stamp: str, secret: str = "", **more: Any) -> PilotClient:
    """A pilot that knows where the server is."""
    return PilotClient(str(grid.client.make_url("")).rstrip("/"), stamp, secret, **more)


async def log_of(grid: Grid, stamp: str) -> list[tuple[str, str]]:
    """Severities and messages that are kept of a pilot."""
    search = {"search": [{"parameter": "PilotStamp", "operator": "eq", "value": stamp}]}
    said = await grid.http("POST", "/api/pilots/search/logs", search)
    return [(row["Severity"], row["Message"]) for row in said.body]


async def expire(grid: Grid, pilot: PilotClient) -> None:
    """Let a pilot's access token be one whose time is over."""
    old = TokenIssuer(grid.issuer.keys, grid.issuer.issuer, timedelta(minutes=-1))
    pilot.access_token = old.mint(pilot_principal("demo", pilot.stamp)).text


async def test_a_registered_pilot(grid) -> None:
    """It logs in with one request, speaks, prolongs its access when that has ended, and says goodbye."""
    made = await grid.http("POST", "/api/pilots/bulk", {"pilot_stamps": ["p1"], "vo": "demo"})
    pilot = client(grid, "p1", made.body[0]["pilot_secret"], vacuum=VACUUM)
    await asyncio.to_thread(pilot.login)
    assert await asyncio.to_thread(pilot.log, LINES) == 204
    await expire(grid, pilot)
    assert await asyncio.to_thread(pilot.log, LINES[:1]) == 204
    assert pilot.sent == [
        "POST /api/auth/secret-exchange",
        "POST /api/pilots/internal/message",
        "POST /api/pilots/internal/message",
        "POST /api/auth/pilot-token",
        "POST /api/pilots/internal/message",
    ]
    assert await log_of(grid, "p1") == [("INFO", "hello"), ("ERROR", "oh\nno"), ("INFO", "hello")]
    assert await asyncio.to_thread(pilot.revoke) == 200
    with pytest.raises(PermissionError, match="401"):
        await asyncio.to_thread(pilot.refresh)
    await grid.runner.resources.revocations.read(grid.databases)
    with pytest.raises(PermissionError, match="401"):
        await asyncio.to_thread(pilot.log, LINES)


async def test_a_vacuum_pilot(grid) -> None:
    """Told that it is unknown, it says who it is, and is known from then on."""
    made = await grid.http("POST", "/api/pilots/secrets", {"vo": "demo", "pilot_secret_use_count_max": 2})
    secret = made.body[0]["pilot_secret"]
    pilot = client(grid, "vac", secret, vacuum=VACUUM)
    await asyncio.to_thread(pilot.login)
    assert pilot.sent == ["POST /api/auth/secret-exchange"] * 2
    assert await asyncio.to_thread(pilot.log, LINES) == 204
    again = client(grid, "vac", secret, vacuum=VACUUM)
    await asyncio.to_thread(again.login)
    assert again.sent == ["POST /api/auth/secret-exchange"]
    late = client(grid, "vac", secret, vacuum=VACUUM)
    with pytest.raises(PermissionError, match="401: secret used up"):
        await asyncio.to_thread(late.login)


async def test_a_pilot_with_a_users_tokens(grid) -> None:
    """It goes the legacy ways: a form for new tokens, and another route for its log."""
    principal = grid.principal("pilot")
    scope = "vo:demo group:demo_pilot"
    until = datetime.now(UTC) + timedelta(hours=1)
    async with grid.databases.unit_of_work(write=True) as work:
        tokens = await issue(work, grid.runner.resources, principal, scope, until)
    pilot = client(grid, "s1", legacy=True, access_token="ended", refresh_token=tokens.refresh_token)
    assert await asyncio.to_thread(pilot.log, LINES) == 204
    assert pilot.sent == [
        "POST /api/pilots/legacy/message",
        "POST /api/auth/token",
        "POST /api/pilots/legacy/message",
    ]
    assert await log_of(grid, "s1") == [("INFO", "hello"), ("ERROR", "oh\nno")]


async def test_trouble_of_the_server_is_waited_out(make_grid) -> None:
    """503 is no reason to give up, and costs no token."""
    calls: list[str] = []

    async def flaky(context: Any, _body: None, _query: None) -> Answer:
        calls.append(context.request.headers["user-agent"])
        if len(calls) < 3:
            raise RestError(503, "not now", {"Retry-After": "1"})
        return Answer("well")

    extra = Operation("flaky", "GET", "/api/pilots/internal/flaky", flaky, PILOT_ITSELF)
    async with make_grid(operations=[extra]) as grid:
        token = grid.issuer.mint(grid.principal("pilot:s1")).text
        pilot = client(grid, "s1", access_token=token)
        answer = await asyncio.to_thread(pilot.request, "GET", "/api/pilots/internal/flaky")
        assert answer == (200, "well")
        assert calls == ["Dirac Pilot [s1]"] * 3
