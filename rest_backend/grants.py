"""Issuing, renewing and revoking tokens, over their rows (rest-diracx.md, sections 3 and 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rest_backend.errors import Forbidden, Unauthorized
from rest_backend.models.auth import TokenResponse
from rest_backend.operations import Answer, Resources
from rest_backend.principals import Principal
from rest_backend.scopes import BadScope, Scope, granted, user_of
from rest_backend.tokens import AccessToken, RefreshRefused
from rest_backend.units import reading, writing
from shared_db.connection import UnitOfWork
from shared_db.queries.refresh_tokens import (
    CREATED,
    StoredToken,
    record_refresh_token,
    revoke_family,
    revoke_subject,
    stored_token,
    use_up,
)
from shared_db.queries.revocations import FAMILY, SUBJECT, TOKEN, Revocation, add_revocation

Holder = Callable[[StoredToken], Awaitable[Principal]]

# RFC 6749, 5.1: nobody on the way keeps tokens.
NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
REUSED = "Revoked refresh token reused: potential attack detected. You must authenticate again"


async def issue(
    work: UnitOfWork,
    resources: Resources,
    principal: Principal,
    scope: str,
    until: datetime,
    *,
    legacy_exchange: bool = False,
    family: str = "",
) -> TokenResponse:
    """A pair of tokens, the refresh token good until then and kept as a row.

    ``family``: of the refresh token that this one replaces.  The row names the group, also where the scope
    does not: another default group, one day, must not change what a token is good for.
    """
    issuer = resources.issuer
    refresh = issuer.mint_refresh(until, legacy_exchange=legacy_exchange)
    access = issuer.mint(principal, family=family or refresh.jti)
    await record_refresh_token(
        work,
        jti=refresh.jti,
        family=family,
        subject=f"{principal.vo}:{principal.subject}",
        vo=principal.vo,
        scope=_with_group(scope, principal.group),
        created=refresh.created,
        expires=refresh.expires,
        legacy_exchange=legacy_exchange,
    )
    return pair(resources, access, refresh.text)


def _with_group(scope: str, group: str) -> str:
    """A scope that names the group; pilots with tokens of their own have none."""
    return f"{scope} group:{group}" if group and " group:" not in f" {scope}" else scope


def pair(resources: Resources, access: AccessToken, refresh: str) -> TokenResponse:
    """Two tokens as clients get them."""
    return TokenResponse(
        access_token=access.text,
        expires_in=resources.issuer.access_seconds,
        token_type="Bearer",  # noqa: S106
        refresh_token=refresh,
    )


async def renew(resources: Resources, text: str, holder: Holder | None = None) -> Answer:
    """New tokens for a refresh token, which is rotated; one that comes from a DIRAC proxy stays as it is.

    ``holder``: whom its row stands for now, where that is no user.

    A token that is used twice revokes its family and all others of its subject, before this answers.  There
    is no grace for a client that repeats itself because an answer was lost: a thief would have it too.
    """
    try:
        claims = resources.issuer.verify_refresh(text)
    except RefreshRefused as error:
        raise Unauthorized(str(error), challenge=True) from error
    databases = resources.databases
    stored = await reading(databases, lambda work: stored_token(work, claims.jti))
    if stored is None:
        raise Unauthorized("Refresh token is not known here. You must authenticate again", challenge=True)
    if stored.status != CREATED:
        return await _revoked(resources, stored)
    principal = _still_granted(resources, stored) if holder is None else await holder(stored)
    if stored.legacy_exchange:
        access = resources.issuer.mint(principal, family=stored.family)
        return Answer(pair(resources, access, text), headers=NOT_KEPT)

    async def rotate(work: UnitOfWork) -> TokenResponse | None:
        if not await use_up(work, stored.jti, _now()):
            return None
        return await issue(work, resources, principal, stored.scope, stored.expires_at, family=stored.family)

    tokens = await writing(databases, rotate)
    return await _revoked(resources, stored) if tokens is None else Answer(tokens, headers=NOT_KEPT)


def _still_granted(resources: Resources, stored: StoredToken) -> Principal:
    """Whom the registry makes of a row now.  Raises Forbidden."""
    registry = resources.registry()
    _, _, subject = stored.subject.partition(":")
    try:
        scope = Scope.parse(stored.scope, registry)
    except BadScope as error:
        raise Forbidden(f"{error.detail}: you must authenticate again") from error
    return granted(registry, user_of(registry, subject, stored.vo), scope)


async def _revoked(resources: Resources, stored: StoredToken) -> Answer:
    """Refuse a token that is no longer good; while its family goes on, all of its subject's end with it."""
    if stored.legacy_exchange:
        raise Unauthorized("Refresh token was revoked. You must authenticate again", challenge=True)

    async def end(work: UnitOfWork) -> None:
        now = _now()
        # Of a family that has ended a thief has nothing; else an old token could end every new login.
        if await revoke_family(work, stored.family, now):
            await revoke_subject(work, stored.subject, now)
            await add_revocation(work, _revocation(resources, SUBJECT, stored.subject, "", "reuse"))

    await writing(resources.databases, end)
    resources.revocations.changed()
    return Answer({"detail": REUSED}, 401, {"WWW-Authenticate": "Bearer"})


async def revoke_stored(resources: Resources, stored: StoredToken, who: str) -> None:
    """Revoke a refresh token: what is left of its family, and the access tokens that came with it."""

    async def end(work: UnitOfWork) -> None:
        await revoke_family(work, stored.family, _now())
        await add_revocation(work, _revocation(resources, FAMILY, stored.family, who, "revoked"))

    await writing(resources.databases, end)
    resources.revocations.changed()


async def revoke_text(resources: Resources, text: str) -> None:
    """Revoke a token of either kind; nothing happens for what is none of ours (RFC 7009)."""
    try:
        jti = resources.issuer.verify_refresh(text).jti
    except RefreshRefused:
        await _revoke_access(resources, text)
        return
    stored = await reading(resources.databases, lambda work: stored_token(work, jti))
    if stored is not None:
        await revoke_stored(resources, stored, stored.subject)


async def _revoke_access(resources: Resources, text: str) -> None:
    try:
        token = resources.issuer.verify_access(text)
    except Unauthorized:
        return
    who = f"{token.principal.vo}:{token.principal.subject}"
    revocation = _revocation(resources, TOKEN, str(token.jti), who, "revoked")
    await writing(resources.databases, lambda work: add_revocation(work, revocation))
    resources.revocations.changed()


def _revocation(resources: Resources, kind: str, value: str, who: str, why: str) -> Revocation:
    """It lasts as long as a token that is issued now."""
    now = _now()
    return Revocation(kind, value, now, now + resources.issuer.lifetime, who, why)


def _now() -> datetime:
    return datetime.now(UTC)
