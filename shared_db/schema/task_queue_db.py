"""TaskQueueDB of DIRAC 9.1: queues, the jobs in them and what they ask for (legacy-schema.md, section 4)."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, MetaData, String, Table

from shared_db.schema.types import BigUnsigned, Single, Unsigned, Unsigned10, key, tiny

TASK_QUEUE_DB = "TaskQueueDB"
metadata = MetaData(info={"database": TASK_QUEUE_DB})

tq_TaskQueues = Table(  # noqa: N816 - DIRAC's name
    "tq_TaskQueues",
    metadata,
    Column("TQId", Unsigned, primary_key=True),
    Column("Owner", String(255), nullable=False),
    Column("OwnerGroup", String(32), nullable=False),
    Column("VO", String(32), nullable=False),
    Column("CPUTime", BigUnsigned, nullable=False),
    Column("Priority", Single, nullable=False),
    Column("Enabled", tiny(1), nullable=False, server_default="0"),
    key("TQOwner", "Owner", "OwnerGroup", "CPUTime", table="tq_TaskQueues"),
    sqlite_autoincrement=True,
)

# Only jobs in Waiting sit here; `JobId` is spelt so in DIRAC.
tq_Jobs = Table(  # noqa: N816 - DIRAC's name
    "tq_Jobs",
    metadata,
    Column("TQId", Unsigned, ForeignKey("tq_TaskQueues.TQId"), nullable=False),
    Column("JobId", Unsigned, primary_key=True, autoincrement=False),
    Column("Priority", Unsigned10, nullable=False),
    Column("RealPriority", Single, nullable=False),
    key("TaskIndex", "TQId", table="tq_Jobs"),
    # The oldest job of a queue with a certain priority, for which DIRAC's keys look at all jobs of the queue.
    key("QueuePriority", "TQId", "Priority", "JobId", table="tq_Jobs", ours=True),
)


def queue_id() -> Column[int]:
    """The column by which a table belongs to the queues; the key has no ON DELETE, so children go first."""
    return Column("TQId", Unsigned, ForeignKey("tq_TaskQueues.TQId"), primary_key=True, autoincrement=False)


# In MB.  DIRAC 8.0 has no such table.
tq_RAM_requirements = Table(  # noqa: N816 - DIRAC's name
    "tq_RAM_requirements",
    metadata,
    queue_id(),
    Column("MinRAM", Unsigned10, nullable=False, server_default="0"),
    Column("MaxRAM", Unsigned10, nullable=False, server_default="0"),
)


def values_of_queues(what: str) -> Table:
    """A table of what queues accept or refuse: any number of values for each queue."""
    table = f"tq_TQTo{what}"
    return Table(
        table,
        metadata,
        queue_id(),
        Column("Value", String(64), primary_key=True),
        key("TaskIndex", "TQId", "Value", table=table),
        key(f"{what}Index", "Value", table=table),
    )


tq_TQToSites = values_of_queues("Sites")  # noqa: N816 - DIRAC's name
tq_TQToGridCEs = values_of_queues("GridCEs")  # noqa: N816 - DIRAC's name
tq_TQToBannedSites = values_of_queues("BannedSites")  # noqa: N816 - DIRAC's name
tq_TQToPlatforms = values_of_queues("Platforms")  # noqa: N816 - DIRAC's name
tq_TQToJobTypes = values_of_queues("JobTypes")  # noqa: N816 - DIRAC's name
tq_TQToTags = values_of_queues("Tags")  # noqa: N816 - DIRAC's name
