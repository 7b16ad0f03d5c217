"""Databases that a comparison works on: all rows of them read, compared, and put back as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import NullPool, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared_db.schema import SCHEMAS

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]  # by `database.table`, both by their own names


class World:
    """One set of DIRAC's databases on a MariaDB server, and how their rows were when it was ``kept``."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._names = {name: str(make_url(urls[name]).database) for name in SCHEMAS}
        server = make_url(next(iter(urls.values()))).set(drivername="mysql+asyncmy", database=None)
        self._engine: AsyncEngine = create_async_engine(server, poolclass=NullPool)
        self._connection: AsyncConnection | None = None
        self._real: dict[str, str] = {}  # quoted names of the tables
        self._keys: dict[str, list[int]] = {}  # places of the columns of the primary keys
        self._counters: dict[str, int] = {}
        self._kept: Rows = {}
        self.columns: dict[str, list[str]] = {}

    async def keep(self) -> None:
        """Remember every row."""
        if self._connection is None:
            self._connection = await self._engine.connect()
            await self._connection.execution_options(isolation_level="AUTOCOMMIT")
            await self._execute("SET FOREIGN_KEY_CHECKS = 0")
        for logical, name in self._names.items():
            tables = await self._ask(
                "SELECT TABLE_NAME FROM information_schema.TABLES"
                " WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME",
                (name,),
            )
            for (table,) in tables:
                if table in SCHEMAS[logical].tables:  # services may have more for themselves
                    await self._learn(f"{logical}.{table}", name, table)
        self._kept = await self.rows()
        self._counters = await self._next_ids()

    async def rows(self) -> Rows:
        """Every row of every table, in the order of all its columns."""
        found: Rows = {}
        for table, real in self._real.items():
            names = ", ".join(f"`{name}`" for name in self.columns[table])
            rows = await self._ask(f"SELECT {names} FROM {real}")
            found[table] = sorted((tuple(row) for row in rows), key=repr)
        return found

    async def restore(self, now: Rows | None = None) -> None:
        """Put everything back; ``now`` is what ``rows`` said last, if nothing has changed since."""
        now = await self.rows() if now is None else now
        for table, kept in self._kept.items():
            await self._restore_table(table, now[table], kept)
        for table, number in (await self._next_ids()).items():
            if number != self._counters[table]:
                await self._execute(f"ALTER TABLE {table} AUTO_INCREMENT = {self._counters[table]}")

    async def empty(self) -> None:
        """Take every row away, and count from 1 again."""
        for real in self._real.values():
            await self._execute(f"TRUNCATE TABLE {real}")

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
        await self._engine.dispose()

    async def _restore_table(self, table: str, now: Sequence[Row], kept: Sequence[Row]) -> None:
        if now == kept:
            return
        before, after = set(now), set(kept)
        real, names, key = self._real[table], self.columns[table], self._keys[table]
        if key:
            condition = " AND ".join(f"`{names[each]}` = %s" for each in key)
            for row in now:
                if row not in after:
                    where = [row[each] for each in key]
                    await self._execute(f"DELETE FROM {real} WHERE {condition}", where)
        else:
            await self._execute(f"DELETE FROM {real}")
        places = ", ".join(["%s"] * len(names))
        columns = ", ".join(f"`{name}`" for name in names)
        for row in kept:
            if not key or row not in before:
                await self._execute(f"INSERT INTO {real} ({columns}) VALUES ({places})", row)

    async def _learn(self, table: str, database: str, name: str) -> None:
        rows = await self._ask(
            "SELECT COLUMN_NAME, COLUMN_KEY FROM information_schema.COLUMNS"
            " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
            (database, name),
        )
        self._real[table] = f"`{database}`.`{name}`"
        self.columns[table] = [column for column, _ in rows]
        self._keys[table] = [place for place, (_, key) in enumerate(rows) if key == "PRI"]

    async def _next_ids(self) -> dict[str, int]:
        """The next number of every table that numbers its rows."""
        names = ", ".join(f"'{name}'" for name in self._names.values())
        rows = await self._ask(
            "SELECT TABLE_SCHEMA, TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES"
            f" WHERE TABLE_SCHEMA IN ({names}) AND AUTO_INCREMENT IS NOT NULL"
        )
        return {f"`{database}`.`{table}`": number for database, table, number in rows}

    async def _ask(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        assert self._connection is not None
        return (await self._connection.exec_driver_sql(sql, tuple(parameters))).all()

    async def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        assert self._connection is not None
        await self._connection.exec_driver_sql(sql, tuple(parameters))


def differences(left: Rows, right: Rows, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Where rows differ, a line each: those that only one side has, and by which columns."""
    lines = []
    for table in left:
        if left[table] == right[table]:
            continue
        only_left = _without(left[table], right[table])
        only_right = _without(right[table], left[table])
        if len(only_left) == len(only_right):
            lines += [
                f"{table} {_changed(columns[table], one, other)}"
                for one, other in zip(only_left, only_right, strict=True)
            ]
        else:
            lines += [f"{table} only left: {row}" for row in only_left]
            lines += [f"{table} only right: {row}" for row in only_right]
    return lines


def _without(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    rest = list(others)
    found = []
    for row in rows:
        if row in rest:
            rest.remove(row)
        else:
            found.append(row)
    return found


def _changed(columns: Sequence[str], one: Row, other: Row) -> str:
    changed = [f"{name}: {a!r} <> {b!r}" for name, a, b in zip(columns, one, other, strict=True) if a != b]
    return f"{columns[0]}={one[0]!r}: " + ", ".join(changed)
