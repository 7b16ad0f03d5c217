"""What every wire's shell is given: who is behind an open connection, calls in one step, their end."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from legacy_rpc.credentials import ChainCache
from legacy_rpc.messages import (
    Call,
    Credential,
    Errno,
    Failure,
    Identity,
    Outcome,
    Proposal,
    Reply,
    TokenCredential,
)
from legacy_rpc.servers.door import BLOCK_BYTES, Door
from legacy_rpc.servers.listener import ConnectionLimits, Gate, Listener, SecureProtocol, WireServer
from legacy_rpc.servers.tls import ServerTls
from wherry.demo.pki import Authority, KeyPair, make_keys, make_proxy

DEADLINE = 10.0


class Names(WireServer):
    """A wire that stays open: to every line, which is an Authorization header, it answers who calls."""

    def __init__(self, door: Door, tls: ServerTls) -> None:
        self.door = door
        self._tls = tls.contexts(optional=True)

    def listen(self, listening: socket.socket) -> Listener:
        return Listener(
            listening,
            self.door.gate,
            self._tls,
            lambda peer, accepted: NamesProtocol(self.door, peer, accepted),
        )


class NamesProtocol(SecureProtocol):
    """One line in, one line out."""

    def __init__(self, door: Door, peer: str, accepted: float) -> None:
        super().__init__(door.gate, peer, accepted)
        self._door = door
        self._ssl_object: Any = None

    def secured(self, ssl_object: Any) -> None:
        self._ssl_object = ssl_object

    def received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self._who(data.decode().strip() or None).encode() + b"\n")

    def _who(self, header: str | None) -> str:
        try:
            caller = self._door.caller(self._ssl_object, header)
        except Failure as refused:
            return refused.message
        match caller:
            case Credential():
                return caller.dn
            case TokenCredential():
                return caller.username
            case None:
                return "nobody"


async def ask(peer: Any, header: str = "") -> str | None:
    """What the server says; None when it has ended the connection."""
    peer.send(f"{header}\n".encode())
    async with asyncio.timeout(DEADLINE):
        try:
            line: bytes = await peer.reader.readline()
        except ConnectionError:
            return None
    return line.decode().strip() or None


# --- who is behind a connection


@pytest.mark.parametrize(
    ("caller", "header", "answer"),
    [
        ("alice", "", "/DC=org/DC=wherry/OU=people/CN=alice"),
        ("host", "", "/DC=org/DC=wherry/OU=hosts/CN=wherry.example.org"),
        (None, "", "nobody"),
        (None, "Bearer a.valid.token", "alice"),
        ("bob", "bearer  a.valid.token", "alice"),
        ("bob", "BEARER a.valid.token", "alice"),
        (None, "Bearer another", "not valid, or no longer"),
        ("alice", "Bearer another", "not valid, or no longer"),
        ("alice", "Basic YWxpY2U6eA==", "must be: Bearer TOKEN"),
        ("alice", "Bearer", "must be: Bearer TOKEN"),
        ("alice", "a.valid.token", "must be: Bearer TOKEN"),
    ],
)
async def test_caller(serve: Any, caller: str | None, header: str, answer: str) -> None:
    """A token counts before the certificates, and one that proves nothing is not made up for by them."""
    peer = await (await serve(make=Names)).peer(caller)
    said = await ask(peer, header)
    assert said is not None
    assert answer in said


class Revoking:
    """A grid of its own, whose authority revokes, and a server of it."""

    def __init__(self, directory: Path) -> None:
        ca_key, host_key, user_key = make_keys(3)
        self.ca_path = directory / "ca"
        self.authority = Authority.create("Site CA", key=ca_key)
        self.authority.write_directory(self.ca_path)
        self.certificate, self.key = directory / "hostcert.pem", directory / "hostkey.pem"
        self.authority.issue_host("localhost", key=host_key).write_pair(self.certificate, self.key)
        self.users = {name: self.authority.issue_user(name, key=user_key) for name in ("alice", "bob")}
        self.files = {
            name: make_proxy(user, "demo_user", key=host_key).write(directory / f"{name}.pem")
            for name, user in self.users.items()
        }
        self.tls = ServerTls(self.certificate, self.key, self.ca_path)

    async def revoke(self, *users: KeyPair) -> None:
        """What fetch-crl and the program do."""
        self.authority.write_crl(self.ca_path, users)
        await asyncio.to_thread(self.tls.refresh)


async def test_revoked_on_an_open_connection(
    serve: Any, pki: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next call of a connection that is open ends it; other users' connections go on."""
    caplog.set_level("INFO")
    site = Revoking(tmp_path)

    def make(door: Door, _tls: ServerTls) -> Names:
        door.chains = ChainCache(revoked=site.tls.revocations)
        return Names(door, site.tls)

    served = await serve(make=make)
    alice, bob = [await served.peer(tls=_client(pki, site, name)) for name in ("alice", "bob")]
    for _ in range(2):
        assert "CN=alice" in str(await ask(alice))
        assert "CN=bob" in str(await ask(bob))
    await site.revoke(site.users["alice"])
    assert "CN=bob" in str(await ask(bob))
    assert await ask(alice) is None
    why = "a caller is refused: the certificate of /DC=org/DC=wherry/OU=people/CN=alice is revoked by"
    assert why in caplog.text
    again = await served.peer(tls=_client(pki, site, "alice"))
    assert await ask(again) is None
    await site.revoke()
    back = await served.peer(tls=_client(pki, site, "alice"))
    assert "CN=alice" in str(await ask(back))


def _client(pki: Any, site: Revoking, name: str) -> Any:
    tls = pki.client(None)
    tls.load_verify_locations(capath=site.ca_path)
    tls.load_cert_chain(site.files[name])
    return tls


async def test_expired_on_an_open_connection(serve: Any) -> None:
    """So does the end of a proxy."""
    moment = datetime.now(UTC)
    served = await serve(make=Names)
    served.door.chains = ChainCache(clock=lambda: moment)
    peer = await served.peer()
    assert "CN=alice" in str(await ask(peer))
    moment += timedelta(days=400)
    assert await ask(peer) is None


# --- calls in one step


def door(**more: Any) -> Door:
    """A door that admits everybody; its one answer is what was asked, and the bytes that came."""

    async def handle(call: Call) -> Outcome:
        if call.outgoing is not None:
            for block in (b"first ", b"second"):
                await call.outgoing.send(block)
        content = [block async for block in call.incoming.blocks()] if call.incoming else []
        size = call.incoming.size if call.incoming else None
        return Reply([call.method, list(call.arguments), size, [len(block) for block in content]])

    def admit(_proposal: Proposal, _credential: Any) -> Identity:
        return Identity("alice", "demo_user")

    return Door(**{"admit": admit, "handle": handle, "gate": Gate(ConnectionLimits()), **more})


def proposal(method: str) -> Proposal:
    """A call of any method."""
    return Proposal("Test/Echo", "RPC", method, wire="https")


@pytest.mark.parametrize(
    ("method", "arguments", "value"),
    [
        ("echo", ["a", 1], ["echo", ["a", 1], None, []]),
        ("streamToClient", ["f", "t"], b"first second"),
        ("streamFromClient", ["f", "t", 3, b"abc"], ["FileTransfer/FromClient", ["f", "t", 3], 3, [3]]),
        ("streamFromClient", ["f", "t", 0, b""], ["FileTransfer/FromClient", ["f", "t", 0], 0, []]),
        ("streamFromClient", ["f", "t", 1, "\udcff"], ["FileTransfer/FromClient", ["f", "t", 1], 1, [1]]),
        (
            "streamFromClient",
            ["f", "t", -1, bytes(BLOCK_BYTES + 1)],
            ["FileTransfer/FromClient", ["f", "t", -1], BLOCK_BYTES + 1, [BLOCK_BYTES, 1]],
        ),
    ],
)
async def test_ask(method: str, arguments: list[Any], value: Any) -> None:
    """A call goes through with its arguments; the streams of HTTPS clients are transfers."""
    assert await door().ask(proposal(method), None, arguments) == Reply(value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["f", "t", 3], "streamFromClient takes fileID, token, size and data"),
        (["f", "t", 3, b"abc", 1], "streamFromClient takes fileID, token, size and data"),
        (["f", "t", 3, ["abc"]], "streamFromClient: data must be bytes"),
    ],
)
async def test_uploads_that_are_none(arguments: list[Any], problem: str) -> None:
    """What is not a file is refused."""
    outcome = await door().ask(proposal("streamFromClient"), None, arguments)
    assert isinstance(outcome, Failure)
    assert outcome.message == problem


@pytest.mark.parametrize("method", ["echo", "streamToClient", "streamFromClient"])
async def test_ask_is_refused(method: str) -> None:
    """A refusal is an answer like another, and nothing is handled."""
    refusal = Failure.of(Errno.ENOAUTH, "Unauthorized query")

    def admit(_proposal: Proposal, _credential: Any) -> Identity:
        raise refusal

    async def handle(_call: Call) -> Outcome:
        raise AssertionError("handled")

    assert await door(admit=admit, handle=handle).ask(proposal(method), None, ["f", "t", 0, b""]) is refusal


async def test_a_transfer_that_fails() -> None:
    """What a transfer refuses is its answer, not the bytes sent so far."""

    async def handle(call: Call) -> Outcome:
        assert call.outgoing is not None
        await call.outgoing.send(b"half")
        return Failure("the disk broke")

    outcome = await door(handle=handle).ask(proposal("streamToClient"), None, ["f", "t"])
    assert isinstance(outcome, Failure)
    assert outcome.message == "the disk broke"


async def test_no_tokens_unless_said() -> None:
    """A door that was given nothing to verify tokens with takes none."""
    with pytest.raises(Failure, match="takes no tokens"):
        door().caller(None, "Bearer a.valid.token")


# --- what runs


async def test_drain() -> None:
    """What was started may end, within its time, and so may what is started meanwhile."""
    one = door()
    may_end = asyncio.Event()
    ended = []

    async def work() -> None:
        await may_end.wait()
        ended.append(1)

    one.start(work())
    await one.drain(0.01)
    assert ended == []
    asyncio.get_running_loop().call_soon(may_end.set)
    asyncio.get_running_loop().call_soon(one.start, work())
    await one.drain(DEADLINE)
    assert ended == [1, 1]
    await one.drain(DEADLINE)
