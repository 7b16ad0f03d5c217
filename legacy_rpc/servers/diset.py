"""The DISET shell: one connection, one call."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from legacy_rpc.codecs.diset import Arguments, DisetLimits, Ping, ServerConversation
from legacy_rpc.credentials import ChainCache
from legacy_rpc.messages import Call, Credential, Failure, Identity, Outcome, PeerError, Proposal
from legacy_rpc.servers.listener import Gate, Listener, SecureProtocol, verified_chain

logger = logging.getLogger(__name__)

WIRE = "dips"
# How much a peer may leave unread before it is given up: our acknowledgement and pongs are far smaller.
UNREAD_BYTES = 256 * 1024

Admit = Callable[[Proposal, Credential | None], Identity]
Handle = Callable[[Call], Awaitable[Outcome]]
OverheadHook = Callable[[str, float], None]


class DisetServer:
    """What the connections of one or more ports share.

    ``admit`` says who calls, or raises Failure, before the acknowledgement; ``handle`` answers, after
    the arguments.  ``overhead`` is told the wire and the seconds from accepting a connection to its reply
    less those of ``handle``.
    """

    def __init__(
        self,
        *,
        admit: Admit,
        handle: Handle,
        gate: Gate,
        tls: Callable[[], ssl.SSLContext],
        limits: DisetLimits,
        overhead: OverheadHook = lambda _wire, _seconds: None,
    ) -> None:
        self.admit = admit
        self.handle = handle
        self.gate = gate
        self.tls = tls
        self.limits = limits
        self.overhead = overhead
        self.chains = ChainCache()
        self.calls: set[asyncio.Task[None]] = set()

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening, self.gate, self.tls, lambda peer, accepted: DisetProtocol(self, peer, accepted)
        )

    async def drain(self, seconds: float) -> None:
        """Let calls that are running end, for so long."""
        if self.calls:
            await asyncio.wait(self.calls, timeout=seconds)


class DisetProtocol(SecureProtocol):
    """Feeds the codec and sends what it says."""

    def __init__(self, server: DisetServer, peer: str, accepted: float) -> None:
        super().__init__(server.gate, peer, accepted)
        self._server = server
        self._conversation = ServerConversation(server.limits)
        self._credential: Credential | None = None
        self._proposal: Proposal | None = None
        self._identity: Identity | None = None

    def secured(self, ssl_object: Any) -> None:
        """The chain is read once; the proposal must come within the time for messages."""
        self._credential = self._server.chains.get(verified_chain(ssl_object))
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
        self._proposal = proposal = replace(proposal, wire=WIRE, peer=self.peer)
        try:
            self._identity = self._server.admit(proposal, self._credential)
        except Failure as failure:
            self.finish(self._conversation.refuse(failure))
            return
        self._send(self._conversation.accept())
        self.expect_within(self._gate.limits.message_seconds)

    def _start_call(self, arguments: Arguments) -> None:
        self.stop_waiting()
        assert self._proposal is not None
        assert self._identity is not None
        call = Call(
            service=self._proposal.service,
            method=self._proposal.method,
            arguments=arguments.values,
            identity=self._identity,
            wire=WIRE,
            client_version=self._proposal.client_version,
            peer=self.peer,
        )
        # A call goes on when its client leaves, as in DIRAC: what it writes must not be half done.
        task = self._loop.create_task(self._run(call))
        self._server.calls.add(task)
        task.add_done_callback(self._server.calls.discard)

    async def _run(self, call: Call) -> None:
        asked = self._loop.time()
        try:
            outcome = await self._server.handle(call)
        except Exception:  # `handle` never raises; if it does, nobody must be left waiting
            self.abort()
            logger.exception("unhandled error in %s.%s", call.service, call.method)
            return
        answered = self._loop.time()
        self.finish(self._conversation.answer(outcome))
        self._server.overhead(WIRE, (asked - self.accepted) + (self._loop.time() - answered))
