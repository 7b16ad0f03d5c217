"""XML-RPC over HTTPS as the standard library's unmodified client sees it, on both event loops."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import xmlrpc.client
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from legacy_rpc.authorisation import ANONYMOUS, VISITOR
from legacy_rpc.codecs.xmlrpc import encode_answer
from legacy_rpc.messages import AnyCredential, Call, Errno, Failure, Identity, Outcome, Proposal, Reply
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.http import HttpServer
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.servers.xmlrpc import XmlRpc, XmlRpcLimits
from legacy_rpc.signatures import Signatures, signature_of
from tests.legacy_rpc.conftest import TOKEN, Served, admit_everyone

from .test_http import Response, request, response

LIMITS = XmlRpcLimits(message=300_000, depth=20, calls=50, seconds=30)
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


async def _say(_context: Any, text: str, times: Any = 1) -> None:
    """The text, so many times."""


async def _look(_context: Any, jobs: Any, number: int, fields: Any) -> None:
    pass


async def _send(_context: Any, file: str) -> None:
    """A file."""


SIGNATURES: Signatures = {
    "Test/Echo": [
        signature_of("say", _say, [str]),
        signature_of("look", _look, [[str, list], int, None]),
        signature_of("FileTransfer/ToClient", _send, []),
        signature_of("FileTransfer/FromClient", _look, []),
        signature_of("FileTransfer/BulkToClient", _send, []),
    ],
    "Test/Other": [signature_of("say", _say, [])],
}


def make(door: Door, tls: ServerTls, limits: XmlRpcLimits = LIMITS) -> HttpServer:
    wire = XmlRpc(door, limits, SIGNATURES)
    return HttpServer(door, tls.contexts(optional=True, protocols=("http/1.1",)), wire)


def admit(proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """As a registry would; ``Nowhere`` is no service, ``secret`` is for nobody."""
    if proposal.service == "Nowhere/Nothing":
        raise Failure(f"{proposal.service} is not up in this server", reason="unknown-service")
    if proposal.method == "secret":
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")
    if credential is None:
        return Identity(ANONYMOUS, VISITOR, kind=ANONYMOUS)
    return admit_everyone(proposal, credential)


async def answer(call: Call) -> Outcome:
    """What the method's name says."""
    match call.method:
        case "who":
            return Reply([call.identity.username, call.identity.group])
        case "kill":
            return Reply([1], {"InvalidJobIDs": [2]})
        case "fail":
            return Failure.of(Errno.EWMSJMAN, "no such job", {"InvalidJobIDs": [2]})
        case "plain":
            return Failure("no number")
        case "odd":
            return Reply({1, 2})
        case "late":
            return Reply(call.deadline is not None)
        case "FileTransfer/ToClient":
            assert call.outgoing is not None
            await call.outgoing.send(b"\x00" * 3 + str(call.arguments[0]).encode())
            return Reply()
        case "FileTransfer/FromClient":
            assert call.incoming is not None
            return Reply([list(call.arguments), b"".join([block async for block in call.incoming.blocks()])])
    return Reply(list(call.arguments))


@dataclass
class Client:
    """An unmodified ServerProxy for a thread of its own."""

    served: Served
    path: str = "/RPC2"
    caller: str | None = "alice"
    headers: list[tuple[str, str]] = field(default_factory=list)
    transport: type[xmlrpc.client.SafeTransport] = xmlrpc.client.SafeTransport

    @contextmanager
    def proxy(self) -> Iterator[Any]:
        """Its ServerProxy, closed afterwards."""
        tls: ssl.SSLContext = self.served.pki.client(self.caller)
        with xmlrpc.client.ServerProxy(
            f"https://localhost:{self.served.port}{self.path}",
            transport=self.transport(use_builtin_types=True, headers=self.headers, context=tls),
            allow_none=True,
        ) as proxy:
            yield proxy

    async def do(self, work: Callable[[Any], Any]) -> Any:
        """What becomes of work with the proxy; a fault or an HTTP error is returned."""

        def run() -> Any:
            with self.proxy() as proxy:
                try:
                    return work(proxy)
                except (xmlrpc.client.Fault, xmlrpc.client.ProtocolError) as error:
                    return error

        return await asyncio.to_thread(run)

    async def fault(self, work: Callable[[Any], Any]) -> tuple[int, str]:
        """The code and text of a fault that must come."""
        fault = await self.do(work)
        assert isinstance(fault, xmlrpc.client.Fault), fault
        return fault.faultCode, fault.faultString


@pytest.fixture
async def served(serve: Callable[..., Any]) -> Served:
    """The wire, with methods for all cases."""
    made: Served = await serve(admit=admit, handle=answer, make=make)
    return made


# --- calls


async def test_values(served: Served, complaints: Callable[[], list[str]]) -> None:
    """Arguments and values keep their types, as far as XML-RPC has them."""
    values = [1, -(2**31), 1.5, True, None, "é<&>\n", b"\x00\xff", [1, [2]], {"a": {"b": []}}]
    assert await Client(served).do(lambda proxy: proxy.Test.Echo.back(*values)) == values
    [call] = served.calls
    assert (call.service, call.method, call.wire, call.peer) == ("Test/Echo", "back", "xmlrpc", "127.0.0.1")
    assert call.client_version.startswith("Python-xmlrpc/")
    assert list(call.arguments) == values
    assert [wire for wire, _ in served.overhead] == ["xmlrpc"]
    assert complaints() == []


@pytest.mark.parametrize("path", ["", "/", "/RPC2", "/RPC2/"])
async def test_paths(served: Served, path: str) -> None:
    """The wire is at RPC2, where clients look for it, and at the root."""
    assert await Client(served, path).do(lambda proxy: proxy.Test.Echo.back(1)) == [1]


async def test_callers(served: Served) -> None:
    """A certificate or a token says who calls; the token, where there are both."""
    bearer = [("Authorization", f"Bearer {TOKEN}")]
    who = {
        "certificate": Client(served, caller="bob"),
        "token": Client(served, caller=None, headers=bearer),
        "both": Client(served, caller="bob", headers=bearer),
        "none": Client(served, caller=None),
    }
    seen = {name: await client.do(lambda proxy: proxy.Test.Echo.who()) for name, client in who.items()}
    assert seen == {
        "certificate": ["bob", "demo_user"],
        "token": ["alice", "demo_user"],
        "both": ["alice", "demo_user"],
        "none": [ANONYMOUS, VISITOR],
    }


async def test_false_tokens(served: Served) -> None:
    """A token that proves nothing is a fault, even beside a certificate, for every method."""
    bad = Client(served, headers=[("Authorization", "Bearer x.y.z")])
    for work in (lambda proxy: proxy.Test.Echo.who(), lambda proxy: proxy.system.listMethods()):
        code, text = await bad.fault(work)
        assert (code, "The bearer token is not valid, or no longer" in text) == (1111, True)
    basic = Client(served, headers=[("Authorization", "Basic YTpi")])
    assert (await basic.fault(lambda proxy: proxy.Test.Echo.who()))[0] == 1111
    assert served.calls == []


async def test_extra_credentials(serve: Callable[..., Any]) -> None:
    """A header carries what DIRAC's clients send as extraCredentials."""
    seen: list[Any] = []

    def note(proposal: Proposal, credential: AnyCredential | None) -> Identity:
        seen.append(proposal.extra_credentials)
        return admit(proposal, credential)

    served = await serve(admit=note, handle=answer, make=make)
    for text in ("hosts", '["/CN=alice", "demo_user"]', ""):
        client = Client(served, headers=[("DIRAC-Extra-Credentials", text)])
        await client.do(lambda proxy: proxy.Test.Echo.who())
    assert seen == ["hosts", ["/CN=alice", "demo_user"], ""]
    broken = Client(served, headers=[("DIRAC-Extra-Credentials", "[1")])
    assert (await broken.fault(lambda proxy: proxy.Test.Echo.who()))[0] == -32300


async def test_faults(served: Served) -> None:
    """An error's number is the fault's code; one without a number has a code too."""
    client = Client(served)
    faults = {
        "fail": (1504, "Job management error ( 1504 : no such job)"),
        "plain": (-32500, "no number"),
        "secret": (1111, UNAUTHORIZED),
    }
    for method, fault in faults.items():
        assert await client.fault(lambda proxy, name=method: getattr(proxy.Test.Echo, name)()) == fault
    assert await client.fault(lambda proxy: proxy.Nowhere.Nothing.x()) == (
        -32601,
        "Nowhere/Nothing is not up in this server",
    )
    for name in ("x", "a.b", "a.b.c.d", "system.nothing", f"a.b.{'c' * 100_000}"):
        code, text = await client.fault(lambda proxy, name=name: getattr(proxy, name)())
        assert (code, text.startswith(f"Unknown method {name[:100]}")) == (-32601, True)
        assert len(text) < 200
    code, text = await client.fault(lambda proxy: proxy.Test.Echo.odd())
    assert code == -32603
    assert text == "Test.Echo.odd was done, but its answer cannot be sent: XML-RPC cannot carry a set"


async def test_whole_results(served: Served) -> None:
    """Extra keys of a result, good or bad, are there for who asks for them."""
    client = Client(served)
    assert await client.do(lambda proxy: proxy.Test.Echo.kill()) == [1]
    kill, fail = [
        await client.do(lambda proxy, name=name: proxy.system.wholeResult(f"Test.Echo.{name}", []))
        for name in ("kill", "fail")
    ]
    assert kill == {"OK": True, "Value": [1], "InvalidJobIDs": [2]}
    assert fail == {
        "OK": False,
        "Errno": 1504,
        "Message": "Job management error ( 1504 : no such job)",
        "InvalidJobIDs": [2],
    }
    whole = await client.do(lambda proxy: proxy.system.wholeResult("Test.Echo.back", [1, "a"]))
    assert whole == {"OK": True, "Value": [1, "a"]}
    for arguments in ([], ["Test.Echo.back"], ["Test.Echo.back", 1], [1, []]):
        code, _ = await client.fault(lambda proxy, given=arguments: proxy.system.wholeResult(*given))
        assert code == -32602
    for inner in ("system.wholeResult", "system.multicall", "nothing"):
        code, _ = await client.fault(lambda proxy, name=inner: proxy.system.wholeResult(name, []))
        assert code == -32601


async def test_transfers(served: Served) -> None:
    """Files are base64 in a value or an argument."""
    client = Client(served)
    got = await client.do(lambda proxy: proxy.Test.Echo.streamToClient("abc"))
    assert got == b"\x00\x00\x00abc"
    sent = await client.do(lambda proxy: proxy.Test.Echo.streamFromClient("id", "", 3, b"\x00\xff1"))
    assert sent == [["id", "", 3], b"\x00\xff1"]
    assert [call.method for call in served.calls] == ["FileTransfer/ToClient", "FileTransfer/FromClient"]


async def test_keep_alive(served: Served) -> None:
    """A proxy makes all of its calls, faults included, over one connection."""

    def work(proxy: Any) -> int:
        for number in range(20):
            assert proxy.Test.Echo.back(number) == [number]
            with pytest.raises(xmlrpc.client.Fault):
                proxy.Test.Echo.fail()
        return served.open

    assert await Client(served).do(work) == 1


# --- what a server says of itself


async def test_methods_are_listed(served: Served) -> None:
    """All methods, whoever asks; a file's methods have the names by which they are called."""
    names = await Client(served, caller=None).do(lambda proxy: proxy.system.listMethods())
    assert names == [
        "Test.Echo.look",
        "Test.Echo.say",
        "Test.Echo.streamFromClient",
        "Test.Echo.streamToClient",
        "Test.Other.say",
        "system.listMethods",
        "system.methodHelp",
        "system.methodSignature",
        "system.multicall",
        "system.wholeResult",
    ]
    client = Client(served)

    def work(proxy: Any) -> Any:
        return [(proxy.system.methodHelp(name), proxy.system.methodSignature(name)) for name in names]

    described = dict(zip(names, await client.do(work), strict=True))
    assert described["Test.Echo.say"] == (
        "The text, so many times.",
        [["any", "string"], ["any", "string", "any"]],
    )
    assert described["Test.Other.say"][1] == [["any", "any"], ["any", "any", "any"]]
    assert described["Test.Echo.look"] == (
        "",
        [["any", "string", "int", "any"], ["any", "array", "int", "any"]],
    )
    assert described["Test.Echo.streamToClient"] == ("A file.", [["any", "any"]])
    assert described["system.methodHelp"][1] == [["string", "string"]]
    assert all(isinstance(text, str) and types for text, types in described.values())


async def test_methods_that_are_not_there(served: Served) -> None:
    """Help for what is not there, and wrong arguments, are faults."""
    client = Client(served)
    for name in ("methodHelp", "methodSignature"):
        for arguments, expected in ((["nothing"], -32601), ([], -32602), ([1], -32602)):
            code, _ = await client.fault(
                lambda proxy, name=name, given=arguments: getattr(proxy.system, name)(*given)
            )
            assert code == expected
    assert (await client.fault(lambda proxy: proxy.system.listMethods(1)))[0] == -32602


# --- many calls in one


async def test_multicall(served: Served) -> None:
    """The standard library's MultiCall: values and faults, each in the place of its call, in order."""

    def work(proxy: Any) -> list[Any]:
        multicall = xmlrpc.client.MultiCall(proxy)
        multicall.Test.Echo.back(1, "a")
        multicall.Test.Echo.fail()
        multicall.Test.Echo.odd()
        multicall.system.methodHelp("Test.Echo.say")
        multicall.system.wholeResult("Test.Echo.kill", [])
        multicall.system.multicall([])
        multicall.nothing()
        multicall.Test.Echo.secret()
        multicall.Test.Echo.late()
        return multicall().results

    results = await Client(served).do(work)
    assert [part[0] if isinstance(part, list) else part["faultCode"] for part in results] == [
        [1, "a"],
        1504,
        -32603,
        "The text, so many times.",
        {"OK": True, "Value": [1], "InvalidJobIDs": [2]},
        -32601,
        -32601,
        1111,
        True,
    ]
    assert results[5]["faultString"] == "system.multicall cannot be called within another call"
    assert [call.method for call in served.calls] == ["back", "fail", "odd", "kill", "late"]


async def test_strange_multicalls(served: Served) -> None:
    """What is no array of calls is a fault; what is no call has a fault in its place."""
    client = Client(served)
    for arguments in ([], [1], [{}], [[], []]):
        code, _ = await client.fault(lambda proxy, given=arguments: proxy.system.multicall(*given))
        assert code == -32602
    code, text = await client.fault(lambda proxy: proxy.system.multicall([{}] * 51))
    assert (code, text) == (-32602, "system.multicall takes 50 calls at most, not 51")
    strange = [1, {}, {"methodName": 1, "params": []}, {"methodName": "a.b.c", "params": {}}]
    good = {"methodName": "Test.Echo.back", "params": [7]}
    results = await client.do(lambda proxy: proxy.system.multicall([*strange, good]))
    assert [part["faultCode"] for part in results[:-1]] == [-32602] * 4
    assert results[-1] == [[7]]
    assert await client.do(lambda proxy: proxy.system.multicall([])) == []


async def test_multicall_stops_before_it_grows_too_large(serve: Callable[..., Any]) -> None:
    """When the answers exceed a message, further calls are not begun."""

    async def large(call: Call) -> Outcome:
        return Reply("x" * 200_000)

    served = await serve(admit=admit, handle=large, make=make)
    calls = [{"methodName": "Test.Echo.big", "params": []}] * 5
    results = await Client(served).do(lambda proxy: proxy.system.multicall(calls))
    assert [type(part) for part in results] == [list, list, dict, dict, dict]
    assert results[2]["faultCode"] == -32400
    assert len(served.calls) == 2


async def test_calls_of_a_multicall_come_one_after_the_other(serve: Callable[..., Any]) -> None:
    """A call is begun when the one before it is done."""
    running = most = 0

    async def slow(call: Call) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return Reply(call.arguments[0])

    served = await serve(admit=admit, handle=slow, make=make)
    calls = [{"methodName": "Test.Echo.slow", "params": [number]} for number in range(20)]
    results = await Client(served).do(lambda proxy: proxy.system.multicall(calls))
    assert (results, most) == ([[number] for number in range(20)], 1)


# --- sizes and forms


class Zipping(xmlrpc.client.SafeTransport):
    """A transport that compresses its requests, as the standard library's can."""

    encode_threshold = 100


class Plain(xmlrpc.client.SafeTransport):
    """A transport that wants no compressed answers."""

    accept_gzip_encoding = False


LARGE = [{"JobID": number, "Status": "Waiting", "Site": "LCG.CERN.ch"} for number in range(2000)]


@pytest.mark.parametrize("transport", [Plain, Zipping, xmlrpc.client.SafeTransport])
async def test_large_messages(
    served: Served, transport: type[xmlrpc.client.SafeTransport], complaints: Callable[[], list[str]]
) -> None:
    """Large requests and answers, compressed or not, are whole."""
    client = Client(served, transport=transport)
    large = LARGE[:1000]
    assert await client.do(lambda proxy: proxy.Test.Echo.back(large)) == [large]
    assert complaints() == []


async def test_large_answers(serve: Callable[..., Any]) -> None:
    """An answer may be larger than a request."""
    value = {"records": [[number, "x" * 50, 1.5] for number in range(30_000)], "blob": b"\x00" * 1_000_000}

    async def large(_call: Call) -> Outcome:
        return Reply(value)

    served = await serve(admit=admit, handle=large, make=make)
    for transport in (Plain, xmlrpc.client.SafeTransport):
        client = Client(served, transport=transport)
        assert await client.do(lambda proxy: proxy.Test.Echo.large()) == value


def document(method: str = "Test.Echo.back", value: str = "<value>x</value>") -> bytes:
    """A request."""
    params = f"<params><param>{value}</param></params>"
    return f"<methodCall><methodName>{method}</methodName>{params}</methodCall>".encode()


async def post(served: Served, body: bytes, path: str = "/RPC2", **headers: str) -> Response:
    """The response to a request by hand."""
    peer = await served.peer()
    peer.send(request(body, path, **{"content_type": "text/xml", **headers}))
    return await response(peer)


def result(reply: Response) -> Any:
    """The value in a response, or the code of its fault."""
    assert reply.headers["content-type"] == "text/xml"
    try:
        return xmlrpc.client.loads(reply.body, use_builtin_types=True)[0][0]
    except xmlrpc.client.Fault as fault:
        return fault.faultCode


async def test_compressed_answers(served: Served) -> None:
    """An answer is compressed where it is worth it and the client takes it."""
    short, long = document(), document(value=f"<value>{'x' * 5000}</value>")
    for body, accepted, compressed in (
        (long, "gzip", True),
        (long, "deflate, GZIP;q=0.5, *", True),
        (long, "gzip;q=0", False),
        (long, "gzip; q=0.000", False),
        (long, "identity", False),
        (long, "", False),
        (short, "gzip", False),
    ):
        reply = await post(served, body, accept_encoding=accepted)
        assert (reply.headers.get("content-encoding") == "gzip") == compressed
        data = gzip.decompress(reply.body) if compressed else reply.body
        assert data == encode_answer(Reply(["x" * 5000 if body is long else "x"]))


async def test_compressed_requests(served: Served) -> None:
    """gzip and deflate are read; what comes out is measured."""
    assert result(await post(served, gzip.compress(document()), content_encoding="gzip")) == ["x"]
    assert result(await post(served, zlib.compress(document()), content_encoding="deflate")) == ["x"]
    bomb = gzip.compress(document(value="<value>" + "x" * 100_000_000 + "</value>"))
    assert len(bomb) < LIMITS.message
    reply = await post(served, bomb, content_encoding="gzip")
    assert (reply.status, result(reply)) == (200, -32300)
    assert b"larger than the limit of 300000" in reply.body
    assert result(await post(served, b"no gzip", content_encoding="gzip")) == -32300
    cut = gzip.compress(document())[:-20]
    assert result(await post(served, cut, content_encoding="gzip")) in (-32300, -32700)
    reply = await post(served, document(), content_encoding="compress")
    assert (reply.status, reply.headers["accept-encoding"]) == (415, "gzip, deflate")


async def test_requests_that_are_too_large(served: Served) -> None:
    """The client of one hears of the limit."""
    code, text = await Client(served).fault(lambda proxy: proxy.Test.Echo.back("x" * 400_000))
    assert code == -32300
    assert text.endswith("is larger than the limit of 300000")
    assert served.calls == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"method=ping&args=[]", -32700),
        (document()[:-5], -32700),
        (document(value="<value><int>x</int></value>"), -32600),
        (document(value="<value><array><data>" * 21 + "</data></array></value>" * 21), -32600),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + document(value="<value>&b;</value>"), -32600),
        (b'<?xml version="1.0" encoding="utf-16"?>' + document(), -32701),
        (document(value="<value>\xff</value>").decode().encode("latin-1"), -32702),
    ],
)
async def test_malformed_requests(
    served: Served, body: bytes, code: int, complaints: Callable[[], list[str]]
) -> None:
    """What is no XML-RPC is a fault, and the connection goes on."""
    peer = await served.peer()
    for _ in range(2):
        peer.send(request(body, "/RPC2", content_type="text/xml", content_length=str(len(body))))
        reply = await response(peer)
        assert (reply.status, result(reply)) == (200, code)
    peer.send(request(document(), "/RPC2", content_type="text/xml"))
    assert result(await response(peer)) == ["x"]
    assert complaints() == []


async def test_charsets(served: Served) -> None:
    """The header says in which encoding a document is that does not declare one."""
    body = document(value="<value>é</value>").decode().encode("latin-1")
    assert result(await post(served, body, content_type='text/xml; charset="ISO-8859-1"')) == ["é"]
    assert result(await post(served, document(), content_type="application/xml; charset=utf-8")) == ["x"]
    assert result(await post(served, body, content_type="text/xml; charset=utf-8")) == -32702


async def test_no_xml_rpc(served: Served) -> None:
    """Whoever speaks another language hears it from HTTP; no foreign page's form is read."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert (await post(served, document(), content_type=kind)).status == 415
    reply = await post(served, document(), method="GET")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    reply = await post(served, document(), "/WorkloadManagement/JobManager")
    assert reply.status == 404
    assert b"XML-RPC is at /RPC2" in reply.body
    assert served.calls == []


async def test_the_client_may_leave(serve: Callable[..., Any]) -> None:
    """A multicall that has begun is done to its end."""
    begun, may_go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> Outcome:
        begun.set()
        await may_go_on.wait()
        if call.arguments == [2]:
            done.set()
        return Reply()

    served = await serve(admit=admit, handle=slow, make=make)
    calls = [{"methodName": "Test.Echo.slow", "params": [number]} for number in range(3)]
    body = xmlrpc.client.dumps((calls,), "system.multicall").encode()
    peer = await served.peer()
    peer.send(request(body, "/RPC2", content_type="text/xml"))
    async with asyncio.timeout(10):
        await begun.wait()
        peer.leave()
        await served.empty()
        may_go_on.set()
        await done.wait()
