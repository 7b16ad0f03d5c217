"""Who may do what with jobs (rest-diracx.md, 6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy
from rest_backend.policies.common import anyone
from rest_backend.principals import Principal
from shared_db.queries.jobs import job_attributes

QUERY_JOBS = Policy(
    "query-jobs",
    "JobAdministrator or NormalUser.",
    anyone,
    extension="monitoring-for-all: anybody with a token, about any job, as JobMonitoring answers"
    " every known caller (GlobalJobsInfo is not asked).",
)


async def _manage_jobs(context: Context, updates: Mapping[int, Any], _parameters: Any) -> None:
    caller = context.caller
    if caller.has("JobAdministrator", "GenericPilot"):
        return
    rows = await job_attributes(context.work, updates, ["Owner", "OwnerGroup"])
    if not rows or len(rows) != len(updates) or not all(_controls(caller, row) for row in rows):
        raise Forbidden


def _controls(caller: Principal, job: Any) -> bool:
    owns = bool(caller.username) and job.Owner == caller.username
    shares = caller.has("JobSharing") and job.OwnerGroup == caller.group
    return owns or shares


MANAGE_JOBS = Policy(
    "manage-jobs",
    "JobAdministrator and GenericPilot: any job. NormalUser: jobs that all exist and are his (Owner and VO).",
    _manage_jobs,
    extension=(
        "job-owner: an owner may manage his jobs from any of his groups, as in DIRAC 9. "
        "job-sharing: a member of a group with JobSharing may manage the jobs of that group."
    ),
)

POLICIES = (QUERY_JOBS, MANAGE_JOBS)
