"""Tokens: asked for, listed, revoked, and what they say (rest-diracx.md, section 5)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from datetime import UTC, datetime, timedelta

from rest_backend.errors import RestError, Unauthorized
from rest_backend.grants import NOT_KEPT, issue, renew, revoke_stored, revoke_text
from rest_backend.models.auth import (
    DEVICE_GRANT,
    REFRESH_GRANT,
    LegacyExchangeQuery,
    RefreshTokenInfo,
    RevocationForm,
    RevocationQuery,
    TokenForm,
    TokenId,
    TokenResponse,
    UserInfoResponse,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.auth import OWN_REFRESH_TOKENS, PROOF, require_own, sees_all_tokens
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.resources.authorization_flow import exchange_code
from rest_backend.resources.device_flow import exchange_device_code
from rest_backend.scopes import BadScope, Scope, granted
from rest_backend.units import reading, writing
from shared_db.queries.refresh_tokens import CREATED, live_tokens, stored_token

_LEGACY_KEY = re.compile(r"Bearer diracx:legacy:([A-Za-z0-9_=-]+)")
_REVOKED = "Refresh token revoked"
_GOOD, _BAD = 1, 2


async def userinfo(context: Context, _body: None, _query: None) -> Answer:
    """What the caller's token says."""
    caller = context.caller
    return Answer(
        UserInfoResponse(
            sub=f"{caller.vo}:{caller.subject}",
            vo=caller.vo,
            dirac_group=caller.group,
            policies=dict(caller.policies),
            properties=list(caller.properties),
            preferred_username=caller.username,
        )
    )


async def token(context: Context, form: TokenForm, _query: None) -> Answer:
    """Tokens for what a grant proves.

    `authorization_code` needs `code`, `redirect_uri` and `code_verifier`; the device grant `device_code`;
    `refresh_token` the token of that name, which is rotated.
    """
    if form.grant_type == REFRESH_GRANT:
        return await renew(context.resources, _given(form, "refresh_token"))
    if form.grant_type == DEVICE_GRANT:
        return await exchange_device_code(context.resources, _given(form, "device_code"), form.client_id)
    return await exchange_code(
        context.resources,
        code=_given(form, "code"),
        client_id=form.client_id,
        redirect_uri=_given(form, "redirect_uri"),
        code_verifier=_given(form, "code_verifier"),
    )


def _given(form: TokenForm, name: str) -> str:
    """A field that the grant needs.  Raises RestError 422."""
    value = getattr(form, name)
    if not value:
        raise _missing("body", name)
    return str(value)


def _missing(place: str, name: str) -> RestError:
    return RestError(422, [{"type": "missing", "loc": [place, name], "msg": "Field required", "input": None}])


async def list_refresh_tokens(context: Context, _body: None, _query: None) -> Answer:
    """The caller's refresh tokens that are good; with ProxyManagement everybody's, revoked ones too."""
    caller = context.caller
    subject = None if sees_all_tokens(caller) else f"{caller.vo}:{caller.subject}"
    rows = await live_tokens(context.work, subject, datetime.now(UTC))
    return Answer(
        [
            RefreshTokenInfo(
                JTI=row.jti,
                Status=_GOOD if row.status == CREATED else _BAD,
                Scope=row.scope,
                Sub=row.subject,
            )
            for row in rows
        ]
    )


async def revoke_by_id(context: Context, _body: None, parameters: TokenId) -> Answer:
    """Revoke a refresh token, with what it was rotated to and the access tokens that came with it."""
    try:
        jti = str(uuid.UUID(parameters.jti))
    except ValueError as error:
        raise RestError(400, "badly formed hexadecimal UUID string") from error
    stored = await reading(context.resources.databases, lambda work: stored_token(work, jti))
    if stored is None:
        raise RestError(404, f"Token {parameters.jti} not found")
    require_own(context.caller, stored)
    await revoke_stored(context.resources, stored, f"{context.caller.vo}:{context.caller.subject}")
    return Answer(_REVOKED)


async def revoke(context: Context, form: RevocationForm, query: RevocationQuery) -> Answer:
    """Revoke a token that one has (RFC 7009): success also for what is no token, or none of ours."""
    given = form.token or query.token or query.refresh_token
    if not given:
        raise _missing("body", "token")
    if (form.token_type_hint or query.token_type_hint) == "access_token":
        raise RestError(400, "unsupported_token_type")
    own = context.resources.settings.auth.client_id
    if (form.client_id or query.client_id or own) != own:
        raise Unauthorized("Unrecognised client_id", challenge=True)
    await revoke_text(context.resources, given)
    return Answer(_REVOKED)


async def legacy_exchange(context: Context, _body: None, query: LegacyExchangeQuery) -> Answer:
    """Tokens for a user whom a DIRAC service vouches for; it proves itself with the legacy exchange key."""
    _check_key(context)
    registry, settings = context.resources.registry(), context.resources.settings.auth
    user = registry.users.get(query.preferred_username)
    try:
        scope = Scope.parse(query.scope, registry)
    except BadScope as error:
        raise RestError(400, "Invalid scope or preferred_username") from error
    if user is None:
        raise RestError(400, "Invalid scope or preferred_username")
    principal = granted(registry, user, scope)
    minutes = query.expires_minutes
    until = datetime.now(UTC) + (timedelta(minutes=minutes) if minutes else settings.refresh_lifetime)
    tokens = await writing(
        context.resources.databases,
        lambda work: issue(work, context.resources, principal, query.scope, until, legacy_exchange=True),
    )
    return Answer(tokens, headers=NOT_KEPT)


def _check_key(context: Context) -> None:
    """Raises RestError unless the legacy exchange key stands in the header."""
    wanted = context.resources.settings.auth.legacy_exchange_key_hash
    if not wanted:
        raise RestError(503, "Legacy exchange is not enabled")
    # No parameter: those of a wrong request are repeated in the answer.
    authorization = context.request.headers.get("authorization")
    if authorization is None:
        raise _missing("header", "authorization")
    match = _LEGACY_KEY.fullmatch(authorization)
    if match is None:
        raise RestError(400, "Invalid authorization header")
    try:
        key = base64.urlsafe_b64decode(match[1].rstrip("=") + "=" * (-len(match[1].rstrip("=")) % 4))
    except (binascii.Error, ValueError) as error:
        raise RestError(400, "Invalid authorization header") from error
    if not hmac.compare_digest(hashlib.sha256(key).hexdigest(), wanted.lower()):
        raise Unauthorized("Invalid credentials", challenge=True)


OPERATIONS = (
    Operation(
        "auth_userinfo", "GET", "/api/auth/userinfo", userinfo, AUTHENTICATED, response=UserInfoResponse
    ),
    Operation(
        "auth_get_oidc_token",
        "POST",
        "/api/auth/token",
        token,
        PROOF,
        body=TokenForm,
        form=True,
        response=TokenResponse,
        transactional=False,
        errors=(400, 401, 403),
    ),
    Operation(
        "auth_get_refresh_tokens",
        "GET",
        "/api/auth/refresh-tokens",
        list_refresh_tokens,
        OWN_REFRESH_TOKENS,
        response=list[RefreshTokenInfo],
    ),
    Operation(
        "auth_revoke_refresh_token_by_jti",
        "DELETE",
        "/api/auth/refresh-tokens/{jti}",
        revoke_by_id,
        OWN_REFRESH_TOKENS,
        parameters=TokenId,
        response=str,
        transactional=False,
        errors=(400, 403, 404),
    ),
    Operation(
        "auth_revoke_refresh_token_by_refresh_token",
        "POST",
        "/api/auth/revoke",
        revoke,
        PROOF,
        body=RevocationForm,
        form=True,
        parameters=RevocationQuery,
        response=str,
        transactional=False,
        errors=(400, 401),
    ),
    Operation(
        "auth_legacy_exchange",
        "GET",
        "/api/auth/legacy-exchange",
        legacy_exchange,
        PROOF,
        parameters=LegacyExchangeQuery,
        response=TokenResponse,
        transactional=False,
        documented=False,
        errors=(400, 401, 403, 503),
    ),
)
