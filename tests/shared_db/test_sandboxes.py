"""Sandboxes in the database: rows are those that DIRAC and DiracX leave (legacy-schema.md, section 5)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from job_hands import Hands
from sqlalchemy import select

from shared_db.connection import Databases
from shared_db.errors import Conflict, InvalidValue
from shared_db.queries.sandbox_cleaning import (
    Claimed,
    Unneeded,
    claim_sandboxes,
    claimed_sandboxes,
    forget_sandboxes,
    registered_again,
)
from shared_db.queries.sandbox_jobs import (
    SandboxAlreadyAssigned,
    SandboxNotFound,
    assign_input_sandboxes,
    assign_sandbox,
    sandboxes_of_job,
    unassign_sandboxes,
)
from shared_db.queries.sandboxes import register_sandbox, sandbox_owner, touch_sandbox
from shared_db.rules.sandboxes import INPUT, OUTPUT, Location, Owner, Reach
from shared_db.schema.sandbox_metadata_db import (
    SANDBOX_METADATA_DB,
    sb_EntityMapping,
    sb_Owners,
    sb_SandBoxes,
)

ALICE = Owner("alice", "lab_user", "lab")
BOB = Owner("bob", "lab_user", "lab")
FOLDER = "/S3/sandboxes/"


def box(name: str) -> Location:
    """A sandbox of REST's kind, known by a word."""
    return Location("SandboxSE", f"{FOLDER}lab/lab_user/alice/{name}")


class SandboxHands(Hands):
    """Registers sandboxes and reads their rows."""

    async def register(self, *names: str, owner: Owner = ALICE) -> list[bool | None]:
        """Register sandboxes of ten bytes."""
        return [await self.run(register_sandbox, owner, box(name), 10) for name in names]

    async def boxes(self) -> list[tuple[Any, ...]]:
        """``(id, SEName, last part of SEPFN, Assigned)`` of all."""
        c = sb_SandBoxes.c
        rows = await self._rows(select(c.SBId, c.SEName, c.SEPFN, c.Assigned).order_by(c.SBId))
        return [(row[0], row[1], row[2].rsplit("/", 1)[-1], row[3]) for row in rows]

    async def mapped(self) -> list[tuple[Any, ...]]:
        """``(id, EntityId, Type)`` of all."""
        c = sb_EntityMapping.c
        return sorted(await self._rows(select(c.SBId, c.EntityId, c.Type)))

    async def owners(self) -> list[tuple[Any, ...]]:
        """All owners."""
        c = sb_Owners.c
        return await self._rows(select(c.OwnerId, c.Owner, c.OwnerGroup, c.VO).order_by(c.OwnerId))

    async def times(self) -> list[tuple[Any, ...]]:
        """``(owner's id, size, registered, last asked for)`` of all."""
        c = sb_SandBoxes.c
        columns = (c.OwnerId, c.Bytes, c.RegistrationTime, c.LastAccessTime)
        return await self._rows(select(*columns).order_by(c.SBId))

    async def _rows(self, statement: Any) -> list[tuple[Any, ...]]:
        async with self.databases.unit_of_work() as work:
            return [tuple(row) for row in await work.rows(SANDBOX_METADATA_DB, statement)]

    async def assign(self, job_id: int, name: str, kind: str = OUTPUT) -> None:
        """Give a job a sandbox."""
        await self.run(assign_sandbox, job_id, box(name), kind)

    async def unassign(self, *job_ids: int) -> None:
        """Take all sandboxes from jobs."""
        await self.run(unassign_sandboxes, job_ids)


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> SandboxHands:
    """Hands in this test's database."""
    return SandboxHands(databases)


# Registering


async def test_registering(hands: SandboxHands, clock: Any) -> None:
    """An owner is one row; a sandbox asked for again has a new time and nothing else."""
    assert await hands.register("a", "b") == [None, None]
    assert await hands.register("c", owner=BOB) == [None]
    first = clock.column
    clock.advance(5)
    assert await hands.register("b") == [False]
    assert await hands.owners() == [(1, "alice", "lab_user", "lab"), (2, "bob", "lab_user", "lab")]
    assert await hands.boxes() == [
        (1, "SandboxSE", "a", 0),
        (2, "SandboxSE", "b", 0),
        (3, "SandboxSE", "c", 0),
    ]
    assert await hands.times() == [
        (1, 10, first, first),
        (1, 10, first, clock.column),
        (2, 10, first, first),
    ]


async def test_registering_one_that_a_job_has(hands: SandboxHands) -> None:
    """Who asks is told so: it must have been uploaded."""
    await hands.register("a")
    await hands.assign(1, "a", INPUT)
    assert await hands.register("a") == [True]


async def test_registering_what_no_column_holds(hands: SandboxHands) -> None:
    """A group with too long a name is refused, and nothing is left behind."""
    with pytest.raises(InvalidValue, match="OwnerGroup"):
        await hands.register("a", owner=Owner("alice", "g" * 33, "lab"))
    assert (await hands.owners(), await hands.boxes()) == ([], [])


async def test_registering_twice_at_once(hands: SandboxHands) -> None:
    """There is one row; whoever comes second is told that it is there, or to try again."""
    both = await asyncio.gather(*[hands.register("a") for _ in range(2)], return_exceptions=True)
    assert [None] in both
    [other] = [each for each in both if each != [None]]
    assert other == [False] or isinstance(other, Conflict)
    assert await hands.register("a") == [False]
    assert len(await hands.boxes()) == 1


async def test_whose_it_is(hands: SandboxHands) -> None:
    """The owner of a sandbox at that storage element; of others there is none."""
    await hands.register("a")
    assert await hands.run(sandbox_owner, box("a")) == ALICE
    for other in (box("b"), Location("OtherSE", box("a").name), box("\0"), box("\ud800")):
        assert await hands.run(sandbox_owner, other) is None


async def test_touching(hands: SandboxHands, clock: Any) -> None:
    """To ask for a sandbox is noted; twice in one second too."""
    await hands.register("a")
    clock.advance(3)
    assert [await hands.run(touch_sandbox, box("a")) for _ in range(2)] == [True, True]
    assert [row[3] for row in await hands.times()] == [clock.column]
    assert await hands.run(touch_sandbox, box("b")) is False
    assert await hands.run(touch_sandbox, box("\0")) is False


# Jobs


async def test_assigning(hands: SandboxHands) -> None:
    """A job has its sandboxes in order of their registration; Assigned is set."""
    await hands.register("a", "b", "c")
    await hands.assign(11, "b")
    await hands.assign(11, "a")
    await hands.assign(12, "a", INPUT)
    assert [row[3] for row in await hands.boxes()] == [1, 1, 0]
    assert await hands.mapped() == [(1, "Job:11", OUTPUT), (1, "Job:12", INPUT), (2, "Job:11", OUTPUT)]
    assert await hands.run(sandboxes_of_job, 11) == [(OUTPUT, box("a")), (OUTPUT, box("b"))]
    assert await hands.run(sandboxes_of_job, 12) == [(INPUT, box("a"))]
    assert await hands.run(sandboxes_of_job, 1) == []


async def test_assigning_what_cannot_be(hands: SandboxHands) -> None:
    """One that is not registered, or that the job has already in the same role."""
    await hands.register("a")
    await hands.assign(11, "a")
    with pytest.raises(SandboxNotFound):
        await hands.assign(11, "b")
    with pytest.raises(SandboxAlreadyAssigned):
        await hands.assign(11, "a")
    await hands.assign(11, "a", INPUT)
    assert await hands.mapped() == [(1, "Job:11", INPUT), (1, "Job:11", OUTPUT)]


async def test_unassigning(hands: SandboxHands) -> None:
    """Only sandboxes that no job has any more lose their mark, each for itself."""
    await hands.register("a", "b")
    for job_id, name in ((1, "a"), (1, "b"), (2, "b"), (11, "b")):
        await hands.assign(job_id, name)
    await hands.unassign(1)
    assert [row[3] for row in await hands.boxes()] == [0, 1]
    assert await hands.mapped() == [(2, "Job:11", OUTPUT), (2, "Job:2", OUTPUT)]
    await hands.unassign(1, 2, 11, 999)
    await hands.unassign()
    assert [row[3] for row in await hands.boxes()] == [0, 0]
    assert await hands.mapped() == []


async def test_input_sandboxes(hands: SandboxHands) -> None:
    """Jobs get what their JDLs name, files passed over, and a second time nothing more."""
    await hands.register("a", "b")
    entries = {
        1: [str(box("a")), "LFN:/lab/file", "script.sh", str(box("a"))],
        2: [str(box("a")), str(box("b"))],
        3: ["script.sh"],
    }
    for _ in range(2):
        assert await hands.run(assign_input_sandboxes, entries, Reach(ALICE)) == {}
        assert await hands.mapped() == [
            (1, "Job:1", INPUT),
            (1, "Job:2", INPUT),
            (2, "Job:2", INPUT),
        ]
    assert [row[3] for row in await hands.boxes()] == [1, 1]


async def test_input_sandboxes_out_of_reach(hands: SandboxHands) -> None:
    """A job with one that is missing, malformed or another's gets none; the others theirs."""
    await hands.register("a")
    await hands.register("bobs", owner=BOB)
    entries = {
        1: [str(box("a"))],
        2: [str(box("a")), str(box("none"))],
        3: [str(box("bobs"))],
        4: ["SB:SandboxSE"],
    }
    text = "Sandbox does not exist or you are not authorized to assign it being alice@lab_user"
    assert await hands.run(assign_input_sandboxes, entries, Reach(ALICE)) == {2: text, 3: text, 4: text}
    assert await hands.mapped() == [(1, "Job:1", INPUT)]


@pytest.mark.parametrize(
    ("reach", "allowed"),
    [
        pytest.param(Reach(BOB), True, id="the owner"),
        pytest.param(Reach(ALICE), False, id="another one"),
        pytest.param(Reach(ALICE, shares=True), True, id="JobSharing"),
        pytest.param(Reach(Owner("bob", "other", "lab")), False, id="the owner in another group"),
        pytest.param(Reach(Owner("x", "other", "lab"), shares=True), False, id="another group shares"),
        pytest.param(Reach(Owner("x", "other", "lab"), everything=True), True, id="JobAdministrator"),
    ],
)
async def test_whose_sandboxes_may_be_assigned(hands: SandboxHands, reach: Reach, allowed: bool) -> None:
    """DIRAC's rule."""
    await hands.register("bobs", owner=BOB)
    refused = await hands.run(assign_input_sandboxes, {1: [str(box("bobs"))]}, reach)
    assert (refused == {}) == allowed


async def test_many_jobs_take_few_statements(hands: SandboxHands, statements: list[Any]) -> None:
    """A thousand jobs take as many statements as ten."""
    await hands.register("a", "b")
    numbers = []
    for count in (10, 1000):
        entries = {count + number: [str(box("a")), str(box("b"))] for number in range(count)}
        del statements[:]
        await hands.run(assign_input_sandboxes, entries, Reach(ALICE))
        await hands.unassign(*entries)
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]


# Cleaning


@pytest.fixture
def unneeded(clock: Any) -> Unneeded:
    """What was not asked for in the last 15 days; a day, where only the jobs are gone."""
    now = clock.now
    return Unneeded("SandboxSE", FOLDER, now - timedelta(days=15), now - timedelta(days=1))


async def claim(hands: SandboxHands, unneeded: Unneeded, after: int = 0, most: int = 100) -> Any:
    """Claim in a unit of its own."""
    return await hands.run(claim_sandboxes, unneeded, after=after, most=most)


async def age(hands: SandboxHands, name: str, moment: datetime, **values: Any) -> None:
    """Let a sandbox be asked for last at some time."""
    values["LastAccessTime"] = moment.replace(tzinfo=None, microsecond=0)
    async with hands.databases.unit_of_work(write=True) as work:
        statement = sb_SandBoxes.update().where(sb_SandBoxes.c.SEPFN.in_([box(name).name])).values(**values)
        await work.change(SANDBOX_METADATA_DB, statement)


async def test_what_may_go(hands: SandboxHands, clock: Any, unneeded: Unneeded) -> None:
    """Old ones that no job has; sooner those whose jobs were removed; never one that a job has."""
    old, days = timedelta(days=16), timedelta(days=2)
    await hands.register("never", "new", "used", "removed", "removed today")
    await age(hands, "never", clock.now - old)
    await age(hands, "new", clock.now - days)
    await age(hands, "used", clock.now - old)
    await hands.assign(1, "used")
    await age(hands, "removed", clock.now - days, Assigned=1)
    await age(hands, "removed today", clock.now - timedelta(hours=2), Assigned=1)
    last, claimed = await claim(hands, unneeded)
    assert [each.name for each in claimed] == [box("never").name, box("removed").name]
    assert await claim(hands, unneeded, last) == (0, [])
    assert [row[:3] for row in await hands.boxes()] == [
        (1, "SandboxSE#removing", "never"),
        (2, "SandboxSE", "new"),
        (3, "SandboxSE", "used"),
        (4, "SandboxSE#removing", "removed"),
        (5, "SandboxSE", "removed today"),
    ]


async def test_others_sandboxes_stay(hands: SandboxHands, clock: Any, unneeded: Unneeded) -> None:
    """What lies in another storage element or folder is not ours to remove: DIRAC's own service does."""
    clock.advance(-86400 * 30)
    legacy = Location("SandboxSE", "/SandBox/a/alice.lab_user/0aa/d3a/0aad3a.tar.bz2")
    for at in (Location("OtherSE", box("a").name), legacy):
        await hands.run(register_sandbox, ALICE, at, 1)
    assert await claim(hands, unneeded) == (0, [])


async def test_claimed_ones_are_not_there(hands: SandboxHands, clock: Any, unneeded: Unneeded) -> None:
    """Nobody can use a claimed one; whoever uploads it again gets a new row, which is noticed."""
    await hands.register("a", "b")
    for name in ("a", "b"):
        await age(hands, name, clock.now - timedelta(days=16))
    _, claimed = await claim(hands, unneeded)
    assert await hands.run(touch_sandbox, box("a")) is False
    with pytest.raises(SandboxNotFound):
        await hands.assign(1, "a")
    assert await hands.register("a") == [None]
    assert await hands.run(registered_again, "SandboxSE", claimed) == {box("a").name}
    await hands.run(forget_sandboxes, claimed)
    assert await hands.boxes() == [(3, "SandboxSE", "a", 0)]


async def test_claims_in_batches(hands: SandboxHands, clock: Any, unneeded: Unneeded) -> None:
    """They go on after the last one, and what is claimed is found again page by page."""
    names = [f"n{number}" for number in range(5)]
    await hands.register(*names)
    for name in names:
        await age(hands, name, clock.now - timedelta(days=16))
    first, some = await claim(hands, unneeded, most=2)
    second, more = await claim(hands, unneeded, first, most=2)
    assert ([each.sandbox_id for each in some + more], second) == ([1, 2, 3, 4], 4)
    found = await hands.run(claimed_sandboxes, "SandboxSE", after=1, most=2)
    assert found == [Claimed(2, box("n1").name), Claimed(3, box("n2").name)]


async def test_one_that_is_still_leaving(hands: SandboxHands, clock: Any, unneeded: Unneeded) -> None:
    """While an earlier row of the same name is claimed, the later one waits."""
    for _ in range(2):
        await hands.register("a")
        await age(hands, "a", clock.now - timedelta(days=16))
        last, claimed = await claim(hands, unneeded)
        assert last
    assert claimed == []
    assert [row[1] for row in await hands.boxes()] == ["SandboxSE#removing", "SandboxSE"]
