"""Moves the file of a transfer between the client and where the backend says; in blocks, as each side can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Protocol, Self

from adaptor.conversation import Download, FileStep, RestFailure, Spool, Upload
from legacy_rpc.messages import Call, Incoming
from shared_db.rules.archives import Repacking
from shared_db.rules.sandboxes import Spooled


class Files(Protocol):
    """What reaches the disk here, and the store of the backend.  Raises RestFailure."""

    def spooled(self, incoming: Incoming, largest: int) -> AbstractAsyncContextManager[Spooled]:
        """What a client sends, on the disk while the block lasts.

        Raises Refusal for more than ``largest`` bytes.
        """

    async def upload(self, upload: Upload) -> None:
        """Send a file."""

    def download(self, url: str) -> AsyncIterator[bytes]:
        """What is at a URL, in blocks."""


class Mover:
    """What one conversation moves; ``moved``: the client has sent or got some bytes already."""

    def __init__(self, files: Files | None, call: Call) -> None:
        self._files = files
        self._call = call
        self._spooled = AsyncExitStack()
        self.moved = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._spooled.aclose()

    async def move(self, step: FileStep) -> Any:
        """Do one step; the answer of Spool is what was spooled."""
        if self._files is None:
            raise RestFailure(501, "files are not moved here", sent=False)
        match step:
            case Spool():
                incoming = self._call.incoming
                assert incoming is not None
                self.moved = True
                return await self._spooled.enter_async_context(self._files.spooled(incoming, step.largest))
            case Upload():
                await self._files.upload(step)
            case Download():
                await self._download(self._files, step)
        return None

    async def _download(self, files: Files, step: Download) -> None:
        repacking = step.repacking() if step.repacking else None
        async with aclosing(files.download(step.url)) as blocks:  # type: ignore[type-var]
            async for block in blocks:
                if repacking is None:
                    await self._give(block)
                else:
                    await self._repack(repacking, block)
        if repacking is not None:
            for piece in repacking.end():
                await self._give(piece)

    async def _repack(self, repacking: Repacking, block: bytes) -> None:
        pieces = repacking.feed(block)
        while piece := await asyncio.to_thread(next, pieces, b""):
            await self._give(piece)

    async def _give(self, data: bytes) -> None:
        outgoing = self._call.outgoing
        assert outgoing is not None
        self.moved = True
        await outgoing.send(data)
