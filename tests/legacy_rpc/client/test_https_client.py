"""Our HTTPS client, against our own server and against servers that answer something else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from legacy_rpc.client.diset import CallError, client_tls
from legacy_rpc.client.https import HttpsClient
from legacy_rpc.codecs.dirac_https import HttpsLimits
from legacy_rpc.messages import Call, Errno, Failure, Identity, Outcome, Reply
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.http import Exchange, HttpReply, HttpServer
from legacy_rpc.servers.https import DiracHttps
from legacy_rpc.servers.tls import ServerTls
from tests.legacy_rpc.conftest import TOKEN


def make(door: Door, tls: ServerTls) -> HttpServer:
    return HttpServer(door, tls.contexts(optional=True), DiracHttps(door, HttpsLimits()))


@pytest.fixture
async def client() -> AsyncIterator[HttpsClient]:
    """Its connections are closed after the test."""
    async with HttpsClient() as client:
        yield client


async def test_calls(serve, pki, client: HttpsClient) -> None:
    """Values come and go as on DISET; a connection is used again."""
    served = await serve(make=make)
    url, tls = f"https://localhost:{served.port}/Test/Echo", client_tls(pki.files["alice"], pki.ca_path)
    for value in ("é&+%", [1, None, {"k": 2.5}], "x" * 1_000_000):
        assert await client.call(url, "echo", [value], tls) == {"OK": True, "Value": value}
    assert {call.identity.username for call in served.calls} == {"alice"}
    assert served.open == 1


async def test_token(serve, pki, client: HttpsClient) -> None:
    """A token in place of a certificate."""
    served = await serve(make=make)
    url, tls = f"https://localhost:{served.port}/Test/Echo", client_tls(None, pki.ca_path)
    assert (await client.call(url, "echo", [1], tls, token=TOKEN))["Value"] == 1
    refused = await client.call(url, "echo", [1], tls, token="x")
    assert (refused["OK"], refused["Errno"]) == (False, Errno.ENOAUTH)


async def test_not_authorised(serve, pki, client: HttpsClient) -> None:
    """Who may not is told so as on DISET."""

    def refuse(*_: Any) -> Identity:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")

    served = await serve(make=make, admit=refuse)
    url, tls = f"https://localhost:{served.port}/Test/Echo", client_tls(pki.files["alice"], pki.ca_path)
    message = "Unauthorized query ( 1111 : Unauthorized query)"
    assert await client.call(url, "x", [], tls) == {"OK": False, "Errno": 1111, "Message": message}


async def test_files(serve, pki, client: HttpsClient) -> None:
    """Files come and go; a failure comes before the first byte."""
    content = os.urandom(2_000_000)
    kept: list[bytes] = []

    async def handle(call: Call) -> Outcome:
        if call.arguments[0] == "missing":
            return Failure("no such file")
        if call.incoming is not None:
            kept.append(b"".join([block async for block in call.incoming.blocks()]))
        elif call.outgoing is not None:
            await call.outgoing.send(kept[0])
        return Reply("done")

    served = await serve(make=make, handle=handle)
    url, tls = f"https://localhost:{served.port}/Test/Files", client_tls(pki.files["alice"], pki.ca_path)
    assert await client.send_file(url, ["id"], content, tls) == {"OK": True, "Value": "done"}
    received = bytearray()

    async def sink(block: bytes) -> None:
        received.extend(block)

    assert await client.receive_file(url, ["id"], sink, tls) == {"OK": True, "Value": None}
    assert kept == [received] == [content]
    with pytest.raises(CallError, match="status 500: no such file"):
        await client.receive_file(url, ["missing"], sink, tls)


class Says:
    """A server that answers everything alike."""

    name = "https"
    media_types = ("application/x-www-form-urlencoded",)

    def __init__(self, reply: HttpReply) -> None:
        self._reply = reply

    async def answer(self, exchange: Exchange) -> HttpReply:
        await exchange.read(1 << 20)
        return self._reply

    def refuse(self, status: int, problem: str) -> HttpReply:
        return HttpReply(problem.encode(), status=status)


NONSENSE: dict[str, tuple[HttpReply, str]] = {
    "no JSON": (HttpReply(b"<html>"), "answered nonsense: JSON"),
    "no result": (HttpReply(b"[]"), "no S_OK or S_ERROR"),
    "not there": (HttpReply(b"Not Found", status=404), "status 404: Not Found"),
    "a fault": (HttpReply(b"", status=500), "status 500: Internal Server Error"),
    "a redirection": (HttpReply(b"", status=302, headers={"Location": "https://x/"}), "status 302: Found"),
}


@pytest.mark.parametrize(("reply", "words"), NONSENSE.values(), ids=NONSENSE)
async def test_nonsense(serve, pki, client: HttpsClient, reply: HttpReply, words: str) -> None:
    """Whatever a server answers, the caller is told."""
    served = await serve(make=lambda door, tls: HttpServer(door, tls.contexts(optional=True), Says(reply)))
    url, tls = f"https://localhost:{served.port}/Test/Echo", client_tls(pki.files["alice"], pki.ca_path)
    with pytest.raises(CallError, match=words):
        await client.call(url, "x", [], tls)


@pytest.mark.parametrize(
    "url",
    ["http://h:1/A/B", "https://h:1", "https:///A/B", "https://h:x/A/B", "dips://h:1/A/B"],
)
async def test_bad_urls(pki, client: HttpsClient, url: str) -> None:
    """A URL that cannot be called is named."""
    with pytest.raises(CallError, match="^" + url.replace("?", r"\?")):
        await client.call(url, "x", [], client_tls(None, pki.ca_path))


async def test_nobody_there(pki, client: HttpsClient, unused_tcp_port: int) -> None:
    """A closed port."""
    with pytest.raises(CallError, match="cannot be called"):
        await client.call(f"https://localhost:{unused_tcp_port}/A/B", "x", [], client_tls(None, pki.ca_path))


async def test_another_authority(serve, pki, client: HttpsClient) -> None:
    """A server of no trusted authority is told nothing."""
    served = await serve(make=make)
    tls = client_tls(pki.files["alice"], pki.other_ca_path)
    with pytest.raises(CallError, match="cannot be called"):
        await client.call(f"https://localhost:{served.port}/A/B", "x", [], tls)
    assert served.calls == []


async def test_no_answer(serve, pki, client: HttpsClient) -> None:
    """A server that does not answer is waited for no longer than was said."""
    may_end = asyncio.Event()

    async def never(_call: Call) -> Outcome:
        await may_end.wait()
        return Reply()

    served = await serve(make=make, handle=never)
    tls = client_tls(pki.files["alice"], pki.ca_path)
    with pytest.raises(CallError, match=r"did not answer within 0.2 s"):
        await client.call(f"https://localhost:{served.port}/A/B", "x", [], tls, seconds=0.2)
    may_end.set()


def test_no_proxy(pki, tmp_path: Path, complaints: Callable[[], list[str]]) -> None:
    """A missing proxy is named; without one none is needed."""
    with pytest.raises(CallError, match="no usable proxy"):
        client_tls(tmp_path / "none.pem", pki.ca_path)
    client_tls(None, pki.ca_path)
    assert complaints() == []
