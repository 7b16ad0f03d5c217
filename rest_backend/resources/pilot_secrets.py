"""Secrets of pilots, and pilots that are registered with one (rest-diracx.md, 7, unreleased routes).

Answers hold secrets, so none of these operations may be kept for a repeated request.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from rest_backend.errors import RestError
from rest_backend.models.pilot_secrets import (
    NewSecrets,
    PilotSecret,
    PilotsRegistration,
    RegisteredPilot,
    SecretConstraints,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.pilots import OPERATE_PILOTS
from rest_backend.resources.pilots import require_registered_vo
from shared_db.queries.pilot_secrets import STAMPS, VOS, Secret, add_secrets, constrain_secrets
from shared_db.queries.pilots import add_pilots, stamps_in_use
from shared_db.rules import clock

_SECRET_BYTES = 32
_NOT_STORED = {"Cache-Control": "no-store"}


async def register_pilots(context: Context, given: PilotsRegistration, _query: None) -> Answer:
    """Add pilots whose stamps are new, each with a secret for its first token.

    A secret is good for its own pilot only, and is shown this once.
    """
    require_registered_vo(context, given.vo)
    if used := await stamps_in_use(context.work, given.pilot_stamps):
        raise RestError(409, f"Pilot with stamp '{used[0]}' already exists")
    rows = [
        {
            "PilotStamp": stamp,
            "VO": given.vo,
            "GridType": given.grid_type,
            "GridSite": given.grid_site,
            "DestinationSite": given.destination_site,
            "PilotJobReference": given.pilot_references.get(stamp, stamp),
            "Status": given.pilot_status,
        }
        for stamp in given.pilot_stamps
    ]
    await add_pilots(context.work, rows)
    if not given.generate_secrets:
        return Answer(
            [
                RegisteredPilot(pilot_stamp=stamp, pilot_secret=None, pilot_secret_expires_in=None)
                for stamp in given.pilot_stamps
            ]
        )
    now = clock.utc_now()
    expires = now + context.resources.settings.auth.pilot_secret_lifetime
    made = {
        new_secret(): Secret(
            given.vo, {VOS: [given.vo], STAMPS: [stamp]}, given.pilot_secret_use_count_max, expires
        )
        for stamp in given.pilot_stamps
    }
    await add_secrets(context.work, made, now)
    shown = [
        RegisteredPilot(
            pilot_stamp=stamp, pilot_secret=text, pilot_secret_expires_in=int(expires.timestamp())
        )
        for stamp, text in zip(given.pilot_stamps, made, strict=True)
    ]
    return Answer(shown, headers=_NOT_STORED)


def new_secret() -> str:
    """64 hexadecimal digits."""
    return secrets.token_hex(_SECRET_BYTES)


async def make_secrets(context: Context, given: NewSecrets, _query: None) -> Answer:
    """Make secrets for pilots of a VO that will register themselves or be registered.

    Each is shown this once; only its hash is kept.
    """
    require_registered_vo(context, given.vo)
    now = clock.utc_now()
    expires = _end(context, given, now)
    secret = Secret(given.vo, {VOS: [given.vo]}, given.pilot_secret_use_count_max, expires)
    made = {new_secret(): secret for _ in range(given.n)}
    await add_secrets(context.work, made, now)
    end = None if expires is None else int(expires.timestamp())
    shown = [PilotSecret(pilot_secret=text, pilot_secret_expires_in=end) for text in made]
    return Answer(shown, headers=_NOT_STORED)


def _end(context: Context, given: NewSecrets, now: datetime) -> datetime | None:
    if "expiration_minutes" not in given.model_fields_set:
        return now + context.resources.settings.auth.pilot_secret_lifetime
    return None if given.expiration_minutes is None else now + timedelta(minutes=given.expiration_minutes)


async def constrain(context: Context, given: Mapping[str, SecretConstraints], _query: None) -> Answer:
    """Say who may use secrets: the lists that are given replace those there are.

    An empty list forbids nothing.
    """
    for vo in {vo for each in given.values() for vo in each.VOs or ()}:
        require_registered_vo(context, vo)
    constraints = {text: each.model_dump(exclude_none=True) for text, each in given.items()}
    if await constrain_secrets(context.work, constraints):
        raise RestError(404, "At least one pilot secret does not exist.")
    return Answer(None, 204)


OPERATIONS = (
    Operation(
        "pilots_register_pilots",
        "POST",
        "/api/pilots/bulk",
        register_pilots,
        OPERATE_PILOTS,
        body=PilotsRegistration,
        response=list[RegisteredPilot],
        errors=(400, 409),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "pilots_create_pilot_secrets",
        "POST",
        "/api/pilots/secrets",
        make_secrets,
        OPERATE_PILOTS,
        body=NewSecrets,
        response=list[PilotSecret],
        errors=(400,),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "pilots_update_secrets_constraints",
        "PATCH",
        "/api/pilots/secrets",
        constrain,
        OPERATE_PILOTS,
        body=dict[str, SecretConstraints],
        statuses=(204,),
        errors=(400, 404),
        writes=True,
        extension=True,
    ),
)
