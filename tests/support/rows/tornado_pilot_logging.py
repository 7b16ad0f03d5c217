"""Rows of WorkloadManagement/TornadoPilotLogging."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/TornadoPilotLogging"

ROWS: dict[str, Row] = {}
