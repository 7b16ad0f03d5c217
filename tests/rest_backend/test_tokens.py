"""Access tokens and signing keys (reference sheet ``rest-diracx.md``, sections 2 and 3)."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rest_backend.errors import Unauthorized
from rest_backend.keys import KeyFile, KeyFileError, KeySet, SigningKey
from rest_backend.principals import Principal
from rest_backend.tokens import TokenIssuer, uuid7

from .conftest import ISSUER, Grid, Said

NOW = 1_700_000_000.75
PRINCIPAL = Principal("sub-1", "demo", "demo_user", "alice", ("NormalUser", "JobSharing"), {"x": {"y": 1}})


def new_key() -> SigningKey:
    """A fresh key."""
    return SigningKey(uuid.uuid4().hex, Ed25519PrivateKey.generate())


def unpadded(text: str) -> bytes:
    """What base64url without padding means."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- What a token says


@pytest.fixture
def parts() -> tuple[TokenIssuer, str, list[str]]:
    """An issuer whose clock stands, a token of it, and the token's three parts."""
    issuer = TokenIssuer(KeySet([new_key()]), ISSUER, timedelta(minutes=20), clock=lambda: NOW)
    text = issuer.mint(PRINCIPAL).text
    return issuer, text, text.split(".")


def test_header(parts) -> None:
    """The header has DiracX's three members, with the literal algorithm name Ed25519."""
    issuer, _, (header, _, _) = parts
    kid = issuer.keys.signing.key_id
    assert json.loads(unpadded(header)) == {"typ": "JWT", "alg": "Ed25519", "kid": kid}


def test_claims(parts) -> None:
    """The claims are DiracX's, no more (no aud, iat or nbf) and no fewer."""
    _, _, (_, payload, _) = parts
    claims = json.loads(unpadded(payload))
    jti = claims.pop("jti")
    assert claims == {
        "exp": 1_700_001_200,
        "sub": "demo:sub-1",
        "vo": "demo",
        "dirac_group": "demo_user",
        "preferred_username": "alice",
        "iss": ISSUER,
        "dirac_properties": ["NormalUser", "JobSharing"],
        "dirac_policies": {"x": {"y": 1}},
    }
    assert isinstance(claims["exp"], int)
    assert str(uuid.UUID(jti)) == jti


def test_signature(parts) -> None:
    """Anybody can verify a token with nothing but the published key set."""
    issuer, _, (header, payload, signature) = parts
    [key] = issuer.keys.published()["keys"]
    public = Ed25519PublicKey.from_public_bytes(unpadded(key["x"]))
    public.verify(unpadded(signature), f"{header}.{payload}".encode())


def test_published_key(parts) -> None:
    """The key set is published in DiracX's form, without its private half."""
    issuer, _, _ = parts
    signing = issuer.keys.signing
    public = signing.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert issuer.keys.published() == {
        "keys": [
            {
                "crv": "Ed25519",
                "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode(),
                "key_ops": ["sign", "verify"],
                "alg": "Ed25519",
                "kid": signing.key_id,
                "kty": "OKP",
            }
        ]
    }


def test_token_ids() -> None:
    """A jti is a UUID of version 7 that begins with the time of issue, and is never given twice."""
    made = [uuid7(NOW) for _ in range(1000)]
    assert len(set(made)) == 1000
    for each in made:
        assert (each.version, each.variant) == (7, uuid.RFC_4122)
        assert each.int >> 80 == 1_700_000_000_750
    assert uuid7(NOW + 0.001).hex > max(each.hex for each in made)


def test_a_minted_token_tells_its_end() -> None:
    """Whoever keeps a token can see when it ends: the very second that stands in it."""
    issuer = TokenIssuer(KeySet([new_key()]), ISSUER, timedelta(seconds=90), clock=lambda: NOW)
    token = issuer.mint(PRINCIPAL)
    assert token.expires == 1_700_000_090
    assert jwt.decode(token.text, options={"verify_signature": False})["exp"] == token.expires
    assert token.principal == PRINCIPAL


@pytest.mark.parametrize(
    "principal",
    [
        PRINCIPAL,
        Principal("with:colon", "demo", "g", "u", ()),
        Principal("host", "", "hosts", "bridge.example.org", ("TrustedHost",)),
        Principal("üñï", "v o", "g", "名前", ("NormalUser",)),
    ],
)
def test_a_token_proves_its_principal(principal) -> None:
    """What was minted for a caller is verified as that caller."""
    issuer = TokenIssuer(KeySet([new_key()]), ISSUER)
    assert issuer.verify(issuer.mint(principal).text) == principal


def test_secrets_are_not_shown(parts) -> None:
    """Neither a token's text nor a private key stands in what a log might print."""
    issuer, _, _ = parts
    token, key = issuer.mint(PRINCIPAL), issuer.keys.signing
    shown = f"{token!r} {token} {key!r} {key} {issuer!r} {issuer.keys!r} {issuer.keys.published()}"
    assert token.text not in shown
    assert key.private_jwk()["d"] not in shown


# --- Which tokens are believed


@pytest.fixture(scope="module")
def rsa() -> Any:
    """An RSA key."""
    return generate_private_key(65537, 2048)


Forge = Callable[[Grid, dict[str, Any]], str]


def signed(*, key: Any = None, algorithm: str = "Ed25519", kid: Any = "own", **changed: Any) -> Forge:
    """A token with some claims changed (``...``: left out) or signed in another way."""

    def forge(grid: Grid, claims: dict[str, Any]) -> str:
        wanted = {name: value for name, value in {**claims, **changed}.items() if value is not ...}
        own = grid.issuer.keys.signing
        headers = {} if kid is None else {"kid": own.key_id if kid == "own" else kid}
        return jwt.encode(wanted, own.private if key is None else key, algorithm=algorithm, headers=headers)

    return forge


def headed(**header: Any) -> Forge:
    """A token with any header at all, signed with the right key."""

    def forge(grid: Grid, claims: dict[str, Any]) -> str:
        own = grid.issuer.keys.signing
        whole = {"typ": "JWT", "alg": "Ed25519", "kid": own.key_id, **header}
        text = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in (whole, claims)
        )
        signature = base64.urlsafe_b64encode(own.private.sign(text.encode())).rstrip(b"=").decode()
        return f"{text}.{signature}"

    return forge


def tampered(part: int) -> Forge:
    """A good token with one character of a part changed."""

    def forge(grid: Grid, claims: dict[str, Any]) -> str:
        parts = signed()(grid, claims).split(".")
        middle = len(parts[part]) // 2
        changed = "A" if parts[part][middle] != "A" else "B"
        parts[part] = parts[part][:middle] + changed + parts[part][middle + 1 :]
        return ".".join(parts)

    return forge


def with_public_key_as_secret(grid: Grid, claims: dict[str, Any]) -> str:
    """The classical forgery: HS256 with what everybody knows."""
    public = grid.issuer.keys.signing.private.public_key()
    secret = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return signed(key=secret, algorithm="HS256")(grid, claims)


_IDENTITY = ("sub", "vo", "iss", "dirac_group", "preferred_username", "dirac_properties")
REFRESH_CLAIMS: Mapping[str, Any] = {**dict.fromkeys(_IDENTITY, ...), "legacy_exchange": False}

BAD_TOKENS: Mapping[str, Forge] = {
    "expired": signed(exp=1_700_000_000),
    "wrong issuer": signed(iss="https://other.example.org/"),
    "issuer without its slash": signed(iss=ISSUER.rstrip("/")),
    "no issuer": signed(iss=...),
    "no jti": signed(jti=...),
    # DiracX believes a token without an end; here one is never minted, so it is no token of ours.
    "no exp": signed(exp=...),
    "no sub": signed(sub=...),
    "no vo": signed(vo=...),
    "another vo than sub's": signed(vo="other"),
    "sub without vo": signed(sub="alice"),
    "no group": signed(dirac_group=...),
    "no properties": signed(dirac_properties=...),
    "refresh token": signed(**REFRESH_CLAIMS),
    "exp is no number": signed(exp="soon"),
    "another key under our id": signed(key=Ed25519PrivateKey.generate()),
    "unknown key id": signed(kid="0" * 32),
    "no key id": signed(kid=None),
    "key id is no text": headed(kid=["a"]),
    "algorithm EdDSA": signed(algorithm="EdDSA"),
    "algorithm none": signed(key="", algorithm="none"),
    "algorithm unknown": headed(alg="Ed448"),
    "critical extension": headed(crit=["x"], x=1),
    "HS256 with the public key": with_public_key_as_secret,
    "tampered header": tampered(0),
    "tampered claims": tampered(1),
    "tampered signature": tampered(2),
    "no signature": lambda grid, claims: signed()(grid, claims).rpartition(".")[0] + ".",
    "two parts": lambda grid, claims: signed()(grid, claims).rpartition(".")[0],
    "no JWT": lambda _grid, _claims: "a.b.c",
    "two words": lambda grid, claims: f"{signed()(grid, claims)} more",
}


@pytest.fixture
def claims(grid) -> dict[str, Any]:
    """What a good token of alice says."""
    return jwt.decode(grid.token("alice"), options={"verify_signature": False})


async def asked_with(grid: Grid, token: str) -> Said:
    """What a client with this token gets."""
    return await grid.http(
        "GET", "/api/auth/userinfo", caller=None, headers={"Authorization": f"Bearer {token}"}
    )


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_bad_tokens(grid, claims, kind) -> None:
    """A token that does not prove its caller is 401, without a challenge and without a reason."""
    said = await asked_with(grid, BAD_TOKENS[kind](grid, claims))
    assert (said.status, said.detail) == (401, "Invalid JWT")
    assert "WWW-Authenticate" not in said.headers


async def test_rs256_tokens(grid, claims, rsa) -> None:
    """A token signed with RS256 is not believed: no such key is ours."""
    said = await asked_with(grid, signed(key=rsa, algorithm="RS256")(grid, claims))
    assert (said.status, said.detail) == (401, "Invalid JWT")


async def test_token_id_is_no_uuid(grid, claims) -> None:
    """A token whose jti is no UUID is no token of ours."""
    assert (await asked_with(grid, signed(jti="one")(grid, claims))).status == 401


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(signed(), id="as minted"),
        pytest.param(signed(aud="somebody", iat=1, extra=1), id="more claims"),
        pytest.param(signed(dirac_properties=[]), id="no properties"),
    ],
)
async def test_good_tokens(grid, claims, forge) -> None:
    """The same machinery that forges bad tokens makes good ones: the refusals above have their reasons."""
    assert (await asked_with(grid, forge(grid, claims))).status == 200


async def test_an_expired_mint(grid) -> None:
    """A token that was minted twenty-one minutes ago has ended."""
    clock = [0.0]
    issuer = TokenIssuer(grid.issuer.keys, ISSUER, clock=lambda: clock[0])
    clock[0] = time.time() - 21 * 60
    assert (await asked_with(grid, issuer.mint(grid.principal("alice")).text)).status == 401
    clock[0] += 2 * 60
    assert (await asked_with(grid, issuer.mint(grid.principal("alice")).text)).status == 200


def test_keys_are_changed_without_ending_tokens() -> None:
    """With several keys all are published, the first signs, and what the others signed stays good."""
    old, new = new_key(), new_key()
    before = TokenIssuer(KeySet([old]), ISSUER)
    after = TokenIssuer(KeySet([new, old]), ISSUER)
    assert after.verify(before.mint(PRINCIPAL).text) == PRINCIPAL
    assert jwt.get_unverified_header(after.mint(PRINCIPAL).text)["kid"] == new.key_id
    assert [key["kid"] for key in after.keys.published()["keys"]] == [new.key_id, old.key_id]
    with pytest.raises(Unauthorized):
        before.verify(after.mint(PRINCIPAL).text)


# --- The key file


def test_the_key_file_is_made_once(tmp_path) -> None:
    """The first start makes a key that only its owner may read; the next one takes the same."""
    path = tmp_path / "new" / "keys.json"
    first = KeySet.load_or_create(path)
    before = path.read_bytes()
    second = KeySet.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{32}", first.signing.key_id)
    assert second.published() == first.published()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]
    token = TokenIssuer(first, ISSUER).mint(PRINCIPAL)
    assert TokenIssuer(second, ISSUER).verify(token.text) == PRINCIPAL


def test_the_key_file_is_private_whatever_the_umask(tmp_path) -> None:
    """A generous umask does not open the key file."""
    before = os.umask(0)
    try:
        KeySet.load_or_create(tmp_path / "keys.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_starts_at_once_end_with_one_key_set(tmp_path, monkeypatch) -> None:
    """Programs that all find no key file and all make one end up with the same keys."""
    starts = 8
    all_found_none = threading.Barrier(starts)
    make_file = KeyFile.create

    def create(path) -> None:
        all_found_none.wait(timeout=10)
        make_file(path)

    monkeypatch.setattr(KeyFile, "create", staticmethod(create))
    with ThreadPoolExecutor(starts) as pool:
        found = list(pool.map(KeySet.load_or_create, [tmp_path / "keys.json"] * starts))
    assert len({keys.signing.key_id for keys in found}) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


GOOD_JWK = new_key().private_jwk()

BROKEN_FILES: Mapping[str, Any] = {
    "empty": b"",
    "no JSON": b"keys: []",
    "no text": b"\xff\xfe\x00",
    "no object": [GOOD_JWK],
    "no keys": {},
    "keys is no list": {"keys": 5},
    "no key": {"keys": []},
    "an RSA key": {"keys": [{**GOOD_JWK, "kty": "RSA"}]},
    "another curve": {"keys": [{**GOOD_JWK, "crv": "X25519"}]},
    "no private half": {"keys": [{name: value for name, value in GOOD_JWK.items() if name != "d"}]},
    "private half too short": {"keys": [{**GOOD_JWK, "d": "AAAA"}]},
    "private half is no base64": {"keys": [{**GOOD_JWK, "d": "?"}]},
    "private half is no text": {"keys": [{**GOOD_JWK, "d": 5}]},
    "no key id": {"keys": [{name: value for name, value in GOOD_JWK.items() if name != "kid"}]},
    "the second is broken": {"keys": [GOOD_JWK, {}]},
}


@pytest.mark.parametrize(
    "kind",
    [
        *BROKEN_FILES,
        pytest.param("a key is no object"),
    ],
)
def test_a_broken_key_file(tmp_path, kind) -> None:
    """A broken key file stops the start with its name and the mend, is left alone, and shows no secret."""
    content = {**BROKEN_FILES, "a key is no object": {"keys": ["key"]}}[kind]
    path = tmp_path / "keys.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    before = path.read_bytes()
    with pytest.raises(KeyFileError) as caught:
        KeySet.load_or_create(path)
    assert str(path) in str(caught.value)
    assert "remove it" in str(caught.value)
    assert GOOD_JWK["d"] not in str(caught.value)
    assert path.read_bytes() == before


def test_a_key_file_that_cannot_be_made(tmp_path) -> None:
    """A key file that cannot be made, or is no file, names its setting or its path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match=r"cannot be made .*auth: keys:"):
        KeySet.load_or_create(tmp_path / "file" / "keys.json")
    with pytest.raises(KeyFileError, match=re.escape(str(tmp_path))):
        KeySet.load_or_create(tmp_path)


def test_a_key_file_that_others_can_read(tmp_path) -> None:
    """The log says so at the start and at each change: whoever has the keys can act as anybody."""
    file = KeyFile.load_or_create(tmp_path / "keys.json")
    assert file.warnings == ()
    for mode, warned in ((0o644, True), (0o660, True), (0o640, False), (0o600, False)):
        file.path.chmod(mode)
        assert file.refresh()
        assert bool(file.warnings) == warned
