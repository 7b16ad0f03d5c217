"""A database of its own for each test, and the few hands with which the tests touch it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from empty_databases import empty_database
from guests import GUESTS, HOMES, guest_sql, made_by_code_of_8
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Table, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from shared_db.administration import initialise, upgrade
from shared_db.cfg import parse_cfg
from shared_db.connection import Databases, UnitOfWork, open_databases
from shared_db.engines.base import Limits
from shared_db.engines.urls import DATABASES
from shared_db.errors import DataError
from shared_db.inspection import schema_of
from shared_db.queries.pilots import add_pilots
from shared_db.registry import Registry
from shared_db.schema import SCHEMAS
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

# Who is who, for tables of releases before 9, which know groups and no VOs.
REGISTRY = Registry.from_cfg(
    parse_cfg("""
DIRAC
{
  Setup = Production
}
Registry
{
  Users
  {
    alice
    {
      DN = /O=Lab/CN=alice
    }
  }
  Groups
  {
    lab_user
    {
      Users = alice
      VO = lab
    }
  }
  VO
  {
    lab
    {
      DefaultGroup = lab_user
    }
  }
}
""")
)


class Clock:
    """A present that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, 0, 654321, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @property
    def column(self) -> datetime:
        """The present as DIRAC's columns hold it."""
        return self.now.replace(microsecond=0, tzinfo=None)


class Pilots:
    """The smallest change and the smallest look-up there is: pilots by their references."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases

    async def add(self, *references: str) -> None:
        """Add pilots in a unit of work of its own."""
        async with self.databases.unit_of_work(write=True) as work:
            await self.add_in(work, *references)

    @staticmethod
    async def add_in(work: UnitOfWork, *references: str) -> None:
        """Add pilots as part of a unit of work."""
        await add_pilots(work, [{"PilotJobReference": each, "VO": "lab"} for each in references])

    async def all(self) -> list[str]:
        """Every reference, looked up in a unit of work of its own."""
        async with self.databases.unit_of_work() as work:
            return await self.all_in(work)

    @staticmethod
    async def all_in(work: UnitOfWork) -> list[str]:
        """Every reference, looked up as part of a unit of work."""
        statement = select(PilotAgents.c.PilotJobReference).order_by(PilotAgents.c.PilotID)
        return [row[0] for row in await work.rows(PILOT_AGENTS_DB, statement)]


class Gate:
    """Holds the threads that come to a certain point of a transaction, until it is opened."""

    def __init__(self, databases: Databases) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._engine = databases._engines[PILOT_AGENTS_DB].sync  # type: ignore[attr-defined]

    def hold(self, point: str) -> None:
        """Hold at an event of SQLAlchemy's: ``begin``, ``before_cursor_execute``, ``commit``."""
        event.listen(self._engine, point, lambda *_: self._wait())

    def hold_statement(self, start: str) -> None:
        """Hold before a statement that starts so."""

        def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(start):
                self._wait()

        event.listen(self._engine, "before_cursor_execute", look)

    def _wait(self) -> None:
        self.reached.set()
        self.open.wait(20)


@pytest.fixture
def clock() -> Clock:
    """A present that stands still; a test puts it where it is asked for."""
    return Clock()


@pytest.fixture(scope="session")
def pilots_of() -> type[Pilots]:
    """``pilots_of(databases)`` adds and lists pilots there."""
    return Pilots


# What may come instead of an answer; warnings are errors in tests.
PROBLEMS = (DataError, SQLAlchemyError, LookupError, ArithmeticError, ValueError, RuntimeError, Warning)


@pytest.fixture(scope="session")
def attempt() -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """``await attempt(answer)``: the answer, or the problem that comes instead."""

    async def run(answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except PROBLEMS as problem:
            return problem

    return run


@pytest.fixture(scope="session")
def _empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with DIRAC's tables and no rows, made once and copied for each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    asyncio.run(_create(f"sqlite:///{path}"))
    return path


async def _create(urls: str | Mapping[str, str]) -> None:
    databases = open_databases(urls, create=True)
    await initialise(databases)
    await databases.dispose()


@pytest.fixture
def database_file(_empty_file: Path, tmp_path: Path) -> Path:
    """The file of this test's database, with empty tables."""
    return Path(shutil.copy(_empty_file, tmp_path / "wherry.db"))


@pytest.fixture(params=[*HOMES, *GUESTS])
def engine(request: pytest.FixtureRequest) -> str:
    """The kind of database that a test runs on: each in turn.

    A test that is about some of them says ``parametrize("engine", [...], indirect=True)``; a module may have
    a fixture of this name of its own.
    """
    return str(request.param)


def is_mysql(engine: str) -> bool:
    """Whether a kind of database is kept by MariaDB."""
    return engine == "mariadb" or engine in GUESTS


@pytest.fixture(scope="session")
def _made(servers: Any) -> Iterator[Callable[[str], dict[str, str]]]:
    """The URLs of databases with DIRAC's tables on a server, made when they are first asked for.

    At the end DIRAC's own tables must be as they were.
    """
    made: dict[str, dict[str, str]] = {}
    before: dict[str, list[str]] = {}
    worker = f"wherry_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"

    def make(kind: str) -> dict[str, str]:
        if kind not in made:
            url = servers.url("mariadb" if is_mysql(kind) else kind)
            prefix = f"{worker}_{kind}".replace("-", "_").replace(".", "_")
            # DIRAC's own way on MySQL is one database each; all tables fit into one on PostgreSQL.
            names = {each: f"{prefix}_{each}" if is_mysql(kind) else prefix for each in DATABASES}
            asyncio.run(new_databases(url, set(names.values())))
            made[kind] = {each: url + name for each, name in names.items()}
            asyncio.run(_move_in(made[kind], GUESTS.get(kind)))
            if kind in GUESTS:
                before[kind] = asyncio.run(_definitions(made[kind]))
        return made[kind]

    yield make
    for kind, definitions in before.items():
        assert asyncio.run(_definitions(made[kind])) == definitions, f"tables of {kind} were changed"


async def _move_in(urls: Mapping[str, str], release: str | None) -> None:
    """Make the tables: a release's of DIRAC first, then ours, and those of DIRAC's that are missing."""
    databases = open_databases(urls, limits=Limits(busy_seconds=10))
    if release is not None:
        for name in ("JobDB", "JobLoggingDB", "PilotAgentsDB"):
            await databases.sync_run(name, partial(_execute, statements=guest_sql(release, name)))
        if release < "9":
            for name in ("TaskQueueDB", "SandboxMetadataDB"):
                await databases.sync_run(name, partial(_execute, statements=made_by_code_of_8(name)))
    await initialise(databases)
    await upgrade(databases, missing_tables=True)
    await databases.dispose()


def _execute(connection: SyncConnection, statements: Sequence[str]) -> None:
    """Statements as they are, in the schema that the connection translates to."""
    connection.exec_driver_sql(f"USE `{schema_of(connection)}`")
    for statement in statements:
        connection.exec_driver_sql(statement)


async def _definitions(urls: Mapping[str, str]) -> list[str]:
    """How every table is defined, without what counts its rows."""
    databases = open_databases(urls)
    definitions = [
        definition for name in SCHEMAS for definition in await databases.sync_run(name, _of_tables)
    ]
    await databases.dispose()
    return definitions


def _of_tables(connection: SyncConnection) -> list[str]:
    schema = schema_of(connection)
    tables = sorted(inspect(connection).get_table_names(schema))
    shown = [connection.exec_driver_sql(f"SHOW CREATE TABLE `{schema}`.`{each}`").one()[1] for each in tables]
    return [re.sub(r" AUTO_INCREMENT=\d+", "", each) for each in shown]


async def new_databases(server: str, names: Iterable[str]) -> None:
    """Make empty databases on a server, in place of those that have the names."""
    driver = {"mysql": "mysql+asyncmy", "postgresql": "postgresql+asyncpg"}
    url = make_url(server)
    engine = create_async_engine(
        url.set(drivername=driver[url.drivername], database=url.database or None),
        isolation_level="AUTOCOMMIT",
    )
    quote = engine.dialect.identifier_preparer.quote
    async with engine.connect() as connection:
        for name in names:
            with suppress(SQLAlchemyError):
                await connection.execute(text(f"DROP DATABASE {quote(name)}"))
            await connection.execute(text(f"CREATE DATABASE {quote(name)}"))
    await engine.dispose()


async def empty(databases: Databases, urls: Mapping[str, str]) -> None:
    """Take every row away, and count ids from 1 again; what no test wrote to is left alone: that is most.

    One connection does it: it may use the databases of all of its server.
    """
    tables = [
        (make_url(urls[name]).database or "", table)
        for name, schema in SCHEMAS.items()
        for table in schema.sorted_tables[::-1]
    ]
    await databases.sync_run(PILOT_AGENTS_DB, partial(_empty, tables=tables))


def _empty(connection: SyncConnection, tables: Sequence[tuple[str, Table]]) -> None:
    is_postgresql = connection.dialect.name == "postgresql"
    quote = connection.dialect.identifier_preparer.quote
    names = [
        quote(table.name) if is_postgresql else f"{quote(database)}.{quote(table.name)}"
        for database, table in tables
    ]
    looks = (f"SELECT {number} WHERE EXISTS (SELECT 1 FROM {name})" for number, name in enumerate(names))
    for number in sorted(connection.exec_driver_sql(" UNION ALL ".join(looks)).scalars()):
        connection.exec_driver_sql(f"DELETE FROM {names[number]}")
    if is_postgresql:
        connection.exec_driver_sql(_COUNT_ANEW)
        return
    databases = ", ".join(f"'{each}'" for each in {database for database, _ in tables})
    for database, table in connection.exec_driver_sql(_COUNTED.format(databases=databases)).all():
        connection.exec_driver_sql(f"ALTER TABLE {quote(database)}.{quote(table)} AUTO_INCREMENT = 1")


_COUNT_ANEW = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false)
FROM pg_sequences WHERE last_value IS NOT NULL
"""
_COUNTED = """
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE AUTO_INCREMENT > 1 AND TABLE_SCHEMA IN ({databases})
"""


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    servers = None if engine == "sqlite" else request.getfixturevalue("servers")
    with empty_database(engine, servers, tmp_path) as made:
        yield made


@pytest.fixture
def database_urls(
    engine: str, request: pytest.FixtureRequest, _made: Callable[[str], dict[str, str]]
) -> str | dict[str, str]:
    """This test's database: with DIRAC's tables, empty if it is a file."""
    if engine == "sqlite":
        return f"sqlite:///{request.getfixturevalue('database_file')}"
    return _made(engine)


@pytest.fixture
async def databases(engine: str, database_urls: str | dict[str, str]) -> AsyncIterator[Databases]:
    """All of DIRAC's logical databases, with empty tables."""
    opened = open_databases(database_urls, limits=Limits(busy_seconds=10), registry=lambda: REGISTRY)
    if not isinstance(database_urls, str):
        await empty(opened, database_urls)
    yield opened
    await opened.dispose()


@pytest.fixture
def pilots(databases: Databases) -> Pilots:
    """Adds and lists pilots in this test's database."""
    return Pilots(databases)


@pytest.fixture
def gate(databases: Databases) -> Iterator[Gate]:
    """Holds the threads of this test's database at some point; open at the latest when the test ends."""
    gate = Gate(databases)
    yield gate
    gate.open.set()


@pytest.fixture
def statements(databases: Databases) -> Iterator[list[tuple[str, Any]]]:
    """What was sent to this test's database, as it comes: texts and their bound parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    engine = databases._engines[PILOT_AGENTS_DB].sync  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def contents(databases: Databases) -> Any:
    """``await contents()``: every row of every table, to compare before and after."""

    async def read() -> dict[str, list[tuple[Any, ...]]]:
        tables = [table for schema in SCHEMAS.values() for table in schema.sorted_tables]
        async with databases.unit_of_work() as work:
            return {
                table.name: sorted(
                    map(tuple, await work.rows(table.metadata.info["database"], select(table)))
                )
                for table in tables
            }

    return read
