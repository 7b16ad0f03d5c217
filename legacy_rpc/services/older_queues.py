"""Task queues as clients before DIRAC 9 write and read them: owners are DNs, and there are setups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from legacy_rpc.messages import Call
from legacy_rpc.services.table import OlderForm
from shared_db.registry import Registry
from shared_db.rules.sandboxes import for_old_clients

# What their task queues do not know.
_NEWER = ("Owner", "MinRAM", "MaxRAM")


def _resource(arguments: Sequence[Any], registry: Registry) -> Sequence[Any]:
    """OwnerDN as Owner; a DN that nobody has is nobody's."""
    if not arguments or not isinstance(arguments[0], Mapping) or "OwnerDN" not in arguments[0]:
        return arguments
    resource = dict(arguments[0])
    dns = resource.pop("OwnerDN")
    if "Owner" not in resource:
        names = [_username(dn, registry) for dn in (dns if isinstance(dns, list | tuple) else [dns])]
        resource["Owner"] = names if isinstance(dns, list | tuple) else names[0]
    return [resource, *arguments[1:]]


def _username(dn: Any, registry: Registry) -> Any:
    """The user with a DN; what is none stays, and is refused or fits nobody."""
    group = registry.default_group(dn) if isinstance(dn, str) else None
    return (registry.username(dn, group) if group else None) or dn


def _queues(value: Any, call: Call, registry: Registry) -> dict[int, dict[str, Any]]:
    return {queue_id: _queue(queue, call, registry) for queue_id, queue in value.items()}


def _queue(queue: Mapping[str, Any], call: Call, registry: Registry) -> dict[str, Any]:
    kept = {name: each for name, each in queue.items() if name not in _NEWER}
    dn = next(iter(registry.dns_of(queue["Owner"])), "")
    return kept | {"OwnerDN": dn, "Setup": call.setup or registry.setup or ""}


def _job(value: Any, _call: Call, _registry: Registry) -> dict[str, Any]:
    """Its JDL may name sandboxes of REST's."""
    return {**value, "JDL": for_old_clients(value["JDL"])}


OLDER_REQUEST = OlderForm(arguments=_resource, value=_job)
OLDER_QUEUES = OlderForm(value=_queues)
OLDER_SEARCH = OlderForm(arguments=_resource, value=_queues)
