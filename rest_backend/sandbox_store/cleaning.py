"""Sandboxes that nobody needs any more leave: their rows and their files (0012)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from rest_backend.sandbox_store.store import SandboxStore
from rest_backend.units import Units
from shared_db.connection import UnitOfWork, again
from shared_db.queries.sandbox_cleaning import (
    Claimed,
    Unneeded,
    claim_sandboxes,
    claimed_sandboxes,
    forget_sandboxes,
    registered_again,
)
from shared_db.rules import clock

T = TypeVar("T")

BATCH = 500
# A file that is younger was uploaded anew; no upload takes longer, and no two clocks differ more.
SETTLED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Grace:
    """How long sandboxes stay after their last use.

    ``unassigned``: of those that no job has; DIRAC's and DiracX's 15 days.  ``unmapped``: of those whose jobs
    were removed; DIRAC's is 0 days, which would take a sandbox from under a client that was just told that it
    is there already.
    """

    unassigned: timedelta = timedelta(days=15)
    unmapped: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a run did: sandboxes that are gone, and halves of uploads."""

    sandboxes: int
    uploads: int


async def clean_sandboxes(
    databases: Units,
    store: SandboxStore,
    storage_element: str,
    grace: Grace = Grace(),
    batch: int = BATCH,
) -> Cleaned:
    """Remove sandboxes that nobody needs, ``batch`` at a time, and what is left of uploads.

    To be run by one host at a time.  What a run leaves behind when it breaks off is the next one's work.
    Raises DataError, StoreUnavailable.
    """
    now = clock.utc_now()
    run = _Run(databases, store, storage_element, now - SETTLED, batch)
    unneeded = Unneeded(storage_element, f"/S3/{store.bucket}/", now - grace.unassigned, now - grace.unmapped)
    uploads = await store.tidy(now - SETTLED)
    return Cleaned(await run.finish() + await run.remove(unneeded), uploads)


@dataclass(frozen=True, slots=True)
class _Run:
    databases: Units
    store: SandboxStore
    storage_element: str
    settled: datetime
    batch: int

    async def finish(self) -> int:
        """Go on with what earlier runs claimed."""
        gone, after = 0, 0
        while claimed := await self._claimed(after):
            gone += await self._remove(claimed)
            after = claimed[-1].sandbox_id
        return gone

    async def remove(self, unneeded: Unneeded) -> int:
        """Claim and remove what may go."""
        gone = 0
        after, claimed = await self._claim(unneeded, 0)
        while after:
            gone += await self._remove(claimed)
            after, claimed = await self._claim(unneeded, after)
        return gone

    async def _claimed(self, after: int) -> list[Claimed]:
        return await self._reading(
            lambda work: claimed_sandboxes(work, self.storage_element, after=after, most=self.batch)
        )

    async def _claim(self, unneeded: Unneeded, after: int) -> tuple[int, list[Claimed]]:
        return await self._writing(lambda work: claim_sandboxes(work, unneeded, after=after, most=self.batch))

    async def _remove(self, claimed: Sequence[Claimed]) -> int:
        if not claimed:
            return 0
        anew = await self._reading(lambda work: registered_again(work, self.storage_element, claimed))
        files = [each.name for each in claimed if each.name not in anew]
        done = anew | await self.store.delete(files, self.settled)
        gone = [each for each in claimed if each.name in done]
        await self._writing(lambda work: forget_sandboxes(work, gone))
        return len(gone)

    async def _reading(self, query: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with self.databases.unit_of_work() as work:
                return await query(work)

        return await again(attempt)

    async def _writing(self, query: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with self.databases.unit_of_work(write=True) as work:
                return await query(work)

        return await again(attempt)
