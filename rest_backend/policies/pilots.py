"""Who may do what with pilots (rest-diracx.md, section 7)."""

from __future__ import annotations

from typing import Any

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, Policy
from rest_backend.policies.common import anyone
from rest_backend.principals import Principal


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
        "pilot-look-ups: Pilot and GenericPilot may look up pilots of any VO, as references name them."
    ),
)


def sees_all_pilots(caller: Principal) -> bool:
    """False when a caller's pilot searches are limited to the own VO."""
    return caller.has(*_PILOT_MANAGERS)


POLICIES = (REGISTER_PILOT, OPERATE_PILOTS, MANAGE_PILOTS, READ_PILOTS)
