"""JobLoggingDB, the same in DIRAC 7.3 to 9.1 (legacy-schema.md, section 2)."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, String, Table

from shared_db.schema.types import Order, Seconds, Signed

JOB_LOGGING_DB = "JobLoggingDB"
metadata = MetaData(info={"database": JOB_LOGGING_DB})

# SeqNum is max+1 per job; MySQL does it by trigger, elsewhere the writer computes it (legacy-schema.md, 0.4).
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
)
