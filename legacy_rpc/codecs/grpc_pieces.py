"""Large values of the gRPC wire, written and read in pieces of bounded work.

Protobuf writes and reads a message in one go, at 4 to 10 ms a megabyte.  So here it has small messages only;
what lies around them, tags and lengths, is written and followed by hand (``grpc_wire``).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import Message

from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import (
    LEVELS,
    LIST_LEVELS,
    MAP_LEVELS,
    depth_inside,
    levels_inside,
    parse,
    raw_text,
    read_entries,
    read_entries_in_steps,
    read_in_steps,
    read_items,
    read_items_in_steps,
    read_key,
    read_value,
    serialized,
    writable_key,
    write_entries,
    write_extra,
    write_items,
    write_value,
)
from legacy_rpc.codecs.grpc_wire import (
    SLICE_BYTES,
    STEP_BYTES,
    Field,
    Group,
    Parts,
    cut,
    header,
    joined,
    layout,
    tag_of,
)
from legacy_rpc.codecs.pieces import PIECE, is_light, weight
from legacy_rpc.codecs.steps import Steps

T = TypeVar("T")
Get = Callable[[Any], Any]

# The fields of a Value that can be large; of a list and of a dictionary; of an entry, also of one of a map.
TEXT, BYTES, LIST, MAP = map(tag_of, (5, 6, 9, 10))
ITEM = ENTRY = tag_of(1)
KEY, VALUE = map(tag_of, (1, 2))


# --- writing


class Writer:
    """Adds messages to ``parts``, in steps.  Values must not change meanwhile.  Raises Unwritable."""

    def __init__(self, schema: Schema, parts: Parts) -> None:
        self._schema = schema
        self._parts = parts

    def message(self, message: Message) -> None:
        """A small message, or some of a large one's fields."""
        self._parts.add(serialized(message))

    def value(self, value: Any, levels: int) -> Steps[None]:
        """A ``Value``, as ``write_value`` fills it."""
        if is_light(value):
            self._small(value, levels)
        elif isinstance(value, dict):
            yield from self._map(value, levels_inside(levels, MAP_LEVELS))
        elif isinstance(value, list | tuple):
            yield from self._list(value, levels_inside(levels, LIST_LEVELS))
        elif isinstance(value, str):
            yield from self._text(value)
        elif isinstance(value, bytes):
            with self._parts.field(BYTES):
                self._parts.add(value)
        else:
            self._small(value, levels)
        yield

    def _small(self, value: Any, levels: int) -> None:
        message = self._schema.value()
        write_value(message, value, levels)
        self.message(message)

    def extra_keys(self, kind: Callable[[], Any], extra: Mapping[str, Any], levels: int) -> Steps[None]:
        """The field ``extra`` of a kind of message, as ``write_extra`` fills it."""
        tag = tag_of(kind().DESCRIPTOR.fields_by_name["extra"].number)
        for items, is_large in _groups(extra.items()):
            if is_large:
                ((name, value),) = items
                with self._parts.field(tag):
                    with self._parts.field(KEY):
                        self._parts.add(name.encode())
                    with self._parts.field(VALUE):
                        yield from self.value(value, levels)
            else:
                message = kind()
                write_extra(message.extra, items, levels)
                self.message(message)
            yield

    def _list(self, values: Iterable[Any], levels: int) -> Steps[None]:
        with self._parts.field(LIST):
            for items, is_large in _groups(values):
                if is_large:
                    with self._parts.field(ITEM):
                        yield from self.value(items[0], levels)
                else:
                    message = self._schema.value().list_value
                    write_items(message, items, levels)
                    self.message(message)
                yield

    def _map(self, values: Mapping[Any, Any], levels: int) -> Steps[None]:
        with self._parts.field(MAP):
            for items, is_large in _groups(values.items()):
                if is_large:
                    ((key, value),) = items
                    with self._parts.field(ENTRY):
                        with self._parts.field(KEY):
                            yield from self.value(writable_key(key), levels)
                        with self._parts.field(VALUE):
                            yield from self.value(value, levels)
                else:
                    message = self._schema.value().map_value
                    write_entries(message, items, levels)
                    self.message(message)
                yield

    def _text(self, text: str) -> Steps[None]:
        tag, encoded = TEXT, []
        for start in range(0, len(text), SLICE_BYTES):
            part = text[start : start + SLICE_BYTES]
            try:
                encoded.append(part.encode())
            except UnicodeEncodeError:
                tag = BYTES
                encoded.append(raw_text(part))
            yield
        with self._parts.field(tag):
            for data in encoded:
                self._parts.add(data)


def _groups(items: Iterable[T]) -> Iterator[tuple[list[T], bool]]:
    """Small items in groups of one piece's work, and each large one alone; whether it is large."""
    group: list[T] = []
    gathered = 0
    for item in items:
        added = weight(item, PIECE)
        if group and gathered + added > PIECE:
            yield group, False
            group, gathered = [], 0
        if added > PIECE:
            yield [item], True
        else:
            group.append(item)
            gathered += added
    if group:
        yield group, False


# --- reading

# So many messages inside each other are followed; how many more there may be, protobuf says.
FOLLOWED = LEVELS - 10


@dataclass(frozen=True, slots=True)
class Part:
    """A message within a request's bytes; ``around`` are the fields that it lies in, the outermost first.

    It is parsed as part of a request that has nothing else: so protobuf refuses what it would refuse in the
    whole, in the same words.
    """

    kind: type[Message]
    data: bytes
    start: int
    end: int
    around: tuple[tuple[int, Get], ...] = ()

    @property
    def is_large(self) -> bool:
        """Whether it should not be parsed in one go."""
        return not is_small(self)

    def pieces(self) -> Iterator[Field | Group]:
        """Its fields: small ones in groups, each large one alone."""
        return cut(self.data, self.start, self.end)

    def fields(self, most: int) -> list[Field]:
        """Its fields; none, if they are more or cannot be followed."""
        return layout(self.data, self.start, self.end, most) or []

    def inside(self, field: Field, get: Get) -> Part:
        """The message in one of its fields; ``get`` takes it from this one."""
        around = (*self.around, (field.tag, get))
        return replace(self, start=field.content, end=field.end, around=around)

    def parsed(self, start: int, end: int) -> Any:
        """The message, if it had but these of its bytes.  Raises PeerError."""
        headers: list[bytes] = []
        size = end - start
        for tag, _ in reversed(self.around):
            headers.append(header(tag, size))
            size += len(headers[-1])
        message = parse(self.kind, b"".join((*reversed(headers), self.data[start:end])))
        for _, get in self.around:
            message = get(message)
        return message

    def whole(self) -> Any:
        """The message.  Raises PeerError."""
        return self.parsed(self.start, self.end)


def is_small(part: Part | Field | Group) -> bool:
    """Whether so many bytes can be read in one go."""
    return part.end - part.start <= STEP_BYTES


def read_part(part: Part, depth: int) -> Steps[Any]:
    """What ``read_value`` makes of a ``Value``, in steps.  Raises PeerError."""
    if not part.is_large:
        return read_value(part.whole(), depth)
    if len(part.around) <= FOLLOWED:
        match part.fields(1):
            case [Field() as field] if field.tag == LIST:
                return (yield from _read_list(part.inside(field, _LIST), depth_inside(depth)))
            case [Field() as field] if field.tag == MAP:
                return (yield from _read_map(part.inside(field, _MAP), depth_inside(depth)))
            case [Field() as field] if field.tag == BYTES:
                return (yield from read_bytes(part.data, field))
            case [Field() as field] if field.tag == TEXT:
                text = yield from read_text(part.data, field)
                if text is not None:
                    return text
    return (yield from read_in_steps(part.whole(), depth))


def read_bytes(data: bytes, field: Field) -> Steps[bytes]:
    """The content of a field, in steps."""
    return joined([memoryview(data)[field.content : field.end]], field.end - field.content)


def read_text(data: bytes, field: Field) -> Steps[str | None]:
    """The content of a field as text, in steps; None: it is no Unicode."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    texts = []
    try:
        for start in range(field.content, field.end, SLICE_BYTES):
            texts.append(decoder.decode(data[start : min(start + SLICE_BYTES, field.end)]))
            yield
        texts.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError:
        return None
    return "".join(texts)


_LIST, _MAP, _KEY, _VALUE = map(attrgetter, ("list_value", "map_value", "key", "value"))


def group_items(group: Field | Group, messages: Iterable[Any], depth: int) -> Steps[list[Any]]:
    """The values that a group of fields gave, in steps if they are many.  Raises PeerError."""
    if is_small(group):
        return read_items(messages, depth)
    return (yield from read_items_in_steps(messages, depth))


def _item(message: Any) -> Any:
    return message.values[0]


def _entry(message: Any) -> Any:
    return message.entries[0]


def _read_list(part: Part, depth: int) -> Steps[list[Any]]:
    values: list[Any] = []
    for piece in part.pieces():
        if isinstance(piece, Field) and piece.tag == ITEM:
            values.append((yield from read_part(part.inside(piece, _item), depth)))
        else:
            group = part.parsed(piece.start, piece.end)
            values.extend((yield from group_items(piece, group.values, depth)))
        yield
    return values


def _read_map(part: Part, depth: int) -> Steps[dict[Any, Any]]:
    values: dict[Any, Any] = {}
    for piece in part.pieces():
        if isinstance(piece, Field) and piece.tag == ENTRY:
            values.update((yield from _read_entry(part.inside(piece, _entry), depth)))
        else:
            entries = part.parsed(piece.start, piece.end).entries
            if is_small(piece):
                values.update(read_entries(entries, depth))
            else:
                values.update((yield from read_entries_in_steps(entries, depth)))
        yield
    return values


def _read_entry(part: Part, depth: int) -> Steps[Mapping[Any, Any]]:
    """The one entry of a dictionary that has no other."""
    match part.fields(2):
        case [Field() as key, Field() as value] if (key.tag, value.tag) == (KEY, VALUE):
            name = yield from _read_key(part.inside(key, _KEY))
            return {name: (yield from read_part(part.inside(value, _VALUE), depth))}
    return (yield from read_entries_in_steps((part.whole(),), depth))


def _read_key(part: Part) -> Steps[Any]:
    match part.fields(1):
        case [Field() as field] if field.tag == TEXT and len(part.around) <= FOLLOWED:
            text = yield from read_text(part.data, field)
            if text is not None:
                return text
    return read_key(part.whole())
