"""Generated calls of Monitoring/WebApp: pilots."""

from __future__ import annotations

from calls import pilot_manager
from calls.arguments import Maker

SERVICE = "Monitoring/WebApp"

_ALIKE = (
    "getPilotMonitorWeb",
    "getPilotMonitorSelectors",
    "getPilotSummaryWeb",
    "getPilotStatistics",
    "getPilotOutput",
    "getPilotLoggingInfo",
    "getGroupedPilotSummary",
)
CALLS: dict[str, Maker] = {
    **{method: pilot_manager.CALLS[method] for method in _ALIKE},
    "getPilotsCounters": pilot_manager.CALLS["getCounters"],
}
