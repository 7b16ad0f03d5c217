"""DIRAC 9's own clients switched over to DiracX, which a site does service by service: here, to our side.

The proxy gets its token from us as `dirac-proxy-init` gets it, and `/DiracX/FutureClientEnabled` says which
clients go another way; whoever calls them does not see it.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, DemoGrid, environment_of

pytestmark = pytest.mark.clients

SWITCHED = """
DiracX
{
  URL = REST
  FutureClientEnabled
  {
    WorkloadManagement
    {
      JobStateUpdate = True
      JobMonitoring = MONITORING
    }
  }
}
"""

START = """
import os
import DIRAC
DIRAC.initialize()
from DIRAC.Core.Security.DiracX import DiracXClient, addTokenToPEM
from DIRAC.WorkloadManagementSystem.Client.JobManagerClient import JobManagerClient
from DIRAC.WorkloadManagementSystem.Client.JobMonitoringClient import JobMonitoringClient
from DIRAC.WorkloadManagementSystem.Client.JobStateUpdateClient import JobStateUpdateClient
from DIRAC.WorkloadManagementSystem.FutureClient.JobMonitoringClient import JobMonitoringClient as Future
from DIRAC.WorkloadManagementSystem.FutureClient.JobStateUpdateClient import JobStateUpdateClient as Switched

def must(result):
    assert result["OK"], result
    return result.get("Value")
"""

# What a user does, and what a job and its pilot do meanwhile.
LIFE = """
must(addTokenToPEM(os.environ["X509_USER_PROXY"], "demo_admin"))
with DiracXClient() as api:
    me = api.auth.userinfo()
    see((me.preferred_username, me.dirac_group, me.vo))
    ids = [job.job_id for job in api.jobs.submit_jdl_jobs(['Executable = "/bin/true";'] * 3)]
see(ids)
job, other, third = ids

jobs = JobStateUpdateClient()
see(isinstance(jobs._getRPC(), Switched))
must(jobs.setJobStatus(job, "Running", "Application", "wrapper", None, True))
must(jobs.setJobApplicationStatus(job, "at event 10"))
must(jobs.setJobSite(job, "DEMO.Geneva.ch"))
must(jobs.setJobParameter(job, "CPU(s)", "12.5"))
must(jobs.setJobParameters(job, [("HostName", "wn01"), ("LocalAccount", "demo")]))
see(must(jobs.sendHeartBeat(job, {"CPUConsumed": 12.5, "LoadAverage": 0.9}, {"StandardOutput": "begun"})))
see(must(jobs.setJobsParameter({other: ("Pilot_Reference", "ref"), third: ("Pilot_Reference", "ref3")})))

future = Future()
see(must(future.getJobsStates([job]))[job])
see(must(future.getJobsMinorStatus([job]))[job])
see(must(future.getJobsSites([job]))[job])

# The switch is the client's alone: others of DIRAC see the same job the old way.
see(must(JobMonitoringClient().getJobsStatus([job]))[job])

# A kill, as the user does it; the job is told with its next heartbeat, and dies.
see(must(JobManagerClient().killJob(job)) == [job])
see(must(jobs.sendHeartBeat(job, {}, {})))
moment = (datetime.datetime.utcnow() + datetime.timedelta(seconds=1)).strftime("%Y-%m-%d %H:%M:%S")
must(jobs.setJobStatusBulk(other, {moment: {"Status": "Matched", "Source": "matcher"}}))
must(jobs.setJobStatus(third, "Killed", "by its owner"))
see({each: state["Status"] for each, state in must(future.getJobsStates([other, third])).items()})

# What is refused is an error that says why.
refused = jobs.setJobStatus(10**9, "Running")
see((refused["OK"], refused.get("Message")))
"""


@pytest.fixture
def run(busy_grid: DemoGrid, tmp_path: Path) -> Callable[..., list[Any]]:
    """Runs a script in DIRAC 9.1.22, switched over, as alice the administrator with a proxy of her own."""
    client = Client("9.1.22", environment_of("9.1.22"), busy_grid, tmp_path)

    def run(script: str, *, monitoring: bool = False) -> list[Any]:
        more = tmp_path / "diracx.cfg"
        more.write_text(
            SWITCHED.replace("REST", busy_grid.facts["rest"]).replace("MONITORING", str(monitoring))
        )
        proxy = Path(shutil.copy(busy_grid.proxy("alice", "demo_admin"), tmp_path / "proxy.pem"))
        proxy.chmod(0o600)
        configurations = f"{busy_grid.facts['dirac_cfg']},{more}"
        return client.run(START + script, proxy, DIRACSYSCONFIG=configurations, TMPDIR=str(tmp_path))

    return run


def parameters_of(grid: DemoGrid, job_id: int) -> dict[str, str]:
    """A job's parameters, as the REST side has them."""
    token = grid.facts["tokens"]["alice"]["demo_admin"]
    url = f"{grid.facts['rest']}/api/jobs/{job_id}/parameters"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as response:
        answer: dict[str, str] = json.load(response)
    return answer


def test_a_jobs_life(run, busy_grid: DemoGrid) -> None:
    """DIRAC's clients submit, update, beat, read and kill through the REST side."""
    seen = run(LIFE)
    me, ids, is_switched, commands, bulk, states, minor, site, legacy = seen[:9]
    told, kill, ends, (done, why) = seen[9:]
    assert (me, len(set(ids)), is_switched) == (("alice", "demo_admin", "demo"), 3, True)
    assert (commands, bulk) == ({}, None)
    running = {"Status": "Running", "MinorStatus": "Application", "ApplicationStatus": "at event 10"}
    assert (states, minor, site) == (running, {"MinorStatus": "Application"}, {"Site": "DEMO.Geneva.ch"})
    assert legacy["Status"] == "Running"
    kept = [parameters_of(busy_grid, each) for each in ids]
    assert kept[0].items() >= {"CPU(s)": "12.5", "HostName": "wn01", "LocalAccount": "demo"}.items()
    assert [each["Pilot_Reference"] for each in kept[1:]] == ["ref", "ref3"]
    assert (told, kill, ends) == (True, {"Kill": ""}, {ids[1]: "Matched", ids[2]: "Killed"})
    assert not done
    assert '"detail":"Not found"' in why


def test_a_client_that_cannot(run) -> None:
    """Who switches over a service that has no such client is told so by DIRAC, and nothing goes astray."""
    [told] = run(
        """
try:
    JobMonitoringClient().getJobsStatus([1])
except NotImplementedError as error:
    see(str(error))
""",
        monitoring=True,
    )
    assert "no diracxClient is provided" in told
