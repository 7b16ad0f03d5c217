"""Every adaptor there is."""

from __future__ import annotations

from adaptor.conversation import Adaptor
from adaptor.methods import (  # noqa: F401 - they add to JobManager, JobMonitoring, PilotManager, WebApp
    job_details,
    job_lists,
    job_pages,
    job_submission,
    pilot_changes,
    pilot_outputs,
    pilot_pages,
)
from adaptor.methods.job_manager import job_manager
from adaptor.methods.job_monitoring import job_monitoring
from adaptor.methods.job_state_update import job_state_update
from adaptor.methods.matcher import matcher
from adaptor.methods.pilot_manager import pilot_manager
from adaptor.methods.pilots_logging import pilots_logging
from adaptor.methods.sandbox_store import sandbox_store
from adaptor.methods.tornado_pilot_logging import tornado_pilot_logging
from adaptor.methods.web_app import web_app
from adaptor.methods.wms_administrator import wms_administrator

SERVICES = (
    job_manager,
    job_monitoring,
    job_state_update,
    matcher,
    pilot_manager,
    pilots_logging,
    sandbox_store,
    tornado_pilot_logging,
    web_app,
    wms_administrator,
)

ADAPTORS: dict[tuple[str, str], Adaptor] = {
    (service.name, name): adaptor for service in SERVICES for name, adaptor in service.adaptors.items()
}
