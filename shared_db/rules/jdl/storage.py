"""How DIRAC keeps JDL texts in the columns of JobJDLs (legacy-schema.md, section 0, 1)."""

from __future__ import annotations

import base64
import binascii
import zlib

from shared_db.errors import DataError, InvalidValue

# Far above MEDIUMTEXT's 16 MiB of text; a small column may claim to be a thousand times as long.
LARGEST_JDL = 64 * 1024 * 1024


class DamagedJdl(DataError):
    """A stored JDL that is neither plain text nor compressed as DIRAC does it, or that is too long."""


def compressed(jdl: str) -> str:
    """The form that DIRAC writes: base64 of zlib of UTF-8.

    Raises InvalidValue for lone surrogates, which stand for bytes that were no UTF-8.
    """
    try:
        data = jdl.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue("JDL", "no text that can be stored") from error
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def extracted(stored: str | bytes, limit: int = LARGEST_JDL) -> str:
    """The JDL text of a column's value: compressed, plain (it begins with ``[``) or empty.

    7.3's columns hold bytes.  Raises DamagedJdl for anything else, and for a text above ``limit`` bytes.
    """
    if not stored:
        return ""
    if isinstance(stored, bytes):
        if stored.startswith(b"["):
            return _decoded(stored)
    elif stored.startswith("["):
        return stored
    try:
        data = base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DamagedJdl(f"a stored JDL is not base64: {error}") from error
    return _decoded(_inflated(data, limit))


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise DamagedJdl(f"a stored JDL cannot be decompressed: {error}") from error
    if len(text) > limit:
        raise DamagedJdl(f"a stored JDL is longer than {limit} bytes")
    if not inflater.eof:
        raise DamagedJdl("a stored JDL is cut off")
    return text


def _decoded(text: bytes) -> str:
    """UTF-8, or latin1, which 7.3 and 8.0 wrote into latin1 tables."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin1")
