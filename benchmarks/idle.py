"""What idle TLS connections cost `wherry serve`, in memory and in the time of others' calls.

Prints one JSON line for each step and one that judges; README.md says how to read them.

    python benchmarks/idle.py [--quick | --connections N]
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from load import HOST, SOCKET_SECONDS, Clients, Exchange, LoadError, client_tls
from servers import SERVICE, Grid, ServerError, Wherry

from legacy_rpc.codecs.diset import frame
from legacy_rpc.codecs.encodings import JENCODE

CONNECTIONS = 10_000
QUICK_CONNECTIONS = 300
# What so many may cost beside the program itself.
ALLOWED_MB = 500.0
# Calls may be slower by so much with them than without, of the slower of before and after.
ALLOWED_RATIO = 1.25
# Callers of echo, and seconds of each of their rounds.
CALLERS = 2
ROUNDS = 5
# Descriptors of a process beside its connections.
SPARE_DESCRIPTORS = 200
# Connections from one address: a port is used once for each address.
PER_ADDRESS = 2000
HANDSHAKES_AT_A_TIME = 8

CONFIG = """\
limits: {{connections: {0}, connections_per_peer: {0}, message_seconds: 3600, handshake_seconds: 60}}
"""


@dataclass(frozen=True)
class Options:
    """How many connections, and how many seconds of calls make a round."""

    connections: int
    seconds: float


def echo() -> Exchange:
    """What is said in a call of ``echo``, and answered."""

    def s_ok(value: Any) -> bytes:
        return frame(JENCODE.encode({"OK": True, "Value": value}))

    proposal = [[SERVICE, "None", "unknown"], ["RPC", "echo"], "", "9.1.22"]
    return [(s_ok(proposal), s_ok(None)), (s_ok(["benchmark"]), s_ok("benchmark"))]


class Holders:
    """A process that opens connections, and holds them until the block ends."""

    def __init__(self, proxy: Path, port: int, connections: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--hold", str(proxy), str(port), str(connections)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C is only ours
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def await_open(self) -> None:
        """Wait until all are open.  Raises LoadError."""
        assert self._process.stdout is not None
        report = self._process.stdout.readline().strip()
        if report != "open":
            raise LoadError(f"the connections could not be opened: {report}")

    def count_open(self) -> int:
        """How many the server has not closed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def hold(proxy: str, port: int, connections: int) -> None:
    """Open connections, say so, count those still open for every line read; until standard input ends."""
    tls = client_tls(proxy)

    def connect(number: int) -> ssl.SSLSocket:
        plain = socket.socket()
        plain.settimeout(SOCKET_SECONDS)
        plain.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        plain.connect((HOST, port))
        return tls.wrap_socket(plain, server_hostname="localhost")

    with ThreadPoolExecutor(HANDSHAKES_AT_A_TIME) as threads:
        try:
            held = list(threads.map(connect, range(connections)))
        except OSError as error:
            print(error, flush=True)
            return
    print("open", flush=True)
    for _line in sys.stdin:
        print(sum(map(_is_open, held)), flush=True)


def _is_open(connection: ssl.SSLSocket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except ssl.SSLWantReadError:
        return True
    except OSError:
        return False


def measure(options: Options, stack: ExitStack) -> bool:
    """Print what there is to say; whether it is within what is allowed."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-benchmark-"))
    grid = Grid(Path(directory))
    wherry = stack.enter_context(Wherry(grid, more=CONFIG.format(options.connections + SPARE_DESCRIPTORS)))
    clients = stack.enter_context(Clients(grid.proxy, CALLERS))
    exchange = echo()

    def calls() -> list[float]:
        """The medians of rounds of calls, in milliseconds."""
        rounds = range(ROUNDS)
        loads = [clients.run(wherry.port, exchange, CALLERS, seconds=options.seconds) for _ in rounds]
        return sorted(load.percentile_ms(0.5) for load in loads)

    calls()  # warm up
    without, before = calls(), wherry.rss_mb()
    say(step="without", rss_mb=before, echo_ms=_middle(without))
    with Holders(grid.proxy, wherry.port, options.connections) as holders:
        holders.await_open()
        with_them, after = calls(), wherry.rss_mb()
        say(step="with", rss_mb=after, echo_ms=_middle(with_them))
        still_open = holders.count_open()
    again = calls()
    say(step="after", rss_mb=wherry.rss_mb(), echo_ms=_middle(again))
    cost = after - before
    ratio = _middle(with_them) / max(_middle(without), _middle(again))
    fine = (
        still_open == options.connections
        and cost <= ALLOWED_MB * max(options.connections / CONNECTIONS, 0.1)
        and ratio <= ALLOWED_RATIO
    )
    say(
        case="idle",
        connections=options.connections,
        still_open=still_open,
        cost_mb=round(cost, 1),
        kib_each=round(cost * 1024 / options.connections, 1),
        ratio=round(ratio, 2),
        fine=fine,
    )
    return fine


def _middle(ordered: Sequence[float]) -> float:
    return round(ordered[len(ordered) // 2], 2)


def say(**line: Any) -> None:
    """One line of the output."""
    print(json.dumps(line), flush=True)


def raise_descriptors(connections: int) -> None:
    """Let this process and those that it starts have so many connections.  Raises ServerError."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_DESCRIPTORS
    if most != resource.RLIM_INFINITY and most < needed:
        raise ServerError(f"a process may have {most} files open, {needed} are needed: --connections fewer")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def parse(arguments: Sequence[str]) -> Options:
    """The options."""
    parser = argparse.ArgumentParser(description="What idle connections cost; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CONNECTIONS} connections, for CI")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"default {CONNECTIONS}")
    given = parser.parse_args(arguments)
    if given.quick:
        return Options(QUICK_CONNECTIONS, 0.2)
    if not 1 <= given.connections <= 100_000:
        parser.error("--connections: from 1 to 100000")
    return Options(given.connections, 2.0)


def main() -> int:
    """Exit code 1: a connection was lost, or they cost too much."""
    if sys.argv[1:2] == ["--hold"]:
        proxy, port, connections = sys.argv[2:]
        hold(proxy, int(port), int(connections))
        return 0
    options = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))  # by way of the cleaning up
    try:
        raise_descriptors(options.connections)
        with ExitStack() as stack:
            return 0 if measure(options, stack) else 1
    except (LoadError, ServerError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
