"""Jobs: reading their attributes, locking them, and setting attributes one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.bulk import as_rows, update_each
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import check_values, chunks
from shared_db.rules.job_states import check_known, may_move
from shared_db.schema.job_db import JOB_DB, Jobs
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs


async def job_attributes(work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str]) -> list[AnyRow]:
    """``JobID`` and the named columns of those of the jobs that exist, by ascending id."""
    return await find_by_ids(work, [Jobs.c.JobID, *[Jobs.c[name] for name in names]], Jobs.c.JobID, job_ids)


async def locked_jobs(work: UnitOfWork, job_ids: Iterable[int], names: Sequence[str] = ()) -> list[AnyRow]:
    """The same, and nobody else changes these jobs until the unit of work ends.

    They are locked by ascending id, so that two units which want the same jobs wait and do not deadlock.
    """
    rows: list[AnyRow] = []
    for chunk in chunks(sorted(set(job_ids))):
        rows += await work.rows(JOB_DB, _locking(tuple(names)), {"ids": chunk})
    return rows


@cache
def _locking(names: tuple[str, ...]) -> Select[Any]:
    columns = [Jobs.c.JobID, *[Jobs.c[name] for name in names]]
    condition = Jobs.c.JobID.in_(bindparam("ids", expanding=True))
    return select(*columns).where(condition).order_by(Jobs.c.JobID).with_for_update()


async def update_jobs(work: UnitOfWork, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Write to each job its own columns; None leaves a column as it is.  Raises InvalidValue."""
    rows = [
        {"JobID": job_id, **{name: value for name, value in change.items() if value is not None}}
        for job_id, change in changes.items()
    ]
    check_values(Jobs, rows)
    columns = {name for row in rows for name in row if name != "JobID"}
    # In table order, so that few different statements are built.
    names = tuple(column.name for column in Jobs.columns if column.name in columns)
    if names:
        await work.change(JOB_DB, update_each(Jobs, ("JobID",), names), as_rows(rows))


async def set_job_attributes(
    work: UnitOfWork, values: Mapping[int, Mapping[str, Any]], *, force: bool = False
) -> int:
    """Set columns of jobs as DIRAC's setJobAttribute and setJobSite do; times are naive UTC.

    A Status that the state machine does not allow (unless ``force``) is left out in silence.  Nothing is
    logged and no other column changes.  Returns how many jobs changed: not those that are unknown, nor those
    that had the values already.  Raises Refusal for a status that is none, InvalidValue.
    """
    names = tuple(dict.fromkeys(name for each in values.values() for name in each))
    changes: dict[int, dict[str, Any]] = {}
    for row in await locked_jobs(work, values, names):
        current = row._asdict()
        wanted = {name: value for name, value in values[row.JobID].items() if current[name] != value}
        if "Status" in wanted and not force:
            check_known(wanted["Status"])
            if not may_move(current["Status"], wanted["Status"]):
                del wanted["Status"]
        if wanted:
            changes[row.JobID] = wanted
    await update_jobs(work, changes)
    return len(changes)


async def leave_task_queue(work: UnitOfWork, job_ids: Iterable[int]) -> None:
    """Take jobs out of their task queues; a queue left empty is not removed here (DIRAC waits 300 s)."""
    for chunk in chunks(sorted(job_ids)):
        await work.change(TASK_QUEUE_DB, _leaving(), {"ids": chunk})


@cache
def _leaving() -> Any:
    return tq_Jobs.delete().where(tq_Jobs.c.JobId.in_(bindparam("ids", expanding=True)))
