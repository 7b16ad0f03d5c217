"""A file that administrators edit while the program runs.

The last good content stays in force while an edit is broken.  Whether a file changed is asked of ``stat``,
which works for renames, mounted configuration maps and network file systems alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class FileError(Exception):
    """A followed file cannot be used; the text names the file, the line where there is one, and the mend."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells, without reading it, that a file is another one than before."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Stamp:
        return cls(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


class FollowedFile(Generic[T_co]):
    """Reads a small text file, again whenever it changed.

    ``load()`` once at start, where an error must stop the program; then ``refresh()`` as often as wanted.
    Both may be called in an event loop.  A subclass names its ``kind`` and ``setting`` for error texts and
    says what a text means.
    """

    kind = "file"
    setting = "file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        """Why the file as it is now is not in force; None if it is."""
        self._stamp: _Stamp | None = None
        self._content: T_co | None = None

    def parse(self, text: str, status: os.stat_result) -> T_co:
        """What the text means.  Raises FileError."""
        raise NotImplementedError

    def load(self) -> None:
        """Read the file now and put it in force.

        Raises FileError; what was in force stays so.
        """
        self._stamp = None  # a file that cannot be read is tried again at every refresh
        try:
            status, text = _read(self.path)
        except (OSError, UnicodeDecodeError) as problem:
            raise FileError(
                f"{self.kind} {self.path} cannot be read ({problem}): "
                f"point `{self.setting}` at a readable file in UTF-8"
            ) from problem
        self._stamp = _Stamp.of(status)  # a broken one only when it changes
        self._content = self.parse(text, status)
        self.error = None

    def refresh(self) -> bool:
        """Read the file if it changed; True when what it holds took effect.

        Never raises for a missing or broken file: ``error`` then says what is wrong.
        """
        if not self._changed():
            return False
        try:
            self.load()
        except FileError as problem:
            self.error = str(problem)
            return False
        return True

    def _changed(self) -> bool:
        try:
            return self._stamp is None or self._stamp != _Stamp.of(self.path.stat())
        except OSError:
            return True  # load() meets it again, and words it

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences about content in force that looks like a mistake but can be used."""
        return ()

    @property
    def content(self) -> T_co:
        """What is in force.  Raises FileError before the first ``load()``."""
        if self._content is None:
            raise FileError(f"{self.kind} {self.path} is not loaded yet: call load() first")
        return self._content


def _read(path: Path) -> tuple[os.stat_result, str]:
    # The status is that of the very file read, taken before reading: a later change then shows.
    # Some editors put a byte order mark before UTF-8, which would become part of the first name.
    with path.open(encoding="utf-8-sig") as file:
        return os.fstat(file.fileno()), file.read()
