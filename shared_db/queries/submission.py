"""The rows of submitted jobs: ids first, then the JDLs that hold them, then everything else."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared_db.connection import UnitOfWork
from shared_db.queries.jdls import new_job_ids, store_jdls
from shared_db.queries.jobs import locked_jobs, update_jobs
from shared_db.queries.parameters import add_input_data
from shared_db.queries.statuses import JOB_MANAGER, log
from shared_db.queries.values import check_values
from shared_db.rules import clock
from shared_db.rules.jdl.description import JobRecord
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.status_updates import log_record
from shared_db.rules.submission import ACCEPTED, InitialState, to_confirm
from shared_db.schema.job_db import JOB_DB, Jobs


class Described(Protocol):
    """A job as somebody submitted it (:class:`shared_db.rules.jdl.description.JobDescription`)."""

    @property
    def original_jdl(self) -> str:
        """What was submitted."""

    def for_job(self, job_id: int) -> JobRecord:
        """What it makes of the job with this id; all jobs name the same columns."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """New jobs: their ids, ascending in the order in which they were described, and when (aware)."""

    job_ids: list[int]
    moment: datetime


async def submit_jobs(
    work: UnitOfWork, jobs: Sequence[Described], *, state: InitialState = ACCEPTED
) -> Submitted:
    """Insert jobs in a number of statements that does not grow with theirs.

    Raises InvalidValue for a value that its column cannot hold; then no id is spent where the engine takes
    ids back (MySQL and PostgreSQL leave a gap).
    """
    now = clock.utc_now()
    # To write and compress a thousand JDLs takes its time, in which other callers are served.
    job_ids = await new_job_ids(work, await to_thread(lambda: [compressed(job.original_jdl) for job in jobs]))
    records, texts = await to_thread(_described, jobs, job_ids)
    await store_jdls(work, texts)
    rows = [_row(job_id, record, state, clock.to_column(now)) for job_id, record in records.items()]
    check_values(Jobs, rows)
    if rows:
        await work.change(JOB_DB, Jobs.insert(), rows)
    await add_input_data(work, {job_id: record.input_data for job_id, record in records.items()})
    first = {"status": state.status, "minor_status": state.minor_status, "source": JOB_MANAGER}
    await log(work, [log_record(job_id, now, **first) for job_id in job_ids])
    return Submitted(job_ids, now)


def _described(
    jobs: Sequence[Described], job_ids: Sequence[int]
) -> tuple[dict[int, JobRecord], dict[int, str]]:
    records = {job_id: job.for_job(job_id) for job_id, job in zip(job_ids, jobs, strict=True)}
    return records, {job_id: compressed(record.jdl) for job_id, record in records.items()}


def _row(job_id: int, record: JobRecord, state: InitialState, moment: datetime) -> dict[str, Any]:
    return {
        **record.columns,
        "JobID": job_id,
        "SubmissionTime": moment,
        "LastUpdateTime": moment,
        "Status": state.status,
        "MinorStatus": state.minor_status,
        "VerifiedFlag": "True",
    }


async def confirm_jobs(work: UnitOfWork, job_ids: Sequence[int]) -> list[int]:
    """Do what DIRAC's confirmBulkSubmission does: move jobs that wait for it on to Received.

    Nothing is logged and no time changes.  Returns the ids that were moved: all, or none when they had been
    before.  Raises Refusal.
    """
    statuses = {row.JobID: row.Status for row in await locked_jobs(work, job_ids, ("Status",))}
    moved = to_confirm(job_ids, statuses)
    change = {"Status": ACCEPTED.status, "MinorStatus": ACCEPTED.minor_status}
    await update_jobs(work, dict.fromkeys(moved, change))
    return moved
