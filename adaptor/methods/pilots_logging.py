"""WorkloadManagement/PilotsLogging over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

pilots_logging = LegacyService("WorkloadManagement/PilotsLogging")
