"""Bodies of the routes of task queues and matching (legacy-methods.md, section 6)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared_db.queries.values import LARGEST_UNSIGNED

Value = Annotated[str, Field(min_length=1, max_length=64)]
Values = Annotated[list[Value], Field(max_length=1_000)]
Number = Annotated[int, Field(ge=0, le=LARGEST_UNSIGNED)]


class ResourceDescription(BaseModel):
    """What a pilot offers, and which jobs it wants.

    A list that is empty offers whatever is asked for, but for ``tags``: a job may ask for none but those.
    ``cpu_time`` is in seconds, ``max_ram`` in MB.
    """

    model_config = ConfigDict(extra="forbid")

    site: Annotated[str, Field(min_length=1, max_length=100)]
    cpu_time: Number
    ce: Annotated[str, Field(max_length=128)] = ""
    ces: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=1_000)] = []
    queue: Annotated[str, Field(max_length=128)] = ""
    platforms: Values = []
    job_types: Values = []
    tags: Values = []
    required_tags: Values = []
    processors: Annotated[int, Field(ge=1, le=LARGEST_UNSIGNED)] = 1
    whole_node: bool = False
    max_ram: Number | None = None
    owners: Values = []
    owner_groups: Values = []


class QueueLookUp(ResourceDescription):
    """The same, of somebody who only looks: at one site or at any of several, or wherever it may be.

    ``everybody``: see the policy.
    """

    site: Annotated[str, Field(max_length=100)] = ""
    sites: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=1_000)] = []
    everybody: bool = False


class JobRequest(ResourceDescription):
    """The same, and who asks.

    ``job_id``: this job and no other.  ``pilot_reported``: where the pilot runs is known already.  ``vo``:
    whose jobs a host wants, which is in no VO.  ``release_needed``: a pilot that says no release is refused
    even where none is asked for.
    """

    job_id: Annotated[int, Field(ge=1, le=LARGEST_UNSIGNED)] | None = None
    pilot_reference: Annotated[str, Field(max_length=255)] = ""
    pilot_stamp: Annotated[str, Field(max_length=32)] = ""
    pilot_benchmark: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    pilot_reported: bool = False
    release_version: Annotated[str, Field(max_length=64)] = ""
    release_project: Annotated[str, Field(max_length=64)] = ""
    release_needed: bool = False
    vo: Annotated[str, Field(max_length=64)] = ""


class MatchedJob(BaseModel):
    """A job that is the pilot's now; ``OwnerDN`` is the first of the owner's DNs, '' where none is known."""

    JobID: int
    JDL: str
    Owner: str
    OwnerDN: str
    OwnerGroup: str
    VO: str
    parameters: dict[str, str]


class QueueSearch(BaseModel):
    """Which queues: those with these ids, of these VOs; null: all."""

    model_config = ConfigDict(extra="forbid")

    queue_ids: Annotated[list[Number], Field(max_length=10_000)] | None = None
    vos: Values | None = None


class QueueDescription(BaseModel):
    """A task queue with jobs in it; ``Priority`` says how likely it is served, next to others.

    A list that is empty asks for nothing; memory is in MB, 0 where none was asked for.
    """

    TQId: int
    Owner: str
    OwnerGroup: str
    VO: str
    CPUTime: int
    Priority: float
    Enabled: bool
    Jobs: int
    Sites: list[str]
    BannedSites: list[str]
    GridCEs: list[str]
    Platforms: list[str]
    JobTypes: list[str]
    Tags: list[str]
    MinRAM: int
    MaxRAM: int


class QueuePath(BaseModel):
    """A queue's id, and a page of its jobs: those after a certain one."""

    queue_id: Number
    after: Number = 0
    per_page: Annotated[int, Field(ge=1, le=10_000)] = 100


class QueuedJob(BaseModel):
    """A job that waits in a queue; of several the one with the larger ``RealPriority`` is likelier taken."""

    JobID: int
    Priority: int
    RealPriority: float
