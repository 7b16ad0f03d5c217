"""Ids and statuses of jobs, in the bodies of their routes."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from shared_db.queries.conditions import LARGEST_NUMBER


def _storable(number: int) -> int:
    if not -LARGEST_NUMBER <= number < LARGEST_NUMBER:
        raise ValueError("no job can have this id")
    return number


# The schema tells the bound by a format: DiracX's has none.
JobId = Annotated[int, AfterValidator(_storable)]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("no such time in UTC") from error


# An aware time, in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]

# Of one request: as many as a page of a search can have, and as many whose details fit into one answer.
MOST_JOBS = 10_000
MOST_DETAILED_JOBS = 1_000


class JobIds(BaseModel):
    """Some jobs."""

    job_ids: list[JobId]


class SomeJobIds(BaseModel):
    """Some jobs, of which so many can be worked on at once."""

    job_ids: Annotated[list[JobId], Field(min_length=1, max_length=MOST_JOBS)]


class OneJob(BaseModel):
    """The job that a path names."""

    job_id: JobId


class JobStatus(StrEnum):
    """The statuses that REST accepts; DiracX does not know Scouting (rest-diracx.md, 6.4)."""

    SUBMITTING = "Submitting"
    RECEIVED = "Received"
    CHECKING = "Checking"
    STAGING = "Staging"
    WAITING = "Waiting"
    MATCHED = "Matched"
    RUNNING = "Running"
    STALLED = "Stalled"
    COMPLETING = "Completing"
    DONE = "Done"
    COMPLETED = "Completed"
    FAILED = "Failed"
    DELETED = "Deleted"
    KILLED = "Killed"
    RESCHEDULED = "Rescheduled"


class JobStatusUpdate(BaseModel):
    """What a job reports at one moment; what is left out is unchanged."""

    Status: JobStatus | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    Source: str = "Unknown"


class JobStatusQuery(BaseModel):
    """``force``: go round the job state machine (JobAdministrator only)."""

    force: bool = False


class SetJobStatusReturnSuccess(BaseModel):
    """What was set; null where nothing was."""

    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    HeartBeatTime: datetime | None = None
    StartExecTime: datetime | None = None
    EndExecTime: datetime | None = None
    LastUpdateTime: datetime | None = None


class SetJobStatusReturn(BaseModel):
    """Per job: what was set, or why nothing was."""

    success: dict[int, SetJobStatusReturnSuccess]
    failed: dict[int, dict[str, str]]


# Times must be aware; the handler says so in DiracX's words.
JobStatusUpdates = dict[JobId, dict[datetime, JobStatusUpdate]]
