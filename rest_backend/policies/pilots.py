"""Who may do what with pilots (rest-diracx.md, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy
from rest_backend.policies.common import anyone
from rest_backend.principals import Principal
from shared_db.queries.pilot_jobs import may_run, pilots_of_stamps


async def _register_pilot(context: Context, pilot: Any, _parameters: Any) -> None:
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


async def _operate_pilots(context: Context, _body: Any, _parameters: Any) -> None:
    if not context.caller.has("ServiceAdministrator", "Operator"):
        raise Forbidden("Insufficient permissions to manage pilots.")


OPERATE_PILOTS = Policy(
    "operate-pilots",
    "Operator or ServiceAdministrator, in any VO.",
    _operate_pilots,
    extension="pilot-operator: the whole route is an extension.",
)


async def _manage_pilots(context: Context, _body: Any, _parameters: Any) -> None:
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
    anyone,
    extension=(
        "pilot-operator: Operator sees all VOs. "
        "pilot-look-ups: Pilot and GenericPilot may look up pilots of any VO, as references name them. "
        "pilot-monitoring: a caller whom a certificate proves sees all VOs, as WebApp shows them."
    ),
)


def sees_all_pilots(caller: Principal) -> bool:
    """False when a caller's pilot searches are limited to the own VO."""
    return caller.by_certificate or caller.has(*_PILOT_MANAGERS)


async def _read_pilot_logs(context: Context, _body: Any, _parameters: Any) -> None:
    if context.caller.pilot_stamp:
        raise Forbidden("Pilots cannot read other pilots' metadata.")


READ_PILOT_LOGS = Policy(
    "read-pilot-logs",
    "Anybody, about pilots of the own VO (ServiceAdministrator: all VOs).",
    _read_pilot_logs,
    extension=(
        "pilot-operator: Operator reads those of all VOs. "
        "pilot-monitoring: so does a caller whom a certificate proves, as in WebApp."
    ),
)


def reads_all_pilot_logs(caller: Principal) -> bool:
    """False when a caller reads only what pilots of the own VO wrote, said and ran."""
    return caller.by_certificate or caller.has("ServiceAdministrator", "Operator")


def may_read_of(caller: Principal, vo: str) -> bool:
    """Whether a caller reads what a pilot of a VO wrote, said and ran."""
    return reads_all_pilot_logs(caller) or vo == caller.vo


async def _tell_of_pilots(context: Context, message: Any, _parameters: Any) -> None:
    caller = context.caller
    if caller.has("ServiceAdministrator", "Operator"):
        return
    if not caller.has("Pilot", "GenericPilot"):
        raise Forbidden("Insufficient permissions to manage pilots.")
    known = await pilots_of_stamps(context.work, [message.pilot_stamp])
    vos = {pilot.vo for pilot in known} or {message.vo or caller.vo}
    if vos != {caller.vo}:
        raise Forbidden("Insufficient permissions to access all of the provided pilots.")


TELL_OF_PILOTS = Policy(
    "tell-of-pilots",
    "Pilot and GenericPilot, about pilots of the own VO.",
    _tell_of_pilots,
    extension="pilot-operator: Operator and ServiceAdministrator too, in any VO.",
)


async def _pilot_itself(context: Context, _body: Any, _parameters: Any) -> None:
    if not context.caller.pilot_stamp:
        raise Forbidden("Only a pilot with a token of its own may do this.")


PILOT_ITSELF = Policy("pilot-itself", "A pilot with a token of its own, about itself.", _pilot_itself)


async def _pilots_own_jobs(context: Context, updates: Mapping[int, Any], parameters: Any) -> None:
    await _pilot_itself(context, updates, parameters)
    caller = context.caller
    if not await may_run(context.work, caller.pilot_stamp, caller.vo, list(updates)):
        raise Forbidden("Pilot can't access this job.")


PILOTS_OWN_JOBS = Policy(
    "pilots-own-jobs",
    "A pilot with a token of its own, for jobs that it runs or ran.",
    _pilots_own_jobs,
)

POLICIES = (
    REGISTER_PILOT,
    OPERATE_PILOTS,
    MANAGE_PILOTS,
    READ_PILOTS,
    READ_PILOT_LOGS,
    TELL_OF_PILOTS,
    PILOT_ITSELF,
    PILOTS_OWN_JOBS,
)
