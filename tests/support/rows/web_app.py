"""Rows of Monitoring/WebApp."""

from __future__ import annotations

from rows.conversation import Row
from rows.jobs import WEB_APP_ROWS

SERVICE = "Monitoring/WebApp"

ROWS: dict[str, Row] = {**WEB_APP_ROWS}
