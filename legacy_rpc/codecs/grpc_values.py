"""Values of the legacy RPC as messages of the gRPC wire, and back.

``Value`` is a union; lists and dictionaries hold further ones.  Readers of protobuf go 100 messages deep and
no deeper, ours too, so 49 lists or 33 dictionaries can lie inside each other in a call or a reply.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from legacy_rpc.codecs.grpc_schema import Rpc, Schema, wire_type
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.messages import Failure, PeerError

T = TypeVar("T")
Arguments = Generator[None, None, list[Any]]

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the legacy RPC's times have no zone
NANOSECONDS = 10**9
SECONDS_PER_DAY = 86400
LEAST_INT, GREATEST_INT = -(2**63), 2**63 - 1

# How many messages may lie inside each other.
LEVELS = 100
# A list costs two of them, and a dictionary three: itself, its entries' list, an entry.
LIST_LEVELS, MAP_LEVELS = 2, 3

# What is read in one step: a thousand values at most.
STEP_BYTES = 2048


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
        _write_map(message.map_value, value, levels - MAP_LEVELS)
    elif isinstance(value, list | tuple):
        _write_list(message.list_value, value, levels - LIST_LEVELS)
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, datetime):
        _write_time(message.datetime_value, value)
    elif isinstance(value, date):
        day = message.date_value
        day.year, day.month, day.day = value.year, value.month, value.day
    else:
        raise Unwritable(f"a value of type {type(value).__qualname__}")


def _write_text(message: Any, text: str) -> None:
    try:
        message.string_value = text
    except UnicodeEncodeError:
        try:
            message.bytes_value = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise Unwritable("a text that is no Unicode") from error


def _write_list(message: Any, values: Sequence[Any], levels: int) -> None:
    add = _started(message, levels).values.add
    for value in values:
        write_value(add(), value, levels)


def _write_map(message: Any, values: Mapping[Any, Any], levels: int) -> None:
    add = _started(message, levels).entries.add
    for key, value in values.items():
        entry = add()
        _write_key(entry.key, key)
        write_value(entry.value, value, levels)


def _started(message: Any, levels: int) -> Any:
    """A list or dictionary that is there, though there may be nothing in it."""
    if levels < 0:
        raise Unwritable("a value nested too deeply")
    message.SetInParent()
    return message


def _write_key(message: Any, key: Any) -> None:
    if isinstance(key, tuple):
        raise Unwritable("a dictionary with a tuple for a key")
    write_value(message, key)


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


def write_in_steps(message: Any, value: Any, levels: int = LEVELS - 1) -> Iterator[None]:
    """As ``write_value``, with a step after every little work; the value must not change meanwhile."""
    if is_light(value) or not isinstance(value, dict | list | tuple):
        write_value(message, value, levels)
        yield
    elif isinstance(value, dict):
        add = _started(message.map_value, levels - MAP_LEVELS).entries.add
        for key, each in value.items():
            entry = add()
            _write_key(entry.key, key)
            yield from write_in_steps(entry.value, each, levels - MAP_LEVELS)
    else:
        add = _started(message.list_value, levels - LIST_LEVELS).values.add
        for each in value:
            yield from write_in_steps(add(), each, levels - LIST_LEVELS)


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
            deeper = _deeper(depth)
            return [read_value(each, deeper) for each in message.list_value.values]
        case "map_value":
            deeper = _deeper(depth)
            return {
                _read_key(entry.key): read_value(entry.value, deeper) for entry in message.map_value.entries
            }
        case "datetime_value":
            return _read_time(message.datetime_value)
        case "date_value":
            return _read_date(message.date_value)
        case _:
            return getattr(message, kind)


def read_in_steps(message: Any, depth: int) -> Generator[None, None, Any]:
    """As ``read_value``, with a step after every little work."""
    match message.WhichOneof("kind"):
        case "list_value":
            return (yield from _read_all(message.list_value.values, _deeper(depth)))
        case "map_value":
            return (yield from _read_entries(message.map_value.entries, _deeper(depth)))
        case _:
            return read_value(message, depth)


def _read_all(messages: Iterable[Any], depth: int) -> Arguments:
    values: list[Any] = []
    for message in messages:
        if message.ByteSize() <= STEP_BYTES:
            values.append(read_value(message, depth))
        else:
            values.append((yield from read_in_steps(message, depth)))
        yield
    return values


def _read_entries(entries: Iterable[Any], depth: int) -> Generator[None, None, dict[Any, Any]]:
    values = {}
    for entry in entries:
        key = _read_key(entry.key)
        if entry.value.ByteSize() <= STEP_BYTES:
            values[key] = read_value(entry.value, depth)
        else:
            values[key] = yield from read_in_steps(entry.value, depth)
        yield
    return values


def _deeper(depth: int) -> int:
    if depth == 0:
        raise PeerError("a value is nested too deeply")
    return depth - 1


def _read_key(message: Any) -> Any:
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


# --- requests


def parse(kind: type[Message], data: bytes) -> Any:
    """A message from its bytes.  Raises PeerError."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise PeerError(f"not a {kind.DESCRIPTOR.full_name}: {error}") from None


def generic_arguments(request: Any, depth: int) -> Arguments:
    """The arguments of a ``CallRequest``, in steps.  Raises PeerError."""
    return _read_all(request.arguments, depth)


def typed_arguments(rpc: Rpc, request: Any, depth: int) -> Arguments:
    """The arguments in a typed method's request, up to the last that was given; gaps have their defaults.

    A required text or number is always given: not to set it is to set "" or 0, as everywhere in proto3.
    In steps.  Raises PeerError.
    """
    arguments: list[Any] = []
    given = 0
    for position, parameter in enumerate(rpc.parameters, 1):
        scalar = wire_type(parameter) is not None
        if (scalar and parameter.required) or request.HasField(parameter.name):
            field = getattr(request, parameter.name)
            arguments.append(field if scalar else (yield from read_in_steps(field, depth)))
            given = position
        else:
            arguments.append(None if parameter.required else parameter.default)
    return arguments[:given]


def at_once(steps: Generator[None, None, T]) -> T:
    """What work in steps leads to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


# --- replies


def write_reply(schema: Schema, value: Any, extra: Mapping[str, Any]) -> Generator[None, None, bytes]:
    """A ``Reply`` for S_OK, in steps.  Raises Unwritable."""
    reply = schema.reply()
    yield from write_in_steps(reply.value, value)
    write_extra(reply.extra, extra)
    return _serialized(reply)


def write_extra(message: Any, extra: Mapping[str, Any], levels: int = LEVELS - 2) -> None:
    """Fill a map from text to ``Value``, whose entries are messages too.  Raises Unwritable."""
    for name, value in extra.items():
        write_value(message[name], value, levels)


def error_message(schema: Schema, failure: Failure) -> Any:
    """An ``Error`` for S_ERROR.  Raises Unwritable."""
    error = schema.error(errno=failure.errno, message=printable(failure.message))
    write_extra(error.extra, failure.extra)
    return error


def error_reply(schema: Schema, failure: Failure) -> bytes:
    """A ``Reply`` for S_ERROR.  Raises Unwritable."""
    reply = schema.reply()
    error = reply.error
    error.errno, error.message = failure.errno, printable(failure.message)
    write_extra(error.extra, failure.extra, LEVELS - 3)
    return _serialized(reply)


def error_within(schema: Schema, failure: Failure, size: int) -> bytes:
    """An ``Error`` of ``size`` bytes at most: what has no room is left out, and ``shortened`` says so.

    The extra keys go first, and then the message's end.  Raises Unwritable.
    """
    error = error_message(schema, failure)
    data = _serialized(error)
    if len(data) <= size:
        return data
    room = size - _ERROR_OVERHEAD
    text = printable(failure.message).encode()[:room].decode("utf-8", "ignore")
    return _serialized(schema.error(errno=failure.errno, message=text, shortened=True))


# The other fields of an Error without extra keys, and what stands before the text.
_ERROR_OVERHEAD = 32


def printable(text: str) -> str:
    """A text as protobuf and gRPC carry it: what is no Unicode becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
