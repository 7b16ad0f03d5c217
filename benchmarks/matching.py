"""What a match costs with few and with many waiting jobs, on each kind of database.

Prints one JSON line for each engine; README.md says how to read them.

    python benchmarks/matching.py [--quick] [--engines sqlite,mariadb] [--jobs 1000,100000] [--matches N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from private_servers import SERVERS

from shared_db.administration import initialise
from shared_db.cfg import CfgSection
from shared_db.connection import Databases, open_databases
from shared_db.queries.match_requests import Pilot, request_job
from shared_db.queries.task_queues import Queued, enqueue
from shared_db.registry import Registry
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.matching import Offer
from shared_db.rules.task_queues import Demand
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs

QUEUES = 50
BATCH = 5_000
OFFER = Offer("LCG.Bench.org", 500_000, tags=("GPU",))
# A match with many jobs may cost this much more than with few.
LARGEST_RATIO = 1.5
JDL = compressed('[Executable = "/bin/echo"; CPUTime = 86400;]')


@dataclass(frozen=True)
class Options:
    """Which engines, how many waiting jobs, how many matches; ``quick`` judges nothing but the answers."""

    engines: tuple[str, ...]
    jobs: tuple[int, ...]
    matches: int
    quick: bool


def demand(number: int) -> Demand:
    """What a job asks for: as many kinds as there are queues."""
    kind = number % QUEUES
    sites = frozenset({OFFER.site, f"LCG.Site{kind}.org"}) if kind % 2 else frozenset()
    return Demand(
        f"user{kind // 5}", "lab_user", "lab", 86400, sites, tags=frozenset({"GPU"} if kind % 5 else ())
    )


async def fill(databases: Databases, jobs: int) -> None:
    """Waiting jobs in their queues."""
    for start in range(1, jobs + 1, BATCH):
        numbers = range(start, min(start + BATCH, jobs + 1))
        async with databases.unit_of_work(write=True) as work:
            jdls = [
                {"JobID": each, "JDL": JDL, "JobRequirements": "", "OriginalJDL": JDL} for each in numbers
            ]
            await work.change(JOB_DB, JobJDLs.insert(), jdls)
            rows = [
                {"JobID": each, "Status": "Waiting", "Owner": demand(each).owner, "OwnerGroup": "lab_user"}
                for each in numbers
            ]
            await work.change(JOB_DB, Jobs.insert(), rows)
            queued = {each: Queued(demand(each), each % 10) for each in numbers}
            await enqueue(work, queued, Registry.empty())
    await databases.refresh_statistics()


async def timed(databases: Databases, matches: int) -> list[float]:
    """Milliseconds of each match, one after the other."""
    taken: list[float] = []
    for _ in range(matches):
        start = time.perf_counter()
        match = await request_job(databases, OFFER, Pilot(), "lab", CfgSection())
        taken.append((time.perf_counter() - start) * 1_000)
        assert match is not None
    return taken


async def together(databases: Databases, matches: int, pilots: int = 16) -> float:
    """Matches per second of pilots that ask at the same time."""
    start = time.perf_counter()
    await asyncio.gather(*[timed(databases, max(matches // pilots, 1)) for _ in range(pilots)])
    return max(matches // pilots, 1) * pilots / (time.perf_counter() - start)


async def made(engine: str, server: str, folder: Path, jobs: int) -> Databases:
    """A database of its own with so many waiting jobs."""
    if engine == "sqlite":
        url = f"sqlite:///{folder / f'{jobs}.db'}"
    else:
        url = f"{server}bench_{jobs}"
        driver = {"mariadb": "mysql+asyncmy", "postgresql": "postgresql+asyncpg"}[engine]
        place = make_url(server).set(drivername=driver, database=None)
        admin = create_async_engine(place, isolation_level="AUTOCOMMIT")
        async with admin.connect() as connection:
            await connection.exec_driver_sql(f"CREATE DATABASE bench_{jobs}")
        await admin.dispose()
    databases = open_databases(url, create=True)
    await initialise(databases)
    await fill(databases, jobs)
    return databases


async def measure(engine: str, options: Options) -> bool:
    """Print a line; False when a match costs more than it may with many jobs."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = "" if engine == "sqlite" else stack.enter_context(SERVERS[engine]()).url
        sides = [await made(engine, server, folder, jobs) for jobs in options.jobs]
        line: dict[str, Any] = {"engine": engine}
        medians: list[float] = []
        # The sides take turns, so that what else the machine does meets both.
        rounds = [[each for _ in range(4) for each in await timed(side, 1)] for side in sides]
        for _ in range(options.matches):
            for side, taken in zip(sides, rounds, strict=True):
                taken.extend(await timed(side, 1))
        for jobs, side, taken in zip(options.jobs, sides, rounds, strict=True):
            medians.append(statistics.median(taken[4:]))
            line[f"ms_{jobs}"] = round(medians[-1], 2)
            line[f"per_second_{jobs}"] = round(1_000 / medians[-1], 1)
            line[f"per_second_{jobs}_16_pilots"] = round(await together(side, options.matches), 1)
            await side.dispose()
        ratio = medians[-1] / medians[0]
        fine = options.quick or ratio <= LARGEST_RATIO
        print(json.dumps(line | {"ratio": round(ratio, 2), "fine": fine}), flush=True)
        return fine


def options_of(arguments: Sequence[str]) -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few jobs: are they matched?")
    parser.add_argument("--engines", default="sqlite,mariadb,postgresql")
    parser.add_argument("--jobs", default="")
    parser.add_argument("--matches", type=int, default=0)
    given = parser.parse_args(arguments)
    jobs = given.jobs or ("200,1000" if given.quick else "1000,100000")
    return Options(
        engines=tuple(given.engines.split(",")),
        jobs=tuple(int(each) for each in jobs.split(",")),
        matches=given.matches or (16 if given.quick else 200),
        quick=given.quick,
    )


async def main(options: Options) -> int:
    """1 when a match costs more than it may."""
    results = [await measure(engine, options) for engine in options.engines]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(options_of(sys.argv[1:]))))
