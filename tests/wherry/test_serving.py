"""A grid that is up, called over the network: reload, faults of the database, identity, logs, metrics."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from wire_clients import Ask, Caller, clients, diset, https

from legacy_rpc.client.diset import CallError, client_tls
from legacy_rpc.codecs.encodings import JENCODE
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.credentials import openssl_dn
from legacy_rpc.messages import Call, Failure, Identity, Outcome, Reply
from legacy_rpc.services.catalogue import all_services
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials
from wherry.demo.pki import Authority, make_keys, make_proxy
from wherry.listeners import SERVERS
from wherry.logs import logging_to
from wherry.serve import Serving, serving
from wherry.signatures import signatures

from .conftest import Grid, StartGrid, plan_text


async def until(condition: Any, seconds: float = 5.0) -> float:
    """Wait for a condition; returns the seconds it took."""
    started = time.perf_counter()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.perf_counter() - started


async def test_plan_changes_under_load(grid: Grid) -> None:
    """While clients loop, the plan is switched to and fro: no call fails, each switch is quick."""
    stop = asyncio.Event()
    answers: list[dict[str, Any]] = []

    async def loop_calls(service: str, method: str, *arguments: Any) -> None:
        tls = grid.tls()
        while not stop.is_set():
            answers.append(await grid.call(service, method, *arguments, tls=tls))

    clients = [
        asyncio.create_task(loop_calls(*call))
        for call in (
            ("PilotManager", "getPilotSummary"),
            ("PilotManager", "getPilotInfo", "htcondorce://ce01.lyon.example.org/1.0"),
            ("JobMonitoring", "getJobsStatus", [1, 2, 3]),
            ("PilotManager", "setPilotStatus", "zz", "Done"),
        )
    ]
    assert grid.up.old is not None
    plan = grid.up.old.plan
    slowest = 0.0
    for turn in range(8):
        state = "live" if turn % 2 == 0 else "legacy"
        generation = plan.current.generation
        grid.write_plan(plan_text(state) + f"# turn {turn}\n")
        slowest = max(slowest, await until(lambda before=generation: plan.current.generation != before))
        calls_before = len(grid.calls)
        await until(lambda before=calls_before: len(grid.calls) > before + 8)
    grid.write_plan("plan: 1\nservices: {WorkloadManagement/PilotManger: {state: live}}\n")
    await until(lambda: plan.error is not None)
    calls_before = len(grid.calls)
    await until(lambda: len(grid.calls) > calls_before + 4)
    stop.set()
    await asyncio.gather(*clients)
    assert slowest < 1.0
    assert plan.error is not None
    assert "line 2: unknown service" in plan.error
    assert len(answers) > 60
    failed = [answer for answer in answers if not answer["OK"] and answer["Errno"] != 1550]
    assert not failed
    routes = {call.answered.route for call in grid.calls}
    assert routes == {"native", "rest"}


@pytest.mark.parametrize("state", ["legacy", "live"])
async def test_database_goes_away_and_comes_back(grid: Grid, state: str) -> None:
    """Without its database file a call is an error in the reply; when it is back, calls work again."""
    assert grid.up.old is not None
    plan = grid.up.old.plan
    generation = plan.current.generation
    grid.write_plan(plan_text(state) + "# now\n")
    await until(lambda: plan.current.generation != generation)
    database = grid.directory / "wherry.db"
    assert (await grid.call("JobMonitoring", "getJobsStatus", [1]))["OK"]

    database.rename(grid.directory / "away.db")
    answer = await grid.call("JobMonitoring", "getJobsStatus", [1])
    assert (answer["OK"], answer["Errno"]) == (False, 1130)
    assert "unable to open database file" in answer["Message"]
    assert not database.exists()
    for write in (
        ("PilotManager", "setPilotStatus", "x", "Done"),
        ("PilotManager", "addPilotReferences", ["x"], "demo", "DIRAC", {"x": "x"}),
        ("JobManager", "killJob", [1]),
    ):
        answer = await grid.call(*write)
        assert answer["OK"] is False, write
    assert (await grid.call("PilotManager", "ping"))["OK"]

    (grid.directory / "away.db").rename(database)
    assert (await grid.call("JobMonitoring", "getJobsStatus", [1]))["OK"]


async def test_unreadable_database(grid: Grid) -> None:
    """A file that is no database is an error in the reply, and so is a directory in its place."""
    database = grid.directory / "wherry.db"
    kept = grid.directory / "kept.db"
    shutil.copy(database, kept)
    database.unlink()
    database.write_bytes(b"no database " * 1000)
    answer = await grid.call("JobMonitoring", "getJobsStatus", [1])
    assert (answer["OK"], answer["Errno"]) == (False, 1130)
    database.unlink()
    database.mkdir()
    answer = await grid.call("JobMonitoring", "getJobsStatus", [1])
    assert (answer["OK"], answer["Errno"]) == (False, 1130)
    assert (await grid.call("PilotManager", "echo", "still here"))["Value"] == "still here"


async def test_locked_database(grid: Grid) -> None:
    """While another program holds the file, writing is an error after the configured time; then it works."""
    foreign = sqlite3.connect(grid.directory / "wherry.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    answer = await grid.call("PilotManager", "addPilotReferences", ["locked"], "demo")
    assert (answer["OK"], answer["Errno"]) == (False, 1130)
    assert "locked" in answer["Message"]
    foreign.execute("ROLLBACK")
    foreign.close()
    assert (await grid.call("PilotManager", "addPilotReferences", ["locked"], "demo"))["OK"]


UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


async def test_refusals_of_callers(grid: Grid, tmp_path: Path) -> None:
    """Callers whom the rule of a method does not admit are refused in place of the acknowledgement."""
    authority = Authority.create("Demo CA")  # the same name, another key
    forged = make_proxy(authority.issue_user("alice"), "demo_admin")
    forged.write(tmp_path / "forged.pem")
    for user, group in (("bob", "demo_user"), ("pilot", "demo_pilot")):
        answer = await grid.call("PilotManager", "getPilotInfo", "x", tls=grid.tls(user, group))
        assert (answer["Errno"], answer["Message"]) == (1111, UNAUTHORIZED)
    with pytest.raises(CallError, match="closed the connection|cannot be called"):
        await grid.call(
            "PilotManager",
            "ping",
            tls=client_tls(tmp_path / "forged.pem", grid.credentials.ca_path),
        )
    refused = [call for call in grid.calls if call.answered.route == "refused"]
    assert [(call.call.identity.dn[-3:], call.answered.reason) for call in refused] == [
        ("bob", "admission"),
        ("lot", "admission"),
    ]
    answer = await grid.call("JobMonitoring", "getJobsStatus", [1], tls=grid.tls("bob", "demo_user"))
    assert answer["OK"]


async def test_registry_edit_takes_effect(grid: Grid) -> None:
    """A user taken out of a group is refused within a second; a broken edit changes nothing."""
    path = grid.directory / "registry.cfg"
    text = path.read_text()
    bob = grid.tls("bob", "demo_user")
    assert (await grid.call("JobMonitoring", "getJobsStatus", [1], tls=bob))["OK"]
    path.write_text("Registry\n{\n")
    await until(lambda: grid.up.new.registry.error is not None)
    assert (await grid.call("JobMonitoring", "getJobsStatus", [1], tls=bob))["OK"]
    path.write_text(text.replace("Users = alice, bob", "Users = alice"))
    took = await until(lambda: "bob" not in grid.up.new.registry.current.groups["demo_user"].users)
    assert took < 1.0
    answer = await grid.call("JobMonitoring", "getJobsStatus", [1], tls=bob)
    assert answer["Errno"] == 1111


async def test_one_record_for_every_call(grid: Grid) -> None:
    """A call leaves one structured record: method, wire, route and why, caller, outcome, milliseconds."""
    stream = io.StringIO()
    with logging_to(stream):
        await grid.call("PilotManager", "getPilotInfo", "zz")
        await grid.call("PilotManager", "echo", "secret text")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    calls = [record for record in records if record["logger"] == "wherry.calls"]
    assert [record["method"] for record in calls] == ["getPilotInfo", "echo"]
    first = calls[0]
    milliseconds = first.pop("milliseconds")
    assert 0 < milliseconds < 10_000
    del first["time"]
    assert first == {
        "level": "info",
        "logger": "wherry.calls",
        "event": "call",
        "service": "WorkloadManagement/PilotManager",
        "method": "getPilotInfo",
        "wire": "dips",
        "route": "native",
        "reason": "legacy",
        "caller": "alice",
        "group": "demo_admin",
        "dn": "/DC=org/DC=wherry/OU=people/CN=alice",
        "peer": "127.0.0.1",
        "client": "",
        "outcome": "error",
        "errno": 1550,
        "message": "No pilots found ( 1550 : No pilots found for PilotJobReference(s): zz)",
    }
    assert "secret text" not in stream.getvalue()


def test_a_log_that_nobody_reads_does_not_stop_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records beyond those that can wait are dropped; the caller is never held up, nor the end."""
    monkeypatch.setattr("wherry.logs.WAITING_RECORDS", 100)
    reading = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(30)
            return super().write(text)

    stream = Stuck()
    with logging_to(stream):
        for number in range(100_000):
            logging.getLogger("test").info("record %d", number)
    reading.set()


def test_a_log_is_whole_and_in_order() -> None:
    """What was logged before the end is written, one line each, exceptions in words."""
    stream = io.StringIO()
    with logging_to(stream):
        for number in range(1000):
            logging.getLogger("test").info("record %d", number)
        try:
            raise ValueError("odd")
        except ValueError:
            logging.getLogger("test").exception("failed")
        logging.getLogger("test").debug("too fine")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["event"] for record in records] == [*(f"record {n}" for n in range(1000)), "failed"]
    assert "ValueError: odd" in records[-1]["exception"]


class Unspeakable:
    """Cannot be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("\udcff", {"level": "info", "event": "odd", "method": "\udcff"}, id="invalid UTF-8"),
        pytest.param(
            Unspeakable(),
            {"level": "error", "event": "unreadable log record: RuntimeError('no words')"},
            id="no words",
        ),
    ],
)
def test_a_log_survives_what_it_cannot_write(value: Any, written: dict[str, Any]) -> None:
    """An odd record is still one line of JSON, and so is the one after it."""
    stream = io.StringIO()
    with logging_to(stream):
        logging.getLogger("test").info("odd", extra={"fields": {"method": value}})
        logging.getLogger("test").info("next", extra={"fields": {"method": "x"}})
    odd, following = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert written.items() <= odd.items()
    assert (following["event"], following["method"]) == ("next", "x")
    for each in (odd, following):
        assert each["logger"] == "test"
        assert datetime.fromisoformat(each["time"]).tzinfo is UTC
        assert each["time"].endswith("Z")


async def get(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_metrics_and_health(grid: Grid) -> None:
    """/metrics has the four stable names, counts calls, and takes no label from what callers make up."""
    await grid.call("PilotManager", "getPilotInfo", "zz")
    await grid.call("PilotManager", "noSuchMethod" * 3)
    await asyncio.sleep(0.05)
    status, text = await get(f"{grid.up.addresses.operations}/metrics")
    assert status == 200
    line = (
        'wherry_calls_total{method="WorkloadManagement/PilotManager.getPilotInfo",'
        'outcome="error",reason="legacy",route="native",wire="dips"} 1.0'
    )
    assert line in text
    for name in (
        "wherry_call_seconds_bucket",
        'wherry_overhead_seconds_count{wire="dips"} 2.0',
        "# TYPE wherry_compare_total counter",
        'method="unknown"',
    ):
        assert name in text
    assert "noSuchMethod" not in text
    assert await get(f"{grid.up.addresses.operations}/health/live") == (200, '{"status":"live"}')
    assert (await get(f"{grid.up.addresses.operations}/health/ready"))[0] == 200
    (grid.directory / "wherry.db").unlink()
    assert (await get(f"{grid.up.addresses.operations}/health/ready"))[0] == 503
    assert (await get(f"{grid.up.addresses.operations}/health/live"))[0] == 200


async def test_start_and_stop_leave_nothing(start_grid: StartGrid) -> None:
    """After stopping, the ports are free and no task is left."""
    async with start_grid() as grid:
        port = grid.up.addresses.wires["dips"]
        assert (await grid.call("PilotManager", "ping"))["OK"]
    with pytest.raises(OSError, match="refused|111"):
        await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_extra_ports(directory: Path, start_grid: StartGrid) -> None:
    """A service can have a port of its own, and is then named with it; every port serves every service."""
    config = directory / "wherry.yaml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config.write_text(
        config.read_text().replace(
            'listen: "127.0.0.1:0"}, public_host',
            f'listen: "127.0.0.1:0", ports: {{WorkloadManagement/PilotManager: {port}}}}}, public_host',
        )
    )
    async with start_grid() as grid:
        url = grid.up.addresses.service("WorkloadManagement/PilotManager")
        assert url == f"dips://localhost:{port}/WorkloadManagement/PilotManager"
        assert (await grid.call("PilotManager", "ping"))["Value"]["URL"] == url
        assert (await grid.call("JobMonitoring", "getJobsStatus", [1]))["OK"]


# --- files of certificates

SITE_CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {certificate: hostcert.pem, key: hostkey.pem, ca_path: ca}
legacy: {dips: {listen: "127.0.0.1:0"}, https: {listen: "127.0.0.1:0"}, public_host: localhost}
rest: {listen: "127.0.0.1:0", tls: true}
auth: {issuer: "https://test.invalid/"}
"""


class Site:
    """A grid with an authority of its own, whose administrators replace its files while it runs."""

    def __init__(self, directory: Path, credentials: GridCredentials) -> None:
        self.directory = directory
        self.ca_path = directory / "ca"
        shutil.copytree(credentials.ca_path, self.ca_path)
        authority_key, self.key, self.spare = make_keys(3)
        self.authority = Authority.create("Site CA", key=authority_key)
        self.authority.write_directory(self.ca_path)
        self.alice = self.authority.issue_user("alice", key=self.key)
        make_proxy(self.alice, "demo_admin", key=self.spare).write(directory / "alice.pem")
        self.renew()
        (directory / "wherry.yaml").write_text(SITE_CONFIG)

    def renew(self) -> bytes:
        """A new certificate of the host, in DER."""
        host = self.authority.issue_host("localhost", key=self.key)
        host.write_pair(self.directory / "hostcert.pem", self.directory / "hostkey.pem")
        return host.certificate.public_bytes(serialization.Encoding.DER)

    def caller(self) -> Caller:
        """Alice, with a proxy."""
        return Caller(self.directory / "alice.pem", self.ca_path)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that a client can see."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_revocation_takes_effect(directory: Path, credentials: GridCredentials) -> None:
    """A CRL that is put into the directory of authorities is honoured on every wire, and so is its end."""
    site = Site(directory, credentials)
    async with serving(load_config(directory / "wherry.yaml")) as up:

        async def served(client: Ask, wire: str) -> bool:
            place = up.addresses.wire(wire)
            arguments = (place, site.caller(), "WorkloadManagement/JobMonitoring", "ping", [])
            try:
                return bool((await asyncio.to_thread(client, *arguments))["OK"])
            except (CallError, OSError):
                return False

        wires: dict[str, Ask] = {"dips": partial(diset, JENCODE), "https": https}
        for wire, client in wires.items():
            assert await served(client, wire)
        crl = site.authority.write_crl(site.ca_path, [site.alice])
        for wire, client in wires.items():
            await eventually(lambda c=client, w=wire: _not(served(c, w)))
        crl.unlink()
        for wire, client in wires.items():
            await eventually(lambda c=client, w=wire: served(c, w))


async def test_a_revoked_chain_is_not_kept(directory: Path, credentials: GridCredentials) -> None:
    """Who was let in by other means, with a token say, leaves no proxy of a revoked certificate."""
    site = Site(directory, credentials)
    site.authority.write_crl(site.ca_path, [site.alice])
    dn = openssl_dn(site.alice.certificate.subject)
    alice = Identity("alice", "demo_user", dn=dn, vo="demo", properties=("NormalUser",))
    async with serving(load_config(directory / "wherry.yaml")) as up:
        assert up.old is not None
        front_door = up.old.front_door

        async def asked(method: str, *arguments: Any) -> Outcome:
            return await front_door.handle(Call("Framework/ProxyManager", method, arguments, alice, "https"))

        wanted = await asked("requestDelegationUpload")
        assert isinstance(wanted, Reply)
        request = x509.load_pem_x509_csr(wanted.value["request"].encode())
        made = make_proxy(site.alice, key=cast("RSAPrivateKey", request))  # it has a public_key() too
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in (made.certificate, *made.chain)).decode()
        refused = await asked("completeDelegationUpload", wanted.value["id"], chain)
        assert isinstance(refused, Failure)
        assert refused.message.startswith(f"the certificate of {dn} is revoked by ")


async def _not(answer: Awaitable[bool]) -> bool:
    return not await answer


async def test_a_renewed_host_certificate_is_shown(
    directory: Path, credentials: GridCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """New connections get the new one on every listener, without a restart; a broken pair changes nothing."""
    site = Site(directory, credentials)
    async with serving(load_config(directory / "wherry.yaml")) as up:
        ports = [*up.addresses.wires.values(), int(up.addresses.rest.rpartition(":")[2])]

        async def shown(port: int) -> bytes:
            _, writer = await asyncio.open_connection("localhost", port, ssl=site.caller().tls)
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
            assert isinstance(certificate, bytes)
            return certificate

        renewed = site.renew()
        for port in ports:
            await eventually(lambda p=port: _equal(shown(p), renewed))
        (directory / "hostkey.pem").write_text("no key")
        for said in ("cannot be used for REST", "cannot be used: "):
            await eventually(lambda text=said: _said(caplog, text))
        assert {await shown(port) for port in ports} == {renewed}


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


async def _equal(answer: Awaitable[bytes], value: bytes) -> bool:
    return await answer == value


# --- the end

EVERY_WIRE = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: {pki}/hostcert.pem, key: {pki}/hostkey.pem, ca_path: {pki}/ca}}
legacy:
{wires}
  public_host: localhost
auth: {{issuer: "https://test.invalid/"}}
limits: {{database_busy_seconds: 20}}
"""
CLIENTS = clients(Schema(signatures(all_services())))


class Running:
    """A grid on every wire in a task of its own, which `end` ends as a signal does."""

    def __init__(self, config: Path) -> None:
        self._stop = asyncio.Event()
        self._up: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._serve(config))

    async def _serve(self, config: Path) -> None:
        async with serving(load_config(config)) as up:
            self._up.set_result(up)
            await self._stop.wait()

    async def up(self) -> Serving:
        """It listens."""
        await asyncio.wait({self.task, self._up}, return_when=asyncio.FIRST_COMPLETED)
        return self._up.result()

    def end(self) -> None:
        """Begin to."""
        self._stop.set()


async def refuses(port: int) -> bool:
    """Whether nothing listens there any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.transport.abort()
    return False


async def test_calls_in_flight_end(directory: Path, credentials: GridCredentials) -> None:
    """On the way down no wire takes a connection, and the calls that each has taken are answered."""
    wires = "\n".join(f'  {name}: {{listen: "127.0.0.1:0"}}' for name in SERVERS)
    (directory / "wherry.yaml").write_text(EVERY_WIRE.format(pki=credentials.ca_path.parent, wires=wires))
    running = Running(directory / "wherry.yaml")
    up = await running.up()
    assert up.old is not None
    proxy = credentials.proxies["alice"]["demo_admin"]
    caller = Caller(proxy, credentials.ca_path)
    asked = {
        name: wire_and_client for name, wire_and_client in CLIENTS.items() if wire_and_client[0] in SERVERS
    }
    assert {wire for wire, _ in asked.values()} == set(SERVERS) - {"dip"}

    with closing(sqlite3.connect(directory / "wherry.db", isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        calls = {
            name: asyncio.create_task(
                asyncio.to_thread(
                    client,
                    up.addresses.wire(wire),
                    caller,
                    "WorkloadManagement/PilotManager",
                    "addPilotReferences",
                    [[f"on-the-way-down-{name}"], "demo"],
                )
            )
            for name, (wire, client) in asked.items()
        }
        front_door = up.old.front_door
        await until(lambda: front_door._running.total() == len(calls), 20)
        running.end()
        for port in up.addresses.wires.values():
            await eventually(partial(refuses, port))
        assert not any(call.done() for call in calls.values())
        assert not running.task.done()
        foreign.execute("ROLLBACK")
    answers = {name: await call for name, call in calls.items()}
    assert {name: answer["OK"] for name, answer in answers.items()} == dict.fromkeys(calls, True)
    await asyncio.wait_for(running.task, 20)
    with closing(sqlite3.connect(directory / "wherry.db")) as database:
        query = "SELECT count(*) FROM PilotAgents WHERE PilotJobReference LIKE 'on-the-way-down-%'"
        assert database.execute(query).fetchone() == (len(calls),)


async def test_the_end_does_not_wait_for_ever(
    directory: Path, credentials: GridCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that does not end is given up after its time, and so is a peer that says nothing."""
    monkeypatch.setattr("wherry.listeners.DRAIN_SECONDS", 0.2)
    wires = "\n".join(f'  {name}: {{listen: "127.0.0.1:0"}}' for name in SERVERS)
    (directory / "wherry.yaml").write_text(EVERY_WIRE.format(pki=credentials.ca_path.parent, wires=wires))
    running = Running(directory / "wherry.yaml")
    up = await running.up()
    silent = [await asyncio.open_connection("127.0.0.1", port) for port in up.addresses.wires.values()]
    tls = client_tls(credentials.proxies["alice"]["demo_admin"], credentials.ca_path)
    silent += [
        await asyncio.open_connection("localhost", port, ssl=tls)
        for wire, port in up.addresses.wires.items()
        if wire != "dip"
    ]
    running.end()
    await asyncio.wait_for(running.task, 20)
    for _, writer in silent:
        writer.transport.abort()
