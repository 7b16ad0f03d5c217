"""DIRAC's JSON over HTTPS without I/O: forms, as clients write them, and what they mean."""

from __future__ import annotations

import datetime
import json
import os
import random
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from legacy_rpc.codecs import jencode
from legacy_rpc.codecs.dirac_https import (
    LONG_STRING,
    URLENCODED,
    HttpsLimits,
    TooLarge,
    UploadReader,
    read_arguments,
    read_form,
    read_question,
    read_result,
    service_name,
    unquoted,
    write_form,
)
from legacy_rpc.codecs.diset import DisetLimits
from legacy_rpc.codecs.encodings import JENCODE_PLAIN
from legacy_rpc.codecs.pieces import encode_in_pieces
from legacy_rpc.codecs.steps import in_one_go
from legacy_rpc.messages import PeerError, Proposal

PATH = "/WorkloadManagement/JobManager"

# --- who is asked

PATHS = {
    "/WorkloadManagement/JobManager": "WorkloadManagement/JobManager",
    "/WorkloadManagement/TornadoPilotLogging": "WorkloadManagement/TornadoPilotLogging",
    "/WorkloadManagement/TornadoJobManager": "WorkloadManagement/JobManager",
    "/WorkloadManagement/JobManager/": "WorkloadManagement/JobManager",
    "//WorkloadManagement/JobManager": "WorkloadManagement/JobManager",
    "/Tornado/TornadoEcho": "Tornado/Echo",
    "/TornadoJobManager": "JobManager",
    "/": "",
    "/a/b/TornadoC": "a/b/C",
}


@pytest.mark.parametrize(("path", "service"), PATHS.items(), ids=PATHS)
def test_service_name(path: str, service: str) -> None:
    """A service has two names on this wire."""
    assert service_name(path) == service


# --- what is asked

# As `requests` writes the form of TornadoClient 9.1.22: recorded.
RECORDED = (
    b"method=getJobsStatus&args=%5B%5B1%2C+2%5D%2C+%22h%5Cu00e9llo+%26+%25+%2B%22%5D"
    b"&clientVO=demo&clientSetup=None"
)


def test_recorded_form() -> None:
    """A form of the newest client."""
    question = read_question(PATH, read_form(RECORDED, URLENCODED), wire="https", peer="192.0.2.1")
    assert question.proposal == Proposal(
        "WorkloadManagement/JobManager",
        "RPC",
        "getJobsStatus",
        setup="None",
        vo="demo",
        wire="https",
        peer="192.0.2.1",
    )
    assert question.arguments(200) == [[1, 2], "héllo & % +"]
    assert not question.raw


FIELDS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "hosts": ({"extraCredentials": '"hosts"'}, {"extra_credentials": "hosts"}),
    "a delegation": ({"extraCredentials": '["/CN=x", "g"]'}, {"extra_credentials": ["/CN=x", "g"]}),
    "no credentials": ({"extraCredentials": ""}, {"extra_credentials": ""}),
    "a setup": ({"clientSetup": "Test", "clientVO": "unknown"}, {"setup": "Test", "vo": "unknown"}),
    "blanks": ({"clientVO": " demo "}, {"vo": "demo"}),
    "unknown fields": ({"future": "1"}, {}),
}


@pytest.mark.parametrize(("fields", "expected"), FIELDS.values(), ids=FIELDS)
def test_fields(fields: dict[str, str], expected: dict[str, Any]) -> None:
    """What a form may say of its client."""
    form = read_form(urlencode({"method": "ping", **fields}).encode(), URLENCODED)
    question = read_question(PATH, form)
    assert question.proposal == Proposal("WorkloadManagement/JobManager", "RPC", "ping", **expected)
    assert question.arguments(200) == []


@pytest.mark.parametrize(
    ("word", "raw"), [("True", True), ("1", True), ("yes", True), ("False", False), ("", False), ("0", False)]
)
def test_raw(word: str, raw: bool) -> None:
    """Whether a client wants a file's bytes."""
    form = read_form(urlencode({"method": "streamToClient", "rawContent": word}).encode(), URLENCODED)
    assert read_question(PATH, form).raw is raw


FORMS = {
    "empty": (b"", {}),
    "no value": (b"method", {"method": b""}),
    "empty fields": (b"&&method=ping&&", {"method": b"ping"}),
    "the last counts": (b"method=a&method=b", {"method": b"b"}),
    "an equals sign": (b"args=a=b", {"args": b"a=b"}),
    "a quoted name": (b"%6dethod=x", {"method": b"x"}),
    "raw bytes": ("args=é\\n".encode(), {"args": "é\\n".encode()}),
    "quoted bytes": (b"args=%C3%a9%5Cn%00%26", {"args": "é\\n\0&".encode()}),
    "a plus": (b"args=1+2%2B3", {"args": b"1 2+3"}),
    "half a surrogate": (b"args=\xff%FF", {"args": b"\xff\xff"}),
}


@pytest.mark.parametrize(("body", "fields"), FORMS.values(), ids=FORMS)
def test_urlencoded(body: bytes, fields: dict[str, bytes]) -> None:
    """Percent-encoding in all its forms."""
    assert read_form(body, URLENCODED) == fields


def test_every_byte() -> None:
    """Every byte arrives, quoted or not."""
    everything = bytes(range(256))
    assert unquoted("".join(f"%{byte:02x}" for byte in everything).encode()) == everything
    bare = bytes(set(everything) - set(b"%+"))
    assert unquoted(bare) == bare
    assert unquoted(b"%41" + bare) == b"A" + bare


MULTIPART = "multipart/form-data; boundary=xYz"
MULTIPARTS = {
    "as curl writes it": (
        (
            b'--xYz\r\nContent-Disposition: form-data; name="method"\r\n\r\nping\r\n'
            b'--xYz\r\nContent-Disposition: form-data; name="args"\r\n\r\n["a\r\nb", "%41+"]\r\n--xYz--\r\n'
        ),
        {"method": b"ping", "args": b'["a\r\nb", "%41+"]'},
    ),
    "with types and a file": (
        (
            b"preamble\r\n--xYz\r\ncontent-type: text/plain\r\n"
            b"content-disposition: form-data; name=args; filename=x\r\n\r\n[]\r\n--xYz--epilogue"
        ),
        {"args": b"[]"},
    ),
    "empty": (b"--xYz--\r\n", {}),
}


@pytest.mark.parametrize(("body", "fields"), MULTIPARTS.values(), ids=MULTIPARTS)
def test_multipart(body: bytes, fields: dict[str, bytes]) -> None:
    """The other form of forms."""
    assert read_form(body, MULTIPART) == fields


def ask(form: bytes, content_type: str = URLENCODED) -> Any:
    """Read all of a form."""
    return read_question(PATH, read_form(form, content_type)).arguments(20)


BAD: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", URLENCODED, "no field `method`"),
    "no method": (b"args=[]", URLENCODED, "no field `method`"),
    "an empty method": (b"method=+&args=[]", URLENCODED, "no field `method`"),
    "no JSON": (b"method=x&args=[", URLENCODED, "`args` cannot be read: JSON: "),
    "no list": (b"method=x&args={}", URLENCODED, "`args` must hold a JSON list"),
    "empty arguments": (b"method=x&args=", URLENCODED, "`args` cannot be read"),
    "too deep": (b"method=x&args=" + b"[" * 30 + b"]" * 30, URLENCODED, "nested too deeply"),
    "bad credentials": (b"method=x&extraCredentials=hosts", URLENCODED, "`extraCredentials` cannot be read"),
    "a bad percent": (b"method=x&args=%zz", URLENCODED, "not percent-encoded"),
    "half a percent": (b"method=x&args=[]%4", URLENCODED, "not percent-encoded"),
    "no UTF-8": (b"method=%ff", URLENCODED, "`method` is no UTF-8"),
    "arguments that are no UTF-8": (b'method=x&args=["%ff"]', URLENCODED, "`args` cannot be read"),
    "many fields": (b"a=1&" * 100, URLENCODED, "more than 50 fields"),
    "no boundary": (b"", "multipart/form-data", "needs a boundary"),
    "an open end": (b"--xYz\r\n\r\n", MULTIPART, "does not end"),
    "a part without name": (b"--xYz\r\nA: b\r\n\r\nx\r\n--xYz--", MULTIPART, "no name"),
    "a part without headers": (b"--xYz\r\nA: b\r\n--xYz--", MULTIPART, "no headers"),
    "many parts": (b"--xYz\r\nA: b\r\n\r\nx\r\n" * 100 + b"--xYz--", MULTIPART, "more than 50 fields"),
}


@pytest.mark.parametrize(("form", "content_type", "words"), BAD.values(), ids=BAD)
def test_bad_forms(form: bytes, content_type: str, words: str) -> None:
    """Whatever a form holds, its client is told what is wrong with it."""
    with pytest.raises(PeerError, match=words.replace("[", r"\[")):
        ask(form, content_type)


# --- values

VALUES: dict[str, tuple[Any, str]] = {
    "bytes": (b"\x00\xff", '"AP8="'),
    "bytes within": ({"data": [b"abc"], "v": 1}, '{"data": ["YWJj"], "v": 1}'),
    "no bytes": (b"", '""'),
    "a datetime": (
        datetime.datetime.fromisoformat("2026-11-21 12:00:01"),
        '{"__dCls": "dt", "obj": "2026-11-21 12:00:01"}',
    ),
    "text": ("é", '"\\u00e9"'),
}


@pytest.mark.parametrize(("value", "text"), VALUES.values(), ids=VALUES)
def test_values(value: Any, text: str) -> None:
    """Bytes are base64 text here, which DIRAC's clients of HTTPS services decode; all else is as on DISET."""
    assert JENCODE_PLAIN.encode(value).decode() == text


def test_large_values_in_pieces() -> None:
    """However a value is cut into pieces, they are the same bytes."""
    value = {"data": os.urandom(300_001), "rows": [[b"x", "y" * 70_000, number] for number in range(50)]}
    assert b"".join(encode_in_pieces(value, JENCODE_PLAIN)) == JENCODE_PLAIN.encode(value)


def test_what_cannot_be_sent() -> None:
    """There is no form for a set."""
    with pytest.raises(TypeError):
        JENCODE_PLAIN.encode({1, 2})


# --- the client's side


def test_a_form_is_read_as_it_was_written() -> None:
    """What our client writes, our server reads."""
    proposal = Proposal("WorkloadManagement/JobManager", "RPC", "x", ["/CN=é", "g"], setup="None", vo="v")
    arguments = [1, "é&+%", b"\0\xff", None, {"k": [1.5]}]
    question = read_question(PATH, read_form(write_form(proposal, arguments, raw=True), URLENCODED))
    assert question.proposal == proposal
    assert question.arguments(200) == arguments
    assert question.raw


def test_results() -> None:
    """An answer is an S_OK or S_ERROR, or nonsense."""
    assert in_one_go(read_result(b'{"OK": true, "Value": 1}', DisetLimits())) == {"OK": True, "Value": 1}
    for nonsense in (b"", b"[]", b"{}", b"<html>"):
        with pytest.raises(PeerError):
            in_one_go(read_result(nonsense, DisetLimits()))


# --- files in forms

LIMITS = HttpsLimits(message=200_000, transfer=1_000_000, depth=20)


def upload(content: bytes, *beside: Any, method: str = "streamFromClient", **fields: str) -> bytes:
    """A TornadoClient's form that sends a file."""
    arguments = [*beside, content] if beside else [["id", 1], "", len(content), content]
    form = {"method": method, "args": jencode.encode(arguments), "clientVO": "demo", "clientSetup": "None"}
    return urlencode({**form, **fields}).encode()


def read_upload(form: bytes, step: int) -> tuple[bytes, dict[str, bytes], Any]:
    """What is read of an upload that comes in pieces."""
    reader = UploadReader(LIMITS)
    file = b"".join(reader.feed(form[start : start + step]) for start in range(0, len(form), step))
    fields, arguments, short = reader.end()
    return file + short, dict(fields), arguments


@pytest.mark.parametrize("step", [1000, 1001, 65_537, 10_000_000])
@pytest.mark.parametrize("size", [0, 100, LONG_STRING, LONG_STRING + 1, 100_002, 700_000])
def test_upload(size: int, step: int) -> None:
    """A file comes out of its form as it went in, however the form is cut."""
    content = os.urandom(size)
    file, fields, arguments = read_upload(upload(content, extraCredentials='"hosts"'), step)
    assert file == content
    assert arguments == [["id", 1], "", size]
    assert fields == {
        "method": b"streamFromClient",
        "clientVO": b"demo",
        "clientSetup": b"None",
        "extraCredentials": b'"hosts"',
    }


def test_upload_byte_by_byte() -> None:
    """Every split is met once: in percents, names, escapes and base64."""
    content = bytes([0xFF]) * (LONG_STRING * 3 // 4 + 50)
    beside = ['quote " backslash \\ é & = ' * 3, {"k": "\\"}, len(content)]
    form = upload(content, *beside)
    file, _fields, arguments = read_upload(form, 1)
    assert (file, arguments) == (content, beside)


def test_upload_by_another_client() -> None:
    """Neither blanks in JSON nor the order of keys matter, nor fields before the arguments."""
    content = os.urandom(90_000)
    args = json.dumps(
        ["id", "t", -1, {"obj": b64encode(content).decode(), "__dCls": "b64"}], separators=(",", ":")
    )
    form = urlencode({"clientVO": "x", "method": "streamFromClient", "args": args}).encode()
    assert read_upload(form, 5000) == (
        content,
        {"clientVO": b"x", "method": b"streamFromClient"},
        ["id", "t", -1],
    )


LONG = random.Random(1).randbytes(90_000)
NO_UPLOADS: dict[str, tuple[bytes, type[PeerError], str]] = {
    "another method": (upload(LONG, method="echo"), TooLarge, "larger than the limit of 200000"),
    "no method before": (upload(LONG).replace(b"method=", b"x="), TooLarge, "larger than the limit"),
    "no arguments": (b"method=streamFromClient&x=" + b"y" * 300_000, TooLarge, "larger than the limit"),
    "nothing": (b"", TooLarge, "larger than the limit"),
    "a long field behind": (upload(LONG, x="y" * 300_000), TooLarge, "larger than the limit"),
    "a file too large": (upload(bytes(1_000_001)), TooLarge, "larger than the limit of 1000000"),
    "two files": (upload(LONG, "a", LONG, 1), TooLarge, "more than one file"),
    "text beside": (upload(LONG, *["x" * 60_000] * 30), TooLarge, "beside the file"),
    "the file elsewhere": (
        urlencode({"method": "streamFromClient", "args": jencode.encode([LONG, "", 1, b"x"])}).encode(),
        PeerError,
        "data must be the file in base64",
    ),
    "few arguments": (upload(LONG, "id"), PeerError, "takes fileID, token, size and data"),
    "no base64": (upload(LONG).replace(b"obj%22%3A+%22", b"obj%22%3A+%22!!"), PeerError, "no base64"),
    "an end in the middle": (
        b"method=streamFromClient&args=[1,2,3,{%22__dCls%22:%22b64%22,%22obj%22:%22AA==" + b"A" * 90_000,
        PeerError,
        "no base64|goes on after the end",
    ),
    "half a file": (upload(LONG)[:100_000], PeerError, "ends inside a string|percent-encoded"),
    "half a group": (
        b"method=streamFromClient&args=[1,2,3,{%22__dCls%22:%22b64%22,%22obj%22:%22"
        + b"A" * 90_001
        + b"%22}]",
        PeerError,
        "ends too early",
    ),
    "no JSON": (upload(LONG).replace(b"%5B%5B", b"%7B%5B"), PeerError, "`args` cannot be read"),
    "a bad percent": (upload(LONG)[:50_000] + b"%zz" + upload(LONG)[50_000:], PeerError, "percent-encoded"),
    "half a percent": (upload(LONG).partition(b"&clientVO")[0] + b"%2", PeerError, "percent-encoded"),
}


@pytest.mark.parametrize(("form", "error", "words"), NO_UPLOADS.values(), ids=NO_UPLOADS)
@pytest.mark.parametrize("step", [5000, 10_000_000])
def test_no_upload(form: bytes, error: type[PeerError], words: str, step: int) -> None:
    """What is too long and no file is refused, and said to be."""
    with pytest.raises(error, match=words):
        read_upload(form, step)


def test_arguments_that_are_too_deep() -> None:
    """Deep arguments are not recursed into."""
    with pytest.raises(PeerError, match="nested too deeply"):
        read_arguments(b"[" * 100_000, 200)
