"""Connections to the HTTP shell: how many, and how slow they may be.

aiohttp's own listener takes any number, waits for headers as long as for the next request, and for readers of
its answers for ever.  Here connections are accepted in plain TCP and counted before a TLS handshake is paid
for (docs/decisions/0004-accept-then-tls.md), and every step of one has its time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from rest_backend.http.request_ids import REQUEST_ID_HEADER, request_id_of
from rest_backend.messages import encode

logger = logging.getLogger(__name__)

# After an error such as too many open files, so long before the next connection is accepted.
PAUSE_SECONDS = 0.1
# How long a body that nobody wants is read on, so that its sender reads why: then the connection ends.
LINGERING_SECONDS = 2.0
# Room for a token, which proxies may have turned into a cookie too.
MOST_HEADER_BYTES = 32 * 1024
# Room for the lists that stand in queries: what the servers under DiracX take of all headers together.
MOST_LINE_BYTES = 64 * 1024


_QUOTED = re.compile(r"""\s*(?:reading:\s*)?b?['"]""")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections at a time, in all and per peer address; and seconds.

    ``request_seconds``: from being ready for a request (connected, or answered) to its last header, which
    bounds idle connections too.  ``answer_seconds``: for a peer to take what it is sent.
    """

    connections: int = 1000
    per_peer: int = 500
    handshake_seconds: float = 10.0
    request_seconds: float = 60.0
    answer_seconds: float = 60.0


class Gate:
    """Counts connections before anything is spent on them."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.open = 0
        self._by_peer: Counter[str] = Counter()

    def enter(self, peer: str) -> bool:
        """Count a connection in; False: it must be closed at once and is not counted."""
        if self.open >= self.limits.connections or self._by_peer[peer] >= self.limits.per_peer:
            return False
        self.open += 1
        self._by_peer[peer] += 1
        return True

    def leave(self, peer: str) -> None:
        """Count a connection out."""
        self.open -= 1
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]


class Connection(web.RequestHandler):
    """aiohttp's connection, counted out at its end, which comes even if the peer takes no byte."""

    def __init__(self, server: web.Server, gate: Gate, peer: str) -> None:
        self._gate = gate
        self._peer = peer
        self._time = asyncio.get_running_loop()
        self._full: asyncio.TimerHandle | None = None
        self.was_made = False
        super().__init__(
            server,
            loop=self._time,
            keepalive_timeout=gate.limits.request_seconds,
            lingering_time=LINGERING_SECONDS,
            access_log=None,  # type: ignore[arg-type]
            max_field_size=MOST_HEADER_BYTES,
            max_line_size=MOST_LINE_BYTES,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self.was_made = True
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out."""
        self._stop_waiting()
        self._gate.leave(self._peer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The transport holds as much as it should; the peer has so long to take some of it."""
        self._stop_waiting()
        if self.transport is not None:
            self._full = self._time.call_later(self._gate.limits.answer_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._stop_waiting()
        super().resume_writing()

    def _stop_waiting(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None

    async def start(self) -> None:
        """Serve requests until the connection ends; what the peer has not taken then has its time too."""
        transport = self.transport
        try:
            await super().start()
        finally:
            if transport is not None and transport.get_write_buffer_size():
                self._time.call_later(self._gate.limits.answer_seconds, transport.abort)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, in the form of every other error; the connection ends with it."""
        told = HTTPStatus(status).phrase
        if status == HTTPStatus.BAD_REQUEST and message:
            told = f"No HTTP request: {message.splitlines()[0][:200]}"
        request_id = request_id_of(request.headers)
        level = logging.INFO if status < 500 else logging.ERROR
        fields = {"request_id": request_id, "peer": self._peer}
        logger.log(
            level,
            "a request ended with %d: %s",
            status,
            # What it quotes of the request may be a secret: a code in an address, a token in a header.
            _QUOTED.split(told)[0],
            extra={"fields": fields},
            exc_info=exc if level == logging.ERROR else None,
        )
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer was sent already")
        response = web.Response(
            body=encode({"detail": told}),
            status=status,
            headers={REQUEST_ID_HEADER: request_id, "X-Content-Type-Options": "nosniff"},
            content_type="application/json",
        )
        response.force_close()
        return response


class Listener:
    """Accepts connections on one socket.  Without ``tls`` they are in clear."""

    def __init__(
        self,
        listening: socket.socket,
        server: web.Server,
        gate: Gate,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._server = server
        self._gate = gate
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Accept no more; handshakes that are going on are given up."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError as error:
                logger.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            peer = str(address[0])
            if not self._gate.enter(peer):
                logger.warning("connection from %s refused: too many are open", peer)
                connection.close()
                continue
            task = loop.create_task(self._secure(connection, peer))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _secure(self, connection: socket.socket, peer: str) -> None:
        limits = self._gate.limits
        protocol = Connection(self._server, self._gate, peer)
        times: dict[str, Any] = {}
        if self._tls:
            times = {
                "ssl_handshake_timeout": limits.handshake_seconds,
                "ssl_shutdown_timeout": limits.answer_seconds,
            }
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, **times
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError is an OSError
            if not protocol.was_made:
                self._gate.leave(peer)
                connection.close()
            logger.info("TLS handshake with %s failed: %s", peer, error)


@asynccontextmanager
async def listening_at(
    app: web.Application,
    listening: socket.socket,
    limits: ConnectionLimits,
    tls: ssl.SSLContext | None = None,
    *,
    drain_seconds: float,
) -> AsyncIterator[None]:
    """An application, answering at a socket until the block ends; what runs then may take so long to end."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=drain_seconds)
    await runner.setup()
    made = runner.server
    assert made is not None
    server = web.Server(made.request_handler, request_factory=made.request_factory)
    listener = Listener(listening, server, Gate(limits), tls)
    try:
        yield
    finally:
        await listener.close()
        listening.close()  # or the kernel would go on to accept, and callers to wait
        server.pre_shutdown()
        await server.shutdown(drain_seconds)
        await runner.cleanup()
