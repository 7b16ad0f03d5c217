"""The demo grid's identity provider: a login page that asks for no password.

A small OpenID Connect provider of its own (authorization code with PKCE), so that `dirac login` works with
nothing else on the machine.  It lets anybody be anybody: it listens on the loopback only, and is the demo's
only: `wherry serve` never starts it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from multidict import MultiMapping

T = TypeVar("T")

CLIENT_ID = "wherry-demo"
CALLBACK_PATH = "/callback"
LOGIN_SECONDS = 600.0
CODE_SECONDS = 60.0
ID_TOKEN_SECONDS = 300
MOST_REMEMBERED = 1000
LARGEST_FORM = 64 * 1024
ALGORITHM = "EdDSA"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1.1em/1.5 sans-serif; max-width: 34em; margin: 3em auto; padding: 0 1em; color: #222 }}
.warning {{ border: 3px solid #b00; background: #fff3f0; padding: 0.5em 1em }}
button {{ display: block; width: 100%; margin: 0.5em 0; padding: 0.6em; font: inherit; cursor: pointer }}
code {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<p class="warning"><strong>This is a demo.</strong> Nobody has a password here: anybody can be anybody.</p>
<h1>{title}</h1>
{content}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the demo grid: what the registry calls them in the VO, and their groups."""

    subject: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    """What a client asked for."""

    redirect_uri: str
    state: str
    nonce: str
    code_challenge: str

    def back(self, issuer: str, **answer: str) -> web.HTTPSeeOther:
        """The redirect that carries an answer to the client (RFC 6749, 4.1.2; RFC 9207)."""
        state = {"state": self.state} if self.state else {}
        return web.HTTPSeeOther(
            f"{self.redirect_uri}?{urlencode({**answer, **state, 'iss': issuer})}", headers=_HEADERS
        )


class _Once(Generic[T]):
    """What is kept under an unguessable name until it is taken, or too old."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def keep(self, value: T) -> str:
        """The name to take it by."""
        name = secrets.token_urlsafe(32)
        self._kept[name] = self._clock() + self._seconds, value
        if len(self._kept) > MOST_REMEMBERED:
            self._kept.popitem(last=False)
        return name

    def take(self, name: str) -> T | None:
        """What is kept under a name, the first time; None otherwise."""
        until, value = self._kept.pop(name, (0.0, None))
        return value if self._clock() < until else None


class LoginPage:
    """The provider: ``app`` is to be served at ``issuer``, an address of this machine."""

    def __init__(
        self,
        issuer: str,
        people: Mapping[str, Person],
        redirect_uris: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._people = people
        self._redirect_uris = frozenset(redirect_uris)
        self._clock = clock
        self._key = Ed25519PrivateKey.generate()
        self._key_id = secrets.token_hex(8)
        self._asked: _Once[_Request] = _Once(LOGIN_SECONDS, clock)
        self._codes: _Once[tuple[_Request, str]] = _Once(CODE_SECONDS, clock)

    def app(self) -> web.Application:
        """Its pages and endpoints."""
        app = web.Application(client_max_size=LARGEST_FORM, middlewares=[self._own_name_only])
        app.router.add_get("/", self._front)
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/jwks.json", self._jwks)
        app.router.add_get("/authorize", self._ask)
        app.router.add_post("/authorize", self._chosen)
        app.router.add_post("/token", self._token)
        app.router.add_get(CALLBACK_PATH, self._callback)
        return app

    @web.middleware
    async def _own_name_only(
        self, request: web.Request, handler: Callable[[web.Request], Any]
    ) -> web.StreamResponse:
        """A page of the internet whose name suddenly means this machine must not read ours."""
        try:
            host = urlsplit(f"//{request.host}").hostname
        except ValueError:
            host = None
        if host not in ("localhost", "127.0.0.1", "::1"):
            return _page("Not here", f"<p>This page is at <code>{html.escape(self._issuer)}</code>.</p>", 421)
        response: web.StreamResponse = await handler(request)
        return response

    async def _front(self, _request: web.Request) -> web.Response:
        return _page(
            "Login page of the demo grid",
            "<p>Nothing to do here: <code>dirac login</code> prints the address that leads to the login.</p>",
        )

    async def _discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/jwks.json",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "scopes_supported": ["openid", "profile"],
                "claims_supported": ["sub", "preferred_username"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _jwks(self, _request: web.Request) -> web.Response:
        public = self._key.public_key().public_bytes_raw()
        key = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public), "kid": self._key_id, "use": "sig"}
        return web.json_response({"keys": [{**key, "alg": ALGORITHM}]})

    async def _ask(self, request: web.Request) -> web.Response:
        """The form: who would you like to be?"""
        query = request.query
        problem = self._stranger(query)
        if problem:
            return _page("This login cannot go on", f"<p>{html.escape(problem)}</p>", 400)
        asked = _Request(
            query["redirect_uri"],
            query.get("state", ""),
            query.get("nonce", ""),
            query.get("code_challenge", ""),
        )
        if query.get("response_type") != "code":
            raise asked.back(self._issuer, error="unsupported_response_type")
        if "openid" not in query.get("scope", "").split():
            raise asked.back(self._issuer, error="invalid_scope", error_description="openid is missing")
        if not asked.code_challenge or query.get("code_challenge_method") != "S256":
            raise asked.back(
                self._issuer, error="invalid_request", error_description="PKCE by S256 is needed"
            )
        return _page("Log in to the demo grid", self._form(self._asked.keep(asked), asked.redirect_uri))

    def _stranger(self, query: MultiMapping[str]) -> str:
        """Why nothing may be sent to the address that a request names; empty, if it may."""
        if query.get("client_id") != CLIENT_ID:
            return f"Unknown client_id: this page serves {CLIENT_ID} only."
        if query.get("redirect_uri") not in self._redirect_uris:
            return f"Unknown redirect_uri: known are {', '.join(sorted(self._redirect_uris))}."
        return ""

    def _form(self, ticket: str, redirect_uri: str) -> str:
        asker = urlsplit(redirect_uri)
        buttons = "\n".join(
            f'<button name="user" value="{html.escape(user)}">Log in as <strong>{html.escape(user)}</strong>'
            f" ({html.escape(', '.join(person.groups))})</button>"
            for user, person in self._people.items()
        )
        # The ticket is in no other page, so no other page can post this form.
        return (
            f"<p>Wherry at <code>{html.escape(asker.scheme)}://{html.escape(asker.netloc)}</code>"
            " would like to know who you are.</p>\n"
            '<form method="post" action="/authorize">\n'
            f'<input type="hidden" name="ticket" value="{html.escape(ticket)}">\n'
            f'{buttons}\n<button name="user" value="">Do not log in</button>\n</form>'
        )

    async def _chosen(self, request: web.Request) -> web.Response:
        """The answer to the form; the client gets its code, or learns that there is none."""
        form = await request.post()
        asked = self._asked.take(str(form.get("ticket", "")))
        if asked is None:
            return _page(
                "This login is over",
                "<p>It was used, or took too long: begin a new <code>dirac login</code>.</p>",
                400,
            )
        user = str(form.get("user", ""))
        if not user:
            raise asked.back(self._issuer, error="access_denied")
        if user not in self._people:
            return _page("Nobody of that name", "<p>Begin a new <code>dirac login</code>.</p>", 400)
        raise asked.back(self._issuer, code=self._codes.keep((asked, user)))

    async def _token(self, request: web.Request) -> web.Response:
        """The id_token for a code (RFC 6749, 4.1.3; RFC 7636, 4.6)."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        if form.get("grant_type") != "authorization_code":
            return _refusal("unsupported_grant_type")
        if form.get("client_id") != CLIENT_ID:
            return _refusal("invalid_client", 401)
        asked, user = self._codes.take(form.get("code", "")) or (None, "")
        if asked is None or form.get("redirect_uri") != asked.redirect_uri:
            return _refusal("invalid_grant")
        challenge = _base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if not hmac.compare_digest(challenge.encode(), asked.code_challenge.encode()):
            return _refusal("invalid_grant")
        return web.json_response(
            {
                "access_token": secrets.token_urlsafe(32),
                "token_type": "Bearer",
                "expires_in": ID_TOKEN_SECONDS,
                "scope": "openid profile",
                "id_token": self._id_token(user, asked.nonce),
            },
            headers={"Cache-Control": "no-store"},
        )

    def _id_token(self, user: str, nonce: str) -> str:
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": CLIENT_ID,
            "sub": self._people[user].subject,
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
            "preferred_username": user,
            **({"nonce": nonce} if nonce else {}),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})

    async def _callback(self, request: web.Request) -> web.Response:
        """Shows the code that a client of Wherry is given, to those who play the client by hand."""
        names = ("code", "state", "error", "error_description")
        rows = "".join(
            f"<p>{name}: <code>{html.escape(request.query[name])}</code></p>"
            for name in names
            if name in request.query
        )
        return _page("Where a client would read its code", rows or "<p>There is none.</p>")


def _page(title: str, content: str, status: int = 200) -> web.Response:
    """A page; ``content`` is HTML."""
    return web.Response(
        text=_PAGE.format(title=html.escape(title), content=content),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=_HEADERS,
    )


def _refusal(word: str, status: int = 400) -> web.Response:
    return web.json_response({"error": word}, status=status, headers={"Cache-Control": "no-store"})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
