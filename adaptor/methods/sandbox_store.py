"""WorkloadManagement/SandboxStore over REST."""

from __future__ import annotations

from adaptor.conversation import LegacyService

sandbox_store = LegacyService("WorkloadManagement/SandboxStore")
