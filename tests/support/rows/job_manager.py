"""Rows of WorkloadManagement/JobManager."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request
from legacy_rpc.messages import Failure, Identity, Reply
from rows.conversation import AWARE, AnyKey, Row, job_search

SERVICE = "WorkloadManagement/JobManager"

KILLED = {"Status": "Killed", "MinorStatus": "Marked for termination", "Source": "killJob"}


def owned(
    job_id: int, status: str = "Running", owner: str = "alice", group: str = "demo_user"
) -> dict[str, Any]:
    return {"JobID": job_id, "Owner": owner, "OwnerGroup": group, "Status": status}


def kill_search(*ids: int) -> Request:
    return job_search(("Owner", "OwnerGroup", "Status"), list(ids))


def kill(*ids: int) -> Request:
    return Request("PATCH", "/api/jobs/status", {str(job_id): AnyKey(AWARE, KILLED) for job_id in ids})


NOT_KILLED = {"requireProxyUpload": False}


ROWS = {
    "kill own jobs": Row(
        SERVICE,
        "killJob",
        [[1, "2"]],
        [(kill_search(1, 2), [owned(1), owned(2, "Waiting")]), (kill(1, 2), {"success": {}, "failed": {}})],
        Reply([1, 2], NOT_KILLED),
    ),
    "kill what is done, unknown or another's": Row(
        SERVICE,
        "killJob",
        [[1, 2, 3, 4]],
        [
            (kill_search(1, 2, 3, 4), [owned(1, "Done"), owned(2, owner="bob"), owned(4)]),
            (kill(4), {"success": {}, "failed": {}}),
        ],
        Failure(
            "Some jobs failed deletion",
            0,
            {"NonauthorizedJobIDs": [2], "requireProxyUpload": False, "InvalidJobIDs": [3]},
        ),
    ),
    "a group that shares its jobs": Row(
        SERVICE,
        "killJob",
        [1],
        [(kill_search(1), [owned(1, owner="bob")]), (kill(1), {"success": {}, "failed": {}})],
        Reply([1], NOT_KILLED),
        Identity("alice", "demo_user", vo="demo", properties=("NormalUser", "JobSharing")),
    ),
    "nothing to kill, no update": Row(
        SERVICE,
        "killJob",
        [[9]],
        [(kill_search(9), [])],
        Reply([], {"requireProxyUpload": False, "InvalidJobIDs": [9]}),
    ),
    "ids that are not understood, no request": Row(SERVICE, "killJob", ["1,2"], [], []),
    "an id twice, no request": Row(SERVICE, "killJob", [[1, 1]], [], Reply([], NOT_KILLED)),
}
