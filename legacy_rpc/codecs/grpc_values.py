"""Values of the legacy RPC as messages of the gRPC wire, and back.

``Value`` is a union; lists and dictionaries hold further ones.  Readers of protobuf go 100 messages deep and
no deeper, ours too, so 49 lists or 33 dictionaries can lie inside each other in a call or a reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError, Message

from legacy_rpc.codecs.grpc_wire import STEP_BYTES
from legacy_rpc.codecs.steps import Steps
from legacy_rpc.messages import PeerError

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the legacy RPC's times have no zone
NANOSECONDS = 10**9
SECONDS_PER_DAY = 86400
LEAST_INT, GREATEST_INT = -(2**63), 2**63 - 1

# How many messages may lie inside each other.
LEVELS = 100
# A list costs two of them, and a dictionary three: itself, its entries' list, an entry.
LIST_LEVELS, MAP_LEVELS, TIME_LEVELS = 2, 3, 1


class Unwritable(ValueError):
    """A value that cannot be written on this wire; the text says why."""


# --- values to messages


def write_value(message: Any, value: Any, levels: int = LEVELS - 1) -> None:
    """Fill an empty ``Value``; ``levels`` is how many messages may lie inside it.

    Takes what ``jencode.encode`` takes, and keys of a dictionary that are no text as they are.  A text with
    what is no Unicode is written as bytes.  Raises Unwritable.
    """
    if isinstance(value, str):
        _write_text(message, value)
    elif value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        if not LEAST_INT <= value <= GREATEST_INT:
            raise Unwritable(f"an integer of {value.bit_length()} bits, where this wire has 64")
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, dict):
        message.map_value.SetInParent()
        write_entries(message.map_value, value.items(), levels_inside(levels, MAP_LEVELS))
    elif isinstance(value, list | tuple):
        message.list_value.SetInParent()
        write_items(message.list_value, value, levels_inside(levels, LIST_LEVELS))
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, datetime):
        levels_inside(levels, TIME_LEVELS)
        _write_time(message.datetime_value, value)
    elif isinstance(value, date):
        levels_inside(levels, TIME_LEVELS)
        day = message.date_value
        day.year, day.month, day.day = value.year, value.month, value.day
    else:
        raise Unwritable(f"a value of type {type(value).__qualname__}")


def levels_inside(levels: int, taken: int) -> int:
    """How many levels are left inside what takes so many.  Raises Unwritable: there are not as many."""
    if levels < taken:
        raise Unwritable("a value nested too deeply")
    return levels - taken


def _write_text(message: Any, text: str) -> None:
    try:
        message.string_value = text
    except UnicodeEncodeError:
        message.bytes_value = raw_text(text)


def raw_text(text: str) -> bytes:
    """The bytes that a text stands for which is no Unicode.  Raises Unwritable."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Unwritable("a text that is no Unicode") from error


def write_items(message: Any, values: Iterable[Any], levels: int) -> None:
    """Add to a list.  Raises Unwritable."""
    add = message.values.add
    for value in values:
        write_value(add(), value, levels)


def write_entries(message: Any, items: Iterable[tuple[Any, Any]], levels: int) -> None:
    """Add to a dictionary.  Raises Unwritable."""
    add = message.entries.add
    for key, value in items:
        entry = add()
        write_value(entry.key, writable_key(key), levels)
        write_value(entry.value, value, levels)


def writable_key(key: Any) -> Any:
    """The key of a dictionary.  Raises Unwritable."""
    if isinstance(key, tuple):
        raise Unwritable("a dictionary with a tuple for a key")
    return key


def write_extra(message: Any, items: Iterable[tuple[str, Any]], levels: int) -> None:
    """Add to a map from text to ``Value``, whose entries are messages too.  Raises Unwritable."""
    for name, value in items:
        write_value(message[name], value, levels)


def _write_time(message: Any, value: datetime) -> None:
    if value.utcoffset() is not None:
        try:
            value = value.astimezone(UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise Unwritable(f"a time that UTC has no year for: {value}") from error
    since = value - EPOCH
    message.SetInParent()
    message.seconds = since.days * SECONDS_PER_DAY + since.seconds
    message.nanos = since.microseconds * 1000


# --- messages to values


def read_value(message: Any, depth: int) -> Any:
    """The value of a ``Value``; ``depth`` is how many lists and dictionaries may lie inside each other.

    Times are naive UTC.  Raises PeerError.
    """
    kind = message.WhichOneof("kind")
    match kind:
        case None | "null_value":
            return None
        case "list_value":
            return read_items(message.list_value.values, depth_inside(depth))
        case "map_value":
            return read_entries(message.map_value.entries, depth_inside(depth))
        case "datetime_value":
            return _read_time(message.datetime_value)
        case "date_value":
            return _read_date(message.date_value)
        case _:
            return getattr(message, kind)


def read_items(messages: Iterable[Any], depth: int) -> list[Any]:
    """The values of a list.  Raises PeerError."""
    return [read_value(each, depth) for each in messages]


def read_entries(entries: Iterable[Any], depth: int) -> dict[Any, Any]:
    """The values of a dictionary.  Raises PeerError."""
    return {read_key(entry.key): read_value(entry.value, depth) for entry in entries}


def read_in_steps(message: Any, depth: int) -> Steps[Any]:
    """As ``read_value``, with a step after every little work."""
    match message.WhichOneof("kind"):
        case "list_value":
            return (yield from read_items_in_steps(message.list_value.values, depth_inside(depth)))
        case "map_value":
            return (yield from read_entries_in_steps(message.map_value.entries, depth_inside(depth)))
        case _:
            return read_value(message, depth)


def read_items_in_steps(messages: Iterable[Any], depth: int) -> Steps[list[Any]]:
    """As ``read_items``, with a step after every little work."""
    values: list[Any] = []
    for message in messages:
        if message.ByteSize() <= STEP_BYTES:
            values.append(read_value(message, depth))
        else:
            values.append((yield from read_in_steps(message, depth)))
        yield
    return values


def read_entries_in_steps(entries: Iterable[Any], depth: int) -> Steps[dict[Any, Any]]:
    """As ``read_entries``, with a step after every little work."""
    values = {}
    for entry in entries:
        key = read_key(entry.key)
        if entry.value.ByteSize() <= STEP_BYTES:
            values[key] = read_value(entry.value, depth)
        else:
            values[key] = yield from read_in_steps(entry.value, depth)
        yield
    return values


def depth_inside(depth: int) -> int:
    """The depth that is left inside a list or a dictionary.  Raises PeerError."""
    if depth == 0:
        raise PeerError("a value is nested too deeply")
    return depth - 1


def read_key(message: Any) -> Any:
    """The key of a dictionary.  Raises PeerError."""
    if message.WhichOneof("kind") in ("list_value", "map_value"):
        raise PeerError("a dictionary's key is a list or a dictionary")
    return read_value(message, 0)


def _read_time(message: Any) -> datetime:
    try:
        if 0 <= message.nanos < NANOSECONDS:
            return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        pass
    raise PeerError("a time is out of range: the years are 1 to 9999")


def _read_date(message: Any) -> date:
    try:
        return date(message.year, message.month, message.day)
    except (ValueError, OverflowError) as error:
        raise PeerError(f"no date: {error}") from None


# --- bytes


def parse(kind: type[Message], data: bytes) -> Any:
    """A message from its bytes.  Raises PeerError."""
    message = kind()
    merge(message, data)
    return message


def merge(message: Message, data: bytes) -> None:
    """Add to a message what further bytes say.  Raises PeerError."""
    try:
        message.MergeFromString(data)
    except DecodeError as error:
        raise PeerError(f"not a {message.DESCRIPTOR.full_name}: {error}") from None


def serialized(message: Any) -> bytes:
    """A message's bytes."""
    data: bytes = message.SerializeToString()
    return data
