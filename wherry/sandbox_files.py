"""The files of sandboxes, for the old door: its native handlers' store, and what adaptors move."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

import aiohttp
from yarl import URL

from adaptor.conversation import RestFailure, Upload
from adaptor.http_session import SHOWN, trust
from legacy_rpc.messages import Failure, Incoming
from rest_backend.errors import RestError
from rest_backend.sandbox_store.directory import DirectoryStore
from rest_backend.sandbox_store.store import Form, NotStored, SandboxStore, StoreUnavailable
from rest_backend.settings import SandboxSettings
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import NOT_THERE, TOO_BIG, Spooled

CONNECT_SECONDS = 10.0
# For the next bytes, of either side.
BLOCK_SECONDS = 60.0
BLOCK = 64 * 1024


@asynccontextmanager
async def spooled(incoming: Incoming, largest: int) -> AsyncIterator[Spooled]:
    """What a client sends, in a temporary file (``TMPDIR`` says where).

    Raises Refusal for more than ``largest`` bytes.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    size = 0
    file = await asyncio.to_thread(lambda: tempfile.NamedTemporaryFile(prefix="wherry-sandbox-"))  # noqa: SIM115
    try:
        async for block in incoming.blocks():
            size += len(block)
            if size > largest:
                raise Refusal(TOO_BIG)

            def write(data: bytes = block) -> None:
                file.write(data)
                md5.update(data)
                sha256.update(data)

            await asyncio.to_thread(write)
        await asyncio.to_thread(file.flush)
        yield Spooled(Path(file.name), size, md5.hexdigest(), sha256.hexdigest())
    finally:
        await asyncio.to_thread(file.close)


class StoreFiles:
    """The store, as native handlers see it."""

    def __init__(self, store: SandboxStore, settings: SandboxSettings) -> None:
        self._store = store
        self.storage_element = settings.storage_element
        self.largest = settings.largest
        self.spooled = spooled

    @property
    def bucket(self) -> str:
        """The second part of the names of REST sandboxes."""
        return self._store.bucket

    async def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with _unavailable_is_failure():
            return await self._store.holds(name)

    async def put(self, name: str, file: Path) -> None:
        """Store a copy of a file."""
        with _unavailable_is_failure():
            await self._store.put(name, file)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """A file in blocks.  Raises Refusal where there is none."""
        with _unavailable_is_failure():
            try:
                async for block in self._store.read(name):
                    yield block
            except NotStored as error:
                raise Refusal(NOT_THERE) from error

    async def space(self) -> tuple[int, int] | None:
        """Free and total bytes of the disk; None where there is no such disk."""
        with _unavailable_is_failure():
            return await self._store.space()


@contextmanager
def _unavailable_is_failure() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise Failure(str(error.detail)) from error


class EmbeddedFiles:
    """Files for adaptors at the signed URLs of our own directory: same checks, no socket."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store
        self.spooled = spooled

    async def upload(self, upload: Upload) -> None:
        """Send a file.  Raises RestFailure."""
        with _error_is_failure():
            await self._store.take(Form(upload.url, upload.fields), upload.path)

    async def download(self, url: str) -> AsyncIterator[bytes]:
        """What is at a URL.  Raises RestFailure."""
        with _error_is_failure():
            async for block in self._store.give(url):
                yield block

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def _error_is_failure() -> Iterator[None]:
    try:
        yield
    except RestError as error:
        raise RestFailure(error.status, error.detail) from error


class HttpFiles:
    """Files for adaptors at any signed URLs: of a backend elsewhere, or of an S3 service.

    ``ca``: a file or directory of authorities in place of the system's.
    """

    def __init__(self, ca: Path | None) -> None:
        self._tls = trust(ca)
        self._session: aiohttp.ClientSession | None = None
        self.spooled = spooled

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def upload(self, upload: Upload) -> None:
        """Post the form, the file as its last part.  Raises RestFailure."""
        file: BinaryIO = await asyncio.to_thread(upload.path.open, "rb")
        try:
            form = aiohttp.FormData()
            for name, value in upload.fields.items():
                form.add_field(name, value)
            form.add_field("file", file, filename="file", content_type="application/octet-stream")
            with _lost_is_failure(upload.url):
                async with self._opened().post(
                    _address(upload.url), data=form, allow_redirects=False
                ) as answer:
                    if answer.status >= 300:
                        raise RestFailure(answer.status, await _said(answer))
        finally:
            await asyncio.to_thread(file.close)

    async def download(self, url: str) -> AsyncIterator[bytes]:
        """What is at a URL.  Raises RestFailure."""
        with _lost_is_failure(url):
            # As it was signed, character by character.
            async with self._opened().get(_address(url, encoded=True), allow_redirects=False) as answer:
                if answer.status != 200:
                    raise RestFailure(answer.status, await _said(answer))
                async for block in answer.content.iter_chunked(BLOCK):
                    yield block

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=BLOCK_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                headers={"Accept-Encoding": "identity", "User-Agent": "wherry"},
                auto_decompress=False,
            )
        return self._session


def _address(url: str, *, encoded: bool = False) -> URL:
    """An address that a backend gives.  Raises RestFailure, which does not show it, for what is none."""
    try:
        address = URL(url, encoded=encoded)
        usable = address.scheme in ("http", "https") and bool(address.host and address.port)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise RestFailure(0, "the backend gave an address of a file that is no URL of http or https")
    return address


@contextmanager
def _lost_is_failure(url: str) -> Iterator[None]:
    """The signature stays out of texts and logs."""
    where = url.partition("?")[0]
    try:
        yield
    except TimeoutError as error:
        raise RestFailure(0, f"{where} did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise RestFailure(0, f"{where}: {type(error).__name__}") from error


async def _said(answer: aiohttp.ClientResponse) -> str:
    return (await answer.content.read(SHOWN)).decode("utf-8", "replace")
