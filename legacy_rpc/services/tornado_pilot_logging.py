"""WorkloadManagement/TornadoPilotLogging (legacy-methods.md, section 11)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

tornado_pilot_logging = Service(
    "WorkloadManagement/TornadoPilotLogging", handler_class="TornadoPilotLoggingHandler"
)
