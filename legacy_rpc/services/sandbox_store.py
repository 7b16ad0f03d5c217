"""WorkloadManagement/SandboxStore (legacy-methods.md, section 9)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

sandbox_store = Service("WorkloadManagement/SandboxStore", handler_class="SandboxStoreHandlerMixin")
