"""Jobs: attributes, killing, status updates (rest-diracx.md, 6.4) and the history that they leave."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shared_db.connection import Databases
from shared_db.errors import InvalidValue
from shared_db.queries import jobs as queries
from shared_db.queries.jobs import StatusUpdate
from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs, tq_TaskQueues

# Second 0 of the tests; the clock stands at noon, two hours later.
START = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
ANSWERED = (
    "Status",
    "MinorStatus",
    "ApplicationStatus",
    "HeartBeatTime",
    "StartExecTime",
    "EndExecTime",
    "LastUpdateTime",
)


def at(seconds: float) -> datetime:
    """An aware time."""
    return START + timedelta(seconds=seconds)


def column(moment: datetime) -> datetime:
    """The same as DIRAC's columns hold it."""
    return moment.replace(tzinfo=None, microsecond=0)


def update(seconds: float, status: str | None = None, **other: Any) -> StatusUpdate:
    """What a job reports at some second."""
    return StatusUpdate(at(seconds), status, **other)


class Hands:
    """Puts jobs into the database and reads them back."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases

    async def add(self, *statuses: str, logged: Sequence[tuple[float, str]] = (), **columns: Any) -> None:
        """Add jobs (ids count from 1) in these statuses, each with records of the same history."""
        async with self.databases.unit_of_work(write=True) as work:
            first = len(await work.rows(JOB_DB, select(Jobs.c.JobID))) + 1
            ids = range(first, first + len(statuses))
            await work.change(
                JOB_DB,
                JobJDLs.insert(),
                [{"JobID": each, "JDL": "", "JobRequirements": "", "OriginalJDL": ""} for each in ids],
            )
            rows = [
                {"JobID": each, "Status": status, **columns}
                for each, status in zip(ids, statuses, strict=True)
            ]
            await work.change(JOB_DB, Jobs.insert(), rows)
            records = [self._record(each, n, *entry) for each in ids for n, entry in enumerate(logged, 1)]
            if records:
                await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), records)

    @staticmethod
    def _record(job_id: int, number: int, seconds: float, status: str, minor: str = "idem") -> dict[str, Any]:
        return {
            "JobID": job_id,
            "SeqNum": number,
            "Status": status,
            "MinorStatus": minor,
            "ApplicationStatus": "idem",
            "StatusTime": column(at(seconds)),
            "StatusTimeOrder": round(at(seconds).timestamp() - 1270000000, 3),
            "StatusSource": "JobManager",
        }

    async def queue(self, *job_ids: int) -> None:
        """Put jobs into a task queue."""
        async with self.databases.unit_of_work(write=True) as work:
            queue = {"Owner": "o", "OwnerGroup": "g", "VO": "v", "CPUTime": 360, "Priority": 1.0}
            await work.change(TASK_QUEUE_DB, tq_TaskQueues.insert().values(TQId=1, **queue))
            rows = [{"TQId": 1, "JobId": each, "Priority": 1, "RealPriority": 1.0} for each in job_ids]
            await work.change(TASK_QUEUE_DB, tq_Jobs.insert(), rows)

    async def _read(self, database: str, *columns: Any) -> list[tuple[Any, ...]]:
        async with self.databases.unit_of_work() as work:
            return [tuple(row) for row in await work.rows(database, select(*columns).order_by(*columns[:2]))]

    async def job(self, job_id: int = 1) -> dict[str, Any]:
        """A job's row."""
        [row] = [row for row in await self._read(JOB_DB, *Jobs.columns) if row[0] == job_id]
        return dict(zip(Jobs.columns.keys(), row, strict=True))

    async def statuses(self) -> list[str]:
        """The statuses of all jobs."""
        return [status for _, status in await self._read(JOB_DB, Jobs.c.JobID, Jobs.c.Status)]

    async def queued(self) -> list[int]:
        """Which jobs are in a task queue."""
        return [job_id for (job_id,) in await self._read(TASK_QUEUE_DB, tq_Jobs.c.JobId)]

    async def commands(self) -> list[tuple[Any, ...]]:
        """The commands sent to jobs, without those columns that no test changes."""
        c = JobCommands.c
        return await self._read(
            JOB_DB, c.JobID, c.ReceptionTime, c.Command, c.Arguments, c.Status, c.ExecutionTime
        )

    async def records(self, job_id: int = 1, after: int = 0) -> list[tuple[Any, ...]]:
        """A job's logging records in their stored form, those with a higher number."""
        c = LoggingInfo.c
        rows = await self._read(
            JOB_LOGGING_DB,
            c.JobID,
            c.SeqNum,
            c.Status,
            c.MinorStatus,
            c.ApplicationStatus,
            c.StatusTime,
            c.StatusSource,
        )
        return [row[1:] for row in rows if row[0] == job_id and row[1] > after]

    async def set(self, updates: Mapping[int, Sequence[StatusUpdate]], *, force: bool = False) -> Any:
        """``set_job_statuses`` in a unit of work of its own."""
        async with self.databases.unit_of_work(write=True) as work:
            return await queries.set_job_statuses(work, updates, force=force)

    async def kill(self, *job_ids: int) -> list[int]:
        """``kill_jobs`` in a unit of work of its own."""
        async with self.databases.unit_of_work(write=True) as work:
            return await queries.kill_jobs(work, job_ids)

    async def history(self, *job_ids: int) -> dict[int, list[dict[str, Any]]]:
        """``logging_by_job`` in a unit of work of its own."""
        async with self.databases.unit_of_work() as work:
            return await queries.logging_by_job(work, job_ids)


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr(queries, "utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> Hands:
    """Hands in this test's database."""
    return Hands(databases)


# Attributes


async def test_attributes_of_the_jobs_that_exist(databases: Databases, hands: Hands) -> None:
    """The id and the wanted columns, by ascending id; unknown jobs are left out."""
    await hands.add("Waiting", "Running", "Done", Owner="alice")
    async with databases.unit_of_work() as work:
        rows = await queries.job_attributes(work, [3, 99, 1], ["Status", "Owner"])
        assert [row._asdict() for row in rows] == [
            {"JobID": 1, "Status": "Waiting", "Owner": "alice"},
            {"JobID": 3, "Status": "Done", "Owner": "alice"},
        ]
        assert await queries.job_attributes(work, [], ["Status"]) == []


async def test_attributes_of_more_jobs_than_fit_into_a_statement(databases: Databases, hands: Hands) -> None:
    """They come by ascending id, however many are asked for."""
    await hands.add("Waiting", "Running")
    async with databases.unit_of_work() as work:
        rows = await queries.job_attributes(work, [2, *range(100, 10_200), 1], [])
    assert [row.JobID for row in rows] == [1, 2]


# Status updates: one row of the sheet's table each


@dataclass(frozen=True)
class Case:
    """A job in ``status`` with a history; updates; what they set, and what they log.

    ``sets`` holds times as seconds, and True for a LastUpdateTime of now: then the status is set too, to what
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.holds)
async def test_a_status_update(hands: Hands, clock: Any, case: Case) -> None:
    """Answer, row and records are what the sheet and DIRAC's own function (getNewStatus) make of it."""
    await hands.add(case.status, logged=case.logged, **case.columns)
    before = await hands.job()
    answer = await hands.set({1: case.updates}, force=case.force)
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


async def test_a_job_without_history(hands: Hands) -> None:
    """Any time is new to a job of which nothing was logged; its records count from 1."""
    await hands.add("Received")
    answer = await hands.set({1: [update(-(10**6), "Checking")]})
    assert answer[1]["Status"] == "Checking"
    assert [record[:2] for record in await hands.records()] == [(1, "Checking")]


async def test_jobs_that_are_not_there_are_left_out(hands: Hands, contents: Any) -> None:
    """Nothing is answered and nothing logged for unknown jobs; one without an update is left as it is."""
    await hands.add("Received", "Received")
    before = await contents()
    assert await hands.set({99: [update(1, "Checking")], 2: []}) == {2: dict.fromkeys(ANSWERED)}
    assert await hands.set({}) == {}
    assert await contents() == before
    assert list(await hands.set({99: [update(1, "Checking")], 1: [update(1, "Checking")]})) == [1]


async def test_each_job_gets_its_own(hands: Hands) -> None:
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


async def test_times_of_any_zone_are_stored_as_utc(databases: Databases, hands: Hands) -> None:
    """The order column keeps milliseconds since 1270000000, the time column whole seconds."""
    await hands.add("Received")
    moment = datetime.fromisoformat("2026-11-21T21:59:57.758499+01:00")
    await hands.set({1: [StatusUpdate(moment, "Checking", source="JobWrapper")]})
    async with databases.unit_of_work() as work:
        c = LoggingInfo.c
        [row] = await work.rows(JOB_LOGGING_DB, select(c.StatusTime, c.StatusTimeOrder))
    assert tuple(row) == (datetime.fromisoformat("2026-11-21T20:59:57"), 525294797.758)
    assert (await hands.job())["HeartBeatTime"] == datetime.fromisoformat("2026-11-21T20:59:57")


async def test_the_numbers_of_records_continue(hands: Hands) -> None:
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
    hands: Hands, name: str, size: int, change: dict[str, str]
) -> None:
    """A text that DIRAC's column cannot hold is refused or cut, not stored."""
    await hands.add("Running")
    with contextlib.suppress(InvalidValue):
        await hands.set({1: [update(10, **change)]})
    assert len((await hands.job())[name]) <= size


# Jobs that are stopped


@pytest.mark.parametrize("status", ["Killed", "Deleted"])
async def test_a_stopped_job_leaves_its_queue_and_is_told(hands: Hands, clock: Any, status: str) -> None:
    """Its Kill command waits for the next heartbeat; other jobs stay where they are."""
    await hands.add("Waiting", "Waiting", "Waiting", "Done")
    await hands.queue(1, 2, 3)
    await hands.set({1: [update(1, status)], 2: [update(1, "Matched")], 4: [update(1, "Killed")]})
    assert await hands.queued() == [2, 3]
    assert await hands.commands() == [(1, clock.column, "Kill", "", "Received", None)]


async def test_a_job_is_told_once_in_a_second(hands: Hands, clock: Any) -> None:
    """A second command in the same second would break the key; it is as good as the first."""
    await hands.add("Running")
    await hands.set({1: [update(1, "Killed")]})
    await hands.set({1: [update(2, "Deleted")]})
    assert len(await hands.commands()) == 1
    assert await hands.statuses() == ["Deleted"]
    clock.advance(1)
    await hands.set({1: [update(3, "Killed")]}, force=True)
    assert len(await hands.commands()) == 2


async def test_a_late_kill_stops_nothing(hands: Hands) -> None:
    """A Killed that is older than the last record neither sends a command nor empties the queue."""
    await hands.add("Waiting", logged=[(60, "Waiting")])
    await hands.queue(1)
    await hands.set({1: [update(10, "Killed")]})
    assert (await hands.statuses(), await hands.queued(), await hands.commands()) == (["Waiting"], [1], [])


# DIRAC's own killing


async def test_killing(hands: Hands, clock: Any, contents: Any) -> None:
    """Command, status, minor status, time and queue; no record, no execution times, no other job."""
    await hands.add("Waiting", "Running", "Waiting", logged=[(0, "Received")])
    await hands.queue(1, 3)
    before = await contents()
    assert await hands.kill(2, 1) == []
    after = await contents()
    assert await hands.commands() == [
        (job_id, clock.column, "Kill", "", "Received", None) for job_id in (1, 2)
    ]
    assert await hands.queued() == [3]
    change = {"Status": "Killed", "MinorStatus": "Marked for termination", "LastUpdateTime": clock.column}
    names = Jobs.columns.keys()
    assert [dict(zip(names, row, strict=True)) for row in after["Jobs"]] == [
        {**dict(zip(names, row, strict=True)), **(change if row[0] in (1, 2) else {})}
        for row in before["Jobs"]
    ]
    untouched = after.keys() - {"Jobs", "JobCommands", "tq_Jobs"}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


async def test_killing_twice_in_a_second_fails(hands: Hands, clock: Any) -> None:
    """The second time the job is named as failed and left alone; a second later it works again."""
    await hands.add("Running", "Running", "Running")
    assert await hands.kill(2) == []
    clock.advance(0.2)
    assert await hands.kill(3, 2) == [2]
    assert len(await hands.commands()) == 2
    assert await hands.statuses() == ["Running", "Killed", "Killed"]
    clock.advance(1)
    assert await hands.kill(3, 2) == []
    assert len(await hands.commands()) == 4


async def test_a_job_that_failed_to_be_killed_is_left_alone(
    hands: Hands, databases: Databases, clock: Any
) -> None:
    """Another command without arguments in this second keeps status, times and queue as they are."""
    await hands.add("Waiting")
    await hands.queue(1)
    async with databases.unit_of_work(write=True) as work:
        values = {"JobID": 1, "Command": "Peek", "Arguments": "", "ReceptionTime": clock.column}
        await work.change(JOB_DB, JobCommands.insert().values(**values))
    before = await hands.job()
    assert await hands.kill(1) == [1]
    assert (await hands.job(), await hands.queued()) == (before, [1])
    async with databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, JobCommands.update().values(Arguments="stdout"))
    assert await hands.kill(1) == []


async def test_killing_nothing(hands: Hands, contents: Any) -> None:
    """No ids, no change."""
    before = await contents()
    assert await hands.kill() == []
    assert await contents() == before


async def test_leaving_the_task_queue(hands: Hands, databases: Databases) -> None:
    """Jobs are taken out, unknown ones ignored; the queue itself stays."""
    await hands.add("Waiting", "Waiting")
    await hands.queue(1, 2)
    async with databases.unit_of_work(write=True) as work:
        await queries.leave_task_queue(work, [1, 99])
        assert len(await work.rows(TASK_QUEUE_DB, select(tq_TaskQueues.c.TQId))) == 1
    assert await hands.queued() == [2]


# History


async def test_idem_is_resolved_from_the_record_before(hands: Hands) -> None:
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


async def test_a_job_without_records_has_no_history(hands: Hands) -> None:
    """It is left out, as an unknown job is."""
    await hands.add("Received")
    assert await hands.history(1, 99) == {}


# Cost


async def test_the_number_of_statements_does_not_grow(
    hands: Hands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same number of statements, whatever is done with them."""
    moves = ["Done", "Killed", "Failed", "Stalled"]
    costs: list[dict[str, int]] = []
    for number in (10, 1000):
        first = len(await hands.statuses()) + 1
        ids = range(first, first + number)
        await hands.add(*["Running"] * number, logged=[(0, "Received"), (1, "Running")])
        updates = {
            each: [update(20, moves[each % 4], minor_status="m"), update(10, source="JobWrapper")]
            for each in ids
        }
        cost = {}
        for name, action in {
            "set": hands.set(updates),
            "history": hands.history(*ids),
            "kill": hands.kill(*ids),
        }.items():
            statements.clear()
            await action
            cost[name] = len(statements)
        costs.append(cost)
    assert costs[0] == costs[1]
    assert (await hands.statuses())[-1] == "Killed"
