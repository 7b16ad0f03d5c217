"""WorkloadManagement/JobMonitoring over REST; no deliberate differences between the two routes."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService
from adaptor.values import search_in
from shared_db.rules.job_ids import ids_to_look_up

job_monitoring = LegacyService("WorkloadManagement/JobMonitoring")

SEARCH = "/api/jobs/search"

JobIds = str | int | list[Any]


@job_monitoring.adapts
def getJobsStatus(jobIDs: JobIds) -> Conversation:
    return (yield from _attributes(jobIDs, ["Status"]))


@job_monitoring.adapts
def getJobsStates(jobIDs: JobIds) -> Conversation:
    return (yield from _attributes(jobIDs, ["ApplicationStatus", "MinorStatus", "Status"]))


def _attributes(job_ids: JobIds, names: list[str]) -> Conversation:
    """``{id: {attribute: value}}`` of those jobs that exist; ``names`` are sorted, as DIRAC answers them."""
    wanted = ids_to_look_up(job_ids)
    rows = yield from search_in(SEARCH, ["JobID", *names], "JobID", wanted, "JobID")
    return {row["JobID"]: {name: row[name] for name in names} for row in rows}
