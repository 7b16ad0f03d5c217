"""Conditions and checks that several tables need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, String, Table, or_

from shared_db.errors import InvalidValue

T = TypeVar("T")

# Below every engine's limit on the number of bound parameters of one statement.
CHUNK = 10_000


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size`` values, so that no statement exceeds an engine's parameter limit."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def check_values(table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what MySQL's strict mode refuses, on engines that would take it.

    Raises InvalidValue for a text longer than its column, or None where the column allows no NULL.
    """
    for row in rows:
        for name, value in row.items():
            column = table.c[name]
            if value is None and not column.nullable:
                raise InvalidValue(name, "null")
            length = column.type.length if isinstance(column.type, String) else None
            if length is not None and isinstance(value, str) and len(value) > length:
                raise InvalidValue(name, "too long")


def would_change(table: Table, values: Mapping[str, Any]) -> ColumnElement[bool]:
    """True for rows in which at least one of the columns differs from its new value.

    Row counts are *changed* rows, as DIRAC's are on MySQL; other engines count matched ones.
    """
    return or_(*[table.c[name].is_distinct_from(value) for name, value in values.items()])
