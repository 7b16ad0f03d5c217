"""Generated calls of Monitoring/WebApp."""

from __future__ import annotations

from calls.arguments import Maker

SERVICE = "Monitoring/WebApp"

CALLS: dict[str, Maker] = {}
