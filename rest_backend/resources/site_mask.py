"""The site mask: which sites may run jobs (legacy-methods.md, section 8)."""

from __future__ import annotations

from rest_backend.models.site_mask import ChangedSites, MaskChange, MaskedSite, NewMask, SiteNames
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.policies.task_queues import MASK_SITES, SET_SITE_MASK
from shared_db.queries.site_mask import (
    Masked,
    allowed_sites,
    clear_site_mask,
    mask_sites,
    set_site_mask,
    site_history,
    site_mask,
)
from shared_db.rules.site import site_jobs
from shared_db.rules.site_mask import summary


def _shown(masked: Masked) -> MaskedSite:
    return MaskedSite(Status=masked.status, Author=masked.author, Comment=masked.comment, Time=masked.moment)


async def read(context: Context, _body: None, parameters: SiteNames) -> Answer:
    """What the mask says of sites; of those that it does not name nothing is said."""
    found = await site_mask(context.work, parameters.site or None)
    return Answer({site: _shown(each) for site, each in found.items()})


async def allowed(context: Context, _body: None, _parameters: None) -> Answer:
    """The sites that may run jobs of the caller's VO, by name."""
    vo = context.caller.vo
    known = site_jobs(context.resources.cfg(), vo).description.sites
    return Answer(await allowed_sites(context.work, vo, known))


async def history(context: Context, _body: None, parameters: SiteNames) -> Answer:
    """All that was ever said of sites, oldest first."""
    found = await site_history(context.work, parameters.site or None)
    return Answer({site: [_shown(each) for each in entries] for site, entries in found.items()})


def _author(context: Context) -> str:
    return context.caller.username or context.caller.subject


async def change(context: Context, body: MaskChange, _parameters: None) -> Answer:
    """Allow or ban sites."""
    statuses = {site: status.value for site, status in body.sites.items()}
    changed = await mask_sites(context.work, statuses, _author(context), body.comment)
    return Answer(ChangedSites(changed=changed))


async def clear(context: Context, _body: None, _parameters: None) -> Answer:
    """Forget what the mask says of all sites; its history stays."""
    return Answer(ChangedSites(changed=await clear_site_mask(context.work)))


async def summarised(context: Context, _body: None, _parameters: None) -> Answer:
    """What the mask says of sites; the other sites of the configuration are ``Unknown``."""
    mask = {site: each.status for site, each in (await site_mask(context.work)).items()}
    known = site_jobs(context.resources.cfg(), context.caller.vo).description.sites
    return Answer(summary(mask, known))


async def replace_mask(context: Context, body: NewMask, _parameters: None) -> Answer:
    """Allow these sites and ban all others that the mask names."""
    changed = await set_site_mask(context.work, body.sites, _author(context), body.comment)
    return Answer(ChangedSites(changed=changed))


_PATH = "/api/site-mask/"

OPERATIONS = (
    Operation(
        "site-mask_get_site_mask",
        "GET",
        _PATH,
        read,
        AUTHENTICATED,
        parameters=SiteNames,
        response=dict[str, MaskedSite],
        extension=True,
    ),
    Operation(
        "site-mask_update_sites",
        "PATCH",
        _PATH,
        change,
        MASK_SITES,
        body=MaskChange,
        response=ChangedSites,
        writes=True,
        extension=True,
    ),
    Operation(
        "site-mask_set_site_mask",
        "PUT",
        _PATH,
        replace_mask,
        SET_SITE_MASK,
        body=NewMask,
        response=ChangedSites,
        writes=True,
        extension=True,
    ),
    Operation(
        "site-mask_clear_site_mask",
        "DELETE",
        _PATH,
        clear,
        SET_SITE_MASK,
        response=ChangedSites,
        writes=True,
        extension=True,
    ),
    Operation(
        "site-mask_get_summary",
        "GET",
        "/api/site-mask/summary",
        summarised,
        AUTHENTICATED,
        response=dict[str, str],
        extension=True,
    ),
    Operation(
        "site-mask_get_allowed_sites",
        "GET",
        "/api/site-mask/allowed",
        allowed,
        AUTHENTICATED,
        response=list[str],
        extension=True,
    ),
    Operation(
        "site-mask_get_history",
        "GET",
        "/api/site-mask/history",
        history,
        AUTHENTICATED,
        parameters=SiteNames,
        response=dict[str, list[MaskedSite]],
        extension=True,
    ),
)
