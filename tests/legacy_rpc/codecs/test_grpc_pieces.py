"""Large values of the gRPC wire in pieces: what protobuf writes and reads in one go, and as it refuses it.

Mostly with pieces so small that any value has many.
"""

# ruff: noqa: DTZ001 - the legacy RPC's times have no zone
from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime
from time import thread_time
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs import grpc_pieces, grpc_values, grpc_wire, pieces
from legacy_rpc.codecs.grpc_messages import error_reply, error_within, read_generic, read_typed, write_reply
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import Unwritable, read_value, write_extra, write_value
from legacy_rpc.codecs.grpc_wire import Field, Group, cut, header, joined
from legacy_rpc.codecs.steps import Steps, in_one_go
from legacy_rpc.messages import Failure, PeerError
from legacy_rpc.signatures import Parameter, Signature

METHOD = Signature(
    "method",
    parameters=(
        Parameter("text", (str,)),
        Parameter("data", (bytes,), default=b""),
        Parameter("number", (int,), default=5),
        Parameter("what", default=None),
    ),
)
SCHEMA = Schema({"System/Service": [METHOD]})
RPC = SCHEMA.rpcs["/wherry.v1.system.Service/method"]
DEPTH = 200

TIMES = st.datetimes().map(lambda time: time.replace(fold=0))
KEYS = st.integers(-(2**63), 2**63 - 1) | st.text() | st.booleans() | st.none() | st.binary() | TIMES
LEAVES = KEYS | st.floats(allow_nan=False) | st.dates() | st.text(min_size=20) | st.binary(min_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few bytes."""
    shrink(monkeypatch.setattr)


def shrink(setattr_: Callable[[Any, str, int], None]) -> None:
    """Have pieces of a few bytes."""
    for module in (pieces, grpc_pieces):
        setattr_(module, "PIECE", 40)
    for module in (grpc_wire, grpc_values, grpc_pieces):
        setattr_(module, "STEP_BYTES", 8)
    for module in (grpc_wire, grpc_pieces):
        setattr_(module, "SLICE_BYTES", 3)


@pytest.fixture(scope="class")
def tiny_throughout() -> Iterator[None]:
    """The same for tests of which each is many."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        yield


def reply_in_one_go(value: Any, extra: dict[str, Any]) -> Any:
    """The message that protobuf makes."""
    reply = SCHEMA.reply()
    write_value(reply.value, value)
    write_extra(reply.extra, extra.items(), 98)
    return reply


def request_of(*arguments: Any, **metadata: str) -> Any:
    """A request to the generic service."""
    request = SCHEMA.call_request(service="System/Service", method="method", metadata=metadata)
    for argument in arguments:
        write_value(request.arguments.add(), argument)
    return request


def arguments_of(data: bytes, depth: int = DEPTH) -> list[Any]:
    """The arguments of a generic request."""
    return in_one_go(read_generic(SCHEMA, data, depth))[1]


def typed(data: bytes) -> list[Any]:
    """The arguments of a typed request."""
    return in_one_go(read_typed(RPC, data, DEPTH))


@pytest.mark.usefixtures("tiny_throughout")
class TestAnyValue:
    """Whatever it is."""

    @given(VALUES, st.dictionaries(st.text(), VALUES, max_size=3))
    def test_reply(self, value: Any, extra: dict[str, Any]) -> None:
        """The bytes mean what protobuf's mean."""
        reply = SCHEMA.reply.FromString(in_one_go(write_reply(SCHEMA, value, extra)))
        assert reply == reply_in_one_go(value, extra)

    @given(st.text(), st.dictionaries(st.text(), VALUES, max_size=3))
    def test_error(self, message: str, extra: dict[str, Any]) -> None:
        """In a reply and in metadata."""
        failure = Failure(message, 1504, extra)
        error = SCHEMA.error(errno=1504, message=message)
        write_extra(error.extra, extra.items(), 98)
        assert SCHEMA.error.FromString(in_one_go(error_within(SCHEMA, failure, 10**6))) == error
        assert SCHEMA.reply.FromString(in_one_go(error_reply(SCHEMA, failure))).error == error

    @given(st.lists(VALUES, max_size=4), st.dictionaries(st.text(), st.text(), max_size=3))
    def test_request(self, arguments: list[Any], metadata: dict[str, str]) -> None:
        """What arrives is what was sent."""
        sent = request_of(*arguments, **metadata)
        request, arrived = in_one_go(read_generic(SCHEMA, sent.SerializeToString(), DEPTH))
        assert repr(arrived) == repr(arguments)
        assert (request.service, request.method, request.metadata) == (
            sent.service,
            sent.method,
            sent.metadata,
        )

    @given(st.text(), st.binary(), st.integers(-(2**63), 2**63 - 1), VALUES)
    def test_typed_request(self, text: str, data: bytes, number: int, value: Any) -> None:
        """What arrives is what was sent."""
        request = RPC.request(text=text, data=data, number=number)
        write_value(request.what, value)
        assert repr(typed(request.SerializeToString())) == repr([text, data, number, value])


def field(number: int, content: bytes) -> bytes:
    """A field that has a length."""
    return header(number << 3 | 2, len(content)) + content


def text(value: str) -> bytes:
    """A ``Value``."""
    return field(5, value.encode())


LONG = text("x" * 20)
LISTS = field(9, field(1, LONG)) + field(9, field(1, text("b")))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(LISTS, id="a list in two parts"),
        pytest.param(LONG + LISTS, id="a text that became a list"),
        pytest.param(LISTS + LONG, id="a list that became a text"),
        pytest.param(field(10, field(1, field(2, LONG))), id="an entry without a key"),
        pytest.param(
            field(10, field(1, field(2, LONG) + field(1, LONG))), id="an entry whose value is first"
        ),
        pytest.param(
            field(10, field(1, field(1, LONG) + field(2, LISTS) * 2)), id="an entry with two values"
        ),
        pytest.param(field(9, field(99, LONG) + field(1, LONG)), id="a field nobody knows"),
        pytest.param(field(9, field(1, LONG) + b"\x0b\x0c"), id="a group"),
        pytest.param(field(9, field(1, LONG) + b"\x0d\0\0\0\0\x09" + bytes(8)), id="fixed sizes"),
        pytest.param(field(9, b"\x8a\x00\x96\x80\x00" + LONG), id="long tags and lengths"),
        pytest.param(b"\x10\x01" + LONG, id="a number that became a text"),
    ],
)
def test_what_no_client_writes(value: bytes) -> None:
    """It means what protobuf says."""
    expected = read_value(SCHEMA.value.FromString(value), DEPTH)
    assert arguments_of(field(3, value) + field(3, text("end"))) == [expected, "end"]
    assert typed(field(4, value)) == ["", b"", 5, expected]


@pytest.mark.usefixtures("tiny")
def test_an_argument_in_two_parts() -> None:
    """Of a typed request they are one; a text's last is all."""
    assert typed(field(4, LISTS) + field(4, LISTS)) == ["", b"", 5, ["x" * 20, "b"] * 2]
    assert typed(field(1, b"x" * 20) + field(1, b"")) == [""]


MALFORMED = {
    "no tag": field(9, field(1, LONG) + b"\xff"),
    "no length": field(9, field(1, LONG) + b"\x0a"),
    "too long": field(9, field(1, LONG) + b"\x0a\x05ab"),
    "field 0": field(9, field(1, LONG) + b"\x02\x01a"),
    "no number": field(9, b"\x08" + b"\xff" * 20),
    "a number that ends": field(9, field(1, LONG) + b"\x08\x80"),
    "end of a group": field(9, field(1, LONG) + b"\x0c"),
    "no such kind": field(9, field(1, LONG) + b"\x0e\0"),
    "no text": field(5, b"x" * 20 + b"\xff"),
    "half a character": field(5, b"x" * 20 + b"\xc3"),
    "a surrogate": field(5, b"x" * 20 + b"\xed\xa0\x80"),
    "no text for a key": field(10, field(1, field(1, field(5, b"\xff" * 20)) + field(2, LONG))),
    "no text that became a list": field(5, b"\xff" * 20) + field(9, b""),
}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_what_protobuf_refuses(value: bytes) -> None:
    """It is refused in the same words, wherever it is."""
    for wrapped in (value, field(9, field(1, LONG) + field(1, value)), field(10, field(1, field(2, value)))):
        for kind, number, read in ((SCHEMA.call_request, 3, arguments_of), (RPC.request, 4, typed)):
            data = field(number, wrapped)
            with pytest.raises(PeerError) as expected:
                grpc_values.parse(kind, data)
            with pytest.raises(PeerError) as refused:
                read(data)
            assert str(refused.value).partition(":")[0] == str(expected.value).partition(":")[0]


@pytest.mark.usefixtures("tiny")
def test_a_key_that_is_no_key() -> None:
    """Also a large one."""
    with pytest.raises(PeerError, match="a dictionary's key is a list"):
        arguments_of(field(3, field(10, field(1, field(1, LISTS) + field(2, LONG)))))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("innermost", [LONG, field(9, b""), field(7, b""), text("")], ids=repr)
@pytest.mark.parametrize("wrap", ["list", "map", "key"])
def test_nested_as_deep_as_protobuf_goes(innermost: bytes, wrap: str) -> None:
    """And no deeper."""
    value = innermost
    for _ in range(60):
        if wrap == "list":
            value = field(9, field(1, value))
        else:
            value = field(10, field(1, field(1, text("k")) + field(2, value)))
        if wrap == "key":
            value = field(9, field(1, field(10, field(1, field(1, innermost) + field(2, value)))))
        data = field(3, value)
        try:
            expected = read_value(SCHEMA.call_request.FromString(data).arguments[0], DEPTH)
        except (DecodeError, PeerError):
            with pytest.raises(PeerError):
                arguments_of(data)
        else:
            assert arguments_of(data) == [expected]


@pytest.mark.usefixtures("tiny")
def test_the_limit_on_depth() -> None:
    """Each list or dictionary counts one."""
    data = request_of([{"a" * 20: ["x" * 20]}]).SerializeToString()
    assert arguments_of(data, 3) == [[{"a" * 20: ["x" * 20]}]]
    with pytest.raises(PeerError, match="nested too deeply"):
        arguments_of(data, 2)


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("pieces_are", ["tiny", "usual"])
def test_times_count_as_levels(size: int, pieces_are: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written can be read: a time in 33 dictionaries cannot."""
    if pieces_are == "tiny":
        shrink(monkeypatch.setattr)
    for time in (datetime(2026, 3, 1), date(2026, 3, 1)):
        for innermost in ([time] * size, {time: "x" * size}):
            value: Any = innermost
            for depth in range(1, 50):
                try:
                    data = in_one_go(write_reply(SCHEMA, value, {}))
                except Unwritable as problem:
                    assert "nested too deeply" in str(problem)
                    assert depth > 30
                    break
                assert read_value(SCHEMA.reply.FromString(data).value, DEPTH) == value
                value = {"k": value}
            else:
                pytest.fail("there is no limit")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("value", ["x" * 20 + "\udcff", "\udcff" + "x" * 20, "ü" * 20 + "\udcc3\udcbc"])
def test_a_long_text_that_is_no_unicode_is_bytes(value: str) -> None:
    """Also where only a part of it is none."""
    reply = SCHEMA.reply.FromString(in_one_go(write_reply(SCHEMA, [value], {})))
    assert read_value(reply.value, DEPTH) == [value.encode("utf-8", "surrogateescape")]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "value", [{(1, 2): "x" * 20}, "x" * 20 + "\ud800", {"k" * 20: {1}}, {"\ud800" * 9: 1}]
)
def test_what_cannot_be_written(value: Any) -> None:
    """It is said what it is."""
    with pytest.raises(Unwritable) as expected:
        write_value(SCHEMA.value(), value)
    with pytest.raises(Unwritable) as problem:
        in_one_go(write_reply(SCHEMA, value, {}))
    assert str(problem.value) == str(expected.value)


# --- with pieces as they are

ROW = [1234567, "Running", None, 12.5, True, datetime(2026, 3, 1), "alïce", {"a": 1}]
LARGE: dict[str, Any] = {
    "rows": [ROW] * 5000,
    "numbers": list(range(50_000)),
    "a dictionary": {f"job {n}": {"Status": "Done", "n": n} for n in range(5000)},
    "long keys": {"k" * 30_000 + str(n): n for n in range(30)},
    "text": "h\u00e9llo \U0001f600" * 100_000,
    "bytes": random.Random(1).randbytes(1_000_001),
    "nested": [1, {"a": ["x" * 100_000, {"b": (b"q" * 99_999, ["y" * 40_000] * 3, [])}]}, "end"],
    "deep": [[[[[[ROW * 100] * 3]]]], "x"],
}


def longest_step(steps: Steps[Any]) -> float:
    """The processor time of the longest step."""
    longest, started = 0.0, thread_time()
    for _ in steps:
        longest = max(longest, thread_time() - started)
        started = thread_time()
    return max(longest, thread_time() - started)


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_large_values(value: Any) -> None:
    """The same bytes as protobuf's, the same value back, and no step that holds anybody up."""
    data = in_one_go(write_reply(SCHEMA, value, {}))
    assert data == reply_in_one_go(value, {}).SerializeToString()
    request = request_of(value).SerializeToString()
    assert repr(arguments_of(request)) == repr([_as_it_arrives(value)])
    gc.collect()
    gc.disable()
    try:
        for work in (lambda: write_reply(SCHEMA, value, {}), lambda: read_generic(SCHEMA, request, DEPTH)):
            assert min(longest_step(work()) for _ in range(3)) < 0.02
            assert len(list(work())) > 10
    finally:
        gc.enable()


def _as_it_arrives(value: Any) -> Any:
    """Tuples are lists."""
    if isinstance(value, list | tuple):
        return [_as_it_arrives(each) for each in value]
    if isinstance(value, dict):
        return {key: _as_it_arrives(each) for key, each in value.items()}
    return value


def test_large_further_keys() -> None:
    """Of a reply and of an error, in steps too."""
    ids = list(range(50_000))
    steps = list(write_reply(SCHEMA, None, {"InvalidJobIDs": ids}))
    assert len(steps) > 50
    failure = Failure("no", 1504, {"InvalidJobIDs": ids})
    assert len(list(error_reply(SCHEMA, failure))) > 50
    assert SCHEMA.error.FromString(in_one_go(error_within(SCHEMA, failure, 4096))).shortened


def test_small_fields_come_in_groups() -> None:
    """Each large one comes alone."""
    small, large = field(1, b"abc"), field(1, b"x" * 5000)
    data = b"?" + small * 1000 + large + small + large + small
    found = list(cut(data, 1, len(data)))
    assert [type(each) for each in found] == [Group] * 3 + [Field, Group, Field, Group]
    assert all(each.end - each.start <= 2048 for each in found if isinstance(each, Group))
    assert b"".join(data[each.start : each.end] for each in found) == data[1:]


def test_joined() -> None:
    """All parts in their order."""
    parts = [b"a" * 100_000, b"", b"b", memoryview(b"c" * 70_000)]
    assert in_one_go(joined(parts, 170_001)) == b"".join(parts)
