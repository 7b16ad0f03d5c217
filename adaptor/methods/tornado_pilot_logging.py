"""WorkloadManagement/TornadoPilotLogging over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

tornado_pilot_logging = LegacyService("WorkloadManagement/TornadoPilotLogging")
