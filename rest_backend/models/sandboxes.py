"""Bodies of the sandbox routes (rest-diracx.md, 6.5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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


Entity = Annotated[str, Field(min_length=1, max_length=128)]
Kind = Annotated[str, Field(min_length=1, max_length=64)]
Entities = Annotated[list[Entity], Field(max_length=1_000)]
# A location in any of its spellings; DIRAC's own names are among them.
AnyLocation = Annotated[str, Field(max_length=600)]


class LegacyUpload(BaseModel):
    """An upload of a client of DIRAC's: the MD5 that it knows the archive by, and what it is for.

    ``entities``: types by entity (``Job:<id>``).
    """

    model_config = ConfigDict(extra="forbid")

    pfn: SandboxPfn
    md5: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z]+$")]
    format: SandboxFormat
    entities: Annotated[dict[Entity, Kind], Field(max_length=1_000)] = {}


class LegacyLocation(BaseModel):
    """Where clients of DIRAC's find a sandbox."""

    pfn: str


class LegacyNames(BaseModel):
    """Names that DIRAC's SandboxStore gives, as ``/SandBox/a/alice.group/abc/def/<md5>.tar.bz2``."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=1_000)]


class EntityNames(BaseModel):
    """Some entities: ``Job:<id>``."""

    model_config = ConfigDict(extra="forbid")

    entities: Entities


class EntitySandbox(BaseModel):
    """A sandbox of an entity; ``legacy_pfn``: where clients of DIRAC's stored it, null if none did."""

    entity: str
    type: str
    pfn: str
    legacy_pfn: str | None


class NewAssignment(BaseModel):
    """A sandbox for an entity."""

    model_config = ConfigDict(extra="forbid")

    entity: Entity
    type: Kind
    pfn: AnyLocation


class NewAssignments(BaseModel):
    """Sandboxes for entities; ``owner``, ``owner_group``: on behalf of whom a JobAdministrator gives them."""

    model_config = ConfigDict(extra="forbid")

    sandboxes: Annotated[list[NewAssignment], Field(max_length=10_000)]
    owner: Annotated[str, Field(max_length=64)] = ""
    owner_group: Annotated[str, Field(max_length=64)] = ""


class AssignedSandboxes(BaseModel):
    """How many sandboxes were given."""

    assigned: int


class DiskSpace(BaseModel):
    """Of the disk on which sandboxes lie, in bytes."""

    free: int
    total: int
