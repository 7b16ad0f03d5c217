"""Rows of WorkloadManagement/PilotsLogging."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/PilotsLogging"

ROWS: dict[str, Row] = {}
