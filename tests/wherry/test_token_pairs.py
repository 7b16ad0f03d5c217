"""Tokens of the new side for callers of the old one: who gets them, what they say, what is recorded."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import jwt
import pytest

from legacy_rpc.messages import Credential, Failure, Identity
from rest_backend.keys import KeyFile
from rest_backend.operations import Runner
from rest_backend.tokens import TokenIssuer
from shared_db.administration import upgrade_own
from shared_db.connection import open_databases
from shared_db.registry import RegistryFile
from shared_db.schema.wherry_db import WHERRY_DB, refresh_tokens
from wherry.build import NewSide, token_pairs

ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=9)
DN = "/O=Lab/CN=alice"
ALICE = Identity(
    "alice",
    "lab_user",
    dn=DN,
    vo="lab",
    properties=("NormalUser", "JobSharing"),
    credential=Credential(DN, f"{DN}/CN=1", DN, ENDS, is_proxy=True, group="lab_user"),
)


@pytest.fixture
async def new(tmp_path: Path) -> AsyncIterator[NewSide]:
    """The parts of the new side that tokens need."""
    databases = open_databases(f"sqlite:///{tmp_path / 'wherry.db'}", create=True)
    await upgrade_own(databases)
    (tmp_path / "registry.cfg").write_text("Registry\n{\n}\n")
    registry = RegistryFile(tmp_path / "registry.cfg")
    registry.load()
    keys = KeyFile.load_or_create(tmp_path / "keys.json")
    issuer = TokenIssuer(lambda: keys.content, "https://issuer.example.org/")
    yield NewSide("", databases, registry, keys, issuer, cast(Runner, None))
    await databases.dispose()


def claims(text: str) -> Any:
    """What a client reads of a token."""
    return jwt.decode(text, options={"verify_signature": False})


async def test_tokens(new: NewSide) -> None:
    """The access token is the caller's in his group; the refresh token ends with the proxy. It is kept."""
    pair = await token_pairs(new)(ALICE)
    principal = new.issuer.verify(pair.access_token)
    assert (principal.username, principal.group, principal.vo) == ("alice", "lab_user", "lab")
    assert pair.expires_in == 20 * 60
    said = claims(pair.refresh_token)
    assert set(said) == {"jti", "exp", "legacy_exchange", "dirac_policies"}
    assert uuid.UUID(said["jti"]).version == 7
    assert (said["exp"], said["legacy_exchange"], said["dirac_policies"]) == (ENDS.timestamp(), True, {})
    header = jwt.get_unverified_header(pair.refresh_token)
    key = new.issuer.keys.public_key(header["kid"])
    assert key is not None
    assert jwt.decode(pair.refresh_token, key, algorithms=["Ed25519"]) == said
    async with new.databases.unit_of_work() as work:
        [row] = await work.rows(WHERRY_DB, refresh_tokens.select())
    kept = row._mapping
    assert (kept["jti"], kept["family"]) == (said["jti"], said["jti"])
    assert kept["subject"] == f"lab:{principal.subject}"
    assert kept["scope"] == "vo:lab group:lab_user property:NormalUser property:JobSharing"
    assert (kept["status"], kept["legacy_exchange"], kept["expires_at"]) == ("CREATED", True, ENDS)


async def test_a_refresh_token_is_no_access_token(new: NewSide) -> None:
    """It opens nothing."""
    pair = await token_pairs(new)(ALICE)
    with pytest.raises(Exception, match="Invalid JWT"):
        new.issuer.verify(pair.refresh_token)


@pytest.mark.parametrize(
    "caller",
    [
        replace(ALICE, vo=None),
        replace(ALICE, kind="host", group="hosts", vo=None),
        replace(ALICE, kind="anonymous"),
        replace(ALICE, credential=None),
    ],
)
async def test_who_gets_none(new: NewSide, caller: Identity) -> None:
    """Hosts, strangers, and users without a VO; nothing is recorded."""
    with pytest.raises(Failure, match="gets no tokens: only users in a VO do"):
        await token_pairs(new)(caller)
    async with new.databases.unit_of_work() as work:
        assert await work.rows(WHERRY_DB, refresh_tokens.select()) == []
