"""VOs with several identity providers: who chooses which, and whose subjects are whose."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from logins import CLIENT, SETTINGS, Logins, query_of

from rest_backend.identity_providers import IdentityProviders, UnknownProvider
from rest_backend.settings import Provider

DEVICE, AUTHORIZE = "/api/auth/device", "/api/auth/authorize"
# At the university bob is known by what is alice's subject at the VO's own provider.
ALICES, BOBS = "11111111-0000-4000-8000-000000000001", "42"
REGISTRY = {
    "Registry/Users/alice/Subject": ALICES,
    "Registry/Users/alice/Subjects/university": BOBS,
    "Registry/Users/bob/Subjects/university": ALICES,
}


@pytest_asyncio.fixture(loop_scope="session")
async def logins(make_grid) -> AsyncIterator[Logins]:
    """A grid whose VOs have two providers each."""
    async with make_grid(rest=SETTINGS, settings=REGISTRY) as grid:
        logins = Logins(grid)
        logins.provider.names = {"iam": "IAM", "university": 'The "University" <b>& Co</b>'}
        yield logins


def links_of(page: Any) -> dict[str, str]:
    """The links of a page of ours: by what is written there, where they lead."""
    assert page.status == 200
    found = re.findall(r'<a href="([^"]*)">([^<]*)</a>', page.body)
    return {unescape(text): unescape(address) for address, text in found}


async def followed(logins: Logins, link: str, base: str) -> Any:
    """What a browser gets that follows a link of a page."""
    parts = urlsplit(link)
    return await logins.get(parts.path or base, **dict(parse_qsl(parts.query)))


async def who(logins: Logins, tokens: Any) -> str:
    """Whose tokens they are."""
    said = await logins.asks(tokens["access_token"])
    return str(said.body["preferred_username"])


async def test_a_device(logins) -> None:
    """A page has a link to each provider; who chose one is whom that provider's subject means."""
    begun = await logins.begin_device()
    page = await logins.get(DEVICE, user_code=begun["user_code"])
    links = links_of(page)
    assert list(links) == ["IAM", 'The "University" <b>& Co</b>']
    assert "<b>" not in page.body
    assert "script" not in page.body
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert logins.provider.asked == []

    sent = query_of(await followed(logins, links['The "University" <b>& Co</b>'], DEVICE))
    assert sent["provider"] == "university"
    back = await logins.get(f"{DEVICE}/complete", code=f"as:{ALICES}", state=sent["state"])
    assert back.status == 307
    assert await who(logins, (await logins.poll(begun["device_code"])).body) == "bob"


@pytest.mark.parametrize(
    ("provider", "subject", "user"),
    [("iam", ALICES, "alice"), ("university", ALICES, "bob"), ("university", BOBS, "alice")],
)
async def test_a_subject_belongs_to_its_provider(logins, provider, subject, user) -> None:
    """One subject means two people at two providers; tokens have the VO's own `sub` in any case."""
    query = {"client_id": CLIENT, "scope": "vo:demo", "provider": provider}
    begun = (await logins.grid.http("POST", DEVICE, caller=None, query=query)).body
    address = urlsplit(begun["verification_uri_complete"])
    sent = query_of(await logins.get(DEVICE, **dict(parse_qsl(address.query))))
    assert sent["provider"] == provider
    await logins.get(f"{DEVICE}/complete", code=f"as:{subject}", state=sent["state"])
    tokens = (await logins.poll(begun["device_code"])).body
    said = await logins.asks(tokens["access_token"])
    assert said.body["preferred_username"] == user
    assert said.body["sub"] == f"demo:{logins.subject(user)}"


async def test_a_subject_of_another_provider_is_nobodys(logins) -> None:
    """What means somebody at one provider means nobody at the other; the refusal says what to add."""
    begun = await logins.begin_device()
    for provider, place in (("iam", "as the Subject of"), ("university", "as the Subjects/university of")):
        sent = query_of(await logins.get(DEVICE, user_code=begun["user_code"], provider=provider))
        subject = BOBS if provider == "iam" else "nobody"
        said = await logins.get(f"{DEVICE}/complete", code=f"as:{subject}", state=sent["state"])
        assert said.status == 403
        assert place in said.detail
        begun = await logins.begin_device()


async def test_a_browser(logins) -> None:
    """The same page in a browser's login: nothing of the request stands in it, and its state is kept."""
    page = await logins.authorize()
    links = links_of(page)
    assert "mine" not in page.body
    sent = query_of(await followed(logins, links["IAM"], AUTHORIZE))
    assert sent["provider"] == "iam"
    done = await logins.get(f"{AUTHORIZE}/complete", code=f"as:{ALICES}", state=sent["state"])
    answer = query_of(done)
    assert answer["state"] == "mine&co=1 ü"
    assert await who(logins, (await logins.redeem(answer["code"])).body) == "alice"
    # The link is of a login that is over.
    again = await followed(logins, links["IAM"], AUTHORIZE)
    assert (again.status, again.detail) == (400, "The login is over or was finished already: begin again")


async def test_a_client_chooses(logins) -> None:
    """Who names a provider is asked nothing; who names none that the VO has is told which there are."""
    assert query_of(await logins.authorize(provider="university"))["provider"] == "university"
    told = "VO demo has several identity providers: choose one of iam, university"
    begun = await logins.begin_device()
    query = {"client_id": CLIENT, "scope": "vo:demo", "provider": "nope"}
    for said in (
        await logins.authorize(provider="nope"),
        await logins.get(DEVICE, user_code=begun["user_code"], provider="nope"),
        await logins.grid.http("POST", DEVICE, caller=None, query=query),
    ):
        assert (said.status, said.detail) == (400, told)


async def test_states_are_of_their_step(logins) -> None:
    """What stands in the page's links is no answer of a provider, nor the other way round."""
    links = links_of(await logins.authorize())
    choice = dict(parse_qsl(urlsplit(links["IAM"]).query))["state"]
    sent = query_of(await logins.authorize(provider="iam"))["state"]
    for said in (
        await logins.get(f"{AUTHORIZE}/complete", code=f"as:{ALICES}", state=choice),
        await logins.get(f"{AUTHORIZE}/provider", provider="iam", state=sent),
        await logins.get(f"{AUTHORIZE}/provider", provider="iam", state="made up"),
    ):
        assert (said.status, said.detail) == (400, "Invalid state")


def test_namespaces() -> None:
    """Subjects of an only and of a main provider are the VO's own; one that went is unknown."""
    a, b = Provider("https://a", "c"), Provider("https://b", "c", name="b", title="B", main=False)
    providers = IdentityProviders({"one": (a,), "two": (Provider("https://a", "c", name="a"), b)})
    assert providers.choices("one") == {"": ""}
    assert providers.choices("two") == {"a": "a", "b": "B"}
    spaces = [providers.namespace(*each) for each in (("one", ""), ("two", "a"), ("two", "b"))]
    assert spaces == ["", "", "b"]
    for vo, name in (("one", "b"), ("two", ""), ("three", "")):
        with pytest.raises(UnknownProvider):
            providers.namespace(vo, name)
