"""XML-RPC, the encoding of ``xmlrpc.client`` and its like in other languages (XML-RPC specification, 1999).

Requests are read with expat and a table of which element may stand in which: whatever is not XML-RPC is
refused with one of the agreed fault codes, and before it is expanded, nested or kept.  Answers are written
so that strict readers take them.  Beyond the specification go the extensions that clients agree on:
``nil``, and integers of 64 bits as ``i8``.

``xmlrpc.client`` itself is not used: it reads nearly anything, answers some of it with ``IndexError``, and
writes neither job ids nor keys that are numbers.
"""

from __future__ import annotations

import enum
import re
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from xml.parsers import expat

from legacy_rpc.codecs.dencode import MAX_DEPTH
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.messages import Failure, Outcome, PeerError, Reply


class FaultCode(enum.IntEnum):
    """The codes of faults that have no number of DIRAC's, which are positive.

    Source: Specification for Fault Code Interoperability, 2001.
    """

    NOT_WELL_FORMED = -32700
    UNKNOWN_ENCODING = -32701
    WRONG_CHARACTER = -32702
    NOT_XML_RPC = -32600
    NO_SUCH_METHOD = -32601
    WRONG_PARAMETERS = -32602
    NOT_CARRIED = -32603
    APPLICATION = -32500  # what DIRAC calls an error without a number
    SYSTEM = -32400
    TRANSPORT = -32300


# Why a call was refused before its method answered.
_CODES = {
    "unknown-service": FaultCode.NO_SUCH_METHOD,
    "unknown-method": FaultCode.NO_SUCH_METHOD,
    "arguments": FaultCode.WRONG_PARAMETERS,
    "overload": FaultCode.SYSTEM,
    "timeout": FaultCode.SYSTEM,
}


class RequestError(PeerError):
    """A request that cannot be understood, with the code of the fault that says so."""

    def __init__(self, code: FaultCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotCarriedError(TypeError):
    """A value for which XML-RPC has no form."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: the whole dotted name, and the arguments."""

    method: str
    params: list[Any]


class RequestParser:
    """Reads a ``methodCall`` document, at once (``decode_request``) or in pieces of bounded work.

    ``charset`` is the transport's word on the encoding, for documents that do not declare one; ``max_depth``
    is how many arrays and structs may lie inside each other.
    """

    def __init__(self, data: bytes, *, max_depth: int = MAX_DEPTH, charset: str = "") -> None:
        self._text = _text(data, charset)
        self._reader = _Reader(max_depth)
        self._parser = expat.ParserCreate("utf-8", intern={})  # whatever the document declares
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._reader.start
        self._parser.EndElementHandler = self._reader.end
        self._parser.CharacterDataHandler = self._reader.text.append
        self._parser.StartDoctypeDeclHandler = _refuse_doctype

    def pieces(self) -> Iterator[None]:
        """Does the work.  Raises RequestError as ``decode_request``."""
        fed = 0
        for start in range(0, len(self._text), _PIECE):
            piece = self._text[start : start + _PIECE].encode()
            self._parse(piece, end=False)
            fed += len(piece)
            # expat goes over an unfinished tag or comment again and again until it ends.
            if fed - self._parser.CurrentByteIndex > _LONGEST_TAG:
                raise _not_xml_rpc(f"a tag or comment is longer than {_LONGEST_TAG} bytes")
            yield
        self._parse(b"", end=True)

    def _parse(self, piece: bytes, *, end: bool) -> None:
        try:
            self._parser.Parse(piece, end)
        except expat.ExpatError as error:
            raise RequestError(FaultCode.NOT_WELL_FORMED, f"XML: {error}") from None

    @property
    def request(self) -> Request:
        """The call, once all pieces are done."""
        return self._reader.request()


def decode_request(data: bytes, *, max_depth: int = MAX_DEPTH, charset: str = "") -> Request:
    """The call in a ``methodCall`` document; see RequestParser.

    Integers of 64 bits are taken under every name (``int``, ``i1`` ... ``i8``), dates become naive UTC
    datetimes, base64 becomes bytes.  Raises RequestError for anything that is not XML-RPC, in another
    encoding than UTF-8, ISO-8859-1 or US-ASCII, or that has a document type (whose entities could grow
    without end, or name files).
    """
    parser = RequestParser(data, max_depth=max_depth, charset=charset)
    for _ in parser.pieces():
        pass
    return parser.request


def encode_answer(outcome: Outcome, *, whole: bool = False) -> bytes:
    """The ``methodResponse`` document of an outcome: its value, or a fault.

    A fault's code is the failure's number (without one, a FaultCode), its text the message.  With ``whole``
    the answer is always a value, the result as a DISET client sees it, with all of its keys.

    A value is made of None, bool, int, float, str, bytes, list, tuple, dict, datetime, date.  A datetime
    loses its microseconds, an aware one is sent as UTC, a date as its midnight.  The keys of a dict become
    texts as in JSON.  A str with characters that XML has no form for is sent as the base64 of its UTF-8.
    Raises NotCarriedError for any other type, an int beyond 64 bits, a key with such characters, and what is
    nested without end.
    """
    return b"".join(answer_in_pieces(outcome, whole=whole))


def answer_in_pieces(outcome: Outcome, *, whole: bool = False) -> Iterator[bytes]:
    """The bytes of ``encode_answer``, in pieces of bounded work.  Raises NotCarriedError at any of them."""
    if isinstance(outcome, Failure) and not whole:
        yield encode_fault(_code(outcome), outcome.message)
        return
    yield _ANSWER[0]
    yield from _seen_in_pieces(outcome, whole=whole)
    yield _ANSWER[1]


def part_in_pieces(outcome: Outcome, *, whole: bool = False) -> Iterator[bytes]:
    """What stands for an outcome in the answer of ``system.multicall``: ``[value]``, or a fault's struct.

    Raises NotCarriedError at any piece.
    """
    if isinstance(outcome, Failure) and not whole:
        yield fault_part(_code(outcome), outcome.message)
        return
    yield _ARRAY[0]
    yield from _seen_in_pieces(outcome, whole=whole)
    yield _ARRAY[1]


def fault_part(code: int, message: str) -> bytes:
    """What stands for a fault in the answer of ``system.multicall``."""
    # Two members and no more: strict clients refuse a fault that has others.
    text = _NO_XML.sub(_REPLACEMENT, message)
    return _encoded({"faultCode": code, "faultString": text})


def join_parts(parts: Iterable[bytes]) -> Sequence[bytes]:
    """The ``methodResponse`` document of a ``system.multicall`` with these parts."""
    return (_ANSWER[0], _ARRAY[0], *parts, _ARRAY[1], _ANSWER[1])


def encode_fault(code: int, message: str) -> bytes:
    """The ``methodResponse`` document of a fault."""
    return _FAULT[0] + fault_part(code, message) + _FAULT[1]


# --- encoding

Put = Callable[[str], None]

# What XML 1.0 has no form for.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile("[&<>\r]")
# A bare carriage return would be read as a newline.
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_REPLACEMENT = "\ufffd"

_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)

_DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n<methodResponse>'
_ANSWER = (_DECLARED + b"<params><param>", b"</param></params></methodResponse>\n")
_FAULT = (_DECLARED + b"<fault>", b"</fault></methodResponse>\n")
_ARRAY = (b"<value><array><data>", b"</data></array></value>")
_STRUCT = (b"<value><struct>", b"</struct></value>")
# Of a long string; a multiple of three, so that base64 of the parts is base64 of the whole.
_SLICE = 3 * 8 * 1024


def _code(failure: Failure) -> int:
    return failure.errno or _CODES.get(failure.reason, FaultCode.APPLICATION)


def _seen_in_pieces(outcome: Outcome, *, whole: bool) -> Iterator[bytes]:
    """The value that a client sees; a piece is empty where work was done and nothing is ready."""
    seen = outcome.value if isinstance(outcome, Reply) and not whole else outcome.as_result()
    try:
        yield from _value_in_pieces(seen)
    except RecursionError:
        raise NotCarriedError("XML-RPC cannot carry values that are nested so deeply") from None


def _value_in_pieces(value: Any) -> Iterator[bytes]:
    if is_light(value):
        yield _encoded(value)
    elif isinstance(value, dict):
        yield _STRUCT[0]
        for key, item in value.items():
            yield f"<member><name>{_key(key)}</name>".encode()
            yield from _value_in_pieces(item)
            yield b"</member>"
        yield _STRUCT[1]
    elif isinstance(value, list | tuple):
        yield _ARRAY[0]
        for item in value:
            yield from _value_in_pieces(item)
        yield _ARRAY[1]
    elif isinstance(value, str):
        yield from _text_in_pieces(value)
    elif isinstance(value, bytes):
        yield from _bytes_in_pieces(value)
    else:
        yield _encoded(value)


def _text_in_pieces(text: str) -> Iterator[bytes]:
    for part in _slices(text):
        if _NO_XML.search(part):
            yield from _bytes_in_pieces(_utf8(text))
            return
        yield b""
    yield b"<value><string>"
    for part in _slices(text):
        yield _escaped(part).encode()
    yield b"</string></value>"


def _bytes_in_pieces(data: bytes) -> Iterator[bytes]:
    yield b"<value><base64>"
    for part in _slices(data):
        yield b64encode(part)
    yield b"</base64></value>"


def _slices(value: Any) -> Iterator[Any]:
    return (value[start : start + _SLICE] for start in range(0, len(value), _SLICE))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


def _encoded(value: Any) -> bytes:
    """The ``value`` element, in one go."""
    chunks: list[str] = []
    _write(value, chunks.append)
    return "".join(chunks).encode()


def _write(value: Any, put: Put) -> None:
    _WRITERS.get(type(value), _write_subclass)(value, put)


def _write_subclass(value: Any, put: Put) -> None:
    """A value whose own class is not in the table, as the first class there that it is an instance of."""
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            write(value, put)
            return
    raise NotCarriedError(f"XML-RPC cannot carry a {type(value).__qualname__}")


def _write_none(_value: None, put: Put) -> None:
    put("<value><nil/></value>")


def _write_bool(value: bool, put: Put) -> None:
    put("<value><boolean>1</boolean></value>" if value else "<value><boolean>0</boolean></value>")


def _write_int(value: int, put: Put) -> None:
    if not _INT64[0] <= value <= _INT64[1]:
        raise NotCarriedError("XML-RPC cannot carry an integer beyond 64 bits")
    name = "int" if _INT32[0] <= value <= _INT32[1] else "i8"
    put(f"<value><{name}>{int.__repr__(value)}</{name}></value>")


def _write_float(value: float, put: Put) -> None:
    text = float.__repr__(value)
    if "e" in text:  # the specification has no exponents
        text = format(Decimal(text), "f")
    put(f"<value><double>{text}</double></value>")


def _write_str(value: str, put: Put) -> None:
    if _NO_XML.search(value):
        _write_bytes(_utf8(value), put)
    else:
        put(f"<value><string>{_escaped(value)}</string></value>")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise NotCarriedError("XML-RPC cannot carry a text with half of a surrogate pair") from None


def _write_bytes(value: bytes, put: Put) -> None:
    put(f"<value><base64>{b64encode(value).decode('ascii')}</base64></value>")


def _write_sequence(value: list[Any] | tuple[Any, ...], put: Put) -> None:
    put("<value><array><data>")
    for item in value:
        _write(item, put)
    put("</data></array></value>")


def _write_dict(value: dict[Any, Any], put: Put) -> None:
    put("<value><struct>")
    for key, item in value.items():
        put(f"<member><name>{_key(key)}</name>")
        _write(item, put)
        put("</member>")
    put("</struct></value>")


def _key(key: Any) -> str:
    """A member's name, escaped: what JSON makes of the key."""
    if isinstance(key, str):
        if _NO_XML.search(key):
            raise NotCarriedError("XML-RPC cannot carry a key with control characters")
        return _escaped(key)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float):
        return float.__repr__(key)
    raise NotCarriedError(f"XML-RPC cannot carry a {type(key).__qualname__} as a key")


def _write_datetime(value: datetime, put: Put) -> None:
    if value.utcoffset() is not None:
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise NotCarriedError("XML-RPC cannot carry a date that UTC has no year for") from None
    _write_date(value, put)


def _write_date(value: date, put: Put) -> None:
    # strftime does not pad years below 1000.
    day = f"{value.year:04}{value.month:02}{value.day:02}"
    time = value.strftime("%H:%M:%S")  # of a date: midnight
    put(f"<value><dateTime.iso8601>{day}T{time}</dateTime.iso8601></value>")


# In this order for subclasses: a bool is an int, a datetime is a date.
_WRITERS: Mapping[type, Callable[[Any, Put], None]] = {
    str: _write_str,
    bool: _write_bool,
    int: _write_int,
    type(None): _write_none,
    float: _write_float,
    list: _write_sequence,
    dict: _write_dict,
    tuple: _write_sequence,
    datetime: _write_datetime,
    date: _write_date,
    bytes: _write_bytes,
}


# --- decoding: bytes to text

_ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "iso-8859-1": "latin-1",
    "iso8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
    "us-ascii": "ascii",
    "ascii": "ascii",
}
_BOM = b"\xef\xbb\xbf"
_WIDE_STARTS = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<")
_DECLARATION = re.compile(
    rb"""<\?xml[ \t\r\n][^>]{0,200}?encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']{1,40})["']"""
)


def _text(data: bytes, charset: str) -> str:
    """The document as text, by its own declaration, the transport's, or else UTF-8."""
    if data.startswith(_WIDE_STARTS):
        raise _unknown_encoding("UTF-16 or UTF-32")
    data = data.removeprefix(_BOM)
    declared = _DECLARATION.match(data)
    name = declared[1].decode("latin-1") if declared else charset or "utf-8"
    codec = _ENCODINGS.get(name.strip().lower())
    if codec is None:
        raise _unknown_encoding(name)
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise RequestError(FaultCode.WRONG_CHARACTER, f"the request is not {name}: {error}") from None


def _unknown_encoding(name: str) -> RequestError:
    problem = f"the encoding {name[:40]!r} is not accepted: send UTF-8 or ISO-8859-1"
    return RequestError(FaultCode.UNKNOWN_ENCODING, problem)


def _refuse_doctype(*_declaration: Any) -> None:
    raise RequestError(FaultCode.NOT_XML_RPC, "XML-RPC: a document type is not accepted")


# --- decoding: elements to values


def _not_xml_rpc(problem: str) -> RequestError:
    return RequestError(FaultCode.NOT_XML_RPC, f"XML-RPC: {problem}")


_INTEGER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?|[+-]?(?:nan|inf|infinity)",
    re.ASCII | re.IGNORECASE,
)
_DATE = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})[T ]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)
# The smallest number that a double holds has as many digits after its point.
_LONGEST_DOUBLE = 1100
_BLANK = re.compile(r"[ \t\r\n]*")
# What is parsed at a time: some hundred small values.
_PIECE = 4096
_LONGEST_TAG = 64 * 1024


def _read_int(text: str) -> int:
    digits = text.strip()
    value = int(digits) if _INTEGER.fullmatch(digits) else None
    if value is None or not _INT64[0] <= value <= _INT64[1]:
        raise _not_xml_rpc(f"not an integer of 64 bits: {digits[:30]!r}")
    return value


def _read_boolean(text: str) -> bool:
    digit = text.strip()
    if digit not in ("0", "1"):
        raise _not_xml_rpc(f"a boolean is 0 or 1, not {digit[:20]!r}")
    return digit == "1"


def _read_double(text: str) -> float:
    number = text.strip()
    if len(number) > _LONGEST_DOUBLE or not _DOUBLE.fullmatch(number):
        raise _not_xml_rpc(f"not a double: {number[:30]!r}")
    return float(number)


def _read_datetime(text: str) -> datetime:
    moment = text.strip()
    match = _DATE.fullmatch(moment)
    if match is None:
        raise _not_xml_rpc(f"not a date and time: {moment[:30]!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    written = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{fraction or ''}{zone or ''}"
    try:
        value = datetime.fromisoformat(written)
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _not_xml_rpc(f"a date and time that does not exist: {moment[:30]!r}") from None


def _read_base64(text: str) -> bytes:
    try:
        return a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        raise _not_xml_rpc(f"not base64: {error}") from None


def _read_nil(text: str) -> None:
    if not _BLANK.fullmatch(text):
        raise _not_xml_rpc("nil holds nothing")


_READERS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "int": _read_int,
    "i1": _read_int,
    "i2": _read_int,
    "i4": _read_int,
    "i8": _read_int,
    "biginteger": _read_int,
    "boolean": _read_boolean,
    "double": _read_double,
    "float": _read_double,
    "dateTime.iso8601": _read_datetime,
    "dateTime": _read_datetime,
    "base64": _read_base64,
    "nil": _read_nil,
}

# What an element holds, beside elements with text only: these in this order, ...
_DOCUMENT = ""
_SEQUENCES: Mapping[str, tuple[str, ...]] = {
    _DOCUMENT: ("methodCall",),
    "methodCall": ("methodName", "params"),
    "param": ("value",),
    "array": ("data",),
    "member": ("name", "value"),
}
# ... or any number of these, ...
_REPETITIONS: Mapping[str, str] = {"params": "param", "data": "value", "struct": "member"}
# ... or one of these, or text.
_CONTAINERS = frozenset({"array", "struct"})
_KINDS = _CONTAINERS | _READERS.keys()
_TEXTS = frozenset({"methodName", "name"})


def _may_hold(parent: str, held: int, name: str) -> bool:
    """Whether an element may come next in another, which holds so many."""
    if parent == "value":
        return held == 0 and name in _KINDS
    if parent in _REPETITIONS:
        return _REPETITIONS[parent] == name
    expected = _SEQUENCES.get(parent, ())
    return held < len(expected) and expected[held] == name


class _Reader:
    """Takes expat's events of one document; ``text`` collects the characters since the last tag."""

    def __init__(self, max_depth: int) -> None:
        self.text: list[str] = []
        self._max_depth = max_depth
        self._depth = 0
        # Every open element, and what its children were read as.
        self._open: list[tuple[str, list[Any]]] = [(_DOCUMENT, [])]

    def start(self, tag: str, _attributes: object) -> None:
        """An element begins; names of extensions have a prefix, as in ``ex:nil``."""
        name = tag.rpartition(":")[2]
        parent, children = self._open[-1]
        self._take_blank(parent)
        if not _may_hold(parent, len(children), name):
            raise _not_xml_rpc(f"{tag[:40]!r} does not belong into {parent or 'a document'!r}")
        if name in _CONTAINERS:
            self._depth += 1
            if self._depth > self._max_depth:
                raise _not_xml_rpc("nested too deeply")
        self._open.append((name, []))

    def end(self, _tag: str) -> None:
        """The innermost element ends."""
        name, children = self._open.pop()
        if name in _READERS:
            value = _READERS[name](self._take())
        elif name in _TEXTS or (name == "value" and not children):
            value = self._take()
        else:
            self._take_blank(name)
            value = self._joined(name, children)
        self._open[-1][1].append(value)

    def request(self) -> Request:
        """The call, after the end of a document."""
        [[(method, params)]] = [children for _, children in self._open]
        return Request(method, params)

    def _joined(self, name: str, children: list[Any]) -> Any:
        """What an element that holds others is read as."""
        if name == "methodCall":
            if not children:
                raise _not_xml_rpc("a methodCall needs a methodName")
            return children[0].strip(), children[1] if len(children) > 1 else []
        if name in _SEQUENCES and len(children) < len(_SEQUENCES[name]):
            raise _not_xml_rpc(f"{name!r} ends without {_SEQUENCES[name][len(children)]!r}")
        match name:
            case "params" | "data" | "member":
                return children
            case "struct":
                self._depth -= 1
                return dict(children)
            case "array":
                self._depth -= 1
        return children[0]

    def _take(self) -> str:
        text = "".join(self.text)
        self.text.clear()
        return text

    def _take_blank(self, name: str) -> None:
        if self.text and not _BLANK.fullmatch(text := self._take()):
            raise _not_xml_rpc(f"text in {name!r}: {text.strip()[:30]!r}")
