"""The DISET shell over real TLS connections, as its clients see it, on both event loops."""

from __future__ import annotations

import asyncio
import datetime
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from legacy_rpc.codecs.diset import KEEP_ALIVE, DisetLimits, frame
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.messages import Call, Errno, Failure, Identity, Outcome, Reply

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)
PROPOSAL = [["Test/Echo", "None", "unknown"], ["RPC", "echo"], "", "9.1.22"]
S_OK_NONE = {"OK": True, "Value": None}
SOON = 0.25  # a limit that a test waits for
MEGABYTE = 1 << 20


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
        return Reply("done")


def keep_alive(peer: Any, identifier: Any, ping: bool) -> bytes:
    """A ping or a pong in the peer's encoding."""
    return KEEP_ALIVE + bytes(peer.s_ok({"id": identifier, "kaping": ping}))


async def seconds(waiting: Awaitable[Any]) -> float:
    """How long something takes."""
    started = asyncio.get_running_loop().time()
    await waiting
    return asyncio.get_running_loop().time() - started


# --- calls


@ENCODINGS
async def test_call(serve, encoding: Encoding, complaints: Callable[[], list[str]]) -> None:
    """A call is acknowledged and answered in the encoding it was asked in, then the connection ends."""
    served = await serve()
    value = {
        "text": "h\u00e9llo",
        "when": datetime.datetime.fromisoformat("2026-11-21 12:00:01"),
        "list": [1, 2.5, None],
    }
    peer = await served.peer(encoding=encoding)
    assert await peer.call(value) == {"OK": True, "Value": value}
    await served.empty()
    assert complaints() == []


@ENCODINGS
async def test_call_byte_by_byte(serve, encoding: Encoding) -> None:
    """A client may send every byte in a TLS record of its own."""
    peer = await (await serve()).peer(encoding=encoding)
    for byte in peer.proposal() + peer.s_ok(["x"]):
        peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert [await peer.message(), await peer.message()] == [S_OK_NONE, {"OK": True, "Value": "x"}]
    assert await peer.rest() == b""


async def test_one_connection_is_one_call(serve) -> None:
    """What is sent behind a call, even a whole second one, is not served."""
    served = await serve()
    peer = await served.peer()
    peer.send((peer.proposal() + peer.s_ok(["first"])) + (peer.proposal() + peer.s_ok(["second"])))
    assert [await peer.message(), await peer.message()] == [S_OK_NONE, {"OK": True, "Value": "first"}]
    assert await peer.rest() == b""
    assert [call.arguments for call in served.calls] == [["first"]]


async def test_what_the_handler_is_told(serve) -> None:
    """The handler gets all that the client and its certificates said."""
    served = await serve()
    peer = await served.peer("bob", DENCODE)
    await peer.call(1, (2, "three"), method="add")
    (call,) = served.calls
    bob = Identity("bob", "demo_user", dn="/DC=org/DC=wherry/OU=people/CN=bob")
    said = {"setup": "None", "vo": "unknown", "encoding": "dencode"}
    assert call == Call("Test/Echo", "add", (1, (2, "three")), bob, "dips", "9.1.22", "127.0.0.1", **said)


async def test_many_calls_at_once(serve, complaints: Callable[[], list[str]]) -> None:
    """Two hundred clients at a time each get their own answer."""

    async def answer(call: Call) -> Outcome:
        await asyncio.sleep(0.01)
        return Reply(call.arguments[0])

    served = await serve(handle=answer, handshake_seconds=60)
    tls = served.pki.client()

    async def call(number: int) -> Any:
        peer = await served.peer(tls=tls, encoding=DENCODE if number % 2 else JENCODE)
        return (await peer.call(number))["Value"]

    assert await asyncio.gather(*map(call, range(200))) == list(range(200))
    await served.empty()
    assert complaints() == []


@ENCODINGS
async def test_large_arguments_and_result(serve, encoding: Encoding) -> None:
    """Megabytes go both ways unharmed."""
    peer = await (await serve()).peer(encoding=encoding)
    text = "0123456789abcdef" * (3 * MEGABYTE // 16)
    assert await peer.call(text) == {"OK": True, "Value": text}


@ENCODINGS
async def test_large_arguments_hold_nobody_up(serve, encoding: Encoding) -> None:
    """While megabytes of small values are decoded other callers are answered."""
    served = await serve()
    values = [[number, "Running", None] for number in range(60_000)]
    large = asyncio.create_task((await served.peer(encoding=encoding)).call(values))
    answered = 0
    while not large.done():
        assert await (await served.peer(encoding=encoding)).call(answered) == {"OK": True, "Value": answered}
        answered += 1
    assert await large == {"OK": True, "Value": values}
    assert answered > 1


@ENCODINGS
async def test_large_arguments_that_are_nonsense(serve, encoding: Encoding) -> None:
    """They get an error for a result, as small ones do."""
    peer = await (await serve()).peer(encoding=encoding)
    peer.send(peer.proposal() + frame(encoding.encode(["x" * 20_000])))
    assert (await peer.message())["OK"] is True
    assert await peer.message() == {"OK": False, "Errno": 0, "Message": "Invalid message"}


# --- refusals


@ENCODINGS
async def test_refused_by_admit(serve, encoding: Encoding) -> None:
    """A caller who may not gets the error in place of the acknowledgement; nothing is run."""

    def refuse(*_: Any) -> Identity:
        raise Failure.of(Errno.ENOAUTH, "Unauthorized query")

    served = await serve(admit=refuse)
    peer = await served.peer(encoding=encoding)
    peer.send(peer.proposal() + peer.s_ok(["x"]))
    unauthorized = "Unauthorized query ( 1111 : Unauthorized query)"
    assert await peer.message() == {"OK": False, "Errno": 1111, "Message": unauthorized}
    assert await peer.rest() == b""
    assert served.calls == []


@ENCODINGS
async def test_failure_of_the_method(serve, encoding: Encoding) -> None:
    """A method's error comes after the acknowledgement, with its extra keys."""

    async def fail(_call: Call) -> Outcome:
        return Failure.of(Errno.EWMSJMAN, "no", {"NonauthorizedJobIDs": [1, 2]})

    peer = await (await serve(handle=fail)).peer(encoding=encoding)
    assert await peer.call() == {
        "OK": False,
        "Errno": 1504,
        "Message": "Job management error ( 1504 : no)",
        "NonauthorizedJobIDs": [1, 2],
    }


async def test_unsendable_value(serve, complaints: Callable[[], list[str]]) -> None:
    """A value that cannot be encoded is an error for the client and none for the server."""

    async def answer(_call: Call) -> Outcome:
        return Reply({1, 2})

    peer = await (await serve(handle=answer)).peer()
    assert (await peer.call())["Message"] == "The result cannot be sent: JEncode cannot encode set"
    assert complaints() == []


LIMITS = DisetLimits(proposal=200, message=400, depth=20)
NO_PROPOSALS = {
    "no frame": (b"GET / HTTP/1.1\r\n\r\n", "A message must begin with its length"),
    "no value": (frame(b"{"), "JSON: "),
    "no proposal": (frame(b'{"OK": true, "Value": []}'), "Invalid action proposal"),
    "an error": (frame(b'{"OK": false, "Errno": 0, "Message": ""}'), "Invalid action proposal"),
    "too large": (b"201:", "larger than the limit of 200"),
    "a long length": (b"1" * 20, "too many digits"),
    "too deep": (frame(b"[" * 30 + b"]" * 30), "nested too deeply"),
}


@pytest.mark.parametrize(("data", "words"), NO_PROPOSALS.values(), ids=NO_PROPOSALS)
async def test_no_proposal(serve, data: bytes, words: str, complaints: Callable[[], list[str]]) -> None:
    """A bad proposal gets a clear error and ends this connection only."""
    served = await serve(limits=LIMITS)
    waiting, peer = await served.peer(), await served.peer()
    peer.send(data)
    answer = await peer.message()
    assert (answer["OK"], answer["Errno"]) == (False, 0)
    assert words in answer["Message"]
    assert await peer.rest() == b""
    assert await waiting.call("others go on") == {"OK": True, "Value": "others go on"}
    assert complaints() == []


NO_ARGUMENTS = {
    "no frame": (b"garbage", "A message must begin with its length"),
    "no list": (frame(b'{"OK": true, "Value": 1}'), "The arguments must be a list"),
    "too large": (b"401:", "larger than the limit of 400"),
}


@pytest.mark.parametrize(("data", "words"), NO_ARGUMENTS.values(), ids=NO_ARGUMENTS)
async def test_no_arguments(serve, data: bytes, words: str) -> None:
    """Bad arguments get a clear error as the result, and nothing is run."""
    served = await serve(limits=LIMITS)
    peer = await served.peer()
    await peer.propose()
    peer.send(data)
    assert words in (await peer.message())["Message"]
    assert await peer.rest() == b""
    assert served.calls == []


async def test_arguments_as_large_as_allowed(serve) -> None:
    """Arguments may have exactly as many bytes as the limit says."""
    peer = await (await serve(limits=LIMITS)).peer()
    around = len(json.dumps({"OK": True, "Value": [""]}))
    text = "x" * (LIMITS.message - around)
    assert await peer.call(text) == {"OK": True, "Value": text}


async def test_handler_that_raises(serve) -> None:
    """A client of a handler that breaks its word is not left waiting."""

    async def fail(_call: Call) -> Outcome:
        raise RuntimeError("handlers never raise")

    served = await serve(handle=fail)
    peer = await served.peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    async with asyncio.timeout(0.5):
        await peer.rest()


# --- keep-alives


@ENCODINGS
async def test_ping_while_the_call_runs(serve, encoding: Encoding) -> None:
    """A ping is answered at once, though the method is not done, and the result follows."""
    task = Task()
    peer = await (await serve(handle=task)).peer(encoding=encoding)
    await peer.propose()
    peer.send(peer.s_ok([]) + keep_alive(peer, "a0", ping=True))
    pong = keep_alive(peer, "a0", ping=False)
    assert await peer.reader.readexactly(len(pong)) == pong
    await task.started.wait()
    peer.send(keep_alive(peer, "a1", ping=True))
    pong = keep_alive(peer, "a1", ping=False)
    assert await peer.reader.readexactly(len(pong)) == pong
    assert not task.ended.is_set()
    task.may_end.set()
    assert await peer.message() == {"OK": True, "Value": "done"}
    assert await peer.rest() == b""


@pytest.mark.parametrize("garbage", [b"garbage", b"99999999999:", frame(b"?"), bytes(100_000)], ids=len)
async def test_garbage_while_the_call_runs(
    serve, garbage: bytes, complaints: Callable[[], list[str]]
) -> None:
    """Nonsense from a client does not lose it the result of its call."""
    task = Task()
    peer = await (await serve(handle=task)).peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    await task.started.wait()
    peer.send(garbage)
    await asyncio.sleep(0.05)
    task.may_end.set()
    assert await peer.message() == {"OK": True, "Value": "done"}
    assert complaints() == []


async def test_pings_of_a_client_that_does_not_read(serve) -> None:
    """A client that pings and reads nothing is stopped before it has filled the server's memory."""
    task = Task()
    served = await serve(handle=task, answer_seconds=SOON)
    peer = await served.peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    await task.started.wait()
    ping = keep_alive(peer, "x" * 60_000, ping=True)
    try:
        with pytest.raises((TimeoutError, ConnectionError)):
            for _ in range(48 * MEGABYTE // len(ping)):
                peer.send(ping)
                await asyncio.wait_for(peer.writer.drain(), 1)
    finally:
        task.may_end.set()


# --- deadlines


def half(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


SILENCES: dict[str, Callable[[Any], bytes]] = {
    "nothing": lambda _peer: b"",
    "half a proposal": lambda peer: half(peer.proposal()),
    "no arguments": lambda peer: peer.proposal(),
    "half the arguments": lambda peer: peer.proposal() + half(peer.s_ok(["x" * 1000])),
    "a length": lambda _peer: b"50",
    "a ping": lambda peer: keep_alive(peer, "x", ping=True),
    "half a ping": lambda peer: half(keep_alive(peer, "x", ping=True)),
}


async def test_silence(serve, complaints: Callable[[], list[str]]) -> None:
    """Clients that stop in the middle of what they must say are cut off in time, and counted out."""
    served = await serve(message_seconds=SOON)

    async def cut_off_after(said: Callable[[Any], bytes]) -> float:
        peer = await served.peer()
        peer.send(said(peer))
        return await seconds(peer.rest())

    taken = dict(zip(SILENCES, await asyncio.gather(*map(cut_off_after, SILENCES.values())), strict=True))
    assert min(taken.values()) > 0.5 * SOON, taken
    assert max(taken.values()) < SOON + 3, taken
    await served.empty()
    assert served.calls == []
    assert complaints() == []


DRIBBLES: dict[str, Callable[[Any], list[bytes]]] = {
    "bytes": lambda peer: [bytes([byte]) for byte in peer.proposal()],
    "pings": lambda peer: [keep_alive(peer, "x", ping=True)] * 100,
}


@pytest.mark.parametrize("said", DRIBBLES.values(), ids=DRIBBLES)
async def test_dribbling(serve, said: Callable[[Any], list[bytes]]) -> None:
    """Neither single bytes nor pings put the deadline off."""
    served = await serve(message_seconds=SOON)
    peer = await served.peer()

    async def dribble() -> None:
        for piece in said(peer):
            peer.send(piece)
            await asyncio.sleep(0.05)

    dribbling = asyncio.create_task(dribble())
    assert 0.8 * SOON < await seconds(peer.rest()) < SOON + 3
    dribbling.cancel()


async def test_a_slow_method_has_no_deadline(serve) -> None:
    """A method may take longer than a message may."""

    async def slow(_call: Call) -> Outcome:
        await asyncio.sleep(2 * SOON)
        return Reply("done")

    peer = await (await serve(handle=slow, message_seconds=SOON, answer_seconds=SOON)).peer()
    assert await peer.call() == {"OK": True, "Value": "done"}


async def answer_megabytes(_call: Call) -> Outcome:
    """More than the kernel's buffers hold."""
    return Reply("x" * (12 * MEGABYTE))


async def test_a_reply_that_is_not_read(serve, complaints: Callable[[], list[str]]) -> None:
    """A client that does not read its reply is cut off in time, and counted out."""
    served = await serve(handle=answer_megabytes, answer_seconds=SOON)
    peer = await served.peer(receive_buffer=4096)
    await peer.propose()
    peer.send(peer.s_ok([]))
    assert 0.8 * SOON < await seconds(served.empty()) < SOON + 3
    assert len(await peer.rest()) < 12 * MEGABYTE
    assert complaints() == []


async def test_a_reply_that_is_read_slowly(serve) -> None:
    """A client has all of ``answer_seconds`` for its reply, however short a handshake must be."""
    served = await serve(handle=answer_megabytes, handshake_seconds=0.5, answer_seconds=20)
    peer = await served.peer(receive_buffer=4096)
    await peer.propose()
    peer.send(peer.s_ok([]))
    await asyncio.sleep(0.9)
    assert len(await peer.rest()) > 12 * MEGABYTE


async def test_a_client_that_stays(serve, complaints: Callable[[], list[str]]) -> None:
    """A client that has its reply and does not close is cut off in time."""
    served = await serve(answer_seconds=SOON)

    def call_and_stay() -> None:
        with served.connected() as connection:
            connection.sendall(frame(JENCODE.encode({"OK": True, "Value": PROPOSAL})))
            connection.sendall(frame(JENCODE.encode({"OK": True, "Value": ["x"]})))
            while connection.recv(65536):
                pass
            may_go.wait(10)

    may_go = threading.Event()
    staying = asyncio.create_task(asyncio.to_thread(call_and_stay))
    await served.until(lambda: bool(served.calls))
    try:
        assert await seconds(served.empty()) < SOON + 3
    finally:
        may_go.set()
        await staying
    assert complaints() == []


# --- ends


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves(serve, politely: bool, complaints: Callable[[], list[str]]) -> None:
    """A call goes on when its client leaves; its connection is counted out before."""
    task = Task()
    served = await serve(handle=task)
    peer = await served.peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    await task.started.wait()
    if politely:
        peer.writer.close()
    else:
        peer.leave()
    await served.empty()
    assert not task.ended.is_set()
    task.may_end.set()
    await asyncio.wait_for(task.ended.wait(), 5)
    assert complaints() == []


async def test_drain(serve) -> None:
    """Draining lets a running call end and its client read the reply, but does not wait for ever."""
    task = Task()
    served = await serve(handle=task)
    await asyncio.wait_for(served.door.drain(60), 1)  # nothing runs
    peer = await served.peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    await task.started.wait()
    assert await seconds(served.door.drain(0.1)) < 3
    assert not task.ended.is_set()
    asyncio.get_running_loop().call_later(0.05, task.may_end.set)
    await served.door.drain(10)
    assert task.ended.is_set()
    assert await peer.message() == {"OK": True, "Value": "done"}


@pytest.mark.parametrize("leaves", [False, True])
async def test_stop(serve, leaves: bool, complaints: Callable[[], list[str]]) -> None:
    """Who was acknowledged before a stop is answered, also if the arguments come after it; no one else is.

    A call whose client has left is the door's to wait for.
    """
    task = Task()
    served = await serve(handle=task)
    silent, halfway, acknowledged = [await served.peer() for _ in range(3)]
    halfway.send(half(halfway.proposal()))
    await acknowledged.propose()
    await served.until(lambda: served.open == 3)

    async def stop() -> None:
        await served.server.stop(60)
        await served.door.drain(60)

    stopping = asyncio.create_task(stop())
    assert await silent.rest() == await halfway.rest() == b""
    acknowledged.send(acknowledged.s_ok([]))
    await task.started.wait()
    if leaves:
        acknowledged.leave()
        await served.empty()
    assert not stopping.done()
    task.may_end.set()
    if not leaves:
        assert await acknowledged.message() == {"OK": True, "Value": "done"}
        acknowledged.leave()
    await asyncio.wait_for(stopping, 5)
    assert task.ended.is_set()
    assert complaints() == []


async def test_stop_is_bounded(serve) -> None:
    """A client that never says what it was acknowledged for is cut off."""
    served = await serve()
    peer = await served.peer()
    await peer.propose()
    assert await seconds(served.server.stop(0.1)) < 3
    assert await peer.rest() == b""
    assert served.calls == []


async def test_overhead(serve) -> None:
    """The hook is told the seconds of a call that the method did not take."""
    slept = 0.2

    async def slow(_call: Call) -> Outcome:
        await asyncio.sleep(slept)
        return Reply()

    served = await serve(handle=slow)

    async def call() -> None:
        await (await served.peer()).call()

    taken = await seconds(call())
    ((wire, overhead),) = served.overhead
    assert wire == "dips"
    assert 0 < overhead <= taken - 0.9 * slept
