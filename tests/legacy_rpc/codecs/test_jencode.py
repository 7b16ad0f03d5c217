"""JEncode against the vectors of DIRAC 9.1.22, against itself, and against hostile bytes."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_rpc.codecs.jencode import _refuse_deep, decode, decode_in_pieces, encode
from legacy_rpc.codecs.steps import in_one_go
from legacy_rpc.messages import PeerError

VECTOR_FILE = Path(__file__).parents[2] / "vectors" / "jencode.json"
VECTORS: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in json.loads(VECTOR_FILE.read_text())}
NAMES = {"datetime": datetime, "nan": math.nan, "inf": math.inf}

REFUSED = "refused"


class Outcome(NamedTuple):
    """What becomes of a vector: its bytes, and the repr of what they decode to; or a refusal."""

    encoded: str
    decoded: str


def kept(text: str) -> Outcome:
    """This JSON object stays a dict with all of its keys."""
    return Outcome(text.encode().hex(), repr(json.loads(text)))


OPAQUE = "a class is never looked up, so its object stays a dict; DIRAC tries to import it"

# name -> what we do instead of DIRAC, and why
DEVIATIONS: dict[str, tuple[Outcome, str]] = {
    "datetime_year1": (
        Outcome(b'{"__dCls": "dt", "obj": "0001-01-01 00:00:00"}'.hex(), "datetime.datetime(1, 1, 1, 0, 0)"),
        "years are padded to four digits; DIRAC does not pad and then cannot decode its own text",
    ),
    "decode_b64_garbage": (
        Outcome(VECTORS["decode_b64_garbage"]["hex"], REFUSED),
        "text that is not base64 is refused; DIRAC drops what it does not know",
    ),
    "decode_utf16": (
        Outcome(VECTORS["decode_utf16"]["hex"], REFUSED),
        "messages are utf-8; DIRAC guesses other Unicode encodings, which no client sends",
    ),
    "decode_unknown_class_no_mod": (kept('{"__dCls": "Foo"}'), OPAQUE),
    "decode_unknown_class_bad_mod": (kept('{"__dCls": "Foo", "__dMod": "no.such.module"}'), OPAQUE),
    "decode_class_not_serializable": (kept('{"__dCls": "OrderedDict", "__dMod": "collections"}'), OPAQUE),
    "decode_class_request": (kept(bytes.fromhex(VECTORS["decode_class_request"]["hex"]).decode()), OPAQUE),
}


def dirac_outcome(vector: dict[str, Any]) -> Outcome:
    """What DIRAC makes of a vector."""
    encoded, decoded = vector["hex"], vector.get("roundtrip")
    return Outcome(REFUSED if encoded is None else encoded, REFUSED if decoded is None else decoded)


def our_outcome(vector: dict[str, Any]) -> Outcome:
    """What we make of a vector."""
    if vector["kind"] == "encode":
        try:
            data = encode(eval(vector["python"], NAMES))
        except TypeError:
            return Outcome(REFUSED, REFUSED)
    else:
        data = bytes.fromhex(vector["hex"])
    try:
        return Outcome(data.hex(), repr(decode(data)))
    except PeerError:
        return Outcome(data.hex(), REFUSED)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    """A vector gives DIRAC's bytes and DIRAC's value, or the deviation declared for it."""
    expected = DEVIATIONS[name][0] if name in DEVIATIONS else dirac_outcome(VECTORS[name])
    assert our_outcome(VECTORS[name]) == expected


@pytest.mark.parametrize("name", DEVIATIONS)
def test_deviation_is_real(name: str) -> None:
    """A declared deviation is one: DIRAC does something else with a vector of that name."""
    assert DEVIATIONS[name][0] != dirac_outcome(VECTORS[name])


@pytest.mark.parametrize("name", [name for name in VECTORS if our_outcome(VECTORS[name]).decoded != REFUSED])
def test_vector_is_sent_on(name: str) -> None:
    """What a vector decodes to, also one that no encoder of today writes, is encoded to the same value."""
    value = decode(bytes.fromhex(our_outcome(VECTORS[name]).encoded))
    assert repr(decode(encode(value))) == repr(value)


# --- values

texts = st.text() | st.text(alphabet='[]{}"\\,:a')  # the second shows whether strings hide their brackets
plain_scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
scalars = (
    plain_scalars
    | st.binary()
    | st.dates()
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0, fold=0))  # the wire has neither
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and dicts of these leaves."""
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(nested(scalars))
def test_values_survive_the_round_trip(value: Any) -> None:
    """Every value JSON and its tags can hold comes back with its types, key order and all of its digits."""
    assert repr(decode(encode(value))) == repr(value)


@given(nested(plain_scalars))
def test_bytes_are_those_of_json_dumps(value: Any) -> None:
    """What JSON can hold by itself is written exactly as json.dumps writes it."""
    assert encode(value) == json.dumps(value).encode()


class Number(int, enum.Enum):
    """An enum that prints as anything but its number."""

    ONE = 1

    def __str__(self) -> str:
        return "one"


class Site(enum.StrEnum):
    """An enum of texts."""

    CERN = "LCG.CERN.ch"


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: str


class Stamp(datetime.datetime):
    """A datetime of another library."""


SUBCLASSES: list[tuple[Any, Any]] = [
    (Number.ONE, 1),
    (Site.CERN, "LCG.CERN.ch"),
    (type("Ratio", (float,), {"__repr__": lambda _: "half"})(0.5), 0.5),
    (Pair(1, "a"), [1, "a"]),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (type("Blob", (bytes,), {})(b"x"), b"x"),
    (Stamp(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)),
    ({Site.CERN: Number.ONE, Number.ONE: Site.CERN}, {"LCG.CERN.ch": 1, "1": "LCG.CERN.ch"}),
]


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES, ids=lambda value: type(value).__name__)
def test_subclass_is_sent_as_its_base(value: Any, plain: Any) -> None:
    """A subclass of an encodable type is sent as the plain value it extends."""
    assert encode(value) == encode(plain)


@pytest.mark.parametrize(
    "value",
    [
        {1},
        frozenset(),
        pytest.param(object(), id="object"),
        1j,
        bytearray(b"x"),
        datetime.timedelta(1),
        datetime.time(1),
        [{"deep": {1}}],
    ],
    ids=repr,
)
def test_other_types_are_refused(value: Any) -> None:
    """A value outside the listed types raises TypeError, at any depth."""
    with pytest.raises(TypeError, match="JEncode cannot encode"):
        encode(value)


@pytest.mark.parametrize("key", [("a", 1), b"k", datetime.date(2024, 1, 2)], ids=repr)
def test_other_keys_are_refused(key: Any) -> None:
    """A dict whose keys are no JSON scalars raises TypeError."""
    with pytest.raises(TypeError, match="keys must be"):
        encode({key: 1})


def test_unencodable_contents() -> None:
    """Contents no peer could read raise an error that names them instead of going out."""
    with pytest.raises(ValueError, match="digits"):
        encode(10**5000)
    with pytest.raises(OverflowError):
        encode(datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))))


def test_aware_datetime_is_sent_as_utc() -> None:
    """An aware datetime is converted to UTC before its time zone is dropped."""
    east = datetime.timezone(datetime.timedelta(hours=2))
    value = datetime.datetime(2024, 1, 2, 1, 30, tzinfo=east)
    assert encode(value) == b'{"__dCls": "dt", "obj": "2024-01-01 23:30:00"}'


# --- tagged objects


@pytest.mark.parametrize(
    "fields",
    [
        {"__dCls": "Foo", "__dMod": "os", "obj": 1},
        {"__dCls": "DT", "obj": "2024-01-02 03:04:05"},
        {"__dCls": 0},
        {"__dCls": ["dt"], "obj": "2024-01-02 03:04:05"},
        {"__dCls": {"a": 1}},
        {"__dMod": "os"},
    ],
    ids=repr,
)
def test_unknown_class_stays_a_dict(fields: dict[str, Any]) -> None:
    """An object that names no known class keeps all of its keys and imports nothing."""
    modules = set(sys.modules)
    assert decode(json.dumps(fields).encode()) == fields
    assert set(sys.modules) == modules


def test_escaped_tag_is_a_tag() -> None:
    """Tags are recognised by what they spell, not by how they are written."""
    assert decode(b'{"\\u005f_dCls": "d\\u0061te", "obj": "2024-01-02"}') == datetime.date(2024, 1, 2)


@pytest.mark.parametrize(
    "obj",
    [
        '"dt", "obj": "2024-01-02 03:04:05.678901"',
        '"dt", "obj": "2024-01-02T03:04:05"',
        '"dt", "obj": "2024-01-02 03:04"',
        '"dt", "obj": "2024-01-02"',
        '"dt", "obj": "2024-01-02 03:04:05+00:00"',
        '"dt", "obj": "2024-01-02 03:04+01"',
        '"dt", "obj": "2024-W01-2 03:04:05"',
        '"dt", "obj": "2024-1-2 3:4:5"',
        '"dt", "obj": "1-01-01 00:00:00"',
        '"dt", "obj": "2023-02-29 00:00:00"',
        '"dt", "obj": "2024-01-02 24:00:00"',
        '"dt", "obj": "\\ud800"',
        '"dt", "obj": ""',
        '"dt", "obj": 1',
        '"dt", "obj": null',
        '"dt", "obj": "2024-01-02 03:04:05", "more": 1',
        '"dt"',
        '"date", "obj": "20240102"',
        '"date", "obj": "2024-W01-2"',
        '"date", "obj": "2024-13-02"',
        '"date", "obj": {"__dCls": "date", "obj": "2024-01-02"}',
        '"b64", "obj": "AP8"',
        '"b64", "obj": "AP8=AP8="',
        '"b64", "obj": "AP\\n8="',
        '"b64", "obj": "@@@@"',
        '"b64", "obj": "\\u00e9\\u00e9\\u00e9\\u00e9"',
        '"b64", "obj": ["AP8="]',
        '"b64", "obj": {"__dCls": "b64", "obj": "QVA4PQ=="}',
        '"b64"',
    ],
)
def test_damaged_tag_is_refused(obj: str) -> None:
    """A known tag around anything but the one text its encoder writes is refused."""
    with pytest.raises(PeerError, match=r"JSON: (not a|a) (dt|date|b64)"):
        decode(b'{"__dCls": %b}' % obj.encode())


# --- hostile bytes

tokens = st.sampled_from(
    rb'[ ] { } , : " "" "a": 1 - 1.5 e9 null true NaN \ \u d800 {"__dCls": "dt" "b64" ,"obj":'.split()
) | st.sampled_from([b" ", b"\xef\xbb\xbf", b"\xff"])
token_soup = st.lists(tokens, max_size=30).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid message with some of its bytes replaced."""
    message = encode(draw(nested(scalars)))
    start = draw(st.integers(0, len(message)))
    end = draw(st.integers(start, min(start + 4, len(message))))
    return message[:start] + draw(st.binary(max_size=4) | tokens) + message[end:]


@given(st.binary() | token_soup | damaged())
def test_any_bytes_give_a_value_or_peer_error(data: bytes) -> None:
    """Whatever bytes arrive, decoding returns a value that can be sent on, or raises PeerError."""
    try:
        value = decode(data)
    except PeerError:
        return
    assert repr(decode(encode(value))) == repr(value)


@given(nested(scalars))
def test_every_prefix_is_refused(value: Any) -> None:
    """A container cut off anywhere is refused."""
    message = encode([value])
    for end in range(max(0, len(message) - 60), len(message)):
        with pytest.raises(PeerError):
            decode(message[:end])


def depth_of(value: Any) -> int:
    """The slow and obvious way to find how deep containers are nested."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(nested(plain_scalars), st.booleans())
def test_depth_is_found_without_parsing(value: Any, ascii_only: bool) -> None:
    """The scan finds the nesting of any JSON text, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    depth = depth_of(value)
    _refuse_deep(text, depth)
    if depth:
        with pytest.raises(PeerError, match="nested too deeply"):
            _refuse_deep(text, depth - 1)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a": ', b"}")])
def test_depth_is_capped(opening: bytes, closing: bytes) -> None:
    """Containers nest to max_depth and no further."""
    for depth in (200, 3, 1):
        message = opening * depth + b"1" + closing * depth
        assert encode(decode(message, max_depth=depth)) == message
        with pytest.raises(PeerError, match="nested too deeply"):
            decode(message, max_depth=depth - 1)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"\\"]": ', b'["\\\\", '])
@pytest.mark.parametrize("max_depth", [200, 10**9])
def test_bottomless_nesting_is_refused(opening: bytes, max_depth: int) -> None:
    """Endless nesting ends in PeerError, also under a cap above Python's own."""
    with pytest.raises(PeerError, match="nested too deeply"):
        decode(opening * 100_000, max_depth=max_depth)


@pytest.mark.parametrize("text", ["[" * 300, '"[' * 300, "\\" * 301 + "[{" * 300, '\\"' + "[" * 300])
def test_brackets_in_strings_are_not_depth(text: str) -> None:
    """Any number of brackets inside strings, or side by side, is no nesting."""
    value = [text, {text: [text]}, *([[], {}] * 300)]
    assert decode(encode(value), max_depth=3) == value


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "Expecting value"),
        (b"  ", "Expecting value"),
        (b"[1", "Expecting"),
        (b'"abc', "Unterminated"),
        (b"1 2", "ends at character 1 of 3"),
        (b'{"a":1} x', "ends at character 7 of 9"),
        (b"\x0b1", "Expecting value"),
        (b"1\xc2\xa0", "ends at character 1 of 2"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b"\xff\xfe1\x00", "utf-8"),
        (b"1\x00\x00\x00", "ends at character 1 of 4"),
        (b'"a\nb"', "control character"),
        (b"{1: 2}", "Expecting property name"),
        (b"[1,]", "Expecting value"),
        (b"9" * 4301, "digits"),
        (b"-" + b"9" * 10_000_000, "digits"),
    ],
    ids=lambda part: repr(part[:40]),
)
def test_malformed_message_is_refused(data: bytes, complaint: str) -> None:
    """Text that is not one JSON value in utf-8 is refused in a short message saying what it is."""
    with pytest.raises(PeerError, match=complaint) as caught:
        decode(data)
    assert len(str(caught.value)) < 100


# --- long messages, which are read window by window


def decode_long(data: bytes, max_depth: int = 200) -> Any:
    """As a server reads it."""
    return in_one_go(decode_in_pieces(data, max_depth=max_depth))


long_scalars = st.one_of(
    plain_scalars,
    st.text(max_size=5).map(lambda text: text * 5000),
    st.integers(0, 200).map(lambda number: [number] * 2000),
    st.just(-1.25e-7),
)


@settings(deadline=None)
@given(nested(long_scalars), st.integers(0, 9), st.sampled_from([None, 1]))
def test_long_messages_mean_what_json_says(value: Any, shift: int, indent: int | None) -> None:
    """Wherever values lie across the ends of windows, they are those that Python's decoder finds."""
    text = json.dumps(["x" * shift, [value, 12.5, {"a": value}] * 5, "y" * 20_000], indent=indent)
    assert repr(decode_long(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("scalar", ["-1.5e+10", "12345", "true", "null", "-Infinity", '"\\u00e9\\n"', "{}"])
def test_values_across_the_end_of_a_window(scalar: str) -> None:
    """Every place of a value may be the last of a window."""
    for shift in range(12):
        text = f'["{"x" * shift}", {", ".join([scalar] * 8000)}]'
        assert repr(decode_long(text.encode())) == repr(json.loads(text))


LONG = b'"' + b"x" * 20_000 + b'"'


@pytest.mark.parametrize(
    "text",
    [
        b"[%b" % LONG,
        b"[%b,]" % LONG,
        b"[,%b]" % LONG,
        b"[%b 1]" % LONG,
        b"[%b:1]" % LONG,
        b"[%b}" % LONG,
        b"[%b] 1" % LONG,
        b"%b,%b" % (LONG, LONG),
        b'{"a"%b}' % LONG,
        b'{"a":%b,}' % LONG,
        b'{"a":%b "b":1}' % LONG,
        b'{"a":%b]' % LONG,
        b'{"a",%b}' % LONG,
        b"{%b}" % LONG,
        b"{1:%b}" % LONG,
        b"{,%b:1}" % LONG,
        b'["%b]' % (b"x" * 20_000),
        b'["%b\n"]' % (b"x" * 20_000),
        b"[%b,nul]" % LONG,
        b"[%b,1.]" % LONG,
        b"[%b,-]" % LONG,
        b"[" + b"9" * 20_000 + b"]",
        b'{"__dCls":"dt","obj":%b}' % LONG,
        b" " * 20_000 + b"[",
        b"[" + b"1, " * 20_000,
    ],
)
def test_malformed_long_message_is_refused(text: bytes) -> None:
    """What Python's decoder refuses is refused in long messages too."""
    with pytest.raises(PeerError):
        decode_long(text)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a": ', b"}")])
def test_depth_of_long_messages_is_capped(opening: bytes, closing: bytes) -> None:
    """Containers that are larger than a window count as those within do."""
    for depth in (50, 3, 1):
        message = opening * depth + LONG + closing * depth
        assert encode(decode_long(message, max_depth=depth)) == message
        with pytest.raises(PeerError, match="nested too deeply"):
            decode_long(message, max_depth=depth - 1)


@pytest.mark.parametrize(("value", "number"), [(b"[]", 333_333), (b"1", 999_997), (b'{"a":1}', 250_000)])
def test_number_of_values_is_bounded(value: bytes, number: int) -> None:
    """A message of about a million values is read, one of more is not: that would take many seconds."""
    assert len(decode_long(b"[" + b",".join([value] * (number - 1)) + b"]")) == number - 1
    with pytest.raises(PeerError, match="more than 1000000 values"):
        decode_long(b"[" + b",".join([value] * (number + 4)) + b"]")


def test_commas_in_strings_are_no_values() -> None:
    """However many of them, and of brackets, texts hold."""
    value = [",[:" * 400_000, {"a": '",' * 300_000}]
    assert decode_long(json.dumps(value).encode()) == value
