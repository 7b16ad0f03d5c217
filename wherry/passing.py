"""What is passed through to existing DIRAC services: by the plan, and as the configuration says where."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from legacy_rpc.client.diset import CallError
from legacy_rpc.client.tls import HostTls
from legacy_rpc.codecs.diset_blocks import DOWNLOADS, LISTING
from legacy_rpc.messages import Write, transfer_name
from legacy_rpc.services.table import NOTHING_PASSED, PassedThrough, ServiceTable
from legacy_rpc.upstream import Upstreams
from migration_plans.plan import Old, Plan, State
from wherry.config import Config, ConfigError

# Transfers that change nothing, as far as can be known of a service elsewhere.
_READING = frozenset(map(transfer_name, (*DOWNLOADS, LISTING)))


@dataclass(frozen=True, slots=True)
class PlannedPassing:
    """Which calls are passed through, by the plan in force."""

    plan: Callable[[], Plan]
    upstreams: Upstreams

    def may(self, service: str, method: str) -> bool:
        """Whether a call may come to that; also of what the table does not have."""
        return self.plan().old(service, method) is Old.UPSTREAM and self.upstreams.has(service)

    def must(self, service: str, method: str) -> bool:
        """Whether every call does."""
        return self.may(service, method) and self.plan().entry(service, method).state is State.LEGACY

    def whole(self, service: str) -> bool:
        """Whether a service without native handlers here is."""
        return self.may(service, "")


def make_host_tls(config: Config) -> HostTls | None:
    """How we show ourselves to upstreams; None where there are none.  Raises ConfigError."""
    if not config.upstream or config.tls is None:
        return None
    try:
        return HostTls(config.tls.certificate, config.tls.key, config.tls.ca_path)
    except (CallError, OSError) as error:
        raise ConfigError(f"`tls`: {error}") from error


def make_upstreams(config: Config, services: ServiceTable, tls: HostTls | None) -> Upstreams:
    """The services elsewhere that the configuration names."""

    def context() -> ssl.SSLContext:
        assert tls is not None
        return tls.context

    return Upstreams(config.upstream, context, partial(_reads, services), config.limits.of_upstreams())


def _reads(services: ServiceTable, service: str, method: str) -> bool:
    """Whether a method certainly changes nothing."""
    record = services.method(service, method)
    return record.write is Write.READ if record else method in _READING


def passed_through(config: Config, services: ServiceTable, passing: PlannedPassing) -> PassedThrough:
    """What clients are led to us for, though it is not in the table, or has no handlers there."""
    if not config.upstream:
        return NOTHING_PASSED

    def passes(service: str) -> bool:
        record = services.service(service)
        return (record is None or record.elsewhere) and passing.whole(service)

    named = tuple(service for service in config.upstream if "/" in service)
    return PassedThrough(named, passes, lambda: passing.plan().written)
