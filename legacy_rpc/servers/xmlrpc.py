"""XML-RPC over HTTPS: what its documents are to the HTTP shell, and ``system.multicall``."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any

from legacy_rpc.codecs.xmlrpc import (
    FaultCode,
    NotCarriedError,
    Request,
    RequestError,
    RequestParser,
    answer_in_pieces,
    decode_request,
    encode_fault,
    fault_part,
    join_parts,
    part_in_pieces,
)
from legacy_rpc.messages import RPC, Errno, Failure, Outcome, Proposal, Reply, split_name
from legacy_rpc.servers import gently
from legacy_rpc.servers.door import Door
from legacy_rpc.servers.http import Exchange, HttpRefusal, HttpReply
from legacy_rpc.servers.xmlrpc_system import PREFIX, SystemMethods
from legacy_rpc.signatures import Signatures

logger = logging.getLogger(__name__)

PATHS = ("/", "/RPC2", "/RPC2/")
XML = "text/xml"
# A browser lets no foreign page send these without asking first; so none can use a visitor's certificate.
MEDIA_TYPES = (XML, "application/xml")
ENCODINGS = ("", "identity", "gzip", "deflate")

# What a client may say in headers beside its call: see docs/reference/wire-xmlrpc.md.
EXTRA_CREDENTIALS = "DIRAC-Extra-Credentials"
_USER_AGENT = 64
# Of a method, with its service; it is written into logs.
_LONGEST_NAME = 200

# A request that is larger is read in pieces.
_LIGHT_BYTES = 16 * 1024
# An answer that is larger is worth compressing; so much is compressed at a time.
_GZIP_FROM = 4 * 1024
_GZIP_PIECE = 64 * 1024
_FASTEST = 1
_GZIP_FORM = 31

# Refusals that say that the client is none of XML-RPC; all others are faults to it.
_PLAIN_STATUSES = (404, 405, 415)

MULTICALL = "system.multicall"
WHOLE_RESULT = "system.wholeResult"


@dataclass(frozen=True, slots=True)
class XmlRpcLimits:
    """What a client may send: bytes in a message, arrays and structs inside each other, calls in a multicall.

    ``message`` is also how large the answers of a multicall may have become before its next call is begun,
    ``seconds`` how long a multicall may go on.
    """

    message: int = 16 * 1024 * 1024
    depth: int = 200
    calls: int = 1000
    seconds: float = 600.0


class XmlRpc:
    """The wire of ``xmlrpc.client`` and its like."""

    name = "xmlrpc"
    media_types = MEDIA_TYPES

    def __init__(self, door: Door, limits: XmlRpcLimits, signatures: Signatures) -> None:
        self._door = door
        self._limits = limits
        self._system = SystemMethods(signatures)

    def refuse(self, status: int, problem: str) -> HttpReply:
        """A fault, which clients look at only where the status is 200."""
        code = int(Errno.ENOAUTH) if status == 401 else FaultCode.TRANSPORT
        return HttpReply(encode_fault(code, problem), XML, status if status in _PLAIN_STATUSES else 200)

    async def answer(self, exchange: Exchange) -> HttpReply:
        """Answer one ``methodCall``."""
        _check(exchange)
        body = await exchange.read(self._limits.message)
        try:
            request = await self._read(body, _charset(exchange))
            answer = await self._answered(request, _Asking(exchange, self._door))
        except RequestError as error:
            answer = (encode_fault(error.code, str(error)),)
        return await _reply(answer, exchange.headers.get("Accept-Encoding", ""))

    async def _read(self, body: bytes, charset: str) -> Request:
        """The call in a document.  Raises RequestError."""
        if len(body) <= _LIGHT_BYTES:
            return decode_request(body, max_depth=self._limits.depth, charset=charset)
        parser = RequestParser(body, max_depth=self._limits.depth, charset=charset)
        async with gently.Turns() as turns:
            for _ in parser.pieces():
                await turns.step()
        return parser.request

    async def _answered(self, request: Request, asking: _Asking) -> Sequence[bytes]:
        try:
            if request.method == MULTICALL:
                return tuple(join_parts(await self._multicall(request.params, asking)))
            question = _question(request.method, request.params)
            outcome = await self._outcome(question, asking)
        except Failure as failure:
            return await _encoded(request.method, answer_in_pieces(failure), encode_fault)
        return await _encoded(question.method, answer_in_pieces(outcome, whole=question.whole), encode_fault)

    # --- calls

    async def _outcome(self, question: _Question, asking: _Asking, deadline: float | None = None) -> Outcome:
        """The outcome of one call.  Raises Failure for a name that is no method's."""
        if question.method.startswith(PREFIX):
            return Reply(self._system.answer(question.method, question.params))
        return await asking.ask(question, deadline)

    async def _multicall(self, params: Sequence[Any], asking: _Asking) -> Sequence[bytes]:
        """The answers of the calls, one after the other: a later one may build on what an earlier one did."""
        match params:
            case [list() as calls]:
                pass
            case _:
                raise Failure(f"{MULTICALL} takes an array of structs", reason="arguments")
        if len(calls) > self._limits.calls:
            problem = f"{MULTICALL} takes {self._limits.calls} calls at most, not {len(calls)}"
            raise Failure(problem, reason="arguments")
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        parts: list[bytes] = []
        size = 0
        for call in calls:
            if size <= self._limits.message:
                parts.append(await self._part(call, asking, deadline))
            else:
                problem = f"not begun: the answers before it have more than {self._limits.message} bytes"
                parts.append(fault_part(FaultCode.SYSTEM, problem))
            size += len(parts[-1])
            await asyncio.sleep(0)  # not every call waits for something
        return parts

    async def _part(self, call: Any, asking: _Asking, deadline: float) -> bytes:
        try:
            question = _question(*_call_in(call))
            outcome = await self._outcome(question, asking, deadline)
        except Failure as failure:
            return b"".join(part_in_pieces(failure))
        pieces = part_in_pieces(outcome, whole=question.whole)
        return b"".join(await _encoded(question.method, pieces, fault_part))


@dataclass(frozen=True, slots=True)
class _Question:
    """One call; ``whole``: its result is wanted with all of its keys."""

    method: str
    params: Sequence[Any]
    whole: bool = False


def _question(method: str, params: Sequence[Any]) -> _Question:
    """What a call asks.  Raises Failure for ``system.wholeResult`` without a call in it."""
    if method != WHOLE_RESULT:
        return _Question(method, params)
    match params:
        case [str() as inner, [*inner_params]]:
            return _Question(inner, inner_params, whole=True)
        case _:
            raise Failure(f"{WHOLE_RESULT} takes a method and an array of its arguments", reason="arguments")


def _call_in(call: Any) -> tuple[str, Sequence[Any]]:
    """Method and arguments of one of a multicall's structs.  Raises Failure."""
    match call:
        case {"methodName": str() as method, "params": [*params]}:
            return method, params
        case _:
            problem = f"a call in {MULTICALL} is a struct of methodName and params, a string and an array"
            raise Failure(problem, reason="arguments")


class _Asking:
    """Who asks, and what all calls of one request have in common."""

    def __init__(self, exchange: Exchange, door: Door) -> None:
        self._exchange = exchange
        self._door = door
        self._extra_credentials = _extra_credentials(exchange.headers.get(EXTRA_CREDENTIALS, ""))

    async def ask(self, question: _Question, deadline: float | None) -> Outcome:
        """The outcome of a call to a service.  Raises Failure for a name that is no method's."""
        names = split_name(question.method) if len(question.method) <= _LONGEST_NAME else None
        if names is None:
            problem = f"Unknown method {question.method[:100]}: name it System.Component.method"
            raise Failure(problem, reason="unknown-method")
        service, method = names
        proposal = Proposal(
            service,
            RPC,
            method,
            extra_credentials=self._extra_credentials,
            client_version=self._exchange.headers.get("User-Agent", "")[:_USER_AGENT],
            wire=XmlRpc.name,
            peer=self._exchange.peer,
        )
        asked = self._door.ask(proposal, self._exchange.credential, question.params, deadline)
        return await self._exchange.asking(asked)


def _extra_credentials(text: str) -> Any:
    """A requested group or ``hosts`` as it is; the pair (DN, group) that a trusted host calls for as JSON."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        problem = f'{EXTRA_CREDENTIALS} is a group, or ["DN", "group"]'
        raise RequestError(FaultCode.TRANSPORT, problem) from None


# --- HTTP


def _check(exchange: Exchange) -> None:
    """Raise HttpRefusal for what is no XML-RPC."""
    if exchange.path not in PATHS:
        raise HttpRefusal(404, f"{exchange.path[:100]} is not here: XML-RPC is at /RPC2")
    encoding = exchange.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        problem = f"The Content-Encoding {encoding[:40]!r} is not read here"
        raise HttpRefusal(415, problem, {"Accept-Encoding": "gzip, deflate"})


def _charset(exchange: Exchange) -> str:
    header = Message()
    header["Content-Type"] = exchange.headers["Content-Type"]
    return header.get_content_charset("")


async def _encoded(
    method: str, pieces: Iterator[bytes], fault: Callable[[int, str], bytes]
) -> Sequence[bytes]:
    """The pieces; a fault where they hold what XML-RPC cannot carry."""
    try:
        return await gently.collected(pieces)
    except NotCarriedError as error:
        logger.warning("the answer of %s cannot be sent: %s", method, error)
        return (fault(FaultCode.NOT_CARRIED, f"{method} was done, but its answer cannot be sent: {error}"),)


async def _reply(answer: Sequence[bytes], accepted: str) -> HttpReply:
    if sum(map(len, answer)) < _GZIP_FROM or not _accepts_gzip(accepted):
        return HttpReply(answer, XML)
    packed = await gently.collected(_gzip_in_pieces(answer))
    return HttpReply(packed, XML, headers={"Content-Encoding": "gzip"})


def _accepts_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip, and does not forbid it."""
    for entry in accepted.lower().split(","):
        name, _, quality = entry.partition(";")
        if name.strip() == "gzip":
            return quality.strip().rstrip("0") not in ("q=", "q=.", "q=0.")
    return False


def _gzip_in_pieces(answer: Sequence[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP_FORM)
    for part in answer:
        view = memoryview(part)
        for start in range(0, len(view), _GZIP_PIECE):
            yield packer.compress(view[start : start + _GZIP_PIECE])
    yield packer.flush()
