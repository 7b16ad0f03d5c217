"""The choice between the two value encodings (``legacy-wire.md`` section 3).

A server answers in the encoding it was asked in, so decoding also tells which one that was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from legacy_rpc.codecs import dencode, jencode
from legacy_rpc.codecs.dencode import MAX_DEPTH, MAX_VALUES
from legacy_rpc.codecs.steps import Steps
from legacy_rpc.messages import Failure, PeerError


class Decode(Protocol):
    """Reads one whole message; raises PeerError for anything malformed."""

    def __call__(self, data: bytes, *, max_depth: int = MAX_DEPTH) -> Any: ...


class DecodeInPieces(Protocol):
    """The same in pieces of a millisecond or so: yields after each, and returns the value."""

    def __call__(
        self, data: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
    ) -> Steps[Any]: ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to write values as bytes.  ``encode`` raises TypeError, ``decode`` PeerError."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Decode
    decode_in_pieces: DecodeInPieces


DENCODE = Encoding("dencode", dencode.encode, dencode.decode, dencode.decode_in_pieces)
JENCODE = Encoding("jencode", jencode.encode, jencode.decode, jencode.decode_in_pieces)
# JEncode as DIRAC's HTTPS services write it: bytes are base64 text.
JENCODE_PLAIN = Encoding("jencode-plain", jencode.encode_plain, jencode.decode, jencode.decode_in_pieces)

# What an encoder raises for a value that its wire cannot carry.
UNSENDABLE = (TypeError, ValueError, OverflowError, RecursionError)

_JSON_STARTS = frozenset(b'{["')


def unsendable(error: Exception) -> Failure:
    """What a client is told in place of a value that the wire cannot carry."""
    return Failure(f"The result cannot be sent: {error}")


def detect(data: bytes) -> Encoding:
    """The encoding a message's first byte announces (``legacy-wire.md`` section 3)."""
    return JENCODE if data and data[0] in _JSON_STARTS else DENCODE


def decode_any(data: bytes, max_depth: int = MAX_DEPTH) -> tuple[Any, Encoding]:
    """The value of one whole message, and the encoding to answer in (``legacy-wire.md`` section 3).

    Raises PeerError, in the words of the encoding the first byte announced, if neither can read it.
    """
    encoding = detect(data)
    try:
        return encoding.decode(data, max_depth=max_depth), encoding
    except PeerError:
        if encoding is DENCODE:
            # A bare JSON word or number, white space or a byte order mark may come first.
            with suppress(PeerError):
                return JENCODE.decode(data, max_depth=max_depth), JENCODE
        raise


def decode_any_in_pieces(
    data: bytes, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES
) -> Steps[tuple[Any, Encoding]]:
    """``decode_any`` as a generator that returns the same, and yields after every piece of work."""
    encoding = detect(data)
    try:
        value = yield from encoding.decode_in_pieces(data, max_depth=max_depth, max_values=max_values)
        return value, encoding
    except PeerError:
        if encoding is DENCODE:
            with suppress(PeerError):
                value = yield from JENCODE.decode_in_pieces(data, max_depth=max_depth, max_values=max_values)
                return value, JENCODE
        raise
