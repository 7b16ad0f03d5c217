"""XML-RPC against the standard library's codec, against itself, and against hostile bytes."""

from __future__ import annotations

import contextlib
import datetime
import enum
import math
import xmlrpc.client
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.parsers import expat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_rpc.codecs.xmlrpc import (
    FaultCode,
    NotCarriedError,
    RequestError,
    answer_in_pieces,
    decode_request,
    encode_answer,
    encode_fault,
    fault_part,
    join_parts,
    part_in_pieces,
)
from legacy_rpc.messages import Errno, Failure, Reply, split_name

MOMENT = datetime.datetime(1998, 7, 17, 14, 8, 55)  # noqa: DTZ001 - the wire has no zones


def call(*values: str, method: str = "Some.Service.method", before: str = '<?xml version="1.0"?>') -> bytes:
    """A request with these value elements."""
    params = "".join(f"<param>{value}</param>" for value in values)
    return (
        f"{before}<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    ).encode()


def read(element: str) -> Any:
    """What a value's content is read as."""
    [value] = decode_request(call(f"<value>{element}</value>")).params
    return value


def seen(value: Any) -> Any:
    """What the standard library's client gets for a value."""
    [result], _ = xmlrpc.client.loads(encode_answer(Reply(value)), use_builtin_types=True)
    return result


def written(value: Any) -> str:
    """The content of the value element that a value becomes."""
    text = encode_answer(Reply(value)).decode()
    start, end = "<params><param><value>", "</value></param></params>"
    return text[text.index(start) + len(start) : text.index(end)]


def refusal(data: bytes, **options: Any) -> RequestError:
    """How a request is refused."""
    with pytest.raises(RequestError) as caught:
        decode_request(data, **options)
    return caught.value


def returned(document: bytes) -> xmlrpc.client.Fault:
    """The fault in a response."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(document)
    return caught.value


# --- values, read and written

TWO_WAYS = [
    ("<string>text</string>", "text"),
    ("<string></string>", ""),
    ("<string>  two  </string>", "  two  "),
    ("<string>&lt;a&gt; &amp; \"b\" 'c' ]]&gt;</string>", "<a> & \"b\" 'c' ]]>"),
    ("<string>Zürich €  😀</string>", "Zürich €  😀"),
    ("<string>a&#13;\nb\tc</string>", "a\r\nb\tc"),
    ("<int>0</int>", 0),
    ("<int>-2147483648</int>", -(2**31)),
    ("<int>2147483647</int>", 2**31 - 1),
    ("<i8>2147483648</i8>", 2**31),
    ("<i8>-9223372036854775808</i8>", -(2**63)),
    ("<i8>9223372036854775807</i8>", 2**63 - 1),
    ("<boolean>1</boolean>", True),
    ("<boolean>0</boolean>", False),
    ("<nil/>", None),
    ("<double>1.5</double>", 1.5),
    ("<double>-0.0</double>", -0.0),
    ("<double>0.00000001</double>", 1e-08),
    ("<double>100000000000000000000</double>", 1e20),
    ("<double>nan</double>", math.nan),
    ("<double>inf</double>", math.inf),
    ("<double>-inf</double>", -math.inf),
    ("<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>00010203T04:05:06</dateTime.iso8601>", MOMENT.replace(1, 2, 3, 4, 5, 6)),
    ("<base64>AP8=</base64>", b"\x00\xff"),
    ("<base64></base64>", b""),
    ("<array><data></data></array>", []),
    ("<array><data><value><int>1</int></value><value><nil/></value></data></array>", [1, None]),
    ("<struct></struct>", {}),
    (
        "<struct><member><name>a &lt; b</name><value><struct></struct></value></member></struct>",
        {"a < b": {}},
    ),
]


@pytest.mark.parametrize(("element", "value"), TWO_WAYS)
def test_read_and_written(element: str, value: Any) -> None:
    """Each value is written in this form, and read from it, with its type."""
    assert written(value) == element
    assert repr(read(element)) == repr(value)


READ_ONLY = [
    ("text", "text"),
    ("", ""),
    (" \n ", " \n "),
    ("<![CDATA[<b> & ]]>", "<b> & "),
    ("a<!-- no -->b", "ab"),
    ("<string>a\r\nb\rc</string>", "a\nb\nc"),  # as XML prescribes
    ("\n <int>1</int>\n ", 1),
    ("<int> 1\n</int>", 1),
    ("<int>+0042</int>", 42),
    ("<i4>7</i4>", 7),
    ("<i1>7</i1>", 7),
    ("<i2>7</i2>", 7),
    ("<ex:i8>7</ex:i8>", 7),
    ("<ex:i1>-7</ex:i1>", -7),
    ("<int>4294967296</int>", 2**32),
    ("<ex:biginteger>7</ex:biginteger>", 7),
    ("<ex:nil/>", None),
    ("<nil></nil>", None),
    ("<nil> </nil>", None),
    ("<boolean> 1 </boolean>", True),
    ("<double>1e3</double>", 1000.0),
    ("<double>+.5</double>", 0.5),
    ("<double>3.</double>", 3.0),
    ("<double>NaN</double>", math.nan),
    ("<double>-Infinity</double>", -math.inf),
    ("<ex:float>1.5</ex:float>", 1.5),
    ("<dateTime.iso8601>1998-07-17T14:08:55</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>19980717T140855</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>19980717T14:08:55Z</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>19980717T16:08:55+0200</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>1998-07-17 09:08:55-05:00</dateTime.iso8601>", MOMENT),
    ("<dateTime.iso8601>19980717T14:08</dateTime.iso8601>", MOMENT.replace(second=0)),
    ("<ex:dateTime>1998-07-17T14:08:55.250Z</ex:dateTime>", MOMENT.replace(microsecond=250000)),
    ("<base64>\n AP\n 8= \n</base64>", b"\x00\xff"),
    ('<struct a="b"> <member> <name>a</name> <value>b</value> </member> </struct>', {"a": "b"}),
    (
        f"<struct>{'<member><name>a</name><value>1</value></member>' * 2}</struct>",
        {"a": "1"},
    ),
]


@pytest.mark.parametrize(("element", "value"), READ_ONLY)
def test_read(element: str, value: Any) -> None:
    """What other clients write is understood."""
    assert repr(read(element)) == repr(value)


class Number(enum.IntEnum):
    """A number with a name."""

    ONE = 1


class Site(enum.StrEnum):
    """A text with a name."""

    CERN = "LCG.CERN.ch"


class Pair(NamedTuple):
    """A tuple with names."""

    first: int
    second: str


class Stamp(datetime.datetime):
    """A datetime of another library."""


PLUS_TWO = datetime.timezone(datetime.timedelta(hours=2))

WRITE_ONLY = [
    ((1, "a"), [1, "a"]),
    (Pair(1, "a"), [1, "a"]),
    ({1: "a", 1.5: "b", None: "c"}, {"1": "a", "1.5": "b", "null": "c"}),
    ({Number.ONE: 1, Site.CERN: 2}, {"1": 1, "LCG.CERN.ch": 2}),
    ({False: 1}, {"false": 1}),
    (Number.ONE, 1),
    (Site.CERN, "LCG.CERN.ch"),
    (MOMENT.replace(microsecond=999999), MOMENT),
    (MOMENT.replace(tzinfo=PLUS_TWO), MOMENT.replace(hour=12)),
    (Stamp(1998, 7, 17, 14, 8, 55), MOMENT),
    (datetime.date(1998, 7, 17), MOMENT.replace(hour=0, minute=0, second=0)),
    ("\x1b[1m bold \x00", b"\x1b[1m bold \x00"),
    ("\ufffe\uffff", "\ufffe\uffff".encode()),
    ("raw \udcff", b"raw \xff"),
    (1.7976931348623157e308, 1.7976931348623157e308),
    (5e-324, 5e-324),
]


@pytest.mark.parametrize(("value", "result"), WRITE_ONLY)
def test_written(value: Any, result: Any) -> None:
    """What a client gets for values that the wire has no form of its own for."""
    assert repr(seen(value)) == repr(result)


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)

NOT_CARRIED = [
    2**63,
    -(2**63) - 1,
    {1, 2},
    object(),
    1j,
    datetime.time(1, 2),
    datetime.datetime.min.replace(tzinfo=PLUS_TWO),
    {(1, 2): 3},
    {b"a": 1},
    {"\x00": 1},
    "\ud800",
    ENDLESS,
]


@pytest.mark.parametrize("value", NOT_CARRIED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("around", [lambda value: value, lambda value: [["x"] * 2000, {"a": value}]])
def test_not_carried(value: Any, around: Callable[[Any], Any]) -> None:
    """A value without a form is an error that names it, wherever it stands."""
    with pytest.raises(NotCarriedError, match="XML-RPC cannot carry"):
        encode_answer(Reply(around(value)))
    with pytest.raises(NotCarriedError, match="XML-RPC cannot carry"):
        list(part_in_pieces(Reply(around(value))))


# --- round trips

carried = st.text(st.characters(exclude_categories=["Cs"]))
keys = carried.filter(lambda text: seen(text) == text)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | keys
    | st.binary()
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0, fold=0))
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=30)


@given(values)
def test_values_survive_the_round_trip(value: Any) -> None:
    """What the wire can carry comes back equal, read by ourselves and by the standard library."""
    assert repr(read(written(value))) == repr(value)
    assert repr(seen(value)) == repr(value)


# It writes a carriage return as it is, which XML makes a newline.
texts_of_the_library = keys.filter(lambda text: "\r" not in text)
small = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats()
    | texts_of_the_library
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(texts_of_the_library, inner),
    max_leaves=30,
)


@given(st.lists(small))
def test_requests_of_the_standard_library(params: list[Any]) -> None:
    """What ``xmlrpc.client`` sends is understood."""
    data = xmlrpc.client.dumps(tuple(params), "a.b.c", allow_none=True)
    request = decode_request(data.encode())
    assert request.method == "a.b.c"
    assert repr(request.params) == repr(params)


@given(carried)
def test_texts_that_xml_has_no_form_for(text: str) -> None:
    """They arrive as the bytes of their UTF-8."""
    assert seen(text) in (text, text.encode())


LARGE = [
    {number: {"Status": "Waiting", "Site": f"S{number}"} for number in range(3000)},
    ["short", ["x"] * 5000, ("y" * 100_000, b"\x00\xff" * 50_000, {"deep": [[list(range(3000))]]})],
    "a<&>\r" * 50_000,
    "x" * 100_000 + "\x1b" + "ü" * 50_000,
    b"binary" * 40_001,
]


@pytest.mark.parametrize("value", LARGE, ids=["dict", "mixed", "text", "control", "bytes"])
def test_large_values_come_in_pieces(value: Any) -> None:
    """A large value is written in pieces of bounded size, and is whole."""
    pieces = list(answer_in_pieces(Reply(value)))
    assert max(map(len, pieces)) < 300_000
    [result], _ = xmlrpc.client.loads(b"".join(pieces), use_builtin_types=True)

    def as_seen(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(key): as_seen(item) for key, item in part.items()}
        if isinstance(part, list | tuple):
            return [as_seen(item) for item in part]
        return part.encode() if isinstance(part, str) and "\x1b" in part else part

    assert result == as_seen(value)
    assert decode_request(call(f"<value>{written(value)}</value>")).params == [as_seen(value)]


# --- documents


def test_requests_without_parameters() -> None:
    """``params`` may be empty, or not there; blanks and comments do not matter."""
    bare = b"<methodCall><methodName> a.b.c\n</methodName></methodCall>"
    spaced = b"\n<!-- x --><methodCall>\n <methodName>a.b.c</methodName> <params>\n</params></methodCall>\n"
    for data in (bare, spaced, b"\xef\xbb\xbf" + bare):
        request = decode_request(data)
        assert (request.method, request.params) == ("a.b.c", [])


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (call("<value>é</value>"), "", "é"),
        (call("<value>é</value>").decode().encode("latin-1"), "iso-8859-1", "é"),
        (call("<value>é</value>"), "utf-8", "é"),
        (
            call("<value>é</value>", before='<?xml version="1.0" encoding="ISO-8859-1"?>')
            .decode()
            .encode("latin-1"),
            "",
            "é",
        ),
        (
            call("<value>é</value>", before="<?xml version='1.0' encoding='latin-1' standalone='yes'?>")
            .decode()
            .encode("latin-1"),
            "utf-8",
            "é",
        ),
        (call("<value>é</value>", before='<?xml version="1.0" encoding="UTF-8"?>'), "us-ascii", "é"),
        (call("<value>&#233;</value>", before='<?xml version="1.0" encoding="US-ASCII"?>'), "", "é"),
        (call("<value>é</value>", before=""), "", "é"),
    ],
)
def test_encodings(data: bytes, charset: str, text: str) -> None:
    """UTF-8, ISO-8859-1 and US-ASCII, as the document declares it, or else the transport."""
    assert decode_request(data, charset=charset).params == [text]


def nested(depth: int) -> bytes:
    """A request with arrays inside each other."""
    return call("<value><array><data>" * depth + "</data></array></value>" * depth)


def test_depth() -> None:
    """Arrays and structs may lie inside each other as deep as the limit says."""
    [value] = decode_request(nested(20), max_depth=20).params
    for _ in range(19):
        [value] = value
    assert value == []
    assert str(refusal(nested(21), max_depth=20)) == "XML-RPC: nested too deeply"
    assert str(refusal(nested(100_000))) == "XML-RPC: nested too deeply"
    siblings = ["<value><array><data></data></array></value>", "<value><struct></struct></value>"] * 25
    assert decode_request(call(*siblings), max_depth=1).params == [[], {}] * 25


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE methodCall [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    + "]>"
)
EXTERNAL = '<!DOCTYPE methodCall [<!ENTITY file SYSTEM "file:///etc/passwd">]>'

REFUSED = [
    (call("<value>&a9;</value>", before=BOMB), FaultCode.NOT_XML_RPC, "a document type is not accepted"),
    (call("<value>&file;</value>", before=EXTERNAL), FaultCode.NOT_XML_RPC, "a document type"),
    (call(before="<!-- <methodCall> --><!DOCTYPE methodCall>"), FaultCode.NOT_XML_RPC, "a document type"),
    (
        call(before='<!DOCTYPE methodCall SYSTEM "http://localhost/x.dtd">'),
        FaultCode.NOT_XML_RPC,
        "a document type",
    ),
    (call("<value>&nbsp;</value>"), FaultCode.NOT_WELL_FORMED, "undefined entity"),
    (b"", FaultCode.NOT_WELL_FORMED, "no element found"),
    (b"{}", FaultCode.NOT_WELL_FORMED, "not well-formed"),
    (call()[:-1], FaultCode.NOT_WELL_FORMED, ""),
    (call() + call(before=""), FaultCode.NOT_WELL_FORMED, "junk after document element"),
    (call("<value>\x00</value>"), FaultCode.NOT_WELL_FORMED, "not well-formed"),
    (call("<value>&#27;</value>"), FaultCode.NOT_WELL_FORMED, "invalid character number"),
    (call("<value>é</value>").decode().encode("latin-1"), FaultCode.WRONG_CHARACTER, "is not utf-8"),
    (
        call("<value>é</value>", before='<?xml version="1.0" encoding="us-ascii"?>'),
        FaultCode.WRONG_CHARACTER,
        "is not us-ascii",
    ),
    (call().decode().encode("utf-16"), FaultCode.UNKNOWN_ENCODING, "UTF-16"),
    (call().decode().encode("utf-16-be"), FaultCode.UNKNOWN_ENCODING, "UTF-16"),
    (
        call(before='<?xml version="1.0" encoding="windows-1252"?>'),
        FaultCode.UNKNOWN_ENCODING,
        "windows-1252",
    ),
    (call(before='<?xml version="1.0" encoding="UTF-7"?>'), FaultCode.UNKNOWN_ENCODING, "UTF-7"),
    (b"<methodResponse/>", FaultCode.NOT_XML_RPC, "'methodResponse' does not belong into 'a document'"),
    (b"<methodCall/>", FaultCode.NOT_XML_RPC, "a methodCall needs a methodName"),
    (b"<methodCall><params/></methodCall>", FaultCode.NOT_XML_RPC, "'params' does not belong into"),
    (b"<methodCall>x</methodCall>", FaultCode.NOT_XML_RPC, "text in 'methodCall': 'x'"),
    (call("<value><int>1</int><int>2</int></value>"), FaultCode.NOT_XML_RPC, "'int' does not belong"),
    (call("<value><int>1</int>x</value>"), FaultCode.NOT_XML_RPC, "text in 'value': 'x'"),
    (call("<value>x<int>1</int></value>"), FaultCode.NOT_XML_RPC, "text in 'value': 'x'"),
    (call("<value><int><int>1</int></int></value>"), FaultCode.NOT_XML_RPC, "does not belong into 'int'"),
    (call("<value><list/></value>"), FaultCode.NOT_XML_RPC, "'list' does not belong into 'value'"),
    (call(""), FaultCode.NOT_XML_RPC, "'param' ends without 'value'"),
    (call("<value/><value/>"), FaultCode.NOT_XML_RPC, "'value' does not belong into 'param'"),
    (call("<value><array/></value>"), FaultCode.NOT_XML_RPC, "'array' ends without 'data'"),
    (
        call("<value><struct><member><name>a</name></member></struct></value>"),
        FaultCode.NOT_XML_RPC,
        "'member' ends without 'value'",
    ),
    (
        call("<value><struct><member><value>a</value></member></struct></value>"),
        FaultCode.NOT_XML_RPC,
        "'value' does not belong into 'member'",
    ),
]


@pytest.mark.parametrize(("data", "code", "text"), REFUSED)
def test_refused(data: bytes, code: FaultCode, text: str) -> None:
    """What is not XML-RPC has a fault of its own."""
    error = refusal(data)
    assert (error.code, text in str(error)) == (code, True), error


BAD_VALUES = [
    "<int>9223372036854775808</int>",
    "<i8>-9223372036854775809</i8>",
    f"<int>{'9' * 100_000}</int>",
    f"<int>{'0' * 100_000}x</int>",
    "<int></int>",
    "<int>1_0</int>",
    "<int>0x10</int>",
    "<int>١</int>",
    "<int>1.0</int>",
    "<boolean>2</boolean>",
    "<boolean>true</boolean>",
    "<double>1_0.5</double>",
    "<double>0x1p3</double>",
    "<double></double>",
    f"<double>{'1' * 2000}</double>",
    "<dateTime.iso8601>1998-07-17</dateTime.iso8601>",
    "<dateTime.iso8601>19980732T14:08:55</dateTime.iso8601>",
    "<dateTime.iso8601>19980717T24:08:55</dateTime.iso8601>",
    "<dateTime.iso8601>00010101T00:00:00+0100</dateTime.iso8601>",
    "<dateTime.iso8601>now</dateTime.iso8601>",
    "<base64>AP8</base64>",
    "<base64>!</base64>",
    "<base64>é</base64>",
    "<nil>x</nil>",
    "<ex:serializable>rO0AB</ex:serializable>",
]


@pytest.mark.parametrize("element", BAD_VALUES, ids=lambda text: text[:40])
def test_bad_values(element: str) -> None:
    """A value that is not of its type is refused, in few words."""
    error = refusal(call(f"<value>{element}</value>"))
    assert error.code is FaultCode.NOT_XML_RPC
    assert len(str(error)) < 120


@pytest.mark.parametrize("before", ["<!--{}-->", "<?x {}?>", '<!-- --><methodCall a="{}"/>'])
def test_long_tags(before: str) -> None:
    """What expat would read again and again until it ends is refused before it does."""
    assert "a tag or comment is longer than" in str(refusal(before.format("x>" * 1_000_000).encode()))


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Whatever comes is a request or is refused."""
    for document in (data, b"<methodCall>" + data, call("<value>A</value>").replace(b"A", data)):
        with contextlib.suppress(RequestError):
            decode_request(document)


WHOLE = xmlrpc.client.dumps(
    ([1, None, {"a": [1.5, "é", b"b", MOMENT, True]}], "x"), "a.b.c", allow_none=True
).encode()


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, len(WHOLE) - 1), st.binary(max_size=8))
def test_damaged(first: int, last: int, put: bytes) -> None:
    """So is whatever becomes of a request on its way; what can be read can be sent back."""
    start, end = sorted((first, last))
    try:
        request = decode_request(WHOLE[:start] + put + WHOLE[end:])
    except RequestError:
        return
    encode_answer(Reply(request.params))


# --- answers


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.of(Errno.ENOAUTH, "no"), 1111),
        (Failure("no"), -32500),
        (Failure("no", reason="unknown-method"), -32601),
        (Failure("no", reason="unknown-service"), -32601),
        (Failure("no", reason="arguments"), -32602),
        (Failure("no", reason="overload"), -32400),
        (Failure("no", reason="timeout"), -32400),
        (Failure("no", reason="sealed"), -32500),
        (Failure("no", 1111, reason="unknown-method"), 1111),
    ],
)
def test_faults(failure: Failure, code: int) -> None:
    """A failure's number is the fault's code, or else its reason gives one; its message is the text."""
    fault = returned(encode_answer(failure))
    assert (fault.faultCode, fault.faultString) == (code, failure.message)
    part, _ = xmlrpc.client.loads(b"".join(join_parts(part_in_pieces(failure))))
    assert part == ([{"faultCode": code, "faultString": failure.message}],)


def test_faults_are_well_formed() -> None:
    """A text with characters that XML has no form for is sent without them."""
    fault = returned(encode_fault(1, "a\x00b\x1b<\udcff>"))
    assert fault.faultString == "a\ufffdb\ufffd<\ufffd>"


def test_whole_results() -> None:
    """With all of its keys a result is what a DISET client sees, failed or not."""
    killed = Reply([1], {"InvalidJobIDs": [2]})
    failed = Failure.of(Errno.EWMSJMAN, "no", {"InvalidJobIDs": [2]})
    for outcome in (killed, failed):
        assert xmlrpc.client.loads(encode_answer(outcome, whole=True)) == ((outcome.as_result(),), None)
        parts = b"".join(join_parts(part_in_pieces(outcome, whole=True)))
        assert xmlrpc.client.loads(parts) == (([[outcome.as_result()]],), None)


def test_answers_of_a_multicall() -> None:
    """Each value in an array of its own, each fault as it is."""
    parts = [b"".join(part_in_pieces(Reply(None))), fault_part(-32400, "late"), *part_in_pieces(Reply([]))]
    [answers], _ = xmlrpc.client.loads(b"".join(join_parts(parts)))
    assert answers == [[None], {"faultCode": -32400, "faultString": "late"}, [[]]]


def test_answers_are_xml() -> None:
    """Strict readers find a declared encoding, and nothing outside the specification."""
    document = encode_answer(Reply({"é": [1e-7, "x"]}))
    assert document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<methodResponse>')
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _attributes: names.append(name)
    parser.Parse(document, True)
    assert names == [
        *("methodResponse", "params", "param", "value", "struct", "member", "name", "value", "array", "data"),
        *("value", "double", "value", "string"),
    ]
    assert b"<double>0.0000001</double>" in document


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("WorkloadManagement.JobManager.killJob", ("WorkloadManagement/JobManager", "killJob")),
        ("system.listMethods", None),
        ("killJob", None),
        ("a.b.c.d", None),
        ("a..c", None),
        (".b.c", None),
        ("a.b.", None),
        ("", None),
    ],
)
def test_names(name: str, expected: tuple[str, str] | None) -> None:
    """A method's name is that of its system, component and its own."""
    assert split_name(name) == expected
