"""What device and authorization flows have in common (rest-diracx.md, section 5)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson

from rest_backend.errors import RestError
from rest_backend.grants import NOT_KEPT, issue
from rest_backend.login_state import LoginState, new_verifier
from rest_backend.messages import Answer
from rest_backend.models.auth import TokenResponse
from rest_backend.operations import Resources
from rest_backend.principals import Principal
from rest_backend.scopes import Scope, granted, user_of
from rest_backend.units import writing
from shared_db.connection import UnitOfWork
from shared_db.queries.flows import DONE, Flow, finish

USED = "Code was already used"
OVER = "The login is over or was finished already: begin again"


def hash_of(code: str) -> str:
    """What is kept of a code: SHA-256, in hex."""
    return hashlib.sha256(code.encode()).hexdigest()


def now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


async def to_provider(
    resources: Resources, kind: str, flow_id: str, vo: str, redirect_uri: str, external: str = ""
) -> Answer:
    """Send the person to the VO's identity provider, to come back to ``redirect_uri``.

    Raises RestError.
    """
    state = LoginState(kind, flow_id, vo, new_verifier(), redirect_uri, external)
    url = await resources.identity_providers.authorization_url(
        vo,
        redirect_uri=redirect_uri,
        state=state.sealed(resources.issuer.keys),
        code_challenge=state.code_challenge,
    )
    return redirect(url)


def redirect(url: str) -> Answer:
    """307; what stands in such URLs is for nobody else."""
    return Answer(None, 307, {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def answered_code(code: str | None) -> str:
    """The code that a provider sent.  Raises RestError 422."""
    if not code:
        problem = {"type": "missing", "loc": ["query", "code"], "msg": "Field required", "input": None}
        raise RestError(422, [problem])
    return code


async def provider_claims(
    resources: Resources, state: LoginState, code: str, issuer: str | None
) -> dict[str, Any]:
    """What the provider says about the person; ``issuer`` as it came with the code.  Raises RestError."""
    claims = await resources.identity_providers.claims(
        state.vo,
        code=code,
        code_verifier=state.code_verifier,
        redirect_uri=state.redirect_uri,
        issuer=issuer,
    )
    return dict(claims)


def principal_of(resources: Resources, flow: Flow, claims: dict[str, Any]) -> Principal:
    """Whom the registry makes of the person, with the rights that were asked for.  Raises RestError."""
    registry = resources.registry()
    scope = Scope.parse(flow.scope, registry)
    return granted(registry, user_of(registry, str(claims["sub"]), scope.vo), scope)


async def tokens_for(resources: Resources, flow: Flow) -> Answer:
    """Tokens for a flow that is ready; of two who ask at once one gets them.  Raises RestError."""
    if flow.status == DONE:
        raise RestError(400, USED)
    principal = principal_of(resources, flow, orjson.loads(flow.id_token_json))
    until = now() + resources.settings.auth.refresh_lifetime

    async def take(work: UnitOfWork) -> TokenResponse | None:
        if not await finish(work, flow.flow_id):
            return None
        return await issue(work, resources, principal, flow.scope, until)

    tokens = await writing(resources.databases, take)
    if tokens is None:
        raise RestError(400, USED)
    return Answer(tokens, headers=NOT_KEPT)
