"""SQLite: what a file that is missing, broken, busy or replaced does, and that the pool survives it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, literal, select

from shared_db.administration import initialise
from shared_db.connection import Databases, open_databases
from shared_db.engines.base import Limits
from shared_db.engines.sqlite import POOL_SIZE
from shared_db.errors import Conflict, InvalidQuery, TooSlow, Unavailable
from shared_db.queries.conditions import Condition
from shared_db.queries.search import Search, find_page
from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs

# Longer than anything here takes, so that what hangs is a failure and not a hanging suite.
PATIENCE = 20.0
BUSY_SECONDS = 0.1


@asynccontextmanager
async def opened(
    path: Path, *, create: bool = False, busy_seconds: float = PATIENCE
) -> AsyncIterator[Databases]:
    """Databases on a file, closed at the end."""
    databases = open_databases(f"sqlite:///{path}", create=create, limits=Limits(busy_seconds=busy_seconds))
    yield databases
    await databases.dispose()


def references(path: Path) -> list[str]:
    """The references of the pilots in a file, as another program reads them."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            row[0] for row in connection.execute("SELECT PilotJobReference FROM PilotAgents ORDER BY PilotID")
        ]


def take_away(path: Path) -> None:
    """Remove a database with the files that SQLite keeps beside it."""
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        each.unlink(missing_ok=True)


# Paths


@pytest.fixture
def engine() -> str:
    """The one that this module is about."""
    return "sqlite"


async def test_a_relative_path_is_taken_from_where_the_program_was_started(
    database_file: Path, monkeypatch: pytest.MonkeyPatch, pilots_of: Any
) -> None:
    """``sqlite:///`` and a relative path mean the directory at start, also after a change of directory."""
    monkeypatch.chdir(database_file.parent)
    databases = open_databases(f"sqlite:///{database_file.name}")
    monkeypatch.chdir("/")
    await pilots_of(databases).add("a")
    await databases.dispose()
    assert references(database_file) == ["a"]


@pytest.mark.parametrize("name", ["with blank.db", "wäh#rry.db", "a&b=c;d.db"])
async def test_names_of_files_are_taken_literally(tmp_path: Path, pilots_of: Any, name: str) -> None:
    """Blanks, hashes and letters of any alphabet in a path stand for themselves."""
    async with opened(tmp_path / name, create=True) as databases:
        await initialise(databases)
        await pilots_of(databases).add("a")
    assert references(tmp_path / name) == ["a"]


# Files that cannot be used


def garbage(path: Path) -> None:
    """A file that is no database."""
    path.write_bytes(b"This is no database, but it is long enough to be looked at as one." * 20)


@pytest.mark.parametrize("make", [Path.mkdir, garbage], ids=["directory", "garbage"])
@pytest.mark.parametrize("create", [False, True])
async def test_what_is_no_database_is_unavailable(
    tmp_path: Path, pilots_of: Any, make: Any, create: bool
) -> None:
    """A directory or a file of another kind is refused, and left as it is."""
    path = tmp_path / "wherry.db"
    make(path)
    before = path.stat().st_size
    async with opened(path, create=create) as databases:
        pilots = pilots_of(databases)
        with pytest.raises(Unavailable):
            await pilots.all()
        with pytest.raises(Unavailable):
            await pilots.add("a")
        with pytest.raises(Unavailable):
            await initialise(databases)
    assert path.stat().st_size == before


@pytest.mark.parametrize("folder", [".", "missing"])
async def test_a_missing_file_is_unavailable_and_stays_missing(
    tmp_path: Path, pilots_of: Any, folder: str
) -> None:
    """A mistyped path never becomes a new empty database."""
    path = tmp_path / folder / "wherry.db"
    async with opened(path) as databases:
        with pytest.raises(Unavailable, match="unable to open database file"):
            await pilots_of(databases).all()
        with pytest.raises(Unavailable):
            await pilots_of(databases).add("a")
    assert list(tmp_path.iterdir()) == []


async def test_failures_use_up_nothing(database_file: Path, tmp_path: Path, pilots_of: Any) -> None:
    """After more failures than there are connections, a file that has come serves without a restart."""
    path = tmp_path / "late.db"
    async with opened(path) as databases, asyncio.timeout(PATIENCE):
        pilots = pilots_of(databases)
        for _ in range(POOL_SIZE + 1):
            with pytest.raises(Unavailable):
                await pilots.all()
            with pytest.raises(Unavailable):
                await pilots.add("a")
        database_file.rename(path)
        await pilots.add("b")
        assert await pilots.all() == ["b"]


# Files that change under a running program


async def test_a_removed_file_is_unavailable(databases: Databases, database_file: Path, pilots: Any) -> None:
    """Nothing is written into a file that nobody will find again, and none is made in its place."""
    await pilots.add("a")
    database_file.unlink()
    with pytest.raises(Unavailable):
        await pilots.add("lost")
    with pytest.raises(Unavailable):
        await pilots.all()
    assert not database_file.exists()


async def hold_connections(databases: Databases, number: int) -> None:
    """Have this many connections in the pool."""
    together = asyncio.Barrier(number)

    async def read() -> None:
        async with databases.unit_of_work() as work:
            await work.connection(PILOT_AGENTS_DB)
            await work.rows(PILOT_AGENTS_DB, Jobs.select())
            await together.wait()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*[read() for _ in range(number)])


async def test_a_replaced_file_is_used(
    databases: Databases,
    database_file: Path,
    tmp_path: Path,
    pilots_of: Any,
    pilots: Any,
) -> None:
    """When another database takes the place of the file and its -wal, all connections go over to that one."""
    other = tmp_path / "other.db"
    async with opened(other, create=True) as another:
        await initialise(another)
        await pilots_of(another).add("restored")
    await pilots.add("a")
    await hold_connections(databases, 4)
    take_away(database_file)
    other.replace(database_file)
    await hold_connections(databases, 4)
    assert await pilots.all() == ["restored"]
    await pilots.add("b")
    assert references(database_file) == ["restored", "b"]


async def test_what_is_committed_is_in_the_file(database_file: Path, pilots: Any) -> None:
    """Another program reads a unit's rows as soon as it has ended, and the bridge reads the program's."""
    await pilots.add("ours")
    assert references(database_file) == ["ours"]
    with closing(sqlite3.connect(database_file)) as connection, connection:
        connection.execute("INSERT INTO PilotAgents (PilotJobReference, VO) VALUES ('theirs', 'lab')")
    assert await pilots.all() == ["ours", "theirs"]


# Files that another program keeps busy


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes for as long as the block lasts."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


async def test_a_file_that_stays_locked_is_unavailable(database_file: Path, pilots_of: Any) -> None:
    """A writer gives up after ``busy_seconds``, a reader need not wait; afterwards all is well."""
    async with opened(database_file, busy_seconds=BUSY_SECONDS) as databases, asyncio.timeout(PATIENCE):
        pilots = pilots_of(databases)
        await pilots.add("a")
        with locked(database_file):
            for _ in range(3):
                with pytest.raises(Unavailable, match="locked"):
                    await pilots.add("refused")
            assert await pilots.all() == ["a"]
        await pilots.add("b")
        assert await pilots.all() == ["a", "b"]


async def test_a_file_that_is_locked_for_a_moment_is_waited_for(database_file: Path, pilots_of: Any) -> None:
    """A lock that is given back within ``busy_seconds`` is no error."""
    async with opened(database_file, busy_seconds=PATIENCE) as databases, asyncio.timeout(PATIENCE):
        pilots = pilots_of(databases)
        with locked(database_file):
            writing = asyncio.create_task(pilots.add("a"))
            await asyncio.sleep(0.1)
            assert not writing.done()
        await writing
        assert await pilots.all() == ["a"]


async def test_two_workers_lose_no_update(database_file: Path) -> None:
    """Units of two programs that read and then write wait for each other, and none is refused."""
    counter = PilotAgents.c.CurrentJobID

    async def count(databases: Databases) -> None:
        async with databases.unit_of_work(write=True) as work:
            [[value]] = await work.rows(PILOT_AGENTS_DB, select(counter))
            await asyncio.sleep(0.001)
            await work.change(PILOT_AGENTS_DB, PilotAgents.update().values(CurrentJobID=value + 1))

    async with opened(database_file) as first, opened(database_file) as second:
        async with first.unit_of_work(write=True) as work:
            await work.change(PILOT_AGENTS_DB, PilotAgents.insert().values(VO="lab"))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*[count(databases) for _ in range(15) for databases in (first, second)])
        async with first.unit_of_work() as work:
            assert [tuple(row) for row in await work.rows(PILOT_AGENTS_DB, select(counter))] == [(30,)]


async def test_a_lock_that_is_in_the_way_of_a_rehearsal(database_file: Path, pilots_of: Any) -> None:
    """A rehearsal cannot begin while another program writes, and can afterwards."""
    async with opened(database_file, busy_seconds=BUSY_SECONDS) as databases, asyncio.timeout(PATIENCE):
        pilots = pilots_of(databases)
        with locked(database_file), pytest.raises(Unavailable, match="locked"):
            async with databases.rehearsal():
                await pilots.add("refused")
        async with databases.rehearsal():
            await pilots.add("rehearsed")
            assert await pilots.all() == ["rehearsed"]
        assert await pilots.all() == []


# Rows that the database refuses

JDL = {"JobID": 1, "JDL": "", "JobRequirements": "", "OriginalJDL": ""}


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        (JOB_DB, Jobs.insert().values(JobID=2)),
        (JOB_DB, JobCommands.insert().values(JobID=2, Command="Kill", Arguments="")),
        (TASK_QUEUE_DB, tq_Jobs.insert().values(TQId=1, JobId=1, Priority=1, RealPriority=1.0)),
        (JOB_DB, JobJDLs.delete()),
        (JOB_DB, Jobs.insert().values(JobID=1)),
        (JOB_DB, Jobs.update().values(Status=None)),
    ],
    ids=[
        "job without JDL",
        "command without job",
        "job in a queue that is not there",
        "JDL of a job is deleted",
        "key is there already",
        "no value where one is needed",
    ],
)
async def test_a_row_that_breaks_a_rule_is_a_conflict(
    databases: Databases, contents: Any, clock: Any, database: str, statement: Any
) -> None:
    """Foreign keys, primary keys and NOT NULL are enforced, and nothing is changed."""
    async with databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, JobJDLs.insert(), [JDL])
        await work.change(JOB_DB, Jobs.insert().values(JobID=1))
    before = await contents()
    if statement.table is JobCommands:
        statement = statement.values(ReceptionTime=clock.column)
    with pytest.raises(Conflict):
        async with databases.unit_of_work(write=True) as work:
            await work.change(database, statement)
    assert await contents() == before


# Cancelled tasks


async def all_is_well(databases: Databases, pilots: Any) -> None:
    """Every connection of the pool and the right to write can still be had."""
    await hold_connections(databases, POOL_SIZE)
    async with asyncio.timeout(PATIENCE):
        await pilots.add("well")
    assert (await pilots.all())[-1] == "well"


@pytest.mark.parametrize(
    ("point", "kept"), [("begin", False), ("before_cursor_execute", False), ("commit", True)]
)
async def test_a_task_cancelled_at_work_gives_its_connection_back(
    databases: Databases, pilots: Any, gate: Any, point: str, kept: bool
) -> None:
    """It ends when its thread has, with all of its changes or none of them, and harms no other."""
    gate.hold(point)
    task = asyncio.create_task(pilots.add("cancelled"))
    await asyncio.to_thread(gate.reached.wait)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    gate.open.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await pilots.all() == (["cancelled"] if kept else [])
    await all_is_well(databases, pilots)


@pytest.mark.parametrize("write", [False, True], ids=["for a connection", "for the right to write"])
async def test_a_task_cancelled_while_it_waits_takes_nothing_along(
    databases: Databases, pilots: Any, write: bool
) -> None:
    """Tasks that gave up waiting leave what they waited for to others."""
    holders = 1 if write else POOL_SIZE
    release, held = asyncio.Event(), asyncio.Barrier(holders + 1)

    async def hold() -> None:
        async with databases.unit_of_work(write=write) as work:
            await work.connection(PILOT_AGENTS_DB)
            await held.wait()
            await release.wait()

    async with asyncio.timeout(PATIENCE):
        holding = [asyncio.create_task(hold()) for _ in range(holders)]
        await held.wait()
        waiting = [asyncio.create_task(pilots.add("never")) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        release.set()
        await asyncio.wait([*holding, *waiting])
    assert all(task.cancelled() for task in waiting)
    await all_is_well(databases, pilots)
    assert await pilots.all() == ["well"]


async def test_tasks_cancelled_at_any_moment(databases: Databases, pilots: Any) -> None:
    """Whenever a crowd of tasks is cancelled, what they left is whole and the pool goes on."""

    async def pair(number: int) -> None:
        async with databases.unit_of_work(write=number % 3 != 0) as work:
            if number % 3:
                await pilots.add_in(work, f"{number}")
                await pilots.add_in(work, f"{number}")
            else:
                await pilots.all_in(work)

    async with asyncio.timeout(PATIENCE):
        for delay in range(12):
            crowd = [asyncio.create_task(pair(number)) for number in range(24)]
            await asyncio.sleep(delay / 1000)
            for task in crowd[delay % 4 :: 2]:
                task.cancel()
            await asyncio.wait(crowd)
            assert all(task.cancelled() or task.exception() is None for task in crowd)
    found = await pilots.all()
    assert found[0::2] == found[1::2]
    await all_is_well(databases, pilots)


async def test_a_regular_expression_that_takes_too_long(databases: Databases, pilots: Any) -> None:
    """It is the asker's error, and meanwhile others are served."""
    await pilots.add("a" * 60 + "b")
    condition = Condition("PilotJobReference", "regex", "(a|aa)+$")

    async def search() -> None:
        async with databases.unit_of_work() as work:
            await find_page(work, PilotAgents, Search(conditions=[condition]))

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(InvalidQuery, match="takes too long"):
            await search()
    assert len(await pilots.all()) == 1


async def test_many_slow_regular_expressions_are_broken_off_in_time(
    database_file: Path, pilots_of: Any
) -> None:
    """None of them takes too long alone: the statement's own time counts, whatever steps SQLite takes."""
    databases = open_databases(f"sqlite:///{database_file}", limits=Limits(statement_seconds=0.2))
    await pilots_of(databases).add(*["a" * 17 + "b"] * 2000)
    condition = Condition("PilotJobReference", "regex", "(a|aa|aaa)+$")
    started = time.monotonic()
    with pytest.raises((InvalidQuery, TooSlow), match=r"takes too long|still searching after 0\.2 s"):
        async with databases.unit_of_work() as work:
            await find_page(work, PilotAgents, Search(conditions=[condition]))
    assert time.monotonic() - started < 5
    await databases.dispose()


async def test_a_statement_that_takes_too_long_is_broken_off(database_file: Path, pilots_of: Any) -> None:
    """The caller learns after how long and what to write instead; the next one is not hurried."""
    numbers = select(literal(1).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1))  # without an end
    limits = Limits(statement_seconds=0.1)
    databases = open_databases(f"sqlite:///{database_file}", limits=limits)
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            with pytest.raises(TooSlow, match=r"after 0\.1 s: add a condition on a column with a key"):
                async with databases.unit_of_work() as work:
                    await work.rows(JOB_DB, select(func.count()).select_from(numbers))
        await pilots_of(databases).add("a")
        assert await pilots_of(databases).all() == ["a"]
    await databases.dispose()
