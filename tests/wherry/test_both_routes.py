"""Both routes on equal data: for each method the same calls, the same replies, the same rows."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from calls import CALLS
from empty_databases import empty_database
from guests import GUESTS, HOMES, guest_databases
from sides import CALLERS, START, Side
from sqlalchemy import Column, Connection, Table, column, func, inspect, select

from legacy_rpc.front_door import FinishedCall
from shared_db.administration import upgrade
from shared_db.connection import open_databases
from shared_db.inspection import schema_of
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_TaskQueues
from wherry.build import load_registry, make_new_side, make_old_side
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials, registry_text
from wherry.demo.data import JOBS as JOBS_FILLED
from wherry.demo.data import OWNERS, fill
from wherry.demo.data import PILOTS as PILOTS_FILLED

from .conftest import CONFIG, plan_text

EXHAUSTED = "Maximum of reschedulings reached"
REPORTERS = ("JobWrapper", "JobAgent", "Watchdog", "Unknown", "StagerSystem", "s" * 32, "s" * 28)
# What these leave differs as declared, so after them come those only that read no more than statuses.
LEAVE_DECLARED = frozenset(
    {
        "addPilotReferences",
        "deleteJob",
        "killJob",
        "rescheduleJob",
        "resetJob",
        "sendHeartBeat",
        "setJobStatus",
        "setJobStatusBulk",
        "updateJobFromStager",
    }
)
STATES_ONLY = frozenset({"getJobsApplicationStatus", "getJobsMinorStatus", "getJobsStates", "getJobsStatus"})
INVENTED_STAMP = re.compile("[0-9a-f]{32}")


class RoutedSide(Side):
    """A side whose rows can be told."""

    async def rows(self, *, rehearsed: bool = False) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table; of a rehearsal, without the columns that only other releases have."""
        dump: dict[str, list[dict[str, Any]]] = {}
        async with self.new.databases.unit_of_work() as work:
            for database, schema in SCHEMAS.items():
                for table in schema.sorted_tables:
                    rows = await work.rows(database, select(table))
                    dump[table.name] = sorted((dict(row._mapping) for row in rows), key=repr)
        for table in () if rehearsed else (Jobs, PilotAgents, tq_TaskQueues):
            dump[f"{table.name}, other columns"] = await self.new.databases.sync_run(
                table.metadata.info["database"], partial(_others, table=table)
            )
        return dump


def _others(connection: Connection, table: Table) -> list[dict[str, Any]]:
    """What a table of another release has besides our columns, in the order of the rows' ids."""
    found = inspect(connection).get_columns(table.name, schema_of(connection))
    names = [column["name"] for column in found if column["name"] not in table.c]
    statement = select(*map(column, names)).select_from(table).order_by(*table.primary_key)
    return [dict(row._mapping) for row in connection.execute(statement)] if names else []


Urls = str | dict[str, str]


# Tables of releases before 9 know no VOs: the registry tells them.
KINDS = (*HOMES, *GUESTS)


@pytest.fixture
def kind() -> str:
    """The kind of database; a test that is about several has it as a parameter."""
    return "sqlite"


@pytest.fixture
def places(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Urls]]:
    """Where the two sides have their databases."""
    servers = None if kind == "sqlite" else request.getfixturevalue("servers")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                guest_databases(servers.url("mariadb"), GUESTS[kind])
                if kind in GUESTS
                else empty_database(kind, servers, tmp_path)
            )
            for _ in range(2)
        ]


@pytest.fixture
async def sides(
    credentials: GridCredentials, tmp_path: Path, places: list[Urls]
) -> AsyncIterator[tuple[RoutedSide, RoutedSide]]:
    """The native side and the REST side, on equal databases, at a moment that stands still."""
    made = []
    for state, urls in zip(("legacy", "live"), places, strict=True):
        directory = tmp_path / state
        directory.mkdir()
        pki = credentials.ca_path.parent
        # Tables of 8.0 name the setup.
        cfg = registry_text(pki).replace("VirtualOrganization", "Setup = Demo\n  VirtualOrganization", 1)
        (directory / "registry.cfg").write_text(cfg)
        (directory / "plan.yaml").write_text(plan_text(state))
        (directory / "wherry.yaml").write_text(
            CONFIG.format(pki=pki).replace("sqlite:///wherry.db", json.dumps(urls))
        )
        config = load_config(directory / "wherry.yaml")
        registry = load_registry(config).current
        databases = open_databases(urls, create=True, registry=lambda known=registry: known)
        await upgrade(databases, missing_tables=True)
        with time_machine.travel(START, tick=False):
            await fill(databases)
        await databases.sync_run(PILOT_AGENTS_DB, partial(_count_on, PilotAgents.c.PilotID, PILOTS_FILLED))
        await databases.sync_run(JOB_DB, partial(_count_on, JobJDLs.c.JobID, JOBS_FILLED))
        await databases.sync_run(TASK_QUEUE_DB, partial(_count_on, tq_TaskQueues.c.TQId, len(OWNERS)))
        await databases.dispose()
        new = make_new_side(config, "http://localhost")
        finished: list[FinishedCall] = []
        old = make_old_side(config, new, lambda service: f"dips://localhost:1/{service}", finished.append)
        made.append(RoutedSide(new, old, finished))
    yield made[0], made[1]
    for side in made:
        await side.new.databases.dispose()


def _count_on(column: Column[int], last: int, connection: Connection) -> None:
    """PostgreSQL, unlike the others, does not see which ids its rows were given."""
    if connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(f'"{column.table.name}"', column.name)
        connection.execute(select(func.setval(sequence, last)))


def without_declared(value: Any) -> Any:
    """A reply or a row without what the two routes may differ in (docs of adaptor/methods).

    A stamp that REST invented counts as the empty one; those of the demo's own pilots are hexadecimal too,
    so they do as well, on both sides.
    """
    if isinstance(value, dict):
        return {
            key: "" if key == "PilotStamp" and INVENTED_STAMP.fullmatch(str(each)) else without_declared(each)
            for key, each in value.items()
        }
    return value


def comparable_rows(dump: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Rows without the declared differences (docs of adaptor/methods)."""
    rows = {table: [without_declared(row) for row in rows] for table, rows in dump.items()}
    without_ends(rows)
    without_reports(rows)
    return rows


def without_ends(rows: dict[str, list[dict[str, Any]]]) -> None:
    """REST logs what JobManager ends, with the time, tells what is Deleted to stop, and names nobody who
    rescheduled a job.
    """
    rows["LoggingInfo"] = [
        row
        for row in rows["LoggingInfo"]
        if row["StatusSource"] not in ("killJob", "deleteJob") and row["MinorStatus"] != EXHAUSTED
    ]
    for row in rows["LoggingInfo"]:
        row["SeqNum"] = None  # REST has counted those, too
        if row["MinorStatus"] == "Job Rescheduled":
            row["StatusSource"] = ""
    rows["LoggingInfo"].sort(key=repr)
    for row in rows["Jobs"]:
        if row["EndExecTime"] is not None and row["EndExecTime"] >= START.replace(tzinfo=None):
            row["EndExecTime"] = None
        if row["MinorStatus"] == EXHAUSTED:
            row["ApplicationStatus"] = None
    deleted = {
        row["JobID"]
        for row in rows["Jobs"]
        if row["MinorStatus"] == "Checking accounting" or row["RescheduleTime"] is not None
    }
    rows["JobCommands"] = [row for row in rows["JobCommands"] if row["JobID"] not in deleted]


def without_reports(rows: dict[str, list[dict[str, Any]]]) -> None:
    """REST takes the times of start and end from what is reported, DIRAC from the clock; and REST tells a job
    that reports though it is Killed or Deleted to stop.
    """
    reported = {
        row["JobID"] for row in rows["LoggingInfo"] if row["StatusSource"].removesuffix("(SM)") in REPORTERS
    }
    for row in rows["Jobs"]:
        if row["JobID"] in reported:
            row |= {"StartExecTime": None, "EndExecTime": None, "HeartBeatTime": None}
    rows["JobCommands"] = [row for row in rows["JobCommands"] if row["JobID"] not in reported]


async def assert_equal_rows(native: RoutedSide, rest: RoutedSide, *, rehearsed: bool = False) -> None:
    """Every row is the same on both sides; what is not is shown, column by column."""
    left, right = [comparable_rows(await side.rows(rehearsed=rehearsed)) for side in (native, rest)]
    assert {table: len(rows) for table, rows in left.items()} == {
        table: len(rows) for table, rows in right.items()
    }
    for table, rows in left.items():
        for one, other in zip(rows, right[table], strict=True):
            differing = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
            assert not differing, (table, next(iter(one.items())), differing)


@pytest.fixture(autouse=True)
def stager_without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a job to be in Staging."""
    monkeypatch.setattr("shared_db.rules.staging.PAUSE", 0.0)


@pytest.fixture(autouse=True)
def disk_that_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write to the disk while its free space is compared."""
    monkeypatch.setattr("rest_backend.sandbox_store.files.Folder.space", lambda _folder: (10**9, 10**10))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the test only."""
    return random.Random(request.node.name)


def test_every_routed_method_is_compared() -> None:
    """No method that can be live is left out here."""
    from adaptor.methods.catalogue import ADAPTORS

    assert set(CALLS) == set(ADAPTORS)


async def compare(
    sides: tuple[RoutedSide, RoutedSide],
    clock: time_machine.Traveller,
    method: tuple[str, str],
    arguments: list[Any],
    caller: Any,
) -> None:
    """One call on both sides; replies must be equal."""
    clock.shift(timedelta(seconds=1.5))
    native, rest = [await side.call(caller, *method, arguments) for side in sides]
    assert without_declared(native) == without_declared(rest), (caller, method, arguments)
    routes = [side.finished[-1].answered.route if side.finished else None for side in sides]
    refused = native.get("Errno") == 1111 or routes[0] == "refused"
    assert refused or routes == ["native", "rest"], (routes, method, arguments)


@pytest.mark.parametrize("service", dict.fromkeys(service for service, _ in CALLS))
async def test_both_routes_agree(
    sides: tuple[RoutedSide, RoutedSide], chance: random.Random, service: str
) -> None:
    """A method gives equal replies and leaves equal rows on both routes, for plausible and odd arguments.

    Each method finds the demo's rows, since what the one before did was rehearsed only: nothing of it stays.
    """
    native, rest = sides
    before = [await side.rows() for side in sides]
    done = Counter[str]()
    for method in (each for each in CALLS if each[0] == service):
        with time_machine.travel(START, tick=False) as clock:
            async with native.new.databases.rehearsal(), rest.new.databases.rehearsal() as outer:
                for _ in range(40):
                    arguments = CALLS[method](chance)
                    await compare(sides, clock, method, arguments, chance.choice(CALLERS))
                await assert_equal_rows(native, rest, rehearsed=True)
                done[method[1]] = len(await outer.effects())
    assert [await side.rows() for side in sides] == before
    for method in ("killJob", "addPilotReferences"):
        assert done.get(method, 1), f"the rehearsal of {method} must have done something"


@pytest.mark.parametrize("kind", KINDS)
async def test_both_routes_agree_in_any_order(
    sides: tuple[RoutedSide, RoutedSide], chance: random.Random
) -> None:
    """All methods mixed, each seeing what the others wrote, on every kind of database."""
    repeats = max(3, 500 // len(CALLS))
    first = [each for each in CALLS if each[1] not in LEAVE_DECLARED] * repeats
    then = [each for each in CALLS if each[1] in LEAVE_DECLARED | STATES_ONLY] * repeats
    chance.shuffle(first)
    chance.shuffle(then)
    methods = first + then
    with time_machine.travel(START, tick=False) as clock:
        for method in methods:
            arguments = CALLS[method](chance)
            await compare(sides, clock, method, arguments, chance.choice(CALLERS))
    await assert_equal_rows(*sides)
