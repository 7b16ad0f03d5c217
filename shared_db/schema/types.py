"""Column types that mean the same on every engine as they do in DIRAC's MySQL tables."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Double, Index, Integer, String
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.types import TypeEngine

# DIRAC's DATETIME columns hold UTC without zone and without fraction (legacy-schema.md, 0.9).
Seconds: TypeEngine[datetime] = DateTime().with_variant(
    sqlite.DATETIME(truncate_microseconds=True),  # type: ignore[no-untyped-call]
    "sqlite",
)
Unsigned: TypeEngine[int] = Integer().with_variant(mysql.INTEGER(11, unsigned=True), "mysql", "mariadb")
Signed: TypeEngine[int] = Integer().with_variant(mysql.INTEGER(11), "mysql", "mariadb")
MediumText: TypeEngine[str] = String().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
Order: TypeEngine[float] = Double().with_variant(mysql.DOUBLE(12, 3), "mysql", "mariadb")


def flag(*values: str) -> TypeEngine[str]:
    """An ENUM of texts; DIRAC keeps booleans as the strings 'True' and 'False' (legacy-schema.md, 0.3)."""
    return String(max(map(len, values))).with_variant(mysql.ENUM(*values), "mysql", "mariadb")


def key(name: str, *columns: str, table: str, ours: bool = False) -> Index:
    """One of DIRAC's named keys, or (``ours``) one that only databases have which we made.

    SQLite and PostgreSQL want index names unique in the whole schema, so the table's name is put before it;
    ``info["key"]`` keeps DIRAC's own.
    """
    return Index(f"{table}_{name}", *columns, info={"key": name, "ours": ours})
