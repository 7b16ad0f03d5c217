"""WorkloadManagement/JobMonitoring (legacy-methods.md, section 4): the attributes of jobs.

Its other methods are in job_details, job_lists and job_pages.
"""

from __future__ import annotations

from typing import Any

from legacy_rpc.services.older_jobs import OLDER_ATTRIBUTE, OLDER_JOB, OLDER_JOBS
from legacy_rpc.services.table import Context, Service
from shared_db.queries.jobs import job_attributes
from shared_db.rules.job_attributes import attributes_asked, columns_needed, jobs_answered
from shared_db.rules.job_ids import ids_to_look_up, selectable

job_monitoring = Service(
    "WorkloadManagement/JobMonitoring",
    handler_class="JobMonitoringHandlerMixin",
    about=(
        "Clients of DIRAC before 9 get the attributes that 9 has dropped (`OwnerDN`, `DIRACSetup`, flags ...)"
        " and may name them in conditions: a DN is that of the job's owner, the others have the values that"
        " jobs start with."
    ),
)

JobIds = str | int | list[Any]
Jobs = dict[int, dict[str, Any]]


@job_monitoring.method([str, int, list])
async def getJobsStatus(context: Context, jobIDs: JobIds) -> Jobs:
    """``{id: {"Status": ...}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["Status"])


@job_monitoring.method([str, int, list])
async def getJobsStates(context: Context, jobIDs: JobIds) -> Jobs:
    """``{id: {"ApplicationStatus", "MinorStatus", "Status"}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["ApplicationStatus", "MinorStatus", "Status"])


@job_monitoring.method([str, int, list])
async def getJobsMinorStatus(context: Context, jobIDs: JobIds) -> Jobs:
    """``{id: {"MinorStatus": ...}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["MinorStatus"])


@job_monitoring.method([str, int, list])
async def getJobsApplicationStatus(context: Context, jobIDs: JobIds) -> Jobs:
    """``{id: {"ApplicationStatus": ...}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["ApplicationStatus"])


@job_monitoring.method([str, int, list])
async def getJobsSites(context: Context, jobIDs: JobIds) -> Jobs:
    """``{id: {"Site": ...}}`` of those jobs that exist."""
    return await _attributes(context, jobIDs, ["Site"])


@job_monitoring.method([str, int, list], list, until="8.0", older=OLDER_JOBS)
async def getJobsParameters(context: Context, jobIDs: JobIds, parameters: list[Any]) -> Jobs:
    """``{id: {attribute: value}}`` of those jobs that exist; no attributes means all.

    Error for a name that is no attribute: ``Unknown job attribute: NAME``.
    """
    return await _attributes(context, jobIDs, parameters)


@job_monitoring.method(list, older=OLDER_JOBS)
async def getJobsSummary(context: Context, jobIDs: list[Any]) -> Jobs:
    """``{id: {attribute: value}}``, all attributes of those jobs that exist."""
    return await _attributes(context, jobIDs, None)


@job_monitoring.method(list, until="7.3", older=OLDER_JOBS)
async def getJobsPrimarySummary(context: Context, jobIDs: list[Any]) -> Jobs:
    """The same as `getJobsSummary`."""
    return await _attributes(context, jobIDs, None)


@job_monitoring.method(int, older=OLDER_JOB)
async def getJobSummary(context: Context, jobID: int) -> dict[str, Any]:
    """``{attribute: value}``, all attributes of a job; ``{}`` for one that does not exist."""
    return await _attributes_of(context, jobID, None)


@job_monitoring.method(int, until="7.3", older=OLDER_JOB)
async def getJobPrimarySummary(context: Context, jobID: int) -> dict[str, Any]:
    """The same as `getJobSummary`."""
    return await _attributes_of(context, jobID, None)


@job_monitoring.method(int, older=OLDER_JOB)
async def getJobAttributes(context: Context, jobID: int, attrList: Any = None) -> dict[str, Any]:
    """``{attribute: value}`` of a job, of all attributes or of those in a list; ``{}`` for a job that does
    not exist.

    Times are naive UTC, flags ``'True'`` or ``'False'``.  Error: ``Unknown job attribute: NAME``.
    """
    return await _attributes_of(context, jobID, attrList)


@job_monitoring.method(int, str, older=OLDER_ATTRIBUTE)
async def getJobAttribute(context: Context, jobID: int, attribute: str) -> Any:
    """One attribute of a job; None for a job that does not exist.  Errors as `getJobAttributes`."""
    return (await _attributes_of(context, jobID, [attribute])).get(attribute)


@job_monitoring.method(int, until="7.3")
async def getJobStatus(context: Context, jobID: int) -> str | None:
    """The status of a job; None for a job that does not exist."""
    return (await _attributes_of(context, jobID, ["Status"])).get("Status")


@job_monitoring.method(int, until="8.0")
async def getJobOwner(context: Context, jobID: int) -> str | None:
    """The user name of a job's owner; None for a job that does not exist."""
    return (await _attributes_of(context, jobID, ["Owner"])).get("Owner")


@job_monitoring.method(int, until="8.0")
async def getJobSite(context: Context, jobID: int) -> str | None:
    """The site of a job; None for a job that does not exist."""
    return (await _attributes_of(context, jobID, ["Site"])).get("Site")


async def _attributes(context: Context, job_ids: JobIds, names: Any) -> Jobs:
    if not job_ids:
        return {}
    return await _found(context, attributes_asked(names), ids_to_look_up(job_ids))


async def _attributes_of(context: Context, job_id: int, names: Any) -> dict[str, Any]:
    found = await _found(context, attributes_asked(names), selectable([int(job_id)]))
    return found.get(job_id, {})


async def _found(context: Context, asked: dict[str, str], wanted: list[int]) -> Jobs:
    async with context.databases.unit_of_work() as work:
        rows = await job_attributes(work, wanted, columns_needed(asked))
    return jobs_answered(asked, [row._asdict() for row in rows])
