"""Access tokens are good while their caller is: the registry, revocations and keys are followed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm

from rest_backend.errors import Unauthorized
from rest_backend.keys import KeyFile, KeyFileError, KeySet, SigningKey
from rest_backend.principals import Principal
from rest_backend.revocations import Revocations
from rest_backend.tokens import MOST_REMEMBERED, TokenIssuer, family_mark, uuid7
from shared_db.errors import Unavailable
from shared_db.queries.revocations import FAMILY, SUBJECT, TOKEN, Revocation, add_revocation
from shared_db.registry import Registry

from .conftest import ISSUER, Grid, Said

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRINCIPAL = Principal("sub-1", "demo", "demo_user", "alice", ("NormalUser",))


async def asked_with(grid: Grid, text: str) -> Said:
    """What a client with this token gets."""
    headers = {"Authorization": f"Bearer {text}"}
    return await grid.http("GET", "/api/auth/userinfo", caller=None, headers=headers)


def change(grid: Grid, name: str, value: str) -> None:
    """An administrator edits the registry."""
    cfg = grid.runner.resources.cfg()
    cfg.set(name, value)
    grid.registry = Registry.from_cfg(cfg)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Registry/Users/alice/Suspended", "other, demo", id="suspended"),
        pytest.param("Registry/Groups/demo_user/Users", "bob", id="no member any more"),
        pytest.param("Registry/Groups/demo_user/VO", "other", id="the group went to another VO"),
        pytest.param("Registry/Users/alice/Subject", "another", id="another person"),
        pytest.param("DiracX/CsSync/VOs/demo/UserSubjects/alice", "another", id="another, by DIRAC's sync"),
    ],
)
async def test_a_user_who_may_not_any_more(make_grid, name, value) -> None:
    """A good token is refused from the first request after the registry has changed, and only that one."""
    async with make_grid() as grid:
        alice, carol = grid.token("alice"), grid.token("carol")
        elsewhere = grid.token("alice_elsewhere")
        assert (await asked_with(grid, alice)).status == 200
        change(grid, name, value)
        said = await asked_with(grid, alice)
        assert (said.status, said.detail) == (401, "Invalid JWT")
        assert (await asked_with(grid, carol)).status == 200
        # What is said of the user as such holds in the other VO too.
        gone = "Registry/Users" in name
        assert (await asked_with(grid, elsewhere)).status == (401 if gone else 200)


async def test_a_user_who_was_removed(make_grid) -> None:
    """A user who is not there any more is refused, and so is a host."""
    async with make_grid() as grid:
        alice, host = grid.token("alice"), grid.token("host")
        assert (await asked_with(grid, host)).status == 200
        cfg = grid.runner.resources.cfg()
        del cfg.section("Registry/Users").sections["alice"]
        del cfg.section("Registry/Hosts").sections["bridge"]
        grid.registry = Registry.from_cfg(cfg)
        for token in (alice, host):
            assert (await asked_with(grid, token)).status == 401


@pytest.mark.parametrize("changed", [{"username": "bob"}, {"subject": "x"}, {"group": "nope"}, {"vo": ""}])
async def test_a_caller_of_nobody(grid, changed) -> None:
    """A token whose claims are no one's in the registry is no good, though we signed it."""
    fields = {name: getattr(grid.principal("alice"), name) for name in Principal.__dataclass_fields__}
    token = grid.issuer.mint(Principal(**{**fields, **changed})).text
    assert (await asked_with(grid, token)).status == 401


# --- Revocations


def revoked(kind: str, value: str, at: datetime = NOW) -> Revocation:
    """Somebody revoked something."""
    return Revocation(kind, value, at, at + timedelta(minutes=20), "x", "y")


def test_what_a_revocation_means() -> None:
    """One token; all of a family; all that a subject had by then."""
    clock = [NOW.timestamp()]
    issuer = TokenIssuer(KeySet([SigningKey.generate()]), ISSUER, clock=lambda: clock[0])
    family, other = str(uuid7(clock[0])), str(uuid7(clock[0]))
    tokens = [issuer.mint(PRINCIPAL, family=each) for each in (family, family, other)]
    clock[0] += 1
    later = issuer.mint(PRINCIPAL, family=family)
    everything = [*tokens, later]
    revocations = Revocations()

    def refused(*given: Revocation) -> list[bool]:
        revocations.put(given)
        return [revocations.refuses(each) for each in everything]

    assert refused() == [False] * 4
    assert refused(revoked(TOKEN, str(tokens[0].jti))) == [True, False, False, False]
    assert refused(revoked(FAMILY, family)) == [True, True, False, True]
    assert refused(revoked(SUBJECT, "demo:sub-1")) == [True, True, True, False]
    assert refused(revoked(SUBJECT, "other:sub-1"), revoked("of a newer version", "x")) == [False] * 4
    assert {family_mark(each.jti) for each in tokens[:2]} == {family_mark(later.jti)}


async def test_revocations_are_followed(make_grid) -> None:
    """What another host writes into the table takes effect here without a request asking the database."""
    async with make_grid() as grid:
        token = grid.issuer.mint(grid.principal("alice"))
        revocations = grid.runner.resources.revocations
        async with revocations.followed(grid.databases, 0.02):
            async with grid.databases.unit_of_work(write=True) as work:
                await add_revocation(work, revoked(TOKEN, str(token.jti), datetime.now(UTC)))
            for _ in range(100):
                if (await asked_with(grid, token.text)).status == 401:
                    break
                await asyncio.sleep(0.02)
            assert (await asked_with(grid, token.text)).status == 401
            assert (await asked_with(grid, grid.token("alice"))).status == 200


async def test_no_database_to_ask(grid, monkeypatch, caplog) -> None:
    """While the database cannot be asked, what was known stays known, and the log says it once."""
    token = grid.issuer.mint(PRINCIPAL)
    revocations = Revocations()
    revocations.put([revoked(TOKEN, str(token.jti))])

    def unavailable(**_given: Any) -> Any:
        raise Unavailable("gone")

    monkeypatch.setattr(grid.databases, "unit_of_work", unavailable)
    await revocations.read(grid.databases)
    await revocations.read(grid.databases)
    assert revocations.refuses(token)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# --- Keys


def test_verified_tokens_are_remembered_within_bounds() -> None:
    """Memory is bounded, and what is remembered ends with its key and its time."""
    keys = [KeySet([SigningKey.generate()])]
    issuer = TokenIssuer(lambda: keys[0], ISSUER, timedelta(minutes=20))
    token = issuer.mint(PRINCIPAL).text
    assert issuer.verify_access(token) is issuer.verify_access(token)
    for _ in range(MOST_REMEMBERED + 50):
        issuer.verify(issuer.mint(PRINCIPAL).text)
    assert len(issuer._remembered) <= MOST_REMEMBERED + 1
    issuer.verify(token)
    keys[0] = KeySet([SigningKey.generate()])
    with pytest.raises(Unauthorized):
        issuer.verify(token)


async def test_a_remembered_token_ends(grid) -> None:
    """What was verified once is refused when its time is over."""
    brief = TokenIssuer(grid.issuer.keys, ISSUER, timedelta(seconds=2))
    token = brief.mint(grid.principal("alice")).text
    assert (await asked_with(grid, token)).status == 200
    await asyncio.sleep(2.1)
    assert (await asked_with(grid, token)).status == 401


async def test_keys_are_changed_while_serving(make_grid, tmp_path) -> None:
    """A new key signs from the next refresh on; the old one verifies until it is taken out."""
    file = KeyFile.load_or_create(tmp_path / "keys.json")
    other_worker = KeyFile.load_or_create(tmp_path / "keys.json")
    async with make_grid() as grid:
        grid.issuer._keys = lambda: file.content
        old = grid.token("alice")
        old_id = file.content.signing.key_id

        new = other_worker.rotate()
        assert (await asked_with(grid, old)).status == 200
        assert file.refresh()
        fresh = grid.token("alice")
        assert jwt.get_unverified_header(fresh)["kid"] == new.key_id != old_id
        for token in (old, fresh):
            assert (await asked_with(grid, token)).status == 200
        said = await grid.http("GET", "/.well-known/jwks.json", caller=None)
        assert [key["kid"] for key in said.body["keys"]] == [new.key_id, old_id]
        assert "d" not in said.body["keys"][0]

        (tmp_path / "keys.json").write_text(json.dumps({"keys": [new.private_jwk()]}))
        assert file.refresh()
        assert (await asked_with(grid, old)).status == 401
        assert (await asked_with(grid, fresh)).status == 200


def test_a_broken_edit_of_the_key_file(tmp_path) -> None:
    """A broken edit leaves the keys in force, and says what is wrong without a secret."""
    file = KeyFile.load_or_create(tmp_path / "keys.json")
    before = file.content
    file.path.write_text(file.path.read_text()[:-20])
    assert not file.refresh()
    assert file.content is before
    assert str(file.path) in str(file.error)
    assert before.signing.private_jwk()["d"] not in str(file.error)


def test_rotation_keeps_what_verifies(tmp_path) -> None:
    """A rotation keeps all old keys, or of them the last, and the file stays its owner's."""
    file = KeyFile.load_or_create(tmp_path / "keys.json")
    first = file.content.signing.key_id
    second = file.rotate().key_id
    assert [key.key_id for key in file.content.all] == [second, first]
    third = file.rotate(forget=True).key_id
    assert [key.key_id for key in KeySet.load_or_create(file.path).all] == [third, second]
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_a_rotation_that_cannot_be(tmp_path) -> None:
    """A directory that is gone names the mend, and the keys stay."""
    (tmp_path / "sub").mkdir()
    file = KeyFile.load_or_create(tmp_path / "sub" / "keys.json")
    file.path.unlink()
    (tmp_path / "sub").rmdir()
    with pytest.raises(KeyFileError, match="cannot be written .* run as its owner"):
        file.rotate()


@pytest.fixture(scope="module")
def rsa_jwk() -> dict[str, Any]:
    """An RSA key as other software writes it."""
    jwk = RSAAlgorithm.to_jwk(generate_private_key(65537, 2048), as_dict=True)
    return {**jwk, "kid": "rsa", "alg": "RS256", "key_ops": ["sign", "verify"]}


def write(path: Path, *jwks: dict[str, Any]) -> Path:
    """A key file."""
    path.write_text(json.dumps({"keys": jwks}))
    return path


async def test_rsa_keys(make_grid, tmp_path, rsa_jwk) -> None:
    """An RSA key signs and verifies with RS256, is published without its secrets, and is announced."""
    ed = SigningKey.generate()
    keys = KeySet.load_or_create(write(tmp_path / "keys.json", rsa_jwk, ed.private_jwk()))
    again = keys.signing.private_jwk()
    assert {name: again[name] for name in ("n", "e", "d", "p", "q")}.items() <= rsa_jwk.items()
    async with make_grid() as grid:
        grid.issuer._keys = keys
        token = grid.token("alice")
        assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "RS256", "kid": "rsa"}
        assert (await asked_with(grid, token)).status == 200
        said = await grid.http("GET", "/.well-known/jwks.json", caller=None)
        published = said.body["keys"][0]
        assert published.keys() == {"n", "e", "key_ops", "alg", "kid", "kty"}
        public = jwt.PyJWK(published).key
        assert jwt.decode(token, public, algorithms=["RS256"])["preferred_username"] == "alice"
        said = await grid.http("GET", "/.well-known/openid-configuration", caller=None)
        assert said.body["token_endpoint_auth_signing_alg_values_supported"] == ["Ed25519", "RS256"]
        # One key's algorithm is no other's.
        forged = jwt.encode({"iss": ISSUER}, ed.private, algorithm="Ed25519", headers={"kid": "rsa"})
        assert (await asked_with(grid, forged)).status == 401


def test_which_key_signs(tmp_path) -> None:
    """The first whose operations have `sign`; one that says nothing may."""
    first, second = SigningKey.generate().private_jwk(), SigningKey.generate().private_jwk()
    first["key_ops"] = ["verify"]
    keys = KeySet.load_or_create(write(tmp_path / "one.json", first, second))
    assert keys.signing.key_id == second["kid"]
    assert [key["key_ops"] for key in keys.published()["keys"]] == [["verify"], ["sign", "verify"]]
    del first["key_ops"]
    keys = KeySet.load_or_create(write(tmp_path / "two.json", first, second))
    assert keys.signing.key_id == first["kid"]


@pytest.mark.parametrize("kind", ["none signs", "one id twice", "small", "public", "PS256"])
def test_keys_that_cannot_be_used(tmp_path, rsa_jwk, kind) -> None:
    """What would fail later is refused at once, with the mend."""
    ed = SigningKey.generate().private_jwk()
    small = RSAAlgorithm.to_jwk(generate_private_key(65537, 1024), as_dict=True)
    jwks = {
        "none signs": [{**ed, "key_ops": ["verify"]}],
        "one id twice": [ed, {**rsa_jwk, "kid": ed["kid"]}],
        "small": [{**small, "kid": "small"}],
        "public": [{name: rsa_jwk[name] for name in ("n", "e", "kty", "kid")}],
        "PS256": [{**rsa_jwk, "alg": "PS256"}],
    }[kind]
    with pytest.raises(KeyFileError, match="remove it to have a new one made"):
        KeySet.load_or_create(write(tmp_path / "keys.json", *jwks))
