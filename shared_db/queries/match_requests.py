"""What Matcher's requestJob does from beginning to end: may the site run jobs, and which is the pilot's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from random import Random, SystemRandom
from typing import Any

from sqlalchemy import Select, bindparam, select

from shared_db.cfg import CfgSection
from shared_db.connection import Databases, UnitOfWork, again
from shared_db.queries.matching import Match, excluded_at, match_job, matching_queues
from shared_db.queries.pilots import update_pilots
from shared_db.queries.site_mask import may_run_jobs
from shared_db.queries.task_queues import TaskQueue, task_queues
from shared_db.rules import clock
from shared_db.rules.matching import TEST, Offer, Wanted, site_limits
from shared_db.rules.pilots import REASON_NOT_GIVEN
from shared_db.rules.resources import Resource, offer_of
from shared_db.rules.site import site_jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents

_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class Pilot:
    """Who asks: every pilot with this reference, or with this stamp; '' for both: nobody that is known.

    ``vo``: the pilot must be of it, '' where that is not asked.  ``reported``: what follows is known already.
    """

    reference: str = ""
    stamp: str = ""
    vo: str = ""
    ce: str = ""
    queue: str = ""
    benchmark: float | None = None
    reported: bool = False


async def request_job(
    databases: Databases,
    offer: Offer,
    pilot: Pilot,
    vo: str,
    cfg: CfgSection,
    random: Random = _RANDOM,
) -> Match | None:
    """A job for a pilot that asks for one of a VO; None when there is none for it.

    Looks first and writes only when there is something to take, since most pilots ask in vain.  A site that
    may not run jobs gets those of type Test only.
    """
    limits = site_limits(cfg, vo, offer.site, pilot.ce)
    async with databases.unit_of_work() as work:
        offer = await as_far_as_the_site_may(work, offer, vo, cfg)
        queues = await matching_queues(work, offer)
        if not queues:
            return None

    async def take() -> Match | None:
        async with databases.unit_of_work(write=True) as work:
            match = await match_job(work, offer, limits, queues, random)
            if match is not None:
                await _note(work, match.job_id, offer.site, pilot)
            return match

    return await again(take)


async def as_far_as_the_site_may(work: UnitOfWork, offer: Offer, vo: str, cfg: CfgSection) -> Offer:
    """The offer, for jobs of type Test only where the site may not run others."""
    if await may_run_jobs(work, vo, offer.site, site_jobs(cfg, vo).description.sites):
        return offer
    return replace(offer, job_types=(TEST,), only_job_types=True)


async def queues_for(
    work: UnitOfWork, resource: Resource, allowed: Wanted | None, vo: str, cfg: CfgSection
) -> list[TaskQueue]:
    """The queues in which a resource would find jobs at this moment.

    ``allowed``: of these owners and groups, as far as the site may run their jobs; None: of everybody, and
    whether the site may is not asked, as DIRAC's getMatchingTaskQueues shows them.
    """
    if allowed is None:
        offer = offer_of(resource, resource.wanted)
    else:
        offer = await as_far_as_the_site_may(work, offer_of(resource, allowed), vo, cfg)
    without = None
    if resource.site:
        limits = site_limits(cfg, vo, resource.site, resource.ce)
        without = await excluded_at(work, resource.site, limits)
    return await task_queues(work, await matching_queues(work, offer, without))


async def _note(work: UnitOfWork, job_id: int, site: str, pilot: Pilot) -> None:
    """Note at the pilot which job it runs, and what it said of itself if it is its first."""
    pilot_ids = await _pilots(work, pilot)
    if not pilot_ids:
        return
    values: dict[str, Any] = {"CurrentJobID": job_id}
    if not pilot.reported:
        values |= {"Status": "Running", "GridSite": site, "StatusReason": REASON_NOT_GIVEN}
        said: Mapping[str, Any] = {
            "DestinationSite": pilot.ce,
            "Queue": pilot.queue,
            "BenchMark": pilot.benchmark,
        }
        values |= {name: value for name, value in said.items() if value}
    await update_pilots(work, "PilotID", pilot_ids, values)
    now = clock.to_column(clock.utc_now())
    rows = [{"PilotID": pilot_id, "JobID": job_id, "StartTime": now} for pilot_id in pilot_ids]
    await work.change(PILOT_AGENTS_DB, JobToPilotMapping.insert(), rows)


async def _pilots(work: UnitOfWork, pilot: Pilot) -> list[int]:
    name, value = ("PilotStamp", pilot.stamp) if pilot.stamp else ("PilotJobReference", pilot.reference)
    if not value:
        return []
    rows = await work.rows(PILOT_AGENTS_DB, _named(name), {"value": value})
    return [row.PilotID for row in rows if not pilot.vo or pilot.vo == row.VO]


@cache
def _named(name: str) -> Select[Any]:
    c = PilotAgents.c
    statement = select(c.PilotID, c.VO).where(c[name] == bindparam("value")).order_by(c.PilotID)
    return statement.with_for_update()
