"""Identity providers: the right word of a good one, and none of a bad one's.

Bad ones are played by a small server here; the good one is the npm package oidc-provider, unmodified.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from oidc_provider import SECRET, oidc_provider
from person import Page, Person

from rest_backend import provider_documents
from rest_backend.errors import RestError
from rest_backend.identity_providers import (
    IdentityProviders,
    ProviderRefused,
    ProviderUnavailable,
    UnknownProvider,
)
from rest_backend.settings import Provider
from wherry.demo.pki import Authority

CALLBACK = "http://127.0.0.1:9/api/auth/device/complete"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CLIENT = "wherry"

RSA, RSA_TOO, EC = (
    rsa.generate_private_key(65537, 2048),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
)
ED = Ed25519PrivateKey.generate()


def jwk(private: Any, **more: str) -> dict[str, Any]:
    """The public half of a key, as providers publish it."""
    for family in (jwt.algorithms.RSAAlgorithm, jwt.algorithms.ECAlgorithm, jwt.algorithms.OKPAlgorithm):
        try:
            return {**family.to_jwk(private.public_key(), as_dict=True), **more}
        except (AttributeError, TypeError, jwt.InvalidKeyError):
            continue
    raise AssertionError("no key")


class Scripted:
    """A provider that says what a test wants: set ``claims``, ``sign``, or an answer in ``instead``."""

    def __init__(self) -> None:
        self.issuer = ""
        self.document: dict[str, Any] = {}
        self.keys: list[Any] = [jwk(RSA, kid="one")]
        self.claims: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = signed(RSA, "RS256", "one")
        self.instead: dict[str, Callable[[], Any]] = {}
        self.asked: list[str] = []
        self.form: Mapping[str, Any] = {}
        self.authorization: str | None = None

    def begin(self, issuer: str) -> None:
        now = int(time.time())
        self.issuer = issuer
        self.document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize?tenant=7",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
        }
        self.claims = {"iss": issuer, "aud": CLIENT, "sub": "alice-1", "iat": now, "exp": now + 60}

    def app(self) -> web.Application:
        app = web.Application()
        for path in ("/.well-known/openid-configuration", "/jwks", "/token"):
            app.router.add_route("*", path, self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if name in self.instead:
            answer = self.instead[name]()
            answer = await answer if asyncio.iscoroutine(answer) else answer
            return answer if isinstance(answer, web.Response) else web.json_response(answer)
        if name == "token":
            self.form = dict(await request.post())
            self.authorization = request.headers.get("Authorization")
            return web.json_response({"id_token": self.sign(self.claims)})
        return web.json_response({"keys": self.keys} if name == "jwks" else self.document)


def signed(
    key: Any, algorithm: str, kid: str | None = None, **header: Any
) -> Callable[[dict[str, Any]], str]:
    """What makes tokens of claims."""
    headers = {**({"kid": kid} if kid else {}), **header}
    return lambda claims: jwt.encode(claims, key, algorithm=algorithm, headers=headers)


@pytest_asyncio.fixture(loop_scope="session")
async def scripted() -> AsyncIterator[Scripted]:
    """A provider at a port of its own."""
    provider = Scripted()
    async with TestServer(provider.app()) as server:
        provider.begin(str(server.make_url("")).rstrip("/"))
        yield provider


@pytest_asyncio.fixture(loop_scope="session")
async def of(scripted: Scripted) -> AsyncIterator[Callable[..., IdentityProviders]]:
    """Makes providers of VO demo at the scripted one."""
    made = []

    def make(url: str = "", **settings: Any) -> IdentityProviders:
        made.append(IdentityProviders({"demo": [Provider(url or scripted.issuer, CLIENT, **settings)]}))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def claims_of(providers: IdentityProviders, issuer: str | None = None) -> Mapping[str, Any]:
    return await providers.claims(
        "demo", code="the code", code_verifier=VERIFIER, redirect_uri=CALLBACK, issuer=issuer
    )


async def url_of(providers: IdentityProviders, vo: str = "demo") -> str:
    return await providers.authorization_url(
        vo, redirect_uri=CALLBACK, state="s/+&", code_challenge=CHALLENGE
    )


# --- What is sent


async def test_where_a_person_is_sent(scripted: Scripted, of) -> None:
    """The provider's address with our parameters, beside those that it has; found once for all."""
    providers = of(scope="openid email")
    urls = await asyncio.gather(*(url_of(providers) for _ in range(20)))
    assert len(set(urls)) == 1
    parts = urlsplit(urls[0])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{scripted.issuer}/authorize"
    assert parse_qs(parts.query) == {
        "tenant": ["7"],
        "response_type": ["code"],
        "client_id": [CLIENT],
        "redirect_uri": [CALLBACK],
        "scope": ["openid email"],
        "state": ["s/+&"],
        "code_challenge": [CHALLENGE],
        "code_challenge_method": ["S256"],
    }
    assert scripted.asked == ["openid-configuration"]


async def test_a_vo_without_provider(of) -> None:
    """The text names what an administrator adds."""
    for call in (
        url_of(of(), "elsewhere"),
        IdentityProviders({}).claims("elsewhere", code="", code_verifier="", redirect_uri=""),
    ):
        with pytest.raises(UnknownProvider, match="VO elsewhere .*`auth.providers`") as caught:
            await call
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("methods", "basic"),
    [(None, True), (["client_secret_post"], False), (["client_secret_basic", "x"], True)],
)
async def test_the_secret(scripted: Scripted, of, methods: list[str] | None, basic: bool) -> None:
    """Where the provider takes it: in the header, encoded as RFC 6749 has it, or in the form."""
    if methods:
        scripted.document["token_endpoint_auth_methods_supported"] = methods
    assert (await claims_of(of(client_secret="a+b: %")))["sub"] == "alice-1"
    code = {
        "grant_type": "authorization_code",
        "code": "the code",
        "code_verifier": VERIFIER,
        "redirect_uri": CALLBACK,
    }
    if basic:
        assert scripted.form == code
        assert scripted.authorization == "Basic " + base64.b64encode(b"wherry:a%2Bb%3A+%25").decode()
    else:
        assert scripted.form == {**code, "client_id": CLIENT, "client_secret": "a+b: %"}
        assert scripted.authorization is None


async def test_a_code_of_another_provider(scripted: Scripted, of) -> None:
    """It is not sent on (RFC 9207): a malicious provider would collect the codes of the others' people."""
    with pytest.raises(ProviderRefused):
        await claims_of(of(), "https://honest.example.org")
    assert "token" not in scripted.asked
    assert (await claims_of(of(), scripted.issuer))["sub"] == "alice-1"
    # One that promises to name itself always does.
    scripted.document["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(ProviderRefused):
        await claims_of(of())
    assert (await claims_of(of(), scripted.issuer))["sub"] == "alice-1"


def test_the_secret_is_not_shown() -> None:
    """It does not appear in a log."""
    assert "hidden" not in repr(Provider("https://x", "c", client_secret="hidden"))


# --- What is believed


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *((RSA, name) for name in ("RS256", "RS512", "PS256")),
        (EC, "ES256"),
        (ED, "EdDSA"),
        (ED, "Ed25519"),
    ],
)
async def test_signatures(scripted: Scripted, of, key: Any, algorithm: str) -> None:
    """Every kind of signature in use, among keys that are none of ours to understand."""
    odd = [
        7,
        {"kty": "XYZ", "kid": "one"},
        {"kty": "RSA", "kid": "one"},
        {**jwk(RSA_TOO, kid="one"), "use": "enc"},
    ]
    scripted.keys = [*odd, jwk(key, kid="one")]
    scripted.sign = signed(key, algorithm, "one")
    claims = await claims_of(of())
    assert (claims["sub"], claims["iss"]) == ("alice-1", scripted.issuer)


async def test_keys_without_names(scripted: Scripted, of) -> None:
    """A token that names no key is tried with all."""
    scripted.keys = [jwk(RSA_TOO), jwk(EC), jwk(RSA)]
    scripted.sign = signed(RSA, "RS256")
    assert (await claims_of(of()))["sub"] == "alice-1"


async def test_new_keys(scripted: Scripted, of, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not known yet is asked for at once; forged ones do not make us ask again and again."""
    providers = of()
    await claims_of(providers)
    scripted.keys = [jwk(RSA_TOO, kid="two")]
    scripted.sign = signed(RSA_TOO, "RS256", "two")
    assert (await claims_of(providers))["sub"] == "alice-1"
    assert scripted.asked.count("jwks") == 2
    scripted.sign = signed(RSA, "RS256", "forged")
    for _ in range(5):
        with pytest.raises(ProviderRefused):
            await claims_of(providers)
    assert scripted.asked.count("jwks") == 2
    monkeypatch.setattr(provider_documents, "NEW_KEYS_SECONDS", 0.0)
    with pytest.raises(ProviderRefused):
        await claims_of(providers)
    assert scripted.asked.count("jwks") == 3
    assert scripted.asked.count("openid-configuration") == 1


async def test_an_hour_later(scripted: Scripted, of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are asked for again when they are an hour old."""
    providers = of()
    await claims_of(providers)
    later = time.monotonic() + 3601
    monkeypatch.setattr(provider_documents.time, "monotonic", lambda: later)
    await claims_of(providers)
    assert scripted.asked.count("jwks") == scripted.asked.count("openid-configuration") == 2


def forged(text: str) -> Callable[[dict[str, Any]], str]:
    return lambda _claims: text


def without(name: str) -> Callable[[dict[str, Any]], str]:
    sign = signed(RSA, "RS256", "one")
    return lambda claims: sign({key: value for key, value in claims.items() if key != name})


def with_(**changed: Any) -> Callable[[dict[str, Any]], str]:
    sign = signed(RSA, "RS256", "one")
    return lambda claims: sign({**claims, **changed})


PUBLIC_PEM = b"a public key is no shared secret, however long it may be"

REFUSED = {
    "no token": forged(""),
    "no JWT": forged("a.b.c"),
    "bytes": forged("\u00e9.\u00e9.\u00e9"),
    "unsigned": signed(None, "none", "one"),
    "signed with what is public": signed(PUBLIC_PEM, "HS256", "one"),
    "signed by another": signed(RSA_TOO, "RS256", "one"),
    "another kind of key": signed(EC, "ES256", "one"),
    "unknown extensions": signed(RSA, "RS256", "one", crit=["x"], x=1),
    "no iss": without("iss"),
    "no aud": without("aud"),
    "no exp": without("exp"),
    "no iat": without("iat"),
    "no sub": without("sub"),
    "another issuer": with_(iss="https://evil.example.org"),
    "issuer with a slash": lambda claims: signed(RSA, "RS256", "one")({**claims, "iss": claims["iss"] + "/"}),
    "for another": with_(aud="another"),
    "for others": with_(aud=["another", "third"]),
    "for several, asked by nobody": with_(aud=[CLIENT, "another"]),
    "asked by another": with_(aud=[CLIENT, "another"], azp="another"),
    "over": with_(exp=int(time.time()) - 120),
    "not yet": with_(iat=int(time.time()) + 3600),
    "nobody": with_(sub=""),
    "endless sub": with_(sub="x" * 256),
}


@pytest.mark.parametrize("sign", REFUSED.values(), ids=REFUSED.keys())
async def test_tokens_that_prove_nothing(scripted: Scripted, of, sign, caplog) -> None:
    """401, with a text for the person, and the reason for the administrators in the log."""
    scripted.sign = sign
    with pytest.raises(ProviderRefused, match="VO demo did not confirm who you are: log in again") as caught:
        await claims_of(of())
    assert caught.value.status == 401
    assert caught.value.reason in caplog.text


async def test_the_clocks_differ_a_little(scripted: Scripted, of) -> None:
    """Half a minute is forgiven; several clients are in order, if ours asked."""
    now = int(time.time())
    scripted.claims |= {"iat": now + 30, "exp": now - 30, "aud": [CLIENT, "api"], "azp": CLIENT}
    assert (await claims_of(of()))["sub"] == "alice-1"


# --- Providers in trouble


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"error": "invalid_grant", "error_description": "code <b>"}, "(invalid_grant)"),
        ({"error": "<script>", "error_description": 7}, "confirm who you are:"),
        ([], "confirm who you are:"),
    ],
)
async def test_a_refused_code(scripted: Scripted, of, answer: Any, word: str) -> None:
    """401; of the provider's own text only a word of the standard's is repeated."""
    scripted.instead["token"] = lambda: web.json_response(answer, status=400)
    with pytest.raises(ProviderRefused) as caught:
        await claims_of(of())
    assert caught.value.status == 401
    assert word in caught.value.detail
    assert "<" not in caught.value.detail


def status(code: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=code, headers=headers)


async def too_late() -> web.Response:
    await asyncio.sleep(5)
    return web.Response()


TROUBLE: dict[str, tuple[str, Callable[[], Any]]] = {
    "server error": ("token", status(500)),
    "busy": ("token", status(429)),
    "not found": ("openid-configuration", status(404)),
    "redirect of the document": ("openid-configuration", status(302, Location="/jwks")),
    "redirect of the code": ("token", status(307, Location="http://127.0.0.1:9/")),
    "no JSON": ("openid-configuration", lambda: web.Response(text="<html>")),
    "a list": ("openid-configuration", list),
    "no keys": ("jwks", dict),
    "keys that are none": ("jwks", lambda: {"keys": {}}),
    "far too long": ("jwks", lambda: web.Response(body=b" " * (provider_documents.LARGEST_ANSWER + 1))),
    "slow document": ("openid-configuration", too_late),
    "slow token": ("token", too_late),
}


@pytest.mark.parametrize(("where", "answer"), TROUBLE.values(), ids=TROUBLE.keys())
async def test_a_provider_in_trouble(
    scripted: Scripted, of, where: str, answer, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """502; the log names the setting; once it is well again, so are we."""
    monkeypatch.setattr(provider_documents, "REQUEST_SECONDS", 0.3)
    providers = of()
    scripted.instead[where] = answer
    with pytest.raises(
        ProviderUnavailable, match="provider of VO demo cannot be used at the moment"
    ) as caught:
        await claims_of(providers)
    assert caught.value.status == 502
    assert "`auth.providers.demo`" in caplog.text
    assert scripted.issuer in caught.value.reason
    assert scripted.issuer not in caught.value.detail
    del scripted.instead[where]
    assert (await claims_of(providers))["sub"] == "alice-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", "http://127.0.0.1:1"),
        ("issuer", 7),
        ("authorization_endpoint", "http://elsewhere.example.org/authorize"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("token_endpoint", None),
        ("token_endpoint", "http://[::1"),
        ("jwks_uri", "file:///etc/passwd"),
        ("token_endpoint_auth_methods_supported", "none"),
    ],
)
async def test_bad_documents(scripted: Scripted, of, name: str, value: Any) -> None:
    """Nobody is sent anywhere that the document of another, or an unsafe one, names."""
    scripted.document[name] = value
    with pytest.raises(ProviderUnavailable):
        await url_of(of())


@pytest.mark.parametrize(
    "url", ["http://provider.example.org", "ftp://127.0.0.1", "nothing", "http://127.0.0.1:1"]
)
async def test_addresses(of, url: str) -> None:
    """Only https, but on this machine; and somebody must listen."""
    with pytest.raises(ProviderUnavailable):
        await url_of(of(url))


async def test_one_of_those_who_wait_goes_away(scripted: Scripted, of) -> None:
    """The others are served by the same fetch."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        begun.set()
        await go_on.wait()
        return scripted.document

    scripted.instead["openid-configuration"] = slow
    providers = of()
    first, second = asyncio.create_task(url_of(providers)), asyncio.create_task(url_of(providers))
    await begun.wait()
    first.cancel()
    go_on.set()
    assert (await second).startswith(scripted.issuer)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert scripted.asked == ["openid-configuration"]


async def test_closed_and_used_again(scripted: Scripted, of) -> None:
    """To close while something is fetched leaves nothing behind."""
    scripted.instead["openid-configuration"] = too_late
    providers = of()
    waiting = asyncio.create_task(url_of(providers))
    while not scripted.asked:
        await asyncio.sleep(0.01)
    await providers.close()
    with pytest.raises((asyncio.CancelledError, RestError)):
        await waiting
    scripted.instead.clear()
    assert (await claims_of(providers))["sub"] == "alice-1"


async def test_an_authority_of_its_own(scripted: Scripted, tmp_path: Path) -> None:
    """A provider whose certificate is of an authority that the system does not know."""
    authority = Authority.create("Providers' CA")
    authority.issue_host("localhost").write_pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    (tmp_path / "broken.pem").write_text("no certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = TestServer(scripted.app(), scheme="https")
    await server.start_server(ssl=context)
    issuer = f"https://localhost:{server.port}"
    scripted.begin(issuer)
    for ca, works in (("ca.pem", True), (None, False), ("none.pem", False), ("broken.pem", False)):
        providers = IdentityProviders(
            {"demo": [Provider(issuer, CLIENT, ca_file=tmp_path / ca if ca else None)]}
        )
        if works:
            assert (await claims_of(providers))["sub"] == "alice-1"
        else:
            with pytest.raises(ProviderUnavailable) as caught:
                await claims_of(providers)
            assert ca is None or ca in caught.value.reason
        await providers.close()
    await server.close()


# --- A real provider


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    """An oidc-provider for these tests."""
    with oidc_provider(CALLBACK) as issuer:
        yield issuer


async def logged_in(providers: IdentityProviders) -> Page:
    """What a person who is called alice there brings back."""
    person = Person(CALLBACK)
    url = await url_of(providers)
    return await asyncio.to_thread(person.log_in, url, {"login": "alice", "password": "any"})


@pytest.mark.clients
@pytest.mark.parametrize(
    ("client", "secret"),
    [("public", ""), ("ec", ""), ("pss", ""), ("ed", ""), ("basic", SECRET)],
)
async def test_a_real_provider(real: str, client: str, secret: str) -> None:
    """By every signature: a person logs in, we learn who it was; a code works once."""
    providers = IdentityProviders({"demo": [Provider(real, client, secret)]})
    try:
        back = await logged_in(providers)
        assert back.query["state"] == "s/+&"
        arguments = {
            "code_verifier": VERIFIER,
            "redirect_uri": CALLBACK,
            "issuer": back.query.get("iss"),
        }
        claims = await providers.claims("demo", code=back.query["code"], **arguments)
        assert (claims["sub"], claims["preferred_username"]) == ("alice", "alice")
        with pytest.raises(ProviderRefused, match="invalid_grant"):
            await providers.claims("demo", code=back.query["code"], **arguments)
    finally:
        await providers.close()


@pytest.mark.clients
async def test_a_real_provider_that_takes_secrets_in_forms() -> None:
    """Not every provider takes them in a header."""
    with oidc_provider(CALLBACK, methods="none client_secret_post") as issuer:
        providers = IdentityProviders({"demo": [Provider(issuer, "post", SECRET)]})
        back = (await logged_in(providers)).query
        claims = await providers.claims(
            "demo",
            code=back["code"],
            code_verifier=VERIFIER,
            redirect_uri=CALLBACK,
            issuer=back.get("iss"),
        )
        assert claims["sub"] == "alice"
        await providers.close()


@pytest.mark.clients
@pytest.mark.parametrize(
    ("client", "secret", "verifier", "callback"),
    [
        ("public", "", "w" * 43, CALLBACK),
        ("public", "", VERIFIER, f"{CALLBACK}/elsewhere"),
        ("basic", "wrong", VERIFIER, CALLBACK),
    ],
)
async def test_a_real_provider_refuses(
    real: str, client: str, secret: str, verifier: str, callback: str
) -> None:
    """A wrong verifier, address or secret is the provider's to refuse, and ours to say."""
    providers = IdentityProviders({"demo": [Provider(real, client, secret)]})
    try:
        back = await logged_in(providers)
        with pytest.raises(ProviderRefused, match=r"\(invalid_(grant|client)\)") as caught:
            await providers.claims(
                "demo",
                code=back.query["code"],
                code_verifier=verifier,
                redirect_uri=callback,
                issuer=back.query.get("iss"),
            )
        assert caught.value.status == 401
    finally:
        await providers.close()
