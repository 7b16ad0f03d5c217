"""JobJDLs: where the ids of jobs come from, and their JDL as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Column

from shared_db.connection import UnitOfWork
from shared_db.queries.bulk import as_rows, update_each
from shared_db.queries.search import find_by_ids
from shared_db.schema.job_db import JOB_DB, JobJDLs

# Characters of JDL in one statement; MySQL's packets have 16 MB by default.
_STATEMENT_SIZE = 4_000_000


async def new_job_ids(work: UnitOfWork, original_jdls: Sequence[str]) -> list[int]:
    """New ids for jobs, ascending in the order of their original JDLs (as they are stored)."""
    rows = [{"JDL": "", "JobRequirements": "", "OriginalJDL": jdl} for jdl in original_jdls]
    return await work.insert_ids(JOB_DB, JobJDLs, rows) if rows else []


async def store_jdls(work: UnitOfWork, jdls: Mapping[int, str]) -> None:
    """Set the current JDL of jobs, as it is stored."""
    for some in _batches(jdls):
        await work.change(JOB_DB, update_each(JobJDLs, ("JobID",), ("JDL",)), as_rows(some))


def _batches(jdls: Mapping[int, str]) -> Iterator[list[dict[str, object]]]:
    """Rows in runs that fit into a statement; one that does not fit anywhere comes alone."""
    batch: list[dict[str, object]] = []
    size = 0
    for job_id, jdl in jdls.items():
        if batch and size + len(jdl) > _STATEMENT_SIZE:
            yield batch
            batch, size = [], 0
        batch.append({"JobID": job_id, "JDL": jdl})
        size += len(jdl)
    if batch:
        yield batch


async def original_jdls(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, str]:
    """``{JobID: original JDL as it is stored}`` of the ids that have one."""
    return await _stored(work, job_ids, JobJDLs.c.OriginalJDL)


async def current_jdls(work: UnitOfWork, job_ids: Iterable[int]) -> dict[int, str]:
    """The same of current JDLs."""
    return await _stored(work, job_ids, JobJDLs.c.JDL)


async def _stored(work: UnitOfWork, job_ids: Iterable[int], column: Column[str]) -> dict[int, str]:
    rows = await find_by_ids(work, [JobJDLs.c.JobID, column], JobJDLs.c.JobID, job_ids)
    return {row[0]: row[1] for row in rows}
