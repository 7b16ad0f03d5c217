"""Tasks on jobs and their task queues: what agents of DIRAC do (rules in :mod:`shared_db.rules.stalling`)."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

from rest_backend.tasks.turn import BATCH, Turn
from shared_db.connection import UnitOfWork
from shared_db.queries.descriptions import rebuilding
from shared_db.queries.optimisation import optimise
from shared_db.queries.stuck_jobs import (
    delete_ended,
    fail_stalled,
    fail_unconfirmed,
    mark_stalled,
    optimise_again,
    remove_deleted,
    silent_jobs,
    start_anew,
)
from shared_db.queries.task_queues import remove_empty_queues, set_all_priorities
from shared_db.rules import clock
from shared_db.rules.site import Options, site_jobs
from shared_db.rules.stalling import REPORTING

# DIRAC's own, where the configuration has none.
PRODUCTION_TYPES = ("MCSimulation", "Merge")

logger = logging.getLogger(__name__)


async def mark_stalled_jobs(turn: Turn) -> int:
    """Jobs that ought to report and do not are Stalled."""
    patience = turn.settings.patience.stalled
    before = clock.utc_now() - patience
    ids = await turn.reading(lambda work: silent_jobs(work, REPORTING, before, heartbeats=True))
    return await turn.in_batches(ids, lambda work, some: mark_stalled(work, some, patience))


async def fail_stalled_jobs(turn: Turn) -> int:
    """Stalled jobs whose pilots are gone, or which stay silent, are Failed and told to stop."""
    patience = turn.settings.patience.failed
    now = clock.utc_now()
    ids = await turn.reading(lambda work: silent_jobs(work, ("Stalled",), now))
    return await turn.in_batches(ids, lambda work, some: fail_stalled(work, some, patience))


async def fail_unconfirmed_jobs(turn: Turn) -> int:
    """Members of parametric jobs that nobody confirms are Failed."""
    patience = turn.settings.patience.submitting
    before = clock.utc_now() - patience
    ids = await turn.reading(lambda work: silent_jobs(work, ("Submitting",), before))
    return await turn.in_batches(ids, lambda work, some: fail_unconfirmed(work, some, patience))


async def reschedule_stuck_jobs(turn: Turn) -> int:
    """Jobs that a pilot took and that never began start anew, and so do those that were left Rescheduled."""
    patience = turn.settings.patience
    matched = await _reschedule(turn, "Matched", patience.matched)
    return matched + await _reschedule(turn, "Rescheduled", patience.rescheduled)


async def _reschedule(turn: Turn, status: str, patience: timedelta) -> int:
    resources = turn.resources
    limit = site_jobs(resources.cfg(), "").max_rescheduling
    before = clock.utc_now() - patience

    async def again(work: UnitOfWork, some: list[int]) -> int:
        rebuild = rebuilding(work, resources.cfg(), resources.registry())
        outcome = await start_anew(work, some, status, patience, rebuild, limit)
        if outcome.refused:
            logger.warning("jobs that cannot start anew for their JDL: %s", sorted(outcome.refused))
        if resources.settings.jobs.optimise:
            await optimise(work, list(outcome.jobs), resources.registry())
        return len(outcome.jobs) + len(outcome.exhausted)

    ids = await turn.reading(lambda work: silent_jobs(work, (status,), before))
    return await turn.in_batches(ids, again)


async def optimise_stuck_jobs(turn: Turn) -> int:
    """Jobs that were left on their way to Waiting go on; nothing where DIRAC's own optimisers run."""
    resources, patience = turn.resources, turn.settings.patience.received
    if not resources.settings.jobs.optimise:
        return 0
    before = clock.utc_now() - patience
    ids = await turn.reading(lambda work: silent_jobs(work, ("Received", "Checking"), before))
    registry = resources.registry()
    return await turn.in_batches(ids, lambda work, some: optimise_again(work, some, patience, registry))


async def delete_ended_jobs(turn: Turn) -> int:
    """Jobs that ended days ago are Deleted; those of productions are for their own system to delete."""
    kept_types = frozenset(
        Options(turn.resources.cfg(), "").listed("Transformations/DataProcessing") or PRODUCTION_TYPES
    )
    done = 0
    for status, keeping in turn.settings.keeping.ended.items():
        done += await _delete(turn, status, keeping, kept_types)
    return done


async def _delete(turn: Turn, status: str, keeping: timedelta, kept_types: Collection[str]) -> int:
    before = clock.utc_now() - keeping
    ids = await turn.reading(lambda work: silent_jobs(work, (status,), before, but_types=kept_types))
    return await turn.in_batches(
        ids, lambda work, some: delete_ended(work, some, status, keeping, kept_types)
    )


async def remove_deleted_jobs(turn: Turn) -> int:
    """Deleted jobs are removed for good; their sandboxes belong to nobody from then on."""
    keeping = turn.settings.keeping.deleted
    before = clock.utc_now() - keeping
    ids = await turn.reading(lambda work: silent_jobs(work, ("Deleted",), before))
    return await turn.in_batches(ids, lambda work, some: remove_deleted(work, some, keeping))


async def clean_task_queues(turn: Turn) -> int:
    """Task queues without jobs are removed."""
    registry = turn.resources.registry()
    return await turn.until_none(lambda work: remove_empty_queues(work, registry, most=BATCH))


async def share_priorities(turn: Turn) -> int:
    """What groups have is shared out anew among their task queues."""
    registry = turn.resources.registry()
    await turn.writing(lambda work: set_all_priorities(work, registry))
    return 0
