"""WorkloadManagement/Matcher (legacy-methods.md, section 6)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

matcher = Service("WorkloadManagement/Matcher", handler_class="MatcherHandler")
