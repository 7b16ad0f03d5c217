"""The MessagePack-RPC shell over real TLS connections, as its clients see it, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest

from legacy_rpc.codecs.msgpack_rpc import MsgpackLimits
from legacy_rpc.messages import (
    AnyCredential,
    Call,
    Errno,
    Failure,
    Identity,
    Outcome,
    Proposal,
    Reply,
    TokenCredential,
)
from legacy_rpc.servers.door import ANONYMOUS_BYTES, Door
from legacy_rpc.servers.msgpack_rpc import (
    REQUESTS_IN_A_TURN,
    MsgpackRpcProtocol,
    MsgpackRpcServer,
)
from legacy_rpc.servers.tls import ServerTls
from legacy_rpc.signatures import Parameter, Signature

TOKEN = "a.valid.token"  # alice's in demo_user, see conftest
ECHO = "Test/Echo.echo"
SOON = 0.25  # a limit that a test waits for
DEADLINE = 10.0
MEGABYTE = 1 << 20
SIGNATURES = {"Test/Echo": [Signature("echo", "The same text.", [Parameter("text", (str,))])]}
NOBODY = Identity("anonymous", "visitor", kind="anonymous")


def making(**limits: int) -> Callable[[Door, ServerTls], MsgpackRpcServer]:
    """Makes a server with these limits."""
    return lambda door, tls: MsgpackRpcServer(
        door, MsgpackLimits(**limits), tls.contexts(optional=True), SIGNATURES
    )


def admit(_proposal: Proposal, credential: AnyCredential | None) -> Identity:
    """Everyone, under the name in the token or certificate."""
    if isinstance(credential, TokenCredential):
        return Identity(credential.username, credential.group, credential=credential)
    if credential is None:
        return NOBODY
    return Identity(credential.dn.rsplit("=", 1)[-1], credential.group or "", dn=credential.dn)


def request(method: str, *params: Any, msgid: int = 1) -> bytes:
    """A request as a client of today packs it."""
    return msgpack.packb([0, msgid, method, params])


def notification(method: str, *params: Any) -> bytes:
    """A notification as a client of today packs it."""
    return msgpack.packb([2, method, params])


class Client:
    """Asks and reads responses, in any order."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self._unpacker = msgpack.Unpacker(strict_map_key=False, timestamp=3)

    def ask(self, method: str, *params: Any, msgid: int = 1) -> None:
        """Send a request."""
        self.peer.send(request(method, *params, msgid=msgid))

    async def response(self) -> list[Any]:
        """The next response: msgid, error, result."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for kind, msgid, error, result in self._unpacker:
                    assert kind == 1
                    return [msgid, error, result]
                data = await self.peer.reader.read(1 << 16)
                assert data, "the connection has ended"
                self._unpacker.feed(data)

    async def call(self, method: str, *params: Any) -> Any:
        """One call: its result, or its error as an exception."""
        self.ask(method, *params)
        _, error, result = await self.response()
        if error is not None:
            raise Failure(error["Message"], error["Errno"])
        return result

    async def error(self, method: str, *params: Any) -> str:
        """The text of the error that a call ends in."""
        with pytest.raises(Failure) as failed:
            await self.call(method, *params)
        return failed.value.message


class Gated:
    """A method whose calls end when they are told to."""

    def __init__(self) -> None:
        self.may_end: dict[Any, asyncio.Event] = {}
        self.running = 0

    async def __call__(self, call: Call) -> Outcome:
        (name,) = call.arguments
        event = self.may_end.setdefault(name, asyncio.Event())
        self.running += 1
        await event.wait()
        self.running -= 1
        return Reply(name)

    def end(self, name: Any) -> None:
        """Let a call end."""
        self.may_end.setdefault(name, asyncio.Event()).set()


@dataclass
class Bench:
    """A server, and clients to it."""

    served: Any

    async def client(self, caller: str | None = "alice", **more: Any) -> Client:
        """A client that shows a certificate, or none."""
        return Client(await self.served.peer(caller, **more))


Start = Callable[..., Awaitable[Bench]]


@pytest.fixture
def start(serve) -> Start:
    """Starts a server of this wire."""

    async def start(limits: dict[str, int] | None = None, **more: Any) -> Bench:
        return Bench(await serve(make=making(**limits or {}), **{"admit": admit, **more}))

    return start


async def seconds(waiting: Awaitable[Any]) -> float:
    """How long something takes."""
    started = asyncio.get_running_loop().time()
    await waiting
    return asyncio.get_running_loop().time() - started


# --- calls


async def test_calls_on_one_connection(start: Start, complaints: Callable[[], list[str]]) -> None:
    """A connection stays for as many calls as a client makes."""
    bench = await start()
    client = await bench.client()
    value = {1: "h\u00e9llo", "bytes": b"\xff", "list": [1, 2.5, None, {}]}
    for number in range(5):
        assert await client.call(ECHO, [number, value]) == [number, value]
    assert bench.served.open == 1
    client.peer.writer.close()
    await bench.served.empty()
    assert complaints() == []


async def test_datetimes(start: Start) -> None:
    """A timestamp is a naive datetime for the method, and a timestamp again for the client."""
    bench = await start()
    client = await bench.client()
    when = datetime(2026, 11, 21, 12, 0, 1, 5, UTC)
    client.peer.send(msgpack.packb([0, 1, ECHO, [when]], datetime=True))
    assert await client.response() == [1, None, when]
    assert bench.served.calls[0].arguments == [when.replace(tzinfo=None)]


async def test_times_as_text(start: Start) -> None:
    """A client without timestamps asks for texts; its connection has them from then on."""
    when = datetime(2026, 11, 21, 12, 0, 1, 5, UTC)

    async def tell(_call: Call) -> Outcome:
        return Reply(when)

    client = await (await start(handle=tell)).client()
    assert await client.call(ECHO) == when
    assert await client.call("system.timesAsText", True) is None
    assert await client.call(ECHO) == "2026-11-21 12:00:01.000005"
    assert "takes true or false" in await client.error("system.timesAsText", "yes")
    assert await client.call("system.timesAsText", False) is None
    assert await client.call(ECHO) == when


@pytest.mark.parametrize("name", ["Test/Echo.add", "Test.Echo.add", "Test/Echo/add"])
async def test_what_the_handler_is_told(start: Start, name: str) -> None:
    """The handler gets all that the client and its certificates said."""
    bench = await start()
    client = await bench.client("bob")
    await client.call(name, 1, [2, "three"])
    (call,) = bench.served.calls
    bob = Identity("bob", "demo_user", dn="/DC=org/DC=wherry/OU=people/CN=bob")
    assert call == Call("Test/Echo", "add", [1, [2, "three"]], bob, "msgpack", "", "127.0.0.1")


async def test_old_client(start: Start) -> None:
    """A client of before 2013, that knows one type for texts and bytes, is understood."""
    bench = await start()
    client = await bench.client()
    client.peer.send(msgpack.packb([0, 1, ECHO.encode(), ["text", b"\xff"]], use_bin_type=False))
    assert await client.response() == [1, None, "text"]
    assert bench.served.calls[0].arguments == ["text", "\udcff"]


async def test_call_byte_by_byte(start: Start) -> None:
    """A client may send every byte in a TLS record of its own."""
    client = await (await start()).client()
    for byte in request(ECHO, "x"):
        client.peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await client.response() == [1, None, "x"]


async def test_large_arguments_and_result(start: Start) -> None:
    """Megabytes go both ways unharmed."""
    client = await (await start()).client()
    text = "0123456789abcdef" * (3 * MEGABYTE // 16)
    assert await client.call(ECHO, text) == text


async def test_large_results_side_by_side(start: Start) -> None:
    """Each response is whole, also when others are ready while a large one is being sent."""
    client = await (await start()).client()
    rows = [[number, "Running", None] for number in range(30_000)]
    values = [rows, "small", rows[1:], 5]
    client.peer.send(b"".join(request(ECHO, value, msgid=at) for at, value in enumerate(values)))
    answers = [await client.response() for _ in values]
    assert sorted(msgid for msgid, _, _ in answers) == [0, 1, 2, 3]
    assert all(error is None and result == values[msgid] for msgid, error, result in answers)


async def test_pipelining(start: Start) -> None:
    """Many requests may be sent before the first answer; each is answered as it ends."""
    gated = Gated()
    bench = await start(handle=gated)
    client = await bench.client()
    client.peer.send(b"".join(request(ECHO, name, msgid=10 + name) for name in range(5)))
    await bench.served.until(lambda: gated.running == 5)
    for name in (3, 0, 4, 1, 2):
        gated.end(name)
        assert await client.response() == [10 + name, None, name]


async def test_same_msgid_twice(start: Start) -> None:
    """Two requests under one msgid are both answered under it."""
    gated = Gated()
    client = await (await start(handle=gated)).client()
    client.ask(ECHO, "a", msgid=7)
    client.ask(ECHO, "b", msgid=7)
    gated.end("b")
    assert await client.response() == [7, None, "b"]
    gated.end("a")
    assert await client.response() == [7, None, "a"]


async def test_notification(start: Start, complaints: Callable[[], list[str]]) -> None:
    """A notification is executed, whatever becomes of it, and never answered."""

    async def handle(call: Call) -> Outcome:
        return Failure("no") if call.method == "fail" else Reply(call.arguments)

    bench = await start(handle=handle)
    client = await bench.client()
    client.peer.send(notification("Test/Echo.fail", 1) + notification("nonsense") + notification(ECHO, 2))
    assert await client.call(ECHO, 3) == [3]
    assert [call.arguments for call in bench.served.calls] == [[1], [2], [3]]
    assert complaints() == []


async def test_many_connections(start: Start, complaints: Callable[[], list[str]]) -> None:
    """A hundred clients with ten requests each get their own answers."""

    async def answer(call: Call) -> Outcome:
        await asyncio.sleep(0.001 * (call.arguments[1] % 3))
        return Reply(call.arguments)

    bench = await start(handle=answer, handshake_seconds=60)
    tls = bench.served.pki.client()

    async def use(number: int) -> list[Any]:
        client = await bench.client(tls=tls)
        client.peer.send(b"".join(request(ECHO, number, each, msgid=each) for each in range(10)))
        return sorted([await client.response() for _ in range(10)])

    seen = await asyncio.gather(*map(use, range(100)))
    assert seen == [[[each, None, [number, each]] for each in range(10)] for number in range(100)]
    assert complaints() == []


# --- results and errors


async def test_error(start: Start) -> None:
    """A method's error comes in the response's error, with its extra keys; the connection goes on."""

    async def fail(_call: Call) -> Outcome:
        return Failure.of(Errno.EWMSJMAN, "no", {"NonauthorizedJobIDs": [1, 2]})

    client = await (await start(handle=fail)).client()
    for msgid in (1, 2):
        client.ask(ECHO, msgid=msgid)
        message = "Job management error ( 1504 : no)"
        error = {"Errno": 1504, "Message": message, "NonauthorizedJobIDs": [1, 2]}
        assert await client.response() == [msgid, error, None]


async def test_refused_by_admit(start: Start) -> None:
    """A caller who may not gets the error, and nothing is run."""

    def refuse(*_: Any) -> Identity:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")

    bench = await start(admit=refuse)
    client = await bench.client()
    assert await client.error(ECHO) == "Unauthorized query ( 1111 : Unauthorized query)"
    assert bench.served.calls == []


async def test_value_that_cannot_be_sent(start: Start, complaints: Callable[[], list[str]]) -> None:
    """A value that the wire cannot carry is an error for the client and none for the server."""

    async def answer(_call: Call) -> Outcome:
        return Reply({1, 2})

    client = await (await start(handle=answer)).client()
    assert await client.error(ECHO) == "The result cannot be sent: MessagePack cannot carry set"
    assert complaints() == []


@pytest.mark.parametrize("name", ["echo", "Echo.echo", "A/B/C.echo", ".Echo.echo", "Test/Echo.", "system.no"])
async def test_method_without_service(start: Start, name: str) -> None:
    """A name that is no service's method gets an error that says how to name one."""
    bench = await start()
    client = await bench.client()
    assert await client.error(name) == f"Unknown method {name}: name it System/Component.method"
    assert await client.call(ECHO, 1) == 1


async def test_whole_result(start: Start) -> None:
    """``system.wholeResult`` answers what a DISET client sees, extra keys and errors too."""

    async def answer(call: Call) -> Outcome:
        if call.arguments == ["fail"]:
            return Failure("no", 5, {"More": 1})
        return Reply(call.arguments, {"InvalidJobIDs": [2]})

    client = await (await start(handle=answer)).client()
    assert await client.call(ECHO, 1) == [1]
    whole = {"OK": True, "Value": [1], "InvalidJobIDs": [2]}
    assert await client.call("system.wholeResult", ECHO, [1]) == whole
    assert await client.call("system.wholeResult", ECHO.encode(), [1]) == whole
    failed = {"OK": False, "Errno": 5, "Message": "no", "More": 1}
    assert await client.call("system.wholeResult", ECHO, ["fail"]) == failed
    unknown = await client.call("system.wholeResult", "nonsense", [])
    assert (unknown["OK"], unknown["Message"].partition(":")[0]) == (False, "Unknown method nonsense")
    for params in ([], [ECHO], [ECHO, 1], [1, []]):
        misused = await client.call("system.wholeResult", *params)
        assert "takes a method and an array" in misused["Message"]


async def test_descriptions(start: Start) -> None:
    """The wire tells what can be called, and what it has itself; all of that exists."""
    client = await (await start()).client(None)
    names = await client.call("system.listMethods")
    assert "Test.Echo.echo" in names
    own = [name for name in names if name.startswith("system.")]
    assert len(own) == len(names) - 1 == 7
    for name in own:
        client.ask(name)
        assert "Unknown method" not in str((await client.response())[1])
        assert await client.call("system.methodHelp", name)
        assert await client.call("system.methodSignature", name)
    assert await client.call("system.methodHelp", "Test.Echo.echo") == "The same text."
    assert await client.call("system.methodSignature", "Test.Echo.echo") == [["any", "string"]]
    assert await client.error("system.methodHelp", "Test.Echo.no") == "Unknown method Test.Echo.no"


async def test_file_in_a_message(start: Start) -> None:
    """A transfer is a call whose result, or last argument, is the file."""

    async def transfer(call: Call) -> Outcome:
        if call.outgoing is not None:
            await call.outgoing.send(b"\xff\x00" * 3)
            return Reply()
        assert call.incoming is not None
        return Reply([*call.arguments, b"".join([block async for block in call.incoming.blocks()])])

    client = await (await start(handle=transfer)).client()
    assert await client.call("Test/Echo.streamToClient", "id", "") == b"\xff\x00" * 3
    assert await client.call("Test/Echo.streamFromClient", "id", "", 2, b"\xff\x00") == [
        "id",
        "",
        2,
        b"\xff\x00",
    ]


async def test_handler_that_raises(start: Start) -> None:
    """A client of a handler that breaks its word is not left waiting."""

    async def fail(_call: Call) -> Outcome:
        raise RuntimeError("handlers never raise")

    client = await (await start(handle=fail)).client()
    client.ask(ECHO)
    async with asyncio.timeout(DEADLINE):
        assert await client.peer.rest() == b""


# --- who calls


async def test_token(start: Start) -> None:
    """A token makes the connection its owner's, from then on and whatever the certificate says."""
    bench = await start()
    for caller, before in (("bob", "bob"), (None, "anonymous")):
        client = await bench.client(caller)
        await client.call(ECHO)
        shown = await client.call("system.authenticate", TOKEN)
        assert {key: shown[key] for key in ("username", "group", "VO")} == {
            "username": "alice",
            "group": "demo_user",
            "VO": "demo",
        }
        assert 0 < shown["secondsLeft"] <= 1200
        await client.call(ECHO)
        assert [call.identity.username for call in bench.served.calls[-2:]] == [before, "alice"]


async def test_token_counts_for_what_follows_it(start: Start) -> None:
    """Requests that are sent together are each its caller's at its place."""
    bench = await start()
    client = await bench.client("bob")
    client.peer.send(
        request(ECHO) + notification("system.authenticate", TOKEN.encode()) + request(ECHO, msgid=2)
    )
    assert sorted([await client.response(), await client.response()]) == [[1, None, None], [2, None, None]]
    assert [call.identity.username for call in bench.served.calls] == ["bob", "alice"]


async def test_token_that_is_refused(start: Start) -> None:
    """After a token that proves nothing nobody calls, until one does; the certificate counts no more."""
    bench = await start()
    client = await bench.client("bob")
    assert "The bearer token is not valid" in await client.error("system.authenticate", "forged")
    assert "The bearer token was refused: authenticate again" in await client.error(ECHO)
    assert "The bearer token was refused" in (await client.call("system.wholeResult", ECHO, []))["Message"]
    await client.call("system.authenticate", TOKEN)
    await client.call(ECHO)
    assert [call.identity.username for call in bench.served.calls] == ["alice"]
    await client.error("system.authenticate", "forged")
    await client.error(ECHO)
    assert len(bench.served.calls) == 1


@pytest.mark.parametrize("params", [[], [1], [TOKEN, TOKEN]], ids=len)
async def test_authenticate_takes_one_token(start: Start, params: list[Any]) -> None:
    """Other arguments are an error, and change nothing."""
    bench = await start()
    client = await bench.client("bob")
    assert await client.error("system.authenticate", *params) == "system.authenticate takes one token"
    await client.call(ECHO)
    assert bench.served.calls[0].identity.username == "bob"


async def test_token_that_expires(start: Start) -> None:
    """A token is looked at for every call of a connection."""
    bench = await start()
    verify = bench.served.door.verify_token
    ends = [datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC)]
    bench.served.door.verify_token = lambda text: replace(verify(text), expires=ends.pop())
    client = await bench.client()
    await client.call("system.authenticate", TOKEN)
    client.ask(ECHO)
    _, error, _ = await client.response()
    assert error["Errno"] == Errno.ENOAUTH
    assert "The bearer token has expired" in error["Message"]
    await client.call("system.authenticate", TOKEN)
    assert await client.call(ECHO, 1) == 1
    assert len(bench.served.calls) == 1


async def test_certificate_that_expires(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that ends while its connection is open lets nobody call; a token still does."""
    bench = await start()
    client = await bench.client()
    assert await client.call(ECHO, 1) == 1
    later = datetime.now(UTC) + timedelta(days=30)
    monkeypatch.setattr(bench.served.door.chains, "_clock", lambda: later)
    client.ask(ECHO)
    _, error, _ = await client.response()
    assert error["Errno"] == Errno.ENOAUTH
    assert "certificates expired" in error["Message"]
    assert len(bench.served.calls) == 1
    await client.call("system.authenticate", TOKEN)
    assert await client.call(ECHO, 2) == 2


async def test_extra_credentials(start: Start) -> None:
    """What DISET clients send with each call is set for the connection; admission judges it."""
    proposals: list[Proposal] = []

    def recorded(proposal: Proposal, credential: AnyCredential | None) -> Identity:
        proposals.append(proposal)
        return admit(proposal, credential)

    client = await (await start(admit=recorded)).client("host")
    await client.call(ECHO)
    for extra in ("hosts", ["/DC=org/CN=alice", "demo_user"]):
        assert await client.call("system.extraCredentials", extra) is None
        await client.call(ECHO)
    assert "takes one value" in await client.error("system.extraCredentials")
    assert [each.extra_credentials for each in proposals] == ["", "hosts", ["/DC=org/CN=alice", "demo_user"]]


@pytest.mark.parametrize("caller", ["expired", "forged"])
async def test_bad_certificates(start: Start, caller: str) -> None:
    """Certificates need not be shown, but those that are must hold."""
    assert await (await start()).served.refuses(caller)


# --- what cannot be read

TIGHT = {"message": 2000, "depth": 20, "elements": 100}
FATAL = {
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "A message must be an array", None),
    "a lying string": (b"\x94\x00\x05\xdb\xff\xff\xff\xff", "larger than the limit of 2000", 5),
    "a lying array": (b"\x94\x00\x05\xa1m\xdd\xff\xff\xff\xff", "more than 100 values", 5),
    "too deep": (b"\x94\x00\x05\xa1m" + b"\x91" * 30, "nested too deeply", 5),
    "no MessagePack": (b"\x94\x00\x05\xc1", "no value begins with the byte 0xc1", 5),
    "a response": (b"\x94\x01\x05\xc0\xc0", "[0, msgid, method, params]", None),
}


@pytest.mark.parametrize(("data", "words", "msgid"), FATAL.values(), ids=FATAL)
async def test_unreadable_message(
    start: Start, data: bytes, words: str, msgid: int | None, complaints: Callable[[], list[str]]
) -> None:
    """What cannot be read gets a clear error and ends this connection only; running calls are answered."""
    gated = Gated()
    bench = await start(TIGHT, handle=gated)
    other, client = await bench.client(), await bench.client()
    client.ask(ECHO, "running", msgid=1)
    client.peer.send(data + request(ECHO, "behind", msgid=2))
    number, error, result = await client.response()
    assert (number, error["Errno"], result) == (msgid, 0, None)
    assert words in error["Message"]
    gated.end("running")
    assert await client.response() == [1, None, "running"]
    assert await client.peer.rest() == b""
    gated.end("others go on")
    assert await other.call(ECHO, "others go on") == "others go on"
    assert [call.arguments for call in bench.served.calls] == [["running"], ["others go on"]]
    assert complaints() == []


async def test_unreadable_request(start: Start) -> None:
    """What is wrong inside a message costs that request only."""
    client = await (await start()).client()
    client.peer.send(
        b"\x94\x00\x05\xa1m\x91\xd4\x07x" + msgpack.packb([0, 6, ECHO, {}]) + request(ECHO, 1, msgid=7)
    )
    seen = {
        msgid: (error and error["Message"], result)
        for msgid, error, result in [await client.response() for _ in range(3)]
    }
    assert seen == {
        5: ("The request cannot be read: the extension type 7 is not known", None),
        6: ("The request cannot be read: the params must be an array", None),
        7: (None, 1),
    }


# --- how much at a time


async def test_calls_in_flight(start: Start) -> None:
    """What is above the number of calls waits unread, is refused nothing, and has its turn."""
    gated = Gated()
    bench = await start({"calls": 3}, handle=gated)
    client = await bench.client()
    client.peer.send(b"".join(request(ECHO, name, msgid=name) for name in range(20)))
    await bench.served.until(lambda: gated.running == 3)
    other = await bench.client()
    gated.end("other")
    assert await other.call(ECHO, "other") == "other"  # other connections have room of their own
    assert gated.running == 3
    assert len(bench.served.calls) == 4
    for name in range(20):
        gated.end(name)
    assert sorted([await client.response() for _ in range(20)]) == [[name, None, name] for name in range(20)]


async def test_bytes_in_flight(start: Start) -> None:
    """Large requests wait unread too, while those that run hold as much as one message may."""
    gated = Gated()
    bench = await start({"message": 10_000}, handle=gated)
    client = await bench.client()
    names = [letter * 6000 for letter in "abcdef"]
    client.peer.send(b"".join(request(ECHO, name, msgid=number) for number, name in enumerate(names)))
    await bench.served.until(lambda: gated.running == 2)
    other = await bench.client()
    gated.end("other")
    assert await other.call(ECHO, "other") == "other"
    assert gated.running == 2
    for name in names:
        gated.end(name)
    assert sorted([await client.response() for _ in names]) == [
        [n, None, name] for n, name in enumerate(names)
    ]


async def test_flood_of_requests_that_wait(start: Start) -> None:
    """A client that goes on sending while nothing of its ends is not read: it is held up itself."""
    gated = Gated()
    bench = await start({"calls": 1}, handle=gated)
    client = await bench.client()
    client.ask(ECHO, "first")
    await bench.served.until(lambda: gated.running == 1)
    many = request(ECHO, "x" * 60_000) * 16
    with pytest.raises(TimeoutError):
        for _ in range(64):
            client.peer.send(many)
            await asyncio.wait_for(client.peer.writer.drain(), 1)
    gated.end("x" * 60_000)
    gated.end("first")


async def answer_a_megabyte(_call: Call) -> Outcome:
    """Many of these are more than the kernel's buffers hold."""
    return Reply("x" * MEGABYTE)


async def test_a_client_that_does_not_read(start: Start, complaints: Callable[[], list[str]]) -> None:
    """A client that asks and does not read is cut off in time; until then little is asked of the methods."""
    bench = await start({"calls": 4}, handle=answer_a_megabyte, answer_seconds=SOON)
    client = await bench.client(receive_buffer=4096)
    client.peer.send(b"".join(request(ECHO, msgid=number) for number in range(100)))
    client.peer.writer.transport.pause_reading()
    assert 0.8 * SOON < await seconds(bench.served.empty()) < SOON + 5
    assert len(bench.served.calls) < 50
    assert complaints() == []


async def test_a_client_that_reads_slowly(start: Start) -> None:
    """As long as every result is read within its time, all of them arrive."""
    bench = await start({"calls": 4}, handle=answer_a_megabyte, answer_seconds=DEADLINE)
    client = await bench.client(receive_buffer=4096)
    client.peer.send(b"".join(request(ECHO, msgid=number) for number in range(30)))
    seen = []
    for _ in range(30):
        msgid, error, result = await client.response()
        assert (error, len(result)) == (None, MEGABYTE)
        seen.append(msgid)
        await asyncio.sleep(0.001)
    assert sorted(seen) == list(range(30))


# --- deadlines


@pytest.mark.parametrize("dribbling", [False, True])
async def test_half_a_message(start: Start, dribbling: bool, complaints: Callable[[], list[str]]) -> None:
    """A message that is not finished in time ends the connection, also when single bytes still come."""
    bench = await start(message_seconds=SOON)
    client = await bench.client()
    assert await client.call(ECHO, 1) == 1
    data = request(ECHO, "x" * 1000)
    client.peer.send(data[:5])

    async def dribble() -> None:
        for byte in data[5:-1]:
            client.peer.send(bytes([byte]))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(dribble()) if dribbling else None
    assert 0.8 * SOON < await seconds(client.peer.rest()) < SOON + 3
    if task is not None:
        task.cancel()
    await bench.served.empty()
    assert len(bench.served.calls) == 1
    assert complaints() == []


async def test_idle_connections_stay(start: Start) -> None:
    """A connection without a message half sent may wait as long as it likes, and so may a running call."""

    async def slow(call: Call) -> Outcome:
        await asyncio.sleep(2 * SOON)
        return Reply(call.arguments[0])

    bench = await start(handle=slow, message_seconds=SOON, answer_seconds=SOON)
    idle, client = await bench.client(), await bench.client()
    assert await client.call(ECHO, "slow") == "slow"
    await asyncio.sleep(SOON)
    assert await idle.call(ECHO, "late") == "late"
    assert await client.call(ECHO, "again") == "again"


async def test_waiting_for_room_costs_no_message_time(start: Start) -> None:
    """A message that cannot be read for want of room is not late."""
    gated = Gated()
    bench = await start({"calls": 1}, handle=gated, message_seconds=SOON)
    client = await bench.client()
    second = request(ECHO, "second", msgid=2)
    client.peer.send(request(ECHO, "first") + second[:-1])
    await asyncio.sleep(2 * SOON)
    gated.end("first")
    gated.end("second")
    assert await client.response() == [1, None, "first"]
    client.peer.send(second[-1:])
    assert await client.response() == [2, None, "second"]


# --- ends


async def test_graceful_stop(start: Start, complaints: Callable[[], list[str]]) -> None:
    """At a stop nothing more is read, what runs is answered, and every connection closes."""
    gated = Gated()
    bench = await start(handle=gated)
    idle, client = await bench.client(), await bench.client()
    client.ask(ECHO, "running")
    await bench.served.until(lambda: gated.running == 1)
    stopping = asyncio.create_task(bench.served.server.stop(DEADLINE))
    assert await idle.peer.rest() == b""
    client.ask(ECHO, "too late", msgid=2)
    gated.end("running")
    assert await client.response() == [1, None, "running"]
    assert await client.peer.rest() == b""
    await asyncio.wait_for(stopping, DEADLINE)
    await bench.served.empty()
    assert [call.arguments for call in bench.served.calls] == [["running"]]
    assert complaints() == []


async def test_stop_does_not_wait_for_ever(start: Start) -> None:
    """A call that does not end within the time of a stop loses its connection, and goes on."""
    gated = Gated()
    bench = await start(handle=gated)
    client = await bench.client()
    client.ask(ECHO, "long")
    await bench.served.until(lambda: gated.running == 1)
    await asyncio.wait_for(bench.served.server.stop(0.05), DEADLINE)
    assert await client.peer.rest() == b""
    assert gated.running == 1
    gated.end("long")
    await bench.served.until(lambda: gated.running == 0)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves(
    start: Start, politely: bool, complaints: Callable[[], list[str]]
) -> None:
    """Calls go on when their client leaves; its connection is counted out before."""
    gated = Gated()
    bench = await start(handle=gated)
    client = await bench.client()
    client.peer.send(b"".join(request(ECHO, name, msgid=name) for name in range(3)))
    await bench.served.until(lambda: gated.running == 3)
    if politely:
        client.peer.writer.close()
    else:
        client.peer.leave()
    await bench.served.empty()
    assert gated.running == 3
    for name in range(3):
        gated.end(name)
    await bench.served.until(lambda: gated.running == 0)
    assert complaints() == []


async def test_a_client_that_leaves_unread(start: Start, complaints: Callable[[], list[str]]) -> None:
    """Where nothing is read for want of room, a client's leaving shows when a call has ended."""
    gated = Gated()
    bench = await start({"calls": 2}, handle=gated)
    client = await bench.client()
    client.peer.send(b"".join(request(ECHO, name, msgid=name) for name in range(5)))
    await bench.served.until(lambda: gated.running == 2)
    client.peer.leave()
    for name in range(5):
        gated.end(name)
    await bench.served.empty()
    await bench.served.until(lambda: gated.running == 0)
    assert complaints() == []


async def test_overhead(start: Start) -> None:
    """The hook is told, for every call, the seconds that the method did not take."""
    slept = 0.2

    async def slow(_call: Call) -> Outcome:
        await asyncio.sleep(slept)
        return Reply()

    bench = await start(handle=slow)
    client = await bench.client()

    async def calls() -> None:
        await client.call(ECHO)
        await client.call(ECHO)

    taken = await seconds(calls())
    assert [wire for wire, _ in bench.served.overhead] == ["msgpack", "msgpack"]
    assert 0 < sum(overhead for _, overhead in bench.served.overhead) <= taken - 1.8 * slept


# --- what nobody in particular may cost


async def test_a_large_message_of_nobody(start: Start) -> None:
    """Memory is for known callers: until a token is shown messages must be small."""
    bench = await start()
    small, large = "x" * (ANONYMOUS_BYTES - 100), "x" * (ANONYMOUS_BYTES + 1)
    stranger = await bench.client(None)
    assert await stranger.call(ECHO, small) == small
    assert "larger" in await stranger.error(ECHO, large)
    assert await stranger.peer.rest() == b""
    bearer = await bench.client(None)
    # Together, as pipelining clients do: what follows the token has the larger limit.
    bearer.peer.send(request("system.authenticate", TOKEN) + request(ECHO, large, msgid=2))
    assert (await bearer.response())[0] == 1
    assert await bearer.response() == [2, None, large]
    holder = await bench.client()
    assert await holder.call(ECHO, large) == large


async def test_nobody_may_not_stay_idle(start: Start) -> None:
    """A connection is kept open for those who have shown who they are."""
    bench = await start(message_seconds=SOON)
    stranger, holder, bearer = [await bench.client(caller) for caller in (None, "alice", None)]
    await bearer.call("system.authenticate", TOKEN)
    assert await stranger.peer.rest() == b""
    await bench.served.until(lambda: bench.served.open == 2)
    for client in (holder, bearer):
        assert await client.call(ECHO, "there") == "there"


async def test_large_extra_credentials(start: Start) -> None:
    """They are kept as long as the connection, so they must be short."""
    client = await (await start()).client()
    assert "at most" in await client.error("system.extraCredentials", "x" * MEGABYTE)
    assert "at most" in await client.error("system.extraCredentials", [["x"] * 3000, "g"])
    await client.call("system.extraCredentials", ["/CN=x", "g"])


@pytest.mark.parametrize("data", [request("no name"), request("system.timesAsText", True)])
async def test_a_flood_of_requests(start: Start, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Who sends thousands at once, which takes no name, has turns as others have."""
    acts = in_a_turn = 0
    act = MsgpackRpcProtocol._act

    def counted(connection: MsgpackRpcProtocol, *event: Any) -> None:
        nonlocal acts
        acts += 1
        act(connection, *event)

    monkeypatch.setattr(MsgpackRpcProtocol, "_act", counted)
    client = await (await start()).client(None)
    client.peer.send(data * 5000)

    async def watch() -> None:
        nonlocal in_a_turn
        while acts < 5000:
            before = acts
            await asyncio.sleep(0)
            in_a_turn = max(in_a_turn, acts - before)

    async with asyncio.timeout(DEADLINE):
        watching = asyncio.create_task(watch())
        for _ in range(5000):
            await client.response()
        await watching
    assert in_a_turn <= 2 * REQUESTS_IN_A_TURN
