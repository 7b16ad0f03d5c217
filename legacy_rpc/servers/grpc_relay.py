"""TLS in front of grpcio's server, whose own refuses grid proxies.

A connection's TLS ends here.  What it carries is relayed to grpcio's server on a local socket in a directory
that is ours alone, from a socket with a name of its own: by that name, which gRPC calls the peer, a call's
handler finds the connection, and who is behind it.  See docs/reference/wire-grpc.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import socket
import tempfile
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from legacy_rpc.messages import PeerError
from legacy_rpc.servers.listener import Gate, SecureProtocol
from legacy_rpc.servers.tls import verified_chain

logger = logging.getLogger(__name__)

# The only protocol of the wire, by ALPN.
HTTP2 = "h2"

# How often it is looked whether all that a stopped server wrote has been read.
POLL_SECONDS = 0.01
# How long a client may then take to close its end.
FAREWELL_SECONDS = 0.2


class LocalSocket:
    """Where grpcio's server listens, and the connections that are relayed to it."""

    def __init__(self) -> None:
        # mkdtemp makes it accessible to this user only, so nobody else can connect.
        self.directory = Path(tempfile.mkdtemp(prefix="wherry-"))
        self._path = self.directory / "grpc"
        self._connections: dict[str, RelayedConnection] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def address(self) -> str:
        """As grpcio writes it."""
        return f"unix:{quote(str(self._path))}"

    def connected(self, connection: RelayedConnection) -> tuple[str, socket.socket]:
        """A socket that is connected to the server for a connection, and its name.

        Raises OSError, BlockingIOError too: the server has as many waiting as it can.
        """
        name = secrets.token_hex(16)
        own = self.directory / name
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            local.setblocking(False)
            local.bind(str(own))
            try:
                # Known before the server can hear of it.
                self._connections[name] = connection
                self._empty.clear()
                local.connect(str(self._path))
            finally:
                own.unlink()
        except BaseException:
            self.forget(name)
            local.close()
            raise
        return name, local

    def forget(self, name: str) -> None:
        """A connection is over."""
        self._connections.pop(name, None)
        if not self._connections:
            self._empty.set()

    def connection(self, peer: str) -> RelayedConnection | None:
        """The connection that gRPC calls so; None for whoever did not come through the relay."""
        return self._connections.get(os.path.basename(peer))  # noqa: PTH119 - a URI, not a path

    async def close(self, until: float) -> None:
        """Let clients have what the server wrote, up to a time on the loop's clock; remove everything."""
        loop = asyncio.get_running_loop()
        # Only the kernel knows what is still between the server and us.
        while any(each.is_behind() for each in self._connections.values()) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        for connection in tuple(self._connections.values()):
            connection.closed_inside()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(until, loop.time() + FAREWELL_SECONDS)):
                await self._empty.wait()
        for connection in tuple(self._connections.values()):
            connection.abort()
        self.remove()

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)


class RelayedConnection(SecureProtocol):
    """A client's connection: TLS outside, a local socket to grpcio's server inside.

    Neither side is read faster than the other takes it.
    """

    def __init__(self, local: LocalSocket, gate: Gate, peer: str, accepted: float) -> None:
        super().__init__(gate, peer, accepted)
        self._local = local
        self._name = ""
        self._inside: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._begun = False
        self._vouched = False
        self.ssl_object: Any = None

    def secured(self, ssl_object: Any) -> None:
        """Connect to the server; the client must begin within the time for messages."""
        if ssl_object.selected_alpn_protocol() != HTTP2:
            raise PeerError("the client does not offer HTTP/2 (ALPN h2)")
        self.ssl_object = ssl_object
        self._vouched = bool(verified_chain(ssl_object))
        try:
            self._name, inside = self._local.connected(self)
        except OSError as error:
            raise PeerError(f"gRPC takes no more connections: {error}") from error
        assert self.transport is not None
        self.transport.pause_reading()
        self.expect_within(self._gate.limits.message_seconds)
        self._opening = self._loop.create_task(self._open(inside))

    async def _open(self, inside: socket.socket) -> None:
        try:
            await self._loop.create_unix_connection(lambda: _Inside(self), sock=inside)
        except OSError as error:
            logger.warning("connection from %s ended: gRPC cannot be reached: %s", self.peer, error)
            inside.close()
            self.abort()

    def opened(self, transport: asyncio.Transport) -> None:
        """The server can be written to."""
        self._inside = transport
        if self.transport is None or self.transport.is_closing():
            transport.abort()
            return
        if self._early:
            transport.write(bytes(self._early))
        self.transport.resume_reading()

    def received(self, data: bytes) -> None:
        """From the client to the server."""
        if not self._begun or not self._vouched:
            self._begun = True
            self._rest()
        if self._inside is None:
            # Reading is paused, but some may have been read before.
            self._early += data
            return
        self._inside.write(data)

    def vouch(self) -> None:
        """The client has shown who it is: it may be silent as long as it likes."""
        if not self._vouched:
            self._vouched = True
            self._rest()

    def _rest(self) -> None:
        """Wait for the client; one that has not shown who it is must go on within the time for messages."""
        self.stop_waiting()
        if not self._vouched:
            self.expect_within(self._gate.limits.message_seconds)

    def answer(self, data: bytes) -> None:
        """From the server to the client."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def hold(self, *, held: bool) -> None:
        """Read from the client no more, or again: the server is behind, or has caught up."""
        if self.transport is None or self.transport.is_closing():
            return
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read; it must go on within the time for answers."""
        if self._inside is not None and not self._inside.is_closing():
            self._inside.pause_reading()
        self.expect_within(self._gate.limits.answer_seconds)

    def resume_writing(self) -> None:
        """The client has read."""
        self._rest()
        if self._inside is not None and not self._inside.is_closing():
            self._inside.resume_reading()

    def is_behind(self) -> bool:
        """Whether the server has written what was not read here yet, or not sent on."""
        if self.transport is not None and self.transport.get_write_buffer_size() > 0:
            return True
        if self._inside is None or self._inside.is_closing():
            return False
        unread = fcntl.ioctl(self._inside.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return any(unread)

    def closed_inside(self) -> None:
        """The server has ended the connection: let the client have the rest."""
        if self._inside is not None:
            self._inside.abort()
            self._inside = None
        if self.transport is not None and not self.transport.is_closing():
            self.expect_within(self._gate.limits.answer_seconds)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody can be taken for this client any more."""
        super().connection_lost(exc)
        self._local.forget(self._name)
        if self._inside is not None:
            self._inside.abort()


class _Inside(asyncio.Protocol):
    """The relay's end of the local socket."""

    def __init__(self, outside: RelayedConnection) -> None:
        self._outside = outside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outside.opened(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._outside.answer(data)

    def pause_writing(self) -> None:
        self._outside.hold(held=True)

    def resume_writing(self) -> None:
        self._outside.hold(held=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._outside.closed_inside()
