"""DISET file transfers as the client sees them, without I/O; what is said is in :mod:`~.diset_blocks`."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legacy_rpc.codecs import diset_blocks as blocks
from legacy_rpc.codecs.diset import (
    DisetLimits,
    FrameReader,
    frame,
    framed,
    keep_alive,
    proposal_value,
    read_ping,
    result_of,
)
from legacy_rpc.codecs.diset_blocks import Block, Ended, EndOfFile, Taken
from legacy_rpc.codecs.encodings import JENCODE, Encoding, decode_any
from legacy_rpc.codecs.pieces import encode_in_pieces
from legacy_rpc.messages import PeerError, Proposal


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server takes part: the first block may be sent, or comes."""


@dataclass(frozen=True, slots=True)
class Say:
    """Bytes to be sent at once."""

    data: bytes


ClientEvent = Accepted | Say | Block | EndOfFile | Taken | Ended


class _Stage(enum.Enum):
    ACKNOWLEDGEMENT = enum.auto()
    ACCEPTANCE = enum.auto()
    BLOCK = enum.auto()  # due from the server
    HOLDING = enum.auto()  # a block from it
    SENDING = enum.auto()  # nothing is due from the server, which may still end it
    TAKING = enum.auto()  # its word that it has taken a block is due
    RESULT = enum.auto()
    DONE = enum.auto()


class ClientTransfer:
    """One transfer: send ``start()``, feed it bytes, act on the events until there is a ``result``.

    Of a download come Blocks, each to be answered with ``take``, and EndOfFile; of an upload comes Taken for
    every block that was sent.  After Ended the result follows.
    """

    def __init__(
        self,
        proposal: Proposal,
        information: Sequence[Any],
        encoding: Encoding = JENCODE,
        limits: DisetLimits | None = None,
    ) -> None:
        self._proposal = proposal
        self._information = list(information)
        self._encoding = encoding
        self._limits = limits or DisetLimits()
        self._reader = FrameReader(self._limits.message)
        self._stage = _Stage.ACKNOWLEDGEMENT
        self.result: dict[str, Any] | None = None

    def start(self) -> bytes:
        """The proposal."""
        return self._s_ok(proposal_value(self._proposal))

    @property
    def acknowledged(self) -> bool:
        """Whether the server let us in: it may have had the information list."""
        return self._stage is not _Stage.ACKNOWLEDGEMENT

    def feed(self, data: bytes) -> None:
        """Take what the transport received; after the result nothing more is kept."""
        if self._stage is not _Stage.DONE:
            self._reader.feed(data)

    def next_event(self) -> ClientEvent | None:
        """What the server said next; None: feed me more, or there is a ``result``.  Raises PeerError."""
        while self._stage is not _Stage.DONE and (received := self._reader.next_frame()):
            event = self._alive(received.payload) if received.keep_alive else self._heard(received.payload)
            if event is not None:
                return event
        return None

    def _alive(self, payload: bytes) -> Say | None:
        ping = read_ping(self._message(payload).get("Value"))
        return None if ping is None else Say(keep_alive(self._encoding, ping.id, asks=False))

    def _heard(self, payload: bytes) -> ClientEvent | None:
        if self._stage is _Stage.BLOCK and (block := blocks.read_block(payload)) is not None:
            self._stage = _Stage.HOLDING
            return block
        message = self._message(payload)
        if not message["OK"] or self._stage is _Stage.RESULT:
            self.result = message
            self._stage = _Stage.DONE
            return None
        match self._stage:
            case _Stage.ACKNOWLEDGEMENT:
                self._stage = _Stage.ACCEPTANCE
                return Say(self._s_ok(self._information))
            case _Stage.ACCEPTANCE:
                return self._accepted()
            case _Stage.BLOCK:
                return self._from_sender(message)
            case _Stage.TAKING:
                return self._from_receiver(message)
        raise PeerError("In a transfer a message came out of turn")

    def _accepted(self) -> Accepted:
        if self._proposal.method in blocks.UPLOADS:
            self._stage = _Stage.SENDING
        elif self._proposal.method in blocks.DOWNLOADS:
            self._expect_block()
        else:
            self._stage = _Stage.RESULT
        return Accepted()

    def _from_sender(self, message: Mapping[str, Any]) -> Block | EndOfFile | Ended:
        event = blocks.read_sender(message)
        if isinstance(event, Block):
            self._stage = _Stage.HOLDING
        else:
            self._expect_result()
        return event

    def _from_receiver(self, message: Mapping[str, Any]) -> Taken | Ended:
        event = blocks.read_receiver(message)
        if isinstance(event, Taken):
            self._stage = _Stage.SENDING
        else:
            self._expect_result()
        return event

    def _expect_block(self) -> None:
        self._stage = _Stage.BLOCK
        self._reader.largest = max(self._limits.message, blocks.LARGEST_BLOCK_MESSAGE)

    def _expect_result(self) -> None:
        self._stage = _Stage.RESULT
        self._reader.largest = self._limits.message

    def _message(self, payload: bytes) -> dict[str, Any]:
        return result_of(decode_any(payload, self._limits.depth)[0])

    def take(self) -> bytes:
        """The block, or word that there is no file, is taken."""
        if self._stage is _Stage.HOLDING:
            self._expect_block()
        return self._encoded(blocks.TAKEN)

    def block(self, data: bytes) -> Iterator[bytes]:
        """Encode a block in pieces; they are the parts of ``send_block``."""
        return encode_in_pieces(blocks.block_message(data), self._encoding)

    def send_block(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        """A block that has been encoded."""
        if self._stage is _Stage.SENDING:
            self._stage = _Stage.TAKING
        return framed(parts)

    def end_of_file(self, checksum: str) -> bytes:
        """All blocks are taken; the result follows."""
        self._expect_result()
        return self._encoded(blocks.end_message(checksum))

    def _s_ok(self, value: Any) -> bytes:
        return self._encoded({"OK": True, "Value": value})

    def _encoded(self, message: Mapping[str, Any]) -> bytes:
        return frame(self._encoding.encode(message))
