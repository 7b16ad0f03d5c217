"""WorkloadManagement/JobMonitoring (legacy-methods.md, section 4)."""

from __future__ import annotations

from typing import Any

from legacy_rpc.services.table import Context, Service
from shared_db.queries.jobs import job_attributes
from shared_db.rules.job_ids import ids_to_look_up

job_monitoring = Service("WorkloadManagement/JobMonitoring", handler_class="JobMonitoringHandlerMixin")

JobIds = str | int | list[Any]


@job_monitoring.method([str, int, list])
async def getJobsStatus(context: Context, jobIDs: JobIds) -> dict[int, dict[str, Any]]:
    """``{id: {"Status": ...}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["Status"])


@job_monitoring.method([str, int, list])
async def getJobsStates(context: Context, jobIDs: JobIds) -> dict[int, dict[str, Any]]:
    """``{id: {"ApplicationStatus", "MinorStatus", "Status"}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["ApplicationStatus", "MinorStatus", "Status"])


async def _attributes(context: Context, job_ids: JobIds, names: list[str]) -> dict[int, dict[str, Any]]:
    """Attributes of jobs; ``names`` are sorted, as DIRAC answers them."""
    wanted = ids_to_look_up(job_ids)
    if not wanted:
        return {}
    async with context.databases.unit_of_work() as work:
        rows = await job_attributes(work, wanted, names)
    return {row.JobID: {name: getattr(row, name) for name in names} for row in rows}
