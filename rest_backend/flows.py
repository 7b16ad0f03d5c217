"""What device and authorization flows have in common (rest-diracx.md, section 5)."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from rest_backend.errors import RestError
from rest_backend.grants import NOT_KEPT, issue
from rest_backend.identity_providers import UnknownProvider
from rest_backend.login_state import LoginState, new_verifier
from rest_backend.messages import Answer, Raw
from rest_backend.models.auth import TokenResponse
from rest_backend.operations import Resources
from rest_backend.principals import Principal
from rest_backend.scopes import Scope, granted, user_of
from rest_backend.units import writing
from shared_db.connection import UnitOfWork
from shared_db.queries.flows import DONE, Flow, finish

USED = "Code was already used"
OVER = "The login is over or was finished already: begin again"
# In what is kept of a provider's claims: whose its subjects are.
NAMESPACE = "wherry:namespace"

HTML = "text/html; charset=utf-8"
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CHOICES = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Log in</title></head>
<body>
<h1>Log in</h1>
<p>Where are you known?</p>
<ul>
{links}
</ul>
</body>
</html>
"""


def hash_of(code: str) -> str:
    """What is kept of a code: SHA-256, in hex."""
    return hashlib.sha256(code.encode()).hexdigest()


def now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


def chosen_provider(resources: Resources, vo: str, wanted: str | None) -> str | None:
    """The provider that is wanted, or the only one; None where a person has to choose.

    Raises UnknownProvider.
    """
    choices = resources.identity_providers.choices(vo)
    if wanted is not None:
        if wanted not in choices:
            raise UnknownProvider(vo, list(choices))
        return wanted
    return next(iter(choices)) if len(choices) == 1 else None


def choice_page(resources: Resources, vo: str, link: Callable[[str], str]) -> Answer:
    """A page with a link to each of a VO's providers; ``link`` makes the address for a name."""
    links = "\n".join(
        f'<li><a href="{html.escape(link(name))}">{html.escape(title)}</a></li>'
        for name, title in resources.identity_providers.choices(vo).items()
    )
    return Answer(Raw(_CHOICES.format(links=links).encode(), HTML), headers=PAGE_HEADERS)


async def to_provider(
    resources: Resources,
    kind: str,
    flow_id: str,
    vo: str,
    redirect_uri: str,
    external: str = "",
    *,
    provider: str,
) -> Answer:
    """Send the person to one of the VO's identity providers, to come back to ``redirect_uri``.

    Raises RestError.
    """
    state = LoginState(kind, flow_id, vo, new_verifier(), redirect_uri, external, provider)
    url = await resources.identity_providers.authorization_url(
        vo,
        name=provider,
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
    """What the provider says about the person; ``issuer`` as it came with the code.  Raises RestError.

    Beside it stands whose subjects the provider tells: two providers may have one ``sub`` for two people.
    """
    providers = resources.identity_providers
    claims = await providers.claims(
        state.vo,
        name=state.provider,
        code=code,
        code_verifier=state.code_verifier,
        redirect_uri=state.redirect_uri,
        issuer=issuer,
    )
    return {**claims, NAMESPACE: providers.namespace(state.vo, state.provider)}


def principal_of(resources: Resources, flow: Flow, claims: dict[str, Any]) -> Principal:
    """Whom the registry makes of the person, with the rights that were asked for.  Raises RestError."""
    registry = resources.registry()
    scope = Scope.parse(flow.scope, registry)
    user = user_of(registry, str(claims["sub"]), scope.vo, str(claims.get(NAMESPACE, "")))
    return granted(registry, user, scope)


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
