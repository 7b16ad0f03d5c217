"""The site mask: which sites may run jobs, who said so, and why.

Two things speak of sites: DIRAC's mask (tables of 7.3 and 8.0, which we make where we make the tables) and
the states that DIRAC 9's ResourceStatusSystem keeps.  The mask, which people set, goes before the states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.errors import Foreign
from shared_db.queries.resource_status import EVERY_VO
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import check_values
from shared_db.rules import clock
from shared_db.rules.site_mask import ACTIVE, BANNED
from shared_db.schema.job_db import JOB_DB, SiteMask, SiteMaskLogging
from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB, SiteStatus

# What ResourceStatusSystem says of a site that may run jobs.
_USABLE = frozenset({ACTIVE, "Degraded"})


@dataclass(frozen=True, slots=True)
class Masked:
    """What the mask says of a site; ``moment`` (aware) is when somebody said it."""

    site: str
    status: str
    author: str
    comment: str
    moment: datetime


async def site_mask(work: UnitOfWork, sites: Iterable[str] | None = None) -> dict[str, Masked]:
    """What the mask says, by site: of all sites that it names, or of some."""
    if not work.has(SiteMask):
        return {}
    c = SiteMask.c
    columns = [c.Site, c.Status, c.Author, c.Comment, c.LastUpdateTime]
    if sites is None:
        rows = await work.rows(JOB_DB, _whole())
    else:
        rows = await find_by_ids(work, columns, c.Site, sites)
    return {row[0]: _masked(row) for row in rows}


@cache
def _whole() -> Select[Any]:
    c = SiteMask.c
    return select(c.Site, c.Status, c.Author, c.Comment, c.LastUpdateTime).order_by(c.Site)


def _masked(row: Any) -> Masked:
    site, status, author, comment, moment = row
    return Masked(site, status, author, comment, clock.from_column(moment) or clock.utc_now())


async def site_history(work: UnitOfWork, sites: Iterable[str] | None = None) -> dict[str, list[Masked]]:
    """All that was ever said of sites, oldest first; of all, or of some."""
    if not work.has(SiteMaskLogging):
        return {}
    c = SiteMaskLogging.c
    columns = [c.Site, c.Status, c.Author, c.Comment, c.UpdateTime]
    if sites is None:
        rows = await work.rows(JOB_DB, select(*columns).order_by(c.Site, c.UpdateTime))
    else:
        rows = await find_by_ids(work, columns, c.Site, sites)
    history: dict[str, list[Masked]] = {}
    for row in rows:
        history.setdefault(row[0], []).append(_masked(row))
    return history


async def allowed_sites(work: UnitOfWork, vo: str, known: Collection[str] | None) -> list[str]:
    """Sites that may run jobs of a VO, by name: of those that anything is said of, and of the ``known`` ones.

    ``known``: the sites of the configuration, None where it has none.
    """
    mask = {site: each.status == ACTIVE for site, each in (await site_mask(work)).items()}
    states = await _states(work, vo, None)
    allowed = dict.fromkeys(known or (), True) | states | mask
    return sorted(site for site, usable in allowed.items() if usable)


async def may_run_jobs(work: UnitOfWork, vo: str, site: str, known: Collection[str] | None) -> bool:
    """Whether a site may run jobs of a VO.

    A site of which nothing is said may, if it is in the configuration, or that names no sites at all.
    """
    mask = await site_mask(work, [site])
    if site in mask:
        return mask[site].status == ACTIVE
    states = await _states(work, vo, site)
    return states.get(site, known is None or site in known)


async def site_statuses(work: UnitOfWork, vo: str) -> dict[str, str]:
    """What is said of sites, for a VO: by the mask, else by ResourceStatusSystem in its own words."""
    states: dict[str, str] = {}
    if work.has(SiteStatus):
        rows = await work.rows(RESOURCE_STATUS_DB, _statuses(one=False), {"vos": [EVERY_VO, vo]})
        # What is said for the VO goes before the rest.
        states = {row.Name: row.Status for row in sorted(rows, key=lambda row: row.VO != EVERY_VO)}
    return states | {site: each.status for site, each in (await site_mask(work)).items()}


async def _states(work: UnitOfWork, vo: str, site: str | None) -> dict[str, bool]:
    """Whether sites are usable, by ResourceStatusSystem; what it says for the VO goes before the rest."""
    if not work.has(SiteStatus):
        return {}
    given: dict[str, Any] = {"vos": [EVERY_VO, vo]} | ({} if site is None else {"site": site})
    rows = await work.rows(RESOURCE_STATUS_DB, _statuses(one=site is not None), given)
    rows = sorted(rows, key=lambda row: row.VO != EVERY_VO)
    return {row.Name: row.Status in _USABLE for row in rows}


@cache
def _statuses(*, one: bool) -> Select[Any]:
    c = SiteStatus.c
    statement = select(c.Name, c.VO, c.Status).where(c.VO.in_(bindparam("vos", expanding=True)))
    return statement.where(c.Name == bindparam("site")) if one else statement


async def mask_sites(
    work: UnitOfWork, statuses: Mapping[str, str], author: str, comment: str = "No comment"
) -> list[str]:
    """Say of sites that they are ``Active`` or ``Banned``; returns those of which something else was said.

    Where nothing changes nothing is written.  Raises Foreign, InvalidValue.
    """
    if not work.has(SiteMask):
        raise Foreign(
            "There is no table SiteMask, which DIRAC 9 has not",
            "`wherry db upgrade --missing-tables` makes a place for the mask here",
        )
    before = await _locked(work)
    changed = sorted(site for site, status in statuses.items() if before.get(site) != status)
    now = clock.to_column(clock.utc_now())
    rows = [
        {"Site": site, "Status": statuses[site], "Author": author, "Comment": comment, "LastUpdateTime": now}
        for site in changed
    ]
    check_values(SiteMask, rows)
    if rows:
        await work.change(JOB_DB, _unmasking(), {"sites": changed})
        await work.change(JOB_DB, SiteMask.insert(), rows)
    await _note(work, rows, now)
    return changed


@cache
def _unmasking() -> Delete:
    return SiteMask.delete().where(SiteMask.c.Site.in_(bindparam("sites", expanding=True)))


async def _locked(work: UnitOfWork) -> dict[str, str]:
    """The whole mask, which nobody else changes until the unit of work ends."""
    c = SiteMask.c
    statement = select(c.Site, c.Status).order_by(c.Site).with_for_update()
    return {row.Site: row.Status for row in await work.rows(JOB_DB, statement)}


async def _note(work: UnitOfWork, rows: Collection[Mapping[str, Any]], now: datetime) -> None:
    """Add to the history, which has one entry per site and second: the last one."""
    if not rows:
        return
    await work.change(JOB_DB, _forgetting(), {"sites": [row["Site"] for row in rows], "moment": now})
    history = [
        {"UpdateTime": now, **{name: value for name, value in row.items() if name != "LastUpdateTime"}}
        for row in rows
    ]
    await work.change(JOB_DB, SiteMaskLogging.insert(), history)


@cache
def _forgetting() -> Delete:
    c = SiteMaskLogging.c
    return SiteMaskLogging.delete().where(
        c.Site.in_(bindparam("sites", expanding=True)), c.UpdateTime == bindparam("moment")
    )


async def clear_site_mask(work: UnitOfWork) -> list[str]:
    """Forget what the mask says, of all sites, which are returned by name; what was said once stays known."""
    if not work.has(SiteMask):
        return []
    sites = sorted(await _locked(work))
    if sites:
        await work.change(JOB_DB, SiteMask.delete())
    return sites


async def set_site_mask(
    work: UnitOfWork, sites: Collection[str], author: str, comment: str = "No comment"
) -> list[str]:
    """Allow these sites and ban all others that the mask names.  Returns, and raises, as ``mask_sites``."""
    statuses = dict.fromkeys(await site_mask(work), BANNED) | dict.fromkeys(sites, ACTIVE)
    return await mask_sites(work, statuses, author, comment)
