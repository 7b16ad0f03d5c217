"""What every codec must do with any bytes at all, one target each.

A target's ``check`` takes bytes and raises if the codec breaks its promise: another exception than PeerError,
a value that does not survive being sent on, or an outcome that depends on how the bytes were cut.  The same
targets run in the test-suite (``test_fuzz.py``) and for hours under Atheris (``run.py``).  To add a codec is
to add an entry to TARGETS.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgpack

from legacy_rpc.codecs import dirac_https, grpc_pieces, grpc_values, grpc_wire, xmlrpc
from legacy_rpc.codecs.diset import (
    KEEP_ALIVE,
    Arguments,
    Block,
    ClientConversation,
    DisetLimits,
    Ping,
    ServerConversation,
    Taken,
    frame,
)
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.codecs.grpc_messages import read_generic, read_typed, write_reply
from legacy_rpc.codecs.grpc_schema import Schema
from legacy_rpc.codecs.grpc_values import Unwritable
from legacy_rpc.codecs.msgpack_rpc import MsgpackLimits, RequestReader
from legacy_rpc.codecs.steps import Steps, in_one_go
from legacy_rpc.messages import Failure, PeerError, Proposal, Reply
from legacy_rpc.signatures import Parameter, Signature

VECTORS = Path(__file__).parents[1] / "vectors"

REFUSED = "refused"


@dataclass(frozen=True)
class Target:
    """One codec under fuzz.

    ``seeds`` are messages to start from, ``bombs`` short messages that promise or unfold to much, and
    ``rounds`` how many mutations the test-suite tries (each target about a second).
    """

    name: str
    check: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    bombs: tuple[bytes, ...]
    rounds: int


# --- encodings


def check_encoding(encoding: Encoding) -> Callable[[bytes], object]:
    """Whatever decodes is encoded to something that decodes to the same value."""

    def check(data: bytes) -> None:
        try:
            value = encoding.decode(data)
        except PeerError:
            return
        again = encoding.decode(encoding.encode(value))
        assert repr(again) == repr(value)  # NaN is not equal to itself, and 1 is equal to True

    return check


def vectors(name: str) -> Callable[[], list[bytes]]:
    """The messages of a vector file."""

    def seeds() -> list[bytes]:
        entries = json.loads((VECTORS / f"{name}.json").read_text())
        return [bytes.fromhex(entry["hex"]) for entry in entries if entry["hex"] is not None]

    return seeds


# --- conversations


def cut(data: bytes) -> Iterator[list[bytes]]:
    """The bytes in one piece, in pieces that they choose themselves, and, if they are few, byte by byte."""
    yield [data]
    dice = random.Random(data)
    places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(8)))
    yield [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    if len(data) <= 200:
        yield [data[place : place + 1] for place in range(len(data))]


def check_cuts(outcome_of: Callable[[list[bytes]], Any]) -> Callable[[bytes], object]:
    """However the bytes are cut, the same comes out."""

    def check(data: bytes) -> None:
        whole, *others = [outcome_of(pieces) for pieces in cut(data)]
        assert all(other == whole for other in others)

    return check


LIMITS = DisetLimits(proposal=2000, message=20_000, depth=50)


def hear(pieces: list[bytes]) -> list[str]:
    """What a DISET server hears, as it admits everybody, takes every block and sends blocks."""
    conversation = ServerConversation(LIMITS)
    heard: list[str] = []
    transfer = False
    try:
        for piece in pieces:
            conversation.feed(piece)
            while (event := conversation.next_event()) is not None:
                heard.append(repr(event))
                match event:
                    case Proposal():
                        transfer = event.action == "FileTransfer"
                        conversation.accept()
                    case Arguments() if transfer:
                        _begin_transfer(conversation, event)
                    case Block():
                        conversation.take()
                    case Taken():
                        conversation.send_block(list(conversation.block(b"block")))
                    case Ping():
                        conversation.pong(event)
    except PeerError as error:
        heard.append(REFUSED)
        conversation.refuse(Failure(str(error)))
    return heard


def _begin_transfer(conversation: ServerConversation, information: Arguments) -> None:
    try:
        conversation.accept_transfer(information.values)
    except Failure as failure:
        conversation.answer(failure)


def call(pieces: list[bytes]) -> tuple[str, str]:
    """What a DISET client says and makes of the answers; of what it says to nonsense nothing is promised."""
    conversation = ClientConversation(Proposal("A/B", "RPC", "method"), [1, "two"], limits=LIMITS)
    try:
        said = b"".join(map(conversation.feed, pieces))
    except PeerError:
        return REFUSED, repr(conversation.result)
    return repr(said), repr(conversation.result)


def sessions(way: str) -> Callable[[], list[bytes]]:
    """What one side said in the captured sessions, and a ping."""

    def seeds() -> list[bytes]:
        captured = json.loads((VECTORS / "diset-session.json").read_text())["sessions"]
        said = {
            b"".join(bytes.fromhex(event["hex"]) for event in each["events"] if event["dir"] == way)
            for session in captured
            for each in session["calls"]
        }
        ping = KEEP_ALIVE + frame(JENCODE.encode({"OK": True, "Value": {"id": "x0", "kaping": True}}))
        return [ping, *sorted(each for each in said if len(each) < 5000)]

    return seeds


def read_msgpack(pieces: list[bytes]) -> list[str]:
    """The requests of one MessagePack-RPC connection."""
    reader = RequestReader(MsgpackLimits(message=20_000, depth=50, elements=1000))
    requests: list[str] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (event := reader.next_event()) is not None:
                requests.append(repr(event))
        except PeerError as error:
            reader.last_word(error)
            return [*requests, REFUSED]
    return requests


# --- whole documents


def check_xmlrpc(data: bytes) -> None:
    """Whatever is a call can be answered with its own arguments."""
    try:
        request = xmlrpc.decode_request(data)
    except PeerError:
        return
    xmlrpc.encode_answer(Reply(request.params))


def check_form(data: bytes) -> None:
    """A form, both as browsers and as DIRAC's clients send one, is a call or refused."""
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        try:
            question = dirac_https.read_question("/A/B", dirac_https.read_form(data, kind))
            question.arguments(50)
        except PeerError:
            continue


# --- gRPC's messages

GRPC = Schema(
    {
        "A/B": [
            Signature(
                "method",
                parameters=(
                    Parameter("text", (str,)),
                    Parameter("data", (bytes,), default=b""),
                    Parameter("what", default=None),
                    Parameter("number", (int,), default=5),
                ),
            )
        ]
    }
)
(GRPC_TYPED,) = GRPC.rpcs.values()
# Protobuf does it all; as it is served; everything is cut that can be.
GRPC_STEPS = (2**40, grpc_wire.STEP_BYTES, 8)


def check_grpc(data: bytes) -> None:
    """However small the pieces are, the same is read, and it can be sent back."""
    for read in (_read_generic, _read_typed):
        whole, *others = [_read_in_pieces(read, data, size) for size in GRPC_STEPS]
        assert all(other == whole for other in others)


def _read_in_pieces(read: Callable[[bytes], Steps[Any]], data: bytes, size: int) -> str:
    modules = (grpc_wire, grpc_values, grpc_pieces)
    for module in modules:
        module.STEP_BYTES = size  # type: ignore[attr-defined]
    try:
        value = in_one_go(read(data))
    except PeerError:
        return REFUSED
    finally:
        for module in modules:
            module.STEP_BYTES = GRPC_STEPS[1]  # type: ignore[attr-defined]
    try:
        in_one_go(write_reply(GRPC, value, {}))
    except Unwritable as problem:  # in a reply it lies deeper
        assert "nested too deeply" in str(problem)
    return repr(value)


def _read_generic(data: bytes) -> Steps[Any]:
    request, arguments = yield from read_generic(GRPC, data, 50)
    return [request.service, request.method, sorted(request.metadata.items()), arguments]


def _read_typed(data: bytes) -> Steps[Any]:
    return read_typed(GRPC_TYPED, data, 50)


TIMES = [datetime.fromisoformat("2026-03-01 12:30"), date(2026, 3, 1)]


def grpc_seeds() -> list[bytes]:
    """A request to each service; both have a ``Value`` for their third field."""
    value = ["x" * 30, {"key": [None, 1.5, True, b"\xff"], 2**40: {"k" * 20: "é" * 20}}, -1, [[[]]]]
    generic = GRPC.call_request(service="A/B", method="method", metadata={"wherry-errors": "in-reply"})
    typed = GRPC_TYPED.request(text="text" * 5, data=b"data" * 5, number=2**40)
    for message in (generic.arguments.add(), typed.what):
        grpc_values.write_value(message, value)
    grpc_values.write_value(generic.arguments.add(), TIMES)
    return [generic.SerializeToString(), typed.SerializeToString()]


def nested_lists(depth: int) -> bytes:
    """An argument of lists inside each other."""
    data = b""
    for number in (3, *(1, 9) * depth)[::-1]:
        data = grpc_wire.header(grpc_wire.tag_of(number), len(data)) + data
    return data


XML_CALL = (
    b"<?xml version='1.0'?><methodCall><methodName>A/B.echo</methodName><params>"
    b"<param><value><struct><member>"
    b"<name>a</name><value><array><data><value><int>1</int></value><value>x</value><value><nil/></value>"
    b"<value><dateTime.iso8601>20240102T03:04:05</dateTime.iso8601></value><value><boolean>1</boolean></value>"
    b"<value><double>1.5</double></value><value><base64>AP8=</base64></value></data></array></value></member>"
    b"</struct></value></param></params></methodCall>"
)
XML_LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "haha"><!ENTITY b "&a;&a;">]><methodCall>&b;'
FORM = b"method=getJobsStatus&args=%5B%5B1%2C+2%5D%5D&clientVO=unknown&extraCredentials=%22hosts%22"
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="method"\r\n\r\nping\r\n--b--\r\n'

TARGETS = {
    target.name: target
    for target in (
        Target(
            "dencode",
            check_encoding(DENCODE),
            vectors("dencode"),
            (b"l" * 50_000, b"dn" * 50_000, b"s99999999999:", b"s999999999999999999:x", b"i" + b"9" * 50_000),
            rounds=15_000,
        ),
        Target(
            "jencode",
            check_encoding(JENCODE),
            vectors("jencode"),
            (b"[" * 50_000, b'{"a":' * 50_000, b"9" * 50_000, b'"\\' * 25_000),
            rounds=15_000,
        ),
        Target(
            "diset-server",
            check_cuts(hear),
            sessions("c2s"),
            (b"9999999999:", b"20000:" + b"l" * 20_000, b"dka" * 10_000, b"1999:" + b"[" * 1999),
            rounds=2000,
        ),
        Target(
            "diset-client",
            check_cuts(call),
            sessions("s2c"),
            (b"9999999999:", b"20000:" + b"l" * 20_000, b"dka" * 10_000),
            rounds=2000,
        ),
        Target(
            "msgpack",
            check_cuts(read_msgpack),
            lambda: [
                msgpack.packb(message)
                for message in (
                    [0, 1, "A/B.echo", ["x", 1.5, None, True, b"\xff", {"a": [2**40, -1]}]],
                    [2, "A/B.echo", []],
                )
            ],
            (b"\x91" * 50_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"),
            rounds=5000,
        ),
        Target(
            "grpc",
            check_grpc,
            grpc_seeds,
            (nested_lists(5000), b"\x1a\xff\xff\xff\xff\x07", b"\x1b" * 50_000, b"\x0a\x00" * 25_000),
            rounds=3000,
        ),
        Target(
            "xmlrpc",
            check_xmlrpc,
            lambda: [XML_CALL],
            (b"<methodCall>" * 4000, XML_LAUGHS, b"<value><array><data>" * 2500),
            rounds=15_000,
        ),
        Target(
            "dirac-https",
            check_form,
            lambda: [FORM, MULTIPART],
            (b"&" * 50_000, b"a=b&" * 12_000, b"--b\r\n" * 10_000, b"args=" + b"[" * 50_000),
            rounds=15_000,
        ),
    )
}


# --- mutations


def mutated(seeds: list[bytes], dice: random.Random) -> bytes:
    """A seed with some of its bytes replaced, repeated, dropped, or taken from another one."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((1, 1, 2, 4))):
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((0, 1, 1, 2, 8)))
        other = dice.choice(seeds)
        place = dice.randrange(len(other) + 1)
        data[start:end] = dice.choice(
            (
                b"",
                dice.randbytes(dice.randrange(1, 4)),
                bytes(data[start:end]) * dice.randrange(2, 5),
                other[place : place + dice.choice((1, 4, 40))],
                dice.choice((b"0", b"9", b"-1", b"e", b":", b"[", b"\xff", b"99999")),
            )
        )
    return bytes(data)
