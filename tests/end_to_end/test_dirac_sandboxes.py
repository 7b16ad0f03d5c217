"""Unmodified DIRAC clients store and fetch sandboxes and ask for jobs; either side fetches the other's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, DemoGrid, environment_of
from .test_diracx_sandboxes import credentials

pytestmark = pytest.mark.clients

NEW, OLD = "9.1.22", "8.0.86"
PLAN = """\
plan: 1
services:
  WorkloadManagement/SandboxStore: {{state: {state}}}
  WorkloadManagement/Matcher: {{state: {state}}}
"""
# Waiting jobs of alice's in demo_user, and running ones.
WAITING = {("legacy", NEW): 5, ("legacy", OLD): 53, ("live", NEW): 101, ("live", OLD): 149}
OWN = {("legacy", NEW): 6, ("legacy", OLD): 7, ("live", NEW): 8, ("live", OLD): 9}
SOMEBODY_ELSES = 20
# What REST stored is theirs.
OF_REST = {"legacy": 10, "live": 11}

START = """
import os, pathlib
import DIRAC
DIRAC.initialize()
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.Core.DISET.TransferClient import TransferClient
from DIRAC.WorkloadManagementSystem.Client.SandboxStoreClient import SandboxStoreClient
there = pathlib.Path(os.environ["THERE"])
there.mkdir()
os.chdir(there)
client = SandboxStoreClient()
def made(name, size):
    (there / name).write_bytes(os.urandom(size))
    return str(there / name)
def same(directory, name):
    return (there / directory / name).read_bytes() == (there / name).read_bytes()
def outcome(result):
    return result["Value"] if result["OK"] else result["Message"]
"""

SESSION = """
files = [made("script.sh", 20), made("data", 3_000_000)]
first = client.uploadFilesAsSandbox(files, assignTo={"Job:JOB": "Output"})["Value"]
see(first)
see(client.downloadSandbox(first, "first")["OK"] and same("first", "data") and same("first", "script.sh"))
see(outcome(client.downloadSandboxForJob(JOB, "Output", "of-job")))
see(outcome(client.uploadFilesAsSandbox(files[:1], assignTo={"Job:OTHER": "Output"})))
made("bad", 2_000_000)
transfer = TransferClient("WorkloadManagement/SandboxStore")
see(outcome(transfer.sendFile("bad", "0" * 32 + ".tar.bz2")))
see(outcome(transfer.sendFile("bad", "bad.exe")))
see(outcome(client.downloadSandbox("SB:SandboxSE|/SandBox/a/alice.demo_user/000/000/none.tar.bz2", "none")))
see(outcome(RPCClient("WorkloadManagement/SandboxStore").getSandboxesAssignedToEntity("Job:JOB")))
asking = {"Site": "DEMO.Geneva.ch", "CPUTime": 100_000, "DIRACVersion": "x", "JobID": WAITS}
matcher = RPCClient("WorkloadManagement/Matcher")
see(outcome(matcher.requestJob(asking)))
see(outcome(matcher.requestJob(asking)))
see(sorted(map(str, outcome(matcher.getMatchingTaskQueues({"CPUTime": 100_000})))))
"""

# What only the newest environment can do: DiracX's client is in it, and HTTPS.
NEWEST = """
import asyncio, json, tarfile
from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client.sync import SyncDiracClient
from DIRAC.Core.Tornado.Client.TornadoClient import TornadoClient

over_https = TornadoClient(os.environ["BASE"] + "/WorkloadManagement/SandboxStore")
second = SandboxStoreClient(rpcClient=over_https, transferClient=over_https)
see(outcome(second.uploadFilesAsSandbox([made("more", 2_000_000)])))
by_https = second.uploadFilesAsSandbox([made("much", 1_000)])["Value"]
name = by_https.partition("|")[2]
see(outcome(over_https.receiveFile("fetched", "/WorkloadManagement/SandboxStore" + name)))
see(tarfile.open("fetched").getnames())

async def there_and_back():
    (there / "by-rest").mkdir()
    pfn = await create_sandbox([pathlib.Path(made("new", 500_000))])
    with SyncDiracClient() as api:
        [stored] = api.jobs.get_job_sandbox(JOB, "output")
        api.jobs.assign_sandbox_to_job(REST, json.dumps(pfn))
    await download_sandbox("SB:SandboxSE|" + stored, pathlib.Path("by-rest"))
    return pfn

pfn = asyncio.run(there_and_back())
see(same("by-rest", "data"))
see(client.downloadSandbox(pfn, "of-rest")["OK"] and same("of-rest", "new"))
see(pfn)
"""
FROM_REST = """
see(outcome(client.downloadSandboxForJob(REST, "Output", "of-rest")))
see(os.listdir("of-rest"))
"""


@pytest.fixture(params=["legacy", "live"])
def state(request: pytest.FixtureRequest, busy_grid: DemoGrid) -> str:
    """Where the two services stand in the plan."""
    Path(busy_grid.facts["plan"]).write_text(PLAN.format(state=request.param) + f"# {time.time()}\n")
    time.sleep(1.5)
    return str(request.param)


def run(grid: DemoGrid, version: str, state: str, script: str, home: Path, **extra: str) -> list[Any]:
    """What alice sees in a session of a client."""
    facts = {
        "JOB": str(OWN[state, version]),
        "OTHER": str(SOMEBODY_ELSES),
        "WAITS": str(WAITING[state, version]),
        "REST": str(OF_REST[state]),
    }
    for name, value in facts.items():
        script = script.replace(name, value)
    client = Client(version, environment_of(version), grid, home)
    variables = {"THERE": str(home / f"there-{version}"), "BASE": grid.facts["https"], **extra}
    return client.run(START + script, grid.proxy("alice", "demo_user"), **variables)


def check_session(seen: list[Any], state: str, version: str) -> None:
    """What every client sees."""
    stored, fetched, of_job, others, wrong, kind, none, assigned, matched, again, queues = seen
    assert stored.startswith("SB:SandboxSE|/SandBox/a/alice.demo_user/") and stored.endswith(".tar.bz2")
    assert fetched is True
    assert of_job == [3_000_020]
    assert others == ("Sandbox does not exist or you are not authorized to assign it being alice@demo_user")
    assert (wrong, kind) == ("Hashes don't match!", "Invalid sandbox extension: ")
    assert "No sandbox matches the requirements" in none
    assert assigned == {"Output": [stored]}
    job = {key: matched[key] for key in ("JobID", "Owner", "Group", "DN", "PilotInfoReportedFlag")}
    assert job == {
        "JobID": WAITING[state, version],
        "Owner": "alice",
        "Group": "demo_user",
        "DN": "/DC=org/DC=wherry/OU=people/CN=alice",
        "PilotInfoReportedFlag": True,
    }
    assert again == "No match found ( 1510 : )"
    assert queues == ["1", "2", "3"]


def test_sandboxes_and_jobs_of_old_clients(busy_grid: DemoGrid, state: str, tmp_path: Path) -> None:
    """9.1.22 and 8.0.86 store and fetch over DISET, 9.1.22 over HTTPS too; either side finds the other's."""
    variables = {
        "DIRACX_URL": busy_grid.facts["rest"],
        "DIRACX_CREDENTIALS_PATH": str(credentials(busy_grid, tmp_path)),
    }
    *seen, by_https, received, names, by_rest, of_rest, pfn = run(
        busy_grid, NEW, state, SESSION + NEWEST, tmp_path, **variables
    )
    check_session(seen, state, NEW)
    assert by_https.startswith("SB:SandboxSE|/SandBox/a/alice.demo_user/")
    assert received in ("", None) or isinstance(received, str)
    assert names == ["much"]
    assert (by_rest, of_rest) == (True, True)
    assert pfn.startswith("SB:SandboxSE|/S3/sandboxes/demo/demo_user/alice/sha256:")
    assert pfn.endswith(".tar.zst")
    # A client that cannot read such an archive gets one that it can.
    *seen, unpacked, files = run(busy_grid, OLD, state, SESSION + FROM_REST, tmp_path)
    check_session(seen, state, OLD)
    assert (unpacked, files) == ([500_000], ["new"])
    assert_routes(busy_grid, state)


def assert_routes(grid: DemoGrid, state: str) -> None:
    """Every call of this state went its way."""
    route = {"legacy": "native", "live": "rest"}[state]
    for method in ("FileTransfer/FromClient", "FileTransfer/ToClient", "requestJob"):
        routes = {record["route"] for record in grid.calls(method) if record["reason"] == state}
        assert routes == {route}, method
