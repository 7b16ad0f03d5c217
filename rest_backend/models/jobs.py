"""Bodies of the routes of jobs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel


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
JobStatusUpdates = dict[int, dict[datetime, JobStatusUpdate]]
