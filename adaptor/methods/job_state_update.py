"""WorkloadManagement/JobStateUpdate over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

job_state_update = LegacyService("WorkloadManagement/JobStateUpdate")
