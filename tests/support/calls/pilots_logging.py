"""Generated calls of WorkloadManagement/PilotsLogging."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/PilotsLogging"

CALLS: dict[str, Maker] = {}
