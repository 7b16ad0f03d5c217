"""The HTTP shell: aiohttp's parser and writer behind our own listener.

A wire over HTTP is an :class:`HttpWire`: it says what a request means and what a refusal looks like.  All
else is here: connections are counted and have deadlines, callers are known anew at every request, calls go on
when their client leaves, slow readers are cut off (docs/reference/wire-https.md).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

from aiohttp import web

from legacy_rpc.messages import AnyCredential, Failure, PeerError
from legacy_rpc.servers.door import ANONYMOUS_BYTES, Door
from legacy_rpc.servers.listener import Listener, OpenConnections, SecureProtocol, WireServer
from legacy_rpc.servers.tls import MakeContext

logger = logging.getLogger(__name__)

T = TypeVar("T")

TEXT = "text/plain; charset=utf-8"
POST = "POST"
# What goes with status 401: how a caller may prove who he is, beside a certificate.
CHALLENGE = {"WWW-Authenticate": "Bearer"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What is written at a time: the transport takes it whole, and is then asked whether it can take more.
PIECE_BYTES = 128 * 1024
# Of a body that is longer than a message, so much must come in the time for a message.
BLOCK_BYTES = 1024 * 1024


class HttpRefusal(Exception):
    """A request that is answered with an error status; ``close``: and the connection ends."""

    def __init__(
        self, status: int, problem: str, headers: Mapping[str, str] | None = None, *, close: bool = False
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.headers = dict(headers or {})
        self.close = close


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply, its body in one or more parts; ``close``: and the connection ends."""

    body: bytes | Sequence[bytes]
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


class HttpWire(Protocol):
    """What a wire over HTTP is to the shell."""

    @property
    def name(self) -> str:
        """Of the wire, as in ``Proposal.wire``."""

    @property
    def media_types(self) -> Collection[str]:
        """Those of the requests it reads, lower case; ``""``: also a request that names none."""

    async def answer(self, exchange: Exchange) -> HttpReply | None:
        """Read a POST request and answer it; None: all was sent by ``exchange.stream``.

        It may raise HttpRefusal.  A reply after the first byte of a stream cannot be sent any more: the
        connection is then broken off, so that the client knows that the file is not whole.
        """

    def refuse(self, status: int, problem: str) -> HttpReply:
        """An error in the wire's own form, of any status from 400 on; it may have another."""


class Exchange:
    """One request and its reply, as a wire sees them.

    ``credential`` is what the request proves: find it out anew for every request of a connection.
    """

    def __init__(self, connection: HttpProtocol, request: web.BaseRequest, credential: AnyCredential | None):
        self.credential = credential
        self._connection = connection
        self._request = request
        self.asked_seconds = 0.0
        self.streaming: ReplyStream | None = None

    @property
    def path(self) -> str:
        """Of the URL, percent-decoded, with its leading slash."""
        return self._request.path

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, by name in any case."""
        return self._request.headers

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return self._request.content_type if "Content-Type" in self._request.headers else ""

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    @property
    def length(self) -> int | None:
        """How many bytes of body are announced."""
        return self._request.content_length

    async def read(self, largest: int) -> bytes:
        """The whole body.  Raises HttpRefusal as ``chunks``."""
        return b"".join([chunk async for chunk in self.chunks(largest)])

    async def chunks(self, largest: int, message: int | None = None) -> AsyncGenerator[bytes, None]:
        """The body as it comes, ``largest`` bytes at most.

        All of it must come within the time for a message; where it may be longer than a ``message`` (bytes),
        every further MiB has that time again.  Raises HttpRefusal (413) before reading a body that is
        announced to be larger, or as soon as it is; (401) likewise for one of more than ``ANONYMOUS_BYTES``
        without a credential; (400) for a body that is not what its headers say.
        """
        self._refuse_larger(self.length or 0, largest)
        await self._continue()
        size, block_end = 0, message if message is not None else largest
        try:
            while chunk := await self._request.content.readany():
                size += len(chunk)
                self._refuse_larger(size, largest)
                if size > block_end:
                    block_end = size + BLOCK_BYTES
                    self._connection.expect_message()
                yield chunk
        except web.RequestPayloadError as error:
            raise HttpRefusal(400, f"The request's body cannot be read: {error}", close=True) from error
        self._connection.stop_waiting()

    def _refuse_larger(self, size: int, largest: int) -> None:
        if self.credential is None and size > ANONYMOUS_BYTES:
            problem = f"A request of more than {ANONYMOUS_BYTES} bytes is taken from a known caller only"
            raise HttpRefusal(401, problem, CHALLENGE, close=True)
        if size > largest:
            raise HttpRefusal(
                413, f"A request of {size} bytes is larger than the limit of {largest}", close=True
            )

    async def _continue(self) -> None:
        if self.headers.get("Expect", "").strip().lower() == "100-continue":
            await self._request.writer.write(CONTINUE)
            # aiohttp takes a request with output for one whose reply has begun.
            self._request.writer.output_size = 0

    async def asking(self, outcome: Awaitable[T]) -> T:
        """Await the door's answer: its time is not the wire's."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await outcome
        finally:
            self.asked_seconds += clock() - began

    def stream(self, content_type: str) -> ReplyStream:
        """A reply of status 200 that is sent while it is made."""
        self.streaming = ReplyStream(self._connection, self._request, content_type)
        return self.streaming


class ReplyStream:
    """A reply's body that goes out piece by piece: an Outgoing.  Its first byte begins the reply."""

    def __init__(self, connection: HttpProtocol, request: web.BaseRequest, content_type: str) -> None:
        self._connection = connection
        self._request = request
        self.response = web.StreamResponse(headers=_headers(content_type, {}))

    @property
    def begun(self) -> bool:
        """The status has gone out; it can be no other any more."""
        return self.response.prepared

    async def send(self, data: bytes) -> None:
        """Send some bytes; returns when the client can take more.  Raises Failure when it has left."""
        if not data:
            return
        self._connection.expect_reader()
        try:
            await self._begin()
            await _write(self.response, data)
        except ConnectionError as error:
            raise Failure("The client left before it had the whole file") from error
        self._connection.stop_waiting()

    async def end(self) -> None:
        """All was sent; an empty reply begins only here.  Raises ConnectionError."""
        self._connection.expect_reader()
        await self._begin()
        await self.response.write_eof()

    async def _begin(self) -> None:
        if not self.begun:
            self._connection.close_if_stopping(self.response)
            await self.response.prepare(self._request)


class HttpServer(WireServer):
    """A wire over HTTP on one or more ports; made inside a running loop."""

    def __init__(self, door: Door, tls: MakeContext, wire: HttpWire) -> None:
        self.door = door
        self.http_wire = wire
        self.wire = wire.name
        self.stopping = False
        self._tls = tls
        self.connections: OpenConnections[HttpProtocol] = OpenConnections()
        self._aiohttp = web.Server(_handle)

    def listen(self, listening: socket.socket) -> Listener:
        """Serve connections to a listening socket."""
        return Listener(
            listening, self.door.gate, self._tls, lambda peer, accepted: HttpProtocol(self, peer, accepted)
        )

    async def stop(self, seconds: float) -> None:
        """Idle connections end now, the others with the reply to the request that is going on."""
        self.stopping = True
        for connection in self.connections:
            connection.end_if_quiet()
        await self.connections.end_within(seconds)

    def handler(self, connection: HttpProtocol) -> RequestHandler:
        """What parses a connection's bytes."""
        return RequestHandler(self._aiohttp, connection)


class RequestHandler(web.RequestHandler):
    """aiohttp's end of a connection."""

    def __init__(self, manager: web.Server, connection: HttpProtocol) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]  # None: no such log
        self.connection = connection

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Only what is no HTTP comes here: that is the peer's fault, and is answered with status 400."""
        logger.info(*args, exc_info=None, **{key: value for key, value in kw.items() if key != "exc_info"})


async def _handle(request: web.BaseRequest) -> web.StreamResponse:
    """aiohttp's handler, the same for all connections."""
    return await cast("RequestHandler", request.protocol).connection.respond(request)


class HttpProtocol(SecureProtocol):
    """One connection: as many requests as its client sends, one after the other."""

    def __init__(self, server: HttpServer, peer: str, accepted: float) -> None:
        super().__init__(server.door.gate, peer, accepted)
        self._server = server
        self._http: RequestHandler | None = None
        self._ssl_object: Any = None
        # Nothing of the next request has come yet.
        self._quiet = True

    # --- bytes

    def secured(self, ssl_object: Any) -> None:
        """The first request must come within the time for messages."""
        assert self.transport is not None
        self._ssl_object = ssl_object
        # Writing is paused as soon as anything waits, and goes on when nothing does.
        self.transport.set_write_buffer_limits(high=1, low=0)
        self._server.connections.add(self)
        self._http = self._server.handler(self)
        self._http.connection_made(self.transport)
        self._rest()

    def received(self, data: bytes) -> None:
        """Hand bytes on; a request must be whole within the time for messages from its first byte on."""
        assert self._http is not None
        if self._quiet:
            self._quiet = False
            self.expect_message()
        self._http.data_received(data)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        assert self._http is not None
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        assert self._http is not None
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection out; a call that is running goes on."""
        super().connection_lost(exc)
        if self._http is not None:
            self._http.connection_lost(exc)
            self._server.connections.discard(self)

    # --- deadlines

    def _rest(self) -> None:
        """It is the client's turn to ask, or to leave."""
        self._quiet = True
        self.expect_message()

    def expect_message(self) -> None:
        """The client must send what it has begun."""
        self.expect_within(self._gate.limits.message_seconds)

    def expect_reader(self) -> None:
        """The client must read what is sent."""
        self.expect_within(self._gate.limits.answer_seconds)

    def end_if_quiet(self) -> None:
        """End a connection on which nothing is going on."""
        if self._quiet and self.transport is not None:
            self.transport.close()
            # Its client has been told, and need not say good-bye.
            self.transport.abort()

    # --- requests

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the answering goes on when the client leaves."""
        self._quiet = False
        answering = _Answering(self._server, self, request)
        await self._server.door.start(answering.run())
        if self.transport is not None and not self.transport.is_closing():
            self._rest()
        return answering.response

    def close_if_stopping(self, response: web.StreamResponse) -> None:
        """A server that stops takes no more requests after this one."""
        if self._server.stopping:
            response.force_close()

    @property
    def caller_proof(self) -> Any:
        """What TLS knows of the client."""
        return self._ssl_object


class _Answering:
    """From a request to its response.  ``response`` is what was sent, as far as the client was there."""

    def __init__(self, server: HttpServer, connection: HttpProtocol, request: web.BaseRequest) -> None:
        self._server = server
        self._connection = connection
        self._request = request
        self.response: web.StreamResponse = web.Response()
        self._exchange: Exchange | None = None

    async def run(self) -> None:
        """Answer, whatever happens.  Raises nothing."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await self._send(await self._answer())
        except ConnectionError:
            return  # the client has left
        except Exception:  # a wire answers its own errors; if it does not, nobody must be left waiting
            logger.exception("unhandled error in a request from %s", self._connection.peer)
            self._connection.abort()
            return
        if self._exchange is not None:
            taken = clock() - began - self._exchange.asked_seconds
            self._server.door.overhead(self._server.wire, taken)

    async def _answer(self) -> HttpReply | None:
        try:
            self._check()
            exchange = self._exchange = Exchange(self._connection, self._request, self._caller())
            return await self._server.http_wire.answer(exchange)
        except HttpRefusal as refusal:
            logger.info("request from %s refused: %s", self._connection.peer, refusal.problem)
            reply = self._server.http_wire.refuse(refusal.status, refusal.problem)
            return replace(reply, headers={**reply.headers, **refusal.headers}, close=refusal.close)

    def _check(self) -> None:
        """Raise HttpRefusal for what no wire reads."""
        request, wire = self._request, self._server.http_wire
        if request.method != POST:
            raise HttpRefusal(405, f"{request.method} is not served here: calls are POSTs", {"Allow": POST})
        media_type = request.content_type if "Content-Type" in request.headers else ""
        if media_type not in wire.media_types:
            known = " or ".join(sorted(filter(None, wire.media_types)))
            problem = f"A call is of Content-Type {known}, not {media_type or 'missing'}"
            raise HttpRefusal(415, problem, {"Accept": known.replace(" or ", ", ")})

    def _caller(self) -> AnyCredential | None:
        """Who asks, as far as that is proved; a connection that is kept open does not outlive its proxy."""
        authorization = self._request.headers.get("Authorization")
        try:
            return self._server.door.caller(self._connection.caller_proof, authorization)
        except PeerError as error:
            raise HttpRefusal(401, str(error), close=True) from error
        except Failure as failure:
            raise HttpRefusal(401, failure.message, CHALLENGE) from failure

    async def _send(self, reply: HttpReply | None) -> None:
        stream = self._exchange.streaming if self._exchange else None
        if stream is not None and (reply is None or stream.begun):
            self.response = stream.response
            if reply is None:
                await stream.end()
            else:
                self._connection.abort()
            return
        assert reply is not None
        self.response = _response(reply)
        self._connection.close_if_stopping(self.response)
        self._connection.expect_reader()
        await self.response.prepare(self._request)
        if not isinstance(self.response, web.Response):
            for part in _parts(reply.body):
                await _write(self.response, part)
        await self.response.write_eof()


def _parts(body: bytes | Sequence[bytes]) -> Sequence[bytes]:
    return (body,) if isinstance(body, bytes) else body


def _response(reply: HttpReply) -> web.StreamResponse:
    """A small body goes out with its headers; a larger one must be written."""
    headers = _headers(reply.content_type, reply.headers)
    parts = _parts(reply.body)
    size = sum(map(len, parts))
    if size <= PIECE_BYTES:
        response: web.StreamResponse = web.Response(
            body=b"".join(parts), status=reply.status, headers=headers
        )
    else:
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_length = size
    if reply.close:
        response.force_close()
    return response


def _headers(content_type: str, more: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Type": content_type, "Server": "wherry", **more}


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write with flow control; after every piece others have their turn."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        await response.write(view[start : start + PIECE_BYTES])
        await asyncio.sleep(0)
