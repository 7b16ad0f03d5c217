"""MessagePack-RPC in both directions, at every split point, against the limits and against hostile bytes."""

from __future__ import annotations

import datetime
import enum
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs.msgpack_rpc import (
    MsgpackLimits,
    Request,
    RequestReader,
    Unreadable,
    encode_response,
    response_in_pieces,
)
from legacy_rpc.messages import Errno, Failure, PeerError, Reply

moment = datetime.datetime.fromisoformat
WHEN = moment("2026-11-21T12:00:01.250000")
SECOND = moment("1970-01-01T00:00:01")
TIMESTAMP = msgpack.Timestamp(1_700_000_000, 250_000_000)
LIMITS = MsgpackLimits(message=4000, depth=20, elements=500)
Event = Request | Unreadable


def raw(text: bytes) -> bytes:
    """A string as MessagePack had it before 2013: one type for texts and bytes."""
    assert len(text) < 0x10000
    return b"\xda" + struct.pack(">H", len(text)) + text


def request(*params: Any, method: Any = "a.B.c", msgid: Any = 7) -> bytes:
    """A request as a client of today packs it."""
    return msgpack.packb([0, msgid, method, params])


def with_params(packed: bytes, count: int = 1) -> bytes:
    """A request whose parameters were packed by hand."""
    return b"\x94\x00\x07\xa5a.B.c" + bytes([0x90 | count]) + packed


def events(*chunks: bytes, limits: MsgpackLimits = LIMITS) -> list[Event]:
    """What a reader makes of bytes that come in chunks."""
    return list(_events(RequestReader(limits), chunks))


def _events(reader: RequestReader, chunks: tuple[bytes, ...]) -> Iterator[Event]:
    for chunk in chunks:
        reader.feed(chunk)
        while (event := reader.next_event()) is not None:
            yield event


def params_of(data: bytes, limits: MsgpackLimits = LIMITS) -> list[Any]:
    """The parameters of the one request in some bytes."""
    (event,) = events(data, limits=limits)
    assert isinstance(event, Request), event
    assert event.size == len(data)
    return event.params


def typed(value: Any) -> str:
    """A value with its types: 1, True and 1.0 are not the same."""
    return repr(value)


# --- values that come

ARGUMENTS = {
    "nil": (b"\xc0", None),
    "true": (b"\xc3", True),
    "false": (b"\xc2", False),
    "fixint": (b"\x7f", 127),
    "negative fixint": (b"\xe0", -32),
    "uint8": (b"\xcc\xff", 255),
    "uint16": (b"\xcd\x01\x00", 256),
    "uint32": (b"\xce\xff\xff\xff\xff", 2**32 - 1),
    "uint64": (b"\xcf" + b"\xff" * 8, 2**64 - 1),
    "int8": (b"\xd0\x80", -128),
    "int16": (b"\xd1\x80\x00", -(2**15)),
    "int32": (b"\xd2\x80\x00\x00\x00", -(2**31)),
    "int64": (b"\xd3\x80" + b"\x00" * 7, -(2**63)),
    "float32": (b"\xca\x3f\xc0\x00\x00", 1.5),
    "float64": (b"\xcb\x3f\xf8" + b"\x00" * 6, 1.5),
    "infinity": (b"\xcb\x7f\xf0" + b"\x00" * 6, float("inf")),
    "fixstr": (b"\xa6h\xc3\xa9llo", "héllo"),
    "str8": (b"\xd9\x02hi", "hi"),
    "str16": (b"\xda\x00\x02hi", "hi"),
    "str32": (b"\xdb\x00\x00\x00\x02hi", "hi"),
    "raw of bytes": (raw(b"\xff\x00"), "\udcff\x00"),
    "bin8": (b"\xc4\x02\xff\x00", b"\xff\x00"),
    "bin16": (b"\xc5\x00\x02\xff\x00", b"\xff\x00"),
    "bin32": (b"\xc6\x00\x00\x00\x02\xff\x00", b"\xff\x00"),
    "fixarray": (b"\x92\x01\x91\x02", [1, [2]]),
    "array16": (b"\xdc\x00\x02\x01\x02", [1, 2]),
    "array32": (b"\xdd\x00\x00\x00\x02\x01\x02", [1, 2]),
    "empty array": (b"\x90", []),
    "fixmap": (b"\x81\xa1k\x01", {"k": 1}),
    "map16": (b"\xde\x00\x01\xa1k\x01", {"k": 1}),
    "map32": (b"\xdf\x00\x00\x00\x01\xa1k\x01", {"k": 1}),
    "keys of every kind": (
        b"\x86\x05\xa1a\xcb\x3f\xf8"
        + bytes(6)
        + b"\xa1b\xc0\xa1c\xc3\xa1d\xc4\x01x\xa1e"
        # and a timestamp
        + b"\xd6\xff\x00\x00\x00\x01\xa1f",
        {5: "a", 1.5: "b", None: "c", True: "d", b"x": "e", SECOND: "f"},
    ),
    "timestamp32": (b"\xd6\xff\x00\x00\x00\x01", SECOND),
    "timestamp64": (
        b"\xd7\xff" + struct.pack(">Q", 999_999_999 << 34 | 1),
        moment("1970-01-01T00:00:01.999999"),
    ),
    "timestamp96": (
        b"\xc7\x0c\xff" + struct.pack(">Iq", 500_000_000, -1),
        moment("1969-12-31T23:59:59.500000"),
    ),
    "timestamps inside": (
        b"\x81\xa1k\x91\xd6\xff\x00\x00\x00\x01",
        {"k": [SECOND]},
    ),
}


@pytest.mark.parametrize(("packed", "value"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_argument(packed: bytes, value: Any) -> None:
    """Every form of every type is read, and nothing behind it is lost."""
    assert typed(params_of(with_params(packed + b"\x2a", 2))) == typed([value, 42])


@pytest.mark.parametrize(("packed", "value"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_argument_at_every_split(packed: bytes, value: Any) -> None:
    """Wherever a message is cut, it is read once it is whole, and so is the next."""
    data = with_params(packed)
    for cut in range(len(data) + 1):
        first, second = events(data[:cut], data[cut:] + request("next"))
        assert isinstance(first, Request)
        assert isinstance(second, Request)
        assert (typed(first.params), second.params) == (typed([value]), ["next"])
    assert len(events(*(bytes([byte]) for byte in data * 3))) == 3


def test_several_messages_at_once() -> None:
    """What comes in one read is given one by one; ``half_sent`` tells of what is not whole."""
    reader = RequestReader(LIMITS)
    reader.feed(request(1) + request(2, msgid=8) + request(3)[:-1])
    assert [reader.next_event(), reader.next_event(), reader.next_event()] == [
        Request(7, "a.B.c", [1], 11),
        Request(8, "a.B.c", [2], 11),
        None,
    ]
    assert (reader.half_sent, reader.messages) == (True, 2)
    reader.feed(request(3)[-1:])
    assert reader.next_event() == Request(7, "a.B.c", [3], 11)
    assert (reader.half_sent, reader.messages) == (False, 3)


# --- requests

REQUESTS = {
    "method as bin": (request(method=b"a/B.c"), "a/B.c"),
    "method as raw": (b"\x94\x00\x07" + raw(b"a/B.c") + b"\x90", "a/B.c"),
    "method that is no utf-8": (request(method=b"\xff"), "\ufffd"),
    "raw method that is no utf-8": (b"\x94\x00\x07" + raw(b"\xff") + b"\x90", "\ufffd"),
}


@pytest.mark.parametrize(("data", "method"), REQUESTS.values(), ids=REQUESTS)
def test_method(data: bytes, method: str) -> None:
    """A name may come in each of the forms that clients send."""
    assert events(data) == [Request(7, method, [], len(data))]


@pytest.mark.parametrize("msgid", [0, 1, 2**32 - 1, 2**64 - 1, -1])
def test_msgid(msgid: int) -> None:
    """Any integer is a msgid, and comes back as it is."""
    (event,) = events(request(msgid=msgid))
    assert isinstance(event, Request)
    assert event.msgid == msgid
    assert msgpack.unpackb(encode_response(event.msgid, Reply())) == [1, msgid, None, None]


def test_notification() -> None:
    """A notification has no msgid."""
    data = msgpack.packb([2, "a.B.c", [1]])
    assert events(data) == [Request(None, "a.B.c", [1], len(data))]


def test_tuples_arrive_as_lists() -> None:
    """MessagePack has arrays only."""
    assert params_of(request((1, (2,)))) == [[1, [2]]]


UNREADABLE = {
    "unknown extension": (with_params(b"\xd4\x05x"), "the extension type 5 is not known"),
    "an extension of 300 bytes": (
        with_params(b"\xc8\x01\x2c\x05" + b"x" * 300),
        "the extension type 5 is not known",
    ),
    "timestamp of three bytes": (with_params(b"\xc7\x03\xff\x00\x00\x00"), "invalid timestamp"),
    "timestamp with too many nanoseconds": (with_params(b"\xd7\xff" + b"\xff" * 8), "nanoseconds"),
    "timestamp beyond the year 9999": (with_params(b"\xc7\x0c\xff\0\0\0\0\x7f" + b"\xff" * 7), ""),
    "a map as a key": (with_params(b"\x81\x80\x01"), "unhashable"),
    "an array as a key": (with_params(b"\x81\x91\x01\x01"), "unhashable"),
    "method as number": (request(method=5), "the method must be a string"),
    "method as nil": (request(method=None), "the method must be a string"),
    "params as map": (msgpack.packb([0, 7, "a.B.c", {}]), "the params must be an array"),
    "params as nil": (msgpack.packb([0, 7, "a.B.c", None]), "the params must be an array"),
}


@pytest.mark.parametrize(("data", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_request(data: bytes, words: str) -> None:
    """What is wrong inside a message costs that request only."""
    bad, good = events(data + request())
    assert isinstance(bad, Unreadable)
    assert bad.msgid == 7
    assert words in bad.problem
    assert good == Request(7, "a.B.c", [], len(request()))


# --- what ends a connection

HOSTILE = {
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "must be an array", None),
    "a number": (b"\x05", "must be an array", None),
    "a map": (b"\x80", "must be an array", None),
    "a long string": (b"\xdb\xff\xff\xff\xff", "must be an array", None),
    "an empty array": (b"\x90", "[0, msgid, method, params]", None),
    "a response": (msgpack.packb([1, 7, None, 1]), "[0, msgid, method, params]", None),
    "an unknown type": (msgpack.packb([3, 7, "m", []]), "[0, msgid, method, params]", None),
    "three elements": (msgpack.packb([0, 7, "m"]), "[0, msgid, method, params]", None),
    "five elements": (msgpack.packb([0, 7, "m", [], 1]), "[0, msgid, method, params]", None),
    "msgid as nil": (request(msgid=None), "[0, msgid, method, params]", None),
    "msgid as bool": (request(msgid=True), "[0, msgid, method, params]", None),
    "msgid as string": (request(msgid="7"), "[0, msgid, method, params]", None),
    "a notification's method": (msgpack.packb([2, 5, []]), "the method must be a string", None),
    "a notification's params": (msgpack.packb([2, "m", {}]), "the params must be an array", None),
    "a notification's extension": (b"\x93\x02\xa1m\x91\xd4\x05x", "extension type 5", None),
    "a byte that begins nothing": (with_params(b"\xc1"), "0xc1", 7),
    "array32 that lies": (with_params(b"\xdd\xff\xff\xff\xff"), "more than 500 values", 7),
    "map32 that lies": (with_params(b"\xdf\xff\xff\xff\xff"), "more than 500 values", 7),
    "map16 that counts twice": (with_params(b"\xde\x00\xff"), "more than 500 values", 7),
    "bin32 that lies": (with_params(b"\xc6\xff\xff\xff\xff"), "limit of 4000 bytes", 7),
    "str32 that lies": (with_params(b"\xdb\xff\xff\xff\xff"), "limit of 4000 bytes", 7),
    "ext32 that lies": (with_params(b"\xc9\xff\xff\xff\xff\x05"), "limit of 4000 bytes", 7),
    "larger in sum": (with_params((b"\xc5\x07\xd0" + bytes(2000)) * 2, 2), "limit of 4000 bytes", 7),
    "more values in sum": (with_params((b"\xdc\x00\xff" + bytes(255)) * 2, 2), "more than 500 values", 7),
    "deep arrays": (with_params(b"\x91" * 19), "nested too deeply", 7),
    "deep maps": (with_params(b"\x81\x01" * 19), "nested too deeply", 7),
    "deep keys": (with_params(b"\x81" * 19), "nested too deeply", 7),
    "msgid unfinished": (b"\x94\x00\x91\xc1", "0xc1", None),
    "a large msgid": (b"\x94\x00\xcd\x01\x00\xc1", "0xc1", 256),
}


@pytest.mark.parametrize(("data", "words", "msgid"), HOSTILE.values(), ids=HOSTILE)
def test_hostile(data: bytes, words: str, msgid: int | None) -> None:
    """What cannot be read, or claims too much, is refused as soon as it shows, under its msgid if any."""
    for chunks in ([data], [bytes([byte]) for byte in data]):
        reader = RequestReader(LIMITS)
        with pytest.raises(PeerError) as refused:
            list(_events(reader, tuple(chunks)))
        assert words in str(refused.value)
        error = {"Errno": 0, "Message": str(refused.value)}
        assert msgpack.unpackb(reader.last_word(refused.value)) == [1, msgid, error, None]


def test_limits_are_inclusive() -> None:
    """What is exactly as large, as deep or as rich as the limit is read."""
    inside = request(b"x" * 3000)
    assert params_of(inside, MsgpackLimits(message=len(inside))) == [b"x" * 3000]
    with pytest.raises(PeerError):
        events(inside, limits=MsgpackLimits(message=len(inside) - 1))
    deep = with_params(b"\x91" * 17 + b"\x90")  # with the message's array and the parameters': twenty
    assert len(events(deep)) == 1
    five = request(1, 2)  # message, type, msgid, method, params and two: seven values
    assert params_of(five, MsgpackLimits(elements=7)) == [1, 2]
    with pytest.raises(PeerError):
        events(five, limits=MsgpackLimits(elements=6))


def test_siblings_are_not_depth() -> None:
    """Many containers beside each other are not deep, whether they are last in theirs or not."""
    value = [[[], {}] for _ in range(60)]
    assert params_of(request(value)) == [value]


@given(st.binary(max_size=300), st.integers(1, 300))
def test_hostile_bytes(data: bytes, cut: int) -> None:
    """Whatever comes, wherever it is cut: requests, or a PeerError, and the same either way."""

    def outcome(*chunks: bytes) -> list[Any]:
        seen: list[Any] = []
        try:
            seen.extend(map(typed, _events(RequestReader(LIMITS), chunks)))
        except PeerError as error:
            seen.append(str(error))
        return seen

    for start in (b"", b"\x94\x00\x07\xa1m", b"\x94\x00\x07\xa1m\x91", b"\x93\x02\xa1m\x92"):
        whole = start + data
        assert outcome(whole) == outcome(whole[:cut], whole[cut:])


@given(st.binary(min_size=1, max_size=40), st.data())
def test_damaged_message(garbage: bytes, data: st.DataObject) -> None:
    """A real message with a few bytes changed ends in a request or a PeerError."""
    message = bytearray(request({"k": [1, 2.5, "text", TIMESTAMP, None]}, [1, [2, [3]]], b"bytes"))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at : at + len(garbage)] = garbage
    with suppress(PeerError):
        events(bytes(message))


# --- answers


class Text(enum.StrEnum):
    """A text that is an enum too."""

    WAITING = "Waiting"


class Number(enum.IntEnum):
    """A number that is an enum too."""

    ONE = 1


def read_by_clients(data: bytes) -> Any:
    """A message as a strict client reads it."""
    return msgpack.unpackb(data, strict_map_key=False, timestamp=3)


AWARE = WHEN.replace(tzinfo=datetime.UTC)
VALUES = {
    "nil": (None, None),
    "largest": (2**64 - 1, 2**64 - 1),
    "smallest": (-(2**63), -(2**63)),
    "float": (0.1, 0.1),
    "text": ("héllo €\x00", "héllo €\x00"),
    "bytes": (b"\xff\x00", b"\xff\x00"),
    "binary in a text": ("\udcff\x00", b"\xff\x00"),
    "binary deep inside": ({"k": [("\udcff", "é", WHEN)]}, {"k": [[b"\xff", "é", AWARE]]}),
    "binary as a key": ({"\udcff": 1}, {b"\xff": 1}),
    "tuple": ((1, (2,)), [1, [2]]),
    "job ids as keys": ({1: {"Status": "Done"}, 2: {}}, {1: {"Status": "Done"}, 2: {}}),
    "other keys": ({None: 1, 2.5: 2, False: 3, WHEN: 4}, {None: 1, 2.5: 2, False: 3, AWARE: 4}),
    "datetime": (WHEN, AWARE),
    "datetime in a zone": (
        moment("2026-11-21T13:00:01.250000+01:00"),
        AWARE,
    ),
    "datetime before 1970": (
        moment("1900-01-01T00:00:00.000001"),
        moment("1900-01-01T00:00:00.000001+00:00"),
    ),
    "first moment": (moment("0001-01-01"), moment("0001-01-01T00:00:00+00:00")),
    "last moment": (
        moment("9999-12-31T23:59:59.999999"),
        moment("9999-12-31T23:59:59.999999+00:00"),
    ),
    "date": (datetime.date(2026, 11, 21), datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)),
    "enums": ([Text.WAITING, Number.ONE], ["Waiting", 1]),
}


@pytest.mark.parametrize(("value", "seen"), VALUES.values(), ids=VALUES)
def test_result(value: Any, seen: Any) -> None:
    """What the wire can carry arrives, in types that every client has."""
    assert typed(read_by_clients(encode_response(7, Reply(value)))) == typed([1, 7, None, seen])


def test_times_as_text() -> None:
    """For clients without timestamps, times are texts as DIRAC prints them; the rest is as ever."""
    value = [WHEN, AWARE, SECOND, datetime.date(2026, 11, 21), {WHEN: b"\xff"}, {1}]
    seen = ["2026-11-21 12:00:01.250000"] * 2 + ["1970-01-01 00:00:01", "2026-11-21"]
    packed = encode_response(7, Reply(value[:-1]), times_as_text=True)
    assert read_by_clients(packed) == [1, 7, None, [*seen, {seen[0]: b"\xff"}]]
    unsent = read_by_clients(encode_response(7, Reply(value), times_as_text=True))
    assert unsent[2]["Message"] == "The result cannot be sent: MessagePack cannot carry set"


NOT_CARRIED = {
    "number of 65 bits": (2**64, "MessagePack cannot carry a number beyond 64 bits"),
    "large negative number": ([-(2**63) - 1], "MessagePack cannot carry a number beyond 64 bits"),
    "set": ({"k": {1, 2}}, "MessagePack cannot carry set"),
    "time": (datetime.time(1, 2), "MessagePack cannot carry time"),
    "half of a pair": ("\ud800", "surrogates not allowed"),
}


@pytest.mark.parametrize(("value", "words"), NOT_CARRIED.values(), ids=NOT_CARRIED)
def test_result_that_cannot_be_sent(value: Any, words: str) -> None:
    """The client gets an error that says why, under its msgid."""
    kind, msgid, error, result = read_by_clients(encode_response(7, Reply(value)))
    assert (kind, msgid, error["Errno"], result) == (1, 7, 0, None)
    assert error["Message"].startswith("The result cannot be sent: ")
    assert words in error["Message"]


def test_result_without_end() -> None:
    """A circle is an error too."""
    circle: list[Any] = []
    circle.append(circle)
    error = read_by_clients(encode_response(7, Reply(circle)))[2]
    assert error["Message"].startswith("The result cannot be sent: ")


FAILURE = Failure.of(Errno.EWMSJMAN, "no", {"NonauthorizedJobIDs": [1, 2]})
FAILURE_MAP = {
    "Errno": 1504,
    "Message": "Job management error ( 1504 : no)",
    "NonauthorizedJobIDs": [1, 2],
}


def test_error() -> None:
    """An S_ERROR is a map of all its keys but OK, and the result is nil."""
    assert read_by_clients(encode_response(7, FAILURE)) == [1, 7, FAILURE_MAP, None]


def test_plain_and_whole_results() -> None:
    """A result is the value; extra keys and errors are in the whole result."""
    reply = Reply([1], {"InvalidJobIDs": [2]})
    assert read_by_clients(encode_response(7, reply)) == [1, 7, None, [1]]
    whole = {"OK": True, "Value": [1], "InvalidJobIDs": [2]}
    assert read_by_clients(encode_response(7, reply, whole=True)) == [1, 7, None, whole]
    failed = {"OK": False, **FAILURE_MAP}
    assert read_by_clients(encode_response(7, FAILURE, whole=True)) == [1, 7, None, failed]
    unsent = read_by_clients(encode_response(7, Reply({1}), whole=True))[3]
    assert (unsent["OK"], unsent["Errno"]) == (False, 0)


# --- both ways

TIMES = st.datetimes().map(lambda when: when.replace(fold=0))
KEYS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(max_size=20)
SCALARS = KEYS | st.floats(allow_nan=False) | TIMES
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS | TIMES, inner, max_size=5),
    max_leaves=20,
)


@given(TREES, st.integers(0))
def test_round_trip(value: Any, cut: int) -> None:
    """What we send as a result, sent back as an argument, is what it was; wherever it is cut."""
    packed = encode_response(None, Reply(value)).removeprefix(b"\x94\x01\xc0\xc0")
    data = with_params(packed)
    cut %= len(data)
    (event,) = events(data[:cut], data[cut:], limits=MsgpackLimits())
    assert isinstance(event, Request)
    assert typed(event.params) == typed([value])


@pytest.mark.parametrize("times_as_text", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_response_in_pieces(whole: bool, times_as_text: bool) -> None:
    """The bytes are those of one go, whatever is large in them, and no piece is."""
    row = [1, "Running", None, 2.5, b"\xff", WHEN, "\udcff"]
    value = {
        "rows": [row] * 3000,
        "by id": {number: {"status": "Done", "sites": ["a"] * (number % 40)} for number in range(3000)},
        "numbers": (*range(70_000),),
        "few": ["x" * 9000] * 15,
        "text": "x" * 40_000,
        "nothing": [[], {}, ()],
    }
    times = {"whole": whole, "times_as_text": times_as_text}
    pieces = list(response_in_pieces(7, Reply(value), **times))
    data = b"".join(pieces)
    head = [1, 7, None, {"OK": True, "Value": value}] if whole else [1, 7, None, value]
    plain = msgpack.packb(
        head,
        default=lambda found: (
            found.isoformat(" ")
            if times_as_text
            else msgpack.Timestamp.from_datetime(found.replace(tzinfo=datetime.UTC))
        ),
        unicode_errors="surrogateescape",
    )
    assert len(pieces) > 50
    assert max(map(len, pieces)) < 64 * 1024
    # The text that is none is sent as the bytes it stands for: 0xa1 in the one, 0xc4 0x01 in the other.
    assert data.replace(b"\xc4\x01\xff", b"\xa1\xff") == plain.replace(b"\xc4\x01\xff", b"\xa1\xff")


def test_large_value_that_cannot_be_sent() -> None:
    """The error takes the place of all of it, wherever it lies."""
    value = [["x" * 100] * 1000, *range(5000), 2**70]
    kind, msgid, error, result = msgpack.unpackb(encode_response(7, Reply(value)))
    assert (kind, msgid, result) == (1, 7, None)
    assert error["Message"] == "The result cannot be sent: MessagePack cannot carry a number beyond 64 bits"
