"""`dirac`, the unmodified command line of DiracX 0.7.0: from a bare machine to a login, jobs and a logout."""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .conftest import DemoGrid
from .diracx import DiracX

pytestmark = pytest.mark.clients

JDL = """
Executable = "/bin/echo";
Arguments = "hello";
JobName = "{name}";
StdOutput = "out";
OutputSandbox = {{"out"}};
"""


def refresh(grid: DemoGrid, token: str) -> tuple[int, dict[str, Any]]:
    """What the token endpoint says to a refresh token."""
    form = {"grant_type": "refresh_token", "client_id": "myDIRACClientID", "refresh_token": token}
    data = urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(f"{grid.facts['rest']}/api/auth/token", data) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_login_whoami_logout(diracx: DiracX, busy_grid: DemoGrid) -> None:
    """`dirac login demo` gives bob his default group; after `dirac logout` he is nobody again."""
    code, said, page = diracx.log_in("bob", "demo")
    assert code == 0, said
    assert "Login successful!" in said
    assert page.status == 200
    assert "lose the window" in page.text
    assert stat.S_IMODE(diracx.credentials.stat().st_mode) == 0o600
    me = json.loads(diracx.output("whoami"))
    assert (me["vo"], me["dirac_group"], me["preferred_username"]) == ("demo", "demo_user", "bob")
    assert me["properties"] == ["NormalUser"]
    assert me["sub"].startswith("demo:")

    token = diracx.kept()["refresh_token"]
    assert "Logout successful!" in diracx.output("logout")
    assert not diracx.credentials.exists()
    assert refresh(busy_grid, token)[0] == 401
    nobody = diracx.dirac("jobs", "search")
    assert "not authenticated" in nobody.stdout + nobody.stderr


def test_a_group_and_a_property(diracx: DiracX) -> None:
    """Alice may be an administrator, or a user with one of her other group's properties."""
    diracx.logged_in("alice", "demo_admin")
    me = json.loads(diracx.output("whoami"))
    assert me["dirac_group"] == "demo_admin"
    assert {"JobAdministrator", "Operator"} <= set(me["properties"])
    code, said, _ = diracx.log_in("alice", "demo", "--property", "JobAdministrator")
    assert code == 0, said
    me = json.loads(diracx.output("whoami"))
    assert me["dirac_group"] == "demo_user"
    assert set(me["properties"]) == {"NormalUser", "JobAdministrator"}


@pytest.mark.parametrize("scope", [("--group", "demo_admin"), ("--property", "JobAdministrator")])
def test_who_may_not(diracx: DiracX, scope: tuple[str, str]) -> None:
    """Bob logs in as himself and asks for what he may not have: the command ends, with nothing kept."""
    code, said, _page = diracx.log_in("bob", "demo", *scope)
    assert code != 0
    assert "bob" in said or "demo_admin" in said or "JobAdministrator" in said
    assert not diracx.credentials.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "demo"),
        (("nowhere",), "Unknown VO nowhere"),
        (("demo", "--group", "nobodies"), "nobodies not in demo groups"),
    ],
)
def test_impossible_logins(diracx: DiracX, arguments: tuple[str, ...], text: str) -> None:
    """Nobody is sent to a browser for a VO or a group that is not there."""
    done = diracx.dirac("login", *arguments)
    assert done.returncode != 0
    assert text in " ".join((done.stdout + done.stderr).split())
    assert "Now go to" not in done.stdout


def test_the_person_refuses(diracx: DiracX) -> None:
    """Who does not log in on the page ends the command's waiting."""
    code, said, page = diracx.log_in("", "demo")
    assert code != 0
    assert "access_denied" in said
    assert page.status >= 400
    assert not diracx.credentials.exists()


def test_a_token_about_to_end_is_renewed(diracx: DiracX, busy_grid: DemoGrid) -> None:
    """By the client itself; whoever uses the old refresh token again ends the whole family.

    Alice's, for the other tests use bob's.
    """
    diracx.logged_in("alice")
    old = diracx.kept()
    diracx.age()
    assert json.loads(diracx.output("whoami"))["preferred_username"] == "alice"
    new = diracx.kept()
    assert new["access_token"] != old["access_token"]
    assert new["refresh_token"] != old["refresh_token"]
    status, answer = refresh(busy_grid, old["refresh_token"])
    assert status == 401
    assert "reused" in answer["detail"]
    diracx.age()
    late = diracx.dirac("whoami")
    assert late.returncode != 0
    assert "evoked" in late.stdout + late.stderr


def test_submit_and_search(bob: DiracX) -> None:
    """`dirac jobs submit a.jdl b.jdl`: the jobs wait, and `dirac jobs search` finds them."""
    files = [bob.home / f"{name}.jdl" for name in ("first", "second")]
    for file in files:
        file.write_text(JDL.format(name=f"cli-{file.stem}"))
    said = bob.output("jobs", "submit", *files)
    assert said.startswith("Inserted 2 jobs with ids: ")
    ids = [int(each) for each in said.split(":")[1].split(",")]
    options = ("--condition", f"JobID in {ids}", "--parameter", "JobID")
    options += ("--parameter", "JobName", "--parameter", "Owner", "--parameter", "Status")
    found = json.loads(bob.output("jobs", "search", *options))
    assert found == [
        {"JobID": job, "JobName": f"cli-{name}", "Owner": "bob", "Status": "Waiting"}
        for job, name in zip(ids, ("first", "second"), strict=True)
    ]
    default = json.loads(bob.output("jobs", "search", "--condition", f"JobID eq {ids[0]}"))
    assert set(default[0]) == {
        *("JobID", "Status", "MinorStatus", "ApplicationStatus", "JobGroup", "Site", "JobName", "Owner"),
        "LastUpdateTime",
    }
    everything = json.loads(bob.output("jobs", "search", "--all", "--condition", f"JobID eq {ids[0]}"))
    assert set(everything[0]) > set(default[0])


def test_a_bad_job(bob: DiracX) -> None:
    """What is no JDL is refused in words; nothing is submitted, not even the good one beside it."""
    before = json.loads(bob.output("jobs", "search", "--condition", "JobName eq refused"))
    good, bad = bob.home / "good.jdl", bob.home / "bad.jdl"
    good.write_text(JDL.format(name="refused"))
    bad.write_text("Executable = ")
    done = bob.dirac("jobs", "submit", good, bad)
    assert done.returncode != 0
    assert "400" in done.stderr or "Bad Request" in done.stderr or "JDL" in done.stdout + done.stderr
    assert before == []
    assert json.loads(bob.output("jobs", "search", "--condition", "JobName eq refused")) == []


@pytest.mark.parametrize("form", ["JSON", "RICH"])
def test_config_dump(bob: DiracX, form: str) -> None:
    """The registry as DiracX shapes it."""
    config = json.loads(bob.output("config", "dump", DIRACX_OUTPUT_FORMAT=form, NO_COLOR="1"))
    registry = config["Registry"]["demo"]
    assert registry["DefaultGroup"] == "demo_user"
    assert set(registry["Groups"]) == {"demo_user", "demo_admin", "demo_pilot"}
    assert {user["PreferedUsername"] for user in registry["Users"].values()} == {"alice", "bob", "pilot"}


def test_two_machines(diracx: DiracX, tmp_path: Path) -> None:
    """A logout on one machine leaves the login on another alone."""
    other = DiracX(diracx.environment, diracx.url, tmp_path / "other")
    other.home.mkdir()
    diracx.logged_in("bob")
    other.logged_in("bob")
    diracx.output("logout")
    other.age()
    assert json.loads(other.output("whoami"))["preferred_username"] == "bob"
