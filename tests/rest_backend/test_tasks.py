"""Who does periodic tasks, and when: workers over one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from rest_backend.operations import Resources
from rest_backend.settings import Settings, TaskSettings
from rest_backend.tasks.runner import AGAIN, Pace, TaskObserver, TaskRunner
from rest_backend.tasks.table import TASKS, Task
from rest_backend.tasks.turn import Turn
from shared_db.errors import Unavailable
from shared_db.queries.leases import NOBODY, Standing, Terms, standings, take
from shared_db.queries.pilots import add_pilots
from shared_db.rules import clock
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

PACE = Pace(first=0.01, poll=0.02, grace=2)
# Long enough for a busy machine to hold on to it in time, short enough to wait for its end.
TERMS = Terms(timedelta(seconds=3), timedelta(seconds=0.2))
NEVER = timedelta(days=1)


class Told(TaskObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, str, int]] = []

    def finished(self, task: str, outcome: str, seconds: float, items: int) -> None:
        """Keep it."""
        assert seconds >= 0
        self.tasks.append((task, outcome, items))


class Workers:
    """Workers over a database, with tasks of the test's own."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.told = Told()

    @asynccontextmanager
    async def working(self, *tasks: Task, number: int = 1, pace: Pace = PACE) -> AsyncIterator[None]:
        """So many workers are at work."""
        runners = [TaskRunner(self.resources, self.told, tasks, pace) for _ in range(number)]
        async with _all(runners):
            yield

    async def until_told(self, number: int) -> None:
        """Wait until so many tasks have ended."""
        async with asyncio.timeout(20):
            while len(self.told.tasks) < number:
                await asyncio.sleep(0.01)

    async def standing(self, task: Task) -> Standing:
        """How the lease of a task stands."""
        async with self.resources.databases.unit_of_work() as work:
            return (await standings(work, [task.lease]))[task.lease]

    async def references(self) -> set[str]:
        """The pilots that tasks of this test have written."""
        statement = select(PilotAgents.c.PilotJobReference)
        async with self.resources.databases.unit_of_work() as work:
            rows = await work.rows(PILOT_AGENTS_DB, statement)
        return {row[0] for row in rows if row[0].startswith("task ")}


@asynccontextmanager
async def _all(runners: list[TaskRunner]) -> AsyncIterator[None]:
    if not runners:
        yield
        return
    async with runners[0].running(), _all(runners[1:]):
        yield


@pytest.fixture
def workers(grid: Any) -> Workers:
    """Workers over this test's grid."""
    resources = grid.runner.resources
    return Workers(replace(resources, settings=Settings(tasks=TaskSettings(terms=TERMS))))


async def write(turn: Turn, text: str) -> int:
    """A batch: a pilot of this name is written."""
    row = {"PilotJobReference": f"task {text}", "VO": "demo"}
    await turn.writing(lambda work: add_pilots(work, [row]))
    return 1


async def test_a_task_is_done_when_it_is_due(workers: Workers) -> None:
    """At once when it never was, then after its time; what it did is told."""

    async def run(_turn: Turn) -> int:
        return 7

    task = Task("often", timedelta(seconds=0.3), run)
    before = clock.utc_now()
    async with workers.working(task):
        await workers.until_told(3)
    assert workers.told.tasks[:3] == [("often", "done", 7)] * 3
    assert clock.utc_now() - before > timedelta(seconds=0.5)
    standing = await workers.standing(task)
    assert standing.holder == NOBODY
    assert standing.due_at is not None
    assert standing.due_at > standing.until


async def test_one_worker_at_a_time(workers: Workers) -> None:
    """Five workers, one task that is always due: never two at once, and no worker is in it twice."""
    at_it, most = 0, 0

    async def run(turn: Turn) -> int:
        nonlocal at_it, most
        at_it += 1
        most = max(most, at_it)
        await write(turn, turn.lease.holder)
        await asyncio.sleep(0.05)
        at_it -= 1
        return 1

    async with workers.working(Task("always", timedelta(0), run), number=5):
        await workers.until_told(10)
    assert most == 1
    assert {outcome for _, outcome, _ in workers.told.tasks} <= {"done", "stopped"}
    assert len(await workers.references()) > 1


async def test_a_long_task_keeps_its_lease(workers: Workers) -> None:
    """Longer than the lease lasts, also while it writes nothing."""
    began = 0

    async def run(_turn: Turn) -> int:
        nonlocal began
        began += 1
        await asyncio.sleep(TERMS.lasting.total_seconds() * 1.5)
        return 0

    async with workers.working(Task("long", NEVER, run), number=3):
        await workers.until_told(1)
    assert (began, workers.told.tasks) == (1, [("long", "done", 0)])


@pytest.mark.parametrize("error", [Unavailable("gone"), ValueError("a fault of ours")])
async def test_a_task_that_fails_is_told_and_tried_again(
    workers: Workers, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Sooner than it would be due; other tasks go on."""

    async def fail(_turn: Turn) -> int:
        raise error

    async def run(_turn: Turn) -> int:
        return 1

    failing, other = Task("failing", NEVER, fail), Task("other", timedelta(seconds=0.1), run)
    before = clock.utc_now()
    async with workers.working(failing, other):
        await workers.until_told(4)
    assert workers.told.tasks.count(("failing", "failed", 0)) == 1
    assert "failing" in caplog.text
    assert str(error) in caplog.text
    due = (await workers.standing(failing)).due_at
    assert due is not None
    assert AGAIN <= due - before < AGAIN + timedelta(seconds=20)


async def test_who_slept_through_the_end_of_its_lease_changes_nothing(workers: Workers) -> None:
    """Another one has it by now: the next batch is refused, and the task is left."""
    task: Task

    async def run(turn: Turn) -> int:
        await write(turn, "before")
        later = clock.utc_now() + timedelta(hours=1)
        async with workers.resources.databases.unit_of_work(write=True) as work:
            assert await take(work, task.lease, "another", TERMS, later)
        await write(turn, "after")
        return 2

    task = Task("slow", NEVER, run)
    async with workers.working(task):
        await workers.until_told(1)
    assert workers.told.tasks == [("slow", "lost", 0)]
    assert await workers.references() == {"task before"}
    assert (await workers.standing(task)).holder == "another"


async def test_what_waits_for_others_is_broken_off_when_the_lease_is_lost(workers: Workers) -> None:
    """Whoever holds on to it finds out."""
    task: Task

    async def run(_turn: Turn) -> int:
        later = clock.utc_now() + timedelta(hours=1)
        async with workers.resources.databases.unit_of_work(write=True) as work:
            assert await take(work, task.lease, "another", TERMS, later)
        await asyncio.sleep(60)
        return 1

    task = Task("waiting", NEVER, run)
    async with workers.working(task):
        await workers.until_told(1)
    assert workers.told.tasks == [("waiting", "lost", 0)]


async def test_a_stop_comes_between_two_batches(workers: Workers) -> None:
    """What was begun is written; whoever looks next goes on at once."""
    batches: list[list[int]] = []
    begun = asyncio.Event()

    async def run(turn: Turn) -> int:
        async def batch(work: Any, some: list[int]) -> int:
            begun.set()
            await asyncio.sleep(0.3)
            await add_pilots(work, [{"PilotJobReference": f"task {some[0]}", "VO": "demo"}])
            batches.append(some)
            return len(some)

        return await turn.in_batches(range(5000), batch)

    task = Task("batches", NEVER, run)
    async with workers.working(task):
        await begun.wait()
    assert [len(each) for each in batches] == [500]
    assert await workers.references() == {"task 0"}
    assert workers.told.tasks == [("batches", "stopped", 0)]
    standing = await workers.standing(task)
    assert standing.holder == NOBODY
    assert standing.open_at(clock.utc_now(), TERMS.clocks)


async def test_a_stop_waits_for_nobody_for_ever(workers: Workers) -> None:
    """A task that does not end its batch is broken off, and its lease is free."""
    begun = asyncio.Event()

    async def run(_turn: Turn) -> int:
        begun.set()
        await asyncio.sleep(600)
        return 1

    task = Task("endless", NEVER, run)
    async with asyncio.timeout(10), workers.working(task, pace=replace(PACE, grace=0.1)):
        await begun.wait()
    assert workers.told.tasks == [("endless", "stopped", 0)]
    assert (await workers.standing(task)).holder == NOBODY


@pytest.mark.parametrize(("jobs", "all_of_them"), [(None, True), (True, True), (False, False)])
async def test_tasks_on_dirac_s_tables_can_be_left_out(
    workers: Workers, jobs: bool | None, all_of_them: bool
) -> None:
    """In a home they are done unless the administrator says no; our own are done anyway."""

    async def run(_turn: Turn) -> int:
        return 0

    settings = Settings(tasks=TaskSettings(jobs=jobs, terms=TERMS))
    workers.resources = replace(workers.resources, settings=settings)
    tasks = [replace(task, run=run) for task in TASKS]
    wanted = {task.name for task in tasks if all_of_them or not task.on_diracs}
    async with workers.working(*tasks):
        await workers.until_told(len(wanted))
        await asyncio.sleep(0.1)
    assert {name for name, _, _ in workers.told.tasks} == wanted


async def test_tasks_wait_for_the_database(
    workers: Workers, grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; they are done when it is there."""

    async def run(_turn: Turn) -> int:
        return 0

    away = grid.file.with_suffix(".away")
    grid.file.rename(away)
    async with workers.working(Task("patient", NEVER, run)):
        async with asyncio.timeout(20):
            while "periodic tasks wait" not in caplog.text:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not workers.told.tasks
        away.rename(grid.file)
        await workers.until_told(1)
    assert caplog.text.count("periodic tasks wait") == 1
