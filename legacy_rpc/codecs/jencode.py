"""JEncode, DIRAC 9's JSON (``legacy-wire.md`` section 3.2).

``json.dumps`` with its defaults, plus objects tagged ``__dCls`` for datetime, date and bytes.  Python's
C coder does the work: the functions here are its hooks for what JSON lacks.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import Any

from legacy_rpc.codecs.dencode import MAX_DEPTH
from legacy_rpc.messages import PeerError

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = " \t\n\r"


def encode(value: Any) -> bytes:
    """The JSON bytes of ``value``, ASCII only (``legacy-wire.md`` section 3.2).

    Takes None, bool, int, float (NaN and infinities too), str, bytes, list, tuple, dict, datetime,
    date, and subclasses of these.  A datetime loses its microseconds, an aware one is sent as UTC.
    Keys of a dict may be str, int, float, bool or None and arrive as str.  Tuples arrive as lists.

    Raises TypeError for any other type, ValueError for an int of more than 4300 digits, OverflowError
    for an aware datetime that UTC has no year for.
    """
    return _ENCODER.encode(value).encode("ascii")


def encode_plain(value: Any) -> bytes:
    """As ``encode``, but bytes become base64 text: so DIRAC's HTTPS services send them (sheet, 7.1, 7.3)."""
    return _PLAIN_ENCODER.encode(value).encode("ascii")


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one whole JSON message (``legacy-wire.md`` section 3.2).

    ``max_depth`` is how many arrays and objects may lie inside each other.  An object whose
    ``__dCls`` is not ``dt``, ``date`` or ``b64`` stays the dict it is; no class is ever looked up.
    Raises PeerError for anything malformed, and for text that is not utf-8.
    """
    # Without that many brackets no message is too deep; this spares nearly all of them the scan.
    if data.count(b"[") + data.count(b"{") > max_depth and _depth(data) > max_depth:
        raise PeerError("JSON: nested too deeply")
    try:
        text = data.removeprefix(_BOM).decode("utf-8").strip(_WHITESPACE)
        value, end = _DECODER.raw_decode(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PeerError(f"JSON: {error}") from None
    except ValueError:
        # json reads integers with int(), which refuses more than 4300 digits.
        raise PeerError("JSON: a number has too many digits") from None
    except RecursionError:
        raise PeerError("JSON: nested too deeply") from None
    if end != len(text):
        raise PeerError(f"JSON: the message ends at character {end} of {len(text)}")
    return value


# --- encoding


def _tag(value: Any) -> dict[str, str]:
    """What stands for a value JSON cannot hold."""
    if isinstance(value, datetime):
        if value.utcoffset() is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        # Unlike DIRAC's strftime this pads years below 1000, without which no client can read them.
        return {"__dCls": "dt", "obj": datetime.isoformat(value, " ", "seconds")}
    if isinstance(value, date):
        return {"__dCls": "date", "obj": date.isoformat(value)}
    if isinstance(value, bytes):
        return {"__dCls": "b64", "obj": _text_of_bytes(value)}
    raise TypeError(f"JEncode cannot encode {type(value).__qualname__}")


def _text_of_bytes(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _tag_or_text(value: Any) -> dict[str, str] | str:
    return _text_of_bytes(value) if isinstance(value, bytes) else _tag(value)


# Values are trees made by our own code: the check for circles would only cost time.  A circle ends in
# RecursionError.
_ENCODER = json.JSONEncoder(default=_tag, check_circular=False)
_PLAIN_ENCODER = json.JSONEncoder(default=_tag_or_text, check_circular=False)


# --- decoding


def _untag(fields: dict[str, Any]) -> Any:
    """What a decoded JSON object stands for: usually itself."""
    if "__dCls" not in fields:
        return fields
    name = fields["__dCls"]
    if name is None or name == "":
        del fields["__dCls"]
        return fields
    read = _READERS.get(name) if isinstance(name, str) else None
    if read is None:
        return fields
    text = fields.get("obj")
    if not isinstance(text, str) or len(fields) != 2:
        raise PeerError(f"JSON: a {name} object holds something else than one text")
    try:
        return read(text)
    except ValueError:
        raise PeerError(f"JSON: not a {name}: {text[:30]!r}") from None


def _read_datetime(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    # fromisoformat reads far more forms than the one on this wire.
    if value.tzinfo is not None or value.isoformat(" ", "seconds") != text:
        raise ValueError
    return value


def _read_date(text: str) -> date:
    value = date.fromisoformat(text)
    if value.isoformat() != text:
        raise ValueError
    return value


def _read_bytes(text: str) -> bytes:
    return a2b_base64(text, strict_mode=True)


_READERS: dict[str, Callable[[str], Any]] = {"dt": _read_datetime, "date": _read_date, "b64": _read_bytes}
_DECODER = json.JSONDecoder(object_hook=_untag)


# Brackets become +1 and -1 (as signed bytes), quotes stay, everything else is dropped.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def _depth(data: bytes) -> int:
    """How deep arrays and objects are nested in JSON text, found before anything recurses into it.

    Works on whole messages with a few passes in C.  In text that is not JSON the answer holds up to
    the first error, and further no parser goes.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Dropping two neighbouring quotes keeps every bracket on its side of the remaining quotes.
    structure = data.translate(_STEPS, _NO_STRUCTURE).replace(b'""', b"")
    outside_strings = b"".join(structure.split(b'"')[::2])
    return max(accumulate(memoryview(outside_strings).cast("b")), default=0)
