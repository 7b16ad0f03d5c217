"""Whose the tables are: Wherry's home, or DIRAC's, where Wherry is a guest."""

from __future__ import annotations

import pytest
from guests import GUESTS
from sqlalchemy import Connection, text

from shared_db.administration import is_home
from shared_db.connection import Databases
from shared_db.inspection import schema_of


async def test_a_home_is_told_from_a_guest_s_tables(databases: Databases, engine: str) -> None:
    """With every release of DIRAC; missing tables that Wherry has made there change nothing."""
    assert await is_home(databases) is (engine not in GUESTS)


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
async def test_one_key_that_is_missing_makes_a_guest(databases: Databases) -> None:
    """An administrator may have added some of them to DIRAC's tables."""

    def drop(connection: Connection) -> None:
        connection.execute(text(f"DROP INDEX OwnerStatus ON `{schema_of(connection)}`.Jobs"))

    def add(connection: Connection) -> None:
        columns = "Owner, Status, JobID"
        connection.execute(text(f"CREATE INDEX OwnerStatus ON `{schema_of(connection)}`.Jobs ({columns})"))

    await databases.sync_run("JobDB", drop)
    try:
        assert not await is_home(databases)
    finally:
        await databases.sync_run("JobDB", add)
    assert await is_home(databases)
