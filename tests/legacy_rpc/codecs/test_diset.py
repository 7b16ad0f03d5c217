"""DISET against captured sessions of real clients and servers, against itself, and against hostile bytes."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from legacy_rpc.codecs.diset import (
    KEEP_ALIVE,
    Arguments,
    ClientConversation,
    DisetLimits,
    Frame,
    FrameReader,
    LargeArguments,
    Ping,
    ServerConversation,
    frame,
)
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding, decode_any, detect
from legacy_rpc.messages import Errno, Failure, Outcome, PeerError, Proposal, Reply

SESSION_FILE = Path(__file__).parents[2] / "vectors" / "diset-session.json"
CAPTURED: list[dict[str, Any]] = json.loads(SESSION_FILE.read_text())["sessions"]

ENCODINGS = pytest.mark.parametrize("encoding", [DENCODE, JENCODE], ids=lambda encoding: encoding.name)

# What is in front of a payload at most: ``dka``, ten digits and a colon.
HEAD = 3 + 10 + 1


def s_ok(value: Any, encoding: Encoding = JENCODE) -> bytes:
    """A frame with a value, as a client sends it."""
    return frame(encoding.encode({"OK": True, "Value": value}))


def keep_alive(identifier: Any, ping: bool, encoding: Encoding = JENCODE) -> bytes:
    """A keep-alive ping, or the pong that answers it."""
    return KEEP_ALIVE + s_ok({"id": identifier, "kaping": ping}, encoding)


PROPOSAL = [["Test/Echo", "None", "unknown"], ["RPC", "echo"], "", "9.1.22"]


# --- captured sessions


@dataclass(frozen=True)
class Exchange:
    """One captured connection: the frames of each side in order, and what the client made of them."""

    session: str
    call: str
    sent: tuple[Frame, ...]
    received: tuple[Frame, ...]
    result: str

    @property
    def action(self) -> str:
        return str(message(self.sent[0])["Value"][1][0])

    @property
    def encoding(self) -> Encoding:
        return detect(self.sent[0].payload)

    @property
    def refused(self) -> bool:
        return not message(self.answers()[0])["OK"]

    def answers(self) -> list[Frame]:
        """What the server said, without its keep-alives."""
        return [each for each in self.received if not each.keep_alive]


def message(each: Frame) -> dict[str, Any]:
    """The value of a frame."""
    value, _encoding = decode_any(each.payload)
    assert isinstance(value, dict)
    return value


def wire(frames: Iterable[Frame]) -> bytes:
    """Frames as they were captured."""
    return b"".join((KEEP_ALIVE if each.keep_alive else b"") + frame(each.payload) for each in frames)


def frames_of(data: bytes) -> tuple[Frame, ...]:
    """Captured bytes as frames, which must be all they are."""
    reader = FrameReader(len(data))
    reader.feed(data)
    frames = tuple(iter(reader.next_frame, None))
    assert wire(frames) == data
    return frames


def exchanges() -> Iterator[Exchange]:
    """The captured connections; those that a client repeats after an error are all there."""
    for session in CAPTURED:
        for call in session["calls"]:
            connections: list[dict[str, bytes]] = []
            for event in call["events"]:
                if event["dir"] == "client_connect":
                    connections.append({"c2s": b"", "s2c": b""})
                elif event["dir"] != "client_close":
                    connections[-1][event["dir"]] += bytes.fromhex(event["hex"])
            for each in connections:
                sent, received = frames_of(each["c2s"]), frames_of(each["s2c"])
                yield Exchange(session["label"], call["call"], sent, received, call["client_result"])


EXCHANGES = {f"{number}: {each.call}"[:60]: each for number, each in enumerate(exchanges())}
RPC = {name: each for name, each in EXCHANGES.items() if each.action == "RPC"}
TRANSFERS = {name: each for name, each in EXCHANGES.items() if each.action == "FileTransfer"}

OTHER_ENCODING = "answered in the encoding of the question; DIRAC 9.1.22 answers JSON to everyone"
NO_CALL_STACK = "no CallStack leaves; DIRAC's is in errors in place of the acknowledgement"
PONGS = "a ping during a call is answered; DIRAC reads nothing while a method runs"
NO_PINGS = "no pings are sent; the captured prototype did"


def deviations(each: Exchange) -> set[str]:
    """Why the bytes we send are not those of the captured server."""
    reasons = {
        OTHER_ENCODING: any(detect(answer.payload) is not each.encoding for answer in each.received),
        NO_CALL_STACK: each.refused,
        PONGS: any(sent.keep_alive and message(sent)["Value"]["kaping"] for sent in each.sent),
        NO_PINGS: any(answer.keep_alive for answer in each.received),
    }
    return {reason for reason, applies in reasons.items() if applies}


def our_bytes(each: Exchange) -> bytes:
    """What we are to send: the captured server's bytes, but for the deviations."""
    if not deviations(each):
        return wire(each.received)
    acknowledgement, *results = [
        {key: value for key, value in message(answer).items() if key != "CallStack"}
        for answer in each.answers()
    ]
    pings = [message(sent)["Value"] for sent in each.sent if sent.keep_alive]
    pongs = b"".join(keep_alive(ping["id"], False, each.encoding) for ping in pings if ping["kaping"])
    head, *tail = [frame(each.encoding.encode(answer)) for answer in (acknowledgement, *results)]
    return b"".join((head, pongs, *tail))


def outcome_of(answer: Frame) -> Outcome:
    """What the captured server's method, or its authorisation, said."""
    fields = {key: value for key, value in message(answer).items() if key != "CallStack"}
    if fields.pop("OK"):
        return Reply(fields.pop("Value"), fields)
    return Failure(fields.pop("Message"), fields.pop("Errno"), fields)


def serve(each: Exchange, pieces: Iterable[bytes]) -> bytes:
    """What our server sends when it gets the client's bytes in pieces and says what the captured one said.

    The method answers when all bytes are there.
    """
    conversation = ServerConversation(DisetLimits())
    acknowledgement, *results = map(outcome_of, each.answers())
    out, asked = b"", 0
    for piece in pieces:
        conversation.feed(piece)
        while (event := conversation.next_event()) is not None:
            match event:
                case Proposal():
                    refused = isinstance(acknowledgement, Failure)
                    out += conversation.refuse(acknowledgement) if refused else conversation.accept()
                case Ping():
                    out += conversation.pong(event)
                case Arguments():
                    assert list(event.values) == message(each.sent[-1 - asked_later(each)])["Value"]
                    asked += 1
    for result in results[:asked]:
        out += conversation.answer(result)
    return out


def asked_later(each: Exchange) -> int:
    """How many frames the client sent after its arguments."""
    return len(each.sent) - 1 - max(index for index, sent in enumerate(each.sent) if not sent.keep_alive)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The data in one piece, in two at every position, and byte by byte."""
    yield [data]
    for position in range(1, len(data)):
        yield [data[:position], data[position:]]
    yield [data[position : position + 1] for position in range(len(data))]


@pytest.mark.parametrize("name", RPC)
def test_server_sends_what_the_captured_server_sent(name: str) -> None:
    """A captured client gets the captured server's bytes, however its own bytes are cut or glued."""
    each = RPC[name]
    expected = our_bytes(each)
    for pieces in cuts(wire(each.sent)):
        assert serve(each, pieces) == expected


def test_deviations_are_few() -> None:
    """A client gets the very bytes of a server of its own release, but for what is declared."""
    same_release = [
        each
        for each in RPC.values()
        if not each.refused
        and each.session.startswith(("client 9.1.22 -> server 9", "client 8.0.86 -> server 8"))
    ]
    deviating = {each.call[:4]: deviations(each) for each in same_release if deviations(each)}
    assert deviating == {"slow": {PONGS}}
    assert len(same_release) > 25


@pytest.mark.parametrize("reason", [OTHER_ENCODING, NO_CALL_STACK, PONGS, NO_PINGS])
def test_deviation_is_real(reason: str) -> None:
    """What is declared to differ does differ from what was captured."""
    deviating = [each for each in RPC.values() if deviations(each) == {reason}]
    assert deviating
    assert all(our_bytes(each) != wire(each.received) for each in deviating)


@pytest.mark.parametrize("name", RPC)
def test_client_sends_what_the_captured_client_sent(name: str) -> None:
    """A captured server gets the captured client's bytes and gives its result, however its bytes are cut."""
    each = RPC[name]
    own_pings = [sent for sent in each.sent if sent.keep_alive and message(sent)["Value"]["kaping"]]
    expected = wire(sent for sent in each.sent if sent not in own_pings)  # ours sends no pings
    for pieces in cuts(wire(each.received)):
        conversation = ClientConversation(*asked_in(each), encoding=each.encoding)
        out = conversation.start() + b"".join(map(conversation.feed, pieces))
        assert out == expected
        assert repr(conversation.result) == each.result


def asked_in(each: Exchange) -> tuple[Proposal, list[Any]]:
    """What the captured client asked."""
    (service, setup, vo), (action, method), extra, version = message(each.sent[0])["Value"]
    arguments = [message(sent)["Value"] for sent in each.sent[1:] if not sent.keep_alive]
    return Proposal(service, action, method, extra, version, setup, vo), *(arguments or [[]])


# --- proposals


def proposed(value: Any, encoding: Encoding = JENCODE) -> Proposal | Arguments | Ping | None:
    """What a server makes of a proposal."""
    conversation = ServerConversation(DisetLimits())
    conversation.feed(s_ok(value, encoding))
    return conversation.next_event()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            [["A/B", "Prod", "lab"], ["RPC", "m"], ["/CN=x", "g"], "9.1.22"],
            Proposal("A/B", "RPC", "m", ["/CN=x", "g"], "9.1.22", "Prod", "lab"),
        ),
        ([["A/B", "Prod"], ["RPC", "m"], "", "6.0"], Proposal("A/B", "RPC", "m", "", "6.0", "Prod")),
        (
            [["A/B", "Prod", "lab"], ["RPC", "m"], "hosts"],
            Proposal("A/B", "RPC", "m", "hosts", "", "Prod", "lab"),
        ),
    ],
    ids=["whole", "without VO", "without version"],
)
@ENCODINGS
def test_proposal(encoding: Encoding, value: Any, expected: Proposal) -> None:
    """A proposal is read with or without what old clients leave out."""
    assert proposed(value, encoding) == expected


def test_proposal_of_tuples() -> None:
    """DEncode clients may send tuples where others send lists."""
    value = (("A/B", "Prod", "lab"), ("RPC", "m"), ("/CN=x", "g"), "8.0.86")
    assert proposed(value, DENCODE) == Proposal("A/B", "RPC", "m", ("/CN=x", "g"), "8.0.86", "Prod", "lab")


NO_PROPOSALS: list[Any] = [
    None,
    "proposal",
    [],
    {},
    [["A/B", "x", "y"], ["RPC", "m"]],
    [["A/B"], ["RPC", "m"], "", "9"],
    [["A/B", "x", "y"], ["RPC"], "", "9"],
    [["A/B", "x", "y"], ["RPC", "m", "n"], "", "9"],
    [["A/B", "x", "y"], "RPC", "", "9"],
    ["A/B", ["RPC", "m"], "", "9"],
    [[1, "x", "y"], ["RPC", "m"], "", "9"],
    [["A/B", "x", "y"], [None, "m"], "", "9"],
    [["A/B", "x", "y"], ["RPC", ["m"]], "", "9"],
]


@pytest.mark.parametrize("value", NO_PROPOSALS, ids=repr)
@ENCODINGS
def test_no_proposal(encoding: Encoding, value: Any) -> None:
    """Anything else is refused in DIRAC's words, in the encoding it came in."""
    conversation = ServerConversation(DisetLimits())
    conversation.feed(s_ok(value, encoding))
    with pytest.raises(PeerError, match="Invalid action proposal") as refused:
        conversation.next_event()
    answer = Failure(str(refused.value))
    assert conversation.refuse(answer) == frame(encoding.encode(answer.as_result()))


@pytest.mark.parametrize(
    "value",
    [{"OK": False, "Errno": 0, "Message": "no"}, {"OK": True}, {"OK": 1, "Value": PROPOSAL}, PROPOSAL, None],
    ids=repr,
)
def test_proposal_is_not_wrapped(value: Any) -> None:
    """A proposal that is no S_OK is none."""
    conversation = ServerConversation(DisetLimits())
    conversation.feed(frame(JENCODE.encode(value)))
    with pytest.raises(PeerError, match="Invalid action proposal"):
        conversation.next_event()


def admitted(encoding: Encoding = JENCODE, limits: DisetLimits | None = None) -> ServerConversation:
    """A conversation that waits for the arguments."""
    conversation = ServerConversation(limits or DisetLimits())
    conversation.feed(s_ok(PROPOSAL, encoding))
    assert isinstance(conversation.next_event(), Proposal)
    assert not conversation.acknowledged
    assert conversation.accept() == s_ok(None, encoding)
    assert conversation.acknowledged
    return conversation


def running(encoding: Encoding = JENCODE, limits: DisetLimits | None = None) -> ServerConversation:
    """A conversation whose call runs."""
    conversation = admitted(encoding, limits)
    conversation.feed(s_ok([1], encoding))
    assert conversation.next_event() == Arguments([1])
    return conversation


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"OK": True, "Value": "text"}, "The arguments must be a list"),
        ({"OK": True, "Value": None}, "The arguments must be a list"),
        ({"OK": True, "Value": {"a": 1}}, "The arguments must be a list"),
        ({"OK": False, "Errno": 0, "Message": "no"}, "Invalid message"),
        ([1], "Invalid message"),
    ],
    ids=repr,
)
@ENCODINGS
def test_no_arguments(encoding: Encoding, value: Any, words: str) -> None:
    """Arguments that are no list are an error, which is then the last word."""
    conversation = admitted(encoding)
    conversation.feed(frame(encoding.encode(value)))
    with pytest.raises(PeerError, match=words):
        conversation.next_event()
    answer = Failure(words)
    assert conversation.refuse(answer) == frame(encoding.encode(answer.as_result()))


@ENCODINGS
def test_large_arguments(encoding: Encoding) -> None:
    """They come undecoded; decoding takes many steps, and keep-alives are answered meanwhile."""
    conversation = admitted(encoding)
    values = [[number, "x" * 10, None] for number in range(5000)]
    conversation.feed(s_ok(values, encoding))
    large = conversation.next_event()
    assert isinstance(large, LargeArguments)
    work = conversation.decode_in_pieces(large)
    steps = 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            assert end.value == Arguments(values)
            break
        steps += 1
        conversation.feed(keep_alive(steps, ping=True, encoding=encoding))
        assert conversation.next_event() == Ping(steps)
    assert steps > 5


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"OK": True, "Value": "x" * 20_000}, "The arguments must be a list"),
        ({"OK": False, "Errno": 0, "Message": "x" * 20_000}, "Invalid message"),
        (["x" * 20_000], "Invalid message"),
    ],
    ids=["no list", "an error", "no dictionary"],
)
@ENCODINGS
def test_large_arguments_that_are_none(encoding: Encoding, value: Any, words: str) -> None:
    """What is wrong with them is found when they are decoded, and is then the last word."""
    conversation = admitted(encoding)
    conversation.feed(frame(encoding.encode(value)))
    large = conversation.next_event()
    assert isinstance(large, LargeArguments)
    with pytest.raises(PeerError, match=words):
        list(conversation.decode_in_pieces(large))
    answer = Failure(words)
    assert conversation.refuse(answer) == frame(encoding.encode(answer.as_result()))


def test_arguments_as_a_tuple() -> None:
    """DEncode arguments may be a tuple."""
    conversation = admitted(DENCODE)
    conversation.feed(s_ok((1, "a"), DENCODE))
    assert conversation.next_event() == Arguments((1, "a"))


def test_nothing_follows_the_last_word() -> None:
    """After the answer, or a refusal, the client is not listened to any more."""
    for conversation in (running(), admitted()):
        conversation.answer(Reply())
        conversation.feed(s_ok(PROPOSAL) + keep_alive("late", ping=True) + b"garbage")
        assert conversation.next_event() is None
        assert buffered(conversation) == 0


@pytest.mark.parametrize("value", [{1, 2}, object(), datetime.timedelta(1), 10**5000, [1j]], ids=type)
@ENCODINGS
def test_unsendable_value(encoding: Encoding, value: Any) -> None:
    """A value that the wire cannot carry becomes an error that says so."""
    (answer,) = frames_of(running(encoding).answer(Reply(value)))
    result = message(answer)
    assert (result["OK"], result["Errno"]) == (False, 0)
    assert result["Message"].startswith("The result cannot be sent: ")
    assert detect(answer.payload) is encoding


# --- keep-alives


@ENCODINGS
def test_ping_is_answered_at_every_boundary(encoding: Encoding) -> None:
    """Before the proposal, before the arguments and while the call runs a ping gets its pong."""
    ping, pong = keep_alive("x0", True, encoding), keep_alive("x0", False, encoding)
    conversation = ServerConversation(DisetLimits())
    for stage in (s_ok(PROPOSAL, encoding), s_ok([1], encoding)):
        conversation.feed(ping + stage)
        event = conversation.next_event()
        assert event == Ping("x0")
        assert conversation.pong(event) == pong
        assert conversation.next_event() is not None
        if not conversation.acknowledged:
            conversation.accept()
    conversation.feed(ping + ping)
    assert [conversation.next_event() for _ in range(3)] == [Ping("x0"), Ping("x0"), None]


@pytest.mark.parametrize("value", [{"id": "x", "kaping": False}, {"id": "x"}, None, [], "kaping"], ids=repr)
def test_other_keep_alives_are_swallowed(value: Any) -> None:
    """A pong, or a keep-alive that asks nothing, is no event, and the next message is read."""
    conversation = ServerConversation(DisetLimits())
    conversation.feed(KEEP_ALIVE + s_ok(value) + s_ok(PROPOSAL))
    assert isinstance(conversation.next_event(), Proposal)


GARBAGE = {
    "no number": b"garbage",
    "no message": frame(b"?"),
    "an error": frame(JENCODE.encode({"OK": False, "Errno": 1, "Message": "x"})),
    "arguments again": s_ok([2]),
    "a length that is too long": b"99999999999999999999:",
    "a broken keep-alive": KEEP_ALIVE + b"x",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_does_not_lose_the_result(garbage: bytes) -> None:
    """What a client sends while its call runs cannot end the call, and garbage is not kept."""
    conversation = running()
    for _ in range(100):
        conversation.feed(garbage)
        assert conversation.next_event() is None
    assert buffered(conversation) == 0
    assert conversation.answer(Reply("done")) == s_ok("done")


def test_half_a_ping_does_not_lose_the_result() -> None:
    """A call may end between two halves of a ping."""
    conversation = running()
    conversation.feed(keep_alive("x", ping=True)[:-5])
    assert conversation.next_event() is None
    assert conversation.answer(Reply("done")) == s_ok("done")


def test_pings_before_the_garbage_are_answered() -> None:
    """Garbage behind a ping does not take its pong away; after it the client is not listened to."""
    conversation = running()
    conversation.feed(keep_alive("a", ping=True) + b"garbage" + keep_alive("b", ping=True))
    assert conversation.next_event() == Ping("a")
    assert conversation.next_event() is None
    conversation.feed(keep_alive("c", ping=True))
    assert conversation.next_event() is None


HALF_A_CHARACTER = pytest.param(DENCODE, JENCODE, "\ud800", id="half a character in DEncode")


@pytest.mark.parametrize(
    ("asked_in", "pinged_in", "identifier"),
    [
        pytest.param(JENCODE, DENCODE, datetime.time(1), id="a time in JSON"),
        pytest.param(JENCODE, DENCODE, {(1, 2): 3}, id="a tuple as key in JSON"),
        HALF_A_CHARACTER,
    ],
)
def test_ping_in_the_other_encoding(asked_in: Encoding, pinged_in: Encoding, identifier: Any) -> None:
    """A ping whose id the call's encoding cannot carry does not break the call."""
    conversation = running(asked_in)
    conversation.feed(keep_alive(identifier, ping=True, encoding=pinged_in))
    while (event := conversation.next_event()) is not None:
        assert isinstance(event, Ping)
        conversation.pong(event)
    assert conversation.answer(Reply("done")) == s_ok("done", asked_in)


@pytest.mark.parametrize(
    ("asked_in", "pinged_in", "identifier"),
    [
        pytest.param(JENCODE, DENCODE, datetime.time(1), id="a time in JSON"),
        HALF_A_CHARACTER,
    ],
)
def test_server_pings_in_the_other_encoding(asked_in: Encoding, pinged_in: Encoding, identifier: Any) -> None:
    """A server's ping whose id the client's encoding cannot carry does not break the call."""
    conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [], asked_in)
    conversation.feed(s_ok(None) + keep_alive(identifier, ping=True, encoding=pinged_in) + s_ok("done"))
    assert conversation.result == {"OK": True, "Value": "done"}


# --- frames


@dataclass(frozen=True)
class Wire:
    """Bytes, the frames in them and whether an error follows."""

    data: bytes
    frames: Sequence[Frame] = ()
    error: str = ""


LARGEST = 20
KEPT_ALIVE = Frame(b"hello", keep_alive=True)
FRAMES = {
    "one": Wire(b"5:hello", [Frame(b"hello")]),
    "empty": Wire(b"0:", [Frame(b"")]),
    "two": Wire(b"5:hello2:hi", [Frame(b"hello"), Frame(b"hi")]),
    "one and a half": Wire(b"5:hello5:hell", [Frame(b"hello")]),
    "payload like a frame": Wire(b"5:5:dka", [Frame(b"5:dka")]),
    "as large as allowed": Wire(b"20:" + b"x" * LARGEST, [Frame(b"x" * LARGEST)]),
    "too large by one": Wire(b"21:", error="larger than the limit of 20"),
    "a billion": Wire(b"1000000000:", error="larger than the limit of 20"),
    "ten digits, not all there": Wire(b"9999999999"),
    "eleven digits": Wire(b"12345678901", error="too many digits"),
    "twenty digits": Wire(b"1" * 20 + b":x", error="too many digits"),
    "negative": Wire(b"-5:hello", error="must begin with its length"),
    "plus": Wire(b"+5:hello", error="must begin with its length"),
    "blank before": Wire(b" 5:hello", error="must begin with its length"),
    "blank behind": Wire(b"5 :hello", error="must begin with its length"),
    "line feed": Wire(b"\n5:hello", error="must begin with its length"),
    "underscore": Wire(b"1_0:helloworld", error="must begin with its length"),
    "fraction": Wire(b"5.0:hello", error="must begin with its length"),
    "other digits": Wire("\u0665:hello".encode(), error="must begin with its length"),
    "superscript": Wire(b"\xb2:hi", error="must begin with its length"),
    "no length": Wire(b":hello", error="must begin with its length"),
    "no length after a frame": Wire(b"5:hello:", [Frame(b"hello")], error="must begin with its length"),
    "no length at all": Wire(b'{"OK": true}', error="must begin with its length"),
    "TLS": Wire(b"\x16\x03\x01\x02\x00", error="must begin with its length"),
    "HTTP": Wire(b"GET / HTTP/1.1\r\n\r\n", error="must begin with its length"),
    "nothing": Wire(b""),
    "keep-alive": Wire(b"dka5:hello", [KEPT_ALIVE]),
    "keep-alives, glued": Wire(b"dka5:hellodka5:hello5:hello", [KEPT_ALIVE, KEPT_ALIVE, Frame(b"hello")]),
    "keep-alive behind a frame": Wire(b"2:hidka5:hello", [Frame(b"hi"), KEPT_ALIVE]),
    "half of the word": Wire(b"dk"),
    "the word alone": Wire(b"dka"),
    "the word twice": Wire(b"dkadka5:hello", error="must begin with its length"),
    "the word misspelt": Wire(b"dkx5:hello", error="must begin with its length"),
    "another word": Wire(b"ping", error="must begin with its length"),
    "the word without a length": Wire(b"dka:", error="must begin with its length"),
    "the word too large": Wire(b"dka21:", error="larger than the limit of 20"),
    "the word and too many digits": Wire(b"dka12345678901", error="too many digits"),
    "two letters of the word and a colon": Wire(b"dk:", error="must begin with its length"),
    "one letter of the word and a colon": Wire(b"d:", error="must begin with its length"),
}


@pytest.mark.parametrize("case", FRAMES.values(), ids=FRAMES)
def test_frames(case: Wire) -> None:
    """Bytes give their frames and their error, however they are cut."""
    for pieces in cuts(case.data):
        reader = FrameReader(LARGEST)
        frames: list[Frame] = []
        error = ""
        for piece in pieces:
            reader.feed(piece)
            try:
                frames.extend(iter(reader.next_frame, None))
            except PeerError as refused:
                error = str(refused)
                break
        assert frames == list(case.frames)
        assert case.error in error
        assert bool(error) == bool(case.error)


@pytest.mark.parametrize(
    ("data", "seen"),
    [(b"x", 1), (b"-", 1), (b"5x", 2), (b"dkx", 3), (b"21:", 3), (b"12345678901", 11), (b"dkad", 4)],
    ids=repr,
)
def test_lies_are_seen_at_once(data: bytes, seen: int) -> None:
    """A wrong length is refused as soon as it can be told, not when more of it is there."""
    reader = FrameReader(LARGEST)
    for byte in data[: seen - 1]:
        reader.feed(bytes([byte]))
        assert reader.next_frame() is None
    reader.feed(data[seen - 1 :])
    with pytest.raises(PeerError):
        reader.next_frame()


# --- limits


def of_size(value: Any, size: int) -> bytes:
    """A frame of this many bytes of payload, which holds the value with its first text made longer."""
    short = json.dumps({"OK": True, "Value": value})
    payload = short.replace("PAD", "x" * (size - len(short) + 3)).encode()
    assert len(payload) == size
    return frame(payload)


SMALL = DisetLimits(proposal=300, message=500, depth=10)
PADDED_PROPOSAL = [["Test/Echo", "PAD", "unknown"], ["RPC", "echo"], "", "9.1.22"]


def test_limit_of_proposals() -> None:
    """A proposal may be as large as its limit and no byte larger."""
    conversation = ServerConversation(SMALL)
    conversation.feed(of_size(PADDED_PROPOSAL, 300))
    assert isinstance(conversation.next_event(), Proposal)
    conversation = ServerConversation(SMALL)
    conversation.feed(b"301:")
    with pytest.raises(PeerError, match="301 bytes is larger than the limit of 300"):
        conversation.next_event()


def test_limit_of_arguments() -> None:
    """Arguments may be as large as the limit of messages and no byte larger."""
    conversation = admitted(limits=SMALL)
    conversation.feed(of_size(["PAD"], 500))
    assert isinstance(conversation.next_event(), Arguments)
    conversation = admitted(limits=SMALL)
    conversation.feed(b"501:")
    with pytest.raises(PeerError, match="501 bytes is larger than the limit of 500"):
        conversation.next_event()


def test_limit_of_pings_while_a_call_runs() -> None:
    """A ping may be as large as a proposal; a larger one is not waited for and costs no result."""
    conversation = running(limits=SMALL)
    conversation.feed(KEEP_ALIVE + of_size({"id": "PAD", "kaping": True}, 300))
    assert isinstance(conversation.next_event(), Ping)
    conversation.feed(KEEP_ALIVE + b"301:" + b"x" * 100)
    assert conversation.next_event() is None
    assert buffered(conversation) == 0
    assert conversation.answer(Reply(1)) == s_ok(1)


@ENCODINGS
def test_limit_of_depth(encoding: Encoding) -> None:
    """A message may be nested as deep as the limit and no deeper."""

    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 0

    conversation = admitted(encoding, SMALL)
    conversation.feed(s_ok(nested(9), encoding))  # the S_OK around it is one level
    assert isinstance(conversation.next_event(), Arguments)
    conversation = admitted(encoding, SMALL)
    conversation.feed(s_ok(nested(10), encoding))
    with pytest.raises(PeerError, match="nested too deeply"):
        conversation.next_event()


def test_limit_of_results() -> None:
    """A client takes a result as large as its limit and no byte larger."""
    for size, refused in ((500, False), (501, True)):
        conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [], limits=SMALL)
        conversation.feed(s_ok(None))
        result = of_size("PAD", size)
        if refused:
            with pytest.raises(PeerError, match="larger than the limit"):
                conversation.feed(result)
        else:
            conversation.feed(result)
            assert conversation.result is not None


# --- clients


@pytest.mark.parametrize(
    "nonsense",
    [b"[]", b"1", b'{"Value": 1}', b"?", b"", b"de"],
    ids=lambda nonsense: nonsense.decode() or "nothing",
)
def test_nonsense_from_a_server(nonsense: bytes) -> None:
    """A client refuses what is no S_OK or S_ERROR, as acknowledgement and as result."""
    for before in (b"", s_ok(None)):
        conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [])
        conversation.feed(before)
        with pytest.raises(PeerError):
            conversation.feed(frame(nonsense))
        assert conversation.result is None


def test_client_sends_nothing_after_its_result() -> None:
    """What comes behind the result, a ping too, is not answered and does not change it."""
    conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [])
    conversation.feed(s_ok(None))
    assert conversation.feed(s_ok("first") + keep_alive("x", ping=True) + s_ok("second")) == b""
    assert conversation.feed(s_ok("third")) == b""
    assert conversation.result == {"OK": True, "Value": "first"}


@ENCODINGS
def test_client_answers_pings(encoding: Encoding) -> None:
    """A server's ping is answered with its id before and after the acknowledgement; a pong is not."""
    conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [1], encoding)
    ping, pong = keep_alive("s0", True, encoding), keep_alive("s0", False, encoding)
    assert conversation.feed(ping + pong) == pong
    assert conversation.feed(s_ok(None, encoding) + ping) == s_ok([1], encoding) + pong
    assert conversation.feed(ping + s_ok(2, encoding)) == pong
    assert conversation.result == {"OK": True, "Value": 2}


# --- client and server in memory

both_carry = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.dates()
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0, fold=0)),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "Value"]), inner),
    max_leaves=10,
)
precise = st.datetimes().map(lambda moment: moment.replace(fold=0))
dencode_carries = both_carry | st.tuples(both_carry, precise) | st.dictionaries(st.integers(), both_carry)
jencode_carries = both_carry | st.binary()
extras = st.dictionaries(st.sampled_from(["JobID", "InvalidJobIDs"]), both_carry)
outcomes_text = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def calls(draw: st.DrawFn) -> tuple[Encoding, list[Any], Outcome]:
    """An encoding, arguments and an outcome that it carries unchanged."""
    encoding, values = draw(st.sampled_from([(DENCODE, dencode_carries), (JENCODE, jencode_carries)]))
    arguments = draw(st.lists(values, max_size=4))
    outcome = draw(
        st.builds(Reply, values, extras)
        | st.builds(Failure, outcomes_text, st.sampled_from([0, *Errno]).map(int), extras)
    )
    return encoding, arguments, outcome


@settings(deadline=None, max_examples=60)
@given(call=calls(), refused=st.booleans(), read=st.integers(1, 50))
def test_client_and_server(call: tuple[Encoding, list[Any], Outcome], refused: bool, read: int) -> None:
    """What a client asks is what the server hears, and what the server answers is what the client gets."""
    encoding, arguments, outcome = call
    client = ClientConversation(Proposal("A/B", "RPC", "m", "", "9", "s", "v"), arguments, encoding)
    server = ServerConversation(DisetLimits())
    heard: list[Any] = []
    upward, downward = client.start(), b""
    while client.result is None:
        assert upward or downward, "both wait"
        server.feed(upward[:read])
        upward = upward[read:]
        match server.next_event():
            case Proposal() as proposal:
                heard.append(proposal)
                denied = refused and isinstance(outcome, Failure)
                downward += server.refuse(outcome) if denied else server.accept()
            case Arguments() as given_arguments:
                heard.append(given_arguments)
                downward += server.answer(outcome)
        upward += client.feed(downward[:read])
        downward = downward[read:]
    assert repr(client.result) == repr(outcome.as_result())
    assert heard[0] == Proposal("A/B", "RPC", "m", "", "9", "s", "v")
    assert repr(heard[1:]) == ("[]" if len(heard) == 1 else repr([Arguments(arguments)]))
    assert (len(heard) == 1) is (refused and isinstance(outcome, Failure))


# --- hostile bytes


def buffered(conversation: ServerConversation | ClientConversation) -> int:
    """How many bytes a conversation keeps."""
    return len(conversation._reader._buffer)


tokens = st.one_of(
    st.sampled_from([b"d", b"k", b"a", b"dka", b":", b"0", b"9", b"5:", b"-", b" ", b"n", b"{}"]),
    st.sampled_from([s_ok(PROPOSAL), s_ok(PROPOSAL, DENCODE), s_ok([1]), s_ok([1], DENCODE)]),
    st.sampled_from([keep_alive("x", True), keep_alive("x", False), keep_alive("x", True, DENCODE)]),
    st.integers(0, 10**22).map(lambda length: b"%d:" % length),
    st.binary(max_size=40).map(frame),
    st.binary(max_size=40),
)
reads = st.lists(st.lists(tokens, max_size=4).map(b"".join), max_size=12)
READ_LIMIT = 120
TINY = DisetLimits(proposal=100, message=150, depth=10)


@settings(deadline=None, max_examples=300)
@given(reads)
@example([b"d:"])
def test_any_bytes_to_a_server(pieces: list[bytes]) -> None:
    """Any bytes in any pieces give events or PeerError, and no more is kept than a message and one read."""
    conversation = ServerConversation(TINY)
    admitting = False
    for piece in pieces:
        conversation.feed(piece)
        try:
            while (event := conversation.next_event()) is not None:
                if isinstance(event, Proposal):
                    frames_of(conversation.accept())
                    admitting = True
                elif isinstance(event, Ping):
                    frames_of(conversation.pong(event))
        except PeerError as error:
            (last,) = frames_of(conversation.refuse(Failure(str(error))))
            assert message(last)["OK"] is False
            conversation.feed(piece)
            assert conversation.next_event() is None
            return
        assert buffered(conversation) <= (TINY.message if admitting else TINY.proposal) + HEAD
    (last,) = frames_of(conversation.answer(Reply("done")))
    assert message(last) == {"OK": True, "Value": "done"}


@settings(deadline=None, max_examples=300)
@given(reads)
@example([b"d:"])
def test_any_bytes_to_a_client(pieces: list[bytes]) -> None:
    """Any bytes in any pieces give a result, more to send, or PeerError, and little is kept."""
    conversation = ClientConversation(Proposal("A/B", "RPC", "m"), [1], limits=TINY)
    for piece in pieces:
        try:
            frames_of(conversation.feed(piece))
        except PeerError:
            return
        if conversation.result is not None:
            assert "OK" in conversation.result
            return
        assert buffered(conversation) <= TINY.message + HEAD


@pytest.mark.parametrize("claimed", [64 * 1024, 10**9, 10**15], ids=lambda claimed: f"{claimed:g}")
def test_no_memory_for_what_does_not_come(claimed: int) -> None:
    """A length costs nothing until its bytes are there, and never more than the limit."""
    conversation = ServerConversation(DisetLimits(proposal=64 * 1024))
    conversation.feed(b"%d:" % claimed)
    if claimed > 64 * 1024:
        with pytest.raises(PeerError):
            conversation.next_event()
        conversation.refuse(Failure("no"))
    for _ in range(100):
        conversation.feed(b"x" * 100)
        assert conversation.next_event() is None
    assert buffered(conversation) <= 100 * 100 + HEAD
