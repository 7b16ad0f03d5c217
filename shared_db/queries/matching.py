"""Matching: a pilot gets one of the waiting jobs that it fits, and nobody else gets the same.

Looking for queues takes no locks.  A job is taken by locking its row in Jobs, passing over those that
somebody else has locked, and then deleting its row in tq_Jobs; jobs come before queues here as everywhere, so
that two who want the same wait and do not deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache
from random import Random, SystemRandom
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Executable,
    Select,
    Table,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.sql.expression import BindParameter

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.errors import Conflict, Interrupted
from shared_db.queries.jdls import current_jdls
from shared_db.queries.jobs import leave_task_queue
from shared_db.queries.parameters import optimizer_parameters
from shared_db.queries.statuses import log
from shared_db.queries.values import check_values
from shared_db.rules import clock
from shared_db.rules.jdl.storage import extracted
from shared_db.rules.job_states import UNKNOWN
from shared_db.rules.matching import (
    ASSIGNED,
    LEVELS,
    LIMITED,
    MATCHED,
    MATCHER,
    RUNNING_STATES,
    Excluded,
    Offer,
    SiteLimits,
    excluded,
    in_order_of_chance,
    levels_in_order_of_chance,
)
from shared_db.rules.status_updates import log_record
from shared_db.rules.task_queues import FIRST
from shared_db.schema.job_db import JOB_DB, Jobs
from shared_db.schema.task_queue_db import (
    TASK_QUEUE_DB,
    tq_Jobs,
    tq_RAM_requirements,
    tq_TaskQueues,
    tq_TQToBannedSites,
    tq_TQToGridCEs,
    tq_TQToJobTypes,
    tq_TQToPlatforms,
    tq_TQToSites,
    tq_TQToTags,
)
from shared_db.schema.wherry_db import WHERRY_DB, matching_holds

# So many jobs are looked at together; PostgreSQL reads all jobs between the first and the last of them.
_BATCH = 8
# States of which a job does not come back to its queue by itself: a row that somebody left behind.
_GONE = ("Matched", "Running", "Stalled", "Completing", "Completed", "Done", "Failed", "Killed", "Deleted")
_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class Match:
    """A job that a pilot got: whose it is, its current JDL and what optimisers noted about it."""

    job_id: int
    owner: str
    owner_group: str
    vo: str
    jdl: str
    parameters: Mapping[str, str]


async def matching_queues(
    work: UnitOfWork, offer: Offer, without: Excluded | None = None
) -> dict[int, float]:
    """The queues whose jobs a pilot may have, with their priorities; those that have no jobs are left out."""
    given = {part: values for part, values in _given(offer, without or {}).items() if values is not None}
    if not work.has(tq_RAM_requirements):
        given.pop("max_ram", None)
    rows = await work.rows(TASK_QUEUE_DB, _fitting(tuple(given)), _bound(given))
    return {row.TQId: row.Priority for row in rows}


def _given(offer: Offer, without: Excluded) -> dict[str, Any]:
    """What restricts the choice of queues, by parameter; None: nothing."""
    return {
        "job_id": offer.job_id,
        "cpu_time": offer.cpu_time,
        "site": offer.site or None,
        "sites": offer.sites,
        "grid_ces": offer.grid_ces,
        "platforms": offer.platforms,
        "only_job_types" if offer.only_job_types else "job_types": offer.job_types,
        "tags": offer.tags,
        "required_tags": offer.required_tags or None,
        "owners": offer.owners,
        "owner_groups": offer.owner_groups,
        "max_ram": offer.max_ram,
        **{f"without_{column}": sorted(without[column]) for column in LIMITED if column in without},
    }


def _bound(given: Mapping[str, Any]) -> dict[str, Any]:
    bound = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    # As many of a queue's tags must be among the required ones.
    counted = {"required_tags": "required", "sites": "number_of_sites"}
    return bound | {counted[name]: len(given[name]) for name in counted if name in given}


@lru_cache(256)
def _fitting(parts: tuple[str, ...]) -> Select[Any]:
    """The statement that finds queues under certain restrictions."""
    c = tq_TaskQueues.c
    # Looked up queue by queue: of EXISTS the servers make a join that reads the rows of all waiting jobs.
    first = (
        select(tq_Jobs.c.JobId)
        .where(tq_Jobs.c.TQId == c.TQId)
        .order_by(tq_Jobs.c.Priority, tq_Jobs.c.JobId)
        .limit(1)
    )
    conditions = [_condition(part) for part in parts]
    return select(c.TQId, c.Priority).where(c.Enabled >= 1, first.scalar_subquery().is_not(None), *conditions)


def _condition(part: str) -> ColumnElement[bool]:
    return _CONDITIONS[part]()


def _at_site() -> ColumnElement[bool]:
    site: BindParameter[str] = bindparam("site")
    wanted = _accepts(tq_TQToSites, tq_TQToSites.c.Value == site)
    return and_(wanted, ~_has(tq_TQToBannedSites, tq_TQToBannedSites.c.Value == site))


def _at_sites() -> ColumnElement[bool]:
    """At one of several sites, and not all of them are banned."""
    banned = tq_TQToBannedSites.c
    count = select(func.count()).where(
        banned.TQId == tq_TaskQueues.c.TQId, banned.Value.in_(_several("sites"))
    )
    return and_(_offered(tq_TQToSites, "sites"), count.scalar_subquery() < bindparam("number_of_sites"))


def _offered(table: Table, part: str) -> ColumnElement[bool]:
    return _accepts(table, table.c.Value.in_(_several(part)))


def _with_required_tags() -> ColumnElement[bool]:
    tags = tq_TQToTags.c
    found = select(func.count()).where(
        tags.TQId == tq_TaskQueues.c.TQId, tags.Value.in_(_several("required_tags"))
    )
    return found.scalar_subquery() == bindparam("required")


# By the parameter that holds what the pilot offers, or what is kept from it.
_CONDITIONS: Mapping[str, Callable[[], ColumnElement[bool]]] = {
    "cpu_time": lambda: tq_TaskQueues.c.CPUTime <= bindparam("cpu_time"),
    "site": _at_site,
    "sites": _at_sites,
    "grid_ces": lambda: _offered(tq_TQToGridCEs, "grid_ces"),
    "platforms": lambda: _offered(tq_TQToPlatforms, "platforms"),
    "job_types": lambda: _offered(tq_TQToJobTypes, "job_types"),
    "only_job_types": lambda: _has(tq_TQToJobTypes, tq_TQToJobTypes.c.Value.in_(_several("only_job_types"))),
    "tags": lambda: ~_has(tq_TQToTags, tq_TQToTags.c.Value.not_in(_several("tags"))),
    "required_tags": _with_required_tags,
    "owners": lambda: tq_TaskQueues.c.Owner.in_(_several("owners")),
    "owner_groups": lambda: tq_TaskQueues.c.OwnerGroup.in_(_several("owner_groups")),
    "max_ram": lambda: ~_has(tq_RAM_requirements, tq_RAM_requirements.c.MinRAM > bindparam("max_ram")),
    "job_id": lambda: _has(tq_Jobs, tq_Jobs.c.JobId == bindparam("job_id")),
    "without_JobType": lambda: (
        ~_has(tq_TQToJobTypes, tq_TQToJobTypes.c.Value.in_(_several("without_JobType")))
    ),
    "without_Owner": lambda: tq_TaskQueues.c.Owner.not_in(_several("without_Owner")),
    "without_OwnerGroup": lambda: tq_TaskQueues.c.OwnerGroup.not_in(_several("without_OwnerGroup")),
}


def _several(name: str) -> BindParameter[Any]:
    return bindparam(name, expanding=True)


def _has(table: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.TQId == tq_TaskQueues.c.TQId, condition)


def _accepts(table: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Queues that ask for nothing of this kind, or for something that is offered."""
    return or_(~exists().where(table.c.TQId == tq_TaskQueues.c.TQId), _has(table, condition))


async def excluded_at(work: UnitOfWork, site: str, limits: SiteLimits) -> Excluded:
    """The kinds of jobs that a site cannot have at present, for the limits that it has."""
    running: dict[str, dict[str, int]] = {}
    for name in limits.running:
        rows = await work.rows(JOB_DB, _running(Jobs.c[name]), {"site": site, "states": list(RUNNING_STATES)})
        running[name] = {row[0]: row[1] for row in rows}
    delayed: dict[str, list[str]] = {}
    if limits.delays:
        rows = await work.rows(WHERRY_DB, _delayed(), {"site": site, "now": clock.utc_now()})
        for row in rows:
            delayed.setdefault(row.attribute, []).append(row.value)
    return excluded(limits, running, delayed)


@cache
def _running(column: Column[Any]) -> Select[Any]:
    c = Jobs.c
    return (
        select(column, func.count())
        .where(c.Site == bindparam("site"), c.Status.in_(bindparam("states", expanding=True)))
        .group_by(column)
    )


@cache
def _delayed() -> Select[Any]:
    c = matching_holds.c
    return select(c.attribute, c.value).where(
        c.site == bindparam("site"), c.attribute != "", c.until > bindparam("now")
    )


async def match_job(
    work: UnitOfWork,
    offer: Offer,
    limits: SiteLimits | None = None,
    queues: Mapping[int, float] | None = None,
    random: Random = _RANDOM,
) -> Match | None:
    """Take a job for a pilot: it is Matched, at the pilot's site, and out of its queue; None if none fits.

    The unit of work must write.  A job that somebody else takes or changes at the moment is passed over.
    ``queues``: what ``matching_queues`` found a moment ago; they are looked for anew where there are limits.
    """
    if limits:
        await _hold_site(work, offer.site)
        queues = await matching_queues(work, offer, await excluded_at(work, offer.site, limits))
    elif queues is None:
        queues = await matching_queues(work, offer)
    for queue_id in in_order_of_chance(queues, random):
        job = await _take(work, queue_id, offer.job_id, random)
        if job is not None:
            if limits and limits.delays:
                await _delay(work, offer.site, job, limits)
            return await _matched(work, job, offer.site)
    return None


async def _hold_site(work: UnitOfWork, site: str) -> None:
    """Let one pilot at a time choose for a site: what it may have depends on what others got."""
    c = matching_holds.c
    statement = select(c.until).where(c.site == site, c.attribute == "", c.value == "").with_for_update()
    if await work.rows(WHERRY_DB, statement):
        return
    row = {"site": site, "attribute": "", "value": "", "until": clock.utc_now()}
    try:
        await work.change(WHERRY_DB, matching_holds.insert(), row)
    except Conflict as error:
        raise Interrupted(f"somebody else makes the row of site {site} at this moment") from error


async def _take(work: UnitOfWork, queue_id: int, job_id: int | None, random: Random) -> AnyRow | None:
    """A job of a queue, out of the queue and locked; None when there is none left for us."""
    if job_id is not None:
        return await _take_one_of(work, [job_id])
    rows = await work.rows(TASK_QUEUE_DB, _levels(), {"queue": queue_id})
    levels = [level for level, there in zip(LEVELS, rows[0], strict=True) if there]
    for level in levels_in_order_of_chance(levels, random):
        last = 0
        while True:
            bound = {"queue": queue_id, "level": level, "last": last, "most": _BATCH}
            found = await work.rows(TASK_QUEUE_DB, _oldest(at_least=level == FIRST), bound)
            if not found:
                break
            job_ids = [row[0] for row in found]
            if (job := await _take_one_of(work, job_ids)) is not None:
                return job
            last = job_ids[-1]
    return None


@cache
def _levels() -> Executable:
    """Whether a queue has jobs of each priority."""
    c = tq_Jobs.c
    return select(
        *[
            exists()
            .where(c.TQId == bindparam("queue"), _of_level(level, at_least=level == FIRST))
            .label(f"level_{level}")
            for level in LEVELS
        ]
    )


def _of_level(level: int | BindParameter[int], *, at_least: bool) -> ColumnElement[bool]:
    priority: ColumnElement[int] = tq_Jobs.c.Priority
    return priority >= level if at_least else priority == level


@cache
def _oldest(*, at_least: bool) -> Select[Any]:
    c = tq_Jobs.c
    return (
        select(c.JobId)
        .where(
            c.TQId == bindparam("queue"),
            _of_level(bindparam("level"), at_least=at_least),
            c.JobId > bindparam("last"),
        )
        .order_by(c.JobId)
        .limit(bindparam("most"))
    )


async def _take_one_of(work: UnitOfWork, job_ids: Sequence[int]) -> AnyRow | None:
    left = list(job_ids)
    while left:
        rows = await work.rows(JOB_DB, _free(), {"ids": left, "low": left[0], "high": left[-1]})
        if not rows:
            await _clear(work, left)
            return None
        job = rows[0]
        if await work.change(TASK_QUEUE_DB, _leaving(), {"job_id": job.JobID}):
            return job
        # A Matcher of DIRAC's beside us, which takes its queue's row first, was faster.
        left.remove(job.JobID)
    return None


@cache
def _free() -> Select[Any]:
    """The oldest of some jobs that waits and that nobody has locked."""
    c = Jobs.c
    return (
        select(c.JobID, c.Owner, c.OwnerGroup, c.VO, c.JobType)
        .where(
            c.JobID.in_(bindparam("ids", expanding=True)),
            # For the order PostgreSQL would read the key from its beginning.
            c.JobID.between(bindparam("low"), bindparam("high")),
            c.Status == "Waiting",
        )
        .order_by(c.JobID)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


@cache
def _leaving() -> Delete:
    return tq_Jobs.delete().where(tq_Jobs.c.JobId == bindparam("job_id"))


async def _clear(work: UnitOfWork, job_ids: Sequence[int]) -> None:
    """Take jobs out of the queues that have left Waiting for good; those that are only locked stay."""
    rows = await work.rows(JOB_DB, _gone(), {"ids": list(job_ids), "states": list(_GONE)})
    if rows:
        await leave_task_queue(work, [row[0] for row in rows])


@cache
def _gone() -> Select[Any]:
    c = Jobs.c
    return (
        select(c.JobID)
        .where(
            c.JobID.in_(bindparam("ids", expanding=True)), c.Status.in_(bindparam("states", expanding=True))
        )
        .order_by(c.JobID)
        .with_for_update(skip_locked=True)
    )


async def _delay(work: UnitOfWork, site: str, job: AnyRow, limits: SiteLimits) -> None:
    """Keep jobs like this one from the site for a while; the site is held by the caller."""
    now = clock.utc_now()
    c = matching_holds.c
    for name, delays in limits.delays.items():
        value = getattr(job, name)
        if value in delays:
            row = {
                "site": site,
                "attribute": name,
                "value": value,
                "until": now + timedelta(seconds=delays[value]),
            }
            await work.change(
                WHERRY_DB,
                matching_holds.delete().where(c.site == site, c.attribute == name, c.value == value),
            )
            await work.change(WHERRY_DB, matching_holds.insert(), row)


async def _matched(work: UnitOfWork, job: AnyRow, site: str) -> Match:
    now = clock.utc_now()
    texts = {"status": MATCHED, "minor_status": ASSIGNED, "application_status": UNKNOWN}
    change = {
        "Status": MATCHED,
        "MinorStatus": ASSIGNED,
        "ApplicationStatus": UNKNOWN,
        "Site": site,
        "LastUpdateTime": clock.to_column(now),
    }
    check_values(Jobs, [change])
    # One row by its key: PostgreSQL would read all jobs for the join of update_jobs.
    await work.change(JOB_DB, Jobs.update().where(Jobs.c.JobID == job.JobID).values(change))
    await log(work, [log_record(job.JobID, now, **texts, source=MATCHER)])
    jdls = await current_jdls(work, [job.JobID])
    parameters = await optimizer_parameters(work, [job.JobID])
    return Match(
        job.JobID,
        job.Owner,
        job.OwnerGroup,
        job.VO,
        extracted(jdls.get(job.JobID, "")),
        parameters.get(job.JobID, {}),
    )
