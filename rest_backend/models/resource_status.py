"""States of sites and resources in DiracX's shapes (rest-diracx.md, section 8)."""

from __future__ import annotations

from pydantic import BaseModel


class AllowedStatus(BaseModel):
    """It may be used; ``warnings`` says what is not well."""

    allowed: bool
    warnings: str | None = None


class BannedStatus(BaseModel):
    """It may not be used, and why."""

    allowed: bool
    reason: str = "Unknown"


State = AllowedStatus | BannedStatus


class SiteStatus(BaseModel):
    """For any use."""

    all: State


class ComputeElementStatus(BaseModel):
    """For any use."""

    all: State


class FTSStatus(BaseModel):
    """For any use."""

    all: State


class StorageElementStatus(BaseModel):
    """For each use."""

    read: State
    write: State
    check: State
    remove: State
