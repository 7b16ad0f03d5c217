"""Files with secrets: readable by their owner only, from the start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def create_private_file(path: Path, content: str) -> None:
    """Make a file unless it is there, whole or not at all; its directory too.  Raises OSError.

    Two programs that start at once end up with one content, that of the first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def replace_private_file(path: Path, content: str) -> None:
    """Put a content in a file's place, whole or not at all.  Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
