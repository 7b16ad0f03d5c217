"""WorkloadManagement/WMSAdministrator (legacy-methods.md, section 8)."""

from __future__ import annotations

from legacy_rpc.services.table import Service

wms_administrator = Service(
    "WorkloadManagement/WMSAdministrator",
    handler_class="WMSAdministratorHandlerMixin",
    authorization=("Operator",),
)
