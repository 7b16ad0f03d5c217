"""MessagePack-RPC, without I/O (MessagePack-RPC specification; MessagePack specification, 2013 and later).

Messages follow each other on one connection, with nothing between them; each is an array::

    client  [0, msgid, method, [argument, ...]]     a request
    client  [2, method, [argument, ...]]            a notification: executed, never answered
    server  [1, msgid, error, result]               in any order; error is nil, or the result is

A message says how long it is only by what it contains.  So its outline is read first, header by header, as
the bytes come: where it ends, how deep and how large it is.  What claims too much is refused there and then,
and only whole messages within the limits become values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, Never

import msgpack

from legacy_rpc.codecs.dencode import MAX_DEPTH
from legacy_rpc.codecs.encodings import UNSENDABLE, unsendable
from legacy_rpc.codecs.pieces import PIECE, is_light, weight
from legacy_rpc.messages import Failure, Outcome, PeerError

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2


@dataclass(frozen=True, slots=True)
class MsgpackLimits:
    """What one message may be at most: bytes, containers inside each other, values (keys and containers too).

    ``calls`` is how many calls of one connection may run at a time; more are not read.
    """

    message: int = 16 * 1024 * 1024
    depth: int = MAX_DEPTH
    elements: int = 1_000_000
    calls: int = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A call: the whole name, the arguments, how many bytes it came in.  A notification has no ``msgid``."""

    msgid: int | None
    method: str
    params: list[Any]
    size: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A request whose end is known and whose content is none: to be answered with the problem."""

    msgid: int
    problem: str


class RequestReader:
    """Takes bytes as they come, gives requests."""

    def __init__(self, limits: MsgpackLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._outline = _Outline(limits)
        self.messages = 0
        """How many messages were whole so far."""

    @property
    def half_sent(self) -> bool:
        """Whether there are bytes of a message that was not given yet."""
        return bool(self._buffer)

    def allow(self, limits: MsgpackLimits) -> None:
        """Other limits, from the next message on: none may be half read."""
        self._limits = limits
        self._outline = _Outline(limits)

    def feed(self, data: bytes) -> None:
        """Take what the transport received."""
        self._buffer += data

    def next_event(self) -> Request | Unreadable | None:
        """The next request; None: feed me more.

        Raises PeerError for what is no message of this protocol or beyond a limit, as soon as it can be seen:
        what follows cannot be read.  Answer ``last_word`` then.
        """
        end = self._outline.end(self._buffer)
        if end is None:
            return None
        data = bytes(self._buffer[:end])
        event = self._event(data, has_extensions=self._outline.has_extensions)
        del self._buffer[:end]
        self._outline = _Outline(self._limits)
        self.messages += 1
        return event

    def last_word(self, error: PeerError) -> bytes:
        """The response that tells what was wrong with the message at hand; its msgid is nil if unknown."""
        return encode_response(_msgid(self._buffer), Failure(str(error)))

    def _event(self, data: bytes, *, has_extensions: bool) -> Request | Unreadable:
        try:
            message = _decode(data, has_extensions=has_extensions)
        except (ValueError, TypeError, OverflowError) as error:
            msgid = _msgid(data)
            if msgid is None:
                raise PeerError(f"MessagePack: {error}") from None
            return _unreadable(msgid, str(error))
        match message:
            case [0, int(msgid), method, params] if type(msgid) is int:
                pass
            case [2, method, params]:
                msgid = None
            case _:
                raise PeerError("A message must be [0, msgid, method, params] or [2, method, params]")
        if not isinstance(method, str | bytes):
            return _unreadable(msgid, "the method must be a string")
        if not isinstance(params, list):
            return _unreadable(msgid, "the params must be an array")
        return Request(msgid, method_name(method), params, len(data))


def _unreadable(msgid: int | None, problem: str) -> Unreadable:
    """Of a notification nobody could be told, were the connection to go on."""
    if msgid is None:
        raise PeerError(f"The notification cannot be read: {problem}")
    return Unreadable(msgid, f"The request cannot be read: {problem}")


def method_name(name: str | bytes) -> str:
    """A method's name, which some clients send as ``bin``; what is no utf-8 in it cannot be meant."""
    data = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    return data.decode("utf-8", "replace")


def encode_response(
    msgid: int | None, outcome: Outcome, *, whole: bool = False, times_as_text: bool = False
) -> bytes:
    """The response to a request: its value, or an error, ``{"Errno": n, "Message": s, ...}``.

    With ``whole`` it is always a result, the one that a DISET client sees: ``{"OK": ...}`` with all its keys.
    ``times_as_text`` is for clients whose MessagePack has no timestamps.  A value that the wire cannot carry
    becomes an error that says so.
    """
    pieces = response_in_pieces(msgid, outcome, whole=whole, times_as_text=times_as_text)
    try:
        return b"".join(pieces)
    except UNSENDABLE as error:
        return encode_response(msgid, unsendable(error), whole=whole)


def response_in_pieces(
    msgid: int | None, outcome: Outcome, *, whole: bool = False, times_as_text: bool = False
) -> Iterator[bytes]:
    """The same bytes in pieces of bounded work.  Any may raise UNSENDABLE: keep them till the last."""
    return _pieces(_response(msgid, outcome, whole), _as_text if times_as_text else _as_timestamp)


def _response(msgid: int | None, outcome: Outcome, whole: bool) -> list[Any]:
    if whole:
        return [RESPONSE, msgid, None, outcome.as_result()]
    if isinstance(outcome, Failure):
        error = outcome.as_result()
        del error["OK"]
        return [RESPONSE, msgid, error, None]
    return [RESPONSE, msgid, None, outcome.value]


# --- values to bytes


def _encode(message: Any, extended: Callable[[Any], Any]) -> bytes:
    """The bytes of a message (MessagePack specification: 2013's ``str`` and ``bin``, 2017's timestamp).

    ``extended`` says what stands for a value that MessagePack has no type of its own for.  A str with
    ``surrogateescape`` characters is sent as the ``bin`` they stand for: no reader takes them in a ``str``.
    Raises TypeError, ValueError, OverflowError and RecursionError for what cannot be carried.
    """
    try:
        return msgpack.packb(message, default=extended)
    except UnicodeEncodeError:
        return msgpack.packb(_with_bytes(message), default=extended)


def _pieces(value: Any, extended: Callable[[Any], Any]) -> Iterator[bytes]:
    """What ``_encode`` gives: a container that is not light as its header, then its items in groups."""
    if is_light(value) or not isinstance(value, list | tuple | dict):
        yield _encode(value, extended)
        return
    items: Iterable[Any] = value
    if isinstance(value, dict):
        yield msgpack.Packer().pack_map_header(len(value))
        items = chain.from_iterable(value.items())
    else:
        yield msgpack.Packer().pack_array_header(len(value))
    group: list[Any] = []
    gathered = 0
    for item in items:
        added = weight(item, PIECE)
        if gathered + added > PIECE:
            yield _encode_group(group, extended)
            group, gathered = [], 0
        if added > PIECE:
            yield from _pieces(item, extended)
        else:
            group.append(item)
            gathered += added
    yield _encode_group(group, extended)


def _encode_group(items: list[Any], extended: Callable[[Any], Any]) -> bytes:
    """One after the other, as they stand in an array behind its header."""
    return _encode(items, extended)[1 if len(items) < 16 else 3 :]


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - legacy values are naive UTC
_SECONDS_A_DAY = 86400


def _as_timestamp(value: Any) -> Any:
    """Of a date: its midnight."""
    if isinstance(value, datetime):
        since = _in_utc(value) - _EPOCH
        return msgpack.Timestamp(since.days * _SECONDS_A_DAY + since.seconds, since.microseconds * 1000)
    if isinstance(value, date):
        return msgpack.Timestamp((value - _EPOCH.date()).days * _SECONDS_A_DAY)
    return _refuse(value)


def _as_text(value: Any) -> Any:
    """As DIRAC prints times: ``2026-11-21 12:00:01.250000``, or a date alone."""
    if isinstance(value, datetime):
        return _in_utc(value).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    return _refuse(value)


def _in_utc(value: datetime) -> datetime:
    return value if value.utcoffset() is None else value.astimezone(UTC).replace(tzinfo=None)


def _refuse(value: Any) -> Never:
    if isinstance(value, int):
        raise OverflowError("MessagePack cannot carry a number beyond 64 bits")
    raise TypeError(f"MessagePack cannot carry {type(value).__qualname__}")


def _with_bytes(value: Any) -> Any:
    """The value with bytes in place of every text that is none."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [_with_bytes(item) for item in value]
    if isinstance(value, Mapping):
        return {_with_bytes(key): _with_bytes(item) for key, item in value.items()}
    return value


# --- bytes to values


def _decode(data: bytes, *, has_extensions: bool) -> Any:
    """The value of one whole message.

    Timestamps become naive datetimes in UTC, to the microsecond.  A ``str`` may be old MessagePack's ``raw``:
    bytes in it that are not utf-8 come back as ``surrogateescape`` characters.  Keys may be of any type but
    arrays and maps.  Raises ValueError, TypeError and OverflowError.
    """
    value = msgpack.unpackb(
        data,
        strict_map_key=False,
        timestamp=3,
        ext_hook=_refuse_extension,
        unicode_errors="surrogateescape",
    )
    return _with_naive_times(value) if has_extensions else value


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"the extension type {code} is not known")


def _with_naive_times(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, list):
        return [_with_naive_times(item) for item in value]
    if isinstance(value, dict):
        return {_with_naive_times(key): _with_naive_times(item) for key, item in value.items()}
    return value


# A request's header as every packer writes it: an array of four, the type 0.
_REQUEST_HEAD = b"\x94\x00"


def _msgid(data: bytes | bytearray) -> int | None:
    """The msgid of a request that cannot be read any further; None if that cannot be told either."""
    if not data.startswith(_REQUEST_HEAD) or len(data) <= len(_REQUEST_HEAD):
        return None
    start = len(_REQUEST_HEAD)
    try:
        msgid = msgpack.unpackb(data[start : start + _SIZES[data[start]]])
    except ValueError:
        return None
    return msgid if type(msgid) is int else None


# --- the outline of a message

# First byte -> bytes of the whole value, where that byte alone says it: numbers, nil, bool, short strings.
_SIZES = [0] * 256
_SIZES[0x00:0x80] = [1] * 0x80
_SIZES[0xA0:0xC0] = range(1, 0x21)
_SIZES[0xE0:0x100] = [1] * 0x20
for _first, _size in {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9}.items():
    _SIZES[_first] = _size
_SIZES[0xCC:0xD0] = _SIZES[0xD0:0xD4] = [2, 3, 5, 9]

# What a header says: bytes up to the first value inside, and how many values that are.  A value that is no
# container has none and ends there.
_Header = tuple[int, int | None]

# First byte -> header, of short maps and arrays.
_SHORT_CONTAINERS: dict[int, _Header] = {0x80 + count: (1, 2 * count) for count in range(16)}
_SHORT_CONTAINERS |= {0x90 + count: (1, count) for count in range(16)}
# First byte -> width of the count behind it, and how many values each counted one has.
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
# First byte -> width of the length behind it.
_STRINGS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
# First byte -> bytes of the whole value.
_FIXED_EXTENSIONS = {0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}
_ARRAYS = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})


class _Outline:
    """Finds where a message ends, and goes on where it was when more bytes have come.

    Costs a step for each value and keeps a number for each open container, whatever the headers claim.
    """

    def __init__(self, limits: MsgpackLimits) -> None:
        self._limits = limits
        self._at = 0  # where the next value begins; may lie beyond what has come
        self._left = 1  # values that the innermost open container still has
        self._around: list[int] = []  # the same of those around it
        self._claimed = 1
        self.has_extensions = False

    def end(self, buffer: bytearray) -> int | None:
        """Where the message at the buffer's beginning ends; None: it is not all there.  Raises PeerError."""
        if buffer and buffer[0] not in _ARRAYS:
            raise PeerError("A message must be an array")
        at, left, around, come = self._at, self._left, self._around, len(buffer)
        while True:
            while left and at < come and (size := _SIZES[buffer[at]]):
                at += size
                left -= 1
            if not left:
                if not around:
                    break
                left = around.pop()
                continue
            header = self._header(buffer, at) if at < come else None
            if header is None:
                break
            size, items = header
            at += size
            left -= 1
            if items is not None:
                self._enter(items)
                around.append(left)
                left = items
        self._at, self._left = at, left
        if at + left > self._limits.message:
            raise PeerError(f"A message is larger than the limit of {self._limits.message} bytes")
        return None if left or at > come else at

    def _header(self, buffer: bytearray, at: int) -> _Header | None:
        """The header of the value at a place; None: it has not all come."""
        first = buffer[at]
        return _SHORT_CONTAINERS.get(first) or self._long_header(first, buffer, at + 1)

    def _long_header(self, first: int, buffer: bytearray, start: int) -> _Header | None:
        self.has_extensions |= first in _FIXED_EXTENSIONS or first in _EXTENSIONS
        if first in _FIXED_EXTENSIONS:
            return _FIXED_EXTENSIONS[first], None
        width, times = _CONTAINERS.get(first, (0, 0))
        width = width or _STRINGS.get(first) or _EXTENSIONS.get(first, 0)
        if not width:
            raise PeerError(f"MessagePack: no value begins with the byte {first:#04x}")
        if len(buffer) < start + width:
            return None
        length = int.from_bytes(buffer[start : start + width], "big")
        if times:
            return 1 + width, length * times
        return 1 + width + (first in _EXTENSIONS) + length, None  # an extension's type is a byte more

    def _enter(self, items: int) -> None:
        self._claimed += items
        if self._claimed > self._limits.elements:
            raise PeerError(f"A message has more than {self._limits.elements} values")
        if len(self._around) >= self._limits.depth:
            raise PeerError("MessagePack: nested too deeply")
