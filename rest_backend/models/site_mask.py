"""Bodies of the routes of the site mask (legacy-methods.md, section 8)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SiteName = Annotated[str, Field(min_length=1, max_length=64)]
Comment = Annotated[str, Field(max_length=10_000)]


class MaskStatus(StrEnum):
    """Whether a site may run jobs."""

    ACTIVE = "Active"
    BANNED = "Banned"


class MaskedSite(BaseModel):
    """What the mask says of a site, who said it, why and when."""

    Status: str
    Author: str
    Comment: str
    Time: datetime


class SiteNames(BaseModel):
    """Some sites; none: all."""

    site: list[SiteName] = []


class NewMask(BaseModel):
    """The sites that may run jobs; all others that the mask names are banned."""

    model_config = ConfigDict(extra="forbid")

    sites: Annotated[list[SiteName], Field(max_length=10_000)]
    comment: Comment = "No comment"


class MaskChange(BaseModel):
    """What is said of some sites; others stay."""

    model_config = ConfigDict(extra="forbid")

    sites: Annotated[dict[SiteName, MaskStatus], Field(min_length=1, max_length=10_000)]
    comment: Comment = "No comment"


class ChangedSites(BaseModel):
    """The sites of which something else was said before, by name."""

    changed: list[str]
