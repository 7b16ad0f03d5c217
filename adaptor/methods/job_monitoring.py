"""WorkloadManagement/JobMonitoring over REST: the attributes of jobs.

One deliberate difference between the two routes, for all methods of JobMonitoring and of Monitoring/WebApp
that are about jobs: where GlobalJobsInfo is False, REST shows somebody who has neither JobAdministrator nor
JobMonitor nor GenericPilot only the own jobs; DIRAC, and the native route, do so on the pages of jobs only.
"""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService
from adaptor.jobs import found_by_id
from shared_db.rules.job_attributes import attributes_asked, columns_needed, jobs_answered
from shared_db.rules.job_ids import ids_to_look_up, selectable

job_monitoring = LegacyService("WorkloadManagement/JobMonitoring")

JobIds = str | int | list[Any]


@job_monitoring.adapts
def getJobsStatus(jobIDs: JobIds) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, ["Status"]))


@job_monitoring.adapts
def getJobsStates(jobIDs: JobIds) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, ["ApplicationStatus", "MinorStatus", "Status"]))


@job_monitoring.adapts
def getJobsMinorStatus(jobIDs: JobIds) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, ["MinorStatus"]))


@job_monitoring.adapts
def getJobsApplicationStatus(jobIDs: JobIds) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, ["ApplicationStatus"]))


@job_monitoring.adapts
def getJobsSites(jobIDs: JobIds) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, ["Site"]))


@job_monitoring.adapts
def getJobsParameters(jobIDs: JobIds, parameters: list[Any]) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, parameters))


@job_monitoring.adapts
def getJobsSummary(jobIDs: list[Any]) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, None))


@job_monitoring.adapts
def getJobsPrimarySummary(jobIDs: list[Any]) -> Conversation:
    """`POST /api/jobs/search`, one for every 10,000 ids.  Differences: none."""
    return (yield from _attributes(jobIDs, None))


@job_monitoring.adapts
def getJobSummary(jobID: int) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, None))


@job_monitoring.adapts
def getJobPrimarySummary(jobID: int) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, None))


@job_monitoring.adapts
def getJobAttributes(jobID: int, attrList: Any = None) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, attrList))


@job_monitoring.adapts
def getJobAttribute(jobID: int, attribute: str) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, [attribute])).get(attribute)


@job_monitoring.adapts
def getJobStatus(jobID: int) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, ["Status"])).get("Status")


@job_monitoring.adapts
def getJobOwner(jobID: int) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, ["Owner"])).get("Owner")


@job_monitoring.adapts
def getJobSite(jobID: int) -> Conversation:
    """`POST /api/jobs/search`.  Differences: none."""
    return (yield from _attributes_of(jobID, ["Site"])).get("Site")


def _attributes(job_ids: JobIds, names: Any) -> Conversation:
    """``{id: {attribute: value}}`` of those jobs that exist."""
    if not job_ids:
        return {}
    asked = attributes_asked(names)
    rows = yield from found_by_id(ids_to_look_up(job_ids), columns_needed(asked))
    return jobs_answered(asked, rows)


def _attributes_of(job_id: int, names: Any) -> Conversation:
    """``{attribute: value}`` of one job; ``{}`` for one that does not exist."""
    asked, wanted = attributes_asked(names), selectable([int(job_id)])
    rows = yield from found_by_id(wanted, columns_needed(asked))
    return jobs_answered(asked, rows).get(job_id, {})
