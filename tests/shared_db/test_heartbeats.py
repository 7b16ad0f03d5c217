"""Heartbeats and the commands that answer them (legacy-methods.md, 5; rest-diracx.md, 6.5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from job_hands import Hands, at, column

from shared_db.connection import Databases, UnitOfWork
from shared_db.errors import InvalidValue
from shared_db.queries.commands import Command, deliver_commands, queue_commands
from shared_db.queries.heartbeats import Answer, add_heartbeats, heartbeat_data
from shared_db.queries.parameters import job_parameters
from shared_db.rules.heartbeats import HeartBeat, dirac_beat, measurements
from shared_db.rules.job_states import JOB_STATES
from shared_db.rules.status_updates import DIRAC, DIRACX, Policy
from shared_db.schema.job_db import HeartBeatLoggingInfo, JobCommands

BOTH = pytest.mark.parametrize("policy", [DIRAC, DIRACX], ids=["DIRAC", "DiracX"])
NOTHING = Answer([], [])


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


class BeatingHands(Hands):
    """Sends heartbeats."""

    async def beat(self, beats: dict[int, HeartBeat], policy: Policy) -> Answer:
        """``add_heartbeats`` in a unit of work of its own."""
        return await self.run(add_heartbeats, beats, policy=policy)

    async def noted(self) -> list[tuple[Any, ...]]:
        """The measurements that were kept."""
        c = HeartBeatLoggingInfo.c
        return await self.read(c.JobID, c.Name, c.Value, c.HeartBeatTime)


@pytest.fixture
def hands(databases: Databases) -> BeatingHands:
    """Hands in this test's database."""
    return BeatingHands(databases)


@pytest.mark.parametrize("status", JOB_STATES)
async def test_dirac_s_heartbeat_means_running(hands: BeatingHands, clock: Any, status: str) -> None:
    """Whatever the job was, it is Running now; nothing is logged and no other time changes."""
    await hands.add(status, logged=[(0, "Received")])
    before = await hands.job()
    assert await hands.beat({1: HeartBeat({"CPUConsumed": 12.5})}, DIRAC) == NOTHING
    assert await hands.job() == {**before, "Status": "Running", "HeartBeatTime": clock.column}
    assert len(await hands.records()) == 1


@pytest.mark.parametrize("status", JOB_STATES)
async def test_dirac_s_heartbeat_with_a_time_of_its_own(hands: BeatingHands, clock: Any, status: str) -> None:
    """Only a Matched or Stalled job becomes Running by it; the measurements are of now."""
    await hands.add(status, logged=[(0, "Received")], HeartBeatTime=column(at(60)))
    before = await hands.job()
    await hands.beat({1: HeartBeat({"CPUConsumed": 12.5}, moment=at(30.75))}, DIRAC)
    woken = {"Status": "Running", "LastUpdateTime": clock.column} if status in ("Matched", "Stalled") else {}
    assert await hands.job() == {**before, "HeartBeatTime": column(at(30)), **woken}
    assert await hands.noted() == [(1, "CPUConsumed", "12.5", clock.column)]
    assert len(await hands.records()) == 1


@pytest.mark.parametrize("status", JOB_STATES)
async def test_diracx_s_heartbeat(hands: BeatingHands, clock: Any, status: str) -> None:
    """A Matched or Stalled job becomes Running by a logged update; any other only shows a sign of life."""
    await hands.add(status, logged=[(0, "Received")])
    before = await hands.job()
    assert await hands.beat({1: HeartBeat({"CPUConsumed": 12.5})}, DIRACX) == NOTHING
    woken = {"Status": "Running", "LastUpdateTime": clock.column, "StartExecTime": clock.column}
    change = woken if status in ("Matched", "Stalled") else {}
    assert await hands.job() == {**before, "HeartBeatTime": clock.column, **change}
    logged = [(2, "Running", "idem", "idem", clock.column, "Heartbeat")] if change else []
    assert await hands.records(after=1) == logged


async def test_diracx_s_heartbeat_obeys_the_rule_of_time(hands: BeatingHands, clock: Any) -> None:
    """A record in the future keeps a job from waking; the sign of life is seen."""
    await hands.add("Matched", logged=[(10**6, "Matched")], StartExecTime=column(at(0)))
    before = await hands.job()
    await hands.beat({1: HeartBeat()}, DIRACX)
    assert await hands.job() == {**before, "HeartBeatTime": clock.column}


@BOTH
async def test_measurements_and_parameters(hands: BeatingHands, clock: Any, policy: Policy) -> None:
    """Both are kept as texts, each job's own; they can be read in order of time."""
    await hands.add("Running", "Running")
    await hands.beat(
        {
            2: HeartBeat({"LoadAverage": "0.3"}, {"StandardOutput": "done 1\ndone 2"}),
            1: HeartBeat({"CPUConsumed": 12.5, "Vsize": 7}),
        },
        policy,
    )
    clock.advance(60)
    await hands.beat({1: HeartBeat({"CPUConsumed": 13})}, policy)
    first = datetime.fromisoformat("2026-11-21T12:00:00+00:00")
    second = datetime.fromisoformat("2026-11-21T12:01:00+00:00")
    assert await hands.run(heartbeat_data, [1, 2, 99]) == {
        1: [("CPUConsumed", "12.5", first), ("Vsize", "7", first), ("CPUConsumed", "13", second)],
        2: [("LoadAverage", "0.3", first)],
    }
    assert await hands.run(job_parameters, [1, 2]) == {2: {"StandardOutput": "done 1\ndone 2"}}


@BOTH
async def test_two_heartbeats_in_a_second(hands: BeatingHands, clock: Any, policy: Policy) -> None:
    """What was noted first stays, and what is new is noted beside it."""
    await hands.add("Running", "Running")
    await hands.beat({1: HeartBeat({"a": 1, "b": 2})}, policy)
    await hands.beat({1: HeartBeat({"c": 3, "a": 9, "d": 4}), 2: HeartBeat({"a": 5})}, policy)
    noted = [(1, "a", "1"), (1, "b", "2"), (1, "c", "3"), (1, "d", "4"), (2, "a", "5")]
    assert await hands.noted() == [(*each, clock.column) for each in noted]


@BOTH
async def test_unknown_jobs_are_named(hands: BeatingHands, policy: Policy) -> None:
    """The others of the call are noted."""
    await hands.add("Running")
    assert await hands.beat({99: HeartBeat({"a": 1}, {"p": "v"}), 1: HeartBeat()}, policy) == Answer([], [99])
    assert await hands.noted() == []
    assert (await hands.job())["HeartBeatTime"] is not None


async def test_a_database_without_parameters(hands: BeatingHands, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are then the caller's to keep."""
    await hands.add("Running")
    with monkeypatch.context() as without:
        without.setattr(UnitOfWork, "has", lambda _, table: table.name != "JobParameters")
        await hands.beat({1: HeartBeat({}, {"p": "v"})}, DIRAC)
    assert await hands.run(job_parameters, [1]) == {}


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ({}, None),
        ({"HeartBeatTime": None}, None),
        ({"HeartBeatTime": "2026-05-05 05:05:05"}, datetime(2026, 5, 5, 5, 5, 5, tzinfo=UTC)),
        ({"HeartBeatTime": "2026-05-05 05:05:05.999"}, datetime(2026, 5, 5, 5, 5, 5, tzinfo=UTC)),
        ({"HeartBeatTime": column(at(7))}, at(7)),
    ],
)
def test_a_heartbeat_of_dirac_s(given: dict[str, Any], moment: datetime | None) -> None:
    """Its own moment is no measurement; static data are texts."""
    assert dirac_beat({"a": 1, **given}, {"p": 2}) == HeartBeat({"a": 1}, {"p": "2"}, moment)


def test_a_heartbeat_of_no_time() -> None:
    """A time that cannot be read: nothing is kept of such a heartbeat."""
    assert dirac_beat({"a": 1, "HeartBeatTime": "yesterday"}, {"p": "v"}) is None


def test_measurements_that_cannot_be_kept() -> None:
    """They are left out and do not spoil the others."""
    given = {
        "none": None,
        "n" * 101: 1,
        "n" * 100: 1,
        "long": "v" * 65_536,
        "bytes": "\u00e9" * 32_768,
        "fits": "v" * 65_535,
        "zero": "\0",
        "lone": "\ud800",
        "yes": True,
        "list": [1],
        5: 1e30,
    }
    assert measurements(given) == {  # type: ignore[arg-type]
        "n" * 100: "1",
        "fits": "v" * 65_535,
        "yes": "True",
        "list": "[1]",
        "5": "1e+30",
    }


# Commands


@BOTH
async def test_commands_are_delivered_once(hands: BeatingHands, policy: Policy) -> None:
    """In the order in which they came; those of other jobs wait on."""
    await hands.add("Running", "Running", "Running")
    rows = [
        (1, "Kill", "", 0, "Received"),
        (1, "Peek", "x", 1, "Received"),
        (1, "Kill", "again", 2, "Received"),
        (1, "Run", "z", -100, "Received"),
        (1, "Old", "", -200, "Sent"),
        (2, "Kill", "", 0, "Received"),
        (3, "Kill", "", 0, "Received"),
    ]
    names = ("JobID", "Command", "Arguments", "ReceptionTime", "Status")
    commands = [dict(zip(names, row, strict=True)) for row in rows]
    await hands.insert(
        JobCommands, *[{**row, "ReceptionTime": column(at(row["ReceptionTime"]))} for row in commands]
    )
    answer = await hands.beat({3: HeartBeat(), 1: HeartBeat()}, policy)
    assert answer.commands == [
        Command(1, "Run", "z"),
        Command(1, "Kill", ""),
        Command(1, "Peek", "x"),
        Command(1, "Kill", "again"),
        Command(3, "Kill", ""),
    ]
    assert await hands.beat({3: HeartBeat(), 1: HeartBeat()}, policy) == NOTHING
    c = JobCommands.c
    assert {(row[0], row[1]) for row in await hands.read(c.JobID, c.Status)} == {
        (1, "Sent"),
        (2, "Received"),
        (3, "Sent"),
    }
    assert {row[5] for row in await hands.commands()} == {None}


async def test_the_same_arguments_once_in_a_second(hands: BeatingHands, clock: Any) -> None:
    """A command that would meet the key is named and not queued; the others are."""
    await hands.add("Running", "Running")
    first = [Command(1, "Kill"), Command(1, "Peek"), Command(2, "Kill", "now")]
    assert await hands.run(queue_commands, first) == [Command(1, "Peek")]
    again = [Command(1, "Peek"), Command(2, "Kill"), Command(2, "Kill", "now")]
    assert await hands.run(queue_commands, again) == [Command(1, "Peek"), Command(2, "Kill", "now")]
    clock.advance(1)
    assert await hands.run(queue_commands, [Command(1, "Peek")]) == []
    assert await hands.run(queue_commands, []) == []
    assert await hands.run(deliver_commands, [1, 2]) == [
        Command(1, "Kill"),
        Command(1, "Peek"),
        Command(2, "Kill"),
        Command(2, "Kill", "now"),
    ]


async def test_a_command_that_does_not_fit(hands: BeatingHands, contents: Any) -> None:
    """It is refused, with all others of the call."""
    await hands.add("Running")
    before = await contents()
    with pytest.raises(InvalidValue, match="Arguments"):
        await hands.run(queue_commands, [Command(1, "Kill"), Command(1, "Kill", "a" * 101)])
    assert await contents() == before


@BOTH
async def test_the_number_of_statements_does_not_grow(
    hands: BeatingHands, statements: list[tuple[str, Any]], policy: Policy
) -> None:
    """Ten jobs and a thousand cost the same number of statements."""
    costs = []
    for number in (10, 1000):
        ids = await hands.add(*["Matched", "Running"] * (number // 2), logged=[(0, "Received")])
        await hands.run(queue_commands, [Command(each, "Kill") for each in ids])
        statements.clear()
        beats = {each: HeartBeat({"a": each, "b": 1}, {"StandardOutput": "x"}) for each in ids}
        assert len((await hands.beat(beats, policy)).commands) == number
        costs.append(len(statements))
    assert costs[0] == costs[1]
