"""Unmodified MessagePack-RPC clients against the demo grid, and what DIRAC's client gets for the same calls.

Two libraries: MessagePack's own ``msgpack-rpc-python``, which has futures and no TLS (a tunnel shows the
proxy for it) and knows one type for texts and bytes; and ``aio-msgpack-rpc``, of today, with asyncio's TLS.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import CLIENTS, PREAMBLE, Client, DemoGrid

pytestmark = pytest.mark.clients

PILOTS, JOBS = "WorkloadManagement/PilotManager", "WorkloadManagement/JobMonitoring"

# DEncode keeps what JSON loses: numbers as keys, microseconds.
DENCODE = {"DIRAC_USE_JSON_ENCODE": "No"}
DISET = """
import DIRAC
DIRAC.initialize()
from DIRAC.Core.DISET.RPCClient import RPCClient
def call(service, method, *arguments):
    return getattr(RPCClient(service), method)(*arguments)
"""

ASYNC = """
import asyncio, json, os, ssl, sys
import msgpack
from aio_msgpack_rpc import Client
from aio_msgpack_rpc.error import RPCResponseError

facts = json.loads(sys.argv[1])

async def connect():
    tls = ssl.create_default_context(capath=facts["ca_path"])
    if facts["proxy"]:
        tls.load_cert_chain(facts["proxy"])
    streams = await asyncio.open_connection(facts["host"], facts["port"], ssl=tls)
    return Client(
        *streams,
        packer=msgpack.Packer(datetime=True),
        unpacker=msgpack.Unpacker(strict_map_key=False, timestamp=3),
        response_timeout=60,
    )

async def main():
    client = await connect()
    async def call(name, *arguments):
        try:
            return await client.call(name, *arguments)
        except RPCResponseError as error:
            return error.args[0]
    {script}
    client.close()

asyncio.run(main())
"""

FUTURES = """
import json, sys
import msgpackrpc

facts = json.loads(sys.argv[1])
client = msgpackrpc.Client(
    msgpackrpc.Address(facts["host"], facts["port"]), timeout=60, unpack_encoding="utf-8"
)
def call(name, *arguments):
    try:
        return client.call(name, *arguments)
    except msgpackrpc.error.RPCError as error:
        return error.args[0]
"""


def environment(name: str) -> Path:
    """A client's Python; without it this fails in CI, else skips."""
    python = CLIENTS / name / "bin/python"
    if not python.exists():
        reason = f"no environment with {name}: run `make clients`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python


def run(python: Path, script: str, **facts: Any) -> list[Any]:
    """Run a script in a client's environment; returns what it showed with ``see``, times naive."""
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", PREAMBLE + script, json.dumps(facts)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.removeprefix("SEEN ") for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    return [naive(eval(line, {"datetime": datetime})) for line in lines]


def naive(value: Any) -> Any:
    """The value with times as DIRAC has them: in UTC, without saying so."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, list | tuple):
        return [naive(item) for item in value]
    if isinstance(value, dict):
        return {key: naive(item) for key, item in value.items()}
    return value


@pytest.fixture(scope="module")
def asynchronous(demo_grid: DemoGrid) -> Callable[..., list[Any]]:
    """Runs the body of a coroutine with aio-msgpack-rpc; it has ``call``, ``client`` and ``facts``."""
    python = environment("aio-msgpack-rpc-0.2.0")

    def start(script: str, proxy: Path | None = None, **more: Any) -> list[Any]:
        url = urlsplit(demo_grid.facts["msgpack"])
        body = script.strip().replace("\n", "\n    ")
        return run(
            python,
            ASYNC.replace("{script}", body),
            host=url.hostname,
            port=url.port,
            ca_path=demo_grid.facts["ca_path"],
            proxy=str(proxy) if proxy else None,
            **more,
        )

    return start


@pytest.fixture(scope="module")
def with_futures(demo_grid: DemoGrid) -> Callable[..., list[Any]]:
    """Runs a script with msgpack-rpc-python through a tunnel; it has ``call``, ``client`` and ``facts``."""
    python = environment("msgpack-rpc-python-0.4.1")

    def start(script: str, proxy: Path) -> list[Any]:
        with tunnel(demo_grid, proxy) as port:
            return run(python, FUTURES + script, host="127.0.0.1", port=port)

    return start


@contextmanager
def tunnel(grid: DemoGrid, proxy: Path) -> Iterator[int]:
    """TCP in clear on a port of ours, TLS with a proxy to the grid behind it, in a thread of its own."""
    url = urlsplit(grid.facts["msgpack"])
    tls = ssl.create_default_context(capath=grid.facts["ca_path"])
    tls.load_cert_chain(proxy)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(url.hostname, url.port, ssl=tls)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(carry, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        up.set()
        await asyncio.to_thread(may_end.wait)
        server.close()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    ports: list[int] = []
    up, may_end = threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield ports[0]
    finally:
        may_end.set()
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def diset(dirac_client: Callable[[str], Client]) -> Callable[[str], list[Any]]:
    """Runs a script with DIRAC's client, which has ``call(service, method, ...)``; values as on the wire."""
    client = dirac_client("9.1.22")
    return lambda script: naive(client.run(DISET + script, **DENCODE))


@pytest.fixture(scope="module")
def admin(demo_grid: DemoGrid) -> Path:
    """The proxy that DIRAC's client shows too."""
    return demo_grid.proxy("alice", "demo_admin")


# (service, method, arguments): reads, of every kind of value and error.
SAME = [
    (JOBS, "echo", ["h\u00e9llo \u20ac"]),
    (JOBS, "getJobsStatus", [[1, 2, 3]]),
    (JOBS, "getJobsStates", [[1, 2, 3]]),
    (JOBS, "getJobsStatus", [{"no": "ids"}]),
    (PILOTS, "getPilotSummary", []),
    (PILOTS, "getPilotInfo", ["no such pilot"]),
    (PILOTS, "noSuchMethod", []),
]
WHOAMI = ("DN", "group", "username", "properties", "isProxy", "isLimitedProxy", "subject", "issuer", "VO")


def as_error(result: dict[str, Any]) -> dict[str, Any]:
    """An S_ERROR as this wire carries it."""
    return {key: value for key, value in result.items() if key != "OK"}


def test_the_same_as_diset(
    asynchronous: Callable[..., list[Any]], diset: Callable[[str], list[Any]], admin: Path
) -> None:
    """A result is DISET's value, an error is DISET's error, the whole result is DISET's whole result."""
    results = diset(
        f"for service, method, arguments in {SAME!r}:\n    see(call(service, method, *arguments))\n"
    )
    seen = asynchronous(
        f"for service, method, arguments in {SAME!r}:\n"
        "    see(await call(service + '.' + method, *arguments))\n"
        "    see(await call('system.wholeResult', service + '.' + method, arguments))\n",
        admin,
    )
    assert [result["OK"] for result in results] == [True, True, True, False, True, False, False]
    for asked, result, plain, whole in zip(SAME, results, seen[::2], seen[1::2], strict=True):
        assert plain == (result["Value"] if result["OK"] else as_error(result)), asked
        assert whole == result, asked
    assert set(seen[2]) == {1, 2, 3}


def test_unknown_names(asynchronous: Callable[..., list[Any]], admin: Path) -> None:
    """Names that DIRAC's client does not send are errors too."""
    script = "see([(await call(name))['Message'] for name in ('No/Service.ping', 'ping')])"
    assert asynchronous(script, admin) == [
        ["No/Service is not up in this server", "Unknown method ping: name it System/Component.method"]
    ]


def test_who_calls(
    asynchronous: Callable[..., list[Any]],
    diset: Callable[[str], list[Any]],
    demo_grid: DemoGrid,
    admin: Path,
) -> None:
    """A proxy or a token says who calls; without either a caller is nobody."""
    (result,) = diset(f"see(call({PILOTS!r}, 'whoami'))\n")
    (mine,) = asynchronous(f"see(await call('{PILOTS}.whoami'))", admin)
    assert {key: mine[key] for key in WHOAMI} == {key: result["Value"][key] for key in WHOAMI}
    token = demo_grid.facts["tokens"]["alice"]["demo_user"]
    script = f"""
see(await call('{JOBS}.getJobsStatus', [1]))
see(await call('system.authenticate', facts['token']))
see(await call('{PILOTS}.whoami'))
see(sorted(await call('{JOBS}.getJobsStatus', [1])))
see(await call('system.authenticate', 'forged'))
see(await call('{JOBS}.getJobsStatus', [1]))
"""
    refused, shown, whoami, jobs, forged, afterwards = asynchronous(script, token=token)
    assert refused["Errno"] == forged["Errno"] == afterwards["Errno"] == 1111
    assert (shown["username"], shown["group"]) == ("alice", "demo_user")
    assert (whoami["username"], whoami["group"], whoami["isProxy"]) == ("alice", "demo_user", False)
    assert jobs == [1]


def test_times(
    asynchronous: Callable[..., list[Any]], diset: Callable[[str], list[Any]], admin: Path
) -> None:
    """Times come as timestamps, with their microseconds."""
    tag = f"times-{time.time_ns()}"
    script = f"see(call({PILOTS!r}, 'addPilotReferences', [{tag!r}], 'demo'))\n"
    ping = f"see(call({PILOTS!r}, 'ping'))\nsee(call({PILOTS!r}, 'getPilotInfo', {tag!r}))\n"
    _, pinged, info = diset(script + ping)
    mine, my_info = asynchronous(
        f"see(await call('{PILOTS}.ping'))\nsee(await call('{PILOTS}.getPilotInfo', {tag!r}))", admin
    )
    started = mine["service start time"]
    assert isinstance(started, datetime.datetime)
    assert started.microsecond
    assert started == pinged["Value"]["service start time"]
    assert my_info == info["Value"]
    assert isinstance(my_info[tag]["SubmissionTime"], datetime.datetime)


def test_pipelined_and_told(asynchronous: Callable[..., list[Any]], admin: Path) -> None:
    """Fifty calls on one connection at a time; a notification does its work without a word."""
    tag = f"told-{time.time_ns()}"
    script = f"""
see(await asyncio.gather(*[call('{JOBS}.echo', str(n)) for n in range(50)]))
await client.notify('{PILOTS}.addPilotReferences', [{tag!r}], 'demo')
while 'Errno' in (info := await call('{PILOTS}.getPilotInfo', {tag!r})):
    await asyncio.sleep(0.05)
see(list(info))
"""
    assert asynchronous(script, admin) == [[str(number) for number in range(50)], [tag]]


def test_futures(
    with_futures: Callable[..., list[Any]], diset: Callable[[str], list[Any]], admin: Path
) -> None:
    """MessagePack's own client: calls, errors, futures that are read in another order, notifications."""
    tag = f"futures-{time.time_ns()}"
    script = f"""
import time
call('system.timesAsText', True)  # this library ends at a timestamp
for service, method, arguments in {SAME!r}:
    see(call(service + '.' + method, *arguments))
futures = [client.call_async('{JOBS}.echo', str(n)) for n in range(30)]
see([future.get() for future in reversed(futures)])
client.notify('{PILOTS}.addPilotReferences', [{tag!r}], 'demo')
while 'Errno' in (info := call('{PILOTS}.getPilotInfo', {tag!r})):
    time.sleep(0.05)
see(list(info))
see(info[{tag!r}]['SubmissionTime'])
client.close()
"""
    results = diset(
        f"for service, method, arguments in {SAME!r}:\n    see(call(service, method, *arguments))\n"
    )
    *seen, echoed, told, submitted = with_futures(script, admin)
    assert seen == [result["Value"] if result["OK"] else as_error(result) for result in results]
    assert echoed == [str(number) for number in reversed(range(30))]
    assert told == [tag]
    info = diset(f"see(call({PILOTS!r}, 'getPilotInfo', {tag!r}))\n")[0]["Value"]
    assert submitted == str(info[tag]["SubmissionTime"])
