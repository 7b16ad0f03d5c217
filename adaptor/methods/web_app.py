"""Monitoring/WebApp over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

web_app = LegacyService("Monitoring/WebApp")
