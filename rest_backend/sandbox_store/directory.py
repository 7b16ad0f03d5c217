"""The embedded store: a directory, and two routes that signed URLs lead to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, urlencode

from aiohttp import BodyPartReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError

from rest_backend.errors import RestError
from rest_backend.sandbox_store.files import Draft, Folder, file_id
from rest_backend.sandbox_store.store import BLOCK, Form, NotStored, StoreUnavailable, Upload
from rest_backend.sandbox_store.tickets import Tickets
from shared_db.waiting import to_its_end

T = TypeVar("T")

# Signed URLs are for one client.  What a stranger uploaded is never shown as a page, nor run as a script, of
# ours.
_FILE_HEADERS = {
    "Cache-Control": "private",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
}

logger = logging.getLogger(__name__)

# DiracX's default, so that names look the same.
BUCKET = "sandboxes"
PURPOSE = b"wherry sandbox store"
PATH = "/api/sandbox-store"
FILE = "file"
MOST_FIELDS = 20
LARGEST_FIELD = 8 * 1024
# For the next block, and for a whole file.
BLOCK_SECONDS = 60.0
UPLOAD_SECONDS = 3600.0


class DirectoryStore:
    """Files in a directory.

    ``secrets``: what signs URLs, the first one in use first; the same for all that serve the directory.
    ``public_url``: where clients reach us, if it is not where they asked.  ``lifetime``: of URLs, in seconds.
    """

    bucket = BUCKET

    def __init__(
        self,
        directory: Path,
        secrets: Callable[[], Sequence[bytes]],
        *,
        lifetime: int = 300,
        public_url: str = "",
    ) -> None:
        self._folder = Folder(directory)
        self._tickets = Tickets(secrets, lifetime)
        self._public_url = public_url

    @property
    def routes(self) -> Iterable[web.RouteDef]:
        """Upload and download."""
        of_file = f"{PATH}/{{file_id:[0-9a-f]{{64}}}}"
        return [
            web.route("POST", PATH, self._receive),
            web.route("GET", of_file, self._send),
            web.route("HEAD", of_file, self._send),
        ]

    async def upload_form(self, upload: Upload, base_url: str) -> Form:
        return Form(f"{self._public_url or base_url}{PATH}", self._tickets.upload_fields(upload))

    async def download_url(self, name: str, base_url: str) -> str:
        identity = file_id(name)
        query = urlencode(self._tickets.download_query(identity))
        return f"{self._public_url or base_url}{PATH}/{identity}?{query}"

    async def holds(self, name: str) -> bool:
        return await _in_thread(lambda: self._folder.holds(name))

    async def put(self, name: str, file: Path) -> None:
        await _in_thread(lambda: self._folder.copy(file, name))

    async def read(self, name: str) -> AsyncIterator[bytes]:
        async for block in self._blocks(lambda: self._folder.reader(name)):
            yield block

    async def _blocks(self, reader: Callable[[], BinaryIO | None]) -> AsyncIterator[bytes]:
        file = await _in_thread(reader)
        if file is None:
            raise NotStored
        try:
            while block := await _in_thread(lambda: file.read(BLOCK)):
                yield block
        finally:
            await _in_thread(file.close)

    async def space(self) -> tuple[int, int] | None:
        return await _in_thread(self._folder.space)

    async def take(self, form: Form, file: Path) -> None:
        """Store a file as its form allows, for a caller in this process.  Raises RestError."""
        upload = self._tickets.admitted(form.fields)
        await _in_thread(lambda: self._folder.copy(file, upload.name, check=partial(_check_whole, upload)))

    async def give(self, url: str) -> AsyncIterator[bytes]:
        """What a signed URL gives, for a caller in this process.  Raises RestError."""
        path, _, query = url.partition("?")
        identity = path.rpartition("/")[2]
        self._tickets.check_download(identity, dict(parse_qsl(query)))
        try:
            async for block in self._blocks(lambda: self._folder.opened(identity)):
                yield block
        except NotStored as error:
            raise _absent() from error

    async def delete(self, names: Collection[str], stored_before: datetime) -> set[str]:
        def delete() -> set[str]:
            done = set()
            for name in names:
                try:
                    self._folder.delete(name, stored_before.timestamp())
                    done.add(name)
                except OSError as error:
                    logger.warning("the file of sandbox %s cannot be deleted: %s", name, error)
            return done

        return await _in_thread(delete)

    async def tidy(self, begun_before: datetime) -> int:
        return await _in_thread(lambda: self._folder.tidy(begun_before.timestamp()))

    async def close(self) -> None:
        """Nothing is open."""

    # The two routes

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        """Store the file of a form: 204; 400 when it is not the one that was announced."""
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                upload, part = await _opened(request, self._tickets)
                async with self._draft() as draft:
                    await _copied(part, draft, upload)
                    await _in_thread(lambda: self._folder.keep(draft, upload.name))
        except TimeoutError as error:
            raise RestError(408, "The upload took too long") from error
        return web.Response(status=204)

    @asynccontextmanager
    async def _draft(self) -> AsyncIterator[Draft]:
        draft = self._folder.draft()
        try:
            await _in_thread(draft.open)
            yield draft
        finally:
            await _in_thread(draft.discard)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        """A file, or the parts of it that ``Range`` names."""
        identity = request.match_info["file_id"]
        self._tickets.check_download(identity, request.query)
        path = self._folder.path(identity)
        if not await _in_thread(path.is_file):
            raise _absent()
        return _Stored(path, chunk_size=BLOCK, headers=_FILE_HEADERS)


class _Stored(web.FileResponse):
    """A file, sent by us block by block.

    With the system's `sendfile`, which aiohttp uses, the connection does not notice that its peer takes
    nothing, and waits for ever.
    """

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        writer = await web.StreamResponse.prepare(self, request)
        assert writer is not None
        return await self._sendfile_fallback(writer, fobj, offset, count)


async def _in_thread(function: Callable[[], T]) -> T:
    """The result of something that waits for the disk; it ends before a cancellation takes effect."""
    try:
        return await to_its_end(asyncio.ensure_future(asyncio.to_thread(function)))
    except OSError as error:
        logger.error("the directory of the sandboxes cannot be used: %s", error)
        raise StoreUnavailable from error


async def _opened(request: web.Request, tickets: Tickets) -> tuple[Upload, BodyPartReader]:
    """What a form may store, and its part with the file.  Raises RestError."""
    fields: dict[str, str] = {}
    with _well_formed():
        reader = await request.multipart()
        for _ in range(MOST_FIELDS + 1):
            part = await _soon(reader.next())
            if not isinstance(part, BodyPartReader):
                break
            if part.name == FILE:
                return tickets.admitted(fields), part
            fields[part.name or ""] = await _text(part)
    raise RestError(400, f"The form has no part `{FILE}` after at most {MOST_FIELDS} fields")


@contextmanager
def _well_formed() -> Iterator[None]:
    """Raises RestError for what is no form: aiohttp's reader has many words for that."""
    try:
        yield
    except (ValueError, LookupError, AssertionError, HttpProcessingError, web.HTTPException) as error:
        raise RestError(400, "The body is no whole form of the type multipart/form-data") from error


async def _soon(coming: Awaitable[T]) -> T:
    """What a peer sends next.  Raises TimeoutError."""
    async with asyncio.timeout(BLOCK_SECONDS):
        return await coming


async def _text(part: BodyPartReader) -> str:
    """The value of a field.  Raises RestError."""
    value = b""
    while chunk := await _soon(part.read_chunk(LARGEST_FIELD)):
        value += chunk
        if len(value) > LARGEST_FIELD:
            raise RestError(400, f"A field of the form has more than {LARGEST_FIELD} bytes")
    return value.decode(errors="replace")


async def _copied(part: BodyPartReader, draft: Draft, upload: Upload) -> None:
    """Write the file that comes, if it is what was announced.  Raises RestError."""
    with _well_formed():
        while block := await _soon(part.read_chunk(BLOCK)):
            if draft.size + len(block) > upload.size:
                raise RestError(400, f"The file has more than the {upload.size} bytes that were announced")
            await _in_thread(partial(draft.write, block))
    _check_whole(upload, draft)


def _check_whole(upload: Upload, draft: Draft) -> None:
    """Raises RestError for a file that is not the one that was announced."""
    if draft.size != upload.size:
        raise RestError(400, f"The file has {draft.size} bytes; {upload.size} were announced")
    if draft.sha256 != upload.sha256:
        raise RestError(400, "The file's SHA-256 is not the one that was announced")


def _absent() -> RestError:
    return RestError(404, "Sandbox not found: it was never uploaded, or has been removed")
