"""Calls per second with one worker and with several, and how busy the machine was; README.md says more.

python benchmarks/workers.py [--quick] [--workers 1,2] [--seconds S] [--rounds R] [--clients N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from diset import learn_exchange
from load import Clients, Exchange, Load, LoadError, client_tls
from servers import Grid, ServerError, Wherry


def busy_seconds() -> float:
    """Processor time that the whole machine has spent working, in seconds."""
    names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
    ticks = dict(zip(names, Path("/proc/stat").read_text().split()[1:9], strict=True))
    return sum(int(ticks[name]) for name in names if name not in ("idle", "iowait")) / os.sysconf(
        "SC_CLK_TCK"
    )


def measure(
    clients: Clients, server: Wherry, exchange: Exchange, count: int, seconds: float
) -> tuple[Load, float]:
    """One load, and how many cores were busy meanwhile."""
    before, began = busy_seconds(), time.monotonic()
    load = clients.run(server.port, exchange, count, seconds=seconds)
    return load, (busy_seconds() - before) / (time.monotonic() - began)


def run(options: argparse.Namespace) -> None:
    """The numbers of workers take turns in rounds, so that the machine's noise hits all alike."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-benchmark-"))
        grid = Grid(Path(directory))
        servers = {number: stack.enter_context(Wherry(grid, number)) for number in options.workers}
        tls = client_tls(str(grid.proxy))
        exchanges = {number: learn_exchange(server, tls, "echo", ["x"]) for number, server in servers.items()}
        clients = stack.enter_context(Clients(grid.proxy, options.clients))
        rounds: dict[int, list[tuple[Load, float]]] = {number: [] for number in servers}
        for _ in range(options.rounds):
            for number, server in servers.items():
                measured = measure(clients, server, exchanges[number], options.clients, options.seconds)
                rounds[number].append(measured)
        for number, measurements in rounds.items():
            pairs = zip(measurements, rounds[options.workers[0]], strict=True)
            line = {
                "case": "workers",
                "workers": number,
                "clients": options.clients,
                "calls_per_s": round(statistics.median(load.calls_per_s for load, _ in measurements), 1),
                "ratio_to_first": round(
                    statistics.median(own.calls_per_s / first.calls_per_s for (own, _), (first, _) in pairs),
                    2,
                ),
                "cores_busy": round(statistics.median(busy for _, busy in measurements), 2),
                "cores": os.cpu_count(),
            }
            print(json.dumps(line), flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; every one is bounded."""
    parser = argparse.ArgumentParser(description="Measure how workers scale; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: does everything answer?")
    parser.add_argument("--workers", default="1,2", help="numbers of workers (default 1,2)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of all measurements (default 5)")
    parser.add_argument("--clients", type=int, default=16, help="at a time (default 16)")
    given = parser.parse_args(arguments)
    if given.quick:
        given.seconds, given.rounds = 0.2, 1
    try:
        given.workers = tuple(int(number) for number in given.workers.split(","))
    except ValueError:
        parser.error("--workers: numbers with commas between them, as in 1,2,4")
    if not all(1 <= number <= 64 for number in given.workers):
        parser.error("--workers: from 1 to 64 each")
    if not (0 < given.seconds <= 60 and 1 <= given.rounds <= 100 and 1 <= given.clients <= 256):
        parser.error("--seconds up to 60, --rounds from 1 to 100, --clients from 1 to 256")
    return given


def main() -> int:
    """Exit code 1: a call was not answered as it must be."""
    try:
        run(parse(sys.argv[1:]))
    except (LoadError, ServerError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
