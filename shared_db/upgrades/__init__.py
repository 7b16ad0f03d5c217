"""The history of WherryDB: one line of Alembic revisions, applied by :func:`upgrade`.

DIRAC's tables are never touched.  There is no ``env.py``: Alembic's ``op`` is one for the whole process, and
two upgrades at once would share it; each revision is handed an ``op`` of its own instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, String, Table

from shared_db.errors import Foreign
from shared_db.inspection import schema_of
from shared_db.schema.types import as_dirac_makes_tables
from shared_db.upgrades.locks import locked

VERSION_TABLE = "wherry_version"


def upgrade(connection: Connection) -> tuple[str | None, str]:
    """Bring our own tables to the newest version; returns the versions (before, after).

    The connection is in a new transaction or in none, at READ COMMITTED, and the caller commits; MySQL, whose
    DDL commits by itself, has kept everything by the time this returns.  Callers elsewhere, in any process on
    any host, wait up to :data:`shared_db.upgrades.locks.WAIT_SECONDS` for each other, and the later ones find
    nothing left to do.  What a crash left half done on MySQL is completed by the next upgrade.

    Raises Unavailable when another upgrade takes too long, Foreign when a newer Wherry made the tables.
    """
    with locked(connection):
        before = current(connection)
        if before not in (None, *_revisions()):
            raise Foreign(
                f"WherryDB has version {before} and this program knows up to {head()}",
                "run the newer Wherry that made it",
            )
        # Alembic would leave the storage engine to the server.
        _version_table(schema_of(connection)).create(connection, checkfirst=True)
        context = _context(connection)
        context.run_migrations(op=Operations(context))
    return before, head()


def _version_table(schema: str | None) -> Table:
    """As Alembic knows it."""
    metadata = MetaData(schema=schema)
    table = Table(VERSION_TABLE, metadata, Column("version_num", String(32), primary_key=True))
    as_dirac_makes_tables(metadata)
    return table


def current(connection: Connection) -> str | None:
    """The version of our own tables in this database; None: they were never made."""
    return _context(connection).get_current_revision()


def head() -> str:
    """The version that this program needs."""
    return _revisions()[-1]


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={"fn": _steps, "version_table": VERSION_TABLE, "version_table_schema": schema_of(connection)},
    )


def _steps(heads: tuple[str, ...], _context: MigrationContext) -> Iterable[RevisionStep]:
    """What Alembic is to run, from the version found to the newest."""
    script = _history()
    done = heads[0] if heads else "base"
    missing = reversed(list(script.iterate_revisions("head", done)))
    return [MigrationStep.upgrade_from_script(script.revision_map, revision) for revision in missing]


@cache
def _history() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


@cache
def _revisions() -> tuple[str, ...]:
    """All versions, oldest first."""
    return tuple(revision.revision for revision in reversed(list(_history().walk_revisions())))
