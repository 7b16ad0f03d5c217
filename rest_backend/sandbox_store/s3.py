"""Sandboxes in an S3 service: clients talk to it themselves, with what is signed here."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

import aiohttp
from aiohttp import web
from botocore.exceptions import BotoCoreError
from yarl import URL

from rest_backend.sandbox_store.s3_requests import NoCredentials, S3Requests
from rest_backend.sandbox_store.store import BLOCK, Form, NotStored, StoreUnavailable, Upload
from rest_backend.settings import S3Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)

SECONDS = 30.0
DELETIONS_AT_ONCE = 10
_ABSENT = 404
_NO_KEYS = (
    "no keys for the S3 service: set sandboxes.s3.access_key and secret_key, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)


class S3Store:
    """Files in one bucket, which must be there.  ``lifetime``: of signed URLs, in seconds."""

    def __init__(self, settings: S3Settings, *, lifetime: int = 300) -> None:
        self._settings = settings
        self._lifetime = lifetime
        self._requests = S3Requests(settings)
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        self._session: aiohttp.ClientSession | None = None

    @property
    def bucket(self) -> str:
        """The bucket's own name."""
        return self._settings.bucket

    @property
    def routes(self) -> Iterable[web.RouteDef]:
        """None: the service serves its own URLs."""
        return ()

    async def upload_form(self, upload: Upload, base_url: str) -> Form:  # noqa: ARG002 - it is not ours to serve
        return await _signed(lambda: self._requests.upload_form(upload, self._lifetime))

    async def download_url(self, name: str, base_url: str) -> str:  # noqa: ARG002 - it is not ours to serve
        return await _signed(lambda: self._requests.download_url(name, self._lifetime))

    async def holds(self, name: str) -> bool:
        return await self._stored_at(name) is not None

    async def _stored_at(self, name: str) -> datetime | None:
        """When a file was stored; None when it is not there."""
        async with self._asked("HEAD", name, (200, _ABSENT)) as response:
            if response.status == _ABSENT:
                return None
            return parsedate_to_datetime(response.headers["Last-Modified"])

    async def put(self, name: str, file: Path) -> None:
        body = await asyncio.to_thread(file.open, "rb")
        try:
            size = (await asyncio.to_thread(file.stat)).st_size
            async with self._asked("PUT", name, (200, 201, 204), body, {"Content-Length": str(size)}):
                pass
        finally:
            await asyncio.to_thread(body.close)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        async with self._asked("GET", name, (200, _ABSENT)) as response:
            if response.status == _ABSENT:
                raise NotStored(name)
            async for block in response.content.iter_chunked(BLOCK):
                yield block

    async def space(self) -> tuple[int, int] | None:
        return None

    async def delete(self, names: Collection[str], stored_before: datetime) -> set[str]:
        turns = asyncio.Semaphore(DELETIONS_AT_ONCE)

        async def delete(name: str) -> str | None:
            async with turns:
                try:
                    stored = await self._stored_at(name)
                    if stored is not None and stored < stored_before:
                        async with self._asked("DELETE", name, (200, 204, _ABSENT)):
                            pass
                except StoreUnavailable:
                    return None  # it stands in the log, and the next run tries again
            return name

        return {name for name in await asyncio.gather(*map(delete, names)) if name is not None}

    async def tidy(self, begun_before: datetime) -> int:  # noqa: ARG002 - nothing was begun
        """Nothing: the service keeps only whole files."""
        return 0

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        name: str,
        expected: Collection[int],
        body: BinaryIO | None = None,
        more: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a request about a file.  Raises StoreUnavailable."""
        headers = await _signed(lambda: self._requests.headers(method, name, body))
        if body is not None:
            await asyncio.to_thread(body.seek, 0)
        # As it was signed, not as yarl would write it.
        url = URL(self._requests.url(name), encoded=True)
        try:
            async with self._opened().request(
                method, url, headers={**headers, **(more or {})}, data=body, ssl=self._tls
            ) as response:
                if response.status not in expected:
                    logger.error(
                        "the S3 service answers %s to %s %s: see that the bucket is there and the keys may "
                        "read, write and delete in it",
                        response.status,
                        method,
                        url.path,
                    )
                    raise StoreUnavailable
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.error("the S3 service cannot be reached: %r", error)
            raise StoreUnavailable from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Of the whole file no time is asked, but of each step.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SECONDS, sock_read=SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session


async def _signed(sign: Callable[[], T]) -> T:
    """What signing gives; in a thread, since keys from the environment may have to be fetched."""
    try:
        return await asyncio.to_thread(sign)
    except NoCredentials as error:
        logger.error(_NO_KEYS)
        raise StoreUnavailable from error
    except BotoCoreError as error:
        logger.error("the keys for the S3 service cannot be had: %s", error)
        raise StoreUnavailable from error
