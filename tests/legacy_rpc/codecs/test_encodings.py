"""The choice between DEncode and JEncode, against DIRAC 9.1.22's own choice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding, decode_any, detect
from legacy_rpc.messages import PeerError

VECTOR_FOLDER = Path(__file__).parents[2] / "vectors"
REFUSED = "refused"

# Every vector that has bytes, by file and name.
VECTORS: dict[str, dict[str, Any]] = {
    f"{file}/{entry['name']}": entry
    for file in ("dencode", "jencode")
    for entry in json.loads((VECTOR_FOLDER / f"{file}.json").read_text())
    if entry["hex"] is not None
}

STRICTER = "DEncode is read strictly (test_dencode.py), and it is no JSON either"
OPAQUE = "no class is looked up (test_jencode.py)"

# file/name -> the repr of what we decode instead of DIRAC, or a refusal, and why
DEVIATIONS: dict[str, tuple[str, str]] = {
    "dencode/float_min_denormal": ("5e-324", "floats are read exactly (test_dencode.py)"),
    "dencode/decode_empty": (REFUSED, STRICTER),
    "dencode/decode_int_underscore": (REFUSED, STRICTER),
    "dencode/decode_int_space": (REFUSED, STRICTER),
    "dencode/decode_int_plus": (REFUSED, STRICTER),
    "dencode/decode_float_exp_nosign": (REFUSED, STRICTER),
    "dencode/decode_bool_other": (REFUSED, STRICTER),
    "dencode/decode_str_short": (REFUSED, STRICTER),
    "dencode/decode_str_neg": (REFUSED, STRICTER),
    "dencode/decode_str_hugelen": (REFUSED, STRICTER),
    "dencode/decode_list_trailing": (REFUSED, STRICTER),
    "dencode/decode_datetime_short": (REFUSED, STRICTER),
    "dencode/decode_datetime_list_instead_of_tuple": (REFUSED, STRICTER),
    "jencode/decode_empty": (REFUSED, STRICTER),
    "jencode/decode_b64_garbage": (REFUSED, "base64 is read strictly (test_jencode.py)"),
    "jencode/decode_utf16": (REFUSED, "JSON is utf-8 (test_jencode.py)"),
    "jencode/decode_unknown_class_no_mod": ("{'__dCls': 'Foo'}", OPAQUE),
    "jencode/decode_unknown_class_bad_mod": ("{'__dCls': 'Foo', '__dMod': 'no.such.module'}", OPAQUE),
    "jencode/decode_class_not_serializable": ("{'__dCls': 'OrderedDict', '__dMod': 'collections'}", OPAQUE),
    "jencode/decode_class_request": (
        repr(json.loads(bytes.fromhex(VECTORS["jencode/decode_class_request"]["hex"]))),
        OPAQUE,
    ),
}


def dirac_outcome(vector: dict[str, Any]) -> str:
    """The repr of what DIRAC's detecting decoder makes of a vector."""
    decoded = vector["mixed_decode"].get("decoded") if "mixed_decode" in vector else vector.get("roundtrip")
    return REFUSED if decoded is None else decoded


def our_outcome(vector: dict[str, Any]) -> str:
    """The repr of what ours makes of it."""
    try:
        value, _encoding = decode_any(bytes.fromhex(vector["hex"]))
    except PeerError:
        return REFUSED
    return repr(value)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    """A message is read as DIRAC's detecting decoder reads it, or as the deviation declared for it."""
    expected = DEVIATIONS[name][0] if name in DEVIATIONS else dirac_outcome(VECTORS[name])
    assert our_outcome(VECTORS[name]) == expected


@pytest.mark.parametrize("name", DEVIATIONS)
def test_deviation_is_real(name: str) -> None:
    """A declared deviation is one: DIRAC does something else with a vector of that name."""
    assert DEVIATIONS[name][0] != dirac_outcome(VECTORS[name])


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"{}", JENCODE),
        (b"[", JENCODE),
        (b'"', JENCODE),
        (b"de", DENCODE),
        (b"n", DENCODE),
        (b"?", DENCODE),
        (b"", DENCODE),
    ],
)
def test_first_byte_decides(data: bytes, encoding: Encoding) -> None:
    """A brace, a bracket or a quote announces JSON; anything else DEncode."""
    assert detect(data) is encoding


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"true", True),
        (b"null", None),
        (b"12", 12),
        (b'  {"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ],
)
def test_other_json_is_still_found(data: bytes, value: Any) -> None:
    """JSON that starts with another byte is read as JSON, and to be answered as such."""
    assert decode_any(data) == (value, JENCODE)


@pytest.mark.parametrize(("data", "words"), [(b"x", "DEncode: "), (b"i5", "DEncode: "), (b"{", "JSON: ")])
def test_error_speaks_of_the_announced_encoding(data: bytes, words: str) -> None:
    """What neither encoding can read is refused in the words of the one its first byte announced."""
    with pytest.raises(PeerError, match=words):
        decode_any(data)


@pytest.mark.parametrize("data", [b"llee", b"[[]]"])
def test_depth_is_passed_on(data: bytes) -> None:
    """The cap on nesting holds in both encodings."""
    assert decode_any(data, 2)[0] == [[]]
    with pytest.raises(PeerError, match="nested too deeply"):
        decode_any(data, 1)


@pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)
@given(value=st.dictionaries(st.text(), st.lists(st.none() | st.booleans() | st.integers() | st.text())))
def test_answer_goes_out_as_the_question_came_in(encoding: Encoding, value: Any) -> None:
    """A message's encoding is recognised, so its answer can use the same."""
    assert decode_any(encoding.encode(value)) == (value, encoding)


@given(st.binary())
def test_any_bytes_give_a_value_or_peer_error(data: bytes) -> None:
    """Whatever bytes arrive, decoding gives a value and an encoding to send it in, or PeerError."""
    try:
        value, encoding = decode_any(data)
    except PeerError:
        return
    assert repr(encoding.decode(encoding.encode(value))) == repr(value)


def test_encodings_cannot_be_changed() -> None:
    """The two encodings are constants."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        DENCODE.name = "other"  # type: ignore[misc]
