"""WorkloadManagement/WMSAdministrator (legacy-methods.md, section 8).

DIRAC 9 keeps the methods of the site mask but does nothing in them, and 9.1.20 has them no more; here they do
for every client what they do in 8.0.
"""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.table import Context, Service
from shared_db.connection import UnitOfWork
from shared_db.queries.pilot_outputs import outputs_of, pilots_by
from shared_db.queries.pilots import pilots_of_jobs
from shared_db.queries.site_mask import Masked, clear_site_mask, mask_sites, site_history, site_mask
from shared_db.rules import site_mask as rules
from shared_db.rules.clock import to_column
from shared_db.rules.pilot_output import job_id_of, job_pilot_output, no_pilot
from shared_db.rules.site import site_jobs

wms_administrator = Service(
    "WorkloadManagement/WMSAdministrator",
    handler_class="WMSAdministratorHandlerMixin",
    authorization=("Operator",),
)

UNTIL = "9.1.19"
MANAGERS = ("SiteManager", "Operator")


@wms_administrator.method(list, write=Write.IDEMPOTENT, until=UNTIL)
async def setSiteMask(context: Context, siteList: list[Any]) -> None:
    """Allows these sites; the others stay as they are. Answers None."""
    await _mask(context, siteList, rules.ACTIVE)


@wms_administrator.method(str, write=Write.IDEMPOTENT, authorization=MANAGERS, until=UNTIL)
async def banSite(context: Context, site: str, comment: Any = rules.NO_COMMENT) -> None:
    """Bans a site; one that is banned already keeps its entry. Answers None."""
    await _mask(context, [site], rules.BANNED, comment)


@wms_administrator.method(str, write=Write.IDEMPOTENT, authorization=MANAGERS, until=UNTIL)
async def allowSite(context: Context, site: str, comment: Any = rules.NO_COMMENT) -> None:
    """Allows a site; one that is allowed already keeps its entry. Answers None."""
    await _mask(context, [site], rules.ACTIVE, comment)


async def _mask(context: Context, sites: list[Any], status: str, comment: Any = rules.NO_COMMENT) -> None:
    wanted, said = rules.masking(sites, status, comment)
    if not wanted:
        return
    async with context.databases.unit_of_work(write=True) as work:
        await mask_sites(work, wanted, context.call.identity.username, said)


@wms_administrator.method(write=Write.IDEMPOTENT, until=UNTIL)
async def clearMask(context: Context) -> int:
    """Forgets what the mask says of all sites, not its history; answers of how many."""
    async with context.databases.unit_of_work(write=True) as work:
        return len(await clear_site_mask(work))


@wms_administrator.method(authorization=("authenticated",), until=UNTIL)
async def getSiteMask(context: Context, siteState: Any = rules.ACTIVE) -> list[str]:
    """The sites of which the mask says this, by name."""
    return rules.sites_with(await _whole(context), siteState)


@wms_administrator.method(authorization=("authenticated",), until=UNTIL)
async def getSiteMaskStatus(context: Context, sites: Any = None) -> dict[str, str] | str:
    """`{site: status}` of those of a list, or of all, that the mask names; of one site named as a text its
    status, or `Unknown site …`.
    """
    return rules.statuses(await _whole(context), sites)


@wms_administrator.method(until=UNTIL)
async def getAllSiteMaskStatus(context: Context) -> dict[str, rules.Entry]:
    """`{site: (status, time, author, comment)}` of the whole mask."""
    return await _whole(context)


@wms_administrator.method([str, list], until=UNTIL)
async def getSiteMaskLogging(context: Context, sites: str | list[Any]) -> dict[str, list[list[str]]]:
    """`{site: [[status, time as text, author, comment], …]}`, oldest first; no site at all means every one.
    Of a site without history its entry in the mask, or `Unknown`.
    """
    wanted = rules.asked_for(sites)
    names = [site for site in wanted if rules.is_site(site)]
    async with context.databases.unit_of_work() as work:
        found = await site_history(work, names if wanted else None)
        mask = await _mask_of(work)
    history = {site: [_entry(each) for each in entries] for site, entries in found.items()}
    return rules.histories(wanted, history, mask)


@wms_administrator.method(until=UNTIL)
async def getSiteMaskSummary(context: Context) -> dict[str, str]:
    """`{site: status}` of the mask; the other sites of the configuration are `Unknown`."""
    known = site_jobs(context.registry.cfg, context.call.identity.vo or "").description.sites
    masked = {site: entry[0] for site, entry in (await _whole(context)).items()}
    return rules.summary(masked, known)


async def _whole(context: Context) -> dict[str, rules.Entry]:
    async with context.databases.unit_of_work() as work:
        return await _mask_of(work)


async def _mask_of(work: UnitOfWork) -> dict[str, rules.Entry]:
    return {site: _entry(masked) for site, masked in (await site_mask(work)).items()}


def _entry(masked: Masked) -> rules.Entry:
    return masked.status, to_column(masked.moment), masked.author, masked.comment


@wms_administrator.method([str, int], authorization=("authenticated",))
async def getJobPilotOutput(context: Context, jobID: str | int) -> dict[str, str]:
    """`{"StdOut", "StdErr"}` of all pilots that ran a job, one after the other, each under its reference.
    What is not kept here is not fetched from the CE, and says so. A job without pilots: `Failed to get pilot
    for Job …`.
    """
    job_id = job_id_of(jobID)
    async with context.databases.unit_of_work() as work:
        pilots = await pilots_by(work, "PilotID", await pilots_of_jobs(work, [job_id]))
        outputs = await outputs_of(work, [pilot.PilotID for pilot in pilots])
    if not pilots:
        raise no_pilot(job_id)
    return job_pilot_output(
        [(pilot.PilotJobReference, *outputs.get(pilot.PilotID, (None, None))) for pilot in pilots]
    )
