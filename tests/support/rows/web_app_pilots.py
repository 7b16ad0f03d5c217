"""Rows of Monitoring/WebApp: pilots, alike but for the names of two methods."""

from __future__ import annotations

from dataclasses import replace

from adaptor.methods.web_app import web_app
from rows import pilot_pages
from rows.conversation import Row

SERVICE = "Monitoring/WebApp"

_RENAMED = {"getCounters": "getPilotsCounters"}

ROWS: dict[str, Row] = {
    name: replace(row, service=SERVICE, method=method)
    for name, row in pilot_pages.ROWS.items()
    if (method := _RENAMED.get(row.method, row.method)) in web_app.adaptors
}
