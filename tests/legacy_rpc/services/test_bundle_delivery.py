"""Framework/BundleDelivery: what a client gets of the directory of authorities."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest

from legacy_rpc.messages import Call
from legacy_rpc.servers.door import FileInMemory
from legacy_rpc.services.table import Common
from shared_db.connection import Databases
from shared_db.registry import RegistryFile
from wherry.demo.pki import Authority

SERVICE = "Framework/BundleDelivery"


@pytest.fixture(scope="session")
def authority() -> Authority:
    """One for all tests."""
    return Authority.create("Bundled CA")


@pytest.fixture
def ca_path(tmp_path: Path, authority: Authority) -> Path:
    """As sites have it: an authority under two names, its policy, its CRL; and a key, by mistake."""
    certificate = authority.write_directory(tmp_path / "ca")
    (certificate.parent / "bundled.pem").symlink_to(certificate.name)
    certificate.with_suffix(".signing_policy").write_text("access_id_CA X509 '/CN=Bundled CA'\n")
    certificate.with_suffix(".info").write_text("alias = bundled\n")
    authority.write_crl(certificate.parent)
    authority.write(certificate.parent / "secret.pem")
    return certificate.parent


class Bundles:
    """The service, as a client uses it."""

    def __init__(self, side: Any, callers: Any) -> None:
        self.side = side
        self.callers = callers

    async def fetch(self, *information: Any, caller: Any = None) -> tuple[dict[str, Any], bytes]:
        """What a client sees of a transfer: the result, and the bytes."""
        who = self.side.admit(SERVICE, "ToClient", caller or self.callers.bob, action="FileTransfer")
        file = FileInMemory()
        call = Call(SERVICE, "FileTransfer/ToClient", information, who, "dips", outgoing=file)
        result = await self.side.front_door.handle(call)
        return result.as_result(), bytes(file.content)


@pytest.fixture
def bundles(make_old_side: Any, callers: Any, registry: RegistryFile, ca_path: Path) -> Bundles:
    """The service over that directory."""
    common = Common(cast(Databases, None), registry, str, ca_path=ca_path)
    return Bundles(make_old_side(common=common), callers)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """What a client extracts."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        members = {each.name: each for each in tar}
        assert all(each.isfile() and each.mode == 0o644 for each in members.values())
        return {name: cast(Any, tar.extractfile(each)).read() for name, each in members.items()}


async def test_authorities(bundles: Bundles, ca_path: Path) -> None:
    """Certificates and policies come as a tar.gz, whose version is an MD5; no private key does."""
    result, archive = await bundles.fetch(["CAs", ""], "")
    assert len(result["Value"]) == len(hashlib.md5(b"", usedforsecurity=False).hexdigest())
    names = {file.name for file in ca_path.iterdir() if file.suffix in (".0", ".signing_policy")}
    assert unpacked(archive) == {name: (ca_path / name).read_bytes() for name in names | {"bundled.pem"}}
    assert (await bundles.fetch(["CAs"])) == (result, archive)


async def test_crls(bundles: Bundles, ca_path: Path) -> None:
    """CRLs come as another."""
    result, archive = await bundles.fetch(["CRLs", "an older version"], "")
    [crl] = ca_path.glob("*.r0")
    assert unpacked(archive) == {crl.name: crl.read_bytes()}
    assert result["OK"]


async def test_times_of_files(bundles: Bundles, ca_path: Path) -> None:
    """They come along, since clients tell outdated CRLs by them; the version heeds contents only."""
    [crl] = ca_path.glob("*.r0")
    versions = set()
    for modified in (1_700_000_000, 1_800_000_000):
        os.utime(crl, (modified, modified))
        result, archive = await bundles.fetch(["CRLs", ""], "")
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            assert [member.mtime for member in tar] == [modified]
        versions.add(result["Value"])
    assert len(versions) == 1


async def test_in_sync(bundles: Bundles, ca_path: Path, authority: Authority) -> None:
    """A client that has the version gets nothing but the version; after a change it gets the new content."""
    for name in ("CAs", "CRLs"):
        version = (await bundles.fetch([name, ""], ""))[0]["Value"]
        assert await bundles.fetch([name, version], "") == ({"OK": True, "Value": version}, b"")
    authority.write_crl(ca_path, [authority])
    result, archive = await bundles.fetch(["CRLs", version], "")
    assert result["Value"] != version
    assert unpacked(archive)
    (ca_path / "deadbeef.0").write_text("another\n")
    assert "deadbeef.0" in unpacked((await bundles.fetch(["CAs", ""], ""))[1])


async def test_plain_names(bundles: Bundles, ca_path: Path) -> None:
    """A name alone gives one PEM file with every certificate, or CRL, once."""
    [certificate], [crl] = ca_path.glob("*.0"), ca_path.glob("*.r0")
    assert await bundles.fetch("CAs", "") == ({"OK": True, "Value": None}, certificate.read_bytes())
    assert await bundles.fetch("CRLs", "") == ({"OK": True, "Value": None}, crl.read_bytes())
    crl.unlink()
    assert await bundles.fetch("CRLs", "") == ({"OK": True, "Value": None}, b"")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ([], "No bundle specified!"),
        (["X"], "Unknown bundle X"),
        ("X", "Unknown bundle X"),
        (["X", "y"], "Unknown bundle X"),
        (5, "Unknown bundle None"),
        (None, "Unknown bundle None"),
        ([["CAs"]], "Unknown bundle None"),
    ],
)
async def test_unknown_bundles(bundles: Bundles, asked: Any, problem: str) -> None:
    """Refused as DIRAC does."""
    assert await bundles.fetch(asked, "") == ({"OK": False, "Errno": 0, "Message": problem}, b"")


async def test_empty_bundle(bundles: Bundles, ca_path: Path) -> None:
    """A site without CRLs has an empty bundle of them."""
    for crl in ca_path.glob("*.r0"):
        crl.unlink()
    result, _ = await bundles.fetch(["CRLs", ""], "")
    assert result["Message"] == "Empty bundle CRLs"
    listed = await bundles.side.call(SERVICE, "getListOfBundles")
    assert listed["Value"]["CRLs"] == (None, None)


async def test_list_of_bundles(bundles: Bundles) -> None:
    """Releases up to 8.0 ask for all of them in one call."""
    listed = (await bundles.side.call(SERVICE, "getListOfBundles"))["Value"]
    for name in ("CAs", "CRLs"):
        result, archive = await bundles.fetch([name, ""], "")
        assert listed[name] == (result["Value"], archive)


async def test_directory_gone(bundles: Bundles, ca_path: Path) -> None:
    """An error says what cannot be read."""
    ca_path.rename(ca_path.with_name("away"))
    result, _ = await bundles.fetch(["CAs", ""], "")
    assert result["Message"].startswith("The directory of authorities cannot be read")
