"""Jobs and pilots that nobody has heard of: what becomes of them is what DIRAC 9.1.22's agents leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from job_hands import Hands, at, column
from queue_hands import GROUPS

from shared_db.connection import Databases
from shared_db.queries.rescheduling import Original
from shared_db.queries.sandbox_jobs import assign_sandbox
from shared_db.queries.sandboxes import register_sandbox
from shared_db.queries.silent_pilots import give_up_pilots, silent_pilots
from shared_db.queries.statuses import set_job_statuses
from shared_db.queries.stuck_jobs import (
    delete_ended,
    fail_stalled,
    fail_unconfirmed,
    mark_stalled,
    optimise_again,
    remove_deleted,
    silent_jobs,
    start_anew,
)
from shared_db.rules.jdl.description import JobRecord
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.job_states import JOB_STATES
from shared_db.rules.sandboxes import OUTPUT, Location, Owner
from shared_db.rules.stalling import REPORTING, JobPatience, is_lost, last_news, why_failed
from shared_db.rules.status_updates import DIRAC, StatusUpdate
from shared_db.schema.job_db import JobJDLs, Jobs
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.pilot_agents_db import JobToPilotMapping, PilotAgents
from shared_db.schema.sandbox_metadata_db import sb_EntityMapping, sb_SandBoxes

PATIENCE = JobPatience()
MINUTE = timedelta(minutes=1)
# The clock stands at noon, 7,200 seconds after second 0.
NOW = 7200


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> Hands:
    """Hands in this test's database."""
    return Hands(databases)


def ago(minutes: float) -> Any:
    """A time before the present, as columns hold it."""
    return column(at(NOW - minutes * 60))


async def pilot(hands: Hands, status: str, *job_ids: int, pilot_id: int = 1) -> None:
    """A pilot that was given jobs."""
    row = {"PilotID": pilot_id, "PilotJobReference": f"p{pilot_id}", "VO": "lab", "Status": status}
    await hands.insert(PilotAgents, row)
    rows = [{"PilotID": pilot_id, "JobID": each, "StartTime": ago(200)} for each in job_ids]
    await hands.insert(JobToPilotMapping, *rows)


async def find(hands: Hands, statuses: Sequence[str], minutes: float, **options: Any) -> list[int]:
    """``silent_jobs``."""
    return await hands.run(silent_jobs, statuses, at(NOW - minutes * 60), **options)


# Rules


def test_the_latest_of_both_times_counts() -> None:
    """Heartbeat or update; of a job without either nothing can be said."""
    early, late = column(at(1)), column(at(2))
    assert last_news(early, late) == last_news(late, early) == last_news(late, None) == at(2)
    assert last_news(None, None) is None
    assert not is_lost(None, MINUTE, at(NOW))
    assert [is_lost(at(0), MINUTE, at(seconds)) for seconds in (60, 61)] == [False, True]


@pytest.mark.parametrize(
    ("pilots", "seconds", "reason"),
    [
        ((), 1, "Job stalled: pilot not running"),
        (("Done",), 1, "Job stalled: pilot not running"),
        (("Waiting", "Aborted"), 1, "Job stalled: pilot not running"),
        (("Running",), 11_700, None),
        (("Done", "Running"), 1, None),
        (("Running",), 11_701, "Stalling for more than 11700 sec"),
    ],
)
def test_why_a_stalled_job_is_failed(pilots: tuple[str, ...], seconds: float, reason: str | None) -> None:
    """Its pilot is gone, or it stays silent for DIRAC's six cycles and a half."""
    assert why_failed(pilots, at(0), PATIENCE.failed, at(seconds)) == reason


# Running -> Stalled


async def test_silent_jobs_are_stalled(hands: Hands, clock: Any) -> None:
    """Minor and application status stay; the log says who did it."""
    for status, heartbeat, update in (
        ("Running", 76, 80),
        ("Completing", 300, 76),
        ("Running", None, 76),
        ("Running", 74, 300),
        ("Running", 300, 74),
        ("Matched", 300, 300),
    ):
        beat = ago(heartbeat) if heartbeat else None
        columns = {"MinorStatus": "Application", "ApplicationStatus": "half"}
        await hands.add(status, HeartBeatTime=beat, LastUpdateTime=ago(update), **columns)
    before = await hands.job(1)
    assert await find(hands, REPORTING, 75, heartbeats=True) == [1, 2, 3]
    # All of them, as though four to six had reported since they were looked for.
    assert await hands.run(mark_stalled, range(1, 7), PATIENCE.stalled) == 3
    assert await hands.statuses() == ["Stalled", "Stalled", "Stalled", "Running", "Running", "Matched"]
    assert await hands.job(1) == {**before, "Status": "Stalled", "LastUpdateTime": clock.column}
    record = (1, "Stalled", "Application", "idem", clock.column, "StalledJobAgent")
    assert await hands.records(1) == [record]
    assert await hands.records(4) == []
    assert await hands.run(mark_stalled, range(1, 7), PATIENCE.stalled) == 0


async def test_a_job_that_reports_meanwhile_stays_running(hands: Hands) -> None:
    """Found silent, then heard of, then judged."""
    await hands.add("Running", logged=[(0, "Running")], HeartBeatTime=ago(90), LastUpdateTime=ago(90))
    found = await find(hands, REPORTING, 75, heartbeats=True)
    update = StatusUpdate(at(NOW), "Running", "Application", source="JobWrapper")
    await hands.run(set_job_statuses, {1: [update]}, policy=DIRAC)
    assert await hands.run(mark_stalled, found, PATIENCE.stalled) == 0
    assert (await hands.job())["Status"] == "Running"


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"], indirect=True)
async def test_a_job_that_reports_at_the_same_moment_wins(hands: Hands) -> None:
    """The judge waits for the report that came first, and sees it."""
    await hands.add("Running", logged=[(0, "Running")], HeartBeatTime=ago(90), LastUpdateTime=ago(90))
    update = StatusUpdate(at(NOW), "Running", "Application", source="JobWrapper")
    async with hands.databases.unit_of_work(write=True) as work:
        await set_job_statuses(work, {1: [update]}, policy=DIRAC)
        judging = asyncio.create_task(hands.run(mark_stalled, [1], PATIENCE.stalled))
        await asyncio.sleep(0.3)
        assert not judging.done()
    assert await judging == 0
    assert (await hands.job())["Status"] == "Running"


# Stalled -> Failed


async def test_stalled_jobs_are_failed(hands: Hands, clock: Any) -> None:
    """Those without a running pilot at once, others when they stay silent; all are told to stop."""
    await hands.add("Stalled", "Stalled", HeartBeatTime=ago(80), LastUpdateTime=ago(5))
    await hands.add("Stalled", HeartBeatTime=ago(400), LastUpdateTime=ago(196))
    await hands.add("Stalled", "Running", LastUpdateTime=ago(400))
    await pilot(hands, "Running", 2, 3)
    await pilot(hands, "Aborted", 1, 5, pilot_id=2)
    await hands.queue(1, 2)
    assert await find(hands, ("Stalled",), 0) == [1, 2, 3, 4]
    before = await hands.job(1)
    assert await hands.run(fail_stalled, range(1, 6), PATIENCE.failed) == 3
    assert await hands.statuses() == ["Failed", "Stalled", "Failed", "Failed", "Running"]
    gone, silent = "Job stalled: pilot not running", "Stalling for more than 11700 sec"
    failed = {"Status": "Failed", "MinorStatus": gone, "LastUpdateTime": clock.column}
    assert await hands.job(1) == {**before, **failed}
    for job_id, minor in ((1, gone), (3, silent), (4, gone)):
        record = (1, "Failed", minor, "idem", clock.column, "StalledJobAgent")
        assert await hands.records(job_id) == [record]
    assert [(row[0], row[2], row[4]) for row in await hands.commands()] == [
        (each, "Kill", "Received") for each in (1, 3, 4)
    ]
    assert await hands.queued() == [2]


async def test_a_stalled_job_that_reports_is_not_failed(hands: Hands) -> None:
    """It is Running by the time it is judged."""
    await hands.add("Stalled", logged=[(0, "Running"), (1, "Stalled")], LastUpdateTime=ago(90))
    found = await find(hands, ("Stalled",), 0)
    update = StatusUpdate(at(NOW), "Running", "Application", source="JobWrapper")
    await hands.run(set_job_statuses, {1: [update]}, policy=DIRAC)
    assert await hands.run(fail_stalled, found, PATIENCE.failed) == 0
    assert (await hands.job())["Status"] == "Running"
    assert await hands.commands() == []


# On the way to a pilot


async def test_unconfirmed_jobs_are_failed(hands: Hands, clock: Any) -> None:
    """Though the state machine knows no such way; the minor status stays."""
    await hands.add("Submitting", MinorStatus="Bulk transaction confirmation", LastUpdateTime=ago(6))
    await hands.add("Submitting", LastUpdateTime=ago(4))
    await hands.add("Received", LastUpdateTime=ago(6))
    assert await find(hands, ("Submitting",), 5) == [1]
    assert await hands.run(fail_unconfirmed, [1, 2, 3], PATIENCE.submitting) == 1
    assert await hands.statuses() == ["Failed", "Submitting", "Received"]
    minor = "Bulk transaction confirmation"
    assert await hands.records(1) == [(1, "Failed", minor, "idem", clock.column, "StalledJobAgent")]


def rebuild(job: Original) -> JobRecord:
    """The same JDL again."""
    return JobRecord(job.jdl, {"Site": "ANY", "UserPriority": 1}, [])


async def test_matched_jobs_start_anew(hands: Hands, clock: Any) -> None:
    """As rescheduled by StalledJobAgent; one that did so too often is Failed, one that began is left."""
    jdl = compressed('[ Executable = "x"; ]')
    await hands.add("Matched", jdl=jdl, LastUpdateTime=ago(121))
    await hands.add("Matched", jdl=jdl, LastUpdateTime=ago(121), RescheduleCounter=3)
    await hands.add("Matched", jdl=jdl, LastUpdateTime=ago(119))
    await hands.add("Running", jdl=jdl, LastUpdateTime=ago(121))
    assert await find(hands, ("Matched",), 120) == [1, 2]
    outcome = await hands.run(start_anew, [1, 2, 3, 4], "Matched", PATIENCE.matched, rebuild)
    assert (list(outcome.jobs), outcome.exhausted) == ([1], [2])
    assert await hands.statuses() == ["Received", "Failed", "Matched", "Running"]
    record = (1, "Received", "Job Rescheduled", "Unknown", clock.column, "StalledJobAgent")
    assert await hands.records(1) == [record]
    assert (await hands.job(2))["MinorStatus"] == "Maximum of reschedulings reached"


async def test_jobs_left_on_their_way_are_optimised(hands: Hands) -> None:
    """Received and Checking ones go to Waiting, in a task queue; one that was just submitted is left."""
    jdl = compressed('[ Executable = "x"; CPUTime = 1000; ]')
    whose = {"Owner": "alice", "OwnerGroup": "lab_user", "VO": "lab"}
    await hands.add("Received", "Checking", LastUpdateTime=ago(11), **whose)
    await hands.add("Received", LastUpdateTime=ago(9), **whose)
    async with hands.databases.unit_of_work(write=True) as work:
        await work.change("JobDB", JobJDLs.update().values(JDL=jdl))
    assert await find(hands, ("Received", "Checking"), 10) == [1, 2]
    assert await hands.run(optimise_again, [1, 2, 3], PATIENCE.received, GROUPS) == 2
    assert await hands.statuses() == ["Waiting", "Waiting", "Received"]
    assert await hands.queued() == [1, 2]


# Jobs that have ended


async def test_ended_jobs_are_deleted(hands: Hands, clock: Any) -> None:
    """As deleteJob does it: nothing is logged; jobs of productions stay."""
    week = 7 * 24 * 60
    await hands.add("Done", LastUpdateTime=ago(week + 1))
    await hands.add("Done", LastUpdateTime=ago(week + 1), JobType="Merge")
    await hands.add("Done", LastUpdateTime=ago(week - 1))
    await hands.add("Failed", LastUpdateTime=ago(week + 1))
    assert await find(hands, ("Done",), week, but_types={"Merge"}) == [1]
    keeping = timedelta(days=7)
    assert await hands.run(delete_ended, [1, 2, 3, 4], "Done", keeping, {"Merge"}) == 1
    assert await hands.statuses() == ["Deleted", "Done", "Done", "Failed"]
    job = await hands.job(1)
    assert (job["MinorStatus"], job["LastUpdateTime"]) == ("Checking accounting", clock.column)
    assert await hands.records(1) == []


async def test_deleted_jobs_are_removed_with_all_they_have(hands: Hands) -> None:
    """Their sandboxes stay, and are nobody's any more; the other jobs keep everything."""
    await hands.add("Deleted", "Deleted", logged=[(0, "Done")], LastUpdateTime=ago(61))
    await hands.add("Deleted", LastUpdateTime=ago(59))
    await hands.add("Done", LastUpdateTime=ago(61))
    owner, place = Owner("alice", "lab_user", "lab"), Location("SandboxSE", "/S3/sandboxes/lab/one")
    await hands.run(register_sandbox, owner, place, 10)
    await hands.run(assign_sandbox, 1, place, OUTPUT)
    assert await find(hands, ("Deleted",), 60) == [1, 2]
    assert await hands.run(remove_deleted, [1, 2, 3, 4], timedelta(hours=1)) == 2
    assert await hands.read(Jobs.c.JobID) == await hands.read(JobJDLs.c.JobID) == [(3,), (4,)]
    assert await hands.read(LoggingInfo.c.JobID) == []
    assert await hands.read(sb_EntityMapping.c.SBId) == []
    assert await hands.read(sb_SandBoxes.c.Assigned) == [(0,)]


async def test_the_number_of_statements_does_not_grow(
    hands: Hands, statements: list[tuple[str, Any]]
) -> None:
    """However many jobs a batch has."""
    counts = []
    for number in (2, 40):
        await hands.add(*["Running"] * number, HeartBeatTime=ago(90), LastUpdateTime=ago(90))
        found = await find(hands, REPORTING, 75, heartbeats=True)
        assert len(found) == number
        counted = len(statements)
        assert await hands.run(mark_stalled, found, PATIENCE.stalled) == number
        assert await hands.run(fail_stalled, found, PATIENCE.failed) == number
        counts.append(len(statements) - counted)
    assert counts[0] == counts[1]


# Pilots


async def test_silent_pilots_are_given_up(hands: Hands, clock: Any) -> None:
    """Unless one of their jobs was updated since, or they have ended."""
    old, before = ago(3 * 24 * 60 + 1), at(NOW) - timedelta(days=3)

    def row(pilot_id: int, status: str, updated: Any) -> dict[str, Any]:
        times = {"LastUpdateTime": updated, "SubmissionTime": old}
        return {
            "PilotID": pilot_id,
            "PilotJobReference": f"p{pilot_id}",
            "VO": "lab",
            "Status": status,
            **times,
        }

    await hands.insert(
        PilotAgents,
        row(1, "Running", old),
        row(2, "Waiting", old),
        row(3, "Running", old),
        row(4, "Running", ago(5)),
        row(5, "Aborted", old),
    )
    await hands.add("Running", LastUpdateTime=ago(5))
    await hands.add("Running", LastUpdateTime=old)
    await hands.insert(
        JobToPilotMapping,
        {"PilotID": 3, "JobID": 1, "StartTime": old},
        {"PilotID": 1, "JobID": 2, "StartTime": old},
    )
    assert await hands.run(silent_pilots, before) == [1, 2, 3]
    assert await hands.run(give_up_pilots, [1, 2, 3, 4, 5], before) == 2
    c = PilotAgents.c
    assert await hands.read(c.PilotID, c.Status) == [
        (1, "Deleted"),
        (2, "Deleted"),
        (3, "Running"),
        (4, "Running"),
        (5, "Aborted"),
    ]
    [first, *_] = await hands.read(c.PilotID, c.StatusReason, c.LastUpdateTime)
    assert first == (1, "Not given", clock.column)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("heartbeats", [True, False])
async def test_finding_does_not_look_at_all_jobs(
    hands: Hands, statements: list[tuple[str, Any]], heartbeats: bool
) -> None:
    """By the key on Status, also where nearly all jobs are old and have ended."""
    await hands.add(*["Done"] * 2000, *JOB_STATES, LastUpdateTime=ago(10_000))
    await hands.databases.refresh_statistics()
    assert len(await find(hands, REPORTING, 75, heartbeats=heartbeats)) == len(REPORTING)
    statement, parameters = next(each for each in statements if "coalesce" in each[0])

    def explain(connection: Any) -> str:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "; ".join(row[-1] for row in rows)

    plan = await hands.databases.sync_run("JobDB", explain)
    assert "Status=?" in plan
    assert "SCAN Jobs" not in plan
