"""Jobs that start anew (legacy-methods.md, section 3; rest-diracx.md, 6.5)."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from job_hands import Hands, at, column

from shared_db.connection import Databases, UnitOfWork
from shared_db.queries.parameters import (
    attic_parameters,
    job_parameters,
    optimizer_parameters,
    set_job_parameters,
    set_optimizer_parameters,
)
from shared_db.queries.rescheduling import Original, Rescheduled, reschedule_jobs
from shared_db.rules.jdl.description import JobRecord, RefusedAfterInsertion, redescribe
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.job_states import JOB_STATES
from shared_db.rules.refusals import Refusal
from shared_db.rules.rescheduling import exhausted, next_count
from shared_db.rules.status_updates import DIRAC, DIRACX, Policy
from shared_db.schema.job_db import InputData, JobCommands, JobJDLs

BOTH = pytest.mark.parametrize("policy", [DIRAC, DIRACX], ids=["DIRAC", "DiracX"])


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


def stored(text: str) -> str:
    """A JDL as it is stored."""
    return base64.b64encode(zlib.compress(text.encode())).decode()


def rebuild(job: Original) -> JobRecord:
    """A JDL that says where it comes from."""
    columns = {"Site": "LAB.New.org", "UserPriority": 7, "JobName": "new", "JobType": "new"}
    return JobRecord(f"{job.job_id} {job.jdl} {job.owner} {job.owner_group} {job.vo}", columns, ["/lab/new"])


class ReschedulingHands(Hands):
    """Reschedules."""

    async def again(self, *job_ids: int, policy: Policy = DIRAC, **options: Any) -> Rescheduled:
        """``reschedule_jobs`` in a unit of work of its own."""
        options = {"rebuild": rebuild, **options}
        return await self.run(reschedule_jobs, job_ids, policy=policy, **options)

    async def jdls(self) -> dict[int, str]:
        """The current JDLs, in plain text."""
        rows = await self.read(JobJDLs.c.JobID, JobJDLs.c.JDL)
        return {
            job_id: zlib.decompress(base64.b64decode(text)).decode() if text else "" for job_id, text in rows
        }


@pytest.fixture
def hands(databases: Databases) -> ReschedulingHands:
    """Hands in this test's database."""
    return ReschedulingHands(databases)


BEFORE: dict[str, Any] = {
    "Owner": "alice",
    "OwnerGroup": "lab_user",
    "VO": "lab",
    "Site": "LAB.Old.org",
    "UserPriority": 3,
    "JobName": "old",
    "ApplicationStatus": "app",
    "StartExecTime": column(at(1)),
    "EndExecTime": column(at(2)),
    "HeartBeatTime": column(at(3)),
    "LastUpdateTime": column(at(4)),
    "AccountedFlag": "True",
}


@BOTH
@pytest.mark.parametrize("status", JOB_STATES)
async def test_a_job_starts_anew(hands: ReschedulingHands, clock: Any, status: str, policy: Policy) -> None:
    """Whatever it was; name, type, and times of start, end and heartbeat stay as DIRAC 9.1.22 leaves them."""
    await hands.add(status, jdl=stored("[x=1;]"), logged=[(0, "Received")], **BEFORE)
    await hands.queue(1)
    before = await hands.job()
    answer = await hands.again(1, policy=policy)
    anew = {
        "Status": "Received",
        "MinorStatus": "Job Rescheduled",
        "ApplicationStatus": "Unknown",
        "Site": "LAB.New.org",
        "UserPriority": 7,
        "RescheduleCounter": 1,
        "RescheduleTime": clock.column,
        "LastUpdateTime": clock.column,
    }
    assert await hands.job() == {**before, **anew}
    source = "JobManager" if policy is DIRAC else "Unknown"
    assert await hands.records(after=1) == [
        (2, "Received", "Job Rescheduled", "Unknown", clock.column, source)
    ]
    jdl = "1 [x=1;] alice lab_user lab"
    assert await hands.jdls() == {1: jdl}
    assert await hands.queued() == []
    now = clock.now.replace(microsecond=0)
    rebuilt = {
        "JDL": jdl,
        "Site": "LAB.New.org",
        "UserPriority": 7,
        "RescheduleTime": now,
        "RescheduleCounter": 1,
    }
    states: dict[str, Any] = {
        "Status": "Received",
        "MinorStatus": "Job Rescheduled",
        "ApplicationStatus": "Unknown",
        "HeartBeatTime": None,
        "StartExecTime": None,
        "EndExecTime": None,
        "LastUpdateTime": now,
    }
    assert answer == Rescheduled({1: rebuilt | (states if policy is DIRACX else {})}, [], {})


async def test_what_stays_and_what_goes(hands: ReschedulingHands) -> None:
    """Parameters move to the attic under the old count, those of optimizers go; the rest of a job stays."""
    await hands.add("Done", "Done", RescheduleCounter=1)
    await hands.run(set_job_parameters, {1: {"a": "1", "b": "2"}, 2: {"a": "3"}})
    await hands.run(set_optimizer_parameters, {1: {"o": "1"}, 2: {"o": "2"}})
    await hands.insert(InputData, {"JobID": 1, "LFN": "/lab/old"})
    command = {"Command": "Kill", "Arguments": "", "ReceptionTime": column(at(0))}
    await hands.insert(JobCommands, {"JobID": 1, **command})
    await hands.again(1)
    assert await hands.run(attic_parameters, [1, 2]) == {1: {1: {"a": "1", "b": "2"}}}
    assert await hands.run(job_parameters, [1, 2]) == {2: {"a": "3"}}
    assert await hands.run(optimizer_parameters, [1, 2]) == {2: {"o": "2"}}
    assert await hands.read(InputData.c.LFN) == [("/lab/old",)]
    assert len(await hands.commands()) == 1


async def test_the_attic_after_a_reset(hands: ReschedulingHands) -> None:
    """A cycle that comes a second time holds the newer parameters and none of the older."""
    await hands.add("Done", RescheduleCounter=1)
    for value in ("1", "2"):
        await hands.run(set_job_parameters, {1: {"a": value, f"only{value}": "x"}})
        await hands.again(1, reset=True)
    await hands.run(set_job_parameters, {1: {"a": "3"}})
    await hands.again(1)
    await hands.run(set_job_parameters, {1: {"a": "4"}})
    await hands.again(1)
    assert await hands.run(attic_parameters, [1]) == {1: {0: {"a": "3"}, 1: {"a": "4"}}}


async def test_a_database_without_parameters(
    hands: ReschedulingHands, statements: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is not there is not asked for."""
    await hands.add("Done")
    statements.clear()
    monkeypatch.setattr(UnitOfWork, "has", lambda _, table: table.name != "JobParameters")
    await hands.again(1)
    texts = [text.replace("AtticJobParameters", "") for text, _ in statements]
    assert not [text for text in texts if "JobParameters" in text]


@pytest.mark.parametrize(
    ("counter", "reset", "count"),
    [
        (0, False, 1),
        (2, False, 3),
        (3, False, None),
        (9, False, None),
        (3, True, 0),
        (0, True, 0),
        (-1, False, 0),
    ],
)
def test_how_often(counter: int, reset: bool, count: int | None) -> None:
    """Three times, and from 0 after a reset."""
    assert next_count(counter, reset=reset) == count


def test_a_limit_of_its_own() -> None:
    """As a site configures it."""
    assert [next_count(3, reset=False, limit=limit) for limit in (3, 4)] == [None, 4]
    assert exhausted(3) == "Maximum number of reschedules exceeded (3)"


@BOTH
async def test_a_job_that_started_often_enough(hands: ReschedulingHands, clock: Any, policy: Policy) -> None:
    """It is Failed, and so it stays; DIRAC logs nothing, DiracX the update; the others start anew."""
    await hands.add("Running", "Running", RescheduleCounter=3, logged=[(0, "Received")])
    await hands.add("Running", RescheduleCounter=2, logged=[(0, "Received")])
    await hands.queue(1, 2, 3)
    before = await hands.job(1)
    answer = await hands.again(1, 3, 99, policy=policy)
    assert (list(answer.jobs), answer.exhausted, answer.refused) == ([3], [1], {})
    reason = {"Status": "Failed", "MinorStatus": "Maximum of reschedulings reached"}
    ended = {"EndExecTime": clock.column} if policy is DIRACX else {}
    assert await hands.job(1) == {**before, **reason, "LastUpdateTime": clock.column, **ended}
    assert await hands.statuses() == ["Failed", "Running", "Received"]
    assert await hands.queued() == [2]
    assert len(await hands.records(1)) == (1 if policy is DIRAC else 2)
    assert (await hands.jdls())[1] == ""


async def test_a_reset_counts_from_zero(hands: ReschedulingHands) -> None:
    """A job that started often enough may start again."""
    await hands.add("Failed", RescheduleCounter=3)
    assert (await hands.again(1, reset=True)).jobs[1]["RescheduleCounter"] == 0
    assert (await hands.job())["RescheduleCounter"] == 0


@BOTH
async def test_a_jdl_that_does_not_do_any_more(hands: ReschedulingHands, policy: Policy) -> None:
    """They are told apart and stay as they are, but for those that DIRAC fails; the others start anew."""
    await hands.add("Done", jdl="no base64!", logged=[(0, "Received")])
    await hands.add("Done", "Done", "Done", jdl=stored("[x=1;]"), logged=[(0, "Received")])

    def choose(job: Original) -> JobRecord:
        match job.job_id:
            case 2:
                raise Refusal("cannot be read")
            case 3:
                raise RefusedAfterInsertion("Wrong Owner in JDL", job.jdl, 1503, "Wrong Owner in JDL")
            case _:
                return rebuild(job)

    before = [await hands.job(1), await hands.job(2)]
    answer = await hands.again(1, 2, 3, 4, rebuild=choose, policy=policy)
    assert [(job_id, type(error).__name__) for job_id, error in answer.refused.items()] == [
        (1, "DamagedJdl"),
        (2, "Refusal"),
        (3, "RefusedAfterInsertion"),
    ]
    assert list(answer.jobs) == [4]
    assert [await hands.job(1), await hands.job(2)] == before
    failed = await hands.job(3)
    assert (failed["Status"], failed["MinorStatus"]) == ("Failed", "Wrong Owner in JDL")
    assert await hands.statuses() == ["Done", "Done", "Failed", "Received"]


async def test_with_a_real_jdl(hands: ReschedulingHands) -> None:
    """The owner's job, as DIRAC rebuilds it: without a Priority of its own it has 0."""
    await hands.add("Done", jdl=stored('[Executable = "/bin/echo"; Foo = "%j";]'), **BEFORE)

    def again(job: Original) -> JobRecord:
        owner = Submitter(job.owner, job.owner_group, job.vo)
        return redescribe(job.jdl, owner, DescriptionPolicy()).for_job(job.job_id)

    answer = await hands.again(1, rebuild=again)
    assert (answer.jobs[1]["Site"], answer.jobs[1]["UserPriority"]) == ("ANY", 0)
    assert '    Foo = "1";\n' in (await hands.jdls())[1]


@BOTH
async def test_the_number_of_statements_does_not_grow(
    hands: ReschedulingHands, statements: list[tuple[str, Any]], policy: Policy
) -> None:
    """Ten jobs and a thousand cost the same number of statements, some of them for the last time."""
    costs = []
    for number in (10, 1000):
        half = number // 2
        ids = await hands.add(*["Running"] * half, logged=[(0, "Received")])
        ids += await hands.add(*["Running"] * half, RescheduleCounter=3, logged=[(0, "Received")])
        await hands.run(set_job_parameters, {each: {"a": "1"} for each in ids})
        statements.clear()
        answer = await hands.again(*ids, policy=policy)
        costs.append(len(statements))
        assert (len(answer.jobs), len(answer.exhausted)) == (half, half)
    assert costs[0] == costs[1]
