"""An unmodified gRPC client with the published files against the demo grid, and what DISET answers.

The client is grpcio's with stubs that protoc makes of `docs/reference/proto`, in a process of its own.  It
shows proxies, certificates and tokens itself: on the client's side grpcio has nothing against proxies.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc_tools
import pytest
from grpc_tools import protoc

from legacy_rpc.client.diset import Endpoint, call, client_tls
from legacy_rpc.codecs.encodings import DENCODE

from .conftest import DemoGrid

PROTO = Path(__file__).parents[2] / "docs/reference/proto"
PILOTS, JOBS = "WorkloadManagement/PilotManager", "WorkloadManagement/JobMonitoring"

# Nothing here knows of the server but what is published.
PREAMBLE = """
import datetime, glob, sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool
from wherry.v1 import legacy_rpc_pb2 as rpc, legacy_rpc_pb2_grpc as rpc_grpc
from wherry.v1 import workload_management_pb2 as wms, workload_management_pb2_grpc as wms_grpc

target, ca_path, credential, token = sys.argv[1:]
authority = b"".join(open(name, "rb").read() for name in sorted(glob.glob(ca_path + "/*.0")))
pem = open(credential, "rb").read() if credential else None
credentials = grpc.ssl_channel_credentials(authority, pem, pem)
if token:
    credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
channel = grpc.secure_channel(target, credentials)

def plain(value):
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "list_value":
        return [plain(each) for each in value.list_value.values]
    if kind == "map_value":
        return {plain(entry.key): plain(entry.value) for entry in value.map_value.entries}
    if kind == "datetime_value":
        return value.datetime_value.ToDatetime()
    if kind == "date_value":
        day = value.date_value
        return datetime.date(day.year, day.month, day.day)
    return getattr(value, kind)

def generic(service, method, *arguments, **options):
    request = rpc.CallRequest(service=service, method=method, arguments=arguments)
    return plain(rpc_grpc.LegacyRpcStub(channel).Call(request, timeout=30, **options).value)

def see(value):
    print("SEEN " + repr(value), flush=True)

def see_error(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except grpc.RpcError as raised:
        data = dict(raised.trailing_metadata()).get("wherry-error-bin", b"")
        error = rpc.Error.FromString(data)
        extra = {name: plain(value) for name, value in error.extra.items()}
        see((raised.code().name, raised.details(), error.errno, error.message, extra))

text = lambda value: rpc.Value(string_value=value)
number = lambda value: rpc.Value(int_value=value)
pilots = wms_grpc.PilotManagerStub(channel)
jobs = wms_grpc.JobMonitoringStub(channel)
"""

Run = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What protoc makes of the published files; one of our packages has their name, so they are one too."""
    directory = tmp_path_factory.mktemp("stubs")
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    names = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    options = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={directory}", f"--grpc_python_out={directory}"]
    assert protoc.main(["protoc", *options, *names]) == 0
    for package in ("wherry", "wherry/v1"):
        (directory / package / "__init__.py").touch()
    return directory


@pytest.fixture
def run(stubs: Path, demo_grid: DemoGrid, tmp_path: Path) -> Run:
    """Runs a script after the preamble; returns what it showed."""

    def start(script: str, credential: Path | None = None, token: str = "") -> list[Any]:
        facts = demo_grid.facts
        about = (urlsplit(facts["grpc"]).netloc, facts["ca_path"], str(credential or ""), token)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PREAMBLE + script, *about],
            env={"PYTHONPATH": str(stubs), "PATH": os.environ["PATH"]},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = [line[5:] for line in done.stdout.splitlines() if line.startswith("SEEN ")]
        return [eval(each, {"datetime": datetime}) for each in seen]

    return start


@pytest.fixture
def diset(demo_grid: DemoGrid) -> Callable[..., Any]:
    """What alice gets by DISET, as an administrator; in the encoding that keeps types."""

    def ask(service: str, method: str, arguments: Sequence[Any] = ()) -> Any:
        tls = client_tls(demo_grid.proxy("alice", "demo_admin"), Path(demo_grid.facts["ca_path"]))
        endpoint = Endpoint.parse(demo_grid.facts["urls"][service])
        return asyncio.run(call(endpoint, method, arguments, tls, encoding=DENCODE))

    return ask


@pytest.fixture
def admin(demo_grid: DemoGrid) -> Path:
    """Alice's proxy as an administrator."""
    return demo_grid.proxy("alice", "demo_admin")


def test_the_same_as_by_diset(run: Run, diset: Callable[..., Any], admin: Path) -> None:
    """By both services: values, types and all, of calls with lists, dates and defaults."""
    references = list(diset(PILOTS, "getPilotInfo", [""])["Value"])[:3]
    seen = run(
        f"""
references = rpc.Value(list_value=rpc.ListValue(values=map(text, {references!r})))
see(plain(pilots.getPilotInfo(wms.PilotManager_GetPilotInfoRequest(pilotReference=references)).value))
see(generic("{PILOTS}", "getPilotInfo", references))
see(plain(pilots.getPilotSummary(wms.PilotManager_GetPilotSummaryRequest()).value))
see(plain(pilots.getPilotSummary(wms.PilotManager_GetPilotSummaryRequest(enddate=text("2000-01-01"))).value))
see(generic("{PILOTS}", "getPilotSummary"))
see(plain(jobs.getJobsStatus(wms.JobMonitoring_GetJobsStatusRequest(jobIDs=number(5))).value))
see(generic("{JOBS}", "getJobsStatus", rpc.Value(list_value=rpc.ListValue(values=[number(5), text("6")]))))
""",
        admin,
    )
    expected = [
        diset(PILOTS, "getPilotInfo", [references]),
        diset(PILOTS, "getPilotInfo", [references]),
        diset(PILOTS, "getPilotSummary"),
        diset(PILOTS, "getPilotSummary", ["", "2000-01-01"]),
        diset(PILOTS, "getPilotSummary"),
        diset(JOBS, "getJobsStatus", [5]),
        diset(JOBS, "getJobsStatus", [[5, "6"]]),
    ]
    assert seen == [answer["Value"] for answer in expected]
    assert list(seen[-1]) == [5, 6]


def test_errors(run: Run, diset: Callable[..., Any], admin: Path) -> None:
    """DIRAC's number and text, and gRPC's status for their kind."""
    seen = run(
        f"""
see_error(pilots.getPilotInfo, wms.PilotManager_GetPilotInfoRequest(pilotReference=text("none")))
see_error(pilots.getPilotInfo, wms.PilotManager_GetPilotInfoRequest(pilotReference=number(5)))
see_error(pilots.getPilotInfo, wms.PilotManager_GetPilotInfoRequest())
see_error(generic, "{PILOTS}", "noSuchMethod")
see_error(generic, "No/Service", "ping")
""",
        admin,
    )
    expected = [
        ("UNKNOWN", diset(PILOTS, "getPilotInfo", ["none"])),
        ("INVALID_ARGUMENT", diset(PILOTS, "getPilotInfo", [5])),
        ("INVALID_ARGUMENT", diset(PILOTS, "getPilotInfo", [])),
        ("UNIMPLEMENTED", diset(PILOTS, "noSuchMethod")),
    ]
    for (status, answer), (code, details, errno, message, extra) in zip(expected, seen[:-1], strict=True):
        assert (code, errno, message) == (status, answer["Errno"], answer["Message"])
        assert details == message
        assert extra == {}
    assert seen[-1][0] == "UNIMPLEMENTED"


def test_who_calls(run: Run, demo_grid: DemoGrid) -> None:
    """By proxy, by the user's own certificate, by token; and nobody."""
    me = f"""
mine = generic("{PILOTS}", "whoami")
see((mine.get("username"), mine.get("group")))
see_error(pilots.getPilotSummary, wms.PilotManager_GetPilotSummaryRequest())
"""
    tokens = demo_grid.facts["tokens"]["bob"]["demo_user"]
    (who, refused) = run(me, demo_grid.proxy("bob", "demo_user"))
    assert who == ("bob", "demo_user")
    assert refused[0] == "PERMISSION_DENIED"
    assert refused[2] == 1111
    (who, refused) = run(me, token=tokens)
    assert who == ("bob", "demo_user")
    assert refused[0] == "PERMISSION_DENIED"
    (who, refused) = run(me)
    assert who == (None, None)
    assert refused[0] == "UNAUTHENTICATED"
    (refused,) = run(f'see_error(generic, "{PILOTS}", "ping")', token="wrong")
    assert (refused[0], refused[2]) == ("UNAUTHENTICATED", 1111)


def test_a_certificate_and_a_group(run: Run, demo_grid: DemoGrid, tmp_path: Path) -> None:
    """Who shows no proxy has a default group, and may ask for another."""
    pki = Path(demo_grid.facts["ca_path"]).parent
    pair = tmp_path / "alice.pem"
    pair.write_bytes((pki / "alicecert.pem").read_bytes() + (pki / "alicekey.pem").read_bytes())
    seen = run(
        f"""
for metadata in ([], [("dirac-extra-credentials", "demo_admin"), ("dirac-client-version", "9.1.22")]):
    mine = generic("{PILOTS}", "whoami", metadata=metadata)
    see((mine["username"], mine["group"], mine["isProxy"]))
""",
        pair,
    )
    assert seen == [("alice", "demo_user", False), ("alice", "demo_admin", False)]
    deadline = time.monotonic() + 30
    while ("grpc", "9.1.22") not in {(each["wire"], each["client"]) for each in demo_grid.calls("whoami")}:
        assert time.monotonic() < deadline, "the call is not in the log"
        time.sleep(0.05)


def test_reflection_and_health(run: Run, demo_grid: DemoGrid) -> None:
    """A client without any file finds every service and calls one; nobody need be known for that."""
    seen = run(
        """
database = ProtoReflectionDescriptorDatabase(channel)
services = sorted(database.get_services())
see(services)
pool = DescriptorPool(database)
pilots = pool.FindServiceByName("wherry.v1.workload_management.PilotManager")
see({method.name: [field.name for field in method.input_type.fields] for method in pilots.methods})
health = health_pb2_grpc.HealthStub(channel)
status = {health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in ["", *services[3:]]}
see([health_pb2.HealthCheckResponse.ServingStatus.Name(each) for each in status])
"""
    )
    services, methods, status = seen
    assert services[:3] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    typed = {name.rpartition(".")[2] for name in services[3:]}
    assert {"LegacyRpc"} | {name.split("/")[1] for name in demo_grid.facts["urls"]} == typed
    assert methods["setPilotStatus"] == ["pilotRef", "status", "destination", "reason", "gridSite", "queue"]
    assert status == ["SERVING"]


def test_a_deadline(run: Run, admin: Path) -> None:
    """That has passed before the call is made."""
    (seen,) = run("see_error(jobs.ping, wms.JobMonitoring_PingRequest(), timeout=0)", admin)
    assert seen[0] == "DEADLINE_EXCEEDED"
