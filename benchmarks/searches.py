"""What every operator of a search costs, and summaries, with a million jobs on each kind of database.

Prints one JSON line for each question: how many jobs it found (of a first page of 100), and the median of
some rounds in milliseconds; README.md says how to read them.

    python benchmarks/searches.py [--engines sqlite,mariadb,postgresql] [--jobs 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from database import ON_MARIADB, OPTIONS, SERVERS, filled

from shared_db.connection import Databases, UnitOfWork
from shared_db.queries.conditions import Condition
from shared_db.queries.search import Search, Sort, find_page, summarise
from shared_db.schema.job_db import Jobs

Question = Callable[[UnitOfWork], Awaitable[int]]


def searched(*conditions: tuple[str, str, Any], sort: str = "") -> Question:
    """A search for jobs that meet the conditions."""
    search = Search(
        conditions=[Condition(*each) for each in conditions],
        sort=[Sort(sort, descending=True)] if sort else [],
    )

    async def ask(work: UnitOfWork) -> int:
        return (await find_page(work, Jobs, search)).total

    return ask


def counted(*columns: str, conditions: tuple[tuple[str, str, Any], ...] = ()) -> Question:
    """Jobs counted by columns."""

    async def ask(work: UnitOfWork) -> int:
        rows = await summarise(work, Jobs, columns, [Condition(*each) for each in conditions])
        return sum(row["count"] for row in rows)

    return ask


def questions(jobs: int) -> Iterator[tuple[str, Question]]:
    """Every operator on a number, a text and a time, alone (the worst case), and what people ask."""
    spread = list(range(1, jobs, max(jobs // 100, 1)))
    for column, scalar, several in (
        ("JobID", jobs // 2, spread),
        ("Status", "Waiting", ["Waiting", "Running"]),
        ("Owner", "alice", ["alice", "nobody"]),
        ("JobName", "job", ["job", "other"]),
        ("LastUpdateTime", "2026-11-01", ["2026-11-01", "2026-11-02"]),
    ):
        for operator in ("eq", "neq", "gt", "lt"):
            yield f"{column} {operator}", searched((column, operator, scalar))
        for operator in ("in", "not in"):
            yield f"{column} {operator}", searched((column, operator, several))
    for column, pattern, expression in (("Owner", "ali%", "^ali"), ("Site", "%7%", "7")):
        yield f"{column} like {pattern}", searched((column, "like", pattern))
        yield f"{column} not like {pattern}", searched((column, "not like", pattern))
        yield f"{column} regex {expression}", searched((column, "regex", expression))
    alice, waiting = ("Owner", "eq", "alice"), ("Status", "eq", "Waiting")
    yield "Owner and Status", searched(alice, waiting)
    yield "Owner and Status, newest", searched(alice, waiting, sort="LastUpdateTime")
    yield "Owner, regex on Site", searched(alice, ("Site", "regex", "7"))
    yield "sorted by a column without a key", searched(sort="SubmissionTime")
    yield "summary by Status", counted("Status")
    yield "summary by Status and Site", counted("Status", "Site")
    yield "summary by Owner and MinorStatus", counted("Owner", "MinorStatus")
    yield "summary of an owner's", counted("Status", "Site", conditions=(alice,))
    yield "summary since a day", counted("Status", conditions=(("LastUpdateTime", "gt", "2026-11-01"),))


async def measure(databases: Databases, engine: str, jobs: int, rounds: int) -> None:
    """Print a line for each question."""
    for name, ask in questions(jobs):
        taken = []
        for _ in range(rounds):
            started = time.perf_counter()
            async with databases.unit_of_work() as work:
                found = await ask(work)
            taken.append((time.perf_counter() - started) * 1000)
        line = {"engine": engine, "question": name, "found": found, "ms": round(statistics.median(taken), 1)}
        print(json.dumps(line), flush=True)


async def main(arguments: list[str]) -> None:
    """Each engine in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engines", default="sqlite,mariadb,postgresql")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    for engine in given.engines.split(","):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = ""
            if engine != "sqlite":
                kind = "mariadb" if engine in ON_MARIADB else engine
                server = stack.enter_context(SERVERS[kind](*OPTIONS[kind])).url
            async with filled(engine, server, folder, given.jobs) as databases:
                await measure(databases, engine, given.jobs, given.rounds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
