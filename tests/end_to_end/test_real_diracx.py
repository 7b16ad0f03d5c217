"""Legacy calls whose live methods go over HTTP: to a real DiracX 0.7.0, and to another Wherry."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from calls import CALLS
from moto.server import ThreadedMotoServer

from adaptor.methods.catalogue import ADAPTORS
from legacy_rpc.services.catalogue import all_services
from shared_db.administration import initialise
from shared_db.connection import open_databases
from wherry.demo.credentials import GridCredentials, grid_credentials
from wherry.demo.data import fill

from .bridge import Program, running_wherry
from .diracx_server import EXCHANGE_KEY, EXCHANGE_KEY_HASH, SHARED, RestServer, running_diracx

pytestmark = pytest.mark.clients

JDL = 'Executable = "/bin/true"; JobName = "through the bridge"; Site = "DEMO.Lyon.fr";'
DIRACX = "a real DiracX"
WHERRY = "another Wherry"
# They change from one moment to the next.
NOT_COMPARED = ("getFreeDiskSpace",)
CALLERS = ("alice.demo_admin", "alice.demo_user", "bob.demo_user", "pilot.demo_pilot")


@dataclass
class Bridge:
    """A front door, the backend of its live methods, and which that is."""

    door: Program
    backend: RestServer
    kind: str
    databases: dict[str, Path]

    def search(self, what: str, *conditions: tuple[str, Any]) -> list[dict[str, Any]]:
        """What the backend's own API says to alice the administrator."""
        body = {
            "search": [{"parameter": name, "operator": "eq", "value": value} for name, value in conditions]
        }
        token = self.backend.token("alice", "demo_admin")
        rows: list[dict[str, Any]] = self.backend.ask("POST", f"/api/{what}/search", token, body)
        return rows

    def job(self, job_id: int) -> dict[str, Any]:
        """A job in the backend's own words."""
        [row] = self.search("jobs", ("JobID", job_id))
        return row

    def ok(self, service: str, method: str, *arguments: Any, who: str = "alice.demo_user") -> Any:
        """The value of a call that must succeed, by way of the backend."""
        answer = self.door.call(service, method, *arguments, who=who)
        assert answer["OK"], answer
        assert self.door.route(method) == ("rest", "live")
        return answer["Value"]

    def submit(self) -> int:
        """A job of alice's."""
        job_id = self.ok("JobManager", "submitJob", JDL)
        assert isinstance(job_id, int)
        return job_id


@contextlib.contextmanager
def s3_service() -> Iterator[str]:
    """The address of moto's S3."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@contextlib.contextmanager
def running_backend(
    kind: str, directory: Path, credentials: GridCredentials, databases: dict[str, Path]
) -> Iterator[RestServer]:
    """The backend on the databases that the front door has, too."""
    if kind == DIRACX:
        with s3_service() as s3:
            shared = {name: databases[name] for name in SHARED}
            with running_diracx(directory, s3, shared) as diracx:
                yield diracx
        return
    config = (
        'rest: {listen: "127.0.0.1:0"}\n'
        f'auth: {{issuer: "https://backend.invalid/", legacy_exchange_key_hash: {EXCHANGE_KEY_HASH}}}\n'
    )
    with running_wherry(directory, credentials, databases, config) as program:
        yield RestServer(program.ready["rest"])


async def make_databases(databases: dict[str, Path]) -> None:
    """DIRAC's tables, which DiracX finds, and our own, with the demo's jobs and pilots."""
    opened = open_databases({name: f"sqlite:///{path}" for name, path in databases.items()}, create=True)
    await initialise(opened)
    await fill(opened)
    await opened.dispose()


@pytest.fixture(scope="module", params=[DIRACX, WHERRY])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A front door with every method live, and its backend."""
    door, behind, data = (tmp_path_factory.mktemp(name) for name in ("door", "behind", "data"))
    databases = {name: data / f"{name}.db" for name in (*SHARED, "ProxyDB", "WherryDB")}
    asyncio.run(make_databases(databases))
    credentials = grid_credentials(door / "pki")
    with running_backend(request.param, behind, credentials, databases) as backend:
        config = (
            'legacy: {dips: {listen: "127.0.0.1:0"}, public_host: localhost}\n'
            f'rest: {{target: "{backend.url}", exchange_key: "{EXCHANGE_KEY}"}}\n'
        )
        with running_wherry(door, credentials, databases, config) as program:
            yield Bridge(program, backend, request.param, databases)


def test_a_job(bridge: Bridge) -> None:
    """A job that a legacy client submits is the backend's job; the client follows and kills it there."""
    job_id = bridge.submit()
    job = bridge.job(job_id)
    assert (job["Owner"], job["OwnerGroup"], job["VO"]) == ("alice", "demo_user", "demo")
    assert job["JobName"] == "through the bridge"
    status = bridge.ok("JobMonitoring", "getJobsStatus", [job_id])
    assert status == {str(job_id): {"Status": job["Status"]}}
    states = bridge.ok("JobMonitoring", "getJobsStates", [job_id])[str(job_id)]
    assert states["MinorStatus"] == job["MinorStatus"]
    assert bridge.ok("JobManager", "killJob", [job_id]) == [job_id]
    assert bridge.job(job_id)["Status"] == "Killed"
    assert bridge.ok("JobMonitoring", "getJobsStatus", [job_id])[str(job_id)] == {"Status": "Killed"}


def test_both_sides_see_the_same(bridge: Bridge) -> None:
    """What the backend wrote is what the native side reads: they share the databases."""
    job_id = bridge.submit()
    rest = bridge.ok("JobMonitoring", "getJobsStates", [job_id])
    native = bridge.door.call_as_host("JobMonitoring", "getJobsStates", [job_id])
    assert bridge.door.route("getJobsStates") == ("native", "no-token")
    assert native["Value"] == rest


def test_a_job_that_is_refused(bridge: Bridge) -> None:
    """What DIRAC's JobManager refuses is refused in its words, and does not become a job."""
    newest = max(row["JobID"] for row in bridge.search("jobs"))
    for jdl in ("", 'Executable = "x"; Parameters = 21;'):
        answer = bridge.door.call("JobManager", "submitJob", jdl)
        assert not answer["OK"]
        assert answer["Message"].startswith("Invalid job description ( 1501 : ")
        assert bridge.door.route("submitJob") == ("rest", "live")
    assert max(row["JobID"] for row in bridge.search("jobs")) == newest


def test_a_status(bridge: Bridge) -> None:
    """A status that a legacy client reports is the job's, and stands in its history."""
    job_id = bridge.submit()
    bridge.ok("JobStateUpdate", "setJobStatus", job_id, "Killed", "by hand", "a test")
    job = bridge.job(job_id)
    assert (job["Status"], job["MinorStatus"]) == ("Killed", "by hand")
    history = bridge.ok("JobMonitoring", "getJobLoggingInfo", job_id)
    assert [*history[-1][:2], history[-1][4]] == ["Killed", "by hand", "a test"]


def test_callers_are_themselves(bridge: Bridge) -> None:
    """Each caller has his own token: bob cannot kill alice's job, alice the administrator can kill bob's."""
    alices = bridge.submit()
    bobs = bridge.ok("JobManager", "submitJob", JDL, who="bob.demo_user")
    assert bridge.job(bobs)["Owner"] == "bob"
    refused = bridge.door.call("JobManager", "killJob", [alices], who="bob.demo_user")
    assert not refused["OK"]
    assert refused["NonauthorizedJobIDs"] == [alices]
    assert bridge.job(alices)["Status"] != "Killed"
    assert bridge.ok("JobManager", "killJob", [bobs], who="alice.demo_admin") == [bobs]


def test_pilots(bridge: Bridge) -> None:
    """Pilots that a legacy client registers and updates are the backend's."""
    reference = f"ref-{bridge.kind.split()[-1]}"
    stamp = f"stamp-{reference}"
    admin = "alice.demo_admin"
    before = bridge.ok("PilotManager", "getPilotSummary", who=admin)
    bridge.ok(
        "PilotManager", "addPilotReferences", [reference], "demo", "DIRAC", {reference: stamp}, who=admin
    )
    [pilot] = bridge.search("pilots", ("PilotStamp", stamp))
    assert (pilot["PilotJobReference"], pilot["VO"], pilot["Status"]) == (reference, "demo", "Submitted")
    assert bridge.ok("PilotManager", "setPilotStatus", reference, "Running", "", "r", who=admin) == 1
    [pilot] = bridge.search("pilots", ("PilotStamp", stamp))
    assert (pilot["Status"], pilot["StatusReason"]) == ("Running", "r")
    summary = bridge.ok("PilotManager", "getPilotSummary", who=admin)
    assert summary["Total"]["Running"] == before["Total"]["Running"] + 1


def test_what_cannot_go(bridge: Bridge) -> None:
    """A method whose routes the backend has not stays on the old side; `wherry plan check` names it."""
    answer = bridge.door.call("WMSAdministrator", "getSiteMask", who="alice.demo_admin")
    assert answer["OK"]
    checked = bridge.door.command("plan", "check")
    if bridge.kind == DIRACX:
        assert bridge.door.route("getSiteMask") == ("native", "no-route")
        assert checked.returncode == 1
        assert f"{bridge.backend.url} has no GET /api/site-mask/" in checked.stdout
        for carried in ("getJobsStatus", "killJob", "addPilotReferences", "getPilotSummary", "submitJob"):
            assert f" {carried} of" not in checked.stdout
    else:
        assert bridge.door.route("getSiteMask") == ("rest", "live")
        assert (checked.returncode, len(checked.stdout.splitlines())) == (0, 1)


def test_the_key_is_nowhere(bridge: Bridge) -> None:
    """Neither the key nor a token stands in the front door's log."""
    bridge.submit()
    log = (bridge.door.directory / "log").read_text()
    assert EXCHANGE_KEY.removeprefix("diracx:legacy:") not in log
    assert "eyJ" not in log


def test_clients_are_sent_to_the_backend(bridge: Bridge) -> None:
    """Without a listener of our own, new clients are told the backend's address, and get its tokens."""
    answer = bridge.door.call("Framework/ProxyManager", "exchangeProxyForToken")
    assert answer["OK"], answer
    token = answer["Value"]["access_token"]
    who = bridge.backend.ask("GET", "/api/auth/userinfo", token)
    assert (who["preferred_username"], who["dirac_group"]) == ("alice", "demo_user")


def test_reads_are_alike(bridge: Bridge, tmp_path: Path) -> None:
    """Generated reads of every kind have the same answers by way of the backend as from the native side."""
    chance = random.Random(7)
    services = all_services()
    reads = [
        (key, make)
        for key, make in CALLS.items()
        if key in ADAPTORS and services.method(*key).write == "read" and key[1] not in NOT_COMPARED
    ]
    routes: Counter[str] = Counter()
    config = 'legacy: {dips: {listen: "127.0.0.1:0"}, public_host: localhost}\n'
    with running_wherry(
        tmp_path, bridge.door.credentials, bridge.databases, config, plan="plan: 1\n"
    ) as native:
        for (service, method), make in reads * 2:
            if method.startswith("FileTransfer/"):
                continue
            arguments, who = make(chance), chance.choice(CALLERS)
            answers = [door.call(service, method, *arguments, who=who) for door in (bridge.door, native)]
            routes[bridge.door.route(method)[0]] += 1
            assert answers[0] == answers[1], (method, arguments, who)
    assert routes["rest"] > routes.total() / 3
