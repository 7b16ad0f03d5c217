"""The bytes of a DISET file transfer, as a method's handler sees them: read or sent block by block.

No more than one block is in memory on the way in, and two on the way out, however large the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from legacy_rpc.codecs import diset_blocks as blocks
from legacy_rpc.codecs.diset import ServerConversation
from legacy_rpc.codecs.diset_blocks import BLOCK_BYTES, Block, Ended, EndOfFile, Taken
from legacy_rpc.messages import Failure, Outcome, Reply
from legacy_rpc.servers import gently

Said = Block | EndOfFile | Taken | Ended


class Line(Protocol):
    """What a transfer needs of its connection."""

    @property
    def conversation(self) -> ServerConversation: ...

    def send(self, data: bytes) -> None:
        """Send something to which the client says nothing."""

    def ask(self, data: bytes, seconds: float) -> None:
        """Send something to which the client must say something within so many seconds."""

    async def ask_in_parts(self, parts: Sequence[bytes], seconds: float) -> None:
        """The same, as fast as the client reads."""

    async def said(self) -> Said:
        """What it says.  Raises Failure when the connection ends."""


class Incoming:
    """A file that the client sends."""

    def __init__(self, line: Line, information: Sequence[Any], largest: int, seconds: float) -> None:
        self.size = blocks.announced_size(information)
        self._line = line
        self._largest = largest
        self._seconds = seconds
        self._checked = blocks.is_checked(information)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._received = 0
        self._holding = False
        self._over = False
        self._failure: Failure | None = None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The file; a block is answered when the next one is asked for."""
        while (block := await self._next()) is not None:
            yield block

    async def finish(self, outcome: Outcome) -> Outcome:
        """What the client is to be told at last, once it listens.

        A handler need not read to the end of a file to have all its bytes, but must have had them all.
        """
        if not self._over:
            outcome = await (
                self._finish_reading(outcome) if isinstance(outcome, Reply) else self._stop(outcome)
            )
        return self._failure if isinstance(outcome, Reply) and self._failure else outcome

    async def _finish_reading(self, outcome: Outcome) -> Outcome:
        try:
            more = await self._next()
        except Failure as failure:
            outcome = failure
        else:
            if more is None:
                return outcome
            outcome = Failure("Incomplete transfer")
        return outcome if self._over else await self._stop(outcome)

    async def _stop(self, outcome: Outcome) -> Outcome:
        """Tell the client to send no more: it listens only after a block."""
        self._over = True
        if not self._holding:
            try:
                self._holding = isinstance(await self._line.said(), Block)
            except Failure as failure:
                return failure
        if self._holding:
            self._line.send(self._line.conversation.stop_sender())
        return outcome

    async def _next(self) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        if self._over:
            return None
        try:
            return await self._read()
        except Failure as failure:
            self._failure = failure
            raise

    async def _read(self) -> bytes | None:
        if self._holding:
            self._holding = False
            self._line.ask(self._line.conversation.take(), self._seconds)
        match await self._line.said():
            case Block(data):
                self._holding = True
                await self._count(data)
                return data
            case EndOfFile(checksum):
                self._over = True
                if self._checked and checksum != self._md5.hexdigest():
                    raise Failure("Error in the file CRC")
            case Ended(failure, politely):
                self._over = True
                if politely:
                    self._line.send(self._line.conversation.take_end())
                raise failure
        return None

    async def _count(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._largest:
            raise Failure(f"The transfer is larger than the limit of {self._largest} bytes")
        await gently.update(self._md5, data)


class Outgoing:
    """A file that the client receives."""

    def __init__(self, line: Line, seconds: float) -> None:
        self._line = line
        self._seconds = seconds
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._waiting = bytearray()
        self._begun = False
        self._untaken = False
        self._failure: Failure | None = None

    async def send(self, data: bytes) -> None:
        """Send some bytes, in blocks as large as can be; an empty ``data`` makes at least an empty file."""
        self._begun = True
        rest = memoryview(data)
        while rest:
            room = BLOCK_BYTES - len(self._waiting)
            self._waiting += rest[:room]
            rest = rest[room:]
            if len(self._waiting) == BLOCK_BYTES:
                await self._send_waiting()
        if self._failure is not None:
            raise self._failure

    async def finish(self, outcome: Outcome) -> Outcome:
        """What the client is to be told at last, once it listens.

        A handler that sent nothing had nothing to send.  An error is told in place of a block.
        """
        try:
            if isinstance(outcome, Failure):
                await self._taken()
            elif self._failure is not None:
                return Failure("Incomplete transfer")
            elif self._begun:
                await self._end()
            else:
                self._untaken = True
                self._line.ask(self._line.conversation.nothing_to_send(), self._seconds)
                await self._taken()
        except Failure as failure:
            return outcome if isinstance(outcome, Failure) else failure
        return outcome

    async def _end(self) -> None:
        if self._waiting:
            await self._send_waiting()
        await self._taken()
        self._line.send(self._line.conversation.end_of_file(self._md5.hexdigest()))

    async def _send_waiting(self) -> None:
        """Send a block once the last one is taken."""
        block = bytes(self._waiting)
        self._waiting.clear()
        await self._taken()
        await gently.update(self._md5, block)
        parts = await gently.collected(self._line.conversation.block(block))
        self._untaken = True
        await self._line.ask_in_parts(self._line.conversation.send_block(parts), self._seconds)

    async def _taken(self) -> None:
        """Wait until the client has what was sent.  Raises Failure if it wants no more."""
        if self._failure is not None:
            raise self._failure
        if not self._untaken:
            return
        self._untaken = False
        try:
            match await self._line.said():
                case Ended(failure):
                    raise failure
        except Failure as failure:
            self._failure = failure
            raise
