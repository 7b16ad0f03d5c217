"""JobLoggingDB, the same in DIRAC 7.3 to 9.1 (legacy-schema.md, section 2)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, MetaData, String, Table, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler

from shared_db.schema.types import MYSQL, Order, Seconds, Signed

JOB_LOGGING_DB = "JobLoggingDB"
metadata = MetaData(info={"database": JOB_LOGGING_DB})

# SeqNum is numbered by the database, whatever a writer gives (legacy-schema.md, 0.4): none is named here.
LoggingInfo = Table(
    "LoggingInfo",
    metadata,
    Column("JobID", Signed, primary_key=True, autoincrement=False),
    Column("SeqNum", Signed, primary_key=True, autoincrement=False, server_default="0"),
    Column("Status", String(32), nullable=False, server_default=""),
    Column("MinorStatus", String(128), nullable=False, server_default=""),
    Column("ApplicationStatus", String(255), nullable=False, server_default=""),
    Column("StatusTime", Seconds, nullable=False),
    Column("StatusTimeOrder", Order, nullable=False),
    Column("StatusSource", String(32), nullable=False, server_default="Unknown"),
    implicit_returning=False,
)

# DIRAC's own name of the trigger.
GENERATOR = "SeqNumGenerator"


class SeqNumGenerator(ExecutableDDLElement):
    """Make the trigger that numbers the records of each job from 1 in the order of their insertion."""


class SeqNumFunction(ExecutableDDLElement):
    """Make what the trigger calls, where a trigger cannot say it itself."""


event.listen(LoggingInfo, "after_create", SeqNumFunction().execute_if(dialect="postgresql"))
for _dialect in ("sqlite", "postgresql", *MYSQL):
    event.listen(LoggingInfo, "after_create", SeqNumGenerator().execute_if(dialect=_dialect))


def _names(element: ExecutableDDLElement, compiler: DDLCompiler) -> tuple[str, str]:
    """The table and the trigger (or function) beside it, in the schema where the table is made."""
    assert isinstance(element.target, Table)
    format_table = compiler.preparer.format_table
    return format_table(element.target), format_table(element.target, name=GENERATOR)


@compiles(SeqNumGenerator, *MYSQL)
def _mysql_trigger(element: SeqNumGenerator, compiler: DDLCompiler, **_: Any) -> str:
    table, trigger = _names(element, compiler)
    highest = f"SELECT COALESCE(MAX(SeqNum), 0) FROM {table} WHERE JobID = NEW.JobID"  # noqa: S608 - our names
    return f"CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH ROW SET NEW.SeqNum = 1 + ({highest})"


@compiles(SeqNumFunction, "postgresql")
def _postgresql_function(element: SeqNumFunction, compiler: DDLCompiler, **_: Any) -> str:
    table, function = _names(element, compiler)
    highest = f'SELECT coalesce(max("SeqNum"), 0) FROM {table} WHERE "JobID" = NEW."JobID"'  # noqa: S608 - our names
    return (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$ "
        f'BEGIN NEW."SeqNum" := 1 + ({highest}); RETURN NEW; END $body$'
    )


@compiles(SeqNumGenerator, "postgresql")
def _postgresql_trigger(element: SeqNumGenerator, compiler: DDLCompiler, **_: Any) -> str:
    table, function = _names(element, compiler)
    name = compiler.preparer.quote(GENERATOR)
    return f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"


@compiles(SeqNumGenerator, "sqlite")
def _sqlite_trigger(element: SeqNumGenerator, compiler: DDLCompiler, **_: Any) -> str:
    """SQLite cannot change a row before it is there; so a given number that is taken is a conflict first."""
    table, trigger = _names(element, compiler)
    others = f"SELECT max(SeqNum) FROM {table} WHERE JobID = NEW.JobID AND rowid <> NEW.rowid"  # noqa: S608 - our names
    numbered = f"UPDATE {table} SET SeqNum = 1 + coalesce(({others}), 0)"  # noqa: S608 - our names
    return f"CREATE TRIGGER {trigger} AFTER INSERT ON {table} BEGIN {numbered} WHERE rowid = NEW.rowid; END"
