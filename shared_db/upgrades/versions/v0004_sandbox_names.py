"""The names that DIRAC's clients know their sandboxes by."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, Index, MetaData, String, Table

from shared_db.schema.types import Moment, as_dirac_makes_tables
from shared_db.upgrades.steps import create_tables

revision = "0004"
down_revision = "0003"

_tables = MetaData()
Table(
    "wherry_sandbox_names",
    _tables,
    Column("name", String(255), primary_key=True),
    Column("stored_as", String(512), nullable=False),
    Column("noted_at", Moment, nullable=False),
    Index("wherry_sandbox_names_stored_as", "stored_as"),
)

as_dirac_makes_tables(_tables, collate="utf8mb4_bin")


def upgrade(op: Operations) -> None:
    """Create the table."""
    create_tables(op, *_tables.sorted_tables)
