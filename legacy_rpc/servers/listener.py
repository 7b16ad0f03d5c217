"""Accept, count, then start TLS.

A listener accepts plain TCP itself, so that the limits on connections hold before a handshake is paid for,
and hands the socket over with ``connect_accepted_socket``.  (``start_tls`` on an accepted transport is not
used: under uvloop the first bytes may be read before a protocol can pause reading, and are then lost to
TLS; see docs/decisions/0004-accept-then-tls.md.)  One subclass of :class:`SecureProtocol` per wire.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from legacy_rpc.messages import PeerError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections at a time, in all and per peer address, and how many seconds each step may take.

    ``answer_seconds`` bounds how long a peer may take to read its reply.  While a call runs its connection is
    kept alive by a message every ``keep_alive_seconds``, on wires that have one.
    """

    connections: int = 1000
    per_peer: int = 500
    handshake_seconds: float = 10.0
    message_seconds: float = 60.0
    answer_seconds: float = 60.0
    keep_alive_seconds: float = 60.0


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


class SecureProtocol(asyncio.Protocol):
    """One connection whose handshake is over: the wire's own ``secured`` and ``received``.

    On a listener without TLS the connection has just been accepted, and there is no ``ssl_object``.

    Each step has a deadline, set with ``expect_within``; passing it aborts this connection only.
    """

    def __init__(self, gate: Gate, peer: str, accepted: float) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.peer = peer
        self.accepted = accepted
        self.transport: asyncio.Transport | None = None
        self._emptied: asyncio.Future[None] | None = None

    def secured(self, ssl_object: Any) -> None:
        """TLS is up; ``ssl_object`` is None where there is none.  May raise PeerError."""

    def received(self, data: bytes) -> None:
        """Decrypted bytes came.  May raise PeerError."""

    def expect_within(self, seconds: float) -> None:
        """(Re)set the deadline of the step that begins now."""
        self.stop_waiting()
        self._timer = self._loop.call_later(seconds, self.abort)

    def stop_waiting(self) -> None:
        """There is no deadline while it is our turn."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        self._guarded(lambda: self.secured(transport.get_extra_info("ssl_object")))

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._guarded(lambda: self.received(data))

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PeerError as error:
            logger.info("connection from %s ended: %s", self.peer, error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Count the connection out."""
        self.stop_waiting()
        self._tell_emptied()
        self._gate.leave(self.peer)

    def pause_writing(self) -> None:
        """The transport holds as much as it should."""
        self._emptied = self._loop.create_future()

    def resume_writing(self) -> None:
        """The transport can take more."""
        self._tell_emptied()

    def _tell_emptied(self) -> None:
        if self._emptied is not None:
            self._emptied.set_result(None)
            self._emptied = None

    @property
    def is_full(self) -> bool:
        """Whether more bytes should not be written before ``emptied``."""
        return self._emptied is not None

    async def emptied(self) -> None:
        """Wait until more bytes can be written, or the connection has ended."""
        if self._emptied is not None:
            await asyncio.shield(self._emptied)

    def abort(self) -> None:
        """End this connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def finish(self, data: bytes) -> None:
        """Send the last bytes in one write, and close."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.expect_within(self._gate.limits.answer_seconds)
        transport.write(data)
        transport.close()


MakeProtocol = Callable[[str, float], SecureProtocol]

# After an error such as too many open files, so long before the next connection is accepted.
PAUSE_SECONDS = 0.1


class Listener:
    """Accepts connections on one socket; ``make`` is given the peer's address and the time of acceptance.

    Without ``tls`` the wire's bytes come in clear.
    """

    def __init__(
        self,
        listening: socket.socket,
        gate: Gate,
        tls: Callable[[], ssl.SSLContext] | None,
        make: MakeProtocol,
    ) -> None:
        self._listening = listening
        self._gate = gate
        self._tls = tls
        self._make = make
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
        loop = asyncio.get_running_loop()
        limits = self._gate.limits
        protocol = self._make(peer, loop.time())
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = self._tls() if self._tls else None
            await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=tls,
                ssl_handshake_timeout=limits.handshake_seconds if tls else None,
                ssl_shutdown_timeout=limits.answer_seconds if tls else None,
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError is an OSError
            if protocol.transport is None:
                self._gate.leave(peer)
                connection.close()
            logger.info("TLS handshake with %s failed: %s", peer, error)


C = TypeVar("C", bound=SecureProtocol)


class OpenConnections(Generic[C]):
    """The connections of a server that are up, for the day when it stops; iterate while they come and go."""

    def __init__(self) -> None:
        self._open: set[C] = set()
        self._none = asyncio.Event()
        self._none.set()

    def __iter__(self) -> Iterator[C]:
        return iter(tuple(self._open))

    def add(self, connection: C) -> None:
        """A connection is up."""
        self._open.add(connection)
        self._none.clear()

    def discard(self, connection: C) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if not self._open:
            self._none.set()

    async def end_within(self, seconds: float) -> None:
        """Wait until all are gone; those that stay for longer are aborted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()
        for connection in self:
            connection.abort()


class WireServer:
    """One wire's server: as many listeners as it has ports, and what they share."""

    async def start(self) -> None:
        """Before the first connection."""

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        raise NotImplementedError

    async def stop(self, seconds: float) -> None:
        """After the listeners are closed: let what is running end, for so long, and release everything."""
