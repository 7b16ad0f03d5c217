"""DEncode, the value encoding of DIRAC 7.3 and 8.0 clients (``legacy-wire.md`` section 3.1).

Every value is one tag byte and what the tag asks for: ``i42e``, ``f1.5e``, ``b1``, ``n``,
``s5:hello``, ``l...e``, ``t...e``, ``d<key><value>...e``, and ``za``, ``zd``, ``zt`` for datetime,
date and time.  Both directions are one table from tag or type to a small function.

Decoding accepts what an encoder of any DIRAC release emits and nothing else.  DIRAC itself lets much
more through (``i1_000e``, strings shorter than their length, trailing bytes); none of it is ever sent
by a client, so here it means a damaged or hostile message.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time
from math import isfinite
from typing import Any, Never

from legacy_rpc.messages import PeerError

# Deep enough for any real message (they stay below 10) and far from Python's recursion limit, which
# a decoder reaches with two frames per level.
MAX_DEPTH = 200

# Python's own limit for text to int, applied here whatever the interpreter was told: above it the
# conversion takes quadratic time.
_MAX_INT_DIGITS = 4300
_MAX_FLOAT_CHARS = 32  # repr of a float has at most 24

Put = Callable[[bytes], None]
Encoder = Callable[[Any, Put], None]
Decoder = Callable[[bytes, int, int], tuple[Any, int]]


def encode(value: Any) -> bytes:
    """The DEncode bytes of ``value`` (``legacy-wire.md`` section 3.1).

    Takes None, bool, int, float, str, bytes, list, tuple, dict, datetime, date, naive time, and
    subclasses of these.  An aware datetime is sent as UTC.  ``bytes`` arrive as str; a str with
    ``surrogateescape`` characters is sent as the bytes they stand for.

    Raises TypeError for any other type, ValueError for an int of more than 4300 digits or a surrogate
    that stands for no byte, OverflowError for an aware datetime that UTC has no year for.
    """
    chunks: list[bytes] = []
    _ENCODERS.get(type(value), _encode_subclass)(value, chunks.append)
    return b"".join(chunks)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one whole DEncode message (``legacy-wire.md`` section 3.1).

    ``max_depth`` is how many containers may lie inside each other.  Bytes that are not utf-8 come
    back as ``surrogateescape`` characters.  Raises PeerError for anything malformed.
    """
    try:
        value, end = _DECODERS[data[0]](data, 1, max_depth)
    except (IndexError, ValueError):
        # Reading past the end, and not finding a terminator; nothing else below lets these two out.
        raise PeerError("DEncode: the message ends inside a value") from None
    except RecursionError:
        raise PeerError("DEncode: nested too deeply") from None
    if end != len(data):
        raise PeerError(f"DEncode: the message ends at byte {end} of {len(data)}")
    return value


# --- encoding


def _encode_none(_value: None, put: Put) -> None:
    put(b"n")


def _encode_bool(value: bool, put: Put) -> None:
    put(b"b1" if value else b"b0")


def _encode_int(value: int, put: Put) -> None:
    put(b"i%de" % value)  # prints the number, also for an enum with a __str__ of its own


def _encode_float(value: float, put: Put) -> None:
    put(b"f%be" % float.__repr__(value).encode())


def _encode_str(value: str, put: Put) -> None:
    raw = value.encode("utf-8", "surrogateescape")
    put(b"s%d:%b" % (len(raw), raw))


def _encode_bytes(value: bytes, put: Put) -> None:
    put(b"s%d:%b" % (len(value), value))


def _encode_items(items: list[Any] | tuple[Any, ...], put: Put) -> None:
    encoder_of = _ENCODERS.get
    for item in items:
        encoder_of(type(item), _encode_subclass)(item, put)
    put(b"e")


def _encode_list(value: list[Any], put: Put) -> None:
    put(b"l")
    _encode_items(value, put)


def _encode_tuple(value: tuple[Any, ...], put: Put) -> None:
    put(b"t")
    _encode_items(value, put)


def _encode_dict(value: dict[Any, Any], put: Put) -> None:
    put(b"d")
    encoder_of = _ENCODERS.get
    for key, item in value.items():
        encoder_of(type(key), _encode_subclass)(key, put)
        encoder_of(type(item), _encode_subclass)(item, put)
    put(b"e")


def _encode_datetime(value: datetime, put: Put) -> None:
    if value.utcoffset() is not None:  # the wire has no time zones; legacy times are UTC
        value = value.astimezone(UTC)
    put(
        b"zati%dei%dei%dei%dei%dei%dei%dene"
        % (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    )


def _encode_date(value: date, put: Put) -> None:
    put(b"zdti%dei%dei%dee" % (value.year, value.month, value.day))


def _encode_time(value: time, put: Put) -> None:
    if value.tzinfo is not None:
        raise TypeError("DEncode cannot encode a time with a time zone: it has no UTC value without its date")
    put(b"ztti%dei%dei%dei%dene" % (value.hour, value.minute, value.second, value.microsecond))


_ENCODERS: dict[type, Encoder] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    str: _encode_str,
    bytes: _encode_bytes,
    list: _encode_list,
    tuple: _encode_tuple,
    dict: _encode_dict,
    datetime: _encode_datetime,  # before date, its base class
    date: _encode_date,
    time: _encode_time,
}


def _encode_subclass(value: Any, put: Put) -> None:
    """Encode an enum, named tuple or other subclass as the plain type it extends."""
    for base, encoder in _ENCODERS.items():
        if isinstance(value, base):
            encoder(value, put)
            return
    raise TypeError(f"DEncode cannot encode {type(value).__qualname__}")


# --- decoding: each function gets the position after the tag and returns the position after the value

_END = ord("e")

# Nearly all lengths of strings: finding one here is faster than reading it, and shows that it is
# written the one right way.
_SMALL_NUMBERS = {b"%d" % number: number for number in range(1024)}


def _read_number(text: bytes) -> int:
    """The number ``text`` stands for, if it is written as DIRAC writes it."""
    digits = text if text.isdigit() else text.removeprefix(b"-")
    # int() alone would take spaces, signs and underscores, and need quadratic time for a long text.
    if not digits.isdigit() or (digits.startswith(b"0") and text != b"0"):
        raise PeerError(f"DEncode: not a number: {text[:20]!r}")
    if len(digits) > _MAX_INT_DIGITS:
        raise PeerError(f"DEncode: a number of {len(digits)} digits")
    return int(text)


def _decode_none(_data: bytes, pos: int, _depth: int) -> tuple[None, int]:
    return None, pos


def _decode_bool(data: bytes, pos: int, _depth: int) -> tuple[bool, int]:
    digit = data[pos]
    if digit not in b"01":
        raise PeerError("DEncode: a bool that is neither 0 nor 1")
    return digit == ord("1"), pos + 1


def _decode_int(data: bytes, pos: int, _depth: int) -> tuple[int, int]:
    end = data.index(b"e", pos)
    return _read_number(data[pos:end]), end + 1


_FLOAT_NAMES = {b"nan": float("nan"), b"inf": float("inf"), b"-inf": float("-inf")}


def _decode_float(data: bytes, pos: int, _depth: int) -> tuple[float, int]:
    end = data.index(b"e", pos)
    # No value starts with a sign, so one after the "e" can only be an exponent's.
    if data.startswith((b"+", b"-"), end + 1):
        end = data.index(b"e", end + 1)
    text = data[pos:end]
    named = _FLOAT_NAMES.get(text)
    return _read_float(text) if named is None else named, end + 1


def _read_float(text: bytes) -> float:
    # float() alone would take spaces, underscores, "+5", "infinity", and 1e999 for infinity.
    if len(text) <= _MAX_FLOAT_CHARS and text[:1] in b"-0123456789" and not text.strip(b"-0123456789.e+"):
        with suppress(ValueError):
            value = float(text)
            if isfinite(value):
                return value
    raise PeerError(f"DEncode: not a float: {text[:20]!r}")


def _decode_str(data: bytes, pos: int, _depth: int) -> tuple[str, int]:
    colon = data.index(b":", pos)
    text = data[pos:colon]
    length = _SMALL_NUMBERS.get(text)
    if length is None:
        length = _read_number(text)
    start = colon + 1
    end = start + length
    if not start <= end <= len(data):
        raise PeerError("DEncode: a string's length is negative or beyond the message")
    return data[start:end].decode("utf-8", "surrogateescape"), end


def _decode_list(data: bytes, pos: int, depth: int) -> tuple[list[Any], int]:
    if depth <= 0:
        raise PeerError("DEncode: nested too deeply")
    items = []
    tag = data[pos]
    while tag != _END:
        item, pos = _DECODERS[tag](data, pos + 1, depth - 1)
        items.append(item)
        tag = data[pos]
    return items, pos + 1


def _decode_tuple(data: bytes, pos: int, depth: int) -> tuple[tuple[Any, ...], int]:
    items, pos = _decode_list(data, pos, depth)
    return tuple(items), pos


def _decode_dict(data: bytes, pos: int, depth: int) -> tuple[dict[Any, Any], int]:
    if depth <= 0:
        raise PeerError("DEncode: nested too deeply")
    result = {}
    tag = data[pos]
    while tag != _END:
        key, pos = _DECODERS[tag](data, pos + 1, depth - 1)
        value, pos = _DECODERS[data[pos]](data, pos + 1, depth - 1)
        try:
            # Of equal keys the last wins: encoders do send them, b"k" and "k" being one here.
            result[key] = value
        except TypeError:
            raise PeerError("DEncode: a dictionary's key is or holds a list or dictionary") from None
        tag = data[pos]
    return result, pos + 1


# Kind byte -> constructor, how many ints it is given, how the last of them and the tuple end (the
# tzinfo of datetime and time is always None).
_TIMES: dict[int, tuple[Callable[..., Any], int, bytes]] = {
    ord("a"): (datetime, 7, b"ene"),
    ord("d"): (date, 3, b"ee"),
    ord("t"): (time, 4, b"ene"),
}


def _decode_time(data: bytes, pos: int, _depth: int) -> tuple[Any, int]:
    kind = _TIMES.get(data[pos])
    if kind is None or not data.startswith(b"ti", pos + 1):
        raise PeerError("DEncode: not a date or time")
    make, count, tail = kind
    end = data.index(tail, pos)
    # Read as the ints they are, not as any tuple: datetime() takes bool too, and str, which it unpickles.
    fields = data[pos + 3 : end].split(b"ei", count)
    if len(fields) != count:
        raise PeerError("DEncode: a date or time has the wrong number of fields")
    try:
        return make(*[_read_number(field) for field in fields]), end + len(tail)
    except (ValueError, OverflowError):
        raise PeerError("DEncode: a date or time that does not exist") from None


def _refuse(data: bytes, pos: int, _depth: int) -> Never:
    raise PeerError(f"DEncode: unknown tag {data[pos - 1 : pos]!r} at byte {pos - 1}")


_DECODERS: list[Decoder] = [_refuse] * 256
_DECODERS[ord("n")] = _decode_none
_DECODERS[ord("b")] = _decode_bool
_DECODERS[ord("i")] = _DECODERS[ord("I")] = _decode_int  # I: Python 2's long
_DECODERS[ord("f")] = _decode_float
_DECODERS[ord("s")] = _DECODERS[ord("u")] = _decode_str  # u: Python 2's unicode
_DECODERS[ord("l")] = _decode_list
_DECODERS[ord("t")] = _decode_tuple
_DECODERS[ord("d")] = _decode_dict
_DECODERS[ord("z")] = _decode_time
