"""Changes of many rows, each with values of its own, in one statement.

The rows travel as one bound JSON text and are joined to the table, so that a statement has the same form,
and is built once, for any number of rows (MariaDB 10.6, MySQL 8.0.4, PostgreSQL 9.4, SQLite 3.38 or newer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Float,
    Integer,
    Table,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    func,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

ROWS = "rows"


def as_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Rows as the parameters of a statement made here; a column that a row leaves out is NULL."""
    return {ROWS: orjson.dumps(list(rows), default=str, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()}


@cache
def update_each(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Update:
    """``UPDATE`` of the rows of ``table`` whose keys, numbers all, are given in ``as_rows``.

    Each row gets the values given beside its keys; NULL leaves a column as it is.
    """
    given = rows_like(table, (*keys, *columns))
    return (
        table.update()
        .values({name: func.coalesce(given.c[name], table.c[name]) for name in columns})
        .where(
            *[table.c[name] == given.c[name] for name in keys],
            # True of every number.  PostgreSQL takes any JSON for a hundred rows, for which it would rather
            # read a whole table of some ten thousand than use its key; of this it expects to leave one.
            given.c[keys[0]].between(literal_column(_LEAST), literal_column(_MOST)),
        )
    )


_LEAST, _MOST = str(1 - 2**63), str(2**63 - 1)


@cache
def rows_like(table: Table, names: tuple[str, ...]) -> TableValuedAlias:
    """The rows given in ``as_rows`` as a table named ``given``, with columns named and typed as ``table``'s.

    On MySQL a text of it has the connection's collation, and may not be compared with a column's.
    """
    columns = [Column(name, _carrier(table.c[name])) for name in names]
    # A class of its own for each set of columns: SQLAlchemy keeps compiled statements by class.
    function = type("json_rows", (_JsonRows,), {"inherit_cache": True, "given": tuple(columns)})
    rows: _JsonRows = function(bindparam(ROWS, type_=Text))
    return rows.table_valued(*columns, name="given")


def _carrier(column: Column[Any]) -> Any:
    """The widest type of a kind: the table's own column is what refuses a value."""
    match column.type:
        case Integer():
            return BigInteger()
        case Double() | Float():
            return Double()
        case DateTime():
            return DateTime()
        case _:
            return Text()


class _JsonRows(FunctionElement[Any]):
    """The bound JSON text as a derived table; how is each engine's own."""

    name = "json_rows"
    given: tuple[Column[Any], ...]


_MYSQL_TYPES = {
    BigInteger: "BIGINT",
    Double: "DOUBLE",
    DateTime: "DATETIME",
    Text: "LONGTEXT CHARACTER SET utf8mb4",
}


@compiles(_JsonRows, "mysql", "mariadb")
def _json_table(element: _JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    columns = ", ".join(
        f"{_name(compiler, each)} {_MYSQL_TYPES[type(each.type)]} PATH {_path(each)}"
        for each in element.given
    )
    return f"JSON_TABLE({_argument(element, compiler, options)}, '$[*]' COLUMNS ({columns}))"


@compiles(_JsonRows, "postgresql")
def _json_to_recordset(element: _JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    columns = ", ".join(
        f"{_name(compiler, each)} {compiler.dialect.type_compiler_instance.process(each.type)}"
        for each in element.given
    )
    source = _argument(element, compiler, options)
    return f"(SELECT * FROM json_to_recordset(CAST({source} AS JSON)) AS source({columns}))"  # noqa: S608 - our names


@compiles(_JsonRows)  # SQLite's, and what is shown of a statement that no engine runs
def _json_each(element: _JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    columns = ", ".join(
        f"json_extract(value, {_path(each)}) AS {_name(compiler, each)}" for each in element.given
    )
    source = _argument(element, compiler, options)
    return f"(SELECT {columns} FROM json_each({source}))"  # noqa: S608 - our names


def _argument(element: _JsonRows, compiler: SQLCompiler, options: dict[str, Any]) -> str:
    return compiler.process(element.clause_expr.element, **options)


def _name(compiler: SQLCompiler, column: Column[Any]) -> str:
    return compiler.preparer.quote(str(column.name))


def _path(column: Column[Any]) -> str:
    """The JSON path of a column; names are DIRAC's, letters and underscores only."""
    return f"'$.{column.name}'"
