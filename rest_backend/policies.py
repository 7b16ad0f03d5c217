"""Who may do what over REST: DiracX's rules, widened by named extensions.

Each extension exists because a legacy caller may do the same over RPC, so that whoever may call a legacy
method may make the requests it becomes (design.md, Decided once; rest-diracx.md 6.1 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy
from rest_backend.principals import Principal
from shared_db.queries.jobs import job_attributes


async def _anyone(_context: Context, _body: Any) -> None:
    pass


PUBLIC = Policy("public", "Anybody, without a token.", _anyone, public=True)
AUTHENTICATED = Policy("authenticated", "Anybody with a valid token.", _anyone)

QUERY_JOBS = Policy(
    "query-jobs",
    "JobAdministrator or NormalUser.",
    _anyone,
    extension="monitoring-for-all: anybody with a token, about any job, as JobMonitoring answers"
    " every known caller (GlobalJobsInfo is not asked).",
)


async def _manage_jobs(context: Context, updates: Mapping[int, Any]) -> None:
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


async def _register_pilot(context: Context, pilot: Any) -> None:
    caller = context.caller
    if caller.has("ServiceAdministrator", "Operator"):
        return
    if not caller.has("GenericPilot"):
        raise Forbidden("Insufficient permissions to manage pilots.")
    if pilot.vo != caller.vo:
        raise Forbidden("Pilots can only be registered for your own VO.")


REGISTER_PILOT = Policy(
    "register-pilot",
    "ServiceAdministrator, or GenericPilot for its own VO.",
    _register_pilot,
    extension="pilot-operator: Operator too, whom PilotManager lets add pilots of any VO.",
)


async def _operate_pilots(context: Context, _body: Any) -> None:
    if not context.caller.has("ServiceAdministrator", "Operator"):
        raise Forbidden("Insufficient permissions to manage pilots.")


OPERATE_PILOTS = Policy(
    "operate-pilots",
    "Operator or ServiceAdministrator, in any VO.",
    _operate_pilots,
    extension="pilot-operator: the whole route is an extension.",
)


async def _manage_pilots(context: Context, _body: Any) -> None:
    if not context.caller.has(*_PILOT_MANAGERS):
        raise Forbidden("Insufficient permissions to manage pilots.")


_PILOT_MANAGERS = ("ServiceAdministrator", "Operator", "Pilot", "GenericPilot")

MANAGE_PILOTS = Policy(
    "manage-pilots",
    "ServiceAdministrator; GenericPilot for one pilot of its own VO.",
    _manage_pilots,
    extension=(
        "pilot-operator: Operator too, in any VO. "
        "pilot-reports: Pilot and GenericPilot for any pilot, since setPilotStatus goes by a reference, "
        "which may stand for several pilots, and never asks for the VO."
    ),
)


READ_PILOTS = Policy(
    "read-pilots",
    "Anybody but GenericPilot, within the own VO (ServiceAdministrator: all VOs).",
    _anyone,
    extension=(
        "pilot-operator: Operator sees all VOs. "
        "pilot-look-ups: Pilot and GenericPilot may look up pilots of any VO, as references name them."
    ),
)


def sees_all_pilots(caller: Principal) -> bool:
    """False when a caller's pilot searches are limited to the own VO."""
    return caller.has(*_PILOT_MANAGERS)


POLICIES: Sequence[Policy] = (
    PUBLIC,
    AUTHENTICATED,
    QUERY_JOBS,
    MANAGE_JOBS,
    REGISTER_PILOT,
    OPERATE_PILOTS,
    MANAGE_PILOTS,
    READ_PILOTS,
)
