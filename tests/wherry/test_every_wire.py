"""A call means the same on all wires: one body per method runs over each, and the replies are compared.

What a wire cannot carry is taken from all of them first: keys are compared as texts, sequences as lists,
times to the second, bytes as what DIRAC's clients make of them.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from calls import CALLS
from wire_clients import Caller, clients

from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.messages import Write
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import Method
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials
from wherry.serve import Serving, serving
from wherry.signatures import signatures

from .conftest import fill_directory

PILOTS = "WorkloadManagement/PilotManager"
MONITORING = "WorkloadManagement/JobMonitoring"
MANAGER = "WorkloadManagement/JobManager"
CONFIGURATION = "Configuration/Server"
PROXIES = "Framework/ProxyManager"
BUNDLES = "Framework/BundleDelivery"
SANDBOXES = "WorkloadManagement/SandboxStore"
WAITING_JOBS = (5, 53, 101, 149, 197, 245)


def same(value: Any) -> Any:
    """A value as all wires carry it."""
    if isinstance(value, Mapping):
        return {str(key): same(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [same(each) for each in value]
    if isinstance(value, datetime):
        return value.replace(microsecond=0, tzinfo=None)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def shape(value: Any) -> Any:
    """What is left of a value that is another one at every call: its keys and types."""
    if isinstance(value, Mapping):
        return {str(key): shape(each) for key, each in value.items()}
    if isinstance(value, datetime | date):
        return datetime
    return type(value)


@dataclass(frozen=True)
class Example:
    """Arguments of a method, for the n-th wire, and how much of the replies must be equal."""

    arguments: Callable[[int], list[Any]] = lambda _number: []
    seen: Callable[[Any], Any] = same


def given(*arguments: Any, seen: Callable[[Any], Any] = same) -> Example:
    """The same arguments on every wire."""
    return Example(lambda _number: list(arguments), seen)


def unpacked(reply: Any) -> Any:
    """Compressed data as the text it holds: DEncode has no bytes, DIRAC's HTTPS sends them as base64."""

    def text(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: text(each) for key, each in value.items()}
        if isinstance(value, bytes):
            return zlib.decompress(value).decode()
        if isinstance(value, str) and value[:1] == "x":
            return zlib.decompress(value.encode("utf-8", "surrogateescape")).decode()
        if isinstance(value, str) and value.startswith("eN"):
            return zlib.decompress(base64.b64decode(value)).decode()
        return value

    return text(reply)


def job_ids_apart(reply: Any) -> Any:
    """A reply about one job of the wire's own."""
    return {key: [len(value)] if isinstance(value, list) else value for key, value in same(reply).items()}


def shape_of_bundles(reply: Any) -> Any:
    """An archive is bytes, or on wires without bytes what stands for them."""
    return {name: (version, bool(archive)) for name, (version, archive) in reply["Value"].items()}


EXAMPLES: dict[tuple[str, str], list[Example]] = {
    (PILOTS, "addPilotReferences"): [
        Example(lambda n: [[f"a-{n}", f"b-{n}"], "demo", "HTCondorCE", {f"a-{n}": f"stamp-{n}"}]),
        given("no list", "demo"),
    ],
    (PILOTS, "getPilotInfo"): [
        given(["htcondorce://ce01.lyon.example.org/1.0"]),
        given("nowhere"),
        given([]),
        given(12),
    ],
    (PILOTS, "getPilotSummary"): [given(), given("", ""), given("2030-01-01", "")],
    (PILOTS, "setPilotStatus"): [given("nowhere", "Done"), given("reference"), given(1, "Done")],
    (MONITORING, "getJobsStatus"): [given([1, 2, 100000]), given("no number"), given(None), given()],
    (MONITORING, "getJobsStates"): [given([1, 2]), given(3)],
    (MANAGER, "killJob"): [
        Example(lambda n: [[WAITING_JOBS[n]]], job_ids_apart),
        given([100000]),
        given([]),
    ],
    (CONFIGURATION, "getVersion"): [given()],
    (CONFIGURATION, "getCompressedData"): [given(seen=unpacked)],
    (CONFIGURATION, "getCompressedDataIfNewer"): [given("0", seen=unpacked), given("9999")],
    (CONFIGURATION, "writeEnabled"): [given()],
    (CONFIGURATION, "getCommitHistory"): [given(), given(5)],
    (CONFIGURATION, "getVersionContents"): [given(["2020-01-01 00:00:00"]), given([])],
    (CONFIGURATION, "commitNewData"): [given("x"), given(5)],
    (CONFIGURATION, "rollbackToVersion"): [given("2020-01-01 00:00:00")],
    (CONFIGURATION, "forceGlobalConfigurationUpdate"): [given()],
    (CONFIGURATION, "publishSlaveServer"): [given("dips://elsewhere:9135/Configuration/Server")],
    (CONFIGURATION, "refreshConfiguration"): [given(True)],
    (PROXIES, "requestDelegationUpload"): [given(seen=shape)],
    (PROXIES, "completeDelegationUpload"): [given(100000, "no PEM"), given("no number", "")],
    (PROXIES, "getUserProxiesInfo"): [given()],
    (PROXIES, "getRegisteredUsers"): [given(), given(3600), given("x")],
    (PROXIES, "getContents"): [given({}, [["UserName", "DESC"]], 0, 10), given({}, [], 0, 10)],
    (PROXIES, "getLogContents"): [
        given({}, [["Timestamp", "DESC"]], 0, 10),
        given({"Nothing": []}, [], 0, 1),
    ],
    (PROXIES, "getStoredProxyStrength"): [given("/CN=nobody", "demo_user", None), given("/CN=nobody")],
    (PROXIES, "getProxy"): [given("/CN=nobody", "demo_user", "no PEM", 3600), given("/CN=nobody")],
    (PROXIES, "getVOMSProxy"): [given("/CN=nobody", "demo_user", "no PEM", 3600, False)],
    (PROXIES, "exchangeProxyForToken"): [given(seen=shape)],
    (PROXIES, "deleteProxy"): [given("/CN=nobody"), given("/CN=nobody", "demo_user")],
    (PROXIES, "deleteProxyBundle"): [given(["/CN=nobody"]), given([5])],
    (PROXIES, "setPersistency"): [given("/CN=nobody", "demo_user", True)],
    (PROXIES, "generateToken"): [given("/CN=nobody", "demo_user", 1)],
    (PROXIES, "getProxyWithToken"): [given("/CN=nobody", "demo_user", "", 1, "token")],
    (PROXIES, "getVOMSProxyWithToken"): [given("/CN=nobody", "demo_user", "", 1, "token")],
    (BUNDLES, "getListOfBundles"): [given(seen=shape_of_bundles)],
    (SANDBOXES, "getFreeDiskSpace"): [given(seen=shape)],
}
# Of every service, asked of one.
BUILTIN: dict[str, Example] = {
    "ping": given(seen=shape),
    "whoami": Example(seen=lambda reply: {key: reply["Value"][key] for key in ("username", "group", "DN")}),
    "echo": given("héllo €\n<&>"),
}
EXAMPLES |= {(MONITORING, name): [example] for name, example in BUILTIN.items()}


def examples_of(record: Method) -> list[Example]:
    """Of a method without examples of its own: too few arguments, and of one that reads, generated ones."""
    too_few = [given()]
    maker = CALLS.get((record.service, record.name))
    if record.write is not Write.READ or maker is None:
        return too_few
    generated = (maker(Random(f"{record.name} {number}")) for number in range(2))
    return too_few + [given(*arguments) for arguments in generated if plain(arguments)]


def plain(value: Any) -> bool:
    """Whether every wire can carry it, in the same words: not every kind of key, number and text."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**31)


EXAMPLES |= {
    (record.service, record.name): examples_of(record)
    for service in all_services().services
    for record in service.methods.values()
    if not (record.builtin or record.transfer or (record.service, record.name) in EXAMPLES)
}

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: {pki}/hostcert.pem, key: {pki}/hostkey.pem, ca_path: {pki}/ca}}
legacy:
  dips: {{listen: "127.0.0.1:0"}}
  https: {{listen: "127.0.0.1:0"}}
  xmlrpc: {{listen: "127.0.0.1:0"}}
  msgpack: {{listen: "127.0.0.1:0"}}
  grpc: {{listen: "127.0.0.1:0"}}
  public_host: localhost
auth: {{issuer: "https://test.invalid/"}}
"""
CLIENTS = clients(Schema(signatures(all_services())))


@dataclass
class Bridge:
    """A grid on every wire."""

    up: Serving
    credentials: GridCredentials

    def caller(self, user: str, group: str) -> Caller:
        """A user with a proxy."""
        return Caller(self.credentials.proxies[user][group], self.credentials.ca_path)

    async def ask(
        self, name: str, caller: Caller, service: str, method: str, arguments: list[Any]
    ) -> dict[str, Any]:
        """One call over one wire."""
        wire, client = CLIENTS[name]
        place = self.up.addresses.wire(wire)
        return await asyncio.to_thread(client, place, caller, service, method, arguments)


# One grid for all tests: what they write is each its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(
    tmp_path_factory: pytest.TempPathFactory, credentials: GridCredentials
) -> AsyncIterator[Bridge]:
    """A grid on every wire, that is up."""
    directory = await fill_directory(tmp_path_factory.mktemp("bridge"), credentials, CONFIG)
    async with serving(load_config(directory / "wherry.yaml")) as up:
        yield Bridge(up, credentials)


@pytest.mark.parametrize("method", EXAMPLES, ids=".".join)
async def test_same_on_every_wire(bridge: Bridge, method: tuple[str, str]) -> None:
    """Values, and DIRAC's errors, come out alike."""
    caller = bridge.caller("alice", "demo_admin")
    for example in EXAMPLES[method]:
        replies = {
            name: await bridge.ask(name, caller, *method, example.arguments(number))
            for number, name in enumerate(CLIENTS)
        }
        seen = {name: comparable(reply, example.seen) for name, reply in replies.items()}
        for name, one in seen.items():
            assert one == seen["dips-json"], name


def comparable(reply: dict[str, Any], seen: Callable[[Any], Any]) -> Any:
    """What must be equal of a reply; further keys of S_OK are not on every wire."""
    if not reply["OK"]:
        return reply["Message"]
    return seen({"OK": True, "Value": reply["Value"]})


async def test_refused_on_every_wire(bridge: Bridge) -> None:
    """Who may not call is refused everywhere, and what is not there is not there."""
    bob = bridge.caller("bob", "demo_user")
    for name in CLIENTS:
        refused = await bridge.ask(name, bob, PILOTS, "setPilotStatus", ["nowhere", "Done"])
        assert (refused["OK"], refused["Errno"]) == (False, 1111), name
        unknown = await bridge.ask(name, bob, MONITORING, "noSuchMethod", [])
        assert unknown["Message"] == "Unknown method noSuchMethod", name
        elsewhere = await bridge.ask(name, bob, "No/Service", "ping", [])
        assert elsewhere["Message"] == "No/Service is not up in this server", name
