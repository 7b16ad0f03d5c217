"""Logins in a browser, for clients that can be redirected to (RFC 6749, 4.1, always with PKCE)."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlencode

import orjson

from rest_backend.errors import RestError, Unauthorized
from rest_backend.flows import (
    OVER,
    answered_code,
    choice_page,
    chosen_provider,
    hash_of,
    now,
    provider_claims,
    redirect,
    to_provider,
    tokens_for,
)
from rest_backend.identity_providers import ProviderRefused, ProviderUnavailable
from rest_backend.login_state import LoginState, challenge_of
from rest_backend.messages import Answer
from rest_backend.models.auth import AuthorizationQuery, ProviderAnswer, ProviderChoice
from rest_backend.operations import Context, Operation, Resources
from rest_backend.policies.auth import PROOF
from rest_backend.policies.common import PUBLIC
from rest_backend.scopes import Scope
from rest_backend.tokens import uuid7
from rest_backend.units import reading, writing
from shared_db.queries.flows import (
    AUTHORIZATION,
    DONE,
    Flow,
    add_flow,
    fail,
    flow_of_code,
    make_ready,
    pending_flow,
)

PATH = "/api/auth/authorize"
# The kind of a state that waits for a person to choose a provider; no provider ever sees it.
_CHOICE = "choice"


async def begin(context: Context, _body: None, query: AuthorizationQuery) -> Answer:
    """Begin a login: the person goes to the identity provider, and comes back to the client with a code.

    Where the VO has several providers and none is named, there is a page to choose one.
    """
    resources = context.resources
    settings = resources.settings.auth
    if query.client_id != settings.client_id:
        raise RestError(400, "Unrecognised client_id")
    if query.redirect_uri not in settings.redirect_uris:
        raise RestError(400, "Unrecognised redirect_uri")
    vo = Scope.parse(query.scope, resources.registry()).vo
    started = now()
    flow = Flow(
        str(uuid7(started.timestamp())),
        AUTHORIZATION,
        query.client_id,
        query.scope,
        started,
        started + settings.authorization_flow_lifetime,
        redirect_uri=query.redirect_uri,
        code_challenge=query.code_challenge,
        code_challenge_method=query.code_challenge_method,
    )
    provider = chosen_provider(resources, vo, query.provider)
    state = LoginState(_CHOICE, flow.flow_id, vo, "", "", query.state)
    if provider is not None:
        answer = await _to_provider(context, state, provider)
    else:
        sealed = state.sealed(resources.issuer.keys)
        answer = choice_page(
            resources, vo, lambda name: f"{PATH}/provider?{urlencode({'state': sealed, 'provider': name})}"
        )
    await writing(resources.databases, lambda work: add_flow(work, flow))
    return answer


async def go_on(context: Context, _body: None, query: ProviderChoice) -> Answer:
    """The person has chosen an identity provider, and goes on to it."""
    resources = context.resources
    lifetime = resources.settings.auth.authorization_flow_lifetime
    state = LoginState.unsealed(query.state, resources.issuer.keys, _CHOICE, lifetime)
    flow = await reading(resources.databases, lambda work: pending_flow(work, now(), flow_id=state.flow_id))
    if flow is None:
        raise RestError(400, OVER)
    chosen_provider(resources, state.vo, query.provider)
    return await _to_provider(context, state, query.provider)


async def _to_provider(context: Context, state: LoginState, provider: str) -> Answer:
    back = f"{context.request.base_url}{PATH}/complete"
    return await to_provider(
        context.resources, AUTHORIZATION, state.flow_id, state.vo, back, state.external, provider=provider
    )


async def complete(context: Context, _body: None, query: ProviderAnswer) -> Answer:
    """The person comes back from the identity provider, and goes on to the client with a code for tokens."""
    resources = context.resources
    lifetime = resources.settings.auth.authorization_flow_lifetime
    state = LoginState.unsealed(query.state, resources.issuer.keys, AUTHORIZATION, lifetime)
    flow = await reading(resources.databases, lambda work: pending_flow(work, now(), flow_id=state.flow_id))
    if flow is None:
        raise RestError(400, OVER)
    if query.error is not None:
        await writing(resources.databases, lambda work: fail(work, flow.flow_id))
        return _to_client(flow, {"error": "access_denied", "state": state.external})
    try:
        claims = await provider_claims(resources, state, answered_code(query.code), query.iss)
    except ProviderRefused as error:
        raise Unauthorized("Invalid code", challenge=True) from error
    except ProviderUnavailable as error:
        raise RestError(502, "Failed to contact IAM server") from error
    code, kept = secrets.token_urlsafe(32), orjson.dumps(claims).decode()
    hashed = hash_of(code)
    ready = await writing(
        resources.databases, lambda work: make_ready(work, flow.flow_id, now(), kept, hashed)
    )
    if not ready:
        raise RestError(400, OVER)
    return _to_client(flow, {"code": code, "state": state.external})


def _to_client(flow: Flow, query: dict[str, str]) -> Answer:
    """Back to the client, whose address was checked when the flow began."""
    joint = "&" if "?" in flow.redirect_uri else "?"
    return redirect(f"{flow.redirect_uri}{joint}{urlencode(query)}")


async def exchange_code(
    resources: Resources, *, code: str, client_id: str, redirect_uri: str, code_verifier: str
) -> Answer:
    """Tokens for a code; after a wrong guess it is as good as before.  Raises RestError."""
    wanted = hash_of(code)
    flow = await reading(resources.databases, lambda work: flow_of_code(work, AUTHORIZATION, wanted))
    if flow is None:
        raise RestError(400, "Unknown code: begin again")
    if flow.status != DONE and flow.expires_at <= now():
        raise RestError(400, "Code expired: begin again")
    if flow.client_id != client_id:
        raise RestError(400, "Bad client_id")
    if flow.redirect_uri != redirect_uri:
        raise RestError(400, "Invalid redirect_uri")
    if not hmac.compare_digest(challenge_of(code_verifier), flow.code_challenge.rstrip("=")):
        raise RestError(400, "Invalid code_challenge")
    return await tokens_for(resources, flow)


OPERATIONS = (
    Operation(
        "auth_initiate_authorization_flow",
        "GET",
        PATH,
        begin,
        PUBLIC,
        parameters=AuthorizationQuery,
        statuses=(200, 307),
        content_type="text/html",
        transactional=False,
        errors=(400, 502),
    ),
    Operation(
        "auth_choose_provider",
        "GET",
        f"{PATH}/provider",
        go_on,
        PROOF,
        parameters=ProviderChoice,
        statuses=(307,),
        transactional=False,
        errors=(400, 502),
        extension=True,
    ),
    Operation(
        "auth_complete_authorization_flow",
        "GET",
        f"{PATH}/complete",
        complete,
        PROOF,
        parameters=ProviderAnswer,
        statuses=(307,),
        transactional=False,
        errors=(400, 401, 502),
    ),
)
