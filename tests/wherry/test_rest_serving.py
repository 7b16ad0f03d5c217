"""REST as it is served: its metrics, probes and limits, with and without the legacy side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from wherry.config import load_config
from wherry.serve import Serving, serving

from .conftest import CONFIG

LEGACY = CONFIG.splitlines()[4] + "\n"


@pytest.fixture(params=["with legacy", "without"])
async def up(directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[Serving]:
    """A grid that is up, with and without the legacy side."""
    path = directory / "wherry.yaml"
    text = path.read_text()
    assert LEGACY.startswith("legacy:")
    if request.param == "without":
        text = "".join(line for line in text.splitlines(True) if not line.startswith("legacy:"))
    path.write_text(text.replace("limits: {", "limits: {message_seconds: 0.5, connections_per_peer: 3, "))
    async with serving(load_config(path)) as serving_now:
        yield serving_now


async def get(url: str) -> tuple[int, str, str]:
    """Status, text and Retry-After of a page."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text(), response.headers.get("Retry-After", "")


async def test_requests_are_counted(up: Serving) -> None:
    """By operation, method and status; a path that is unknown is one name."""
    for path in ("/api/health/live", "/api/health/live", "/api/nowhere", "/api/jobs/search"):
        await get(up.addresses.rest + path)
    _, text, _ = await get(up.addresses.operations + "/metrics")
    lines = text.splitlines()
    for labels, count in (
        ('operation="health_live",method="GET",status="200"', 2),
        ('operation="unknown",method="GET",status="404"', 1),
        ('operation="unknown",method="GET",status="405"', 1),
    ):
        counted = [line for line in lines if line.startswith("wherry_requests_total{")]
        wanted = {f"{each}" for each in labels.split(",")}
        [line] = [each for each in counted if all(part in each for part in wanted)]
        assert line.endswith(f" {count}.0")
    assert "wherry_requests_in_flight 0.0" in lines
    assert 'wherry_request_seconds_count{operation="health_live"} 2.0' in lines


async def test_probes(up: Serving, directory: Path) -> None:
    """Without its database the program lives, is not ready, and says why and when to ask again."""
    for base in (up.addresses.rest + "/api", up.addresses.operations):
        assert [(await get(f"{base}/health/{name}"))[0] for name in ("live", "ready", "startup")] == [200] * 3
    (directory / "wherry.db").rename(directory / "away.db")
    for base in (up.addresses.rest + "/api", up.addresses.operations):
        assert (await get(f"{base}/health/live"))[0] == 200
        for name in ("ready", "startup"):
            status, text, after = await get(f"{base}/health/{name}")
            assert (status, after) == (503, "10")
            assert "JobDB ping failed" in text
    (directory / "away.db").rename(directory / "wherry.db")
    assert (await get(up.addresses.rest + "/api/health/ready"))[0] == 200


async def test_limits_hold_for_rest(up: Serving) -> None:
    """Connections of one address, and the time they may take, are those of the configuration."""
    host, port = up.addresses.rest.removeprefix("http://").split(":")
    open_now = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
    async with asyncio.timeout(0.4):
        assert await open_now[3][0].read() == b""
    async with asyncio.timeout(5):
        assert [await reader.read() for reader, _ in open_now[:3]] == [b""] * 3
    for _, writer in open_now:
        writer.close()
    assert (await get(up.addresses.rest + "/api/health/live"))[0] == 200


async def test_a_provider_of_no_vo(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt VO is named at start, since it shows nowhere else than at its people's logins."""
    path = directory / "wherry.yaml"
    provider = "{url: 'http://127.0.0.1:1', client_id: c}"
    path.write_text(path.read_text() + f"auth: {{providers: {{demo: {provider}, dmeo: {provider}}}}}\n")
    async with serving(load_config(path)):
        pass
    said = [record.getMessage() for record in caplog.records if "providers" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("`auth.providers.dmeo`: the registry has no such VO (it has: demo")
