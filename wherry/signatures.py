"""The table of methods as the wires that describe themselves are given it."""

from __future__ import annotations

from legacy_rpc.services.table import ServiceTable
from legacy_rpc.signatures import Signatures, signature_of


def signatures(table: ServiceTable) -> Signatures:
    """The methods of every service, with those that every service has."""
    services = {name: table.service(name) for name in table.catalogue}
    return {
        name: [signature_of(method.name, method.handler, method.types) for method in service.methods.values()]
        for name, service in services.items()
        if service is not None
    }
