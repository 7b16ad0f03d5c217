"""Conditions and checks that several tables need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, String, Table, or_

from shared_db.errors import InvalidValue

T = TypeVar("T")

# Below every engine's limit on the number of bound parameters of one statement.
CHUNK = 10_000
# DIRAC's numbers are INT(11) UNSIGNED.
LARGEST_UNSIGNED = 2**32 - 1


def by_columns(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Runs of rows that have the same columns, since one statement names the same columns for all.

    The order is kept: rows get their numbers in it.
    """
    return [list(run) for _, run in groupby(rows, key=frozenset)]


def storable(text: str) -> bool:
    """False for lone surrogates, which stand for bytes that were no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size`` values, so that no statement exceeds an engine's parameter limit."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def check_values(table: Table, rows: Sequence[Mapping[str, Any]], *, may_be_unset: bool = False) -> None:
    """Refuse what MySQL's strict mode refuses, on engines that would take it.

    Raises InvalidValue for a text longer than its column, a number that its column cannot hold, or None where
    the column allows no NULL (unless None means that the column is not set at all).
    """
    for row in rows:
        for name, value in row.items():
            column = table.c[name]
            if value is None and not column.nullable and not may_be_unset:
                raise InvalidValue(name, "null")
            if (
                isinstance(column.type, Integer)
                and isinstance(value, int)
                and not 0 <= value <= LARGEST_UNSIGNED
            ):
                raise InvalidValue(name, "out of range")
            if isinstance(value, str) and not value.isascii() and not storable(value):
                raise InvalidValue(name, "no text that can be stored")
            length = column.type.length if isinstance(column.type, String) else None
            if length is not None and isinstance(value, str) and len(value) > length:
                raise InvalidValue(name, "too long")


def would_change(table: Table, values: Mapping[str, Any]) -> ColumnElement[bool]:
    """True for rows in which at least one of the columns differs from its new value.

    Row counts are *changed* rows, as DIRAC's are on MySQL; other engines count matched ones.
    """
    return or_(*[table.c[name].is_distinct_from(value) for name, value in values.items()])
