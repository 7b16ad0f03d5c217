"""File transfers over DISET on real connections, as clients see them, on both event loops."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from legacy_rpc.codecs.diset import KEEP_ALIVE, DisetLimits, frame
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.messages import Call, Failure, Outcome, Reply

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)
SOON = 0.25  # a limit that a test waits for
BLOCK = 1 << 20
S_OK_NONE = {"OK": True, "Value": None}
STOP = {"OK": True, "Value": None, "AbortTransfer": True}


def error(message: str) -> dict[str, Any]:
    """An S_ERROR without a number."""
    return {"OK": False, "Errno": 0, "Message": message}


def md5(data: bytes) -> str:
    """A file's checksum."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def begin(peer: Any, action: str, *information: Any) -> None:
    """Propose a transfer and have it accepted."""
    peer.send(peer.proposal(action, action="FileTransfer"))
    assert await peer.message() == S_OK_NONE
    peer.send(peer.s_ok(list(information)))
    assert await peer.message() == {"OK": True, "Value": "Accepted"}


async def say(peer: Any, *value: Any) -> dict[str, Any]:
    """Send a block, or the end; returns what is answered."""
    peer.send(peer.s_ok(list(value)))
    return dict(await peer.message())


async def last(peer: Any) -> dict[str, Any]:
    """The last word, after which the connection ends."""
    result = await peer.message()
    assert await peer.rest() == b""
    return dict(result)


class Receiver:
    """A method that receives a file; it takes a block whenever it may."""

    def __init__(self, blocks: int | None = None, then: Outcome | None = None) -> None:
        self.received: list[bytes] = []
        self.may_take = asyncio.Semaphore(1000)
        self.ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._blocks = blocks
        self._then = then

    async def __call__(self, call: Call) -> Outcome:
        assert call.incoming is not None
        assert call.outgoing is None
        try:
            outcome = self._then or Reply([call.incoming.size, list(call.arguments)])
            if self._blocks != 0:
                await self._receive(call.incoming.blocks())
        except Failure as failure:
            outcome = failure
        self.ended.set_result(outcome)
        return outcome

    async def _receive(self, blocks: AsyncIterator[bytes]) -> None:
        await self.may_take.acquire()
        async for block in blocks:
            self.received.append(block)
            if len(self.received) == self._blocks:
                return
            await self.may_take.acquire()


def sender(*blocks: bytes, then: Outcome | None = None) -> Callable[[Call], Awaitable[Outcome]]:
    """A method that sends a file."""

    async def send(call: Call) -> Outcome:
        assert call.outgoing is not None
        assert call.incoming is None
        try:
            for block in blocks:
                await call.outgoing.send(block)
        except Failure as failure:
            return failure
        return then or Reply("done")

    return send


# --- uploads


@ENCODINGS
async def test_upload(serve, encoding: Encoding, complaints: Callable[[], list[str]]) -> None:
    """Every block is answered, the method has all bytes, and its value is the last word."""
    receiver = Receiver()
    served = await serve(handle=receiver)
    peer = await served.peer(encoding=encoding)
    blocks = [b"first", bytes(range(256)) * 4096, b"x"]
    await begin(peer, "FromClient", "id", "token", 7)
    for block in blocks:
        assert await say(peer, True, block) == S_OK_NONE
    peer.send(peer.s_ok([False, md5(b"".join(blocks))]))
    assert await last(peer) == {"OK": True, "Value": [7, ["id", "token", 7]]}
    assert receiver.received == blocks
    (call,) = served.calls
    assert (call.method, call.service) == ("FileTransfer/FromClient", "Test/Echo")
    await served.empty()
    assert complaints() == []


async def test_empty_upload(serve) -> None:
    """An empty file is its end alone."""
    peer = await (await serve(handle=Receiver())).peer()
    await begin(peer, "BulkFromClient", "id", "")
    peer.send(peer.s_ok([False, md5(b"")]))
    assert (await last(peer))["Value"][0] == -1


async def test_upload_waits_for_the_method(serve) -> None:
    """A block is answered when the method asks for the next: no more than one is ever held."""
    receiver = Receiver()
    receiver.may_take = asyncio.Semaphore(1)
    peer = await (await serve(handle=receiver)).peer()
    await begin(peer, "FromClient", "id", "", 2)
    peer.send(peer.s_ok([True, b"a"]) + KEEP_ALIVE + peer.s_ok({"id": "1", "kaping": True}))
    pong = KEEP_ALIVE + peer.s_ok({"id": "1", "kaping": False})
    assert await peer.reader.readexactly(len(pong)) == pong  # comes first: the block is not answered
    receiver.may_take.release()
    assert await peer.message() == S_OK_NONE
    assert receiver.received == [b"a"]


@pytest.mark.parametrize("token", ["", "xNoCheckSumx"])
async def test_false_checksum(serve, token: str) -> None:
    """A file with another checksum is an error for method and client; the token may say otherwise."""
    receiver = Receiver()
    peer = await (await serve(handle=receiver)).peer()
    await begin(peer, "FromClient", "id", token, 1)
    await say(peer, True, b"x")
    peer.send(peer.s_ok([False, md5(b"y")]))
    result = await last(peer)
    assert result["OK"] is bool(token)
    assert isinstance(await receiver.ended, Failure) is not bool(token)
    if not token:
        assert result == error("Error in the file CRC")


async def test_false_checksum_that_the_method_ignores(serve) -> None:
    """A method cannot say that a file arrived which did not."""

    async def ignore(call: Call) -> Outcome:
        with suppress(Failure):
            async for _ in call.incoming.blocks():
                pass
        return Reply("fine")

    peer = await (await serve(handle=ignore)).peer()
    await begin(peer, "FromClient", "id", "", 1)
    peer.send(peer.s_ok([False, "no checksum"]))
    assert await last(peer) == error("Error in the file CRC")


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_upload_that_the_method_refuses(serve, taken: int) -> None:
    """The client sends until it hears; the last block it sends is answered by an abort, then the error."""
    peer = await (await serve(handle=Receiver(taken, Failure("too big", 7)))).peer()
    await begin(peer, "FromClient", "id", "", 3)
    for _ in range(taken - 1):
        assert await say(peer, True, b"x") == S_OK_NONE
    assert await say(peer, True, b"x") == STOP
    assert await last(peer) == {"OK": False, "Errno": 7, "Message": "too big"}


async def test_empty_upload_that_the_method_refuses(serve) -> None:
    """Without a block there is nothing to abort."""
    peer = await (await serve(handle=Receiver(0, Failure("too big")))).peer()
    await begin(peer, "FromClient", "id", "", 0)
    peer.send(peer.s_ok([False, md5(b"")]))
    assert await last(peer) == error("too big")


async def test_upload_that_is_not_read_to_its_end(serve) -> None:
    """A method that has read all bytes need not look for the end; one that has not is an error."""
    peer = await (await serve(handle=Receiver(1))).peer()
    await begin(peer, "FromClient", "id", "", 1)
    assert await say(peer, True, b"x") == S_OK_NONE
    peer.send(peer.s_ok([False, md5(b"x")]))
    assert (await last(peer))["OK"] is True

    peer = await (await serve(handle=Receiver(1))).peer()
    await begin(peer, "FromClient", "id", "", 2)
    assert await say(peer, True, b"x") == S_OK_NONE
    assert await say(peer, True, b"y") == STOP
    assert await last(peer) == error("Incomplete transfer")

    peer = await (await serve(handle=Receiver(1))).peer()
    await begin(peer, "FromClient", "id", "", 1)
    assert await say(peer, True, b"x") == S_OK_NONE
    peer.send(peer.s_ok([False, md5(b"y")]))
    assert await last(peer) == error("Error in the file CRC")


@pytest.mark.parametrize("action", ["FromClient", "BulkFromClient"])
async def test_announced_size(serve, action: str) -> None:
    """A size above the limit is refused before a byte of it is sent, and nothing is run."""
    served = await serve(limits=DisetLimits(transfer=100))
    peer = await served.peer()
    peer.send(peer.proposal(action, action="FileTransfer") + peer.s_ok(["id", "", 101]))
    assert await peer.message() == S_OK_NONE
    assert await last(peer) == error("A transfer of 101 bytes is larger than the limit of 100")
    assert served.calls == []


async def test_more_than_announced(serve) -> None:
    """The limit holds for what is sent, whatever was announced."""
    receiver = Receiver()
    peer = await (await serve(handle=receiver, limits=DisetLimits(transfer=100))).peer()
    await begin(peer, "FromClient", "id", "", 1)
    assert await say(peer, True, b"x" * 100) == S_OK_NONE
    assert await say(peer, True, b"x") == STOP
    assert await last(peer) == error("The transfer is larger than the limit of 100 bytes")
    assert receiver.received == [b"x" * 100]
    assert isinstance(await receiver.ended, Failure)


@ENCODINGS
async def test_client_that_ends_its_upload(serve, encoding: Encoding) -> None:
    """A client that says error, or abort, in place of a block has ended the method's reading."""
    for said, words, answers in (
        (error("my disk broke"), "my disk broke", 0),
        ({"OK": True, "Value": [False, ""], "AbortTransfer": True}, "The transfer was ended", 1),
    ):
        receiver = Receiver()
        peer = await (await serve(handle=receiver)).peer(encoding=encoding)
        await begin(peer, "FromClient", "id", "", 3)
        await say(peer, True, b"x")
        peer.send(frame(encoding.encode(said)))
        assert [await peer.message() for _ in range(answers)] == [S_OK_NONE] * answers
        assert words in (await last(peer))["Message"]
        assert isinstance(await receiver.ended, Failure)


@pytest.mark.parametrize("politely", [True, False])
async def test_client_that_leaves_its_upload(
    serve, politely: bool, complaints: Callable[[], list[str]]
) -> None:
    """The method is told, and the connection is counted out."""
    receiver = Receiver()
    served = await serve(handle=receiver)
    peer = await served.peer()
    await begin(peer, "FromClient", "id", "", 3)
    await say(peer, True, b"x")
    if politely:
        peer.writer.close()
    else:
        peer.leave()
    outcome = await asyncio.wait_for(receiver.ended, 10)
    assert isinstance(outcome, Failure)
    assert outcome.message == "The client has left"
    await served.empty()
    assert complaints() == []


@pytest.mark.parametrize("blocks", [0, 1])
async def test_silent_upload(serve, blocks: int) -> None:
    """A client that sends no block in time is cut off, and the method is told."""
    receiver = Receiver()
    served = await serve(handle=receiver, message_seconds=SOON)
    peer = await served.peer()
    await begin(peer, "FromClient", "id", "", 3)
    for _ in range(blocks):
        await say(peer, True, b"x")
    peer.send(peer.s_ok([True, b"x"])[:-3])
    assert isinstance(await asyncio.wait_for(receiver.ended, 10), Failure)
    assert await peer.rest() == b""
    await served.empty()


async def test_slow_method_has_no_deadline(serve) -> None:
    """The time for a block is the client's: a method may take longer over each."""
    receiver = Receiver()
    receiver.may_take = asyncio.Semaphore(0)
    peer = await (await serve(handle=receiver, message_seconds=SOON, answer_seconds=SOON)).peer()
    await begin(peer, "FromClient", "id", "", 1)
    peer.send(peer.s_ok([True, b"x"]))
    await asyncio.sleep(2 * SOON)
    receiver.may_take.release()
    receiver.may_take.release()
    assert await peer.message() == S_OK_NONE
    peer.send(peer.s_ok([False, md5(b"x")]))
    assert (await last(peer))["OK"] is True


@pytest.mark.parametrize(
    "nonsense", [b"garbage", frame(b"?"), b"99999999999:", frame(b'{"OK": true, "Value": 1}')]
)
async def test_nonsense_in_an_upload(serve, nonsense: bytes, complaints: Callable[[], list[str]]) -> None:
    """Nonsense gets a clear error, ends the method's reading and nobody else's connection."""
    receiver = Receiver()
    peer = await (await serve(handle=receiver)).peer()
    await begin(peer, "FromClient", "id", "", 1)
    peer.send(nonsense)
    assert (await last(peer))["OK"] is False
    assert isinstance(await asyncio.wait_for(receiver.ended, 10), Failure)
    assert complaints() == []


# --- downloads


async def receive(peer: Any) -> tuple[list[bytes], str]:
    """The blocks of a file, each of which is taken, and its checksum."""
    blocks = []
    while (said := (await peer.message())["Value"])[0]:
        block = said[1]
        blocks.append(block.encode("utf-8", "surrogateescape") if isinstance(block, str) else block)
        peer.send(peer.s_ok(None))
    return blocks, said[1]


@ENCODINGS
async def test_download(serve, encoding: Encoding) -> None:
    """A file comes in blocks of 1 MiB however the method sends it, then its checksum and the value."""
    data = bytes(range(256)) * 10_000
    sent = [data[:100], data[100:BLOCK], b"", data[BLOCK:]]
    peer = await (await serve(handle=sender(*sent))).peer(encoding=encoding)
    await begin(peer, "ToClient", "id", "")
    blocks, checksum = await receive(peer)
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, len(data) - 2 * BLOCK]
    assert b"".join(blocks) == data
    assert checksum == md5(data)
    assert await last(peer) == {"OK": True, "Value": "done"}


async def test_empty_download(serve) -> None:
    """An empty file is its checksum."""
    peer = await (await serve(handle=sender(b""))).peer()
    await begin(peer, "BulkToClient", "id", "")
    assert await receive(peer) == ([], md5(b""))
    assert await last(peer) == {"OK": True, "Value": "done"}


async def test_nothing_to_send(serve) -> None:
    """A method that sends nothing aborts; its value comes when the client has noted that."""
    peer = await (await serve(handle=sender())).peer()
    await begin(peer, "ToClient", "id", "")
    assert await peer.message() == {"OK": True, "Value": [False, ""], "AbortTransfer": True}
    peer.send(peer.s_ok(None))
    assert await last(peer) == {"OK": True, "Value": "done"}


async def test_download_that_fails(serve) -> None:
    """A method's error comes in place of the next block."""
    peer = await (await serve(handle=sender(then=Failure("unknown")))).peer()
    await begin(peer, "ToClient", "id", "")
    assert await last(peer) == error("unknown")
    peer = await (await serve(handle=sender(b"x" * BLOCK, b"y", then=Failure("broken")))).peer()
    await begin(peer, "ToClient", "id", "")
    assert (await peer.message())["Value"] == [True, b"x" * BLOCK]
    peer.send(peer.s_ok(None))
    assert await last(peer) == error("broken")


async def test_download_waits_for_the_client(serve) -> None:
    """The method is held until the client takes its blocks."""
    sent: list[int] = []

    async def handle(call: Call) -> Outcome:
        for number in range(4):
            await call.outgoing.send(bytes([number]) * BLOCK)
            sent.append(number)
        return Reply("done")

    served = await serve(handle=handle)
    peer = await served.peer()
    await begin(peer, "ToClient", "id", "")
    await peer.message()
    await served.until(lambda: sent == [0])
    await asyncio.sleep(0.05)
    assert sent == [0]
    peer.send(peer.s_ok(None))
    await peer.message()
    await served.until(lambda: sent == [0, 1])


@pytest.mark.parametrize("swallowed", [True, False])
@pytest.mark.parametrize(
    ("said", "words"),
    [(STOP, "The transfer was ended by the other side"), (error("Exceeded maximum file size"), "Exceeded")],
    ids=["abort", "error"],
)
async def test_client_that_wants_no_more(serve, said: dict[str, Any], words: str, swallowed: bool) -> None:
    """A client that says abort, or error, has ended the method's sending; success it is not."""
    failures: list[Failure] = []

    async def handle(call: Call) -> Outcome:
        try:
            for _ in range(3):
                await call.outgoing.send(b"x" * BLOCK)
        except Failure as failure:
            failures.append(failure)
            return Reply("fine") if swallowed else failure
        return Reply("all")

    peer = await (await serve(handle=handle)).peer()
    await begin(peer, "ToClient", "id", "")
    await peer.message()
    peer.send(frame(JENCODE.encode(said)))
    result = await last(peer)
    (failure,) = failures
    assert words in failure.message
    assert result["Message"] == ("Incomplete transfer" if swallowed else failure.message)


@pytest.mark.parametrize("reads", [True, False])
async def test_client_that_takes_no_block(serve, reads: bool, complaints: Callable[[], list[str]]) -> None:
    """A client that does not read its block, or does not say so, is cut off in time; the method is told."""
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    send = sender(*[b"x" * BLOCK] * 30)

    async def handle(call: Call) -> Outcome:
        ended.set_result(await send(call))
        return Reply()

    served = await serve(handle=handle, answer_seconds=SOON)
    peer = await served.peer(receive_buffer=4096)
    await begin(peer, "ToClient", "id", "")
    if reads:
        await peer.message()
    outcome = await asyncio.wait_for(ended, 10)
    assert isinstance(outcome, Failure)
    assert outcome.message == "The client has left"
    await served.empty()
    assert complaints() == []


async def test_pings_in_a_download(serve) -> None:
    """A ping that comes while a block is being sent is answered behind it, not in it."""
    data = bytes(range(256)) * (BLOCK // 256) * 3
    peer = await (await serve(handle=sender(data))).peer(receive_buffer=4096)
    ping = KEEP_ALIVE + peer.s_ok({"id": "p", "kaping": True})
    pong = KEEP_ALIVE + peer.s_ok({"id": "p", "kaping": False})
    await begin(peer, "ToClient", "id", "")
    block = peer.s_ok([True, data[:BLOCK]])
    assert await peer.reader.readexactly(1000) == block[:1000]
    peer.send(ping * 3)
    assert await peer.reader.readexactly(len(block) - 1000) == block[1000:]
    assert await peer.reader.readexactly(3 * len(pong)) == 3 * pong
    peer.send(peer.s_ok(None))
    more, checksum = await receive(peer)
    assert b"".join(more) == data[BLOCK:]
    assert checksum == md5(data)


async def test_taken_out_of_turn(serve) -> None:
    """A client that takes what was not sent has broken the protocol."""
    may_send = asyncio.Event()

    async def handle(call: Call) -> Outcome:
        await may_send.wait()
        await call.outgoing.send(b"x")
        return Reply("done")

    peer = await (await serve(handle=handle)).peer()
    await begin(peer, "ToClient", "id", "")
    peer.send(peer.s_ok(None))
    assert await last(peer) == error("In a transfer a message came out of turn")
    may_send.set()


# --- the others


async def test_list(serve) -> None:
    """A list is a value, without a file."""

    async def handle(call: Call) -> Outcome:
        assert (call.incoming, call.outgoing) == (None, None)
        return Reply([call.method, *call.arguments])

    peer = await (await serve(handle=handle)).peer()
    await begin(peer, "ListBulk", "id", "token")
    assert await last(peer) == {"OK": True, "Value": ["FileTransfer/ListBulk", "id", "token"]}


async def test_no_direction(serve) -> None:
    """A direction that does not exist is refused in place of the acceptance; nothing is run."""
    served = await serve()
    peer = await served.peer()
    await peer_refused(peer, "Sideways", "Service can't transfer files sideways")
    assert served.calls == []


async def peer_refused(peer: Any, action: str, words: str) -> None:
    """Propose a transfer that is refused after its information."""
    peer.send(peer.proposal(action, action="FileTransfer"))
    assert await peer.message() == S_OK_NONE
    peer.send(peer.s_ok(["id", ""]))
    assert await last(peer) == error(words)


# --- keep-alives of ours


def pings() -> Iterator[bytes]:
    """Our keep-alives."""
    number = 0
    while True:
        number += 1
        payload = JENCODE.encode({"OK": True, "Value": {"id": f"wherry-{number}", "kaping": True}})
        yield KEEP_ALIVE + frame(payload)


async def test_long_call_is_kept_alive(serve) -> None:
    """While a method runs its client hears of us, and the result comes behind; its pongs are no matter."""
    may_end = asyncio.Event()

    async def handle(_call: Call) -> Outcome:
        await may_end.wait()
        return Reply("done")

    peer = await (await serve(handle=handle, keep_alive_seconds=0.05)).peer()
    await peer.propose()
    peer.send(peer.s_ok([]))
    expected = pings()
    for _ in range(4):
        ping = next(expected)
        assert await asyncio.wait_for(peer.reader.readexactly(len(ping)), 10) == ping
        peer.send(ping.replace(b"true}", b"false}"))
    may_end.set()
    rest = await peer.rest()
    while rest.startswith(KEEP_ALIVE):
        rest = rest.removeprefix(next(expected))
    assert rest == peer.s_ok("done")


async def test_long_transfer_is_kept_alive(serve) -> None:
    """A client is not left alone while a method prepares its file."""
    may_send = asyncio.Event()

    async def handle(call: Call) -> Outcome:
        await may_send.wait()
        await call.outgoing.send(b"x")
        return Reply("done")

    peer = await (await serve(handle=handle, keep_alive_seconds=0.2)).peer()
    await begin(peer, "ToClient", "id", "")
    ping = next(pings())
    assert await asyncio.wait_for(peer.reader.readexactly(len(ping)), 10) == ping
    may_send.set()
    assert await receive(peer) == ([b"x"], md5(b"x"))


async def test_short_call_is_not_pinged(serve) -> None:
    """Clients that wait for less than the period hear nothing but their reply."""
    peer = await (await serve(keep_alive_seconds=5)).peer()
    assert await peer.call("x") == {"OK": True, "Value": "x"}
