"""The MessagePack-RPC shell: one connection, many calls at a time, answered as they end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from legacy_rpc.codecs.encodings import UNSENDABLE, unsendable
from legacy_rpc.codecs.msgpack_rpc import (
    MsgpackLimits,
    Request,
    RequestReader,
    Unreadable,
    encode_response,
    method_name,
    response_in_pieces,
)
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.messages import (
    RPC,
    AnyCredential,
    Errno,
    Failure,
    Outcome,
    PeerError,
    Proposal,
    Reply,
    TokenCredential,
    split_name,
)
from legacy_rpc.servers import gently
from legacy_rpc.servers.door import ANONYMOUS_BYTES, Door
from legacy_rpc.servers.listener import Listener, OpenConnections, SecureProtocol, WireServer
from legacy_rpc.servers.tls import MakeContext, verified_chain
from legacy_rpc.servers.xmlrpc_system import OWN as SHARED
from legacy_rpc.servers.xmlrpc_system import SystemMethods
from legacy_rpc.signatures import Signatures

logger = logging.getLogger(__name__)

WIRE = "msgpack"
# With more than this unread, a connection's next results wait, and its next requests are not read.
UNREAD_BYTES = 256 * 1024
# The largest request to set extra credentials, which are kept as long as the connection.
LARGEST_EXTRA = 4 * 1024
# So many of a connection's requests are begun, or answered at once, before others have their turn.
REQUESTS_IN_A_TURN = 50
WHOLE_RESULT = "system.wholeResult"
DESCRIPTIONS = ("system.listMethods", "system.methodHelp", "system.methodSignature")

# What this wire has beside the methods of services.
OWN = {name: SHARED[name] for name in (*DESCRIPTIONS, WHOLE_RESULT)} | {
    "system.authenticate": (
        "Show a bearer token: the caller of all that follows on this connection.",
        [["struct", "string"]],
    ),
    "system.extraCredentials": (
        "Set what DISET clients send with each call: a group, `hosts`, or a DN and a group.",
        [["any", "string"], ["any", "array"]],
    ),
    "system.timesAsText": (
        "Have times as texts in all that follows on this connection, not as timestamps.",
        [["any", "boolean"]],
    ),
}


class MsgpackRpcServer(WireServer):
    """MessagePack-RPC over TLS; callers show a certificate, or a token in a request."""

    def __init__(self, door: Door, limits: MsgpackLimits, tls: MakeContext, signatures: Signatures) -> None:
        self.door = door
        self.limits = limits
        self.descriptions = SystemMethods(signatures, OWN)
        self._tls = tls
        self.connections: OpenConnections[MsgpackRpcProtocol] = OpenConnections()

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening,
            self.door.gate,
            self._tls,
            lambda peer, accepted: MsgpackRpcProtocol(self, peer, accepted),
        )

    async def stop(self, seconds: float) -> None:
        """Read no more; close each connection when its calls are answered, and after so long in any case."""
        for connection in self.connections:
            connection.wind_up()
        await self.connections.end_within(seconds)


class MsgpackRpcProtocol(SecureProtocol):
    """Feeds the codec, has calls answered, and sends the answers in the order in which they come.

    It reads on while there is room: for another call, for its bytes, and for what the peer has still to read.
    """

    def __init__(self, server: MsgpackRpcServer, peer: str, accepted: float) -> None:
        super().__init__(server.door.gate, peer, accepted)
        self._server = server
        self._door = server.door
        self._requests = RequestReader(_of_nobody(server.limits))
        self._shown = False  # a certificate or a token
        self._ssl_object: Any = None
        self._token: TokenCredential | None = None
        self._token_refused = False
        self._extra_credentials: Any = ""
        self._times_as_text = False
        self._running = 0
        self._running_bytes = 0
        self._reading = True
        self._winding_up = False
        self._turn_is_over = False
        self._deadline_for: tuple[str, int] | None = None
        self._may_send = asyncio.Event()  # clear while the peer has too much to read
        self._may_send.set()
        self._long = asyncio.Lock()  # held while a long response is sent; short ones wait behind it
        self._behind: list[bytes] = []

    # --- the connection

    def secured(self, ssl_object: Any) -> None:
        """An open connection costs little, so a peer with a name may take its time to ask."""
        self._ssl_object = ssl_object
        if verified_chain(ssl_object):
            self._has_shown()
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=UNREAD_BYTES)
        self._server.connections.add(self)
        self._settle()

    def _has_shown(self) -> None:
        """The peer has shown who it is; what it may do is found out at every call."""
        self._shown = True
        self._requests.allow(self._server.limits)

    def connection_lost(self, exc: Exception | None) -> None:
        """Calls that are running go on, and are answered to nobody."""
        super().connection_lost(exc)
        self._winding_up = True
        self._may_send.set()
        self._server.connections.discard(self)

    def received(self, data: bytes) -> None:
        """Feed the codec, and act on what it says."""
        if not self._winding_up:
            self._requests.feed(data)
            self._serve()

    def pause_writing(self) -> None:
        """The peer asks and does not read: it must within the time for answers."""
        super().pause_writing()
        self._may_send.clear()
        self._settle()

    def resume_writing(self) -> None:
        """The peer has read; should there soon be too much again, its time begins anew."""
        super().resume_writing()
        self._may_send.set()
        self._deadline_for = None
        self._loop.call_soon(self._serve)

    def wind_up(self) -> None:
        """Read no more, and close when the running calls are answered."""
        self._winding_up = True
        self._settle()

    # --- requests

    def _serve(self) -> None:
        """Act on the requests that are here, while there is room; of very many, on some at a time."""
        first = self._requests.messages
        try:
            while self._has_room():
                began = self._loop.time()
                event = self._requests.next_event()
                if event is None:
                    break
                self._act(event, began)
                if self._requests.messages - first == REQUESTS_IN_A_TURN:
                    self._turn_is_over = True
                    self._loop.call_soon(self._next_turn)
        except PeerError as error:
            logger.info("connection from %s ends: %s", self.peer, error)
            self._send(self._requests.last_word(error))
            self._winding_up = True
        self._settle()

    def _next_turn(self) -> None:
        self._turn_is_over = False
        self._serve()

    def _has_room(self) -> bool:
        limits = self._server.limits
        return (
            not self._winding_up
            and not self._turn_is_over
            and self._may_send.is_set()
            and self._running < limits.calls
            and self._running_bytes < limits.message
        )

    def _settle(self) -> None:
        """Read or not, close or not, and watch the clock, as things now are."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        reading = self._has_room()
        closing = self._winding_up and not self._running
        if self._reading != (reading or closing):
            self._reading = reading or closing  # while it closes, TLS has the peer's last word to read
            (transport.resume_reading if self._reading else transport.pause_reading)()
        if closing or not self._may_send.is_set():
            self._expect("answers read", self._gate.limits.answer_seconds)
        elif reading and self._requests.half_sent:
            self._expect("a whole message", self._gate.limits.message_seconds)
        elif not (self._shown or self._running):
            self._expect("a message of nobody", self._gate.limits.message_seconds)
        else:
            self._deadline_for = None
            self.stop_waiting()
        if closing:
            transport.close()

    def _expect(self, step: str, seconds: float) -> None:
        """Begin a step's time, once: bytes that trickle in do not prolong it."""
        wanted = (step, self._requests.messages)
        if wanted != self._deadline_for:
            self._deadline_for = wanted
            self.expect_within(seconds)

    def _act(self, event: Request | Unreadable, began: float) -> None:
        if isinstance(event, Unreadable):
            self._send(encode_response(event.msgid, Failure(event.problem)))
            return
        try:
            outcome = self._answer_of_its_own(event)
        except Failure as failure:
            outcome = failure
        if outcome is None:
            self._start_call(event, began)
        else:
            self._respond(event, outcome)

    def _respond(self, request: Request, outcome: Outcome, *, whole: bool = False) -> None:
        if request.msgid is not None:
            response = encode_response(request.msgid, outcome, whole=whole, times_as_text=self._times_as_text)
            self._send(response)

    def _send(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._long.locked():
            self._behind.append(data)
        else:
            self.transport.write(data)

    async def _respond_gently(self, request: Request, outcome: Outcome, *, whole: bool) -> None:
        """The same for a value that may be large: nobody is held up."""
        as_text = self._times_as_text
        try:
            if request.msgid is None or is_light(outcome.as_result()):
                self._respond(request, outcome, whole=whole)
                return
            pieces = response_in_pieces(request.msgid, outcome, whole=whole, times_as_text=as_text)
            parts = await gently.collected(pieces)
        except UNSENDABLE as error:
            self._respond(request, unsendable(error), whole=whole)
            return
        async with self._long:
            await gently.write(self, parts)
            behind, self._behind = self._behind, []
            if self.transport is not None:
                self.transport.writelines(behind)

    # --- calls

    def _start_call(self, request: Request, began: float) -> None:
        whole = request.method == WHOLE_RESULT
        try:
            if whole:
                request = _wrapped(request)
            proposal = self._proposal(request.method)
            credential = self._credential()
        except Failure as failure:
            self._respond(request, failure, whole=whole)
            return
        self._running += 1
        self._running_bytes += request.size
        self._door.start(self._run(request, proposal, credential, whole, self._loop.time() - began))

    async def _run(
        self,
        request: Request,
        proposal: Proposal,
        credential: AnyCredential | None,
        whole: bool,
        overhead: float,
    ) -> None:
        try:
            outcome = await self._door.ask(proposal, credential, request.params)
        except Exception:  # `ask` never raises; if it does, nobody must be left waiting
            self.abort()
            logger.exception("unhandled error in %s", request.method)
            return
        while not self._may_send.is_set():
            await self._may_send.wait()
        answered = self._loop.time()
        await self._respond_gently(request, outcome, whole=whole)
        self._running -= 1
        self._running_bytes -= request.size
        self._serve()
        self._door.overhead(WIRE, overhead + self._loop.time() - answered)

    def _proposal(self, method: str) -> Proposal:
        """What a method's name proposes.  Raises Failure for a name without its service."""
        names = split_name(method.replace("/", "."))
        if names is None:
            problem = f"Unknown method {method[:100]}: name it System/Component.method"
            raise Failure(problem, reason="unknown-method")
        service, name = names
        return Proposal(
            service, RPC, name, extra_credentials=self._extra_credentials, wire=WIRE, peer=self.peer
        )

    def _credential(self) -> AnyCredential | None:
        """What the caller has shown, if it still holds; a token comes before the certificates.

        Raises Failure (ENOAUTH).
        """
        if self._token_refused:
            raise Failure.of(Errno.ENOAUTH, "The bearer token was refused: authenticate again")
        if self._token is not None:
            if self._token.expires <= datetime.now(UTC):
                raise Failure.of(Errno.ENOAUTH, "The bearer token has expired: authenticate again")
            return self._token
        try:
            return self._door.credential(self._ssl_object)
        except PeerError as error:
            raise Failure.of(Errno.ENOAUTH, str(error)) from error

    # --- requests to the wire itself

    def _answer_of_its_own(self, request: Request) -> Outcome | None:
        """None: the request is for a service.  Raises Failure."""
        match request.method:
            case "system.authenticate":
                return self._authenticate(request.params)
            case "system.extraCredentials":
                return self._set_extra_credentials(request)
            case "system.timesAsText":
                return self._set_times_as_text(request.params)
            case method if method in DESCRIPTIONS:
                return Reply(self._server.descriptions.answer(method, request.params))
        return None

    def _authenticate(self, params: Sequence[Any]) -> Outcome:
        """``system.authenticate(token)``: the caller of all that follows.

        After a token that proves nothing nobody calls, not even the holder of the certificate.
        """
        match params:
            case [str() | bytes() as token]:
                pass
            case _:
                raise Failure("system.authenticate takes one token")
        self._token, self._token_refused = None, True
        self._token = self._door.verify_token(token if isinstance(token, str) else token.decode("latin-1"))
        self._token_refused = False
        self._has_shown()
        return Reply(
            {
                "username": self._token.username,
                "group": self._token.group,
                "VO": self._token.vo,
                "secondsLeft": self._token.seconds_left(),
            }
        )

    def _set_extra_credentials(self, request: Request) -> Outcome:
        """``system.extraCredentials(value)``: what DISET clients send with each call (sheet, 1.2)."""
        if len(request.params) != 1:
            raise Failure("system.extraCredentials takes one value")
        if request.size > LARGEST_EXTRA:
            raise Failure(f"system.extraCredentials takes {LARGEST_EXTRA} bytes at most")
        self._extra_credentials = request.params[0]
        return Reply()

    def _set_times_as_text(self, params: Sequence[Any]) -> Outcome:
        """``system.timesAsText(true)``: for clients whose MessagePack is older than timestamps."""
        match params:
            case [bool() as wanted]:
                self._times_as_text = wanted
                return Reply()
        raise Failure("system.timesAsText takes true or false")


def _of_nobody(limits: MsgpackLimits) -> MsgpackLimits:
    return replace(limits, message=min(limits.message, ANONYMOUS_BYTES))


def _wrapped(request: Request) -> Request:
    """The request in ``system.wholeResult(method, params)``.  Raises Failure."""
    match request.params:
        case [str() | bytes() as method, [*params]]:
            return replace(request, method=method_name(method), params=params)
        case _:
            raise Failure("system.wholeResult takes a method and an array of its arguments")
