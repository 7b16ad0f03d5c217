"""The bytes of protobuf's messages, as far as large ones are put together and cut by hand.

A message is its fields one after the other: each a tag, and for a text or another message a length and so
many bytes (protobuf.dev, Encoding).  Two rules make pieces possible: a message's fields may be written and
read a group at a time, and what lies around a group is only tags and lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

from legacy_rpc.codecs.steps import Steps

# What is read in one step: a thousand values at most.
STEP_BYTES = 2048
# What is copied, encoded or decoded in one step.
SLICE_BYTES = 64 * 1024

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_FIRST_TAG = 8
# No tag and no length that is followed here is longer, and no other number.
_LONGEST_LENGTH = 5
_LONGEST_VARINT = 10


def tag_of(number: int) -> int:
    """The tag of a field that has a length."""
    return number << 3 | _LENGTH


def header(tag: int, size: int) -> bytes:
    """What stands before the content of a field that has a length."""
    return _varint(tag) + _varint(size)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


# --- putting together


class Parts:
    """The bytes of a message while it is put together."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> None:
        """What comes next."""
        self._parts.append(data)
        self.size += len(data)

    @contextmanager
    def field(self, tag: int) -> Iterator[None]:
        """What is added meanwhile is a field's content, before which its length will stand."""
        place, before = len(self._parts), self.size
        self._parts.append(b"")
        yield
        self._parts[place] = header(tag, self.size - before)
        self.size += len(self._parts[place])

    def joined(self) -> Steps[bytes]:
        """All of it, in steps; there is nothing here any more."""
        return joined(self._taken(), self.size)

    def _taken(self) -> Iterator[bytes]:
        """Each part is let go in turn: to free very many takes long."""
        self._parts.reverse()
        while self._parts:
            yield self._parts.pop()


def joined(parts: Iterable[bytes | memoryview], size: int) -> Steps[bytes]:
    """The parts in one, of so many bytes, in steps."""
    whole = BytesIO(bytes(size))  # it writes into these, and gives them away uncopied
    for part in parts:
        for start in range(0, len(part), SLICE_BYTES):
            whole.write(memoryview(part)[start : start + SLICE_BYTES])
            yield
    return whole.getvalue()


# --- cutting


class Field(NamedTuple):
    """A field: its tag, and where it, its content and what follows begin."""

    tag: int
    start: int
    content: int
    end: int


class Group(NamedTuple):
    """Fields that follow each other."""

    start: int
    end: int


def cut(data: bytes, start: int, end: int) -> Iterator[Field | Group]:
    """The fields of a message: small ones in groups, each large one alone.

    From where the bytes cannot be followed, as none that a client writes, all that is left is one group.
    """
    group = at = start
    while at < end:
        field = _field(data, at, end)
        after = end if field is None else field.end
        if group < at and after - group > STEP_BYTES:
            yield Group(group, at)
            group = at
        if after - at > STEP_BYTES:
            yield field or Group(at, end)
            group = at = after
        else:
            at = _after_short_fields(data, after, min(end, group + STEP_BYTES))
    if group < end:
        yield Group(group, end)


def layout(data: bytes, start: int, end: int, most: int) -> list[Field] | None:
    """All fields of a message; None: they are more, or cannot be followed."""
    fields: list[Field] = []
    at = start
    while at < end:
        field = _field(data, at, end)
        if len(fields) == most or field is None:
            return None
        fields.append(field)
        at = field.end
    return fields


def _after_short_fields(data: bytes, at: int, end: int) -> int:
    """Where the last of the short fields ends that begin here: the commonest ones, found quickly."""
    while at + 1 < end and data[at] & 0x87 == _LENGTH and data[at] >= _FIRST_TAG and data[at + 1] < 0x80:
        after = at + 2 + data[at + 1]
        if after > end:
            break
        at = after
    return at


def _field(data: bytes, at: int, end: int) -> Field | None:
    """The field that begins here; None: it cannot be followed."""
    tag, content = _number(data, at, end, _LONGEST_LENGTH)
    after = end + 1
    if tag >= _FIRST_TAG:
        kind = tag & 7
        if kind == _LENGTH:
            size, content = _number(data, content, end, _LONGEST_LENGTH)
            after = content + size
        elif kind == _VARINT:
            _, after = _number(data, content, end, _LONGEST_VARINT)
        elif kind in _FIXED_SIZES:
            after = content + _FIXED_SIZES[kind]
    return Field(tag, at, content, after) if after <= end else None


def _number(data: bytes, at: int, end: int, longest: int) -> tuple[int, int]:
    """A number, and where it ends: past the end, if there is none."""
    number = 0
    for place in range(at, min(end, at + longest)):
        number |= (data[place] & 0x7F) << (place - at) * 7
        if data[place] < 0x80:
            return number, place + 1
    return 0, end + 1
