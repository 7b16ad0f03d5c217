"""Delegated proxies: requests, the proxies, and the log of who did what with them."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, Index, MetaData, String, Table, Text

from shared_db.schema.types import BigId, Blob, Moment, as_dirac_makes_tables
from shared_db.upgrades.steps import create_tables

revision = "0002"
down_revision = "0001"

_tables = MetaData()
Table(
    "wherry_delegations",
    _tables,
    Column("request_id", BigId, primary_key=True),
    Column("dn", String(512), nullable=False),
    Column("key_sealed", Blob, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("wherry_delegations_expires_at", "expires_at"),
    sqlite_autoincrement=True,
)

Table(
    "wherry_proxies",
    _tables,
    Column("dn", String(512), primary_key=True),
    Column("user_dn", String(512), nullable=False),
    Column("username", String(255), nullable=False),
    Column("chain", Text, nullable=False),
    Column("key_sealed", Blob, nullable=False),
    Column("stored_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("wherry_proxies_username", "username"),
    Index("wherry_proxies_expires_at", "expires_at"),
)

Table(
    "wherry_proxy_log",
    _tables,
    Column("entry_id", BigId, primary_key=True),
    Column("action", String(128), nullable=False),
    Column("issuer_dn", String(512), nullable=False),
    Column("issuer_group", String(255), nullable=False),
    Column("target_dn", String(512), nullable=False),
    Column("target_group", String(255), nullable=False),
    Column("happened_at", Moment, nullable=False),
    Index("wherry_proxy_log_happened_at", "happened_at"),
    sqlite_autoincrement=True,
)

as_dirac_makes_tables(_tables, collate="utf8mb4_bin")


def upgrade(op: Operations) -> None:
    """Create them."""
    create_tables(op, *_tables.sorted_tables)
