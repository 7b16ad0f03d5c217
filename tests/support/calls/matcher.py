"""Generated calls of WorkloadManagement/Matcher."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/Matcher"

CALLS: dict[str, Maker] = {}
