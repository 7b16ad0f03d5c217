"""What every server shell is given: who may come in, what answers, who is behind a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Any

from legacy_rpc.credentials import ChainCache
from legacy_rpc.messages import (
    FILE_TRANSFER,
    AnyCredential,
    Call,
    Credential,
    Errno,
    Failure,
    Identity,
    Outcome,
    PeerError,
    Proposal,
    Reply,
    TokenCredential,
)
from legacy_rpc.servers.listener import Gate
from legacy_rpc.servers.tls import verified_chain

logger = logging.getLogger(__name__)

Admit = Callable[[Proposal, AnyCredential | None], Identity]
Handle = Callable[[Call], Awaitable[Outcome]]
VerifyToken = Callable[[str], TokenCredential]
OverheadHook = Callable[[str, float], None]

# The names of transfers on wires that have only calls, as DIRAC's HTTPS services have them (sheet, 6).
STREAMS = {"streamToClient": "ToClient", "streamFromClient": "FromClient"}
# The largest message of a caller who has not shown who it is: as large as a proposal on DISET.
ANONYMOUS_BYTES = 64 * 1024
BLOCK_BYTES = 1024 * 1024
LARGEST_FILE = 16 * BLOCK_BYTES


def _no_tokens(_text: str) -> TokenCredential:
    raise Failure.of(Errno.ENOAUTH, "This server takes no tokens")


@dataclass
class Door:
    """What the connections of every wire share.

    ``admit`` says who calls, or raises Failure; ``handle`` answers, and raises nothing.  ``verify_token``
    raises Failure for a token that proves nothing.  ``largest_file`` (bytes): what ``ask`` holds in memory.
    ``overhead`` is told the wire and the seconds from a request's (on DISET: a connection's) beginning to its
    reply, less those of ``handle``.
    """

    admit: Admit
    handle: Handle
    gate: Gate
    verify_token: VerifyToken = _no_tokens
    overhead: OverheadHook = lambda _wire, _seconds: None
    largest_file: int = LARGEST_FILE
    chains: ChainCache = dataclass_field(default_factory=ChainCache)
    _running: set[asyncio.Task[None]] = dataclass_field(default_factory=set)

    def credential(self, ssl_object: Any) -> Credential | None:
        """What the peer's certificates prove; None if it showed none.

        Raises PeerError when they cannot be read, have expired or were revoked, and says so in the log: ask
        again for every call of a connection that is kept open.
        """
        chain = verified_chain(ssl_object)
        try:
            return self.chains.get(chain) if chain else None
        except PeerError as error:
            logger.info("a caller is refused: %s", error)
            raise

    def caller(self, ssl_object: Any, authorization: str | None) -> AnyCredential | None:
        """What a request proves by its ``Authorization: Bearer`` header, or else by the certificates.

        Raises PeerError as ``credential``; Failure (ENOAUTH) for another scheme or a token that proves
        nothing.
        """
        if authorization is None:
            return self.credential(ssl_object)
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Failure.of(Errno.ENOAUTH, "The Authorization header must be: Bearer TOKEN")
        return self.verify_token(token.strip())

    async def ask(
        self,
        proposal: Proposal,
        credential: AnyCredential | None,
        arguments: Sequence[Any],
        deadline: float | None = None,
    ) -> Outcome:
        """Admit and answer in one step, for wires without an acknowledgement.  Raises nothing.

        ``streamToClient`` gives the file as bytes; ``streamFromClient(fileID, token, size, data)`` takes it:
        these wires hold a file in memory, within their limit on messages.
        """
        try:
            direction = STREAMS.get(proposal.method)
            if direction is None:
                return await self._call(proposal, credential, arguments, deadline=deadline)
            proposal = replace(proposal, action=FILE_TRANSFER, method=direction)
            if direction == "ToClient":
                return await self._download(proposal, credential, arguments)
            return await self._upload(proposal, credential, arguments)
        except Failure as refusal:
            return refusal

    async def _call(
        self, proposal: Proposal, credential: AnyCredential | None, arguments: Sequence[Any], **more: Any
    ) -> Outcome:
        return await self.handle(proposal.call(arguments, self.admit(proposal, credential), **more))

    async def _download(
        self, proposal: Proposal, credential: AnyCredential | None, arguments: Sequence[Any]
    ) -> Outcome:
        file = FileInMemory(largest=self.largest_file)
        return file.answer(await self._call(proposal, credential, arguments, outgoing=file))

    async def _upload(
        self, proposal: Proposal, credential: AnyCredential | None, arguments: Sequence[Any]
    ) -> Outcome:
        if len(arguments) != 4:
            raise Failure("streamFromClient takes fileID, token, size and data")
        data = arguments[3]
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        if not isinstance(content, bytes):
            raise Failure("streamFromClient: data must be bytes")
        file = FileInMemory(bytearray(content))
        return await self._call(proposal, credential, arguments[:3], incoming=file)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the answering of a call: it goes on when its client leaves, as in DIRAC."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def drain(self, seconds: float) -> None:
        """Let calls that are running end, for so long; also those that begin meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait(self._running)


class FileInMemory:
    """A transfer's bytes where the wire carries them in one message: both Incoming and Outgoing.

    ``largest`` is how many bytes a message carries.
    """

    def __init__(self, content: bytearray | None = None, largest: int = LARGEST_FILE) -> None:
        self.content = bytearray() if content is None else content
        self._largest = largest

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return len(self.content)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The content."""
        for start in range(0, len(self.content), BLOCK_BYTES):
            yield bytes(self.content[start : start + BLOCK_BYTES])

    async def send(self, data: bytes) -> None:
        """Add to the content.  Raises Failure when it becomes too large."""
        if len(self.content) + len(data) > self._largest:
            raise Failure(
                f"The file is larger than {self._largest} bytes, the most that a message carries here:"
                " fetch it by DISET, or by HTTPS with rawContent=True"
            )
        self.content += data

    def answer(self, outcome: Outcome) -> Outcome:
        """What the caller of a download gets: the file, or where none was sent what the method answered."""
        return Reply(bytes(self.content)) if isinstance(outcome, Reply) and self.content else outcome
