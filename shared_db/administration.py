"""What an administrator does to the databases: make a home, look a guest's over, upgrade our own tables.

Nothing else creates or alters anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection, MetaData, inspect

from shared_db import upgrades
from shared_db.connection import Databases
from shared_db.errors import Foreign
from shared_db.inspection import Finding, inspect_database, schema_of
from shared_db.schema import OWN_SCHEMA, SCHEMAS, WHERRY_DB
from shared_db.upgrades.locks import locked

Look = Callable[[Connection], list[Finding]]


async def initialise(databases: Databases) -> list[str]:
    """Make DIRAC's tables in those logical databases that have none of them, and our own.

    Tables that are there are left as they are.  Returns a line about each logical database.
    """
    lines = []
    for name, schema in SCHEMAS.items():
        await databases.make(name)
        lines.append(f"{name}: {await databases.sync_run(name, partial(_make_home, schema=schema))}")
    return [*lines, await upgrade_own(databases)]


async def upgrade(databases: Databases, *, missing_tables: bool = False) -> list[str]:
    """Bring our own tables to this version; with ``missing_tables`` make DIRAC's that are not there too.

    Safe to run twice, and from several hosts at once.  Returns a line about each thing done.
    """
    lines = [await upgrade_own(databases)]
    if missing_tables:
        for name, schema in SCHEMAS.items():
            await databases.make(name)
            made = await databases.sync_run(name, partial(_make_missing, schema=schema))
            lines += [f"{name}: made {table}" for table in made]
    return lines


async def make_ready(databases: Databases) -> None:
    """What a server does before it serves: look what tables there are, and bring our own to this version.

    Raises Foreign when ours were never made, Denied when the account is not let in, Unavailable when the
    databases cannot be reached.
    """
    version = await databases.sync_run(WHERRY_DB, upgrades.current)
    if version is None:
        raise Foreign(f"{WHERRY_DB} has no tables yet", "make them with `wherry db upgrade`")
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
    """Every difference between the databases and what Wherry expects, in the order of its tables.

    What is said of several databases alike, as of their server, is one finding that names them all.  Raises
    Denied, Unavailable.
    """
    looks: dict[str, Look] = {
        **{name: partial(inspect_database, metadata=schema) for name, schema in SCHEMAS.items()},
        WHERRY_DB: _inspect_own,
    }
    findings: dict[Finding, list[str]] = {}
    for name, look in looks.items():
        for each in await _findings(databases, name, look):
            alike = each if each.table else replace(each, database="")
            findings.setdefault(alike, []).append(name)
    return [replace(each, database=", ".join(names)) for each, names in findings.items()]


async def _findings(databases: Databases, name: str, look: Look) -> list[Finding]:
    try:
        return await databases.sync_run(name, look)
    except Foreign as error:
        return [Finding(name, "", error.found, True, error.mend)]


def _inspect_own(connection: Connection) -> list[Finding]:
    version = upgrades.current(connection)
    if version == upgrades.head():
        return inspect_database(connection, OWN_SCHEMA)
    found = "its tables are not there" if version is None else f"it is at version {version}"
    return [Finding(WHERRY_DB, "", found, True, "run `wherry db upgrade`")]


def as_text(findings: list[Finding]) -> Iterator[str]:
    """Findings for people, those that matter marked with ``!``."""
    for each in findings:
        place = f"{each.database}.{each.table}" if each.table else each.database
        yield f"{'!' if each.matters else ' '} {place}: {each.what}: {each.why}"


def _make_home(connection: Connection, schema: MetaData) -> str:
    """Make all of the tables if there are none; returns what was found."""
    with locked(connection):
        missing = _missing(connection, schema)
        if missing == sorted(schema.tables):
            schema.create_all(connection)
            return "made"
    if not missing:
        return "is there"
    return (
        f"has tables already and is left as it is, without {', '.join(missing)}"
        " (`wherry db upgrade --missing-tables` makes them)"
    )


def _make_missing(connection: Connection, schema: MetaData) -> list[str]:
    """Make the tables that are not there; returns their names."""
    with locked(connection):
        missing = _missing(connection, schema)
        schema.create_all(connection, [schema.tables[name] for name in missing])
    return missing


def _missing(connection: Connection, schema: MetaData) -> list[str]:
    """The names of the tables that are not there."""
    return sorted(schema.tables.keys() - set(inspect(connection).get_table_names(schema_of(connection))))


async def is_home(databases: Databases) -> bool:
    """Whether Wherry made the tables of jobs and pilots: those have keys that DIRAC's have not.

    Raises Unavailable.
    """
    for name, schema in SCHEMAS.items():
        if databases.may_be_diracs(name) and not await databases.sync_run(
            name, partial(_has_our_keys, schema=schema)
        ):
            return False
    return True


def _has_our_keys(connection: Connection, schema: MetaData) -> bool:
    place = schema_of(connection)
    there = set(inspect(connection).get_table_names(place))
    for table in schema.sorted_tables:
        ours = {index.info["key"] for index in table.indexes if index.info.get("ours")}
        real = inspect(connection).get_indexes(table.name, place) if ours and table.name in there else []
        if not {each["name"] for each in real} >= ours:
            return False
    return True
