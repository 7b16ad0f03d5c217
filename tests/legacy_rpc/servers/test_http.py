"""The HTTP shell over real TLS connections, with the plainest of wires, on both event loops."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from legacy_rpc.messages import AnyCredential, Call, Failure, Identity, Outcome, PeerError, Proposal, Reply
from legacy_rpc.servers.door import ANONYMOUS_BYTES, Door
from legacy_rpc.servers.http import Exchange, HttpRefusal, HttpReply, HttpServer
from legacy_rpc.servers.tls import ServerTls
from tests.legacy_rpc.conftest import PEOPLE, TOKEN

SOON = 0.25  # a limit that a test waits for
MEGABYTE = 1 << 20
LARGEST = 4 * MEGABYTE


class Plain:
    """The path names the method, the body is its one argument, the value is the reply's body."""

    name = "plain"
    media_types = ("text/plain",)

    def __init__(self, door: Door) -> None:
        self._door = door

    async def answer(self, exchange: Exchange) -> HttpReply | None:
        method = exchange.path.strip("/")
        if method == "refused":
            raise HttpRefusal(418, "no tea", {"X-Pot": "short"})
        if method == "broken":
            raise RuntimeError("a wire answers its own errors")
        size = 0
        if method == "sizes":
            async for chunk in exchange.chunks(100 * LARGEST, LARGEST):
                size += len(chunk)
            return HttpReply(str(size).encode())
        body = await exchange.read(LARGEST)
        proposal = Proposal("Test/Echo", "RPC", method, wire=self.name, peer=exchange.peer)
        if method.startswith("stream"):
            identity = self._door.admit(proposal, exchange.credential)
            call = proposal.call([body], identity, outgoing=exchange.stream("application/octet-stream"))
            outcome = await exchange.asking(self._door.handle(call))
            return None if isinstance(outcome, Reply) else self.refuse(500, outcome.message)
        outcome = await exchange.asking(self._door.ask(proposal, exchange.credential, [body]))
        if isinstance(outcome, Failure):
            return self.refuse(500, outcome.message)
        return HttpReply(outcome.value)

    def refuse(self, status: int, problem: str) -> HttpReply:
        return HttpReply(f"plainly: {problem}".encode(), status=status)


def make(door: Door, tls: ServerTls) -> HttpServer:
    return HttpServer(door, tls.contexts(optional=True, protocols=("http/1.1",)), Plain(door))


def admit(_proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """Everyone, with or without a certificate."""
    return Identity(getattr(credential, "username", None) or getattr(credential, "dn", "nobody"), "")


def request(body: bytes = b"x", path: str = "/echo", method: str = "POST", **headers: str) -> bytes:
    """The bytes of a request."""
    fields = {"Host": "localhost", "Content-Type": "text/plain", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Response:
    """A whole response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


async def response(peer: Any, method: str = "POST") -> Response:
    """The next response on a connection."""
    async with asyncio.timeout(10):
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await peer.reader.readuntil(b"\r\n")).strip(), 16):
                body += (await peer.reader.readexactly(size + 2))[:-2]
            await peer.reader.readexactly(2)
        elif method != "HEAD":
            body = await peer.reader.readexactly(int(headers["content-length"]))
        return Response(int(status.split()[1]), headers, body)


class Task:
    """A method that runs until it is told to end."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, _call: Call) -> Outcome:
        self.started.set()
        await self.may_end.wait()
        self.ended.set()
        return Reply(b"done")


async def seconds(waiting: Awaitable[Any]) -> float:
    """How long something takes."""
    started = asyncio.get_running_loop().time()
    await waiting
    return asyncio.get_running_loop().time() - started


# --- requests


async def test_requests_one_after_the_other(serve, complaints: Callable[[], list[str]]) -> None:
    """A connection carries many requests; what the front door is told is the same as on any wire."""
    served = await serve(admit=admit, make=make)
    peer = await served.peer()
    for text in (b"one", b"two", b""):
        peer.send(request(text))
        answer = await response(peer)
        assert (answer.status, answer.body) == (200, text)
        assert "connection" not in answer.headers
        assert answer.headers["server"] == "wherry"
    assert [(call.wire, call.peer) for call in served.calls] == [("plain", "127.0.0.1")] * 3
    assert [wire for wire, _ in served.overhead] == ["plain"] * 3
    assert served.open == 1
    assert complaints() == []


async def test_pipelined(serve) -> None:
    """Requests sent at once are answered in their order."""
    peer = await (await serve(admit=admit, make=make)).peer()
    texts = [str(number).encode() for number in range(50)]
    peer.send(b"".join(map(request, texts)))
    assert [(await response(peer)).body for _ in texts] == texts


async def test_byte_by_byte(serve) -> None:
    """Every byte of a request may come in a TLS record of its own."""
    peer = await (await serve(admit=admit, make=make)).peer()
    for byte in request(b"slowly"):
        peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await response(peer)).body == b"slowly"


async def test_chunked_request(serve) -> None:
    """A client may not know beforehand how long its body is."""
    peer = await (await serve(admit=admit, make=make)).peer()
    head = request(b"", content_length="", transfer_encoding="chunked")
    peer.send(head + b"3\r\nabc\r\n" + b"2\r\nde\r\n" + b"0\r\n\r\n")
    assert (await response(peer)).body == b"abcde"


async def test_client_that_closes(serve) -> None:
    """``Connection: close`` is heeded, and so is HTTP/1.0."""
    served = await serve(admit=admit, make=make)
    for sent in (request(connection="close"), request().replace(b"HTTP/1.1", b"HTTP/1.0")):
        peer = await served.peer()
        peer.send(sent)
        assert (await response(peer)).status == 200
        assert await peer.rest() == b""


async def test_expect_continue(serve) -> None:
    """A client that asks first is told to go on, or refused before it has sent anything."""
    peer = await (await serve(admit=admit, make=make)).peer()
    body = b"y" * MEGABYTE
    sent = request(body, expect="100-continue")
    head = sent[: -len(body)]
    peer.send(head)
    assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(body)
    answer = await response(peer)
    assert (answer.status, answer.body) == (200, body)
    peer.send(request(b"", expect="100-continue", content_length=str(LARGEST + 1)))
    assert (await response(peer)).status == 413


@pytest.mark.parametrize("size", [128 * 1024, 128 * 1024 + 1, LARGEST])
async def test_large_bodies(serve, size: int) -> None:
    """Megabytes go both ways unharmed, and the connection goes on."""
    peer = await (await serve(admit=admit, make=make)).peer()
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    peer.send(request(body))
    answer = await response(peer)
    assert answer.body == body
    peer.send(request())
    assert (await response(peer)).body == b"x"


async def test_a_body_longer_than_a_message(serve) -> None:
    """Where a wire reads a body piece by piece, every MiB of it has the time for a message."""
    peer = await (await serve(admit=admit, make=make, message_seconds=1)).peer()
    blocks = 10
    peer.send(request(b"", "/sizes", content_length=str(LARGEST + blocks * MEGABYTE)))
    peer.send(bytes(LARGEST))
    for _ in range(blocks):
        await asyncio.sleep(0.2)
        peer.send(bytes(MEGABYTE))
    assert (await response(peer)).body == str(LARGEST + blocks * MEGABYTE).encode()


# --- refusals

NOT_SERVED = {
    "GET": (request(b"", method="GET"), 405, "GET is not served here"),
    "PUT": (request(method="PUT"), 405, "PUT is not served here"),
    "OPTIONS": (request(b"", method="OPTIONS"), 405, "OPTIONS is not served here"),
    "an upgrade": (request(b"", method="GET", upgrade="websocket", connection="upgrade"), 405, "GET is not"),
    "another media type": (
        request(content_type="image/png"),
        415,
        "of Content-Type text/plain, not image/png",
    ),
    "no media type": (request(content_type=""), 415, "of Content-Type text/plain, not missing"),
    "announced too large": (request(b"", content_length=str(LARGEST + 1)), 413, "larger than the limit"),
    "a scheme": (request(authorization="Basic eDp5"), 401, "The Authorization header must be: Bearer TOKEN"),
    "a bad token": (request(authorization="Bearer x.y.z"), 401, "The bearer token is not valid"),
    "by the wire": (request(path="/refused"), 418, "no tea"),
}


@pytest.mark.parametrize(("sent", "status", "words"), NOT_SERVED.values(), ids=NOT_SERVED)
async def test_refusals(
    serve, sent: bytes, status: int, words: str, complaints: Callable[[], list[str]]
) -> None:
    """What is not served gets a clear error in the wire's own form; no other connection is touched."""
    served = await serve(admit=admit, make=make)
    other, peer = await served.peer(), await served.peer()
    peer.send(sent)
    answer = await response(peer)
    assert answer.status == status
    assert answer.body.decode().startswith("plainly: ")
    assert words in answer.body.decode()
    other.send(request())
    assert (await response(other)).status == 200
    assert [call.arguments for call in served.calls] == [[b"x"]]
    assert complaints() == []


async def test_headers_of_refusals(serve) -> None:
    """A refusal says what would have been right."""
    served = await serve(admit=admit, make=make)
    for sent, name, value in (
        (request(method="PUT"), "allow", "POST"),
        (request(content_type="image/png"), "accept", "text/plain"),
        (request(authorization="Basic eDp5"), "www-authenticate", "Bearer"),
        (request(path="/refused"), "x-pot", "short"),
    ):
        peer = await served.peer()
        peer.send(sent)
        assert (await response(peer)).headers[name] == value


async def test_head(serve) -> None:
    """A refusal of HEAD has no body; the connection goes on."""
    peer = await (await serve(admit=admit, make=make)).peer()
    peer.send(request(b"", method="HEAD"))
    assert (await response(peer, "HEAD")).status == 405
    peer.send(request())
    assert (await response(peer)).body == b"x"


NO_HTTP = {
    "DISET": b'27:{"OK": true, "Value": null}',
    "a bare line": b"hello\r\n\r\n",
    "zeros": bytes(100),
    "a long header": request(x_long="y" * 20_000),
    "a bad length": request(content_length="many"),
    "two lengths": request(b"x").replace(b"Content-Type", b"Content-Length: 2\r\nContent-Type"),
    "a bad chunk": request(b"", content_length="", transfer_encoding="chunked") + b"zz\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
async def test_no_http(serve, sent: bytes, complaints: Callable[[], list[str]]) -> None:
    """What is not HTTP is answered with 400, and ends this connection only."""
    served = await serve(admit=admit, make=make, message_seconds=1)
    peer = await served.peer()
    peer.send(sent)
    said = await peer.rest()
    assert said == b"" or said.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    await served.empty()
    assert served.calls == []
    assert complaints() == []


async def test_a_chunked_body_that_is_too_large(serve) -> None:
    """A body that does not announce its size is refused as soon as it is too large."""
    served = await serve(admit=admit, make=make)
    peer = await served.peer()
    chunk = b"100000\r\n" + bytes(MEGABYTE) + b"\r\n"
    peer.send(request(b"", content_length="", transfer_encoding="chunked") + chunk * 5 + b"0\r\n\r\n")
    assert (await response(peer)).status == 413
    assert await peer.rest() == b""
    assert served.calls == []


async def test_a_wire_that_breaks(serve, complaints: Callable[[], list[str]]) -> None:
    """A client is not left waiting by a fault of ours, which is logged."""
    served = await serve(admit=admit, make=make)
    peer = await served.peer()
    peer.send(request(path="/broken"))
    assert await peer.rest() == b""
    assert complaints() == ["unhandled error in a request from 127.0.0.1"]


# --- callers


async def test_callers(serve) -> None:
    """A certificate, a token, the token rather than the certificate, or nothing."""

    async def who(call: Call) -> Outcome:
        return Reply(call.identity.username.encode())

    served = await serve(admit=admit, handle=who, make=make)
    for caller, header, name in (
        ("bob", "", f"{PEOPLE}bob"),
        (None, f"Bearer {TOKEN}", "alice"),
        ("bob", f"bearer {TOKEN}", "alice"),
        (None, "", "nobody"),
    ):
        peer = await served.peer(caller)
        peer.send(request(authorization=header, x_ssl_cert="forged", x_ssl_client_verify="SUCCESS"))
        assert (await response(peer)).body.decode() == name


async def test_each_request_has_its_own_caller(serve) -> None:
    """A token speaks for one request, not for the connection."""

    async def who(call: Call) -> Outcome:
        return Reply(call.identity.username.encode())

    peer = await (await serve(admit=admit, handle=who, make=make)).peer(None)
    for header, name in ((f"Bearer {TOKEN}", b"alice"), ("", b"nobody")):
        peer.send(request(authorization=header))
        assert (await response(peer)).body == name


async def test_a_connection_does_not_outlive_its_proxy(serve) -> None:
    """Once the proxy has expired, the next request on the connection is refused and the connection ends."""
    served = await serve(admit=admit, make=make)
    peer = await served.peer()
    peer.send(request())
    assert (await response(peer)).status == 200

    def expired(_chain: Any) -> Any:
        raise PeerError("the certificate has expired")

    served.door.chains.get = expired
    peer.send(request())
    answer = await response(peer)
    assert (answer.status, answer.body) == (401, b"plainly: the certificate has expired")
    assert answer.headers["connection"] == "close"
    assert await peer.rest() == b""


async def test_forged(serve) -> None:
    """Certificates that no trusted authority has signed are not let in."""
    served = await serve(admit=admit, make=make)
    for caller in ("forged", "expired"):
        assert await served.refuses(caller)


# --- deadlines


SILENCES = {
    "nothing": b"",
    "half a request line": b"POST /ec",
    "half the headers": request()[:40],
    "half a body": request(b"abcdef")[:-3],
    "half a chunk": request(b"", content_length="", transfer_encoding="chunked") + b"9\r\nabc",
    "a second request": request(connection="keep-alive") + request()[:40],
}


async def test_silence(serve, complaints: Callable[[], list[str]]) -> None:
    """Clients that stop in the middle of what they must say are cut off in time, and counted out."""
    served = await serve(admit=admit, make=make, message_seconds=SOON)

    async def cut_off_after(said: bytes) -> float:
        peer = await served.peer()
        peer.send(said)
        return await seconds(peer.rest())

    taken = dict(zip(SILENCES, await asyncio.gather(*map(cut_off_after, SILENCES.values())), strict=True))
    assert min(taken.values()) > 0.5 * SOON, taken
    assert max(taken.values()) < SOON + 3, taken
    await served.empty()
    assert complaints() == []


async def test_dribbling(serve) -> None:
    """Single bytes do not put the deadline off."""
    served = await serve(admit=admit, make=make, message_seconds=SOON)
    peer = await served.peer()

    async def dribble() -> None:
        for byte in request(b"x" * 1000):
            peer.send(bytes([byte]))
            await asyncio.sleep(0.05)

    dribbling = asyncio.create_task(dribble())
    assert 0.8 * SOON < await seconds(peer.rest()) < SOON + 3
    dribbling.cancel()


async def test_idle_connections_end(serve) -> None:
    """A connection that is kept open and not used ends in time."""
    served = await serve(admit=admit, make=make, message_seconds=SOON)
    peer = await served.peer()
    peer.send(request())
    assert (await response(peer)).status == 200
    assert 0.8 * SOON < await seconds(peer.rest()) < SOON + 3


async def test_a_slow_method_has_no_deadline(serve) -> None:
    """A method may take longer than a message may."""

    async def slow(_call: Call) -> Outcome:
        await asyncio.sleep(2 * SOON)
        return Reply(b"done")

    peer = await (
        await serve(admit=admit, handle=slow, make=make, message_seconds=SOON, answer_seconds=SOON)
    ).peer()
    peer.send(request())
    assert (await response(peer)).body == b"done"


async def test_a_reply_that_is_not_read(serve, complaints: Callable[[], list[str]]) -> None:
    """A client that does not read its reply is cut off in time, and counted out."""

    async def megabytes(_call: Call) -> Outcome:
        return Reply(bytes(12 * MEGABYTE))

    served = await serve(admit=admit, handle=megabytes, make=make, answer_seconds=SOON)
    peer = await served.peer(receive_buffer=4096)
    peer.send(request())
    assert 0.8 * SOON < await seconds(served.empty()) < SOON + 3
    assert len(await peer.rest()) < 12 * MEGABYTE
    assert complaints() == []


async def test_replies_that_are_not_read(serve) -> None:
    """A client that asks and asks and reads nothing cannot fill the server's memory."""

    async def much(_call: Call) -> Outcome:
        return Reply(bytes(MEGABYTE // 2))

    served = await serve(admit=admit, handle=much, make=make, answer_seconds=1)
    peer = await served.peer(receive_buffer=4096)
    peer.send(b"".join(request() for _ in range(200)))
    await served.empty()
    assert len(served.calls) < 30


# --- streams


async def test_stream(serve) -> None:
    """A reply may be sent while it is made; the connection goes on after it."""

    async def handle(call: Call) -> Outcome:
        if call.outgoing is not None:
            for block in (b"abc", b"", bytes(MEGABYTE), b"end"):
                await call.outgoing.send(block)
        return Reply(b"")

    peer = await (await serve(admit=admit, handle=handle, make=make)).peer()
    for _ in range(2):
        peer.send(request(path="/stream"))
        answer = await response(peer)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
        assert answer.body == b"abc" + bytes(MEGABYTE) + b"end"


async def test_stream_to_an_old_client(serve) -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the stream."""

    async def handle(call: Call) -> Outcome:
        assert call.outgoing is not None
        await call.outgoing.send(b"abc")
        await call.outgoing.send(b"def")
        return Reply()

    peer = await (await serve(admit=admit, handle=handle, make=make)).peer()
    peer.send(request(path="/stream").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await peer.rest()).endswith(b"\r\n\r\nabcdef")


async def test_stream_of_nothing(serve) -> None:
    """A stream may be empty."""
    peer = await (await serve(admit=admit, make=make)).peer()
    peer.send(request(path="/stream"))
    answer = await response(peer)
    assert (answer.status, answer.body) == (200, b"")


async def test_failure_before_a_stream(serve) -> None:
    """A failure before the first byte is an error status."""

    async def fail(_call: Call) -> Outcome:
        return Failure("no such file")

    peer = await (await serve(admit=admit, handle=fail, make=make)).peer()
    peer.send(request(path="/stream"))
    answer = await response(peer)
    assert (answer.status, answer.body) == (500, b"plainly: no such file")


async def test_failure_within_a_stream(serve, complaints: Callable[[], list[str]]) -> None:
    """A failure after the first byte breaks the connection off: what came looks not whole."""

    async def fail(call: Call) -> Outcome:
        assert call.outgoing is not None
        await call.outgoing.send(b"abc")
        return Failure("the disk is gone")

    served = await serve(admit=admit, handle=fail, make=make)
    peer = await served.peer()
    peer.send(request(path="/stream"))
    said = await peer.rest()
    assert not said.endswith(b"0\r\n\r\n")
    await served.empty()
    assert complaints() == []


async def test_stream_to_a_slow_reader(serve) -> None:
    """The sender waits for its reader, and needs no memory for what is not read yet."""
    blocks = 64
    peak = 0

    async def handle(call: Call) -> Outcome:
        nonlocal peak
        assert call.outgoing is not None
        block = bytes(MEGABYTE)
        for _ in range(blocks):
            await call.outgoing.send(block)
        peak = tracemalloc.get_traced_memory()[1]
        return Reply()

    served = await serve(admit=admit, handle=handle, make=make)
    peer = await served.peer(receive_buffer=65536)
    tracemalloc.start()
    try:
        peer.send(request(path="/stream"))
        await peer.reader.readuntil(b"\r\n\r\n")
        total = 0
        while total < blocks * MEGABYTE:
            total += len(await peer.reader.read(1 << 16))
        await served.until(lambda: peak > 0)
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE


async def test_stream_that_is_not_read(serve) -> None:
    """Its reader is cut off in time, and the sender is told."""
    told: list[str] = []

    async def handle(call: Call) -> Outcome:
        assert call.outgoing is not None
        try:
            while True:
                await call.outgoing.send(bytes(MEGABYTE))
        except Failure as failure:
            told.append(failure.message)
            return failure

    served = await serve(admit=admit, handle=handle, make=make, answer_seconds=SOON)
    peer = await served.peer(receive_buffer=4096)
    peer.send(request(path="/stream"))
    assert 0.8 * SOON < await seconds(served.empty()) < SOON + 3
    await served.until(lambda: told == ["The client left before it had the whole file"])


# --- the end


async def test_a_client_that_leaves(serve, complaints: Callable[[], list[str]]) -> None:
    """A call goes on when its client leaves."""
    task = Task()
    served = await serve(admit=admit, handle=task, make=make)
    peer = await served.peer()
    peer.send(request())
    await task.started.wait()
    peer.leave()
    await served.empty()
    assert not task.ended.is_set()
    task.may_end.set()
    await task.ended.wait()
    await served.door.drain(5)
    assert complaints() == []


async def test_a_client_that_leaves_in_the_middle(serve, complaints: Callable[[], list[str]]) -> None:
    """Half a request is no call."""
    served = await serve(admit=admit, make=make)
    peer = await served.peer()
    peer.send(request(b"abcdef")[:-3])
    await served.until(lambda: served.open == 1)
    await asyncio.sleep(0.05)
    peer.leave()
    await served.empty()
    assert served.calls == []
    assert complaints() == []


async def test_stop(serve) -> None:
    """Idle connections end at once, a running call is answered first, a silent client is not waited for."""
    task = Task()
    served = await serve(admit=admit, handle=task, make=make)
    idle, busy, second = await served.peer(), await served.peer(), await served.peer()
    busy.send(request())
    await task.started.wait()
    await served.until(lambda: served.open == 3)
    await served.listener.close()
    stopping = asyncio.create_task(served.server.stop(5))
    assert await idle.rest() == b""
    assert await second.rest() == b""
    assert not stopping.done()
    task.may_end.set()
    answer = await response(busy)
    assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    assert await busy.rest() == b""
    assert await seconds(stopping) < 3


async def test_stop_does_not_wait_for_ever(serve) -> None:
    """A call that does not end in time loses its connection, not the server's end."""
    task = Task()
    served = await serve(admit=admit, handle=task, make=make)
    peer = await served.peer()
    peer.send(request())
    await task.started.wait()
    await served.listener.close()
    await served.server.stop(SOON)
    assert await peer.rest() == b""
    task.may_end.set()


async def test_limits_on_connections(serve) -> None:
    """Connections are counted before TLS, and those beyond the limit are closed."""
    served = await serve(admit=admit, make=make, per_peer=2)
    first, second = await served.peer(), await served.peer()
    await served.until(lambda: served.open == 2)
    assert await served.refuses("alice")
    for peer in (first, second):
        peer.send(request())
        assert (await response(peer)).status == 200


@pytest.mark.parametrize("length", ["announced", "chunked"])
async def test_a_large_request_of_nobody(serve, length: str) -> None:
    """Memory is for known callers: a stranger's large request is refused before more of it is kept."""
    served = await serve(admit=admit, make=make)
    body = b"x" * (ANONYMOUS_BYTES + 1)
    sent = request(body)
    if length == "chunked":
        head = request(b"", transfer_encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
        sent = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    peer = await served.peer(None)
    peer.send(sent)
    answer = await response(peer)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["connection"] == "close"
    for caller, header in (("alice", ""), (None, f"Bearer {TOKEN}")):
        peer = await served.peer(caller)
        peer.send(request(body, authorization=header))
        assert (await response(peer)).body == body
    peer = await served.peer(None)
    peer.send(request(body[:-1]))
    assert (await response(peer)).body == body[:-1]
