"""Jobs come, start anew and go (``rest-diracx.md``, 6.2 and 6.5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from rest_backend.errors import Forbidden
from rest_backend.operations import Context, RestRequest
from rest_backend.policies.jobs import POLICIES
from rest_backend.principals import Principal
from rest_backend.settings import JobSettings
from shared_db.schema.job_db import JOB_DB, InputData, JobJDLs, JobParameters, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs

from .conftest import SETTINGS, Grid, Said

JDL = "/api/jobs/jdl"
CONFIRM = "/api/jobs/confirm"
RESCHEDULE = "/api/jobs/reschedule"
REMOVE = "/api/jobs/remove"
ECHO = 'Executable = "/bin/echo";'
PARAMETRIC = f'{ECHO} Arguments = "%s"; Parameters = {{"a", "b", "c"}};'
BY_HAND = replace(SETTINGS, jobs=JobSettings(optimise=False))


async def submit(grid: Grid, *jdls: str, caller: str = "alice") -> list[int]:
    """Submit jobs; their ids."""
    said = await grid.http("POST", JDL, list(jdls), caller=caller)
    assert said.status == 201, said.body
    return [job["JobID"] for job in said.body]


async def refused(grid: Grid, *jdls: str, caller: str = "alice") -> tuple[int, Any]:
    """Submit jobs in vain: nothing is left of them."""
    said = await grid.http("POST", JDL, list(jdls), caller=caller)
    assert await grid.rows(JOB_DB, select(JobJDLs.c.JobID).where(JobJDLs.c.JobID > 7)) == []
    return said.status, said.detail


async def jdl_of(grid: Grid, job_id: int, *, original: bool = False) -> str:
    """A job's JDL."""
    said = await grid.http("GET", f"/api/jobs/{job_id}/jdl", query={"original": str(original).lower()})
    assert said.body.keys() == {"JobID", "JDL"}
    assert said.body["JobID"] == job_id
    return str(said.body["JDL"])


async def queued(grid: Grid) -> set[int]:
    """The jobs that are in a task queue, besides those that were from the start."""
    return {row[0] for row in await grid.rows(TASK_QUEUE_DB, select(tq_Jobs.c.JobId))} - {1, 4}


# --- Submission


async def test_one_job(grid) -> None:
    """A submitted job is answered as Received, and Waiting in its task queue by then."""
    before = datetime.now(UTC).replace(microsecond=0)
    said = await grid.http(
        "POST", JDL, [f'{ECHO} JobName = "n"; Foo = "%j"; InputData = "/demo/a";'], caller="alice"
    )
    assert said.status == 201
    [job] = said.body
    moment = datetime.fromisoformat(job.pop("TimeStamp"))
    assert before <= moment <= datetime.now(UTC)
    assert job == {"JobID": 8, "Status": "Received", "MinorStatus": "Job accepted"}
    found = await grid.job(8)
    assert {
        name: found[name] for name in ("Status", "JobName", "Owner", "OwnerGroup", "VO", "Site", "JobType")
    } == {
        "Status": "Waiting",
        "JobName": "n",
        "Owner": "alice",
        "OwnerGroup": "demo_user",
        "VO": "demo",
        "Site": "ANY",
        "JobType": "user",
    }
    assert await queued(grid) == {8}
    history = (await grid.job(8, "LoggingInfo"))["LoggingInfo"]
    assert (history[0]["Status"], history[0]["MinorStatus"], history[0]["Source"]) == (
        "Received",
        "Job accepted",
        "JobManager",
    )
    assert history[-1]["Status"] == "Waiting"
    assert await grid.rows(JOB_DB, select(InputData.c.JobID, InputData.c.LFN)) == [(8, "/demo/a")]
    assert 'Foo = "%j"' in await jdl_of(grid, 8, original=True)
    assert 'Foo = "8"' in await jdl_of(grid, 8)


async def test_several_jobs(grid) -> None:
    """Jobs of one request get ascending ids in its order, each with its own JDL, and one time stamp."""
    jdls = [f'{ECHO} JobName = "{number}";' for number in range(20)]
    said = await grid.http("POST", JDL, jdls, caller="alice")
    assert said.status == 201
    assert [job["JobID"] for job in said.body] == list(range(8, 28))
    assert len({job["TimeStamp"] for job in said.body}) == 1
    names = await grid.rows(JOB_DB, select(Jobs.c.JobName).where(Jobs.c.JobID > 7).order_by(Jobs.c.JobID))
    assert names == [(str(number),) for number in range(20)]
    assert await queued(grid) == set(range(8, 28))


async def test_a_parametric_job(grid) -> None:
    """Its members wait for their confirmation; then they go on together; to repeat it is no error."""
    said = await grid.http("POST", JDL, [PARAMETRIC], caller="alice")
    assert said.status == 201
    assert [(job["JobID"], job["Status"], job["MinorStatus"]) for job in said.body] == [
        (job_id, "Submitting", "Bulk transaction confirmation") for job_id in (8, 9, 10)
    ]
    assert 'Arguments = "b"' in await jdl_of(grid, 9)
    assert await queued(grid) == set()
    some = await grid.http("POST", CONFIRM, {"job_ids": [8, 1]}, caller="alice")
    assert (some.status, some.detail) == (
        400,
        "Job submission error ( 1503 : Requested jobs for bulk transaction are not valid)",
    )
    said = await grid.http("POST", CONFIRM, {"job_ids": [8, 9, 10]}, caller="alice")
    assert (said.status, said.body) == (200, {"confirmed": [8, 9, 10]})
    assert await queued(grid) == {8, 9, 10}
    said = await grid.http("POST", CONFIRM, {"job_ids": [8, 9, 10]}, caller="alice")
    assert (said.status, said.body) == (200, {"confirmed": []})


async def test_where_others_optimise(make_grid) -> None:
    """Without ``optimise`` a job stays where DIRAC's JobManager leaves it, in no task queue."""
    async with make_grid(rest=BY_HAND) as grid:
        [job_id] = await submit(grid, ECHO)
        job = await grid.job(job_id)
        assert (job["Status"], job["MinorStatus"]) == ("Received", "Job accepted")
        assert (await grid.http("POST", RESCHEDULE, {"job_ids": [job_id]})).status == 200
        members = await submit(grid, PARAMETRIC)
        assert (await grid.http("POST", CONFIRM, {"job_ids": members})).status == 200
        assert {(await grid.job(each))["Status"] for each in (job_id, *members)} == {"Received"}
        assert await queued(grid) == set()


@pytest.mark.parametrize(
    ("jdls", "detail"),
    [
        ([], "JDL syntax error"),
        ([""], "JDL syntax error"),
        (["[]"], "JDL syntax error"),
        (["foo bar"], "JDL syntax error"),
        ([ECHO, "["], "JDL syntax error"),
        ([f'{ECHO} JobType = "Odd";'], "JDL syntax error"),
        ([f'{ECHO} VirtualOrganization = "other";'], "JDL syntax error"),
        ([f"{ECHO} Parameters = 0;"], "JDL syntax error"),
        ([ECHO, PARAMETRIC], "You cannot submit parametric jobs in a bulk fashion"),
        ([ECHO] * 21, "Normal user cannot submit more than 20 jobs at once"),
        ([f"{ECHO} Parameters = 21;"], "Normal user cannot submit more than 20 jobs at once"),
        ([f"{ECHO} Parameters = 1000000000;"], "Normal user cannot submit more than 20 jobs at once"),
        ([f'{ECHO} JobName = "{"x" * 200}";'], "Value of JobName is too long"),
    ],
)
async def test_what_is_not_taken(grid, jdls, detail) -> None:
    """DiracX's texts; of a request that is refused nothing is left."""
    assert await refused(grid, *jdls) == (400, detail)


@pytest.mark.parametrize(
    "jdl",
    [
        "Arguments = 1;",
        f"{ECHO} CPUTime = 9; Priority = 99;",
        f'{ECHO} Owner = "bob"; JobType = "Test";',
        f"[{ECHO}]",
    ],
)
async def test_what_diracx_takes(grid, jdl) -> None:
    """No executable, bounds exceeded, somebody else named: taken, and the owner is who submits."""
    [job_id] = await submit(grid, jdl)
    assert (await grid.job(job_id))["Owner"] == "alice"
    assert 'Owner = "alice"' in await jdl_of(grid, job_id)


async def test_a_sites_own_settings(make_grid) -> None:
    """Operations say which job types there are and what is added; the VO's section goes first."""
    settings = {
        "Operations/Defaults/JobDescription/AllowedJobTypes": "User",
        "Operations/demo/JobDescription/AllowedJobTypes": "Merge, User",
        "Operations/Defaults/JobDescription/DefaultCPUTime": "4242",
        "Operations/Defaults/InputDataPolicy/InputDataModule": "DIRAC.Resolution",
        "Systems/WorkloadManagement/Databases/JobDB/MaxRescheduling": "1",
        "Systems/WorkloadManagement/Services/JobManager/MaxParametricJobs": "100",
    }
    async with make_grid(settings=settings, rest=replace(SETTINGS, jobs=JobSettings(2))) as grid:
        [job_id] = await submit(grid, f'{ECHO} JobType = "Merge";')
        jdl = await jdl_of(grid, job_id)
        assert 'InputDataModule = "DIRAC.Resolution"' in jdl
        assert "CPUTime = 4242" in jdl
        assert (await grid.http("POST", JDL, [f'{ECHO} JobType = "Merge";'], caller="olga")).status == 400
        assert (await grid.http("POST", JDL, [ECHO] * 3, caller="alice")).detail.endswith(
            "more than 2 jobs at once"
        )
        # Members are bounded by MaxParametricJobs.
        assert len(await submit(grid, f"{ECHO} Parameters = 3;")) == 3
        assert (await grid.http("POST", JDL, [f"{ECHO} Parameters = 101;"], caller="alice")).status == 400
        limits = (await grid.http("GET", "/api/jobs/limits", caller="alice")).body
        assert (limits["job_types"], limits["default_cpu_time"]) == (["Merge", "User"], 4242)
        assert (limits["jobs_per_submission"], limits["parametric_jobs"]) == (2, 100)
        assert limits["reschedulings"] == 1
        assert (await grid.http("POST", RESCHEDULE, {"job_ids": [job_id]})).status == 200
        said = await grid.http("POST", RESCHEDULE, {"job_ids": [job_id]})
        reason = {"detail": "Maximum number of reschedules exceeded (1)"}
        assert (said.status, said.detail) == (400, {"failed": {str(job_id): reason}, "success": {}})


async def test_many_at_once(grid) -> None:
    """Submissions at the same time all succeed, with ids of their own and histories that begin at 1."""
    ids = await asyncio.gather(*[submit(grid, ECHO, ECHO) for _ in range(16)])
    assert len({each for some in ids for each in some}) == 32
    first = select(LoggingInfo.c.JobID).where(LoggingInfo.c.JobID > 7, LoggingInfo.c.SeqNum == 1)
    assert len(await grid.rows(JOB_LOGGING_DB, first)) == 32


# --- Rescheduling


async def rescheduled(grid: Grid, *job_ids: int, caller: str = "alice", **query: str) -> Said:
    """Have jobs start anew."""
    return await grid.http("POST", RESCHEDULE, {"job_ids": list(job_ids)}, caller=caller, query=query)


async def test_rescheduling(grid) -> None:
    """A job starts anew from what was submitted: counted, logged, its parameters in the attic."""
    [job_id] = await submit(grid, f'{ECHO} Priority = 5; Site = "DEMO.Lyon.fr";')
    parameters = {job_id: {"HostName": "n1"}}
    assert (await grid.http("PATCH", "/api/jobs/metadata", parameters, caller="alice")).status == 204
    late = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    forced = {job_id: {late: {"Status": "Running", "Source": "JobAgent"}}}
    assert (await grid.http("PATCH", "/api/jobs/status", forced, query={"force": "true"})).status == 200

    said = await rescheduled(grid, job_id)

    assert said.status == 200
    assert said.body["failed"] == {}
    [(key, job)] = said.body["success"].items()
    assert key == str(job_id)
    assert f"JobID = {job_id}" in job["InputData"]
    assert (job["Site"], job["UserPriority"], job["RescheduleCounter"]) == ("DEMO.Lyon.fr", 5, 1)
    assert job.keys() == {
        *("InputData", "Site", "UserPriority", "RescheduleTime", "RescheduleCounter"),
        *("Status", "MinorStatus", "ApplicationStatus", "HeartBeatTime", "StartExecTime", "EndExecTime"),
        "LastUpdateTime",
    }
    attic = await grid.http("POST", "/api/jobs/attic-parameters/search", {"job_ids": [job_id]})
    assert attic.body[str(job_id)]["0"]["HostName"] == "n1"
    assert (await grid.http("GET", f"/api/jobs/{job_id}/parameters")).body == {}
    assert (await grid.job(job_id))["RescheduleCounter"] == 1


async def test_too_often(grid) -> None:
    """After three times a job is Failed, which stays though the answer is 400; a reset counts anew."""
    [job_id] = await submit(grid, ECHO)
    for count in (1, 2, 3):
        said = await rescheduled(grid, job_id)
        assert said.body["success"][str(job_id)]["RescheduleCounter"] == count
        assert (await grid.job(job_id))["Status"] == "Waiting"
        assert job_id in await queued(grid)
    said = await rescheduled(grid, job_id)
    reason = {"detail": "Maximum number of reschedules exceeded (3)"}
    assert (said.status, said.detail) == (400, {"failed": {str(job_id): reason}, "success": {}})
    job = await grid.job(job_id)
    assert (job["Status"], job["MinorStatus"]) == ("Failed", "Maximum of reschedulings reached")
    assert await queued(grid) == set()
    said = await rescheduled(grid, job_id, reset_jobs="true")
    assert said.body["success"][str(job_id)]["RescheduleCounter"] == 0
    assert (await grid.job(job_id))["Status"] == "Waiting"


async def test_some_cannot_be_rescheduled(grid) -> None:
    """Jobs that do not exist are dropped beside others; one without a JDL is named, and stays as it is."""
    [job_id] = await submit(grid, ECHO)
    said = await rescheduled(grid, job_id, 2, 999, caller="admin")
    assert said.status == 200
    assert list(said.body["success"]) == [str(job_id)]
    assert list(said.body["failed"]) == ["2"]
    assert "empty" in said.body["failed"]["2"]["detail"]
    assert (await grid.job(2))["Status"] == "Running"
    said = await rescheduled(grid, 999, caller="admin")
    assert (said.status, said.detail) == (400, {"failed": {}, "success": {}})


# --- Removal


async def test_removal(grid) -> None:
    """Of removed jobs there is no row left, and others keep theirs."""
    [job_id] = await submit(grid, f'{ECHO} InputData = "/demo/a";')
    values = {job_id: {"a": "b"}, 1: {"a": "b"}}
    assert (await grid.http("PATCH", "/api/jobs/parameters", values, caller="alice")).body == {"changed": 2}
    said = await grid.http("POST", REMOVE, {"job_ids": [job_id, 3, job_id]}, caller="alice")
    assert (said.status, said.body) == (200, {"removed": [3, job_id]})
    for database, column in (
        (JOB_DB, Jobs.c.JobID),
        (JOB_DB, JobJDLs.c.JobID),
        (JOB_DB, InputData.c.JobID),
        (JOB_LOGGING_DB, LoggingInfo.c.JobID),
        (TASK_QUEUE_DB, tq_Jobs.c.JobId),
    ):
        assert await grid.rows(database, select(column).where(column.in_([3, job_id]))) == []
    assert await grid.rows(JOB_DB, select(JobParameters.c.JobID)) == [(1,)]
    said = await grid.http("POST", REMOVE, {"job_ids": [3]})
    assert (said.status, said.body) == (200, {"removed": []})


async def test_one_job_of_another_spares_all(grid) -> None:
    """A list with somebody else's job, or one that is not there, is refused as a whole."""
    for others in (4, 999):
        said = await grid.http("POST", REMOVE, {"job_ids": [1, others]}, caller="alice")
        assert (said.status, said.detail) == (403, "Forbidden")
    assert (await grid.job(1))["Status"] == "Waiting"


# --- Pilots


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
async def test_a_pilots_own_token(grid, policy) -> None:
    """A pilot that has a token of its own is refused by every policy of jobs, whatever its token says."""
    properties = ("GenericPilot", "NormalUser", "JobAdministrator", "Operator")
    asked = {1: {}}
    caller = Principal("s1", "demo", "demo_user", "alice", properties)
    request = RestRequest("PATCH", "/api/jobs/status", body=asked)
    async with grid.databases.unit_of_work() as work:
        context = Context(caller, work, grid.runner.resources, request)
        await policy.check(context, asked, None)
        with pytest.raises(Forbidden):
            await policy.check(replace(context, principal=replace(caller, pilot_stamp="s1")), asked, None)
