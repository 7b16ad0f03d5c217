"""Generated calls of WorkloadManagement/TornadoPilotLogging."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/TornadoPilotLogging"

CALLS: dict[str, Maker] = {}
