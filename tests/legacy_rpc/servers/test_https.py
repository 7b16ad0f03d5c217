"""DIRAC's JSON over HTTPS over real TLS connections, as its clients see it, on both event loops."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tracemalloc
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from legacy_rpc.authorisation import ANONYMOUS, VISITOR
from legacy_rpc.codecs import jencode
from legacy_rpc.codecs.dirac_https import URLENCODED, HttpsLimits
from legacy_rpc.messages import (
    FILE_TRANSFER,
    AnyCredential,
    Call,
    Errno,
    Failure,
    Identity,
    Outcome,
    Proposal,
    Reply,
)
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.https import UPLOADS_PER_CALLER, DiracHttps
from legacy_rpc.servers.tls import ServerTls
from tests.legacy_rpc.conftest import TOKEN, admit_everyone

from .test_http import Response, request, response

LIMITS = HttpsLimits(message=300_000, transfer=3_000_000, depth=20)
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


def make(door: Door, tls: ServerTls, limits: HttpsLimits = LIMITS) -> HttpServer:
    return HttpServer(door, tls.contexts(optional=True, protocols=("http/1.1",)), DiracHttps(door, limits))


def admit(proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """As a registry would; ``Nowhere`` is no service, ``secret`` is for nobody."""
    if proposal.service == "Nowhere/Nothing":
        raise Failure(f"{proposal.service} is not up in this server", reason="unknown-service")
    if proposal.method == "secret":
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")
    if credential is None:
        return Identity(ANONYMOUS, VISITOR, kind=ANONYMOUS)
    return admit_everyone(proposal, credential)


def form(method: str, *arguments: Any, path: str = "/Test/Echo", header: str = "", **fields: Any) -> bytes:
    """A TornadoClient's request; ``header``: its Authorization."""
    text = {"method": method, "args": jencode.encode(list(arguments)), "clientVO": "demo"}
    body = urlencode({**text, "clientSetup": "None", **fields}).encode()
    return request(body, path, content_type=URLENCODED, user_agent="python-requests/2", authorization=header)


async def ask(served: Any, sent: bytes, caller: str | None = "alice") -> Response:
    """One request on a connection of its own."""
    peer = await served.peer(caller)
    peer.send(sent)
    answer = await response(peer)
    peer.leave()
    return answer


# --- calls


async def test_call(serve, complaints: Callable[[], list[str]]) -> None:
    """A call is answered with 200 and JSON; what the handler is told is the same as on DISET."""
    served = await serve(admit=admit, make=make)
    answer = await ask(served, form("echo", {"text": "é&+%"}, path="/Test/TornadoEcho"), "bob")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == {"OK": True, "Value": {"text": "é&+%"}}
    (call,) = served.calls
    bob = Identity("bob", "demo_user", dn="/DC=org/DC=wherry/OU=people/CN=bob")
    client = ("https", "python-requests/2", "127.0.0.1")
    expected = Call("Test/Echo", "echo", [{"text": "é&+%"}], bob, *client, setup="None", vo="demo")
    assert call == expected
    assert [wire for wire, _ in served.overhead] == ["https"]
    assert complaints() == []


async def test_what_is_proposed(serve) -> None:
    """The form's fields come to admission as DISET's proposal does."""
    proposals: list[Proposal] = []

    def record(proposal: Proposal, credential: AnyCredential | None) -> Identity:
        proposals.append(proposal)
        return admit(proposal, credential)

    served = await serve(admit=record, make=make)
    await ask(served, form("echo", 1, extraCredentials='["/CN=x", "g"]'))
    (proposal,) = proposals
    assert proposal == Proposal(
        "Test/Echo",
        "RPC",
        "echo",
        ["/CN=x", "g"],
        "python-requests/2",
        "None",
        "demo",
        "https",
        "127.0.0.1",
    )


async def test_multipart(serve) -> None:
    """The other form of forms is read as well."""
    body = b'--b\r\nContent-Disposition: form-data; name="method"\r\n\r\nping\r\n--b--\r\n'
    served = await serve(admit=admit, make=make)
    answer = await ask(served, request(body, "/Test/Echo", content_type="multipart/form-data; boundary=b"))
    assert (answer.status, served.calls[0].method) == (200, "ping")


OUTCOMES: dict[str, tuple[Outcome, dict[str, Any]]] = {
    "bytes": (Reply({"data": b"\0\xff"}), {"OK": True, "Value": {"data": "AP8="}}),
    "extra keys": (Reply(1, {"JobID": 2}), {"OK": True, "Value": 1, "JobID": 2}),
    "nothing": (Reply(), {"OK": True, "Value": None}),
    "a failure": (
        Failure.of(Errno.EWMSJMAN, "no", {"InvalidJobIDs": [1]}),
        {"OK": False, "Errno": 1504, "Message": "Job management error ( 1504 : no)", "InvalidJobIDs": [1]},
    ),
    "an unknown method": (
        Failure("Unknown method x", reason="unknown-method"),
        {"OK": False, "Errno": 0, "Message": "Unknown method x"},
    ),
    "no authorisation within the method": (
        Failure.of(Errno.ENOAUTH, "not your job"),
        {"OK": False, "Errno": 1111, "Message": "Unauthorized query ( 1111 : not your job)"},
    ),
    "what cannot be sent": (
        Reply({1, 2}),
        {"OK": False, "Errno": 0, "Message": "The result cannot be sent: JEncode cannot encode set"},
    ),
}


@pytest.mark.parametrize(("outcome", "expected"), OUTCOMES.values(), ids=OUTCOMES)
async def test_outcomes(
    serve, outcome: Outcome, expected: dict[str, Any], complaints: Callable[[], list[str]]
) -> None:
    """Whatever a method says comes with status 200, for clients lose the text of most others."""

    async def handle(_call: Call) -> Outcome:
        return outcome

    answer = await ask(await serve(admit=admit, handle=handle, make=make), form("x"))
    assert (answer.status, json.loads(answer.body)) == (200, expected)
    assert complaints() == []


async def test_large_result(serve) -> None:
    """Megabytes arrive whole, values and bytes."""
    rows = [[number, "x" * 50] for number in range(50_000)]
    data = os.urandom(500_000)

    async def handle(_call: Call) -> Outcome:
        return Reply({"rows": rows, "data": data})

    answer = await ask(await serve(admit=admit, handle=handle, make=make), form("x"))
    assert answer.headers["content-length"] == str(len(answer.body))
    value = jencode.decode(answer.body)["Value"]
    assert value["rows"] == rows
    assert jencode.decode(b'{"__dCls": "b64", "obj": "%s"}' % value["data"].encode()) == data


# --- refusals

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "not authorised": (form("secret"), 401, UNAUTHORIZED),
    "no such service": (form("x", path="/Nowhere/Nothing"), 404, "Nowhere/Nothing is not up in this server"),
    "no method": (request(b"args=[]", "/Test/Echo", content_type=URLENCODED), 400, "no field `method`"),
    "no form": (request(b"{}", "/Test/Echo", content_type="application/json"), 415, "not application/json"),
    "no JSON": (form("echo", args="["), 400, "`args` cannot be read: JSON:"),
    "no list": (form("echo", args="1"), 400, "`args` must hold a JSON list"),
    "too deep": (form("echo", args="[" * 30 + "]" * 30), 400, "nested too deeply"),
    "bad credentials": (form("echo", extraCredentials="hosts"), 400, "`extraCredentials` cannot be read"),
    "too large": (form("echo", "x" * 300_000), 413, "larger than the limit of 300000"),
    "far too large": (
        request(b"", "/Test/Echo", content_type=URLENCODED, content_length=str(10**12)),
        413,
        "larger than the limit",
    ),
    "a bad token": (form("echo", 1, header="Bearer x"), 401, "The bearer token is not valid"),
    "GET": (request(b"", "/Test/Echo?method=ping", "GET"), 405, "calls are POSTs"),
}


@pytest.mark.parametrize(("sent", "status", "words"), REFUSED.values(), ids=REFUSED)
async def test_refusals(
    serve, sent: bytes, status: int, words: str, complaints: Callable[[], list[str]]
) -> None:
    """What cannot be answered has a status and says why; nothing is run."""
    served = await serve(admit=admit, make=make)
    answer = await ask(served, sent)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.body.decode()
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert served.calls == []
    assert complaints() == []


async def test_large_without_length(serve) -> None:
    """A body that does not say how large it is is refused as soon as it is too large."""
    served = await serve(admit=admit, make=make)
    head = request(b"", "/Test/Echo", content_type=URLENCODED, content_length="", transfer_encoding="chunked")
    body = b"method=echo&args=" + b"x" * 400_000
    answer = await ask(served, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert answer.status == 413


async def test_refused_and_goes_on(serve) -> None:
    """A refused form does not end its connection."""
    peer = await (await serve(admit=admit, make=make)).peer()
    for sent, status in ((form("secret"), 401), (form("x", args="["), 400), (form("echo", 1), 200)):
        peer.send(sent)
        assert (await response(peer)).status == status


# --- callers


async def test_tokens(serve) -> None:
    """A bearer token is as good as a certificate; headers that a balancer might set are not."""

    async def who(call: Call) -> Outcome:
        return Reply(call.identity.username)

    served = await serve(admit=admit, handle=who, make=make)
    assert json.loads((await ask(served, form("x", header=f"Bearer {TOKEN}"), None)).body)["Value"] == "alice"
    forged = form("x").replace(b"Host:", b"X-SSL-CERT: forged\r\nX-Ssl_client_verify: SUCCESS\r\nHost:")
    assert json.loads((await ask(served, forged, None)).body)["Value"] == ANONYMOUS


async def test_anonymous(serve) -> None:
    """Without proof a caller is nobody; and nobody is not told who he is."""
    served = await serve(admit=admit, make=make)
    assert (await ask(served, form("ping"), None)).status == 200
    assert (await ask(served, form("whoami"), None)).status == 401
    assert [call.method for call in served.calls] == ["ping"]


# --- files


class Files:
    """A service with files: keeps what it is sent, sends what it has."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.calls: list[Call] = []
        self.answer: Outcome = Reply("hash")

    async def __call__(self, call: Call) -> Outcome:
        self.calls.append(call)
        try:
            return await self._moved(call)
        except Failure as failure:
            return failure

    async def _moved(self, call: Call) -> Outcome:
        if call.incoming is not None:
            self.content = b"".join([block async for block in call.incoming.blocks()])
            assert call.incoming.size == len(self.content)
        elif call.outgoing is not None:
            for start in range(0, len(self.content), 1 << 20):
                await call.outgoing.send(self.content[start : start + (1 << 20)])
        return self.answer


async def test_download(serve) -> None:
    """A file's bytes are the reply's body."""
    files = Files(os.urandom(2_500_000))
    served = await serve(admit=admit, handle=files, make=make)
    answer = await ask(served, form("streamToClient", ["CAs", ""], rawContent="True"))
    assert (answer.status, answer.body) == (200, files.content)
    assert answer.headers["content-type"].startswith("application/octet-stream")
    (call,) = files.calls
    assert (call.method, call.arguments) == (f"{FILE_TRANSFER}/ToClient", [["CAs", ""]])


async def test_download_as_value(serve) -> None:
    """Without rawContent a file is base64 text, and where none is sent the method's own value."""
    files = Files(b"abc")
    served = await serve(admit=admit, handle=files, make=make)
    assert json.loads((await ask(served, form("streamToClient", "x"))).body) == {"OK": True, "Value": "YWJj"}
    files.content = b""
    assert json.loads((await ask(served, form("streamToClient", "x"))).body) == {"OK": True, "Value": "hash"}
    files.content = bytes(LIMITS.message + 1)
    answer = json.loads((await ask(served, form("streamToClient", "x"))).body)
    too_large = (
        "The file is larger than 300000 bytes, the most that a message carries here:"
        " fetch it by DISET, or by HTTPS with rawContent=True"
    )
    assert answer == {"OK": False, "Errno": 0, "Message": too_large}


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("no such file"), 500),
        (Failure("This server does no allow sending files", reason="unknown-method"), 501),
    ],
    ids=["failed", "not offered"],
)
async def test_download_that_fails(serve, failure: Failure, status: int) -> None:
    """A failure must not look like a file: it is an error status with the text as its body."""
    files = Files()
    files.answer = failure
    served = await serve(admit=admit, handle=files, make=make)
    answer = await ask(served, form("streamToClient", "x", rawContent="True"))
    assert (answer.status, answer.body.decode()) == (status, failure.message)
    answer = await ask(served, form("streamToClient", "x"))
    assert (answer.status, json.loads(answer.body)["Message"]) == (200, failure.message)


@pytest.mark.parametrize("size", [0, 3, 100_000, 250_000, 1_000_000, 3_000_000])
async def test_upload(serve, size: int) -> None:
    """A file is sent in a form, whatever its size."""
    files, content = Files(), os.urandom(size)
    served = await serve(admit=admit, handle=files, make=make)
    sent = form("streamFromClient", ["id", 1], "", size, content, extraCredentials='""')
    assert json.loads((await ask(served, sent)).body) == {"OK": True, "Value": "hash"}
    assert files.content == content
    (call,) = files.calls
    assert (call.method, call.arguments) == (f"{FILE_TRANSFER}/FromClient", [["id", 1], "", size])


async def test_upload_by_somebody_unknown(serve) -> None:
    """Nobody's file is not even read."""
    served = await serve(admit=admit, handle=Files(), make=make)
    answer = await ask(served, form("streamFromClient", "id", "", 500_000, bytes(500_000)), None)
    assert answer.status == 401
    assert served.calls == []


UPLOADS_REFUSED: dict[str, tuple[bytes, int, str]] = {
    "too large": (form("streamFromClient", "id", "", 3_000_001, bytes(3_000_001)), 413, "3000000 bytes"),
    "no file": (form("streamFromClient", "id", "", 400_000, "x y" * 200_000), 400, "no base64"),
}


@pytest.mark.parametrize(("sent", "status", "words"), UPLOADS_REFUSED.values(), ids=UPLOADS_REFUSED)
async def test_uploads_refused(serve, sent: bytes, status: int, words: str) -> None:
    """A file that is too large, or none."""
    served = await serve(admit=admit, handle=Files(), make=make)
    answer = await ask(served, sent)
    assert answer.status == status
    assert words in answer.body.decode()
    assert served.calls == []


@pytest.mark.parametrize("arguments", [("id",), ("id", "", 1, 7), ("id", "", 1, b"x", 2)], ids=str)
async def test_bad_uploads(serve, arguments: Any) -> None:
    """An upload without its file is an error of the call."""
    served = await serve(admit=admit, handle=Files(), make=make)
    answer = json.loads((await ask(served, form("streamFromClient", *arguments))).body)
    assert "streamFromClient" in answer["Message"]
    assert served.calls == []


async def test_upload_needs_little_memory(serve) -> None:
    """A file is on disk while it comes, not in memory."""
    limits = HttpsLimits(message=300_000, transfer=100_000_000)
    size = 30_000_000
    files = Files()
    peak = 0

    async def count(call: Call) -> Outcome:
        nonlocal peak
        assert call.incoming is not None
        total = sum([len(block) async for block in call.incoming.blocks()])
        peak = tracemalloc.get_traced_memory()[1]
        return Reply(total)

    served = await serve(admit=admit, handle=count, make=lambda door, tls: make(door, tls, limits))
    sent = form("streamFromClient", "id", "", size, bytes(size))
    peer = await served.peer()
    tracemalloc.start()
    try:
        for start in range(0, len(sent), 1 << 20):
            peer.send(sent[start : start + (1 << 20)])
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert json.loads((await response(peer)).body) == {"OK": True, "Value": size}
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000
    assert files.calls == []


# --- browsers


async def test_a_web_page_cannot_use_a_certificate(serve) -> None:
    """A browser sends any page's form with its user's certificate, and names the page; it has no token."""
    served = await serve(admit=admit, make=make)
    sent = form("kill").replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example.org\r\n\r\n", 1)
    refused = await ask(served, sent)
    assert (refused.status, served.calls) == (403, [])
    assert b"with a token" in refused.body
    own = form("kill", header=f"Bearer {TOKEN}").replace(b"\r\n\r\n", b"\r\nOrigin: null\r\n\r\n", 1)
    assert (await ask(served, own)).status == 200
    assert (await ask(served, form("kill"))).status == 200


# --- TLS 1.2


async def test_a_resumed_session_is_nobody(serve) -> None:
    """A session of TLS 1.2 that is resumed shows no certificate again: its caller is anonymous."""
    identities: list[str] = []

    def record(proposal: Proposal, credential: AnyCredential | None) -> Identity:
        identity = admit(proposal, credential)
        identities.append(identity.username)
        return identity

    served = await serve(admit=record, make=make)
    tls = served.pki.client()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2

    def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with served.connected(tls, session) as connection:
            connection.sendall(form("echo"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            return connection.session, connection.session_reused

    session, reused = await asyncio.to_thread(connect, None)
    assert not reused
    _, reused = await asyncio.to_thread(connect, session)
    assert reused, "the client must have resumed for this test to mean anything"
    assert identities == ["alice", ANONYMOUS]


# --- uploads of one caller


async def test_uploads_of_one_caller(serve) -> None:
    """Files lie on disk before their caller is admitted, so nobody may have many there at a time."""
    served = await serve(admit=admit, make=make)
    sent = form("streamFromClient", "a.bin", "", -1, b"x" * 500_000)
    started = []
    for _ in range(UPLOADS_PER_CALLER):
        peer = await served.peer("alice")
        peer.send(sent[:400_000])
        started.append(peer)
    await served.until(lambda: served.server.http_wire._uploads.total() == UPLOADS_PER_CALLER)
    refused = await ask(served, sent)
    assert (refused.status, refused.headers["connection"]) == (429, "close")
    assert (await ask(served, sent, "bob")).status == 200
    started[0].send(sent[400_000:])
    assert (await response(started[0])).status == 200
    assert (await ask(served, sent)).status == 200
    for peer in started[1:]:
        peer.leave()
    await served.until(lambda: served.server.http_wire._uploads.total() == 0)
