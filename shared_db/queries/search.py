"""DiracX's search and summary over one table (rest-diracx.md, 6.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Table,
    bindparam,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.errors import InvalidQuery
from shared_db.queries.conditions import MOST_COMPARISONS, Condition, Form, bind, expressions
from shared_db.queries.values import CHUNK, chunks
from shared_db.rules.clock import from_column


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort key."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for and which page of it to give; ``columns`` None means all."""

    columns: Sequence[str] | None = None
    conditions: Sequence[Condition] = ()
    sort: Sequence[Sort] = ()
    distinct: bool = False
    page: int = 1
    per_page: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and how many rows there are on all pages."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0


async def find_page(work: UnitOfWork, table: Table, search: Search) -> Page:
    """One page of rows as dictionaries with aware times and JSON booleans, in table order of columns.

    Raises InvalidQuery.  Without a sort the rows come in order of the primary key, so that pages neither
    overlap nor leave out rows.
    """
    forms, values = bind(table, search.conditions)
    columns = _requested(table, search.columns)
    statement, counting = _page_statements(
        table, columns, forms, _checked(table, search.sort), search.distinct
    )
    offset = min((search.page - 1) * search.per_page, LARGEST_OFFSET)
    window = {"page_limit": search.per_page, "page_offset": offset}
    database = table.metadata.info["database"]
    found = await work.rows(database, statement, values | window)
    total = offset + len(found)
    if len(found) == search.per_page or (not found and offset):
        total = (await work.rows(database, counting, values))[0][0]
    return Page(await _shaped(found, columns), total)


# 64 bits, and room for the limit.
LARGEST_OFFSET = 2**62

# Statements are kept by their form.  A caller chooses forms, so their number is bounded.
KEPT_STATEMENTS = 512


@lru_cache(KEPT_STATEMENTS)
def _page_statements(
    table: Table,
    columns: tuple[Column[Any], ...],
    forms: tuple[Form, ...],
    sort: tuple[Sort, ...],
    distinct: bool,
) -> tuple[Select[Any], Select[Any]]:
    """The statement for a page, and the one that counts all rows."""
    statement = select(*columns).where(*expressions(table, forms))
    if distinct:
        statement = statement.distinct()
    order = [sorted_by(table.c[key.column], descending=key.descending) for key in sort]
    # Pages neither overlap nor leave out rows only when the order leaves no choice.  Distinct rows differ in
    # what is asked for; a table without a key of its own is ordered by all it has.
    order += [sorted_by(column) for column in (columns if distinct else table.primary_key or table.columns)]
    page = statement.order_by(*order).limit(bindparam("page_limit")).offset(bindparam("page_offset"))
    return page, select(func.count()).select_from(statement.subquery())


class _Ordered(FunctionElement[Any]):
    """A column to sort by: no value before any value, as on MySQL and SQLite."""

    inherit_cache = True
    name = "ordered"


class _OrderedDown(_Ordered):
    """The other way round."""

    inherit_cache = True


@compiles(_Ordered)
def _compile_ordered(element: _Ordered, compiler: SQLCompiler, **options: Any) -> str:
    direction = "DESC" if isinstance(element, _OrderedDown) else "ASC"
    return f"{compiler.process(element.clauses, **options)} {direction}"


@compiles(_Ordered, "postgresql")
def _compile_ordered_on_postgresql(element: _Ordered, compiler: SQLCompiler, **options: Any) -> str:
    nulls = "LAST" if isinstance(element, _OrderedDown) else "FIRST"
    return f"{_compile_ordered(element, compiler, **options)} NULLS {nulls}"


def sorted_by(column: Column[Any], *, descending: bool = False) -> ColumnElement[Any]:
    """A column to sort by, alike on every engine: no value before any value."""
    if column.nullable:
        return _OrderedDown(column) if descending else _Ordered(column)
    # Said of a column without NULL, PostgreSQL would not use its key.
    return column.desc() if descending else column.asc()


async def summarise(
    work: UnitOfWork, table: Table, grouping: Sequence[str], conditions: Iterable[Condition]
) -> list[dict[str, Any]]:
    """Counts by the columns of ``grouping``: ``[{column: value, ..., "count": n}]``.

    An empty grouping groups by every column.  Raises InvalidQuery, also for more than MOST_GROUPS:
    by a column such as JobID there are as many as jobs.
    """
    forms, values = bind(table, conditions)
    columns = _requested(table, grouping or None)
    statement = _summary_statement(table, columns, forms)
    found = await work.rows(table.metadata.info["database"], statement, values | {"groups": MOST_GROUPS + 1})
    if len(found) > MOST_GROUPS:
        raise InvalidQuery(
            f"There are more than {MOST_GROUPS} groups: group by fewer columns, or search for fewer rows"
        )
    return await _shaped(found, tuple(statement.selected_columns))


# Of a summary; a page of a search has as many rows at most.
MOST_GROUPS = 10_000


@lru_cache(KEPT_STATEMENTS)
def _summary_statement(
    table: Table, columns: tuple[Column[Any], ...], forms: tuple[Form, ...]
) -> Select[Any]:
    conditions = expressions(table, forms)
    counted = select(*columns, func.count().label("count")).where(*conditions)
    return counted.group_by(*in_key_order(columns)).limit(bindparam("groups", type_=Integer))


def in_key_order(columns: Sequence[Column[Any]]) -> Sequence[Column[Any]]:
    """Columns to group by, in the order of a key that begins with them: MySQL then need not sort."""
    for index in columns[0].table.indexes:
        first = list(index.columns)[: len(columns)]
        if set(first) == set(columns):
            return first
    return columns


async def find_by_ids(
    work: UnitOfWork, columns: Sequence[Column[Any]], id_column: Column[Any], ids: Iterable[Any]
) -> list[AnyRow]:
    """Rows of ``columns`` for any number of ids, in order of the primary key.

    Where the ids take more than one statement, that order needs the key among the columns.
    """
    database, statement = _by_ids(tuple(columns), id_column)
    wanted = list(dict.fromkeys(ids))
    found: list[AnyRow] = []
    for chunk in chunks(wanted, CHUNK):
        found += await work.rows(database, statement, {"ids": chunk})
    if len(wanted) > CHUNK:
        key = [columns.index(each) for each in _key(id_column) if each in columns]
        found.sort(key=lambda row: [row[index] for index in key])
    return found


@cache
def _by_ids(columns: tuple[Column[Any], ...], id_column: Column[Any]) -> tuple[str, Select[Any]]:
    """The statement of ``find_by_ids``, built once: building it costs as much as running it."""
    carrier = BigInteger() if isinstance(id_column.type, Integer) else id_column.type
    condition = id_column.in_(bindparam("ids", expanding=True, type_=carrier))
    statement = select(*columns).where(condition).order_by(*_key(id_column))
    return id_column.table.metadata.info["database"], statement


def _key(column: Column[Any]) -> list[Column[Any]]:
    """The primary key of a column's table."""
    return list(column.table.primary_key)


# So many rows get their form in a millisecond or two.
_AT_ONCE = 250


async def _shaped(rows: Sequence[AnyRow], columns: tuple[ColumnElement[Any], ...]) -> list[dict[str, Any]]:
    """Rows in REST's form; others get their turn between some and some."""
    shape = row_shape(columns)
    shaped: list[dict[str, Any]] = []
    for start in range(0, len(rows), _AT_ONCE):
        if start:
            await asyncio.sleep(0)
        shaped += [shape(row) for row in rows[start : start + _AT_ONCE]]
    return shaped


@lru_cache(KEPT_STATEMENTS)
def row_shape(columns: tuple[ColumnElement[Any], ...]) -> Callable[[Any], dict[str, Any]]:
    """A function from a row of these columns to its dictionary in REST's form."""
    names = [str(column.key) for column in columns]
    converters = [
        (name, convert)
        for name, column in zip(names, columns, strict=True)
        if (convert := _converter(column)) is not None
    ]

    def shape(row: Any) -> dict[str, Any]:
        shaped = dict(zip(names, row, strict=True))
        for name, convert in converters:
            shaped[name] = convert(shaped[name])
        return shaped

    return shape


def _converter(column: ColumnElement[Any]) -> Callable[[Any], Any] | None:
    if isinstance(column.type, DateTime):
        return from_column
    if str(column.key) in _FLAGS:
        return _flag
    return None


_FLAGS = frozenset({"VerifiedFlag", "AccountedFlag", "AccountingSent"})


def _flag(value: str) -> bool | str:
    """DIRAC's 'True' and 'False' are JSON booleans over REST; AccountedFlag's 'Failed' stays a text."""
    return {"True": True, "False": False}.get(value, value)


def _requested(table: Table, names: Sequence[str] | None) -> tuple[Column[Any], ...]:
    if not names:
        return tuple(table.columns)
    if unknown := set(names) - set(table.c.keys()):
        raise InvalidQuery(f"Unrecognised parameters requested {unknown}")
    return tuple(column for column in table.columns if column.key in names)


def _checked(table: Table, sort: Sequence[Sort]) -> tuple[Sort, ...]:
    if len(sort) > MOST_COMPARISONS:
        raise InvalidQuery(f"At most {MOST_COMPARISONS} sort keys can be given")
    for key in sort:
        if key.column not in table.c:
            raise InvalidQuery(f"Cannot sort by {key.column}: unknown column")
    return tuple(sort)
