"""Logins on a device without a browser: the person goes on in a browser elsewhere (RFC 8628)."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlencode

import orjson

from rest_backend.errors import Forbidden, RestError, Unauthorized
from rest_backend.flows import (
    HTML,
    OVER,
    PAGE_HEADERS,
    answered_code,
    choice_page,
    chosen_provider,
    hash_of,
    now,
    principal_of,
    provider_claims,
    redirect,
    to_provider,
    tokens_for,
)
from rest_backend.login_state import LoginState
from rest_backend.messages import Answer, Raw
from rest_backend.models.auth import (
    DeviceFlowQuery,
    InitiateDeviceFlowResponse,
    ProviderAnswer,
    UserCodeQuery,
)
from rest_backend.operations import Context, Operation, Resources
from rest_backend.policies.auth import PROOF
from rest_backend.policies.common import PUBLIC
from rest_backend.scopes import Scope
from rest_backend.tokens import uuid7
from rest_backend.units import reading, writing
from shared_db.connection import UnitOfWork
from shared_db.queries.flows import (
    DEVICE,
    ERROR,
    PENDING,
    READY,
    Flow,
    add_flow,
    fail,
    flow_of_code,
    make_ready,
    pending_flow,
)

PATH = "/api/auth/device"
# Without vowels, which make words, and without what is mistaken for something else.
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
USER_CODE_LENGTH = 8
_WAITING = (PENDING, READY)
_NO_FLOW = "No row was found when one was required"

# Nothing of a request is ever written into these pages.
_ASKED = "Type the code that your device shows, if you have asked it to log in yourself just now."
_WRONG = "There is no login with this code, or no longer. Look again, or begin anew on your device."
_FORM = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Log in</title></head>
<body>
<h1>Log in</h1>
<p>{text}</p>
<form method="get">
<label>Code <input name="user_code" required autofocus autocomplete="off" autocapitalize="characters"
 spellcheck="false" maxlength="20"></label>
<button>Go on</button>
</form>
</body>
</html>
"""
_FINISHED = b"<h1>Please close the window</h1>"


async def begin(context: Context, _body: None, query: DeviceFlowQuery) -> Answer:
    """Begin a login: the device shows the person where to go, and asks for tokens meanwhile."""
    settings = context.resources.settings.auth
    if query.client_id != settings.client_id:
        raise RestError(400, "Unrecognised client ID")
    vo = Scope.parse(query.scope, context.resources.registry()).vo
    chosen = {}
    if query.provider is not None:
        chosen["provider"] = chosen_provider(context.resources, vo, query.provider)
    device_code = secrets.token_urlsafe(32)
    started, here = now(), f"{context.request.base_url}{PATH}"

    async def add(work: UnitOfWork) -> str:
        # A new one at each attempt: it may be in use.
        user_code = "".join(secrets.choice(USER_CODE_LETTERS) for _ in range(USER_CODE_LENGTH))
        flow = Flow(
            str(uuid7(started.timestamp())),
            DEVICE,
            query.client_id,
            query.scope,
            started,
            started + settings.device_flow_lifetime,
            user_code=user_code,
            code_hash=hash_of(device_code),
        )
        await add_flow(work, flow)
        return user_code

    user_code = await writing(context.resources.databases, add)
    answer = InitiateDeviceFlowResponse(
        user_code=user_code,
        device_code=device_code,
        verification_uri_complete=f"{here}?{urlencode({'user_code': user_code, **chosen})}",
        verification_uri=here,
        expires_in=int(settings.device_flow_lifetime.total_seconds()),
    )
    return Answer(answer, headers={"Cache-Control": "no-store"})


async def go_on(context: Context, _body: None, query: UserCodeQuery) -> Answer:
    """The person comes with the code that the device shows, and goes on to the identity provider.

    Without a code there is a page to type it into, and one to choose where the VO has several providers and
    none is named.  Case, blanks and hyphens in a code mean nothing.
    """
    if query.user_code is None:
        return _form(_ASKED)
    user_code = re.sub(r"[\s-]", "", query.user_code).upper()
    flow = await reading(
        context.resources.databases, lambda work: pending_flow(work, now(), user_code=user_code)
    )
    if flow is None:
        # Somebody who mistyped it sees the page again; programs get DiracX's text.
        if "text/html" in context.request.headers.get("accept", ""):
            return _form(_WRONG, 400)
        raise RestError(400, _NO_FLOW)
    vo = Scope.parse(flow.scope, context.resources.registry()).vo
    provider = chosen_provider(context.resources, vo, query.provider)
    if provider is None:

        def link(name: str) -> str:
            return f"?{urlencode({'user_code': flow.user_code, 'provider': name})}"

        return choice_page(context.resources, vo, link)
    back = f"{context.request.base_url}{PATH}/complete"
    return await to_provider(context.resources, DEVICE, flow.flow_id, vo, back, provider=provider)


def _form(text: str, status: int = 200) -> Answer:
    return Answer(Raw(_FORM.format(text=text).encode(), HTML), status, PAGE_HEADERS)


async def complete(context: Context, _body: None, query: ProviderAnswer) -> Answer:
    """The person comes back from the identity provider: the device's next request gets tokens.

    Who may not have what was asked for learns it here, and the device too.
    """
    resources = context.resources
    lifetime = resources.settings.auth.device_flow_lifetime
    state = LoginState.unsealed(query.state, resources.issuer.keys, DEVICE, lifetime)
    if query.error is not None:
        await writing(resources.databases, lambda work: fail(work, state.flow_id))
        raise Unauthorized("The identity provider refused the login: begin again", challenge=True)
    code = answered_code(query.code)
    flow = await reading(resources.databases, lambda work: pending_flow(work, now(), flow_id=state.flow_id))
    if flow is None:
        raise RestError(400, OVER)
    claims = await provider_claims(resources, state, code, query.iss)
    kept = orjson.dumps(claims).decode()
    if not await writing(resources.databases, lambda work: make_ready(work, flow.flow_id, now(), kept)):
        raise RestError(400, OVER)
    try:
        principal_of(resources, flow, claims)
    except Forbidden as error:
        return Answer({"detail": error.detail}, error.status)
    return redirect(f"{context.request.base_url}{PATH}/complete/finished")


async def finished(_context: Context, _body: None, _query: None) -> Answer:
    """The end of a login on a device."""
    return Answer(Raw(_FINISHED, HTML), headers=PAGE_HEADERS)


async def exchange_device_code(resources: Resources, device_code: str, client_id: str) -> Answer:
    """Tokens for a device, once its person has logged in.  Raises RestError."""
    wanted = hash_of(device_code)
    flow = await reading(resources.databases, lambda work: flow_of_code(work, DEVICE, wanted))
    if flow is None:
        raise RestError(400, "Unknown device_code: begin again")
    if flow.status == ERROR:
        return Answer({"error": "access_denied"}, 400)
    if flow.status in _WAITING and flow.expires_at <= now():
        raise Unauthorized("Device code expired", challenge=True)
    if flow.status == PENDING:
        return Answer({"error": "authorization_pending"}, 400)
    if flow.client_id != client_id:
        raise RestError(400, "Bad client_id")
    return await tokens_for(resources, flow)


OPERATIONS = (
    Operation(
        "auth_initiate_device_flow",
        "POST",
        PATH,
        begin,
        PUBLIC,
        parameters=DeviceFlowQuery,
        response=InitiateDeviceFlowResponse,
        transactional=False,
        errors=(400,),
    ),
    Operation(
        "auth_do_device_flow",
        "GET",
        PATH,
        go_on,
        PROOF,
        parameters=UserCodeQuery,
        statuses=(200, 307),
        content_type="text/html",
        transactional=False,
        errors=(400, 502),
    ),
    Operation(
        "auth_finish_device_flow",
        "GET",
        f"{PATH}/complete",
        complete,
        PROOF,
        parameters=ProviderAnswer,
        statuses=(307,),
        transactional=False,
        errors=(400, 401, 403, 502),
    ),
    Operation(
        "auth_finished",
        "GET",
        f"{PATH}/complete/finished",
        finished,
        PUBLIC,
        content_type="text/html",
        transactional=False,
    ),
)
