"""WorkloadManagement/WMSAdministrator over REST."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request, RestFailure
from adaptor.values import legacy_time
from shared_db.rules import site_mask as rules
from shared_db.rules.pilot_output import job_id_of, job_pilot_output, no_pilot

wms_administrator = LegacyService("WorkloadManagement/WMSAdministrator")

MASK = "/api/site-mask/"


@wms_administrator.adapts
def setSiteMask(siteList: list[Any]) -> Conversation:
    """`PATCH /api/site-mask/`.

    Differences: none. Of DIRAC 8.0: sites that the mask allows already keep their entries, and authors are
    user names, not DNs.
    """
    yield from _mask(siteList, rules.ACTIVE)


@wms_administrator.adapts
def banSite(site: str, comment: Any = rules.NO_COMMENT) -> Conversation:
    """`PATCH /api/site-mask/`.

    Differences: none. Of DIRAC 8.0: a site that is banned already keeps its entry.
    """
    yield from _mask([site], rules.BANNED, comment)


@wms_administrator.adapts
def allowSite(site: str, comment: Any = rules.NO_COMMENT) -> Conversation:
    """`PATCH /api/site-mask/`.

    Differences: none. Of DIRAC 8.0: a site that is allowed already keeps its entry.
    """
    yield from _mask([site], rules.ACTIVE, comment)


def _mask(sites: list[Any], status: str, comment: Any = rules.NO_COMMENT) -> Conversation:
    wanted, said = rules.masking(sites, status, comment)
    if wanted:
        yield Request("PATCH", MASK, {"sites": wanted, "comment": said})


@wms_administrator.adapts
def clearMask() -> Conversation:
    """`DELETE /api/site-mask/`.

    Differences: none.
    """
    return len((yield Request("DELETE", MASK))["changed"])


@wms_administrator.adapts
def getSiteMask(siteState: Any = rules.ACTIVE) -> Conversation:
    """`GET /api/site-mask/`.

    Differences: none.
    """
    return rules.sites_with((yield from _whole()), siteState)


@wms_administrator.adapts
def getSiteMaskStatus(sites: Any = None) -> Conversation:
    """`GET /api/site-mask/`.

    Differences: none. Of DIRAC 8.0: an empty list is answered with no site, not with an error.
    """
    return rules.statuses((yield from _whole()), sites)


@wms_administrator.adapts
def getAllSiteMaskStatus() -> Conversation:
    """`GET /api/site-mask/`.

    Differences: none.
    """
    return (yield from _whole())


@wms_administrator.adapts
def getSiteMaskLogging(sites: str | list[Any]) -> Conversation:
    """`GET /api/site-mask/history` and `GET /api/site-mask/`.

    Differences: none. Of DIRAC 8.0: a site that is in the mask only stands under its own name, not under that
    of its status.
    """
    wanted = rules.asked_for(sites)
    names = [site for site in wanted if rules.is_site(site)]
    query = {"site": names} if names and len(names) <= rules.MOST_NAMES else {}
    found, mask = yield (Request("GET", "/api/site-mask/history", query=query), Request("GET", MASK))
    history = {site: [_entry(each) for each in entries] for site, entries in found.items()}
    return rules.histories(wanted, history, _read(mask))


@wms_administrator.adapts
def getSiteMaskSummary() -> Conversation:
    """`GET /api/site-mask/summary`.

    Differences: none.
    """
    return (yield Request("GET", "/api/site-mask/summary"))


def _whole() -> Conversation:
    return _read((yield Request("GET", MASK)))


def _read(mask: dict[str, Any]) -> dict[str, rules.Entry]:
    return {site: _entry(each) for site, each in mask.items()}


def _entry(masked: dict[str, Any]) -> rules.Entry:
    return masked["Status"], legacy_time(masked["Time"]), masked["Author"], masked["Comment"]


@wms_administrator.adapts
def getJobPilotOutput(jobID: str | int) -> Conversation:
    """`GET /api/pilots/output`.

    Differences: none. Of DIRAC: pilots of another VO are shown to Operator and ServiceAdministrator only.
    """
    job_id = job_id_of(jobID)
    try:
        found = yield Request("GET", "/api/pilots/output", query={"job_id": job_id})
    except RestFailure as failure:
        if failure.status == 404 and not failure.not_executed:
            raise no_pilot(job_id) from failure
        raise
    return job_pilot_output([(each["PilotJobReference"], each["StdOut"], each["StdErr"]) for each in found])
