"""The DISET shell: one connection, one call."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from typing import Any

from legacy_rpc.codecs.diset import Arguments, DisetLimits, Ping, ServerConversation
from legacy_rpc.messages import Call, Credential, Failure, Identity, PeerError, Proposal
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.listener import Listener, SecureProtocol, WireServer
from legacy_rpc.servers.tls import MakeContext, required_chain

logger = logging.getLogger(__name__)

# How much a peer may leave unread before it is given up: our acknowledgement and pongs are far smaller.
UNREAD_BYTES = 256 * 1024


class DisetServer(WireServer):
    """DISET on one or more ports.  ``tls`` None: ``dip``, in clear, whose callers are anonymous."""

    def __init__(self, door: Door, limits: DisetLimits, tls: MakeContext | None) -> None:
        self.door = door
        self.limits = limits
        self.wire = "dips" if tls else "dip"
        self._tls = tls

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening, self.door.gate, self._tls, lambda peer, accepted: DisetProtocol(self, peer, accepted)
        )


class DisetProtocol(SecureProtocol):
    """Feeds the codec and sends what it says."""

    def __init__(self, server: DisetServer, peer: str, accepted: float) -> None:
        super().__init__(server.door.gate, peer, accepted)
        self._server = server
        self._conversation = ServerConversation(server.limits)
        self._credential: Credential | None = None
        self._proposal: Proposal | None = None
        self._identity: Identity | None = None

    def secured(self, ssl_object: Any) -> None:
        """The chain is read once; the proposal must come within the time for messages."""
        if ssl_object is not None:
            self._credential = self._server.door.chains.get(required_chain(ssl_object))
        self.expect_within(self._gate.limits.message_seconds)

    def received(self, data: bytes) -> None:
        """Feed the codec and act on every event."""
        self._conversation.feed(data)
        try:
            while (event := self._conversation.next_event()) is not None:
                self._act(event)
        except PeerError as error:
            self.finish(self._conversation.refuse(Failure(str(error))))

    def _act(self, event: Proposal | Arguments | Ping) -> None:
        match event:
            case Ping():
                self._send(self._conversation.pong(event))
            case Proposal():
                self._admit(event)
            case Arguments():
                self._start_call(event)

    def _send(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            logger.info("connection from %s ended: it asks and does not read", self.peer)
            self.abort()
            return
        self.transport.write(data)

    def _admit(self, proposal: Proposal) -> None:
        self._proposal = proposal = replace(proposal, wire=self._server.wire, peer=self.peer)
        try:
            self._identity = self._server.door.admit(proposal, self._credential)
        except Failure as failure:
            self.finish(self._conversation.refuse(failure))
            return
        self._send(self._conversation.accept())
        self.expect_within(self._gate.limits.message_seconds)

    def _start_call(self, arguments: Arguments) -> None:
        self.stop_waiting()
        assert self._proposal is not None
        assert self._identity is not None
        self._server.door.start(self._run(self._proposal.call(arguments.values, self._identity)))

    async def _run(self, call: Call) -> None:
        asked = self._loop.time()
        try:
            outcome = await self._server.door.handle(call)
        except Exception:  # `handle` never raises; if it does, nobody must be left waiting
            self.abort()
            logger.exception("unhandled error in %s.%s", call.service, call.method)
            return
        answered = self._loop.time()
        self.finish(self._conversation.answer(outcome))
        self._server.door.overhead(call.wire, (asked - self.accepted) + (self._loop.time() - answered))
