"""Job rows through our encodings and through DIRAC's own DEncode, in turns.

Prints one JSON line for each shape, number of rows and way; README.md says how to read them.

    python benchmarks/codec.py [--quick] [--rounds R] [--dirac PYTHON]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIRAC = ROOT / ".clients/dirac-9.1.22/bin/python"
ROWS = (1, 100, 1000)
JOBS, QUICK_JOBS = 2000, 1000
AT_LEAST = 2.0  # times as fast as DIRAC's DEncode


class BenchmarkError(Exception):
    """A codec did not do what it must do."""


# --- the messages: what getJobsSummary and getJobPageSummaryWeb of JobMonitoring answer

_STATUSES = ("Received", "Checking", "Waiting", "Matched", "Running", "Done", "Failed", "Killed")
_MINOR = ("Job accepted", "Pilot Agent Submission", "Application", "Execution Complete", "Job stalled")
_SITES = ("LCG.CERN.ch", "LCG.RAL.uk", "LCG.IN2P3.fr", "LCG.CNAF.it")


def job(number: int) -> dict[str, Any]:
    """The attributes of one job, always the same for a number."""
    dice = random.Random(number)

    def moment() -> datetime:
        return datetime(2026, 11, 1) + timedelta(seconds=dice.randrange(10**6))  # noqa: DTZ001 (as in DIRAC)

    started = moment() if number % 2 else None
    return {
        "AccountedFlag": "False",
        "ApplicationStatus": "Unknown",
        "EndExecTime": None if number % 3 else moment(),
        "HeartBeatTime": started and moment(),
        "JobGroup": f"{number // 50:08}",
        "JobID": 1_000_000 + number,
        "JobName": f"analysis_{number}",
        "JobType": "User",
        "LastUpdateTime": moment(),
        "MinorStatus": dice.choice(_MINOR),
        "Owner": dice.choice(("alice", "bob", "carol")),
        "OwnerGroup": "demo_user",
        "RescheduleCounter": number % 3,
        "RescheduleTime": None,
        "Site": dice.choice(_SITES),
        "StartExecTime": started,
        "Status": dice.choice(_STATUSES),
        "SubmissionTime": moment(),
        "UserPriority": number % 10,
        "VO": "demo",
        "VerifiedFlag": "True",
    }


def summary(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A dictionary of dictionaries."""
    return {"OK": True, "Value": {each["JobID"]: each for each in jobs}}


def page(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A list of lists."""
    records = [list(each.values()) for each in jobs]
    value = {"TotalRecords": len(jobs), "ParameterNames": list(jobs[0]), "Records": records}
    return {"OK": True, "Value": value}


SHAPES: dict[str, Callable[[Sequence[dict[str, Any]]], dict[str, Any]]] = {"summary": summary, "page": page}


# --- one codec, in a process of its own: a task is a JSON line, and so is its answer


def _dencode() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    from legacy_rpc.codecs import dencode

    return dencode.encode, dencode.decode


def _jencode() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    from legacy_rpc.codecs import jencode

    return jencode.encode, jencode.decode


def _dirac() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    from DIRAC.Core.Utilities import DEncode

    return DEncode.encode, DEncode.decode


CODECS = {"dencode": _dencode, "jencode": _jencode, "dirac": _dirac}


def work(codec: str, jobs: int) -> None:
    """Do the tasks that come on standard input: ``[shape, rows, way]``; way: encode, decode or digest.

    All jobs are coded once for a task, in messages of ``rows`` jobs, no two of them alike.
    """
    encode, decode = CODECS[codec]()
    all_jobs = [job(number) for number in range(jobs)]
    values = {
        (shape, rows): [make(all_jobs[start : start + rows]) for start in range(0, jobs, rows)]
        for shape, make in SHAPES.items()
        for rows in ROWS
    }
    say(python=platform.python_version())
    for line in sys.stdin:
        shape, rows, way = json.loads(line)
        messages = values[shape, rows]
        encoded = [encode(each) for each in messages]
        if way == "digest":
            again = [decode(each) for each in encoded]
            if codec == "dencode" and again != messages:
                raise BenchmarkError(f"{shape} of {rows} rows came back otherwise")
            if codec == "jencode" and [encode(each) for each in again] != encoded:
                raise BenchmarkError(f"{shape} of {rows} rows came back otherwise")
            say(digest=hashlib.sha256(b"".join(encoded)).hexdigest())
        else:
            say(seconds=timed(decode, encoded) if way == "decode" else timed(encode, messages))


def timed(code: Callable[[Any], Any], messages: Sequence[Any]) -> float:
    """Seconds for all messages."""
    started = time.perf_counter()
    for each in messages:
        code(each)
    return time.perf_counter() - started


class Worker:
    """A process that does tasks with one codec."""

    def __init__(self, codec: str, python: str, jobs: int, stack: ExitStack) -> None:
        self.codec = codec
        command = [python, __file__, "--worker", codec, "--jobs", str(jobs)]
        # Ours is found from the repository; DIRAC needs nothing of ours.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        stack.enter_context(self._process)  # closes its input, on which it ends, and waits
        self.python = str(self._answer()["python"])

    def do(self, shape: str, rows: int, way: str) -> Any:
        """What one task gave."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([shape, rows, way]) + "\n")
        self._process.stdin.flush()
        return next(iter(self._answer().values()))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.codec} ended; what it said is above")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


# --- the comparison


def cases() -> Iterator[tuple[str, int]]:
    """Every shape with every number of rows."""
    for shape in SHAPES:
        for rows in ROWS:
            yield shape, rows


def check(workers: dict[str, Worker]) -> None:
    """Raise BenchmarkError unless values survive, and our DEncode and DIRAC's write the same bytes."""
    for shape, rows in cases():
        digests = {codec: worker.do(shape, rows, "digest") for codec, worker in workers.items()}
        if "dirac" in digests and digests["dencode"] != digests["dirac"]:
            raise BenchmarkError(f"DIRAC writes {shape} of {rows} rows otherwise")
    if "dirac" in workers and workers["dirac"].python != workers["dencode"].python:
        versions = {codec: worker.python for codec, worker in workers.items()}
        raise BenchmarkError(f"not the same Python: {versions}")


def compare(workers: dict[str, Worker], rounds: int, jobs: int) -> bool:
    """Time everything in turns; tells whether DEncode was fast enough everywhere."""
    times: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    for _ in range(rounds):
        for shape, rows in cases():
            for way in ("encode", "decode"):
                measured = times.setdefault((shape, rows, way), {})
                for codec, worker in workers.items():
                    measured.setdefault(codec, []).append(worker.do(shape, rows, way))
    all_fine = True
    for (shape, rows, way), measured in times.items():
        line: dict[str, Any] = {
            f"{codec}_us_per_row": round(statistics.median(seconds) / jobs * 1e6, 2)
            for codec, seconds in measured.items()
        }
        if "dirac" in measured:
            for codec in ("dencode", "jencode"):
                pairs = zip(measured["dirac"], measured[codec], strict=True)
                line[f"{codec}_times_as_fast"] = round(statistics.median(a / b for a, b in pairs), 2)
            if rounds > 1:
                line["fine"] = line["dencode_times_as_fast"] >= AT_LEAST
                all_fine = all_fine and line["fine"]
        say(case=shape, rows=rows, way=way, **line)
    return all_fine


def say(**line: Any) -> None:
    """One line of the output."""
    print(json.dumps(line), flush=True)


def main() -> int:
    """Exit code 1: bytes or values were wrong, or DEncode was too slow (one round is too few to say)."""
    parser = argparse.ArgumentParser(description="Measure the encodings; see benchmarks/README.md.")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all: is everything right?")
    parser.add_argument("--rounds", type=int, default=9, help="of all measurements (default 9)")
    parser.add_argument(
        "--dirac", metavar="PYTHON", help="a Python that has DIRAC (default: the test client)"
    )
    parser.add_argument("--worker", choices=CODECS, help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        sys.path.insert(0, str(ROOT))
        work(given.worker, given.jobs)
        return 0
    if not 1 <= given.rounds <= 100:
        parser.error("--rounds from 1 to 100")
    jobs, rounds = (QUICK_JOBS, 1) if given.quick else (JOBS, given.rounds)
    pythons = {"dencode": sys.executable, "jencode": sys.executable}
    if given.dirac or DIRAC.exists():
        pythons["dirac"] = given.dirac or str(DIRAC)
    else:
        print(f"DIRAC is not measured: {DIRAC.parents[1]} is not there (make clients)", file=sys.stderr)
    try:
        with ExitStack() as stack:
            workers = {codec: Worker(codec, python, jobs, stack) for codec, python in pythons.items()}
            check(workers)
            fine = compare(workers, rounds, jobs)
    except (BenchmarkError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
