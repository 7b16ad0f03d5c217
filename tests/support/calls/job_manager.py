"""Generated calls of WorkloadManagement/JobManager."""

from __future__ import annotations

from calls.arguments import Maker, job_ids

SERVICE = "WorkloadManagement/JobManager"

CALLS: dict[str, Maker] = {
    "killJob": lambda chance: [job_ids(chance), True][: chance.randint(1, 2)],
}
