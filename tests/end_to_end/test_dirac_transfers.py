"""Unmodified DIRAC clients move files, wait for slow methods and come by `dip://` to a small service."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import io
import os
import socket
import subprocess
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.front_door import FinishedCall, FrontDoor
from legacy_rpc.messages import Answered, Call, Failure, Reply
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.listener import ConnectionLimits, Gate
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.services.table import Common, Context, NativeSide, Service, ServiceTable
from shared_db.connection import Databases
from shared_db.registry import RegistryFile
from wherry.demo.pki import Authority, make_proxy

from .conftest import CLIENTS, PREAMBLE

pytestmark = pytest.mark.clients

NAME = "Test/Files"
MEGABYTE = 1 << 20
SIZES = (0, 1, MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 50_000_000)
LARGEST = 60_000_000
SLOW_SECONDS = 2.5
BULK = {"one.txt": b"first", "two.bin": bytes(range(256)) * 5000, "empty": b""}

REGISTRY = """
DIRAC
{
  VirtualOrganization = demo
}
Registry
{
  DefaultGroup = demo_user
  Users
  {
    alice
    {
      DN = /DC=org/DC=wherry/OU=people/CN=alice
    }
  }
  Groups
  {
    demo_user
    {
      Users = alice
      Properties = NormalUser
      VO = demo
    }
  }
}
"""


def content(size: int) -> bytes:
    """Bytes of every value, in no order that a block repeats."""
    return (hashlib.sha512(b"wherry").digest() * (size // 64 + 1))[:size]


def make_service(directory: Path) -> Service:
    """Keeps files in a directory."""
    service = Service(NAME, handler_class="FilesHandler")

    @service.transfer("FromClient")
    async def keep(context: Context, file_id: str, token: str, size: int) -> Any:
        if file_id == "refused":
            raise Failure("Sandbox is too big")
        incoming = context.call.incoming
        assert incoming is not None
        received = 0
        with (directory / file_id).open("wb") as file:
            async for block in incoming.blocks():
                received += file.write(block)
                if file_id == "refused later" and received >= 2 * MEGABYTE:
                    raise Failure("No space left")
                if file_id == "half read":
                    break
        return {"size": size, "announced": incoming.size, "received": received, "token": token}

    @service.transfer("ToClient")
    async def give(context: Context, file_id: str, token: str) -> Any:
        outgoing = context.call.outgoing
        assert outgoing is not None
        if file_id == "unknown":
            raise Failure("No such file")
        if file_id == "same":
            return "you have it"
        with (directory / file_id.removesuffix(" broken")).open("rb") as file:
            await outgoing.send(b"")
            while block := file.read(100_000):
                await outgoing.send(block)
                if file_id.endswith(" broken"):
                    raise Failure("The disk broke")
        return "done"

    service.transfer("BulkFromClient")(keep)
    service.transfer("BulkToClient")(give)
    add_others(service, directory)
    return service


def add_others(service: Service, directory: Path) -> None:
    """What moves no file."""

    @service.transfer("ListBulk")
    async def list_bulk(context: Context, bulk_id: str, token: str) -> Any:
        with tarfile.open(directory / bulk_id) as tar:
            return tar.getnames()

    @service.method(float)
    async def slow(_context: Context, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return "done"

    @service.method(authorization=("all",))
    async def whoami(context: Context) -> Any:
        return [context.call.identity.username, context.call.wire]


@dataclass
class Grid:
    """The service on two ports, in a thread of its own."""

    directory: Path
    environment: dict[str, str]
    dips: str = ""
    dip: str = ""
    calls: list[Call] = field(default_factory=list)
    connections: Counter[str] = field(default_factory=Counter)

    def urls(self) -> str:
        """For scripts."""
        return f"DIPS, DIP = {self.dips!r}, {self.dip!r}\n"

    async def serve(self, started: threading.Event, ended: asyncio.Event, tls: ServerTls) -> None:
        """Serve until the end."""
        registry = RegistryFile(self.directory / "registry.cfg")
        registry.load()
        table = ServiceTable(
            [make_service(self.directory), Service("Test/Plain", handler_class="PlainHandler")]
        )
        common = Common(cast(Databases, None), registry, lambda service: f"dips://localhost/{service}")
        native = NativeSide(table, common)

        async def route(call: Call) -> Answered:
            try:
                outcome: Reply | Failure = await native.answer(call)
            except Failure as failure:
                outcome = failure
            return Answered(outcome, "native", "test")

        def finished(call: FinishedCall) -> None:
            self.calls.append(call.call)

        front_door = FrontDoor(table, lambda: registry.current, native.answer, route, finished)
        gate = Gate(ConnectionLimits(keep_alive_seconds=0.2))
        door = Door(front_door.admit, front_door.handle, gate)
        limits = DisetLimits(transfer=LARGEST)
        enter = gate.enter

        def counted(peer: str) -> bool:
            self.connections[peer] += 1
            return enter(peer)

        gate.enter = counted  # type: ignore[method-assign]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(door.drain, 5)
            for scheme, contexts in (("dips", tls.contexts()), ("dip", None)):
                sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                setattr(self, scheme, f"{scheme}://localhost:{sock.getsockname()[1]}/{NAME}")
                stack.push_async_callback(DisetServer(door, limits, contexts).listen(sock).close)
            started.set()
            await ended.wait()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """The service, while the tests of this file run."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "registry.cfg").write_text(REGISTRY)
    authority = Authority.create("Test CA")
    authority.write_directory(directory / "ca")
    authority.issue_host("localhost").write_pair(directory / "cert.pem", directory / "key.pem")
    proxy = make_proxy(authority.issue_user("alice"), "demo_user").write(directory / "proxy.pem")
    (directory / "client.cfg").write_text("DIRAC\n{\n  Setup = Test\n  VirtualOrganization = demo\n}\n")
    grid = Grid(
        directory,
        {
            "HOME": str(directory),
            "DIRAC_ROOT_PATH": str(directory),
            "DIRACSYSCONFIG": str(directory / "client.cfg"),
            "X509_CERT_DIR": str(directory / "ca"),
            "X509_USER_PROXY": str(proxy),
        },
    )
    tls = ServerTls(directory / "cert.pem", directory / "key.pem", directory / "ca")
    loop, ended, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(grid.serve(started, ended, tls),))
    thread.start()
    assert started.wait(10)
    yield grid
    loop.call_soon_threadsafe(ended.set)
    thread.join(20)
    assert not thread.is_alive()
    loop.close()


@dataclass
class Client:
    """An unmodified client that sends one of the encodings."""

    version: str
    json: str
    grid: Grid

    def run(self, script: str) -> list[Any]:
        """What a script saw."""
        environment = CLIENTS / f"dirac-{self.version}"
        if not (environment / "bin/python").exists():
            reason = f"no environment with DIRAC {self.version}: run `make clients`"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        done = subprocess.run(
            [str(environment / "bin/python"), "-c", PREAMBLE + START + self.grid.urls() + script],
            env={"PATH": os.environ["PATH"], "DIRAC_USE_JSON_ENCODE": self.json, **self.grid.environment},
            cwd=self.grid.directory,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [ast.literal_eval(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]


START = """
import hashlib, io, os, sys
import DIRAC
from DIRAC.Core.DISET.TransferClient import TransferClient
from DIRAC.Core.DISET.RPCClient import RPCClient
"""


@pytest.fixture(
    scope="module",
    params=[("9.1.22", "yes"), ("9.1.22", "no"), ("8.0.86", "no"), ("8.0.86", "yes")],
    ids=["9.1.22-jencode", "9.1.22-dencode", "8.0.86-dencode", "8.0.86-jencode"],
)
def client(request: pytest.FixtureRequest, grid: Grid) -> Client:
    """Each client in each encoding."""
    return Client(*request.param, grid)


def test_files_there_and_back(client: Client) -> None:
    """A file of any size arrives as it was, in both directions, with the method's value."""
    for size in SIZES:
        (client.grid.directory / f"source {size}").write_bytes(content(size))
    seen = client.run(
        f"""
for size in {SIZES}:
    see(TransferClient(DIPS).sendFile(f"source {{size}}", f"kept {{size}}", token="t"))
    see(TransferClient(DIPS).receiveFile(f"back {{size}}", f"kept {{size}}"))
"""
    )
    for size, sent, received in zip(SIZES, seen[::2], seen[1::2], strict=True):
        value = {"size": size, "announced": size, "received": size, "token": "t"}
        assert sent == {"OK": True, "Value": value}
        assert received == {"OK": True, "Value": "done"}
        for name in (f"kept {size}", f"back {size}"):
            assert (client.grid.directory / name).read_bytes() == content(size), name


@pytest.mark.parametrize("compress", [True, False])
def test_bulks_there_and_back(client: Client, compress: bool) -> None:
    """Bulks are sent, listed and received, compressed or not."""
    source = client.grid.directory / "bulk"
    source.mkdir(exist_ok=True)
    for name, data in BULK.items():
        (source / name).write_bytes(data)
    back = f"bulk back {client.version} {client.json} {compress}"
    (client.grid.directory / back).mkdir()
    sent, names, received = client.run(
        f"""
files = [os.path.join("bulk", name) for name in {list(BULK)}]
see(TransferClient(DIPS).sendBulk(files, "all", compress={compress}))
see(TransferClient(DIPS).listBulk("all", compress={compress}))
see(TransferClient(DIPS).receiveBulk({back!r}, "all", compress={compress}))
"""
    )
    kept = (client.grid.directory / ("all.tar.bz2" if compress else "all.tar")).read_bytes()
    expected = {"size": -1, "announced": -1, "received": len(kept), "token": ""}
    assert sent == {"OK": True, "Value": expected}
    with tarfile.open(fileobj=io.BytesIO(kept)) as tar:
        assert tar.getnames() == list(BULK)
    assert names == {"OK": True, "Value": list(BULK)}
    assert received == {"OK": True, "Value": "done"}
    for name, data in BULK.items():
        assert (client.grid.directory / back / name).read_bytes() == data


def error(message: str) -> dict[str, Any]:
    """What a client sees of an error without a number."""
    return {"OK": False, "Errno": 0, "Message": message}


def without_stack(result: dict[str, Any]) -> dict[str, Any]:
    """A result as it came; clients add a stack to errors of their own."""
    return {key: value for key, value in result.items() if key not in ("CallStack", "ExecInfo")}


def test_transfers_that_fail(client: Client) -> None:
    """Whatever goes wrong, and whenever, the client gets the method's own words."""
    (client.grid.directory / "three").write_bytes(content(3 * MEGABYTE))
    (client.grid.directory / "nothing").write_bytes(b"")
    with (client.grid.directory / "huge").open("wb") as huge:
        huge.truncate(LARGEST + 1)
    seen = client.run(
        """
up = lambda name, file_id: see(TransferClient(DIPS).sendFile(name, file_id))
down = lambda file_id: see(TransferClient(DIPS).receiveFile(io.BytesIO(), file_id))
up("three", "refused")
up("nothing", "refused")
up("three", "refused later")
up("three", "half read")
up("huge", "x")
down("unknown")
down("three broken")
down("same")
see(TransferClient(DIPS)._sendTransferHeader("Sideways", ("x", "", 1)))
see(TransferClient(DIPS)._sendTransferHeader("FromClient", ("x", "", 10**12)))
"""
    )
    assert [without_stack(each) for each in seen] == [
        error("Sandbox is too big"),
        error("Sandbox is too big"),
        error("No space left"),
        error("Incomplete transfer"),
        error(f"A transfer of {LARGEST + 1} bytes is larger than the limit of {LARGEST}"),
        error("No such file"),
        error("The disk broke"),
        {"OK": True, "Value": "you have it"},
        error("Service can't transfer files sideways"),
        error(f"A transfer of {10**12} bytes is larger than the limit of {LARGEST}"),
    ]


FALSE_CHECKSUMS = """
import DIRAC.Core.DISET.private.FileHelper as helper
class FalseChecksum:
    md5 = staticmethod(lambda *_, **__: FalseChecksum())
    update = lambda self, data: None
    hexdigest = lambda self: "0" * 32
helper.hashlib = FalseChecksum
"""


def test_checksums(client: Client) -> None:
    """A false checksum is found by whoever receives, unless the token says that nobody looks."""
    (client.grid.directory / "small").write_bytes(b"small")
    upload, unchecked, download = client.run(
        FALSE_CHECKSUMS
        + """
see(TransferClient(DIPS).sendFile("small", "kept"))
see(TransferClient(DIPS).sendFile("small", "kept", token="NoCheckSum"))
see(TransferClient(DIPS).receiveFile(io.BytesIO(), "small"))
"""
    )
    assert without_stack(upload) == error("Error in the file CRC")
    assert unchecked["Value"]["received"] == 5
    assert without_stack(download) == error("Error in the file CRC")


def test_transfers_not_offered(client: Client) -> None:
    """A service without transfers says so in DIRAC's words; the client has its answer at once."""
    seen = client.run(
        """
open("some", "wb").write(b"x" * 3000000)
os.makedirs("nowhere", exist_ok=True)
c = lambda: TransferClient(DIPS.replace("Files", "Plain"))
see(c().sendFile("some", "x"))
see(c().receiveFile(io.BytesIO(), "x"))
see(c().sendBulk(["some"], "x"))
see(c().receiveBulk("nowhere", "x"))
see(c().listBulk("x"))
"""
    )
    offered = ("receiving files", "sending files", "bulk receiving", None, "bulk listing")
    for result, words in zip(seen, offered, strict=True):
        assert not result["OK"]
        # networkToBulk tells of its own empty archive instead of the server's error
        assert words is None or result["Message"] == f"This server does no allow {words}"


def test_slow_method(client: Client) -> None:
    """A client waits through the server's keep-alives, which it answers, and has its own answered."""
    result, pongs, own = client.run(
        f"""
from DIRAC.Core.DISET.private.Transports.BaseTransport import BaseTransport
import threading, time
pongs, transports, send = [], [], BaseTransport.sendData
def watched(self, data, prefix=b""):
    transports.append(self)
    if prefix:
        pongs.append(data["Value"])
    return send(self, data, prefix)
BaseTransport.sendData = watched
def ping():  # what the client's scheduler does, after its smallest period of 150 s
    time.sleep(0.7)
    transports[-1]._BaseTransport__keepAliveLapse = 1
    transports[-1].sendKeepAlive(now=time.time() + 200)
threading.Thread(target=ping).start()
see(RPCClient(DIPS).slow({SLOW_SECONDS}))
see([each for each in pongs if not each["kaping"]])
see([[each for each in pongs if each["kaping"]], transports[-1].waitingForKeepAlivePong])
"""
    )
    assert result == {"OK": True, "Value": "done"}
    assert len(pongs) >= 5
    assert [pong["id"] for pong in pongs] == [f"wherry-{n}" for n in range(1, len(pongs) + 1)]
    sent, unanswered = own
    assert len(sent) == 1
    assert not unanswered


def test_dip(client: Client) -> None:
    """By `dip://` everyone is anonymous, and may do what all may."""
    whoami, refused, sent = client.run(
        """
open("small", "wb").write(b"small")
see(RPCClient(DIP).whoami())
see(RPCClient(DIP).slow(0.1))
see(TransferClient(DIP).sendFile("small", "kept"))
"""
    )
    assert whoami == {"OK": True, "Value": ["anonymous", "dip"]}
    assert (refused["Errno"], refused["Message"]) == (1111, "Unauthorized query ( 1111 : Unauthorized query)")
    assert sent["Errno"] == 1111


def test_connections_of_executors(client: Client) -> None:
    """A client that wants a connection for messages is told no, and does not come again."""
    before = sum(client.grid.connections.values())
    (result,) = client.run(
        """
from DIRAC.Core.DISET.MessageClient import MessageClient
see(MessageClient(DIPS).connect())
import time
time.sleep(1)
"""
    )
    assert not result["OK"]
    assert "Connection" in result["Message"]
    assert sum(client.grid.connections.values()) == before + 1
