"""Rows of WorkloadManagement/JobManager."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure, Identity, Reply
from rows.conversation import AWARE, AnyKey, Row, job_search
from rows.job_submission import CONFIRM, ENDS, LASTS, NO_ROUTE, NOT_KEPT, OWN_PROXY, PILOT, SUBMIT
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/JobManager"

KILLED = {"Status": "Killed", "MinorStatus": "Marked for termination", "Source": "killJob"}
DELETED = {"Status": "Deleted", "MinorStatus": "Checking accounting", "Source": "deleteJob"}


def owned(
    job_id: int, status: str = "Running", owner: str = "alice", group: str = "demo_user"
) -> dict[str, Any]:
    return {"JobID": job_id, "Owner": owner, "OwnerGroup": group, "Status": status}


def whose(*ids: int) -> Request:
    return job_search(("Owner", "OwnerGroup", "Status"), list(ids))


def end(updates: dict[int, dict[str, str]]) -> Request:
    body = {str(job_id): AnyKey(AWARE, update) for job_id, update in updates.items()}
    return Request("PATCH", "/api/jobs/status", body)


def kill(*ids: int) -> Request:
    return end(dict.fromkeys(ids, KILLED))


def went(statuses: dict[int, str | None]) -> dict[str, Any]:
    return {"success": {str(job_id): {"Status": each} for job_id, each in statuses.items()}, "failed": {}}


NO_UPLOAD = {"requireProxyUpload": False}
UPLOAD = {"requireProxyUpload": True}

SHARING = Identity("alice", "demo_user", vo="demo", properties=("NormalUser", "JobSharing"))
ADMIN = Identity("alice", "demo_admin", vo="demo", properties=("NormalUser", "JobAdministrator"))


KILL = {
    "kill own jobs": Row(
        SERVICE,
        "killJob",
        [[1, "2"]],
        [
            (whose(1, 2), [owned(1), owned(2, "Waiting")]),
            (kill(1, 2), went({1: "Killed", 2: "Killed"})),
            (OWN_PROXY, LASTS),
        ],
        Reply([1, 2], NO_UPLOAD),
    ),
    "kill without a proxy that lasts": Row(
        SERVICE,
        "killJob",
        [1],
        [(whose(1), [owned(1)]), (kill(1), went({1: "Killed"})), (OWN_PROXY, ENDS)],
        Reply([1], UPLOAD),
    ),
    "kill where nobody knows of proxies": Row(
        SERVICE,
        "killJob",
        [1],
        [(whose(1), [owned(1)]), (kill(1), went({1: "Killed"})), (OWN_PROXY, NO_ROUTE)],
        Reply([1], NO_UPLOAD),
    ),
    "kill what is done, unknown or another's": Row(
        SERVICE,
        "killJob",
        [[1, 2, 3, 4]],
        [
            (whose(1, 2, 3, 4), [owned(1, "Done"), owned(2, owner="bob"), owned(4)]),
            (kill(4), went({4: "Killed"})),
            (OWN_PROXY, NOT_KEPT),
        ],
        Failure(
            "Some jobs failed deletion",
            0,
            {"NonauthorizedJobIDs": [2], "requireProxyUpload": False, "InvalidJobIDs": [3]},
        ),
    ),
    "kill a job with a history of tomorrow, and one that is gone": Row(
        SERVICE,
        "killJob",
        [[1, 2, 3]],
        [
            (whose(1, 2, 3), [owned(1), owned(2), owned(3)]),
            (
                kill(1, 2, 3),
                {
                    "success": {1: {"Status": None}, 2: {"Status": "Killed"}},
                    "failed": {3: {"detail": "Not found"}},
                },
            ),
            (OWN_PROXY, LASTS),
        ],
        Failure("Some jobs failed deletion", 0, {"FailedJobIDs": [1, 3], "requireProxyUpload": False}),
    ),
    "a group that shares its jobs": Row(
        SERVICE,
        "killJob",
        [1],
        [(whose(1), [owned(1, owner="bob")]), (kill(1), went({1: "Killed"}))],
        Reply([1], NO_UPLOAD),
        SHARING,
    ),
    "nothing to kill, no update": Row(
        SERVICE,
        "killJob",
        [[9]],
        [(whose(9), [])],
        Reply([], {"requireProxyUpload": False, "InvalidJobIDs": [9]}),
    ),
    "ids that are not understood, no request": Row(SERVICE, "killJob", ["1,2"], [], []),
    "an id twice, no request": Row(SERVICE, "killJob", [[1, 1]], [], Reply([], NO_UPLOAD)),
}

DELETE = {
    "delete: killed, deleted, or neither": Row(
        SERVICE,
        "deleteJob",
        [[1, 2, 3, 4]],
        [
            (
                whose(1, 2, 3, 4),
                [owned(1), owned(2, "Received"), owned(3, "Done"), owned(4, "Completed")],
            ),
            (
                end({1: KILLED, 2: DELETED, 3: DELETED}),
                went({1: "Killed", 2: "Deleted", 3: "Deleted"}),
            ),
            (OWN_PROXY, LASTS),
        ],
        Reply([2, 3], NO_UPLOAD),
    ),
    "delete another's": Row(
        SERVICE,
        "deleteJob",
        [1],
        [(whose(1), [owned(1, owner="bob")])],
        Failure("Some jobs failed deletion", 0, {"NonauthorizedJobIDs": [1], "requireProxyUpload": False}),
    ),
    "nothing to delete, no request": Row(SERVICE, "deleteJob", [[]], [], []),
}

REMOVE = {
    "remove in the order of the call": Row(
        SERVICE,
        "removeJob",
        [[2, "1"]],
        [
            (whose(1, 2), [owned(1), owned(2)]),
            (Request("POST", "/api/jobs/remove", {"job_ids": [1, 2]}), {"removed": [1, 2]}),
        ],
        [2, 1],
    ),
    "remove what is not there, and another's": Row(
        SERVICE,
        "removeJob",
        [[1, 2, 3]],
        [
            (whose(1, 2, 3), [owned(1), owned(2, owner="bob")]),
            (Request("POST", "/api/jobs/remove", {"job_ids": [1]}), {"removed": [1]}),
        ],
        Failure(
            "Some jobs failed removal: invalid jobs: non-authorized jobs",
            0,
            {"InvalidJobIDs": [3], "NonauthorizedJobIDs": [2]},
        ),
    ),
    "remove no job": Row(SERVICE, "removeJob", ["1,2"], [], Refusal("Invalid job specification: 1,2")),
}


def reschedule(*ids: int, **query: str) -> Request:
    return Request("POST", "/api/jobs/reschedule", {"job_ids": list(ids)}, query)


EXHAUSTED = {"detail": "Maximum number of reschedules exceeded (3)"}

RESCHEDULE = {
    "reschedule, one of them too often": Row(
        SERVICE,
        "rescheduleJob",
        [[2, 1]],
        [
            (whose(1, 2), [owned(1), owned(2)]),
            (reschedule(1, 2), {"success": {"1": {}}, "failed": {"2": EXHAUSTED}}),
            (OWN_PROXY, ENDS),
        ],
        Reply([2, 1], UPLOAD),
    ),
    "reschedule, all of them too often": Row(
        SERVICE,
        "rescheduleJob",
        [1],
        [
            (whose(1), [owned(1)]),
            (reschedule(1), RestFailure(400, {"success": {}, "failed": {"1": EXHAUSTED}})),
            (OWN_PROXY, LASTS),
        ],
        Reply([1], NO_UPLOAD),
    ),
    "a reschedule that the backend refuses": Row(
        SERVICE,
        "rescheduleJob",
        [1],
        [(whose(1), [owned(1)]), (reschedule(1), RestFailure(400, "Value of Site is too long"))],
        RestFailure(400, "Value of Site is too long"),
    ),
    "a pilot reschedules any job, but none that is not there": Row(
        SERVICE,
        "rescheduleJob",
        [[1, 9]],
        [(whose(1, 9), [owned(1)]), (reschedule(1), {"success": {"1": {}}, "failed": {}})],
        Failure("Some jobs can not be rescheduled", 0, {"InvalidJobIDs": [9]}),
        PILOT,
    ),
    "reset, one of them without a JDL": Row(
        SERVICE,
        "resetJob",
        [[1, 2]],
        [
            (whose(1, 2), [owned(1, owner="bob"), owned(2, owner="bob")]),
            (
                reschedule(1, 2, reset_jobs="true"),
                {"success": {"1": {}}, "failed": {"2": {"detail": "empty"}}},
            ),
        ],
        Failure("Some jobs failed resetting", 0, {"FailedJobIDs": [2]}),
        ADMIN,
    ),
    "reset": Row(
        SERVICE,
        "resetJob",
        [1],
        [
            (whose(1), [owned(1)]),
            (reschedule(1, reset_jobs="true"), {"success": {"1": {}}, "failed": {}}),
            (OWN_PROXY, LASTS),
        ],
        Reply(None, NO_UPLOAD),
        ADMIN,
    ),
    "reset is for administrators": Row(
        SERVICE,
        "resetJob",
        [1],
        [(whose(1), [owned(1)]), (OWN_PROXY, LASTS)],
        Failure("Some jobs failed resetting", 0, {"NonauthorizedJobIDs": [1]}),
    ),
}

ROWS = {**KILL, **DELETE, **REMOVE, **RESCHEDULE, **SUBMIT, **CONFIRM}
