"""Rows of WorkloadManagement/SandboxStore."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/SandboxStore"

ROWS: dict[str, Row] = {}
