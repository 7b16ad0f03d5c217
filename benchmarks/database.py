"""What the queries cost with few and with many jobs, on each kind of database.

Prints one JSON line for each case; README.md says how to read them.

    python benchmarks/database.py [--quick] [--engines sqlite,mariadb] [--jobs 10000,1000000] [--rounds R]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    FromClause,
    MetaData,
    String,
    case,
    cast,
    column,
    event,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from private_servers import SERVERS

from shared_db.administration import initialise
from shared_db.connection import Databases, UnitOfWork, open_databases
from shared_db.engines.base import Limits
from shared_db.engines.urls import DATABASES
from shared_db.inspection import schema_of
from shared_db.queries.conditions import Condition
from shared_db.queries.jobs import job_attributes
from shared_db.queries.search import Search, Sort, find_page, summarise
from shared_db.queries.statuses import set_job_statuses
from shared_db.queries.submission import submit_jobs
from shared_db.rules.jdl.description import describe
from shared_db.rules.jdl.policy import DIRAC_9_1, Submitter
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.status_updates import StatusUpdate
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs, tq_TaskQueues

# As many rows as this match the search by owner and status, however many jobs there are.
MATCHING = 200
STATES = ("Done", "Failed", "Running", "Waiting", "Killed", "Matched", "Stalled")
SITES = 40
OWNERS = 400
MANY = 1_000
# A server that need not read from its disk, as that of a site.
OPTIONS = {
    "mariadb": ("--innodb-buffer-pool-size=1G",),
    # What it cleans up by itself is cleaned up here before anything is measured.
    "postgresql": ("shared_buffers=1GB", "autovacuum=off"),
}
# DIRAC's own tables, which have none of our keys, on MariaDB.
GUEST = "guest"
ON_MARIADB = ("mariadb", GUEST)
# By-id and first-page calls with many jobs may cost this much more than with few.
LARGEST_RATIO = 1.3


@dataclass(frozen=True)
class Case:
    """A question or a change, in a unit of work of its own.

    ``grows``: it is allowed to cost more with more jobs, and why.
    """

    name: str
    run: Callable[[UnitOfWork, int], Awaitable[object]]
    write: bool = False
    grows: str = ""


async def by_id(work: UnitOfWork, jobs: int) -> int:
    """The status of 100 jobs, spread over all."""
    ids = range(1, jobs, jobs // 100)[:100]
    return len(await job_attributes(work, ids, ("Status", "MinorStatus", "ApplicationStatus")))


async def by_owner(work: UnitOfWork, _jobs: int) -> int:
    """Ten of the jobs of one owner in one status, and how many there are."""
    conditions = [Condition("Owner", "eq", "alice"), Condition("Status", "eq", "Waiting")]
    page = await find_page(work, Jobs, Search(conditions=conditions, per_page=10))
    assert page.total == MATCHING, page.total
    return len(page.rows)


async def newest(work: UnitOfWork, _jobs: int) -> int:
    """The ten jobs of one owner that changed last."""
    search = Search(
        conditions=[Condition("Owner", "eq", "alice")],
        sort=[Sort("LastUpdateTime", descending=True)],
        per_page=10,
    )
    return len((await find_page(work, Jobs, search)).rows)


async def whole(work: UnitOfWork, jobs: int) -> int:
    """The first ten of all jobs, and how many there are."""
    page = await find_page(work, Jobs, Search(per_page=10))
    assert page.total >= jobs
    return len(page.rows)


async def summary(work: UnitOfWork, jobs: int) -> int:
    """All jobs counted by status and site."""
    counts = await summarise(work, Jobs, ["Status", "Site"], [])
    assert sum(each["count"] for each in counts) >= jobs
    return len(counts)


async def updates(work: UnitOfWork, jobs: int, *, spread: bool = False) -> int:
    """A thousand jobs report their status: the youngest, or such as are spread over all."""
    moment = datetime.now(UTC)
    ids = range(1, jobs, jobs // MANY)[:MANY] if spread else range(jobs - MANY + 1, jobs + 1)
    given = {
        job_id: [StatusUpdate(moment, "Running", "Application", f"event {job_id}", "JobWrapper")]
        for job_id in ids
    }
    return len(await set_job_statuses(work, given))


JDL = 'Executable = "/bin/echo"; Arguments = "%j"; JobName = "bench"; InputData = {"/lab/a", "/lab/b"};'


async def submission(work: UnitOfWork, _jobs: int) -> int:
    """A thousand jobs are submitted."""
    submitter = Submitter("bob", "lab_user", "lab")
    return len((await submit_jobs(work, [describe(JDL, submitter, DIRAC_9_1) for _ in range(MANY)])).job_ids)


CASES = (
    Case("status of 100 jobs by id", by_id),
    Case("search by owner and status, 10 results", by_owner),
    Case("search by owner, newest first, 10 results", newest),
    Case("first page of all jobs", whole, grows="the total is counted, over an index"),
    Case("summary by status and site", summary, grows="all jobs are counted, over an index"),
    Case("1,000 status updates", updates, write=True),
    Case(
        "1,000 status updates, spread over all jobs",
        partial(updates, spread=True),
        write=True,
        grows="each job lies on pages of its own",
    ),
    Case("submission of 1,000 jobs", submission, write=True),
)


# Filling


def numbers(connection: Connection, last: int) -> tuple[FromClause, Any]:
    """A table of the numbers from 1 on, as each database makes one, and its column."""
    match connection.dialect.name:
        case "postgresql":
            series = func.generate_series(1, last).table_valued("i").render_derived()
            return series, series.c.i
        case "sqlite":
            some = select(literal(1).label("i")).cte("some", recursive=True)
            some = some.union_all(select(some.c.i + 1).where(some.c.i < last))
            return some, some.c.i
        case _:
            connection.exec_driver_sql(f"USE `{schema_of(connection)}`")  # MariaDB has them in every database
            sequence = table(f"seq_1_to_{last}", column("seq"))
            return sequence, sequence.c.seq


def jobs_of(number: Any, last: int) -> dict[str, Any]:
    """The columns of the job with a number."""
    alice = number % (last // MATCHING) == 0
    moment = datetime(2026, 11, 1)  # noqa: DTZ001 - as columns hold it
    times = [moment + timedelta(minutes=minute) for minute in range(0, 60 * 24 * 20, 480)]
    return {
        "JobID": number,
        "Owner": case((alice, "alice"), else_=literal("user").concat(cast(number % OWNERS, String(8)))),
        "OwnerGroup": literal("lab_user"),
        "VO": literal("lab"),
        "Site": literal("LCG.Site").concat(cast(number % SITES, String(8))).concat(".org"),
        "Status": case(
            (alice, "Waiting"),
            *[(number % len(STATES) == index, state) for index, state in enumerate(STATES)],
            else_="Done",
        ),
        "LastUpdateTime": case(
            *[(number % len(times) == index, moment) for index, moment in enumerate(times)], else_=moment
        ),
    }


def fill_jobs(connection: Connection, last: int) -> None:
    """JobJDLs and Jobs."""
    source, number = numbers(connection, last)
    jdl = literal(compressed(f"[ {JDL} ]"))
    texts = {"JobID": number, "JDL": jdl, "JobRequirements": literal(""), "OriginalJDL": jdl}
    for target, columns in ((JobJDLs, texts), (Jobs, jobs_of(number, last))):
        rows = select(*columns.values()).select_from(source)
        connection.execute(target.insert().from_select(list(columns), rows))
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("""SELECT setval(pg_get_serial_sequence('"JobJDLs"', 'JobID'), :last)"""), {"last": last}
        )


def fill_queues(connection: Connection, last: int) -> None:
    """One task queue with every seventh job."""
    queue = {
        "TQId": 1,
        "Owner": "bob",
        "OwnerGroup": "lab_user",
        "VO": "lab",
        "CPUTime": 86400,
        "Priority": 1,
    }
    connection.execute(tq_TaskQueues.insert(), queue)
    source, number = numbers(connection, last)
    columns = {"TQId": literal(1), "JobId": number, "Priority": literal(1), "RealPriority": literal(1.0)}
    rows = (
        select(*columns.values()).select_from(source).where(number % len(STATES) == STATES.index("Waiting"))
    )
    connection.execute(tq_Jobs.insert().from_select(list(columns), rows))


def fill_commands(connection: Connection, last: int) -> None:
    """A command for every seventh job."""
    source, number = numbers(connection, last)
    moment = datetime(2026, 11, 1)  # noqa: DTZ001 - as columns hold it
    columns = {
        "JobID": number,
        "Command": literal("Kill"),
        "Arguments": literal(""),
        "ReceptionTime": literal(moment),
    }
    rows = select(*columns.values()).select_from(source).where(number % len(STATES) == STATES.index("Killed"))
    connection.execute(JobCommands.insert().from_select(list(columns), rows))


def fill_history(connection: Connection, last: int) -> None:
    """One record for each job."""
    source, number = numbers(connection, last)
    moment = datetime(2026, 11, 1)  # noqa: DTZ001 - as columns hold it
    columns = {
        "JobID": number,
        "Status": literal("Received"),
        "StatusTime": literal(moment),
        "StatusTimeOrder": literal(523000000.5),
    }
    rows = select(*columns.values()).select_from(source)
    connection.execute(LoggingInfo.insert().from_select(list(columns), rows))


async def settle(databases: Databases, engine: str, urls: Any) -> None:
    """What a database that has been there for a while has done: counted its rows, cleaned up."""
    await databases.refresh_statistics()
    if engine in ON_MARIADB:
        for name in (JOB_DB, JOB_LOGGING_DB, TASK_QUEUE_DB):
            await databases.sync_run(name, partial(_analyse, tables=list(SCHEMAS[name].tables)))
    if engine == "postgresql":
        # The private server writes its log late, and VACUUM passes over what is not written yet.
        for statement in ("CHECKPOINT", "VACUUM ANALYZE"):
            await outside_transactions(urls, statement)


def drop_our_keys(connection: Connection, schema: MetaData) -> None:
    """Leave DIRAC's keys only."""
    for index in (index for each in schema.tables.values() for index in each.indexes if index.info["ours"]):
        place = f"`{schema_of(connection)}`.`{index.table.name}`"
        connection.exec_driver_sql(f"ALTER TABLE {place} DROP KEY `{index.info['key']}`")


async def outside_transactions(url: str, statement: str) -> None:
    """Run what PostgreSQL does not do in a transaction."""
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute(statement)  # type: ignore[union-attr]
    await engine.dispose()


def _analyse(connection: Connection, tables: Sequence[str]) -> None:
    for name in tables:
        connection.exec_driver_sql(f"ANALYZE TABLE `{schema_of(connection)}`.`{name}`").all()


# Plans

# A plan's step that reads a whole table row by row, and which table.
WHOLE_TABLE = {
    "sqlite": re.compile(r"^SCAN (\w+)$"),
    "postgresql": re.compile(r'Seq Scan on "?(\w+)"?'),
}
OUR_TABLES = {name for schema in SCHEMAS.values() for name in schema.tables}


@contextmanager
def sent_to(databases: Databases) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent in a block, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    engine = databases._engines[JOB_DB].sync  # type: ignore[attr-defined]  # noqa: SLF001
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


async def read_whole(databases: Databases, engine: str, case: Case, jobs: int, *, few: bool) -> list[str]:
    """The tables that a case reads row by row, by the database's own plans for its statements.

    ``few``: with so few jobs PostgreSQL rightly reads whole tables, and is asked what it could do instead.
    """
    with sent_to(databases) as sent:
        await once(databases, case, jobs)
    planned = [each for each in sent if each[0].startswith(("SELECT", "UPDATE", "DELETE"))]
    steps = [await databases.sync_run(JOB_DB, partial(_plan, statement=each, few=few)) for each in planned]
    found = set()
    for step in (step for some in steps for step in some):
        if engine in ON_MARIADB:
            if step["type"] == "ALL":
                found.add(step["table"])
        elif match := WHOLE_TABLE[engine].search(step):
            found.add(match[1])
    return sorted(found & OUR_TABLES)


def _plan(connection: Connection, statement: tuple[str, Any], *, few: bool) -> list[Any]:
    if few and connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = connection.exec_driver_sql(f"{explain} {statement[0]}", statement[1]).mappings().all()
    match connection.dialect.name:
        case "sqlite":
            steps = [row["detail"] for row in rows]
            # SQLite's tables are their primary key: the first rows of one in its order are not a whole table.
            first_rows = "LIMIT" in statement[0] and "USE TEMP B-TREE FOR ORDER BY" not in steps
            return [] if first_rows else steps
        case "postgresql":
            return [row["QUERY PLAN"] for row in rows]
        case _:
            return list(rows)


# Measuring


async def once(databases: Databases, case: Case, jobs: int) -> float:
    """Milliseconds of one unit of work."""
    started = time.perf_counter()
    async with databases.unit_of_work(write=case.write) as work:
        assert await case.run(work, jobs)
    return (time.perf_counter() - started) * 1000


@asynccontextmanager
async def filled(engine: str, server: str, folder: Path, jobs: int) -> AsyncIterator[Databases]:
    """Databases with so many jobs."""
    match engine:
        case "sqlite":
            urls: Any = f"sqlite:///{folder / f'{jobs}.db'}"
        case "mariadb" | "guest":
            urls = {name: f"{server}jobs{jobs}_{name}" for name in DATABASES}
        case _:
            urls = f"{server}jobs{jobs}"
            await outside_transactions(f"{server}postgres", f"CREATE DATABASE jobs{jobs}")
    databases = open_databases(urls, create=True, limits=Limits(statement_seconds=600))
    await initialise(databases)
    if engine == GUEST:
        for name, schema in SCHEMAS.items():
            await databases.sync_run(name, partial(drop_our_keys, schema=schema))
    await databases.sync_run(JOB_DB, partial(fill_jobs, last=jobs))
    await databases.sync_run(JOB_DB, partial(fill_commands, last=jobs))
    await databases.sync_run(TASK_QUEUE_DB, partial(fill_queues, last=jobs))
    await databases.sync_run(JOB_LOGGING_DB, partial(fill_history, last=jobs))
    await settle(databases, engine, urls)
    yield databases
    await databases.dispose()


async def measure(engine: str, options: Options) -> bool:
    """Print a line for each case; False when one costs more than it may or reads a whole table."""
    good = True
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ""
        if engine != "sqlite":
            kind = "mariadb" if engine in ON_MARIADB else engine
            server = stack.enter_context(SERVERS[kind](*OPTIONS[kind])).url
        sides = [
            (await stack.enter_async_context(filled(engine, server, folder, jobs)), jobs)
            for jobs in options.jobs
        ]
        for case in CASES:
            line, fine = await measure_case(engine, case, sides, options)
            print(json.dumps(line), flush=True)
            good = good and fine
    return good


async def measure_case(
    engine: str, case: Case, sides: Sequence[tuple[Databases, int]], options: Options
) -> tuple[dict[str, Any], bool]:
    """Medians of rounds in which the sides take turns; the ratio is that of the medians."""
    databases, jobs = sides[-1]
    scanned = await read_whole(databases, engine, case, jobs, few=options.quick)
    taken: list[list[float]] = [[] for _ in sides]
    for number in range(options.rounds + 1):
        for side, (databases, jobs) in enumerate(sides):
            milliseconds = await once(databases, case, jobs)
            if number:  # the first round warms caches
                taken[side].append(milliseconds)
    medians = [statistics.median(each) for each in taken]
    ratio = medians[-1] / medians[0]
    line: dict[str, Any] = {"engine": engine, "case": case.name}
    line |= {f"ms_{jobs}": round(median, 2) for (_, jobs), median in zip(sides, medians, strict=True)}
    line |= {"ratio": round(ratio, 2), "reads_whole": scanned}
    if case.grows:
        line["grows"] = case.grows
    fine = not scanned and (options.quick or bool(case.grows) or ratio <= LARGEST_RATIO)
    return line | {"fine": fine}, fine


@dataclass(frozen=True)
class Options:
    """Which engines, with how many jobs, how often; ``quick`` judges plans and answers only."""

    engines: tuple[str, ...]
    jobs: tuple[int, ...]
    rounds: int
    quick: bool


def options_of(arguments: Sequence[str]) -> Options:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few jobs, once: are keys used?")
    parser.add_argument("--engines", default="sqlite,mariadb,guest,postgresql")
    parser.add_argument("--jobs", default="")
    parser.add_argument("--rounds", type=int, default=0)
    given = parser.parse_args(arguments)
    jobs = given.jobs or ("4000,20000" if given.quick else "10000,1000000")
    return Options(
        engines=tuple(given.engines.split(",")),
        jobs=tuple(int(each) for each in jobs.split(",")),
        rounds=given.rounds or (1 if given.quick else 31),
        quick=given.quick,
    )


async def main(options: Options) -> int:
    """1 when something costs more than it may."""
    results = [await measure(engine, options) for engine in options.engines]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(options_of(sys.argv[1:]))))
