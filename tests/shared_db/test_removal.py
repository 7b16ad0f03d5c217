"""Jobs that are killed, deleted and removed (legacy-methods.md, section 3)."""

from __future__ import annotations

from typing import Any

import pytest
from job_hands import Hands, at, column
from sqlalchemy import select

from shared_db.connection import Databases, UnitOfWork
from shared_db.queries.jobs import leave_task_queue
from shared_db.queries.removal import TABLES_OF_JOBS, delete_jobs, kill_jobs, remove_jobs
from shared_db.rules.killing import DeletePlan, plan_delete
from shared_db.schema import job_db
from shared_db.schema.job_db import JOB_DB, JobCommands, Jobs
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_TaskQueues


class RemovalHands(Hands):
    """Kills."""

    async def kill(self, *job_ids: int) -> list[int]:
        """``kill_jobs`` in a unit of work of its own."""
        return await self.run(kill_jobs, job_ids)


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> RemovalHands:
    """Hands in this test's database."""
    return RemovalHands(databases)


# DIRAC's own killing


async def test_killing(hands: RemovalHands, clock: Any, contents: Any) -> None:
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


async def test_killing_twice_in_a_second_fails(hands: RemovalHands, clock: Any) -> None:
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
    hands: RemovalHands, databases: Databases, clock: Any
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


async def test_killing_nothing(hands: RemovalHands, contents: Any) -> None:
    """No ids, no change."""
    before = await contents()
    assert await hands.kill() == []
    assert await contents() == before


async def test_leaving_the_task_queue(hands: RemovalHands, databases: Databases) -> None:
    """Jobs are taken out, unknown ones ignored; the queue itself stays."""
    await hands.add("Waiting", "Waiting")
    await hands.queue(1, 2)
    async with databases.unit_of_work(write=True) as work:
        await leave_task_queue(work, [1, 99])
        assert len(await work.rows(TASK_QUEUE_DB, select(tq_TaskQueues.c.TQId))) == 1
    assert await hands.queued() == [2]


# Deleting


# What deleteJob of DIRAC 9.1.22 made of a job in each status: is a Kill command sent, what is it then, and is
# its id answered.
DELETED = [
    ("Submitting", True, "Deleted", True),
    ("Received", True, "Deleted", True),
    ("Checking", True, "Deleted", True),
    ("Scouting", True, "Killed", False),
    ("Waiting", True, "Deleted", True),
    ("Matched", True, "Killed", False),
    ("Rescheduled", True, "Deleted", True),
    ("Running", True, "Killed", False),
    ("Stalled", True, "Killed", False),
    ("Completing", True, "Killed", False),
    ("Completed", False, "Completed", False),
    ("Done", False, "Deleted", True),
    ("Failed", False, "Deleted", True),
    ("Killed", True, "Deleted", True),
    ("Deleted", True, "Deleted", True),
]
MINORS = {"Killed": "Marked for termination", "Deleted": "Checking accounting"}
ALICE: Any = {"username": "alice", "group": "lab_user", "properties": ["NormalUser"]}


async def test_deleting_in_every_status(hands: RemovalHands, clock: Any) -> None:
    """Those that may become Killed are killed first; what may become Deleted goes by the status before."""
    ids = await hands.add(*[status for status, *_ in DELETED], MinorStatus="before")
    await hands.queue(5)
    jobs = {
        job_id: {"Owner": "alice", "OwnerGroup": "g", "Status": status}
        for job_id, (status, *_) in zip(ids, DELETED, strict=True)
    }
    plan = plan_delete(ids, jobs, **ALICE)
    assert await hands.run(delete_jobs, plan.kill, plan.delete) == []
    c = Jobs.c
    unchanged = ("before", None)
    assert await hands.read(c.JobID, c.Status, c.MinorStatus, c.LastUpdateTime) == [
        (job_id, after, *((MINORS[after], clock.column) if after != "Completed" else unchanged))
        for job_id, (_, _, after, _) in zip(ids, DELETED, strict=True)
    ]
    told = [job_id for job_id, (_, kill, *_) in zip(ids, DELETED, strict=True) if kill]
    assert [row[0] for row in await hands.commands()] == told
    assert plan.delete == [job_id for job_id, case in zip(ids, DELETED, strict=True) if case[3]]
    assert (await hands.queued(), await hands.records()) == ([], [])


async def test_a_job_that_fails_to_be_killed_is_deleted_all_the_same(hands: RemovalHands) -> None:
    """DIRAC names it as failed; the others of the call are done too."""
    await hands.add("Received", "Done", "Received")
    assert await hands.kill(1) == []
    assert await hands.run(delete_jobs, [1, 3], [1, 2, 3]) == [1]
    assert await hands.statuses() == ["Deleted"] * 3
    assert [row[0] for row in await hands.commands()] == [1, 3]


def test_whose_jobs_are_deleted() -> None:
    """Ids of no job and of other people's jobs are told apart; a job named twice is deleted once."""
    jobs = {
        job_id: {"Owner": owner, "OwnerGroup": "lab_user", "Status": "Received"}
        for job_id, owner in {3: "alice", 5: "bob", 7: "alice"}.items()
    }
    assert plan_delete([7, 99, 5, 3, 7], jobs, **ALICE) == DeletePlan([3, 7], [99], [5], [3, 7], own=True)
    sharing = {**ALICE, "properties": ["JobSharing"]}
    assert plan_delete([5], jobs, **sharing) == DeletePlan([5], [], [], [5])


# Removing


async def _fill(hands: RemovalHands, *ids: int) -> None:
    """A row for each job in every table that has rows of jobs."""
    values = {
        "Name": "n",
        "Value": "v",
        "LFN": "/lab/a",
        "HeartBeatTime": column(at(0)),
        "ReceptionTime": column(at(0)),
        "Command": "Kill",
        "Arguments": "",
        "RescheduleCycle": 0,
        "StatusTime": column(at(0)),
        "StatusTimeOrder": 1.0,
    }
    await hands.queue(*ids)
    for table in TABLES_OF_JOBS:
        if table.name not in ("Jobs", "JobJDLs", "tq_Jobs"):
            own = {name: value for name, value in values.items() if name in table.c and name != "Status"}
            await hands.insert(table, *[{"JobID": each, **own} for each in ids])


async def test_removing(hands: RemovalHands, contents: Any) -> None:
    """Every row of the jobs goes, whatever table it is in; other jobs keep theirs."""
    await hands.add("Done", "Failed", "Killed")
    await _fill(hands, 1, 2, 3)
    before = await contents()
    assert await hands.run(remove_jobs, [3, 1, 99]) == [1, 3]
    after = await contents()
    ours = {table.name for table in TABLES_OF_JOBS}
    assert ours == {
        "tq_Jobs",
        "LoggingInfo",
        "InputData",
        "OptimizerParameters",
        "AtticJobParameters",
        "JobParameters",
        "HeartBeatLoggingInfo",
        "JobCommands",
        "Jobs",
        "JobJDLs",
    }
    for name in ours:
        [kept] = after[name]
        assert kept in before[name], name
        assert kept[1 if name == "tq_Jobs" else 0] == 2, name
    assert {name: after[name] for name in after.keys() - ours} == {
        name: before[name] for name in before.keys() - ours
    }


async def test_removing_what_a_failed_submission_left(hands: RemovalHands) -> None:
    """An id with a JDL and no job can be removed."""
    empty = {"JDL": "", "JobRequirements": "", "OriginalJDL": ""}
    await hands.insert(job_db.JobJDLs, {"JobID": 7, **empty})
    assert await hands.run(remove_jobs, [7]) == [7]
    assert await hands.read(job_db.JobJDLs.c.JobID) == []


async def test_removing_where_a_table_is_missing(
    hands: RemovalHands, statements: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that this database has not are not asked for."""
    await hands.add("Done")
    statements.clear()
    monkeypatch.setattr(UnitOfWork, "has", lambda _, table: table.name != "JobParameters")
    assert await hands.run(remove_jobs, [1]) == [1]
    deleted = [text for text, _ in statements if text.startswith("DELETE")]
    assert not [text for text in deleted if " JobParameters" in text or ".`JobParameters`" in text]
    assert len(deleted) == len(TABLES_OF_JOBS) - 1
    assert await hands.read(Jobs.c.JobID) == []


async def test_the_number_of_statements_does_not_grow(
    hands: RemovalHands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same to kill, to delete and to remove."""
    costs: list[list[int]] = []
    for number in (10, 1000):
        ids = await hands.add(*["Running"] * number, logged=[(0, "Received")])
        cost = []
        for action in (
            hands.kill(*ids),
            hands.run(delete_jobs, [], ids),
            hands.run(remove_jobs, ids),
        ):
            statements.clear()
            await action
            cost.append(len(statements))
        costs.append(cost)
    assert costs[0] == costs[1]
    assert await hands.read(LoggingInfo.c.JobID) == []
