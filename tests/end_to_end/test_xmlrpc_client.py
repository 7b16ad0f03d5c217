"""The standard library's unmodified XML-RPC client against the demo grid, held equal to DISET."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from legacy_rpc.client.diset import Endpoint, client_tls
from legacy_rpc.client.diset import call as call_diset

from .conftest import DemoGrid

DN = "/DC=org/DC=wherry/OU=people/CN="
PILOTS = "WorkloadManagement/PilotManager"
MONITORING = "WorkloadManagement/JobMonitoring"
MANAGER = "WorkloadManagement/JobManager"

PLAN = """\
plan: 1
services:
  WorkloadManagement/PilotManager: {{state: {0}}}
  WorkloadManagement/JobMonitoring: {{state: {0}}}
  WorkloadManagement/JobManager: {{state: {0}}}
# {1}
"""


def tls(grid: DemoGrid, user: str | None = "alice", group: str = "demo_admin") -> ssl.SSLContext:
    """What any client uses: the grid's authorities, and a proxy file as the certificate."""
    context = ssl.create_default_context(capath=grid.facts["ca_path"])
    if user is not None:
        context.load_cert_chain(grid.proxy(user, group))
    return context


@contextmanager
def proxy(grid: DemoGrid, context: ssl.SSLContext, **more: Any) -> Iterator[Any]:
    """A ServerProxy of the demo grid."""
    with xmlrpc.client.ServerProxy(
        grid.facts["xmlrpc"], context=context, allow_none=True, use_builtin_types=True, **more
    ) as server:
        yield server


def diset(grid: DemoGrid, service: str, method: str, *arguments: Any) -> dict[str, Any]:
    """The result of the same call by DISET."""
    credentials = client_tls(grid.proxy("alice", "demo_admin"), Path(grid.facts["ca_path"]))
    endpoint = Endpoint.parse(grid.facts["urls"][service])
    return asyncio.run(call_diset(endpoint, method, arguments, credentials))


def until(condition: Callable[[], bool]) -> None:
    """Wait for the plan to be in force, or for the log to be written."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def alice(demo_grid: DemoGrid) -> Iterator[Any]:
    """Alice as an operator, by her proxy file."""
    with proxy(demo_grid, tls(demo_grid)) as server:
        yield server


@pytest.fixture(params=["legacy", "live"])
def state(request: pytest.FixtureRequest, demo_grid: DemoGrid, alice: Any) -> str:
    """Every method on one side, then on the other."""
    route = {"legacy": "native", "live": "rest"}[request.param]
    before = len(demo_grid.calls("getPilotSummary"))
    Path(demo_grid.facts["plan"]).write_text(PLAN.format(request.param, uuid.uuid4()))

    def in_force() -> bool:
        alice.WorkloadManagement.PilotManager.getPilotSummary()
        return route in [record["route"] for record in demo_grid.calls("getPilotSummary")[before:][-1:]]

    until(in_force)
    return request.param


READS = [
    (PILOTS, "getPilotSummary", []),
    (PILOTS, "getPilotSummary", ["2030-01-01", ""]),
    (PILOTS, "getPilotInfo", [[]]),
    (PILOTS, "getPilotInfo", ["nowhere"]),
    (PILOTS, "echo", ["héllo € <&>"]),
    (PILOTS, "noSuchMethod", []),
    (MONITORING, "getJobsStatus", [[1, 2, 100000]]),
    (MONITORING, "getJobsStates", [[1, 2]]),
    (MONITORING, "getJobsStates", [3]),
    (MONITORING, "getJobsStatus", ["no number"]),
    (MONITORING, "getJobsStatus", [{}]),
    (MONITORING, "getJobsStatus", []),
]


@pytest.mark.parametrize(("service", "method", "arguments"), READS)
def test_answers_of_diset(
    demo_grid: DemoGrid, alice: Any, state: str, service: str, method: str, arguments: list[Any]
) -> None:
    """The value is the one that a DIRAC client gets, or the fault has its number and text."""
    expected = diset(demo_grid, service, method, *arguments)
    name = f"{service.replace('/', '.')}.{method}"
    assert alice.system.wholeResult(name, arguments) == expected
    try:
        assert getattr(alice, name)(*arguments) == expected["Value"]
    except xmlrpc.client.Fault as fault:
        assert fault.faultString == expected["Message"]
        assert fault.faultCode == expected["Errno"] or (expected["Errno"] == 0 and fault.faultCode < -32000)


def test_work(demo_grid: DemoGrid, alice: Any, state: str) -> None:
    """Pilots are added and changed; DISET sees it."""
    reference = uuid.uuid4().hex
    pilots = alice.WorkloadManagement.PilotManager
    assert pilots.addPilotReferences([reference], "demo", "HTCondorCE", {reference: reference}) is None
    assert pilots.setPilotStatus(reference, "Running", "ce01.lyon.example.org", None) == 1
    info = pilots.getPilotInfo(reference)
    assert info == diset(demo_grid, PILOTS, "getPilotInfo", reference)["Value"]
    assert info[reference]["Status"] == "Running"
    assert type(info[reference]["SubmissionTime"]) is datetime.datetime


def test_extra_keys(alice: Any, state: str) -> None:
    """The whole result has the keys that a value has no room for."""
    job = {"legacy": 37, "live": 85}[state]  # Waiting jobs of alice's that no other test kills
    killed = alice.system.wholeResult("WorkloadManagement.JobManager.killJob", [[job, 100000]])
    assert isinstance(killed.pop("requireProxyUpload"), bool)  # who has a proxy here is another test's
    assert killed == {"OK": True, "Value": [job], "InvalidJobIDs": [100000]}
    states = alice.WorkloadManagement.JobMonitoring.getJobsStatus([job])
    assert states == {str(job): {"Status": "Killed"}}


def test_tokens(demo_grid: DemoGrid) -> None:
    """A bearer token takes the place of a certificate, with its user's rights and no others."""
    token = demo_grid.facts["tokens"]["bob"]["demo_user"]
    headers = [("Authorization", f"Bearer {token}")]
    with proxy(demo_grid, tls(demo_grid, None), headers=headers) as bob:
        who = bob.WorkloadManagement.PilotManager.whoami()
        assert (who["username"], who["group"], who["DN"]) == ("bob", "demo_user", f"{DN}bob")
        with pytest.raises(xmlrpc.client.Fault) as refused:
            bob.WorkloadManagement.PilotManager.getPilotInfo("x")
        assert refused.value.faultCode == 1111
        assert bob.WorkloadManagement.JobMonitoring.getJobsStatus([1])["1"]["Status"]
    with (
        proxy(demo_grid, tls(demo_grid, None), headers=[("Authorization", "Bearer x.y.z")]) as nobody,
        pytest.raises(xmlrpc.client.Fault) as refused,
    ):
        nobody.WorkloadManagement.PilotManager.whoami()
    assert refused.value.faultCode == 1111


def test_other_callers(demo_grid: DemoGrid) -> None:
    """Without certificate and token a caller is nobody; a proxy's group is that of its file."""
    with proxy(demo_grid, tls(demo_grid, None)) as nobody:
        assert nobody.WorkloadManagement.PilotManager.whoami() == {"properties": []}
        with pytest.raises(xmlrpc.client.Fault) as refused:
            nobody.WorkloadManagement.PilotManager.getPilotSummary()
        assert refused.value.faultCode == 1111
    with proxy(demo_grid, tls(demo_grid, "alice", "demo_user")) as user:
        assert user.WorkloadManagement.PilotManager.whoami()["group"] == "demo_user"


def test_description(alice: Any) -> None:
    """Every service describes its methods."""
    names = alice.system.listMethods()
    assert {"WorkloadManagement.PilotManager.getPilotSummary", "Configuration.Server.getVersion"} <= {*names}
    info = "WorkloadManagement.PilotManager.getPilotInfo"
    assert alice.system.methodSignature(info) == [["any", "array"], ["any", "string"]]
    assert "pilot" in alice.system.methodHelp(info)
    multicall = xmlrpc.client.MultiCall(alice)
    for name in names:
        multicall.system.methodHelp(name)
        multicall.system.methodSignature(name)
    assert len([*multicall()]) == 2 * len(names)


def test_multicall(demo_grid: DemoGrid, alice: Any) -> None:
    """Calls of a multicall are logged as the calls that they are."""
    text = str(uuid.uuid4())
    multicall = xmlrpc.client.MultiCall(alice)
    multicall.WorkloadManagement.JobMonitoring.echo(text)
    multicall.WorkloadManagement.JobMonitoring.getJobsStatus([1])
    multicall.WorkloadManagement.JobMonitoring.noSuchMethod()
    echoed, status, unknown = multicall().results
    assert (echoed, list(status[0]), unknown["faultCode"]) == ([text], ["1"], -32601)
    before = len(demo_grid.calls("noSuchMethod"))
    multicall()
    until(lambda: len(demo_grid.calls("noSuchMethod")) > before)
    last = [record for record in demo_grid.log() if record.get("wire") == "xmlrpc"][-3:]
    assert [record["method"] for record in last] == ["echo", "getJobsStatus", "noSuchMethod"]
    assert {record["caller"] for record in last} == {"alice"}


def test_binary_values(demo_grid: DemoGrid, alice: Any) -> None:
    """Bytes are bytes: the compressed configuration is the one that DISET gives."""
    data = alice.Configuration.Server.getCompressedData()
    assert data == diset(demo_grid, "Configuration/Server", "getCompressedData")["Value"]
    assert isinstance(data, bytes)
