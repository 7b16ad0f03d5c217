"""What the new side keeps: secrets and logs of pilots, and answers to requests that may be repeated."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

from shared_db.schema.types import BigId, MediumText, Moment, as_dirac_makes_tables
from shared_db.upgrades.steps import add_column, create_tables

revision = "0003"
down_revision = "0002"

_tables = MetaData()
Table(
    "wherry_pilot_secrets",
    _tables,
    Column("secret_hash", String(64), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("constraints_json", Text, nullable=False),
    Column("uses", BigInteger, nullable=False, server_default="0"),
    Column("most_uses", BigInteger),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Index("wherry_pilot_secrets_expires_at", "expires_at"),
)

Table(
    "wherry_pilot_logs",
    _tables,
    Column("line_id", BigId, primary_key=True),
    Column("pilot_stamp", String(32), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("said_at", Moment, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("scope", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("received_at", Moment, nullable=False),
    Index("wherry_pilot_logs_of_pilot", "pilot_stamp", "line_id"),
    Index("wherry_pilot_logs_received_at", "received_at"),
    sqlite_autoincrement=True,
)

Table(
    "wherry_answers",
    _tables,
    Column("key_hash", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("sealed", MediumText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("wherry_answers_created_at", "created_at"),
)

Table(
    "wherry_matching_holds",
    _tables,
    Column("site", String(100), primary_key=True),
    Column("attribute", String(32), primary_key=True),
    Column("value", String(128), primary_key=True),
    Column("until", Moment, nullable=False),
)

as_dirac_makes_tables(_tables, collate="utf8mb4_bin")


def upgrade(op: Operations) -> None:
    """Create them; a lease tells when its task is due."""
    create_tables(op, *_tables.sorted_tables)
    add_column(op, "wherry_leases", Column("due_at", Moment))
