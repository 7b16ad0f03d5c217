"""Both logins, whole, by a real identity provider: the npm package oidc-provider, and a person."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from oidc_provider import SECRET, oidc_provider
from person import Page, Person

from shared_db.administration import initialise
from shared_db.connection import open_databases
from wherry.config import Address, load_config
from wherry.serve import serving
from wherry.sockets import Sockets, bind

pytestmark = pytest.mark.clients

CLIENT = "myDIRACClientID"
CALLBACK = "http://localhost:9/callback"  # where nobody listens
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()

# The provider calls people by what they log in with.
REGISTRY = """
Registry
{
  Users
  {
    alice
    {
      Subject = sub-of-alice
    }
  }
  Groups
  {
    demo_user
    {
      Users = alice
      Properties = NormalUser
      VO = demo
    }
  }
  VO
  {
    demo
    {
      DefaultGroup = demo_user
    }
  }
}
"""
CONFIG = """
database: sqlite:///wherry.db
registry: registry.cfg
rest: {{listen: "127.0.0.1:{port}"}}
auth:
  providers: {{demo: {{url: "{issuer}", client_id: basic, client_secret: "{secret}"}}}}
  redirect_uris: ["{callback}"]
"""


@dataclass
class Site:
    """An installation whose VO has that provider."""

    url: str

    async def visit(self, path: str, form: dict[str, str] | None = None) -> Page:
        """What a program sees, to which the callback is the end."""
        return await asyncio.to_thread(Person(CALLBACK).visit, f"{self.url}{path}", form)

    async def log_in(self, url: str, name: str) -> Page:
        """What a person sees after all forms."""
        answers = {"login": name, "password": "any"}
        return await asyncio.to_thread(Person(CALLBACK).log_in, url, answers)

    async def token(self, **form: str) -> tuple[int, dict[str, Any]]:
        """What the token endpoint answers."""
        page = await self.visit("/api/auth/token", {"client_id": CLIENT, **form})
        return page.status, json.loads(page.text)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Our server, without any legacy part, and the provider."""
    listening = bind(Address(host="127.0.0.1", port=0), "test")
    port = listening.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    flows = [f"{url}/api/auth/{flow}/complete" for flow in ("device", "authorize")]
    with oidc_provider(*flows) as issuer:
        (tmp_path / "registry.cfg").write_text(REGISTRY)
        config = tmp_path / "wherry.yaml"
        config.write_text(CONFIG.format(port=port, issuer=issuer, secret=SECRET, callback=CALLBACK))
        databases = open_databases(f"sqlite:///{tmp_path / 'wherry.db'}", create=True)
        await initialise(databases)
        await databases.dispose()
        async with serving(load_config(config), sockets=Sockets({"rest.listen": listening})):
            yield Site(url)


async def test_the_device_flow(site: Site) -> None:
    """A person logs in at the provider; the device has its tokens."""
    begun = await site.visit(f"/api/auth/device?{urlencode({'client_id': CLIENT, 'scope': 'vo:demo'})}", {})
    codes = json.loads(begun.text)
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": codes["device_code"],
    }
    assert await site.token(**grant) == (400, {"error": "authorization_pending"})
    end = await site.log_in(codes["verification_uri_complete"], "sub-of-alice")
    assert end.status == 200
    assert end.url == f"{site.url}/api/auth/device/complete/finished"
    status, tokens = await site.token(**grant)
    assert status == 200
    assert set(tokens) >= {"access_token", "refresh_token"}


async def test_the_code_flow(site: Site) -> None:
    """A person logs in at the provider; the client's page has a code, and with it tokens."""
    asked = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "scope": "vo:demo",
        "state": "mine",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    back = await site.log_in(f"{site.url}/api/auth/authorize?{urlencode(asked)}", "sub-of-alice")
    assert back.url.startswith(CALLBACK)
    assert back.query["state"] == "mine"
    code = {
        "grant_type": "authorization_code",
        "code": back.query["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    status, tokens = await site.token(**code)
    assert status == 200
    renewed, _ = await site.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert renewed == 200
    assert (await site.token(**code))[0] == 400


async def test_somebody_unknown_to_us(site: Site) -> None:
    """Whom the provider knows and the registry does not gets no tokens."""
    begun = await site.visit(f"/api/auth/device?{urlencode({'client_id': CLIENT, 'scope': 'vo:demo'})}", {})
    codes = json.loads(begun.text)
    end = await site.log_in(codes["verification_uri_complete"], "mallory")
    assert end.status == 403
    status, _ = await site.token(
        grant_type="urn:ietf:params:oauth:grant-type:device_code", device_code=codes["device_code"]
    )
    assert 400 <= status < 500
