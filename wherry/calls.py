"""What is logged and counted of every legacy call.

Metrics are fed by hooks of the servers and the front door; their names are stable (migration.md, Metrics).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from legacy_rpc.front_door import FinishedCall
from legacy_rpc.messages import Reply
from wherry.metrics import SECONDS

logger = logging.getLogger("wherry.calls")


def log_call(finished: FinishedCall) -> None:
    """The one record of a legacy call."""
    call, answered = finished.call, finished.answered
    outcome = answered.outcome
    fields = {
        "service": call.service,
        "method": call.method,
        "wire": call.wire,
        "route": answered.route,
        "reason": answered.reason,
        "caller": call.identity.username,
        "group": call.identity.group,
        "dn": call.identity.dn,
        "peer": call.peer,
        "client": call.client_version,
        "outcome": outcome_of(finished),
        "milliseconds": round(finished.seconds * 1000, 3),
    }
    if not isinstance(outcome, Reply):
        fields |= {"errno": outcome.errno, "message": outcome.message}
    logger.info("call", extra={"fields": fields})


def outcome_of(finished: FinishedCall) -> str:
    """``ok`` or ``error``."""
    return "ok" if isinstance(finished.answered.outcome, Reply) else "error"


UNKNOWN = "unknown"


class Metrics:
    """What is counted of legacy calls, in the program's ``registry``.

    ``known`` says whether a service has a method: names that callers make up are no labels.
    """

    def __init__(self, known: Callable[[str, str], bool], registry: CollectorRegistry) -> None:
        self._known = known
        self._calls = Counter(
            "wherry_calls_total",
            "Legacy calls answered",
            ("method", "wire", "route", "reason", "outcome"),
            registry=registry,
        )
        self._call_seconds = Histogram(
            "wherry_call_seconds",
            "Seconds from a call's arguments to its result",
            ("method", "route"),
            registry=registry,
            buckets=SECONDS,
        )
        self._overhead_seconds = Histogram(
            "wherry_overhead_seconds",
            "Seconds from accepting a connection to its reply, less those of the call",
            ("wire",),
            registry=registry,
            buckets=SECONDS,
        )
        # Comparisons begin with the states check and shadow; the name is here for dashboards already.
        self._compared = Counter(
            "wherry_compare_total",
            "Comparisons of the two sides' replies",
            ("method", "verdict"),
            registry=registry,
        )

    def call_finished(self, finished: FinishedCall) -> None:
        """Count a call."""
        call, answered = finished.call, finished.answered
        method = f"{call.service}.{call.method}" if self._known(call.service, call.method) else UNKNOWN
        self._calls.labels(method, call.wire, answered.route, answered.reason, outcome_of(finished)).inc()
        self._call_seconds.labels(method, answered.route).observe(finished.seconds)

    def overhead(self, wire: str, seconds: float) -> None:
        """Count what a wire cost beside the call."""
        self._overhead_seconds.labels(wire).observe(seconds)
