"""Every periodic task on rows: what is there before it, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Table, select

from rest_backend.operations import Resources
from rest_backend.settings import JobSettings, PilotSettings, Settings
from rest_backend.tasks.table import TASKS
from rest_backend.tasks.turn import Turn
from shared_db.connection import Databases
from shared_db.queries.leases import NOBODY, Terms, take
from shared_db.queries.sandbox_jobs import assign_sandbox
from shared_db.queries.sandboxes import register_sandbox
from shared_db.rules.clock import to_column
from shared_db.rules.jdl.storage import compressed
from shared_db.rules.sandboxes import OUTPUT, Location, Owner
from shared_db.schema.job_db import JobCommands, JobJDLs, Jobs
from shared_db.schema.job_logging_db import LoggingInfo
from shared_db.schema.pilot_agents_db import JobToPilotMapping, PilotAgents, PilotOutput
from shared_db.schema.sandbox_metadata_db import sb_SandBoxes
from shared_db.schema.task_queue_db import tq_Jobs, tq_TaskQueues
from shared_db.schema.wherry_db import (
    answers,
    flows,
    leases,
    pilot_logs,
    pilot_secrets,
    proxies,
    proxy_log,
    refresh_tokens,
    revocations,
)

JDL = compressed('[ Executable = "x"; CPUTime = 1000; ]')
WHOSE = {"Owner": "alice", "OwnerGroup": "demo_user", "VO": "demo"}
TERMS = Terms()


def ago(**time: float) -> datetime:
    """A moment before the present."""
    return datetime.now(UTC) - timedelta(**time)


@dataclass
class Rows:
    """An empty database, in which one task is done."""

    resources: Resources

    @property
    def databases(self) -> Databases:
        """Where the rows are."""
        return self.resources.databases

    async def insert(self, table: Table, *rows: dict[str, Any]) -> None:
        """Put rows into a table; each may have columns of its own."""
        async with self.databases.unit_of_work(write=True) as work:
            for row in rows:
                await work.change(table.metadata.info["database"], table.insert(), row)

    async def read(self, *columns: Column[Any]) -> list[Any]:
        """The columns of all rows, in their order; of one column its values."""
        database = columns[0].table.metadata.info["database"]
        async with self.databases.unit_of_work() as work:
            rows = await work.rows(database, select(*columns).order_by(*columns))
        return [row[0] if len(columns) == 1 else tuple(row) for row in rows]

    async def jobs(self, *jobs: tuple[str, timedelta], **columns: Any) -> None:
        """Jobs with ids from 1: status, and how long ago they were updated."""
        for job_id, (status, time) in enumerate(jobs, 1):
            jdl = {"JobID": job_id, "JDL": JDL, "JobRequirements": "", "OriginalJDL": JDL}
            await self.insert(JobJDLs, jdl)
            updated = to_column(datetime.now(UTC) - time)
            row = {"JobID": job_id, "Status": status, "LastUpdateTime": updated, **WHOSE, **columns}
            await self.insert(Jobs, row)

    async def statuses(self) -> list[str]:
        """Those of all jobs, by id."""
        return [status for _, status in await self.read(Jobs.c.JobID, Jobs.c.Status)]

    async def pilot(self, pilot_id: int, status: str, days: float, *job_ids: int) -> None:
        """A pilot that was submitted and updated some days ago, and given jobs."""
        moment = to_column(ago(days=days))
        times = {"SubmissionTime": moment, "LastUpdateTime": moment}
        row = {"PilotID": pilot_id, "PilotJobReference": "p", "VO": "demo", "Status": status, **times}
        await self.insert(PilotAgents, row)
        for job_id in job_ids:
            await self.insert(JobToPilotMapping, {"PilotID": pilot_id, "JobID": job_id, "StartTime": moment})

    async def queue(self, queue_id: int, *job_ids: int) -> None:
        """A task queue of alice's."""
        row = {**WHOSE, "TQId": queue_id, "CPUTime": 360 * queue_id, "Priority": 7.0, "Enabled": 1}
        await self.insert(tq_TaskQueues, row)
        for job_id in job_ids:
            row = {"TQId": queue_id, "JobId": job_id, "Priority": 1, "RealPriority": 1.0}
            await self.insert(tq_Jobs, row)

    async def do(self, name: str) -> int:
        """Do a task once, under its lease."""
        [task] = [each for each in TASKS if each.name == name]
        now = datetime.now(UTC)
        async with self.databases.unit_of_work(write=True) as work:
            lease = await take(work, task.lease, "test", TERMS, now)
        assert lease is not None
        done = await task.run(Turn(self.resources, lease, TERMS, asyncio.Event(), pause_seconds=0))
        async with self.databases.unit_of_work(write=True) as work:
            gone = {"holder": NOBODY, "due_at": None}
            await work.change("WherryDB", leases.update().values(gone))
        return done


@pytest.fixture
async def rows(grid: Any) -> Rows:
    """A grid without jobs and pilots."""
    resources = grid.runner.resources
    async with grid.databases.unit_of_work(write=True) as work:
        for table in (tq_Jobs, tq_TaskQueues, LoggingInfo, JobToPilotMapping, PilotAgents, Jobs, JobJDLs):
            await work.change(table.metadata.info["database"], table.delete())
    return Rows(replace(resources, settings=Settings()))


Check = Callable[[Rows], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def of(name: str) -> Callable[[Check], Check]:
    """Marks the check of a task."""

    def keep(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return keep


@of("mark-stalled-jobs")
async def _(rows: Rows) -> None:
    late, early = timedelta(minutes=76), timedelta(minutes=74)
    await rows.jobs(("Running", late), ("Running", early), ("Completing", late), ("Matched", late))
    assert await rows.do("mark-stalled-jobs") == 2
    assert await rows.statuses() == ["Stalled", "Running", "Stalled", "Matched"]
    assert await rows.read(LoggingInfo.c.JobID, LoggingInfo.c.StatusSource) == [
        (1, "StalledJobAgent"),
        (3, "StalledJobAgent"),
    ]


@of("fail-stalled-jobs")
async def _(rows: Rows) -> None:
    await rows.jobs(*[("Stalled", timedelta(minutes=each)) for each in (1, 194, 196)])
    await rows.pilot(1, "Running", 1, 2, 3)
    assert await rows.do("fail-stalled-jobs") == 2
    assert await rows.statuses() == ["Failed", "Stalled", "Failed"]
    assert await rows.read(Jobs.c.JobID, Jobs.c.MinorStatus) == [
        (1, "Job stalled: pilot not running"),
        (2, "Unknown"),
        (3, "Stalling for more than 11700 sec"),
    ]
    assert await rows.read(JobCommands.c.JobID, JobCommands.c.Command) == [(1, "Kill"), (3, "Kill")]


@of("fail-unconfirmed-jobs")
async def _(rows: Rows) -> None:
    await rows.jobs(("Submitting", timedelta(minutes=6)), ("Submitting", timedelta(minutes=4)))
    assert await rows.do("fail-unconfirmed-jobs") == 1
    assert await rows.statuses() == ["Failed", "Submitting"]


@of("reschedule-stuck-jobs")
async def _(rows: Rows) -> None:
    minutes = [("Matched", 121), ("Matched", 119), ("Rescheduled", 11), ("Rescheduled", 9)]
    await rows.jobs(*[(status, timedelta(minutes=each)) for status, each in minutes])
    assert await rows.do("reschedule-stuck-jobs") == 2
    # Optimised at once, as jobs are that somebody reschedules.
    assert await rows.statuses() == ["Waiting", "Matched", "Waiting", "Rescheduled"]
    assert await rows.read(tq_Jobs.c.JobId) == [1, 3]
    assert await rows.read(Jobs.c.JobID, Jobs.c.RescheduleCounter) == [(1, 1), (2, 0), (3, 1), (4, 0)]


@of("optimise-stuck-jobs")
async def _(rows: Rows) -> None:
    minutes = [("Received", 11), ("Checking", 11), ("Received", 9)]
    await rows.jobs(*[(status, timedelta(minutes=each)) for status, each in minutes])
    resources = rows.resources
    rows.resources = replace(resources, settings=Settings(jobs=JobSettings(optimise=False)))
    assert await rows.do("optimise-stuck-jobs") == 0
    rows.resources = resources
    assert await rows.do("optimise-stuck-jobs") == 2
    assert await rows.statuses() == ["Waiting", "Waiting", "Received"]
    assert await rows.read(tq_Jobs.c.JobId) == [1, 2]


@of("delete-ended-jobs")
async def _(rows: Rows) -> None:
    old = timedelta(days=7, minutes=1)
    await rows.jobs(*[(each, old) for each in ("Done", "Failed", "Killed", "Completed", "Running")])
    assert await rows.do("delete-ended-jobs") == 3
    assert await rows.statuses() == ["Deleted", "Deleted", "Deleted", "Completed", "Running"]
    await rows.insert(JobJDLs, {"JobID": 6, "JDL": "", "JobRequirements": "", "OriginalJDL": ""})
    row = {"JobID": 6, "Status": "Done", "LastUpdateTime": to_column(ago(days=8)), "JobType": "Merge"}
    await rows.insert(Jobs, row)
    assert await rows.do("delete-ended-jobs") == 0


@of("remove-deleted-jobs")
async def _(rows: Rows) -> None:
    await rows.jobs(*[("Deleted", timedelta(minutes=each)) for each in (61, 59)], ("Done", timedelta(2)))
    assert await rows.do("remove-deleted-jobs") == 1
    assert await rows.read(Jobs.c.JobID) == await rows.read(JobJDLs.c.JobID) == [2, 3]


@of("clean-task-queues")
async def _(rows: Rows) -> None:
    await rows.jobs(("Waiting", timedelta(0)))
    await rows.queue(1, 1)
    await rows.queue(2)
    assert await rows.do("clean-task-queues") == 1
    assert await rows.read(tq_TaskQueues.c.TQId) == [1]


@of("share-priorities")
async def _(rows: Rows) -> None:
    await rows.jobs(("Waiting", timedelta(0)), ("Waiting", timedelta(0)))
    await rows.queue(1, 1)
    await rows.queue(2, 2)
    assert await rows.do("share-priorities") == 0
    [one, two] = await rows.read(tq_TaskQueues.c.TQId, tq_TaskQueues.c.Priority)
    assert one[1] == two[1] != 7.0


@of("give-up-silent-pilots")
async def _(rows: Rows) -> None:
    await rows.jobs(("Running", timedelta(0)))
    await rows.pilot(1, "Waiting", 3.1)
    await rows.pilot(2, "Running", 2.9)
    await rows.pilot(3, "Running", 3.1, 1)
    assert await rows.do("give-up-silent-pilots") == 1
    c = PilotAgents.c
    assert await rows.read(c.PilotID, c.Status) == [(1, "Deleted"), (2, "Running"), (3, "Running")]


@of("remove-past-pilots")
async def _(rows: Rows) -> None:
    await rows.pilot(1, "Done", 30.1, 1)
    await rows.pilot(2, "Done", 29.9)
    await rows.pilot(3, "Aborted", 7.1)
    await rows.pilot(4, "Aborted", 6.9)
    await rows.insert(PilotOutput, {"PilotID": 1, "StdOutput": "out", "StdError": ""})
    assert await rows.do("remove-past-pilots") == 2
    assert await rows.read(PilotAgents.c.PilotID) == [2, 4]
    assert await rows.read(PilotOutput.c.PilotID) == await rows.read(JobToPilotMapping.c.PilotID) == []


@of("clean-sandboxes")
async def _(rows: Rows) -> None:
    store = rows.resources.sandbox_store
    places = [Location("SandboxSE", f"/S3/{store.bucket}/demo/{name}") for name in ("old", "mine", "new")]
    await rows.jobs(("Done", timedelta(0)))
    async with rows.databases.unit_of_work(write=True) as work:
        for place in places:
            await register_sandbox(work, Owner("alice", "demo_user", "demo"), place, 10)
        await assign_sandbox(work, 1, places[1], OUTPUT)
        old = {"LastAccessTime": to_column(ago(days=16))}
        names = [place.name for place in places[:2]]
        await work.change(
            "SandboxMetadataDB", sb_SandBoxes.update().where(sb_SandBoxes.c.SEPFN.in_(names)).values(old)
        )
    assert await rows.do("clean-sandboxes") == 1
    assert await rows.read(sb_SandBoxes.c.SEPFN) == sorted(place.name for place in places[1:])


@of("purge-tokens")
async def _(rows: Rows) -> None:
    usual = {"family": "f", "subject": "demo:s", "vo": "demo", "scope": "", "status": "CREATED"}
    usual |= {"legacy_exchange": False, "policies_json": "{}", "created_at": ago(days=1)}
    for jti, ended in (("old", ago(seconds=1)), ("new", ago(seconds=-60))):
        await rows.insert(refresh_tokens, {"jti": jti, "expires_at": ended, **usual})
    assert await rows.do("purge-tokens") == 1
    assert await rows.read(refresh_tokens.c.jti) == ["new"]


@of("purge-logins")
async def _(rows: Rows) -> None:
    usual = {"kind": "device", "status": "PENDING", "client_id": "c", "scope": "", "redirect_uri": ""}
    usual |= {"code_challenge": "", "code_challenge_method": "", "id_token_json": ""}
    for flow_id, ended in (("old", ago(minutes=61)), ("new", ago(minutes=59))):
        times = {"created_at": ago(days=1), "expires_at": ended}
        await rows.insert(flows, {"flow_id": flow_id, **usual, **times})
    assert await rows.do("purge-logins") == 1
    assert await rows.read(flows.c.flow_id) == ["new"]


@of("purge-revocations")
async def _(rows: Rows) -> None:
    usual = {"kind": "jti", "revoked_at": ago(days=1), "who": "", "why": ""}
    for value, until in (("old", ago(seconds=1)), ("new", ago(seconds=-60))):
        await rows.insert(revocations, {"value": value, "until": until, **usual})
    assert await rows.do("purge-revocations") == 1
    assert await rows.read(revocations.c.value) == ["new"]


@of("purge-pilot-secrets")
async def _(rows: Rows) -> None:
    usual = {"vo": "demo", "constraints_json": "{}", "created_at": ago(days=1)}
    for name, ended in (("ended", ago(seconds=1)), ("for ever", None), ("good", ago(seconds=-60))):
        await rows.insert(pilot_secrets, {"secret_hash": name, "expires_at": ended, **usual})
    assert await rows.do("purge-pilot-secrets") == 1
    assert await rows.read(pilot_secrets.c.secret_hash) == ["for ever", "good"]


@of("purge-pilot-logs")
async def _(rows: Rows) -> None:
    usual = {"pilot_stamp": "s", "vo": "demo", "severity": "INFO", "scope": "", "said_at": ago(days=1)}
    for message, days in (("old", 30.1), ("new", 29.9)):
        await rows.insert(pilot_logs, {"message": message, "received_at": ago(days=days), **usual})
    resources = rows.resources
    rows.resources = replace(resources, settings=Settings(pilots=PilotSettings(log_lifetime=None)))
    assert await rows.do("purge-pilot-logs") == 0
    rows.resources = resources
    assert await rows.do("purge-pilot-logs") == 1
    assert await rows.read(pilot_logs.c.message) == ["new"]


@of("purge-answers")
async def _(rows: Rows) -> None:
    for name, hours in (("old", 24.1), ("new", 23.9)):
        row = {"key_hash": name, "request_hash": "", "status": 200, "sealed": ""}
        await rows.insert(answers, {**row, "created_at": ago(hours=hours)})
    assert await rows.do("purge-answers") == 1
    assert await rows.read(answers.c.key_hash) == ["new"]


@of("purge-proxies")
async def _(rows: Rows) -> None:
    usual = {"user_dn": "", "username": "alice", "chain": "", "key_sealed": b"", "stored_at": ago(days=1)}
    for dn, ended in (("old", ago(seconds=1)), ("new", ago(seconds=-60))):
        await rows.insert(proxies, {"dn": dn, "expires_at": ended, **usual})
    assert await rows.do("purge-proxies") == 1
    assert await rows.read(proxies.c.dn) == ["new"]


@of("purge-proxy-log")
async def _(rows: Rows) -> None:
    usual = {"issuer_dn": "", "issuer_group": "", "target_dn": "", "target_group": ""}
    for action, days in (("old", 180.1), ("new", 179.9)):
        await rows.insert(proxy_log, {"action": action, "happened_at": ago(days=days), **usual})
    assert await rows.do("purge-proxy-log") == 1
    assert await rows.read(proxy_log.c.action) == ["new"]


@pytest.mark.parametrize("name", [task.name for task in TASKS])
async def test_task(rows: Rows, name: str) -> None:
    """What is old goes or changes, and nothing else; a second time there is nothing to do."""
    await CHECKS[name](rows)
    again = await rows.do(name)
    assert again == 0
