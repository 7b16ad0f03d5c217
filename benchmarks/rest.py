"""Requests a second of the REST backend, next to the same query without it, and next to a real DiracX.

Prints one JSON line for each case; README.md says how to read them.

    python benchmarks/rest.py [--quick] [--engine sqlite] [--jobs 100000] [--seconds 3] [--diracx]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/end_to_end"))

from database import OPTIONS, filled
from private_servers import SERVERS

from shared_db.connection import Databases
from shared_db.engines.urls import DATABASES
from shared_db.schema.job_db import JOB_DB, Jobs
from wherry.config import load_config
from wherry.demo.credentials import grid_credentials, registry_text
from wherry.explain import token_for

# By-id searches must reach this share of the floor, and every case so many times a DiracX.
LEAST_OF_FLOOR, LEAST_OF_DIRACX = 0.5, 3.0
START_SECONDS = 60.0
CONFIG = """\
database: {urls}
registry: registry.cfg
rest: {{listen: "127.0.0.1:{port}"}}
auth: {{issuer: "http://127.0.0.1:{port}"}}
sandboxes: {{directory: sandboxes}}
tasks: {{jobs: false}}
"""
HEADERS = "Content-Type: application/json\r\nConnection: keep-alive\r\n"


@dataclass(frozen=True)
class Case:
    """A request, made anew each time; ``floor``: ids whose rows are asked for without REST."""

    name: str
    method: str
    path: str
    body: Callable[[int, int], Any] = lambda _number, _jobs: None
    floor: int = 0


def some_ids(number: int, jobs: int, count: int) -> list[int]:
    """So many ids, spread over all, others each time."""
    step = jobs // count
    return [1 + (number * 7 + each * step) % jobs for each in range(count)]


def found_by_id(count: int, number: int, jobs: int) -> Any:
    """A search by id."""
    return {
        "parameters": ["JobID", "Status", "MinorStatus"],
        "search": [{"parameter": "JobID", "operator": "in", "values": some_ids(number, jobs, count)}],
    }


def updates(count: int, number: int, jobs: int) -> Any:
    """A status for some jobs."""
    update = {"Status": "Running", "MinorStatus": "Application", "Source": "JobWrapper"}
    moment = datetime.now(UTC).isoformat()
    return {str(job_id): {moment: update} for job_id in some_ids(number, jobs, count)}


JDL = 'Executable = "/bin/echo"; Arguments = "hello"; JobName = "bench";'

CASES = (
    Case("search of 10 jobs", "POST", "/api/jobs/search", partial(found_by_id, 10), floor=10),
    Case("status of 100 jobs", "POST", "/api/jobs/search", partial(found_by_id, 100), floor=100),
    Case("status update of 1 job", "PATCH", "/api/jobs/status", partial(updates, 1)),
    Case("status update of 20 jobs", "PATCH", "/api/jobs/status", partial(updates, 20)),
    Case("submission of 1 job", "POST", "/api/jobs/jdl", lambda _number, _jobs: [JDL]),
    Case("submission of 20 jobs", "POST", "/api/jobs/jdl", lambda _number, _jobs: [JDL] * 20),
    Case("summary", "POST", "/api/jobs/summary", lambda _number, _jobs: {"grouping": ["Status"]}),
    Case("userinfo", "GET", "/api/auth/userinfo"),
    Case(".well-known", "GET", "/.well-known/openid-configuration"),
)


# The clients: a process of its own, so that it does not share an interpreter with anything.


@dataclass
class Measured:
    """What the clients saw; ``milliseconds`` of each request."""

    seconds: float
    milliseconds: list[float]
    failed: int

    def line(self) -> dict[str, Any]:
        """For printing."""
        ordered = sorted(self.milliseconds)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return {"per_second": round(len(ordered) / self.seconds, 1), "p99_ms": round(p99, 1)}


class KeptConnection(asyncio.Protocol):
    """One kept connection: a request, then its whole answer, and the next."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self._requests = requests
        self._until = until
        self._received = b""
        self._started = 0.0
        self.milliseconds: list[float] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lowered = head.lower()
        length = lowered.partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
        chunked = b"transfer-encoding: chunked" in lowered
        whole = body.endswith(b"0\r\n\r\n") if chunked else len(body) >= int(length or 0)
        if whole:
            self._received = b""
            self._answered(int(head[9:12]), body)

    def _answered(self, status: int, body: bytes) -> None:
        self.milliseconds.append((time.perf_counter() - self._started) * 1000)
        self.failed += status >= 500
        if status in (400, 401, 403, 404, 422):
            self.done.set_exception(RuntimeError(f"answered {status}: {body[:300].decode()}"))
        elif time.perf_counter() >= self._until:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(next(self._requests))


def requests_of(case: Case, host: str, token: str, jobs: int, first: int) -> Iterator[bytes]:
    """The bytes of each request."""
    head = f"{case.method} {case.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{HEADERS}"
    for number in itertools.count(first, 1_000):
        body = case.body(number, jobs)
        text = b"" if body is None else json.dumps(body).encode()
        yield f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


async def load(order: dict[str, Any]) -> Measured:
    """Keep some connections busy for some seconds."""
    case = next(each for each in CASES if each.name == order["case"])
    place = urlsplit(order["url"])
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = []
    for number in range(order["connections"]):
        requests = requests_of(case, place.netloc, order["token"], order["jobs"], number + order["first"])
        make = partial(KeptConnection, requests, started + order["seconds"])
        made.append((await loop.create_connection(make, place.hostname, place.port))[1])
    await asyncio.gather(*(each.done for each in made))
    taken = [each for connection in made for each in connection.milliseconds]
    return Measured(time.perf_counter() - started, taken, sum(each.failed for each in made))


async def serve_orders() -> None:
    """The clients' process: an order a line, a report a line."""
    for line in sys.stdin:
        try:
            report: dict[str, Any] = vars(await load(json.loads(line)))
        except (OSError, RuntimeError) as error:
            report = {"error": str(error)}
        print(json.dumps(report), flush=True)


class Clients:
    """The clients' process, from outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--clients"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def measure(self, case: Case, server: Server, jobs: int, connections: int, seconds: float) -> Measured:
        """Have them ask for some seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"case": case.name, "url": server.url, "token": server.token, "jobs": jobs}
        order |= {"connections": connections, "seconds": seconds, "first": next(_FIRST)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        report = json.loads(self._process.stdout.readline())
        if "error" in report:
            raise SystemExit(f"{case.name}: {server.url}: {report['error']}")
        return Measured(**report)

    def close(self) -> None:
        """End them."""
        self._process.communicate()


_FIRST = itertools.count(0, 50)


# The servers


@dataclass(frozen=True)
class Server:
    """A backend that is up."""

    url: str
    token: str


@contextmanager
def wherry(folder: Path, urls: Any) -> Iterator[Server]:
    """``wherry serve``, without any legacy part."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    grid_credentials(folder / "pki")
    (folder / "registry.cfg").write_text(registry_text(folder / "pki"))
    config = folder / "wherry.yaml"
    config.write_text(CONFIG.format(urls=json.dumps(urls), port=port))
    with (folder / "wherry.log").open("w") as log:
        command = [sys.executable, "-m", "wherry", "serve", "-c", str(config)]
        process = subprocess.Popen(command, stderr=log)
    server = Server(f"http://127.0.0.1:{port}", "")
    try:
        _wait(process, server.url, folder / "wherry.log")
        yield Server(server.url, token_for(load_config(config), "alice", "demo_admin"))
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import urllib.request

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/api/health/ready", timeout=5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"wherry serve did not start: {log.read_text()[-1000:]}") from None
            time.sleep(0.1)
        else:
            return


@contextmanager
def diracx(folder: Path, database: Path) -> Iterator[Server]:
    """A real DiracX 0.7.0 on copies of the same SQLite file (its environment: `make clients`).

    One for each of its databases: it writes to several at a time, and would wait for itself in one file.
    """
    from diracx_server import SHARED, running_diracx
    from moto.server import ThreadedMotoServer

    folder.mkdir()
    copies = {name: folder / f"{name}.db" for name in SHARED}
    for copy in copies.values():
        copy.write_bytes(database.read_bytes())
    storage = ThreadedMotoServer(port=0)
    storage.start()
    host, port = storage.get_host_and_port()
    try:
        with running_diracx(folder, f"http://{host}:{port}", copies) as up:
            yield Server(up.url, up.token("alice", "demo_admin"))
    finally:
        storage.stop()


def as_the_demo(connection: Connection) -> None:
    """The jobs belong to the demo's VO."""
    connection.execute(Jobs.update().values(VO="demo", OwnerGroup="demo_user"))


@asynccontextmanager
async def stored(
    options: Options, folder: Path, stack: AsyncExitStack
) -> AsyncIterator[tuple[Databases, Any]]:
    """Databases with the jobs, and their URLs."""
    urls: Any = f"sqlite:///{folder / f'{options.jobs}.db'}"
    server = ""
    if options.engine != "sqlite":
        server = stack.enter_context(SERVERS[options.engine](*OPTIONS[options.engine])).url
        urls = f"{server}jobs{options.jobs}"
        if options.engine == "mariadb":
            urls = {name: f"{server}jobs{options.jobs}_{name}" for name in DATABASES}
    databases = await stack.enter_async_context(filled(options.engine, server, folder, options.jobs))
    await databases.sync_run(JOB_DB, as_the_demo)
    yield databases, urls


async def floor_of(case: Case, databases: Databases, options: Options) -> float | None:
    """How often a second the same rows are read without REST, one after the other."""
    if not case.floor:
        return None
    columns = [Jobs.c.JobID, Jobs.c.Status, Jobs.c.MinorStatus]
    until, count = time.perf_counter() + options.seconds, 0
    while time.perf_counter() < until:
        wanted = some_ids(count, options.jobs, case.floor)
        async with databases.unit_of_work() as work:
            rows = await work.rows(JOB_DB, select(*columns).where(Jobs.c.JobID.in_(wanted)))
        assert len(rows) == case.floor
        count += 1
    return count / options.seconds


def measure(
    case: Case, clients: Clients, servers: dict[str, Server], floor: float | None, options: Options
) -> bool:
    """Print a line; the servers take turns.  False when one is slower than it may be."""
    line: dict[str, Any] = {"engine": options.engine, "case": case.name}
    fine = True
    for connections in (1, 16):
        seen: dict[str, list[Measured]] = {name: [] for name in servers}
        for number in range(options.rounds + 1):
            for name, server in servers.items():
                measured = clients.measure(case, server, options.jobs, connections, options.seconds)
                if number or options.quick:  # the first round warms caches
                    seen[name].append(measured)
        middle = {
            name: sorted(found, key=lambda each: len(each.milliseconds) / each.seconds)[len(found) // 2]
            for name, found in seen.items()
        }
        ours = middle["wherry"].line()
        line[f"connections_{connections}"] = ours
        failed = sum(each.failed for each in seen["wherry"])
        if failed:
            line[f"failed_{connections}"] = failed
        fine = fine and not failed
        if connections == 1 and floor is not None:
            line["of_floor"] = round(ours["per_second"] / floor, 2)
            fine = fine and line["of_floor"] >= LEAST_OF_FLOOR
        if "diracx" in middle:
            theirs = middle["diracx"].line()
            line[f"diracx_{connections}"] = theirs | {"failed": sum(each.failed for each in seen["diracx"])}
            line[f"times_diracx_{connections}"] = round(ours["per_second"] / theirs["per_second"], 1)
            fine = fine and line[f"times_diracx_{connections}"] >= LEAST_OF_DIRACX
    print(json.dumps(line | {"fine": fine or options.quick}), flush=True)
    return fine or options.quick


@dataclass(frozen=True)
class Options:
    """Which engine, how many jobs, how long; ``quick`` judges nothing but that every request is answered."""

    engine: str
    jobs: int
    seconds: float
    rounds: int
    quick: bool
    diracx: bool
    cases: tuple[str, ...]


def options_of(arguments: Sequence[str]) -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few jobs, short: is every request answered?")
    parser.add_argument("--engine", default="sqlite", choices=("sqlite", "mariadb", "postgresql"))
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--diracx", action="store_true", help="a real DiracX beside it (SQLite)")
    parser.add_argument("cases", nargs="*", help="only these, by the beginning of their names")
    given = parser.parse_args(arguments)
    if given.diracx and given.engine != "sqlite":
        parser.error("--diracx is for sqlite: both work on copies of one file")
    return Options(
        engine=given.engine,
        jobs=given.jobs or (4_000 if given.quick else 100_000),
        seconds=given.seconds or (0.2 if given.quick else 3.0),
        rounds=1 if given.quick else given.rounds,
        quick=given.quick,
        diracx=given.diracx,
        cases=tuple(given.cases),
    )


async def main(options: Options) -> int:
    """1 when a case is slower than it may be."""
    good = True
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases, urls = await stack.enter_async_context(stored(options, folder, stack))
        servers = {"wherry": stack.enter_context(wherry(folder, urls))}
        if options.diracx:
            servers["diracx"] = stack.enter_context(diracx(folder / "diracx", folder / f"{options.jobs}.db"))
        clients = Clients()
        stack.callback(clients.close)
        for case in CASES:
            if options.cases and not case.name.startswith(options.cases):
                continue
            floor = await floor_of(case, databases, options)
            good = measure(case, clients, servers, floor, options) and good
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--clients"]:
        asyncio.run(serve_orders())
    else:
        sys.exit(asyncio.run(main(options_of(sys.argv[1:]))))
