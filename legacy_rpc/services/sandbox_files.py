"""What native handlers need of the store of sandboxes, which both sides share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from legacy_rpc.messages import Incoming
from shared_db.rules.sandboxes import Spooled


class SandboxFiles(Protocol):
    """The store of sandboxes, which both sides share; ``largest`` is how many bytes one may have.

    Everything raises Failure where the store cannot be used.
    """

    @property
    def bucket(self) -> str: ...

    @property
    def storage_element(self) -> str: ...

    @property
    def largest(self) -> int: ...

    def spooled(self, incoming: Incoming, largest: int) -> AbstractAsyncContextManager[Spooled]:
        """What a client sends, on the disk while the block lasts.

        Raises Refusal for more than ``largest`` bytes.
        """

    async def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""

    async def put(self, name: str, file: Path) -> None:
        """Store a copy of a file."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """A file in blocks.  Raises Refusal where there is none."""

    async def space(self) -> tuple[int, int] | None:
        """Free and total bytes of the disk; None where there is no such disk."""
