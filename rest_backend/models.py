"""Request and response bodies, in DiracX 0.7.0's shapes (diracx-openapi.json) and our extensions'.

The same models validate requests and draw the OpenAPI document.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared_db.queries.conditions import Condition
from shared_db.queries.search import Search, Sort


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


class PilotStatus(StrEnum):
    """The pilot statuses that REST accepts."""

    SUBMITTED = "Submitted"
    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    DELETED = "Deleted"
    ABORTED = "Aborted"
    UNKNOWN = "Unknown"


class ScalarSearchSpec(BaseModel):
    """One comparison with one value."""

    parameter: str
    operator: Literal["eq", "neq", "gt", "lt", "like", "not like", "regex"]
    value: str | int

    def condition(self) -> Condition:
        """The comparison in the database's words."""
        return Condition(self.parameter, self.operator, self.value)


class VectorSearchSpec(BaseModel):
    """One comparison with a list of values; an empty list matches nothing for ``in``."""

    parameter: str
    operator: Literal["in", "not in"]
    values: list[str] | list[int]

    def condition(self) -> Condition:
        """The comparison in the database's words."""
        return Condition(self.parameter, self.operator, self.values)


SearchSpec = ScalarSearchSpec | VectorSearchSpec


class SortSpec(BaseModel):
    """One sort key."""

    parameter: str
    direction: Literal["asc", "desc"]


class Paging(BaseModel):
    """Which page of a search, and how long pages are."""

    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=10000)] = 100


class SearchParams(BaseModel):
    """What to look for; conditions are ANDed."""

    parameters: list[str] | None = None
    search: list[SearchSpec] = []
    sort: list[SortSpec] = []
    distinct: bool = False

    def search_for(self, paging: Paging) -> Search:
        """The search in the database's words."""
        return Search(
            columns=self.parameters,
            conditions=[spec.condition() for spec in self.search],
            sort=[Sort(spec.parameter, spec.direction == "desc") for spec in self.sort],
            distinct=self.distinct,
            page=paging.page,
            per_page=paging.per_page,
        )


class SummaryParams(BaseModel):
    """Columns to count by; an empty list counts by every column."""

    grouping: list[str]
    search: list[SearchSpec] = []


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


class PilotRegistrationParams(BaseModel):
    """A new pilot; the reference is the stamp unless given."""

    model_config = ConfigDict(extra="forbid")

    pilot_stamp: Annotated[str, Field(min_length=1, max_length=32)]
    vo: Annotated[str, Field(min_length=1, max_length=128)]
    grid_type: Annotated[str, Field(max_length=32)] = "DIRAC"
    grid_site: Annotated[str, Field(max_length=128)] = "Unknown"
    destination_site: Annotated[str, Field(max_length=128)] = "NotAssigned"
    pilot_reference: Annotated[str, Field(max_length=255)] | None = None
    pilot_status: PilotStatus = PilotStatus.SUBMITTED


class PilotMetadata(BaseModel):
    """Fields of a pilot to set; nulls are ignored."""

    model_config = ConfigDict(extra="forbid")

    StatusReason: Annotated[str, Field(max_length=255)] | None = None
    Status: PilotStatus | None = None
    BenchMark: float | None = None
    DestinationSite: Annotated[str, Field(max_length=128)] | None = None
    Queue: Annotated[str, Field(max_length=128)] | None = None
    GridSite: Annotated[str, Field(max_length=128)] | None = None
    GridType: Annotated[str, Field(max_length=32)] | None = None
    AccountingSent: bool | None = None
    CurrentJobID: int | None = None


class LegacyPilot(BaseModel):
    """A pilot as PilotManager adds it: the reference may be known already, and so may the stamp.

    Without a stamp a unique one is invented, so that every pilot can be addressed over REST.
    """

    model_config = ConfigDict(extra="forbid")

    pilot_reference: Annotated[str, Field(max_length=255)]
    pilot_stamp: Annotated[str, Field(max_length=32)] = ""
    vo: Annotated[str, Field(max_length=128)]
    grid_type: Annotated[str, Field(max_length=32)] = "DIRAC"


class LegacyPilotMetadata(BaseModel):
    """Fields of a pilot to set, with any text as status, as PilotManager stores it; nulls are ignored."""

    model_config = ConfigDict(extra="forbid")

    Status: Annotated[str, Field(max_length=32)]
    StatusReason: Annotated[str, Field(max_length=255)] | None = None
    DestinationSite: Annotated[str, Field(max_length=128)] | None = None
    Queue: Annotated[str, Field(max_length=128)] | None = None
    GridSite: Annotated[str, Field(max_length=128)] | None = None


class LegacyPilotUpdate(BaseModel):
    """One set of fields for several pilots, named by ``PilotID``."""

    model_config = ConfigDict(extra="forbid")

    pilot_ids: Annotated[list[int], Field(min_length=1)]
    metadata: LegacyPilotMetadata


class ChangedRows(BaseModel):
    """How many rows an update changed: those that were as wanted already are not counted."""

    changed: int


class UserInfoResponse(BaseModel):
    """Who the token says the caller is."""

    sub: str
    vo: str
    dirac_group: str
    policies: dict[str, Any]
    properties: list[str]
    preferred_username: str


class OpenIDConfiguration(BaseModel):
    """Where the authorization server's parts are; URLs are absolute."""

    issuer: str
    token_endpoint: str
    userinfo_endpoint: str
    authorization_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    scopes_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]


class GroupInfo(BaseModel):
    """A group's properties, sorted."""

    properties: list[str]


class SupportInfo(BaseModel):
    """Where users of a VO find help."""

    message: str
    webpage: str | None = None
    email: str | None = None


class VOInfo(BaseModel):
    """A virtual organisation."""

    groups: dict[str, GroupInfo]
    support: SupportInfo
    default_group: str


class Metadata(BaseModel):
    """The virtual organisations of this installation."""

    virtual_organizations: dict[str, VOInfo]


# Times must be aware; the handler says so in DiracX's words.
JobStatusUpdates = dict[int, dict[datetime, JobStatusUpdate]]
