"""DISET: frames, and the conversation of one call, both without I/O.

A frame is ``<decimal length>:<payload>``; every payload is an encoded ``{"OK": True, "Value": X}``
or an error dictionary.  A call is two rounds on a connection of its own::

    client  S_OK([[service, setup, vo], [action, method], extraCredentials, version])   the proposal
    server  S_OK(None), or an error in its place                                        the acknowledgement
    client  S_OK([argument, ...])
    server  the method's own S_OK or S_ERROR, then both close

Keep-alives, ``dka`` and a frame, may stand at any frame boundary.  Source: legacy-wire.md, section 1.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from legacy_rpc.codecs.encodings import JENCODE, Encoding, decode_any
from legacy_rpc.messages import Failure, Outcome, PeerError, Proposal, Reply

KEEP_ALIVE = b"dka"
# More digits than any limit has: a longer length is a lie, and is refused before it is all there.
LENGTH_DIGITS = 10


@dataclass(frozen=True, slots=True)
class DisetLimits:
    """The largest payloads, in bytes, and the deepest nesting that a peer may send.

    A real proposal is under 1 KiB; arguments hold JDLs of hundreds of jobs at most.
    """

    proposal: int = 64 * 1024
    message: int = 16 * 1024 * 1024
    depth: int = 200


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


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a client sends once it has been admitted."""

    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Ping:
    """A peer asks whether we are alive; answer with ``pong``."""

    id: str | int


class _Stage(enum.Enum):
    PROPOSAL = enum.auto()
    ADMISSION = enum.auto()
    ARGUMENTS = enum.auto()
    ANSWER = enum.auto()
    DONE = enum.auto()


class ServerConversation:
    """One connection, seen by the server.

    Feed it bytes, ask for events, and send what ``accept``, ``refuse``, ``answer`` and ``pong`` return.
    Replies are in the encoding of the proposal.
    """

    def __init__(self, limits: DisetLimits) -> None:
        self._limits = limits
        self._reader = FrameReader(limits.proposal)
        self._stage = _Stage.PROPOSAL
        self._deaf = False
        self._encoding: Encoding = JENCODE  # until the proposal says otherwise

    @property
    def acknowledged(self) -> bool:
        """True once the proposal was accepted: an error is then the call's result."""
        return self._stage in (_Stage.ARGUMENTS, _Stage.ANSWER)

    def feed(self, data: bytes) -> None:
        """Take what the transport received; after the last word, or nonsense, nothing more is kept."""
        if self._stage is not _Stage.DONE and not self._deaf:
            self._reader.feed(data)

    def next_event(self) -> Proposal | Arguments | Ping | None:
        """What the client said next; None: feed me more.  Raises PeerError."""
        if self._stage in (_Stage.ADMISSION, _Stage.DONE):
            return None
        if self._stage is _Stage.ANSWER:
            return self._next_ping()
        while received := self._reader.next_frame():
            value = self._decoded(received.payload)
            if received.keep_alive:
                if (ping := _ping(value)) is not None:
                    return ping
            elif self._stage is _Stage.PROPOSAL:
                proposal = _proposal(value)
                self._stage = _Stage.ADMISSION
                self._reader.largest = self._limits.message
                return proposal
            else:
                self._stage = _Stage.ANSWER
                self._reader.largest = self._limits.proposal
                if not isinstance(value, list | tuple):
                    raise PeerError("The arguments must be a list")
                return Arguments(value)
        return None

    def _next_ping(self) -> Ping | None:
        """While a call runs only keep-alives mean anything; nonsense must not lose its result."""
        try:
            while received := self._reader.next_frame():
                value = self._decoded(received.payload)
                if received.keep_alive and (ping := _ping(value)) is not None:
                    return ping
        except PeerError:
            self._reader = FrameReader(0)
            self._deaf = True
        return None

    def _decoded(self, payload: bytes) -> Any:
        message, encoding = decode_any(payload, self._limits.depth)
        if self._stage is _Stage.PROPOSAL:
            self._encoding = encoding
        if not isinstance(message, dict) or message.get("OK") is not True or "Value" not in message:
            raise PeerError(
                "Invalid action proposal" if self._stage is _Stage.PROPOSAL else "Invalid message"
            )
        return message["Value"]

    def accept(self) -> bytes:
        """Acknowledge the proposal: the arguments may come."""
        self._stage = _Stage.ARGUMENTS
        return self._encoded(Reply())

    def refuse(self, failure: Failure) -> bytes:
        """Answer an error in place of the acknowledgement, or of the result; then close."""
        return self.answer(failure)

    def answer(self, outcome: Outcome) -> bytes:
        """The last word; then close.

        A value that the wire cannot carry becomes an error that says so.
        """
        self._stage = _Stage.DONE
        try:
            return self._encoded(outcome)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return self._encoded(Failure(f"The result cannot be sent: {error}"))

    def pong(self, ping: Ping) -> bytes:
        """The answer to a keep-alive; none to one whose id the call's encoding cannot carry."""
        return _pong(self._encoding, ping)

    def _encoded(self, outcome: Outcome) -> bytes:
        return frame(self._encoding.encode(outcome.as_result()))


def _ping(value: Any) -> Ping | None:
    """The question in a keep-alive; what is not one, or has no name to answer under, is passed over."""
    match value:
        case {"kaping": asks, "id": str() | int() as name} if asks:
            return Ping(name)
        case _:
            return None


def _pong(encoding: Encoding, ping: Ping) -> bytes:
    try:
        payload = encoding.encode({"OK": True, "Value": {"id": ping.id, "kaping": False}})
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


class ClientConversation:
    """One call, seen by the client: send ``start()``, then what ``feed`` returns, until the ``result``."""

    def __init__(
        self,
        proposal: Proposal,
        arguments: Sequence[Any],
        encoding: Encoding = JENCODE,
        limits: DisetLimits | None = None,
    ) -> None:
        self._proposal = proposal
        self._arguments = list(arguments)
        self._encoding = encoding
        self._depth = (limits or DisetLimits()).depth
        self._reader = FrameReader((limits or DisetLimits()).message)
        self._acknowledged = False
        self.result: dict[str, Any] | None = None

    def start(self) -> bytes:
        """The proposal."""
        p = self._proposal
        value = [[p.service, p.setup, p.vo], [p.action, p.method], p.extra_credentials, p.client_version]
        return self._encoded(value)

    def feed(self, data: bytes) -> bytes:
        """Take what the transport received; returns what is to be sent.  Raises PeerError."""
        self._reader.feed(data)
        out = b""
        while self.result is None and (received := self._reader.next_frame()):
            message, _ = decode_any(received.payload, self._depth)
            if not isinstance(message, dict) or "OK" not in message:
                raise PeerError("The server's message is no S_OK or S_ERROR")
            if received.keep_alive:
                out += self._pong(message.get("Value"))
            elif not self._acknowledged and message["OK"]:
                self._acknowledged = True
                out += self._encoded(self._arguments)
            else:
                self.result = message
        return out

    def _pong(self, value: Any) -> bytes:
        ping = _ping(value)
        return b"" if ping is None else _pong(self._encoding, ping)

    def _encoded(self, value: Any) -> bytes:
        return frame(self._encoding.encode({"OK": True, "Value": value}))
