"""Rows of WorkloadManagement/JobMonitoring."""

from __future__ import annotations

from adaptor.conversation import Request, RestFailure
from adaptor.values import LARGEST_PAGE
from rows.conversation import Row, job_search
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/JobMonitoring"


ROWS = {
    "status of jobs that exist": Row(
        SERVICE,
        "getJobsStatus",
        [[1, "2", 9]],
        [
            (
                job_search(("Status",), [1, 2, 9]),
                [{"JobID": 1, "Status": "Done"}, {"JobID": 2, "Status": "Failed"}],
            )
        ],
        {1: {"Status": "Done"}, 2: {"Status": "Failed"}},
    ),
    "ids as a text": Row(SERVICE, "getJobsStatus", ["1, 2"], [(job_search(("Status",), [1, 2]), [])], {}),
    "no ids, no request": Row(SERVICE, "getJobsStatus", [[]], [], {}),
    "unreadable ids, no request": Row(
        SERVICE,
        "getJobsStatus",
        ["abc"],
        [],
        Refusal(
            "ValueError(\"invalid literal for int() with base 10: 'abc'\"):"
            " invalid literal for int() with base 10: 'abc'"
        ),
    ),
    "a second page": Row(
        SERVICE,
        "getJobsStatus",
        [[5]],
        [
            (job_search(("Status",), [5]), [{"JobID": n, "Status": "Done"} for n in range(LARGEST_PAGE)]),
            (
                Request(
                    "POST",
                    "/api/jobs/search",
                    job_search(("Status",), [5]).body,
                    {"page": 2, "per_page": LARGEST_PAGE},
                ),
                RestFailure(416, []),
            ),
        ],
        {n: {"Status": "Done"} for n in range(LARGEST_PAGE)},
    ),
    "states, sorted by name": Row(
        SERVICE,
        "getJobsStates",
        [3],
        [
            (
                job_search(("ApplicationStatus", "MinorStatus", "Status"), [3]),
                [{"JobID": 3, "Status": "Done", "MinorStatus": "m", "ApplicationStatus": None}],
            )
        ],
        {3: {"ApplicationStatus": None, "MinorStatus": "m", "Status": "Done"}},
    ),
}
