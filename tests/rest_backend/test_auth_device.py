"""Logins on a device without a browser (rest-diracx.md, sections 3 and 5)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import pytest_asyncio
from logins import CLIENT, PROVIDER_URL, SETTINGS, Logins, query_of
from sqlalchemy import select, update

from rest_backend.identity_providers import ProviderRefused, ProviderUnavailable
from rest_backend.resources import device_flow
from shared_db.schema.wherry_db import WHERRY_DB, flows

DEVICE = "/api/auth/device"


@pytest_asyncio.fixture(loop_scope="session")
async def logins(make_grid) -> AsyncIterator[Logins]:
    """A grid where people can log in."""
    async with make_grid(rest=SETTINGS) as grid:
        yield Logins(grid)


async def end_flows(grid: Any) -> None:
    """Let the time of every flow be over."""
    async with grid.databases.unit_of_work(write=True) as work:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await work.change(WHERRY_DB, update(flows).values(expires_at=past))


async def test_a_login(logins) -> None:
    """The whole way: codes, the provider, the last page, and tokens with what was asked for."""
    here = str(logins.grid.client.make_url(DEVICE))
    begun = await logins.begin_device("vo:demo group:demo_user property:JobAdministrator")
    assert begun.keys() == {
        "user_code",
        "device_code",
        "verification_uri_complete",
        "verification_uri",
        "expires_in",
    }
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{8}", begun["user_code"])
    assert re.fullmatch("[A-Za-z0-9_-]{43}", begun["device_code"])
    assert begun["verification_uri"] == here
    assert begun["verification_uri_complete"] == f"{here}?user_code={begun['user_code']}"
    assert begun["expires_in"] == 600

    waiting = await logins.poll(begun["device_code"])
    assert (waiting.status, waiting.body) == (400, {"error": "authorization_pending"})

    sent = await logins.get(DEVICE, user_code=begun["user_code"])
    assert sent.status == 307
    assert sent.headers["Location"].startswith(f"{PROVIDER_URL}?")
    [asked] = logins.provider.asked
    assert (asked["vo"], asked["redirect_uri"]) == ("demo", f"{here}/complete")
    assert re.fullmatch("[A-Za-z0-9_-]{43}", asked["code_challenge"])

    code = f"as:{logins.subject('alice')}"
    back = await logins.get(f"{DEVICE}/complete", code=code, state=asked["state"])
    assert (back.status, back.headers["Location"]) == (307, f"{here}/complete/finished")
    last = await logins.get(f"{DEVICE}/complete/finished")
    assert (last.status, last.body) == (200, "<h1>Please close the window</h1>")

    said = await logins.poll(begun["device_code"])
    assert said.status == 200
    assert said.body.keys() == {"access_token", "expires_in", "token_type", "refresh_token"}
    assert (said.body["expires_in"], said.body["token_type"]) == (1200, "Bearer")
    assert said.headers["Cache-Control"] == "no-store"
    who = await logins.asks(said.body["access_token"])
    assert who.status == 200
    assert (who.body["preferred_username"], who.body["dirac_group"]) == ("alice", "demo_user")
    assert set(who.body["properties"]) == {"NormalUser", "JobAdministrator"}

    refresh = jwt.decode(said.body["refresh_token"], options={"verify_signature": False})
    assert refresh.keys() == {"jti", "exp", "legacy_exchange", "dirac_policies"}
    assert refresh["legacy_exchange"] is False
    assert refresh["exp"] == pytest.approx(datetime.now(UTC).timestamp() + 3600, abs=30)


async def test_only_hashes_are_kept(logins) -> None:
    """The database has no device code and no token that could be used."""
    begun = await logins.begin_device()
    rows = str(await logins.grid.rows(WHERRY_DB, select(flows)))
    assert begun["device_code"] not in rows
    assert hashlib.sha256(begun["device_code"].encode()).hexdigest() in rows


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ({"client_id": "nobody", "scope": "vo:demo"}, 400, "Unrecognised client ID"),
        (
            {"client_id": CLIENT, "scope": "vo:nope"},
            400,
            "VO nope is not known to this installation",
        ),
    ],
)
async def test_a_login_that_cannot_begin(logins, query, status, detail) -> None:
    """A strange client or scope is refused before anything is kept."""
    said = await logins.grid.http("POST", DEVICE, caller=None, query=query)
    assert (said.status, said.detail) == (status, detail)
    assert await logins.grid.rows(WHERRY_DB, select(flows)) == []


async def test_what_is_asked_for_stands_in_the_query(logins) -> None:
    """Both parameters are needed, in the query; what is missing is named."""
    said = await logins.grid.http("POST", DEVICE, {"client_id": CLIENT, "scope": "vo:demo"}, caller=None)
    assert said.status == 422
    assert [each["loc"] for each in said.detail] == [["query", "client_id"], ["query", "scope"]]


async def test_the_page_for_the_code(logins) -> None:
    """Without a code there is a page to type it into, which never shows what a request says."""
    said = await logins.get(DEVICE)
    assert said.status == 200
    assert said.headers["Content-Type"].startswith("text/html")
    assert 'name="user_code"' in said.body
    assert "frame-ancestors 'none'" in said.headers["Content-Security-Policy"]
    evil = await logins.get(DEVICE, other='"><script>alert(1)</script>')
    assert evil.body == said.body
    refused = await logins.get(DEVICE, user_code='"><script>alert(1)</script>')
    assert (refused.status, refused.headers["Content-Type"].split(";")[0]) == (400, "application/json")
    assert "script" not in str(refused.body)


@pytest.mark.parametrize("spell", [str.lower, str.title, lambda code: f" {code[:4]}-{code[4:].lower()} "])
async def test_a_code_as_people_type_it(logins, spell) -> None:
    """Case, blanks and hyphens of a user code mean nothing."""
    begun = await logins.begin_device()
    assert (await logins.confirm(spell(begun["user_code"]))).status == 307
    assert (await logins.poll(begun["device_code"])).status == 200


@pytest.mark.parametrize("code", ["BBBBBBBB", "", "x", "' OR 1=1"])
async def test_an_unknown_user_code(logins, code) -> None:
    """A user code that is none is 400 with DiracX's text."""
    await logins.begin_device()
    said = await logins.get(DEVICE, user_code=code)
    assert (said.status, said.detail) == (400, "No row was found when one was required")


async def test_a_mistyped_user_code_in_a_browser(logins) -> None:
    """A person sees words and the page for the code again."""
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    query = {"user_code": "<script>"}
    said = await logins.grid.http("GET", DEVICE, caller=None, query=query, headers=accept)
    assert (said.status, said.headers["Content-Type"].split(";")[0]) == (400, "text/html")
    assert "There is no login with this code" in said.body
    assert 'name="user_code"' in said.body
    assert "script" not in said.body
    assert "frame-ancestors 'none'" in said.headers["Content-Security-Policy"]


async def test_a_user_code_in_use(logins, monkeypatch) -> None:
    """A code that another flow has is drawn again."""
    drawn = iter("B" * 16 + "C" * 8)
    monkeypatch.setattr(device_flow.secrets, "choice", lambda _letters: next(drawn))
    assert (await logins.begin_device())["user_code"] == "BBBBBBBB"
    assert (await logins.begin_device())["user_code"] == "CCCCCCCC"


async def test_a_code_is_used_once(logins) -> None:
    """A device code gives tokens once, and its user code leads nowhere any more."""
    begun = await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    assert (await logins.confirm(begun["user_code"])).status == 307
    assert (await logins.poll(begun["device_code"])).status == 200
    again = await logins.poll(begun["device_code"])
    assert (again.status, again.detail) == (400, "Code was already used")
    assert (await logins.get(DEVICE, user_code=begun["user_code"])).status == 400
    back = await logins.get(f"{DEVICE}/complete", code=f"as:{logins.subject('alice')}", state=state)
    assert (back.status, "begin again" in back.detail) == (400, True)


async def test_two_at_once(logins) -> None:
    """Of many that exchange one code at once, one gets tokens."""
    begun = await logins.begin_device()
    await logins.confirm(begun["user_code"])
    said = await asyncio.gather(*(logins.poll(begun["device_code"]) for _ in range(8)))
    assert sorted(each.status for each in said) == [200, *[400] * 7]
    assert {each.detail for each in said if each.status == 400} == {"Code was already used"}


async def test_two_people_at_once(logins) -> None:
    """Of two people who confirm one code at once, one is the device's."""
    begun = await logins.begin_device()
    said = await asyncio.gather(*(logins.confirm(begun["user_code"], who) for who in ("alice", "bob")))
    assert sorted(each.status for each in said) == [307, 400]
    assert (await logins.poll(begun["device_code"])).status == 200


async def test_a_flow_that_is_over(logins) -> None:
    """After its time a flow gives nothing, to the person or to the device."""
    begun, other = await logins.begin_device(), await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    await logins.confirm(other["user_code"])
    await end_flows(logins.grid)
    for device_code in (begun["device_code"], other["device_code"]):
        said = await logins.poll(device_code)
        assert (said.status, said.detail) == (401, "Device code expired")
    assert (await logins.get(DEVICE, user_code=begun["user_code"])).status == 400
    back = await logins.get(f"{DEVICE}/complete", code=f"as:{logins.subject('alice')}", state=state)
    assert back.status == 400


async def test_who_asks(logins) -> None:
    """A wrong client is told only when the device is ready, as DiracX does; the code stays good."""
    begun = await logins.begin_device()
    assert (await logins.poll(begun["device_code"], client_id="x")).body == {"error": "authorization_pending"}
    await logins.confirm(begun["user_code"])
    said = await logins.poll(begun["device_code"], client_id="x")
    assert (said.status, said.detail) == (400, "Bad client_id")
    assert (await logins.poll(begun["device_code"])).status == 200


async def test_a_strange_device_code(logins) -> None:
    """A device code that nobody gave is 400, and no other flow's code does in its place."""
    assert (await logins.poll("x" * 43)).status == 400
    code = await logins.code()
    said = await logins.poll(code)
    assert (said.status, "begin again" in said.detail) == (400, True)


async def test_a_subject_that_is_not_known(logins) -> None:
    """Whom the registry does not know gets a text for the administrator, in the browser and on the device."""
    begun = await logins.begin_device()
    said = await logins.confirm(begun["user_code"], subject="f0e1-unknown")
    assert said.status == 403
    for word in ("f0e1-unknown", "VO demo", "administrator", "Subject"):
        assert word in said.detail
    told = await logins.poll(begun["device_code"])
    assert (told.status, told.detail) == (403, said.detail)


async def test_a_group_that_one_is_not_in(logins) -> None:
    """Who may not have what the device asks for learns it in both places too."""
    begun = await logins.begin_device("vo:demo group:demo_admin")
    said = await logins.confirm(begun["user_code"], "bob")
    text = "User is not a member of the requested group (bob, demo_admin)"
    assert (said.status, said.detail) == (403, text)
    assert (await logins.poll(begun["device_code"])).detail == text


@pytest.mark.parametrize(
    ("problem", "status"), [(ProviderUnavailable("demo", "x"), 502), (ProviderRefused("demo", "x"), 401)]
)
async def test_a_provider_in_trouble(logins, problem, status) -> None:
    """502 when the provider is not there, 401 when it refuses; the person may try again."""
    begun = await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    code = f"as:{logins.subject('alice')}"
    logins.provider.problem = problem
    assert (await logins.get(f"{DEVICE}/complete", code=code, state=state)).status == status
    if status == 502:
        assert (await logins.get(DEVICE, user_code=begun["user_code"])).status == 502
    logins.provider.problem = None
    assert (await logins.get(f"{DEVICE}/complete", code=code, state=state)).status == 307


async def test_a_vo_without_provider(make_grid) -> None:
    """Where nobody can log in, the answer names the mend."""
    settings = {"Registry/Groups/third_user/Users": "alice", "Registry/Groups/third_user/VO": "third"}
    async with make_grid(rest=SETTINGS, settings=settings) as grid:
        logins = Logins(grid)
        begun = await logins.begin_device("vo:third")
        said = await logins.get(DEVICE, user_code=begun["user_code"])
        assert (said.status, "auth.providers" in said.detail) == (400, True)


async def test_a_person_who_refuses(logins) -> None:
    """Who says no at the provider ends the device's wait."""
    begun = await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    said = await logins.get(f"{DEVICE}/complete", error="access_denied", state=state)
    assert said.status == 401
    told = await logins.poll(begun["device_code"])
    assert (told.status, told.body) == (400, {"error": "access_denied"})


async def test_whose_code_it_is(logins) -> None:
    """What the browser says of the provider (RFC 9207) is compared there, in both flows."""
    begun = await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    code = f"as:{logins.subject('alice')}"
    await logins.get(f"{DEVICE}/complete", code=code, state=state, iss="https://idp.example.org")
    state = query_of(await logins.authorize())["state"]
    await logins.get("/api/auth/authorize/complete", code=code, state=state, iss="https://evil.example.org")
    assert logins.provider.issuers == ["https://idp.example.org", "https://evil.example.org"]


async def test_an_answer_without_code(logins) -> None:
    """A provider's answer with neither code nor error is 422."""
    begun = await logins.begin_device()
    state = (await logins.to_provider(begun["user_code"]))["state"]
    said = await logins.get(f"{DEVICE}/complete", state=state)
    assert (said.status, said.detail[0]["loc"]) == (422, ["query", "code"])
