"""What is known of sites."""

from __future__ import annotations

from pydantic import BaseModel


class KnownSite(BaseModel):
    """What mask or states say of a site (else ``NoMask``), and whether the configuration has it."""

    Tier: int
    MaskStatus: str
    Configured: bool
