"""Rows of WorkloadManagement/WMSAdministrator."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "WorkloadManagement/WMSAdministrator"

ROWS: dict[str, Row] = {}
