"""Units of work and rehearsals: what happens together, what is undone, and who sees what (design.md)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from guests import HOMES
from sqlalchemy import Executable, func, select, text

from shared_db.administration import initialise
from shared_db.connection import Databases, UnitOfWork, open_databases
from shared_db.engines.sqlite import POOL_SIZE
from shared_db.engines.urls import DATABASES
from shared_db.errors import Conflict, DataError, OutcomeUnknown, Unavailable
from shared_db.schema import OWN_SCHEMA, SCHEMAS
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from shared_db.upgrades import VERSION_TABLE

# Longer than anything here takes, so that what hangs is a failure and not a hanging suite.
PATIENCE = 20.0

# What only one writer at a time promises, or what holds the engine's threads to look at.
ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

JDL = {"JDL": "", "JobRequirements": "", "OriginalJDL": ""}
JOB_WITHOUT_JDL = Jobs.insert().values(JobID=777)


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """What is here is not about DIRAC's tables."""
    return str(request.param)


class Mishap(Exception):
    """What goes wrong on purpose."""


async def add_job(work: UnitOfWork) -> int:
    """Add a job; returns its id."""
    [[job_id]] = await work.rows(JOB_DB, JobJDLs.insert().values(**JDL).returning(JobJDLs.c.JobID))
    await work.change(JOB_DB, Jobs.insert().values(JobID=job_id))
    return int(job_id)


async def count_jobs(databases: Databases) -> int:
    """How many jobs are there."""
    async with databases.unit_of_work() as work:
        return int((await work.rows(JOB_DB, select(func.count()).select_from(Jobs)))[0][0])


# Units on their own


async def test_a_unit_commits_when_its_block_ends(databases: Databases, pilots: Any) -> None:
    """What a unit changed is there afterwards, in every logical database."""
    async with databases.unit_of_work(write=True) as work:
        await add_job(work)
        await pilots.add_in(work, "a", "b")
    assert await pilots.all() == ["a", "b"]
    assert await count_jobs(databases) == 1


@pytest.mark.parametrize("problem", [Mishap, asyncio.CancelledError, KeyboardInterrupt])
async def test_a_unit_that_raises_leaves_nothing(
    databases: Databases, pilots: Any, contents: Any, problem: type[BaseException]
) -> None:
    """An exception of any kind undoes all that the unit did, and goes on to the caller."""
    await pilots.add("before")
    before = await contents()
    with pytest.raises(problem):
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "a")
            await add_job(work)
            raise problem
    assert await contents() == before


async def test_a_refused_statement_undoes_the_whole_unit(
    databases: Databases, pilots: Any, contents: Any
) -> None:
    """A statement that the database refuses takes with it what came before in the unit."""
    before = await contents()
    with pytest.raises(Conflict):
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "a")
            await work.change(JOB_DB, JOB_WITHOUT_JDL)
    assert await contents() == before


async def test_a_unit_without_a_statement_is_harmless(databases: Databases, contents: Any) -> None:
    """Nothing is done where nothing was asked for."""
    before = await contents()
    async with databases.unit_of_work(write=True):
        pass
    assert await contents() == before


async def test_a_unit_sees_its_own_changes_and_others_do_not(databases: Databases, pilots: Any) -> None:
    """Changes are seen inside at once, outside after the commit."""
    async with databases.unit_of_work(write=True) as work:
        await pilots.add_in(work, "a")
        assert await pilots.all_in(work) == ["a"]
        assert await pilots.all() == []
    assert await pilots.all() == ["a"]


@ON_SQLITE
async def test_a_reading_unit_sees_one_state(databases: Databases, pilots: Any) -> None:
    """What another unit commits in the meantime is not seen by one that has begun to read."""
    async with databases.unit_of_work() as work:
        assert await pilots.all_in(work) == []
        await pilots.add("a")
        assert await pilots.all_in(work) == []
    assert await pilots.all() == ["a"]


async def _change(work: UnitOfWork, statement: Any) -> Any:
    return await work.change(PILOT_AGENTS_DB, statement)


async def _rows(work: UnitOfWork, statement: Any) -> Any:
    return await work.rows(PILOT_AGENTS_DB, statement.returning(PilotAgents.c.PilotID))


@pytest.mark.parametrize(
    "statement",
    [PilotAgents.insert().values(VO="lab"), PilotAgents.update().values(VO="lab"), PilotAgents.delete()],
    ids=["insert", "update", "delete"],
)
@pytest.mark.parametrize("run", [_change, _rows])
@pytest.mark.parametrize("rehearsed", [False, True])
async def test_a_reading_unit_refuses_changes(
    databases: Databases,
    pilots: Any,
    contents: Any,
    statement: Executable,
    run: Callable[[UnitOfWork, Any], Awaitable[Any]],
    rehearsed: bool,
) -> None:
    """Rows are changed only where ``write=True`` was asked for, in a rehearsal too."""
    await pilots.add("a")
    before = await contents()

    async def attempt() -> None:
        async with databases.unit_of_work() as work:
            with pytest.raises(RuntimeError, match="write=True"):
                await run(work, statement)

    if rehearsed:
        async with databases.rehearsal():
            await attempt()
            assert await pilots.all() == ["a"]
    else:
        await attempt()
    assert await contents() == before


@pytest.mark.parametrize("rehearsed", [False, True])
async def test_a_unit_is_not_used_after_its_end(
    databases: Databases, pilots: Any, attempt: Any, rehearsed: bool
) -> None:
    """Who keeps a unit longer than its block lasts gets an error, and keeps nobody else waiting."""
    async with databases.rehearsal() if rehearsed else databases.unit_of_work(write=True) as work:
        pass
    assert isinstance(await attempt(pilots.all_in(work)), RuntimeError | DataError)
    async with asyncio.timeout(PATIENCE):
        await pilots.add("real")


async def test_statements_of_one_unit_asked_for_at_once(databases: Databases, pilots: Any) -> None:
    """They share the unit's transaction, also where it has to be waited for."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with databases.unit_of_work(write=True) as work:
            await work.connection(PILOT_AGENTS_DB)
            begun.set()
            await release.wait()

    holding = asyncio.create_task(hold())
    await begun.wait()
    asyncio.get_running_loop().call_later(0.05, release.set)
    async with asyncio.timeout(PATIENCE), databases.unit_of_work(write=True) as work:
        assert await asyncio.gather(pilots.all_in(work), pilots.all_in(work)) == [[], []]
    await holding


@pytest.mark.parametrize("held", [[], [JOB_DB], [name for name in DATABASES if name != JOB_DB]])
def test_every_logical_database_needs_an_engine(held: list[str]) -> None:
    """A missing one is named when the databases are put together, not when it is first used."""
    missing = ", ".join(name for name in DATABASES if name not in held)
    with pytest.raises(ValueError, match=missing):
        open_databases(dict.fromkeys(held, "sqlite:///never.db"))


# Rehearsals


async def test_a_rehearsal_leaves_nothing_behind(databases: Databases, pilots: Any, contents: Any) -> None:
    """Several units, one of which fails, are as if they had never been; each saw those before it."""
    await pilots.add("kept")
    before = await contents()
    async with databases.rehearsal() as outer:
        await pilots.add("a")
        with pytest.raises(Mishap):
            async with databases.unit_of_work(write=True) as work:
                await pilots.add_in(work, "never")
                await add_job(work)
                raise Mishap
        assert await pilots.all() == ["kept", "a"]
        async with databases.unit_of_work(write=True) as work:
            await add_job(work)
        await pilots.add("b")
        assert await pilots.all_in(outer) == ["kept", "a", "b"]
        assert await count_jobs(databases) == 1
    assert await contents() == before


async def test_a_refused_statement_undoes_its_unit_only(
    databases: Databases, pilots: Any, contents: Any
) -> None:
    """The database's refusal ends one unit of a rehearsal; what came before and comes after stands."""
    before = await contents()
    async with databases.rehearsal() as outer:
        await pilots.add("a")
        with pytest.raises(Conflict):
            async with databases.unit_of_work(write=True) as work:
                await pilots.add_in(work, "never")
                await work.change(JOB_DB, JOB_WITHOUT_JDL)
        await pilots.add("b")
        assert await pilots.all_in(outer) == ["a", "b"]
    assert await contents() == before


@ON_SQLITE
async def test_a_rehearsal_uses_up_no_number(databases: Databases, pilots: Any) -> None:
    """Ids that were given out in a rehearsal are given out again."""

    async def next_job() -> int:
        async with databases.unit_of_work(write=True) as work:
            return await add_job(work)

    first = await next_job()
    async with databases.rehearsal():
        rehearsed = [await next_job(), await next_job()]
    assert rehearsed == [first + 1, first + 2]
    assert await next_job() == first + 1


async def test_a_rehearsal_that_raises_leaves_nothing(
    databases: Databases, pilots: Any, contents: Any
) -> None:
    """The exception goes on to the caller, and units afterwards are real again."""
    before = await contents()
    with pytest.raises(Mishap):
        async with databases.rehearsal():
            await pilots.add("a")
            raise Mishap
    assert await contents() == before
    await pilots.add("b")
    assert await pilots.all() == ["b"]


async def test_an_unused_rehearsal_is_harmless(databases: Databases, pilots: Any) -> None:
    """A rehearsal in which nothing is done does not keep others waiting."""
    async with asyncio.timeout(PATIENCE), databases.rehearsal():
        await asyncio.create_task(pilots.add("inside"))
    async with asyncio.timeout(PATIENCE), databases.rehearsal():
        pass
    await pilots.add("real")
    assert await pilots.all() == ["real"]


async def test_concurrent_units_of_a_rehearsal(databases: Databases, pilots: Any, contents: Any) -> None:
    """Units that tasks ask for at the same time take turns; the failing ones undo their own part only."""
    before = await contents()

    async def unit(number: int) -> None:
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, f"{number:02}")
            await asyncio.sleep(0)
            await pilots.add_in(work, f"{number:02} again")
            if number % 3 == 0:
                raise Mishap

    async with asyncio.timeout(PATIENCE), databases.rehearsal() as outer:
        results = await asyncio.gather(*map(unit, range(30)), return_exceptions=True)
        assert [number for number in range(30) if isinstance(results[number], Mishap)] == [*range(0, 30, 3)]
        expected = [text for n in range(30) if n % 3 for text in (f"{n:02}", f"{n:02} again")]
        assert sorted(await pilots.all_in(outer)) == expected
    assert await contents() == before


@ON_SQLITE
async def test_others_are_not_part_of_a_rehearsal(databases: Databases, pilots: Any) -> None:
    """A task from outside reads the real rows meanwhile, and its changes wait and then stay."""
    begun, done = asyncio.Event(), asyncio.Event()

    async def rehearse() -> None:
        async with databases.rehearsal():
            await pilots.add("rehearsed")
            begun.set()
            await done.wait()

    async with asyncio.timeout(PATIENCE):
        rehearsing = asyncio.create_task(rehearse())
        await begun.wait()
        writing = asyncio.create_task(pilots.add("real"))
        assert await pilots.all() == []
        assert not writing.done()
        done.set()
        await asyncio.gather(rehearsing, writing)
    assert await pilots.all() == ["real"]


async def test_two_rehearsals_do_not_meet(databases: Databases, pilots: Any) -> None:
    """Rehearsals in different tasks come one after the other, and neither sees the other's effects."""

    async def rehearse(name: str) -> list[str]:
        async with databases.rehearsal():
            await pilots.add(name)
            await asyncio.sleep(0.01)
            return list(await pilots.all())

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*map(rehearse, "abc")) == [["a"], ["b"], ["c"]]
    assert await pilots.all() == []


@pytest.mark.parametrize("used", [True, False], ids=["rehearsal was used", "rehearsal was not used"])
async def test_a_task_that_outlives_its_rehearsal_changes_nothing(
    databases: Databases, pilots: Any, used: bool
) -> None:
    """Whether it is refused or goes nowhere: its changes are not kept, and others can go on."""
    ended = asyncio.Event()

    async def late() -> None:
        await ended.wait()
        await pilots.add("late")

    async with databases.rehearsal():
        if used:
            await pilots.add("rehearsed")
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    ended.set()
    await asyncio.wait([task])
    assert task.exception() is None or isinstance(task.exception(), DataError | RuntimeError)
    async with asyncio.timeout(PATIENCE):
        await pilots.add("real")
    assert await pilots.all() == ["real"]


@ON_SQLITE
async def test_a_rehearsal_that_ends_under_a_running_statement_leaves_nothing(
    databases: Databases, pilots: Any, gate: Any
) -> None:
    """A task may still be at work when the rehearsal is left, as after a ``gather`` of which one failed."""
    gate.hold_statement("INSERT")
    with pytest.raises(Mishap):
        async with databases.rehearsal():
            task = asyncio.create_task(pilots.add("rehearsed"))
            await asyncio.to_thread(gate.reached.wait)
            asyncio.get_running_loop().call_later(0.2, gate.open.set)
            raise Mishap
    await asyncio.gather(task, return_exceptions=True)
    assert await pilots.all() == []


async def test_a_rehearsal_cancelled_while_it_waits_for_a_task_leaves_nothing(
    databases: Databases, pilots: Any
) -> None:
    """A task left behind may hold a unit when the rehearsal ends; cancelling the wait keeps nobody out."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "rehearsed")
            begun.set()
            await release.wait()

    async def rehearse() -> asyncio.Task[None]:
        async with databases.rehearsal():
            left_behind = asyncio.create_task(hold())
            await begun.wait()
        return left_behind

    rehearsing = asyncio.create_task(rehearse())
    await begun.wait()
    await asyncio.sleep(0.02)
    rehearsing.cancel()
    await asyncio.sleep(0.02)
    release.set()
    await asyncio.wait([rehearsing])
    async with asyncio.timeout(PATIENCE):
        await pilots.add("real")
    assert await pilots.all() == ["real"]


@ON_SQLITE
async def test_a_unit_cancelled_twice_leaves_nothing(pilots: Any, gate: Any) -> None:
    """A task that is cancelled again while its statement still runs keeps none of its changes."""
    gate.hold_statement("INSERT")
    task = asyncio.create_task(pilots.add("cancelled"))
    await asyncio.to_thread(gate.reached.wait)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
    gate.open.set()
    await asyncio.wait([task])
    assert task.cancelled()
    await pilots.add("real")
    assert await pilots.all() == ["real"]


# Two files


@pytest.fixture
async def two_files(tmp_path: Path) -> AsyncIterator[Databases]:
    """The pilots in one SQLite file, everything else in another."""
    urls = dict.fromkeys(DATABASES, f"sqlite:///{tmp_path / 'jobs.db'}")
    urls[PILOT_AGENTS_DB] = f"sqlite:///{tmp_path / 'pilots.db'}"
    opened = open_databases(urls, create=True)
    await initialise(opened)
    yield opened
    await opened.dispose()


async def test_each_file_holds_the_tables_of_its_logical_databases(
    two_files: Databases, tmp_path: Path
) -> None:
    """Tables are made where the map of URLs says, and nowhere else."""
    held = {}
    for path in ("jobs.db", "pilots.db"):
        with sqlite3.connect(tmp_path / path) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            held[path] = {name for (name,) in rows if not name.startswith("sqlite_")}
        connection.close()
    assert held["pilots.db"] == set(SCHEMAS[PILOT_AGENTS_DB].tables)
    others = [set(schema.tables) for name, schema in SCHEMAS.items() if name != PILOT_AGENTS_DB]
    assert held["jobs.db"] == {*OWN_SCHEMA.tables, VERSION_TABLE}.union(*others)


@pytest.mark.parametrize("fails", [False, True])
async def test_one_unit_on_two_files(two_files: Databases, pilots_of: Any, fails: bool) -> None:
    """A unit commits in both files when it ends and in neither when it raises."""
    pilots = pilots_of(two_files)
    try:
        async with two_files.unit_of_work(write=True) as work:
            await add_job(work)
            await pilots.add_in(work, "a")
            if fails:
                raise Mishap
    except Mishap:
        pass
    assert await count_jobs(two_files) == (0 if fails else 1)
    assert await pilots.all() == ([] if fails else ["a"])


async def test_a_rehearsal_on_two_files(two_files: Databases, pilots_of: Any) -> None:
    """Both files are as before; inside, a failing unit undoes its part in both."""
    pilots = pilots_of(two_files)
    async with two_files.rehearsal() as outer:
        async with two_files.unit_of_work(write=True) as work:
            await add_job(work)
            await pilots.add_in(work, "a")
        with pytest.raises(Mishap):
            async with two_files.unit_of_work(write=True) as work:
                await pilots.add_in(work, "never")
                await add_job(work)
                raise Mishap
        assert await pilots.all_in(outer) == ["a"]
        assert await count_jobs(two_files) == 1
    assert await pilots.all() == []
    assert await count_jobs(two_files) == 0


async def fail_to_commit(databases: Databases, pilots: Any) -> None:
    """A unit whose commit is refused: it leaves a job without JDL, which is looked at only at the end."""
    with pytest.raises(Conflict):
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "uncertain")
            await work.rows(JOB_DB, text("PRAGMA defer_foreign_keys = ON"))
            await work.change(JOB_DB, JOB_WITHOUT_JDL)


async def test_a_failing_commit_does_not_keep_the_other_file(two_files: Databases, pilots_of: Any) -> None:
    """When one file refuses to commit, the connection to the other is given back all the same."""
    pilots = pilots_of(two_files)
    await fail_to_commit(two_files, pilots)
    async with asyncio.timeout(PATIENCE):
        await pilots.add("b")
    assert (await pilots.all())[-1] == "b"


@ON_SQLITE
async def test_a_failing_commit_does_not_hurt_the_next_unit(
    databases: Databases, pilots: Any, attempt: Any
) -> None:
    """A refused commit undoes its unit, and the next one is as good as any."""
    await fail_to_commit(databases, pilots)
    assert await attempt(pilots.add("real")) is None
    assert await pilots.all() == ["real"]


async def test_writers_that_use_two_files_in_different_order_do_not_deadlock(two_files: Databases) -> None:
    """One unit asks for jobs first, the other for pilots; both end."""
    both = asyncio.Barrier(2)

    async def use(first: str, second: str) -> None:
        async with two_files.unit_of_work(write=True) as work:
            await work.connection(first)
            # Where the other cannot come this far, it waits for this unit, as it should.
            with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(0.1):
                    await both.wait()
            await work.connection(second)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(use(JOB_DB, PILOT_AGENTS_DB), use(PILOT_AGENTS_DB, JOB_DB))


async def test_readers_that_use_two_files_in_different_order_do_not_deadlock(two_files: Databases) -> None:
    """As many as each pool has places ask for jobs first, as many for pilots first; all end."""
    all_at_once = asyncio.Barrier(2 * POOL_SIZE)

    async def use(first: str, second: str) -> None:
        async with two_files.unit_of_work() as work:
            await work.connection(first)
            with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(0.1):
                    await all_at_once.wait()
            await work.connection(second)

    async with asyncio.timeout(PATIENCE):
        orders = [(JOB_DB, PILOT_AGENTS_DB), (PILOT_AGENTS_DB, JOB_DB)] * POOL_SIZE
        await asyncio.gather(*[use(*order) for order in orders])


# Many at once


async def test_many_readers_and_writers_lose_no_update(databases: Databases, pilots: Any) -> None:
    """More tasks than connections lock, read and write what they read plus one; none is lost, none hangs."""
    await pilots.add("counter")
    counter = PilotAgents.c.CurrentJobID
    seen: list[int] = []

    async def write() -> None:
        async with databases.unit_of_work(write=True) as work:
            [[value]] = await work.rows(PILOT_AGENTS_DB, select(counter).with_for_update())
            await asyncio.sleep(0)
            await work.change(PILOT_AGENTS_DB, PilotAgents.update().values(CurrentJobID=value + 1))

    async def read() -> None:
        async with databases.unit_of_work() as work:
            [[first]] = await work.rows(PILOT_AGENTS_DB, select(counter))
            await asyncio.sleep(0.001)
            [[second]] = await work.rows(PILOT_AGENTS_DB, select(counter))
            assert first <= second
            seen.append(first)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*[task() for _ in range(50) for task in (write, read)])
    assert len(seen) == 50
    async with databases.unit_of_work() as work:
        assert [tuple(row) for row in await work.rows(PILOT_AGENTS_DB, select(counter))] == [(50,)]


@ON_SQLITE
async def test_waiting_writers_do_not_keep_readers_out(databases: Databases, pilots: Any) -> None:
    """While one unit writes and a crowd waits to write, others can still read."""
    async with asyncio.timeout(PATIENCE):
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "first")
            crowd = [asyncio.create_task(pilots.add(f"{number:02}")) for number in range(20)]
            await asyncio.sleep(0.01)
            assert await pilots.all() == []
        await asyncio.gather(*crowd)
    assert sorted(await pilots.all()) == [*(f"{number:02}" for number in range(20)), "first"]


async def test_logical_databases_of_one_file_share_a_transaction(databases: Databases) -> None:
    """Names that lie in one file are one connection of a unit, so that they cannot wait for each other."""
    async with databases.unit_of_work(write=True) as work:
        assert await work.connection(JOB_DB) is await work.connection(JOB_LOGGING_DB)


async def test_units_inside_one_another_in_a_rehearsal_are_an_error(databases: Databases) -> None:
    """They would wait for each other for ever; so would a rehearsal in a rehearsal."""
    async with databases.rehearsal():
        async with databases.unit_of_work():
            with pytest.raises(RuntimeError, match="inside another one"):
                async with databases.unit_of_work():
                    pass
        with pytest.raises(RuntimeError, match="inside another one"):
            async with databases.rehearsal():
                pass
        async with databases.unit_of_work():
            pass


class Ending:
    """A transaction that only ends, well or not."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.ended: list[bool] = []

    async def finish(self, *, commit: bool) -> None:
        """End, and say how."""
        self.ended.append(commit)
        if self.problem is not None:
            raise self.problem


@pytest.mark.parametrize(
    ("commit", "problem", "ended"),
    [(True, OutcomeUnknown, [[True], [True], [False]]), (False, Unavailable, [[False], [False], [False]])],
)
async def test_engines_that_end_differently(
    commit: bool, problem: type[Exception], ended: list[list[bool]]
) -> None:
    """After a failed commit the rest is undone, and what was kept is said; a roll-back keeps nothing."""
    work = UnitOfWork({}, None, write=True)
    connections = [Ending(), Ending(Unavailable("gone")), Ending()]
    work._connections = dict(enumerate(connections))  # type: ignore[misc,assignment]
    with pytest.raises(Unavailable) as raised:
        await work.finish(commit=commit)
    assert raised.type is problem
    assert [each.ended for each in connections] == ended
