"""Who may do what with jobs (rest-diracx.md, 6.1).

A pilot that calls with a token of its own has routes of its own and none of these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy
from rest_backend.principals import Principal
from shared_db.queries.jobs import job_attributes
from shared_db.rules.job_policy import LOOKS_AT_ALL
from shared_db.rules.site import site_jobs

_NO_PILOT = "A pilot's own token is refused."


async def _create_jobs(context: Context, _body: Any, _parameters: Any) -> None:
    caller = context.caller
    if not caller.has("NormalUser") or caller.pilot_stamp or not (caller.username and caller.group):
        raise Forbidden


CREATE_JOBS = Policy("create-jobs", f"NormalUser. {_NO_PILOT}", _create_jobs)


async def _query_jobs(context: Context, _body: Any, _parameters: Any) -> None:
    if context.caller.pilot_stamp:
        raise Forbidden


QUERY_JOBS = Policy(
    "query-jobs",
    "JobAdministrator or NormalUser; own jobs only where GlobalJobsInfo is False, but for JobAdministrator."
    f" {_NO_PILOT}",
    _query_jobs,
    extension="monitoring-for-all: anybody else with a token, as JobMonitoring answers every known caller;"
    " where GlobalJobsInfo is False, JobMonitor and GenericPilot see all jobs too.",
)


def sees_all_jobs(context: Context) -> bool:
    """False when a caller's questions are limited to the own jobs."""
    caller = context.caller
    if caller.has(*LOOKS_AT_ALL):
        return True
    return site_jobs(context.resources.cfg(), caller.vo).all_may_look


async def _manage_jobs(context: Context, body: Any, parameters: Any) -> None:
    await _control(context, body, parameters, ("JobAdministrator", "GenericPilot"))


async def _report_on_jobs(context: Context, body: Any, parameters: Any) -> None:
    if not context.caller.pilot_stamp and context.caller.has("TrustedHost", "Operator"):
        return
    await _manage_jobs(context, body, parameters)


async def _own_jobs(context: Context, body: Any, parameters: Any) -> None:
    await _control(context, body, parameters, ("JobAdministrator",))


async def _control(context: Context, body: Any, parameters: Any, masters: Collection[str]) -> None:
    """Refuses whoever has none of the properties ``masters`` and is not in control of all jobs named."""
    caller = context.caller
    if caller.pilot_stamp:
        raise Forbidden
    if caller.has(*masters):
        return
    wanted = set(_named(body, parameters))
    rows = await job_attributes(context.work, wanted, ["Owner", "OwnerGroup", "VO"])
    if not rows or len(rows) != len(wanted) or not all(_controls(caller, row) for row in rows):
        raise Forbidden


def _named(body: Any, parameters: Any) -> Collection[int]:
    """The jobs that a request is about: of its path, of its list, or those that its body has an entry for."""
    if hasattr(parameters, "job_id"):
        return [parameters.job_id]
    ids: Collection[int] = body if isinstance(body, Mapping) else body.job_ids
    return ids


def _controls(caller: Principal, job: Any) -> bool:
    # Another VO's provider may call anybody by this name.
    same = caller.by_certificate or caller.vo == job.VO
    owns = bool(caller.username) and job.Owner == caller.username and same
    shares = caller.has("JobSharing") and job.OwnerGroup == caller.group
    return owns or shares


_SHARED = (
    "job-owner: an owner whom a certificate proves may {verb} his jobs from any of his groups,"
    " as in DIRAC 9. "
    "job-sharing: a member of a group with JobSharing may {verb} the jobs of that group."
)

MANAGE_JOBS = Policy(
    "manage-jobs",
    "JobAdministrator and GenericPilot: any job. NormalUser: jobs that all exist and are his (Owner and VO)."
    f" {_NO_PILOT}",
    _manage_jobs,
    extension=_SHARED.format(verb="manage"),
)

REPORT_ON_JOBS = Policy(
    "report-on-jobs",
    MANAGE_JOBS.rule,
    _report_on_jobs,
    extension=_SHARED.format(verb="report on")
    + " job-operators: TrustedHost and Operator may report on any job, as in JobStateUpdate.",
)

OWN_JOBS = Policy(
    "own-jobs",
    f"JobAdministrator: any job. NormalUser: jobs that all exist and are his (Owner and VO). {_NO_PILOT}",
    _own_jobs,
    extension=_SHARED.format(verb="use"),
)


async def _read_jdl(context: Context, body: Any, parameters: Any) -> None:
    if context.caller.by_certificate and not context.caller.pilot_stamp and sees_all_jobs(context):
        return
    await _own_jobs(context, body, parameters)


READ_JDL = Policy(
    "read-jdl",
    f"JobAdministrator: any job. NormalUser: jobs that exist and are his (Owner and VO). {_NO_PILOT}",
    _read_jdl,
    extension=_SHARED.format(verb="read")
    + " jdl-for-all: a caller whom a certificate proves may read the JDL of every job that he may look at,"
    " as JobMonitoring's getJobJDL lets every known caller.",
)


async def _jobs_of_pilots(context: Context, _body: Any, _parameters: Any) -> None:
    caller = context.caller
    operates = caller.has("ServiceAdministrator", "Operator")
    looks = caller.by_certificate and sees_all_jobs(context)
    if caller.pilot_stamp or not (operates or looks):
        raise Forbidden("Insufficient permissions to manage pilots.")


JOBS_OF_PILOTS = Policy(
    "jobs-of-pilots",
    "Operator or ServiceAdministrator, in any VO.",
    _jobs_of_pilots,
    extension="pilot-operator: the whole route is an extension."
    " jobs-by-pilot: a caller whom a certificate proves, and who may look at every job, since the pages of"
    " jobs find them by the reference of a pilot.",
)

POLICIES = (CREATE_JOBS, QUERY_JOBS, MANAGE_JOBS, REPORT_ON_JOBS, OWN_JOBS, READ_JDL, JOBS_OF_PILOTS)
