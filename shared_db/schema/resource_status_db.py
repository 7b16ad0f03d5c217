"""ResourceStatusDB of DIRAC 9.1, as far as it is read here: the present states of sites and resources."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, String, Table

from shared_db.schema.types import Seconds

RESOURCE_STATUS_DB = "ResourceStatusDB"
metadata = MetaData(info={"database": RESOURCE_STATUS_DB})


def states_of(table: str) -> Table:
    """A table of states: by element, kind of use (``ReadAccess``; ``all``) and VO (``all``: every one)."""
    return Table(
        table,
        metadata,
        Column("Name", String(64), primary_key=True),
        Column("StatusType", String(128), primary_key=True, server_default="all"),
        Column("VO", String(64), primary_key=True, server_default="all"),
        Column("Status", String(8), nullable=False, server_default=""),
        Column("Reason", String(512), nullable=False, server_default="Unspecified"),
        Column("DateEffective", Seconds, nullable=False),
        Column("TokenExpiration", Seconds, nullable=False, server_default="9999-12-31 23:59:59"),
        Column("ElementType", String(32), nullable=False, server_default=""),
        Column("LastCheckTime", Seconds, nullable=False, server_default="1000-01-01 00:00:00"),
        Column("TokenOwner", String(16), nullable=False, server_default="rs_svc"),
    )


SiteStatus = states_of("SiteStatus")
ResourceStatus = states_of("ResourceStatus")
