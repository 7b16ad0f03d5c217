"""Configuration/Server: the registry file, served to clients (legacy-wire.md, section 7.1)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legacy_rpc.services.table import Context, Service
from shared_db.cfg import CfgSection

SERVICE_NAME = "Configuration/Server"

# The instance that 7.3 and 8.0 clients look their services up in.
INSTANCE = "Wherry"


@dataclass(frozen=True, slots=True)
class ServedConfiguration:
    """One version of what clients download; ``data`` is zlib-compressed CFG text."""

    version: str
    data: bytes


def served_configuration(cfg: CfgSection, version: str, urls: Mapping[str, str]) -> ServedConfiguration:
    """The registry file overlaid with our addresses, so that clients keep coming to us.

    ``urls`` are the services' public URLs by name.  Both layouts are written: the flat one of 9.x and the
    Setup and instance of 7.3 and 8.0.
    """
    served = cfg.copy()
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


def configuration_server(services: Sequence[str]) -> Service:
    """The service, which tells clients where ``services`` and itself are."""
    service = Service(SERVICE_NAME, handler_class="ConfigurationHandler")
    cached: list[ServedConfiguration] = []

    def current(context: Context) -> ServedConfiguration:
        """What clients get now; made anew when the registry file's version has changed."""
        registry = context.registry
        if not cached or cached[0].version != registry.version:
            urls = {name: context.public_url(name) for name in (*services, SERVICE_NAME)}
            cached[:] = [served_configuration(registry.cfg, registry.version, urls)]
        return cached[0]

    @service.method()
    async def getVersion(context: Context) -> str:
        """The version clients compare, as text."""
        return current(context).version

    @service.method()
    async def getCompressedData(context: Context) -> bytes:
        """The whole configuration, compressed."""
        return current(context).data

    @service.method(str)
    async def getCompressedDataIfNewer(context: Context, sClientVersion: str) -> dict[str, Any]:
        """The newest version, and the data when the client's is older (compared as text)."""
        served = current(context)
        if sClientVersion < served.version:
            return {"newestVersion": served.version, "data": served.data}
        return {"newestVersion": served.version}

    return service
