"""The unmodified DiracX 0.7.0 client against the demo grid: our REST side is DiracX's to it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, DemoGrid

pytestmark = pytest.mark.clients

DIRAC = "9.1.22"  # whose environment holds diracx-client and diracx-cli 0.7.0


@pytest.fixture(scope="module")
def client(dirac_client: Callable[[str], Client]) -> Client:
    """The environment with the DiracX client."""
    return dirac_client(DIRAC)


def unsigned(claims: dict[str, Any]) -> str:
    """Something that looks like a JWT: the client reads the end of its refresh token without verifying it."""
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "sign"])


@pytest.fixture
def credentials(demo_grid: DemoGrid, tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """What a user of the DiracX client sets, by user and group."""

    def variables(user: str, group: str) -> dict[str, str]:
        end = int(time.time()) + 3600
        file = tmp_path / f"{user}.{group}.json"
        content = {
            "access_token": demo_grid.facts["tokens"][user][group],
            "refresh_token": unsigned({"exp": end}),
            "expires_on": end,
        }
        file.write_text(json.dumps(content))
        file.chmod(0o600)
        return {"DIRACX_URL": demo_grid.facts["rest"], "DIRACX_CREDENTIALS_PATH": str(file)}

    return variables


ADMINISTRATOR = """
from datetime import datetime, timezone
from azure.core.exceptions import HttpResponseError
from diracx.client.sync import SyncDiracClient

def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except HttpResponseError as error:
        return error.status_code, error.response.json()
    return None

def one(parameter, operator, value):
    name = "values" if isinstance(value, list) else "value"
    return {"parameter": parameter, "operator": operator, name: value}

with SyncDiracClient() as api:
    known = api.well_known.get_openid_configuration()
    see((known.issuer, known.token_endpoint))
    see(sorted(api.well_known.get_installation_metadata().virtual_organizations["demo"].groups))
    see(api.well_known.get_jwks()["keys"][0]["alg"])
    me = api.auth.userinfo()
    see((me.vo, me.dirac_group, me.preferred_username, me.properties))

    wanted = {"parameters": ["JobID", "Status", "SubmissionTime"], "search": [one("JobID", "in", [1, 2, 3])]}
    see(api.jobs.search(**wanted))
    see(api.jobs.search(parameters=["JobID"], sort=[{"parameter": "JobID", "direction": "desc"}], per_page=2))
    see(api.jobs.search(search=[one("Owner", "eq", "nobody")]))
    see(refused(api.jobs.search, search=[one("Nope", "eq", 1)]))

    now = datetime.now(timezone.utc).isoformat()
    update = {"JOB": {now: {"Status": "Killed", "MinorStatus": "by DiracX", "Source": "DiracX"}}}
    done = api.jobs.set_job_statuses(update)
    see((sorted(done.success), done.success["JOB"].status, done.success["JOB"].minor_status, done.failed))
    asked = ["Status", "MinorStatus", "LoggingInfo"]
    see(api.jobs.search(parameters=asked, search=[one("JobID", "eq", JOB)]))

    see(api.pilots.register_pilot(pilot_stamp="STAMP", vo="demo", grid_type="Slurm"))
    see(refused(api.pilots.register_pilot, pilot_stamp="STAMP", vo="demo"))
    see(api.pilots.update_pilot_metadata({"STAMP": {"Status": "Running", "BenchMark": 12.5}}))
    see(api.pilots.search(search=[one("PilotStamp", "eq", "STAMP")]))
    see(api.pilots.summary(grouping=["GridType"], search=[one("PilotStamp", "eq", "STAMP")]))
"""


def test_an_administrators_session(client: Client, credentials, demo_grid: DemoGrid) -> None:
    """The generated client finds its way, and searches, updates and registers as on a DiracX."""
    script = ADMINISTRATOR.replace("JOB", "197").replace("STAMP", "diracx-client")
    seen = client.run(script, **credentials("alice", "demo_admin"))
    (known, groups, algorithm, me, three, last, none, unknown, done, [job]) = seen[:10]
    (registered, twice, updated, [pilot], summary) = seen[10:]

    assert known == ("https://demo.wherry.invalid/", f"{demo_grid.facts['rest']}/api/auth/token")
    assert groups == ["demo_admin", "demo_pilot", "demo_user"]
    assert algorithm == "Ed25519"
    assert me[:3] == ("demo", "demo_admin", "alice")
    assert {"JobAdministrator", "Operator"} <= set(me[3])

    assert [each["JobID"] for each in three] == [1, 2, 3]
    assert all(list(each) == ["JobID", "SubmissionTime", "Status"] for each in three)
    assert last == [{"JobID": 320}, {"JobID": 319}]
    assert none == []
    assert unknown == (400, {"detail": "Unknown column Nope"})

    assert done == (["197"], "Killed", "by DiracX", {})
    assert (job["JobID"], job["Status"], job["MinorStatus"]) == (197, "Killed", "by DiracX")
    assert [record["Source"] for record in job["LoggingInfo"]] == ["JobManager", "DiracX"]

    assert registered is None
    assert twice == (409, {"detail": "Pilot with stamp 'diracx-client' already exists"})
    assert updated is None
    assert (pilot["Status"], pilot["BenchMark"], pilot["GridType"]) == ("Running", 12.5, "Slurm")
    assert summary == [{"GridType": "Slurm", "count": 1}]


USER = """
import asyncio
from datetime import datetime, timezone
from azure.core.exceptions import HttpResponseError
from diracx.client.aio import AsyncDiracClient

def one(parameter, operator, value):
    return {"parameter": parameter, "operator": operator, "value": value}

async def main():
    async with AsyncDiracClient() as api:
        pages = await asyncio.gather(*[
            api.jobs.search(parameters=["JobID"], page=page, per_page=100) for page in range(1, 5)
        ])
        see(sorted(job["JobID"] for page in pages for job in page))
        see(await api.jobs.search(search=[one("JobID", "eq", ALICES)], parameters=["Owner", "Status"]))
        for job in (ALICES, 100000):
            try:
                await api.jobs.set_job_statuses({job: {datetime.now(timezone.utc): {"Status": "Killed"}}})
            except HttpResponseError as error:
                see((error.status_code, error.response.json()))
        done = await api.jobs.set_job_statuses({BOBS: {datetime.now(timezone.utc): {"MinorStatus": "mine"}}})
        see(done.success["BOBS"].minor_status)

asyncio.run(main())
"""


def test_a_users_session(client: Client, credentials) -> None:
    """The asynchronous client reads everybody's jobs, page by page, and may change its user's own only."""
    script = USER.replace("ALICES", "6").replace("BOBS", "22")
    everything, alices, others, missing, own = client.run(script, **credentials("bob", "demo_user"))
    assert everything == list(range(1, 321))
    assert alices[0]["Owner"] == "alice"
    assert others == missing == (403, {"detail": "Forbidden"})
    assert own == "mine"


def test_command_line(client: Client, credentials) -> None:
    """`dirac jobs search` prints what it found as JSON."""
    variables = {**credentials("bob", "demo_user"), "DIRACX_OUTPUT_FORMAT": "JSON"}
    arguments = ("--condition", "JobID in [7, 8]", "--parameter", "JobID", "--parameter", "Owner")
    done = client.command("dirac", "jobs", "search", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == [{"JobID": 7, "Owner": "alice"}, {"JobID": 8, "Owner": "alice"}]


def test_command_line_for_people(client: Client, credentials) -> None:
    """On a terminal the jobs of a page come as a table whose caption counts all of them."""
    variables = {**credentials("bob", "demo_user"), "DIRACX_OUTPUT_FORMAT": "RICH", "COLUMNS": "200"}
    done = client.command("dirac", "jobs", "search", "--page", "2", "--per-page", "3", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Showing 3-5 of 320 jobs" in done.stdout
    assert [name for name in ("demo-3 ", "demo-4 ", "demo-6 ", "demo-7 ") if name in done.stdout] == [
        "demo-4 ",
        "demo-6 ",
    ]


def test_command_line_refusals(client: Client, credentials, tmp_path: Path) -> None:
    """A bad search ends with an error; without credentials the user is told to log in."""
    variables = credentials("bob", "demo_user")
    bad = client.command("dirac", "jobs", "search", "--condition", "Nope eq 1", **variables)
    assert bad.returncode != 0
    assert "Unknown column Nope" in bad.stdout + bad.stderr
    variables["DIRACX_CREDENTIALS_PATH"] = str(tmp_path / "none.json")
    nobody = client.command("dirac", "jobs", "search", **variables)
    assert "not authenticated" in nobody.stdout + nobody.stderr
