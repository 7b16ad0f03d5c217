"""Monitoring/WebApp (legacy-methods.md, section 7)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

web_app = Service("Monitoring/WebApp", handler_class="WebAppHandler")
