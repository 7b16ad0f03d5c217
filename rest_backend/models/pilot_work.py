"""Bodies of the routes of what pilots run, write and say (rest-diracx.md, section 7, unreleased routes)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rest_backend.models.pilots import Id, Stamp


class PilotJobsQuery(BaseModel):
    """A pilot's stamp, or the id of a job."""

    pilot_stamp: Stamp | None = None
    job_id: Id | None = None


class PilotJobs(BaseModel):
    """Jobs that a pilot runs; the pilot by its stamp or its ``PilotID``."""

    model_config = ConfigDict(extra="forbid")

    pilot_stamp: Stamp | None = None
    pilot_id: Id | None = None
    job_ids: Annotated[list[Id], Field(min_length=1, max_length=1_000)]

    @model_validator(mode="after")
    def _one_pilot(self) -> Self:
        if (self.pilot_stamp is None) == (self.pilot_id is None):
            raise ValueError("give either pilot_stamp or pilot_id")
        return self


class PilotInfo(BaseModel):
    """Who a pilot's token says it is."""

    sub: str
    vo: str
    pilot_stamp: str


class LogLine(BaseModel):
    """Something that a pilot says; a time without zone is UTC."""

    model_config = ConfigDict(extra="forbid")

    timestamp: datetime
    severity: Annotated[str, Field(max_length=16)] = "INFO"
    message: str
    scope: Annotated[str, Field(max_length=64)] = ""


class PilotMessage(BaseModel):
    """Lines of the pilot whose token it is; a stamp, if given, must be its own."""

    model_config = ConfigDict(extra="forbid")

    pilot_stamp: Stamp | None = None
    lines: list[LogLine]


class LegacyPilotMessage(BaseModel):
    """Lines of a pilot that has no token of its own.

    ``vo``: of a pilot that is not registered; the caller's, if left out.
    """

    model_config = ConfigDict(extra="forbid")

    pilot_stamp: Stamp
    vo: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    lines: list[LogLine]


class LogTail(BaseModel):
    """Whose lines, and how many of the last ones."""

    pilot_stamp: Stamp
    lines: Annotated[int, Field(ge=1, le=10_000)] = 200


class LogsOfPilots(BaseModel):
    """Pilots whose lines go."""

    pilot_stamps: Annotated[list[Stamp], Field(min_length=1, max_length=10_000)]


class LogLimits(BaseModel):
    """What a message may hold, and how long lines are kept (days, null: until the pilot is deleted)."""

    lines_per_message: int
    characters_per_line: int
    days_kept: int | None


class WhichOutput(BaseModel):
    """Pilots by exactly one of these."""

    pilot_id: Id | None = None
    pilot_reference: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    pilot_stamp: Stamp | None = None
    job_id: Id | None = None


class NewPilotOutput(BaseModel):
    """What a pilot wrote; of several pilots with one reference or stamp, the youngest did."""

    model_config = ConfigDict(extra="forbid")

    pilot_id: Id | None = None
    pilot_reference: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    pilot_stamp: Stamp | None = None
    StdOut: str
    StdErr: str = ""

    @model_validator(mode="after")
    def _one_pilot(self) -> Self:
        if sum(each is not None for each in (self.pilot_id, self.pilot_reference, self.pilot_stamp)) != 1:
            raise ValueError("give exactly one of pilot_id, pilot_reference and pilot_stamp")
        return self


class PilotOutput(BaseModel):
    """What a pilot wrote, null where that is not kept here."""

    PilotID: int
    PilotJobReference: str
    PilotStamp: str
    VO: str
    StdOut: str | None
    StdErr: str | None


class StoredOutput(BaseModel):
    """Whether the beginning of an output was cut off because it was too large."""

    PilotID: int
    truncated: bool
