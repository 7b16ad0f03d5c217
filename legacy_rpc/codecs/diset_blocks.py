"""What the two sides of a DISET file transfer say to each other, without I/O.

After the acknowledgement the client sends the information list, the server ``S_OK("Accepted")``; then::

    sender    S_OK([True, BLOCK])       of 1 MiB at most
    receiver  S_OK(None)                one for each block, and only then the next block comes
    ...
    sender    S_OK([False, MD5])        the end: not answered
    server    the method's own S_OK or S_ERROR

Either side may end it early: with an ``S_ERROR`` in place of what is due, or with ``AbortTransfer`` in an
``S_OK``.  A block is bytes, in JSON as a ``b64`` object; a str is taken too.

Source: legacy-wire.md, section 5.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legacy_rpc.messages import Failure, PeerError

BLOCK_BYTES = 1024 * 1024
# A block is longest as a JSON str: six characters for each byte that is no text.
LARGEST_BLOCK_MESSAGE = 6 * BLOCK_BYTES + 1024

UPLOADS = ("FromClient", "BulkFromClient")
DOWNLOADS = ("ToClient", "BulkToClient")
LISTING = "ListBulk"

# A token that holds this word asks for no comparison of checksums.
NO_CHECKSUM = "NoCheckSum"

ABORT = "AbortTransfer"
TAKEN: Mapping[str, Any] = {"OK": True, "Value": None}
STOP_SENDING: Mapping[str, Any] = {"OK": True, "Value": None, ABORT: True}
NOTHING_TO_SEND: Mapping[str, Any] = {"OK": True, "Value": [False, ""], ABORT: True}


@dataclass(frozen=True, slots=True)
class Block:
    """Some bytes of the file; tell the sender when they are taken."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """The file is complete if this is its MD5, in hexadecimal."""

    checksum: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has taken the last block."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer ended the transfer early; ``politely``: with ``AbortTransfer``, and not with an error."""

    failure: Failure
    politely: bool = False


def block_message(data: bytes) -> dict[str, Any]:
    """What a sender says with some bytes."""
    return {"OK": True, "Value": [True, data]}


def end_message(checksum: str) -> dict[str, Any]:
    """What a sender says at the end."""
    return {"OK": True, "Value": [False, checksum]}


def read_sender(message: Mapping[str, Any]) -> Block | EndOfFile | Ended:
    """What a sender means.  Raises PeerError."""
    if (ended := _ended(message)) is not None:
        return ended
    match message.get("Value"):
        case [bool(more), bytes() | str() as data]:
            return _block(data) if more else EndOfFile(str(data))
        case _:
            raise PeerError("A block must be [True, bytes] or [False, checksum]")


def read_receiver(message: Mapping[str, Any]) -> Taken | Ended:
    """What a receiver means."""
    return _ended(message) or Taken()


def read_block(payload: bytes) -> Block | None:
    """The block in a message, if it is written as all DIRAC clients write it; None: decode the message.

    A block is much longer than any other message, and the general decoders look at each of its bytes.
    """
    start = _BLOCK_START.match(payload)
    if start is None:
        return None
    if start["length"] is None:
        return _base64_block(payload, start.end())
    end = start.end() + int(start["length"])
    return _block(payload[start.end() : end]) if payload[end:] == b"ee" else None


_BLOCK_START = re.compile(
    rb"ds2:OKb1s5:Value[lt]b1s(?P<length>0|[1-9][0-9]{0,8}):"
    rb'|\{"OK": true, "Value": \[true, \{"__dCls": "b64", "obj": "'
)
_JSON_END = b'"}]}'


def _base64_block(payload: bytes, start: int) -> Block | None:
    if not payload.endswith(_JSON_END):
        return None
    try:
        return _block(a2b_base64(memoryview(payload)[start : -len(_JSON_END)], strict_mode=True))
    except Error:
        return None


def _block(data: bytes | str) -> Block:
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if len(content) > BLOCK_BYTES:
        raise PeerError(f"A block of {len(content)} bytes is larger than the limit of {BLOCK_BYTES}")
    return Block(content)


def _ended(message: Mapping[str, Any]) -> Ended | None:
    if message.get(ABORT):
        return Ended(Failure("The transfer was ended by the other side"), politely=True)
    if message.get("OK"):
        return None
    text = message.get("Message")
    errno = message.get("Errno")
    return Ended(Failure(str(text or "The other side failed"), errno if isinstance(errno, int) else 0))


def announced_size(information: Sequence[Any]) -> int:
    """How many bytes an upload says it has; -1: it does not say."""
    size = information[2] if len(information) > 2 else -1
    return size if isinstance(size, int) and size >= 0 else -1


def is_checked(information: Sequence[Any]) -> bool:
    """Whether the checksums of a transfer are to be compared."""
    return not any(isinstance(token, str) and NO_CHECKSUM in token for token in information[1:2])
