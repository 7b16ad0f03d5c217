"""What calls of JobManager and JobStateUpdate leave behind, beyond what both routes have in common."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sides import Side
from sqlalchemy import func, select

from legacy_rpc.messages import Call, Credential, Proposal
from shared_db.queries.proxies import StoredProxy, put_proxy
from shared_db.rules.jdl.storage import extracted
from shared_db.schema.job_db import JOB_DB, JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo

from .test_both_routes import kind, places, sides

__all__ = ["kind", "places", "sides"]

DN = "/DC=org/DC=wherry/OU=people/CN="
MANAGER, UPDATE = "WorkloadManagement/JobManager", "WorkloadManagement/JobStateUpdate"
ALICE, ADMIN, PILOT = ("alice", "demo_user"), ("alice", "demo_admin"), ("pilot", "demo_pilot")
ECHO = 'Executable = "/bin/echo";'
# By status, the first job of the demo.
RUNNING, DONE, DELETED = 8, 12, 15


async def rows(side: Side, database: str, statement: Any) -> list[tuple[Any, ...]]:
    async with side.new.databases.unit_of_work() as work:
        return [tuple(row) for row in await work.rows(database, statement)]


async def job(side: Side, job_id: int) -> dict[str, Any]:
    async with side.new.databases.unit_of_work() as work:
        [row] = await work.rows(JOB_DB, select(Jobs).where(Jobs.c.JobID == job_id))
    return dict(row._mapping)


async def commands(side: Side, job_id: int) -> int:
    statement = select(func.count()).select_from(JobCommands).where(JobCommands.c.JobID == job_id)
    [[count]] = await rows(side, JOB_DB, statement)
    return int(count)


async def test_a_proxy_is_asked_for_until_one_is_stored(sides: tuple[Side, Side]) -> None:
    """Owners are asked to upload a proxy unless one is stored that lasts five hours, on both routes alike."""
    now = datetime.now(UTC)

    async def asked(side: Side, method: str, *arguments: Any, caller: tuple[str, str] = ALICE) -> Any:
        return (await side.call(caller, MANAGER, method, list(arguments)))["requireProxyUpload"]

    for side in sides:
        assert await asked(side, "submitJob", ECHO) is True
        assert await asked(side, "killJob", [321]) is True
        assert await asked(side, "killJob", [321], caller=PILOT) is False, "not the caller's"
        for hours, wanted in ((4, True), (6, False)):
            stored = StoredProxy(DN + "alice", "alice", "chain", b"key", now + timedelta(hours=hours))
            async with side.new.databases.unit_of_work(write=True) as work:
                await put_proxy(work, stored)
            assert await asked(side, "submitJob", ECHO) is wanted
            assert await asked(side, "deleteJob", [321]) is wanted
            assert await asked(side, "rescheduleJob", [321]) is wanted
            assert await asked(side, "resetJob", [321], caller=ADMIN) is wanted


async def test_a_job_for_another_vo(sides: tuple[Side, Side]) -> None:
    """The native side spends an id on it, whose JDL stays; REST spends none. No job is there after either."""
    text = f'{ECHO} VirtualOrganization = "other";'
    answers = [await side.call(ALICE, MANAGER, "submitJob", [text]) for side in sides]
    told = {"Status": "Failed", "MinorStatus": "Wrong Virtual Organization in JDL"}
    message = "Job submission error ( 1503 : Wrong Virtual Organization in JDL)"
    refusal = {"OK": False, "Errno": 1503, "Message": message}
    assert answers == [{**refusal, "JobId": 321, **told}, {**refusal, **told}]
    last = select(JobJDLs.c.JobID, JobJDLs.c.OriginalJDL).order_by(JobJDLs.c.JobID.desc()).limit(1)
    [[job_id, original]] = await rows(sides[0], JOB_DB, last)
    assert (job_id, extracted(original)) == (321, f"[{text}]")
    assert (await rows(sides[1], JOB_DB, last))[0][0] == 320
    for side in sides:
        assert await rows(side, JOB_DB, select(func.max(Jobs.c.JobID))) == [(320,)]


async def test_members_wait_for_their_confirmation(sides: tuple[Side, Side]) -> None:
    """Members of a parametric job are Submitting until they are confirmed, by their owner, in any order."""
    for side in sides:
        submitted = await side.call(ALICE, MANAGER, "submitJob", [f'{ECHO} Parameters = {{"a", "b"}};'])
        assert submitted["Value"] == submitted["JobID"] == [321, 322]
        assert {(await job(side, each))["Status"] for each in (321, 322)} == {"Submitting"}
        refused = await side.call(("bob", "demo_user"), MANAGER, "confirmBulkSubmission", [[321, 322]])
        assert refused["Errno"] == 1503
        for _ in range(2):
            confirmed = await side.call(ALICE, MANAGER, "confirmBulkSubmission", [["322", 321]])
            assert confirmed == {"OK": True, "Value": [322, 321]}
        assert {(await job(side, each))["Status"] for each in (321, 322)} == {"Waiting"}


async def test_who_is_told_to_stop(sides: tuple[Side, Side]) -> None:
    """What is deleted without being killed is told to stop on REST only; so is what is set to Killed."""
    for side, told in zip(sides, (0, 1), strict=True):
        deleted = await side.call(ADMIN, MANAGER, "deleteJob", [[RUNNING, DONE]])
        assert deleted["Value"] == [DONE]
        assert [(await job(side, each))["Status"] for each in (RUNNING, DONE)] == ["Killed", "Deleted"]
        assert (await commands(side, RUNNING), await commands(side, DONE)) == (1, told)
        killed = await side.call(ADMIN, UPDATE, "setJobStatus", [RUNNING + 16, "Killed", "", "x"])
        assert killed == {"OK": True, "Value": ([], [])}
        assert await commands(side, RUNNING + 16) == told


async def test_scouting_goes_to_the_native_side(sides: tuple[Side, Side]) -> None:
    """DiracX knows no Scouting: the request is refused before anything is done, and the job is Scouting."""
    checking = 2
    for side in sides:
        answer = await side.call(ADMIN, UPDATE, "setJobStatus", [checking, "Scouting", "m", "x"])
        assert answer == {"OK": True, "Value": (["MinorStatus"], ["m"])}
        assert (await job(side, checking))["Status"] == "Scouting"
        logged = select(LoggingInfo.c.Status).where(
            LoggingInfo.c.JobID == checking, LoggingInfo.c.Status == "Scouting"
        )
        assert len(await rows(side, JOB_LOGGING_DB, logged)) == 1, "once"
    assert sides[1].finished[-1].answered.reason == "fallback-422"


async def test_the_stager_waits_without_a_transaction(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a job is waited for it can be put to Staging, and the answer tells when it was found there."""
    monkeypatch.setattr("shared_db.rules.staging.PAUSE", 0.1)
    for side in sides:
        waiting = asyncio.create_task(side.call(ADMIN, UPDATE, "updateJobFromStager", [2, "Done"]))
        await asyncio.sleep(0.15)
        await side.call(ADMIN, UPDATE, "setJobStatus", [2, "Staging", "", "x"])
        answer = await waiting
        assert answer["Value"].startswith("Found job in Staging after "), answer
        assert ((await job(side, 2))["Status"], (await job(side, 2))["MinorStatus"]) == (
            "Checking",
            "JobScheduling",
        )


async def test_a_limited_proxy_submits_nothing(sides: tuple[Side, Side]) -> None:
    """Neither route takes a job from it."""
    end = datetime.now(UTC) + timedelta(days=1)
    credential = Credential(DN + "alice", DN + "alice", DN + "alice", end, is_proxy=True, group="demo_user")
    for side in sides:
        identity = side.old.front_door.admit(
            Proposal(MANAGER, "RPC", "submitJob"), replace(credential, limited=True)
        )
        outcome = await side.old.front_door.handle(Call(MANAGER, "submitJob", [ECHO], identity, "test"))
        message = "Job submission error ( 1503 : Can't submit using a limited proxy)"
        assert outcome.as_result() == {"OK": False, "Errno": 1503, "Message": message}
