"""Encoding in pieces of bounded work, for values too large to be encoded in one go.

The pieces, joined, are exactly what ``Encoding.encode`` gives.  It does the work here too: containers are cut
between their items, and long strings within, until no part is larger than a piece.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from legacy_rpc.codecs.encodings import DENCODE, JENCODE, JENCODE_PLAIN, Encoding

# What a piece may hold: some thousand small values, or as many bytes of long strings; well under 1 ms.
PIECE = 16 * 1024
# What any value weighs, a string its length more, and what those weigh that an encoder writes in Python.
_LEAF = 32
_SLOW = 256
# A multiple of three, so that base64 of the parts is base64 of the whole.
_SLICE = 3 * 8 * 1024


def is_light(value: Any) -> bool:
    """Whether a value is worth one piece at most: it is then best encoded in one go."""
    return weight(value, PIECE) <= PIECE


def encode_in_pieces(value: Any, encoding: Encoding) -> Iterator[bytes]:
    """The bytes of ``encoding.encode(value)``; a piece is empty where work was done and nothing is ready.

    The value must not change meanwhile.  Raises what ``encode`` raises, at any piece.
    """
    if is_light(value):
        yield encoding.encode(value)
    elif isinstance(value, dict):
        yield from _container(value.items(), dict, encoding)
    elif isinstance(value, list | tuple):
        yield from _container(value, tuple if isinstance(value, tuple) else list, encoding)
    elif isinstance(value, str | bytes):
        yield from _FORMS[encoding.name].string(value)
    else:
        yield encoding.encode(value)


def weight(value: Any, most: int) -> int:
    """About how much work a value is, in bytes; above ``most`` it is not looked at further."""
    if isinstance(value, str | bytes):
        return _LEAF + len(value)
    if isinstance(value, dict):
        keys = _weight_of_items(value, len(value), most)
        return keys if keys > most else keys + _weight_of_items(value.values(), len(value), most - keys)
    if isinstance(value, list | tuple):
        return _weight_of_items(value, len(value), most)
    return _LEAF if type(value) in _LEAVES else _SLOW


_LEAVES = frozenset({int, float, bool, type(None)})


def _weight_of_items(items: Iterable[Any], number: int, most: int) -> int:
    total = _LEAF * (1 + number)
    if total > most:
        return total
    for item in items:
        kind = type(item)
        if kind is str:  # the commonest take no call of a function
            total += len(item)
        elif kind not in _LEAVES:
            total += weight(item, most - total)
        if total > most:
            break
    return total


def _container(items: Iterable[Any], make: Callable[[Any], Any], encoding: Encoding) -> Iterator[bytes]:
    """A container's pieces: its light items in groups, each heavy one in pieces of its own."""
    empty = encoding.encode(make(()))
    before, end = empty[:1], empty[1:]
    group: list[Any] = []
    gathered = 0
    for item in items:
        added = _LEAF if type(item) in _LEAVES else weight(item, PIECE)
        if group and gathered + added > PIECE:
            yield before + encoding.encode(make(group))[1:-1]
            before, group, gathered = _FORMS[encoding.name].separator, [], 0
        if added <= PIECE:
            group.append(item)
            gathered += added
            continue
        value = item
        if make is dict:
            key, value = item
            before += encoding.encode({key: None})[1:-1].removesuffix(encoding.encode(None))
        yield before
        before = _FORMS[encoding.name].separator
        yield from encode_in_pieces(value, encoding)
    yield (before + encoding.encode(make(group))[1:-1] if group else b"") + end


# --- long strings


def _slices(value: Any) -> Iterator[Any]:
    return (value[start : start + _SLICE] for start in range(0, len(value), _SLICE))


def _json_string(value: str | bytes) -> Iterator[bytes]:
    before, after = JENCODE.encode(value[:0])[:-1], b'"'
    if isinstance(value, bytes):
        before, after = before[:-1], b'"}'
    yield before
    for part in _slices(value):
        yield b2a_base64(part, newline=False) if isinstance(part, bytes) else JENCODE.encode(part)[1:-1]
    yield after


def _plain_json_string(value: str | bytes) -> Iterator[bytes]:
    if isinstance(value, str):
        yield from _json_string(value)
        return
    yield b'"'
    for part in _slices(value):
        yield b2a_base64(part, newline=False)
    yield b'"'


def _dencode_string(value: str | bytes) -> Iterator[bytes]:
    """The length in bytes comes first."""
    parts = []
    for part in _slices(value):
        parts.append(part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape"))
        yield b""
    yield b"s%d:" % sum(map(len, parts))
    yield from parts


@dataclass(frozen=True, slots=True)
class _Form:
    """What is an encoding's own: what stands between items, and how a long string is cut."""

    separator: bytes
    string: Callable[[str | bytes], Iterator[bytes]]


_FORMS: Mapping[str, _Form] = {
    DENCODE.name: _Form(b"", _dencode_string),
    JENCODE.name: _Form(b", ", _json_string),
    JENCODE_PLAIN.name: _Form(b", ", _plain_json_string),
}
