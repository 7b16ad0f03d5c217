"""Long work in the event loop, in slices that let everyone else go first.

A large message is decoded, or encoded and sent, in pieces.  After about a quarter of a millisecond the loop
has its turn, and has it again as long as there is other work, up to a limit: the message gets done on a busy
server too.  All such work of a loop shares one turn: twenty large messages hold nobody up longer than
one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from legacy_rpc.codecs.encodings import Encoding
from legacy_rpc.codecs.pieces import encode_in_pieces, is_light
from legacy_rpc.codecs.steps import Steps
from legacy_rpc.servers.listener import SecureProtocol

T = TypeVar("T")

SLICE_SECONDS = 0.00025
# What TLS encrypts, or a checksum takes, in one go.
CHUNK_BYTES = 64 * 1024
HASHED_BYTES = 128 * 1024
# A round of the loop that took longer had something to do.
_IDLE_SECONDS = 0.0001
# How long others go first at a time.
_PATIENCE_SECONDS = 0.005

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Turns:
    """The turns of one long work.

    ``async with Turns() as turns``, and ``await turns.step()`` after every piece.
    """

    def __init__(self) -> None:
        self._lock = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        self._held = False
        self._until = 0.0

    async def __aenter__(self) -> Turns:
        """The first slice begins."""
        await self.resume()
        return self

    async def __aexit__(self, *_: object) -> None:
        """The work is done."""
        self.pause()

    async def step(self) -> None:
        """Go on at once, or when others have had their turn."""
        if perf_counter() < self._until:
            return
        await _others_first()
        self.pause()
        await self.resume()

    def pause(self) -> None:
        """Wait for something that is not ours to do: others may use the turn."""
        if self._held:
            self._held = False
            self._lock.release()

    async def resume(self) -> None:
        """A slice begins."""
        await self._lock.acquire()
        self._held = True
        self._until = perf_counter() + SLICE_SECONDS


async def _others_first() -> None:
    latest = perf_counter() + _PATIENCE_SECONDS
    while (started := perf_counter()) < latest:
        await asyncio.sleep(0)
        if perf_counter() - started < _IDLE_SECONDS:
            return


async def encode(value: Any, encoding: Encoding) -> Sequence[bytes]:
    """The bytes of ``encoding.encode(value)`` in one or more parts.

    A small value is encoded at once; a large one must not change meanwhile.  Raises what ``encode`` raises.
    """
    if is_light(value):
        return (encoding.encode(value),)
    return await collected(encode_in_pieces(value, encoding))


async def finished(work: Steps[T]) -> T:
    """What a work returns that yields after every piece; raises what it raises.

    Not in a thread: the loop would wait 5 ms for Python's lock, many times in one call, and JSON's decoder
    does not let go of it at all.
    """
    async with Turns() as turns:
        while True:
            try:
                next(work)
            except StopIteration as end:
                value: T = end.value
                return value
            await turns.step()


async def write(protocol: SecureProtocol, parts: Iterable[bytes]) -> bool:
    """Write all parts, as fast as the peer takes them; False when the connection ended before."""
    async with Turns() as turns:
        for chunk in _chunks(parts):
            if protocol.transport is None or protocol.transport.is_closing():
                return False
            protocol.transport.write(chunk)
            if protocol.is_full:
                turns.pause()
                await protocol.emptied()
                await turns.resume()
            await turns.step()
    return True


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of a bounded size."""
    small: list[bytes] = []
    size = 0
    for part in parts:
        small.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            whole = b"".join(small)
            for start in range(0, size, CHUNK_BYTES):
                yield whole[start : start + CHUNK_BYTES]
            small, size = [], 0
    if small:
        yield b"".join(small)


async def update(checksum: Any, data: bytes) -> None:
    """Feed a ``hashlib`` object."""
    async with Turns() as turns:
        for start in range(0, len(data), HASHED_BYTES):
            checksum.update(memoryview(data)[start : start + HASHED_BYTES])
            await turns.step()


async def collected(pieces: Iterator[bytes]) -> list[bytes]:
    """All pieces of work that takes long, joined to larger parts: to free very many takes long too."""
    parts: list[bytes] = []
    small: list[bytes] = []
    size = 0
    async with Turns() as turns:
        for piece in pieces:
            small.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                parts.append(b"".join(small))
                small, size = [], 0
            await turns.step()
    if small:
        parts.append(b"".join(small))
    return parts
