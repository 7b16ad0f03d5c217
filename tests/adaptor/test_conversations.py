"""Every adaptor as rows: arguments, the requests it yields with scripted answers, what it returns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from adaptor.conversation import Request, RestFailure, converse, open_conversation
from adaptor.methods.catalogue import ADAPTORS
from adaptor.values import LARGEST_PAGE
from legacy_rpc.messages import Call, Failure, Identity, Reply
from shared_db.rules.pilots import PILOT_INFO, PILOT_STATES
from shared_db.rules.refusals import Refusal

PILOTS = "WorkloadManagement/PilotManager"
MONITORING = "WorkloadManagement/JobMonitoring"
MANAGER = "WorkloadManagement/JobManager"

ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser",))

PAGE = {"page": 1, "per_page": LARGEST_PAGE}


class Matching:
    """Equal to any text that a pattern fits: for times and other values of the moment."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other) is not None

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"Matching({self.pattern!r})"


MOMENT = Matching(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
AWARE = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


class AnyKey(dict[str, Any]):
    """Equal to a dictionary of one item whose key fits a pattern."""

    def __init__(self, key: Matching, value: Any) -> None:
        super().__init__()
        self.key, self.value = key, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and [(self.key, self.value)] == list(other.items())

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Row:
    """One behaviour of an adaptor; an answer that is an exception is thrown into it."""

    service: str
    method: str
    arguments: list[Any]
    exchange: list[tuple[Request | tuple[Request, ...], Any]] = field(default_factory=list)
    expected: Any = None
    identity: Identity = ALICE


def search(path: str, parameters: tuple[str, ...], *conditions: tuple[str, str, Any], order: str) -> Request:
    """The search that an adaptor is expected to send."""
    body = {
        "parameters": list(parameters),
        "search": [
            {"parameter": name, "operator": operator, ("values" if operator == "in" else "value"): value}
            for name, operator, value in conditions
        ],
        "sort": [{"parameter": order, "direction": "asc"}],
    }
    return Request("POST", path, body, PAGE)


def job_search(names: tuple[str, ...], ids: list[int]) -> Request:
    return search("/api/jobs/search", ("JobID", *names), ("JobID", "in", ids), order="JobID")


def pilot_row(**changes: Any) -> dict[str, Any]:
    """A pilot as REST gives it."""
    return {
        "PilotJobReference": "ref1",
        "VO": "demo",
        "GridType": "DIRAC",
        "Status": "Running",
        "DestinationSite": "ce1",
        "BenchMark": 1.5,
        "AccountingSent": False,
        "SubmissionTime": "2026-11-21T20:56:16Z",
        "PilotID": 7,
        "LastUpdateTime": "2026-11-21T20:57:16.5+00:00",
        "GridSite": "SITE",
        "PilotStamp": "s1",
        "Queue": "q",
        **changes,
    }


def pilot_info(**changes: Any) -> dict[str, Any]:
    """The same pilot as getPilotInfo gives it."""
    return {
        **pilot_row(),
        "AccountingSent": "False",
        "SubmissionTime": datetime(2026, 11, 21, 20, 56, 16),  # noqa: DTZ001 - DIRAC's are naive
        "LastUpdateTime": datetime(2026, 11, 21, 20, 57, 16),  # noqa: DTZ001
        **changes,
    }


def pilot_search(*references: str) -> Request:
    return search(
        "/api/pilots/search", PILOT_INFO, ("PilotJobReference", "in", list(references)), order="PilotID"
    )


def pilot_jobs(*pilot_ids: int) -> Request:
    return search(
        "/api/pilots/jobs/search", ("PilotID", "JobID"), ("PilotID", "in", list(pilot_ids)), order="JobID"
    )


def status_search(*columns: str) -> Request:
    return search(
        "/api/pilots/search",
        ("PilotID", "PilotStamp", "LastUpdateTime", *columns),
        ("PilotJobReference", "eq", "ref1"),
        order="PilotID",
    )


def summary(submitted: list[dict[str, str]]) -> tuple[Request, Request, Request]:
    def aborted() -> Request:
        conditions = [
            {"parameter": "Status", "operator": "eq", "value": "Aborted"},
            {"parameter": "LastUpdateTime", "operator": "gt", "value": MOMENT},
        ]
        return Request("POST", "/api/pilots/summary", {"grouping": ["DestinationSite"], "search": conditions})

    grouped = {"grouping": ["DestinationSite", "Status"], "search": submitted}
    return (Request("POST", "/api/pilots/summary", grouped), aborted(), aborted())


ZERO = dict.fromkeys(PILOT_STATES, 0)
CHANGES = {"Status": "Done", "StatusReason": "Not given"}
LONG_AGO = {"PilotID": 7, "PilotStamp": "s1", "LastUpdateTime": "2020-01-01T00:00:00Z", **CHANGES}
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
    "status of jobs that exist": Row(
        MONITORING,
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
    "ids as a text": Row(MONITORING, "getJobsStatus", ["1, 2"], [(job_search(("Status",), [1, 2]), [])], {}),
    "no ids, no request": Row(MONITORING, "getJobsStatus", [[]], [], {}),
    "unreadable ids, no request": Row(
        MONITORING,
        "getJobsStatus",
        ["abc"],
        [],
        Refusal(
            "ValueError(\"invalid literal for int() with base 10: 'abc'\"):"
            " invalid literal for int() with base 10: 'abc'"
        ),
    ),
    "a second page": Row(
        MONITORING,
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
        MONITORING,
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
    "a pilot that ran jobs": Row(
        PILOTS,
        "getPilotInfo",
        ["ref1"],
        [
            (pilot_search("ref1"), [pilot_row()]),
            (pilot_jobs(7), [{"PilotID": 7, "JobID": 1}, {"PilotID": 7, "JobID": 2}]),
        ],
        {"ref1": pilot_info(Jobs=[1, 2])},
    ),
    "of two pilots with one reference the youngest": Row(
        PILOTS,
        "getPilotInfo",
        [["ref1", "zz"]],
        [
            (pilot_search("ref1", "zz"), [pilot_row(), pilot_row(PilotID=8, AccountingSent=True)]),
            (pilot_jobs(8), []),
        ],
        {"ref1": pilot_info(PilotID=8, AccountingSent="True")},
    ),
    "no pilots": Row(
        PILOTS,
        "getPilotInfo",
        [["zz", "yy"]],
        [(pilot_search("zz", "yy"), [])],
        Failure("No pilots found ( 1550 : No pilots found for PilotJobReference(s): ['zz', 'yy'])", 1550),
    ),
    "no reference is every pilot": Row(
        PILOTS,
        "getPilotInfo",
        [""],
        [(search("/api/pilots/search", PILOT_INFO, order="PilotID"), [pilot_row()]), (pilot_jobs(7), [])],
        {"ref1": pilot_info()},
    ),
    "summary of all pilots": Row(
        PILOTS,
        "getPilotSummary",
        [],
        [
            (
                summary([]),
                (
                    [
                        {"DestinationSite": "ce1", "Status": "Aborted", "count": 2},
                        {"DestinationSite": "ce1", "Status": "Bogus", "count": 5},
                    ],
                    [{"DestinationSite": "ce1", "count": 1}, {"DestinationSite": "gone", "count": 1}],
                    [{"DestinationSite": "ce1", "count": 2}],
                ),
            )
        ],
        {
            "Total": {**ZERO, "Aborted": 2},
            "ce1": {"Aborted": 2, "Aborted_Hour": 1, "Aborted_Day": 2},
        },
    ),
    "summary of a range, both ends included": Row(
        PILOTS,
        "getPilotSummary",
        ["2026-11-21", "2026-11-22 10:00:00"],
        [
            (
                summary(
                    [
                        {"parameter": "SubmissionTime", "operator": "gt", "value": "2026-11-20 23:59:59"},
                        {"parameter": "SubmissionTime", "operator": "lt", "value": "2026-11-22 10:00:01"},
                    ]
                ),
                ([], [], []),
            )
        ],
        {"Total": ZERO},
    ),
    "summary up to an unreadable end": Row(
        PILOTS,
        "getPilotSummary",
        ["", "abc"],
        [(summary([]), ([{"DestinationSite": "ce1", "Status": "Done", "count": 2}], [], []))],
        {"Total": ZERO},
    ),
    "status of a pilot, by DiracX's route": Row(
        PILOTS,
        "setPilotStatus",
        ["ref1", "Done", "ce1", "why", "SITE", "q"],
        [
            (
                status_search("Status", "StatusReason", "GridSite", "Queue", "DestinationSite"),
                [LONG_AGO | {"GridSite": "x", "Queue": "q", "DestinationSite": "ce1"}],
            ),
            (
                Request(
                    "PATCH",
                    "/api/pilots/metadata",
                    {
                        "s1": {
                            "Status": "Done",
                            "StatusReason": "why",
                            "GridSite": "SITE",
                            "Queue": "q",
                            "DestinationSite": "ce1",
                        }
                    },
                ),
                None,
            ),
        ],
        1,
    ),
    "status of no pilot": Row(
        PILOTS, "setPilotStatus", ["ref1", "Done"], [(status_search("Status", "StatusReason"), [])], 0
    ),
    "a status that DiracX does not know": Row(
        PILOTS,
        "setPilotStatus",
        ["ref1", "Scheduled"],
        [
            (status_search("Status", "StatusReason"), [LONG_AGO, LONG_AGO | {"PilotID": 8}]),
            (
                Request(
                    "PATCH",
                    "/api/pilots/legacy",
                    {"pilot_ids": [7, 8], "metadata": CHANGES | {"Status": "Scheduled"}},
                ),
                {"changed": 2},
            ),
        ],
        2,
    ),
    "a pilot without a stamp": Row(
        PILOTS,
        "setPilotStatus",
        ["ref1", "Done"],
        [
            (status_search("Status", "StatusReason"), [LONG_AGO | {"PilotStamp": ""}]),
            (Request("PATCH", "/api/pilots/legacy", {"pilot_ids": [7], "metadata": CHANGES}), {"changed": 1}),
        ],
        1,
    ),
    "a computing element whose site must be looked up": Row(
        PILOTS,
        "setPilotStatus",
        ["ref1", "Done", "ce1"],
        [
            (status_search("Status", "StatusReason", "DestinationSite"), [LONG_AGO]),
            (
                Request(
                    "PATCH",
                    "/api/pilots/legacy",
                    {"pilot_ids": [7], "metadata": CHANGES | {"DestinationSite": "ce1"}},
                ),
                {"changed": 0},
            ),
        ],
        0,
    ),
    "a status longer than its column": Row(
        PILOTS,
        "setPilotStatus",
        ["ref1", "x" * 33],
        [],
        Refusal(
            "MySQL Error ( 1131 : Execution failed.: "
            "((1406, \"Data too long for column 'Status' at row 1\") ))",
            1131,
        ),
    ),
    "one new pilot, by DiracX's route": Row(
        PILOTS,
        "addPilotReferences",
        [["ref1"], "demo", "CREAM", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "CREAM", "pilot_reference": "ref1"},
                ),
                None,
            )
        ],
    ),
    "one pilot whose stamp is known": Row(
        PILOTS,
        "addPilotReferences",
        [["ref1"], "demo", "DIRAC", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                ),
                RestFailure(409, "Pilot with stamp 's1' already exists"),
            ),
            (
                Request(
                    "POST",
                    "/api/pilots/legacy",
                    [{"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"}],
                ),
                None,
            ),
        ],
    ),
    "many pilots in one request": Row(
        PILOTS,
        "addPilotReferences",
        [["ref1", 5], "demo"],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/legacy",
                    [
                        {"pilot_stamp": "", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                        {"pilot_stamp": "", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "5"},
                    ],
                ),
                None,
            )
        ],
    ),
    "no pilots to add, no request": Row(PILOTS, "addPilotReferences", [[], "demo"]),
    "a registration that fails otherwise is no reason to try again": Row(
        PILOTS,
        "addPilotReferences",
        [["ref1"], "demo", "DIRAC", {"ref1": "s1"}],
        [
            (
                Request(
                    "POST",
                    "/api/pilots/",
                    {"pilot_stamp": "s1", "vo": "demo", "grid_type": "DIRAC", "pilot_reference": "ref1"},
                ),
                RestFailure(503, "away"),
            )
        ],
        RestFailure(503, "away"),
    ),
    "kill own jobs": Row(
        MANAGER,
        "killJob",
        [[1, "2"]],
        [(kill_search(1, 2), [owned(1), owned(2, "Waiting")]), (kill(1, 2), {"success": {}, "failed": {}})],
        Reply([1, 2], NOT_KILLED),
    ),
    "kill what is done, unknown or another's": Row(
        MANAGER,
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
        MANAGER,
        "killJob",
        [1],
        [(kill_search(1), [owned(1, owner="bob")]), (kill(1), {"success": {}, "failed": {}})],
        Reply([1], NOT_KILLED),
        Identity("alice", "demo_user", vo="demo", properties=("NormalUser", "JobSharing")),
    ),
    "nothing to kill, no update": Row(
        MANAGER,
        "killJob",
        [[9]],
        [(kill_search(9), [])],
        Reply([], {"requireProxyUpload": False, "InvalidJobIDs": [9]}),
    ),
    "ids that are not understood, no request": Row(MANAGER, "killJob", ["1,2"], [], []),
    "an id twice, no request": Row(MANAGER, "killJob", [[1, 1]], [], Reply([], NOT_KILLED)),
}


async def play(row: Row) -> Any:
    """Run a conversation against its script; returns what came out, or the exception."""
    script = iter(row.exchange)
    pending: list[tuple[Request, Any]] = []

    async def send(request: Request) -> Any:
        if not pending:
            step, answer = next(script, (None, None))
            assert step is not None, f"unexpected {request}"
            if isinstance(step, tuple):
                pending.extend(zip(step, answer, strict=True))
            else:
                pending.append((step, answer))
        expected, answer = pending.pop(0)
        assert request == expected
        if isinstance(answer, Exception):
            raise answer
        return answer

    call = Call(row.service, row.method, row.arguments, row.identity, "test")
    try:
        reply = await converse(open_conversation(ADAPTORS[row.service, row.method], call), send)
    except (Failure, RestFailure, Refusal) as error:
        outcome: Any = error
    else:
        outcome = reply
    assert not list(script), "the adaptor did not send all requests"
    return outcome


def comparable(outcome: Any) -> Any:
    """An outcome whose parts can be compared."""
    match outcome:
        case Failure() | Reply():
            return outcome.as_result()
        case RestFailure():
            return ("REST", outcome.status, outcome.detail)
        case Refusal():
            return ("refused", outcome.message, outcome.errno)
        case _:
            return Reply(outcome).as_result()


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_conversation(row: Row) -> None:
    """An adaptor sends exactly the requests of its row and makes the row's value of their answers."""
    assert comparable(await play(row)) == comparable(row.expected)


def test_every_adaptor_has_a_row() -> None:
    """No adaptor is without a row."""
    assert {(row.service, row.method) for row in ROWS.values()} == set(ADAPTORS)


async def test_nothing_changed_within_one_second() -> None:
    """A status that is there already, set in this very second, counts as no change."""
    now = datetime.now(UTC).replace(microsecond=0)
    for moment, changed in ((now, 0), (datetime(2020, 1, 1, tzinfo=UTC), 1)):
        row = Row(
            PILOTS,
            "setPilotStatus",
            ["ref1", "Done"],
            [
                (
                    status_search("Status", "StatusReason"),
                    [LONG_AGO | {"LastUpdateTime": moment.isoformat()}],
                ),
                (Request("PATCH", "/api/pilots/metadata", {"s1": CHANGES}), None),
            ],
        )
        outcome = await play(row)
        late = datetime.now(UTC).replace(microsecond=0) != now and changed == 0
        assert late or outcome == Reply(changed)
