"""Does the periodic tasks: every worker of every host runs this, and leases decide who does what.

Each task has a lease, which says too when it is due next (:mod:`shared_db.queries.leases`).  Whoever finds it
due and free takes it, does the task, and gives it up until it is due again.  Of one who was killed it is free
when its time is over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from rest_backend.operations import Resources
from rest_backend.tasks.table import TASKS, Task
from rest_backend.tasks.turn import Stopped, Turn
from rest_backend.units import reading, writing
from shared_db.administration import is_home
from shared_db.errors import DataError
from shared_db.queries.leases import Lease, LeaseLost, give_up, standings, take
from shared_db.rules import clock

logger = logging.getLogger(__name__)

# What became of a task; `lost` is one whose lease passed to another, `stopped` one that a shutdown broke off.
DONE, FAILED, LOST, STOPPED = "done", "failed", "lost", "stopped"
# A task that failed is tried again so soon, or when it is due if that is sooner.
AGAIN = timedelta(minutes=5)


class TaskObserver:
    """Is told of every task that was done; this one does nothing."""

    def finished(self, task: str, outcome: str, seconds: float, items: int) -> None:
        """``items``: of how many rows or files; 0 unless the outcome is ``done``."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often leases are looked at, and how much a worker does at a time; in seconds.

    ``first``: until they are looked at first.  ``grace``: what a shutdown leaves a task to end its batch.
    """

    first: float = 5.0
    poll: float = 5.0
    grace: float = 5.0
    at_once: int = 2


class TaskRunner:
    """One worker's part in the periodic tasks."""

    def __init__(
        self,
        resources: Resources,
        observer: TaskObserver | None = None,
        tasks: Sequence[Task] = TASKS,
        pace: Pace = Pace(),
    ) -> None:
        self._resources = resources
        self._observer = observer or TaskObserver()
        self._tasks = tasks
        self._pace = pace
        self._terms = resources.settings.tasks.terms
        # One life of one process: who is started anew is somebody else.
        self._holder = f"{socket.gethostname()[:200]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = asyncio.Event()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._on_diracs = resources.settings.tasks.jobs
        self._silent = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tasks are done until the block ends; those at work end their batch."""
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            self._stopping.set()
            await looking
            await self._end_those_at_work()

    async def _look_again_and_again(self) -> None:
        await self._wait(self._pace.first)
        while not self._stopping.is_set():
            try:
                await self.look()
                self._silent = False
            except DataError as error:
                if not self._silent:
                    logger.error("%s: periodic tasks wait until it is there", error)
                self._silent = True
            except Exception:
                logger.exception("unhandled error in periodic tasks")
            await self._wait(self._pace.poll)

    async def _wait(self, seconds: float) -> None:
        """Wait, about so long: workers that started together need not look together."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def look(self) -> None:
        """Begin the tasks that are due and that nobody is at, as many as this worker does at once.

        Raises DataError.
        """
        tasks = {task.lease: task for task in await self._mine()}
        names = list(tasks)
        there = await reading(self._resources.databases, lambda work: standings(work, names))
        now = clock.utc_now()
        for name, task in tasks.items():
            if len(self._at_work) >= self._pace.at_once or self._stopping.is_set():
                return
            standing = there.get(name)
            if name in self._at_work or not (standing is None or standing.open_at(now, self._terms.clocks)):
                continue
            if lease := await self._taken(name):
                at_work = asyncio.create_task(self._do(task, lease))
                self._at_work[name] = at_work
                at_work.add_done_callback(lambda _task, name=name: self._at_work.pop(name))  # type: ignore[misc]

    async def _mine(self) -> list[Task]:
        """The tasks that are to be done on these databases."""
        if self._on_diracs is None:
            self._on_diracs = await is_home(self._resources.databases)
            if not self._on_diracs:
                logger.info("periodic tasks on jobs and pilots are left to DIRAC, which made their tables")
        return [task for task in self._tasks if self._on_diracs or not task.on_diracs]

    async def _taken(self, name: str) -> Lease | None:
        databases = self._resources.databases
        return await writing(
            databases, lambda work: take(work, name, self._holder, self._terms, clock.utc_now())
        )

    async def _do(self, task: Task, lease: Lease) -> None:
        """Do a task, and give its lease up."""
        began = time.perf_counter()
        items, outcome, wait = 0, STOPPED, timedelta(0)
        turn = Turn(self._resources, lease, self._terms, self._stopping)
        try:
            items = await _while_held(turn, task)
            outcome, wait = DONE, task.every
        except LeaseLost as error:
            outcome = LOST
            logger.warning("task %s was left: %s", task.name, error)
        except Stopped:
            logger.info("task %s stops between two batches", task.name)
        except DataError as error:
            outcome, wait = FAILED, min(task.every, AGAIN)
            logger.error("task %s failed: %s", task.name, error)
        except Exception:
            outcome, wait = FAILED, min(task.every, AGAIN)
            logger.exception("unhandled error in task %s", task.name)
        finally:
            self._observer.finished(task.name, outcome, time.perf_counter() - began, items)
            await self._given_up(lease, wait)
        if items:
            fields = {"task": task.name, "items": items}
            logger.info("task", extra={"fields": fields})

    async def _given_up(self, lease: Lease, wait: timedelta) -> None:
        now = clock.utc_now()
        try:
            await writing(self._resources.databases, lambda work: give_up(work, lease, now + wait, now))
        except DataError as error:
            logger.warning("the lease of %s ends by itself: %s", lease.name, error)

    async def _end_those_at_work(self) -> None:
        left = set(self._at_work.values())
        if left:
            _, left = await asyncio.wait(left, timeout=self._pace.grace)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _while_held(turn: Turn, task: Task) -> int:
    """What the task returns, or raises; it is broken off when its lease is lost.  Raises LeaseLost."""
    doing = asyncio.ensure_future(task.run(turn))
    holding = asyncio.create_task(_hold(turn))
    try:
        await asyncio.wait({doing, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            holding.result()  # raises LeaseLost, since nothing else ends it
        return await doing
    finally:
        for each in (doing, holding):
            each.cancel()
        await asyncio.gather(doing, holding, return_exceptions=True)


async def _hold(turn: Turn) -> None:
    """Hold on to the lease until it is lost; while the database cannot be asked, it may last still."""
    while True:
        with suppress(DataError):
            await turn.held()
