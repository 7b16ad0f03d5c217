"""SQLite, the embedded default.

A statement runs in a worker thread, and so do the checkout before the first and the commit after the
last: one hop to a thread for each, where aiosqlite needs four (measured: 0.36 ms instead of 0.83 ms for
two look-ups, see docs/decisions/0003-sqlite-threads.md).
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import regex
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Engine as SyncEngine
from sqlalchemy import Executable, NestedTransaction, Table, create_engine, event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from shared_db.engines.base import USUAL, Limits, Parameters, Result
from shared_db.engines.threads import WorkerThreads
from shared_db.errors import Conflict, DataError, Foreign, InvalidQuery, TooSlow, Unavailable

T = TypeVar("T")

POOL_SIZE = 8
CACHE_KIB = 16_000
PAGES_BETWEEN_CHECKPOINTS = 4_000
# SQLite looks at the clock after so many of its steps, which is every millisecond or so.
STEPS_BETWEEN_LOOKS = 50_000


class SqliteEngine:
    """One SQLite file, with one writer at a time.

    The file must exist (``create=True``, for the demo grid and tests, makes it): a mistyped path is an
    error, never a new empty database.
    """

    one_writer = True
    may_be_diracs = False

    def __init__(self, url: str, *, create: bool = False, limits: Limits = USUAL) -> None:
        """``url`` is ``sqlite:///relative/path`` or ``sqlite:////absolute/path``."""
        self.url = url
        try:
            database = make_url(url).database
        except exc.ArgumentError as error:
            raise ValueError(f"{url}: is no URL: write sqlite:///PATH") from error
        if not database or database == ":memory:":
            raise ValueError(f"{url}: name a file, as in sqlite:///var/wherry.db")
        self._path = Path(database).absolute()
        self._mode = "rwc" if create else "rw"
        self.limits = limits
        self._threads = WorkerThreads("sqlite", helpers=POOL_SIZE - 1)
        self.sync = self._make_engine()
        # Nobody waits for a connection or for SQLite's one write lock while holding a thread: those threads
        # are needed by the very transactions that are waited for.
        self._slots = asyncio.Semaphore(POOL_SIZE)
        self._writer = asyncio.Lock()

    def _make_engine(self) -> SyncEngine:
        engine = create_engine(
            "sqlite://", creator=self._open, poolclass=QueuePool, pool_size=POOL_SIZE, max_overflow=0
        )
        event.listen(engine, "begin", _begin)
        event.listen(engine, "connect", _provide_regexp)
        event.listen(engine, "connect", _watch_clock)
        event.listen(engine, "checkout", self._check_file)
        return engine

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={self._mode}",
            uri=True,
            timeout=self.limits.busy_seconds,
            isolation_level=None,  # the driver's default commits behind one's back; _begin says BEGIN
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            # To copy the log into the file while a caller waits for his commit is done seldom.
            connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
            # Of 2 MB, SQLite's usual, a thousand jobs among a million find nothing twice.
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _check_file(
        self,
        _driver: sqlite3.Connection,
        record: ConnectionPoolEntry,
        _proxy: PoolProxiedConnection,
    ) -> None:
        """Refuse a pooled connection whose file was taken away or replaced: its writes would be lost."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise exc.DisconnectionError(str(error)) from error
        file = (status.st_dev, status.st_ino)
        if record.info.setdefault("file", file) != file:
            raise exc.DisconnectionError("the database file was replaced")

    async def connect(self, *, write: bool) -> SqliteConnection:
        """A transaction of its own; one writer at a time."""
        if write:
            await self._writer.acquire()
        try:
            await self._slots.acquire()
        except BaseException:
            if write:
                self._writer.release()
            raise
        return SqliteConnection(self, write)

    def give_back(self, *, write: bool) -> None:
        """Called by the connection when its transaction has ended."""
        self._slots.release()
        if write:
            self._writer.release()

    async def make(self, database: str) -> None:
        """The file is made when it is first opened, if at all."""

    async def sync_run(self, database: str, function: Callable[[SyncConnection], T]) -> T:  # noqa: ARG002
        """Run a function on a plain connection, and commit."""
        return await self.in_thread(self._sync_run, function)

    def _sync_run(self, function: Callable[[SyncConnection], T]) -> T:
        with self.sync.connect() as connection:
            connection.info.update(write=True, deadline=inf)
            with connection.begin():
                return function(connection)

    async def refresh_statistics(self) -> None:
        """Without statistics SQLite takes the key on Status where that on Owner is a thousand times better.

        A few hundred rows of each key are looked at, however many there are.
        """
        await self.in_thread(self._sync_run, _analyse)

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run in a worker thread, in the words of ``shared_db.errors``.

        A cancelled caller, however often, still waits for the thread: the connection must not be used twice
        at a time.
        """
        try:
            return await self._threads.run(function, *arguments)
        except (OverflowError, UnicodeEncodeError) as error:
            raise InvalidQuery(f"A value cannot be stored or looked for: {error}") from error
        except (exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        """The driver's exception in the domain's words; a statement that is wrong in itself stays a bug."""
        match error:
            case exc.ProgrammingError():
                return error
            case exc.IntegrityError():
                return Conflict(str(error.orig))
            case exc.DatabaseError():
                return self._refused(str(error.orig))
            case sqlite3.Error() | exc.DisconnectionError() | exc.InvalidRequestError():
                return Unavailable(f"Database is not available: {error}")
            case _:
                return error

    def _refused(self, message: str) -> DataError:
        if _FUNCTION_FAILED in message:
            return InvalidQuery(
                "A regular expression takes too long: write a simpler one, or add another condition"
            )
        if message == "interrupted":
            return TooSlow(self.limits.statement_seconds)
        if _FOREIGN.match(message):
            return Foreign(message)
        return Unavailable(f"Database is not available: {message}")

    async def dispose(self) -> None:
        """Close every connection and thread."""
        self.sync.dispose()
        await self._threads.end()


class SqliteConnection:
    """One transaction: BEGIN with the first statement, COMMIT or ROLLBACK in ``finish``."""

    def __init__(self, engine: SqliteEngine, write: bool) -> None:
        self._engine = engine
        self._write = write
        self._sync: SyncConnection | None = None

    def _connected(self) -> SyncConnection:
        if self._sync is None:
            self._sync = self._engine.sync.connect()
            self._sync.info["write"] = self._write
        return self._sync

    def _execute(self, statement: Executable, parameters: Parameters | None) -> Result:
        connection = self._connected()
        connection.info["deadline"] = time.monotonic() + self._engine.limits.statement_seconds
        result = connection.execute(statement, parameters)
        # Rows are fetched here, in the thread; the loop only reads what is in memory.
        return Result(rows=result.all()) if result.returns_rows else Result(rowcount=result.rowcount)

    def _finish(self, commit: bool) -> None:
        if self._sync is None:
            return
        with self._sync as connection:
            try:
                if commit:
                    connection.commit()
            except exc.SQLAlchemyError:
                # What could not be committed must not be met by the next one to use the connection.
                connection.invalidate()
                raise

    async def execute(
        self,
        database: str,  # noqa: ARG002 - one file holds them all
        statement: Executable,
        parameters: Parameters | None = None,
    ) -> Result:
        """Run one statement."""
        return await self._engine.in_thread(self._execute, statement, parameters)

    async def insert_ids(self, database: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Insert rows; returns their ids in the order of the rows."""
        # One writer at a time counts the ids up in the order of the rows.
        [key] = table.primary_key
        result = await self.execute(database, table.insert().returning(key), rows)
        return sorted(row[0] for row in result.rows)

    async def savepoint(self) -> SqliteSavepoint:
        """Set a mark at the present point of the transaction."""
        nested = await self._engine.in_thread(lambda: self._connected().begin_nested())
        return SqliteSavepoint(self._engine, nested)

    async def finish(self, *, commit: bool) -> None:
        """End the transaction (leaving without commit rolls it back)."""
        try:
            if self._write:
                await self._engine.in_thread(self._finish, commit)
            else:
                # To end a reading transaction waits for nothing: it lets go of a lock in shared memory.
                self._finish(commit=False)
        finally:
            self._engine.give_back(write=self._write)


class SqliteSavepoint:
    """A mark inside a transaction."""

    def __init__(self, engine: SqliteEngine, nested: NestedTransaction) -> None:
        self._engine = engine
        self._nested = nested

    async def release(self) -> None:
        """Keep what was done since the mark."""
        await self._engine.in_thread(self._nested.commit)

    async def rollback(self) -> None:
        """Undo what was done since the mark."""
        await self._engine.in_thread(self._nested.rollback)


def _analyse(connection: SyncConnection) -> None:
    connection.exec_driver_sql("PRAGMA analysis_limit = 400")
    connection.exec_driver_sql("ANALYZE")


REGEX_SECONDS = 0.05
_FUNCTION_FAILED = "user-defined function raised exception"
_FOREIGN = re.compile("no such (table|column)|table .* has no column")


def _provide_regexp(driver: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    """SQLite's REGEXP; with SQLAlchemy's own a pattern could keep the whole process busy for ever."""
    info = record.info

    def matches(pattern: str, text: object) -> bool:
        # SQLite looks at the clock by its own steps, of which there are few beside the work of a pattern.
        if time.monotonic() > float(info.get("deadline", inf)):
            raise TimeoutError
        return (
            text is not None
            and regex.search(pattern, str(text), timeout=REGEX_SECONDS, concurrent=True) is not None
        )

    driver.create_function("regexp", 2, matches, deterministic=True)


def _watch_clock(driver: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    """Break off a statement that is still running at its deadline."""
    info = record.info

    def late() -> bool:
        return time.monotonic() > float(info.get("deadline", inf))

    driver.set_progress_handler(late, STEPS_BETWEEN_LOOKS)


def _begin(connection: SyncConnection) -> None:
    """Take the write lock at once when rows will be changed.

    A transaction that reads first and writes later would be refused without waiting when another one
    has written in between.
    """
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        driver.execute("BEGIN IMMEDIATE" if connection.info.get("write") else "BEGIN")
    except sqlite3.Error:
        connection.invalidate()
        raise
