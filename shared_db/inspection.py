"""What a real database has: its shape for the queries, and how it differs from our tables for administrators.

All of it comes from the catalogue of the database; no row is looked at and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Index, Inspector, MetaData, Table, inspect, text

from shared_db.schema import releases
from shared_db.schema.capacity import BYTES, CHOICE, DECIMAL, FLOAT, NUMBER, TEXT, Capacity, capacity_of
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.types import MYSQL

INNODB = "InnoDB"


@dataclass(frozen=True, slots=True)
class TableShape:
    """What the queries must know of a real table.

    ``columns``: the names of all its columns, in our spelling where they are ours.  ``required``: columns
    that are not ours, take no NULL and have no default: every INSERT must name them.  ``engine``: MySQL's
    storage engine, None elsewhere.
    """

    columns: frozenset[str]
    required: frozenset[str] = frozenset()
    engine: str | None = None

    @property
    def transactional(self) -> bool:
        """Whether a change can be taken back; a table of MyISAM keeps what a rolled back transaction did."""
        return self.engine is None or self.engine.lower() == INNODB.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between a real database and ours.

    ``table`` is '' for what concerns the database or its server.  ``what`` says what was found, ``why`` what
    it means and the mend.  ``matters``: the bridge does not work as it should before it is mended.
    """

    database: str
    table: str
    what: str
    matters: bool
    why: str


def reflect_shapes(
    connection: Connection, metadata: MetaData, schema: str | None = None
) -> dict[str, TableShape]:
    """The shapes of those of the tables that exist, by name; one or two catalogue queries for each.

    ``schema``: where the tables are; by default the one that the connection translates to, or its own.
    """
    inspector = inspect(connection)
    schema = schema or schema_of(connection)
    existing = set(inspector.get_table_names(schema))
    return {
        table.name: _Real(inspector, table, schema).shape
        for table in metadata.sorted_tables
        if table.name in existing
    }


def inspect_database(connection: Connection, metadata: MetaData, schema: str | None = None) -> list[Finding]:
    """How a logical database differs from our tables, in the order of the tables; [] if it does not.

    ``schema`` as in :func:`reflect_shapes`.
    """
    inspector = inspect(connection)
    schema = schema or schema_of(connection)
    database = metadata.info["database"]
    existing = set(inspector.get_table_names(schema))
    if not existing & metadata.tables.keys():
        return [Finding(database, "", "none of its tables exist", True, "make them with `wherry db init`")]
    problems = [("", *each) for each in _of_server(connection)]
    for table in metadata.sorted_tables:
        if table.name in existing:
            real = _Real(inspector, table, schema)
            problems += ((table.name, *each) for each in _of_table(connection, real))
        else:
            problems.append((table.name, *_missing_table(table.name)))
    return [Finding(database, *each) for each in problems]


def schema_of(connection: Connection) -> str | None:
    """The schema in place of the connection's own, where it was told one."""
    translations = connection.get_execution_options().get("schema_translate_map") or {}
    return translations.get(None)


# What was found, whether it matters, and why: a Finding without its place.
Problem = tuple[str, bool, str]


class _Real:
    """A real table beside ours; MySQL and SQLite do not tell capitals in column names apart."""

    def __init__(self, inspector: Inspector, ours: Table, schema: str | None) -> None:
        self.ours = ours
        self.dialect = inspector.dialect
        self.schema = schema or inspector.default_schema_name
        self._inspector = inspector
        self._place = (ours.name, schema)
        spelling = {self.fold(column.name): column.name for column in ours.c}
        self.columns: dict[str, Mapping[str, Any]] = {
            spelling.get(self.fold(column["name"]), column["name"]): column
            for column in inspector.get_columns(*self._place)
        }
        self._spelling = spelling

    def fold(self, name: str) -> str:
        """A column's name as the engine compares it."""
        return name if self.dialect.name == "postgresql" else name.lower()

    @property
    def extra(self) -> set[str]:
        """Columns that are not ours."""
        return self.columns.keys() - set(self.ours.c.keys())

    def has_default(self, name: str) -> bool:
        """Whether an INSERT may leave the column out."""
        column = self.columns[name]
        filled = ("computed", "identity")
        return (
            bool(column["nullable"])
            or column["default"] is not None
            or column.get("autoincrement") is True
            or any(column.get(each) for each in filled)
        )

    def option(self, name: str) -> str | None:
        """A table option of MySQL's."""
        options = self._inspector.get_table_options(*self._place)
        value = options.get(f"{self.dialect.name}_{name}")
        return None if value is None else str(value)

    @property
    def shape(self) -> TableShape:
        """What the queries must know."""
        required = frozenset(name for name in self.extra if not self.has_default(name))
        engine = self.option("engine") if self.dialect.name in MYSQL else None
        return TableShape(frozenset(self.columns), required, engine)

    @property
    def primary(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return self._ours(self._inspector.get_pk_constraint(*self._place)["constrained_columns"])

    def keys(self) -> Iterator[tuple[tuple[str, ...], bool]]:
        """The columns of every key, and whether it is unique."""
        yield self.primary, True
        for index in self._inspector.get_indexes(*self._place):
            yield self._ours(index["column_names"]), bool(index["unique"])
        for unique in self._inspector.get_unique_constraints(*self._place):
            yield self._ours(unique["column_names"]), True

    def _ours(self, names: Iterable[str | None]) -> tuple[str, ...]:
        """In our spelling; a part of a key that is an expression has no name."""
        return tuple(self._spelling.get(self.fold(name or ""), name or "") for name in names)


def _missing_table(name: str) -> Problem:
    known = releases.MISSING_TABLES.get(name)
    if known is not None:
        return f"is missing, as in {known.releases}", False, known.meaning
    return "is missing", True, "calls that need it fail: restore it, or `wherry db upgrade --missing-tables`"


def _of_table(connection: Connection, real: _Real) -> Iterator[Problem]:
    yield from _missing_columns(real)
    yield from _extra_columns(real)
    for column in real.ours.c:
        if column.name in real.columns:
            yield from _column(real, column)
    yield from _keys(real)
    if real.dialect.name in MYSQL:
        yield from _storage(real)
    if real.ours is LoggingInfo:
        yield from _trigger(connection, real)


def _missing_columns(real: _Real) -> Iterator[Problem]:
    for name in (column.name for column in real.ours.c if column.name not in real.columns):
        known = releases.MISSING_COLUMNS.get((real.ours.name, name))
        # Without the column that stands in its place it is not that release.
        if known is not None and real.extra & {"OwnerDN", "OwnerGroup"}:
            yield f"{name} is missing, as in {known.releases}", False, known.meaning
        else:
            yield (
                f"{name} is missing",
                True,
                f"calls that need it fail: add it, as in DIRAC 9.1 ({_sql(real, name)})",
            )


def _sql(real: _Real, name: str) -> str:
    return f"{name} {real.ours.c[name].type.compile(dialect=real.dialect)}"


def _extra_columns(real: _Real) -> Iterator[Problem]:
    names, known = releases.EXTRA_COLUMNS.get(real.ours.name, (frozenset(), None))
    if known is not None and (found := sorted(real.extra & names)):
        yield f"has {', '.join(found)}, as in {known.releases}", False, known.meaning
    for name in sorted(real.extra - names):
        if real.has_default(name):
            yield f"has a column {name} that DIRAC has not", False, "it is left to its default"
        else:
            yield (
                f"has a column {name} that DIRAC has not, without a default",
                True,
                "no row can be inserted: give it a default, or let it be NULL",
            )


def _column(real: _Real, column: Column[Any]) -> Iterator[Problem]:
    found = real.columns[column.name]
    has = capacity_of(found["type"], real.dialect)
    wanted = capacity_of(column.type, real.dialect)
    if (judged := _other_type(has, wanted)) is not None:
        kind = found["type"].compile(dialect=real.dialect)
        yield (f"{column.name} is {kind} and not {_sql(real, column.name).partition(' ')[2]}", *judged)
    if column.primary_key:
        return
    if found["nullable"] and not column.nullable:
        yield f"{column.name} may be NULL", False, "a row of somebody else's may have nothing there"
    elif column.nullable and not found["nullable"]:
        yield (
            f"{column.name} cannot be NULL",
            True,
            "NULL stands for `not yet` and is refused: let it be NULL",
        )
    elif column.server_default is not None and not real.has_default(column.name):
        yield f"{column.name} has no default", True, "an INSERT that leaves it out is refused: give it one"


_CUT = "what does not fit is refused, or cut by services that are less strict: widen it"


def _other_type(has: Capacity, wanted: Capacity) -> tuple[bool, str] | None:
    """Whether a column of another type matters, and why; None: all that ours holds fits as well."""
    if has.kind == wanted.kind == NUMBER and has.low <= wanted.low and has.high == 2**31 - 1 < wanted.high:
        return False, "numbers above 2147483647 are refused; ids hardly get there"
    if has.kind == wanted.kind:
        return None if has.holds(wanted) else (True, _CUT)
    if (has.kind, wanted.kind) in _AS_GOOD:
        return None
    if (has.kind, wanted.kind) == (BYTES, TEXT) and has.holds(wanted):
        return False, f"as in {releases.BYTES_FOR_TEXT.releases}: {releases.BYTES_FOR_TEXT.meaning}"
    return True, "its values are of another kind: give it DIRAC's type"


_AS_GOOD = {(TEXT, CHOICE), (DECIMAL, FLOAT)}


def _keys(real: _Real) -> Iterator[Problem]:
    keys = list(real.keys())
    primary = tuple(column.name for column in real.ours.primary_key)
    if set(primary) != set(real.primary):
        yield from _primary(real, primary)
    for index in sorted(real.ours.indexes, key=lambda each: str(each.name)):
        names = tuple(column.name for column in index.columns)
        if real.columns.keys() >= set(names) and not any(_serves(key, index, names) for key in keys):
            yield _missing_key(real, index, names)


def _serves(key: tuple[tuple[str, ...], bool], index: Index, names: tuple[str, ...]) -> bool:
    """Whether a key finds what an index of ours finds, and keeps out what it keeps out."""
    columns, unique = key
    if index.unique:
        return unique and set(columns) == set(names)
    return columns[: len(names)] == names


def _primary(real: _Real, wanted: tuple[str, ...]) -> Iterator[Problem]:
    has = ", ".join(real.primary)
    if not wanted:
        yield (
            f"has a primary key ({has}) and DIRAC's has none",
            False,
            "a row that is there already is refused",
        )
        return
    known = releases.MISSING_KEYS.get((real.ours.name, "primary"))
    if known is not None and not has:
        yield f"has no primary key, as in {known.releases}", False, known.meaning
        return
    found = f"the primary key is ({has})" if has else "has no primary key"
    yield f"{found} and not ({', '.join(wanted)})", True, "rows are refused, or there twice: give it DIRAC's"


def _missing_key(real: _Real, index: Index, names: tuple[str, ...]) -> Problem:
    name = index.info.get("key", index.name)
    shown = f"{name} ({', '.join(names)})"
    known = releases.MISSING_KEYS.get((real.ours.name, str(name)))
    if index.info.get("ours"):
        return (
            f"has no key {shown}, which is ours",
            False,
            "such look-ups read the whole table; adding it is safe",
        )
    if known is not None:
        return f"has no key {shown}, as in {known.releases}", False, known.meaning
    if index.unique:
        return f"has no unique key {shown}", True, "the same thing can be there twice: add it"
    return f"has no key {shown}", True, "look-ups by it read the whole table: add it"


def _storage(real: _Real) -> Iterator[Problem]:
    engine = real.option("engine")
    if not real.shape.transactional:
        yield (
            f"is kept by {engine}",
            True,
            (
                "a failed change stays half done, and rehearsals are refused: with DIRAC's services stopped, "
                f"ALTER TABLE {real.ours.name} ENGINE={INNODB}"
            ),
        )
    charset = real.option("default charset") or "utf8mb4"
    if charset != "utf8mb4":
        yield (
            f"its character set is {charset}",
            False,
            f"ASCII is safe; what {charset} has not is refused, or changed by services that are less strict",
        )


def _trigger(connection: Connection, real: _Real) -> Iterator[Problem]:
    """Whether LoggingInfo numbers its own rows."""
    place = {"schema": real.schema, "table": real.ours.name}
    if connection.execute(_TRIGGERS[connection.dialect.name], place).first() is not None:
        return
    if connection.dialect.name in MYSQL and connection.execute(_MAY_SEE_TRIGGERS, place).first() is None:
        yield (
            "its triggers cannot be seen by this account",
            False,
            "SeqNum is filled by the trigger SeqNumGenerator, if it is there: GRANT TRIGGER shows it",
        )
        return
    yield (
        "has no trigger that fills SeqNum",
        True,
        (
            "neither the bridge nor DIRAC's services number records, so the second one of a job is refused: "
            "create SeqNumGenerator, as in DIRAC's JobLoggingDB.sql"
        ),
    )


_TRIGGERS_ON_MYSQL = text(
    "SELECT 1 FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = :schema"
    " AND EVENT_OBJECT_TABLE = :table AND ACTION_TIMING = 'BEFORE' AND EVENT_MANIPULATION = 'INSERT'"
    " AND ACTION_STATEMENT LIKE '%SeqNum%'"
)
_TRIGGERS = {
    **dict.fromkeys(MYSQL, _TRIGGERS_ON_MYSQL),
    "sqlite": text(
        "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table AND sql LIKE '%SeqNum%'"
    ),
    "postgresql": text(
        # information_schema shows triggers only to those who may change the table.
        "SELECT 1 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = :schema AND relname = :table AND tgname = 'SeqNumGenerator' AND tgenabled <> 'D'"
    ),
}
_MAY_SEE_TRIGGERS = text(
    "SELECT 1 FROM ("
    "SELECT GRANTEE, '%' AS place FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER'"
    " UNION ALL SELECT GRANTEE, TABLE_SCHEMA FROM information_schema.SCHEMA_PRIVILEGES"
    " WHERE PRIVILEGE_TYPE = 'TRIGGER'"
    " UNION ALL SELECT GRANTEE, TABLE_SCHEMA FROM information_schema.TABLE_PRIVILEGES"
    " WHERE PRIVILEGE_TYPE = 'TRIGGER' AND TABLE_NAME = :table"
    ") AS grants WHERE :schema LIKE place"
    " AND REPLACE(GRANTEE, '''', '') = CURRENT_USER()"
)


def _of_server(connection: Connection) -> Iterator[Problem]:
    if connection.dialect.name in MYSQL:
        [mode, binary_log, log_format] = connection.execute(_SETTINGS).one()
        yield from server_problems(set(mode.upper().split(",")), bool(binary_log), log_format)


_SETTINGS = text("SELECT @@GLOBAL.sql_mode, @@GLOBAL.log_bin, @@GLOBAL.binlog_format")


def server_problems(sql_mode: set[str], binary_log: bool, log_format: str) -> Iterator[Problem]:
    """What a MySQL server's settings mean."""
    strict = sql_mode & {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"}
    if not (strict and "NO_ZERO_DATE" in sql_mode):
        yield (
            "its sql_mode allows dates of zeros",
            False,
            "0000-00-00 00:00:00 is read as no date; the bridge writes none",
        )
    if binary_log and log_format.upper() == "STATEMENT":
        yield (
            "its binlog_format is STATEMENT",
            True,
            (
                "the bridge works at READ COMMITTED, at which InnoDB then refuses every write: "
                "set binlog_format to ROW or MIXED"
            ),
        )
