"""WorkloadManagement/JobStateUpdate (legacy-methods.md, section 5)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

job_state_update = Service("WorkloadManagement/JobStateUpdate", handler_class="JobStateUpdateHandlerMixin")
