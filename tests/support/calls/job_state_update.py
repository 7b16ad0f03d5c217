"""Generated calls of WorkloadManagement/JobStateUpdate."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/JobStateUpdate"

CALLS: dict[str, Maker] = {}
