"""Logins in a browser: authorization code with PKCE, and the state that goes round (rest-diracx.md, 3, 5)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from logins import PROVIDER_URL, REDIRECT, REDIRECT_WITH_QUERY, SETTINGS, VERIFIER, Logins, query_of, s256
from sqlalchemy import select, update

from rest_backend import login_state
from rest_backend.identity_providers import ProviderRefused, ProviderUnavailable
from rest_backend.keys import KeySet, SigningKey
from rest_backend.login_state import LoginState
from shared_db.schema.wherry_db import WHERRY_DB, flows

AUTHORIZE = "/api/auth/authorize"


@pytest_asyncio.fixture(loop_scope="session")
async def logins(make_grid) -> AsyncIterator[Logins]:
    """A grid where people can log in."""
    async with make_grid(rest=SETTINGS) as grid:
        yield Logins(grid)


async def test_a_login(logins) -> None:
    """The whole way: to the provider, back, to the client with its own state, and tokens."""
    sent = await logins.authorize()
    assert sent.status == 307
    assert sent.headers["Location"].startswith(f"{PROVIDER_URL}?")
    asked = query_of(sent)
    assert asked["redirect_uri"] == str(logins.grid.client.make_url(f"{AUTHORIZE}/complete"))
    assert asked["code_challenge"] != s256(VERIFIER)

    back = await logins.get(
        f"{AUTHORIZE}/complete", code=f"as:{logins.subject('alice')}", state=asked["state"]
    )
    assert back.headers["Location"].startswith(f"{REDIRECT}?")
    given = query_of(back)
    assert given.keys() == {"code", "state"}
    assert given["state"] == "mine&co=1 ü"
    assert len(given["code"]) == 43

    said = await logins.redeem(given["code"])
    assert said.status == 200
    assert said.body.keys() == {"access_token", "expires_in", "token_type", "refresh_token"}
    assert (await logins.asks(said.body["access_token"])).body["preferred_username"] == "alice"


async def test_a_redirect_address_with_a_query(logins) -> None:
    """What stands in the client's address stays there."""
    asked = query_of(await logins.authorize(redirect_uri=REDIRECT_WITH_QUERY))
    back = await logins.get(
        f"{AUTHORIZE}/complete", code=f"as:{logins.subject('alice')}", state=asked["state"]
    )
    given = query_of(back)
    assert given["page"] == "1"
    assert (await logins.redeem(given["code"], redirect_uri=REDIRECT_WITH_QUERY)).status == 200


async def test_only_hashes_are_kept(logins) -> None:
    """The database has no code that could be used."""
    code = await logins.code()
    assert code not in str(await logins.grid.rows(WHERRY_DB, select(flows)))


@pytest.mark.parametrize(
    ("changed", "status", "detail"),
    [
        ({"client_id": "nobody"}, 400, "Unrecognised client_id"),
        ({"scope": "vo:nope"}, 400, "VO nope is not known to this installation"),
        *[
            ({"redirect_uri": uri}, 400, "Unrecognised redirect_uri")
            for uri in (
                "https://evil.example.org/callback",
                "https://app.example.org/callback/",
                "https://app.example.org/callback?x=1",
                "https://app.example.org/callback#x",
                "https://app.example.org/callback/../evil",
                "https://app.example.org.evil.example.org/callback",
                "https://app.example.org@evil.example.org/callback",
                "https://APP.example.org/callback",
                "http://app.example.org/callback",
                "//app.example.org/callback",
                "javascript:alert(1)",
                "",
            )
        ],
    ],
)
async def test_a_login_that_cannot_begin(logins, changed, status, detail) -> None:
    """A strange client, scope or address is told to the person, and sent nowhere."""
    said = await logins.authorize(**changed)
    assert (said.status, said.detail) == (status, detail)
    assert "Location" not in said.headers
    assert await logins.grid.rows(WHERRY_DB, select(flows)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("code_challenge_method", "plain"),
        ("code_challenge_method", None),
        ("code_challenge", None),
        ("code_challenge", ""),
        ("code_challenge", "x" * 129),
        ("code_challenge", "no challenge"),
        ("response_type", "token"),
        ("response_type", None),
        ("state", None),
        ("state", "x" * 2001),
        ("redirect_uri", None),
        ("scope", None),
        ("client_id", None),
    ],
)
async def test_what_a_request_must_have(logins, name, value) -> None:
    """PKCE with S256, a state and the rest: without one of them it is 422."""
    said = await logins.authorize(**{name: value})
    assert (said.status, said.detail[0]["loc"]) == (422, ["query", name])


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"code_verifier": "x" * 43}, "Invalid code_challenge"),
        ({"code_verifier": s256(VERIFIER)}, "Invalid code_challenge"),
        ({"code_verifier": "ü"}, "Invalid code_challenge"),
        ({"redirect_uri": REDIRECT_WITH_QUERY}, "Invalid redirect_uri"),
        ({"redirect_uri": "https://evil.example.org/"}, "Invalid redirect_uri"),
        ({"client_id": "nobody"}, "Bad client_id"),
    ],
)
async def test_a_wrong_guess(logins, changed, detail) -> None:
    """A code helps nobody but its client, for whom it stays good."""
    code = await logins.code()
    said = await logins.redeem(code, **changed)
    assert (said.status, said.detail) == (400, detail)
    assert (await logins.redeem(code)).status == 200


@pytest.mark.parametrize("field", ["code", "redirect_uri", "code_verifier"])
async def test_a_missing_field(logins, field) -> None:
    """A grant without what it needs is 422, and names it."""
    said = await logins.redeem(await logins.code(), **{field: ""})
    assert (said.status, said.detail[0]["loc"]) == (422, ["body", field])


async def test_a_code_is_used_once(logins) -> None:
    """A second exchange is 400, by whoever and when ever."""
    code = await logins.code()
    assert (await logins.redeem(code)).status == 200
    again = await logins.redeem(code)
    assert (again.status, again.detail) == (400, "Code was already used")


async def test_many_at_once(logins) -> None:
    """Of many that exchange one code at once, one gets tokens."""
    code = await logins.code()
    said = await asyncio.gather(*(logins.redeem(code) for _ in range(8)))
    assert sorted(each.status for each in said) == [200, *[400] * 7]


async def test_an_unknown_code(logins) -> None:
    """A code that nobody gave is 400; a device code is none here."""
    assert (await logins.redeem("x" * 43)).status == 400
    begun = await logins.begin_device()
    await logins.confirm(begun["user_code"])
    assert (await logins.redeem(begun["device_code"])).status == 400


async def test_a_flow_that_is_over(logins) -> None:
    """After its time a flow gives nothing."""
    code = await logins.code()
    state = query_of(await logins.authorize())["state"]
    async with logins.grid.databases.unit_of_work(write=True) as work:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await work.change(WHERRY_DB, update(flows).values(expires_at=past))
    said = await logins.redeem(code)
    assert (said.status, said.detail) == (400, "Code expired: begin again")
    back = await logins.get(f"{AUTHORIZE}/complete", code="as:x", state=state)
    assert (back.status, "begin again" in back.detail) == (400, True)


async def test_a_provider_in_trouble(logins) -> None:
    """DiracX's texts for a provider that refuses, or is not there; the person may try again."""
    state = query_of(await logins.authorize())["state"]
    back = {"code": f"as:{logins.subject('alice')}", "state": state}
    logins.provider.problem = ProviderRefused("demo", "x")
    said = await logins.get(f"{AUTHORIZE}/complete", **back)
    assert (said.status, said.detail) == (401, "Invalid code")
    logins.provider.problem = ProviderUnavailable("demo", "x")
    said = await logins.get(f"{AUTHORIZE}/complete", **back)
    assert (said.status, said.detail) == (502, "Failed to contact IAM server")
    assert (await logins.authorize()).status == 502
    logins.provider.problem = None
    assert (await logins.get(f"{AUTHORIZE}/complete", **back)).status == 307


async def test_a_person_who_refuses(logins) -> None:
    """The client learns that its person said no; what the provider wrote goes no further."""
    state = query_of(await logins.authorize())["state"]
    said = await logins.get(f"{AUTHORIZE}/complete", error="<script>", state=state)
    assert urlsplit(said.headers["Location"])._replace(query="").geturl() == REDIRECT
    assert query_of(said) == {"error": "access_denied", "state": "mine&co=1 ü"}
    assert (await logins.get(f"{AUTHORIZE}/complete", code="as:x", state=state)).status == 400


async def test_a_subject_that_is_not_known(logins) -> None:
    """The client learns why its person gets no tokens, and the text is for the administrator."""
    state = query_of(await logins.authorize())["state"]
    back = await logins.get(f"{AUTHORIZE}/complete", code="as:f0e1-unknown", state=state)
    said = await logins.redeem(query_of(back)["code"])
    assert (said.status, "f0e1-unknown" in said.detail) == (403, True)


# --- The state


def _sealed_by(key: bytes, state: LoginState, at: float) -> str:
    fernet = Fernet(base64.urlsafe_b64encode(key))
    content = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return fernet.encrypt_at_time(orjson.dumps(content), int(at)).decode()


async def test_states_that_are_not_ours(logins) -> None:
    """A state that was forged, changed, made for another flow, or is too old, is `Invalid state`."""
    good = query_of(await logins.authorize())["state"]
    keys = logins.grid.issuer.keys
    state = LoginState.unsealed(good, keys, "authorization", timedelta(minutes=5))
    own = keys.derived(login_state._PURPOSE)[0]
    device = (await logins.to_provider((await logins.begin_device())["user_code"]))["state"]
    now = time.time()
    bad = {
        "empty": "",
        "garbage": "x" * 100,
        "no ASCII": "ü" * 40,
        "changed": good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:],
        "another key": _sealed_by(b"k" * 32, state, now),
        "too old": _sealed_by(own, state, now - 301),
        "of the device flow": device,
    }
    for name, text in bad.items():
        said = await logins.get(f"{AUTHORIZE}/complete", code="as:x", state=text)
        assert (said.status, said.detail) == (400, "Invalid state"), name
    for name, text in {**bad, "of the other flow": good}.items():
        if name != "of the device flow":
            said = await logins.get("/api/auth/device/complete", code="as:x", state=text)
            assert (said.status, said.detail) == (400, "Invalid state"), name
    # The same hand makes good ones: the refusals above have their reasons.
    fresh = _sealed_by(own, state, now - 200)
    said = await logins.get(f"{AUTHORIZE}/complete", code=f"as:{logins.subject('alice')}", state=fresh)
    assert said.status == 307


async def test_a_state_says_nothing(logins) -> None:
    """Neither the verifier nor the client's state can be read in it."""
    text = query_of(await logins.authorize())["state"]
    assert b"mine" not in base64.urlsafe_b64decode(text)
    state = LoginState.unsealed(text, logins.grid.issuer.keys, "authorization", timedelta(minutes=5))
    assert state.code_verifier not in repr(state)


async def test_a_login_across_a_change_of_keys(logins) -> None:
    """Who went to the provider before the keys were changed comes back after it."""
    asked = query_of(await logins.authorize())
    old = logins.grid.issuer.keys
    issuer: Any = logins.grid.issuer
    issuer._keys = KeySet([SigningKey.generate(), *old.all])
    back = await logins.get(
        f"{AUTHORIZE}/complete", code=f"as:{logins.subject('alice')}", state=asked["state"]
    )
    assert (await logins.redeem(query_of(back)["code"])).status == 200
    issuer._keys = KeySet([SigningKey.generate()])
    assert (await logins.get(f"{AUTHORIZE}/complete", code="as:x", state=asked["state"])).status == 400


async def test_no_addresses_are_configured(make_grid) -> None:
    """Where no address may be redirected to, none is."""
    none = replace(SETTINGS, auth=replace(SETTINGS.auth, redirect_uris=()))
    async with make_grid(rest=none) as grid:
        said = await Logins(grid).authorize()
        assert (said.status, said.detail) == (400, "Unrecognised redirect_uri")
