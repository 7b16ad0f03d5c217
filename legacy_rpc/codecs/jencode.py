"""JEncode, DIRAC 9's JSON (``legacy-wire.md`` section 3.2).

``json.dumps`` with its defaults, plus objects tagged ``__dCls`` for datetime, date and bytes.  Python's
C coder does the work: the functions here are its hooks for what JSON lacks.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import Any

from legacy_rpc.codecs.dencode import MAX_DEPTH, MAX_VALUES
from legacy_rpc.codecs.steps import Steps, in_one_go
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
    Raises PeerError for anything malformed, for text that is not utf-8, and for more than a million values.
    """
    return in_one_go(_reading(data, max_depth, MAX_VALUES, _ONE_GO))


def decode_in_pieces(data: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> Steps[Any]:
    """``decode`` as a generator that returns the value, and yields after every millisecond or so of work."""
    return _reading(data, max_depth, max_values, _WINDOW)


def _reading(data: bytes, max_depth: int, max_values: int, most: int) -> Steps[Any]:
    """Reads text of ``most`` characters by Python's own decoder alone."""
    try:
        text = data.removeprefix(_BOM).decode("utf-8").strip(_WHITESPACE)
        if len(text) > most:
            return (yield from _LongText(text, max_depth, max_values).whole())
        _refuse_deep(data, max_depth)
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
# The value that begins at a place in a text, and where it ends.
_SCAN: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined]  # typeshed lacks it


# --- long messages

# What Python's decoder is given at a time, in characters.
_WINDOW = 16 * 1024
# What it is given where nobody waits; no million of values has room in it.
_ONE_GO = 1024 * 1024
# A number that is cut off may look whole up to ".", "e" or "e+".
_MARGIN = 3
_MARK = re.compile(r"[ \t\n\r]*([,:\]}]?)[ \t\n\r]*")
_HEAVY = object()


class _LongText:
    """Reads JSON text that would hold everybody up if it were read in one go.

    A window of it after the other is looked at: what lies whole within is read by Python's own decoder, and
    only the arrays and objects that are larger, item by item, here.
    """

    def __init__(self, text: str, max_depth: int, max_values: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self._max_values = max_values
        self._at = 0
        self._window = ""
        self._start = 0  # of the window
        self._count = 0  # of the values before the window

    def whole(self) -> Steps[Any]:
        """The value of all the text.  Raises PeerError, ValueError."""
        value = yield from self._heavy(0)
        if self._at != len(self._text):
            raise PeerError(f"JSON: the message ends at character {self._at} of {len(self._text)}")
        self._leave_window()
        return value

    def _light(self) -> Any:
        """The value that begins here if it ends within the window, else ``_HEAVY``."""
        try:
            value, end = _SCAN(self._window, self._at - self._start)
        except (StopIteration, json.JSONDecodeError):
            return _HEAVY
        is_last = self._start + len(self._window) == len(self._text)
        if end > len(self._window) - _MARGIN and not is_last:
            return _HEAVY
        self._at = self._start + end
        return value

    def _heavy(self, depth: int) -> Steps[Any]:
        """The value that begins here, inside so many containers."""
        if self._at > self._start or not self._window:
            yield
            self._leave_window()
            self._window = self._text[self._at : self._at + _WINDOW]
            _refuse_deep(self._window.encode(), self._max_depth - depth)
            if (value := self._light()) is not _HEAVY:
                return value
        match self._text[self._at : self._at + 1]:
            case "[":
                return (yield from self._array(depth + 1))
            case "{":
                return (yield from self._object(depth + 1))
            case '"':
                value, self._at = _SCAN(self._text, self._at)
                self._start, self._window = self._at, ""
                return value
        raise self._wrong()

    def _array(self, depth: int) -> Steps[list[Any]]:
        self._at += 1
        items: list[Any] = []
        mark = self._mark()
        while mark != "]":
            if mark != ("," if items else ""):
                raise self._wrong()
            value = self._light()
            items.append((yield from self._heavy(depth)) if value is _HEAVY else value)
            mark = self._mark()
        return items

    def _object(self, depth: int) -> Steps[Any]:
        self._at += 1
        fields: dict[str, Any] = {}
        mark = self._mark()
        while mark != "}":
            if mark != ("," if fields else "") or not self._text.startswith('"', self._at):
                raise self._wrong()
            key = self._light()
            if key is _HEAVY:
                key = yield from self._heavy(depth)
            if self._mark() != ":":
                raise self._wrong()
            value = self._light()
            fields[key] = (yield from self._heavy(depth)) if value is _HEAVY else value
            mark = self._mark()
        return _untag(fields)

    def _mark(self) -> str:
        """What stands between values: a comma, a colon or an end, or nothing."""
        found = _MARK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return found[1]

    def _leave_window(self) -> None:
        """Count what was read of it, and begin the next."""
        read = self._window[: self._at - self._start]
        self._count += len(_structure(read.encode()))
        if self._count > self._max_values:
            raise PeerError(f"JSON: a message of more than {self._max_values} values")
        self._start = self._at

    def _wrong(self) -> PeerError:
        return PeerError(f"JSON: no value, or no comma, at character {self._at}")


# --- structure

# Brackets become +1 and -1 (as signed bytes), commas and colons 0; quotes stay, everything else is dropped.
_STEPS = bytes.maketrans(b"[{]},:", b"\x01\x01\xff\xff\x00\x00")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{},:"'))


def _structure(data: bytes) -> bytes:
    """What lies outside the strings of JSON text, as steps into arrays and objects and out of them.

    Works with a few passes in C.  In text that is not JSON the answer holds up to the first error, and
    further no parser goes.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Dropping two neighbouring quotes keeps everything on its side of the remaining quotes.
    structure = data.translate(_STEPS, _NO_STRUCTURE).replace(b'""', b"")
    return b"".join(structure.split(b'"')[::2])


def _refuse_deep(data: bytes, max_depth: int) -> None:
    """Raise PeerError for JSON text that is nested more deeply, before anything recurses into it."""
    # Without that many brackets nothing is too deep; this spares nearly all text the closer look.
    if data.count(b"[") + data.count(b"{") > max_depth:
        depths = accumulate(memoryview(_structure(data)).cast("b"))
        if max(depths, default=0) > max_depth:
            raise PeerError("JSON: nested too deeply")
