"""Which jobs a legacy caller means: a dictionary of conditions and a range of LastUpdateTime, as MySQL reads
them.

A number is compared with what a text begins with, a time with what can be read as one; a text that is none
is a time before every other, as MySQL's zero date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.job_attributes import NULLABLE, NUMBERS, TIMES, column_of
from shared_db.rules.pilot_selections import Comparison, mysql_number
from shared_db.rules.refusals import EMYSQL, Refusal, UnfitArgument, unknown_column

TABLE = "Jobs"
UPDATED = "LastUpdateTime"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FRACTION = re.compile(r".*:\d{1,2}\.0*[1-9]\d*")
_SECOND = timedelta(seconds=1)
# Before any job's time, and a time that every engine holds.
_BEGINNING = "1000-01-01 00:00:00"
_LARGEST = 2.0**62

# No job has one of no ids.
NOTHING = Comparison("JobID", "in", [])
# What REST's searches have no word for: a column without a value.
NO_VALUE = "no value"


def selection(
    conditions: Any, *, older: Any = None, newer: Any = None, time_stamp: str = UPDATED
) -> list[Comparison]:
    """The jobs that meet all conditions; a list of values means any of them, None that there is no value.

    ``newer`` is included, ``older`` is not.  Raises Refusal.
    """
    if conditions is None:
        conditions = {}
    if not isinstance(conditions, Mapping):
        raise mysql_refusal(f"{type(conditions).__name__!r} object has no attribute 'items'")
    found = [_compared(named_column(name, "condDict"), value) for name, value in conditions.items()]
    return [*found, *range_of_time(time_stamp, older=older, newer=newer)]


def mysql_refusal(problem: str) -> Refusal:
    """What DIRAC's database classes say of arguments that they cannot make a statement of."""
    return Refusal(f"MySQL Error ( {EMYSQL} : {problem})", EMYSQL)


def named_column(name: Any, argument: str, clause: str = "WHERE") -> str:
    """The column that a caller names: in whatever case, in backticks, or with the table before it.

    Raises Refusal, which names the argument, or the clause of the statement.
    """
    parts = name.replace("`", "").split(".", 1) if isinstance(name, str) else [""]
    if not all(map(_IDENTIFIER.fullmatch, parts)):
        raise mysql_refusal(f"Invalid {argument} argument")
    column = column_of(parts[-1])
    if column is None or parts[:-1] not in ([], [TABLE]):
        raise unknown_column(".".join(parts), clause)
    return column


def range_of_time(column: str, *, older: Any = None, newer: Any = None) -> list[Comparison]:
    """A time at or after ``newer``, and before ``older``; what is empty is no bound."""
    found = []
    if newer:
        start = moment_of(newer)
        found.append(Comparison(column, "gt", _BEGINNING if start is None else _text(start - _SECOND)))
    if older:
        end = moment_of(older)
        found.append(NOTHING if end is None else Comparison(column, "lt", _text(end)))
    return found


def moment_of(value: Any) -> datetime | None:
    """The first whole second that is not before a time as MySQL reads it; None for its zero date."""
    text = str(value).strip()
    if text == "UTC_TIMESTAMP()":
        return to_column(utc_now())
    moment = mysql_datetime(text)
    if moment is None or not 1000 < moment.year < 9999:
        return None
    return moment + _SECOND if _FRACTION.fullmatch(text) else moment


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _compared(column: str, value: Any) -> Comparison:
    if value is None:
        return Comparison(column, NO_VALUE, None) if column in NULLABLE else NOTHING
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise mysql_refusal(f"No values are given for {column}")
    comparable = [each for one in values if one is not None and (each := _value(column, one)) is not None]
    if len(comparable) == 1:
        return Comparison(column, "eq", comparable[0])
    return Comparison(column, "in", comparable) if comparable else NOTHING


def _value(column: str, value: Any) -> str | int | None:
    """What a column is compared with; None for what none of its values can be.  Raises Refusal."""
    if isinstance(value, list | tuple):
        raise mysql_refusal(f"{column} is not compared with a list in a list")
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if column in TIMES:
        return _time(value)
    if column in NUMBERS:
        return _number(value)
    text = str(value)
    if "\0" in text or any("\ud800" <= each <= "\udfff" for each in text):
        return None
    return text


def _time(value: Any) -> str | None:
    moment = moment_of(value)
    # Columns hold whole seconds.
    return None if moment is None or _FRACTION.fullmatch(str(value).strip()) else _text(moment)


def _number(value: Any) -> int | None:
    number = mysql_number(value)
    return int(number) if abs(number) < _LARGEST and number.is_integer() else None


@dataclass(frozen=True, slots=True)
class Selectors:
    """What a page's or a statistic's ``selectDict`` asks for.

    ``pilots``: the references of pilots whose jobs are wanted.
    """

    conditions: dict[Any, Any] = field(default_factory=dict)
    newer: Any = None
    older: Any = None
    pilots: tuple[str, ...] = ()

    def comparisons(self, jobs_of_pilots: Sequence[int] = ()) -> list[Comparison]:
        """The jobs meant; those of the pilots where they ran any (as in DIRAC, all others if not).

        Raises Refusal.
        """
        mine = {"JobID": list(jobs_of_pilots)} if jobs_of_pilots else {}
        return selection(self.conditions | mine, newer=self.newer, older=self.older)


def selectors(selected: Any) -> Selectors:
    """Read a ``selectDict``: FromDate (or LastUpdate), ToDate, PilotJobReference, and conditions.

    What is empty of these stays a condition, on a column that there is not.  Raises UnfitArgument.
    """
    if not selected:
        return Selectors()
    if not isinstance(selected, Mapping):
        raise UnfitArgument(f"{type(selected).__name__!r} object has no attribute 'get'")
    conditions = dict(selected)
    newer = conditions.pop("FromDate") if conditions.get("FromDate") else conditions.get("FromDate")
    if newer is None and conditions.get("LastUpdate"):
        newer = conditions.pop("LastUpdate")
    older = conditions.pop("ToDate") if conditions.get("ToDate") else None
    asked = conditions.pop("PilotJobReference") if conditions.get("PilotJobReference") else ()
    if conditions.get("JobID"):  # it goes before pilots, of which nothing is read then
        asked = ()
    if not isinstance(asked, str | list | tuple):
        raise UnfitArgument(f"{type(asked).__name__!r} object is not iterable")
    pilots = (asked,) if isinstance(asked, str) else tuple(str(each) for each in asked)
    return Selectors(conditions, newer, older, pilots)
