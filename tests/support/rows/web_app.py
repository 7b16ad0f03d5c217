"""Rows of Monitoring/WebApp."""

from __future__ import annotations

from rows.conversation import Row

SERVICE = "Monitoring/WebApp"

ROWS: dict[str, Row] = {}
