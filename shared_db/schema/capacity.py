"""What a column can hold, in terms in which a real column and ours can be compared."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BINARY,
    VARBINARY,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Dialect,
    Double,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

from shared_db.schema.types import MYSQL


class Capacity(NamedTuple):
    """A kind of values and the range of them.

    ``low`` and ``high``: of numbers the least and the greatest; of texts and bytes, 0 and the greatest
    length; of floats and moments, 0 and the digits (binary, and of a second).  ``choices``: of an ENUM.
    """

    kind: str
    low: float = 0
    high: float = 0
    choices: frozenset[str] = frozenset()

    def holds(self, other: Capacity) -> bool:
        """Whether every value of another capacity fits, the kind aside."""
        return self.low <= other.low and self.high >= other.high and self.choices >= other.choices


TEXT = "text"
BYTES = "bytes"
CHOICE = "choice"
NUMBER = "whole number"
FLOAT = "float"
DECIMAL = "decimal"
MOMENT = "moment"
ZONED = "moment with zone"
DAY = "day"
OTHER = "other"

_LENGTHS: tuple[tuple[type[TypeEngine[Any]], str, int], ...] = (
    (mysql.TINYTEXT, TEXT, 2**8 - 1),
    (mysql.MEDIUMTEXT, TEXT, 2**24 - 1),
    (mysql.LONGTEXT, TEXT, 2**32 - 1),
    (mysql.TINYBLOB, BYTES, 2**8 - 1),
    (mysql.MEDIUMBLOB, BYTES, 2**24 - 1),
    (mysql.LONGBLOB, BYTES, 2**32 - 1),
)
_LENGTH_ON_MYSQL = 2**16 - 1
_BITS: tuple[tuple[type[TypeEngine[Any]], int], ...] = (
    (Boolean, 8),
    (mysql.TINYINT, 8),
    (mysql.MEDIUMINT, 24),
    (SmallInteger, 16),
    (BigInteger, 64),
    (Integer, 32),
)


def capacity_of(column_type: TypeEngine[Any], dialect: Dialect) -> Capacity:
    """The capacity of a reflected type, or of one of ours as the engine makes it."""
    if isinstance(column_type, TypeDecorator):
        column_type = column_type.type_engine(dialect)
    made = column_type.dialect_impl(dialect)
    return _of_text(made, dialect) or _of_number(made) or _of_time(made, dialect) or Capacity(OTHER)


def _of_text(made: TypeEngine[Any], dialect: Dialect) -> Capacity | None:
    if isinstance(made, Enum | mysql.SET):
        return Capacity(CHOICE, choices=frozenset(made.enums if isinstance(made, Enum) else made.values))
    for kind_of_type, kind, length in _LENGTHS:
        if isinstance(made, kind_of_type):
            return Capacity(kind, high=length)
    kind = TEXT if isinstance(made, String) else BYTES
    if not isinstance(made, String | LargeBinary | BINARY | VARBINARY):
        return None
    unlimited = _LENGTH_ON_MYSQL if dialect.name in MYSQL else float("inf")
    return Capacity(kind, high=made.length or unlimited)


def _of_number(made: TypeEngine[Any]) -> Capacity | None:
    for kind_of_type, bits in _BITS:
        if isinstance(made, kind_of_type):
            if getattr(made, "unsigned", False):
                return Capacity(NUMBER, 0, 2**bits - 1)
            return Capacity(NUMBER, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if isinstance(made, Double | mysql.DOUBLE):
        return Capacity(FLOAT, high=53)
    if isinstance(made, Float):
        return Capacity(FLOAT, high=24)
    return Capacity(DECIMAL) if isinstance(made, Numeric) else None


def _of_time(made: TypeEngine[Any], dialect: Dialect) -> Capacity | None:
    if isinstance(made, DateTime):
        digits = (getattr(made, "fsp", None) or 0) if dialect.name in MYSQL else 6
        # MySQL's TIMESTAMP is shifted into the zone of whoever asks.
        zoned = bool(made.timezone) or isinstance(made, mysql.TIMESTAMP)
        return Capacity(ZONED if zoned else MOMENT, high=digits)
    return Capacity(DAY) if isinstance(made, Date) else None
