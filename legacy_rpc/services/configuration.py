"""Configuration/Server: the registry file, served to clients (legacy-wire.md, section 7.1).

It is changed by editing that file, by nobody over RPC: methods that write are refused, to those who may call
them, with an error that says so.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from legacy_rpc.messages import Failure, Write
from legacy_rpc.services.table import Context, Service
from shared_db.cfg import CfgSection
from shared_db.rules.refusals import UnfitArgument

SERVICE_NAME = "Configuration/Server"

ADMINISTRATOR = ("CSAdministrator",)
MOST_VERSIONS = 100

# Secrets of a site's own servers, which a registry file that was theirs may hold.
NEVER_SERVED = ("DiracX/LegacyExchangeApiKey",)

# The instance that 7.3 and 8.0 clients look their services up in.
INSTANCE = "Wherry"


@dataclass(frozen=True, slots=True)
class ServedConfiguration:
    """One version of what clients download; ``data`` is zlib-compressed CFG text."""

    version: str
    data: bytes


def served_configuration(
    cfg: CfgSection, version: str, urls: Mapping[str, str], rest_url: str = ""
) -> ServedConfiguration:
    """The registry file overlaid with our addresses, so that clients keep coming to us.

    ``urls`` are the services' public URLs by name, ``rest_url`` is that of the new side, for a registry file
    that names none.  Both layouts are written: the flat one of 9.x and the Setup and instance of 7.3 and 8.0.
    """
    served = cfg.copy()
    for path in NEVER_SERVED:
        place, _, option = path.rpartition("/")
        if (found := served.section(place)) is not None:
            found.options.pop(option, None)
    # Those of a site's own file lead away from us.
    for section in _system_sections(served):
        section.sections.pop("FailoverURLs", None)
    own = urls[SERVICE_NAME]
    name = served.get("DIRAC/Configuration/Name") or "Wherry"
    setup = served.get("DIRAC/Setup") or name
    overlay = {
        "DIRAC/Setup": setup,
        "DIRAC/Configuration/Name": name,
        "DIRAC/Configuration/Version": version,
        "DIRAC/Configuration/Servers": own,
        "DIRAC/Configuration/MasterServer": own,
    }
    if rest_url and not served.get("DiracX/URL"):
        overlay["DiracX/URL"] = rest_url
    for service, url in urls.items():
        system, component = service.split("/")
        instance = served.get(f"DIRAC/Setups/{setup}/{system}") or INSTANCE
        overlay[f"DIRAC/Setups/{setup}/{system}"] = instance
        overlay[f"Systems/{system}/URLs/{component}"] = url
        overlay[f"Systems/{system}/{instance}/URLs/{component}"] = url
    for path, value in overlay.items():
        served.set(path, value)
    return ServedConfiguration(version, zlib.compress(served.to_text().encode(), 9))


def _system_sections(cfg: CfgSection) -> Iterator[CfgSection]:
    """Every system's section, and those of its instances."""
    systems = cfg.section("Systems")
    for system in systems.sections.values() if systems else ():
        yield system
        yield from system.sections.values()


class Served:
    """What clients get now; made anew when the registry file's version has changed."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (*services, SERVICE_NAME)
        self._made: ServedConfiguration | None = None
        self._making = asyncio.Lock()

    async def now(self, context: Context) -> ServedConfiguration:
        """In a thread, once: a large site's takes a good part of a second."""
        async with self._making:
            version = context.registry.version
            if self._made is None or self._made.version != version:
                urls = {name: context.public_url(name) for name in self._services}
                rest_url = context.common.rest_url
                self._made = await asyncio.to_thread(
                    served_configuration, context.registry.cfg, version, urls, rest_url
                )
            return self._made


def configuration_server(services: Sequence[str]) -> Service:
    """The service, which tells clients where ``services`` and itself are."""
    service = Service(SERVICE_NAME, handler_class="ConfigurationHandler")
    served = Served(services)

    @service.method()
    async def getVersion(context: Context) -> str:
        """The version clients compare, as text."""
        return (await served.now(context)).version

    @service.method()
    async def getCompressedData(context: Context) -> bytes:
        """The whole configuration, compressed."""
        return (await served.now(context)).data

    @service.method(str)
    async def getCompressedDataIfNewer(context: Context, sClientVersion: str) -> dict[str, Any]:
        """The newest version, and the data when the client's is older (compared as text)."""
        now = await served.now(context)
        if sClientVersion < now.version:
            return {"newestVersion": now.version, "data": now.data}
        return {"newestVersion": now.version}

    @service.method()
    async def writeEnabled(_context: Context) -> bool:
        """That the configuration cannot be changed here."""
        return False

    @service.method()
    async def getCommitHistory(context: Context, limit: Any = 100) -> list[list[str]]:
        """``[[who, version]]`` of the versions that can be had: the one in force; nobody knows who edited."""
        if not isinstance(limit, int):
            raise UnfitArgument(f"limit is no number: {limit!r}")
        return [["registry", (await served.now(context)).version]][: limit or None]

    @service.method(list, authorization=("ServiceAdministrator", *ADMINISTRATOR))
    async def getVersionContents(context: Context, versionList: list[Any]) -> list[bytes]:
        """The compressed data of each version, of which there is one: that in force."""
        if len(versionList) > MOST_VERSIONS:
            raise Failure(f"{MOST_VERSIONS} versions at a time")
        now = await served.now(context)
        for version in versionList:
            if version != now.version:
                raise Failure(f"Can't get contents for version {version}: Version {version} does not exist")
        return [now.data for _ in versionList]

    _declare_writing_methods(service)
    return service


def _declare_writing_methods(service: Service) -> None:
    """All of them refuse."""

    @service.method((bytes, str), write=Write.APPEND, authorization=ADMINISTRATOR)
    async def commitNewData(_context: Context, sData: bytes | str) -> NoReturn:
        """Refused."""
        raise _read_only()

    @service.method(str, write=Write.APPEND, authorization=ADMINISTRATOR)
    async def rollbackToVersion(_context: Context, version: str) -> NoReturn:
        """Refused."""
        raise _read_only()

    @service.method(write=Write.IDEMPOTENT, authorization=ADMINISTRATOR)
    async def forceGlobalConfigurationUpdate(_context: Context) -> NoReturn:
        """Refused: services of DIRAC refresh by themselves."""
        raise _read_only()

    @service.method(str, write=Write.IDEMPOTENT, authorization=("TrustedHost",))
    async def publishSlaveServer(_context: Context, sURL: str) -> NoReturn:
        """Refused: nobody would be told of another server."""
        raise Failure(
            f"{sURL} is not taken up as a slave: this server has none; to serve the configuration from more"
            " hosts, run Wherry on each with the same registry file"
        )

    @service.method(bool, write=Write.IDEMPOTENT, authorization=ADMINISTRATOR, static=True)
    async def refreshConfiguration(_context: Context, fromMaster: bool) -> NoReturn:
        """Refused: there is no master."""
        raise _read_only()


def _read_only() -> Failure:
    return Failure(
        "The configuration is not changed through this server: edit its registry file (`registry` in"
        " wherry.yaml), which takes effect within a second"
    )
