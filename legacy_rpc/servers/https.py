"""DIRAC's JSON over HTTPS: what its forms and answers are to the HTTP shell."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

from legacy_rpc.authorisation import ANONYMOUS
from legacy_rpc.codecs.dirac_https import (
    DOWNLOAD,
    MULTIPART,
    UPLOAD,
    URLENCODED,
    HttpsLimits,
    Question,
    TooLarge,
    UploadReader,
    read_form,
    read_question,
)
from legacy_rpc.codecs.encodings import JENCODE_PLAIN
from legacy_rpc.messages import (
    FILE_TRANSFER,
    AnyCredential,
    Credential,
    Errno,
    Failure,
    Identity,
    Outcome,
    PeerError,
    Proposal,
    Reply,
)
from legacy_rpc.servers import gently
from legacy_rpc.servers.door import BLOCK_BYTES, STREAMS, Door, FileInMemory
from legacy_rpc.servers.http import CHALLENGE, TEXT, Exchange, HttpRefusal, HttpReply

JSON = "application/json"
# A client of `requests` reads a file's body as text before it stores its bytes; without a character set it
# would try every one that it knows.
BYTES = "application/octet-stream; charset=latin-1"

# The status of a failure in place of a file: its client looks at nothing else before it stores the body.
NO_FILE, NO_FILES_HERE = 500, 501
# DIRAC's HTTPS services say who somebody is only to somebody.
WHOAMI = "whoami"
# How many characters of a User-Agent are kept as the client's version.
USER_AGENT = 64
# Of files that are larger than a message; each may be as large as a transfer.
UPLOADS_PER_CALLER = 4


class DiracHttps:
    """The wire of DIRAC's TornadoClient."""

    name = "https"
    media_types = (URLENCODED, MULTIPART)

    def __init__(self, door: Door, limits: HttpsLimits) -> None:
        self._door = door
        self._limits = limits
        self._uploads: Counter[str] = Counter()

    def refuse(self, status: int, problem: str) -> HttpReply:
        """A text, which clients show behind the status."""
        return HttpReply(problem.encode(), TEXT, status)

    async def answer(self, exchange: Exchange) -> HttpReply | None:
        """Answer one form."""
        _refuse_web_pages(exchange)
        try:
            received = await self._receive(exchange)
        except TooLarge as error:
            raise HttpRefusal(413, str(error), close=True) from error
        except PeerError as error:
            raise HttpRefusal(400, str(error)) from error
        try:
            return await self._answer(exchange, received)
        except PeerError as error:
            raise HttpRefusal(400, str(error)) from error
        finally:
            if received.file is not None:
                received.file.close()

    # --- requests

    async def _receive(self, exchange: Exchange) -> _Received:
        """The form, whole; a file in it is on disk."""
        chunks: list[bytes] = []
        size = 0
        # Whether it is an upload need not be found out first where the length says it.
        upload = (exchange.length or 0) > self._limits.message
        async with aclosing(exchange.chunks(self._limits.body, self._limits.message)) as body:
            if not upload:
                async for chunk in body:
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._limits.message:
                        upload = True
                        break
            if upload:
                return await self._receive_upload(exchange, chunks, body)
        form = read_form(b"".join(chunks), exchange.headers.get("Content-Type", ""))
        return _Received(self._question(exchange, form))

    async def _receive_upload(
        self, exchange: Exchange, chunks: Sequence[bytes], body: AsyncIterator[bytes]
    ) -> _Received:
        """A form that is larger than a message: only a file may be, and only of someone who has a name."""
        if exchange.content_type != URLENCODED:
            raise TooLarge(f"A call is larger than the limit of {self._limits.message} bytes")
        if exchange.credential is None:
            raise HttpRefusal(401, "A file is taken from a known caller only", close=True)
        reader, file = UploadReader(self._limits), SpooledFile()
        try:
            file.when_closed = self._begin_upload(exchange.credential)
            for chunk in chunks:
                await file.append(reader.feed(chunk))
                await asyncio.sleep(0)
            async for chunk in body:
                await file.append(reader.feed(chunk))
            form, arguments, short = reader.end()
            await file.append(short)
            return _Received(self._question(exchange, form), arguments, file)
        except BaseException:
            file.close()
            raise

    def _begin_upload(self, credential: AnyCredential) -> Callable[[], None]:
        """Count a file in; what is returned counts it out.

        Who may send it turns out behind it in the form, so that all who have a certificate get so far.
        """
        caller = credential.dn if isinstance(credential, Credential) else credential.username
        if self._uploads[caller] >= UPLOADS_PER_CALLER:
            problem = f"{UPLOADS_PER_CALLER} of your files are being taken: wait for one to end"
            raise HttpRefusal(429, problem, close=True)
        self._uploads[caller] += 1
        return partial(self._end_upload, caller)

    def _end_upload(self, caller: str) -> None:
        self._uploads[caller] -= 1
        if not self._uploads[caller]:
            del self._uploads[caller]

    def _question(self, exchange: Exchange, form: Any) -> Question:
        client = exchange.headers.get("User-Agent", "")[:USER_AGENT]
        return read_question(exchange.path, form, wire=self.name, peer=exchange.peer, client_version=client)

    # --- answers

    async def _answer(self, exchange: Exchange, received: _Received) -> HttpReply | None:
        question = received.question
        direction = STREAMS.get(question.proposal.method)
        proposal = question.proposal
        if direction is not None:
            proposal = replace(proposal, action=FILE_TRANSFER, method=direction)
        try:
            identity = self._door.admit(proposal, exchange.credential)
        except Failure as failure:
            return self._not_admitted(failure)
        if proposal.method == WHOAMI and identity.kind == ANONYMOUS:
            raise HttpRefusal(401, "whoami is answered to known callers only", CHALLENGE)
        arguments = received.arguments
        if arguments is None:
            arguments = await gently.finished(question.arguments_in_pieces(self._limits.depth))
        if question.proposal.method == DOWNLOAD:
            return await self._download(exchange, question, proposal, identity, arguments)
        if question.proposal.method == UPLOAD:
            try:
                file = received.file or _file_in(arguments)
            except Failure as failure:
                return await _reply(failure)
            call = proposal.call(arguments[:3], identity, incoming=file)
        else:
            call = proposal.call(arguments, identity)
        return await _reply(await exchange.asking(self._door.handle(call)))

    def _not_admitted(self, failure: Failure) -> HttpReply:
        """DIRAC's services have a status for who may not, and its clients have words for it."""
        if failure.errno == Errno.ENOAUTH:
            return replace(self.refuse(401, failure.message), headers=CHALLENGE)
        return self.refuse(404, failure.message)  # there is no such service

    async def _download(
        self,
        exchange: Exchange,
        question: Question,
        proposal: Proposal,
        identity: Identity,
        arguments: Sequence[Any],
    ) -> HttpReply | None:
        if not question.raw:
            file = FileInMemory(largest=self._limits.message)
            call = proposal.call(arguments, identity, outgoing=file)
            return await _reply(file.answer(await exchange.asking(self._door.handle(call))))
        call = proposal.call(arguments, identity, outgoing=exchange.stream(BYTES))
        outcome = await exchange.asking(self._door.handle(call))
        if isinstance(outcome, Reply):
            return None
        status = NO_FILES_HERE if outcome.reason == "unknown-method" else NO_FILE
        return self.refuse(status, outcome.message)


def _refuse_web_pages(exchange: Exchange) -> None:
    """Raise HttpRefusal for what a browser may have sent for any page, without asking its user.

    A form needs no consent, and the user's certificate goes with it.  A token the page must have.
    """
    if "Origin" in exchange.headers and isinstance(exchange.credential, Credential):
        raise HttpRefusal(
            403, "A web page calls with a token, not with its visitor's certificate", close=True
        )


@dataclass(frozen=True, slots=True)
class _Received:
    """A form; ``arguments`` and ``file`` are there where a file had to be read apart from it."""

    question: Question
    arguments: Sequence[Any] | None = None
    file: SpooledFile | None = None


async def _reply(outcome: Outcome) -> HttpReply:
    """The outcome as DIRAC's HTTPS services send it; a value that cannot be sent becomes an error."""
    try:
        return HttpReply(await gently.encode(outcome.as_result(), JENCODE_PLAIN), JSON)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        unsendable = Failure(f"The result cannot be sent: {error}")
        return HttpReply(JENCODE_PLAIN.encode(unsendable.as_result()), JSON)


def _file_in(arguments: Sequence[Any]) -> FileInMemory:
    """The file among an upload's arguments.  Raises Failure."""
    if len(arguments) != 4:
        raise Failure(f"{UPLOAD} takes fileID, token, size and data")
    data = arguments[3]
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if not isinstance(content, bytes):
        raise Failure(f"{UPLOAD}: data must be bytes")
    return FileInMemory(bytearray(content))


class SpooledFile:
    """A file that was sent before its call could begin: an Incoming on disk."""

    def __init__(self) -> None:
        self.when_closed: Callable[[], None] = lambda: None
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the call
        self._block = bytearray()
        self.size = 0

    async def append(self, data: bytes) -> None:
        """Add to the file."""
        self._block += data
        self.size += len(data)
        if len(self._block) >= BLOCK_BYTES:
            await self._write()

    async def _write(self) -> None:
        block, self._block = self._block, bytearray()
        await asyncio.to_thread(self._file.write, block)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The content, from its beginning."""
        await self._write()
        await asyncio.to_thread(self._file.seek, 0)
        while block := await asyncio.to_thread(self._file.read, BLOCK_BYTES):
            yield block

    def close(self) -> None:
        """It is needed no more."""
        self._file.close()
        self.when_closed()
