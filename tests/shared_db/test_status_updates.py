"""Status updates, as DiracX applies them (rest-diracx.md, 6.4) and as DIRAC does (legacy-methods.md, 5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from job_hands import Hands, at, column
from sqlalchemy import select

from shared_db.connection import Databases
from shared_db.errors import InvalidValue
from shared_db.queries.statuses import logging_by_job, set_job_statuses
from shared_db.rules.job_states import JOB_STATES
from shared_db.rules.refusals import Refusal, UnfitArgument
from shared_db.rules.status_updates import (
    DIRAC,
    DIRACX,
    Job,
    Policy,
    StatusUpdate,
    apply_updates,
    dirac_answer,
    dirac_moment,
)
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo

ANSWERED = (
    "Status",
    "MinorStatus",
    "ApplicationStatus",
    "HeartBeatTime",
    "StartExecTime",
    "EndExecTime",
    "LastUpdateTime",
)


def update(seconds: float, status: str | None = None, **other: Any) -> StatusUpdate:
    """What a job reports at some second."""
    return StatusUpdate(at(seconds), status, **other)


class StatusHands(Hands):
    """Sets statuses and reads histories."""

    async def set(self, updates: Mapping[int, Sequence[StatusUpdate]], **options: Any) -> Any:
        """``set_job_statuses`` in a unit of work of its own."""
        return await self.run(set_job_statuses, updates, **options)

    async def history(self, *job_ids: int) -> dict[int, list[dict[str, Any]]]:
        """``logging_by_job`` in a unit of work of its own."""
        return await self.run(logging_by_job, job_ids)


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> StatusHands:
    """Hands in this test's database."""
    return StatusHands(databases)


# One row of the sheets' tables each


@dataclass(frozen=True)
class Case:
    """A job in ``status`` with a history; updates; what they set, and what they log.

    ``sets`` holds times as seconds, and True for now; where LastUpdateTime is set the status is too, to what
    it was where ``sets`` does not say.
    """

    holds: str
    status: str
    updates: Sequence[StatusUpdate]
    sets: Mapping[str, Any]
    logs: Sequence[tuple[str, str, str, float, str]]
    logged: Sequence[tuple[float, str]] = ((0, "Received"),)
    columns: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    policy: Policy = DIRACX


NOW = {"LastUpdateTime": True}
DONE_AT_9 = {"StartExecTime": column(at(5)), "EndExecTime": column(at(9))}

CASES = [
    Case(
        "a legal move is made",
        "Received",
        [update(10, "Checking", minor_status="JobPath", source="JobPath")],
        {"Status": "Checking", "MinorStatus": "JobPath", "HeartBeatTime": 10, **NOW},
        [("Checking", "JobPath", "idem", 10, "JobPath")],
    ),
    Case(
        "what is absent is logged as unchanged",
        "Running",
        [update(10, application_status="Step 1")],
        {"ApplicationStatus": "Step 1", **NOW},
        [("idem", "idem", "Step 1", 10, "Unknown")],
    ),
    Case(
        "staying is legal",
        "Running",
        [update(10, "Running", minor_status="Application")],
        {"Status": "Running", "MinorStatus": "Application", "StartExecTime": 10, **NOW},
        [("Running", "Application", "idem", 10, "Unknown")],
    ),
    Case(
        "a time equal to the last logged one is not older",
        "Received",
        [update(0, "Checking")],
        {"Status": "Checking", **NOW},
        [("Checking", "idem", "idem", 0, "Unknown")],
    ),
    Case(
        "older than the last logged: logged, and nothing else",
        "Running",
        [update(10, "Running", minor_status="late", application_status="late", source="Agent")],
        {},
        [("Running", "late", "late", 10, "Agent")],
        logged=[(0, "Received"), (60, "Running")],
        columns={"StartExecTime": column(at(60))},
    ),
    Case(
        "a part of a second older is older",
        "Running",
        [update(59.998, minor_status="late")],
        {},
        [("idem", "late", "idem", 59.998, "Unknown")],
        logged=[(59.999, "Running")],
    ),
    Case(
        "older than the last logged: times of start, end and heartbeat are still filled",
        "Stalled",
        [update(5, "Running", source="JobWrapper"), update(9, "Done", source="JobWrapper")],
        {"HeartBeatTime": 9, "StartExecTime": 5, "EndExecTime": 9},
        [("Running", "idem", "idem", 5, "JobWrapper"), ("Done", "idem", "idem", 9, "JobWrapper")],
        logged=[(60, "Stalled")],
    ),
    Case(
        "several in one call: in order of time, one result",
        "Received",
        [
            update(30, "Waiting", application_status="third"),
            update(10, "Checking", minor_status="first"),
            update(20, minor_status="second"),
        ],
        {"Status": "Waiting", "MinorStatus": "second", "ApplicationStatus": "third", **NOW},
        [
            ("Checking", "first", "idem", 10, "Unknown"),
            ("idem", "second", "idem", 20, "Unknown"),
            ("Waiting", "idem", "third", 30, "Unknown"),
        ],
    ),
    Case(
        "several in one call may lead where one step may not",
        "Received",
        [
            update(1, "Waiting"),
            update(2, "Matched"),
            update(3, "Running"),
            update(4, "Completing"),
            update(5, "Completed"),
            update(6, "Done"),
        ],
        {"Status": "Done", "StartExecTime": 3, "EndExecTime": 5, **NOW},
        [
            ("Waiting", "idem", "idem", 1, "Unknown"),
            ("Matched", "idem", "idem", 2, "Unknown"),
            ("Running", "idem", "idem", 3, "Unknown"),
            ("Completing", "idem", "idem", 4, "Unknown"),
            ("Completed", "idem", "idem", 5, "Unknown"),
            ("Done", "idem", "idem", 6, "Unknown"),
        ],
    ),
    Case(
        "force makes an illegal move",
        "Received",
        [update(10, "Done", source="Admin")],
        {"Status": "Done", "EndExecTime": 10, **NOW},
        [("Done", "idem", "idem", 10, "Admin")],
        force=True,
    ),
    Case(
        "Stalled counts as Running for the next move",
        "Stalled",
        [update(10, "Done", source="JobWrapper")],
        {"Status": "Done", "HeartBeatTime": 10, "EndExecTime": 10, **NOW},
        [("Done", "idem", "idem", 10, "JobWrapper")],
    ),
    Case(
        "a source that starts with Job is a sign of life",
        "Running",
        [update(10, minor_status="a", source="JobAgent@ce"), update(20, minor_status="b", source="Matcher")],
        {"MinorStatus": "b", "HeartBeatTime": 10, **NOW},
        [("idem", "a", "idem", 10, "JobAgent@ce"), ("idem", "b", "idem", 20, "Matcher")],
    ),
    Case(
        "so is the source Heartbeat",
        "Matched",
        [update(10, "Running", source="Heartbeat")],
        {"Status": "Running", "HeartBeatTime": 10, "StartExecTime": 10, **NOW},
        [("Running", "idem", "idem", 10, "Heartbeat")],
    ),
    Case(
        "other sources are not",
        "Running",
        [update(10, minor_status="a", source="Heartbeats"), update(11, minor_status="b", source="TheJob")],
        {"MinorStatus": "b", **NOW},
        [("idem", "a", "idem", 10, "Heartbeats"), ("idem", "b", "idem", 11, "TheJob")],
    ),
    *[
        Case(
            f"the first {status} sets EndExecTime",
            before,
            [update(10, status)],
            {"Status": status, "EndExecTime": 10, **NOW},
            [(status, "idem", "idem", 10, "Unknown")],
        )
        for status, before in [
            ("Done", "Running"),
            ("Completed", "Completing"),
            ("Failed", "Running"),
            ("Killed", "Running"),
        ]
    ],
    Case(
        "Deleted sets no EndExecTime",
        "Waiting",
        [update(10, "Deleted")],
        {"Status": "Deleted", **NOW},
        [("Deleted", "idem", "idem", 10, "Unknown")],
    ),
    Case(
        "times of start and end that are set stay",
        "Failed",
        [update(70, "Rescheduled"), update(71, "Received"), update(72, "Running"), update(73, "Failed")],
        {"Status": "Failed", **NOW},
        [
            ("Rescheduled", "idem", "idem", 70, "Unknown"),
            ("Received", "idem", "idem", 71, "Unknown"),
            ("Running", "idem", "idem", 72, "Unknown"),
            ("Failed", "idem", "idem", 73, "Unknown"),
        ],
        columns=DONE_AT_9,
        force=True,
    ),
    Case(
        "the last character that fits is logged, and no more",
        "Running",
        [update(10, application_status="a" * 255, source="s" * 40)],
        {"ApplicationStatus": "a" * 255, **NOW},
        [("idem", "idem", "a" * 255, 10, "s" * 32)],
    ),
    Case(
        "an illegal move is refused, its minor status is taken",
        "Received",
        [update(10, "Running", minor_status="Application", source="JobWrapper")],
        {"MinorStatus": "Application", "HeartBeatTime": 10, "StartExecTime": 10, **NOW},
        [("Received", "Application", "idem", 10, "JobWrapper(SM)")],
    ),
    Case(
        "a refused Done sets EndExecTime",
        "Waiting",
        [update(10, "Done")],
        {"EndExecTime": 10, **NOW},
        [("Waiting", "idem", "idem", 10, "Unknown(SM)")],
    ),
    Case(
        "the suffix counts among the 32 characters of a source",
        "Received",
        [update(10, "Running", source="s" * 30)],
        {"StartExecTime": 10, **NOW},
        [("Received", "idem", "idem", 10, "s" * 30 + "(S")],
    ),
    Case(
        "an update after a refused one is judged by the kept status",
        "Received",
        [update(10, "Running", source="a"), update(20, "Checking", source="b")],
        {"Status": "Checking", "StartExecTime": 10, **NOW},
        [("Received", "idem", "idem", 10, "a(SM)"), ("Checking", "idem", "idem", 20, "b")],
    ),
    Case(
        "a job that is Done is not killed",
        "Done",
        [update(10, "Killed")],
        {**NOW},
        [("Done", "idem", "idem", 10, "Unknown(SM)")],
        columns=DONE_AT_9,
    ),
    Case(
        "a refusal logs the status that the job then has",
        "Received",
        [update(10, "Checking", source="a"), update(20, "Running", source="b")],
        {"Status": "Checking", "StartExecTime": 20, **NOW},
        [("Checking", "idem", "idem", 10, "a"), ("Checking", "idem", "idem", 20, "b(SM)")],
    ),
    Case(
        "older than the last logged: logged as given, legal or not",
        "Running",
        [update(10, "Waiting", source="Agent")],
        {},
        [("Waiting", "idem", "idem", 10, "Agent")],
        logged=[(0, "Received"), (60, "Running")],
    ),
    Case(
        "of several, only those not older than the last logged count",
        "Running",
        [update(10, "Failed", minor_status="late"), update(70, application_status="Step 2")],
        {"ApplicationStatus": "Step 2", "EndExecTime": 10, **NOW},
        [("Failed", "late", "idem", 10, "Unknown"), ("idem", "idem", "Step 2", 70, "Unknown")],
        logged=[(60, "Running")],
    ),
    Case(
        "a Stalled job that reports anything is Running again",
        "Stalled",
        [update(10, minor_status="Application", source="JobWrapper")],
        {"Status": "Running", "MinorStatus": "Application", "HeartBeatTime": 10, **NOW},
        [("idem", "Application", "idem", 10, "JobWrapper")],
    ),
    Case(
        "a Stalled job whose move is refused is Running again",
        "Stalled",
        [update(10, "Waiting", source="Agent")],
        {"Status": "Running", **NOW},
        [("Running", "idem", "idem", 10, "Agent(SM)")],
    ),
]


# The same in DIRAC's own service: what JobStateUpdate of DIRAC 9.1.22 left on MariaDB, moved to our second 0.
STARTS_NOW = {"StartExecTime": True, "HeartBeatTime": True}

DIRAC_CASES = [
    Case(
        "a legal move is made",
        "Received",
        [update(10, "Checking", minor_status="JobPath", source="JobPath")],
        {"Status": "Checking", "MinorStatus": "JobPath", "HeartBeatTime": 10, **NOW},
        [("Checking", "JobPath", "idem", 10, "JobPath")],
    ),
    Case(
        "a start is now, a sign of life comes from the update",
        "Matched",
        [update(10, "Running", minor_status="min", source="JobX")],
        {"Status": "Running", "MinorStatus": "min", "StartExecTime": True, "HeartBeatTime": 10, **NOW},
        [("Running", "min", "idem", 10, "JobX")],
    ),
    Case(
        "a start is a sign of life itself, whoever says so",
        "Matched",
        [update(10, "Running", source="X")],
        {"Status": "Running", **STARTS_NOW, **NOW},
        [("Running", "idem", "idem", 10, "X")],
    ),
    Case(
        "an end is now",
        "Running",
        [update(10, "Done", minor_status="min", source="JobX")],
        {"Status": "Done", "MinorStatus": "min", "EndExecTime": True, "HeartBeatTime": 10, **NOW},
        [("Done", "min", "idem", 10, "JobX")],
        columns={"StartExecTime": column(at(5))},
    ),
    Case(
        "Killed is an end and no more: no command, no queue",
        "Running",
        [update(10, "Killed", minor_status="m", source="JobX")],
        {"Status": "Killed", "MinorStatus": "m", "EndExecTime": True, "HeartBeatTime": 10, **NOW},
        [("Killed", "m", "idem", 10, "JobX")],
    ),
    Case(
        "Deleted is no end",
        "Killed",
        [update(10, "Deleted", minor_status="m", source="JobX")],
        {"Status": "Deleted", "MinorStatus": "m", "HeartBeatTime": 10, **NOW},
        [("Deleted", "m", "idem", 10, "JobX")],
    ),
    Case(
        "the source Heartbeat is no sign of life",
        "Running",
        [update(10, minor_status="m", source="Heartbeat")],
        {"MinorStatus": "m", **NOW},
        [("idem", "m", "idem", 10, "Heartbeat")],
    ),
    Case(
        "a Stalled job that reports is Running",
        "Stalled",
        [update(10, minor_status="min", source="JobX")],
        {"Status": "Running", "MinorStatus": "min", "HeartBeatTime": 10, **NOW},
        [("idem", "min", "idem", 10, "JobX")],
    ),
    Case(
        "a Stalled job whose move is refused is Running",
        "Stalled",
        [update(10, "Waiting", minor_status="min", source="Agent")],
        {"Status": "Running", "MinorStatus": "min", **NOW},
        [("Running", "min", "idem", 10, "Agent(SM)")],
    ),
    Case(
        "a refused move starts and ends a job all the same",
        "Waiting",
        [update(10, "Running", minor_status="m", source="X"), update(11, "Done")],
        {"MinorStatus": "m", **STARTS_NOW, "EndExecTime": True, **NOW},
        [("Waiting", "m", "idem", 10, "X(SM)"), ("Waiting", "idem", "idem", 11, "Unknown(SM)")],
    ),
    Case(
        "a refused move without a source",
        "Done",
        [update(10, "Running", source="")],
        {**STARTS_NOW, **NOW},
        [("Done", "idem", "idem", 10, "(SM)")],
    ),
    Case(
        "an update without a source",
        "Running",
        [update(10, minor_status="m", source="")],
        {"MinorStatus": "m", **NOW},
        [("idem", "m", "idem", 10, "Unknown")],
    ),
    Case(
        "Deleted can be left for anything",
        "Deleted",
        [update(10, "Running", minor_status="m", source="S")],
        {"Status": "Running", "MinorStatus": "m", **STARTS_NOW, **NOW},
        [("Running", "m", "idem", 10, "S")],
    ),
    Case(
        "older than the last logged: the end is filled, the rest stays",
        "Running",
        [update(-10, "Done", minor_status="min", source="JobX")],
        {"EndExecTime": True, "HeartBeatTime": -10},
        [("Done", "min", "idem", -10, "JobX")],
    ),
    Case(
        "older than the last logged: logged as given, whatever it is",
        "Running",
        [update(-10, "Bogus", minor_status="min", source="JobX")],
        {"HeartBeatTime": -10},
        [("Bogus", "min", "idem", -10, "JobX")],
    ),
    Case(
        "forced and older is older",
        "Received",
        [update(-10, "Done", minor_status="App", source="Admin")],
        {"EndExecTime": True},
        [("Done", "App", "idem", -10, "Admin")],
        force=True,
    ),
    Case(
        "several in one call: the last of each text",
        "Waiting",
        [
            update(3, "Running", minor_status="c", application_status="", source="JobA"),
            update(1, "Matched", minor_status="a", source=""),
            update(2, application_status="bb", source="X"),
        ],
        {
            "Status": "Running",
            "MinorStatus": "c",
            "ApplicationStatus": "bb",
            "StartExecTime": True,
            "HeartBeatTime": 3,
            **NOW,
        },
        [
            ("Matched", "a", "idem", 1, "Unknown"),
            ("idem", "idem", "bb", 2, "X"),
            ("Running", "c", "idem", 3, "JobA"),
        ],
    ),
    Case(
        "a refused one among several",
        "Waiting",
        [
            update(1, "Running", source="JobA"),
            update(2, "Matched", minor_status="a", source=""),
            update(3, application_status="bb", source="X"),
        ],
        {
            "Status": "Matched",
            "MinorStatus": "a",
            "ApplicationStatus": "bb",
            "StartExecTime": True,
            "HeartBeatTime": 1,
            **NOW,
        },
        [
            ("Waiting", "idem", "idem", 1, "JobA(SM)"),
            ("Matched", "a", "idem", 2, "Unknown"),
            ("idem", "idem", "bb", 3, "X"),
        ],
    ),
    Case(
        "an old one among several fills times only",
        "Running",
        [
            update(-10, "Failed", minor_status="old", source="JobA"),
            update(2, application_status="bb", source="X"),
        ],
        {"ApplicationStatus": "bb", "EndExecTime": True, "HeartBeatTime": -10, **NOW},
        [("Failed", "old", "idem", -10, "JobA"), ("idem", "idem", "bb", 2, "X")],
    ),
    Case(
        "nothing at all is logged, and is an update",
        "Running",
        [update(1, source="")],
        {**NOW},
        [("idem", "idem", "idem", 1, "Unknown")],
    ),
    Case(
        "force makes an illegal move, also to a status that is none",
        "Received",
        [update(10, "Done", source="Admin"), update(11, "Bogus", source="Admin")],
        {"Status": "Bogus", "EndExecTime": True, **NOW},
        [("Done", "idem", "idem", 10, "Admin"), ("Bogus", "idem", "idem", 11, "Admin")],
        force=True,
    ),
    Case(
        "long texts that are only logged are cut",
        "Running",
        [update(-10, application_status="a" * 300, source="JobX" * 10)],
        {"HeartBeatTime": -10},
        [("idem", "idem", "a" * 255, -10, "JobX" * 8)],
    ),
    Case(
        "a job that was put to Running starts when it next reports",
        "Running",
        [update(9, minor_status="m", source="S")],
        {"MinorStatus": "m", **STARTS_NOW, **NOW},
        [("idem", "m", "idem", 9, "S")],
        logged=[(0, "Received"), (1, "Running")],
    ),
    Case(
        "it does not where something else was logged since",
        "Running",
        [update(9, minor_status="m", source="S")],
        {"MinorStatus": "m", **NOW},
        [("idem", "m", "idem", 9, "S")],
        logged=[(0, "Running"), (1, "idem")],
    ),
    Case(
        "nor where Running was logged in the same second a little later",
        "Running",
        [update(1.6, minor_status="m", source="S")],
        {"MinorStatus": "m", **NOW},
        [("idem", "m", "idem", 1.6, "S")],
        logged=[(0, "Received"), (1.5, "Running")],
    ),
    Case(
        "a job that was put to Done ends when it next reports",
        "Done",
        [update(9, minor_status="m", source="S")],
        {"MinorStatus": "m", "EndExecTime": True, **NOW},
        [("idem", "m", "idem", 9, "S")],
        logged=[(0, "Received"), (1, "Done")],
    ),
]
CASES += [
    # DiracX has the same rule (it shares the function), with the time of the update.
    Case(
        "a job that was put to Running starts when it next reports",
        "Running",
        [update(9, minor_status="m", source="S"), update(10, minor_status="n", source="S")],
        {"MinorStatus": "n", "StartExecTime": 9, **NOW},
        [("idem", "m", "idem", 9, "S"), ("idem", "n", "idem", 10, "S")],
        logged=[(0, "Received"), (1, "Running")],
    ),
    Case(
        "a status that is none cannot be moved to",
        "Running",
        [update(9, "Bogus", minor_status="m", source="S")],
        {"MinorStatus": "m", **NOW},
        [("Running", "m", "idem", 9, "S(SM)")],
    ),
]


def _dirac(case: Case) -> Case:
    return replace(case, policy=DIRAC)


@pytest.mark.parametrize(
    "case",
    [*CASES, *map(_dirac, DIRAC_CASES)],
    ids=lambda case: f"{'DIRAC' if case.policy is DIRAC else 'DiracX'}: {case.holds}",
)
async def test_a_status_update(hands: StatusHands, clock: Any, case: Case) -> None:
    """Answer, row and records are what the sheets and DIRAC itself make of it."""
    await hands.add(case.status, logged=case.logged, **case.columns)
    before = await hands.job()
    answer = await hands.set({1: case.updates}, force=case.force, policy=case.policy)
    now = clock.now.replace(microsecond=0)
    kept = {"Status": case.status} if "LastUpdateTime" in case.sets else {}
    sets = {
        name: now if value is True else at(value) if isinstance(value, int) else value
        for name, value in (kept | case.sets).items()
    }
    assert list(answer) == [1]
    assert answer[1] == {name: sets.get(name) for name in ANSWERED}
    stored = {name: column(value) if isinstance(value, datetime) else value for name, value in sets.items()}
    assert await hands.job() == {**before, **stored}
    assert await hands.records(after=len(case.logged)) == [
        (len(case.logged) + number, *texts, column(at(seconds)), source)
        for number, (*texts, seconds, source) in enumerate(case.logs, 1)
    ]


@pytest.mark.parametrize(
    ("holds", "given_updates", "problem"),
    [
        ("unknown", [update(1, "Bogus", source="S")], "getNextState: 'Bogus' is not a valid state"),
        ("the log's own word", [update(1, "idem")], "getNextState: 'idem' is not a valid state"),
        (
            "among others",
            [update(1, "Bogus"), update(2, "Done")],
            "getNextState: 'Bogus' is not a valid state",
        ),
    ],
)
async def test_dirac_refuses_a_status_that_is_none(
    hands: StatusHands, contents: Any, holds: str, given_updates: list[StatusUpdate], problem: str
) -> None:
    """In the service's words; no other job of the call changes."""
    await hands.add("Running", "Running", logged=[(0, "Received")])
    before = await contents()
    with pytest.raises(Refusal) as caught:
        await hands.set({1: [update(1, "Done")], 2: given_updates}, policy=DIRAC)
    assert (caught.value.message, caught.value.errno) == (problem, 0)
    assert await contents() == before


async def test_dirac_refuses_a_job_without_history(hands: StatusHands, contents: Any) -> None:
    """Even where nothing could go wrong with the update."""
    await hands.add("Running")
    before = await contents()
    with pytest.raises(Refusal, match="^No Logging Info for job 1$"):
        await hands.set({1: [update(1, minor_status="m")]}, policy=DIRAC)
    assert await contents() == before


@pytest.mark.parametrize(
    ("name", "late", "change"),
    [
        ("MinorStatus", False, {"minor_status": "m" * 129}),
        ("MinorStatus", True, {"minor_status": "m" * 129}),
        ("ApplicationStatus", False, {"application_status": "a" * 256}),
        ("Status", False, {"status": "s" * 33}),
    ],
)
async def test_dirac_refuses_long_texts(
    hands: StatusHands, contents: Any, name: str, late: bool, change: dict[str, str]
) -> None:
    """A text longer than its column; one that is only logged is too, but for an ApplicationStatus."""
    await hands.add("Running", logged=[(0, "Received")])
    before = await contents()
    with pytest.raises(InvalidValue) as caught:
        await hands.set({1: [update(-1 if late else 1, **change)]}, policy=DIRAC, force=True)
    assert (caught.value.column, caught.value.problem) == (name, "too long")
    assert await contents() == before


async def test_dirac_does_not_stop_jobs_by_status(hands: StatusHands) -> None:
    """setJobStatus leaves the queue and sends no command; killJob does."""
    await hands.add("Waiting", logged=[(0, "Received")])
    await hands.queue(1)
    await hands.set({1: [update(1, "Killed")]}, policy=DIRAC)
    assert (await hands.statuses(), await hands.queued(), await hands.commands()) == (["Killed"], [1], [])


@pytest.mark.parametrize(
    ("updates", "answer"),
    [
        ([update(1, "Done", minor_status="min")], (["MinorStatus"], ["min"])),
        (
            [update(1, minor_status="a"), update(2, "Done", application_status="b")],
            (["MinorStatus", "ApplicationStatus"], ["a", "b"]),
        ),
        ([update(1, "Done")], ([], [])),
        ([update(-1, "Done", minor_status="min")], ([], [])),
    ],
    ids=["minor", "both", "status only", "old"],
)
def test_what_dirac_answers(updates: list[StatusUpdate], answer: tuple[list[str], list[str]]) -> None:
    """The names and values of what was set, but for the status."""
    job = Job(1, "Running", None, None)
    order = at(0).timestamp() - 1270000000
    outcome = apply_updates(job, updates, {"Running": order}, policy=DIRAC, force=False, now=at(100))
    assert dirac_answer(outcome.change) == answer


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21 20:59:57", datetime(2026, 11, 21, 20, 59, 57, tzinfo=UTC)),
        ("2026-11-21 20:59:57.758499", datetime(2026, 11, 21, 20, 59, 57, 758499, tzinfo=UTC)),
        ("2026-11-21 20:59:57.000001", datetime(2026, 11, 21, 20, 59, 57, 1, tzinfo=UTC)),
        ("2026-11-21 20:59:57.5", datetime(2026, 11, 21, 20, 59, 57, 500000, tzinfo=UTC)),
    ],
)
def test_a_time_of_dirac_s(text: str, moment: datetime) -> None:
    """Whole seconds and microseconds, as str() writes a datetime."""
    assert dirac_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-21T20:59:57", "2026-11-21", "2026-13-01 00:00:00", "\u0662026-11-21 20:59:57"],
)
def test_no_time_of_dirac_s(text: str) -> None:
    """DIRAC's code trips over any other text, after it has changed the job; here nothing is changed."""
    with pytest.raises(UnfitArgument, match="^'NoneType' object is not iterable$"):
        dirac_moment(text)


# The machine, against a model that is written from the sheet

ALLOWED = {
    "Submitting": "Received Checking Deleted Killed",
    "Received": "Checking Scouting Staging Waiting Failed Deleted Killed",
    "Checking": "Scouting Staging Waiting Rescheduled Failed Deleted Killed",
    "Scouting": "Checking Stalled Failed Killed",
    "Staging": "Checking Waiting Failed Killed",
    "Waiting": "Matched Rescheduled Deleted Killed",
    "Matched": "Running Failed Rescheduled Killed",
    "Rescheduled": "Waiting Received Deleted Failed Killed",
    "Running": "Stalled Done Failed Rescheduled Completing Killed Received",
    "Stalled": "Running Failed Killed",
    "Completing": "Done Failed Completed Stalled Killed",
    "Completed": "Done Failed",
    "Done": "Deleted",
    "Failed": "Rescheduled Deleted",
    "Killed": "Deleted",
}


class Model:
    """One job, an update at a time."""

    def __init__(self, status: str, last: int, force: bool) -> None:
        self.status = "Running" if status == "Stalled" else status
        self.last, self.force = last, force
        self.minor: str | None = None
        self.touched = False
        self.log: list[tuple[str, str, bool]] = []

    def take(self, second: int, status: str | None, minor: str | None) -> None:
        """What the sheet says of one update."""
        refused = False
        if second >= self.last:
            self.touched = True
            self.minor = minor or self.minor
            if status:
                free = self.status == "Deleted" or status in (self.status, *ALLOWED[self.status].split())
                refused = not (free or self.force)
                self.status = self.status if refused else status
        shown = (self.status if refused else status) or "idem"
        self.log.append((shown, minor or "idem", refused))


STATES = some.sampled_from(JOB_STATES)


@given(
    status=STATES,
    last=some.integers(-3, 3),
    reports=some.dictionaries(
        some.integers(-5, 9), some.tuples(some.none() | STATES, some.none() | some.just("m")), max_size=6
    ),
    force=some.booleans(),
    policy=some.sampled_from([DIRAC, DIRACX]),
)
def test_any_updates_of_any_job(
    status: str,
    last: int,
    reports: dict[int, tuple[str | None, str | None]],
    force: bool,
    policy: Policy,
) -> None:
    """Status, minor status and records are the model's, in whatever order the updates come."""
    model = Model(status, last, force)
    for second in sorted(reports):
        model.take(second, *reports[second])
    updates = [
        StatusUpdate(at(second), state, minor, source="S") for second, (state, minor) in reports.items()
    ]
    history = {"Received": at(last).timestamp() - 1270000000}
    job = Job(1, status, at(0), at(0))
    outcome = apply_updates(job, updates, history, policy=policy, force=force, now=at(0))
    assert outcome.change["Status"] == (model.status if model.touched else None)
    assert outcome.change["MinorStatus"] == model.minor
    assert (outcome.change["LastUpdateTime"] is not None) == model.touched
    logged = [
        (each["Status"], each["MinorStatus"], each["StatusSource"] == "S(SM)") for each in outcome.records
    ]
    assert logged == model.log
    assert [each["StatusTime"] for each in outcome.records] == [column(at(each)) for each in sorted(reports)]


async def test_a_job_without_history(hands: StatusHands) -> None:
    """Any time is new to a job of which nothing was logged; its records count from 1."""
    await hands.add("Received")
    answer = await hands.set({1: [update(-(10**6), "Checking")]})
    assert answer[1]["Status"] == "Checking"
    assert [record[:2] for record in await hands.records()] == [(1, "Checking")]


async def test_jobs_that_are_not_there_are_left_out(hands: StatusHands, contents: Any) -> None:
    """Nothing is answered and nothing logged for unknown jobs; one without an update is left as it is."""
    await hands.add("Received", "Received")
    before = await contents()
    assert await hands.set({99: [update(1, "Checking")], 2: []}) == {2: dict.fromkeys(ANSWERED)}
    assert await hands.set({}) == {}
    assert await contents() == before
    assert list(await hands.set({99: [update(1, "Checking")], 1: [update(1, "Checking")]})) == [1]


async def test_each_job_gets_its_own(hands: StatusHands) -> None:
    """Jobs of one call with the same and with different columns do not mix."""
    await hands.add("Received", "Received", "Running", "Running", logged=[(0, "x")])
    await hands.set(
        {
            4: [update(4, minor_status="four")],
            1: [update(1, "Checking")],
            2: [update(2, "Waiting")],
            3: [update(3, "Done", minor_status="three")],
        }
    )
    rows = [await hands.job(number) for number in (1, 2, 3, 4)]
    assert [(row["Status"], row["MinorStatus"]) for row in rows] == [
        ("Checking", "Unknown"),
        ("Waiting", "Unknown"),
        ("Done", "three"),
        ("Running", "four"),
    ]
    assert [row["EndExecTime"] for row in rows] == [None, None, column(at(3)), None]
    assert [(await hands.records(number, after=1))[0][4] for number in (1, 2, 3, 4)] == [
        column(at(number)) for number in (1, 2, 3, 4)
    ]


async def test_times_of_any_zone_are_stored_as_utc(databases: Databases, hands: StatusHands) -> None:
    """The order column keeps milliseconds since 1270000000, the time column whole seconds."""
    await hands.add("Received")
    moment = datetime.fromisoformat("2026-11-21T21:59:57.758499+01:00")
    await hands.set({1: [StatusUpdate(moment, "Checking", source="JobWrapper")]})
    async with databases.unit_of_work() as work:
        c = LoggingInfo.c
        [row] = await work.rows(JOB_LOGGING_DB, select(c.StatusTime, c.StatusTimeOrder))
    assert (row[0], float(row[1])) == (datetime.fromisoformat("2026-11-21T20:59:57"), 525294797.758)
    assert (await hands.job())["HeartBeatTime"] == datetime.fromisoformat("2026-11-21T20:59:57")


async def test_the_numbers_of_records_continue(hands: StatusHands) -> None:
    """SeqNum goes on from the highest, also where a record is older than the others."""
    await hands.add("Received", logged=[(0, "Received"), (50, "idem"), (60, "idem")])
    await hands.set({1: [update(70, "Checking")]})
    await hands.set({1: [update(20, minor_status="late"), update(10, minor_status="later")]})
    records = await hands.records(after=3)
    assert [(number, status, minor) for number, status, minor, *_ in records] == [
        (4, "Checking", "idem"),
        (5, "idem", "later"),
        (6, "idem", "late"),
    ]


@pytest.mark.parametrize(
    ("name", "size", "change"),
    [
        ("MinorStatus", 128, {"minor_status": "m" * 129}),
        ("ApplicationStatus", 255, {"application_status": "a" * 256}),
    ],
)
async def test_no_text_is_longer_than_its_column(
    hands: StatusHands, name: str, size: int, change: dict[str, str]
) -> None:
    """A text that DIRAC's column cannot hold is refused or cut, not stored."""
    await hands.add("Running")
    with contextlib.suppress(InvalidValue):
        await hands.set({1: [update(10, **change)]})
    assert len((await hands.job())[name]) <= size


# Jobs that are stopped


@pytest.mark.parametrize("status", ["Killed", "Deleted"])
async def test_a_stopped_job_leaves_its_queue_and_is_told(
    hands: StatusHands, clock: Any, status: str
) -> None:
    """Its Kill command waits for the next heartbeat; other jobs stay where they are."""
    await hands.add("Waiting", "Waiting", "Waiting", "Done")
    await hands.queue(1, 2, 3)
    await hands.set({1: [update(1, status)], 2: [update(1, "Matched")], 4: [update(1, "Killed")]})
    assert await hands.queued() == [2, 3]
    assert await hands.commands() == [(1, clock.column, "Kill", "", "Received", None)]


async def test_a_job_is_told_once_in_a_second(hands: StatusHands, clock: Any) -> None:
    """A second command in the same second would break the key; it is as good as the first."""
    await hands.add("Running")
    await hands.set({1: [update(1, "Killed")]})
    await hands.set({1: [update(2, "Deleted")]})
    assert len(await hands.commands()) == 1
    assert await hands.statuses() == ["Deleted"]
    clock.advance(1)
    await hands.set({1: [update(3, "Killed")]}, force=True)
    assert len(await hands.commands()) == 2


async def test_a_late_kill_stops_nothing(hands: StatusHands) -> None:
    """A Killed that is older than the last record neither sends a command nor empties the queue."""
    await hands.add("Waiting", logged=[(60, "Waiting")])
    await hands.queue(1)
    await hands.set({1: [update(10, "Killed")]})
    assert (await hands.statuses(), await hands.queued(), await hands.commands()) == (["Waiting"], [1], [])


# History


async def test_idem_is_resolved_from_the_record_before(hands: StatusHands) -> None:
    """Records come in order of time, not of number, and nothing of one job reaches another."""
    await hands.add("Received", "Received")
    await hands.set({1: [update(10, "Received", minor_status="Job accepted", source="JobManager")]})
    await hands.set({2: [update(10, minor_status="alone")]})
    await hands.set({1: [update(30.5, application_status="Step 1", source="JobWrapper")]})
    await hands.set({1: [update(30.25, "Checking")]})
    assert await hands.history(1, 2, 99) == {
        1: [
            {
                "Status": "Received",
                "MinorStatus": "Job accepted",
                "ApplicationStatus": "Unknown",
                "StatusTime": at(10),
                "Source": "JobManager",
            },
            {
                "Status": "Checking",
                "MinorStatus": "Job accepted",
                "ApplicationStatus": "Unknown",
                "StatusTime": at(30),
                "Source": "Unknown",
            },
            {
                "Status": "Checking",
                "MinorStatus": "Job accepted",
                "ApplicationStatus": "Step 1",
                "StatusTime": at(30),
                "Source": "JobWrapper",
            },
        ],
        2: [
            {
                "Status": "Unknown",
                "MinorStatus": "alone",
                "ApplicationStatus": "Unknown",
                "StatusTime": at(10),
                "Source": "Unknown",
            }
        ],
    }


async def test_a_job_without_records_has_no_history(hands: StatusHands) -> None:
    """It is left out, as an unknown job is."""
    await hands.add("Received")
    assert await hands.history(1, 99) == {}


# The numbers of records


async def test_records_are_numbered_by_the_database(hands: StatusHands) -> None:
    """From 1 for each job in the order of insertion, whatever number is given."""
    record = {"StatusTime": column(at(0)), "StatusTimeOrder": 1.0}
    await hands.insert(LoggingInfo, *[{"JobID": job, "Status": f"{job}", **record} for job in (1, 2, 1, 1)])
    await hands.insert(LoggingInfo, {"JobID": 1, "SeqNum": 77, "Status": "given", **record})
    await hands.insert(LoggingInfo, {"JobID": 2, "SeqNum": -1, "Status": "given", **record})
    await hands.insert(LoggingInfo, {"JobID": 1, "SeqNum": 0, "Status": "last", **record})
    c = LoggingInfo.c
    assert await hands.read(c.JobID, c.SeqNum, c.Status) == [
        (1, 1, "1"),
        (1, 2, "1"),
        (1, 3, "1"),
        (1, 4, "given"),
        (1, 5, "last"),
        (2, 1, "2"),
        (2, 2, "given"),
    ]


# Several writers


async def test_many_write_to_the_same_jobs_at_once(hands: StatusHands) -> None:
    """They come one after the other, in whatever order each names the jobs: every update is logged once."""
    ids = await hands.add(*["Running"] * 5, logged=[(0, "Running")])
    writers = [
        hands.set(
            {each: [update(number, minor_status=f"m{number}")] for each in ids[:: 1 if number % 2 else -1]},
            policy=DIRAC if number % 3 else DIRACX,
        )
        for number in range(1, 9)
    ]
    await asyncio.gather(*writers)
    for each in ids:
        records = await hands.records(each, after=1)
        assert [record[0] for record in records] == list(range(2, 10))
        assert {record[2] for record in records} == {f"m{number}" for number in range(1, 9)}
        assert (await hands.job(each))["MinorStatus"] == "m8"


# Cost


async def test_the_number_of_statements_does_not_grow(
    hands: StatusHands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same number of statements, whatever is done with them."""
    moves = ["Done", "Killed", "Failed", "Stalled"]
    costs: list[list[int]] = []
    for number in (10, 1000):
        ids = await hands.add(*["Running"] * number, logged=[(0, "Received"), (1, "Running")])
        updates = {
            each: [update(20, moves[each % 4], minor_status="m"), update(10, source="JobWrapper")]
            for each in ids
        }
        cost = []
        for action in (
            hands.set(updates),
            hands.history(*ids),
            hands.set({each: [update(30, minor_status="n")] for each in ids}, policy=DIRAC),
        ):
            statements.clear()
            await action
            cost.append(len(statements))
        costs.append(cost)
    assert costs[0] == costs[1]
    assert {(await hands.job(each))["MinorStatus"] for each in ids[:8]} == {"n"}
