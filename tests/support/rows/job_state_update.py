"""Rows of WorkloadManagement/JobStateUpdate."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/JobStateUpdate"

ROWS: dict[str, Row] = {}
