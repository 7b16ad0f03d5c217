"""Sandboxes as DIRAC's clients know them: by names made of an MD5, and by entities."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from job_hands import Hands
from sqlalchemy import select

from shared_db.connection import Databases
from shared_db.queries.sandbox_cleaning import Unneeded, claim_sandboxes, forget_sandboxes
from shared_db.queries.sandbox_entities import (
    assign_to_entities,
    sandboxes_of_entities,
    take_from_entities,
)
from shared_db.queries.sandbox_jobs import assign_input_sandboxes
from shared_db.queries.sandbox_names import legacy_names, note_name, stored_names
from shared_db.queries.sandboxes import owners_of_names, register_sandbox, sandbox_owner, touch_sandbox
from shared_db.rules import clock as clock_module
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import (
    Assignment,
    Location,
    Owner,
    Reach,
    for_old_clients,
    legacy_name,
    managed_by,
    parse_location,
    reach_of,
    read_announcement,
    read_assignments,
)
from shared_db.schema.sandbox_metadata_db import SANDBOX_METADATA_DB, sb_EntityMapping
from shared_db.schema.wherry_db import WHERRY_DB, sandbox_names

ALICE = Owner("alice", "lab_user", "lab")
BOB = Owner("bob", "lab_user", "lab")
USER = ("NormalUser",)
TEXT = "Sandbox does not exist or you are not authorized to assign it being {0.name}@{0.group}"


def stored(word: str, owner: Owner = ALICE) -> Location:
    """Where a sandbox is stored."""
    return Location("SandboxSE", f"/S3/sandboxes/{owner.vo}/{owner.group}/{owner.name}/sha256:{word}.tar.bz2")


def called(word: str, owner: Owner = ALICE) -> Location:
    """Where a client of DIRAC's thinks that it is."""
    return Location("SandboxSE", legacy_name(owner, word * 6, "tar.bz2", shares=False))


@pytest.fixture
async def hands(databases: Databases) -> Hands:
    """Alice's sandboxes `one` and `two`, bob's `three`, all but `two` with two names; a job of each."""
    hands = Hands(databases)
    for word, owner in (("one", ALICE), ("two", ALICE), ("three", BOB)):
        await hands.run(register_sandbox, owner, stored(word, owner), 10)
        if word != "two":
            await hands.run(note_name, called(word, owner).name, stored(word, owner).name)
    for owner in (ALICE, BOB):
        await hands.add("Waiting", Owner=owner.name, OwnerGroup=owner.group, VO=owner.vo)
    return hands


async def rows(databases: Databases, database: str, *columns: Any) -> list[tuple[Any, ...]]:
    """What is in some columns."""
    async with databases.unit_of_work() as work:
        return sorted(tuple(row) for row in await work.rows(database, select(*columns)))


async def test_a_sandbox_is_found_by_either_name(hands: Hands) -> None:
    """Whose it is, that it was asked for, and that a job may have it: by both names."""
    for at in (stored("one"), called("one")):
        assert await hands.run(sandbox_owner, at) == ALICE
        assert await hands.run(touch_sandbox, at)
        assert await hands.run(assign_input_sandboxes, {1: [str(at)]}, Reach(ALICE)) == {}
    assert await hands.run(sandbox_owner, called("two")) is None
    assert not await hands.run(touch_sandbox, called("two"))
    text = TEXT.format(ALICE)
    assert await hands.run(assign_input_sandboxes, {1: [str(called("two"))]}, Reach(ALICE)) == {1: text}


async def test_a_name_can_be_noted_again(hands: Hands, databases: Databases) -> None:
    """The same row once; another content in its place is what counts then."""
    await hands.run(note_name, called("one").name, stored("one").name)
    assert len(await rows(databases, WHERRY_DB, sandbox_names.c.name)) == 2
    await hands.run(note_name, called("one").name, stored("two").name)
    assert await hands.run(stored_names, [called("one").name, "x"]) == {
        called("one").name: stored("two").name
    }
    assert await hands.run(legacy_names, [stored("two").name, stored("one").name]) == {
        stored("two").name: called("one").name
    }


async def test_names_leave_with_their_sandboxes(hands: Hands, databases: Databases) -> None:
    """A sandbox that is cleaned away takes its names along, and no others."""
    later = clock_module.utc_now() + timedelta(days=1)
    unneeded = Unneeded("SandboxSE", "/S3/sandboxes/lab/lab_user/alice/", later, later)
    _, claimed = await hands.run(lambda work: claim_sandboxes(work, unneeded, after=0, most=10))
    assert len(claimed) == 2
    await hands.run(forget_sandboxes, claimed)
    assert await rows(databases, WHERRY_DB, sandbox_names.c.name) == [(called("three", BOB).name,)]


async def test_entities_get_show_and_lose_sandboxes(hands: Hands, databases: Databases) -> None:
    """By either name; what there is already stays; each sees the own ones, with the name DIRAC gave."""
    wanted = [
        Assignment("Job:1", "Input", called("one")),
        Assignment("Job:1", "Output", stored("two")),
        Assignment("Transformation:7", "Input", stored("one")),
    ]
    for _ in range(2):
        assert await hands.run(assign_to_entities, wanted, Reach(ALICE), USER) == 3
    assert len(await rows(databases, SANDBOX_METADATA_DB, *sb_EntityMapping.c)) == 3
    shown = await hands.run(sandboxes_of_entities, ["Job:1", "Job:9"], Reach(ALICE))
    assert [(each.entity, each.kind, each.at, each.legacy) for each in shown] == [
        ("Job:1", "Input", stored("one"), called("one")),
        ("Job:1", "Output", stored("two"), None),
    ]
    assert await hands.run(sandboxes_of_entities, ["Job:1"], Reach(BOB)) == []
    assert await hands.run(take_from_entities, ["Job:1"], Reach(BOB)) == []
    assert await hands.run(take_from_entities, ["Job:1", "Job:2"], Reach(ALICE)) == ["Job:1"]
    left = await rows(databases, SANDBOX_METADATA_DB, sb_EntityMapping.c.EntityId)
    assert left == [("Transformation:7",)]


@pytest.mark.parametrize(
    ("entity", "at", "reach", "properties"),
    [
        pytest.param("Job:1", called("two"), Reach(ALICE), USER, id="nothing has this name"),
        pytest.param("Job:1", called("three", BOB), Reach(ALICE), USER, id="another's sandbox"),
        pytest.param("Job:2", called("one"), Reach(ALICE), USER, id="another's job"),
        pytest.param(
            "Job:2", called("one"), Reach(ALICE, everything=True), ("JobMonitor",), id="only looks at jobs"
        ),
    ],
)
async def test_what_may_not_be_given(
    hands: Hands, databases: Databases, entity: str, at: Location, reach: Reach, properties: tuple[str, ...]
) -> None:
    """All or none, with DIRAC's text."""
    wanted = [Assignment("Job:1", "Input", called("one")), Assignment(entity, "Input", at)]
    with pytest.raises(Refusal, match=TEXT.format(ALICE)):
        await hands.run(assign_to_entities, wanted, reach, properties)
    assert await rows(databases, SANDBOX_METADATA_DB, sb_EntityMapping.c.EntityId) == []


@pytest.mark.parametrize(
    "entity", ["job:2", "JOB:2", "Job:2 ", "J\u00f6b:2", "\uff2aob:2", "Job\0:2", "\u200bJob:2"]
)
async def test_what_a_database_takes_for_a_job(hands: Hands, databases: Databases, entity: str) -> None:
    """MySQL does not tell them from bob's job: nothing is given under such a name, nor taken."""
    await hands.run(
        assign_to_entities, [Assignment("Job:2", "Input", called("three", BOB))], Reach(BOB), USER
    )
    with pytest.raises(Refusal, match=TEXT.format(ALICE)):
        await hands.run(assign_to_entities, [Assignment(entity, "Input", called("one"))], Reach(ALICE), USER)
    assert await hands.run(take_from_entities, [entity], Reach(BOB)) == []
    assert await hands.run(sandboxes_of_entities, [entity], Reach(BOB)) == []
    left = await rows(databases, SANDBOX_METADATA_DB, sb_EntityMapping.c.EntityId)
    assert left == [("Job:2",)]
    with pytest.raises(Refusal):
        read_assignments({entity: [[str(called("one")), "Input"]]})
    with pytest.raises(Refusal):
        read_announcement(["abc.tar.bz2", {entity: "Input"}], 1, 10)


async def test_a_name_in_another_vo(hands: Hands) -> None:
    """Who shows no certificate may be called alice in another VO, and gives nothing to alice's jobs there."""
    other = Owner("alice", "works_user", "works")
    at = stored("four", other)
    await hands.run(register_sandbox, other, at, 10)
    wanted = [Assignment("Job:1", "Input", at)]

    async def give(work: Any, *, by_certificate: bool) -> int:
        return await assign_to_entities(work, wanted, Reach(other), USER, by_certificate=by_certificate)

    with pytest.raises(Refusal, match=TEXT.format(other)):
        await hands.run(partial(give, by_certificate=False))
    assert await hands.run(partial(give, by_certificate=True)) == 1


async def test_nobody_takes_a_colleagues_name(hands: Hands) -> None:
    """In a group with JobSharing names are shared: another content under one is refused, the same not."""
    name = legacy_name(ALICE, "one" * 6, "tar.bz2", shares=True)
    await hands.run(note_name, name, stored("one").name)
    with pytest.raises(Refusal, match="Hashes don't match!"):
        await hands.run(note_name, name, stored("three", BOB).name)
    assert await hands.run(stored_names, [name]) == {name: stored("one").name}
    await hands.run(note_name, name, stored("one", BOB).name)
    assert await hands.run(stored_names, [name]) == {name: stored("one", BOB).name}


async def test_an_administrator_gives_anything(hands: Hands) -> None:
    """Bob's sandbox to alice's job."""
    wanted = [Assignment("Job:1", "Input", called("three", BOB))]
    reach = reach_of(Owner("admin", "lab_admin", "lab"), ("JobAdministrator",))
    assert await hands.run(assign_to_entities, wanted, reach, ("JobAdministrator",)) == 1


async def test_owners_by_name(hands: Hands) -> None:
    """Only of one storage element, and only of what is there."""
    names = [stored("one").name, stored("three", BOB).name, "/x"]
    assert await hands.run(owners_of_names, "SandboxSE", names) == {names[0]: ALICE, names[1]: BOB}
    assert await hands.run(owners_of_names, "OtherSE", names) == {}


def test_names_for_old_clients_are_read_again() -> None:
    """What a client before 9 is told leads to the same sandbox."""
    told = for_old_clients(f'InputSandbox = {{ "{stored("one")}", "{called("one")}" }};')
    assert "|/SandBox/S3/sandboxes/" in told and f"|{called('one').name}" in told
    assert parse_location(for_old_clients(str(stored("one")))) == stored("one")


def test_a_monitor_only_looks() -> None:
    """It sees all, and gives and takes what others may."""
    assert reach_of(ALICE, ("JobMonitor",)).everything
    assert not managed_by(ALICE, ("NormalUser", "JobMonitor")).everything
    with pytest.raises(Refusal, match="Not authorized to access sandbox"):
        managed_by(ALICE, ("JobMonitor",))


@pytest.mark.parametrize("properties", [(), ("GenericPilot",)])
def test_nothing_is_within_reach_of_a_pilot(properties: tuple[str, ...]) -> None:
    """DIRAC's text."""
    with pytest.raises(Refusal, match="Not authorized to access sandbox"):
        reach_of(ALICE, properties)
