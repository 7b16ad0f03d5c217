"""Generated calls of WorkloadManagement/JobMonitoring."""

from __future__ import annotations

from calls.arguments import Maker, job_ids

SERVICE = "WorkloadManagement/JobMonitoring"

CALLS: dict[str, Maker] = {
    "getJobsStatus": lambda chance: [job_ids(chance)],
    "getJobsStates": lambda chance: [job_ids(chance)],
}
