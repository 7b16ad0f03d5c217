"""What revisions do to tables, in steps that can be repeated after a crash: MySQL's DDL commits at once."""

from __future__ import annotations

from typing import Any

from alembic.operations import Operations
from sqlalchemy import Column, Table, inspect

from shared_db.inspection import schema_of


def create_tables(op: Operations, *tables: Table) -> None:
    """Create the tables, and those of their indexes, that are not there yet."""
    connection = op.get_bind()
    for table in tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def add_column(op: Operations, table: str, column: Column[Any]) -> None:
    """Add a column that may be NULL, unless it is there already."""
    connection = op.get_bind()
    # Told apart from tables, an ALTER knows nothing of the schema that the connection translates to.
    schema = schema_of(connection)
    there = {each["name"] for each in inspect(connection).get_columns(table, schema)}
    if column.name not in there:
        op.add_column(table, column, schema=schema)
