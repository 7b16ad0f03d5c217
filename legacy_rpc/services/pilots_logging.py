"""WorkloadManagement/PilotsLogging (legacy-methods.md, section 11)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

pilots_logging = Service("WorkloadManagement/PilotsLogging", handler_class="PilotsLoggingHandler")
