"""Pilots that go: deleted with all that is kept about them, or told to end."""

from __future__ import annotations

from datetime import timedelta

from rest_backend.errors import RestError
from rest_backend.models.pilots import KilledPilots, PilotDeletion, PilotsToKill
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.pilots import OPERATE_PILOTS
from shared_db.connection import UnitOfWork, again
from shared_db.queries.pilot_jobs import KnownPilot, known_pilots, pilots_of_stamps
from shared_db.queries.pilot_removal import BATCH, remove_old_pilots, remove_pilots
from shared_db.queries.pilots import update_pilots
from shared_db.rules import clock
from shared_db.rules.pilots import killed_by


async def delete_pilots(context: Context, _body: None, query: PilotDeletion) -> Answer:
    """Remove pilots, the outputs and logs kept of them, and which jobs they ran; unknown ones are no error.

    By stamps (every pilot with one of them), by ids, or all that were submitted so many days ago or earlier.
    Those are removed in several steps, each of which stays done.
    """
    stamps = [*query.pilot_stamps, *query.stamps_in_brackets]
    if not stamps and not query.pilot_ids and query.age_in_days is None:
        raise RestError(400, "You must provide either pilot_stamps, pilot_ids or age_in_days")
    if (stamps or query.pilot_ids) and query.age_in_days is not None:
        raise RestError(400, "You must provide either pilots or age_in_days, not both")
    if query.age_in_days is None:
        await _delete_named(context, stamps, query.pilot_ids)
    else:
        await _delete_old(context, query.age_in_days, aborted_only=query.delete_only_aborted)
    return Answer(None, 204)


async def _delete_named(context: Context, stamps: list[str], pilot_ids: list[int]) -> None:
    async def attempt() -> None:
        async with context.resources.databases.unit_of_work(write=True) as work:
            shared = [pilot.pilot_id for pilot in await pilots_of_stamps(work, stamps)]
            await remove_pilots(work, [*pilot_ids, *shared])

    await again(attempt)


async def _delete_old(context: Context, days: int, *, aborted_only: bool) -> None:
    before = clock.utc_now() - timedelta(days=days)

    async def attempt() -> int:
        async with context.resources.databases.unit_of_work(write=True) as work:
            return await remove_old_pilots(work, before, aborted_only=aborted_only)

    # The last batch is the one that is not full.
    while await again(attempt) == BATCH:
        pass


async def kill_pilots(context: Context, given: PilotsToKill, _query: None) -> Answer:
    """Abort pilots: their tokens are refused from now on, and they count as Aborted.

    Their computing elements are not told: the batch job ends when its pilot finds no work, or by the hand of
    whoever may speak to the CE (DIRAC 9's clients do so themselves).
    """
    pilots = await _named(context.work, given)
    ended = [pilot.pilot_id for pilot in pilots if pilot.ended]
    aborted = [pilot.pilot_id for pilot in pilots if not pilot.ended]
    changes = killed_by(context.caller.username or context.caller.subject)
    await update_pilots(context.work, "PilotID", aborted, changes)
    return Answer(KilledPilots(aborted=aborted, ended_before=ended))


async def _named(work: UnitOfWork, given: PilotsToKill) -> list[KnownPilot]:
    """All the pilots, each once.  Raises RestError 404 for the first that is not there."""
    by_id = await known_pilots(work, given.pilot_ids)
    by_stamp = await pilots_of_stamps(work, given.pilot_stamps)
    known_ids, known_stamps = {each.pilot_id for each in by_id}, {each.stamp for each in by_stamp}
    missing = [each for each in given.pilot_ids if each not in known_ids]
    strangers = [each for each in given.pilot_stamps if each not in known_stamps]
    for each in (*missing, *strangers):
        raise RestError(404, f"Failed to get info for pilot {each}")
    pilots = {pilot.pilot_id: pilot for pilot in (*by_id, *by_stamp)}
    return [pilots[pilot_id] for pilot_id in sorted(pilots)]


OPERATIONS = (
    Operation(
        "pilots_delete_pilots",
        "DELETE",
        "/api/pilots/",
        delete_pilots,
        OPERATE_PILOTS,
        parameters=PilotDeletion,
        statuses=(204,),
        errors=(400,),
        writes=True,
        transactional=False,
        extension=True,
    ),
    Operation(
        "pilots_kill_pilots",
        "POST",
        "/api/pilots/kill",
        kill_pilots,
        OPERATE_PILOTS,
        body=PilotsToKill,
        response=KilledPilots,
        errors=(404,),
        writes=True,
        extension=True,
    ),
)
