"""How much later small calls are answered while large replies are being sent; README.md says how to read it.

Prints one JSON line for each wire (DISET's twice, once for each encoding) and size of reply.

    python benchmarks/large_replies.py [--quick] [--wires W,...] [--seconds S] [--rounds R] [--large N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from xmlrpc.client import dumps

import grpc
import msgpack
from load import HOST, Load, LoadError, client_tls, connect

from legacy_rpc.codecs.dirac_https import URLENCODED, HttpsLimits, write_form
from legacy_rpc.codecs.diset import ClientConversation, DisetLimits
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import write_value
from legacy_rpc.codecs.msgpack_rpc import MsgpackLimits
from legacy_rpc.messages import AnyCredential, Call, Credential, Identity, Outcome, Proposal, Reply
from legacy_rpc.servers.diset import DisetServer
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.grpc_server import GENERIC_PATH, GrpcLimits, GrpcServer
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.https import DiracHttps
from legacy_rpc.servers.listener import ConnectionLimits, Gate, WireServer
from legacy_rpc.servers.msgpack_rpc import MsgpackRpcServer
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.servers.xmlrpc import XML, XmlRpc, XmlRpcLimits
from legacy_rpc.signatures import Parameter, Signature, Signatures
from wherry.demo.pki import Authority, make_proxy

SERVICE = "Test/Large"
MEGABYTE = 1_000_000
SIGNATURES: Signatures = {SERVICE: [Signature("large", "", [Parameter("megabytes")])]}
# Nobody may be held up by more.
ALLOWED_MS = 5.0


# --- the server, a process of its own


class Holds:
    """The longest that the loop worked on one thing: so long it held up everyone else.

    Counted in processor time, so that other programs on the machine do not count.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        run = asyncio.Handle._run  # noqa: SLF001 - there is no public hook

        def timed(handle: asyncio.Handle) -> None:
            started = time.thread_time()
            run(handle)
            self.worst = max(self.worst, time.thread_time() - started)

        asyncio.Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001


def rows(megabytes: float) -> list[list[Any]]:
    """A table as a job monitor gives it, of about this size on the wire."""
    row = [1234567, "Running", "Application", "LCG.CERN.ch", None, 12.5, True, "alice", "demo_user", "x" * 20]
    return [row[:] for _ in range(int(megabytes * MEGABYTE / len(JENCODE.encode(row))))]


async def serve(directory: Path) -> None:
    """Answer ``echo``, ``prepare`` and ``large(megabytes)``, and ``longest`` until standard input ends."""
    holds = Holds()
    tables: dict[float, list[list[Any]]] = {}

    def admit(_proposal: Proposal, credential: AnyCredential | None) -> Identity:
        assert isinstance(credential, Credential)
        return Identity("alice", credential.group or "", dn=credential.dn)

    async def handle(call: Call) -> Outcome:
        match call.method:
            case "large":
                (megabytes,) = call.arguments
                return Reply(tables[megabytes])
            case "prepare":
                (megabytes,) = call.arguments
                tables[megabytes] = rows(megabytes)
                gc.freeze()  # these live on; the collector need not walk through them again and again
                return Reply()
            case "longest":
                worst, holds.worst = holds.worst, 0.0
                return Reply(worst)
        return Reply(call.arguments[0])

    door = Door(admit, handle, Gate(ConnectionLimits()))
    tls = ServerTls(directory / "cert.pem", directory / "key.pem", directory / "ca")
    ports = {}
    async with AsyncExitStack() as stack:
        for wire, make in SERVERS.items():
            server = make(door, tls)
            await server.start()
            stack.push_async_callback(server.stop, 1.0)
            listening = stack.enter_context(socket.create_server((HOST, 0)))
            stack.push_async_callback(server.listen(listening).close)
            ports[wire] = listening.getsockname()[1]
        print(json.dumps(ports), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _https(door: Door, tls: ServerTls) -> WireServer:
    return HttpServer(door, tls.contexts(protocols=("http/1.1",)), DiracHttps(door, HttpsLimits()))


def _xmlrpc(door: Door, tls: ServerTls) -> WireServer:
    return HttpServer(door, tls.contexts(protocols=("http/1.1",)), XmlRpc(door, XmlRpcLimits(), SIGNATURES))


SERVERS: Mapping[str, Callable[[Door, ServerTls], WireServer]] = {
    "dips": lambda door, tls: DisetServer(door, DisetLimits(), tls.contexts()),
    "https": _https,
    "xmlrpc": _xmlrpc,
    "msgpack": lambda door, tls: MsgpackRpcServer(door, MsgpackLimits(), tls.contexts(), SIGNATURES),
    "grpc": lambda door, tls: GrpcServer(door, GrpcLimits(), tls.contexts(protocols=("h2",)), SIGNATURES),
}


# --- its clients


@dataclass
class Client:
    """Calls the server as DIRAC's clients do; everything is checked and nothing is kept."""

    port: int
    proxy: Path
    tls: Any = field(init=False)

    def __post_init__(self) -> None:
        self.tls = client_tls(str(self.proxy))

    def call(self, method: str, *arguments: Any, encoding: Encoding = JENCODE) -> Any:
        """The value of a call."""
        conversation = ClientConversation(_proposal(method), arguments, encoding)
        with connect(self.port, self.tls) as connection:
            connection.sendall(conversation.start())
            while conversation.result is None:
                data = connection.recv(65536)
                if not data:
                    raise LoadError(f"{method} was not answered")
                connection.sendall(conversation.feed(data))
        if conversation.result["OK"] is not True:
            raise LoadError(f"{method} was answered {conversation.result}")
        return conversation.result["Value"]

    def small_calls(self, seconds: float) -> list[float]:
        """The latencies of small calls, one after the other."""
        latencies = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            started = time.perf_counter()
            if self.call("echo", "benchmark") != "benchmark":
                raise LoadError("echo was not answered as it must be")
            latencies.append(time.perf_counter() - started)
            time.sleep(0.001)
        return latencies


def _proposal(method: str) -> Proposal:
    return Proposal(SERVICE, "RPC", method, client_version="9.1.22", setup="None", vo="unknown")


# --- taking a large reply, without decoding it; each gives its bytes


def fetch_dips(encoding: Encoding, port: int, proxy: Path, megabytes: float) -> int:
    """By DISET."""
    conversation = ClientConversation(_proposal("large"), [megabytes], encoding)
    with connect(port, client_tls(str(proxy))) as connection:
        connection.sendall(conversation.start())
        connection.sendall(conversation.feed(connection.recv(65536)))
        return _drained(connection)


def _drained(connection: socket.socket, size: int = sys.maxsize) -> int:
    buffer = bytearray(1 << 20)
    received = 0
    while received < size and (count := connection.recv_into(buffer)):
        received += count
    return received


def fetch_https(port: int, proxy: Path, megabytes: float) -> int:
    """By DIRAC's HTTPS."""
    return _post(port, proxy, f"/{SERVICE}", write_form(_proposal("large"), [megabytes]), URLENCODED)


def fetch_xmlrpc(port: int, proxy: Path, megabytes: float) -> int:
    """By XML-RPC."""
    call = dumps((megabytes,), f"{SERVICE.replace('/', '.')}.large").encode()
    return _post(port, proxy, "/RPC2", call, XML)


def _post(port: int, proxy: Path, path: str, body: bytes, content_type: str) -> int:
    connection = HTTPSConnection(HOST, port, context=client_tls(str(proxy)))
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        buffer = bytearray(1 << 20)
        received = 0
        while count := response.readinto(buffer):
            received += count
        return received
    finally:
        connection.close()


def fetch_msgpack(port: int, proxy: Path, megabytes: float) -> int:
    """By MessagePack-RPC, where nothing but its content says how long a response is."""
    size = len(msgpack.packb([1, 1, None, rows(megabytes)]))
    with connect(port, client_tls(str(proxy))) as connection:
        connection.sendall(msgpack.packb([0, 1, f"{SERVICE}.large", [megabytes]]))
        return _drained(connection, size)


def fetch_grpc(port: int, proxy: Path, megabytes: float) -> int:
    """By gRPC's generic service."""
    request = Schema(SIGNATURES).call_request(service=SERVICE, method="large")
    write_value(request.arguments.add(), megabytes)
    pem = proxy.read_bytes()
    authority = b"".join(path.read_bytes() for path in sorted((proxy.parent / "ca").glob("*.0")))
    credentials = grpc.ssl_channel_credentials(authority, pem, pem)
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        return len(channel.unary_unary(GENERIC_PATH)(request.SerializeToString(), timeout=60))


FETCHES: Mapping[str, Callable[[int, Path, float], int]] = {
    "dips-jencode": partial(fetch_dips, JENCODE),
    "dips-dencode": partial(fetch_dips, DENCODE),
    "https": fetch_https,
    "xmlrpc": fetch_xmlrpc,
    "msgpack": fetch_msgpack,
    "grpc": fetch_grpc,
}


def fetch_until_told(wire: str, port: int, proxy: Path, megabytes: float, most: int) -> None:
    """What a process of large clients does: fetch until standard input ends; prints how often."""
    ended = threading.Event()
    counts: list[int] = []

    def fetch() -> None:
        while not ended.is_set():
            if FETCHES[wire](port, proxy, megabytes) < megabytes * MEGABYTE / 2:
                raise LoadError("a large reply was cut short")
            if not counts:
                sys.stdout.write("begun\n")  # in one go: two threads may say so at a time
                sys.stdout.flush()
            counts.append(1)

    threads = [threading.Thread(target=fetch) for _ in range(most)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    print(len(counts))


# --- the comparison


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This program in another role, which ends when its standard input does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()


@dataclass(frozen=True)
class Options:
    """How long and how often, and how many large replies at a time."""

    seconds: float
    rounds: int
    large: int
    sizes: tuple[float, ...]
    wires: tuple[str, ...]


@dataclass
class Measured:
    """All rounds of one case: latencies in seconds, and the longest that the loop was held up."""

    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    quiet_held: float = 0.0
    held: float = 0.0
    replies: int = 0


def measure(
    client: Client, ports: Mapping[str, int], options: Options, wire: str, megabytes: float, into: Measured
) -> None:
    """One round: without large replies, then with them."""
    client.call("prepare", megabytes)
    client.call("longest")
    into.quiet += client.small_calls(options.seconds)
    into.quiet_held = max(into.quiet_held, client.call("longest"))
    port = ports[wire.partition("-")[0]]
    with child("fetch", wire, str(port), str(client.proxy), str(megabytes), str(options.large)) as fetching:
        assert fetching.stdin is not None
        assert fetching.stdout is not None
        while fetching.stdout.readline() != "begun\n":
            if fetching.poll() is not None:
                raise LoadError("no large reply was answered")
        into.busy += client.small_calls(options.seconds)
        into.held = max(into.held, client.call("longest"))
        fetching.stdin.close()
        into.replies += int(fetching.stdout.read().split()[-1])
        if fetching.wait() or not into.replies:
            raise LoadError("the large replies were not answered")


def say(wire: str, megabytes: float, measured: Measured) -> None:
    """One line of the output."""
    quiet, busy = (Load(1.0, latencies) for latencies in (measured.quiet, measured.busy))
    figures: dict[str, Any] = {"case": "large replies", "wire": wire, "mb": megabytes}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        before, with_large = quiet.percentile_ms(share), busy.percentile_ms(share)
        figures[f"{name}_ms"] = round(with_large, 2)
        figures[f"added_{name}_ms"] = round(with_large - before, 2)
    figures |= {
        "longest_ms": round(measured.held * 1000, 2),
        "longest_without_ms": round(measured.quiet_held * 1000, 2),
        "small_calls": len(busy.latencies),
        "large_replies": measured.replies,
        "fine": (measured.held - measured.quiet_held) * 1000 <= ALLOWED_MS,
    }
    print(json.dumps(figures), flush=True)


def run(options: Options) -> None:
    """Start everything in a directory of its own, measure, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="wherry-benchmark-") as name:
        directory = Path(name)
        authority = Authority.create("Benchmark CA")
        authority.write_directory(directory / "ca")
        authority.issue_host("localhost").write_pair(directory / "cert.pem", directory / "key.pem")
        proxy = make_proxy(authority.issue_user("alice"), "demo_user").write(directory / "proxy.pem")
        with child("serve", str(directory)) as server:
            assert server.stdout is not None
            ports = json.loads(server.stdout.readline())
            client = Client(ports["dips"], proxy)
            client.small_calls(0.2)  # warm up
            cases = [(wire, size) for wire in options.wires for size in options.sizes]
            results = {case: Measured() for case in cases}
            for _ in range(options.rounds):
                for (wire, size), measured in results.items():
                    measure(client, ports, options, wire, size, measured)
            for (wire, size), measured in results.items():
                say(wire, size, measured)


def parse(arguments: Sequence[str]) -> Options:
    """The options; every one is bounded."""
    parser = argparse.ArgumentParser(description="Measure what large replies cost others.")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: does everything answer?")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements (default 3)")
    parser.add_argument("--large", type=int, default=2, help="large replies at a time (default 2)")
    parser.add_argument("--wires", default=",".join(SERVERS), help=f"default: {','.join(SERVERS)}")
    given = parser.parse_args(arguments)
    wires = tuple(wire for wire in FETCHES if wire.partition("-")[0] in given.wires.split(","))
    if unknown := set(given.wires.split(",")) - SERVERS.keys():
        parser.error(f"--wires: not {', '.join(sorted(unknown))}, but some of {','.join(SERVERS)}")
    sizes = (1.0, 5.0, 20.0)
    if given.quick:
        given.seconds, given.rounds, sizes = 0.3, 1, (1.0,)
    if not (0 < given.seconds <= 60 and 1 <= given.rounds <= 100 and 1 <= given.large <= 32):
        parser.error("--seconds up to 60, --rounds from 1 to 100, --large from 1 to 32")
    return Options(given.seconds, given.rounds, given.large, sizes, wires)


def main(arguments: Sequence[str]) -> int:
    """Exit code 1: a call was not answered as it must be."""
    try:
        match arguments:
            case ["serve", directory]:
                asyncio.run(serve(Path(directory)))
            case ["fetch", wire, port, proxy, megabytes, most]:
                fetch_until_told(wire, int(port), Path(proxy), float(megabytes), int(most))
            case _:
                run(parse(arguments))
    except (LoadError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
