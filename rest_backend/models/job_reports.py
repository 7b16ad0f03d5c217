"""Bodies of the routes by which jobs tell about themselves (rest-diracx.md, 6.5)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rest_backend.models.jobs import JobId, Moment

Number = Annotated[float, Field(allow_inf_nan=False)]


class HeartbeatData(BaseModel):
    """What a job measures at intervals, and the end of what it wrote."""

    model_config = ConfigDict(extra="forbid")

    LoadAverage: Number | None = None
    MemoryUsed: Number | None = None
    Vsize: Number | None = None
    AvailableDiskSpace: Number | None = None
    CPUConsumed: Number | None = None
    WallClockTime: Number | None = None
    StandardOutput: str | None = None


Heartbeats = dict[JobId, HeartbeatData]


class LegacyHeartbeat(BaseModel):
    """The same as JobStateUpdate's sendHeartBeat takes it: any names.

    ``dynamic``: what was measured.  ``static``: what becomes job parameters.  ``moment``: when it was; a
    heartbeat that says so wakes a Matched or Stalled job only, any other makes every job Running.
    """

    model_config = ConfigDict(extra="forbid")

    dynamic: dict[str, str | int | Number] = {}
    static: dict[str, str] = {}
    moment: Moment | None = None


LegacyHeartbeats = dict[JobId, LegacyHeartbeat]


class JobCommand(BaseModel):
    """What a job is told to do."""

    job_id: int
    command: str
    arguments: str | None = None


def _whole(value: Any) -> Any:
    """A numeric text or a number without what stands behind its point."""
    if isinstance(value, str | float) and not isinstance(value, bool):
        try:
            return int(float(value))
        except OverflowError as error:
            raise ValueError("too large") from error
    return value


Truncated = Annotated[int, BeforeValidator(_whole)]

# What a free value may hold below itself.
DEEPEST = 32


def _check_free(value: Any) -> None:
    """Refuses what JSON cannot carry on: numbers that are none, and what is nested too deeply."""
    level = [value]
    for _ in range(DEEPEST):
        if any(isinstance(each, float) and each - each != 0 for each in level):
            raise ValueError("NaN and infinities cannot be kept")
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise ValueError(f"nested more than {DEEPEST} levels deep")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


class JobMetaData(BaseModel):
    """Attributes of a job, of which ``Site`` may be set, and job parameters; a free name is a parameter."""

    model_config = ConfigDict(extra="allow")

    timestamp: datetime | None = None
    CPUNormalizationFactor: Truncated | None = None
    norm_cpu_time: Annotated[Truncated | None, Field(alias="NormCPUTime(s)")] = None
    total_cpu_time: Annotated[Truncated | None, Field(alias="TotalCPUTime(s)")] = None
    HostName: str | None = None
    GridCE: str | None = None
    ModelName: str | None = None
    PilotAgent: str | None = None
    Pilot_Reference: str | None = None
    memory: Annotated[int | None, Field(alias="Memory(MB)")] = None
    LocalAccount: str | None = None
    PayloadPID: int | None = None
    CEQueue: str | None = None
    BatchSystem: str | None = None
    JobType: str | None = None
    JobGroup: str | None = None
    Site: str | None = None
    JobName: str | None = None
    Owner: str | None = None
    OwnerGroup: str | None = None
    VO: str | None = None
    SubmissionTime: datetime | None = None
    RescheduleTime: datetime | None = None
    LastUpdateTime: datetime | None = None
    StartExecTime: datetime | None = None
    HeartBeatTime: datetime | None = None
    EndExecTime: datetime | None = None
    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    UserPriority: int | None = None
    RescheduleCounter: int | None = None
    VerifiedFlag: bool | None = None
    AccountedFlag: bool | str | None = None

    @model_validator(mode="after")
    def _free_values_are_json(self) -> JobMetaData:
        for value in (self.model_extra or {}).values():
            _check_free(value)
        return self

    def given(self) -> dict[str, Any]:
        """What was said, by the names of requests; what is null is left alone."""
        return self.model_dump(by_alias=True, exclude_none=True)


def as_text(value: Any) -> str:
    """A value as a job parameter is kept: texts as they are, numbers and flags as Python writes them."""
    match value:
        case str():
            return value
        case date():
            return value.isoformat()
        case bool() | int() | float():
            return str(value)
        case _:
            return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


MetadataUpdates = dict[JobId, JobMetaData]


class JobAttributes(BaseModel):
    """The attributes of a job that JobStateUpdate's setJobAttribute sets."""

    model_config = ConfigDict(extra="forbid")

    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    Site: str | None = None
    StartExecTime: Moment | None = None
    EndExecTime: Moment | None = None
    HeartBeatTime: Moment | None = None


AttributeUpdates = dict[JobId, JobAttributes]
ParameterUpdates = dict[JobId, dict[str, str]]


class ChangedJobs(BaseModel):
    """How many jobs changed."""

    changed: int


class ChangedParameters(BaseModel):
    """How many parameters are new or different."""

    changed: int
