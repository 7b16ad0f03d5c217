"""Calls per second of the legacy front door, against the least that any asyncio server could spend.

Prints one JSON line for each case and number of clients; README.md says how to read them.

    python benchmarks/diset.py [--quick | --soak N] [--seconds S] [--rounds R] [--clients 1,8,32]
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import Clients, Exchange, Load, LoadError, client_tls, connect
from servers import METHOD, SERVICE, Floor, Grid, Server, ServerError, Wherry

from legacy_rpc.codecs.diset import ClientConversation
from legacy_rpc.messages import Proposal

CLIENT_VERSION = "9.1.22"
SOAK_CLIENTS = 8
SOAK_STEPS = 10
# A step of a soak ends after so long, however slow the machine.
SOAK_STEP_SECONDS = 600.0


@dataclass(frozen=True)
class Options:
    """How long, how often and with how many clients at a time; ``soak`` is a number of calls."""

    seconds: float
    rounds: int
    clients: tuple[int, ...]
    soak: int


@dataclass(frozen=True)
class Case:
    """A call that is measured, and who answers it; ``state``: the plan's, for Wherry's routed method."""

    name: str
    server: Server
    exchange: Exchange
    state: str = ""


@dataclass(frozen=True)
class Measured:
    """One case, one number of clients, one round."""

    load: Load
    cpu_ms: float | None


class Bench:
    """The servers and clients that are up, and how many calls each case has had."""

    def __init__(self, grid: Grid, stack: ExitStack, most_clients: int) -> None:
        self.wherry = stack.enter_context(Wherry(grid))
        self.rss_after_start = self.wherry.rss_mb()
        self.calls: Counter[str] = Counter()
        tls = client_tls(str(grid.proxy))
        echo = self._learn("echo", tls, "echo", ["benchmark"])
        native = self._learn("native", tls, METHOD, [grid.pilot], "legacy")
        rest = self._learn("rest", tls, METHOD, [grid.pilot], "live")
        floor = stack.enter_context(Floor(grid, [answer for _, answer in echo.exchange]))
        self.cases = (Case("floor", floor, echo.exchange), echo, native, rest)
        self.clients = stack.enter_context(Clients(grid.proxy, most_clients))

    def _learn(self, name: str, tls: Any, method: str, arguments: Sequence[Any], state: str = "") -> Case:
        """Make one call with a full client; its bytes are what every later call must repeat."""
        if state:
            self.wherry.set_state(state)
        exchange = learn_exchange(self.wherry, tls, method, arguments)
        self.calls[name] += 1
        return Case(name, self.wherry, exchange, state)

    def measure(self, case: Case, clients: int, seconds: float, calls: int = 0) -> Measured:
        """Load one case; see ``Clients.run``."""
        if case.state:
            self.wherry.set_state(case.state)
        before = case.server.cpu_seconds()
        load = self.clients.run(case.server.port, case.exchange, clients, seconds=seconds, calls=calls)
        after = case.server.cpu_seconds()
        self.calls[case.name] += len(load.latencies)
        if before is None or after is None:
            return Measured(load, None)
        return Measured(load, (after - before) / len(load.latencies) * 1000)

    def check_routes(self) -> None:
        """Raise ServerError unless each side has answered just the calls meant for it."""
        answered = self.wherry.answered_by()
        meant = {side: self.calls[side] for side in answered}
        if answered != meant:
            raise ServerError(f"the sides answered {answered} calls, meant were {meant}")


def learn_exchange(server: Server, tls: Any, method: str, arguments: Sequence[Any]) -> Exchange:
    """The bytes of one call that is answered with S_OK.  Raises LoadError."""
    exchange, result = _converse(server.port, tls, method, arguments)
    if result.get("OK") is not True:
        raise LoadError(f"{method} was answered {result}")
    return exchange


def _converse(port: int, tls: Any, method: str, arguments: Sequence[Any]) -> tuple[Exchange, dict[str, Any]]:
    """One call of Wherry: the bytes said, and the result."""
    proposal = Proposal(SERVICE, "RPC", method, client_version=CLIENT_VERSION, setup="None", vo="unknown")
    conversation = ClientConversation(proposal, arguments)
    exchange: list[tuple[bytes, bytes]] = []
    to_send = conversation.start()
    with connect(port, tls) as connection:
        while conversation.result is None:
            connection.sendall(to_send)
            received = reply = b""
            while not reply and conversation.result is None:
                data = connection.recv(65536)
                if not data:
                    raise LoadError(f"{method} was not answered")
                received += data
                reply = conversation.feed(data)
            exchange.append((to_send, received))
            to_send = reply
    return exchange, conversation.result


def compare(bench: Bench, options: Options) -> None:
    """Every case with every number of clients, in rounds, so that the machine's noise hits all alike."""
    for case in bench.cases:  # warm up: pools, caches, the clients' own code
        bench.measure(case, max(options.clients), options.seconds / 4)
    rounds: dict[tuple[int, str], list[Measured]] = {}
    for _ in range(options.rounds):
        for clients in options.clients:
            for case in bench.cases:
                measured = bench.measure(case, clients, options.seconds)
                rounds.setdefault((clients, case.name), []).append(measured)
    bench.check_routes()
    for (clients, name), measurements in rounds.items():
        say(case=name, clients=clients, **_figures(measurements, rounds[clients, "floor"]))


def _figures(measured: Sequence[Measured], floor: Sequence[Measured]) -> dict[str, Any]:
    """Medians of the rounds; a ratio is one of the same round's figures."""
    loads = [each.load for each in measured]
    pairs = zip(loads, (each.load for each in floor), strict=True)
    cpu = [each.cpu_ms for each in measured if each.cpu_ms is not None]
    return {
        "calls": sum(len(load.latencies) for load in loads),
        "calls_per_s": round(statistics.median(load.calls_per_s for load in loads), 1),
        "p50_ms": round(statistics.median(load.percentile_ms(0.5) for load in loads), 2),
        "p99_ms": round(statistics.median(load.percentile_ms(0.99) for load in loads), 2),
        "ratio_to_floor": round(
            statistics.median(own.calls_per_s / least.calls_per_s for own, least in pairs), 3
        ),
        "server_cpu_ms": round(statistics.median(cpu), 3) if cpu else None,
    }


def soak(bench: Bench, calls: int) -> None:
    """Many calls of one case, and the memory after each tenth of them."""
    native = next(case for case in bench.cases if case.name == "native")
    each = max(1, calls // SOAK_STEPS // SOAK_CLIENTS)
    for _ in range(SOAK_STEPS):
        bench.measure(native, SOAK_CLIENTS, SOAK_STEP_SECONDS, each)
        say(case="soak", calls=bench.calls["native"], rss_mb=bench.wherry.rss_mb())
    bench.check_routes()


def say(**line: Any) -> None:
    """One line of the output."""
    print(json.dumps(line), flush=True)


def run(options: Options) -> None:
    """Start everything in a directory of its own, measure, and leave nothing behind."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-benchmark-"))
        bench = Bench(Grid(Path(directory)), stack, max(*options.clients, SOAK_CLIENTS))
        if options.soak:
            soak(bench, options.soak)
        else:
            compare(bench, options)
        say(
            case="memory",
            rss_mb_after_start=bench.rss_after_start,
            rss_mb_end=bench.wherry.rss_mb(),
            calls=sum(bench.calls.values()) - bench.calls["floor"],
        )


def parse(arguments: Sequence[str]) -> Options:
    """The options; every one is bounded."""
    parser = argparse.ArgumentParser(description="Measure the legacy front door; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: does everything answer?")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="of all measurements (default 5)")
    parser.add_argument("--clients", default="1,8,32", help="at a time (default 1,8,32)")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="N calls, and the memory meanwhile")
    given = parser.parse_args(arguments)
    if given.quick:
        given.seconds, given.rounds = 0.1, 1
    try:
        clients = tuple(int(number) for number in given.clients.split(","))
    except ValueError:
        parser.error("--clients: numbers with commas between them, as in 1,8,32")
    if not all(1 <= number <= 256 for number in clients):
        parser.error("--clients: from 1 to 256 each")
    if not (0 < given.seconds <= 60 and 1 <= given.rounds <= 100 and 0 <= given.soak <= 10_000_000):
        parser.error("--seconds up to 60, --rounds from 1 to 100, --soak up to 10000000")
    return Options(given.seconds, given.rounds, clients, given.soak)


def main() -> int:
    """Exit code 1: a call was not answered as it must be."""
    options = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))  # by way of the cleaning up
    try:
        run(options)
    except (LoadError, ServerError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
