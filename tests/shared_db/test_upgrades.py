"""Our own tables come and stay as the history says, whoever upgrades them and however often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from empty_databases import empty_database, run
from guests import HOMES
from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.schema import CreateTable

from shared_db.errors import Foreign, Unavailable
from shared_db.schema import OWN_SCHEMA, SCHEMAS
from shared_db.schema.wherry_db import leases, refresh_tokens
from shared_db.upgrades import current, head, locks, upgrade
from shared_db.upgrades.locks import locked

OWN_TABLES = {
    "wherry_overrides",
    "wherry_evidence",
    "wherry_samples",
    "wherry_usage",
    "wherry_refresh_tokens",
    "wherry_flows",
    "wherry_revocations",
    "wherry_leases",
    "wherry_delegations",
    "wherry_proxies",
    "wherry_proxy_log",
    "wherry_pilot_secrets",
    "wherry_pilot_logs",
    "wherry_answers",
    "wherry_matching_holds",
    "wherry_sandbox_names",
    "wherry_version",
}

NEWEST = "0004"


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Where Wherry makes the tables; others are made where they are looked at."""
    return str(request.param)


def tables(connection: Connection) -> set[str]:
    """The names of all tables there."""
    return set(inspect(connection).get_table_names())


def differences(connection: Connection) -> list[Any]:
    """What Alembic would have to do to get from the tables there to those of ``wherry_db``."""
    options = {"version_table": "wherry_version", "compare_type": True, "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), OWN_SCHEMA)


def test_the_first_upgrade_makes_the_tables_and_the_second_finds_them(url: str) -> None:
    """(before, after) is (None, newest), then (newest, newest)."""
    assert run(url, current) is None
    assert run(url, upgrade) == (None, NEWEST)
    assert run(url, tables) == OWN_TABLES
    assert run(url, upgrade) == (NEWEST, NEWEST)
    assert run(url, current) == NEWEST == head()


def test_the_history_ends_at_the_tables_that_the_queries_use(url: str) -> None:
    """Columns, types, NULL, defaults, keys and uniqueness are those of ``wherry_db``."""
    run(url, upgrade)
    assert run(url, differences) == []


def test_tables_of_an_older_program_are_brought_up_to_date(url: str) -> None:
    """What the first revision made stays, rows too, and the tables of the later ones come."""

    def of_the_first(connection: Connection) -> None:
        upgrade(connection)
        connection.execute(insert(leases).values(name="stalled", holder="a:1", until=datetime.now(UTC)))
        for table in ("wherry_delegations", "wherry_proxies", "wherry_proxy_log"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE wherry_version SET version_num = '0001'"))

    run(url, of_the_first)
    assert run(url, upgrade) == ("0001", NEWEST)
    assert run(url, differences) == []
    assert run(url, lambda connection: connection.scalar(select(leases.c.name))) == "stalled"


def test_looking_at_the_version_makes_nothing(url: str) -> None:
    """``current`` leaves an empty database empty."""
    run(url, current)
    assert run(url, tables) == set()


def test_many_at_once_upgrade_once(url: str) -> None:
    """Of several hosts that start together one makes the tables; the others wait and find them made."""
    barrier = Barrier(4)

    def start(connection: Connection) -> tuple[str | None, str]:
        barrier.wait(30)
        return upgrade(connection)

    with ThreadPoolExecutor(4) as pool:
        results = [future.result() for future in [pool.submit(run, url, start) for _ in range(4)]]
    assert sorted(results, key=str) == [(NEWEST, NEWEST)] * 3 + [(None, NEWEST)]
    assert run(url, differences) == []


def test_one_that_starts_before_another_has_committed_waits(url: str) -> None:
    """What is made but not yet kept is neither made a second time nor overlooked."""
    with ThreadPoolExecutor(1) as pool:
        started = Barrier(2)

        def second(connection: Connection) -> tuple[str | None, str]:
            started.wait(30)
            return upgrade(connection)

        def first(connection: Connection) -> Any:
            upgrade(connection)
            other = pool.submit(run, url, second)
            started.wait(30)
            return other

        assert run(url, first).result(30) == (NEWEST, NEWEST)


def test_a_lock_that_is_held_too_long_is_reported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain is told that another upgrade is under way."""
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.01)
    options = {"connect_args": {"timeout": 0}} if url.startswith("sqlite") else {}
    with ThreadPoolExecutor(1) as pool:

        def hold(connection: Connection) -> BaseException | None:
            with locked(connection):
                return pool.submit(run, url, upgrade, **options).exception()

        problem = run(url, hold)
    assert isinstance(problem, Unavailable)
    assert "another process" in str(problem).lower()


def test_a_crash_half_way_is_completed_by_the_next_upgrade(url: str) -> None:
    """MySQL keeps each table as it is made: missing tables and indexes come, those that exist stay."""

    def crash(connection: Connection) -> None:
        upgrade(connection)
        connection.execute(insert(leases).values(name="stalled", holder="a:1", until=datetime.now(UTC)))
        for table in ("wherry_version", "wherry_usage", "wherry_flows"):
            connection.execute(text(f"DROP TABLE {table}"))
        [index] = [each for each in refresh_tokens.indexes if each.name == "wherry_refresh_tokens_family"]
        index.drop(connection)

    run(url, crash)
    assert len(run(url, differences)) > 2
    assert run(url, upgrade) == (None, NEWEST)
    assert run(url, differences) == []
    assert run(url, lambda connection: connection.scalar(select(leases.c.name))) == "stalled"


def test_tables_of_dirac_are_left_alone(url: str) -> None:
    """In one database with DIRAC's tables, those are after an upgrade what they were before."""

    def made(connection: Connection) -> dict[str, str]:
        everything = MetaData()
        everything.reflect(connection)
        return {table.name: str(CreateTable(table).compile(connection)) for table in everything.sorted_tables}

    def create(connection: Connection) -> None:
        for name in ("JobLoggingDB", "PilotAgentsDB", "TaskQueueDB"):
            SCHEMAS[name].create_all(connection)

    run(url, create)
    before = run(url, made)
    run(url, upgrade)
    after = run(url, made)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == OWN_TABLES


def test_tables_of_a_newer_program_are_refused(url: str) -> None:
    """A version that is not in the history is named, with the mend, and nothing is changed."""
    run(url, upgrade)
    run(url, lambda connection: connection.execute(text("UPDATE wherry_version SET version_num = '9999'")))
    with pytest.raises(
        Foreign, match="WherryDB has version 9999 and this program knows up to 0004: run the newer"
    ):
        run(url, upgrade)
    assert run(url, current) == "9999"


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
def test_the_tables_go_where_the_connection_is_told(engine: str, url: str, servers: Any) -> None:
    """An account that holds all databases names one of them in front of each table."""
    name = url.rpartition("/")[2]

    def told(function: Any, connection: Connection) -> Any:
        return function(connection.execution_options(schema_translate_map={None: name}))

    assert run(servers.url(engine), partial(told, upgrade)) == (None, NEWEST)
    assert run(servers.url(engine), partial(told, upgrade)) == (NEWEST, NEWEST)
    assert run(url, tables) == OWN_TABLES
    assert run(url, differences) == []


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
def test_on_mysql_the_version_is_kept_before_the_lock_is_given_up(url: str) -> None:
    """Its DDL is kept at once; whoever comes next must find the version that belongs to it."""
    with ThreadPoolExecutor(1) as pool:

        def upgrade_and_have_another_look(connection: Connection) -> str | None:
            upgrade(connection)
            return pool.submit(run, url, current).result(30)

        assert run(url, upgrade_and_have_another_look) == NEWEST


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
def test_two_databases_of_one_server_are_upgraded_independently(
    engine: str, url: str, servers: Any, tmp_path: Path
) -> None:
    """MySQL's named locks are the server's; ours name the database too."""
    with empty_database(engine, servers, tmp_path) as other, ThreadPoolExecutor(1) as pool:

        def hold(connection: Connection) -> tuple[str | None, str]:
            with locked(connection):
                return pool.submit(run, other, upgrade).result(30)

        assert run(url, hold) == (None, NEWEST)


PARIS = timezone(timedelta(hours=1))
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def lease(name: str, until: datetime) -> Any:
    """A row that holds a moment."""
    return insert(leases).values(name=name, holder="a:1", until=until)


def test_a_moment_is_the_same_moment_on_every_engine(url: str) -> None:
    """Whatever its zone was: it comes back in UTC to the microsecond, and is compared as a moment."""

    def write_and_read(connection: Connection) -> tuple[list[Any], list[Any]]:
        upgrade(connection)
        connection.execute(lease("utc", NOON))
        connection.execute(lease("paris", NOON.astimezone(PARIS) + timedelta(microseconds=1)))
        later = select(leases.c.name).where(leases.c.until > NOON.astimezone(PARIS))
        rows = connection.execute(select(leases.c.name, leases.c.until).order_by(leases.c.until)).all()
        return [tuple(row) for row in rows], list(connection.scalars(later))

    rows, later = run(url, write_and_read)
    assert rows == [("utc", NOON), ("paris", datetime(2026, 11, 21, 12, 0, 0, 123457, tzinfo=UTC))]
    assert {until.tzinfo for _, until in rows} == {UTC}
    assert later == ["paris"]


def test_a_moment_without_a_zone_is_refused(url: str) -> None:
    """Its zone would be a guess; the error says what to give."""
    run(url, upgrade)
    with pytest.raises(StatementError, match="has no zone: give an aware datetime"):
        run(url, lambda connection: connection.execute(lease("naive", NOON.replace(tzinfo=None))))


def test_texts_are_compared_by_their_bytes_on_every_engine(url: str) -> None:
    """Two subjects that differ in a capital are two subjects, and two keys."""

    def write_and_read(connection: Connection) -> list[str]:
        upgrade(connection)
        for name in ("Stalled", "stalled"):
            connection.execute(lease(name, NOON))
        return list(connection.scalars(select(leases.c.name).where(leases.c.name == "stalled")))

    assert run(url, write_and_read) == ["stalled"]


@pytest.mark.parametrize("table", OWN_SCHEMA.sorted_tables, ids=lambda table: table.name)
def test_our_tables_can_lie_beside_those_of_dirac(table: Table) -> None:
    """Their names, and those of their indexes, say whose they are."""
    assert table.name.startswith("wherry_")
    assert all(str(index.name).startswith(f"{table.name}_") for index in table.indexes)
