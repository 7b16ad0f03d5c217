"""Generated calls of WorkloadManagement/SandboxStore."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/SandboxStore"

CALLS: dict[str, Maker] = {}
