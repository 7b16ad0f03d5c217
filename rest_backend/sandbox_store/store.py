"""What a store of sandboxes can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aiohttp import web

from rest_backend.errors import RETRY_AFTER_SECONDS, RestError

# What is held in memory of one file, in bytes.
BLOCK = 64 * 1024


class NotStored(Exception):
    """There is no file of this name."""


class StoreUnavailable(RestError):
    """The store does not answer, or refuses us; the log says why."""

    def __init__(self) -> None:
        super().__init__(503, "Sandbox store is not available", {"Retry-After": RETRY_AFTER_SECONDS})


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody wants to send; ``sha256`` in hex, ``size`` in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Form:
    """What a client posts as ``multipart/form-data``: these fields, then the file as part ``file``."""

    url: str
    fields: Mapping[str, str] = field(repr=False)


class SandboxStore(Protocol):
    """Files by the names of their sandboxes.

    Everything raises StoreUnavailable when the store cannot be used.
    """

    @property
    def bucket(self) -> str:
        """The second part of the names of REST sandboxes: ``/S3/<bucket>/...``."""

    @property
    def routes(self) -> Iterable[web.RouteDef]:
        """What the HTTP shell must serve for the signed URLs; nothing where others serve them."""

    async def upload_form(self, upload: Upload, base_url: str) -> Form:
        """A form with which exactly this file can be stored, for a while.

        ``base_url``: where the client reaches us, without a trailing slash.
        """

    async def download_url(self, name: str, base_url: str) -> str:
        """A URL that gives a file, for a while; whether there is one is not looked at."""

    async def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""

    async def put(self, name: str, file: Path) -> None:
        """Store a copy of a file, whole or not at all, under any name; what had the name is replaced."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """A file in blocks of at most 64 KiB.  Raises NotStored."""

    async def space(self) -> tuple[int, int] | None:
        """Free and total bytes of the disk on which files lie; None where there is no such disk."""

    async def delete(self, names: Collection[str], stored_before: datetime) -> set[str]:
        """Delete files, but none that was stored at or after an aware time.

        Returns the names that are done with: all but those where the store failed.
        """

    async def tidy(self, begun_before: datetime) -> int:
        """Remove what is left of uploads that were begun before an aware time; returns how many."""

    async def close(self) -> None:
        """Close connections."""
