"""Bodies of the routes that tell more about jobs than their attributes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from rest_backend.models.jobs import MOST_DETAILED_JOBS, JobId, OneJob
from shared_db.queries.values import LARGEST_UNSIGNED


class JdlQuery(OneJob):
    """``original``: the JDL as it was submitted, not as DIRAC completed it."""

    original: bool = False


class JobJdl(BaseModel):
    """A job's JDL."""

    JobID: int
    JDL: str


class DetailedJobs(BaseModel):
    """The jobs whose details are wanted."""

    job_ids: Annotated[list[JobId], Field(max_length=MOST_DETAILED_JOBS)]


class ParameterKind(StrEnum):
    """Whose parameters: of jobs, or of the optimizers about jobs."""

    JOB = "job"
    OPTIMIZER = "optimizer"


class ParameterSearch(DetailedJobs):
    """``names``: the parameters wanted, all if left out."""

    names: Annotated[list[str], Field(max_length=MOST_DETAILED_JOBS)] | None = None
    kind: ParameterKind = ParameterKind.JOB


class AtticSearch(DetailedJobs):
    """``cycle``: of one reschedule cycle, counted from 0; of all if left out.  ``names`` as elsewhere."""

    names: Annotated[list[str], Field(max_length=MOST_DETAILED_JOBS)] | None = None
    cycle: Annotated[int, Field(ge=0, le=LARGEST_UNSIGNED)] | None = None


class Measurement(BaseModel):
    """One value of one heartbeat, as it was kept."""

    Name: str
    Value: str
    HeartBeatTime: datetime


Parameters = dict[int, dict[str, str]]
AtticParameters = dict[int, dict[int, dict[str, str]]]
Measurements = dict[int, list[Measurement]]
InputData = dict[int, list[str]]
