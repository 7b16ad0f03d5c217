"""Archives of sandboxes for clients that do not read them as they are, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from shared_db.rules.refusals import Refusal

# DIRAC reads tar.zst since 9.0; before that, whatever Python's tarfile unpacks by itself.
_ZST = ".zst"
_FIRST_TO_READ = (9, 0)
# Of what is unpacked on its way: nobody's archive is larger by so much than it seems.
_MOST_TIMES = 200
_LEAST_BYTES = 64 * 1024 * 1024
_PIECE = 256 * 1024
_WINDOW_BYTES = 128 * 1024 * 1024


class Repacking(Protocol):
    """Turns an archive into another one, piece by piece: CPU work, for a thread."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What some bytes become."""

    def end(self) -> Iterator[bytes]:
        """What is left when all have come.  Raises Refusal for an archive that is not whole."""


def needs_repacking(name: str, release: tuple[int, int] | None) -> bool:
    """Whether a client of a release cannot read an archive of this name; None: the newest can."""
    return name.endswith(_ZST) and release is not None and release < _FIRST_TO_READ


class ZstdAsGzip:
    """A tar.zst as a tar.gz."""

    def __init__(self) -> None:
        self._unpacking = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()
        self._packing = zlib.compressobj(1, zlib.DEFLATED, 31)
        self._taken = 0
        self._unpacked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What some bytes become, in pieces."""
        self._taken += len(data)
        for start in range(0, len(data), 1024):
            yield from self._fed(data[start : start + 1024])

    def _fed(self, data: bytes) -> Iterator[bytes]:
        if self._unpacking.eof:
            return  # padding behind the archive
        try:
            content = self._unpacking.decompress(data)
        except zstandard.ZstdError as error:
            raise _broken() from error
        self._unpacked += len(content)
        if self._unpacked > max(_LEAST_BYTES, self._taken * _MOST_TIMES):
            raise Refusal("The sandbox is packed too densely to be packed anew for an old client")
        for start in range(0, len(content), _PIECE):
            if packed := self._packing.compress(content[start : start + _PIECE]):
                yield packed

    def end(self) -> Iterator[bytes]:
        """The last of it."""
        if not self._unpacking.eof:
            raise _broken()
        yield self._packing.flush()


def _broken() -> Refusal:
    return Refusal("The sandbox is no whole archive of its kind")
