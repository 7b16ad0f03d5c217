"""Bodies of the routes by which jobs come, start anew, and go (rest-diracx.md, 6.2 and 6.5)."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel


class InsertedJob(BaseModel):
    """A job that was just submitted, and the state in which it came."""

    JobID: int
    Status: str
    MinorStatus: str
    TimeStamp: datetime


class RescheduleQuery(BaseModel):
    """``reset_jobs``: count the reschedulings from 0 again."""

    reset_jobs: bool = False


class ConfirmedJobs(BaseModel):
    """The jobs that this request moved on to Received: all, or none where that was done before."""

    confirmed: list[int]


class RemovedJobs(BaseModel):
    """The ids of what there was, ascending."""

    removed: list[int]


class SubmissionLimits(BaseModel):
    """What the caller may submit, and what is assumed where a job does not say.

    Of these REST itself refuses more jobs, other job types and more input data than there may be; the bounds
    on CPU time, priority and processors, and the names of sites (null: any) are DIRAC's JobManager's.
    ``platforms``: DIRAC's, each with those that it is compatible with; null where the site names none, and
    then no job may ask for one.
    """

    jobs_per_submission: int
    parametric_jobs: int
    reschedulings: int
    job_types: list[str]
    log_levels: list[str]
    input_data: int
    default_cpu_time: int
    min_cpu_time: int
    max_cpu_time: int
    default_priority: int
    min_priority: int
    max_priority: int
    min_processors: int
    max_processors: int
    sites: list[str] | None
    platforms: dict[str, list[str]] | None
