"""Refresh tokens and their rotation, revocation, legacy exchange (rest-diracx.md, sections 1, 3 and 5)."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import pytest_asyncio
from logins import CLIENT, LEGACY_HEADER, SETTINGS, Logins
from sqlalchemy import select

from rest_backend.keys import SigningKey
from shared_db.cfg import CfgSection
from shared_db.queries.refresh_tokens import purge_refresh_tokens, record_refresh_token
from shared_db.registry import Registry
from shared_db.schema.wherry_db import WHERRY_DB, refresh_tokens, revocations

TOKENS = "/api/auth/refresh-tokens"
REUSED = "Revoked refresh token reused: potential attack detected. You must authenticate again"


@pytest_asyncio.fixture(loop_scope="session")
async def logins(make_grid) -> AsyncIterator[Logins]:
    """A grid where people can log in, which follows what is revoked."""
    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(make_grid(rest=SETTINGS))
        followed = grid.runner.resources.revocations.followed(grid.databases, 0.05)
        await stack.enter_async_context(followed)
        yield Logins(grid)


def claims(token: str) -> dict[str, Any]:
    """What a token says."""
    return jwt.decode(token, options={"verify_signature": False})


async def until_refused(logins: Logins, access_token: str) -> None:
    """An access token is refused within a second."""
    for _ in range(40):
        said = await logins.asks(access_token)
        if said.status == 401:
            assert said.detail == "Invalid JWT"
            return
        await asyncio.sleep(0.025)
    raise AssertionError("the token is still good")


async def statuses(logins: Logins, caller: str) -> dict[str, int]:
    """The status of every token that a caller sees, by jti."""
    said = await logins.grid.http("GET", TOKENS, caller=caller)
    assert said.status == 200
    return {each["JTI"]: each["Status"] for each in said.body}


# --- Rotation and reuse


async def test_rotation(logins) -> None:
    """Each use gives another refresh token of the same end, with the same rights."""
    first = await logins.log_in("alice", "vo:demo property:Operator")
    tokens = first
    for _ in range(3):
        said = await logins.refresh(tokens["refresh_token"])
        assert said.status == 200
        assert said.headers["Cache-Control"] == "no-store"
        assert said.body.keys() == {"access_token", "expires_in", "token_type", "refresh_token"}
        before, after = claims(tokens["refresh_token"]), claims(said.body["refresh_token"])
        assert before["jti"] != after["jti"]
        assert before["exp"] == after["exp"]
        tokens = said.body
    assert (await logins.asks(tokens["access_token"])).body["properties"] == ["NormalUser", "Operator"]
    families = await logins.grid.rows(WHERRY_DB, select(refresh_tokens.c.family).distinct())
    assert families == [(claims(first["refresh_token"])["jti"],)]


async def test_any_client_may_refresh(logins) -> None:
    """The refresh grant does not look at `client_id`, as DiracX does not."""
    tokens = await logins.log_in()
    assert (await logins.refresh(tokens["refresh_token"], client_id="whatever")).status == 200


async def test_reuse(logins) -> None:
    """A token that is used twice ends its family, and all else that its subject has, at once and for good."""
    stolen = await logins.log_in("alice")
    elsewhere = await logins.log_in("alice", "vo:demo group:demo_admin")
    legacy = (await logins.exchange()).body
    bobs = await logins.log_in("bob")
    other_vo = (await logins.exchange(scope="vo:other group:other_user")).body
    current = (await logins.refresh(stolen["refresh_token"])).body

    said = await logins.refresh(stolen["refresh_token"])
    assert (said.status, said.detail) == (401, REUSED)

    for tokens in (current, elsewhere):
        said = await logins.refresh(tokens["refresh_token"])
        assert (said.status, said.detail) == (401, REUSED)
    assert (await logins.refresh(legacy["refresh_token"])).status == 401
    for tokens in (current, elsewhere, legacy, stolen):
        await until_refused(logins, tokens["access_token"])
    # Other subjects go on, and so does the same one after a login.
    for tokens in (bobs, other_vo):
        assert (await logins.asks(tokens["access_token"])).status == 200
        assert (await logins.refresh(tokens["refresh_token"])).status == 200
    again = await logins.log_in("alice")
    assert (await logins.asks(again["access_token"])).status == 200
    assert (await logins.refresh(again["refresh_token"])).status == 200


async def test_an_old_token_ends_no_later_login(logins) -> None:
    """Neither one that was logged out nor one used twice before: whoever kept it would lock the user out."""
    old, stolen = await logins.log_in("alice"), await logins.log_in("alice")
    await logins.grid.http(
        "POST", "/api/auth/revoke", {"token": old["refresh_token"], "client_id": "myDIRACClientID"}
    )
    assert (await logins.refresh(stolen["refresh_token"])).status == 200
    assert (await logins.refresh(stolen["refresh_token"])).status == 401
    current = await logins.log_in("alice")
    for kept in (old, stolen):
        said = await logins.refresh(kept["refresh_token"])
        assert (said.status, said.detail) == (401, REUSED)
    assert (await logins.asks(current["access_token"])).status == 200
    assert (await logins.refresh(current["refresh_token"])).status == 200


async def test_many_at_once(logins) -> None:
    """Of many that use one token at once, one is served, and the others are its reuse."""
    tokens = await logins.log_in()
    said = await asyncio.gather(*(logins.refresh(tokens["refresh_token"]) for _ in range(6)))
    assert sorted(each.status for each in said) == [200, *[401] * 5]
    [good] = [each for each in said if each.status == 200]
    assert (await logins.refresh(good.body["refresh_token"])).status == 401


def _bad_tokens(logins: Logins, good: str) -> Mapping[str, tuple[str, str]]:
    """Tokens that are none, with what is said of them."""
    said = claims(good)
    own = logins.grid.issuer.keys.signing

    def signed(key: Any = own.private, **changed: Any) -> str:
        wanted = {name: value for name, value in {**said, **changed}.items() if value is not ...}
        return jwt.encode(wanted, key, algorithm="Ed25519", headers={"kid": own.key_id})

    garbage = "decode_error: Invalid JSON Web Signature"
    return {
        "garbage": ("garbage", garbage),
        "no JWT": ("a.b.c", garbage),
        "expired": (signed(exp=int(time.time()) - 1), "expired_token: The token is expired"),
        "forged": (signed(SigningKey.generate().private), "bad_signature: The signature is not ours"),
        "without end": (signed(exp=...), "missing_claim: Missing claim: 'exp'"),
        "an access token": (
            logins.grid.token("alice"),
            "missing_claim: Missing claim: 'legacy_exchange'",
        ),
        "jti is no UUID": (signed(jti="x"), garbage),
        "never issued": (
            signed(jti=str(uuid.uuid4())),
            "Refresh token is not known here. You must authenticate again",
        ),
    }


async def test_bad_refresh_tokens(logins) -> None:
    """What is no refresh token of ours is 401 with a challenge and a reason, and harms nobody."""
    tokens = await logins.log_in()
    for name, (text, detail) in _bad_tokens(logins, tokens["refresh_token"]).items():
        said = await logins.refresh(text)
        assert (said.status, said.detail) == (401, detail), name
        assert said.headers["WWW-Authenticate"] == "Bearer"
    assert (await logins.refresh(tokens["refresh_token"])).status == 200


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"grant_type": "refresh_token"}, ["body", "refresh_token"]),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, ["body", "device_code"]),
        ({"grant_type": "authorization_code"}, ["body", "code"]),
        ({"grant_type": "password", "username": "alice"}, ["body", "grant_type"]),
        ({}, ["body", "grant_type"]),
    ],
)
async def test_requests_that_lack_something(logins, fields, loc) -> None:
    """A grant that is unknown or incomplete is 422, where DiracX answers 500."""
    said = await logins.form("/api/auth/token", client_id=CLIENT, **fields)
    assert (said.status, said.detail[0]["loc"]) == (422, loc)


async def test_a_client_must_say_who_it_is(logins) -> None:
    """`client_id` is needed in every grant."""
    said = await logins.form("/api/auth/token", grant_type="refresh_token", refresh_token="x")
    assert (said.status, said.detail[0]["loc"]) == (422, ["body", "client_id"])


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("Registry/Users/alice/Suspended", "demo", "User alice is suspended in VO demo"),
        (
            "Registry/Groups/demo_user/Users",
            "bob",
            "User is not a member of the requested group (alice, demo_user)",
        ),
        (
            "Registry/Groups/demo_user/VO",
            "other",
            "demo_user not in demo groups: you must authenticate again",
        ),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
async def test_rights_that_were_lost(logins, setting, value, text, legacy) -> None:
    """Who was suspended or left the group gets no further tokens, nor does a DIRAC proxy of theirs."""
    tokens = (await logins.exchange()).body if legacy else await logins.log_in()
    cfg: CfgSection = logins.grid.runner.resources.cfg()
    cfg.set(setting, value)
    logins.grid.registry = Registry.from_cfg(cfg)
    said = await logins.refresh(tokens["refresh_token"])
    assert (said.status, said.detail) == (403, text)
    assert (await logins.asks(tokens["access_token"])).status == 401


async def test_a_token_recorded_for_a_proxy(logins) -> None:
    """What exchangeProxyForToken recorded works at the token endpoint, as often as one likes."""
    grid = logins.grid
    until = datetime.now(UTC) + timedelta(hours=2)
    made = grid.issuer.mint_refresh(until, legacy_exchange=True)
    async with grid.databases.unit_of_work(write=True) as work:
        await record_refresh_token(
            work,
            jti=made.jti,
            subject=f"demo:{logins.subject('alice')}",
            vo="demo",
            scope="vo:demo group:demo_user property:NormalUser",
            created=made.created,
            expires=made.expires,
            legacy_exchange=True,
        )
    for _ in range(3):
        said = await logins.refresh(made.text)
        assert (said.status, said.body["refresh_token"]) == (200, made.text)
        assert (await logins.asks(said.body["access_token"])).status == 200


# --- Lists and revocation


async def test_the_list(logins) -> None:
    """Plain users see their own good tokens, holders of ProxyManagement everybody's."""
    first = await logins.log_in("bob", "vo:demo")
    second = (await logins.refresh(first["refresh_token"])).body
    alices = await logins.log_in("alice")
    ids = [claims(each["refresh_token"])["jti"] for each in (first, second, alices)]

    subject = f"demo:{logins.subject('bob')}"
    said = await logins.grid.http("GET", TOKENS, caller="bob")
    assert said.body == [{"JTI": ids[1], "Status": 1, "Scope": "vo:demo group:demo_user", "Sub": subject}]
    assert await statuses(logins, "admin") == dict(zip(ids, (2, 1, 1), strict=True))
    assert await statuses(logins, "olga") == {}
    # A guest is bob in another group: the same person.
    assert await statuses(logins, "guest") == {ids[1]: 1}


async def test_revoking_by_id(logins) -> None:
    """An own token is revoked, and all that came of it."""
    first = await logins.log_in("bob")
    kept = await logins.log_in("bob")
    second = (await logins.refresh(first["refresh_token"])).body
    jti = claims(second["refresh_token"])["jti"]
    said = await logins.grid.http("DELETE", f"{TOKENS}/{jti}", caller="bob")
    assert (said.status, said.body) == (200, "Refresh token revoked")
    for tokens in (first, second):
        await until_refused(logins, tokens["access_token"])
    assert await statuses(logins, "bob") == {claims(kept["refresh_token"])["jti"]: 1}
    assert (await logins.asks(kept["access_token"])).status == 200
    assert (await logins.refresh(second["refresh_token"])).detail == REUSED
    # Twice is as good as once.
    assert (await logins.grid.http("DELETE", f"{TOKENS}/{jti}", caller="bob")).status == 200


@pytest.mark.parametrize(
    ("caller", "status", "body"),
    [
        ("bob", 403, {"detail": "Cannot revoke a refresh token owned by someone else"}),
        ("alice_elsewhere", 403, {"detail": "Cannot revoke a refresh token owned by someone else"}),
        ("pilot", 403, {"detail": "Cannot revoke a refresh token owned by someone else"}),
        ("alice", 200, "Refresh token revoked"),
        ("admin", 200, "Refresh token revoked"),
    ],
)
async def test_who_may_revoke(logins, caller, status, body) -> None:
    """The owner, from any group of the VO, and ProxyManagement."""
    tokens = await logins.log_in("alice")
    jti = claims(tokens["refresh_token"])["jti"]
    said = await logins.grid.http("DELETE", f"{TOKENS}/{jti}", caller=caller)
    assert (said.status, said.body) == (status, body)
    assert (await logins.refresh(tokens["refresh_token"])).status == (401 if status == 200 else 200)


async def test_ids_that_are_none(logins) -> None:
    """What is no UUID is 400, what is not there 404."""
    said = await logins.grid.http("DELETE", f"{TOKENS}/x", caller="bob")
    assert (said.status, said.detail) == (400, "badly formed hexadecimal UUID string")
    missing = str(uuid.uuid4())
    said = await logins.grid.http("DELETE", f"{TOKENS}/{missing}", caller="bob")
    assert (said.status, said.detail) == (404, f"Token {missing} not found")


@pytest.mark.parametrize("legacy", [False, True])
async def test_logging_out(logins, legacy) -> None:
    """`dirac logout`: the refresh token is no good any more, nor what came with it; others are."""
    tokens = (await logins.exchange()).body if legacy else await logins.log_in()
    kept = await logins.log_in()
    said = await logins.form(
        "/api/auth/revoke",
        token=tokens["refresh_token"],
        client_id=CLIENT,
        token_type_hint="refresh_token",
    )
    assert (said.status, said.body) == (200, "Refresh token revoked")
    await until_refused(logins, tokens["access_token"])
    assert (await logins.asks(kept["access_token"])).status == 200
    refused = await logins.refresh(tokens["refresh_token"])
    assert refused.status == 401
    assert refused.detail == ("Refresh token was revoked. You must authenticate again" if legacy else REUSED)
    # Whoever still has a token that was logged out has nothing: no other login ends for it.
    assert (await logins.refresh(kept["refresh_token"])).status == 200


async def test_access_tokens_are_revoked_too(logins) -> None:
    """An access token that is handed in is refused from then on; its refresh token goes on."""
    tokens = await logins.log_in()
    said = await logins.form("/api/auth/revoke", token=tokens["access_token"])
    assert (said.status, said.body) == (200, "Refresh token revoked")
    await until_refused(logins, tokens["access_token"])
    renewed = await logins.refresh(tokens["refresh_token"])
    assert (await logins.asks(renewed.body["access_token"])).status == 200
    assert (await logins.form("/api/auth/revoke", token=tokens["access_token"])).status == 200


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "ü" * 30])
async def test_revoking_garbage(logins, token) -> None:
    """What is no token has nothing to be revoked, which is success (RFC 7009), and leaves no trace."""
    said = await logins.form("/api/auth/revoke", token=token)
    assert (said.status, said.body) == (200, "Refresh token revoked")
    assert await logins.grid.rows(WHERRY_DB, select(revocations)) == []


async def test_revocations_that_are_refused(logins) -> None:
    """The hint `access_token`, a strange client and no token at all are errors."""
    tokens = await logins.log_in()
    given = {"token": tokens["refresh_token"]}
    said = await logins.form("/api/auth/revoke", **given, token_type_hint="access_token")
    assert (said.status, said.detail) == (400, "unsupported_token_type")
    said = await logins.form("/api/auth/revoke", **given, client_id="nobody")
    assert (said.status, said.detail) == (401, "Unrecognised client_id")
    said = await logins.form("/api/auth/revoke", client_id=CLIENT)
    assert (said.status, said.detail[0]["loc"]) == (422, ["body", "token"])
    # A hint that nobody knows is passed over.
    assert (await logins.refresh(tokens["refresh_token"])).status == 200
    assert (await logins.form("/api/auth/revoke", **given, token_type_hint="x")).status == 200


async def test_revoking_as_pilots_do(logins) -> None:
    """The pilot's client says it in the query."""
    tokens = await logins.log_in()
    query = {"refresh_token": tokens["refresh_token"], "client_id": CLIENT}
    said = await logins.grid.http("POST", "/api/auth/revoke", caller=None, query=query)
    assert (said.status, said.body) == (200, "Refresh token revoked")
    assert (await logins.refresh(tokens["refresh_token"])).status == 401
    said = await logins.grid.http("POST", "/api/auth/revoke", caller=None, query={**query, "client_id": "x"})
    assert said.status == 401


async def test_ended_tokens(logins) -> None:
    """Tokens that have ended are not listed, and are taken away, a bounded number at a time."""
    grid = logins.grid
    now = datetime.now(UTC)
    for number in range(5):
        async with grid.databases.unit_of_work(write=True) as work:
            await record_refresh_token(
                work,
                jti=str(uuid.uuid4()),
                subject="demo:x",
                vo="demo",
                scope="vo:demo",
                created=now - timedelta(hours=2),
                expires=now + timedelta(hours=1 if number == 0 else -1),
                legacy_exchange=False,
            )
    assert len(await statuses(logins, "admin")) == 1
    purged = []
    for _ in range(3):
        async with grid.databases.unit_of_work(write=True) as work:
            purged.append(await purge_refresh_tokens(work, now, most=3))
    assert purged == [3, 1, 0]
    assert len(await grid.rows(WHERRY_DB, select(refresh_tokens))) == 1


# --- Legacy exchange


async def test_legacy_exchange(logins) -> None:
    """A DIRAC service gets what its user may have; the refresh token is never rotated."""
    said = await logins.exchange(
        scope="vo:demo group:demo_user property:NormalUser property:Operator",
        expires_minutes="120",
        source="ProxyManager",
    )
    assert said.status == 200
    assert said.body.keys() == {"access_token", "expires_in", "token_type", "refresh_token"}
    assert said.body["expires_in"] == 1200
    refresh = claims(said.body["refresh_token"])
    assert refresh["legacy_exchange"] is True
    assert refresh["exp"] == pytest.approx(time.time() + 7200, abs=30)
    who = (await logins.asks(said.body["access_token"])).body
    assert (who["preferred_username"], who["properties"]) == ("alice", ["NormalUser", "Operator"])
    for _ in range(3):
        again = await logins.refresh(said.body["refresh_token"])
        assert (again.status, again.body["refresh_token"]) == (200, said.body["refresh_token"])


async def test_how_long_legacy_tokens_last(logins) -> None:
    """Without `expires_minutes` as long as any other."""
    said = await logins.exchange()
    assert claims(said.body["refresh_token"])["exp"] == pytest.approx(time.time() + 3600, abs=30)
    for wrong in ("0", "-5", "x", "9" * 30):
        assert (await logins.exchange(expires_minutes=wrong)).status == 422


@pytest.mark.parametrize(
    ("header", "status", "detail"),
    [
        ("Bearer diracx:legacy:" + base64.urlsafe_b64encode(b"x" * 32).decode(), 401, "Invalid credentials"),
        ("Bearer diracx:legacy:", 400, "Invalid authorization header"),
        ("Bearer diracx:legacy:?", 400, "Invalid authorization header"),
        ("Bearer diracx:legacy:A", 400, "Invalid authorization header"),
        ("Bearer eyJ.x.y", 400, "Invalid authorization header"),
        ("Basic diracx:legacy:AAAA", 400, "Invalid authorization header"),
        (LEGACY_HEADER.removeprefix("Bearer "), 400, "Invalid authorization header"),
        (LEGACY_HEADER.rstrip("="), 200, None),
    ],
)
async def test_the_key(logins, header, status, detail) -> None:
    """Only the right key in the right form opens."""
    said = await logins.exchange(header)
    assert said.status == status
    if detail:
        assert said.detail == detail


async def test_no_key(logins) -> None:
    """Without the header it is 422."""
    said = await logins.exchange(None)
    assert (said.status, said.detail[0]["loc"]) == (422, ["header", "authorization"])


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ({"preferred_username": "nobody"}, 400, "Invalid scope or preferred_username"),
        ({"scope": "vo:nope"}, 400, "Invalid scope or preferred_username"),
        ({"scope": "vo:demo property:Nope"}, 400, "Invalid scope or preferred_username"),
        (
            {"preferred_username": "bob", "scope": "vo:demo group:demo_admin"},
            403,
            "User is not a member of the requested group (bob, demo_admin)",
        ),
        (
            {"preferred_username": "bob", "scope": "vo:demo property:Operator"},
            403,
            "Operator are not valid properties for user bob, available values: NormalUser JobMonitor",
        ),
    ],
)
async def test_exchanges_that_are_refused(logins, query, status, detail) -> None:
    """Users and rights that there are not."""
    said = await logins.exchange(**query)
    assert (said.status, said.detail) == (status, detail)


async def test_no_legacy_exchange(make_grid) -> None:
    """Where no key is configured nobody exchanges anything, with or without a header."""
    none = replace(SETTINGS, auth=replace(SETTINGS.auth, legacy_exchange_key_hash=""))
    async with make_grid(rest=none) as grid:
        for header in (LEGACY_HEADER, None):
            said = await Logins(grid).exchange(header)
            assert (said.status, said.detail) == (503, "Legacy exchange is not enabled")
