"""The rows of submitted jobs (legacy-schema.md, 0.2; legacy-methods.md, sections 2 and 3)."""

from __future__ import annotations

import base64
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from job_hands import Hands

from shared_db.connection import Databases
from shared_db.errors import InvalidValue
from shared_db.queries.jdls import current_jdls, new_job_ids, original_jdls
from shared_db.queries.submission import confirm_jobs, submit_jobs
from shared_db.rules.jdl.description import JobRecord, describe
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.refusals import Refusal
from shared_db.rules.submission import UNCONFIRMED, to_confirm
from shared_db.schema.job_db import InputData, JobJDLs, Jobs
from shared_db.schema.job_logging_db import LoggingInfo

ALICE = Submitter("alice", "lab_user", "lab")


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr("shared_db.rules.clock.utc_now", clock)
    return clock


@pytest.fixture
def hands(databases: Databases) -> Hands:
    """Hands in this test's database."""
    return Hands(databases)


@dataclass(frozen=True)
class Job:
    """A job that says what becomes of it."""

    original_jdl: str = "[a=1;]"
    columns: dict[str, Any] = field(default_factory=lambda: {"JobName": "n", "Owner": "alice"})
    input_data: tuple[str, ...] = ()

    def for_job(self, job_id: int) -> JobRecord:
        """Its text names the id."""
        return JobRecord(f"[JobID={job_id};]", self.columns, list(self.input_data))


class LargeJob(Job):
    """A job with a long JDL."""

    def for_job(self, job_id: int) -> JobRecord:
        """Another one for each id."""
        return JobRecord(_noise(job_id), self.columns, [])


def _noise(seed: int) -> str:
    """A million characters that cannot be made shorter by much."""
    return random.Random(seed).randbytes(600_000).hex()


def plain(stored: str) -> str:
    """The text of a stored JDL."""
    return zlib.decompress(base64.b64decode(stored)).decode()


async def test_a_job_as_dirac_writes_it(hands: Hands, clock: Any) -> None:
    """Every column as DIRAC 9.1.22 left it for this JDL (but for the hour)."""
    jdl = (
        'Executable="/bin/echo"; JobName="n"; Priority=5; InputData={"LFN:/lab/a","/lab/b"}; '
        'JobGroup="g"; Foo="%j";'
    )
    [job_id] = (await hands.run(submit_jobs, [describe(jdl, ALICE, DescriptionPolicy())])).job_ids
    now = clock.column
    assert await hands.job(job_id) == {
        "JobID": job_id,
        "JobType": "user",
        "JobGroup": "g",
        "Site": "ANY",
        "JobName": "n",
        "Owner": "alice",
        "OwnerGroup": "lab_user",
        "VO": "lab",
        "SubmissionTime": now,
        "RescheduleTime": None,
        "LastUpdateTime": now,
        "StartExecTime": None,
        "HeartBeatTime": None,
        "EndExecTime": None,
        "Status": "Received",
        "MinorStatus": "Job accepted",
        "ApplicationStatus": "Unknown",
        "UserPriority": 5,
        "RescheduleCounter": 0,
        "VerifiedFlag": "True",
        "AccountedFlag": "False",
    }
    assert await hands.records(job_id) == [(1, "Received", "Job accepted", "idem", now, "JobManager")]
    c = InputData.c
    assert set(await hands.read(c.JobID, c.LFN, c.Status)) == {
        (job_id, "LFN:/lab/a", "AprioriGood"),
        (job_id, "/lab/b", "AprioriGood"),
    }
    [(stored, requirements, original)] = await hands.read(
        JobJDLs.c.JDL, JobJDLs.c.JobRequirements, JobJDLs.c.OriginalJDL
    )
    assert (plain(original), requirements) == (f"[{jdl}]", "")
    assert f'    Foo = "{job_id}";\n' in plain(stored)
    assert f"    JobID = {job_id};\n" in plain(stored)


async def test_jobs_get_ids_in_their_order(hands: Hands, clock: Any) -> None:
    """Ascending ids, each with its own texts, files and columns."""
    jobs = [
        Job(
            f"[n={n};]",
            {"JobName": f"n{n}", "Owner": "alice"},
            tuple(f"/lab/{n}/{each}" for each in range(n % 3)),
        )
        for n in range(250)
    ]
    answer = await hands.run(submit_jobs, jobs, state=UNCONFIRMED)
    ids = answer.job_ids
    assert ids == sorted(set(ids))
    assert answer.moment == clock.now
    c, jdls = Jobs.c, JobJDLs.c
    assert await hands.read(c.JobID, c.JobName, c.Status, c.MinorStatus) == [
        (job_id, f"n{n}", "Submitting", "Bulk transaction confirmation") for n, job_id in enumerate(ids)
    ]
    assert [
        (job_id, plain(original), plain(jdl))
        for job_id, original, jdl in await hands.read(jdls.JobID, jdls.OriginalJDL, jdls.JDL)
    ] == [(job_id, f"[n={n};]", f"[JobID={job_id};]") for n, job_id in enumerate(ids)]
    assert set(await hands.read(InputData.c.JobID, InputData.c.LFN)) == {
        (job_id, f"/lab/{n}/{each}") for n, job_id in enumerate(ids) for each in range(n % 3)
    }
    log = LoggingInfo.c
    assert await hands.read(log.JobID, log.SeqNum, log.Status) == [
        (job_id, 1, "Submitting") for job_id in ids
    ]


async def test_no_jobs(hands: Hands, contents: Any) -> None:
    """Nothing is inserted."""
    before = await contents()
    assert (await hands.run(submit_jobs, [])).job_ids == []
    assert await contents() == before


async def test_a_submission_that_fails_leaves_nothing(hands: Hands, contents: Any) -> None:
    """One job with a name that is too long, and none of the call is there."""
    before = await contents()
    long = Job(columns={"JobName": "n" * 129, "Owner": "alice"})
    with pytest.raises(InvalidValue, match="JobName"):
        await hands.run(submit_jobs, [Job(), long])
    assert await contents() == before


async def test_large_jdls(hands: Hands) -> None:
    """Texts of more characters than one statement takes."""
    ids = (await hands.run(submit_jobs, [LargeJob()] * 8)).job_ids
    stored = await hands.read(JobJDLs.c.JobID, JobJDLs.c.JDL)
    assert [(job_id, plain(text) == _noise(job_id)) for job_id, text in stored] == [
        (each, True) for each in ids
    ]
    assert sum(len(text) for _, text in stored) > 4_000_000


async def test_an_id_without_a_job(hands: Hands) -> None:
    """What DIRAC leaves of a job that it refuses late: the id is spent, its JDL can be read."""
    [job_id] = await hands.run(new_job_ids, ["stored"])
    assert await hands.run(original_jdls, [job_id, 99]) == {job_id: "stored"}
    assert await hands.run(current_jdls, [job_id, 99]) == {job_id: ""}
    assert await hands.run(new_job_ids, []) == []
    assert (await hands.run(submit_jobs, [Job()])).job_ids == [job_id + 1]


# Confirming


async def test_confirming(hands: Hands) -> None:
    """Jobs move on to Received; nothing is logged and no time changes (seen on DIRAC 9.1.22)."""
    await hands.add(
        *["Submitting"] * 3, MinorStatus="Bulk transaction confirmation", logged=[(0, "Submitting")]
    )
    before = await hands.job(1)
    assert await hands.run(confirm_jobs, [1, 2]) == [1, 2]
    assert await hands.job(1) == {**before, "Status": "Received", "MinorStatus": "Job accepted"}
    assert await hands.statuses() == ["Received", "Received", "Submitting"]
    assert len(await hands.records()) == 1
    assert await hands.run(confirm_jobs, [2, 1]) == []


@pytest.mark.parametrize("status", ["Received", "Checking", "Waiting", "Matched", "Running"])
def test_confirming_again_is_no_error(status: str) -> None:
    """Jobs that are on their way stay as they are."""
    assert to_confirm([1, 2], {1: status, 2: "Received"}) == []


NOT_VALID = "Job submission error ( 1503 : Requested jobs for bulk transaction are not valid)"


@pytest.mark.parametrize(
    ("requested", "statuses", "problem"),
    [
        ([], {}, "Job submission error ( 1503 : Invalid job specification: [])"),
        ([1, 9], {1: "Submitting"}, NOT_VALID),
        ([1, 1], {1: "Submitting"}, NOT_VALID),
        ([1, 2], {1: "Submitting", 2: "Received"}, NOT_VALID),
        ([1], {1: "Staging"}, NOT_VALID),
        ([1], {1: "Done"}, NOT_VALID),
    ],
    ids=["nothing", "unknown", "twice", "mixed", "Staging", "Done"],
)
def test_what_cannot_be_confirmed(requested: list[int], statuses: dict[int, str], problem: str) -> None:
    """In DIRAC's words."""
    with pytest.raises(Refusal) as caught:
        to_confirm(requested, statuses)
    assert (caught.value.message, caught.value.errno) == (problem, 1503)


async def test_the_number_of_statements_does_not_grow(
    hands: Hands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same number of statements, to submit and to confirm."""
    costs: list[list[int]] = []
    for number in (10, 1000):
        statements.clear()
        answer = await hands.run(submit_jobs, [Job(input_data=("/lab/a",))] * number, state=UNCONFIRMED)
        to_submit = len(statements)
        statements.clear()
        assert len(await hands.run(confirm_jobs, answer.job_ids)) == number
        costs.append([to_submit, len(statements)])
    assert costs[0] == costs[1]
