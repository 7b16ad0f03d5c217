"""Tasks on pilots: what DIRAC's PilotStatusAgent does, but for asking computing elements."""

from __future__ import annotations

from rest_backend.tasks.turn import BATCH, Turn
from shared_db.connection import UnitOfWork
from shared_db.queries.pilot_removal import remove_old_pilots
from shared_db.queries.silent_pilots import give_up_pilots, silent_pilots
from shared_db.rules import clock


async def give_up_silent_pilots(turn: Turn) -> int:
    """Pilots without news for days, whose jobs have none either, are Deleted."""
    before = clock.utc_now() - turn.settings.pilots.silent
    ids = await turn.reading(lambda work: silent_pilots(work, before))
    return await turn.in_batches(ids, lambda work, some: give_up_pilots(work, some, before))


async def remove_past_pilots(turn: Turn) -> int:
    """Pilots that were submitted weeks ago are removed, with their outputs and logs; aborted ones sooner."""
    now, patience = clock.utc_now(), turn.settings.pilots

    async def old(work: UnitOfWork) -> int:
        return await remove_old_pilots(work, now - patience.removed, most=BATCH)

    async def aborted(work: UnitOfWork) -> int:
        before = now - patience.aborted_removed
        return await remove_old_pilots(work, before, aborted_only=True, most=BATCH)

    return await turn.until_none(old) + await turn.until_none(aborted)
