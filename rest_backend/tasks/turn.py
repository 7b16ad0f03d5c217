"""What a task has in hands while it is done: units of work that write only while its lease is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from rest_backend.operations import Resources
from rest_backend.settings import TaskSettings
from rest_backend.units import reading, writing
from shared_db.connection import UnitOfWork
from shared_db.queries.leases import Lease, Terms, hold
from shared_db.queries.values import chunks
from shared_db.rules import clock

T = TypeVar("T")

# How many jobs, pilots or rows one unit of work changes: others wait for its locks.
BATCH = 500
# Between two batches others have their turn.
PAUSE_SECONDS = 0.05

Change = Callable[[UnitOfWork], Awaitable[int]]


class Stopped(Exception):
    """The program ends, between two batches: who takes the lease next goes on."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One doing of a task, under a lease.  ``stopping`` is set when the program ends."""

    resources: Resources
    lease: Lease
    terms: Terms
    stopping: asyncio.Event
    pause_seconds: float = PAUSE_SECONDS
    # A unit of the task and the one that holds on to the lease want the same row.
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def settings(self) -> TaskSettings:
        """What the administrator decided about tasks."""
        return self.resources.settings.tasks

    @asynccontextmanager
    async def unit_of_work(self, *, write: bool = False) -> AsyncIterator[UnitOfWork]:
        """A unit of work of the task; one that writes holds the lease, and raises LeaseLost without it."""
        async with self._one, self.resources.databases.unit_of_work(write=write) as work:
            if write:
                await hold(work, self.lease, self.terms, clock.utc_now())
            yield work

    async def reading(self, look: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """What is found in a unit of work of its own."""
        return await reading(self, look)

    async def writing(self, change: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """What comes of a change in a unit of work of its own.  Raises LeaseLost."""
        return await writing(self, change)

    async def rest(self) -> None:
        """Let others have their turn.  Raises Stopped."""
        if not self.stopping.is_set():
            await asyncio.sleep(self.pause_seconds)
        if self.stopping.is_set():
            raise Stopped

    async def in_batches(
        self, ids: Iterable[int], change: Callable[[UnitOfWork, list[int]], Awaitable[int]]
    ) -> int:
        """Change some rows at a time; returns how many in all.  Raises Stopped, LeaseLost."""
        done = 0
        for chunk in chunks(ids, BATCH):

            async def one(work: UnitOfWork, chunk: list[int] = chunk) -> int:
                return await change(work, chunk)

            done += await self.writing(one)
            await self.rest()
        return done

    async def until_none(self, change: Change) -> int:
        """Repeat a change of some rows until it finds none; returns how many there were in all.

        Raises Stopped, LeaseLost.
        """
        done = 0
        while some := await self.writing(change):
            done += some
            await self.rest()
        return done

    async def held(self) -> None:
        """Hold on to the lease, for as long as this is awaited.  Raises LeaseLost, DataError."""
        while True:
            await asyncio.sleep(self.terms.lasting.total_seconds() / 3)
            async with self.unit_of_work(write=True):
                pass
