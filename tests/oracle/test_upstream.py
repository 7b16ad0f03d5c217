"""Unmodified DIRAC clients, the bridge, and behind it DIRAC's own services: as if it were not there."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from missing import missing
from oracle import Oracle, running_oracle

from legacy_rpc.client.diset import Endpoint, call
from legacy_rpc.front_door import FinishedCall
from shared_db.administration import initialise
from shared_db.cfg import parse_cfg
from shared_db.connection import open_databases
from wherry.config import load_config
from wherry.serve import serving

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="module")]

VERSIONS = ("9.1.22", "8.0.86")
CLIENTS = Path(__file__).parents[2] / ".clients"
MANAGER, MONITORING = "WorkloadManagement/JobManager", "WorkloadManagement/JobMonitoring"
SANDBOXES, STORAGE = "WorkloadManagement/SandboxStore", "DataManagement/StorageElement"
ALICE, ADMIN, BOB = ("alice", "demo_user"), ("alice", "demo_admin"), ("bob", "demo_user")

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: {host}, key: {key}, ca_path: {ca}}}
legacy: {{dips: {{listen: "127.0.0.1:0"}}, public_host: localhost}}
upstream:
  WorkloadManagement/JobManager: {manager}
  WorkloadManagement/JobMonitoring: {monitoring}
  WorkloadManagement/SandboxStore: {sandboxes}
  "*": {others}
"""
PLAN = """\
plan: 1
services:
  WorkloadManagement/JobManager: {old: upstream}
  WorkloadManagement/JobMonitoring: {old: upstream}
  WorkloadManagement/SandboxStore: {old: upstream}
  "*": {old: upstream}
"""
START = """
import datetime, sys
def see(value):
    if isinstance(value, dict):
        value.pop("rpcStub", None)
    print("SEEN " + repr(value), flush=True)
import os
import DIRAC
if "DIRECT" in os.environ:
    DIRAC.gConfig.loadFile(os.environ["DIRACSYSCONFIG"])  # there is no server of it
elif DIRAC.version.startswith("9."):
    DIRAC.initialize()
else:
    from DIRAC.Core.Base import Script
    Script.parseCommandLine(script="x")
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.Core.DISET.TransferClient import TransferClient
manager = RPCClient("WorkloadManagement/JobManager")
monitoring = RPCClient("WorkloadManagement/JobMonitoring")
storage, files = RPCClient("DataManagement/StorageElement"), TransferClient("DataManagement/StorageElement")
"""


@pytest.fixture(scope="module")
def dirac(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """DIRAC's own services: some that Wherry has methods of, and one that it has never heard of."""
    services = (MANAGER, MONITORING, SANDBOXES, STORAGE)
    with running_oracle(servers.url("mariadb"), tmp_path_factory.mktemp("upstream"), services) as up:
        yield up


@dataclass
class Bridge:
    """Wherry in front of them; ``calls`` is what it answered."""

    dirac: Oracle
    directory: Path
    url: str
    calls: list[FinishedCall] = field(default_factory=list)

    async def run(
        self,
        script: str,
        *arguments: str,
        caller: tuple[str, str] = ALICE,
        version: str = "9.1.22",
        direct: bool = False,
    ) -> list[Any]:
        """What a script shows that a user runs, who was configured for the bridge, or for DIRAC itself."""
        environment = CLIENTS / f"dirac-{version}"
        if not environment.exists():
            missing(f"no environment with DIRAC {version}: run `make clients`")
        user, group = caller
        credentials = self.dirac.credentials
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DIRAC_ROOT_PATH": str(self.directory),
            "DIRACSYSCONFIG": str(self.directory / ("direct.cfg" if direct else "bridged.cfg")),
            "X509_CERT_DIR": str(credentials.ca_path),
            "X509_USER_PROXY": str(credentials.proxies[user][group]),
            **({"DIRECT": "yes"} if direct else {}),
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [environment / "bin/python", "-c", START + script, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = [line[5:] for line in done.stdout.splitlines() if line.startswith("SEEN ")]
        return [eval(text, {"datetime": datetime}) for text in seen]

    async def both(self, script: str, **how: Any) -> list[Any]:
        """What a script shows, which must be the same without the bridge."""
        bridged = await self.run(script, **how)
        assert bridged == await self.run(script, **how, direct=True)
        return bridged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(dirac: Oracle, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bridge]:
    """The site's configuration, as it was, in front of which the bridge was put this morning."""
    directory = tmp_path_factory.mktemp("bridge")
    registry = parse_cfg(dirac.registry)
    registry.set("DIRAC/Setup", "Demo")
    for service, url in dirac.services.items():
        system, component = service.split("/")
        registry.set(f"DIRAC/Setups/Demo/{system}", "Production")
        registry.set(f"Systems/{system}/URLs/{component}", url)
        registry.set(f"Systems/{system}/Production/URLs/{component}", url)
    (directory / "registry.cfg").write_text(registry.to_text())
    (directory / "direct.cfg").write_text(registry.to_text())
    (directory / "plan.yaml").write_text(PLAN)
    databases = open_databases(f"sqlite:///{directory / 'wherry.db'}", create=True)
    await initialise(databases)
    await databases.dispose()
    mine = dirac.credentials
    (directory / "wherry.yaml").write_text(
        CONFIG.format(
            host=mine.host_certificate,
            key=mine.host_key,
            ca=mine.ca_path,
            manager=dirac.services[MANAGER],
            monitoring=dirac.services[MONITORING],
            sandboxes=dirac.services[SANDBOXES],
            others=dirac.services[STORAGE].removesuffix(f"/{STORAGE}"),
        )
    )
    calls: list[FinishedCall] = []
    async with serving(load_config(directory / "wherry.yaml"), calls.append) as up:
        url = up.addresses.service("Configuration/Server")
        client = f"DIRAC\n{{\n  Setup = Demo\n  Configuration\n  {{\n    Servers = {url}\n  }}\n}}\n"
        (directory / "bridged.cfg").write_text(client)
        yield Bridge(dirac, directory, url, calls)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each client in turn."""
    return str(request.param)


SUBMIT = """
jdl = '[ Executable = "/bin/true"; JobName = "%s"; Owner = "eve"; OwnerGroup = "eve" ]' % sys.argv[1]
done = manager.submitJob(jdl)
see(done)
job = done["JobID"]
see(monitoring.getJobAttributes(job, ["Owner", "OwnerGroup"]))
"""


async def test_a_submitted_job_is_the_callers(bridge: Bridge, version: str) -> None:
    """alice's job is alice's, in the group of her proxy, and S_OK has its extra keys."""
    bridge.calls.clear()
    done, found = await bridge.run(SUBMIT, "mine", version=version)
    assert done["OK"], done
    assert done["JobID"] == done["Value"] > 0
    assert done.keys() == {"OK", "Value", "JobID", "requireProxyUpload"}
    assert found == {"OK": True, "Value": {"Owner": "alice", "OwnerGroup": "demo_user"}}
    done, found = await bridge.run(SUBMIT, "mine", version=version, caller=ADMIN)
    assert found["Value"] == {"Owner": "alice", "OwnerGroup": "demo_admin"}
    routes = {each.call.method: each.answered.route for each in bridge.calls}
    assert {routes[each] for each in ("submitJob", "getJobAttributes")} == {"upstream"}
    assert {each.call.client_version for each in bridge.calls} == {version}


READ = """
see(monitoring.getJobTypes())
job = {job}
for name, arguments in (
    ("getJobSummary", [job]),
    ("getJobsStatus", [[job, 987654]]),
    ("getJobsStates", [[job]]),
    ("getJobAttributes", [job]),
    ("getJobsSummary", [[job]]),
    ("getJobJDL", [job, False]),
    ("getJobLoggingInfo", [job]),
    ("getJobPageSummaryWeb", [{{"Owner": "alice"}}, [["JobID", "ASC"]], 0, 5]),
    ("getJobSummary", [987654]),
    ("getJobSummary", ["no number"]),
    ("getJobSummary", []),
    ("getJobSummary", [1, 2, 3]),
    ("noSuchMethod", [1]),
    ("echo", ["héllo €"]),
):
    see([name, getattr(monitoring, name)(*arguments)])
"""


async def test_answers_are_diracs(bridge: Bridge, version: str) -> None:
    """Values and errors of reads, of wrong arguments and unknown methods, are those that DIRAC gives."""
    [done, *_] = await bridge.run(SUBMIT, "read")
    seen = await bridge.both(READ.format(job=done["JobID"]), version=version)
    by_name = dict(each for each in seen[1:] if each[0] in ("noSuchMethod", "echo"))
    assert by_name["noSuchMethod"]["Message"] == "Unknown method noSuchMethod"
    assert by_name["echo"]["Value"] == "héllo €"
    assert sum(each[1]["OK"] for each in seen[1:]) >= 8


MANAGE = """
for each in ("killJob", "deleteJob", "rescheduleJob", "resetJob"):
    answer = getattr(manager, each)([{job}])
    ids = {{key: answer[key] for key in answer if key.endswith("JobIDs")}}
    see([each, answer["OK"], ids, answer.get("Errno")])
"""


async def test_rights_are_the_callers(bridge: Bridge, version: str) -> None:
    """bob may not touch alice's job, by the bridge as directly; the extra keys of S_ERROR say so."""
    [done, *_] = await bridge.run(SUBMIT, "hers")
    seen = await bridge.both(MANAGE.format(job=done["JobID"]), caller=BOB, version=version)
    assert seen[0][2] == {"NonauthorizedJobIDs": [done["JobID"]]}
    assert not any(ok for _, ok, _, _ in seen)


WHO = """
for service in (manager, storage):
    see(service.whoami())
    see(service.ping())
"""


async def test_builtin_methods_are_the_services_own(bridge: Bridge) -> None:
    """ping is answered by DIRAC itself; it sees the caller, behind our host's certificate."""
    host = await bridge.run(WHO, caller=ADMIN, direct=True)
    seen = await bridge.run(WHO, caller=ADMIN)
    for mine, direct in zip(seen[::2], host[::2], strict=True):
        same = ("DN", "group", "username", "properties")
        assert {key: mine["Value"][key] for key in same} == {key: direct["Value"][key] for key in same}
        assert mine["Value"]["subject"] != direct["Value"]["subject"]
    assert {each["Value"]["version"] for each in seen[1::2]} == {"9.1.22"}
    assert [each["Value"]["name"] for each in seen[1::2]] == [MANAGER, STORAGE]


UNKNOWN = """
see(storage.createDirectory("{name}"))
see(storage.exists("{name}"))
see(storage.getMetadata("nothing/there"))
see(storage.listDirectory(5, "l"))
see(RPCClient("No/Service", url="{url}").ping()["OK"])
"""


async def test_a_service_that_nobody_has_heard_of(bridge: Bridge, version: str) -> None:
    """It is passed through whole, found in the configuration that the bridge serves, errors and all."""
    bridge.calls.clear()
    script = UNKNOWN.format(
        name=f"by-{version}", url=bridge.url.replace("Configuration/Server", "No/Service")
    )
    seen = await bridge.run(script, version=version)
    assert seen[0]["OK"] and seen[1]["Value"] is True
    assert seen[:4] == (await bridge.run(script, version=version, direct=True))[:4]
    assert seen[3]["Message"].startswith("Type mismatch in parameter 0")
    passed = [each for each in bridge.calls if each.call.service == STORAGE]
    assert {each.answered.route for each in passed} == {"upstream"}
    assert len(passed) >= 4


FILES = """
size, name = int(sys.argv[1]), sys.argv[2]
content = (b"0123456789abcdef" * 65536)[:1 << 20] * (size >> 20) + b"x" * (size % (1 << 20))
with open(name + ".sent", "wb") as file:
    file.write(content)
see(files.sendFile(name + ".sent", name, token="token"))
see(files.receiveFile(name + ".back", name, token="token"))
see(files.receiveFile(name + ".none", "no/such/file", token="token"))
with open(name + ".back", "rb") as file:
    see(file.read() == content)
"""


@pytest.mark.parametrize("size", [0, 1, 5 * (1 << 20) + 17])
async def test_files_of_such_a_service(bridge: Bridge, version: str, size: int) -> None:
    """A real DIRAC service takes a file through the bridge, byte for byte, and gives it back."""
    name = f"file-{version}-{size}"
    old = await bridge.run(FILES, str(size), str(bridge.directory / name), version=version)
    stored = [each for each in (bridge.dirac.directory / "storage").rglob("*") if each.name == name]
    assert [each.stat().st_size for each in stored] == [size]
    assert old[-1] is True
    direct = await bridge.run(FILES, str(size), str(bridge.directory / name), version=version, direct=True)
    assert old == direct


SANDBOX = """
import hashlib
content = sys.argv[2].encode() * 1000
with open(sys.argv[1], "wb") as file:
    file.write(content)
name = hashlib.md5(content).hexdigest() + ".tar.bz2"
store = TransferClient("WorkloadManagement/SandboxStore")
sent = store.sendFile(sys.argv[1], [name, ""])
see(sent)
place = "WorkloadManagement/SandboxStore" + sent["Value"].partition("|")[2]
see(store.receiveFile(sys.argv[1] + ".back", place))
see(open(sys.argv[1] + ".back", "rb").read() == content)
"""


async def test_a_sandbox(bridge: Bridge, version: str) -> None:
    """An input sandbox goes to DIRAC's own SandboxStore, is the caller's there, and comes back."""
    file = str(bridge.directory / f"{version}.tar.bz2")
    sent, back, same = await bridge.run(SANDBOX, file, version, version=version)
    assert sent["OK"], sent
    assert "/alice.demo_user/" in sent["Value"]
    assert back["OK"], back
    assert same


async def test_hosts_and_strangers_are_what_they_are(bridge: Bridge) -> None:
    """A host is that host for DIRAC's services; who claims a group of others is nobody, and refused."""
    host, liar = ("localhost", "hosts"), ("bob", "demo_admin")
    for service in (MANAGER, STORAGE):
        where = Endpoint.parse(bridge.url.replace("Configuration/Server", service))

        async def asked(caller: tuple[str, str], method: str, *arguments: Any) -> dict[str, Any]:
            kind = "hosts" if caller == host else ""
            tls = bridge.dirac.tls(caller)
            return await call(where, method, arguments, tls, extra_credentials=kind, seconds=30)  # noqa: B023

        value = (await asked(host, "whoami"))["Value"]
        assert (value["username"], value["group"]) == host
        value = (await asked(liar, "whoami"))["Value"]
        assert (value["group"], value["username"]) == ("visitor", "anonymous")
        refused = await asked(liar, "killJob" if service == MANAGER else "exists", "x")
        assert (refused["OK"], refused["Errno"]) == (False, 1111)
