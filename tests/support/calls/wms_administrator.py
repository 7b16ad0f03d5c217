"""Generated calls of WorkloadManagement/WMSAdministrator."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "WorkloadManagement/WMSAdministrator"

CALLS: dict[str, Maker] = {}
