"""DEncode, the value encoding of DIRAC 7.3 and 8.0 clients (``legacy-wire.md`` section 3.1).

Every value is one tag byte and what the tag asks for: ``i42e``, ``f1.5e``, ``b1``, ``n``,
``s5:hello``, ``l...e``, ``t...e``, ``d<key><value>...e``, and ``za``, ``zd``, ``zt`` for datetime,
date and time.  Both directions are one table from tag or type to a small function.

Decoding accepts what an encoder of any DIRAC release emits and nothing else.  DIRAC itself lets much
more through (``i1_000e``, strings shorter than their length, trailing bytes); none of it is ever sent
by a client, so here it means a damaged or hostile message.

What makes it fast (``benchmarks/codec.py`` measures it): inside this module a message is text with one
character for each byte (latin-1), which Python cuts and formats faster than bytes; one regular expression
cuts a message into its tokens; and since messages hold the same names and words over and over, short tokens
are remembered with their values, and short strings with their tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import chain
from math import isfinite
from typing import Any, Never

from legacy_rpc.codecs.steps import Steps, in_one_go
from legacy_rpc.messages import PeerError

# Deep enough for any real message (they stay below 10) and far from Python's recursion limit, which those
# who walk through a value reach with two frames per level.
MAX_DEPTH = 200
# So many values, and ends of containers, may be in one message: the most costly ones take about a second.
MAX_VALUES = 1_000_000

# Python's own limit for text to int, applied here whatever the interpreter was told: above it the
# conversion takes quadratic time.
_MAX_INT_DIGITS = 4300
_MAX_FLOAT_CHARS = 32  # repr of a float has at most 24

Put = Callable[[str], None]
Encoder = Callable[[Any, Put], None]
Decoder = Callable[[str, int], tuple[Any, int]]


def encode(value: Any) -> bytes:
    """The DEncode bytes of ``value`` (``legacy-wire.md`` section 3.1).

    Takes None, bool, int, float, str, bytes, list, tuple, dict, datetime, date, naive time, and
    subclasses of these.  An aware datetime is sent as UTC.  ``bytes`` arrive as str; a str with
    ``surrogateescape`` characters is sent as the bytes they stand for.

    Raises TypeError for any other type, ValueError for an int of more than 4300 digits or a surrogate
    that stands for no byte, OverflowError for an aware datetime that UTC has no year for.
    """
    chunks: list[str] = []
    _ENCODERS.get(type(value), _encode_subclass)(value, chunks.append)
    return "".join(chunks).encode("latin-1")


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one whole DEncode message (``legacy-wire.md`` section 3.1).

    ``max_depth`` is how many containers may lie inside each other, never more than 200.  Bytes that are
    not utf-8 come back as ``surrogateescape`` characters.  Raises PeerError for anything malformed, for
    more than a million values, and for a dictionary of many keys that were chosen to make it slow.
    """
    return in_one_go(decode_in_pieces(data, max_depth=max_depth))


def decode_in_pieces(data: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> Steps[Any]:
    """``decode`` as a generator that returns the value, and yields after every millisecond or so of work."""
    return _reading(data.decode("latin-1"), min(max_depth, MAX_DEPTH), max_values)


class _Memory(dict[str, Any]):
    """Short texts and what was made of them lately: looking that up costs less than making it again.

    It never holds more than ``_MOST`` texts of ``_SHORT`` characters, whatever peers send.
    """

    _SHORT = 64
    _MOST = 4096

    def keep(self, text: str, made: Any) -> None:
        """Remember what was made of a text, if it is short."""
        if len(text) <= self._SHORT:
            if len(self) >= self._MOST:
                self.clear()
            self[text] = made


# --- encoding


def _encode_none(_value: None, put: Put) -> None:
    put("n")


def _encode_bool(value: bool, put: Put) -> None:
    put("b1" if value else "b0")


def _encode_int(value: int, put: Put) -> None:
    put(f"i{int.__repr__(value)}e")  # the number, also for an enum with a __str__ of its own


def _encode_float(value: float, put: Put) -> None:
    put(f"f{float.__repr__(value)}e")


class _StringTokens(_Memory):
    """The token of a str."""

    def __missing__(self, value: str) -> str:
        raw = value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("latin-1")
        token = f"s{len(raw)}:{raw}"
        self.keep(value, token)
        return token


_STRING_TOKENS = _StringTokens()


def _encode_str(value: str, put: Put) -> None:
    put(_STRING_TOKENS[str.__str__(value)])  # a plain str, also for an enum, is what may be remembered


def _encode_bytes(value: bytes, put: Put) -> None:
    put(f"s{len(value)}:{value.decode('latin-1')}")


def _encode_items(items: Iterable[Any], put: Put) -> None:
    """The inside and the end of a container; the commonest types take no call of a function."""
    for item in items:
        kind = type(item)
        if kind is str:
            put(_STRING_TOKENS[item])
        elif kind is int:
            put(f"i{item}e")
        elif item is None:
            put("n")
        else:
            _ENCODERS.get(kind, _encode_subclass)(item, put)
    put("e")


def _encode_list(value: list[Any], put: Put) -> None:
    put("l")
    _encode_items(value, put)


def _encode_tuple(value: tuple[Any, ...], put: Put) -> None:
    put("t")
    _encode_items(value, put)


def _encode_dict(value: dict[Any, Any], put: Put) -> None:
    put("d")
    _encode_items(chain.from_iterable(value.items()), put)


def _encode_datetime(value: datetime, put: Put) -> None:
    if value.tzinfo is not None and value.utcoffset() is not None:
        value = value.astimezone(UTC)  # the wire has no time zones; legacy times are UTC
    put(
        f"zati{value.year}ei{value.month}ei{value.day}"
        f"ei{value.hour}ei{value.minute}ei{value.second}ei{value.microsecond}ene"
    )


def _encode_date(value: date, put: Put) -> None:
    put(f"zdti{value.year}ei{value.month}ei{value.day}ee")


def _encode_time(value: time, put: Put) -> None:
    if value.tzinfo is not None:
        raise TypeError("DEncode cannot encode a time with a time zone: it has no UTC value without its date")
    put(f"ztti{value.hour}ei{value.minute}ei{value.second}ei{value.microsecond}ene")


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


# --- decoding: tokens to values


@dataclass(frozen=True, slots=True)
class _Mark:
    """What stands for no value of its own: the start of a container, and how to make it, or any end."""

    make: Callable[[list[Any]], Any]


def _reading(text: str, max_depth: int, max_values: int) -> Steps[Any]:
    """Reads the value of a message.

    Containers that lie inside each other are kept on a stack, not on Python's.
    """
    items: list[Any] = []  # of the innermost container that is open
    around: list[tuple[_Mark, list[Any]]] = []  # its mark, and the items around it; then those around that
    end = count = 0
    with suppress(IndexError, ValueError):  # reading past the end, and not finding a terminator
        while end < len(text):
            if end:
                yield
            tokens, end = _next_tokens(text, end)
            count += len(tokens)
            if count > max_values:
                raise PeerError(f"DEncode: a message of more than {max_values} values")
            left = iter(tokens)
            for value in map(_VALUES.__getitem__, left):
                if type(value) is not _Mark:
                    items.append(value)
                elif value is not _END:
                    if len(around) >= max_depth:
                        raise PeerError("DEncode: nested too deeply")
                    around.append((value, items))
                    items = []
                    continue
                else:
                    mark, outer = around.pop() if around else (_END, [])
                    if mark is _END or (mark is _DICT and len(items) % 2):
                        _refuse(text, end - sum(map(len, left)))
                    is_long = mark is _DICT and len(items) > 2 * _FEW_KEYS
                    outer.append((yield from _make_long_dict(items)) if is_long else mark.make(items))
                    items = outer
                if not around:
                    end -= sum(map(len, left))
                    if end != len(text):
                        raise PeerError(f"DEncode: the message ends at byte {end} of {len(text)}")
                    return items[0]
    raise PeerError("DEncode: the message ends inside a value")


def _make_dict(items: list[Any]) -> dict[Any, Any]:
    """Of equal keys the last wins: encoders do send them, b"k" and "k" being one here."""
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError:
        raise PeerError("DEncode: a dictionary's key is or holds a list or dictionary") from None


def _make_long_dict(items: list[Any]) -> Steps[dict[Any, Any]]:
    """The same, where the keys could have been chosen to make it slow."""
    made: dict[Any, Any] = {}
    hashes: Counter[int] = Counter()
    for start in range(0, len(items), 2 * _KEYS_AT_A_TIME):
        part = _make_dict(items[start : start + 2 * _KEYS_AT_A_TIME])
        hashes.update(map(hash, part))
        if max(map(hashes.__getitem__, map(hash, part))) > _FEW_KEYS:
            raise PeerError("DEncode: a dictionary's keys could make it slow")
        made |= part
        yield
    return made


# Whoever knows how Python hashes numbers and tuples can choose thousands with one and the same hash, and
# each of them is compared with all before it.  Keys that nobody has chosen so hardly ever share one.
_FEW_KEYS = 64
_KEYS_AT_A_TIME = 1024


_LIST, _TUPLE, _DICT, _END = _Mark(lambda items: items), _Mark(tuple), _Mark(_make_dict), _Mark(tuple)


# --- decoding: text to tokens


def _short_strings() -> str:
    """Matches strings of less than a hundred bytes: a choice of digits first, so that few are tried."""
    lengths = [
        f"{tens}(?::.{{{tens}}}|" + "|".join(f"{ones}:.{{{tens}{ones}}}" for ones in range(10)) + ")"
        for tens in range(1, 10)
    ]
    return f"[su](?:0:|{'|'.join(lengths)})"


_TOKEN = re.compile(
    rf"{_short_strings()}"
    r"|[nltde]|b.|[iI][^e]*e|f[^e]*e(?:[+-][^e]*e)?|z[at][^n]*ene|zd.*?ee"
    r"|.+",  # the rest, which begins with none of these
    re.DOTALL,
)
# Characters that are cut at a time: where the expression meets what it does not know, little is in vain.
_RUN = 8192


def _next_tokens(text: str, pos: int) -> tuple[list[str], int]:
    """The tokens from ``pos`` on, many or one, and where they end."""
    tokens: list[str] = _TOKEN.findall(text, pos, pos + _RUN)
    end = min(pos + _RUN, len(text))
    if tokens[-1] != "e":
        # It may be cut off by the end of the run, or the rest: comes first next time.
        end -= len(tokens.pop())
    if not tokens:
        # Longer than a run, or than what the expression knows, or no token at all: its own decoder tells.
        _value, end = _DECODERS.get(text[pos], _refuse)(text, pos + 1)
        tokens.append(text[pos:end])
    return tokens, end


class _Values(_Memory):
    """The value of a token that the decoders would take.

    Times and larger numbers seldom come twice: remembering them would cost more than reading them.
    """

    def __missing__(self, token: str) -> Any:
        tag = token[0]
        if tag == "z":
            return _read_time(token)
        if tag == "i" and len(token) > len("i9999e"):
            return _read_number(token[1:-1])
        value, _end = _DECODERS[tag](token, 1)
        self.keep(token, value)
        return value


def _read_time(token: str) -> Any:
    try:
        if token.startswith("zati"):
            year, month, day, hour, minute, second, us = map(_COMMON_NUMBER, token[4:-3].split("ei"))
            return datetime(year, month, day, hour, minute, second, us)  # noqa: DTZ001 (the wire has no zones)
    except (KeyError, ValueError):
        pass  # what is not quite common is the decoder's
    return _decode_time(token, 1)[0]


_VALUES = _Values()


# --- decoding: each function gets the position after the tag and returns the position after the value

# The fields of times, and nearly all lengths of strings: finding one here is faster than reading it, and
# shows that it is written the one right way.
_SMALL_NUMBERS = {str(number): number for number in range(3000)}
_COMMON_NUMBER = _SMALL_NUMBERS.__getitem__


def _read_number(text: str) -> int:
    """The number ``text`` stands for, if it is written as DIRAC writes it."""
    digits = text if text.isdecimal() else text.removeprefix("-")
    # int() alone would take spaces, signs and underscores, and need quadratic time for a long text.
    if not digits.isdecimal() or (digits[0] == "0" and text != "0"):
        raise PeerError(f"DEncode: not a number: {text[:20]!r}")
    if len(digits) > _MAX_INT_DIGITS:
        raise PeerError(f"DEncode: a number of {len(digits)} digits")
    return int(text)


def _decode_none(_text: str, pos: int) -> tuple[None, int]:
    return None, pos


def _decode_bool(text: str, pos: int) -> tuple[bool, int]:
    digit = text[pos]
    if digit not in "01":
        raise PeerError("DEncode: a bool that is neither 0 nor 1")
    return digit == "1", pos + 1


def _decode_int(text: str, pos: int) -> tuple[int, int]:
    end = text.index("e", pos)
    return _read_number(text[pos:end]), end + 1


_FLOAT_NAMES = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def _decode_float(text: str, pos: int) -> tuple[float, int]:
    end = text.index("e", pos)
    # No value starts with a sign, so one after the "e" can only be an exponent's.
    if text.startswith(("+", "-"), end + 1):
        end = text.index("e", end + 1)
    number = text[pos:end]
    named = _FLOAT_NAMES.get(number)
    return _read_float(number) if named is None else named, end + 1


def _read_float(text: str) -> float:
    # float() alone would take spaces, underscores, "+5", "infinity", and 1e999 for infinity.
    if len(text) <= _MAX_FLOAT_CHARS and text[:1] in "-0123456789" and not text.strip("-0123456789.e+"):
        with suppress(ValueError):
            value = float(text)
            if isfinite(value):
                return value
    raise PeerError(f"DEncode: not a float: {text[:20]!r}")


def _decode_str(text: str, pos: int) -> tuple[str, int]:
    colon = text.index(":", pos)
    start = colon + 1
    length = _SMALL_NUMBERS.get(text[pos:colon])
    end = start + (_read_number(text[pos:colon]) if length is None else length)
    if not start <= end <= len(text):
        raise PeerError("DEncode: a string's length is negative or beyond the message")
    value = text[start:end]
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "surrogateescape"), end


# Kind -> constructor, how many ints it is given, how the last of them and the tuple end (the tzinfo of
# datetime and time is always None).
_TIMES: dict[str, tuple[Callable[..., Any], int, str]] = {
    "a": (datetime, 7, "ene"),
    "d": (date, 3, "ee"),
    "t": (time, 4, "ene"),
}


def _decode_time(text: str, pos: int) -> tuple[Any, int]:
    kind = _TIMES.get(text[pos])
    if kind is None or not text.startswith("ti", pos + 1):
        raise PeerError("DEncode: not a date or time")
    make, count, tail = kind
    end = text.index(tail, pos)
    # Read as the ints they are, not as any tuple: datetime() takes bool too, and str, which it unpickles.
    fields = text[pos + 3 : end].split("ei", count)
    if len(fields) != count:
        raise PeerError("DEncode: a date or time has the wrong number of fields")
    try:
        return make(*map(_read_number, fields)), end + len(tail)
    except (ValueError, OverflowError):
        raise PeerError("DEncode: a date or time that does not exist") from None


def _refuse(text: str, pos: int) -> Never:
    raise PeerError(f"DEncode: unknown tag {text[pos - 1].encode('latin-1')!r} at byte {pos - 1}")


_DECODERS: dict[str, Decoder] = {
    "l": lambda _text, pos: (_LIST, pos),
    "t": lambda _text, pos: (_TUPLE, pos),
    "d": lambda _text, pos: (_DICT, pos),
    "e": lambda _text, pos: (_END, pos),
    "n": _decode_none,
    "b": _decode_bool,
    "i": _decode_int,
    "I": _decode_int,  # Python 2's long
    "f": _decode_float,
    "s": _decode_str,
    "u": _decode_str,  # Python 2's unicode
    "z": _decode_time,
}
