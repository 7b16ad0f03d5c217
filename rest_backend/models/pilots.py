"""Bodies of the routes of pilots."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# In one request.
MOST_PILOTS = 10_000

# PostgreSQL's texts have no character 0.
Stamp = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[^\x00]*$")]
# A number that every engine can look for.
Id = Annotated[int, Field(ge=0, lt=2**63)]


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

    Without a stamp a unique one is invented, so that every pilot can be addressed over REST.  Releases before
    9 name a group, whose VO is meant.
    """

    model_config = ConfigDict(extra="forbid")

    pilot_reference: Annotated[str, Field(max_length=255)]
    pilot_stamp: Annotated[str, Field(max_length=32)] = ""
    vo: Annotated[str, Field(max_length=128)] | None = None
    owner_group: str | None = None
    grid_type: Annotated[str, Field(max_length=32)] = "DIRAC"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.vo is None) == (self.owner_group is None):
            raise ValueError("give either vo or owner_group")
        return self


class LegacyPilotMetadata(BaseModel):
    """Fields of a pilot to set, with any text as status, as PilotManager stores it; nulls are ignored."""

    model_config = ConfigDict(extra="forbid")

    Status: Annotated[str, Field(max_length=32)] | None = None
    StatusReason: Annotated[str, Field(max_length=255)] | None = None
    DestinationSite: Annotated[str, Field(max_length=128)] | None = None
    Queue: Annotated[str, Field(max_length=128)] | None = None
    GridSite: Annotated[str, Field(max_length=128)] | None = None
    BenchMark: Annotated[float, Field(allow_inf_nan=False)] | None = None
    AccountingSent: bool | None = None
    CurrentJobID: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give at least one field to set")
        return self


class LegacyPilotUpdate(BaseModel):
    """One set of fields for several pilots, named by ``PilotID``.

    ``site_of_unknown_ce``: the site of a DestinationSite that the registry does not know; left out, the
    pilots' site stays.
    """

    model_config = ConfigDict(extra="forbid")

    pilot_ids: Annotated[list[Id], Field(min_length=1)]
    metadata: LegacyPilotMetadata
    site_of_unknown_ce: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class ChangedRows(BaseModel):
    """How many rows an update changed: those that were as wanted already are not counted."""

    changed: int


class PilotFields(PilotMetadata):
    """Fields of a pilot to set, beside its stamp."""

    PilotStamp: Stamp


class PilotFieldsUpdate(BaseModel):
    """Fields of several pilots, in the form of the pilot migration plan."""

    model_config = ConfigDict(extra="forbid")

    pilot_stamps_to_fields_mapping: Annotated[list[PilotFields], Field(min_length=1, max_length=MOST_PILOTS)]


class PilotDeletion(BaseModel):
    """Which pilots go: by stamp or id, or (extension of neither) by age.

    ``pilot_stamps[]`` is how the plan's client writes the list.
    """

    pilot_stamps: Annotated[list[str], Field(max_length=MOST_PILOTS)] = []
    stamps_in_brackets: Annotated[list[str], Field(max_length=MOST_PILOTS, alias="pilot_stamps[]")] = []
    pilot_ids: Annotated[list[Id], Field(max_length=MOST_PILOTS)] = []
    age_in_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    delete_only_aborted: bool = False


class PilotsToKill(BaseModel):
    """Pilots by PilotID or stamp; all of them must exist."""

    model_config = ConfigDict(extra="forbid")

    pilot_ids: Annotated[list[Id], Field(max_length=MOST_PILOTS)] = []
    pilot_stamps: Annotated[list[Stamp], Field(max_length=MOST_PILOTS)] = []

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.pilot_ids and not self.pilot_stamps:
            raise ValueError("give pilot_ids or pilot_stamps")
        return self


class KilledPilots(BaseModel):
    """By PilotID: pilots that are aborted now, and those that had ended before."""

    aborted: list[int]
    ended_before: list[int]
