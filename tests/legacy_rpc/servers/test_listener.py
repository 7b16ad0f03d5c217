"""Who gets through to a listener, in what numbers and in what time, as clients see it; on both loops."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from legacy_rpc.codecs.diset import frame
from legacy_rpc.codecs.encodings import JENCODE
from legacy_rpc.messages import Call, Identity, Outcome, Reply
from legacy_rpc.servers.listener import ConnectionLimits, Gate
from legacy_rpc.servers.tls import ServerTls

SOON = 0.25
HELLO = {"OK": True, "Value": "hello"}


def one_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The context, for this version of TLS only."""
    context.minimum_version = context.maximum_version = version
    return context


class Plain:
    """A client that has connected and not begun TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, served: Any, address: str = "127.0.0.1") -> Plain:
        return cls(*await asyncio.open_connection("127.0.0.1", served.port, local_addr=(address, 0)))

    async def closed(self) -> None:
        """Wait until the server has closed or aborted the connection."""
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    async def stays(self) -> bool:
        """Whether the server leaves the connection open for now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self.reader.read(1)
                return False
        return True

    def leave(self) -> None:
        self.writer.transport.abort()


# --- who is let in


@pytest.mark.parametrize("caller", ["alice", "bob", "admin", "host", "weak"])
async def test_let_in(serve, caller: str) -> None:
    """Proxies, also with a 1024-bit key, and host certificates are let in."""
    peer = await (await serve()).peer(caller)
    assert await peer.call("hello") == HELLO


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_versions_of_tls(serve, version: ssl.TLSVersion) -> None:
    """Clients of TLS 1.2 only and of TLS 1.3 only are served, and known by their certificates."""
    served = await serve()
    peer = await served.peer(tls=one_version(served.pki.client("bob"), version))
    assert await peer.call("hello") == HELLO
    assert [call.identity.username for call in served.calls] == ["bob"]


@pytest.mark.parametrize("caller", [None, "expired", "forged"])
async def test_not_let_in(serve, caller: str | None, complaints: Callable[[], list[str]]) -> None:
    """Who has no certificate, an expired or a forged one gets no word; others are served meanwhile."""
    served = await serve()
    waiting = await served.peer()
    assert await served.refuses(caller)
    assert await waiting.call("hello") == HELLO
    assert await (await served.peer()).call("hello") == HELLO
    await served.empty()
    assert len(served.calls) == 2
    assert complaints() == []


async def test_expired_since_the_last_call(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that ends between two calls is refused at the second, though it was known."""
    served = await serve()
    assert await (await served.peer()).call("hello") == HELLO
    clock = served.door.chains._clock
    monkeypatch.setattr(served.door.chains, "_clock", lambda: clock().replace(year=2999))
    assert await served.refuses("alice")


async def test_no_resumption_in_tls_1_2(serve, complaints: Callable[[], list[str]]) -> None:
    """A resumed session, which has no certificates, is closed without a word, and a new one is served."""
    served = await serve()
    tls = one_version(served.pki.client(), ssl.TLSVersion.TLSv1_2)

    def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None, bytes]:
        with served.connected(tls, session) as connection:
            with suppress(OSError):  # a resumed one may be gone already
                connection.sendall(frame(JENCODE.encode({"OK": True, "Value": None})))
                return connection.session, connection.session_reused, connection.recv(65536)
            return connection.session, connection.session_reused, b""

    session, reused, answer = await asyncio.to_thread(connect, None)
    assert not reused
    assert b"Invalid action proposal" in answer
    _, reused, answer = await asyncio.to_thread(connect, session)
    assert reused, "the client must have resumed for this test to mean anything"
    assert answer == b""
    assert await (await served.peer()).call("hello") == HELLO
    await served.empty()
    assert complaints() == []


async def test_no_resumption_in_tls_1_3(serve) -> None:
    """TLS 1.3 clients get nothing to resume, so their next connection shows certificates again."""
    served = await serve()
    tls = one_version(served.pki.client(), ssl.TLSVersion.TLSv1_3)

    def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None, bytes]:
        with served.connected(tls, session) as connection:
            connection.sendall(frame(JENCODE.encode({"OK": True, "Value": None})))
            answer = connection.recv(65536)  # a ticket would come before it
            return connection.session, connection.session_reused, answer

    session, _, _ = await asyncio.to_thread(connect, None)
    assert session is None or not session.has_ticket
    _, reused, answer = await asyncio.to_thread(connect, session)
    assert not reused
    assert b"Invalid action proposal" in answer


# --- handshakes that do not end


async def test_a_peer_that_never_begins_tls(serve, complaints: Callable[[], list[str]]) -> None:
    """A silent connection is counted at once, and closed and counted out when its time is over."""
    served = await serve(handshake_seconds=SOON)
    peer = await Plain.connect(served)
    await served.until(lambda: served.open == 1)
    started = asyncio.get_running_loop().time()
    await peer.closed()
    assert 0.5 * SOON < asyncio.get_running_loop().time() - started < SOON + 3
    await served.empty()
    assert complaints() == []
    peer.leave()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\x00\x05hello"], ids=len
)
async def test_a_peer_that_speaks_no_tls(serve, data: bytes, complaints: Callable[[], list[str]]) -> None:
    """A connection that begins with something else is closed at once; others are served."""
    served = await serve()
    peer = await Plain.connect(served)
    peer.writer.write(data)
    await peer.closed()
    await served.empty()
    assert await (await served.peer()).call("hello") == HELLO
    assert complaints() == []
    peer.leave()


@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a hello"])
async def test_a_peer_that_leaves_in_the_handshake(
    serve, said: bytes, politely: bool, complaints: Callable[[], list[str]]
) -> None:
    """A connection that ends before TLS is up is counted out."""
    served = await serve()
    peer = await Plain.connect(served)
    peer.writer.write(said)
    await served.until(lambda: served.open == 1)
    if politely:
        peer.writer.close()
    else:
        peer.leave()
    await served.empty()
    assert complaints() == []


# --- limits on connections


async def test_limit_in_all(serve) -> None:
    """No more connections than the limit are open, counted before TLS; a place is free when one ends."""
    served = await serve(connections=3, per_peer=3)
    holders = [await Plain.connect(served), await Plain.connect(served), await served.peer()]
    await served.until(lambda: served.open == 3)
    late = await Plain.connect(served)
    await late.closed()
    assert served.open == 3
    assert await holders[0].stays()
    holders[1].leave()
    await served.until(lambda: served.open == 2)
    assert await (await served.peer()).call("hello") == HELLO
    assert await holders[2].call("hello") == HELLO
    for peer in (holders[0], late):
        peer.leave()


async def test_limit_per_peer(serve) -> None:
    """One address cannot take the places of another."""
    served = await serve(connections=10, per_peer=2)
    holders = [await Plain.connect(served) for _ in range(2)]
    await served.until(lambda: served.open == 2)
    late = await Plain.connect(served)
    await late.closed()
    other = await served.peer(address="127.0.0.2")
    assert await other.call("hello") == HELLO
    assert [call.peer for call in served.calls] == ["127.0.0.2"]
    holders[0].leave()
    await served.until(lambda: served.open == 1)
    assert await (await served.peer()).call("hello") == HELLO
    for peer in (holders[1], late):
        peer.leave()


async def test_refused_handshakes_hold_no_place(serve) -> None:
    """Connections that were refused, in whatever way, leave the places to others."""
    served = await serve(connections=1)
    for caller in (None, "expired", "forged"):
        assert await served.refuses(caller)
        await served.empty()
    assert await (await served.peer()).call("hello") == HELLO


def test_gate() -> None:
    """A gate counts in and out, in all and by address, and forgets addresses that have left."""
    gate = Gate(ConnectionLimits(connections=3, per_peer=2))
    assert [gate.enter(peer) for peer in "aaabb"] == [True, True, False, True, False]
    assert gate.open == 3
    gate.leave("a")
    assert [gate.enter(peer) for peer in "bb"] == [True, False]
    for peer in "abb":
        gate.leave(peer)
    assert gate.open == 0
    assert not gate._by_peer


# --- the listener itself


class Refusing(socket.socket):
    """A listening socket whose first accepts fail, as for want of file descriptors."""

    failures = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_accept_fails(
    serve, complaints: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """When no connection can be accepted the listener waits and goes on."""
    listening = Refusing()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    served = await serve(listening=listening)
    assert await (await served.peer()).call("hello") == HELLO
    assert caplog.text.count("cannot accept a connection: [Errno 24] Too many open files") == 2
    assert complaints() == []


async def test_close(serve, complaints: Callable[[], list[str]]) -> None:
    """A closed listener gives up handshakes and accepts nothing; calls that run get their answer."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        started.set()
        await may_end.wait()
        return Reply("hello")

    served = await serve(handle=handle)
    silent, peer = await Plain.connect(served), await served.peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    await started.wait()
    assert served.open == 2
    await asyncio.wait_for(served.listener.close(), 2)
    await silent.closed()
    late = await Plain.connect(served)  # the kernel still takes it
    assert await late.stays()
    assert served.open == 1
    may_end.set()
    assert await peer.message() == HELLO
    await served.empty()
    assert complaints() == []
    for each in (silent, late):
        each.leave()


async def test_admit_that_breaks(serve) -> None:
    """A connection that meets a fault of ours ends; others are served."""

    def admit(proposal: Any, _credential: Any) -> Identity:
        if proposal.method == "break":
            raise RuntimeError("a fault of ours")
        return Identity("alice", "demo_user")

    served = await serve(admit=admit)
    waiting, peer = await served.peer(), await served.peer()
    peer.send(peer.proposal("break"))
    assert await peer.rest() == b""
    assert await waiting.call("hello") == HELLO


def test_server_tls_of_wrong_files(pki, tmp_path: Any) -> None:
    """Files that cannot be used are told when the context is made, not at the first handshake."""
    with pytest.raises(OSError, match="No such file"):
        ServerTls(tmp_path / "none.pem", pki.key, pki.ca_path).contexts()
    with pytest.raises(ssl.SSLError):
        ServerTls(pki.certificate, pki.files["alice"], pki.ca_path).contexts()
