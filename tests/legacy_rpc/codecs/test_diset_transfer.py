"""DISET file transfers: captured sessions replayed on both sides, client against server, and nonsense."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_rpc.codecs import diset_blocks as blocks
from legacy_rpc.codecs.diset import Arguments, DisetLimits, Ping, ServerConversation, frame
from legacy_rpc.codecs.diset_blocks import BLOCK_BYTES, Block, Ended, EndOfFile, Taken
from legacy_rpc.codecs.diset_transfer import Accepted, ClientTransfer, Say
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding
from legacy_rpc.messages import Failure, PeerError, Proposal, Reply

from .test_diset import (
    ENCODINGS,
    OTHER_ENCODING,
    TRANSFERS,
    Exchange,
    cuts,
    deviations,
    keep_alive,
    message,
    outcome_of,
    s_ok,
    wire,
)

# --- captured sessions


def sent_by_server(each: Exchange) -> bytes:
    """The captured server's bytes; in the client's encoding, which DIRAC 9.1.22 does not heed."""
    assert deviations(each) <= {OTHER_ENCODING}
    return b"".join(frame(each.encoding.encode(message(answer))) for answer in each.received)


def serve(each: Exchange, pieces: Iterable[bytes]) -> bytes:  # noqa: C901 - a table of who says what
    """What our server sends when it says what the captured one said, as soon as it may."""
    conversation = ServerConversation(DisetLimits())
    to_say = [message(answer) for answer in each.received[2:]]
    result = outcome_of(each.received[-1])
    out = b""

    def go_on() -> bytes:
        """Say what may be said of a download, up to what the client must answer."""
        if len(to_say) == 1:
            return conversation.answer(result)
        said = to_say.pop(0)
        if said.get(blocks.ABORT):
            return conversation.nothing_to_send()
        more, data = said["Value"]
        if not more:
            return conversation.end_of_file(data) + go_on()
        return b"".join(conversation.send_block(list(conversation.block(blocks.read_sender(said).data))))

    for piece in pieces:
        conversation.feed(piece)
        while (event := conversation.next_event()) is not None:
            match event:
                case Proposal():
                    out += conversation.accept()
                case Arguments():
                    out += conversation.accept_transfer(event.values)
                    if message(each.sent[0])["Value"][1][1] != "FromClient":
                        out += go_on()
                case Block():
                    out += conversation.take()
                case EndOfFile():
                    out += conversation.answer(result)
                case Taken():
                    out += go_on()
    return out


@pytest.mark.parametrize("name", TRANSFERS)
def test_server_sends_what_the_captured_server_sent(name: str) -> None:
    """A captured client gets the captured server's bytes, however its own bytes are cut or glued."""
    each = TRANSFERS[name]
    expected = sent_by_server(each)
    for pieces in cuts(wire(each.sent)):
        assert serve(each, pieces) == expected


def test_all_kinds_are_captured() -> None:
    """There are captured transfers in both encodings, both directions, with abort and with errors."""
    kinds = {(each.encoding.name, message(each.sent[0])["Value"][1][1]) for each in TRANSFERS.values()}
    assert kinds == {
        (encoding.name, action)
        for encoding in (DENCODE, JENCODE)
        for action in ("FromClient", "ToClient", "ListBulk")
    }
    assert len(TRANSFERS) >= 13


@pytest.mark.parametrize("name", TRANSFERS)
def test_client_sends_what_the_captured_client_sent(name: str) -> None:
    """A captured server gets the captured client's bytes and gives its result, however its bytes are cut."""
    each = TRANSFERS[name]
    (service, setup, vo), (action, method), extra, version = message(each.sent[0])["Value"]
    proposal = Proposal(service, action, method, extra, version, setup, vo)
    for pieces in cuts(wire(each.received)):
        conversation = ClientTransfer(proposal, message(each.sent[1])["Value"], each.encoding)
        file = [blocks.read_sender(message(sent)) for sent in each.sent[2:]] if method == "FromClient" else []
        out = conversation.start() + b"".join(take_part(conversation, pieces, file))
        assert out == wire(each.sent)
        assert repr(conversation.result) == each.result


def take_part(conversation: ClientTransfer, pieces: Iterable[bytes], file: list[Any]) -> Iterator[bytes]:
    """What a client says that sends a file, or takes all that it is sent."""
    for piece in pieces:
        conversation.feed(piece)
        while (event := conversation.next_event()) is not None:
            match event:
                case Say(data):
                    yield data
                case Block() | Ended(politely=True):
                    yield conversation.take()
                case Accepted() | Taken() if file:
                    match file.pop(0):
                        case Block(data):
                            yield from conversation.send_block(list(conversation.block(data)))
                        case EndOfFile(checksum):
                            yield conversation.end_of_file(checksum)


# --- one side of a conversation


def begun(
    action: str, encoding: Encoding = JENCODE, information: Any = ("id", "", 5), **limits: int
) -> ServerConversation:
    """A transfer that is accepted."""
    conversation = ServerConversation(DisetLimits(**limits))
    conversation.feed(s_ok([["A/B", "s", "v"], ["FileTransfer", action], "", "9"], encoding))
    assert isinstance(conversation.next_event(), Proposal)
    conversation.accept()
    conversation.feed(s_ok(list(information), encoding))
    assert conversation.next_event() == Arguments(list(information))
    assert conversation.accept_transfer(information) == s_ok("Accepted", encoding)
    return conversation


def heard(conversation: ServerConversation, data: bytes) -> Any:
    """The event in some bytes."""
    conversation.feed(data)
    return conversation.next_event()


BINARY = bytes(range(256)) * 20


@ENCODINGS
@pytest.mark.parametrize("size", [0, 1, len(BINARY)])
def test_blocks_in_every_form(encoding: Encoding, size: int) -> None:
    """A block may be bytes or the str that stands for them, in a list or a tuple, however it is written."""
    data = BINARY[:size]
    text = data.decode("utf-8", "surrogateescape")
    forms = [encoding.encode({"OK": True, "Value": value}) for value in ([True, data], (True, data))]
    if encoding is JENCODE:
        spaced = forms[0].replace(b": ", b" :  ")
        forms += [encoding.encode({"OK": True, "Value": [True, text]}), spaced]
    for form in forms:
        conversation = begun("FromClient", encoding)
        assert heard(conversation, frame(form)) == Block(data)
        assert conversation.take() == s_ok(None, encoding)
        assert heard(conversation, s_ok([False, "abc"], encoding)) == EndOfFile("abc")


@ENCODINGS
def test_largest_block(encoding: Encoding) -> None:
    """A block may have 1 MiB and no byte more; as the longest JSON text too."""
    for form in ([True, b"\xff" * BLOCK_BYTES], [True, "\udcff" * BLOCK_BYTES]):
        conversation = begun("FromClient", encoding)
        assert heard(conversation, s_ok(form, encoding)) == Block(b"\xff" * BLOCK_BYTES)
    for form in ([True, b"x" * (BLOCK_BYTES + 1)], [True, "x" * (BLOCK_BYTES + 1)]):
        conversation = begun("FromClient", encoding)
        with pytest.raises(PeerError, match=f"{BLOCK_BYTES + 1} bytes is larger than the limit"):
            heard(conversation, s_ok(form, encoding))


@pytest.mark.parametrize(
    "value",
    [None, [], [True], [True, 1], [1, b"x"], ["", ""], [True, b"x", b"y"], [None, "x"], {"a": 1}],
    ids=repr,
)
def test_no_block(value: Any) -> None:
    """What is neither a block nor the end is refused."""
    with pytest.raises(PeerError, match="A block must be"):
        heard(begun("FromClient"), s_ok(value))


def test_false_base64() -> None:
    """A block that only looks like one is refused in the decoder's words."""
    payload = JENCODE.encode(blocks.block_message(b"abcdef")).replace(b"YWJj", b"YW*j")
    with pytest.raises(PeerError, match="not a b64"):
        heard(begun("FromClient"), frame(payload))


STOPS: list[tuple[dict[str, Any], Ended | str]] = [
    ({"OK": True, "Value": [False, ""], "AbortTransfer": True}, "ended by the other side"),
    ({"OK": True, "Value": None, "AbortTransfer": True}, "ended by the other side"),
    ({"OK": False, "Errno": 7, "Message": "too large"}, "too large"),
    ({"OK": False, "Message": "too large"}, "too large"),
    ({"OK": False}, "The other side failed"),
]


@pytest.mark.parametrize(("said", "words"), STOPS, ids=[repr(said) for said, _ in STOPS])
@ENCODINGS
def test_a_client_that_ends_it(encoding: Encoding, said: dict[str, Any], words: str) -> None:
    """Either side may be ended by an error or an abort, in its turn and out of it; the answer follows."""
    for action, before in (
        ("FromClient", b""),
        ("FromClient", s_ok([True, b"x"], encoding)),
        ("ToClient", b""),
    ):
        conversation = begun(action, encoding)
        if before:
            assert heard(conversation, before) == Block(b"x")
        event = heard(conversation, frame(encoding.encode(said)))
        assert isinstance(event, Ended)
        assert words in event.failure.message
        assert event.failure.errno == said.get("Errno", 0)
        assert event.politely is ("AbortTransfer" in said)
        assert conversation.answer(Reply(1)) == s_ok(1, encoding)


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("FromClient", s_ok([True, b"x"]) * 2),
        ("FromClient", s_ok([True, b"x"]) + s_ok([False, ""])),
        ("ToClient", s_ok(None)),
    ],
    ids=["a second block", "the end", "taken"],
)
def test_out_of_turn(action: str, data: bytes) -> None:
    """What comes before it may is refused: nothing is kept that was not asked for."""
    conversation = begun(action)
    conversation.feed(data)
    with pytest.raises(PeerError, match="out of turn"):
        while conversation.next_event() is not None:
            pass


@ENCODINGS
def test_pings_in_a_transfer(encoding: Encoding) -> None:
    """A ping is an event, and a pong none, wherever they stand between the blocks."""
    ping, pong = keep_alive("x", True, encoding), keep_alive("wherry-1", False, encoding)
    conversation = begun("FromClient", encoding)
    assert conversation.ping("wherry-1") == keep_alive("wherry-1", True, encoding)
    conversation.feed(pong + ping + s_ok([True, b"x"], encoding) + ping + pong)
    assert [conversation.next_event() for _ in range(4)] == [Ping("x"), Block(b"x"), Ping("x"), None]
    conversation.take()
    conversation.feed(ping + s_ok([False, "abc"], encoding) + ping)
    assert [conversation.next_event() for _ in range(4)] == [Ping("x"), EndOfFile("abc"), Ping("x"), None]


@pytest.mark.parametrize("action", ["", "x", "Sideways", "fromClient", "FROMCLIENT"])
def test_no_direction(action: str) -> None:
    """A direction that does not exist is refused after the information list, in DIRAC's words."""
    conversation = ServerConversation(DisetLimits())
    conversation.feed(s_ok([["A/B", "s", "v"], ["FileTransfer", action], "", "9"]))
    conversation.next_event()
    conversation.accept()
    words = f"^Service can't transfer files {action[:1].lower()}{action[1:]}$"
    with pytest.raises(Failure, match=words):
        conversation.accept_transfer([])


@pytest.mark.parametrize("action", ["FromClient", "BulkFromClient"])
def test_announced_size(action: str) -> None:
    """A size above the limit is refused at once; one that is none, or not said, is not."""
    for size in (0, 100, -1, True, None, "101", 1e9):
        begun(action, information=["id", "", size], transfer=100)
    with pytest.raises(Failure, match="A transfer of 101 bytes is larger than the limit of 100"):
        begun(action, information=["id", "", 101], transfer=100)
    assert blocks.announced_size(["id", ""]) == -1
    assert blocks.announced_size(["id", "", "5"]) == -1
    assert blocks.announced_size(["id", "", 5]) == 5


def test_token() -> None:
    """`NoCheckSum` anywhere in a token switches the comparison off."""
    assert [blocks.is_checked(["id", token]) for token in ("", "xNoCheckSumx", None, ["NoCheckSum"])] == [
        True,
        False,
        True,
        True,
    ]
    assert blocks.is_checked(["NoCheckSum"])


# --- a client and nonsense


def client(action: str, *said: bytes) -> ClientTransfer:
    """A client's transfer that is accepted, and has heard more."""
    conversation = ClientTransfer(Proposal("A/B", "FileTransfer", action), ["id", ""])
    for data in (s_ok(None), s_ok("Accepted"), *said):
        conversation.feed(data)
        conversation.next_event()
    return conversation


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("FromClient", s_ok(None)),  # nothing was sent that could be taken
        ("ToClient", s_ok(None)),
        ("ToClient", s_ok([True, b"x"]) + s_ok([True, b"y"])),
        ("ToClient", frame(b"[]")),
        ("FromClient", frame(b'{"Value": 1}')),
    ],
)
def test_nonsense_from_a_server(action: str, said: bytes) -> None:
    """What a server may not say at this point is no answer."""
    conversation = client(action)
    conversation.feed(said)
    with pytest.raises(PeerError):
        while conversation.next_event() is not None:
            pass


@pytest.mark.parametrize("action", ["FromClient", "ToClient", "ListBulk"])
def test_error_in_place_of_anything(action: str) -> None:
    """An error is the result wherever it comes; nothing after it is heard."""
    refused = {"OK": False, "Errno": 1, "Message": "no"}
    said = [s_ok(None), s_ok("Accepted")]
    for count in range(3):
        conversation = ClientTransfer(Proposal("A/B", "FileTransfer", action), ["id", ""])
        for data in (*said[:count], frame(JENCODE.encode(refused)), b"garbage"):
            conversation.feed(data)
            conversation.next_event()
        assert conversation.result == refused


# --- client and server in memory


@settings(deadline=None, max_examples=60)
@given(
    encoding=st.sampled_from([DENCODE, JENCODE]),
    file=st.lists(st.binary(max_size=300), max_size=5),
    read=st.integers(1, 400),
    upward=st.booleans(),
)
def test_client_and_server(  # noqa: C901 - two tables of who says what
    encoding: Encoding, file: list[bytes], read: int, upward: bool
) -> None:
    """Every block arrives as it was sent, in order, whoever sends and however the bytes are cut."""
    action = "FromClient" if upward else "ToClient"
    there = ClientTransfer(Proposal("A/B", "FileTransfer", action, "", "9"), ["id", "", 1], encoding)
    here = ServerConversation(DisetLimits())
    checksum = hashlib.md5(b"".join(file), usedforsecurity=False).hexdigest()
    received: list[bytes] = []
    ends: list[str] = []
    left = list(file)

    def next_block(side: Any) -> bytes:
        if left:
            return b"".join(side.send_block(list(side.block(left.pop(0)))))
        return side.end_of_file(checksum) + (here.answer(Reply("done")) if side is here else b"")

    def at_server(event: Any) -> bytes:
        match event:
            case Proposal():
                return here.accept()
            case Arguments(values):
                return here.accept_transfer(values) + (b"" if upward else next_block(here))
            case Block(data):
                received.append(data)
                return here.take()
            case EndOfFile(said):
                ends.append(said)
                return here.answer(Reply("done"))
            case Taken():
                return next_block(here)
        raise AssertionError(event)

    def at_client(event: Any) -> bytes:
        match event:
            case Say(data):
                return data
            case Accepted() | Taken():
                return next_block(there) if upward else b""
            case Block(data):
                received.append(data)
                return there.take()
            case EndOfFile(said):
                ends.append(said)
                return b""
        raise AssertionError(event)

    def pump(side: Any, data: bytes, act: Callable[[Any], bytes]) -> bytes:
        side.feed(data)
        return b"".join(act(event) for event in iter(side.next_event, None))

    up, down = there.start(), b""
    while there.result is None:
        assert up or down, "both wait"
        down += pump(here, up[:read], at_server)
        up = up[read:] + pump(there, down[:read], at_client)
        down = down[read:]
    assert (received, ends) == (file, [checksum])
    assert there.result == {"OK": True, "Value": "done"}


tokens = st.one_of(
    st.sampled_from([s_ok(None), s_ok([True, b"x"]), s_ok([False, ""]), s_ok([True, b"x"], DENCODE)]),
    st.sampled_from([keep_alive("x", True), b"dka", b"1:", b"ds2:OKb1s5:Valuelb1s9:", frame(b"[")]),
    st.sampled_from([frame(JENCODE.encode(said)) for said, _ in STOPS]),
    st.binary(max_size=20),
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["FromClient", "ToClient"]), st.lists(tokens, max_size=10))
def test_any_bytes(action: str, pieces: list[bytes]) -> None:
    """Any bytes to either side are events, a result or PeerError."""
    here, there = begun(action), client(action)
    for side in (here, there):
        try:
            for piece in pieces:
                side.feed(piece)
                while (event := side.next_event()) is not None:
                    if isinstance(event, Block):
                        side.take()
        except PeerError:
            continue
