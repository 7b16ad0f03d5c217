"""Calls per second with one worker and with several, and who had the processors; README.md says more.

Clients must cost little, or they take the processors that workers should have.  So connections are kept, all
make the same large call again and again (MessagePack-RPC), and a reply is compared byte by byte and not read.

    python benchmarks/workers.py [--quick] [--workers 1,2] [--seconds S] [--rounds R] [--clients N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from load import LoadError, client_tls, connect
from servers import EVENT_SECONDS, Grid, Server, ServerError

from wherry.demo.data import JOBS

METHOD = "WorkloadManagement/JobMonitoring.getJobsStates"
REQUEST = msgpack.packb([0, 1, METHOD, [list(range(1, JOBS + 1))]])

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: pki/hostcert.pem, key: pki/hostkey.pem, ca_path: pki/ca}}
legacy: {{msgpack: {{listen: "127.0.0.1:0"}}, public_host: localhost}}
rest: {{listen: "127.0.0.1:0"}}
tasks: {{jobs: false}}
auth: {{issuer: "https://benchmark.wherry.invalid/"}}
workers: {workers}
"""


# --- the server


class Workers(Server):
    """``wherry serve`` with so many workers, and MessagePack-RPC."""

    def __init__(self, grid: Grid, workers: int) -> None:
        self._workers = workers
        config = grid.directory / f"workers-{workers}.yaml"
        config.write_text(CONFIG.format(workers=workers))
        self._log = config.with_suffix(".log")
        with self._log.open("w") as log:
            super().__init__(["-m", "wherry", "serve", "-c", config], stderr=log)

    def await_ready(self) -> None:
        """Each worker logs its ports once it listens."""
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            lines = self._log.read_text().splitlines()
            ready = [line for line in lines if line.startswith("{") and '"event":"ready"' in _packed(line)]
            if len(ready) == self._workers:
                self.port = json.loads(ready[0])["msgpack"]
                return
            time.sleep(0.05)
        raise ServerError(f"wherry serve did not start; its log ends: {self._log.read_text()[-1000:]}")

    def processes(self) -> list[int]:
        """The processes that serve: the workers, or the one that has none."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children] if self._workers > 1 else [pid]

    def connections(self) -> list[int]:
        """How many sockets each of them has open."""
        return [_sockets(pid) for pid in self.processes()]

    def cpu(self) -> float:
        """Processor time of all of them so far, in seconds."""
        return sum(_cpu_seconds(pid) for pid in self.processes())


def _packed(line: str) -> str:
    return line.replace(" ", "")


def _sockets(pid: int) -> int:
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # one that was open for this listing
            count += str(descriptor.readlink()).startswith("socket:")
    return count


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the clients, a process of their own


def make_calls(port: int, proxy: Path, clients: int) -> None:
    """What a process of clients does: connect, and for each line of input call for so many seconds."""
    tls = client_tls(str(proxy))
    with ExitStack() as stack, ThreadPoolExecutor(clients) as threads:
        connections = [
            stack.enter_context(each) for each in threads.map(lambda _: connect(port, tls), range(clients))
        ]
        expected = _learn(connections[0])
        print(len(expected), flush=True)
        for line in sys.stdin:
            began, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
            until = began + float(line)
            calls = sum(threads.map(partial(_call_until, until, expected), connections))
            used = resource.getrusage(resource.RUSAGE_SELF)
            report = {
                "calls": calls,
                "seconds": time.monotonic() - began,
                "cpu": used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime,
            }
            print(json.dumps(report), flush=True)


def _learn(connection: ssl.SSLSocket) -> bytes:
    """The reply that every call must have."""
    connection.sendall(REQUEST)
    received = b""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    while data := connection.recv(65536):
        received += data
        unpacker.feed(data)
        for _, _, error, value in unpacker:
            if error is not None or len(value) != JOBS:
                raise LoadError(f"{METHOD} was answered {error or value}")
            return received
    raise LoadError(f"{METHOD} was not answered")


def _call_until(until: float, expected: bytes, connection: ssl.SSLSocket) -> int:
    """How many calls were answered until then; at least one."""
    reply = bytearray(len(expected))
    calls = 0
    while not calls or time.monotonic() < until:
        connection.sendall(REQUEST)
        at = 0
        while at < len(expected):
            count = connection.recv_into(memoryview(reply)[at:])
            if not count:
                raise LoadError("the server closed a connection")
            at += count
        if reply != expected:
            raise LoadError("a call was not answered as it must be")
        calls += 1
    return calls


class Clients:
    """Clients whose connections to one server are open."""

    def __init__(self, server: Workers, grid: Grid, clients: int) -> None:
        before = server.connections()
        command = [sys.executable, __file__, "clients", str(server.port), str(grid.proxy), str(clients)]
        pipe = subprocess.PIPE
        self._server = server
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.reply_bytes = self._report()
        after = server.connections()
        self.connections = [count - had for count, had in zip(after, before, strict=True)]

    def measure(self, seconds: float) -> Measured:
        """Call for so long."""
        assert self._process.stdin is not None
        before, busy = self._server.cpu(), _busy_seconds()
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        report = self._report()
        return Measured(
            report["calls"] / report["seconds"],
            report["cpu"] / report["seconds"],
            (self._server.cpu() - before) / report["seconds"],
            (_busy_seconds() - busy) / report["seconds"],
        )

    def _report(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError("the clients ended")
        return json.loads(line)

    def close(self) -> None:
        """End them."""
        self._process.communicate()


@contextmanager
def connected(server: Workers, grid: Grid, clients: int) -> Iterator[Clients]:
    """Clients with open connections."""
    each = Clients(server, grid, clients)
    try:
        yield each
    finally:
        each.close()


def _busy_seconds() -> float:
    """Processor time that the whole machine has spent working."""
    names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
    ticks = dict(zip(names, Path("/proc/stat").read_text().split()[1:9], strict=True))
    busy = sum(int(ticks[name]) for name in names if name not in ("idle", "iowait"))
    return busy / os.sysconf("SC_CLK_TCK")


# --- the comparison


@dataclass(frozen=True)
class Measured:
    """One measurement; processor time is in cores, so 1.0 is one that was always busy."""

    calls_per_s: float
    clients: float
    server: float
    machine: float


@dataclass
class Case:
    """All rounds of one number of workers."""

    clients: Clients
    rounds: list[Measured]


def run(options: argparse.Namespace) -> None:
    """The numbers of workers take turns in rounds, so that the machine's noise hits all alike."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-benchmark-"))
        grid = Grid(Path(directory))
        cases: dict[int, Case] = {}
        for number in options.workers:
            server = stack.enter_context(Workers(grid, number))
            clients = stack.enter_context(connected(server, grid, options.clients))
            clients.measure(options.seconds / 4)  # warm up
            cases[number] = Case(clients, [])
        for _ in range(options.rounds):
            for case in cases.values():
                case.rounds.append(case.clients.measure(options.seconds))
        for number, case in cases.items():
            say(number, case, cases[options.workers[0]].rounds)


def say(number: int, case: Case, first: Sequence[Measured]) -> None:
    """One line of the output: medians of the rounds; the ratio is one of the same round's figures."""
    pairs = zip(case.rounds, first, strict=True)
    cores = os.cpu_count() or 1
    figures = {
        "case": "workers",
        "workers": number,
        "clients": sum(case.clients.connections),
        "clients_by_worker": case.clients.connections,
        "reply_bytes": case.clients.reply_bytes,
        "calls_per_s": round(statistics.median(each.calls_per_s for each in case.rounds), 1),
        "ratio_to_first": round(
            statistics.median(own.calls_per_s / one.calls_per_s for own, one in pairs), 2
        ),
        "server_ms_a_call": round(
            statistics.median(each.server / each.calls_per_s for each in case.rounds) * 1000, 3
        ),
        "server_cores": round(statistics.median(each.server for each in case.rounds), 2),
        "client_cores": round(statistics.median(each.clients for each in case.rounds), 2),
        "client_share_of_cores": round(statistics.median(each.clients for each in case.rounds) / cores, 3),
        "other_cores": round(
            statistics.median(each.machine - each.server - each.clients for each in case.rounds), 2
        ),
        "cores": cores,
    }
    print(json.dumps(figures), flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; every one is bounded."""
    parser = argparse.ArgumentParser(description="Measure how workers scale; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: does everything answer?")
    parser.add_argument("--workers", default="1,2", help="numbers of workers (default 1,2)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--rounds", type=int, default=7, help="of all measurements (default 7)")
    parser.add_argument("--clients", type=int, default=16, help="kept connections (default 16)")
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


def main(arguments: Sequence[str]) -> int:
    """Exit code 1: a call was not answered as it must be."""
    try:
        match arguments:
            case ["clients", port, proxy, clients]:
                make_calls(int(port), Path(proxy), int(clients))
            case _:
                run(parse(arguments))
    except (LoadError, ServerError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
