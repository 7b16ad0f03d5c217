"""WorkloadManagement/WMSAdministrator over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

wms_administrator = LegacyService("WorkloadManagement/WMSAdministrator")
