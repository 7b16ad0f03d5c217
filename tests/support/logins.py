"""People who log in: an identity provider that believes whatever they say, and their hands."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from rest_backend.errors import RestError
from rest_backend.identity_providers import UnknownProvider
from rest_backend.settings import AuthSettings, Settings

LEGACY_KEY = b"0123456789abcdef0123456789abcdef"
LEGACY_HEADER = f"Bearer diracx:legacy:{base64.urlsafe_b64encode(LEGACY_KEY).decode()}"
REDIRECT = "https://app.example.org/callback"
REDIRECT_WITH_QUERY = "https://app.example.org/callback?page=1"
CLIENT = "myDIRACClientID"
VERIFIER = "verifier-of-a-client-0123456789-0123456789-abc"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
AUTH = AuthSettings(
    redirect_uris=(REDIRECT, REDIRECT_WITH_QUERY),
    legacy_exchange_key_hash=hashlib.sha256(LEGACY_KEY).hexdigest(),
)
SETTINGS = Settings(auth=AUTH)
PROVIDER_URL = "https://idp.example.org/authorize"


def s256(verifier: str) -> str:
    """A code challenge."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class Provider:
    """An identity provider whose codes are ``as:SUBJECT``; ``problem`` is what it says instead.

    ``names``: several providers in one, for each VO, with what people call them; of the first the subjects
    are the VO's own.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.issuers: list[str | None] = []
        self.problem: RestError | None = None
        self.names = {"": ""}

    def choices(self, vo: str) -> Mapping[str, str]:
        """The names of the VO's providers."""
        if vo not in ("demo", "other"):
            raise UnknownProvider(vo)
        return self.names

    def namespace(self, _vo: str, name: str) -> str:
        """Whose subjects a provider tells."""
        return "" if name == next(iter(self.names)) else name

    async def authorization_url(
        self, vo: str, *, redirect_uri: str, state: str, code_challenge: str, name: str
    ) -> str:
        """Where a person is sent to."""
        if self.problem:
            raise self.problem
        query = {"vo": vo, "redirect_uri": redirect_uri, "state": state, "code_challenge": code_challenge}
        if name:
            query["provider"] = name
        self.asked.append(query)
        return f"{PROVIDER_URL}?{urlencode(query)}"

    async def claims(
        self, vo: str, *, code: str, code_verifier: str, redirect_uri: str, issuer: str | None, name: str
    ) -> Mapping[str, Any]:
        """Whom a code stands for, if the same party asks that began."""
        self.issuers.append(issuer)
        if self.problem:
            raise self.problem
        [begun] = [each for each in self.asked if each["code_challenge"] == s256(code_verifier)]
        assert (begun["vo"], begun["redirect_uri"]) == (vo, redirect_uri)
        assert begun.get("provider", "") == name
        return {"sub": code.removeprefix("as:"), "name": "Somebody", "vo": vo}

    async def close(self) -> None:
        """Nothing is open."""


class Logins:
    """What clients and people do on a grid of tests/rest_backend."""

    def __init__(self, grid: Any) -> None:
        self.grid = grid
        self.provider = Provider()
        grid.runner.resources = replace(grid.runner.resources, identity_providers=self.provider)

    def subject(self, caller: str) -> str:
        """The bare subject of one of the grid's callers."""
        return str(self.grid.principal(caller).subject)

    async def form(self, path: str, query: Mapping[str, str] | None = None, /, **fields: str) -> Any:
        """Post a form."""
        return await self.grid.http("POST", path, fields, caller=None, query=query or {})

    async def token(self, **fields: str) -> Any:
        """Ask for tokens."""
        return await self.form("/api/auth/token", **{"client_id": CLIENT, **fields})

    async def get(self, path: str, **query: str) -> Any:
        """What a browser does."""
        return await self.grid.http("GET", path, caller=None, query=query)

    async def begin_device(self, scope: str = "vo:demo") -> dict[str, Any]:
        """A device begins a login."""
        query = {"client_id": CLIENT, "scope": scope}
        said = await self.grid.http("POST", "/api/auth/device", caller=None, query=query)
        assert said.status == 200, said
        return dict(said.body)

    async def poll(self, device_code: str, **fields: str) -> Any:
        """The device asks for its tokens."""
        return await self.token(grant_type=DEVICE_GRANT, device_code=device_code, **fields)

    async def to_provider(self, user_code: str) -> dict[str, str]:
        """The person types the code; what the provider is told."""
        said = await self.get("/api/auth/device", user_code=user_code)
        assert said.status == 307, said
        return query_of(said)

    async def confirm(self, user_code: str, caller: str = "alice", *, subject: str = "") -> Any:
        """The person logs in at the provider and comes back."""
        state = (await self.to_provider(user_code))["state"]
        code = f"as:{subject or self.subject(caller)}"
        return await self.get("/api/auth/device/complete", code=code, state=state)

    async def log_in(self, caller: str = "alice", scope: str = "vo:demo") -> dict[str, Any]:
        """A whole login on a device; its tokens."""
        begun = await self.begin_device(scope)
        assert (await self.confirm(begun["user_code"], caller)).status == 307
        said = await self.poll(begun["device_code"])
        assert said.status == 200, said
        return dict(said.body)

    async def authorize(self, **changed: str) -> Any:
        """A client with a browser begins a login."""
        query = {
            "response_type": "code",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "scope": "vo:demo",
            "state": "mine&co=1 ü",
            **changed,
        }
        wanted = {name: value for name, value in query.items() if value is not None}
        return await self.get("/api/auth/authorize", **wanted)

    async def code(self, caller: str = "alice", **changed: str) -> str:
        """A login in a browser, up to the client's code."""
        begun = query_of(await self.authorize(**changed))
        said = await self.get(
            "/api/auth/authorize/complete", code=f"as:{self.subject(caller)}", state=begun["state"]
        )
        assert said.status == 307, said
        return query_of(said)["code"]

    async def redeem(self, given: str, **changed: str) -> Any:
        """The client asks for tokens with the code that it was given."""
        fields = {"code": given, "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **changed}
        return await self.token(grant_type="authorization_code", **fields)

    async def refresh(self, refresh_token: str, **fields: str) -> Any:
        """A client asks for new tokens."""
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token, **fields)

    async def exchange(self, header: str | None = LEGACY_HEADER, **query: str) -> Any:
        """A DIRAC service asks for tokens of a user."""
        given = {"preferred_username": "alice", "scope": "vo:demo", **query}
        headers = {} if header is None else {"Authorization": header}
        return await self.grid.http(
            "GET", "/api/auth/legacy-exchange", caller=None, query=given, headers=headers
        )

    async def asks(self, access_token: str) -> Any:
        """A request with an access token."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return await self.grid.http("GET", "/api/auth/userinfo", caller=None, headers=headers)


def query_of(said: Any) -> dict[str, str]:
    """What stands in the query of a redirect."""
    assert said.status == 307, said
    query = parse_qs(urlsplit(said.headers["Location"]).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}
