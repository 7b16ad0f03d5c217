"""What the tests of the legacy side share: a throw-away grid, a server to call, a front door without one."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from legacy_rpc.codecs.diset import DisetLimits, frame
from legacy_rpc.codecs.encodings import JENCODE, Encoding, decode_any
from legacy_rpc.front_door import CallLimits, FinishedCall, FrontDoor
from legacy_rpc.messages import (
    Answered,
    AnyCredential,
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
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.listener import ConnectionLimits, Gate, Listener, WireServer
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import Common, NativeSide, ServiceTable
from shared_db.connection import Databases
from shared_db.registry import RegistryFile
from wherry.demo.pki import Authority, KeyPair, make_key, make_keys, make_proxy

PEOPLE, MACHINES = "/DC=org/DC=wherry/OU=people/CN=", "/DC=org/DC=wherry/OU=hosts/CN="
DEADLINE = 10.0  # nothing here takes so long unless it hangs


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The shells run on both event loops, everything else on Python's own."""
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.parent.name == "servers":
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
def complaints(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Tells what was logged as an error or with a traceback so far."""
    caplog.set_level(logging.INFO)
    return lambda: [
        record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR
    ]


# --- certificates


class Pki:
    """The certificates of a grid, and TLS contexts that show them."""

    def __init__(self, directory: Path) -> None:
        ca_key, forgers_key, host_key, users_key, spare, weak = [*make_keys(5), make_key(1024)]
        authority = Authority.create("Test CA", key=ca_key)
        forger = Authority.create("Test CA", key=forgers_key)
        host = authority.issue_host("wherry.example.org", key=host_key)
        alice, bob = (authority.issue_user(name, key=users_key) for name in ("alice", "bob"))
        callers: dict[str, KeyPair] = {
            "alice": make_proxy(alice, "demo_user", key=spare),
            "bob": make_proxy(bob, "demo_user", key=spare),
            "admin": make_proxy(alice, "demo_admin", key=spare),
            "host": host,
            "weak": make_proxy(alice, "demo_user", key=weak),
            "expired": make_proxy(alice, "demo_user", lifetime=timedelta(minutes=-5), key=spare),
            "forged": make_proxy(forger.issue_user("alice", key=users_key), "demo_user", key=spare),
        }
        directory.mkdir(exist_ok=True)
        self.ca_path, self.other_ca_path = directory / "ca", directory / "other_ca"
        authority.write_directory(self.ca_path)
        forger.write_directory(self.other_ca_path)
        self.certificate, self.key = directory / "hostcert.pem", directory / "hostkey.pem"
        host.write_pair(self.certificate, self.key)
        self.files = {name: caller.write(directory / f"{name}.pem") for name, caller in callers.items()}

    @property
    def server(self) -> ServerTls:
        """What a server shows and accepts."""
        return ServerTls(self.certificate, self.key, self.ca_path)

    def client(self, caller: str | None = "alice") -> ssl.SSLContext:
        """What a caller shows; None: no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(capath=self.ca_path)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        if caller is not None:
            context.load_cert_chain(self.files[caller])
        return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One grid for all tests: keys take long to make."""
    return Pki(tmp_path_factory.mktemp("pki"))


# --- a server, and its clients


async def echo(call: Call) -> Outcome:
    """The first argument."""
    return Reply(call.arguments[0] if call.arguments else None)


def admit_everyone(_proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """Everyone whom TLS let in, under the name in the certificate or token."""
    if isinstance(credential, TokenCredential):
        return Identity(credential.username, credential.group, credential=credential)
    assert credential is not None
    return Identity(credential.dn.rsplit("=", 1)[-1], credential.group or "", dn=credential.dn)


TOKEN = "a.valid.token"


def verify_token(text: str) -> TokenCredential:
    """Knows one token, alice's in demo_user."""
    if text != TOKEN:
        raise Failure.of(Errno.ENOAUTH, "The bearer token is not valid, or no longer")
    expires = datetime.now(UTC) + timedelta(minutes=20)
    return TokenCredential("alice", "demo_user", "demo", "https://issuer.example.org/", expires)


class Peer:
    """The client's end of a connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, encoding: Encoding
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.encoding = encoding

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)

    def s_ok(self, value: Any) -> bytes:
        """A frame with a value."""
        return frame(self.encoding.encode({"OK": True, "Value": value}))

    def proposal(self, method: str = "echo", service: str = "Test/Echo", action: str = "RPC") -> bytes:
        """A frame that proposes a call."""
        return self.s_ok([[service, "None", "unknown"], [action, method], "", "9.1.22"])

    async def payload(self) -> bytes:
        """The next frame's payload."""
        async with asyncio.timeout(DEADLINE):
            length = await self.reader.readuntil(b":")
            return await self.reader.readexactly(int(length[:-1]))

    async def message(self) -> dict[str, Any]:
        """The next message; it must be in the encoding of the question."""
        value, encoding = decode_any(await self.payload())
        assert encoding is self.encoding
        assert isinstance(value, dict)
        return value

    async def propose(self, method: str = "echo") -> None:
        """Propose a call and have it acknowledged."""
        self.send(self.proposal(method))
        assert await self.message() == {"OK": True, "Value": None}

    async def call(self, *arguments: Any, method: str = "echo") -> dict[str, Any]:
        """One whole call, up to the end of the connection."""
        await self.propose(method)
        self.send(self.s_ok(arguments))
        result = await self.message()
        assert await self.rest() == b""
        return result

    async def rest(self) -> bytes:
        """What still comes until the server closes or aborts the connection."""
        data = b""
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError, ssl.SSLError):
                while read := await self.reader.read(1 << 20):
                    data += read
        return data

    def leave(self) -> None:
        """Be gone without a word."""
        self.writer.transport.abort()


@dataclass
class Served:
    """A server on a port of its own, the calls it was given, and what its hook was told."""

    server: WireServer
    door: Door
    listener: Listener
    port: int
    pki: Pki
    calls: list[Call]
    overhead: list[tuple[str, float]]
    peers: list[Peer] = field(default_factory=list)

    @property
    def open(self) -> int:
        """How many connections are counted."""
        return self.door.gate.open

    async def peer(
        self,
        caller: str | None = "alice",
        encoding: Encoding = JENCODE,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        receive_buffer: int | None = None,
    ) -> Peer:
        """A client whose TLS handshake is over, as far as it can tell; ``address`` is its own."""
        plain = socket.socket()
        try:
            if receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.setblocking(False)
            plain.bind((address, 0))
            await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(
                sock=plain, ssl=tls or self.pki.client(caller), server_hostname="localhost"
            )
        except BaseException:
            plain.close()
            raise
        self.peers.append(Peer(reader, writer, encoding))
        return self.peers[-1]

    async def refuses(self, caller: str | None) -> bool:
        """Whether a caller cannot come in; in TLS 1.3 a client learns it after its own handshake."""
        try:
            peer = await self.peer(caller)
        except OSError:
            return True
        peer.send(peer.proposal())
        return await peer.rest() == b""

    @contextmanager
    def connected(
        self, tls: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> Iterator[ssl.SSLSocket]:
        """A blocking client, for another thread."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as plain,
            (tls or self.pki.client()).wrap_socket(
                plain, server_hostname="localhost", session=session, suppress_ragged_eofs=False
            ) as secured,
        ):
            yield secured

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that is about to happen."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.005)

    async def empty(self) -> None:
        """Wait until every connection is counted out."""
        await self.until(lambda: self.open == 0)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(pki: Pki) -> AsyncIterator[Serve]:
    """Starts servers with an ``admit`` and a ``handle``; ends them and their clients after the test.

    ``make`` builds the wire's server of a door and the grid's certificates; DISET's is the default.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *,
            admit: Callable[[Proposal, AnyCredential | None], Identity] = admit_everyone,
            handle: Callable[[Call], Awaitable[Outcome]] = echo,
            make: Callable[[Door, ServerTls], WireServer] | None = None,
            limits: DisetLimits | None = None,
            listening: socket.socket | None = None,
            **connection_limits: float,
        ) -> Served:
            calls: list[Call] = []
            overhead: list[tuple[str, float]] = []

            async def recorded(call: Call) -> Outcome:
                calls.append(call)
                return await handle(call)

            door = Door(
                admit=admit,
                handle=recorded,
                gate=Gate(ConnectionLimits(**cast("Any", connection_limits))),
                verify_token=verify_token,
                overhead=lambda wire, seconds: overhead.append((wire, seconds)),
            )
            if make is None:
                server: WireServer = DisetServer(door, limits or DisetLimits(), pki.server.contexts())
            else:
                server = make(door, pki.server)
            await server.start()
            sock = stack.enter_context(
                listening or socket.create_server(("127.0.0.1", 0), backlog=512, reuse_port=False)
            )
            listener = server.listen(sock)
            served = Served(server, door, listener, sock.getsockname()[1], pki, calls, overhead)
            stack.push_async_callback(served.empty)
            stack.push_async_callback(door.drain, DEADLINE)
            stack.push_async_callback(server.stop, DEADLINE)
            stack.push_async_callback(listener.close)
            stack.callback(lambda: [peer.leave() for peer in served.peers])
            return served

        yield start


# --- a front door without a wire

REGISTRY = f"""
DIRAC
{{
  VirtualOrganization = demo
  Configuration
  {{
    Name = Demo
  }}
}}
Registry
{{
  DefaultGroup = demo_user
  Users
  {{
    alice
    {{
      DN = {PEOPLE}alice
    }}
    bob
    {{
      DN = {PEOPLE}bob
    }}
  }}
  Groups
  {{
    demo_user
    {{
      Users = alice, bob
      Properties = NormalUser
      VO = demo
    }}
    demo_admin
    {{
      Users = alice
      Properties = Operator, NormalUser, JobAdministrator, SiteManager
      VO = demo
    }}
  }}
  Hosts
  {{
    wherry.example.org
    {{
      DN = {MACHINES}wherry.example.org
      Properties = TrustedHost, Operator
    }}
  }}
}}
"""


def credential(name: str, group: str | None = "demo_user") -> Credential:
    """What a proxy of a user proves; without a group, the user's own certificate."""
    dn = PEOPLE + name
    subject = dn if group is None else f"{dn}/CN=1234567890"
    issuer = "/DC=org/DC=wherry/CN=Test CA" if group is None else dn
    expires = datetime.now(UTC) + timedelta(hours=1)
    return Credential(dn, subject, issuer, expires, is_proxy=group is not None, group=group)


@dataclass
class OldSide:
    """A front door: who calls, and what they see, without a wire between."""

    front_door: FrontDoor
    registry: RegistryFile
    finished: list[FinishedCall]

    def admit(
        self, service: str, method: str, caller: Credential | None, action: str = "RPC", extra: Any = ""
    ) -> Identity:
        """The identity of a caller, or a Failure."""
        return self.front_door.admit(Proposal(service, action, method, extra), caller)

    async def call(
        self, service: str, method: str, *arguments: Any, caller: Credential | None = None, extra: Any = ""
    ) -> dict[str, Any]:
        """What a client sees of a call, refused before the acknowledgement or answered after."""
        try:
            identity = self.admit(service, method, caller or credential("alice"), extra=extra)
        except Failure as refused:
            return refused.as_result()
        call = Call(service, method, arguments, identity, "dips", "9.1.22", "127.0.0.1")
        return (await self.front_door.handle(call)).as_result()


class Callers:
    """Credentials of the callers in the registry, and of one who is not."""

    alice = credential("alice")
    admin = credential("alice", "demo_admin")
    bob = credential("bob")
    plain_alice = credential("alice", None)
    stranger = credential("mallory")
    host = Credential(
        f"{MACHINES}wherry.example.org",
        f"{MACHINES}wherry.example.org",
        "/DC=org/DC=wherry/CN=Test CA",
        datetime.now(UTC) + timedelta(hours=1),
    )


@pytest.fixture
def callers() -> type[Callers]:
    """Who calls."""
    return Callers


@pytest.fixture
def registry(tmp_path: Path) -> RegistryFile:
    """The registry, in a file that a test may change."""
    path = tmp_path / "registry.cfg"
    path.write_text(REGISTRY)
    registry = RegistryFile(path)
    registry.load()
    return registry


PUBLIC_URL = "dips://bridge.example.org:9130/{}".format
MakeOldSide = Callable[..., OldSide]


@pytest.fixture
def make_old_side(registry: RegistryFile) -> Iterator[MakeOldSide]:
    """Makes front doors over any services; calls go to native handlers unless a ``route`` is given.

    There is no database: what needs one must not come so far.
    """

    def make(
        services: ServiceTable | None = None,
        route: Callable[[Call], Awaitable[Answered]] | None = None,
        finished: Iterable[Callable[[FinishedCall], None]] = (),
        common: Common | None = None,
        limits: CallLimits | None = None,
    ) -> OldSide:
        table = services or all_services()
        native = NativeSide(table, common or Common(cast(Databases, None), registry, PUBLIC_URL))
        told: list[FinishedCall] = []

        async def to_native(call: Call) -> Answered:
            try:
                return Answered(await native.answer(call), "native", "plan")
            except Failure as failure:
                return Answered(failure, "native", "plan")

        def tell(call: FinishedCall) -> None:
            for hook in (told.append, *finished):
                hook(call)

        front_door = FrontDoor(
            table, lambda: registry.current, native.answer, route or to_native, tell, limits
        )
        return OldSide(front_door, registry, told)

    yield make
