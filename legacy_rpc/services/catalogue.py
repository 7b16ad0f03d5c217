"""Every service there is."""

from __future__ import annotations

from legacy_rpc.services import (  # noqa: F401 - they add to JobManager, JobMonitoring, PilotManager, WebApp
    job_details,
    job_lists,
    job_pages,
    job_submission,
    pilot_changes,
    pilot_outputs,
    pilot_pages,
)
from legacy_rpc.services.builtin import add_builtin_methods
from legacy_rpc.services.bundle_delivery import bundle_delivery
from legacy_rpc.services.configuration import configuration_server
from legacy_rpc.services.job_manager import job_manager
from legacy_rpc.services.job_monitoring import job_monitoring
from legacy_rpc.services.job_state_update import job_state_update
from legacy_rpc.services.matcher import matcher
from legacy_rpc.services.optimization_mind import optimization_mind
from legacy_rpc.services.pilot_manager import pilot_manager
from legacy_rpc.services.pilots_logging import pilots_logging
from legacy_rpc.services.proxy_manager import proxy_manager
from legacy_rpc.services.req_manager import req_manager
from legacy_rpc.services.resource_status import resource_status
from legacy_rpc.services.sandbox_store import sandbox_store
from legacy_rpc.services.table import ServiceTable
from legacy_rpc.services.token_manager import token_manager
from legacy_rpc.services.tornado_pilot_logging import tornado_pilot_logging
from legacy_rpc.services.web_app import web_app
from legacy_rpc.services.wms_administrator import wms_administrator

WORKLOAD_MANAGEMENT = (
    job_manager,
    job_monitoring,
    job_state_update,
    matcher,
    pilot_manager,
    wms_administrator,
    sandbox_store,
    web_app,
    pilots_logging,
    tornado_pilot_logging,
)
FRAMEWORK = (proxy_manager, bundle_delivery, resource_status)
# Records only: they are passed through to DIRAC's own services.
ELSEWHERE = (req_manager, token_manager, optimization_mind)


def all_services() -> ServiceTable:
    """The table that a front door serves."""
    others = [each.name for each in (*WORKLOAD_MANAGEMENT, *FRAMEWORK)]
    services = (*WORKLOAD_MANAGEMENT, configuration_server(others), *FRAMEWORK, *ELSEWHERE)
    for service in services:
        add_builtin_methods(service)
    return ServiceTable(services)
