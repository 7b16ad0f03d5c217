"""Generated calls of every method: one module per DIRAC service."""

from __future__ import annotations

from calls import (
    job_manager,
    job_monitoring,
    job_state_update,
    matcher,
    pilot_manager,
    pilots_logging,
    sandbox_store,
    tornado_pilot_logging,
    web_app,
    web_app_pilots,
    wms_administrator,
)
from calls.arguments import Maker

CALLS: dict[tuple[str, str], Maker] = {
    (module.SERVICE, method): maker
    for module in (
        job_manager,
        job_monitoring,
        job_state_update,
        matcher,
        pilot_manager,
        pilots_logging,
        sandbox_store,
        tornado_pilot_logging,
        web_app,
        web_app_pilots,
        wms_administrator,
    )
    for method, maker in module.CALLS.items()
}
