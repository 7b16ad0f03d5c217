"""Plain curl: both logins by hand, and what HTTP promises."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from .conftest import DemoGrid

CLIENT = "myDIRACClientID"
VERIFIER = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Answer:
    """What came last, after all redirects that were followed."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


@pytest.fixture
def curl(busy_grid: DemoGrid, tmp_path: Path) -> Callable[..., Answer]:
    """Runs curl on a path of the API, or a whole URL."""

    def run(where: str, *options: str, user: str = "", group: str = "demo_user") -> Answer:
        url = where if "://" in where else busy_grid.facts["rest"] + where
        token = ["-H", f"Authorization: Bearer {busy_grid.facts['tokens'][user][group]}"] if user else []
        head, body = tmp_path / "head", tmp_path / "body"
        body.write_bytes(b"")
        jar = str(tmp_path / "jar")
        files = ["-D", str(head), "-o", str(body), "-b", jar, "-c", jar]
        told = ["-w", "%{http_code} %{url_effective}"]
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--noproxy", "*", *files, *told, *token, *options, url],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        status, _, last = done.stdout.partition(" ")
        headers = {
            name.lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in head.read_text().splitlines())
            if colon
        }
        return Answer(int(status), headers, body.read_bytes(), last)

    return run


def form(**fields: str) -> list[str]:
    """curl's options for a form."""
    return [part for name, value in fields.items() for part in ("--data-urlencode", f"{name}={value}")]


def query(**fields: str) -> list[str]:
    """curl's options for a query."""
    return ["-G", *form(**fields)]


def choose(curl: Callable[..., Answer], page: Answer, user: str) -> Answer:
    """Press a button of the demo's login page, and follow where it leads."""
    ticket = re.search(r'name="ticket" value="([^"]+)"', page.body.decode())
    assert ticket, page.body
    # No -X POST, which would post to where the redirects lead, too.
    return curl(page.url.split("?")[0], "-L", *form(ticket=ticket[1], user=user))


def test_the_device_flow(curl: Callable[..., Answer]) -> None:
    """A code for the machine, a code for the person; the token comes once the person has logged in."""
    fields = {"client_id": CLIENT, "scope": "vo:demo group:demo_admin"}
    url = curl("/api/auth/device", *query(**fields), "-X", "POST").json
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{8}", url["user_code"])
    assert url["expires_in"] == 600
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": url["device_code"],
        "client_id": CLIENT,
    }
    pending = curl("/api/auth/token", *form(**grant))
    assert (pending.status, pending.json) == (400, {"error": "authorization_pending"})

    page = curl(url["verification_uri_complete"], "-L")
    assert page.status == 200
    end = choose(curl, page, "alice")
    assert end.status == 200
    assert end.url.endswith("/api/auth/device/complete/finished")

    token = curl("/api/auth/token", *form(**grant))
    assert token.status == 200
    assert set(token.json) == {"access_token", "expires_in", "token_type", "refresh_token"}
    assert token.headers["cache-control"] == "no-store"
    me = curl("/api/auth/userinfo", "-H", f"Authorization: Bearer {token.json['access_token']}").json
    assert (me["preferred_username"], me["dirac_group"]) == ("alice", "demo_admin")
    again = curl("/api/auth/token", *form(**grant))
    assert again.status == 400
    assert "used" in again.json["detail"]


def test_the_code_flow(curl: Callable[..., Answer], busy_grid: DemoGrid) -> None:
    """Authorization code with PKCE: the client's page gets a code, and the code gets tokens; they renew.

    Refresh tokens used twice end all that alice has: the other tests here are others'.
    """
    callback = f"{busy_grid.facts['login']}/callback"
    fields = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": callback,
        "scope": "vo:demo",
        "state": "my state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    elsewhere = curl("/api/auth/authorize", *query(**{**fields, "redirect_uri": "https://evil.example.org"}))
    assert (elsewhere.status, elsewhere.json) == (400, {"detail": "Unrecognised redirect_uri"})
    page = curl("/api/auth/authorize", *query(**fields), "-L")
    end = choose(curl, page, "alice")
    assert end.url.startswith(callback)
    given = parse_qs(urlsplit(end.url).query)
    assert given["state"] == ["my state"]

    grant = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": given["code"][0],
        "redirect_uri": callback,
        "code_verifier": VERIFIER,
    }
    wrong = curl("/api/auth/token", *form(**{**grant, "code_verifier": "w" * 43}))
    assert (wrong.status, wrong.json) == (400, {"detail": "Invalid code_challenge"})
    token = curl("/api/auth/token", *form(**grant)).json
    renew = {"grant_type": "refresh_token", "client_id": CLIENT}
    renewed = curl("/api/auth/token", *form(**renew, refresh_token=token["refresh_token"])).json
    assert renewed["refresh_token"] != token["refresh_token"]
    stolen = curl("/api/auth/token", *form(**renew, refresh_token=token["refresh_token"]))
    assert stolen.status == 401
    assert curl("/api/auth/token", *form(**renew, refresh_token=renewed["refresh_token"])).status == 401


def test_configuration_is_sent_once(curl: Callable[..., Answer]) -> None:
    """ETag and Last-Modified; with If-None-Match 304 and nothing more, with a slash or without."""
    first = curl("/api/config/", user="bob")
    assert first.status == 200
    assert first.json["Registry"]["demo"]["DefaultGroup"] == "demo_user"
    tag = first.headers["etag"]
    for sent in (tag, f'"{tag}"'):
        same = curl("/api/config/", "-H", f"If-None-Match: {sent}", user="bob")
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
    assert curl("/api/config/", "-H", "If-None-Match: another", user="bob").status == 200
    later = "Fri, 01 Jan 2100 00:00:00 GMT"
    assert curl("/api/config/", "-H", f"If-Modified-Since: {later}", user="bob").status == 304
    assert "last-modified" in first.headers
    assert curl("/api/config", "-L", "--location-trusted", user="bob").json == first.json


def test_compression(curl: Callable[..., Answer]) -> None:
    """gzip for who wants it, where it is worth while; the content is the same."""
    search = ("--json", "{}")
    plain = curl("/api/jobs/search", *search, user="bob")
    packed = curl("/api/jobs/search", *search, "--compressed", user="bob")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"].lower().find("accept-encoding") >= 0
    assert int(packed.headers["content-length"]) < len(plain.body) / 2
    assert packed.json == plain.json
    small = curl("/api/auth/userinfo", "--compressed", user="bob")
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize("path", ["/api/auth/userinfo", "/.well-known/openid-configuration", "/api/config/"])
def test_head(curl: Callable[..., Answer], path: str) -> None:
    """As GET, without the body."""
    got, head = curl(path, user="bob"), curl(path, "-I", user="bob")
    assert head.status == 200
    for name in ("content-type", "content-length", "etag"):
        assert head.headers.get(name) == got.headers.get(name)


@pytest.mark.parametrize(
    ("path", "options", "status", "detail"),
    [
        ("/api/auth/userinfo", (), 401, "Authorization header is missing"),
        ("/api/auth/userinfo", ("-H", "Authorization: Bearer x"), 401, "Invalid JWT"),
        ("/api/nothing", (), 404, "Not Found"),
        ("/api/jobs/search", ("-X", "DELETE"), 405, "Method Not Allowed"),
        ("/api/auth/device?client_id=x&scope=vo:demo", ("-X", "POST"), 400, "Unrecognised client ID"),
        (f"/api/auth/device?client_id={CLIENT}&scope=vo:x", ("-X", "POST"), 400, "VO x is not known"),
        ("/api/auth/device?user_code=XXXXXXXX", (), 400, ""),
        ("/api/auth/device/complete?code=x&state=y", (), 400, "Invalid state"),
        ("/api/auth/token", ("-d", "grant_type=password&client_id=x"), 422, ""),
    ],
)
def test_refusals(
    curl: Callable[..., Answer], path: str, options: tuple[str, ...], status: int, detail: str
) -> None:
    """A status, and a text that says what is wrong."""
    answer = curl(path, *options)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    assert detail in json.dumps(answer.json["detail"])
    assert answer.json["detail"]
