"""A DISET client: one call or transfer, one connection, as DIRAC's own clients do."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack
from urllib.parse import urlsplit

from legacy_rpc.codecs import diset_blocks as blocks
from legacy_rpc.codecs.diset import ClientConversation, DisetLimits
from legacy_rpc.codecs.diset_blocks import BLOCK_BYTES, Block, Ended, EndOfFile, Taken
from legacy_rpc.codecs.diset_transfer import Accepted, ClientTransfer, Say
from legacy_rpc.codecs.encodings import JENCODE, Encoding
from legacy_rpc.messages import FILE_TRANSFER, RPC, Failure, PeerError, Proposal
from legacy_rpc.servers import gently

READ_BYTES = 256 * 1024
# For a connection, TLS included, as DIRAC's clients have it.
CONNECT_SECONDS = 10.0
SCHEMES = {"dips": True, "dip": False}

Source = BinaryIO | AsyncIterable[bytes]
Sink = BinaryIO | Callable[[bytes], Awaitable[None]]


class CallError(Exception):
    """The call could not be made or was not answered; the text says what to mend.

    ``sent``: the server may have had the arguments, and may have acted on them.
    """

    def __init__(self, problem: str, *, sent: bool = False) -> None:
        super().__init__(problem)
        self.sent = sent


class Disconnected(CallError):
    """A connection that was kept has ended, and nothing came."""


class Said(TypedDict, total=False):
    """What a client says beside a call; the rest is as DIRAC 9 clients without a configuration say it.

    ``extra_credentials`` is ``hosts``, a group, or the (DN, group) that a trusted host calls for.
    """

    client_version: str
    extra_credentials: Any
    setup: str
    vo: str


def proposed(service: str, action: str, method: str, said: Said) -> Proposal:
    """What a client proposes to a service."""
    return Proposal(
        service,
        action,
        method,
        extra_credentials=said.get("extra_credentials", ""),
        client_version=said.get("client_version", ""),
        setup=said.get("setup", "None"),
        vo=said.get("vo", "unknown"),
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is: ``dips://host:port/System/Component``; with ``dip`` it is not ``secure``."""

    host: str
    port: int
    service: str
    secure: bool = True

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Raises CallError for anything but a ``dips`` or ``dip`` URL with host, port and service."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise CallError(f"{url}: {error}") from error
        service = parts.path.strip("/")
        if parts.scheme not in SCHEMES or not parts.hostname or not port or not service:
            raise CallError(f"{url}: a service's URL has the form dips://HOST:PORT/System/Component")
        return cls(parts.hostname, port, service, SCHEMES[parts.scheme])

    @property
    def where(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def proposal(self, action: str, method: str, **said: Unpack[Said]) -> Proposal:
        """What is proposed to the service."""
        return proposed(self.service, action, method, said)


def client_tls(credentials: Path | None, ca_path: Path, key: Path | None = None) -> ssl.SSLContext:
    """A context that shows a proxy (or a certificate with its key) and checks the server by a CA directory.

    With ``credentials`` None it shows nothing: the caller has a token, or is anonymous.  Raises CallError
    naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ca_path.is_dir():
        raise CallError(f"{ca_path}: no CA directory: name one with --ca-path or X509_CERT_DIR")
    context.load_verify_locations(capath=str(ca_path))
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    if credentials is None:
        return context
    try:
        context.load_cert_chain(str(credentials), str(key or credentials))
    except (OSError, ssl.SSLError) as error:
        raise CallError(
            f"{credentials}: no usable proxy ({error}): name one with --proxy or X509_USER_PROXY"
        ) from error
    return context


async def call(
    endpoint: Endpoint,
    method: str,
    arguments: Sequence[Any],
    tls: ssl.SSLContext | None,
    *,
    encoding: Encoding = JENCODE,
    limits: DisetLimits | None = None,
    seconds: float = 600.0,
    **said: Unpack[Said],
) -> dict[str, Any]:
    """The server's ``S_OK`` or ``S_ERROR`` dictionary.  Raises CallError when there is none.

    A ``dip`` service is called without ``tls``.  Raises what ``encoding`` raises for arguments that it cannot
    carry, before anything is sent.
    """
    encoded = await gently.encode({"OK": True, "Value": list(arguments)}, encoding)
    proposal = endpoint.proposal(RPC, method, **said)
    conversation = ClientConversation(proposal, arguments, encoding, limits, encoded=encoded)
    try:
        async with _talking(endpoint, seconds):
            return await _result(endpoint, tls, conversation)
    except CallError as error:
        error.sent = conversation.acknowledged
        raise


async def _result(
    endpoint: Endpoint, tls: ssl.SSLContext | None, conversation: ClientConversation
) -> dict[str, Any]:
    reader, writer = await _open(endpoint, tls)
    try:
        writer.write(conversation.start())
        while conversation.result is None:
            writer.write(conversation.feed(await _read(endpoint, reader)))
            if conversation.unread:
                return await gently.finished(conversation.result_in_pieces())
        return conversation.result
    finally:
        writer.transport.abort()


async def upload(
    endpoint: Endpoint,
    action: str,
    information: Sequence[Any],
    source: Source,
    tls: ssl.SSLContext | None,
    *,
    encoding: Encoding = JENCODE,
    limits: DisetLimits | None = None,
    seconds: float = 600.0,
    **said: Unpack[Said],
) -> dict[str, Any]:
    """Send a file, or with ``BulkFromClient`` a tar stream: what the server said at last.

    ``information`` is ``[fileId, token, size]``.  The ``source`` is read no faster than the server takes its
    blocks; what it raises ends the transfer.  ``seconds`` are those of each step of the server's.  Raises
    CallError.
    """
    proposal = endpoint.proposal(FILE_TRANSFER, action, **said)
    async with _transferring(endpoint, tls, seconds, proposal, information, encoding, limits) as line:
        md5 = hashlib.md5(usedforsecurity=False)
        if await line.heard() == Accepted():
            async for block in _blocks(source):
                await gently.update(md5, block)
                await line.send_block(block)
                if not isinstance(await line.heard(), Taken):
                    break
            else:
                line.send(line.conversation.end_of_file(md5.hexdigest()))
        return await line.result()


async def download(
    endpoint: Endpoint,
    action: str,
    information: Sequence[Any],
    sink: Sink,
    tls: ssl.SSLContext | None,
    *,
    encoding: Encoding = JENCODE,
    limits: DisetLimits | None = None,
    seconds: float = 600.0,
    **said: Unpack[Said],
) -> dict[str, Any]:
    """Receive a file, or with ``BulkToClient`` a tar stream: what the server said at last.

    ``information`` is ``[fileId, token]``.  The ``sink`` is written to, or awaited with, every block before
    the next is asked for, and with ``b""`` for an empty file; what it raises ends the transfer.  A file with
    another checksum than the server says is an ``S_ERROR``, as for DIRAC's clients.  ``seconds`` as in
    ``upload``.  Raises CallError.
    """
    proposal = endpoint.proposal(FILE_TRANSFER, action, **said)
    async with _transferring(endpoint, tls, seconds, proposal, information, encoding, limits) as line:
        md5 = hashlib.md5(usedforsecurity=False)
        intact, empty = True, True
        while (event := await line.heard()) is not None:
            match event:
                case Block(data):
                    empty = False
                    await gently.update(md5, data)
                    await _give(sink, data)
                    line.send(line.conversation.take())
                case EndOfFile(checksum):
                    if empty:  # which is another thing than no file
                        await _give(sink, b"")
                    intact = checksum == md5.hexdigest() or not blocks.is_checked(information)
                case Ended():
                    line.send(line.conversation.take())
        result = await line.result()
    return result if intact else Failure("Error in the file CRC").as_result()


async def list_bulk(
    endpoint: Endpoint,
    information: Sequence[Any],
    tls: ssl.SSLContext | None,
    *,
    encoding: Encoding = JENCODE,
    limits: DisetLimits | None = None,
    seconds: float = 600.0,
    **said: Unpack[Said],
) -> dict[str, Any]:
    """The names of the files in a bulk; ``information`` is ``[bulkId, token]``.  Raises CallError."""
    proposal = endpoint.proposal(FILE_TRANSFER, blocks.LISTING, **said)
    async with _transferring(endpoint, tls, seconds, proposal, information, encoding, limits) as line:
        return await line.result()


# --- files


async def _blocks(source: Source) -> AsyncIterator[bytes]:
    """What a source has, in blocks that may be sent."""
    if isinstance(source, AsyncIterable):
        async for data in source:
            for start in range(0, len(data), BLOCK_BYTES):
                yield data[start : start + BLOCK_BYTES]
    else:
        while block := await asyncio.to_thread(source.read, BLOCK_BYTES):
            yield block


async def _give(sink: Sink, data: bytes) -> None:
    if callable(sink):
        await sink(data)
    else:
        await asyncio.to_thread(sink.write, data)


# --- connections


@asynccontextmanager
async def _talking(endpoint: Endpoint, seconds: float) -> AsyncIterator[None]:
    """Whatever goes wrong between us and the server is a CallError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise CallError(f"{endpoint.where} did not answer within {seconds:g} s") from error
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError
        raise CallError(f"{endpoint.where} cannot be called: {error}") from error
    except PeerError as error:
        raise CallError(f"{endpoint.where} answered nonsense: {error}") from error


async def _open(
    endpoint: Endpoint, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if endpoint.secure and tls is None:
        raise CallError(f"{endpoint.where} cannot be called: dips needs a proxy and a CA directory")
    context = tls if endpoint.secure else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    except TimeoutError as error:
        raise CallError(f"{endpoint.where} took no connection within {CONNECT_SECONDS:g} s") from error
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reader, writer


async def _read(endpoint: Endpoint, reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(READ_BYTES)
    if not data:
        raise CallError(f"{endpoint.where} closed the connection without an answer")
    return data


class _Line:
    """A transfer's connection; each step has so many seconds."""

    def __init__(
        self,
        endpoint: Endpoint,
        seconds: float,
        conversation: ClientTransfer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        self._reader = reader
        self._writer = writer
        self.conversation = conversation

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def send_block(self, block: bytes) -> None:
        parts = await gently.collected(self.conversation.block(block))
        async with _talking(self._endpoint, self._seconds):
            async with gently.Turns() as turns:
                for part in self.conversation.send_block(parts):
                    self.send(part)
                    await turns.step()
            await self._writer.drain()

    async def heard(self) -> Accepted | Block | EndOfFile | Taken | Ended | None:
        """What the server says next; None: the result."""
        async with _talking(self._endpoint, self._seconds):
            while True:
                match self.conversation.next_event():
                    case Say(data):
                        self.send(data)
                    case None if self.conversation.result is None:
                        self.conversation.feed(await _read(self._endpoint, self._reader))
                    case event:
                        return event

    async def result(self) -> dict[str, Any]:
        while self.conversation.result is None:
            await self.heard()
        return self.conversation.result


@asynccontextmanager
async def _transferring(
    endpoint: Endpoint,
    tls: ssl.SSLContext | None,
    seconds: float,
    proposal: Proposal,
    information: Sequence[Any],
    encoding: Encoding,
    limits: DisetLimits | None,
) -> AsyncIterator[_Line]:
    async with _talking(endpoint, seconds):
        reader, writer = await _open(endpoint, tls)
    conversation = ClientTransfer(proposal, information, encoding, limits)
    line = _Line(endpoint, seconds, conversation, reader, writer)
    try:
        line.send(conversation.start())
        yield line
    except CallError as error:
        error.sent = conversation.acknowledged
        raise
    finally:
        writer.transport.abort()
