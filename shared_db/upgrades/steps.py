"""What revisions do to tables, in steps that can be repeated after a crash: MySQL's DDL commits at once."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Table


def create_tables(op: Operations, *tables: Table) -> None:
    """Create the tables, and those of their indexes, that are not there yet."""
    connection = op.get_bind()
    for table in tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)
