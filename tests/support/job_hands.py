"""Hands that put jobs into a database and read them back, for the tests of what happens to jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Table, select

from shared_db.connection import Databases
from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs, tq_TaskQueues

T = TypeVar("T")

# Second 0 of the tests; the clock stands at noon, two hours later.
START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """An aware time."""
    return START + timedelta(seconds=seconds)


def column(moment: datetime) -> datetime:
    """The same as DIRAC's columns hold it."""
    return moment.replace(tzinfo=None, microsecond=0)


class Hands:
    """Puts jobs into the database and reads them back."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases

    async def run(self, function: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """A function of ours, in a unit of work of its own."""
        async with self.databases.unit_of_work(write=True) as work:
            return await function(work, *arguments, **options)

    async def add(
        self, *statuses: str, logged: Sequence[tuple[Any, ...]] = (), jdl: str = "", **columns: Any
    ) -> list[int]:
        """Add jobs in these statuses, each with records of the same history; ids count from 1."""
        async with self.databases.unit_of_work(write=True) as work:
            empty = {"JDL": "", "JobRequirements": "", "OriginalJDL": jdl}
            ids = await work.insert_ids(JOB_DB, JobJDLs, [empty for _ in statuses])
            rows = [
                {"JobID": each, "Status": status, **columns}
                for each, status in zip(ids, statuses, strict=True)
            ]
            await work.change(JOB_DB, Jobs.insert(), rows)
            records = [self._record(each, *entry) for each in ids for entry in logged]
            if records:
                await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)
            return ids

    @staticmethod
    def _record(job_id: int, seconds: float, status: str, minor: str = "idem") -> dict[str, Any]:
        return {
            "JobID": job_id,
            "Status": status,
            "MinorStatus": minor,
            "ApplicationStatus": "idem",
            "StatusTime": column(at(seconds)),
            "StatusTimeOrder": round(at(seconds).timestamp() - 1270000000, 3),
            "StatusSource": "JobManager",
        }

    async def queue(self, *job_ids: int) -> None:
        """Put jobs into a task queue."""
        async with self.databases.unit_of_work(write=True) as work:
            queue = {"Owner": "o", "OwnerGroup": "g", "VO": "v", "CPUTime": 360, "Priority": 1.0}
            await work.change(TASK_QUEUE_DB, tq_TaskQueues.insert().values(TQId=1, **queue))
            rows = [{"TQId": 1, "JobId": each, "Priority": 1, "RealPriority": 1.0} for each in job_ids]
            await work.change(TASK_QUEUE_DB, tq_Jobs.insert(), rows)

    async def insert(self, table: Table, *rows: dict[str, Any]) -> None:
        """Put rows into a table."""
        async with self.databases.unit_of_work(write=True) as work:
            await work.change(table.metadata.info["database"], table.insert(), list(rows))

    async def read(self, *columns: Any) -> list[tuple[Any, ...]]:
        """The wanted columns of every row of a table, in their order."""
        database = columns[0].table.metadata.info["database"]
        async with self.databases.unit_of_work() as work:
            return [tuple(row) for row in await work.rows(database, select(*columns).order_by(*columns))]

    async def job(self, job_id: int = 1) -> dict[str, Any]:
        """A job's row."""
        async with self.databases.unit_of_work() as work:
            [row] = await work.rows(JOB_DB, select(Jobs).where(Jobs.c.JobID == job_id))
        return dict(zip(Jobs.columns.keys(), row, strict=True))

    async def statuses(self) -> list[str]:
        """The statuses of all jobs."""
        return [status for _, status in await self.read(Jobs.c.JobID, Jobs.c.Status)]

    async def queued(self) -> list[int]:
        """Which jobs are in a task queue."""
        return [job_id for (job_id,) in await self.read(tq_Jobs.c.JobId)]

    async def commands(self) -> list[tuple[Any, ...]]:
        """The commands sent to jobs."""
        c = JobCommands.c
        return await self.read(c.JobID, c.ReceptionTime, c.Command, c.Arguments, c.Status, c.ExecutionTime)

    async def records(self, job_id: int = 1, after: int = 0) -> list[tuple[Any, ...]]:
        """A job's logging records in their stored form, those with a higher number."""
        c = LoggingInfo.c
        rows = await self.read(
            c.JobID,
            c.SeqNum,
            c.Status,
            c.MinorStatus,
            c.ApplicationStatus,
            c.StatusTime,
            c.StatusSource,
        )
        return [row[1:] for row in rows if row[0] == job_id and row[1] > after]
