"""Every adaptor as rows: one module per DIRAC service."""

from __future__ import annotations

from rows import (
    job_manager,
    job_monitoring,
    job_state_update,
    matcher,
    pilot_changes,
    pilot_manager,
    pilot_pages,
    pilots_logging,
    sandbox_store,
    tornado_pilot_logging,
    web_app,
    web_app_pilots,
    wms_administrator,
)
from rows.conversation import Row

ROWS: dict[str, Row] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": row
    for module in (
        job_manager,
        job_monitoring,
        job_state_update,
        matcher,
        pilot_changes,
        pilot_manager,
        pilot_pages,
        pilots_logging,
        sandbox_store,
        tornado_pilot_logging,
        web_app,
        web_app_pilots,
        wms_administrator,
    )
    for name, row in module.ROWS.items()
}
