"""DISET: frames, and the conversation of one call, both without I/O.

A frame is ``<decimal length>:<payload>``; every payload is an encoded ``{"OK": True, "Value": X}``
or an error dictionary.  A call is two rounds on a connection of its own::

    client  S_OK([[service, setup, vo], [action, method], extraCredentials, version])   the proposal
    server  S_OK(None), or an error in its place                                        the acknowledgement
    client  S_OK([argument, ...])
    server  the method's own S_OK or S_ERROR, then both close

In a file transfer the arguments are its information list, and blocks follow (:mod:`~.diset_blocks`).
Keep-alives, ``dka`` and a frame, may stand at any frame boundary.  Source: legacy-wire.md, section 1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legacy_rpc.codecs import diset_blocks as blocks
from legacy_rpc.codecs.dencode import MAX_VALUES
from legacy_rpc.codecs.diset_blocks import Block, Ended, EndOfFile, Taken
from legacy_rpc.codecs.encodings import (
    JENCODE,
    UNSENDABLE,
    Encoding,
    decode_any,
    decode_any_in_pieces,
    unsendable,
)
from legacy_rpc.codecs.pieces import encode_in_pieces
from legacy_rpc.codecs.steps import Steps
from legacy_rpc.messages import Failure, Outcome, PeerError, Proposal, Reply

KEEP_ALIVE = b"dka"
# More digits than any limit has: a longer length is a lie, and is refused before it is all there.
LENGTH_DIGITS = 10
# Arguments that are larger are decoded in pieces.
LIGHT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class DisetLimits:
    """The largest payloads, in bytes, and the deepest nesting that a peer may send.

    A real proposal is under 1 KiB; arguments hold JDLs of hundreds of jobs at most.  ``transfer`` is the
    largest file, or bulk of files; ``values`` is how many values a client takes in a result.
    """

    proposal: int = 64 * 1024
    message: int = 16 * 1024 * 1024
    depth: int = 200
    transfer: int = 1024 * 1024 * 1024
    values: int = MAX_VALUES


@dataclass(frozen=True, slots=True)
class Frame:
    """One payload; ``keep_alive`` marks those that had ``dka`` before them."""

    payload: bytes
    keep_alive: bool = False


class FrameReader:
    """Takes bytes as they come, gives frames."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what the transport received."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame; None: feed me more.

        Raises PeerError for a length that is no number or larger than ``largest``, as soon as it can be
        seen: nothing is stored for a frame that will not be accepted.
        """
        start = self._after_keep_alive()
        colon = self._buffer.find(b":", start, start + LENGTH_DIGITS + 1)
        digits = bytes(self._buffer[start : colon if colon >= 0 else start + LENGTH_DIGITS + 1])
        may_follow = colon < 0 and self._may_become_keep_alive(digits)
        if digits and not digits.isdigit() and not may_follow:
            raise PeerError(f"A message must begin with its length, not with {digits[:LENGTH_DIGITS]!r}")
        if colon < 0:
            if len(digits) > LENGTH_DIGITS:
                raise PeerError("The length of a message has too many digits")
            return None
        if not digits:
            raise PeerError("A message must begin with its length")
        length = int(digits)
        if length > self.largest:
            raise PeerError(f"A message of {length} bytes is larger than the limit of {self.largest}")
        end = colon + 1 + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[colon + 1 : end])
        del self._buffer[:end]
        return Frame(payload, keep_alive=start > 0)

    def _after_keep_alive(self) -> int:
        return len(KEEP_ALIVE) if self._buffer.startswith(KEEP_ALIVE) else 0

    def _may_become_keep_alive(self, digits: bytes) -> bool:
        return len(self._buffer) < len(KEEP_ALIVE) and KEEP_ALIVE.startswith(digits)


def frame(payload: bytes) -> bytes:
    """A payload with its length before it."""
    return b"%d:%b" % (len(payload), payload)


def framed(parts: Sequence[bytes]) -> list[bytes]:
    """A payload that is in parts, with its length before it."""
    if len(parts) == 1:
        return [frame(parts[0])]
    return [b"%d:" % sum(map(len, parts)), *parts]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a client sends once it has been admitted; of a transfer, its information list."""

    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class LargeArguments:
    """The same, not decoded yet: ``ServerConversation.decode_in_pieces`` gives the arguments."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """A peer asks whether we are alive; answer with ``pong``."""

    id: str | int


Event = Proposal | Arguments | LargeArguments | Ping | Block | EndOfFile | Taken | Ended


class _Stage(enum.Enum):
    PROPOSAL = enum.auto()
    ADMISSION = enum.auto()
    ARGUMENTS = enum.auto()
    BLOCK = enum.auto()  # due from a client that sends a file
    HOLDING = enum.auto()  # a block of it: no more may come
    SENDING = enum.auto()  # nothing is due from a client that receives a file
    TAKING = enum.auto()  # its word that it has taken a block is due
    ANSWER = enum.auto()
    DONE = enum.auto()


_TRANSFER: Mapping[_Stage, Callable[[Mapping[str, Any]], Block | EndOfFile | Taken | Ended]] = {
    _Stage.BLOCK: blocks.read_sender,
    _Stage.HOLDING: blocks.read_sender,
    _Stage.SENDING: blocks.read_receiver,
    _Stage.TAKING: blocks.read_receiver,
}


class ServerConversation:
    """One connection, seen by the server.

    Feed it bytes, ask for events, and send what ``accept``, ``refuse``, ``answer`` and ``pong`` return.
    Replies are in the encoding of the proposal.

    In a file transfer ``accept_transfer`` follows the arguments.  Of an upload come blocks, each until it is
    answered by ``take`` or ``stop_sender``, and the end of the file; for every block of a download, once it
    is sent, comes Taken.
    """

    def __init__(self, limits: DisetLimits) -> None:
        self._limits = limits
        self._reader = FrameReader(limits.proposal)
        self._stage = _Stage.PROPOSAL
        self._deaf = False
        self._action = ""
        self.encoding: Encoding = JENCODE  # until the proposal says otherwise

    @property
    def acknowledged(self) -> bool:
        """True once the proposal was accepted: an error is then the call's result."""
        return self._stage not in (_Stage.PROPOSAL, _Stage.ADMISSION, _Stage.DONE)

    def feed(self, data: bytes) -> None:
        """Take what the transport received; after the last word, or nonsense, nothing more is kept."""
        if self._stage is not _Stage.DONE and not self._deaf:
            self._reader.feed(data)

    def next_event(self) -> Event | None:
        """What the client said next; None: feed me more.  Raises PeerError."""
        if self._stage is _Stage.ANSWER:
            return self._next_ping()
        while self._stage not in (_Stage.ADMISSION, _Stage.DONE) and (received := self._reader.next_frame()):
            if not received.keep_alive:
                return self._said(received.payload)
            if (ping := read_ping(self._value(received.payload))) is not None:
                return ping
        return None

    def _said(self, payload: bytes) -> Event:
        if self._stage is _Stage.PROPOSAL:
            return self._proposed(payload)
        if self._stage is _Stage.ARGUMENTS:
            return self._given(payload)
        return self._transferred(payload)

    def _proposed(self, payload: bytes) -> Proposal:
        proposal = _proposal(self._value(payload))
        self._action = proposal.method
        self._turn(_Stage.ADMISSION, self._limits.message)
        return proposal

    def _given(self, payload: bytes) -> Arguments | LargeArguments:
        is_large = len(payload) > LIGHT_BYTES
        event = LargeArguments(payload) if is_large else _arguments(self._value(payload))
        self._turn(_Stage.ANSWER, self._limits.proposal)
        return event

    def decode_in_pieces(self, large: LargeArguments) -> Steps[Arguments]:
        """Decode large arguments: yields after every piece of work, returns them.  Raises PeerError."""
        message, _encoding = yield from decode_any_in_pieces(large.payload, self._limits.depth)
        return _arguments(self._value_of(message))

    def _transferred(self, payload: bytes) -> Block | EndOfFile | Taken | Ended:
        """What a client says in a transfer: when it is our turn, only that it ends it."""
        stage = self._stage
        block = blocks.read_block(payload) if stage is _Stage.BLOCK else None
        event = block or _TRANSFER[stage](self._message(payload))
        match event:
            case Ended() | EndOfFile():
                self._turn(_Stage.ANSWER, self._limits.proposal)
            case Block():
                self._turn(_Stage.HOLDING, self._limits.proposal)
            case Taken():
                self._turn(_Stage.SENDING, self._limits.proposal)
        if stage in (_Stage.HOLDING, _Stage.SENDING) and not isinstance(event, Ended):
            raise PeerError("In a transfer a message came out of turn")
        return event

    def _turn(self, stage: _Stage, largest: int) -> None:
        self._stage = stage
        self._reader.largest = largest

    def _next_ping(self) -> Ping | None:
        """While a call runs only keep-alives mean anything; nonsense must not lose its result."""
        try:
            while received := self._reader.next_frame():
                value = self._value(received.payload)
                if received.keep_alive and (ping := read_ping(value)) is not None:
                    return ping
        except PeerError:
            self._reader = FrameReader(0)
            self._deaf = True
        return None

    def _value(self, payload: bytes) -> Any:
        return self._value_of(self._message(payload))

    def _value_of(self, message: Any) -> Any:
        match message:
            case {"OK": True, "Value": value}:
                return value
        raise PeerError(self._nonsense)

    def _message(self, payload: bytes) -> dict[str, Any]:
        message, encoding = decode_any(payload, self._limits.depth)
        if self._stage is _Stage.PROPOSAL:
            self.encoding = encoding
        if not isinstance(message, dict):
            raise PeerError(self._nonsense)
        return message

    @property
    def _nonsense(self) -> str:
        return "Invalid action proposal" if self._stage is _Stage.PROPOSAL else "Invalid message"

    def accept(self) -> bytes:
        """Acknowledge the proposal: the arguments may come."""
        self._stage = _Stage.ARGUMENTS
        return self._encoded(Reply().as_result())

    def refuse(self, failure: Failure) -> bytes:
        """Answer an error in place of the acknowledgement, or of the result; then close."""
        return self.answer(failure)

    def answer(self, outcome: Outcome) -> bytes:
        """The last word; then close.

        A value that the wire cannot carry becomes an error that says so.
        """
        self._stage = _Stage.DONE
        try:
            return self._encoded(outcome.as_result())
        except UNSENDABLE as error:
            return self._encoded(unsendable(error).as_result())

    def answer_in_parts(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        """The last word, which has been encoded in parts; then close."""
        self._stage = _Stage.DONE
        return framed(parts)

    def pong(self, ping: Ping) -> bytes:
        """The answer to a keep-alive; none to one whose id the call's encoding cannot carry."""
        return keep_alive(self.encoding, ping.id, asks=False)

    def ping(self, name: str) -> bytes:
        """A keep-alive; its answer is no event."""
        return keep_alive(self.encoding, name, asks=True)

    def accept_transfer(self, information: Sequence[Any]) -> bytes:
        """Accept a transfer by its information list.

        Raises Failure, to be sent in its place, for a direction that does not exist and for too large a file.
        """
        action = self._action
        if action in blocks.UPLOADS:
            if (size := blocks.announced_size(information)) > self._limits.transfer:
                raise Failure(
                    f"A transfer of {size} bytes is larger than the limit of {self._limits.transfer}"
                )
            self._turn(_Stage.BLOCK, blocks.LARGEST_BLOCK_MESSAGE)
        elif action in blocks.DOWNLOADS:
            self._turn(_Stage.SENDING, self._limits.proposal)
        elif action != blocks.LISTING:
            raise Failure(f"Service can't transfer files {action[:1].lower()}{action[1:]}")
        return self._encoded({"OK": True, "Value": "Accepted"})

    def take(self) -> bytes:
        """A block is taken: the next one may come."""
        self._turn(_Stage.BLOCK, blocks.LARGEST_BLOCK_MESSAGE)
        return self._encoded(blocks.TAKEN)

    def take_end(self) -> bytes:
        """That the client has no more, though the file has no end, is noted; the answer may follow."""
        return self._encoded(blocks.TAKEN)

    def stop_sender(self) -> bytes:
        """No block is wanted after the last one; the answer may follow."""
        self._turn(_Stage.ANSWER, self._limits.proposal)
        return self._encoded(blocks.STOP_SENDING)

    def block(self, data: bytes) -> Iterator[bytes]:
        """Encode a block in pieces; they are the parts of ``send_block``."""
        return encode_in_pieces(blocks.block_message(data), self.encoding)

    def send_block(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        """A block that has been encoded."""
        self._stage = _Stage.TAKING
        return framed(parts)

    def end_of_file(self, checksum: str) -> bytes:
        """All blocks are taken; the answer may follow."""
        self._turn(_Stage.ANSWER, self._limits.proposal)
        return self._encoded(blocks.end_message(checksum))

    def nothing_to_send(self) -> bytes:
        """There is no file; the client says Taken, then the answer may follow."""
        self._stage = _Stage.TAKING
        return self._encoded(blocks.NOTHING_TO_SEND)

    def _encoded(self, message: Mapping[str, Any]) -> bytes:
        return frame(self.encoding.encode(message))


def _arguments(value: Any) -> Arguments:
    if not isinstance(value, list | tuple):
        raise PeerError("The arguments must be a list")
    return Arguments(value)


def read_ping(value: Any) -> Ping | None:
    """The question in a keep-alive; what is not one, or has no name to answer under, is passed over."""
    match value:
        case {"kaping": asks, "id": str() | int() as name} if asks:
            return Ping(name)
        case _:
            return None


def keep_alive(encoding: Encoding, name: str | int, *, asks: bool) -> bytes:
    """A keep-alive, or the answer to one; none if the encoding cannot carry its name."""
    try:
        payload = encoding.encode({"OK": True, "Value": {"id": name, "kaping": asks}})
    except (TypeError, ValueError):
        return b""
    return KEEP_ALIVE + frame(payload)


def _proposal(value: Any) -> Proposal:
    """Read ``[[service, setup, vo], [action, method], extraCredentials, version]``.

    Very old clients leave out the VO, and the version may be missing.  Raises PeerError.
    """
    match value:
        case [[str(service), setup, *rest], [str(action), str(method)], extra, *version]:
            return Proposal(
                service=service,
                action=action,
                method=method,
                extra_credentials=extra,
                client_version=str(version[0]) if version else "",
                setup=str(setup),
                vo=str(rest[0]) if rest else "",
            )
        case _:
            raise PeerError("Invalid action proposal")


def result_of(message: Any) -> dict[str, Any]:
    """A server's message, if it is an ``S_OK`` or ``S_ERROR``.  Raises PeerError."""
    if not isinstance(message, dict) or "OK" not in message:
        raise PeerError("The server's message is no S_OK or S_ERROR")
    return message


def proposal_value(proposal: Proposal) -> list[Any]:
    """What a client proposes, as it is sent."""
    where = [proposal.service, proposal.setup, proposal.vo]
    return [where, [proposal.action, proposal.method], proposal.extra_credentials, proposal.client_version]


class ClientConversation:
    """One call, seen by the client: send ``start()``, then what ``feed`` returns, until the ``result``.

    A large result is ``unread`` instead: ``result_in_pieces`` reads it.  ``encoded``: the arguments' message,
    where it has been encoded before.
    """

    def __init__(
        self,
        proposal: Proposal,
        arguments: Sequence[Any],
        encoding: Encoding = JENCODE,
        limits: DisetLimits | None = None,
        *,
        encoded: Sequence[bytes] = (),
    ) -> None:
        self._proposal = proposal
        self._arguments = list(arguments)
        self._encoded_arguments = encoded
        self._encoding = encoding
        self._limits = limits or DisetLimits()
        self._reader = FrameReader(self._limits.message)
        self.acknowledged = False
        self.result: dict[str, Any] | None = None
        self.unread = b""

    def start(self) -> bytes:
        """The proposal."""
        return self._encoded(proposal_value(self._proposal))

    def feed(self, data: bytes) -> bytes:
        """Take what the transport received; returns what is to be sent.  Raises PeerError."""
        self._reader.feed(data)
        out = b""
        while self.result is None and not self.unread and (received := self._reader.next_frame()):
            if self.acknowledged and not received.keep_alive and len(received.payload) > LIGHT_BYTES:
                self.unread = received.payload
                break
            message = result_of(decode_any(received.payload, self._limits.depth)[0])
            if received.keep_alive:
                out += self._pong(message.get("Value"))
            elif not self.acknowledged and message["OK"]:
                self.acknowledged = True
                out += self._given()
            else:
                self.result = message
        return out

    def result_in_pieces(self) -> Steps[dict[str, Any]]:
        """Read the large result: yields after every piece of work, returns it.  Raises PeerError."""
        limits = self._limits
        message, _ = yield from decode_any_in_pieces(self.unread, limits.depth, limits.values)
        self.unread = b""
        self.result = result_of(message)
        return self.result

    def _given(self) -> bytes:
        if not self._encoded_arguments:
            return self._encoded(self._arguments)
        return b"".join(framed(self._encoded_arguments))

    def _pong(self, value: Any) -> bytes:
        ping = read_ping(value)
        return b"" if ping is None else keep_alive(self._encoding, ping.id, asks=False)

    def _encoded(self, value: Any) -> bytes:
        return frame(self._encoding.encode({"OK": True, "Value": value}))
