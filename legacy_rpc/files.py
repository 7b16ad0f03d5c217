"""Which files of a directory are other ones than before, without reading them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does; two names of one file have the same."""

    changed_ns: int
    """Of content, mode or owner: a file that could not be read may now be readable."""
    size: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Links are followed.  Raises OSError."""
        status = path.stat()
        return cls(status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def stamps(directory: Path, name: re.Pattern[str]) -> dict[Path, Stamp]:
    """The files of a directory whose whole name matches.  Raises OSError if it cannot be listed."""
    found = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                path = Path(entry.path)
                try:
                    found[path] = Stamp.of(path)
                except FileNotFoundError:  # removed meanwhile, or a link to nothing
                    continue
    return found
