"""Column types that mean the same on every engine: those of DIRAC's MySQL tables, and those of our own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.types import TypeEngine

MYSQL = ("mysql", "mariadb")

# DIRAC's DATETIME columns hold UTC without zone and without fraction (legacy-schema.md, 0.9).
Seconds: TypeEngine[datetime] = DateTime().with_variant(
    sqlite.DATETIME(truncate_microseconds=True),  # type: ignore[no-untyped-call]
    "sqlite",
)
Unsigned: TypeEngine[int] = (
    Integer()
    .with_variant(mysql.INTEGER(11, unsigned=True), *MYSQL)
    .with_variant(BigInteger(), "postgresql")  # its INTEGER ends at 2**31
)
# What MySQL makes of INT UNSIGNED without a width; it holds the same numbers.
Unsigned10: TypeEngine[int] = (
    Integer().with_variant(mysql.INTEGER(10, unsigned=True), *MYSQL).with_variant(BigInteger(), "postgresql")
)
Signed: TypeEngine[int] = Integer().with_variant(mysql.INTEGER(11), *MYSQL)
BigUnsigned: TypeEngine[int] = BigInteger().with_variant(mysql.BIGINT(20, unsigned=True), *MYSQL)
BigSigned: TypeEngine[int] = BigInteger().with_variant(mysql.BIGINT(20), *MYSQL)
# SQLite counts up by itself only in a column whose type is the word INTEGER.
BigId: TypeEngine[int] = (
    BigInteger().with_variant(mysql.BIGINT(20), *MYSQL).with_variant(sqlite.INTEGER(), "sqlite")
)


def _legible(value: str | bytes | None) -> str | None:
    """A text, in whichever way it was written."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin1")
    return value


class _Legible:
    """DIRAC 7.3 has BLOB where later releases have TEXT: bytes come from there."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:  # noqa: ARG002
        """What the driver gave, as a text."""
        return _legible


class _LegibleText(_Legible, mysql.TEXT):
    """TEXT, or BLOB."""


class _LegibleMediumText(_Legible, mysql.MEDIUMTEXT):
    """MEDIUMTEXT, or MEDIUMBLOB."""


LongText: TypeEngine[str] = Text().with_variant(_LegibleText(), *MYSQL)
MediumText: TypeEngine[str] = String().with_variant(_LegibleMediumText(), *MYSQL)
Blob: TypeEngine[bytes] = LargeBinary().with_variant(mysql.BLOB(), *MYSQL)
Order: TypeEngine[float] = Double().with_variant(mysql.DOUBLE(12, 3, asdecimal=False), *MYSQL)
Single: TypeEngine[float] = Float().with_variant(mysql.FLOAT(), *MYSQL)


class Moment(TypeDecorator[datetime]):
    """A moment in our own tables: aware UTC in Python, to the microsecond on every engine.

    Stored as UTC without a zone (DATETIME(6), TIMESTAMP, or SQLite's text), so that it sorts, compares and
    reads the same everywhere.  A naive value is refused with ValueError: its zone would be a guess.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """MySQL's DATETIME has no fraction unless it is asked for one."""
        if dialect.name in MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As it is stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no zone: give an aware datetime, as datetime.now(UTC) makes")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As Python handles it."""
        return None if value is None else value.replace(tzinfo=UTC)


def flag(*values: str) -> TypeEngine[str]:
    """An ENUM of texts; DIRAC keeps booleans as the strings 'True' and 'False' (legacy-schema.md, 0.3)."""
    return String(max(map(len, values))).with_variant(mysql.ENUM(*values), *MYSQL)


def tiny(width: int) -> TypeEngine[int]:
    """A TINYINT; the width is only what MySQL shows."""
    return SmallInteger().with_variant(mysql.TINYINT(width), *MYSQL)


def key(name: str, *columns: str, table: str, ours: bool = False, unique: bool = False) -> Index:
    """One of DIRAC's named keys, or (``ours``) one that only databases have which we made.

    SQLite and PostgreSQL want index names unique in the whole schema, so the table's name is put before it;
    ``info["key"]`` keeps DIRAC's own, which is the name on MySQL.
    """
    return Index(f"{table}_{name}", *columns, unique=unique, info={"key": name, "ours": ours})


@compiles(CreateIndex, *MYSQL)
def _with_the_key_s_own_name(create: CreateIndex, compiler: DDLCompiler, **options: object) -> str:
    index = create.element
    assert isinstance(index, Index)
    own = index.info.get("key")
    text: str = compiler.visit_create_index(create, **options)  # type: ignore[no-untyped-call]
    if own is None:
        return text
    quote = compiler.preparer.quote
    return text.replace(quote(str(index.name)), quote(own), 1)


def as_dirac_makes_tables(metadata: MetaData, **options: str) -> MetaData:
    """Have MySQL make every table as DIRAC 9.1 does: with transactions and foreign keys, for any text.

    ``options`` are further table options of MySQL's.
    """
    options = {"engine": "InnoDB", "charset": "utf8mb4", **options}
    for table in metadata.tables.values():
        table.kwargs.update({f"{each}_{name}": value for each in MYSQL for name, value in options.items()})
    return metadata
