"""Bodies of the sandbox routes (rest-diracx.md, 6.5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from rest_backend.models.jobs import OneJob

# DiracX's own, to the letter: clients may compare.
SANDBOX_PFN = (
    r"^(:?SB:[A-Za-z]+\|)?/S3/[a-z0-9\.\-]{3,63}(?:/[^/]+){3}/[a-z0-9]{3,10}:[0-9a-f]{64}\.[a-z0-9\.]+$"
)
SandboxPfn = Annotated[str, Field(max_length=256, pattern=SANDBOX_PFN)]


class ChecksumAlgorithm(StrEnum):
    """What a sandbox's checksum is made with."""

    SHA256 = "sha256"


class SandboxFormat(StrEnum):
    """Kinds of archives."""

    TAR_BZ2 = "tar.bz2"
    TAR_ZST = "tar.zst"


class SandboxInfo(BaseModel):
    """An archive that a client wants to upload; ``checksum`` in hex, ``size`` in bytes."""

    checksum_algorithm: ChecksumAlgorithm
    checksum: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    size: Annotated[int, Field(ge=1)]
    format: SandboxFormat


class SandboxUploadResponse(BaseModel):
    """The sandbox's location, and how to upload it; no URL where it is stored already."""

    pfn: str
    url: str | None = None
    fields: dict[str, str] = {}


class SandboxDownloadResponse(BaseModel):
    """Where a sandbox can be fetched, for some seconds."""

    url: str
    expires_in: int


class SandboxQuery(BaseModel):
    """Which sandbox is wanted."""

    pfn: SandboxPfn


class JobSandboxType(OneJob):
    """Which sandboxes of a job are wanted."""

    sandbox_type: Literal["input", "output"]
