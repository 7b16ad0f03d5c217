"""The unit of work: one transaction per operation, and rehearsals around many of them.

Handlers ask a :class:`Databases` for a unit of work and never touch an engine.  Outside a rehearsal each
unit is a transaction of its own.  Inside ``async with databases.rehearsal()`` every unit asked for is a
savepoint of one outer transaction, which is rolled back at the end (design.md, Transactions).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar

from sqlalchemy import Executable
from sqlalchemy.sql.expression import UpdateBase

from shared_db.engines.base import AnyRow, Connection, Engine, Parameters, Result, Savepoint
from shared_db.schema import SCHEMAS
from shared_db.waiting import to_its_end


class UnitOfWork:
    """Statements that happen together or not at all, on any of the logical databases.

    Logical databases that live in one physical database share its transaction.
    """

    def __init__(self, engines: Mapping[str, Engine], *, write: bool) -> None:
        self._engines = engines
        self._write = write
        self._connections: dict[Engine, Connection] = {}
        self._turn = asyncio.Lock()  # statements asked for at once come one after the other
        self._over = False

    async def connection(self, database: str) -> Connection:
        """The transaction on the engine that holds a logical database; begun on first use.

        Raises RuntimeError after the unit has ended.
        """
        if self._over:
            raise RuntimeError("this unit of work is over: ask for another one")
        if not self._connections:
            # Two units that come to two files in different order would wait for each other for ever.
            for each in sorted(set(self._engines.values()), key=lambda one: one.url):
                if each.one_writer:
                    self._connections[each] = await each.connect(write=self._write)
        engine = self._engines[database]
        if engine not in self._connections:
            self._connections[engine] = await engine.connect(write=self._write)
        return self._connections[engine]

    async def rows(
        self, database: str, statement: Executable, parameters: Parameters | None = None
    ) -> list[AnyRow]:
        """All rows of a SELECT, or of a change with RETURNING."""
        return list((await self._run(database, statement, parameters)).rows)

    async def change(self, database: str, statement: Executable, parameters: Parameters | None = None) -> int:
        """Run an INSERT, UPDATE or DELETE; returns the number of rows it touched."""
        return (await self._run(database, statement, parameters)).rowcount

    async def _run(self, database: str, statement: Executable, parameters: Parameters | None) -> Result:
        self._require_write(statement)
        async with self._turn:
            connection = await self.connection(database)
            return await connection.execute(statement, parameters)

    def _require_write(self, statement: Executable) -> None:
        if not self._write and isinstance(statement, UpdateBase):
            raise RuntimeError("a reading unit of work was asked to change rows: ask for write=True")

    async def finish(self, *, commit: bool) -> None:
        """Commit or roll back on every engine used; each is given back even when another one fails."""
        self._over = True
        async with AsyncExitStack() as stack:
            for connection in self._connections.values():
                stack.push_async_callback(connection.finish, commit=commit)


class _Joined(UnitOfWork):
    """A unit inside a rehearsal: a savepoint on each connection of the outer unit that it uses."""

    def __init__(self, outer: UnitOfWork, *, write: bool) -> None:
        super().__init__({}, write=write)
        self._outer = outer
        self._marks: dict[Connection, Savepoint] = {}

    async def connection(self, database: str) -> Connection:
        if self._over:
            raise RuntimeError("this unit of work is over: ask for another one")
        connection = await self._outer.connection(database)
        if connection not in self._marks:
            self._marks[connection] = await connection.savepoint()
        return connection

    async def finish(self, *, commit: bool) -> None:
        self._over = True
        for mark in self._marks.values():
            await (mark.release() if commit else mark.rollback())


class _Rehearsal:
    """The outer transaction, and the turn-taking of the units inside it: one connection, one user.

    ``over``: it has been rolled back, and a task that it left behind cannot take part any more.
    """

    def __init__(self, outer: UnitOfWork) -> None:
        self.outer = outer
        self.turn = asyncio.Lock()
        self.over = False


class Databases:
    """DIRAC's logical databases, wherever they live.

    ``engines`` maps each logical name (``JobDB`` ...) to the engine that holds it; several names may
    share one engine.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        missing = SCHEMAS.keys() - engines.keys()
        if missing:
            raise ValueError(f"no URL for {', '.join(sorted(missing))}")
        self._engines = dict(engines)
        self._rehearsal: ContextVar[_Rehearsal | None] = ContextVar("rehearsal", default=None)
        self._joined: ContextVar[bool] = ContextVar("joined", default=False)

    @asynccontextmanager
    async def unit_of_work(self, *, write: bool = False) -> AsyncIterator[UnitOfWork]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises :class:`shared_db.errors.Unavailable` when an engine cannot be used.
        """
        rehearsal = self._rehearsal.get()
        if rehearsal is None:
            work = UnitOfWork(self._engines, write=write)
            async with _ending(work):
                yield work
            return
        if self._joined.get():
            raise RuntimeError("a unit of work was asked for inside another one of a rehearsal")
        async with rehearsal.turn:
            if rehearsal.over:
                raise RuntimeError("the rehearsal that this task belongs to is over")
            joined = _Joined(rehearsal.outer, write=write)
            token = self._joined.set(True)
            try:
                async with _ending(joined):
                    yield joined
            finally:
                self._joined.reset(token)

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[UnitOfWork]:
        """Everything done inside, by this task and those it starts, is rolled back at the end.

        Yields the outer unit, through which the effects can be read before they are gone.
        """
        if self._rehearsal.get() is not None:
            raise RuntimeError("a rehearsal was asked for inside another one")
        outer = UnitOfWork(self._engines, write=True)
        rehearsal = _Rehearsal(outer)
        token = self._rehearsal.set(rehearsal)
        try:
            yield outer
        finally:
            self._rehearsal.reset(token)
            await to_its_end(asyncio.ensure_future(_end(rehearsal)))

    async def create(self) -> None:
        """Create DIRAC's tables where they are missing (embedded databases only)."""
        for name, schema in SCHEMAS.items():
            await self._engines[name].create(schema)

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in set(self._engines.values()):
            await engine.dispose()


async def _end(rehearsal: _Rehearsal) -> None:
    """Roll back, when no task that was left behind is at work in a unit."""
    async with rehearsal.turn:
        rehearsal.over = True
        await rehearsal.outer.finish(commit=False)


@asynccontextmanager
async def _ending(work: UnitOfWork) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await work.finish(commit=False)
        raise
    await work.finish(commit=True)


def open_databases(
    url: str | Mapping[str, str], *, create: bool = False, busy_seconds: float | None = None
) -> Databases:
    """Databases from one URL for all, or a map with one URL per logical database.

    Nothing is opened yet.  Raises ValueError, naming the mend, for a URL that cannot be used.
    """
    from shared_db.engines.sqlite import BUSY_SECONDS, SqliteEngine

    urls = dict.fromkeys(SCHEMAS, url) if isinstance(url, str) else dict(url)
    unknown = urls.keys() - SCHEMAS.keys()
    if unknown:
        raise ValueError(f"unknown database {', '.join(sorted(unknown))}: known are {', '.join(SCHEMAS)}")
    by_url: dict[str, Engine] = {}
    for text in urls.values():
        if not text.startswith("sqlite:"):
            raise ValueError(f"{text.split(':', 1)[0]}: only sqlite:///PATH can be used in this version")
        if text not in by_url:
            by_url[text] = SqliteEngine(text, create=create, busy_seconds=busy_seconds or BUSY_SECONDS)
    return Databases({name: by_url[text] for name, text in urls.items()})
