"""Unmodified DIRAC clients that call by HTTPS, against a running grid."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from legacy_rpc.codecs.dirac_https import HttpsLimits
from legacy_rpc.messages import AnyCredential, Call, Credential, Failure, Identity, Outcome, Proposal, Reply
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.https import DiracHttps
from legacy_rpc.servers.listener import ConnectionLimits, Gate
from legacy_rpc.servers.tls import ServerTls

from .conftest import Client, DemoGrid

pytestmark = pytest.mark.clients

VERSIONS = ("9.1.22", "8.0.86")
DN = "/DC=org/DC=wherry/OU=people/CN="

START = """
import os
import DIRAC
DIRAC.initialize()
from DIRAC.Core.Tornado.Client.TornadoClient import TornadoClient
from DIRAC.WorkloadManagementSystem.Client.PilotManagerClient import PilotManagerClient
from DIRAC.WorkloadManagementSystem.Client.JobMonitoringClient import JobMonitoringClient
from DIRAC.WorkloadManagementSystem.Client.JobManagerClient import JobManagerClient
pilots, monitoring, manager = PilotManagerClient(), JobMonitoringClient(), JobManagerClient()
BASE = os.environ["BASE"]
def tornado(service="WorkloadManagement/TornadoJobMonitoring", **more):
    return TornadoClient(BASE + "/" + service, **more)
"""


@pytest.fixture(scope="module")
def https_grid(demo_grid: DemoGrid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoGrid]:
    """`wherry serve` beside the demo, whose served configuration sends every client to HTTPS.

    It has no other listener for clients.
    """
    directory = tmp_path_factory.mktemp("https")
    grid = demo_grid.directory
    config = (grid / "wherry.yaml").read_text()
    config = re.sub(r'"127.0.0.1:\d+"', '"127.0.0.1:0"', config)
    config = re.sub(r"\n  (dips|xmlrpc|msgpack|grpc|dip):.*", "", config)
    config = re.sub(r"(\n  https: \{.*)\}", r'\1, services: ["*"]}', config)
    plan = directory / "plan.yaml"
    plan.write_text("plan: 1\nservices:\n  WorkloadManagement/PilotManager: {state: live}\n")
    config = re.sub(r"\nplan: .*", f"\nplan: {plan}", config)
    # Beside the demo's own, which knows the paths in it.
    config_file = grid / f"{directory.name}.yaml"
    config_file.write_text(config)
    with (directory / "wherry.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "wherry", "serve", "-c", str(config_file)], stderr=log
        )
        served = DemoGrid(directory, dict(demo_grid.facts))
        try:
            deadline = time.monotonic() + 60
            while not (ready := [each for each in whole_records(served) if each["event"] == "ready"]):
                assert process.poll() is None, (directory / "wherry.log").read_text()
                assert time.monotonic() < deadline, "it is not ready"
                time.sleep(0.05)
            served.facts["https"] = f"https://localhost:{ready[0]['https']}"
            client_cfg = directory / "client.cfg"
            dips = re.compile(r"dips://localhost:\d+")
            client_cfg.write_text(
                dips.sub(served.facts["https"], Path(demo_grid.facts["dirac_cfg"]).read_text())
            )
            served.facts["dirac_cfg"] = str(client_cfg)
            yield served
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
    assert process.returncode == 0


def whole_records(grid: DemoGrid) -> list[dict[str, Any]]:
    """The log, without a last line that is being written."""
    text = (grid.directory / "wherry.log").read_text()
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines() if line.startswith("{")]


@pytest.fixture(scope="module", params=VERSIONS)
def client(
    request: pytest.FixtureRequest, dirac_client: Callable[[str], Client], https_grid: DemoGrid
) -> Client:
    """Each client in turn; neither REQUESTS_CA_BUNDLE nor CURL_CA_BUNDLE is in its environment."""
    found = dirac_client(request.param)
    return Client(found.version, found.environment, https_grid, found.root)


def run(client: Client, script: str, credential: Path | None = None, **extra: str) -> list[Any]:
    """What a script shows."""
    return client.run(START + script, credential, BASE=client.grid.facts["https"], **extra)


def test_everything_goes_by_https(client: Client) -> None:
    """Configuration, initialisation and the clients' own classes need no other wire."""
    script = """
see(monitoring.ping())
see(monitoring.whoami())
see(monitoring.echo("héllo €"))
from DIRAC.ConfigurationSystem.Client.ConfigurationClient import ConfigurationClient
cs = ConfigurationClient(url="Configuration/Server")
cs.setServer("Configuration/Server")
see(cs.getVersion())
newer = cs.getCompressedDataIfNewer("0")
import zlib
see(b"Registry" in zlib.decompress(newer["Value"]["data"]))
see(b"Registry" in zlib.decompress(cs.getCompressedData()["Value"]))
see(cs.getCompressedDataIfNewer(newer["Value"]["newestVersion"]))
from DIRAC import gConfig
see(gConfig.getValue("/Registry/Groups/demo_user/VO", ""))
"""
    before = len(whole_records(client.grid))
    ping, who, echo, version, newer, whole, same, vo = run(client, script)
    assert ping["Value"]["name"] == "WorkloadManagement/JobMonitoring"
    assert ping["Value"]["URL"] == f"{client.grid.facts['https']}/WorkloadManagement/JobMonitoring"
    assert isinstance(ping["Value"]["time"], datetime.datetime)
    assert who["Value"]["DN"] == f"{DN}alice"
    assert (who["Value"]["username"], who["Value"]["group"]) == ("alice", "demo_admin")
    assert echo == {"OK": True, "Value": "héllo €"}
    assert newer is whole is True
    assert same["Value"] == {"newestVersion": version["Value"]}
    assert vo == "demo"
    calls = [each for each in whole_records(client.grid)[before:] if each["event"] == "call"]
    assert len(calls) >= 7
    assert {each["wire"] for each in calls} == {"https"}


WORK = """
a, b = "https-a-{tag}", "https-b-{tag}"
see(pilots.addPilotReferences([a, b], "{owner}", "HTCondorCE", {{a: "s-https-{tag}"}}))
see(pilots.setPilotStatus(a, "Running", "ce.example.org", "Report", "DEMO.Lyon.fr", "long"))
see(pilots.getPilotInfo([a, b]))
see(pilots.getPilotInfo("nowhere"))
see(pilots.getPilotSummary("", ""))
see(monitoring.getJobsStatus([{job}, 100000]))
see(monitoring.getJobsStates({job}))
see(manager.killJob([{job}, 100000]))
see(monitoring.getJobsStatus({job}))
see(monitoring.getJobsStatus("no number"))
"""


def test_work(client: Client) -> None:
    """Every method of the three services does by HTTPS what it does by DISET, on either side."""
    tag = client.version
    job = {"9.1.22": 197, "8.0.86": 245}[tag]
    owner = {"9.1.22": "demo", "8.0.86": "demo_pilot"}[tag]  # a VO, and before 9 a group
    seen = run(client, WORK.format(tag=tag, job=job, owner=owner))
    added, running, info, missing, summary, status, states, killed, after, unreadable = seen
    ref_a, ref_b = f"https-a-{tag}", f"https-b-{tag}"
    assert added == {"OK": True, "Value": None}
    assert running == {"OK": True, "Value": 1}
    assert set(info["Value"]) == {ref_a, ref_b}
    assert (info["Value"][ref_a]["Status"], info["Value"][ref_b]["Status"]) == ("Running", "Submitted")
    assert isinstance(info["Value"][ref_a]["SubmissionTime"], datetime.datetime)
    # Each in the form of its release.
    assert ("OwnerGroup" if tag == "8.0.86" else "VO") in info["Value"][ref_a]
    assert missing["Errno"] == 1550
    assert missing["Message"] == "No pilots found ( 1550 : No pilots found for PilotJobReference(s): nowhere)"
    assert summary["Value"]["ce.example.org"]["Running"] >= 1
    assert status["Value"] == {job: {"Status": "Waiting"}}
    assert states["Value"][job]["Status"] == "Waiting"
    assert isinstance(killed.pop("requireProxyUpload"), bool)  # who has a proxy here is another test's
    assert killed == {"OK": True, "Value": [job], "InvalidJobIDs": [100000]}
    assert after["Value"] == {job: {"Status": "Killed"}}
    assert "invalid literal for int()" in unreadable["Message"]
    routes = {each["method"]: each["route"] for each in whole_records(client.grid) if each["event"] == "call"}
    assert (routes["setPilotStatus"], routes["killJob"]) == ("rest", "native")


SANDBOX = """
from DIRAC.WorkloadManagementSystem.Client.SandboxStoreClient import SandboxStoreClient
os.chdir(os.environ["HOME"])
with open("letter", "w") as file:
    file.write("dear reader")
os.makedirs("fetched", exist_ok=True)
store = SandboxStoreClient()
stored = store.uploadFilesAsSandbox(["letter"])["Value"]
see(store.downloadSandbox(stored, "fetched")["OK"])
see(open("fetched/letter").read())
"""


def test_a_sandbox(client: Client) -> None:
    """It comes back by HTTPS, too, from the storage element in the configuration."""
    fetched, text = run(client, SANDBOX, client.grid.proxy("alice", "demo_user"))
    assert fetched is True
    assert text == "dear reader"


def test_errors(client: Client) -> None:
    """Each error comes to its user in the words that his client has for it."""
    script = """
os.chdir(os.environ["HOME"])
see(tornado("WorkloadManagement/PilotManager").getPilotInfo("x"))
see(tornado().nothing(1))
see(tornado("Nowhere/Nothing").ping())
see(tornado().echo(1))
see(tornado().getJobsStatus())
see(tornado().receiveFile("unused", "x"))
open("sent", "wb").write(b"x")
see(tornado().sendFile("sent", "x"))
see(os.path.exists("unused"))
"""
    base = client.grid.facts["https"]
    seen = run(client, script, client.grid.proxy("bob", "demo_user"))
    refused, unknown, nowhere, wrong, few, no_file, not_sent, stored = seen
    denied = f"Permission denied ( 13 : No access to {base}/WorkloadManagement/PilotManager)"
    assert (refused["OK"], refused["Errno"], refused["Message"]) == (False, 13, denied)
    assert (unknown["Errno"], unknown["Message"]) == (0, "Unknown method nothing")
    assert nowhere["Message"].endswith(f"{base}/Nowhere/Nothing is not found")
    assert wrong["Message"] == (
        "Type mismatch in parameter 0 (starting with param 0) Received <class 'int'>, expected <class 'str'>"
    )
    assert few["OK"] is False
    assert no_file["Message"] == "Function not implemented ( 38 : streamToClient is not implemented)"
    assert not_sent["Message"] == "This server does no allow receiving files"
    assert stored is False


def test_callers(client: Client) -> None:
    """A group, a kept connection, and a user whom the registry does not have in the group."""
    script = """
t = tornado()
see([t.whoami()["Value"]["group"] for _ in range(3)])
see(tornado(extraCredentials="demo_admin").whoami()["Value"]["group"])
see(tornado(extraCredentials=("/CN=other", "demo_admin")).whoami())
"""
    groups, kept, delegated = run(client, script, client.grid.proxy("alice", "demo_user"))
    assert groups == ["demo_user"] * 3
    assert kept == "demo_user"
    assert delegated["Errno"] == 13


# The client wants to know of an issuer before it looks for its token; it never asks it anything.
ISSUER = """
DIRAC
{
  Security
  {
    Authorization
    {
      issuer = https://issuer.example.org/auth
    }
  }
}
"""


def test_bearer_token(client: Client, tmp_path: Path) -> None:
    """A token in place of a proxy: no certificate is shown."""
    (tmp_path / "issuer.cfg").write_text(ISSUER)
    script = """
os.environ["DIRAC_USE_ACCESS_TOKEN"] = "yes"
see(tornado().whoami())
see(tornado().getJobsStatus([1]))
os.environ["BEARER_TOKEN"] = os.environ["BEARER_TOKEN"][:-4] + "AAAA"
see(tornado().whoami())
"""
    who, status, forged = run(
        client,
        script,
        DIRACSYSCONFIG=f"{client.grid.facts['dirac_cfg']},{tmp_path / 'issuer.cfg'}",
        BEARER_TOKEN=client.grid.facts["tokens"]["alice"]["demo_user"],
    )
    assert (who["Value"]["username"], who["Value"]["group"]) == ("alice", "demo_user")
    assert status["Value"] in ({1: {"Status": "Received"}}, {"1": {"Status": "Received"}})
    assert forged["Errno"] == 13


# --- files

FILES = """
import hashlib, io
os.chdir(os.environ["HOME"])
t = TornadoClient(BASE + "/Test/TornadoFiles")
for size in (0, 5, 3_000_000, 40_000_000):
    content = os.urandom(min(size, 1 << 20)) * (size >> 20 or 1) if size else b""
    open("sent", "wb").write(content)
    see(t.sendFile("sent", ["id", size]))
    see(hashlib.sha256(content).hexdigest())
    result = t.receiveFile("received", ["id", size])
    see(result)
    see(open("received", "rb").read() == content)
    os.unlink("received")
buffer = io.BytesIO()
see(t.receiveFile(buffer, "last"))
see(buffer.getvalue() == content)
see(t.receiveFile("missing", "missing"))
see(os.path.exists("missing"))
see(t.sendFile("sent", "refused"))
"""


class Files:
    """A service that keeps the last file it was sent."""

    def __init__(self) -> None:
        self.content = b""

    async def handle(self, call: Call) -> Outcome:
        """Take a file or give it."""
        assert call.identity.username == "alice"
        if call.arguments[0] in ("missing", "refused"):
            return Failure(f"it is {call.arguments[0]}")
        if call.incoming is not None:
            self.content = b"".join([block async for block in call.incoming.blocks()])
            return Reply(hashlib.sha256(self.content).hexdigest())
        assert call.outgoing is not None
        for start in range(0, len(self.content), 1 << 20):
            await call.outgoing.send(self.content[start : start + (1 << 20)])
        return Reply()


def alice(_proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """The only caller."""
    assert isinstance(credential, Credential)
    return Identity(credential.dn.rsplit("=", 1)[-1], credential.group or "")


async def test_files(dirac_client: Callable[[str], Client], demo_grid: DemoGrid) -> None:
    """Files of any size come and go unharmed; a failure is told and leaves no file behind."""
    pki = Path(demo_grid.facts["ca_path"]).parent
    tls = ServerTls(pki / "hostcert.pem", pki / "hostkey.pem", pki / "ca")
    door = Door(admit=alice, handle=Files().handle, gate=Gate(ConnectionLimits()))
    contexts = tls.contexts(optional=True, protocols=("http/1.1",))
    server = HttpServer(door, contexts, DiracHttps(door, HttpsLimits()))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listener = server.listen(listening)
        base = f"https://localhost:{listening.getsockname()[1]}"
        try:
            for version in VERSIONS:
                seen = await asyncio.to_thread(dirac_client(version).run, START + FILES, BASE=base)
                for sent, digest, received, equal in (seen[at : at + 4] for at in range(0, 16, 4)):
                    assert sent == {"OK": True, "Value": digest}
                    assert received["OK"] is True
                    assert equal is True
                buffered, equal, missing, stored, refused = seen[16:]
                assert buffered["OK"] is equal is True
                assert missing["Message"].endswith(": it is missing")
                assert stored is False
                assert refused["Message"] == "it is refused"
        finally:
            await listener.close()
            await server.stop(5)
            await door.drain(5)
