"""What database servers have in common: a pool of connections, and transactions on them.

A module per kind of server (``mysql.py``, ``postgresql.py``) says how to connect and what its errors mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Executable, Table, exc, inspect
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from shared_db.engines.base import Limits, Parameters, Result
from shared_db.errors import (
    Conflict,
    DataError,
    Denied,
    Foreign,
    Interrupted,
    InvalidQuery,
    OutcomeUnknown,
    TooSlow,
    Unavailable,
)
from shared_db.waiting import to_its_end

T = TypeVar("T")


Execute = Callable[[Executable, Parameters | None], Awaitable[Result]]


class Dialect(Protocol):
    """What is different from one kind of server to the next."""

    may_be_diracs: bool

    def engine(self, url: URL, limits: Limits, **options: Any) -> AsyncEngine:
        """The engine, whose sessions are set up as Wherry needs them."""

    def translated(self, error: exc.DBAPIError, limits: Limits) -> Exception:
        """The driver's exception in the domain's words; a statement that is wrong in itself stays a bug."""

    async def insert_ids(
        self,
        execute: Execute,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
    ) -> list[int] | None:
        """The ids of inserted rows where the server has no RETURNING; None where it has."""


class ServerEngine:
    """One database, or all databases that one account of a server reaches in one transaction."""

    one_writer = False

    def __init__(
        self, url: URL, dialect: Dialect, limits: Limits, schemas: Mapping[str, str | None] | None = None
    ) -> None:
        """``schemas`` maps a logical database to the server's name for it; None is the one in the URL."""
        self.url = url.render_as_string(hide_password=True)
        self.limits = limits
        self.dialect = dialect
        self.may_be_diracs = dialect.may_be_diracs
        self._schemas = dict(schemas or {})
        self._pool = dialect.engine(
            url,
            limits,
            pool_size=limits.connections,
            max_overflow=0,
            pool_timeout=limits.busy_seconds,
            pool_use_lifo=True,
        )
        # Tables are made and looked through without the limits that calls have.
        self._unlimited = dialect.engine(
            url, Limits(busy_seconds=60, statement_seconds=0), poolclass=NullPool
        )

    @property
    def sync(self) -> Any:
        """SQLAlchemy's engine underneath, for its events."""
        return self._pool.sync_engine

    def options(self, database: str) -> dict[str, Any]:
        """The execution options with which a statement finds the tables of a logical database."""
        schema = self._schemas.get(database)
        return {} if schema is None else {"schema_translate_map": {None: schema}}

    async def connect(self, *, write: bool) -> ServerConnection:  # noqa: ARG002
        """A transaction of its own, begun with its first statement."""
        return ServerConnection(self)

    async def checkout(self) -> AsyncConnection:
        """A connection of the pool."""
        return await self._pool.connect()

    async def make(self, database: str) -> None:
        """Make a database that is named in front of its tables; one in the URL must be there."""
        schema = self._schemas.get(database)
        if schema is not None:
            await self.sync_run(database, lambda connection: _make(connection, schema))

    async def sync_run(self, database: str, function: Callable[[SyncConnection], T]) -> T:
        """Run a function on a plain connection to a logical database, and commit."""

        def translated(connection: SyncConnection) -> T:
            return function(connection.execution_options(**self.options(database)))

        try:
            async with self._unlimited.begin() as connection:
                return await connection.run_sync(translated)
        except (exc.SQLAlchemyError, OSError) as error:
            raise self.translated(error) from error

    async def refresh_statistics(self) -> None:
        """Servers do so by themselves."""

    def translated(self, error: Exception) -> Exception:
        """An exception of the driver or the pool in the domain's words."""
        match error:
            case exc.DBAPIError():
                return self.dialect.translated(error, self.limits)
            case exc.TimeoutError():
                return Unavailable(f"Every connection to the database is in use ({self.url})")
            case OSError():
                return Interrupted(f"Database is not available: {error} ({self.url})")
            case _:
                return error

    async def dispose(self) -> None:
        """Close every connection."""
        await self._pool.dispose()
        await self._unlimited.dispose()


class ServerConnection:
    """One transaction on a pooled connection."""

    def __init__(self, engine: ServerEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._used = False

    async def execute(
        self, database: str, statement: Executable, parameters: Parameters | None = None
    ) -> Result:
        """Run one statement; rows are all read."""
        return await self._guarded(lambda: self._execute(database, statement, parameters))

    async def _execute(self, database: str, statement: Executable, parameters: Parameters | None) -> Result:
        if self._connection is None:
            self._connection = await self._engine.checkout()
        result = await self._connection.execute(
            statement, parameters, execution_options=self._engine.options(database)
        )
        return Result(rows=result.all()) if result.returns_rows else Result(rowcount=result.rowcount)

    async def insert_ids(self, database: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Insert rows; returns their ids in the order of the rows."""

        async def execute(statement: Executable, parameters: Parameters | None) -> Result:
            return await self.execute(database, statement, parameters)

        ids = await self._engine.dialect.insert_ids(execute, table, rows)
        if ids is None:
            [key] = table.primary_key
            statement = table.insert().returning(key, sort_by_parameter_order=True)
            ids = [row[0] for row in (await execute(statement, rows)).rows]
        return ids

    async def savepoint(self) -> ServerSavepoint:
        """Set a mark at the present point of the transaction."""

        async def begin() -> AsyncTransaction:
            if self._connection is None:
                self._connection = await self._engine.checkout()
            return await self._connection.begin_nested()

        return ServerSavepoint(self._engine, await self._guarded(begin))

    async def _guarded(self, step: Callable[[], Awaitable[T]]) -> T:
        """A step, in the domain's words.

        A pooled connection may have died since it was last used (the server was restarted, a firewall forgot
        it); where nothing was done on it yet, the step is taken on a new one.
        """
        first, self._used = not self._used, True
        try:
            return await step()
        except UnicodeEncodeError as error:
            raise InvalidQuery(f"A value cannot be stored or looked for: {error}") from error
        except (exc.SQLAlchemyError, OSError) as error:
            if first and isinstance(error, exc.DBAPIError) and error.connection_invalidated:
                await self._let_go()
                return await self._guarded(step)
            raise self._engine.translated(error) from error

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def finish(self, *, commit: bool) -> None:
        """End the transaction and give the connection back, however often the caller is cancelled."""
        if self._connection is not None:
            await to_its_end(asyncio.ensure_future(self._finish(commit)))

    async def _finish(self, commit: bool) -> None:
        assert self._connection is not None
        try:
            if commit:
                await self._connection.commit()
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._not_committed(error) from error
        finally:
            await self._let_go()

    def _not_committed(self, error: Exception) -> Exception:
        translated = self._engine.translated(error)
        lost = not isinstance(error, exc.DBAPIError) or error.connection_invalidated
        return (
            OutcomeUnknown(f"It is not known whether the change was kept: {translated}")
            if lost
            else translated
        )


class ServerSavepoint:
    """A mark inside a transaction."""

    def __init__(self, engine: ServerEngine, nested: AsyncTransaction) -> None:
        self._engine = engine
        self._nested = nested

    async def release(self) -> None:
        """Keep what was done since the mark."""
        await self._end(self._nested.commit)

    async def rollback(self) -> None:
        """Undo what was done since the mark."""
        await self._end(self._nested.rollback)

    async def _end(self, how: Callable[[], Awaitable[None]]) -> None:
        try:
            await how()
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._engine.translated(error) from error


def _make(connection: SyncConnection, schema: str) -> None:
    # An account need not have the right to make what is there already.
    if schema not in inspect(connection).get_schema_names():
        connection.execute(CreateSchema(schema, if_not_exists=True))


# What an error of a server means: its message and the limits in force make the domain's error.
Meaning = Callable[[str, Limits], DataError]


def too_slow(_message: str, limits: Limits) -> TooSlow:
    """A statement met its time limit."""
    return TooSlow(limits.statement_seconds)


def conflict(message: str, _limits: Limits) -> Conflict:
    """A key that is there already, or one that is not."""
    return Conflict(message)


def invalid_query(message: str, _limits: Limits) -> InvalidQuery:
    """A value that the server does not understand."""
    return InvalidQuery(f"A value cannot be stored or looked for: {message}")


def foreign(message: str, _limits: Limits) -> Foreign:
    """A table or column that is not there."""
    return Foreign(message)


def no_database(message: str, _limits: Limits) -> Foreign:
    """A database that is not there."""
    return Foreign(message, "make it, or mend the URL")


def forbidden(message: str, _limits: Limits) -> Foreign:
    """Something that the account may not do."""
    return Foreign(message, "GRANT it to the account, or name another one in the URL")


def denied(message: str, _limits: Limits) -> Denied:
    """An account that the server does not know, or a wrong password."""
    return Denied(f"{message}: mend the account or the password in the URL")


def unavailable(error: exc.DBAPIError, *, interrupted: bool) -> DataError:
    """The database cannot be used; ``interrupted``: it kept nothing, and may be asked again."""
    kind = Interrupted if interrupted or error.connection_invalidated else Unavailable
    return kind(f"Database is not available: {error.orig}")
