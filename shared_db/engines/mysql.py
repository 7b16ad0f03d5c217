"""MySQL 8 and MariaDB, where DIRAC's own databases live."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, event, exc, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared_db.engines.base import Limits
from shared_db.engines.server import (
    Execute,
    Meaning,
    conflict,
    denied,
    forbidden,
    foreign,
    invalid_query,
    no_database,
    too_slow,
    unavailable,
)
from shared_db.errors import InvalidValue

# The same everywhere, whatever the server's default: texts that are too long are refused and never cut, and
# neither quotes nor backslashes change their meaning.
_SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"


class MySql:
    """The MySQL family."""

    may_be_diracs = True

    def engine(self, url: URL, limits: Limits, **options: Any) -> AsyncEngine:
        """An engine whose row counts are changed rows and whose dates of zeros are None."""
        engine = create_async_engine(
            url,
            isolation_level="READ COMMITTED",
            connect_args={
                # Without FOUND_ROWS, which SQLAlchemy sets: row counts are changed rows, as DIRAC's are.
                "client_flag": 0,
                "charset": "utf8mb4",
                "conv": _converters(),
                "connect_timeout": max(1, round(limits.busy_seconds)),
            },
            **options,
        )

        def set_up(driver: Any, _record: Any) -> None:
            cursor = driver.cursor()
            try:
                cursor.execute("SELECT VERSION()")
                [version] = cursor.fetchone()
                cursor.execute(_settings("MariaDB" in version, limits))
            finally:
                cursor.close()

        event.listen(engine.sync_engine, "connect", set_up)
        return engine

    def translated(self, error: exc.DBAPIError, limits: Limits) -> Exception:
        """By the server's error number."""
        number, message = _number_and_message(error)
        if (meaning := _MEANINGS.get(number)) is not None:
            return meaning(message, limits)
        if (
            isinstance(error, exc.ProgrammingError | exc.NotSupportedError)
            and not error.connection_invalidated
        ):
            return error
        return unavailable(error, interrupted=number in _KEPT_NOTHING)

    async def insert_ids(
        self,
        execute: Execute,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
    ) -> list[int] | None:
        """MySQL, unlike MariaDB, has no RETURNING: it tells the first id of a statement.

        The rows of one INSERT ... VALUES get consecutive ids whatever innodb_autoinc_lock_mode is.
        """
        [[version, step]] = (await execute(_VERSION, None)).rows
        if "MariaDB" in version:
            return None
        ids: list[int] = []
        for some in _batches(rows):
            await execute(table.insert(), some)
            [[first]] = (await execute(_LAST_ID, None)).rows
            ids += range(first, first + step * len(some), step)
        return ids


def _number_and_message(error: exc.DBAPIError) -> tuple[int, str]:
    match getattr(error.orig, "args", ()):
        case (int(number), message):
            return number, str(message)
    return 0, str(error.orig)


_VERSION = text("SELECT VERSION(), @@auto_increment_increment")
_LAST_ID = text("SELECT LAST_INSERT_ID()")
# The driver makes a new statement at 1,024,000 bytes.
_BATCH = 400_000


def _batches(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Runs of rows that the driver sends as one statement each."""
    batches: list[list[Mapping[str, Any]]] = []
    room = 0
    for row in rows:
        size = 64 + sum(2 * len(str(value).encode()) for value in row.values())
        if size > room:
            batches.append([])
            room = _BATCH
        batches[-1].append(row)
        room -= size
    return batches


def _settings(mariadb: bool, limits: Limits) -> str:
    """The settings of a session; a statement_seconds of 0 is no limit.

    Without DIRAC's keys on Owner and on Status being intersected: to read all jobs of a status costs more
    with every job stored, those of an owner do.
    """
    seconds = limits.statement_seconds
    statement = (
        f"max_statement_time = {seconds}" if mariadb else f"max_execution_time = {round(seconds * 1000)}"
    )
    return (
        f"SET SESSION sql_mode = '{_SQL_MODE}', {statement}, "
        f"innodb_lock_wait_timeout = {max(1, round(limits.busy_seconds))}, "
        "optimizer_switch = 'index_merge_intersection=off'"
    )


def _converters() -> Mapping[Any, Any]:
    """The driver's conversions, but for dates that are none: 0000-00-00 stands for no date."""
    from asyncmy.constants.FIELD_TYPE import DATETIME
    from asyncmy.converters import conversions, convert_datetime

    def read(value: Any) -> datetime | None:
        converted = convert_datetime(value)
        return converted if isinstance(converted, datetime) else None

    return {**conversions, DATETIME: read}


_COLUMN = re.compile(r"column '([^']*)'|column `.*`\.`([^`]*)` ")


def _unfit(problem: str) -> Meaning:
    """A value that its column cannot hold."""

    def meaning(message: str, _limits: Limits) -> InvalidValue:
        found = _COLUMN.search(message)
        return InvalidValue(next(filter(None, found.groups()), "") if found else "", problem)

    return meaning


_MEANINGS: Mapping[int, Meaning] = {
    **dict.fromkeys((1969, 3024), too_slow),
    **dict.fromkeys((1062, 1451, 1452, 1586), conflict),
    1406: _unfit("too long"),
    1048: _unfit("null"),
    1364: _unfit("null"),
    1264: _unfit("out of range"),
    1366: _unfit("no text that can be stored"),
    # A regular expression, an escape, a collation, a date: what a caller writes into a search.
    **dict.fromkeys((1139, 1210, 1267, 1292, 1525, *range(3684, 3700)), invalid_query),
    **dict.fromkeys((1054, 1146), foreign),
    **dict.fromkeys((1046, 1049), no_database),
    **dict.fromkeys((1044, 1142, 1143), forbidden),
    # The second is what an account with auth_socket gets.
    **dict.fromkeys((1045, 1698), denied),
}
# Deadlock, lock wait, the server going down, a query or a connection killed.
_KEPT_NOTHING = frozenset({1213, 1205, 1053, 1317, 1927, 2006, 2013, 2055})
