"""Conditions of DiracX's searches as SQL with bound parameters only (rest-diracx.md, 6.3).

A condition is split into its *form*, from which a statement is built (and kept, since building one costs as
much as running it), and its values, which are bound when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Numeric,
    Table,
    and_,
    bindparam,
    or_,
)

from shared_db.errors import InvalidQuery
from shared_db.queries.patterns import check_pattern

# Below every engine's limit on the number of bound parameters of one statement.
LARGEST_LIST = 30_000
# What a statement of every engine can hold: SQLite's expressions may not be deeper than 1000.
MOST_COMPARISONS = 200
# Integers of every engine have 64 bits.
LARGEST_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; ``value`` is a scalar, or a list for ``in`` and ``not in``."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Form:
    """What a statement must know of a condition: all but its values.

    ``number`` tells the conditions of one statement apart, ``periods`` is how many periods of time a
    condition on a time names.
    """

    number: int
    column: str
    operator: str
    periods: int = 0

    def parameter(self, part: str = "") -> str:
        """The name under which a value is bound."""
        return f"condition{self.number}{part}"


Bound = tuple[tuple[Form, ...], dict[str, Any]]


def bind(table: Table, conditions: Iterable[Condition]) -> Bound:
    """The forms of some conditions, and the values to bind.  Raises InvalidQuery."""
    forms: list[Form] = []
    values: dict[str, Any] = {}
    comparisons = 0
    for number, condition in enumerate(conditions):
        form, bound = _bind(table, number, condition)
        forms.append(form)
        values |= bound
        comparisons += max(form.periods, 1)
        if comparisons > MOST_COMPARISONS:
            raise InvalidQuery(f"At most {MOST_COMPARISONS} comparisons can be made in one search")
    return tuple(forms), values


def expressions(table: Table, forms: Iterable[Form]) -> list[ColumnElement[bool]]:
    """The conditions as SQL, to be ANDed."""
    return [_expression(table.c[form.column], form) for form in forms]


def _bind(table: Table, number: int, condition: Condition) -> tuple[Form, dict[str, Any]]:
    if condition.column not in table.c:
        raise InvalidQuery(f"Unknown column {condition.column}")
    if isinstance(condition.value, list) and len(condition.value) > LARGEST_LIST:
        raise InvalidQuery(f"At most {LARGEST_LIST} values can be given for {condition.column}")
    column = table.c[condition.column]
    form = Form(number, condition.column, condition.operator)
    if isinstance(column.type, DateTime):
        return _bind_time(form, condition)
    if isinstance(column.type, _NUMBERS):
        return form, {form.parameter(): _number(column, condition)}
    return form, {form.parameter(): _text(condition)}


_NUMBERS = (Integer, Numeric, Double)


def _text(condition: Condition) -> Any:
    values = condition.value
    if condition.operator not in _TEXT_COMPARISONS:
        raise InvalidQuery(f"Unknown operator {condition.operator}")
    if isinstance(values, list):
        return [str(each) for each in values]
    if condition.operator == "regex":
        check_pattern(str(values))
    return str(values)


def _number(column: Column[Any], condition: Condition) -> Any:
    if condition.operator not in _COMPARISONS:
        raise InvalidQuery(f"Operator {condition.operator} cannot be used on {column.key}, which is a number")
    number = int if isinstance(column.type, Integer) else float
    values = condition.value
    try:
        read = [number(each) for each in values] if isinstance(values, list) else number(values)
        if any(abs(each) >= LARGEST_NUMBER for each in (read if isinstance(read, list) else [read])):
            raise OverflowError
        return read
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"Cannot parse value={values!r} as a number for {column.key}") from error


def _bind_time(form: Form, condition: Condition) -> tuple[Form, dict[str, Any]]:
    """A value names a whole period of time; lists must not mix periods of different lengths."""
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    periods = [_period(value) for value in values]
    if condition.operator not in _TIME_COMPARISONS:
        raise InvalidQuery(
            f"Operator {condition.operator} cannot be used on {condition.column}, which is a time"
        )
    if len({precision for _, _, precision in periods}) > 1:
        raise InvalidQuery(f"Cannot mix different time resolutions in query={values!r}")
    bound: dict[str, Any] = {}
    for index, (start, end, _) in enumerate(periods):
        bound |= {form.parameter(f"start{index}"): start, form.parameter(f"end{index}"): end}
    return Form(form.number, form.column, form.operator, len(periods)), bound


_PERIOD = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d{1,6})?Z?)?)?)?)?)?"
)
_STEPS = {
    3: timedelta(days=1),
    4: timedelta(hours=1),
    5: timedelta(minutes=1),
    6: timedelta(seconds=1),
}


def _period(value: Any) -> tuple[datetime, datetime, int]:
    """The period that a date text names: its start, its end (exclusive), and its precision."""
    match = _PERIOD.fullmatch(str(value))
    try:
        if match is None:
            raise ValueError(value)
        units = [int(each) for each in match.groups() if each is not None]
        start = datetime(*(units + [1] * max(0, 3 - len(units))))  # type: ignore[arg-type]  # noqa: DTZ001
        return start, _end(start, len(units)), len(units)
    except OverflowError:
        return start, datetime.max, len(units)  # noqa: DTZ901 - the last period there is
    except ValueError as error:
        raise InvalidQuery(f"Cannot parse value={value!r}") from error


def _end(start: datetime, precision: int) -> datetime:
    months = {1: 12, 2: 1}.get(precision)
    if months is not None:
        year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
        if year > MAXYEAR:
            raise OverflowError
        return start.replace(year=year, month=month + 1)
    return start + _STEPS[precision]


Comparison = Callable[[Any, Any], ColumnElement[bool]]

_COMPARISONS: Mapping[str, Comparison] = {
    "eq": lambda column, value: column == value,
    "neq": lambda column, value: column != value,
    "gt": lambda column, value: column > value,
    "lt": lambda column, value: column < value,
    "in": lambda column, values: column.in_(values),
    "not in": lambda column, values: column.not_in(values),
}
_TEXT_COMPARISONS: Mapping[str, Comparison] = {
    **_COMPARISONS,
    # Backslashes escape as on MySQL, which is DIRAC's; SQLite knows no escape unless it is told.
    "like": lambda column, value: column.like(value, escape="\\"),
    "not like": lambda column, value: column.not_like(value, escape="\\"),
    "regex": lambda column, value: column.regexp_match(value),
}
Periods = Sequence[tuple[Any, Any]]


def _inside(column: Column[Any], periods: Periods) -> ColumnElement[bool]:
    return or_(False, *[and_(column >= start, column < end) for start, end in periods])


# A value means its whole period: neq is outside it, gt at or after its end, lt before its start.
_TIME_COMPARISONS: Mapping[str, Callable[[Column[Any], Periods], ColumnElement[bool]]] = {
    "eq": _inside,
    "in": _inside,
    "neq": lambda column, periods: ~_inside(column, periods),
    "not in": lambda column, periods: ~_inside(column, periods),
    "gt": lambda column, periods: column >= periods[0][1],
    "lt": lambda column, periods: column < periods[0][0],
}


def _expression(column: Column[Any], form: Form) -> ColumnElement[bool]:
    if isinstance(column.type, DateTime):
        periods: Periods = [
            (bindparam(form.parameter(f"start{index}")), bindparam(form.parameter(f"end{index}")))
            for index in range(form.periods)
        ]
        return _TIME_COMPARISONS[form.operator](column, periods)
    several = form.operator in ("in", "not in")
    # A number that the column could not hold is only not found there.
    carrier = BigInteger() if isinstance(column.type, Integer) else column.type
    return _TEXT_COMPARISONS[form.operator](
        column, bindparam(form.parameter(), expanding=several, type_=carrier)
    )
