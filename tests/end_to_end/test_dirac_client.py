"""Unmodified DIRAC clients against the demo grid: the proof of compatibility."""

from __future__ import annotations

import ast
import datetime
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wherry.demo.pki import Authority, KeyPair, make_proxy

from .conftest import PREAMBLE, Client, DemoGrid

pytestmark = pytest.mark.clients

VERSIONS = ("9.1.22", "8.0.86")

START = """
import DIRAC
DIRAC.initialize()
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.WorkloadManagementSystem.Client.PilotManagerClient import PilotManagerClient
from DIRAC.WorkloadManagementSystem.Client.JobMonitoringClient import JobMonitoringClient
from DIRAC.WorkloadManagementSystem.Client.JobManagerClient import JobManagerClient
pilots, monitoring, manager = PilotManagerClient(), JobMonitoringClient(), JobManagerClient()
PM = "WorkloadManagement/PilotManager"
"""

DN = "/DC=org/DC=wherry/OU=people/CN="
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


@pytest.fixture(scope="module", params=VERSIONS)
def client(request: pytest.FixtureRequest, dirac_client: Callable[[str], Client]) -> Client:
    """Each client in turn."""
    return dirac_client(request.param)


@pytest.fixture(scope="module")
def newest(dirac_client: Callable[[str], Client]) -> Client:
    """The client that this issue names."""
    return dirac_client("9.1.22")


PLAN = """\
plan: 1
services:
  WorkloadManagement/PilotManager: {{state: {0}}}
  WorkloadManagement/JobMonitoring: {{state: {0}}}
  WorkloadManagement/JobManager: {{state: {0}}}
"""


@pytest.fixture(params=["legacy", "live"])
def state(request: pytest.FixtureRequest, demo_grid: DemoGrid) -> Iterator[str]:
    """Every method on one side, then on the other."""
    Path(demo_grid.facts["plan"]).write_text(PLAN.format(request.param) + f"# {time.time()}\n")
    time.sleep(1)  # the promise: an edit takes effect within a second
    yield request.param


def test_builtin_methods(client: Client) -> None:
    """DIRAC.initialize() succeeds; ping, whoami and echo answer in the shapes of a DIRAC service."""
    ping, whoami, echo = client.run(
        START + "p = RPCClient(PM)\nsee(p.ping())\nsee(p.whoami())\nsee(p.echo('héllo €'))\n"
    )
    assert echo == {"OK": True, "Value": "héllo €"}
    value = ping["Value"]
    assert value["name"] == "WorkloadManagement/PilotManager"
    assert value["URL"].startswith("dips://localhost:")
    assert isinstance(value["time"], datetime.datetime)
    assert abs(value["time"] - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).seconds < 60
    assert isinstance(value["service uptime"], int)
    assert set(value["cpu times"]) == {
        "user time",
        "system time",
        "children user time",
        "children system time",
        "elapsed real time",
    }
    who = whoami["Value"]
    assert who["DN"] == who["identity"] == f"{DN}alice"
    assert (who["username"], who["group"], who["VO"]) == ("alice", "demo_admin", "demo")
    assert who["properties"][:2] == ["Operator", "NormalUser"]
    assert (who["isProxy"], who["isLimitedProxy"], who["validDN"], who["validGroup"]) == (
        True,
        False,
        False,
        False,
    )
    assert 0 < who["secondsLeft"] < 8 * 86400


def test_encoding_in_kind(dirac_client: Callable[[str], Client]) -> None:
    """Whoever asks in DEncode is answered in DEncode, which keeps what JSON loses: microseconds, int keys."""
    script = START + "see(RPCClient(PM).ping()['Value']['service start time'])\n"
    raw = START + "see(RPCClient('WorkloadManagement/JobMonitoring').getJobsStatus([1, 2]))\n"
    old, new = dirac_client("8.0.86"), dirac_client("9.1.22")
    dencode = {"DIRAC_USE_JSON_ENCODE": "No"}
    assert old.run(script)[0].microsecond != 0
    assert new.run(script, **dencode)[0].microsecond != 0
    assert new.run(script)[0].microsecond == 0
    assert set(old.run(raw)[0]["Value"]) == {1, 2}
    assert set(new.run(raw, **dencode)[0]["Value"]) == {1, 2}
    assert set(new.run(raw)[0]["Value"]) == {"1", "2"}
    assert set(old.run(raw, DIRAC_USE_JSON_ENCODE="Yes")[0]["Value"]) == {"1", "2"}


WORK = """
import time
stamp = "{tag}"
a, b = f"ref-a-{tag}", f"ref-b-{tag}"
see(pilots.addPilotReferences([a, b], "demo", "HTCondorCE", {{a: "s-{tag}"}}))
see(pilots.getPilotInfo([a, b, "nowhere"]))
see(pilots.setPilotStatus(a, "Running", "ce.example.org", "Report from JobAgent", "DEMO.Lyon.fr", "long"))
see(pilots.setPilotStatus("nowhere", "Done"))
see(pilots.setPilotStatus(b, "Scheduled", "ce01.lyon.example.org"))
see(pilots.getPilotInfo(a))
see(pilots.getPilotInfo(b))
see(pilots.getPilotInfo("nowhere"))
see(pilots.getPilotSummary("", ""))
see(pilots.getPilotSummary("2030-01-01", ""))
see(monitoring.getJobsStatus([{job}, 100000]))
see(monitoring.getJobsStates([{job}]))
see(monitoring.getJobsStatus("no number"))
see(manager.killJob([{job}, 100000]))
see(monitoring.getJobsStates({job}))
"""


# Whose a pilot is: before 9, a group's.
OWNED = {
    "9.1.22": {"VO": "demo"},
    "8.0.86": {
        "OwnerDN": "Unknown",
        "OwnerGroup": "demo_user",
        "Broker": "Unknown",
        "ParentID": 0,
        "OutputReady": "False",
        "TaskQueueID": 0,
    },
}


def test_work(client: Client, state: str, demo_grid: DemoGrid) -> None:
    """The client's own classes do their work on either side, with DIRAC's values and types."""
    tag = f"{client.version}-{state}"
    # One Waiting job of alice's for each client and state.
    job = {"9.1.22-legacy": 5, "9.1.22-live": 53, "8.0.86-legacy": 101, "8.0.86-live": 149}[tag]
    seen = client.run(START + WORK.format(tag=tag, job=job))
    (added, info, running, nowhere, scheduled, a, b, missing) = seen[:8]
    (summary, future, status, states, unreadable, killed, after) = seen[8:]
    ref_a, ref_b = f"ref-a-{tag}", f"ref-b-{tag}"
    assert added == {"OK": True, "Value": None}
    assert set(info["Value"]) == {ref_a, ref_b}
    first = info["Value"][ref_a]
    submitted = first.pop("SubmissionTime")
    assert isinstance(submitted, datetime.datetime)
    assert submitted.microsecond == 0
    assert first.pop("LastUpdateTime") == submitted
    assert isinstance(first.pop("PilotID"), int)
    assert first == {
        "PilotJobReference": ref_a,
        **OWNED[client.version],
        "GridType": "HTCondorCE",
        "Status": "Submitted",
        "DestinationSite": "NotAssigned",
        "BenchMark": 0.0,
        "AccountingSent": "False",
        "GridSite": "Unknown",
        "PilotStamp": f"s-{tag}",
        "Queue": "Unknown",
    }
    assert (running["Value"], nowhere["Value"], scheduled["Value"]) == (1, 0, 1)
    changed = a["Value"][ref_a]
    assert (changed["Status"], changed["DestinationSite"], changed["GridSite"], changed["Queue"]) == (
        "Running",
        "ce.example.org",
        "DEMO.Lyon.fr",
        "long",
    )
    assert (b["Value"][ref_b]["Status"], b["Value"][ref_b]["GridSite"]) == ("Scheduled", "DEMO.Lyon.fr")
    assert missing["Errno"] == 1550
    assert missing["Message"] == "No pilots found ( 1550 : No pilots found for PilotJobReference(s): nowhere)"
    assert summary["Value"]["ce.example.org"]["Running"] >= 1
    assert len(summary["Value"]["Total"]) == 9
    assert set(future["Value"]) == {"Total"}
    assert status["Value"] == {job: {"Status": "Waiting"}}
    assert states["Value"] == {
        job: {"ApplicationStatus": "Unknown", "MinorStatus": "Job accepted", "Status": "Waiting"}
    }
    assert unreadable["OK"] is False
    assert "invalid literal for int()" in unreadable["Message"]
    assert isinstance(killed.pop("requireProxyUpload"), bool)  # who has a proxy here is another test's
    assert killed == {"OK": True, "Value": [job], "InvalidJobIDs": [100000]}
    assert after["Value"][job]["Status"] == "Killed"
    assert after["Value"][job]["MinorStatus"] == "Marked for termination"
    expected = {"legacy": "native", "live": "rest"}[state]
    mine = [record for record in demo_grid.log() if record.get("client") == client.version]
    routed = {record["route"] for record in mine[-15:] if record["reason"] not in ("builtin", "default")}
    assert routed == {expected}


def test_errors_of_the_service(client: Client) -> None:
    """Errors have DIRAC's texts, and come over one connection each: none makes the client try again."""
    unknown, few, wrong, many = client.run(
        START
        + "m = RPCClient('WorkloadManagement/JobMonitoring')\n"
        + "see(m.noSuchMethod(1))\nsee(m.getJobsStatus())\n"
        + "see(m.getJobsStatus({}))\nsee(m.getJobsStatus(1, 2))\n"
    )
    assert unknown["Message"] == "Unknown method noSuchMethod"
    assert few["Message"] == "Function getJobsStatus expects at least 1 arguments"
    assert wrong["Message"].startswith("Type mismatch in parameter 0 (starting with param 0) Received")
    assert many["Message"].endswith("takes 2 positional arguments but 3 were given")
    assert "CallStack" not in unknown


WHO = START + "see(RPCClient(PM).whoami())\nsee(pilots.getPilotInfo('x'))\nsee(monitoring.getJobsStatus(1))\n"


def keypair(grid: DemoGrid, name: str) -> KeyPair:
    """A certificate of the demo grid with its key."""
    pki = Path(grid.facts["ca_path"]).parent
    key: Any = load_pem_private_key((pki / f"{name}key.pem").read_bytes(), None)
    return KeyPair(x509.load_pem_x509_certificate((pki / f"{name}cert.pem").read_bytes()), key)


def test_identity(newest: Client, demo_grid: DemoGrid, tmp_path: Path) -> None:
    """Who calls is decided by the certificate chain and the registry, for each shape of proxy."""
    alice = keypair(demo_grid, "alice")
    plain = make_proxy(alice)
    proxies = {
        "no group": plain,
        "delegated": make_proxy(make_proxy(alice, "demo_admin")),
        "group of a later proxy": make_proxy(make_proxy(alice, "demo_user"), "demo_admin"),
        "limited": make_proxy(alice, "demo_admin", limited=True),
        "not a member": make_proxy(alice, "demo_pilot"),
    }
    seen = {}
    for name, proxy in proxies.items():
        file = proxy.write(tmp_path / f"{name}.pem")
        seen[name] = newest.run(WHO, file) if name != "not a member" else None
    who = {name: answers[0]["Value"] for name, answers in seen.items() if answers}
    assert (who["no group"]["group"], who["no group"]["username"]) == ("demo_user", "alice")
    assert who["delegated"]["group"] == "demo_admin"
    assert who["group of a later proxy"]["group"] == "demo_user"
    assert who["limited"]["isLimitedProxy"] is True
    answers = seen["no group"]
    assert answers is not None
    assert (answers[1]["Errno"], answers[1]["Message"]) == (1111, UNAUTHORIZED)
    assert answers[2]["OK"] is True


def refused(client: Client, credential: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """What a client shows that is not let in, not even to the configuration."""
    url = client.grid.facts["urls"]["WorkloadManagement/JobMonitoring"]
    script = PREAMBLE + (
        f"from DIRAC.Core.DISET.RPCClient import RPCClient\nsee(RPCClient('{url}').getJobsStatus(1))\n"
    )
    return client.command("python", "-c", script, credential=credential, **extra)


def test_refused_callers(newest: Client, demo_grid: DemoGrid, tmp_path: Path) -> None:
    """A forged CA, an expired proxy, a group the user is not in, an unknown DN: refused as DIRAC refuses."""
    alice = keypair(demo_grid, "alice")
    forger = Authority.create("Demo CA")
    forged = make_proxy(forger.issue_user("alice"), "demo_admin").write(tmp_path / "forged.pem")
    expired = make_proxy(alice, "demo_admin", lifetime=-datetime.timedelta(minutes=5))
    member = make_proxy(alice, "demo_pilot").write(tmp_path / "member.pem")
    expectations = {
        forged: ("Peer closed connection", "SSLError"),
        expired.write(tmp_path / "expired.pem"): ("expired",),
        member: ("Unauthorized query",),
    }
    for credential, words in expectations.items():
        done = refused(newest, credential)
        assert "'OK': True" not in done.stdout
        assert any(word in done.stdout + done.stderr for word in words), (
            credential,
            done.stdout,
            done.stderr,
        )

    registry = demo_grid.directory / "registry.cfg"
    text = registry.read_text()
    registry.write_text(text.replace(f"DN = {DN}bob", "DN = /CN=somebody else"))
    try:
        time.sleep(1)
        done = refused(newest, demo_grid.proxy("bob", "demo_user"))
        assert "'OK': True" not in done.stdout
        assert "Unauthorized query" in done.stdout + done.stderr
    finally:
        registry.write_text(text)
        time.sleep(1)
    assert "'OK': True" in refused(newest, demo_grid.proxy("bob", "demo_user")).stdout


def test_hosts(newest: Client, demo_grid: DemoGrid, tmp_path: Path) -> None:
    """A host certificate calls as a host; with TrustedHost it may call for a user, and nobody else may."""
    pki = Path(demo_grid.facts["ca_path"]).parent
    host = {
        "DIRAC_X509_HOST_CERT": str(pki / "hostcert.pem"),
        "DIRAC_X509_HOST_KEY": str(pki / "hostkey.pem"),
    }
    script = START + (
        "see(RPCClient(PM, useCertificates=True).whoami())\n"
        f"bob = dict(delegatedDN='{DN}bob', delegatedGroup='demo_user')\n"
        "see(RPCClient(PM, useCertificates=True, **bob).whoami())\n"
        "see(RPCClient(PM, **bob).whoami())\n"
    )
    own, delegated, denied = newest.run(script, **host)
    assert (own["Value"]["username"], own["Value"]["group"]) == ("localhost", "hosts")
    assert own["Value"]["properties"] == ["TrustedHost", "Operator", "JobAdministrator"]
    assert (delegated["Value"]["username"], delegated["Value"]["DN"]) == ("bob", f"{DN}bob")
    # Without a host certificate the client leaves the pair out, or is refused for it.
    assert denied.get("Errno") == 1111 or denied["Value"]["username"] == "alice"


SCRIPTS = {
    ("dirac-proxy-info",): "demo_admin",
    ("dirac-version",): "",
    ("dirac-wms-job-kill", "21"): "21",
    ("dirac-admin-get-pilot-info", "htcondorce://ce01.lyon.example.org/nowhere"): "No pilots found",
}


@pytest.mark.parametrize("command", SCRIPTS, ids=[command[0] for command in SCRIPTS])
def test_scripts(newest: Client, command: tuple[str, ...]) -> None:
    """Command-line scripts start with our configuration, and work where we have the methods they use."""
    if not (newest.environment / "bin" / command[0]).exists():
        pytest.fail(f"the client has no {command[0]}")
    done = newest.command(*command)
    shown = done.stdout + done.stderr
    assert SCRIPTS[command] in shown
    assert "Traceback" not in shown
    assert "Can't" not in shown


def test_configuration_is_served(client: Client) -> None:
    """After synchronising, the client has our registry and our addresses, in its own layout."""
    users, url, version = client.run(
        START
        + "from DIRAC import gConfig\n"
        + "from DIRAC.ConfigurationSystem.Client.PathFinder import getServiceURL\n"
        + "see(gConfig.getOption('/Registry/Groups/demo_user/Users'))\n"
        + "see(getServiceURL('WorkloadManagement/JobMonitoring'))\n"
        + "see(gConfig.getOption('/DIRAC/Configuration/Version'))\n"
    )
    assert users["Value"] == "alice, bob"
    assert url == client.grid.facts["urls"]["WorkloadManagement/JobMonitoring"]
    assert version["Value"].startswith("20")


LOOP = (
    START
    + """
import sys, time
end = time.time() + 6
number = failed = 0
while time.time() < end:
    answers = pilots.getPilotSummary(), monitoring.getJobsStatus([1, 2]), pilots.setPilotStatus("x", "Done")
    for answer in answers:
        number += 1
        failed += not answer["OK"]
        if not answer["OK"]:
            print(answer, file=sys.stderr)
see((number, failed))
"""
)


def test_plan_changes_while_a_client_loops(newest: Client, demo_grid: DemoGrid) -> None:
    """The plan is switched to and fro, and broken once, while a real client loops: no call fails."""
    plan = Path(demo_grid.facts["plan"])
    environment = newest.variables(None, {})
    process = subprocess.Popen(
        [str(newest.environment / "bin/python"), "-c", PREAMBLE + LOOP],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = len(demo_grid.log())
    turn = 0
    while process.poll() is None:
        text = (
            PLAN.format("live" if turn % 2 else "legacy") if turn % 5 else "plan: 1\nservices: {oops: {}}\n"
        )
        plan.write_text(text + f"# turn {turn}\n")
        turn += 1
        time.sleep(0.3)
    out, err = process.communicate(timeout=30)
    number, failed = ast.literal_eval(out.partition("SEEN ")[2].strip())
    assert (failed, number > 50) == (0, True), err
    records = [record for record in demo_grid.log()[before:] if record.get("method") == "getPilotSummary"]
    assert {record["route"] for record in records} == {"native", "rest"}
    assert any("unknown service 'oops'" in record["event"] for record in demo_grid.log()[before:])
