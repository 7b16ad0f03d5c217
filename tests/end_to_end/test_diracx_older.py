"""Older DiracX clients, unmodified: they log in, search, submit and update as the newest does.

0.0.14 is the last of the first line; 0.3.0 the last one to which what was made is a 200, not a 201.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from missing import missing

from .conftest import CLIENTS, DemoGrid
from .diracx import DiracX

pytestmark = pytest.mark.clients

VERSIONS = ("0.0.14", "0.3.0")

SESSION = """
from datetime import datetime, timezone
from diracx.client.sync import SyncDiracClient

def one(parameter, operator, value):
    return {"parameter": parameter, "operator": operator, "value": value}

JDL = 'Executable = "/bin/echo"; JobName = "older";'

with SyncDiracClient() as api:
    me = api.auth.userinfo()
    see((me.preferred_username, me.dirac_group, me.vo))
    see(sorted(api.well_known.get_installation_metadata().virtual_organizations))
    made = api.jobs.submit_jdl_jobs([JDL, JDL])
    ids = [job.job_id for job in made]
    see((ids[1] - ids[0], [job.status for job in made]))
    update = {str(ids[0]): {datetime.now(timezone.utc).isoformat(): {"Status": "Killed", "Source": "older"}}}
    done = api.jobs.set_job_statuses(update)
    see((list(done.success) == [str(ids[0])], done.failed))
    wanted = {"parameters": ["JobName", "Owner", "Status"], "search": [one("JobID", "eq", ids[0])]}
    see(api.jobs.search(**wanted))
    see(api.jobs.summary(grouping=["Owner"], search=[one("JobID", "eq", ids[1])]))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def bob(
    request: pytest.FixtureRequest, busy_grid: DemoGrid, tmp_path_factory: pytest.TempPathFactory
) -> DiracX:
    """bob with each client in turn, logged in by its own command."""
    environment = CLIENTS / f"diracx-{request.param}"
    if not (environment / "bin/dirac").exists():
        missing(f"no environment with DiracX {request.param}: run `make clients`")
    home = tmp_path_factory.mktemp("bob")
    return DiracX(environment, busy_grid.facts["rest"], home).logged_in("bob")


def test_commands(bob: DiracX, tmp_path: Path) -> None:
    """`dirac whoami`, `dirac jobs submit` and `dirac jobs search` do what they did when they were new."""
    me = json.loads(bob.output("whoami"))
    assert (me["preferred_username"], me["dirac_group"], me["vo"]) == ("bob", "demo_user", "demo")
    description = tmp_path / "job.jdl"
    description.write_text('Executable = "/bin/echo";')
    assert "Inserted 1 jobs with ids" in bob.output("jobs", "submit", description)
    [job, *_] = json.loads(
        bob.output("jobs", "search", "--condition", "Owner eq bob", DIRAC_OUTPUT_FORMAT="JSON")
    )
    assert job["JobID"] > 0


def test_a_session(bob: DiracX) -> None:
    """The generated client reads all that it is answered."""
    me, vos, made, updated, [job], summary = bob.python(SESSION)
    assert me == ("bob", "demo_user", "demo")
    assert vos == ["demo"]
    assert made == (1, ["Received", "Received"])
    assert updated == (True, {})
    assert job == {"JobName": "older", "Owner": "bob", "Status": "Killed"}
    assert summary == [{"Owner": "bob", "count": 1}]
