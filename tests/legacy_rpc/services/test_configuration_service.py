"""Configuration/Server: what clients of every release download at their start."""

from __future__ import annotations

import os
import re
import zlib
from typing import Any, cast

import pytest

from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import Common
from shared_db.cfg import CfgSection, parse_cfg
from shared_db.connection import Databases

SERVER = "Configuration/Server"
# Those that are only elsewhere have their own address unless they are passed through (test_passing.py).
SERVICES = sorted(each.name for each in all_services().services if not each.elsewhere)
ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)


def public(service: str) -> str:
    """Where clients are to find a service."""
    return f"dips://bridge.example.org:9130/{service}"


def seen(answer: dict[str, Any], encoding: Encoding = JENCODE) -> Any:
    """The value of an answer, as a client reads it from the wire."""
    result = encoding.decode(encoding.encode(answer))
    assert result["OK"] is True
    return result["Value"]


def unpacked(data: str | bytes) -> CfgSection:
    """What a client makes of the data: old ones get it as a text, and encode it again."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return parse_cfg(zlib.decompress(raw).decode())


async def download(side: Any) -> CfgSection:
    """The configuration that a new client gets."""
    return unpacked(seen(await side.call(SERVER, "getCompressedDataIfNewer", "0"))["data"])


def write(side: Any, text: str, seconds: int | None = None) -> None:
    """An administrator writes the registry file, perhaps with an old date; it is read at the next look."""
    side.registry.path.write_text(text)
    if seconds is not None:
        os.utime(side.registry.path, (seconds, seconds))
    assert side.registry.refresh()


def without_bob(side: Any) -> str:
    """The registry file with one user less."""
    text = str(side.registry.path.read_text())
    assert "alice, bob" in text
    return text.replace("alice, bob", "alice")


def url_in_9(cfg: CfgSection, service: str) -> str | None:
    """Where a 9.x client looks a service up."""
    system, component = service.split("/")
    return cfg.get(f"Systems/{system}/URLs/{component}")


def url_in_8(cfg: CfgSection, service: str) -> str | None:
    """Where 7.3 and 8.0 clients look a service up."""
    system, component = service.split("/")
    instance = cfg.get(f"DIRAC/Setups/{cfg.get('DIRAC/Setup')}/{system}")
    return cfg.get(f"Systems/{system}/{instance}/URLs/{component}")


@ENCODINGS
async def test_first_download(make_old_side, encoding: Encoding) -> None:
    """A client that has nothing, version 0, gets the version and the data; bytes survive either encoding."""
    side = make_old_side()
    value = seen(await side.call(SERVER, "getCompressedDataIfNewer", "0"), encoding)
    assert list(value) == ["newestVersion", "data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", value["newestVersion"])
    cfg = unpacked(value["data"])
    assert cfg.get("DIRAC/Configuration/Version") == value["newestVersion"]
    assert seen(await side.call(SERVER, "getVersion"), encoding) == value["newestVersion"]
    assert seen(await side.call(SERVER, "getCompressedData"), encoding) == value["data"]


async def test_nothing_new(make_old_side) -> None:
    """A client of the same version, or of a later one, is told the version and gets no data."""
    side = make_old_side()
    version = seen(await side.call(SERVER, "getVersion"))
    for known in (version, "9999-01-01 00:00:00.000000"):
        answer = seen(await side.call(SERVER, "getCompressedDataIfNewer", known))
        assert answer == {"newestVersion": version}


@pytest.mark.parametrize("seconds", [None, 0], ids=["as written", "with an old date"])
async def test_change_of_the_registry(make_old_side, seconds: int | None) -> None:
    """An edit raises the version, and clients that have the old one get the new content."""
    side = make_old_side()
    old = seen(await side.call(SERVER, "getVersion"))
    write(side, without_bob(side), seconds)
    answer = seen(await side.call(SERVER, "getCompressedDataIfNewer", old))
    new = answer["newestVersion"]
    assert new > old
    cfg = unpacked(answer["data"])
    assert cfg.get("Registry/Groups/demo_user/Users") == "alice"
    assert cfg.get("DIRAC/Configuration/Version") == new
    assert seen(await side.call(SERVER, "getCompressedDataIfNewer", new)) == {"newestVersion": new}


async def test_broken_registry(make_old_side) -> None:
    """While an edit is broken clients are served what was good."""
    side = make_old_side()
    before = await side.call(SERVER, "getCompressedDataIfNewer", "0")
    side.registry.path.write_text("Registry\n{\n")
    assert not side.registry.refresh()
    assert await side.call(SERVER, "getCompressedDataIfNewer", "0") == before


@pytest.mark.parametrize("service", SERVICES)
async def test_clients_find_every_service_here(make_old_side, service: str) -> None:
    """Clients of 9.x and of 8.0 find each of our services, and the configuration itself, at our address."""
    cfg = await download(make_old_side())
    assert (url_in_9(cfg, service), url_in_8(cfg, service)) == (public(service), public(service))
    assert cfg.get("DIRAC/Configuration/Servers") == public(SERVER)
    assert cfg.get("DIRAC/Configuration/MasterServer") == public(SERVER)


async def test_the_registry_is_served_whole(make_old_side, registry) -> None:
    """All that is in the file is in the download, but for our addresses and the version."""
    cfg = await download(make_old_side())
    assert cfg.section("Registry") == registry.cfg.section("Registry")
    assert cfg.get("DIRAC/VirtualOrganization") == "demo"
    assert cfg.get("DIRAC/Configuration/Name") == "Demo"
    assert cfg.get("DIRAC/Setup") == "Demo"
    assert registry.cfg.get("DIRAC/Configuration/Version") is None, "the file's own content is not changed"


OLD = "dips://old.example.org:9130/"
OLD_SITE = {
    "DIRAC/Setup": "Lab",
    "DIRAC/Setups/Lab/WorkloadManagement": "Production",
    "DIRAC/Setups/Lab/Accounting": "Archive",
    "DIRAC/Configuration/Servers": OLD + SERVER,
    "DIRAC/Configuration/MasterServer": OLD + SERVER,
    "DIRAC/Configuration/Version": "9999-01-01 00:00:00.000000",
    "Systems/WorkloadManagement/URLs/OptimizationMind": OLD + "WorkloadManagement/OptimizationMind",
    "Systems/WorkloadManagement/URLs/JobManager": OLD + "WorkloadManagement/JobManager",
    "Systems/WorkloadManagement/Production/URLs/JobManager": OLD + "WorkloadManagement/JobManager",
}


async def test_an_existing_site(make_old_side) -> None:
    """A site keeps its setup, its instances and its other services; ours are at our address."""
    side = make_old_side()
    cfg = side.registry.cfg.copy()
    for path, value in OLD_SITE.items():
        cfg.set(path, value)
    write(side, cfg.to_text())
    cfg = await download(side)
    for path in (*list(OLD_SITE)[:3], "Systems/WorkloadManagement/URLs/OptimizationMind"):
        assert cfg.get(path) == OLD_SITE[path]
    for service in SERVICES:
        assert (url_in_9(cfg, service), url_in_8(cfg, service)) == (public(service), public(service))
    assert cfg.get("DIRAC/Configuration/Servers") == public(SERVER)
    assert cfg.get("DIRAC/Configuration/MasterServer") == public(SERVER)
    assert cfg.get("DIRAC/Configuration/Version") == side.registry.version


@pytest.mark.parametrize("method", ["getVersion", "getCompressedData", "getCompressedDataIfNewer"])
async def test_strangers_get_nothing(make_old_side, callers, method: str) -> None:
    """Only callers in the registry may download it."""
    answer = await make_old_side().call(SERVER, method, "0", caller=callers.stranger)
    assert (answer["OK"], answer["Errno"]) == (False, 1111)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Function getCompressedDataIfNewer expects at least 1 arguments"),
        (
            [0],
            f"Type mismatch in parameter 0 (starting with param 0) Received {int}, expected {str}",
        ),
    ],
)
async def test_wrong_arguments(make_old_side, arguments: list[Any], message: str) -> None:
    """A version is a text."""
    answer = await make_old_side().call(SERVER, "getCompressedDataIfNewer", *arguments)
    assert answer == {"OK": False, "Errno": 0, "Message": message}


# --- what administrators ask


@pytest.fixture
def administrator(make_old_side) -> Any:
    """A front door where alice's group demo_admin may administer the configuration."""
    side = make_old_side()
    text = side.registry.path.read_text()
    side.registry.path.write_text(text.replace("Operator, NormalUser", "Operator, CSAdministrator"))
    assert side.registry.refresh()
    return side


async def test_versions(administrator, callers) -> None:
    """There is one version, that in force; its content is the data that clients download."""
    side = administrator
    ask = {"caller": callers.admin}
    version = seen(await side.call(SERVER, "getVersion"))
    assert seen(await side.call(SERVER, "getCommitHistory")) == [["registry", version]]
    assert seen(await side.call(SERVER, "getCommitHistory", 1)) == [["registry", version]]
    data = seen(await side.call(SERVER, "getCompressedData"))
    assert seen(await side.call(SERVER, "getVersionContents", [version], **ask)) == [data]
    assert seen(await side.call(SERVER, "getVersionContents", [], **ask)) == []
    answer = await side.call(SERVER, "getVersionContents", [version, "1999"], **ask)
    assert answer["Message"] == "Can't get contents for version 1999: Version 1999 does not exist"
    answer = await side.call(SERVER, "getVersionContents", [version] * 101, **ask)
    assert answer["Message"] == "100 versions at a time"
    answer = await side.call(SERVER, "getCommitHistory", "x")
    assert answer["Message"] == "Server error while serving getCommitHistory: limit is no number: 'x'"


WRITES = [
    ("commitNewData", b"x"),
    ("commitNewData", "x"),
    ("rollbackToVersion", "1999"),
    ("forceGlobalConfigurationUpdate",),
    ("refreshConfiguration", True),
]


@pytest.mark.parametrize("call", WRITES)
async def test_writes_are_refused(administrator, callers, call: tuple[Any, ...]) -> None:
    """An administrator is told what to do instead, anybody else that it is not theirs to do."""
    side = administrator
    before = side.registry.path.read_text()
    assert seen(await side.call(SERVER, "writeEnabled")) is False
    answer = await side.call(SERVER, *call, caller=callers.admin)
    assert "edit its registry file" in answer["Message"]
    for other in (callers.alice, callers.bob):
        assert (await side.call(SERVER, *call, caller=other))["Errno"] == 1111
    assert side.registry.path.read_text() == before


async def test_slaves_are_refused(administrator, callers) -> None:
    """A trusted host is told that there are none; nobody else may ask."""
    url = "dips://slave.example.org:9135/Configuration/Server"
    answer = await administrator.call(SERVER, "publishSlaveServer", url, caller=callers.host, extra="hosts")
    assert answer["Message"].startswith(f"{url} is not taken up as a slave")
    answer = await administrator.call(SERVER, "publishSlaveServer", url, caller=callers.admin)
    assert answer["Errno"] == 1111


async def test_wrong_data_to_commit(administrator, callers) -> None:
    """The error prints the declared types as DIRAC does."""
    answer = await administrator.call(SERVER, "commitNewData", 5, caller=callers.admin)
    assert answer["Message"] == (
        f"Type mismatch in parameter 0 (starting with param 0) Received {int}, expected {(bytes, str)}"
    )


# --- the new side


@pytest.mark.parametrize(
    ("own", "served"),
    [("", "https://rest.example.org"), ("URL = https://diracx.example.org", "https://diracx.example.org")],
)
async def test_url_of_the_new_side(make_old_side, registry, own: str, served: str) -> None:
    """Clients are told where it is, unless the registry file says so; a server's secret is not told."""
    text = registry.path.read_text() + f"DiracX\n{{\nLegacyExchangeApiKey = secret\n{own}\n}}\n"
    registry.path.write_text(text)
    assert registry.refresh()
    common = Common(cast(Databases, None), registry, public, rest_url="https://rest.example.org")
    cfg = await download(make_old_side(common=common))
    assert cfg.get("DiracX/URL") == served
    assert cfg.get("DiracX/LegacyExchangeApiKey") is None
    assert registry.cfg.get("DiracX/LegacyExchangeApiKey") == "secret"


async def test_no_new_side(make_old_side) -> None:
    """Without one there is no URL."""
    assert (await download(make_old_side())).get("DiracX/URL") is None
