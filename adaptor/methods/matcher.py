"""WorkloadManagement/Matcher over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

matcher = LegacyService("WorkloadManagement/Matcher")
