"""SandboxMetadataDB of DIRAC 9.1: sandboxes, their owners and their jobs (legacy-schema.md, section 5)."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, String, Table

from shared_db.schema.types import BigSigned, Seconds, Unsigned10, key, tiny

SANDBOX_METADATA_DB = "SandboxMetadataDB"
metadata = MetaData(info={"database": SANDBOX_METADATA_DB})

# No key keeps an owner from being there twice.
sb_Owners = Table(  # noqa: N816 - DIRAC's name
    "sb_Owners",
    metadata,
    Column("OwnerId", Unsigned10, primary_key=True),
    Column("Owner", String(32), nullable=False),
    Column("OwnerGroup", String(32), nullable=False),
    Column("VO", String(64), nullable=False),
    sqlite_autoincrement=True,
)

sb_SandBoxes = Table(  # noqa: N816 - DIRAC's name
    "sb_SandBoxes",
    metadata,
    Column("SBId", Unsigned10, primary_key=True),
    Column("OwnerId", Unsigned10, nullable=False),
    Column("SEName", String(64), nullable=False),
    Column("SEPFN", String(512), nullable=False),
    Column("Bytes", BigSigned, nullable=False, server_default="0"),
    Column("RegistrationTime", Seconds, nullable=False),
    Column("LastAccessTime", Seconds, nullable=False),
    Column("Assigned", tiny(4), nullable=False, server_default="0"),
    key("Location", "SEName", "SEPFN", table="sb_SandBoxes", unique=True),
    key("SBOwner", "OwnerId", table="sb_SandBoxes"),
    sqlite_autoincrement=True,
)

# EntityId is `Job:<jobid>`; Type is `Input` or `Output`.
sb_EntityMapping = Table(  # noqa: N816 - DIRAC's name
    "sb_EntityMapping",
    metadata,
    Column("SBId", Unsigned10, primary_key=True, autoincrement=False),
    Column("EntityId", String(128), primary_key=True),
    Column("Type", String(64), primary_key=True),
    key("Entity", "EntityId", table="sb_EntityMapping"),
    key("SBIndex", "SBId", table="sb_EntityMapping"),
)
