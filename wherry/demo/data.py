"""The demo grid's jobs and pilots: a few hundred, in every state, alice's and bob's."""

from __future__ import annotations

import base64
import hashlib
import itertools
import random
import zlib
from datetime import datetime, timedelta
from typing import Any

from shared_db.administration import initialise
from shared_db.connection import Databases, UnitOfWork
from shared_db.queries.sandbox_jobs import give
from shared_db.queries.sandbox_names import note_name
from shared_db.queries.sandboxes import locked_sandboxes, register_sandbox
from shared_db.rules.clock import status_time_order, to_column, utc_now
from shared_db.rules.job_states import FINAL_STATES, JOB_STATES
from shared_db.rules.pilots import PILOT_STATES
from shared_db.rules.sandboxes import INPUT, OUTPUT, Location, Owner, legacy_name, rest_name
from shared_db.schema.job_db import (
    JOB_DB,
    AtticJobParameters,
    HeartBeatLoggingInfo,
    InputData,
    JobJDLs,
    JobParameters,
    Jobs,
    OptimizerParameters,
)
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs, tq_TaskQueues
from wherry.demo.credentials import SITES, VO

JOBS = 320
PILOTS = 240
OWNERS = (("alice", "demo_user"), ("bob", "demo_user"), ("alice", "demo_admin"))
# Jobs with sandboxes: alice's in both her groups, and bob's.
SANDBOXES = (1, 2, 17, 18, 33, 34)
STARTED_STATES = frozenset({"Running", "Stalled", "Completing", "Completed", "Done", "Failed"})


async def fill(databases: Databases) -> None:
    """Create the tables and fill them; the same grid every time, but for the time of day."""
    await initialise(databases)
    chance = random.Random(9135)  # noqa: S311 - a demo's data need no secrecy
    now = utc_now()
    jobs = [_job(number, now, chance) for number in range(1, JOBS + 1)]
    pilots = [_pilot(number, now, chance) for number in range(1, PILOTS + 1)]
    async with databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, JobJDLs.insert(), [_jdl(job) for job in jobs])
        await work.change(JOB_DB, Jobs.insert(), jobs)
        await work.change(JOB_LOGGING_DB, LoggingInfo.insert(), [_record(job) for job in jobs])
        await work.change(PILOT_AGENTS_DB, PilotAgents.insert(), pilots)
        await work.change(PILOT_AGENTS_DB, JobToPilotMapping.insert(), _mapping(jobs, pilots))
        queues, waiting = _task_queues(jobs)
        await work.change(TASK_QUEUE_DB, tq_TaskQueues.insert(), queues)
        await work.change(TASK_QUEUE_DB, tq_Jobs.insert(), waiting)
        await _sandboxes(work, jobs)
        await _add_details(work, [job for job in jobs if job["StartExecTime"] is not None])


def _job(number: int, now: datetime, chance: random.Random) -> dict[str, Any]:
    status = JOB_STATES[number % len(JOB_STATES)]
    owner, group = OWNERS[number // len(JOB_STATES) % len(OWNERS)]
    submitted = to_column(now - timedelta(minutes=chance.randrange(60, 14 * 24 * 60)))
    started = submitted + timedelta(minutes=30) if status in STARTED_STATES else None
    ended = submitted + timedelta(minutes=55) if status in FINAL_STATES else None
    return {
        "JobID": number,
        "JobType": "User",
        "JobGroup": f"group{number % 5}",
        "JobName": f"demo-{number}",
        "Owner": owner,
        "OwnerGroup": group,
        "VO": VO,
        "Site": chance.choice(list(SITES)) if started else "ANY",
        "SubmissionTime": submitted,
        "StartExecTime": started,
        "EndExecTime": ended,
        "HeartBeatTime": started,
        "LastUpdateTime": ended or started or submitted,
        "Status": status,
        "MinorStatus": "Application" if started else "Job accepted",
        "ApplicationStatus": "Unknown",
        "UserPriority": 1,
        "VerifiedFlag": "True",
    }


def _jdl(job: dict[str, Any]) -> dict[str, Any]:
    text = f'[ Executable = "/bin/echo"; Arguments = "{job["JobID"]}"; JobName = "{job["JobName"]}"; ]'
    packed = base64.b64encode(zlib.compress(text.encode())).decode()
    return {"JobID": job["JobID"], "JDL": packed, "JobRequirements": "", "OriginalJDL": packed}


def _record(job: dict[str, Any]) -> dict[str, Any]:
    moment = job["SubmissionTime"]
    return {
        "JobID": job["JobID"],
        "SeqNum": 1,
        "Status": "Received",
        "MinorStatus": "Job accepted",
        "ApplicationStatus": "Unknown",
        "StatusTime": moment,
        "StatusTimeOrder": status_time_order(moment.replace(tzinfo=utc_now().tzinfo)),
        "StatusSource": "JobManager",
    }


def _pilot(number: int, now: datetime, chance: random.Random) -> dict[str, Any]:
    site, ce = chance.choice(list(SITES.items()))
    submitted = now - timedelta(minutes=chance.randrange(5, 3 * 24 * 60))
    return {
        "PilotID": number,
        "PilotJobReference": f"htcondorce://{ce}/{number}.0",
        "PilotStamp": f"{chance.getrandbits(128):032x}",
        "DestinationSite": ce,
        "GridSite": site,
        "Queue": "demo",
        "VO": VO,
        "GridType": "HTCondorCE",
        "BenchMark": round(chance.uniform(5, 25), 1),
        "SubmissionTime": to_column(submitted),
        "LastUpdateTime": to_column(submitted + timedelta(minutes=4)),
        "Status": PILOT_STATES[number % len(PILOT_STATES)],
        "StatusReason": "Report from the demo",
        "AccountingSent": "False",
    }


def _mapping(jobs: list[dict[str, Any]], pilots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Jobs that started ran on pilots that are running or done."""
    hosts = itertools.cycle(pilot for pilot in pilots if pilot["Status"] in ("Running", "Done"))
    return [
        {"PilotID": next(hosts)["PilotID"], "JobID": job["JobID"], "StartTime": job["StartExecTime"]}
        for job in jobs
        if job["StartExecTime"] is not None
    ]


def _task_queues(jobs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One queue for each owner, with the jobs that wait."""
    queues = [
        {
            "TQId": index,
            "Owner": owner,
            "OwnerGroup": group,
            "VO": VO,
            "CPUTime": 86400,
            "Priority": 1000.0,
            "Enabled": 1,
        }
        for index, (owner, group) in enumerate(OWNERS, 1)
    ]
    waiting = [
        {
            "TQId": OWNERS.index((job["Owner"], job["OwnerGroup"])) + 1,
            "JobId": job["JobID"],
            "Priority": 1,
            "RealPriority": 1000.0,
        }
        for job in jobs
        if job["Status"] == "Waiting"
    ]
    return queues, waiting


async def _add_details(work: UnitOfWork, started: list[dict[str, Any]]) -> None:
    """What jobs that started have told: parameters, measurements, input files; some were rescheduled once."""
    ids = [job["JobID"] for job in started]
    told = {"HostName": "wn1.example.org", "CPU(MHz)": "2400.0"}
    parameters = [
        {"JobID": each, "Name": name, "Value": value} for each in ids for name, value in told.items()
    ]
    again = ids[::10]
    if work.has(JobParameters):
        await work.change(JOB_DB, JobParameters.insert(), parameters)
    attic = [{**row, "RescheduleCycle": 0} for row in parameters if row["JobID"] in again]
    await work.change(JOB_DB, AtticJobParameters.insert(), attic)
    chain = [{"JobID": each, "Name": "OptimizerChain", "Value": "JobPath,JobSanity"} for each in ids]
    await work.change(JOB_DB, OptimizerParameters.insert(), chain)
    files = [{"JobID": each, "LFN": f"{prefix}/demo/{each}"} for each in again for prefix in ("", "LFN:")]
    await work.change(JOB_DB, InputData.insert(), files)
    measured = [
        {
            "JobID": job["JobID"],
            "Name": name,
            "Value": value,
            "HeartBeatTime": job["StartExecTime"] + timedelta(minutes=minute),
        }
        for job in started[::10]
        for minute in (5, 10)
        for name, value in (("CPUConsumed", f"{minute * 58.76}"), ("LoadAverage", "0.98"))
    ]
    await work.change(JOB_DB, HeartBeatLoggingInfo.insert(), measured)


async def _sandboxes(work: UnitOfWork, jobs: list[dict[str, Any]]) -> None:
    """What went into some jobs and came out of them, as far as the database knows: the files are long gone.

    Every other one was uploaded by a client of DIRAC's, and has its name, too.
    """
    given = []
    for number in SANDBOXES:
        job = jobs[number - 1]
        owner = Owner(job["Owner"], job["OwnerGroup"], VO)
        for kind in (INPUT, OUTPUT):
            content = f"{kind} of job {number}".encode()
            sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False)
            at = Location("SandboxSE", rest_name("sandboxes", owner, sha256, "tar.bz2"))
            await register_sandbox(work, owner, at, len(content))
            if number % 2:
                await note_name(work, legacy_name(owner, md5.hexdigest(), "tar.bz2", shares=False), at.name)
            ids = await locked_sandboxes(work, [at])
            given.append({"SBId": ids[at], "EntityId": f"Job:{number}", "Type": kind})
    await give(work, given)
