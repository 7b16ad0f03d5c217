"""A database of its own for each test, and the few hands with which the tests touch it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError

from shared_db.connection import Databases, UnitOfWork, open_databases
from shared_db.errors import DataError
from shared_db.queries.pilots import add_pilots
from shared_db.schema import SCHEMAS
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents


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

    async def make() -> None:
        databases = open_databases(f"sqlite:///{path}", create=True)
        await databases.create()
        await databases.dispose()

    asyncio.run(make())
    return path


@pytest.fixture
def database_file(_empty_file: Path, tmp_path: Path) -> Path:
    """The file of this test's database, with empty tables."""
    return Path(shutil.copy(_empty_file, tmp_path / "wherry.db"))


@pytest.fixture
async def databases(database_file: Path) -> AsyncIterator[Databases]:
    """All of DIRAC's logical databases in one SQLite file."""
    opened = open_databases(f"sqlite:///{database_file}")
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
