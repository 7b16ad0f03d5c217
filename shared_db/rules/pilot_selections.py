"""Which pilots a legacy caller means: dictionaries of conditions, and a range of time, as MySQL reads them.

A value is compared as MySQL does it: numbers with what a text begins with, times with what can be read as a
time; what cannot be is before every other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared_db.rules.dates import mysql_datetime
from shared_db.rules.refusals import EMYSQL, Refusal, UnfitArgument, unknown_column, unknown_table

TABLE = "PilotAgents"
TIMES = ("SubmissionTime", "LastUpdateTime")
NUMBERS = ("PilotID", "InitialJobID", "CurrentJobID", "BenchMark")
TEXTS = (
    "PilotJobReference",
    "PilotStamp",
    "DestinationSite",
    "Queue",
    "GridSite",
    "VO",
    "GridType",
    "Status",
    "StatusReason",
    "AccountingSent",
)
_COLUMNS = {name.lower(): name for name in (*TIMES, *NUMBERS, *TEXTS)}

# What pilots can be sorted and grouped by.
ALLOWED_COLUMNS = frozenset({*TIMES, *NUMBERS, *TEXTS} - {"InitialJobID", "StatusReason"})

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
# MySQL's first year.
_FIRST_YEAR = 1000
_SECOND = timedelta(seconds=1)
# What every engine compares with.
_LARGEST = 2.0**62
# A column may be named several times, but each makes the statement larger, which is kept.
MOST_KEYS = 64


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition in the words of REST's searches; ``in`` and ``not in`` take lists."""

    column: str
    operator: str
    value: Any


# No pilot has one of no ids.
NOTHING = Comparison("PilotID", "in", [])


def selection(
    conditions: Mapping[Any, Any],
    *,
    older: Any = None,
    newer: Any = None,
    time_stamp: Any = "SubmissionTime",
) -> list[Comparison]:
    """The pilots that meet all conditions; a list of values means any of them.

    ``newer`` is included, ``older`` is not; both are about the column ``time_stamp``.  Raises Refusal for an
    unknown column, UnfitArgument for what is no name of one.
    """
    found = [_compared(column_named(name, "condDict"), value) for name, value in conditions.items()]
    if time_stamp and (newer or older):
        found += _within(column_named(time_stamp, "timeStamp"), newer, older)
    return found


def counted_selection(conditions: Mapping[Any, Any], **range_of_time: Any) -> list[Comparison]:
    """The same for the methods that count: a faulty name is an error of the database there."""
    try:
        return selection(conditions, **range_of_time)
    except UnfitArgument as error:
        raise Refusal(f"MySQL Error ( {EMYSQL} : {error})", EMYSQL) from error


def column_named(name: Any, argument: str, clause: str = "WHERE") -> str:
    """The column that a caller names, in whatever case, in backticks or with the table before it.

    Raises UnfitArgument, which names the argument, and Refusal, which names the clause.
    """
    parts = name.replace("`", "").split(".", 1) if isinstance(name, str) else [""]
    if not all(map(_IDENTIFIER.fullmatch, parts)):
        raise UnfitArgument(f"Invalid {argument} argument")
    column = _COLUMNS.get(parts[-1].lower())
    if column is None or parts[:-1] not in ([], [TABLE]):
        raise unknown_column(".".join(parts), clause)
    return column


def grouping_of(table: str, keys: Sequence[Any]) -> list[str]:
    """The columns to count by, one for each key; only pilots can be counted.  Raises Refusal."""
    if len(keys) > MOST_KEYS:
        raise Refusal(f"MySQL Error ( {EMYSQL} : More than {MOST_KEYS} columns to count by)", EMYSQL)
    if not _IDENTIFIER.fullmatch(table.replace("`", "")):
        raise Refusal(f"MySQL Error ( {EMYSQL} : Invalid table argument)", EMYSQL)
    try:
        columns = [column_named(key, "updateFields", "SELECT") for key in keys]
    except UnfitArgument as error:
        raise Refusal(f"MySQL Error ( {EMYSQL} : {error})", EMYSQL) from error
    if not columns:
        raise Refusal(f"MySQL Error ( {EMYSQL} : Invalid updateFields argument)", EMYSQL)
    if table.replace("`", "") != TABLE:
        raise unknown_table(f"PilotAgentsDB.{table}")
    return columns


def since(column: str, moment: datetime) -> Comparison:
    """A time of this second or a later one."""
    # REST's `gt` leaves the second itself out.
    return after(column, moment - _SECOND)


def after(column: str, moment: datetime) -> Comparison:
    """A time after this second."""
    return Comparison(column, "gt", _text(moment))


def before(column: str, moment: datetime) -> Comparison:
    """A time before this second."""
    return Comparison(column, "lt", _text(moment))


def _within(column: str, newer: Any, older: Any) -> list[Comparison]:
    if column not in TIMES:
        raise UnfitArgument("Invalid timeStamp argument")
    found = []
    if newer and (start := _moment(newer)) is not None:
        found.append(since(column, start))
    if older:
        end = _moment(older)
        found.append(NOTHING if end is None else before(column, end))
    return found


def _compared(column: str, value: Any) -> Comparison:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise Refusal(f"MySQL Error ( {EMYSQL} : No values are given for {column})", EMYSQL)
    comparable = [each for one in values if one is not None and (each := _value(column, one)) is not None]
    if len(comparable) == 1:
        return Comparison(column, "eq", comparable[0])
    return Comparison(column, "in", comparable) if comparable else NOTHING


def _value(column: str, value: Any) -> str | int | None:
    """What a column is compared with; None for what none of its values can be."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if column in TIMES:
        moment = _moment(value)
        return None if moment is None else _text(moment)
    if column in NUMBERS:
        return _number(column, mysql_number(value))
    if column == "AccountingSent":
        return str(value).capitalize()
    return str(value)


def _number(column: str, number: float) -> str | int | None:
    if not abs(number) < _LARGEST:
        return None
    if column == "BenchMark":
        return repr(number)
    return int(number) if number.is_integer() and number >= 0 else None


def mysql_number(value: Any) -> float:
    """The number that a value begins with; 0 for any other text."""
    match = _NUMBER.match(str(int(value) if isinstance(value, bool) else value))
    return float(match[1]) if match else 0.0


def _moment(value: Any) -> datetime | None:
    moment = mysql_datetime(value)
    return moment if moment is not None and moment.year >= _FIRST_YEAR else None


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
