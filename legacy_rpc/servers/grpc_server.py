"""The gRPC wire: typed and generic services over grpcio's server, with reflection and health.

Every method is served as one that takes a stream of requests, and must get exactly one: so a request has a
time limit of its own, and one that cannot be read is answered in our words.  Clients cannot tell.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

# Whatever a peer does wrong would be written to stderr, past our own log.  And nothing here forks and goes
# on with gRPC in the child, which grpcio would otherwise prepare for.  Both are read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio
from google.protobuf import text_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from legacy_rpc.codecs.grpc_messages import (
    error_reply,
    error_within,
    printable,
    read_generic,
    read_typed,
    write_reply,
)
from legacy_rpc.codecs.grpc_schema import GENERIC_SERVICE, FileProto, Rpc, Schema
from legacy_rpc.codecs.grpc_values import Unwritable
from legacy_rpc.codecs.grpc_wire import STEP_BYTES
from legacy_rpc.codecs.pieces import is_light
from legacy_rpc.codecs.steps import Steps, in_one_go
from legacy_rpc.messages import RPC, AnyCredential, Errno, Failure, Outcome, PeerError, Proposal, Reply
from legacy_rpc.servers.door import ANONYMOUS_BYTES, Door
from legacy_rpc.servers.gently import finished
from legacy_rpc.servers.grpc_relay import LocalSocket, RelayedConnection
from legacy_rpc.servers.listener import Listener, WireServer
from legacy_rpc.servers.tls import MakeContext
from legacy_rpc.signatures import Signatures

logger = logging.getLogger(__name__)

WIRE = "grpc"
GENERIC_PATH = f"/{GENERIC_SERVICE}/Call"

# What callers may say in metadata.
AUTHORIZATION = "authorization"
EXTRA_CREDENTIALS = "dirac-extra-credentials"
CLIENT_VERSION = "dirac-client-version"
ERRORS = "wherry-errors"
IN_REPLY = "in-reply"
# The same, that a generic request may say itself.
SAID = (EXTRA_CREDENTIALS, CLIENT_VERSION, ERRORS)
# And what they get.
ERROR = "wherry-error-bin"

# So many requests of callers who have not shown who they are are read at a time.
MOST_STRANGERS = 4

# Clients take 8 KiB of metadata without complaint, in which the status's text stands too.
ERROR_BYTES = 4096
DETAILS_CHARACTERS = 1000

# When a connection is quiet, the other end is asked whether it is there.
PING_MILLISECONDS = 60_000
PING_TIMEOUT_MILLISECONDS = 20_000
# Clients may ask us as often; grpcio's own limit, once in five minutes, surprises too many.
CLIENT_PING_MILLISECONDS = 10_000

Status = grpc.StatusCode
Context = grpc.aio.ServicerContext[Any, Any]

# S_ERROR's kinds, by why the front door refused the call.
STATUS_BY_REASON: Mapping[str, grpc.StatusCode] = {
    "unknown-service": Status.UNIMPLEMENTED,
    "unknown-method": Status.UNIMPLEMENTED,
    "arguments": Status.INVALID_ARGUMENT,
    "overload": Status.RESOURCE_EXHAUSTED,
    "timeout": Status.DEADLINE_EXCEEDED,
    "internal-error": Status.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What a peer may cost: bytes of a request and of its metadata, nesting, calls on one connection."""

    message: int = 16 * 1024 * 1024
    metadata: int = 64 * 1024
    depth: int = 200
    calls: int = 100


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as it was understood."""

    proposal: Proposal
    arguments: Sequence[Any]
    errors_in_reply: bool


class GrpcServer(WireServer):
    """gRPC on one or more ports; ``signatures`` is the table of methods."""

    def __init__(self, door: Door, limits: GrpcLimits, tls: MakeContext, signatures: Signatures) -> None:
        self.door = door
        self.limits = limits
        self.schema = Schema(signatures)
        self._tls = tls

    async def start(self) -> None:
        """Have grpcio listen, where only we can reach it.  Raises OSError."""
        seconds = self.door.gate.limits.message_seconds
        self.local = LocalSocket()
        self._loop = asyncio.get_running_loop()
        self._health = health.aio.HealthServicer()
        self._running: dict[Context, asyncio.TimerHandle | None] = {}
        self._stopping = False
        self._strangers = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self.limits.message),
                ("grpc.max_metadata_size", self.limits.metadata),
                ("grpc.absolute_max_metadata_size", self.limits.metadata),
                ("grpc.max_concurrent_streams", self.limits.calls),
                ("grpc.server_handshake_timeout_ms", int(seconds * 1000)),
                ("grpc.keepalive_time_ms", PING_MILLISECONDS),
                ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MILLISECONDS),
                ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_MILLISECONDS),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._server.add_generic_rpc_handlers([_Handlers(self.schema, self._serve)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _add_reflection(self.schema, self._server)
        for name in self.schema.services:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        try:
            self._server.add_insecure_port(self.local.address)
        except RuntimeError as error:
            self.local.remove()
            raise OSError(f"gRPC cannot listen on {self.local.address}: {error}") from error
        await self._server.start()

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening, self.door.gate, self._tls, partial(RelayedConnection, self.local, self.door.gate)
        )

    async def stop(self, seconds: float) -> None:
        """Say so to those who watch, take no new calls, and let those that are running end, for so long."""
        until = self._loop.time() + seconds
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                # Who watches and does not read would hold it up.
                await self._health.enter_graceful_shutdown()
                await self._idle.wait()
        # Connections first: grpcio keeps one, and waits for it, until Python has collected all its calls.
        await self.local.close(until)
        # Once only, without time to end: called again meanwhile, grpcio (1.85) crashes.
        await self._server.stop(None)

    # --- one call

    async def _serve(self, rpc: Rpc | None, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """The reply to a call of a typed method; of the generic one, if there is no ``rpc``."""
        connection = self.local.connection(context.peer())
        if connection is None:
            await context.abort(Status.UNAUTHENTICATED, "The connection is not known, or is gone")
        if self._stopping:
            await context.abort(Status.UNAVAILABLE, "The server is stopping")
        self._begin(context)
        began = perf_counter()
        try:
            credential = self._caller(connection, context)
        except Failure as refusal:
            in_reply = _metadata(context).get(ERRORS) == IN_REPLY
            return await self._error(refusal, None, context, in_reply=in_reply)
        data = (
            await self._request(requests, context) if credential else await self._of_nobody(requests, context)
        )
        try:
            question = await self._understood(rpc, data, context, connection.peer)
        except PeerError as error:
            await context.abort(Status.INVALID_ARGUMENT, printable(str(error)))
        asked = perf_counter()
        outcome = await self._outcome(question, credential, context)
        answered = perf_counter()
        try:
            return await self._reply(question, outcome, credential, context)
        finally:
            self.door.overhead(WIRE, (asked - began) + (perf_counter() - answered))
            self._expect_read(connection, context)

    def _begin(self, context: Context) -> None:
        self._running[context] = None
        self._idle.clear()
        context.add_done_callback(self._over)  # type: ignore[arg-type]  # the stubs know no function as one

    def _over(self, context: Context) -> None:
        """A call's reply was sent, or nobody wants it any more."""
        timer = self._running.pop(context, None)
        if timer is not None:
            timer.cancel()
        if not self._running:
            self._idle.set()

    def _expect_read(self, connection: RelayedConnection, context: Context) -> None:
        """End the connection of a client that does not take its reply in time."""
        if context in self._running:
            seconds = self.door.gate.limits.answer_seconds
            self._running[context] = self._loop.call_later(seconds, connection.abort)

    def _caller(self, connection: RelayedConnection, context: Context) -> AnyCredential | None:
        """Who asks; None: nobody who shows it.  Raises Failure."""
        try:
            credential = self.door.caller(connection.ssl_object, _metadata(context).get(AUTHORIZATION))
        except PeerError as error:
            raise Failure.of(Errno.ENOAUTH, str(error)) from error
        if credential is not None:
            connection.vouch()
        return credential

    async def _of_nobody(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """The request of a caller who has not shown who it is: a small one, and few at a time.

        gRPC reads a request whole, as large as any may be, before its size can be asked.
        """
        if self._strangers == MOST_STRANGERS:
            text = "Too many callers without a certificate or token are asking: show one, or try again"
            await context.abort(Status.RESOURCE_EXHAUSTED, text)
        self._strangers += 1
        try:
            data = await self._request(requests, context)
        finally:
            self._strangers -= 1
        if len(data) > ANONYMOUS_BYTES:
            text = f"A request without a certificate or token may have {ANONYMOUS_BYTES} bytes"
            await context.abort(Status.UNAUTHENTICATED, text)
        return data

    async def _request(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """The one request of a call."""
        seconds = self.door.gate.limits.message_seconds
        received: list[bytes] = []
        try:
            async with asyncio.timeout(seconds):
                async for data in requests:
                    received.append(data)
                    if len(received) > 1:
                        break
        except TimeoutError:
            await context.abort(Status.DEADLINE_EXCEEDED, f"The request did not come within {seconds:g} s")
        if len(received) != 1:  # the status that gRPC wants for it
            await context.abort(Status.UNIMPLEMENTED, "This method takes exactly one request")
        return received[0]

    async def _understood(self, rpc: Rpc | None, data: bytes, context: Context, peer: str) -> _Question:
        """What a request asks.  Raises PeerError."""
        steps = _question(self.schema, rpc, data, _metadata(context), peer, self.limits.depth)
        return in_one_go(steps) if len(data) <= STEP_BYTES else await finished(steps)

    async def _outcome(
        self, question: _Question, credential: AnyCredential | None, context: Context
    ) -> Outcome:
        """What a call's method says; the call goes on when its client leaves."""
        left = context.time_remaining()
        deadline = None if left is None else self._loop.time() + left
        outcomes: list[Outcome] = []

        async def ask() -> None:
            outcomes.append(await self.door.ask(question.proposal, credential, question.arguments, deadline))

        await asyncio.shield(self.door.start(ask()))
        return outcomes[0]

    async def _reply(
        self, question: _Question, outcome: Outcome, credential: AnyCredential | None, context: Context
    ) -> bytes:
        """The reply, or the end of the call with another status than OK."""
        in_reply = question.errors_in_reply
        try:
            if not isinstance(outcome, Reply):
                return await self._error(outcome, credential, context, in_reply=in_reply)
            steps = write_reply(self.schema, outcome.value, outcome.extra)
            return await _written(steps, outcome.value, outcome.extra)
        except Unwritable as problem:
            failure = _unwritable(question, problem)
            return await self._error(failure, credential, context, in_reply=in_reply)

    async def _error(
        self, failure: Failure, credential: AnyCredential | None, context: Context, *, in_reply: bool
    ) -> bytes:
        """S_ERROR.  Raises Unwritable."""
        if in_reply:
            return await _written(error_reply(self.schema, failure), failure.extra)
        error = await _written(error_within(self.schema, failure, ERROR_BYTES), failure.extra)
        details = printable(failure.message)[:DETAILS_CHARACTERS]
        return await context.abort(status_of(failure, credential), details, ((ERROR, error),))


async def _written(steps: Steps[bytes], *values: Any) -> bytes:
    """The bytes of a message that has these values."""
    return in_one_go(steps) if is_light(values) else await finished(steps)


def _unwritable(question: _Question, problem: Unwritable) -> Failure:
    text = f"{question.proposal.method} was done, but its reply cannot be sent by gRPC: it has {problem}"
    return Failure(text, reason="internal-error")


def status_of(failure: Failure, credential: AnyCredential | None) -> grpc.StatusCode:
    """The status of S_ERROR: a method's own is UNKNOWN, which gRPC has for errors of another error space."""
    if failure.reason in STATUS_BY_REASON:
        return STATUS_BY_REASON[failure.reason]
    if failure.errno == Errno.ENOAUTH:
        return Status.UNAUTHENTICATED if credential is None else Status.PERMISSION_DENIED
    return Status.UNAVAILABLE if failure.errno == Errno.EDB else Status.UNKNOWN


# --- requests


def _metadata(context: Context) -> dict[str, str]:
    """The metadata that is text."""
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _question(
    schema: Schema, rpc: Rpc | None, data: bytes, metadata: Mapping[str, str], peer: str, depth: int
) -> Steps[_Question]:
    """What a request asks, in steps.  Raises PeerError."""
    if rpc is None:
        request, arguments = yield from read_generic(schema, data, depth)
        service, method, said = request.service, request.method, request.metadata
        metadata = {**metadata, **{name: said[name] for name in SAID if name in said}}
    else:
        service, method = rpc.service, rpc.method
        arguments = yield from read_typed(rpc, data, depth)
    proposal = Proposal(
        service,
        RPC,
        method,
        extra_credentials=_extra_credentials(metadata.get(EXTRA_CREDENTIALS, "")),
        client_version=metadata.get(CLIENT_VERSION, ""),
        wire=WIRE,
        peer=peer,
    )
    return _Question(proposal, arguments, metadata.get(ERRORS) == IN_REPLY)


def _extra_credentials(text: str) -> Any:
    """A requested group or ``hosts`` as it is; the pair (DN, group) that a trusted host calls for as JSON."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise PeerError(f'{EXTRA_CREDENTIALS} is a group, or ["DN", "group"]') from None


# --- what grpcio is given


class _Handlers(grpc.GenericRpcHandler):
    """Finds the method that a path names."""

    def __init__(self, schema: Schema, serve: Callable[..., Awaitable[bytes]]) -> None:
        paths: dict[str, Rpc | None] = {GENERIC_PATH: None, **schema.rpcs}
        self._handlers: dict[str, Any] = {
            path: grpc.stream_unary_rpc_method_handler(partial(serve, rpc)) for path, rpc in paths.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """None: there is no such method, as gRPC then says itself."""
        return self._handlers.get(handler_call_details.method)


def _add_reflection(schema: Schema, server: grpc.aio.Server) -> None:
    """Have the server tell what it serves, in both versions of the protocol.

    grpcio-reflection has the older one only; the messages of the newer are the same in another package.
    """
    older = FileProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    newer = text_format.Parse(text_format.MessageToString(older).replace("v1alpha", "v1"), FileProto())
    for file in (health_pb2.DESCRIPTOR.serialized_pb, older.SerializeToString(), newer.SerializeToString()):
        schema.add(file)
    names = [reflection.SERVICE_NAME, f"{newer.package}.{newer.service[0].name}"]
    servicer = reflection.aio.ReflectionServicer(
        [*schema.services, health.SERVICE_NAME, *names], pool=schema.pool
    )
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = {newer.service[0].method[0].name: method}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers) for name in names])
