"""The DISET shell: one connection, one call."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from legacy_rpc.codecs.diset import (
    Arguments,
    DisetLimits,
    Event,
    LargeArguments,
    Ping,
    ServerConversation,
)
from legacy_rpc.codecs.diset_blocks import DOWNLOADS, UPLOADS
from legacy_rpc.codecs.encodings import UNSENDABLE, unsendable
from legacy_rpc.messages import (
    FILE_TRANSFER,
    Call,
    Credential,
    Failure,
    Identity,
    Outcome,
    PeerError,
    Proposal,
)
from legacy_rpc.servers import gently
from legacy_rpc.servers.diset_transfers import Incoming, Outgoing, Said
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.listener import Listener, OpenConnections, SecureProtocol, WireServer
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
        self.connections: OpenConnections[DisetProtocol] = OpenConnections()

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening, self.door.gate, self._tls, lambda peer, accepted: DisetProtocol(self, peer, accepted)
        )

    async def stop(self, seconds: float) -> None:
        """Who has proposed nothing is cut off; who was acknowledged may still call, and read the reply."""
        for connection in self.connections:
            connection.end_if_unasked()
        await self.connections.end_within(seconds)


class DisetProtocol(SecureProtocol):
    """Feeds the codec and sends what it says."""

    def __init__(self, server: DisetServer, peer: str, accepted: float) -> None:
        super().__init__(server.door.gate, peer, accepted)
        self._server = server
        self.conversation = ServerConversation(server.limits)
        self._credential: Credential | None = None
        self._proposal: Proposal | None = None
        self._identity: Identity | None = None
        self._keeping_alive: asyncio.TimerHandle | None = None
        self._pings = 0
        self._mid_frame = False
        self._behind: list[bytes] = []
        self._said: deque[Said] = deque()
        self._listening: asyncio.Future[None] | None = None
        self._lost: Failure | None = None

    def secured(self, ssl_object: Any) -> None:
        """The chain is read once; the proposal must come within the time for messages."""
        self._server.connections.add(self)
        if ssl_object is not None:
            self._credential = self._server.door.chains.get(required_chain(ssl_object))
        self.expect_within(self._gate.limits.message_seconds)

    def received(self, data: bytes) -> None:
        """Feed the codec and act on every event."""
        self.conversation.feed(data)
        try:
            while (event := self.conversation.next_event()) is not None:
                self._act(event)
        except PeerError as error:
            self._give_up(Failure(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """A call goes on without its client; a transfer cannot."""
        super().connection_lost(exc)
        self._server.connections.discard(self)
        self._leave(Failure("The client has left"))

    def end_if_unasked(self) -> None:
        """The server stops: an acknowledgement is a promise to answer, before it there is none."""
        if self._proposal is None:
            self.abort()

    def _give_up(self, failure: Failure) -> None:
        """Answer nonsense; in the middle of a message nothing else can be said."""
        self._leave(failure)
        if self._mid_frame:
            self.abort()
        else:
            self.finish(self.conversation.refuse(failure))

    def _leave(self, failure: Failure) -> None:
        self._stop_keeping_alive()
        self._lost = self._lost or failure
        self._wake()

    def _act(self, event: Event) -> None:
        match event:
            case Ping():
                self.send(self.conversation.pong(event))
            case Proposal():
                self._admit(event)
            case Arguments():
                self._start_call(event)
            case LargeArguments():
                self.stop_waiting()
                self._server.door.start(self._decode(event))
            case _:
                self.stop_waiting()
                self._said.append(event)
                self._wake()

    def send(self, data: bytes) -> None:
        """Send a short message; behind the long one that is being sent, if there is one."""
        if self.transport is None or self.transport.is_closing():
            return
        unread = self.transport.get_write_buffer_size() + sum(map(len, self._behind))
        if unread > UNREAD_BYTES:
            logger.info("connection from %s ended: it asks and does not read", self.peer)
            self.abort()
        elif self._mid_frame:
            self._behind.append(data)
        else:
            self.transport.write(data)

    def _admit(self, proposal: Proposal) -> None:
        self._proposal = proposal = replace(
            proposal,
            wire=self._server.wire,
            peer=self.peer,
            encoding=self.conversation.encoding.name,
        )
        try:
            self._identity = self._server.door.admit(proposal, self._credential)
        except Failure as failure:
            self.finish(self.conversation.refuse(failure))
            return
        self.send(self.conversation.accept())
        self.expect_within(self._gate.limits.message_seconds)

    async def _decode(self, large: LargeArguments) -> None:
        try:
            self._start_call(await gently.finished(self.conversation.decode_in_pieces(large)))
        except PeerError as error:
            self._give_up(Failure(str(error)))
        except Exception:  # nothing else is raised; if something is, nobody must be left waiting
            self.abort()
            logger.exception("unhandled error in arguments from %s", self.peer)

    def _start_call(self, arguments: Arguments) -> None:
        self.stop_waiting()
        assert self._proposal is not None
        assert self._identity is not None
        transfer = None
        if self._proposal.action == FILE_TRANSFER:
            try:
                accepted = self.conversation.accept_transfer(arguments.values)
            except Failure as failure:
                self.finish(self.conversation.refuse(failure))
                return
            transfer = self._transfer(self._proposal.method, arguments.values, accepted)
        call = self._proposal.call(
            arguments.values,
            self._identity,
            incoming=transfer if isinstance(transfer, Incoming) else None,
            outgoing=transfer if isinstance(transfer, Outgoing) else None,
        )
        self._keep_alive_later()
        self._server.door.start(self._run(call, transfer))

    def _transfer(
        self, action: str, information: Sequence[Any], accepted: bytes
    ) -> Incoming | Outgoing | None:
        """The file of a transfer that begins; a list of files has none."""
        limits = self._gate.limits
        if action in UPLOADS:
            self.ask(accepted, limits.message_seconds)
            return Incoming(self, information, self._server.limits.transfer, limits.message_seconds)
        self.send(accepted)
        return Outgoing(self, limits.answer_seconds) if action in DOWNLOADS else None

    async def _run(self, call: Call, transfer: Incoming | Outgoing | None) -> None:
        try:
            await self._serve(call, transfer)
        except Exception:  # nothing here raises; if something does, nobody must be left waiting
            self.abort()
            logger.exception("unhandled error in %s.%s", call.service, call.method)

    async def _serve(self, call: Call, transfer: Incoming | Outgoing | None) -> None:
        asked = self._loop.time()
        outcome = await self._server.door.handle(call)
        if transfer is not None:
            outcome = await transfer.finish(outcome)
        answered = self._loop.time()
        parts = () if self._lost else await self._encoded(outcome)
        self._stop_keeping_alive()
        self._server.door.overhead(call.wire, (asked - self.accepted) + (self._loop.time() - answered))
        if not self._lost:
            await self._finish_in_parts(self.conversation.answer_in_parts(parts))

    async def _encoded(self, outcome: Outcome) -> Sequence[bytes]:
        try:
            return await gently.encode(outcome.as_result(), self.conversation.encoding)
        except UNSENDABLE as error:
            return await gently.encode(unsendable(error).as_result(), self.conversation.encoding)

    async def _finish_in_parts(self, parts: Sequence[bytes]) -> None:
        """Send the last word and close; a long one in pieces, so that others are not held up."""
        if len(parts) == 1:
            self.finish(parts[0])
            return
        self.expect_within(self._gate.limits.answer_seconds)
        if await gently.write(self, parts) and self.transport is not None:
            self.transport.close()

    # --- keep-alives

    def _keep_alive_later(self) -> None:
        seconds = self._gate.limits.keep_alive_seconds
        self._keeping_alive = self._loop.call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        """Show those between us and the client that the connection is in use."""
        self._pings += 1
        self.send(self.conversation.ping(f"wherry-{self._pings}"))
        self._keep_alive_later()

    def _stop_keeping_alive(self) -> None:
        if self._keeping_alive is not None:
            self._keeping_alive.cancel()
            self._keeping_alive = None

    # --- what transfers need

    def ask(self, data: bytes, seconds: float) -> None:
        """Send something to which the client must say something within so many seconds."""
        if self._lost is None:
            self.expect_within(seconds)
            self.send(data)

    async def ask_in_parts(self, parts: Sequence[bytes], seconds: float) -> None:
        """The same, as fast as the client reads."""
        if self._lost is not None or self.transport is None:
            return
        self.transport.set_write_buffer_limits(high=UNREAD_BYTES // 2)
        self.expect_within(seconds)
        self._mid_frame = True
        await gently.write(self, parts)
        self._mid_frame = False
        behind, self._behind = self._behind, []
        for data in behind:
            self.send(data)

    async def said(self) -> Said:
        """What the client says next in a transfer.  Raises Failure when the connection ends."""
        if not self._said and self._lost is None:
            self._listening = self._loop.create_future()
            await self._listening
        if self._said:
            return self._said.popleft()
        assert self._lost is not None
        raise self._lost

    def _wake(self) -> None:
        if self._listening is not None and not self._listening.done():
            self._listening.set_result(None)
        self._listening = None
