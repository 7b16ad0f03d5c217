"""Tokens of pilots: a secret for the first ones, a refresh token for more (rest-diracx.md, section 7)."""

from __future__ import annotations

from rest_backend.errors import RestError, Unauthorized
from rest_backend.grants import NOT_KEPT, issue, renew
from rest_backend.models.auth import TokenResponse
from rest_backend.models.pilot_secrets import PilotRefresh, SecretExchange
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.auth import PROOF
from rest_backend.principals import Principal
from rest_backend.resources.pilots import require_registered_vo
from rest_backend.tokens import pilot as pilot_principal
from shared_db.connection import UnitOfWork
from shared_db.queries.pilot_jobs import KnownPilot, pilots_of_stamps
from shared_db.queries.pilot_secrets import Secret, find_secrets, spend_secret
from shared_db.queries.pilots import add_pilots
from shared_db.queries.refresh_tokens import StoredToken
from shared_db.rules import clock
from shared_db.rules.pilots import FINAL_STATES


def pilot_scope(vo: str, stamp: str) -> str:
    """The scope of a pilot's refresh token.

    Its last word is no user's, so that neither kind of token is taken for the other.
    """
    return f"vo:{vo} property:GenericPilot pilot:{stamp}"


async def exchange_secret(context: Context, given: SecretExchange, _query: None) -> Answer:
    """The first tokens of a pilot, for a secret, of which a use is counted.

    With ``vo`` a pilot whose stamp is new registers itself (a vacuum pilot).
    """
    secret = await _spent(context.work, given.pilot_secret)
    known = await pilots_of_stamps(context.work, [given.pilot_stamp])
    if given.vo is not None and not known:
        vo = await _register(context, given, given.vo, secret)
    else:
        vo = _allowed([pilot for pilot in known if given.vo in (None, pilot.vo)], secret).vo
    if context.resources.registry().user_with_subject(given.pilot_stamp, vo):
        # Whatever is revoked of one would be revoked of the other.
        raise Unauthorized("bad pilot_stamp")
    settings = context.resources.settings.pilots
    until = clock.utc_now() + settings.refresh_lifetime
    principal, scope = pilot_principal(vo, given.pilot_stamp), pilot_scope(vo, given.pilot_stamp)
    tokens = await issue(context.work, context.resources, principal, scope, until)
    return Answer(tokens, headers=NOT_KEPT)


async def _spent(work: UnitOfWork, text: str) -> Secret:
    """The secret, one use of which is counted.  A refusal later on rolls that back.

    Counted before anything else is looked at, so that two who have the same secret come one after the other.
    """
    spent = await spend_secret(work, text)
    secret = (await find_secrets(work, [text])).get(text)
    if secret is None:
        raise Unauthorized("bad pilot_secret")
    if secret.expires is not None and secret.expires <= clock.utc_now():
        raise Unauthorized("secret expired")
    if not spent:
        raise Unauthorized("secret used up")
    return secret


def _allowed(known: list[KnownPilot], secret: Secret) -> KnownPilot:
    """The youngest pilot of the stamp that has not ended and may use the secret."""
    alive = [pilot for pilot in known if not pilot.ended]
    if not alive:
        raise Unauthorized("bad pilot_stamp")
    allowed = [each for each in alive if secret.allows(vo=each.vo, stamp=each.stamp, site=each.site)]
    if not allowed:
        raise Unauthorized("bad credentials")
    return allowed[-1]


async def _register(context: Context, given: SecretExchange, vo: str, secret: Secret) -> str:
    if not secret.allows(vo=vo, stamp=given.pilot_stamp, site=given.grid_site):
        raise Unauthorized("bad credentials")
    require_registered_vo(context, vo)
    if given.status in FINAL_STATES:
        raise RestError(
            400, f"A pilot that registers itself is not {given.status}: give a status of a pilot that runs"
        )
    row = {
        "PilotStamp": given.pilot_stamp,
        "PilotJobReference": given.pilot_stamp,
        "VO": vo,
        "GridType": given.grid_type,
        "GridSite": given.grid_site,
        "Status": given.status,
    }
    await add_pilots(context.work, [row])
    return vo


async def refresh_pilot(context: Context, given: PilotRefresh, _query: None) -> Answer:
    """New tokens for a pilot's refresh token, which is replaced; used twice, it ends all of the pilot's."""

    async def holder(stored: StoredToken) -> Principal:
        if stored.scope != pilot_scope(stored.vo, given.pilot_stamp):
            raise Unauthorized("bad pilot_stamp", challenge=True)
        async with context.resources.databases.unit_of_work() as work:
            known = await pilots_of_stamps(work, [given.pilot_stamp])
        if all(pilot.ended or pilot.vo != stored.vo for pilot in known):
            raise Unauthorized("This pilot has ended or was deleted: its tokens have ended with it.")
        return pilot_principal(stored.vo, given.pilot_stamp)

    return await renew(context.resources, given.refresh_token, holder)


OPERATIONS = (
    Operation(
        "auth_perform_secret_exchange",
        "POST",
        "/api/auth/secret-exchange",
        exchange_secret,
        PROOF,
        body=SecretExchange,
        response=TokenResponse,
        errors=(400, 401),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "auth_refresh_pilot_tokens",
        "POST",
        "/api/auth/pilot-token",
        refresh_pilot,
        PROOF,
        body=PilotRefresh,
        response=TokenResponse,
        errors=(401,),
        writes=True,
        transactional=False,
        extension=True,
    ),
)
