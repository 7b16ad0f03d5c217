"""Bodies of the routes of pilots."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


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
