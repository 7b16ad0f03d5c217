"""Long work in the loop: the same results as in one go, and everyone else gets their turn."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import pytest

from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.messages import Call, Outcome, Reply
from legacy_rpc.servers import gently

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)
ROWS = [[number, "Running", "LCG.Site.org", None, 1.5] for number in range(20_000)]


class Rounds:
    """Counts how often the loop comes round."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.create_task(self._go_round())

    async def _go_round(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    def end(self) -> int:
        """How many there were."""
        self._task.cancel()
        return self.count


def works(seconds: float) -> None:
    """Be busy."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


def pieces(name: str, log: list[str], count: int) -> Iterator[bytes]:
    """Pieces that take longer than a slice each."""
    for _ in range(count):
        works(2 * gently.SLICE_SECONDS)
        log.append(name)
        yield name.encode()


@ENCODINGS
async def test_large_value(encoding: Encoding) -> None:
    """A large value is encoded while the loop goes round, in the very bytes of one go."""
    rounds = Rounds()
    parts = await gently.encode({"OK": True, "Value": ROWS}, encoding)
    assert rounds.end() > 5
    assert b"".join(parts) == encoding.encode({"OK": True, "Value": ROWS})


@ENCODINGS
async def test_small_value(encoding: Encoding) -> None:
    """A small value is encoded at once, in one part: the loop does not come round."""
    working = gently.encode({"OK": True, "Value": ROWS[:10]}, encoding)
    with pytest.raises(StopIteration) as done:
        working.send(None)
    assert done.value.value == (encoding.encode({"OK": True, "Value": ROWS[:10]}),)


async def test_unsendable_value() -> None:
    """The error is that of one go, and later work has its turn."""
    for value in (object(), [*ROWS, object()]):
        with pytest.raises(TypeError, match="cannot encode object"):
            await gently.encode(value, JENCODE)
    assert await gently.encode(ROWS, DENCODE)


async def test_works_take_turns() -> None:
    """Several long works go on side by side, a slice of one at a time."""
    log: list[str] = []
    names = "abc"
    results = await asyncio.gather(*(gently.collected(pieces(name, log, 10)) for name in names))
    assert results == [[name.encode() * 10] for name in names]
    for start in range(0, 27, 3):
        assert sorted(log[start : start + 3]) == sorted(names)


async def test_small_pieces_are_joined() -> None:
    """Very many of them would take long to free; none is lost, and no part grows without end."""
    small = [b"%d," % number for number in range(100_000)]
    parts = await gently.collected(iter(small))
    assert b"".join(parts) == b"".join(small)
    assert max(map(len, parts)) < 2 * gently.CHUNK_BYTES
    assert len(parts) < 20


async def test_others_go_first() -> None:
    """Between two slices everyone else's work is done, as much as there is."""
    log: list[str] = []

    async def call() -> None:
        for _ in range(4):  # of its rounds
            works(0.0003)
            await asyncio.sleep(0)
        log.append("call")

    long = asyncio.create_task(gently.collected(pieces("long", log, 20)))
    await asyncio.sleep(0)
    for _ in range(3):
        await call()
    await long
    between = [len(list(group)) for name, group in itertools.groupby(log) if name == "long"]
    assert log.count("call") == 3
    assert max(between[1:-1], default=0) <= 2


async def test_busy_loop_does_not_starve_it() -> None:
    """Long work goes on where the loop is never idle."""
    busy = True

    async def keep_busy() -> None:
        while busy:
            works(0.0005)
            await asyncio.sleep(0)

    task = asyncio.create_task(keep_busy())
    log: list[str] = []
    async with asyncio.timeout(10):
        assert await gently.collected(pieces("long", log, 20)) == [b"long" * 20]
    busy = False
    await task


async def test_cancelled_work_gives_its_turn_back() -> None:
    """Work that is cancelled, while it has its turn or waits for it, is not waited for."""
    log: list[str] = []
    tasks = [asyncio.create_task(gently.collected(pieces("x", log, 1000))) for _ in range(3)]
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10):
        assert await gently.collected(pieces("y", log, 3)) == [b"yyy"]


async def test_checksum() -> None:
    """A checksum is that of all bytes."""
    data = bytes(range(256)) * 5000
    checksum = hashlib.md5(usedforsecurity=False)
    await gently.update(checksum, data)
    await gently.update(checksum, b"")
    assert checksum.hexdigest() == hashlib.md5(data, usedforsecurity=False).hexdigest()


# --- over a connection


@ENCODINGS
@pytest.mark.parametrize("value", [ROWS, "h\u00e9llo" * 1_000_000], ids=["rows", "text"])
async def test_large_reply(serve, encoding: Encoding, value: Any) -> None:
    """A large reply arrives whole, in one frame; a client that asks meanwhile has its own at once."""

    async def answer(call: Call) -> Outcome:
        return Reply(value if call.arguments else "small")

    served = await serve(handle=answer)
    large, small = await served.peer(encoding=encoding), await served.peer("bob")
    await large.propose()
    large.send(large.s_ok(["large"]))
    assert await small.call() == {"OK": True, "Value": "small"}
    assert await large.payload() == encoding.encode({"OK": True, "Value": value})
    assert await large.rest() == b""


async def test_large_reply_that_cannot_be_sent(serve) -> None:
    """A value that turns out unsendable at its end is an error, and nothing of it has been sent."""

    async def answer(_call: Call) -> Outcome:
        return Reply([*ROWS, object()])

    peer = await (await serve(handle=answer)).peer()
    assert (await peer.call())["Message"] == "The result cannot be sent: JEncode cannot encode object"


async def test_large_replies_are_not_all_in_memory(serve) -> None:
    """What a client does not read is not handed to the transport."""
    text = "x" * 20_000_000

    async def answer(_call: Call) -> Outcome:
        return Reply(text)

    protocols = []
    served = await serve(handle=answer)
    listen = served.listener._make
    served.listener._make = lambda *given: protocols.append(listen(*given)) or protocols[-1]
    peer = await served.peer(receive_buffer=4096)
    await peer.propose()
    peer.send(peer.s_ok([]))
    await served.until(lambda: protocols[0].is_full)
    assert protocols[0].transport.get_write_buffer_size() < 2_000_000
    assert len(await peer.payload()) > len(text)
    assert await peer.rest() == b""
