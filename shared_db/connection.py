"""The unit of work: one transaction per operation, and rehearsals around many of them.

Handlers ask a :class:`Databases` for a unit of work and never touch an engine.  Outside a rehearsal each
unit is a transaction of its own.  Inside ``async with databases.rehearsal()`` every unit asked for is a
savepoint of one outer transaction, which is rolled back at the end (design.md, Transactions).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Executable, Table
from sqlalchemy.sql.expression import UpdateBase

from shared_db.effects import Effect, Noted
from shared_db.engines.base import USUAL, AnyRow, Connection, Engine, Limits, Parameters, Result, Savepoint
from shared_db.engines.urls import make_engines
from shared_db.errors import DataError, Foreign, Interrupted, OutcomeUnknown, Unavailable
from shared_db.guest import Guest, differ
from shared_db.inspection import reflect_shapes
from shared_db.registry import Registry
from shared_db.schema import SCHEMAS
from shared_db.waiting import to_its_end

T = TypeVar("T")

# Seconds to wait before an attempt is repeated, at most; whoever was in the way is done by then.
_PAUSES = (0.02, 0.1, 0.5)


class UnitOfWork:
    """Statements that happen together or not at all, on any of the logical databases.

    Logical databases that live in one physical database share its transaction.
    """

    def __init__(self, engines: Mapping[str, Engine], guest: Guest | None, *, write: bool) -> None:
        self._engines = engines
        self._guest = guest
        self._write = write
        self._connections: dict[Engine, Connection] = {}
        self._turn = asyncio.Lock()  # statements asked for at once come one after the other
        self._over = False
        self._noted: Noted | None = None

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

    async def insert_ids(self, database: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Insert rows; returns the ids that the database gave them, in the order of the rows."""
        self._require_write(table.insert())
        given = table, rows
        if self._guest is not None:
            table, rows = self._guest.rows(table, rows)
        async with self._turn:
            connection = await self.connection(database)
            ids = await connection.insert_ids(database, table, rows)
        if self._noted is not None:
            self._noted.note_added(*given, ids)
        return ids

    def has(self, table: Table) -> bool:
        """Whether a table is there: some releases of DIRAC have tables that others have not."""
        return self._guest is None or self._guest.has(table)

    @property
    def has_setups(self) -> bool:
        """Whether the tables are of a release before 9, whose own services look for a setup in JDLs."""
        return self._guest is not None and self._guest.has_setups

    async def _run(self, database: str, statement: Executable, parameters: Parameters | None) -> Result:
        self._require_write(statement)
        if self._noted is not None and isinstance(statement, UpdateBase):
            await self._noted.note(statement, parameters, self.rows)
        if self._guest is not None:
            statement, parameters = self._guest.adapt(statement, parameters)
        async with self._turn:
            connection = await self.connection(database)
            return await connection.execute(database, statement, parameters)

    def _require_write(self, statement: Executable) -> None:
        if not self._write and isinstance(statement, UpdateBase):
            raise RuntimeError("a reading unit of work was asked to change rows: ask for write=True")

    async def finish(self, *, commit: bool) -> None:
        """Commit or roll back on every engine used; each is given back even when another one fails.

        When one commit fails, the engines after it are rolled back.  Raises OutcomeUnknown when those before
        it had kept their part already.
        """
        self._over = True
        kept = False
        problem: BaseException | None = None
        for connection in self._connections.values():
            try:
                await connection.finish(commit=commit and problem is None)
                kept = kept or (commit and problem is None)
            except BaseException as error:  # noqa: BLE001 - the others must be given back first
                problem = problem or error
        if kept and isinstance(problem, DataError):
            raise OutcomeUnknown(f"Only a part of the change was kept: {problem}") from problem
        if problem is not None:
            raise problem


class Outer(UnitOfWork):
    """The transaction of a rehearsal, which is never kept."""

    def __init__(self, engines: Mapping[str, Engine], guest: Guest | None) -> None:
        super().__init__(engines, guest, write=True)
        self.noted = Noted()

    async def effects(self) -> list[Effect]:
        """What the units inside, as far as they have ended well, have done to the rows."""
        return await self.noted.effects(self.rows)


class _Joined(UnitOfWork):
    """A unit inside a rehearsal: a savepoint on each connection of the outer unit that it uses."""

    def __init__(self, outer: Outer, guest: Guest | None, *, write: bool) -> None:
        super().__init__({}, guest, write=write)
        self._outer = outer
        self._marks: dict[Connection, Savepoint] = {}
        self._noted = Noted()

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
        if commit and self._noted is not None:
            self._outer.noted.join(self._noted)


class _Rehearsal:
    """The outer transaction, and the turn-taking of the units inside it: one connection, one user.

    ``over``: it has been rolled back, and a task that it left behind cannot take part any more.
    """

    def __init__(self, outer: Outer) -> None:
        self.outer = outer
        self.turn = asyncio.Lock()
        self.over = False


class Databases:
    """DIRAC's logical databases, wherever they live.

    ``engines`` maps each logical name (``JobDB`` ...) to the engine that holds it; several names may
    share one engine.  ``registry`` is asked where tables of older releases want to know who is who.
    """

    def __init__(self, engines: Mapping[str, Engine], registry: Callable[[], Registry] | None = None) -> None:
        self._engines = dict(engines)
        self._registry = registry or Registry.empty
        self._learning = asyncio.Lock()
        self._learned = False
        self._guest: Guest | None = None
        self._rehearsal: ContextVar[_Rehearsal | None] = ContextVar("rehearsal", default=None)
        self._joined: ContextVar[bool] = ContextVar("joined", default=False)

    @asynccontextmanager
    async def unit_of_work(self, *, write: bool = False) -> AsyncIterator[UnitOfWork]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises :class:`shared_db.errors.Unavailable` when an engine cannot be used.
        """
        await self.learn()
        rehearsal = self._rehearsal.get()
        if rehearsal is None:
            work = UnitOfWork(self._engines, self._guest, write=write)
            try:
                async with _ending(work):
                    yield work
            except Interrupted as error:
                if write and self._guest is not None and not self._guest.transactional:
                    # MyISAM has kept what it was told; repeating would tell it twice.
                    raise OutcomeUnknown(f"A part of the change may have been kept: {error}") from error
                raise
            return
        if self._joined.get():
            raise RuntimeError("a unit of work was asked for inside another one of a rehearsal")
        async with rehearsal.turn:
            if rehearsal.over:
                raise RuntimeError("the rehearsal that this task belongs to is over")
            joined = _Joined(rehearsal.outer, self._guest, write=write)
            token = self._joined.set(True)
            try:
                async with _ending(joined):
                    yield joined
            except Interrupted as error:
                # The outer transaction is gone, and with it the units before this one: no case for `again`.
                raise Unavailable(str(error)) from error
            finally:
                self._joined.reset(token)

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[Outer]:
        """Everything done inside, by this task and those it starts, is rolled back at the end.

        Yields the outer unit, which tells the effects before they are gone.
        """
        if self._rehearsal.get() is not None:
            raise RuntimeError("a rehearsal was asked for inside another one")
        await self.learn()
        if self._guest is not None and not self._guest.transactional:
            raise Foreign("some tables keep what is rolled back (MyISAM)", "`wherry db check` names them")
        outer = Outer(self._engines, self._guest)
        rehearsal = _Rehearsal(outer)
        token = self._rehearsal.set(rehearsal)
        try:
            yield outer
        finally:
            self._rehearsal.reset(token)
            await to_its_end(asyncio.ensure_future(_end(rehearsal)))

    async def learn(self) -> None:
        """Look what tables there are, where they may be another release's; once, before the first unit.

        Raises Unavailable.
        """
        if self._learned:
            return
        async with self._learning:
            if not self._learned:
                shapes = {
                    name: await self.sync_run(name, partial(reflect_shapes, metadata=schema))
                    for name, schema in SCHEMAS.items()
                    if self._engines[name].may_be_diracs
                }
                self._guest = Guest(shapes, self._registry) if differ(shapes) else None
                self._learned = True

    def may_be_diracs(self, database: str) -> bool:
        """Whether a DIRAC of any release may have made the tables of a logical database."""
        return self._engines[database].may_be_diracs

    async def make(self, database: str) -> None:
        """Make the place of a logical database's tables where it is missing and can be made from here."""
        await self._engines[database].make(database)

    async def sync_run(self, database: str, function: Callable[[SyncConnection], T]) -> T:
        """Run a function on a plain connection to a logical database, and commit: tables, not rows."""
        return await self._engines[database].sync_run(database, function)

    async def refresh_statistics(self) -> None:
        """Let the databases count what their choice of keys rests on; worth its while after many changes."""
        for engine in set(self._engines.values()):
            await engine.refresh_statistics()

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in set(self._engines.values()):
            await engine.dispose()


async def again(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of an attempt, which is one unit of work; repeated while the database breaks it off.

    Nothing of an attempt that raised Interrupted was kept, so repeating it is safe.
    """
    for pause in _PAUSES:
        try:
            return await attempt()
        except Interrupted:
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
    return await attempt()


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
    url: str | Mapping[str, str],
    *,
    create: bool = False,
    limits: Limits = USUAL,
    registry: Callable[[], Registry] | None = None,
) -> Databases:
    """Databases from one URL for all, or a map with one URL per logical database.

    Nothing is opened yet.  ``create`` makes a missing SQLite file.  ``registry`` as in Databases.

    Raises ValueError, naming the mend, for a URL that cannot be used.
    """
    return Databases(make_engines(url, create=create, limits=limits), registry)
