"""MariaDB and PostgreSQL: what locks, deadlocks, lost connections and restarts do; what is never repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import pytest
from missing import missing
from private_servers import SERVERS, NoServer, PrivateServer
from sqlalchemy import Column, Integer, MetaData, Table, event, func, select, text
from sqlalchemy.exc import DBAPIError

from shared_db.administration import initialise
from shared_db.connection import Databases, again, open_databases
from shared_db.engines.base import Limits
from shared_db.engines.mysql import _batches
from shared_db.errors import (
    Conflict,
    Foreign,
    Interrupted,
    InvalidQuery,
    InvalidValue,
    OutcomeUnknown,
    TooSlow,
    Unavailable,
)
from shared_db.queries.conditions import Condition
from shared_db.queries.search import Search, find_page
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

# Longer than anything here takes, so that what hangs is a failure and not a hanging suite.
PATIENCE = 30.0
REFERENCE = PilotAgents.c.PilotJobReference


@pytest.fixture(params=["mariadb", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """The kinds of server."""
    return str(request.param)


@pytest.fixture
async def opened(databases: Databases, database_urls: Any) -> AsyncIterator[Callable[..., Databases]]:
    """Opens this test's databases once more, with limits of its own."""
    made: list[Databases] = []

    def open_again(**limits: Any) -> Databases:
        made.append(open_databases(database_urls, limits=Limits(**limits)))
        return made[-1]

    yield open_again
    for each in made:
        await each.dispose()


def status(reference: str, value: str) -> Any:
    """Set the status of a pilot."""
    return PilotAgents.update().where(reference == REFERENCE).values(Status=value)


async def statuses(databases: Databases) -> dict[str, str]:
    """The status of every pilot, by reference."""
    async with databases.unit_of_work() as work:
        rows = await work.rows(PILOT_AGENTS_DB, select(REFERENCE, PilotAgents.c.Status))
    return dict(map(tuple, rows))


async def both_ways(
    databases: Databases, run: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]]
) -> list[Any]:
    """Two units that lock two pilots in opposite order, and so wait for each other; what each came to."""
    locked = [asyncio.Event(), asyncio.Event()]

    def unit(mine: int) -> Callable[[], Awaitable[str]]:
        first, second = ("a", "b") if mine == 0 else ("b", "a")

        async def attempt() -> str:
            async with databases.unit_of_work(write=True) as work:
                await work.change(PILOT_AGENTS_DB, status(first, f"unit {mine}"))
                locked[mine].set()
                await locked[1 - mine].wait()
                await work.change(PILOT_AGENTS_DB, status(second, f"unit {mine}"))
            return "done"

        return attempt

    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(run(unit(0)), run(unit(1)), return_exceptions=True)


async def test_a_deadlock_breaks_one_unit_off(databases: Databases, pilots: Any) -> None:
    """One unit is kept whole, of the other nothing."""
    await pilots.add("a", "b")
    results = await both_ways(databases, lambda attempt: attempt())
    assert sorted(map(type, results), key=str) == [Interrupted, str]
    kept = f"unit {results.index('done')}"
    assert await statuses(databases) == {"a": kept, "b": kept}


async def test_a_unit_that_was_broken_off_is_repeated(databases: Databases, pilots: Any) -> None:
    """With ``again`` both units are done, the repeated one last."""
    await pilots.add("a", "b")
    assert await both_ways(databases, again) == ["done", "done"]
    found = await statuses(databases)
    assert found["a"] == found["b"]


async def test_nothing_is_repeated_for_ever() -> None:
    """What is broken off again and again is an error in the end."""
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        raise Interrupted("once more")

    with pytest.raises(Interrupted, match="once more"):
        await again(attempt)
    assert attempts == 4


async def test_what_may_have_been_kept_is_not_repeated() -> None:
    """An outcome that is not known goes to the caller at once."""
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        raise OutcomeUnknown("perhaps")

    with pytest.raises(OutcomeUnknown):
        await again(attempt)
    assert attempts == 1


async def test_a_lock_is_waited_for_no_longer_than_allowed(
    databases: Databases, pilots: Any, opened: Callable[..., Databases]
) -> None:
    """Who meets a lock that stays gets an error, and the pool is as good as before."""
    await pilots.add("a")
    impatient = opened(busy_seconds=1)
    async with asyncio.timeout(PATIENCE), databases.unit_of_work(write=True) as work:
        await work.change(PILOT_AGENTS_DB, status("a", "held"))
        with pytest.raises(Interrupted):
            async with impatient.unit_of_work(write=True) as other:
                await other.change(PILOT_AGENTS_DB, status("a", "wanted"))
    assert await statuses(impatient) == {"a": "held"}


async def test_connections_are_waited_for_no_longer_than_allowed(
    databases: Databases, opened: Callable[..., Databases]
) -> None:
    """With every connection in use the next caller is told so."""
    small = opened(busy_seconds=0.2, connections=1)
    async with small.unit_of_work() as work:
        await work.rows(PILOT_AGENTS_DB, select(REFERENCE))
        with pytest.raises(Unavailable, match="Every connection"):
            async with small.unit_of_work() as other:
                await other.rows(PILOT_AGENTS_DB, select(REFERENCE))
    async with small.unit_of_work() as work:
        assert await work.rows(PILOT_AGENTS_DB, select(REFERENCE)) == []


async def test_a_slow_statement_is_broken_off(
    databases: Databases, opened: Callable[..., Databases], engine: str
) -> None:
    """The caller learns after how long, and what to write instead."""
    hasty = opened(statement_seconds=0.2)
    sleep = func.sleep(PATIENCE) if engine == "mariadb" else func.pg_sleep(PATIENCE)
    with pytest.raises(TooSlow, match=r"after 0\.2 s: add a condition on a column with a key"):
        async with asyncio.timeout(PATIENCE), hasty.unit_of_work() as work:
            await work.rows(JOB_DB, select(sleep))


# What does not fit


async def test_values_that_do_not_fit_are_named(databases: Databases) -> None:
    """What reaches the server in spite of our own checks comes back in the same words."""
    for row, words in [({"VO": "v" * 129}, "too long"), ({"VO": None}, "null")]:
        with pytest.raises(InvalidValue, match=words):
            async with databases.unit_of_work(write=True) as work:
                await work.change(PILOT_AGENTS_DB, PilotAgents.insert(), [row])


async def test_rows_that_break_a_rule_are_a_conflict(databases: Databases) -> None:
    """A second row with a key, and a row without the one that it needs."""
    with pytest.raises(Conflict):
        async with databases.unit_of_work(write=True) as work:
            await work.change(PILOT_AGENTS_DB, PilotAgents.insert(), [{"PilotID": 1, "VO": "v"}] * 2)
    with pytest.raises(Conflict):
        async with databases.unit_of_work(write=True) as work:
            await work.change(JOB_DB, Jobs.insert(), [{"JobID": 777}])


async def test_a_table_that_is_not_there_names_the_mend(databases: Databases) -> None:
    """A guest on tables that lack one is told how to look."""
    with pytest.raises(Foreign, match="wherry db check"):
        async with databases.unit_of_work() as work:
            await work.rows(JOB_DB, Table("nowhere", MetaData(), Column("Id", Integer)).select())


async def test_a_bad_regular_expression_is_the_caller_s(databases: Databases) -> None:
    """Each server has its own rules for them."""
    search = Search(conditions=[Condition("Owner", "regex", "a{1,99999999}")])
    with pytest.raises(InvalidQuery):
        async with databases.unit_of_work() as work:
            await find_page(work, Jobs, search)


async def test_a_text_that_is_none_is_the_caller_s(databases: Databases) -> None:
    """Half a surrogate pair is refused by the driver on the one, by the server on the other."""
    with pytest.raises((InvalidQuery, InvalidValue)):
        async with databases.unit_of_work() as work:
            await work.rows(JOB_DB, Jobs.select().where(Jobs.c.Owner == "\ud800"))


async def test_only_changed_rows_count(databases: Databases, pilots: Any, engine: str) -> None:
    """MySQL counts them so for DIRAC; our statements say it where a server would count those it met."""
    await pilots.add("a")
    async with databases.unit_of_work(write=True) as work:
        assert await work.change(PILOT_AGENTS_DB, status("a", "new")) == 1
        met = await work.change(PILOT_AGENTS_DB, status("a", "new"))
    assert met == {"mariadb": 0, "postgresql": 1}[engine]


# Ids


async def test_ids_come_in_the_order_of_the_rows(databases: Databases) -> None:
    """One id for each row, ascending, for more rows than fit into a statement."""
    rows = [{"JDL": str(number), "JobRequirements": "", "OriginalJDL": ""} for number in range(2_500)]
    async with databases.unit_of_work(write=True) as work:
        ids = await work.insert_ids(JOB_DB, JobJDLs, rows)
        stored = await work.rows(JOB_DB, select(JobJDLs.c.JobID, JobJDLs.c.JDL).order_by(JobJDLs.c.JobID))
    assert ids == sorted(ids)
    assert [tuple(row) for row in stored] == [(each, str(number)) for number, each in enumerate(ids)]


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
@pytest.mark.parametrize("step", [1, 3])
async def test_ids_on_a_server_without_returning(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """MySQL tells the first id of a statement; a cluster counts in steps."""
    monkeypatch.setattr(
        "shared_db.engines.mysql._VERSION", text("SELECT '8.0.36', @@auto_increment_increment")
    )
    rows = [{"JDL": "x" * 1000, "JobRequirements": "", "OriginalJDL": str(number)} for number in range(700)]
    async with databases.unit_of_work(write=True) as work:
        await work.rows(JOB_DB, select(1))
        await work.change(JOB_DB, text(f"SET SESSION auto_increment_increment = {step}"))  # type: ignore[arg-type]
        ids = await work.insert_ids(JOB_DB, JobJDLs, rows)
        await work.change(JOB_DB, text("SET SESSION auto_increment_increment = 1"))  # type: ignore[arg-type]
        stored = await work.rows(
            JOB_DB, select(JobJDLs.c.JobID, JobJDLs.c.OriginalJDL).order_by(JobJDLs.c.JobID)
        )
    assert [tuple(row) for row in stored] == [(each, str(number)) for number, each in enumerate(ids)]
    assert ids[1] - ids[0] == step


def test_batches_hold_every_row_once() -> None:
    """Rows are cut into statements by their size, whatever it is."""
    rows = [{"JDL": "x" * size} for size in (1, 500_000, 2, 150_000, 150_000, 3)]
    assert [len(batch) for batch in _batches(rows)] == [1, 1, 2, 2]
    assert list(chain.from_iterable(_batches(rows))) == rows
    assert _batches([]) == []


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
async def test_dates_of_zeros_are_none(databases: Databases, pilots: Any) -> None:
    """Very old rows have them; they mean that there is no date."""
    await pilots.add("a")
    async with databases.unit_of_work(write=True) as work:
        await work.rows(PILOT_AGENTS_DB, select(1))
        await work.change(PILOT_AGENTS_DB, text("SET @@session.sql_mode = ''"))  # type: ignore[arg-type]
        await work.change(PILOT_AGENTS_DB, PilotAgents.update().values(SubmissionTime=text("'0000-00-00'")))
        await work.change(PILOT_AGENTS_DB, text("SET @@session.sql_mode = 'STRICT_TRANS_TABLES'"))  # type: ignore[arg-type]
    async with databases.unit_of_work() as work:
        [[none]] = await work.rows(PILOT_AGENTS_DB, select(PilotAgents.c.SubmissionTime))
    assert none is None


# A server that goes away


@pytest.fixture
def own_server(engine: str) -> Iterator[PrivateServer]:
    """A server of this test's, to be stopped."""
    try:
        with SERVERS[engine]() as server:
            yield server
    except NoServer as error:
        missing(str(error))


@asynccontextmanager
async def at_home(server: PrivateServer, engine: str) -> AsyncIterator[Databases]:
    """Databases with tables on a server."""
    databases = open_databases(server.url + ("postgres" if engine == "postgresql" else ""))
    await initialise(databases)
    yield databases
    await databases.dispose()


async def test_a_pool_survives_a_restart(own_server: PrivateServer, engine: str, pilots_of: Any) -> None:
    """Every connection is dead, and neither a reader nor a writer notices; in between they are told."""
    async with asyncio.timeout(PATIENCE), at_home(own_server, engine) as databases:
        pilots = pilots_of(databases)
        await asyncio.gather(*[pilots.add(f"{number:02}") for number in range(10)])
        await asyncio.to_thread(own_server.restart)
        assert len(await pilots.all()) == 10
        await asyncio.gather(*[pilots.add(f"{number:02}") for number in range(10, 20)])
        own_server.stop()
        with pytest.raises(Unavailable):
            await pilots.all()
        with pytest.raises(Unavailable):
            await pilots.add("never")
        await asyncio.to_thread(own_server.restart)
        assert sorted(await again(pilots.all)) == [f"{number:02}" for number in range(20)]


async def test_a_connection_lost_in_a_unit_breaks_it_off(
    own_server: PrivateServer, engine: str, pilots_of: Any
) -> None:
    """After the first statement nothing is repeated in secret: what came before it is gone."""
    async with asyncio.timeout(PATIENCE), at_home(own_server, engine) as databases:
        pilots = pilots_of(databases)
        with pytest.raises(Interrupted):
            async with databases.unit_of_work(write=True) as work:
                await pilots.add_in(work, "gone")
                await asyncio.to_thread(own_server.restart)
                await pilots.add_in(work, "never")
        assert await again(pilots.all) == []


async def test_a_connection_lost_in_a_commit_is_reported(
    own_server: PrivateServer, engine: str, pilots_of: Any
) -> None:
    """Nobody can tell whether the server kept the change."""
    async with asyncio.timeout(PATIENCE), at_home(own_server, engine) as databases:
        pilots = pilots_of(databases)
        with pytest.raises(OutcomeUnknown, match="not known whether"):
            async with databases.unit_of_work(write=True) as work:
                await pilots.add_in(work, "perhaps")
                await asyncio.to_thread(own_server.restart)
        assert await again(pilots.all) in ([], ["perhaps"])


async def test_a_cancelled_statement_leaves_nothing(databases: Databases, pilots: Any, engine: str) -> None:
    """A caller who goes away in the middle of a statement takes his transaction with him."""
    sleep = func.sleep(PATIENCE) if engine == "mariadb" else func.pg_sleep(PATIENCE)
    begun = asyncio.Event()

    async def unit() -> None:
        async with databases.unit_of_work(write=True) as work:
            await pilots.add_in(work, "never")
            begun.set()
            await work.rows(PILOT_AGENTS_DB, select(sleep))

    async with asyncio.timeout(PATIENCE):
        task = asyncio.create_task(unit())
        await begun.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await pilots.all() == []
        await pilots.add("real")
    assert await pilots.all() == ["real"]


async def test_a_statement_that_is_wrong_in_itself_stays_a_bug(databases: Databases) -> None:
    """It is nobody's data and nobody's query: it is not dressed up as either."""
    with pytest.raises(DBAPIError):
        async with databases.unit_of_work() as work:
            await work.rows(JOB_DB, text("SELEKT 1"))


async def test_events_reach_the_engine(databases: Databases) -> None:
    """Statements can be counted, which the tests of bulk queries do."""
    sent: list[str] = []
    engine = databases._engines[JOB_DB].sync  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
    async with databases.unit_of_work() as work:
        await work.rows(JOB_DB, select(Jobs.c.JobID))
    assert len(sent) == 1
