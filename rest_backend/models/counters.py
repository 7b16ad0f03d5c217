"""What usage counters are asked for (legacy-methods.md: getCurrentJobCounters and its like)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class JobCounters(BaseModel):
    """By which columns jobs are counted beside their status."""

    by: Annotated[list[Literal["Owner", "OwnerGroup", "VO", "Site", "JobType"]], Field(max_length=5)] = []


class PilotCounters(BaseModel):
    """By which columns pilots are counted beside their status."""

    by: Annotated[
        list[Literal["VO", "GridSite", "GridType", "DestinationSite", "Queue"]], Field(max_length=5)
    ] = []
