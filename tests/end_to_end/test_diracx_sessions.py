"""diracx-client and diracx-api 0.7.0, unmodified, logged in: auth, jobs, pilots, sandboxes, configuration.

Each session is written once, with the synchronous client; the asynchronous one runs the same calls, awaited.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from .diracx import DiracX

pytestmark = pytest.mark.clients

COMMON = """
from datetime import datetime, timezone
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotModifiedError

def one(parameter, operator, value):
    name = "values" if isinstance(value, list) else "value"
    return {"parameter": parameter, "operator": operator, name: value}

def now():
    return datetime.now(timezone.utc).isoformat()
"""

SYNC = """
from diracx.client.sync import SyncDiracClient

def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except HttpResponseError as error:
        return error.status_code, error.response.json()["detail"]

def session(api):
{session}

with SyncDiracClient() as api:
    session(api)
"""

ASYNC = """
import asyncio
from diracx.client.aio import AsyncDiracClient

async def refused(call, *arguments, **named):
    try:
        await call(*arguments, **named)
    except HttpResponseError as error:
        return error.status_code, error.response.json()["detail"]

async def session(api):
{session}

async def main():
    async with AsyncDiracClient() as api:
        await session(api)

asyncio.run(main())
"""

# A call of the client, or of `refused`: what the asynchronous client wants awaited.
CALL = re.compile(r"(?<![\w.])(?:api\.\w+\.\w+|refused)\(")


def both(script: str) -> dict[str, str]:
    """The script for each of the two clients."""
    indented = "\n".join(f"    {line}" for line in script.strip().splitlines())
    awaited = CALL.sub(lambda call: f"await {call[0]}", indented)
    return {
        "sync": COMMON + SYNC.replace("{session}", indented),
        "async": COMMON + ASYNC.replace("{session}", awaited),
    }


def each_client(script: str) -> pytest.MarkDecorator:
    """Run a test with either client; it is given the script."""
    scripts = both(script)
    return pytest.mark.parametrize("script", scripts.values(), ids=scripts.keys())


AUTH = """
me = api.auth.userinfo()
see((me.preferred_username, me.dirac_group, me.vo, list(me.properties)))
mine = api.auth.get_refresh_tokens()
see(mine)
see(api.auth.revoke_refresh_token_by_jti("OTHER"))
rest = api.auth.get_refresh_tokens()
see([each["JTI"] for each in mine if each not in rest])
see(refused(api.auth.revoke_refresh_token_by_jti, "00000000-0000-7000-8000-000000000000"))
see(refused(api.auth.revoke_refresh_token_by_jti, "nonsense"))
see(refused(api.auth.do_device_flow, user_code="NOSUCHCO"))
"""


@each_client(AUTH)
def test_auth(diracx: DiracX, script: str) -> None:
    """A user sees and revokes the refresh tokens of his logins, here that of another machine."""
    elsewhere = replace(diracx, home=diracx.home / "elsewhere")
    elsewhere.home.mkdir()
    other = elsewhere.logged_in("bob").refresh_token_id
    me, mine, said, gone, unknown, nonsense, flow = diracx.logged_in("bob").python(
        script.replace("OTHER", other)
    )
    assert me == ("bob", "demo_user", "demo", ["NormalUser"])
    assert mine
    assert all(each["Status"] == 1 and "vo:demo" in each["Scope"].split() for each in mine)
    assert {each["Sub"].split(":")[0] for each in mine} == {"demo"}
    assert said == "Refresh token revoked"
    assert gone == [other]
    assert unknown == (404, "Token 00000000-0000-7000-8000-000000000000 not found")
    assert nonsense[0] == 400
    assert flow[0] == 400


JOBS = """
def jdl(name, more=""):
    return f'Executable = "/bin/echo"; JobName = "{name}"; StdOutput = "out"; {more}'

one_job = api.jobs.submit_jdl_jobs([jdl("single")])
see([(each.status, each.minor_status) for each in one_job])
many = api.jobs.submit_jdl_jobs([jdl("parametric", 'Parameters = 3; Arguments = "%n"; ParameterStart = 1;')])
see(len(many))
see(refused(api.jobs.submit_jdl_jobs, [jdl("many")] * 21))
job = one_job[0].job_id
ids = [job] + [each.job_id for each in many]
see(api.jobs.search(parameters=["Status"], search=[one("JobID", "in", ids)]))

running = {str(job): {now(): {"Status": "Matched", "Source": "test"}}}
done = api.jobs.set_job_statuses(running)
see(done.success[str(job)].status)
see(api.jobs.add_heartbeat({str(job): {"CPUConsumed": 1.5}}))
api.jobs.patch_metadata({str(job): {"Site": "DEMO.Geneva.ch", "A parameter": 7}})
see(api.jobs.search(parameters=["Site", "Status"], search=[one("JobID", "eq", job)]))
see(api.jobs.summary(grouping=["JobName"], search=[one("JobID", "in", ids)]))
killed = api.jobs.set_job_statuses({str(each): {now(): {"Status": "Killed"}} for each in ids}, force=False)
see(sorted(killed.success) == sorted(map(str, ids)))
again = api.jobs.reschedule_jobs({"job_ids": [job]})
see(sorted(again["success"]))
found = api.jobs.search(parameters=["Status", "RescheduleCounter"], search=[one("JobID", "eq", job)])
see(found)
"""


@each_client(JOBS)
def test_jobs(bob: DiracX, script: str) -> None:
    """The life of a job as its owner leads it."""
    single, parametric, too_many, waiting, matched, beat, found, summary, killed, again, last = bob.python(
        script
    )
    assert len(single) == 1
    assert parametric == 3
    assert too_many[0] == 400
    assert "more than 20 jobs at once" in too_many[1]
    # Nothing confirms a parametric submission in DiracX 0.7.0.
    assert waiting == [{"Status": "Waiting"}, *[{"Status": "Submitting"}] * 3]
    assert matched == "Matched"
    assert beat == []
    assert found == [{"Site": "DEMO.Geneva.ch", "Status": "Running"}]
    assert sum(each["count"] for each in summary) == 4
    assert killed is True
    assert len(again) == 1
    assert last == [{"Status": "Waiting", "RescheduleCounter": 1}]


PILOTS = """
stamp = "STAMP"
see(api.pilots.register_pilot(pilot_stamp=stamp, vo="demo", grid_type="Slurm"))
see(api.pilots.update_pilot_metadata({stamp: {"Status": "Running"}}))
see(api.pilots.search(parameters=["PilotStamp", "Status"], search=[one("PilotStamp", "eq", stamp)]))
see(api.pilots.summary(grouping=["Status"], search=[one("PilotStamp", "eq", stamp)]))
see(refused(api.pilots.update_pilot_metadata, {"no such pilot": {"Status": "Running"}}))
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_pilots(diracx: DiracX, kind: str) -> None:
    """An operator registers a pilot and finds it again."""
    diracx.logged_in("alice", "demo_admin")
    stamp = f"session-{kind}"
    seen = diracx.python(both(PILOTS)[kind].replace("STAMP", stamp))
    registered, updated, found, summary, unknown = seen
    assert registered is updated is None
    assert found == [{"PilotStamp": stamp, "Status": "Running"}]
    assert summary == [{"Status": "Running", "count": 1}]
    assert unknown[0] in (400, 404)


CONFIG = """
config = api.config.serve_config()
see(config["Registry"]["demo"]["DefaultGroup"])
etag = api.config.serve_config(cls=lambda response, value, _: response.http_response.headers["ETag"])
try:
    api.config.serve_config(etag=etag, match_condition=MatchConditions.IfModified)
except ResourceNotModifiedError as error:
    see(error.status_code)
see(api.config.serve_config(etag="another", match_condition=MatchConditions.IfModified) == config)
"""


@each_client(CONFIG)
def test_config(bob: DiracX, script: str) -> None:
    """The configuration is sent once; then only that it is the same."""
    assert bob.python(script) == ["demo_user", 304, True]


SANDBOXES = """
import asyncio
import json
from pathlib import Path
from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client.aio import AsyncDiracClient

async def main():
    async with AsyncDiracClient() as api:
        folder = Path("input")
        folder.mkdir()
        (folder / "run.sh").write_text("echo hello\\n")
        (folder / "data").write_bytes(bytes(range(256)) * 4096)
        paths = [folder / "run.sh", folder / "data"]
        pfn = await create_sandbox(paths, client=api)
        see(pfn.startswith("SB:"))
        see(await create_sandbox(paths, client=api) == pfn)
        jdl = 'Executable = "run.sh"; InputSandbox = {"%s"};' % pfn
        job = (await api.jobs.submit_jdl_jobs([jdl]))[0].job_id
        see(await api.jobs.get_job_sandbox(job, "input") == [pfn.split("|")[1]])
        await download_sandbox(pfn, Path("output"), client=api)
        see([(Path("output") / path.name).read_bytes() == path.read_bytes() for path in paths])
        (folder / "log").write_text("it went well")
        log = await create_sandbox([folder / "log"], client=api)
        await api.jobs.assign_sandbox_to_job(job, json.dumps(log))  # the generated client sends it as it is
        names = [each.split("|")[1] for each in (pfn, log)]
        both = await api.jobs.get_job_sandboxes(job)
        see({kind.lower(): found == [name] for (kind, found), name in zip(sorted(both.items()), names)})
        await api.jobs.unassign_job_sandboxes(job)
        see(await api.jobs.get_job_sandboxes(job))

asyncio.run(main())
"""


def test_sandboxes(bob: DiracX) -> None:
    """diracx-api packs, uploads, downloads and unpacks a job's files by our signed addresses."""
    own, same, submitted, files, sandboxes, none = bob.python(SANDBOXES)
    assert own is same is submitted is True
    assert files == [True, True]
    assert sandboxes == {"input": True, "output": True}
    assert not any(none.values())


OTHERS = """
from pathlib import Path
alices = api.jobs.search(parameters=["JobID"], search=[one("Owner", "eq", "alice")], per_page=1)
theirs = alices[0]["JobID"]
see(refused(api.jobs.set_job_statuses, {theirs: {now(): {"Status": "Killed"}}}))
see(refused(api.jobs.get_job_sandboxes, theirs))
see(refused(api.jobs.patch_metadata, {str(theirs): {"JobGroup": "stolen"}}))
see(refused(api.jobs.add_heartbeat, {str(theirs): {"CPUConsumed": 1}}))
see(refused(api.jobs.reschedule_jobs, {"job_ids": [theirs]}))
see(refused(api.pilots.register_pilot, pilot_stamp="bobs", vo="demo"))
"""


@each_client(OTHERS)
def test_what_is_not_his(bob: DiracX, script: str) -> None:
    """Bob's client is refused what is alice's or the operators'."""
    assert [status for status, _detail in bob.python(script)] == [403] * 6
