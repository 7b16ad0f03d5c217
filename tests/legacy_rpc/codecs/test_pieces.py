"""Encoding in pieces: the same bytes as in one go, the same errors, and no piece much larger than allowed."""

from __future__ import annotations

import datetime
import random
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_rpc.codecs import pieces
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.codecs.pieces import PIECE, encode_in_pieces, is_light

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)

NOW = datetime.datetime.fromisoformat("2026-11-21 12:00:01")
ROW = [17, "Running", None, 2.5, True, NOW, "LCG.Site.org", "é" * 20, (1, "two")]
LARGE: dict[str, Any] = {
    "rows": [ROW] * 5000,
    "numbers": list(range(100_000)),
    "dates": [NOW] * 20_000,
    "a dictionary": {f"job {n}": {"Status": "Done", "n": n} for n in range(10_000)},
    "keys that are long": {"k" * 5000 + str(n): n for n in range(100)},
    "integers as keys": dict.fromkeys(range(10_000), "x"),
    "a tuple": tuple(ROW * 5000),
    "text": 'h\u00e9llo \U0001f600 \udcff"\\\n' * 50_000,
    "bytes": random.Random(1).randbytes(500_001),
    "nested": [1, {"a": ["x" * 100_000, {"b": (b"q" * 99_999, ["y" * 40_000] * 3, [])}]}, "end"],
    "deep": [[[[[[ROW * 100] * 30]]]], "x"],
    "an ordered dictionary": OrderedDict((n, ROW) for n in range(3000)),
    "heavy and light in turns": [1, "x" * 50_000] * 20,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
@ENCODINGS
def test_the_same_bytes(encoding: Encoding, value: Any) -> None:
    """The pieces are the encoding, and none is much larger than its share."""
    if encoding is JENCODE and isinstance(value, tuple):
        value = list(value)
    message = {"OK": True, "Value": value, "Extra": [1]}
    assert not is_light(message)
    parts = list(encode_in_pieces(message, encoding))
    assert b"".join(parts) == encoding.encode(message)
    assert len(parts) > 5
    assert max(map(len, parts)) < 10 * PIECE


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], {}, (), ROW, {"OK": True, "Value": [ROW] * 10}], ids=repr
)
@ENCODINGS
def test_small_values(encoding: Encoding, value: Any) -> None:
    """A small value is one piece."""
    assert is_light(value)
    assert list(encode_in_pieces(value, encoding)) == [encoding.encode(value)]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=30)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=6).map(tuple)
        | st.dictionaries(text | st.integers() | st.booleans() | st.none(), inner, max_size=6)
    ),
    max_leaves=40,
)


@settings(deadline=None, max_examples=300)
@given(
    value=values,
    piece=st.integers(64, 400),
    cut=st.integers(1, 5),
    encoding=st.sampled_from([DENCODE, JENCODE]),
)
def test_any_value_at_any_size(value: Any, piece: int, cut: int, encoding: Encoding) -> None:
    """Wherever a value is cut, the bytes are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", piece)
        patch.setattr(pieces, "_SLICE", 3 * cut)
        assert b"".join(encode_in_pieces(value, encoding)) == encoding.encode(value)


CANNOT: list[Any] = [{1, 2}, object(), 10**5000, datetime.timedelta(1)]


@pytest.mark.parametrize("value", CANNOT, ids=type)
@ENCODINGS
def test_the_same_errors(encoding: Encoding, value: Any) -> None:
    """What cannot be encoded raises the same error, wherever it stands."""
    for large in (value, [*range(10_000), value], {"a": ["x" * 100_000, [value]]}):
        with pytest.raises((TypeError, ValueError)) as whole:
            encoding.encode(large)
        with pytest.raises(whole.type) as cut:
            list(encode_in_pieces(large, encoding))
        assert str(cut.value) == str(whole.value)


@ENCODINGS
def test_a_circle(encoding: Encoding) -> None:
    """A value that contains itself has an end."""
    circle: list[Any] = ["x" * 1000]
    circle.append(circle)
    with pytest.raises(RecursionError):
        list(encode_in_pieces(circle, encoding))
