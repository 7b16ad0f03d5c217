"""Jobs that end against their will: killed, deleted (as DIRAC means it: a status) and removed for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Delete, Table, Update, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.commands import KILL, Command, queue_commands
from shared_db.queries.jobs import leave_task_queue, locked_jobs
from shared_db.queries.values import chunks
from shared_db.rules import clock
from shared_db.rules.job_states import CHECKING_ACCOUNTING, MARKED_FOR_TERMINATION
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from shared_db.schema.job_db import metadata as job_db
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.task_queue_db import tq_Jobs


async def kill_jobs(work: UnitOfWork, job_ids: Sequence[int]) -> list[int]:
    """Do to each job what DIRAC's killJob does: a Kill command, status Killed, out of the task queue.

    No logging record is written, no execution time is set.  The caller has locked the jobs and seen that they
    may move to Killed.  Returns the ids that failed: a second Kill command within one second meets the
    primary key of JobCommands, and DIRAC then leaves the job alone (legacy-schema.md, 0.10).
    """
    clashing = await queue_commands(work, [Command(job_id, KILL) for job_id in job_ids])
    failed = {each.job_id for each in clashing}
    killed = [job_id for job_id in job_ids if job_id not in failed]
    await _end(work, killed, "Killed", MARKED_FOR_TERMINATION)
    return sorted(failed)


async def delete_jobs(work: UnitOfWork, kill: Sequence[int], delete: Sequence[int]) -> list[int]:
    """Do to jobs what DIRAC's deleteJob does: kill some first, then put the status of some to Deleted.

    As with ``kill_jobs`` nothing is logged; the lists are those of ``rules.killing.plan_delete``.
    Returns the ids that could not be killed; those to be deleted are deleted nevertheless.
    """
    failed = await kill_jobs(work, kill)
    await _end(work, delete, "Deleted", CHECKING_ACCOUNTING)
    return failed


async def _end(work: UnitOfWork, job_ids: Sequence[int], status: str, minor_status: str) -> None:
    values = {
        "Status": status,
        "MinorStatus": minor_status,
        "LastUpdateTime": clock.to_column(clock.utc_now()),
    }
    for chunk in chunks(sorted(job_ids)):
        await work.change(JOB_DB, _setting(tuple(values)), {"ids": chunk, **_bound(values)})
    await leave_task_queue(work, job_ids)


@cache
def _setting(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return Jobs.update().where(Jobs.c.JobID.in_(bindparam("ids", expanding=True))).values(values)


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in values.items()}


def _tables_of_jobs() -> list[Table]:
    """Every table with rows that belong to a job, those that point to others first."""
    own = [table for table in reversed(job_db.sorted_tables) if "JobID" in table.c]
    return [tq_Jobs, LoggingInfo, *own]


# JobDB's keys have no ON DELETE (legacy-schema.md, 1.3), so the order matters.
TABLES_OF_JOBS = _tables_of_jobs()


async def remove_jobs(work: UnitOfWork, job_ids: Iterable[int]) -> list[int]:
    """Remove every row of jobs from JobDB, JobLoggingDB and TaskQueueDB, as DIRAC's removeJob does.

    The id of a submission that failed has a JDL and no job; that is removed too.
    Returns the ids of what there was, ascending.
    """
    wanted = sorted(set(job_ids))
    await locked_jobs(work, wanted)
    there: list[int] = []
    for chunk in chunks(wanted):
        there += [row[0] for row in await work.rows(JOB_DB, _submitted(), {"ids": chunk})]
        for table in TABLES_OF_JOBS:
            if work.has(table):
                await work.change(table.metadata.info["database"], _removing(table), {"ids": chunk})
    return there


@cache
def _submitted() -> Any:
    condition = JobJDLs.c.JobID.in_(bindparam("ids", expanding=True))
    return select(JobJDLs.c.JobID).where(condition).order_by(JobJDLs.c.JobID)


@cache
def _removing(table: Table) -> Delete:
    column = table.c.JobId if table is tq_Jobs else table.c.JobID
    return table.delete().where(column.in_(bindparam("ids", expanding=True)))
