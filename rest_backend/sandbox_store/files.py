"""The files of the embedded store: blocking functions, for threads.

A file's own name is the SHA-256 of its sandbox's name, so that nothing a client says becomes a path.  One
appears by a rename of what was written whole, checked, and brought to the disk.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_PIECE = 1024 * 1024


def file_id(name: str) -> str:
    """What stands for a sandbox's name on the disk and in URLs: 64 hex digits."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


class Folder:
    """A directory of files: ``stored/<2 hex digits>/<64 hex digits>``, and ``incoming`` with what comes in.

    It is made when the first file comes.  All of it is for its owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._stored = directory / "stored"
        self._incoming = directory / "incoming"

    def path(self, identity: str) -> Path:
        """Where a file is, or would be; ``identity`` is that of ``file_id``."""
        return self._stored / identity[:2] / identity

    def holds(self, name: str) -> bool:
        """Whether there is a file."""
        return self.path(file_id(name)).is_file()

    def reader(self, name: str) -> BinaryIO | None:
        """A file to read from its start; it can be read to its end even when it is deleted meanwhile."""
        return self.opened(file_id(name))

    def opened(self, identity: str) -> BinaryIO | None:
        """The same by what ``file_id`` gives."""
        try:
            return self.path(identity).open("rb")
        except FileNotFoundError:
            return None

    def draft(self) -> Draft:
        """A new file on its way in; nothing is made yet."""
        return Draft(self._incoming / secrets.token_hex(16))

    def keep(self, draft: Draft, name: str) -> None:
        """Make a whole draft the file of a name."""
        draft.finish()
        target = self.path(file_id(name))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.path.replace(target)
        _sync(target.parent)

    def space(self) -> tuple[int, int]:
        """Free and total bytes of the disk."""
        place = self._stored
        while not place.exists():
            place = place.parent
        disk = os.statvfs(place)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def copy(self, source: Path, name: str, check: Callable[[Draft], None] = lambda _draft: None) -> None:
        """Store a copy of a file, unless ``check`` raises for what was copied."""
        draft = self.draft()
        try:
            with source.open("rb") as file:
                draft.open()
                draft.copy(file)
            check(draft)
            self.keep(draft, name)
        finally:
            draft.discard()

    def delete(self, name: str, stored_before: float) -> None:
        """Delete a file, unless it was stored at or after an epoch time.

        It is moved aside first and looked at again: whoever stores anew meanwhile loses nothing.
        """
        path = self.path(file_id(name))
        aside = self._incoming / secrets.token_hex(16)
        try:
            if path.stat().st_mtime >= stored_before:
                return
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(aside)
        except FileNotFoundError:
            return
        if aside.stat().st_mtime >= stored_before:
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()

    def tidy(self, begun_before: float) -> int:
        """Remove drafts that nobody has written to since an epoch time."""
        removed = 0
        with suppress(FileNotFoundError):
            for each in self._incoming.iterdir():
                with suppress(FileNotFoundError):
                    if each.stat().st_mtime < begun_before:
                        each.unlink()
                        removed += 1
        return removed


class Draft:
    """A file that is written block by block; its size and checksum grow with it.

    ``discard`` it at the end: what was kept has moved by then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    @property
    def sha256(self) -> str:
        """The checksum of what was written, in hex."""
        return self._hash.hexdigest()

    def open(self) -> None:
        """Make the file."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, block: bytes) -> None:
        """Add a block."""
        assert self._file is not None
        self._file.write(block)
        self._hash.update(block)
        self.size += len(block)

    def copy(self, source: BinaryIO) -> None:
        """Add all that a file has."""
        while block := source.read(_PIECE):
            self.write(block)

    def finish(self) -> None:
        """Bring it to the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Close and remove what was not kept."""
        if self._file is not None:
            # What cannot be written any more, since the disk is full, goes with the file.
            with suppress(OSError):
                self._file.close()
        self.path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """Bring a new name in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
