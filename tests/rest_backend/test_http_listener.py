"""Connections to the HTTP shell: how many there may be, and how slow; what is no HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from rest_backend.app import make_app
from rest_backend.http.listener import ConnectionLimits, listening_at
from rest_backend.messages import Answer, Raw
from rest_backend.operations import Operation, Runner
from rest_backend.policies.common import PUBLIC
from rest_backend.settings import HttpSettings, Settings

SHORT = 0.4
LIMITS = ConnectionLimits(connections=6, per_peer=4, request_seconds=SHORT, answer_seconds=SHORT)
LIVE = b"GET /api/health/live HTTP/1.1\r\nHost: x\r\n"


async def _large(_context, _body, _query) -> Answer:
    return Answer(Raw(b"x" * 50_000_000, "application/octet-stream"))


LARGE = Operation("large", "GET", "/api/test/large", _large, PUBLIC, transactional=False)


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes = LIVE + b"\r\n") -> tuple[int, bytes]:
        """Send a request; the status and the body that come back."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def end(self) -> float:
        """How many seconds it takes until the other side ends the connection."""
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(15):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return asyncio.get_running_loop().time() - started


class Server:
    """A grid behind our own listener."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients: list[Client] = []

    async def connect(self, source: str = "127.0.0.1") -> Client:
        """A new connection; ``source`` is any address of this machine's loopback."""
        self.clients.append(
            Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))
        )
        return self.clients[-1]


@asynccontextmanager
async def serve(grid, limits: ConnectionLimits = LIMITS, **http: float) -> AsyncIterator[Server]:
    """Serve a grid, and one operation more."""
    settings = Settings(http=HttpSettings(**{"body_seconds": SHORT, **http}))
    runner = Runner((*grid.runner.operations, LARGE), replace(grid.runner.resources, settings=settings))
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(runner, routes=grid.sandboxes.routes)
    async with listening_at(app, listening, limits, drain_seconds=1):
        server = Server(listening.getsockname()[1])
        yield server
        for client in server.clients:
            client.writer.close()


async def test_requests_follow_each_other(grid) -> None:
    """A connection is kept between requests, and pipelined ones are answered in order."""
    async with serve(grid) as server:
        client = await server.connect()
        for _ in range(3):
            assert await client.ask() == (200, b'{"status":"live"}')
        client.writer.write((LIVE + b"\r\n") * 3)
        assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 200]


async def test_too_many_connections(grid) -> None:
    """One address has its share, all have theirs; beyond, a connection is ended and others work on."""
    async with serve(grid, replace(LIMITS, request_seconds=30)) as server:
        ours = [await server.connect() for _ in range(4)]
        assert [(await client.ask())[0] for client in ours] == [200] * 4
        assert await (await server.connect()).end() < 5
        others = [await server.connect("127.0.0.2") for _ in range(2)]
        assert [(await client.ask())[0] for client in others] == [200] * 2
        assert await (await server.connect("127.0.0.3")).end() < 5
        ours[0].writer.close()
        await asyncio.sleep(0.1)
        assert (await (await server.connect()).ask())[0] == 200


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /api/health/live HTTP/1.1\r\nX-Slow: ", id="headers a byte at a time"),
        pytest.param(LIVE + b"\r\n" + LIVE, id="the second request's headers"),
    ],
)
async def test_slow_headers(grid, beginning) -> None:
    """A request whose headers do not end in time ends its connection, however steadily bytes come."""
    async with serve(grid) as server:
        client = await server.connect()
        client.writer.write(beginning)

        async def drip() -> None:
            while not client.writer.is_closing():
                client.writer.write(b"x" if beginning else b"")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert SHORT / 2 < await client.end() < 10 * SHORT
        dripping.cancel()
        assert (await (await server.connect()).ask())[0] == 200


async def test_a_body_that_does_not_end(grid) -> None:
    """A body that is not whole in time is 408, and the connection ends."""
    async with serve(grid) as server:
        client = await server.connect()
        head = f"POST /api/jobs/search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {grid.token('alice')}\r\n"
        status, body = await client.ask(head.encode() + b"Content-Length: 100\r\n\r\n{")
        assert status == 408
        assert b"not whole after 0.4 s" in body
        assert await client.end() < 5


@pytest.mark.parametrize("what", ["answer", "file"])
async def test_an_answer_that_is_not_read(grid, tmp_path, what) -> None:
    """Who does not read what it asked for is cut off, and its place is free again."""
    path = "/api/test/large"
    if what == "file":
        (tmp_path / "file").write_bytes(b"x" * 50_000_000)
        await grid.sandboxes.put("large", tmp_path / "file")
        path = await grid.sandboxes.download_url("large", "")
    async with serve(grid, replace(LIMITS, per_peer=1)) as server:
        client = await server.connect()
        client.reader._transport.pause_reading()
        client.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(10):
            while True:
                await asyncio.sleep(0.1)
                try:
                    assert (await (await server.connect()).ask())[0] == 200
                    break
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40, id="TLS"),
        pytest.param(b"GET\r\n\r\n", id="no request line"),
        pytest.param(b"GET / HTTP/1.1\r\nBad header\r\n\r\n", id="no header"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", id="long header"),
    ],
)
async def test_what_is_no_http(grid, data) -> None:
    """It is 400 in the form of every other error, which tells nothing of us, and ends the connection."""
    async with serve(grid) as server:
        client = await server.connect()
        status, body = await client.ask(data)
        assert status == 400
        assert list(orjson.loads(body)) == ["detail"]
        assert b"Traceback" not in body
        assert await client.end() < 5
        assert (await (await server.connect()).ask())[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/auth/device/complete?code=hush" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer hush" + b"x" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer hush\0\r\n\r\n",
        b"GET /?code=hush\0 HTTP/1.1\r\n\r\n",
    ],
    ids=["long address", "long token", "broken token", "broken address"],
)
async def test_what_is_no_http_stays_out_of_the_log(grid, caplog, data) -> None:
    """What is wrong stands there, and not what it is wrong with: that may be a secret."""
    caplog.set_level(logging.INFO)
    async with serve(grid) as server:
        assert (await (await server.connect()).ask(data))[0] == 400
    told = [each for each in caplog.records if each.name == "rest_backend.http.listener"]
    assert [each.getMessage()[:26] for each in told] == ["a request ended with 400: "]
    assert "hush" not in str([each.__dict__ for each in told])


async def test_expectations(grid) -> None:
    """Who waits to be told to go on is told; other expectations are not ours to fulfil, and no error."""
    async with serve(grid) as server:
        client = await server.connect()
        head = f"POST /api/jobs/search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {grid.token('alice')}\r\n"
        client.writer.write(head.encode() + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"{}"))[0] == 200
        assert (await client.ask(LIVE + b"Expect: wonders\r\n\r\n"))[0] == 200
