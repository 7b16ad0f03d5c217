"""TaskQueueDB of DIRAC 9.1: the queues and the jobs in them (legacy-schema.md, section 4)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, MetaData, SmallInteger, String, Table

from shared_db.schema.types import Unsigned, key

TASK_QUEUE_DB = "TaskQueueDB"
metadata = MetaData(info={"database": TASK_QUEUE_DB})

tq_TaskQueues = Table(  # noqa: N816 - DIRAC's name
    "tq_TaskQueues",
    metadata,
    Column("TQId", Unsigned, primary_key=True),
    Column("Owner", String(255), nullable=False),
    Column("OwnerGroup", String(32), nullable=False),
    Column("VO", String(32), nullable=False),
    Column("CPUTime", BigInteger, nullable=False),
    Column("Priority", Float, nullable=False),
    Column("Enabled", SmallInteger, nullable=False, server_default="0"),
    key("TQOwner", "Owner", "OwnerGroup", "CPUTime", table="tq_TaskQueues"),
    sqlite_autoincrement=True,
)

# Only jobs in Waiting sit here; `JobId` is spelt so in DIRAC.
tq_Jobs = Table(  # noqa: N816 - DIRAC's name
    "tq_Jobs",
    metadata,
    Column("TQId", Unsigned, ForeignKey("tq_TaskQueues.TQId"), nullable=False),
    Column("JobId", Unsigned, primary_key=True, autoincrement=False),
    Column("Priority", Unsigned, nullable=False),
    Column("RealPriority", Float, nullable=False),
    key("TaskIndex", "TQId", table="tq_Jobs"),
)
