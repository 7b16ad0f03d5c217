"""DiracX's search and summary, compiled to SQL with bound parameters only (rest-diracx.md, 6.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Integer,
    Numeric,
    Select,
    String,
    Table,
    and_,
    func,
    or_,
    select,
)

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.errors import InvalidQuery
from shared_db.queries.values import CHUNK, chunks
from shared_db.rules.clock import from_column


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; ``value`` is a scalar, or a list for ``in`` and ``not in``."""

    column: str
    operator: str
    value: Any


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
    database = table.metadata.info["database"]
    columns = _requested(table, search.columns)
    statement = select(*columns).where(*compiled(table, search.conditions))
    if search.distinct:
        statement = statement.distinct()
    ordered = statement.order_by(*_order(table, search))
    offset = (search.page - 1) * search.per_page
    found = await work.rows(database, ordered.limit(search.per_page).offset(offset))
    total = offset + len(found)
    if len(found) == search.per_page or (not found and offset):
        total = (await work.rows(database, _counting(statement)))[0][0]
    shape = row_shape(columns)
    return Page([shape(row) for row in found], total)


async def summarise(
    work: UnitOfWork, table: Table, grouping: Sequence[str], conditions: Iterable[Condition]
) -> list[dict[str, Any]]:
    """Counts by the columns of ``grouping``: ``[{column: value, ..., "count": n}]``.

    An empty grouping groups by every column.  Raises InvalidQuery.
    """
    columns = _requested(table, grouping or None)
    statement = (
        select(*columns, func.count().label("count")).where(*compiled(table, conditions)).group_by(*columns)
    )
    shape = row_shape([*columns, statement.selected_columns["count"]])
    return [shape(row) for row in await work.rows(table.metadata.info["database"], statement)]


async def find_by_ids(
    work: UnitOfWork, columns: Sequence[Column[Any]], id_column: Column[Any], ids: Iterable[Any]
) -> list[AnyRow]:
    """Rows of ``columns`` for any number of ids, in order of the primary key within each chunk."""
    table = id_column.table
    assert isinstance(table, Table)
    database, order = table.metadata.info["database"], list(table.primary_key)
    found: list[AnyRow] = []
    for chunk in chunks(ids, CHUNK):
        found += await work.rows(database, select(*columns).where(id_column.in_(chunk)).order_by(*order))
    return found


def compiled(table: Table, conditions: Iterable[Condition]) -> list[ColumnElement[bool]]:
    """The conditions as SQL, to be ANDed.  Raises InvalidQuery."""
    return [_condition(table, condition) for condition in conditions]


def row_shape(columns: Sequence[ColumnElement[Any]]) -> Callable[[Any], dict[str, Any]]:
    """A function from a row of these columns to its dictionary in REST's form."""
    converters = [(str(column.key), _converter(column)) for column in columns]

    def shape(row: Any) -> dict[str, Any]:
        return {
            name: value if convert is None else convert(value)
            for (name, convert), value in zip(converters, row, strict=True)
        }

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


def _requested(table: Table, names: Sequence[str] | None) -> list[Column[Any]]:
    if names is None:
        return list(table.columns)
    if unknown := set(names) - set(table.c.keys()):
        raise InvalidQuery(f"Unrecognised parameters requested {unknown}")
    return [column for column in table.columns if column.key in names]


def _order(table: Table, search: Search) -> list[ColumnElement[Any]]:
    order: list[ColumnElement[Any]] = []
    for sort in search.sort:
        if sort.column not in table.c:
            raise InvalidQuery(f"Cannot sort by {sort.column}: unknown column")
        column = table.c[sort.column]
        order.append(column.desc() if sort.descending else column.asc())
    if not search.distinct:
        order += list(table.primary_key)
    return order


def _counting(statement: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(statement.subquery())


def _condition(table: Table, condition: Condition) -> ColumnElement[bool]:
    if condition.column not in table.c:
        raise InvalidQuery(f"Unknown column {condition.column}")
    column = table.c[condition.column]
    if isinstance(column.type, DateTime):
        return _time_condition(column, condition)
    if isinstance(column.type, Integer | Numeric):
        return _number_condition(column, condition)
    return _text_condition(column, condition)


_COMPARISONS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "neq": lambda column, value: column != value,
    "gt": lambda column, value: column > value,
    "lt": lambda column, value: column < value,
    "in": lambda column, values: column.in_(values),
    "not in": lambda column, values: column.not_in(values),
}
_TEXT_COMPARISONS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    **_COMPARISONS,
    "like": lambda column, value: column.like(value),
    "not like": lambda column, value: column.not_like(value),
    "regex": lambda column, value: column.regexp_match(value),
}


def _text_condition(column: Column[Any], condition: Condition) -> ColumnElement[bool]:
    assert isinstance(column.type, String)
    values = condition.value
    text = [str(each) for each in values] if isinstance(values, list) else str(values)
    if condition.operator == "regex":
        try:
            re.compile(str(text))
        except re.error as error:
            raise InvalidQuery(f"Invalid regex {text}") from error
    return _TEXT_COMPARISONS[condition.operator](column, text)


def _number_condition(column: Column[Any], condition: Condition) -> ColumnElement[bool]:
    if condition.operator not in _COMPARISONS:
        raise InvalidQuery(f"Operator {condition.operator} cannot be used on {column.key}, which is a number")
    number = int if isinstance(column.type, Integer) else float
    values = condition.value
    try:
        wanted = [number(each) for each in values] if isinstance(values, list) else number(values)
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"Cannot parse value={values!r} as a number for {column.key}") from error
    return _COMPARISONS[condition.operator](column, wanted)


_PERIOD = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d{1,6})?Z?)?)?)?)?)?"
)


def _period(value: Any) -> tuple[datetime, datetime, int]:
    """The period that a date text names: its start, its end (exclusive), and its precision."""
    match = _PERIOD.fullmatch(str(value))
    try:
        if match is None:
            raise ValueError(value)
        units = [int(each) for each in match.groups() if each is not None]
        start = datetime(*(units + [1] * max(0, 3 - len(units))))  # type: ignore[arg-type]  # noqa: DTZ001
        end = _following(start, len(units))
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"Cannot parse value={value!r}") from error
    return start, end, len(units)


def _following(start: datetime, precision: int) -> datetime:
    if precision == 1:
        return start.replace(year=start.year + 1)
    if precision == 2:
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    step = {3: timedelta(days=1), 4: timedelta(hours=1), 5: timedelta(minutes=1), 6: timedelta(seconds=1)}
    return start + step[precision]


def _time_condition(column: Column[Any], condition: Condition) -> ColumnElement[bool]:
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    periods = [_period(value) for value in values]
    if len({precision for _, _, precision in periods}) > 1:
        raise InvalidQuery(f"Cannot mix different time resolutions in query={values!r}")
    inside = or_(*[and_(column >= start, column < end) for start, end, _ in periods])
    match condition.operator:
        case "eq" | "in":
            return inside if periods else column.in_([])
        case "neq" | "not in":
            return ~inside if periods else column.not_in([])
        case "gt":
            return column >= periods[0][1]
        case "lt":
            return column < periods[0][0]
        case operator:
            raise InvalidQuery(f"Operator {operator} cannot be used on {column.key}, which is a time")
