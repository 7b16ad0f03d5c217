"""DEncode against the vectors of DIRAC 9.1.22, against itself, and against hostile bytes."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs.dencode import _STRING_TOKENS, _VALUES, decode, encode
from legacy_rpc.messages import PeerError

VECTOR_FILE = Path(__file__).parents[2] / "vectors" / "dencode.json"
VECTORS: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in json.loads(VECTOR_FILE.read_text())}
NAMES = {"datetime": datetime, "nan": math.nan, "inf": math.inf}

REFUSED = "refused"


class Outcome(NamedTuple):
    """What becomes of a vector: its bytes, and the repr of what they decode to; or a refusal."""

    encoded: str
    decoded: str


def refused(encoded: bytes) -> Outcome:
    """These bytes are not decoded."""
    return Outcome(encoded.hex(), REFUSED)


NOT_EMITTED = "no DIRAC encoder emits this form"
LENGTH_LIES = "the length lies; DIRAC returns what there is"
TRAILING = "bytes after the end; DIRAC ignores them"

# name -> what we do instead of DIRAC, and why
DEVIATIONS: dict[str, tuple[Outcome, str]] = {
    "str_lone_surrogate_escape": (
        Outcome(b"s1:\xff".hex(), r"'\udcff'"),
        "binary that came in as surrogateescape goes out again; DIRAC cannot encode it",
    ),
    "datetime_tzaware": (
        Outcome(b"zati2024ei1ei2ei0ei0ei0ei0ene".hex(), "datetime.datetime(2024, 1, 2, 0, 0)"),
        "aware times are sent as UTC; DIRAC cannot encode them",
    ),
    "float_min_denormal": (
        Outcome(b"f5e-324e".hex(), "5e-324"),
        "floats are read exactly; DIRAC multiplies by 10**exponent and rounds twice",
    ),
    "decode_empty": (refused(b""), "an empty message is no value; DIRAC returns b''"),
    "decode_int_underscore": (refused(b"i1_000e"), NOT_EMITTED),
    "decode_int_space": (refused(b"i 5 e"), NOT_EMITTED),
    "decode_int_plus": (refused(b"i+5e"), NOT_EMITTED),
    "decode_float_exp_nosign": (refused(b"f1e5e"), TRAILING),
    "decode_bool_other": (refused(b"b7"), NOT_EMITTED),
    "decode_str_short": (refused(b"s5:ab"), LENGTH_LIES),
    "decode_str_neg": (refused(b"s-1:ab"), LENGTH_LIES),
    "decode_str_hugelen": (refused(b"s99999999999:ab"), LENGTH_LIES),
    "decode_list_trailing": (refused(b"li1eeJUNK"), TRAILING),
    "decode_datetime_short": (refused(b"zati2024ei1ei2ee"), NOT_EMITTED),
    "decode_datetime_list_instead_of_tuple": (refused(b"zdli2024ei1ei2ee"), NOT_EMITTED),
    "decode_none_trailing": (refused(b"null"), TRAILING),
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

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | (st.datetimes() | st.times()).map(lambda moment: moment.replace(fold=0))  # the wire has no folds
)
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(values)
def test_values_survive_the_round_trip(value: Any) -> None:
    """Every encodable value comes back with its types, its key order and all of its digits."""
    assert repr(decode(encode(value))) == repr(value)


@given(st.binary())
def test_binary_survives_the_round_trip(raw: bytes) -> None:
    """Any bytes come back as the str that encodes to the very same message."""
    text = decode(encode(raw))
    assert text == raw.decode("utf-8", "surrogateescape")
    assert encode(text) == encode(raw)


class Number(int, enum.Enum):
    """An enum that prints as anything but its number."""

    ONE = 1

    def __str__(self) -> str:
        return "one"


class Site(enum.StrEnum):
    """An enum of texts."""

    CERN = "LCG.CERN.ch"


class Ratio(float):
    """A float that prints as anything but its value."""

    def __repr__(self) -> str:
        return "half"


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: str


class Stamp(datetime.datetime):
    """A datetime of another library."""


SUBCLASSES: list[tuple[Any, Any]] = [
    (Number.ONE, 1),
    (enum.IntEnum("Level", "LOW").LOW, 1),  # type: ignore[attr-defined]
    (Site.CERN, "LCG.CERN.ch"),
    (Ratio(0.5), 0.5),
    (Pair(1, "a"), (1, "a")),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (collections.defaultdict(list, a=[Site.CERN]), {"a": ["LCG.CERN.ch"]}),
    (type("Rows", (list,), {})([1]), [1]),
    (type("Blob", (bytes,), {})(b"x"), "x"),
    (Stamp(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)),
    ({Site.CERN: Number.ONE}, {"LCG.CERN.ch": 1}),
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
        datetime.time(1, tzinfo=datetime.UTC),
        int,
        [{"deep": {1}}],
    ],
    ids=repr,
)
def test_other_types_are_refused(value: Any) -> None:
    """A value outside the listed types raises TypeError, at any depth."""
    with pytest.raises(TypeError, match="DEncode cannot encode"):
        encode(value)


def test_unencodable_contents() -> None:
    """Contents no peer could read raise an error that names them instead of going out."""
    with pytest.raises(ValueError, match="digits"):
        encode(10**5000)
    with pytest.raises(UnicodeEncodeError):
        encode("\ud83d")
    with pytest.raises(OverflowError):
        encode(datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))))


def test_aware_datetime_is_sent_as_utc() -> None:
    """An aware datetime is converted to UTC before its time zone is dropped."""
    east = datetime.timezone(datetime.timedelta(hours=2))
    value = datetime.datetime(2024, 1, 2, 1, 30, tzinfo=east)
    assert encode(value) == b"zati2024ei1ei1ei23ei30ei0ei0ene"


# --- hostile bytes

tokens = st.sampled_from(
    b"l t d e n b0 b1 i1e i-7e I5e f1.5e f1e-07e s1:a u0: i s f z : - + 99".split()
    + b"zd za zt zdti2024ei1ei2ee zatb ti2024ei1ei2e ti1ei2ei3ei4ene".split()
)
token_soup = st.lists(tokens, max_size=30).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid message with some of its bytes replaced."""
    message = encode(draw(values))
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


@given(values)
def test_every_prefix_is_refused(value: Any) -> None:
    """A container cut off anywhere is refused."""
    message = encode([value])
    for end in range(max(0, len(message) - 60), len(message)):
        with pytest.raises(PeerError):
            decode(message[:end])


@pytest.mark.parametrize(("opening", "closing"), [(b"l", b"e"), (b"t", b"e"), (b"dn", b"e"), (b"d", b"ne")])
def test_depth_is_capped(opening: bytes, closing: bytes) -> None:
    """Containers nest to max_depth and no further, as values and as keys."""
    container = b"te" if opening == b"d" else b"le"  # the innermost, hashable where it is a key
    hashable = opening != b"d"
    for depth, limit in ((200, 200), (3, 3), (1, 1)):
        message = opening * (depth - 1) + container + closing * (depth - 1)
        if hashable or depth == 1:
            assert encode(decode(message, max_depth=limit)) == message
        with pytest.raises(PeerError, match="nested too deeply"):
            decode(message, max_depth=limit - 1)


@pytest.mark.parametrize("opening", [b"l", b"t", b"dn", b"d", b"lt", b"dtl"])
@pytest.mark.parametrize("max_depth", [200, 10**9])
def test_bottomless_nesting_is_refused(opening: bytes, max_depth: int) -> None:
    """Endless nesting ends in PeerError, also under a cap above Python's own."""
    with pytest.raises(PeerError, match="nested too deeply"):
        decode(opening * 100_000, max_depth=max_depth)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"s3:ab", "length"),
        (b"s-1:ab", "length"),
        (b"s-0:", "not a number"),
        (b"s01:a", "not a number"),
        (b"s99999999999999999999999:a", "length"),
        (b"u3:ab", "length"),
        (b"ls5:ae", "length"),
        (b"s" + b"9" * 5000 + b":", "digits"),
        (b"s5", "ends inside"),
        (b"s:", "not a number"),
        (b"i" + b"9" * 4301 + b"e", "digits"),
        (b"i-" + b"9" * 10_000_000 + b"e", "digits"),
        (b"i007e", "not a number"),
        (b"i-0e", "not a number"),
        (b"i--1e", "not a number"),
        (b"i\xb2e", "not a number"),
        (b"f" + b"9" * 1000 + b"e", "not a float"),
        (b"f1e+999e", "not a float"),
        (b"finfinitye", "not a float"),
        (b"f1_0e", "not a float"),
        (b"f 1e", "not a float"),
        (b"f+1e", "not a float"),
        (b"f.5e", "not a float"),
        (b"fe", "not a float"),
        (b"f1..2e", "not a float"),
        (b"f1e-e", "not a float"),
        (b"bx", "bool"),
        (b"b", "ends inside"),
        (b"", "ends inside"),
        (b"l", "ends inside"),
        (b"ds1:a", "ends inside"),
        (b"n\n", "ends at byte 1 of 2"),
        (b"x", "unknown tag b'x' at byte 0"),
        (b"lnxe", "unknown tag b'x' at byte 2"),
        (b"di1ee", "unknown tag b'e' at byte 4"),
        (b"dlene", "key"),
        (b"dtleene", "key"),
        (b"zxti1ee", "not a date"),
        (b"zdli2024ei1ei2ee", "not a date"),
        (b"zdtb1i1ei2ee", "not a date"),
        (b"zdti2024ei1ee", "wrong number of fields"),
        (b"zdti2024ei1ei2ei3ee", "wrong number of fields"),
        (b"zati2024ei1ei2ene", "wrong number of fields"),
        (b"zdti2024es1:1i2ee", "fields"),
        (b"zati2024ei1ei2ei3ei4ei5ei6es3:UTCe", "ends inside"),
        (b"zdti2023ei2ei29ee", "does not exist"),
        (b"zdti0ei1ei1ee", "does not exist"),
        (b"zdti99999999999999999999ei1ei1ee", "does not exist"),
        (b"ztti24ei0ei0ei0ene", "does not exist"),
        (b"zd", "not a date"),
        (b"z", "ends inside"),
    ],
    ids=lambda part: repr(part[:40]),
)
def test_malformed_message_is_refused(data: bytes, complaint: str) -> None:
    """A lie, a truncation or a form no encoder emits is refused in a short message saying what it is."""
    with pytest.raises(PeerError, match=complaint) as caught:
        decode(data)
    assert len(str(caught.value)) < 100


def test_forms_of_python_2_clients_are_read() -> None:
    """The tags only Python 2 emits, long and unicode, are read like int and str."""
    assert decode(b"lI18446744073709551616eu3:\xe2\x82\xace") == [2**64, "€"]


def test_longest_int_is_read() -> None:
    """An int of as many digits as Python converts quickly is read."""
    assert decode(b"i-" + b"9" * 4300 + b"e") == 1 - 10**4300


def test_bytes_and_str_key_are_one() -> None:
    """Two keys that are one on the wire decode to the last value, as in DIRAC."""
    assert decode(encode({b"k": 1, "k": 2})) == {"k": 2}


@pytest.mark.parametrize(
    "keys",
    [
        [number * (2**61 - 1) for number in range(1, 101)],
        [-number * (2**61 - 1) for number in range(1, 101)],
        [("x", (number * (2**61 - 1), "y")) for number in range(1, 101)],
    ],
    ids=["multiples", "negative multiples", "tuples"],
)
def test_many_keys_of_one_hash_are_refused(keys: list[Any]) -> None:
    """Keys that somebody could have chosen to make a dictionary slow are taken only if they are few."""
    few = dict.fromkeys(keys[:64])
    assert decode(encode(few)) == few
    with pytest.raises(PeerError, match="could make it slow"):
        decode(encode(dict.fromkeys(keys)))


@pytest.mark.parametrize(
    "key",
    [
        int,
        str,
        lambda number: datetime.date(2000, 1, 1) + datetime.timedelta(number),
        lambda number: number / 7,
        lambda number: (number, number),
        lambda number: (number // 70, f"site {number % 70}", 0.5),
        lambda number: number << 41,
    ],
)
def test_many_ordinary_keys_are_read(key: Callable[[int], Any]) -> None:
    """Job ids, names, days, fractions and tuples may be as many keys as they like."""
    value = {key(number): number for number in range(5000)}
    assert decode(encode(value)) == value


@pytest.mark.parametrize("length", [0, 1, 9, 10, 64, 65, 99, 100, 999, 8180, 8192, 20_000])
@pytest.mark.parametrize("letter", ["x", "é", "e", "\udcff"])
def test_strings_of_every_length(length: int, letter: str) -> None:
    """Strings that are cut quickly and those that are not come back alike, between other values."""
    value = [1, letter * length, {"a": letter * length, letter * length: None}, (letter * length, 2.5)]
    assert decode(encode(value)) == value


@pytest.mark.parametrize("start", range(40))
def test_tokens_across_the_end_of_a_run(start: int) -> None:
    """Where a long message is cut for reading makes no difference to what is in it."""
    moment = datetime.datetime.fromisoformat("2024-01-02 03:04:05.678901")
    value = [
        "x" * start,
        *[["abc", 1e20, -12345, moment, moment.date(), moment.time(), True, None, ()]] * 300,
    ]
    assert decode(encode(value)) == value


def test_what_is_remembered_is_bounded() -> None:
    """However many short texts come, few are kept, and no long one."""
    for number in range(3):
        value = [f"{number} {text}" for text in range(5000)]
        assert decode(encode(value)) == value
    long = "z" * 1000
    assert decode(encode(long)) == long
    for memory in (_VALUES, _STRING_TOKENS):
        assert len(memory) <= 4096
        assert max(map(len, memory)) <= 64


def test_dictionary_of_many_keys_is_as_any_other() -> None:
    """Of equal keys the last wins, and a list is no key."""
    twice = b"".join(b"i%dei%de" % (key % 3000, key) for key in range(4000))
    assert decode(b"d" + twice + b"e") == {key % 3000: key for key in range(4000)}
    with pytest.raises(PeerError, match="is or holds a list"):
        decode(b"d" + twice + b"lei1ee")
    with pytest.raises(PeerError, match="unknown tag"):
        decode(b"d" + twice + b"i1ee")


@pytest.mark.parametrize(("value", "tokens"), [(b"le", 2), (b"n", 1), (b"dni1ee", 4), (b"s1:x", 1)])
def test_number_of_values_is_bounded(value: bytes, tokens: int) -> None:
    """A message of a million values is read, one of more is not: that would take many seconds."""
    number = (1_000_000 - 2) // tokens
    assert len(decode(b"l" + value * number + b"e")) == number
    with pytest.raises(PeerError, match="more than 1000000 values"):
        decode(b"l" + value * (number + 1) + b"e")
