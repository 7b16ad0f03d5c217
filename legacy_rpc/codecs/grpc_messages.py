"""Requests and replies of the gRPC wire.  All work on them is in steps: any may be of many megabytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from legacy_rpc.codecs.grpc_pieces import Part, Writer, group_items, read_bytes, read_part, read_text
from legacy_rpc.codecs.grpc_schema import Field as FieldType
from legacy_rpc.codecs.grpc_schema import Rpc, Schema, wire_type
from legacy_rpc.codecs.grpc_values import (
    LEVELS,
    merge,
    parse,
    read_in_steps,
    serialized,
    write_extra,
    write_value,
)
from legacy_rpc.codecs.grpc_wire import Field, Parts, tag_of
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.codecs.steps import Steps
from legacy_rpc.messages import Failure
from legacy_rpc.signatures import Parameter

# The fields of a CallRequest and of a Reply.
ARGUMENT = tag_of(3)
VALUE, ERROR = tag_of(1), tag_of(3)

# What the other fields of an Error without extra keys take, and what stands before its text.
_ERROR_OVERHEAD = 32


# --- requests


def read_generic(schema: Schema, data: bytes, depth: int) -> Steps[tuple[Any, list[Any]]]:
    """A ``CallRequest`` without its arguments, and these; ``depth`` is how deep they may be nested.

    Raises PeerError.
    """
    request = schema.call_request()
    arguments: list[Any] = []
    part = Part(schema.call_request, data, 0, len(data))
    for piece in part.pieces():
        if isinstance(piece, Field) and piece.tag == ARGUMENT:
            arguments.append((yield from read_part(part.inside(piece, _argument), depth)))
        else:
            merge(request, data[piece.start : piece.end])
            arguments.extend((yield from group_items(piece, request.arguments, depth)))
            request.ClearField("arguments")
        yield
    return request, arguments


def _argument(request: Any) -> Any:
    return request.arguments[0]


def read_typed(rpc: Rpc, data: bytes, depth: int) -> Steps[list[Any]]:
    """The arguments in a typed method's request, up to the last that was given; gaps have their defaults.

    A required text or number is always given: not to set it is to set "" or 0, as everywhere in proto3.
    Raises PeerError.
    """
    request, large = yield from _without_large(rpc, data, depth)
    arguments: list[Any] = []
    given = 0
    for position, parameter in enumerate(rpc.parameters, 1):
        name = parameter.name
        scalar = wire_type(parameter) is not None
        if name in large:
            arguments.append(large[name])
            given = position
        elif (scalar and parameter.required) or request.HasField(name):
            field = getattr(request, name)
            arguments.append(field if scalar else (yield from read_in_steps(field, depth)))
            given = position
        else:
            arguments.append(None if parameter.required else parameter.default)
    return arguments[:given]


def _without_large(rpc: Rpc, data: bytes, depth: int) -> Steps[tuple[Any, Mapping[str, Any]]]:
    """A request without its large arguments, and these by name."""
    part = Part(rpc.request, data, 0, len(data))
    fields = part.fields(len(rpc.parameters)) if part.is_large else []
    if len({field.tag for field in fields}) < len(fields):  # of two, protobuf makes one
        fields = []
    parameters = {tag_of(position): each for position, each in enumerate(rpc.parameters, 1)}
    large: dict[str, Any] = {}
    left, begun = [], 0
    for field in fields:
        parameter = parameters.get(field.tag)
        if parameter is None:
            continue
        for value in (yield from _large(parameter, part, field, depth)):
            large[parameter.name] = value
            left.append(data[begun : field.start])
            begun = field.end
    return parse(rpc.request, b"".join((*left, data[begun:]))), large


def _large(parameter: Parameter, request: Part, field: Field, depth: int) -> Steps[Sequence[Any]]:
    """The value of a large argument; nothing, if protobuf is to read it."""
    part = request.inside(field, attrgetter(parameter.name))
    if not part.is_large:
        return ()
    match wire_type(parameter):
        case None:
            return ((yield from read_part(part, depth)),)
        case FieldType.TYPE_BYTES:
            return ((yield from read_bytes(request.data, field)),)
        case FieldType.TYPE_STRING:
            text = yield from read_text(request.data, field)
            return () if text is None else (text,)
    return ()


# --- replies


def write_reply(schema: Schema, value: Any, extra: Mapping[str, Any]) -> Steps[bytes]:
    """A ``Reply`` for S_OK.  Raises Unwritable."""
    if is_light((value, extra)):
        reply = schema.reply()
        write_value(reply.value, value)
        write_extra(reply.extra, extra.items(), LEVELS - 2)
        return serialized(reply)
    parts = Parts()
    writer = Writer(schema, parts)
    with parts.field(VALUE):
        yield from writer.value(value, LEVELS - 1)
    yield from writer.extra_keys(schema.reply, extra, LEVELS - 2)
    return (yield from parts.joined())


def error_reply(schema: Schema, failure: Failure) -> Steps[bytes]:
    """A ``Reply`` for S_ERROR.  Raises Unwritable."""
    parts = Parts()
    with parts.field(ERROR):
        yield from _error(schema, failure, parts, LEVELS - 3)
    return (yield from parts.joined())


def error_within(schema: Schema, failure: Failure, size: int) -> Steps[bytes]:
    """An ``Error`` of ``size`` bytes at most: what has no room is left out, and ``shortened`` says so.

    The extra keys go first, and then the message's end.  Raises Unwritable.
    """
    parts = Parts()
    yield from _error(schema, failure, parts, LEVELS - 2)
    if parts.size <= size:
        return (yield from parts.joined())
    room = size - _ERROR_OVERHEAD
    text = printable(failure.message).encode()[:room].decode("utf-8", "ignore")
    return serialized(schema.error(errno=failure.errno, message=text, shortened=True))


def _error(schema: Schema, failure: Failure, parts: Parts, levels: int) -> Steps[None]:
    writer = Writer(schema, parts)
    writer.message(schema.error(errno=failure.errno, message=printable(failure.message)))
    yield from writer.extra_keys(schema.error, failure.extra, levels)


def printable(text: str) -> str:
    """A text as protobuf and gRPC carry it: what is no Unicode becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
