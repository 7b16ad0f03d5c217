"""Values on the gRPC wire: what arrives is what was sent, and what cannot be is refused in words."""

# ruff: noqa: DTZ001 - the legacy RPC's times have no zone
from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs.grpc_messages import error_reply, error_within, read_generic, read_typed, write_reply
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import Unwritable, parse, read_in_steps, read_value, write_value
from legacy_rpc.codecs.steps import in_one_go
from legacy_rpc.messages import Failure, PeerError
from legacy_rpc.signatures import Parameter, Signature

METHOD = Signature(
    "method",
    parameters=(
        Parameter("name", (str,)),
        Parameter("what"),
        Parameter("number", (int,), default=5),
        Parameter("more", default=None),
    ),
)
SCHEMA = Schema({"System/Service": [METHOD]})
VALUE = SCHEMA.message("wherry.v1.Value")
RPC = SCHEMA.rpcs["/wherry.v1.system.Service/method"]


class Word(enum.StrEnum):
    """A text of our own."""

    ONE = "one"


class Number(enum.IntEnum):
    """A number of our own."""

    TWO = 2


def there(value: Any) -> Any:
    """A value's message, from its bytes."""
    message = VALUE()
    write_value(message, value)
    return VALUE.FromString(message.SerializeToString())


def back(value: Any) -> Any:
    """A value as it arrives."""
    return read_value(there(value), 200)


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """Something inside so many containers."""
    value: Any = None
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        0.0,
        1e300,
        float("inf"),
        "",
        "grüße",
        b"",
        b"\x00\xff",
        datetime(2026, 3, 1, 12, 30, 15, 123456),
        datetime(1, 1, 1),
        datetime(9999, 12, 31, 23, 59, 59, 999999),
        date(2026, 3, 1),
        [],
        {},
        [1, "1", [None], {}],
        {"a": {1: "an int", 1.5: None, False: 1, None: 2, b"k": [], date(2026, 1, 1): 0}},
    ],
)
def test_what_arrives_is_what_was_sent(value: Any) -> None:
    """Types too."""
    arrived = back(value)
    assert (arrived, type(arrived), repr(arrived)) == (value, type(value), repr(value))


KEYS = st.integers(-(2**63), 2**63 - 1) | st.text() | st.booleans() | st.none()
LEAVES = KEYS | st.floats(allow_nan=False) | st.binary() | st.datetimes() | st.dates()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@given(VALUES)
def test_any_value(value: Any) -> None:
    """In one go and in steps."""
    reply = SCHEMA.reply.FromString(in_one_go(write_reply(SCHEMA, value, {})))
    assert read_value(reply.value, 200) == value
    assert in_one_go(read_in_steps(reply.value, 200)) == value


def test_what_has_no_type_of_its_own() -> None:
    """Tuples are lists, enumerations their values, zones are left behind at UTC."""
    cest = timezone(timedelta(hours=2))
    assert back((1, (2,))) == [1, [2]]
    assert back([Word.ONE, Number.TWO]) == ["one", 2]
    assert back(datetime(2026, 3, 1, 14, tzinfo=cest)) == datetime(2026, 3, 1, 12)
    assert back(datetime(2026, 3, 1, 14, tzinfo=UTC)) == datetime(2026, 3, 1, 14)


def test_a_text_that_is_no_unicode_is_bytes() -> None:
    """DEncode's clients send such texts."""
    assert back("name \udcff") == b"name \xff"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**63, "an integer of 64 bits, where this wire has 64"),
        (-(2**63) - 1, "an integer of 64 bits"),
        (10**100, "an integer of 333 bits"),
        ({(1, 2): 3}, "a dictionary with a tuple for a key"),
        ({1, 2}, "a value of type set"),
        ("\ud800", "a text that is no Unicode"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "a time that UTC has no year for"),
        (nested(60, lambda value: [value]), "a value nested too deeply"),
        (nested(60, lambda value: {"key": value}), "a value nested too deeply"),
    ],
)
def test_what_cannot_be_written(value: Any, problem: str) -> None:
    """It is said what it is."""
    with pytest.raises(Unwritable, match=problem):
        back(value)
    with pytest.raises(Unwritable, match=problem):
        in_one_go(write_reply(SCHEMA, [value] * 2000, {}))


@pytest.mark.parametrize(("wrap", "deepest"), [(lambda value: [value], 49), (lambda value: {1: value}, 33)])
def test_as_deep_as_readers_go(wrap: Callable[[Any], Any], deepest: int) -> None:
    """What is written can be read, and no less is written than can be read."""
    value = nested(deepest, wrap)
    reply = SCHEMA.reply.FromString(in_one_go(write_reply(SCHEMA, value, {})))
    assert read_value(reply.value, 200) == value
    for extra in (nested(deepest - 1, wrap), [nested(deepest - 2, wrap)]):
        SCHEMA.reply.FromString(in_one_go(write_reply(SCHEMA, None, {"key": extra})))
        SCHEMA.reply.FromString(in_one_go(error_reply(SCHEMA, Failure("no", 0, {"key": extra}))))
    with pytest.raises(Unwritable):
        in_one_go(write_reply(SCHEMA, wrap(value), {}))


def test_the_limit_on_depth() -> None:
    """Each list or dictionary counts one."""
    message = there([{"a": [1]}])
    assert read_value(message, 3) == in_one_go(read_in_steps(message, 3)) == [{"a": [1]}]
    large = there([{"a": ["x" * 10_000]}])
    for read in (read_value, lambda message, depth: in_one_go(read_in_steps(message, depth))):
        for deep in (message, large):
            with pytest.raises(PeerError, match="nested too deeply"):
                read(deep, 2)


def malformed() -> Iterator[tuple[str, Any]]:
    """Messages that no value is written as."""
    message = VALUE()
    message.datetime_value.seconds = 10**15
    yield "years", message
    message = VALUE()
    message.datetime_value.nanos = 10**9
    yield "nanos", message
    message = VALUE()
    message.datetime_value.nanos = -1
    yield "negative", message
    message = VALUE()
    message.date_value.month = 13
    yield "month", message
    message = VALUE()
    message.date_value.year = 2**31 - 1
    yield "year", message
    message = VALUE()
    message.map_value.entries.add().key.list_value.SetInParent()
    yield "key", message


@pytest.mark.parametrize("message", [pytest.param(each, id=name) for name, each in malformed()])
def test_what_cannot_be_read(message: Any) -> None:
    """Alone, and in a large message."""
    with pytest.raises(PeerError):
        read_value(message, 200)
    large = VALUE()
    large.list_value.values.add().string_value = "x" * 10_000
    large.list_value.values.append(message)
    with pytest.raises(PeerError):
        in_one_go(read_in_steps(large, 200))


def test_nothing_set_is_none() -> None:
    """An empty message, and an entry without key or value."""
    message = VALUE()
    assert read_value(message, 0) is None
    message.map_value.entries.add()
    assert read_value(message, 1) == {None: None}


def test_of_equal_keys_the_last_wins() -> None:
    """As in a dictionary that is filled in order."""
    message = VALUE()
    for number in (1, 2):
        entry = message.map_value.entries.add()
        entry.key.string_value = "k"
        entry.value.int_value = number
    assert read_value(message, 1) == in_one_go(read_in_steps(message, 1)) == {"k": 2}


def test_bytes_that_are_no_message() -> None:
    """They are named after what they should be."""
    for data in (b"\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"):
        with pytest.raises(PeerError, match="not a wherry.v1.CallRequest"):
            parse(SCHEMA.call_request, data)


def typed(**fields: Any) -> list[Any]:
    """The arguments of the typed method."""
    values = {}
    for name, value in fields.items():
        values[name] = there(value) if name in ("what", "more") else value
    return in_one_go(read_typed(RPC, RPC.request(**values).SerializeToString(), 200))


def test_arguments_up_to_the_last_that_was_given() -> None:
    """Gaps have their defaults; a text that is not set is empty; what is missing at the end is missing."""
    assert typed(name="a", what=[1]) == ["a", [1]]
    assert typed(name="a", what=[1], number=0) == ["a", [1], 0]
    assert typed(name="a", what=[1], more="x") == ["a", [1], 5, "x"]
    assert typed(name="a", what=None) == ["a", None]
    assert typed(name="a", number=1) == ["a", None, 1]
    assert typed() == [""]


def test_generic_arguments() -> None:
    """In their order."""
    request = SCHEMA.call_request(arguments=[there(1), there("a" * 5000), there([["b" * 5000]])])
    _, arguments = in_one_go(read_generic(SCHEMA, request.SerializeToString(), 200))
    assert arguments == [1, "a" * 5000, [["b" * 5000]]]


def test_work_is_done_in_steps() -> None:
    """A large value leaves many occasions for others."""
    value = {f"key{number}": [{"a": "x" * 100}] * 30 for number in range(300)}
    assert len(list(write_reply(SCHEMA, value, {}))) > 100
    assert len(list(read_in_steps(there(value), 200))) > 100


def test_errors_have_room() -> None:
    """What does not fit is left out, the extra keys first, and it is said."""
    small = Failure("no \udcff", 1504, {"InvalidJobIDs": [1, 2]})
    error = SCHEMA.error.FromString(in_one_go(error_within(SCHEMA, small, 4096)))
    assert (error.errno, error.message, error.shortened) == (1504, "no ?", False)
    assert read_value(error.extra["InvalidJobIDs"], 200) == [1, 2]

    many = Failure("no", 1504, {"InvalidJobIDs": list(range(10_000))})
    error = SCHEMA.error.FromString(in_one_go(error_within(SCHEMA, many, 4096)))
    assert (error.errno, error.message, error.shortened, len(error.extra)) == (1504, "no", True, 0)

    data = in_one_go(error_within(SCHEMA, Failure("ü" * 5000, -(2**63)), 4096))
    error = SCHEMA.error.FromString(data)
    assert len(data) <= 4096
    assert error.shortened
    assert "ü" * 2000 in error.message
