"""What an administrator does to the databases: make a home, look a guest's over, upgrade our own tables.

Nothing else creates or alters anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlalchemy import Connection, MetaData, inspect

from shared_db import upgrades
from shared_db.connection import Databases
from shared_db.errors import Foreign
from shared_db.inspection import Finding, inspect_database, schema_of
from shared_db.schema import OWN_SCHEMA, SCHEMAS, WHERRY_DB


async def initialise(databases: Databases) -> list[str]:
    """Make DIRAC's tables in those logical databases that have none of them, and our own.

    Tables that are there are left as they are.  Returns a line about each logical database.
    """
    lines = []
    for name, schema in SCHEMAS.items():
        await databases.make(name)
        there = await databases.sync_run(name, partial(_existing, schema=schema))
        if there and there < schema.tables.keys():
            missing = ", ".join(sorted(schema.tables.keys() - there))
            lines.append(f"{name}: has tables already and is left as it is, without {missing}")
        else:
            await databases.sync_run(name, schema.create_all)
            lines.append(f"{name}: {'is there' if there else 'made'}")
    return [*lines, await upgrade_own(databases)]


async def upgrade(databases: Databases, *, missing_tables: bool = False) -> list[str]:
    """Bring our own tables to this version; with ``missing_tables`` make DIRAC's that are not there too.

    Safe to run twice, and from several hosts at once.  Returns a line about each thing done.
    """
    lines = [await upgrade_own(databases)]
    if missing_tables:
        for name, schema in SCHEMAS.items():
            await databases.make(name)
            there = await databases.sync_run(name, partial(_existing, schema=schema))
            await databases.sync_run(name, schema.create_all)
            lines += [f"{name}: made {table}" for table in sorted(schema.tables.keys() - there)]
    return lines


async def make_ready(databases: Databases) -> None:
    """What a server does before it serves: look what tables there are, and bring our own to this version.

    Raises Foreign when ours were never made, Unavailable when the databases cannot be reached.
    """
    version = await _own_version(databases)
    if version is None:
        raise Foreign(f"{WHERRY_DB} has no tables yet: make them with `wherry db upgrade`")
    if version != upgrades.head():
        await upgrade_own(databases)
    await databases.learn()
    await databases.refresh_statistics()


async def upgrade_own(databases: Databases) -> str:
    """Bring WherryDB to this version, from nothing if need be; returns what was done."""
    await databases.make(WHERRY_DB)
    before, after = await databases.sync_run(WHERRY_DB, upgrades.upgrade)
    if before == after:
        return f"{WHERRY_DB}: is at version {after}"
    return f"{WHERRY_DB}: from {before or 'nothing'} to version {after}"


async def check(databases: Databases) -> list[Finding]:
    """Every difference between the databases and what Wherry expects, in the order of its tables."""
    findings: list[Finding] = []
    for name, schema in SCHEMAS.items():
        findings += await _of_database(databases, name, schema)
    version = await _own_version(databases)
    if version != upgrades.head():
        found = "its tables are not there" if version is None else f"it is at version {version}"
        findings.append(Finding(WHERRY_DB, "", found, True, "run `wherry db upgrade`"))
    else:
        findings += await _of_database(databases, WHERRY_DB, OWN_SCHEMA)
    return findings


async def _of_database(databases: Databases, name: str, schema: MetaData) -> list[Finding]:
    try:
        return await databases.sync_run(name, partial(inspect_database, metadata=schema))
    except Foreign as error:
        return [Finding(name, "", str(error), True, "mend the URL, or make it with `wherry db init`")]


async def _own_version(databases: Databases) -> str | None:
    try:
        return await databases.sync_run(WHERRY_DB, upgrades.current)
    except Foreign:
        return None


def as_text(findings: list[Finding]) -> Iterator[str]:
    """Findings for people, those that matter marked with ``!``."""
    for each in findings:
        place = f"{each.database}.{each.table}" if each.table else each.database
        yield f"{'!' if each.matters else ' '} {place}: {each.what}: {each.why}"


def _existing(connection: Connection, schema: MetaData) -> set[str]:
    """Those of the tables that are there."""
    return set(inspect(connection).get_table_names(schema_of(connection))) & schema.tables.keys()
