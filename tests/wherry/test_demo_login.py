"""The demo's login page: a person is whom they choose, and a client learns it once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from person import Page, Person

from rest_backend.identity_providers import IdentityProviders, ProviderRefused
from rest_backend.settings import Provider
from wherry.config import Address
from wherry.demo import login
from wherry.demo.login import CLIENT_ID, LoginPage
from wherry.demo.login import Person as DemoUser
from wherry.serve import serving_http
from wherry.sockets import bind

CLIENT = "http://localhost:9/api/auth/device/complete"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PEOPLE = {
    "alice": DemoUser("sub-of-alice", ("demo_user", "demo_admin")),
    "bob": DemoUser("sub-of-bob", ("demo_user",)),
    '<b title="x">': DemoUser("sub-of-nobody", ("<i>",)),
}
ASKED = {
    "response_type": "code",
    "client_id": CLIENT_ID,
    "redirect_uri": CLIENT,
    "scope": "openid profile",
    "state": "s/+&",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@dataclass
class Login:
    """A login page at a port of its own, whose clock a test may move."""

    issuer: str
    now: list[float]
    client: IdentityProviders

    async def visit(self, changed: dict[str, str | None] | None = None) -> Page:
        """What a browser shows when a client sends it here; None takes a parameter away."""
        query = {name: value for name, value in {**ASKED, **(changed or {})}.items() if value is not None}
        return await asyncio.to_thread(Person(CLIENT).visit, f"{self.issuer}/authorize?{urlencode(query)}")

    async def choose(self, page: Page, user: str) -> Page:
        """What comes of a press on a button."""
        assert page.form is not None
        assert ("user", user) in page.form.buttons
        return await asyncio.to_thread(
            Person(CLIENT).visit, page.form.action, {**page.form.hidden, "user": user}
        )

    async def token(self, code: str, **changed: str) -> tuple[int, dict[str, Any]]:
        """What the token endpoint answers."""
        form = {
            "grant_type": "authorization_code",
            "client_id": CLIENT_ID,
            "code": code,
            "code_verifier": VERIFIER,
            "redirect_uri": CLIENT,
            **changed,
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.issuer}/token", data=form) as response,
        ):
            return response.status, await response.json()


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Login]:
    """The page, and our own client of it."""
    now = [0.0]
    with bind(Address(host="127.0.0.1", port=0), "test") as listening:
        issuer = f"http://localhost:{listening.getsockname()[1]}"
        page = LoginPage(issuer, PEOPLE, [CLIENT], lambda: time.time() + now[0])
        async with serving_http(page.app(), listening):
            client = IdentityProviders({"demo": [Provider(issuer, CLIENT_ID)]})
            yield Login(issuer, now, client)
            await client.close()


async def test_a_login(provider: Login) -> None:
    """Our own client sends a person there, and learns whom they chose to be: once."""
    url = await provider.client.authorization_url(
        "demo", redirect_uri=CLIENT, state="s/+&", code_challenge=CHALLENGE
    )
    back = await asyncio.to_thread(Person(CLIENT).log_in, url, {"user": "bob"})
    assert back.url.startswith(f"{CLIENT}?")
    assert (back.query["state"], back.query["iss"]) == ("s/+&", provider.issuer)
    arguments = {
        "code": back.query["code"],
        "code_verifier": VERIFIER,
        "redirect_uri": CLIENT,
        "issuer": back.query["iss"],
    }
    claims = await provider.client.claims("demo", **arguments)
    assert (claims["sub"], claims["preferred_username"]) == ("sub-of-bob", "bob")
    with pytest.raises(ProviderRefused, match="invalid_grant"):
        await provider.client.claims("demo", **arguments)


async def test_the_page(provider: Login) -> None:
    """It says what it is, names its users as they are, and takes nothing from elsewhere."""
    page = await provider.visit()
    assert page.status == 200
    assert "This is a demo." in page.text
    assert "anybody can be anybody" in page.text
    assert "http://localhost:9" in page.text
    assert "alice</strong> (demo_user, demo_admin)" in page.text
    assert page.form is not None
    assert page.form.buttons == [*(("user", user) for user in PEOPLE), ("user", "")]
    for dangerous in ("<b ", "<i>", "src=", "<link", "<script", "url("):
        assert dangerous not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


async def test_nobody_logs_in(provider: Login) -> None:
    """The client is told that there will be no code."""
    back = await provider.choose(await provider.visit(), "")
    assert back.query == {"error": "access_denied", "state": "s/+&", "iss": provider.issuer}


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "another"},
        {"client_id": None},
        {"redirect_uri": "https://evil.example.org/"},
        {"redirect_uri": f"{CLIENT}/"},
        {"redirect_uri": None},
    ],
)
async def test_strangers(provider: Login, changed: dict[str, str | None]) -> None:
    """Nothing is sent to an address that is not known."""
    page = await provider.visit(changed)
    assert (page.status, page.form) == (400, None)
    assert page.url.startswith(provider.issuer)
    assert "known" in page.text


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_bad_requests(provider: Login, changed: dict[str, str | None], error: str) -> None:
    """A known client is told what is wrong."""
    back = await provider.visit(changed)
    assert back.url.startswith(f"{CLIENT}?")
    assert (back.query["error"], back.query["state"]) == (error, "s/+&")


async def test_forms_of_others(provider: Login) -> None:
    """A form that this page did not hand out, or whose time is over, logs nobody in; none works twice."""
    page = await provider.visit()
    assert page.form is not None
    url, ticket = page.form.action, page.form.hidden["ticket"]

    async def post(**form: str) -> Page:
        return await asyncio.to_thread(Person(CLIENT).visit, url, form)

    for form in ({"user": "alice"}, {"user": "alice", "ticket": "guessed"}):
        assert (await post(**form)).status == 400
    assert "code" in (await post(user="alice", ticket=ticket)).query
    assert (await post(user="alice", ticket=ticket)).status == 400
    unknown = await provider.visit()
    assert unknown.form is not None
    assert (await post(user="mallory", **unknown.form.hidden)).status == 400
    late = await provider.visit()
    provider.now[0] += login.LOGIN_SECONDS + 1
    assert late.form is not None
    assert (await post(user="alice", **late.form.hidden)).status == 400


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"grant_type": "password"}, (400, {"error": "unsupported_grant_type"})),
        ({"client_id": "another"}, (401, {"error": "invalid_client"})),
        ({"code": "guessed"}, (400, {"error": "invalid_grant"})),
        ({"code_verifier": "w" * 43}, (400, {"error": "invalid_grant"})),
        ({"code_verifier": "\u00e9"}, (400, {"error": "invalid_grant"})),
        ({"redirect_uri": f"{CLIENT}x"}, (400, {"error": "invalid_grant"})),
    ],
)
async def test_codes_of_others(provider: Login, changed: dict[str, str], answer: Any) -> None:
    """A code is good for the client that asked, with what it asked with."""
    code = (await provider.choose(await provider.visit(), "alice")).query["code"]
    assert await provider.token(**{"code": code, **changed}) == answer


async def test_a_code_of_yesterday(provider: Login) -> None:
    """A code is good for a minute."""
    code = (await provider.choose(await provider.visit(), "alice")).query["code"]
    provider.now[0] += login.CODE_SECONDS + 1
    assert (await provider.token(code))[0] == 400


async def test_what_is_remembered_is_bounded(provider: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest forms go first."""
    monkeypatch.setattr(login, "MOST_REMEMBERED", 2)
    first, *others = [await provider.visit() for _ in range(3)]
    assert (await provider.choose(first, "alice")).status == 400
    for page in others:
        assert "code" in (await provider.choose(page, "alice")).query


async def test_names_that_come_to_mean_this_machine(provider: Login) -> None:
    """A page of the internet whose name is turned to the loopback reads nothing here."""
    async with aiohttp.ClientSession() as session:
        for host, status in (("evil.example.org", 421), ("[", 421), ("127.0.0.1:1", 200)):
            async with session.get(f"{provider.issuer}/jwks.json", headers={"Host": host}) as response:
                assert response.status == status


async def test_other_pages(provider: Login) -> None:
    """The front page tells what to do; the callback shows what came, as text."""
    person = Person()
    assert "dirac login" in (await asyncio.to_thread(person.visit, provider.issuer)).text
    shown = await asyncio.to_thread(person.visit, f"{provider.issuer}/callback?code=c%3Cb%3E&state=s")
    assert "code: <code>c&lt;b&gt;</code>" in shown.text
    assert "state: <code>s</code>" in shown.text
    assert "There is none" in (await asyncio.to_thread(person.visit, f"{provider.issuer}/callback")).text
