"""Who may look at task queues, ask for jobs and change the site mask (legacy-methods.md, 0.2, 6 and 8)."""

from __future__ import annotations

from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy


async def _request_jobs(context: Context, body: Any, _parameters: Any) -> None:
    caller = context.caller
    if caller.pilot_stamp:
        if body.pilot_stamp not in ("", caller.pilot_stamp) or body.pilot_reference:
            raise Forbidden("A pilot can only ask for jobs for itself.")
        return
    if not caller.has("GenericPilot") and not (caller.username and caller.group):
        raise Forbidden


REQUEST_JOBS = Policy(
    "request-jobs",
    "GenericPilot for the jobs of its VO; a pilot with a token of its own likewise, for itself only; anybody "
    "else for own jobs, with JobSharing those of the own group.",
    _request_jobs,
    extension="job-matching: the whole route is an extension.",
)


async def _look_for_jobs(context: Context, body: Any, _parameters: Any) -> None:
    caller = context.caller
    if caller.pilot_stamp or not (caller.has("GenericPilot") or (caller.username and caller.group)):
        raise Forbidden
    if body.everybody and not (caller.by_certificate or caller.has("JobAdministrator")):
        raise Forbidden("Who sees everybody's queues shows a certificate, or is a JobAdministrator.")


LOOK_FOR_JOBS = Policy(
    "look-for-jobs",
    "GenericPilot for the queues of its VO; anybody else for own queues, with JobSharing those of the own "
    "group. A pilot's own token is refused. With everybody: JobAdministrator, and legacy callers who show a "
    "certificate.",
    _look_for_jobs,
    extension="job-matching: the whole route is an extension.",
)


async def _read_queues(context: Context, _body: Any, _parameters: Any) -> None:
    if not context.caller.has("JobAdministrator"):
        raise Forbidden


READ_QUEUES = Policy(
    "read-task-queues",
    "JobAdministrator, in any VO.",
    _read_queues,
    extension="job-matching: the whole route is an extension.",
)


async def _mask_sites(context: Context, _body: Any, _parameters: Any) -> None:
    if not context.caller.has("SiteManager", "Operator"):
        raise Forbidden


MASK_SITES = Policy(
    "mask-sites",
    "SiteManager or Operator.",
    _mask_sites,
    extension="site-mask: the whole route is an extension.",
)


async def _set_mask(context: Context, _body: Any, _parameters: Any) -> None:
    if not context.caller.has("Operator"):
        raise Forbidden


SET_SITE_MASK = Policy(
    "set-site-mask",
    "Operator.",
    _set_mask,
    extension="site-mask: the whole route is an extension.",
)

POLICIES = (REQUEST_JOBS, LOOK_FOR_JOBS, READ_QUEUES, MASK_SITES, SET_SITE_MASK)
