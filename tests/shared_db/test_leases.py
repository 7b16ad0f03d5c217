"""Leases of periodic tasks: one holder, and no change by one who is it no longer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from guests import HOMES

from shared_db.connection import Databases
from shared_db.queries.leases import NOBODY, Lease, LeaseLost, Standing, Terms, give_up, hold, standings, take
from shared_db.queries.pilots import add_pilots

TERMS = Terms(timedelta(seconds=60), timedelta(seconds=10))


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Our own tables are the same beside a guest's."""
    return str(request.param)


class Leases:
    """Takes leases, each in a unit of work of its own."""

    def __init__(self, databases: Databases, clock: Any) -> None:
        self.databases = databases
        self.clock = clock
        # Our own tables keep their rows from test to test.
        self.name = f"task:{uuid.uuid4().hex}"

    async def take(self, holder: str, clocks_ahead: float = 0) -> Lease | None:
        """``take``, by a host whose clock is so many seconds ahead."""
        now = self.clock.now + timedelta(seconds=clocks_ahead)
        async with self.databases.unit_of_work(write=True) as work:
            return await take(work, self.name, holder, TERMS, now)

    async def hold(self, lease: Lease) -> None:
        """``hold``, and nothing else."""
        async with self.databases.unit_of_work(write=True) as work:
            await hold(work, lease, TERMS, self.clock.now)

    async def give_up(self, lease: Lease, wait: float) -> None:
        """``give_up``; the task is due again after so many seconds."""
        async with self.databases.unit_of_work(write=True) as work:
            await give_up(work, lease, self.clock.now + timedelta(seconds=wait), self.clock.now)

    async def standing(self) -> Standing:
        """How the lease stands."""
        async with self.databases.unit_of_work() as work:
            return (await standings(work, [self.name, "task:never taken"]))[self.name]


@pytest.fixture
def hands(databases: Databases, clock: Any) -> Leases:
    """Leases of this test's database."""
    return Leases(databases, clock)


def taken(lease: Lease | None) -> Lease:
    """A lease that was got."""
    assert lease is not None
    return lease


async def _sixteen(hands: Leases, attempt: Callable[[Any], Any]) -> list[Lease]:
    answers = await asyncio.gather(*(attempt(hands.take(f"host:{each}")) for each in range(16)))
    return [each for each in answers if isinstance(each, Lease)]


async def test_one_of_sixteen_gets_it(hands: Leases, attempt: Callable[[Any], Any]) -> None:
    """The first time, when there is no row yet, and after every end; the term counts the holders."""
    for term in (1, 2, 3):
        [winner] = await _sixteen(hands, attempt)
        assert winner.term == term
        standing = await hands.standing()
        assert (standing.holder, standing.until) == (winner.holder, hands.clock.now + TERMS.lasting)
        hands.clock.advance(70)


async def test_a_held_lease_is_nobody_else_s(hands: Leases) -> None:
    """Until its time is over, and the time by which clocks may differ; holding on to it prolongs it."""
    lease = taken(await hands.take("a"))
    assert await hands.take("b") is None
    assert await hands.take("a") is None
    hands.clock.advance(69)
    assert await hands.take("b") is None
    assert await hands.take("b", clocks_ahead=-30) is None
    await hands.hold(lease)
    hands.clock.advance(69)
    assert await hands.take("b") is None
    hands.clock.advance(1)
    assert taken(await hands.take("b")) == Lease(hands.name, "b", 2)


async def test_a_clock_that_is_far_ahead_takes_too_early_and_harms_nothing(hands: Leases) -> None:
    """The holder finds out before it changes anything."""
    lease = taken(await hands.take("a"))
    assert taken(await hands.take("b", clocks_ahead=3600)).term == 2
    with pytest.raises(LeaseLost):
        await hands.hold(lease)


async def test_a_lease_that_was_given_up_is_free_when_it_is_due(hands: Leases) -> None:
    """Nobody waits for clocks then; the one who gave it up may not go on."""
    lease = taken(await hands.take("a"))
    await hands.give_up(lease, 300)
    standing = await hands.standing()
    assert (standing.holder, standing.due_at) == (NOBODY, hands.clock.now + timedelta(seconds=300))
    with pytest.raises(LeaseLost):
        await hands.hold(lease)
    hands.clock.advance(299)
    assert await hands.take("b") is None
    hands.clock.advance(1)
    assert taken(await hands.take("b")).term == 2


async def test_what_has_passed_on_is_not_given_up(hands: Leases) -> None:
    """A former holder takes nothing from the new one."""
    lease = taken(await hands.take("a"))
    hands.clock.advance(100)
    await hands.take("b")
    before = await hands.standing()
    await hands.give_up(lease, 0)
    assert await hands.standing() == before


async def test_a_holder_that_slept_changes_nothing(hands: Leases, pilots: Any) -> None:
    """Its unit of work is refused before it writes, and leaves no row."""
    lease = taken(await hands.take("a"))
    hands.clock.advance(1000)
    other = taken(await hands.take("b"))
    for each, allowed in ((lease, False), (other, True)):
        try:
            async with hands.databases.unit_of_work(write=True) as work:
                await hold(work, each, TERMS, hands.clock.now)
                await add_pilots(work, [{"PilotJobReference": each.holder, "VO": "lab"}])
        except LeaseLost:
            assert not allowed
    assert await pilots.all() == ["b"]


async def test_nobody_takes_it_from_under_a_unit_of_work(
    hands: Leases, attempt: Callable[[Any], Any]
) -> None:
    """A taker waits for a unit that holds it, and then finds it held; however late the unit is."""
    lease = taken(await hands.take("a"))
    hands.clock.advance(1000)
    async with hands.databases.unit_of_work(write=True) as work:
        await hold(work, lease, TERMS, hands.clock.now)
        taking = asyncio.create_task(attempt(hands.take("b")))
        await asyncio.sleep(0.3)
        assert not taking.done()
    assert await taking is None
    assert (await hands.standing()).holder == "a"
