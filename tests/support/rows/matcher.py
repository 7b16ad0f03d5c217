"""Rows of WorkloadManagement/Matcher."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/Matcher"

ROWS: dict[str, Row] = {}
