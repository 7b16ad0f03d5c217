"""Both routes on equal data: for each method the same calls, the same replies, the same rows."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from calls import CALLS
from empty_databases import empty_database
from guests import GUESTS, HOMES, guest_databases
from sqlalchemy import Connection, Table, column, func, inspect, select

from legacy_rpc.front_door import FinishedCall
from legacy_rpc.messages import Call, Credential, Failure, Proposal
from shared_db.administration import upgrade
from shared_db.connection import open_databases
from shared_db.inspection import schema_of
from shared_db.schema import SCHEMAS
from shared_db.schema.job_db import Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents
from shared_db.schema.task_queue_db import tq_TaskQueues
from wherry.build import NewSide, OldSide, load_registry, make_new_side, make_old_side
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials, registry_text
from wherry.demo.data import PILOTS as PILOTS_FILLED
from wherry.demo.data import fill

from .conftest import CONFIG, plan_text

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DN = "/DC=org/DC=wherry/OU=people/CN="
CALLERS = (
    ("alice", "demo_admin"),
    ("alice", "demo_user"),
    ("bob", "demo_user"),
    ("pilot", "demo_pilot"),
    ("bob", "demo_admin"),  # not a member
    ("localhost", "hosts"),
)
INVENTED_STAMP = re.compile("[0-9a-f]{32}")


@dataclass
class Side:
    """One grid whose every method goes one way."""

    new: NewSide
    old: OldSide
    finished: list[FinishedCall]

    async def call(self, caller: tuple[str, str], service: str, method: str, arguments: list[Any]) -> Any:
        """What the caller sees, from admission on."""
        user, group = caller
        host = group == "hosts"
        dn = "/DC=org/DC=wherry/OU=hosts/CN=localhost" if host else DN + user
        credential = Credential(
            dn, dn, dn, START + timedelta(days=1), is_proxy=not host, group=None if host else group
        )
        proposal = Proposal(service, "RPC", method, extra_credentials="hosts" if host else "")
        try:
            identity = self.old.front_door.admit(proposal, credential)
        except Failure as failure:
            return failure.as_result()
        outcome = await self.old.front_door.handle(Call(service, method, arguments, identity, "test"))
        return outcome.as_result()

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table."""
        dump: dict[str, list[dict[str, Any]]] = {}
        async with self.new.databases.unit_of_work() as work:
            for database, schema in SCHEMAS.items():
                for table in schema.sorted_tables:
                    rows = await work.rows(database, select(table))
                    dump[table.name] = sorted((dict(row._mapping) for row in rows), key=repr)
        for table in (Jobs, PilotAgents, tq_TaskQueues):
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
) -> AsyncIterator[tuple[Side, Side]]:
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
        await databases.sync_run(PILOT_AGENTS_DB, _count_on)
        await databases.dispose()
        new = make_new_side(config, "http://localhost")
        finished: list[FinishedCall] = []
        old = make_old_side(config, new, lambda service: f"dips://localhost:1/{service}", finished.append)
        made.append(Side(new, old, finished))
    yield made[0], made[1]
    for side in made:
        await side.new.databases.dispose()


def _count_on(connection: Connection) -> None:
    """PostgreSQL, unlike the others, does not see which ids its rows were given."""
    if connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence('"PilotAgents"', "PilotID")
        connection.execute(select(func.setval(sequence, PILOTS_FILLED)))


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
    """Rows without the declared differences: REST logs a kill and sets the end of the job."""
    rows = {table: [without_declared(row) for row in rows] for table, rows in dump.items()}
    rows["LoggingInfo"] = [
        row for row in rows["LoggingInfo"] if (row["StatusSource"], row["Status"]) != ("killJob", "Killed")
    ]
    killed_now = {row["JobID"] for row in rows["Jobs"] if row["MinorStatus"] == "Marked for termination"}
    for row in rows["Jobs"]:
        if row["JobID"] in killed_now:
            row["EndExecTime"] = None
    return rows


async def assert_equal_rows(native: Side, rest: Side) -> None:
    """Every row is the same on both sides; what is not is shown, column by column."""
    left, right = comparable_rows(await native.rows()), comparable_rows(await rest.rows())
    assert {table: len(rows) for table, rows in left.items()} == {
        table: len(rows) for table, rows in right.items()
    }
    for table, rows in left.items():
        for one, other in zip(rows, right[table], strict=True):
            differing = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
            assert not differing, (table, next(iter(one.items())), differing)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the test only."""
    return random.Random(request.node.name)


def test_every_routed_method_is_compared() -> None:
    """No method that can be live is left out here."""
    from adaptor.methods.catalogue import ADAPTORS

    assert set(CALLS) == set(ADAPTORS)


async def compare(
    sides: tuple[Side, Side],
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


@pytest.mark.parametrize("method", CALLS, ids=".".join)
async def test_both_routes_agree(
    sides: tuple[Side, Side], chance: random.Random, method: tuple[str, str]
) -> None:
    """A method gives equal replies and leaves equal rows on both routes, for plausible and odd arguments."""
    with time_machine.travel(START, tick=False) as clock:
        for _ in range(60):
            arguments = CALLS[method](chance)
            await compare(sides, clock, method, arguments, chance.choice(CALLERS))
    await assert_equal_rows(*sides)


@pytest.mark.parametrize("kind", KINDS)
async def test_both_routes_agree_in_any_order(sides: tuple[Side, Side], chance: random.Random) -> None:
    """All methods mixed, each seeing what the others wrote, on every kind of database."""
    methods = list(CALLS) * 30
    chance.shuffle(methods)
    with time_machine.travel(START, tick=False) as clock:
        for method in methods:
            arguments = CALLS[method](chance)
            await compare(sides, clock, method, arguments, chance.choice(CALLERS))
    await assert_equal_rows(*sides)


@pytest.mark.parametrize("method", CALLS, ids=".".join)
async def test_a_conversation_can_be_rehearsed(
    sides: tuple[Side, Side], chance: random.Random, method: tuple[str, str]
) -> None:
    """A whole conversation on the REST side, in one outer transaction: rolled back, nothing stays."""
    _, rest = sides
    before = await rest.rows()
    with time_machine.travel(START, tick=False):
        async with rest.new.databases.rehearsal() as outer:
            for _ in range(10):
                await rest.call(CALLERS[0], *method, CALLS[method](chance))
            inside = await outer.rows("JobDB", select(SCHEMAS["JobDB"].tables["JobCommands"]))
            new_pilots_inside = await outer.rows(
                "PilotAgentsDB", select(SCHEMAS["PilotAgentsDB"].tables["PilotAgents"])
            )
    if method[1] == "killJob":
        assert inside, "the rehearsal itself must have done something"
    if method[1] == "addPilotReferences":
        assert len(new_pilots_inside) > len(before["PilotAgents"])
    assert await rest.rows() == before
