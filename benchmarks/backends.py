"""What a request of an adaptor costs in process, and over HTTP to another Wherry on the same database.

Prints one JSON line for a read and one for a write; README.md says how to read them.

    python benchmarks/backends.py [--quick] [--requests N]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from servers import Grid, Wherry

from adaptor.backend import Backend
from adaptor.conversation import Request
from adaptor.http_backend import HttpBackend
from adaptor.http_session import Target
from legacy_rpc.messages import Identity
from wherry.build import embedded_backend, make_new_side
from wherry.cli_common import run
from wherry.config import load_config
from wherry.demo.credentials import GROUPS, VO

SECRET = b"a key of the benchmark"
KEY = "diracx:legacy:" + base64.urlsafe_b64encode(SECRET).decode()
AUTH = (
    'auth: {issuer: "https://benchmark.wherry.invalid/", '
    f"legacy_exchange_key_hash: {hashlib.sha256(SECRET).hexdigest()}}}\n"
)
ALICE = Identity("alice", "demo_admin", vo=VO, properties=GROUPS["demo_admin"][1])
WARM_UP = 20


def read() -> Request:
    """The status of a hundred jobs."""
    search = [{"parameter": "JobID", "operator": "in", "values": list(range(1, 101))}]
    return Request("POST", "/api/jobs/search", {"parameters": ["JobID", "Status"], "search": search})


def write(stamp: str, number: int) -> Request:
    """One pilot's status reason, another each time."""
    return Request("PATCH", "/api/pilots/metadata", {stamp: {"StatusReason": f"reason {number}"}})


async def milliseconds(backend: Backend, request: Request) -> float:
    """How long one request takes."""
    start = time.perf_counter()
    await backend.send(ALICE, request)
    return (time.perf_counter() - start) * 1_000


async def compare(case: str, backends: Sequence[Backend], requests: Sequence[Request]) -> None:
    """Print a line; the backends take turns, so that what else the machine does meets both."""
    taken: tuple[list[float], ...] = ([], [])
    for request in requests:
        for backend, times in zip(backends, taken, strict=True):
            times.append(await milliseconds(backend, request))
    in_process, http = (statistics.median(times[WARM_UP:]) for times in taken)
    ratio = statistics.median(
        second / first for first, second in zip(*(times[WARM_UP:] for times in taken), strict=True)
    )
    line: dict[str, Any] = {
        "case": case,
        "in_process_ms": round(in_process, 2),
        "http_ms": round(http, 2),
        "added_ms": round(http - in_process, 2),
        "ratio": round(ratio, 2),
    }
    print(json.dumps(line), flush=True)


async def measure(directory: Path, url: str, count: int) -> None:
    """Both cases, from a process of our own beside the server."""
    new = make_new_side(load_config(directory / "wherry-1.yaml"), url)
    http = HttpBackend(Target(url, KEY))
    backends = (embedded_backend(new), http)
    try:
        [pilot] = await http.send(
            ALICE, Request("POST", "/api/pilots/search", {"parameters": ["PilotStamp"]}, {"per_page": 1})
        )
        await compare("read", backends, [read()] * count)
        await compare("write", backends, [write(pilot["PilotStamp"], each) for each in range(count)])
    finally:
        await http.close()
        await new.close()


def main(arguments: Sequence[str]) -> None:
    """Measure on a throw-away grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few requests: are they answered?")
    parser.add_argument("--requests", type=int, default=0)
    given = parser.parse_args(arguments)
    count = WARM_UP + (given.requests or (10 if given.quick else 1000))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with Wherry(Grid(directory), more=AUTH) as server:
            run(measure(directory, server.rest, count))


if __name__ == "__main__":
    main(sys.argv[1:])
