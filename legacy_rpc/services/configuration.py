"""Configuration/Server: the registry file, served to clients (legacy-wire.md, section 7.1).

It is changed by editing that file, by nobody over RPC: methods that write are refused, to those who may call
them, with an error that says so.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from legacy_rpc.messages import Failure, Write
from legacy_rpc.services.table import Context, Service
from shared_db.cfg import CfgSection
from shared_db.rules.refusals import UnfitArgument

SERVICE_NAME = "Configuration/Server"
SANDBOX_STORE = "WorkloadManagement/SandboxStore"
RESOURCE_STATUS = "ResourceStatus/ResourceStatus"

_ABOUT = """\
The registry file, with Wherry's addresses written over it, so that clients keep coming here, and with
`/DiracX/URL` unless it has one. `/DiracX/LegacyExchangeApiKey` is left out. Native only: it cannot be
`live`."""

ADMINISTRATOR = ("CSAdministrator",)
MOST_VERSIONS = 100

# Secrets of a site's own servers, which a registry file that was theirs may hold.
NEVER_SERVED = ("DiracX/LegacyExchangeApiKey",)

# Executors keep a connection to it, which is no call and is not passed through.
NEVER_PASSED = ("WorkloadManagement/OptimizationMind",)
SERVICE_SCHEMES = ("dips://", "dip://", "https://")

# The instance that 7.3 and 8.0 clients look their services up in.
INSTANCE = "Wherry"


@dataclass(frozen=True, slots=True)
class ServedConfiguration:
    """One version of what clients download; ``data`` is zlib-compressed CFG text."""

    version: str
    data: bytes


def served_configuration(
    cfg: CfgSection, version: str, urls: Mapping[str, str], rest_url: str = "", storage_element: str = ""
) -> ServedConfiguration:
    """The registry file overlaid with our addresses, so that clients keep coming to us.

    ``urls`` are the services' public URLs by name, ``rest_url`` is that of the new side, for a registry file
    that names none.  ``storage_element``: that of the sandboxes, '' where they are elsewhere.  Both layouts
    are written: the flat one of 9.x and the Setup and instance of 7.3 and 8.0.
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
    if storage_element:
        overlay |= _sandbox_element(served, storage_element, urls)
    for path, value in overlay.items():
        served.set(path, value)
    return ServedConfiguration(version, zlib.compress(served.to_text().encode(), 9))


def _sandbox_element(served: CfgSection, name: str, urls: Mapping[str, str]) -> dict[str, str]:
    """The storage element of sandboxes, which clients look up to fetch one; no other way leads into it.

    Its protocols are its own: by default clients read from none that speaks https.
    """
    place = f"Resources/StorageElements/{name}"
    url = urlsplit(urls[SANDBOX_STORE])
    if (element := served.section(place)) is not None:
        element.sections.clear()
    return {
        f"{place}/BackendType": "DISET",
        f"{place}/AccessProtocols": url.scheme,
        f"{place}/WriteProtocols": url.scheme,
        f"{place}/DIP/PluginName": "DIP",
        f"{place}/DIP/Protocol": url.scheme,
        f"{place}/DIP/Host": url.hostname or "",
        f"{place}/DIP/Port": str(url.port or ""),
        f"{place}/DIP/Path": f"/{SANDBOX_STORE}",
        f"{place}/DIP/Access": "remote",
    }


def _system_sections(cfg: CfgSection) -> Iterator[CfgSection]:
    """Every system's section, and those of its instances."""
    systems = cfg.section("Systems")
    for system in systems.sections.values() if systems else ():
        yield system
        yield from system.sections.values()


class Served:
    """What clients get now; made anew when the version has changed."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = (*services, SERVICE_NAME)
        self._made: ServedConfiguration | None = None
        self._since: datetime | None = None
        self._making = asyncio.Lock()

    async def now(self, context: Context) -> ServedConfiguration:
        """In a thread, once: a large site's takes a good part of a second."""
        async with self._making:
            version, since = _version(context), context.common.passed.since()
            if self._made is None or (self._made.version, self._since) != (version, since):
                names = (*(each for each in self._services if _is_here(context, each)), *_passed(context))
                urls = {name: context.public_url(name) for name in names}
                rest_url = context.common.rest_url
                self._since = since
                self._made = await asyncio.to_thread(
                    served_configuration, context.registry.cfg, version, urls, rest_url, _element(context)
                )
            return self._made


def _version(context: Context) -> str:
    """That of the registry file, or of the plan, if it says what is passed through and is newer."""
    since = context.common.passed.since()
    version = context.registry.version
    return version if since is None else max(version, f"{since:%Y-%m-%d %H:%M:%S.%f}")


def _element(context: Context) -> str:
    """The storage element whose sandboxes are here; '' where they are kept elsewhere."""
    if context.common.sandboxes is None or context.common.passed.passes(SANDBOX_STORE):
        return ""
    return context.common.sandboxes.storage_element


def _is_here(context: Context, service: str) -> bool:
    """Whether clients are to be led to us; not for the states of resources, where somebody else has them."""
    if service != RESOURCE_STATUS or context.common.passed.passes(service):
        return True
    return service not in _named_services(context.registry.cfg)


def _passed(context: Context) -> Iterator[str]:
    """Services that have no native handlers here, and that callers reach through us all the same."""
    passed = context.common.passed
    named = dict.fromkeys((*passed.named, *_named_services(context.registry.cfg)))
    return (service for service in named if service not in NEVER_PASSED and passed.passes(service))


def _named_services(cfg: CfgSection) -> Iterator[str]:
    """The services whose addresses a site's own file has."""
    systems = cfg.section("Systems")
    for system, section in systems.sections.items() if systems else ():
        for place in (section, *section.sections.values()):
            urls = place.sections.get("URLs")
            for component, value in urls.options.items() if urls else ():
                if value.strip().startswith(SERVICE_SCHEMES):
                    yield f"{system}/{component}"


def configuration_server(services: Sequence[str]) -> Service:
    """The service, which tells clients where ``services`` and itself are."""
    service = Service(SERVICE_NAME, handler_class="ConfigurationHandler", about=_ABOUT)
    served = Served(services)

    @service.method()
    async def getVersion(context: Context) -> str:
        """Answers when the registry file was changed, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC: the later of its
        times of modification and of change, so that a restored back-up is newer too. It never falls while
        the program runs, and is the same in all workers.
        """
        return (await served.now(context)).version

    @service.method()
    async def getCompressedData(context: Context) -> bytes:
        """Answers the whole configuration, compressed with zlib."""
        return (await served.now(context)).data

    @service.method(str)
    async def getCompressedDataIfNewer(context: Context, sClientVersion: str) -> dict[str, Any]:
        """Answers `{"newestVersion": …, "data": …}`; `data` only if the client's version is older, compared
        as text.
        """
        now = await served.now(context)
        if sClientVersion < now.version:
            return {"newestVersion": now.version, "data": now.data}
        return {"newestVersion": now.version}

    @service.method()
    async def writeEnabled(_context: Context) -> bool:
        """Answers False."""
        return False

    @service.method()
    async def getCommitHistory(context: Context, limit: Any = 100) -> list[list[str]]:
        """Answers `[["registry", version]]`: the version in force is the only one that can be had."""
        if not isinstance(limit, int):
            raise UnfitArgument(f"limit is no number: {limit!r}")
        return [["registry", (await served.now(context)).version]][: limit or None]

    @service.method(list, authorization=("ServiceAdministrator", *ADMINISTRATOR))
    async def getVersionContents(context: Context, versionList: list[Any]) -> list[bytes]:
        """Answers the compressed data of each version named, up to 100; any but that in force is an error."""
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
        """Refused: edit the registry file on the server. An edit is in force within a second."""
        raise _read_only()

    @service.method(str, write=Write.APPEND, authorization=ADMINISTRATOR)
    async def rollbackToVersion(_context: Context, version: str) -> NoReturn:
        """Refused: edit the registry file on the server. An edit is in force within a second."""
        raise _read_only()

    @service.method(write=Write.IDEMPOTENT, authorization=ADMINISTRATOR)
    async def forceGlobalConfigurationUpdate(_context: Context) -> NoReturn:
        """Refused: edit the registry file on the server. An edit is in force within a second. Clients and
        services take it up by themselves when they refresh.
        """
        raise _read_only()

    @service.method(str, write=Write.IDEMPOTENT, authorization=("TrustedHost",))
    async def publishSlaveServer(_context: Context, sURL: str) -> NoReturn:
        """Refused: to serve the configuration from more hosts, run Wherry on each with the same registry
        file.
        """
        raise Failure(
            f"{sURL} is not taken up as a slave: this server has none; to serve the configuration from more"
            " hosts, run Wherry on each with the same registry file"
        )

    @service.method(bool, write=Write.IDEMPOTENT, authorization=ADMINISTRATOR, static=True)
    async def refreshConfiguration(_context: Context, fromMaster: bool) -> NoReturn:
        """Refused: edit the registry file on the server. An edit is in force within a second."""
        raise _read_only()


def _read_only() -> Failure:
    return Failure(
        "The configuration is not changed through this server: edit its registry file (`registry` in"
        " wherry.yaml), which takes effect within a second"
    )
