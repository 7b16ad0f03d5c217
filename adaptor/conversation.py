"""The whole adaptor interface.

An adaptor is a generator function.  Its name is the legacy method, its parameters are the legacy
signature (and, if it wants it, the keyword ``call``); it *yields* REST requests and *returns* the legacy
value, or a Reply with extra keys, or raises a Failure.  One of a file transfer also yields what moves the
file.  It does no I/O, so a test is a row: arguments, expected requests with scripted answers, expected value.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from legacy_rpc.messages import Call, Reply, transfer_name
from shared_db.rules.archives import Repacking

# How many requests of one step are on their way at a time.
CONCURRENT_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One REST request; ``body`` is made of JSON's types."""

    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """False for requests that only read, whatever their HTTP method says."""
        return self.method != "GET" and not self.path.endswith(("/search", "/summary", "/search/logs"))


class RestFailure(Exception):
    """A request was answered with an error status, or (``status`` 0) not at all.

    ``sent``: whether the backend may have begun with it.
    """

    def __init__(self, status: int, detail: Any, *, sent: bool = True) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.sent = sent

    @property
    def not_executed(self) -> bool:
        """True when the backend certainly did nothing: the request never left, it has no such route, or it
        did not pass validation.  A 404 about a job or a pilot is not such a case.
        """
        no_such_route = self.status == 404 and self.detail == "Not Found"
        return not self.sent or no_such_route or self.status in (405, 422, 501)


@dataclass(frozen=True, slots=True)
class Spool:
    """Take the file that the client sends; the answer is a Spooled.

    Raises Refusal for one of more than ``largest`` bytes.
    """

    largest: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Send a spooled file where the backend said, with the fields of its form."""

    url: str
    fields: Mapping[str, str]
    path: Path


@dataclass(frozen=True, slots=True)
class Download:
    """Give the client what is at a URL of the backend's, through ``repacking`` where there is one."""

    url: str
    repacking: Callable[[], Repacking] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that only waits, for what another has yet to do; nothing is open meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class InThread:
    """A step that only computes, and for so long that others are to be served meanwhile."""

    run: Callable[[], Any]


FileStep = Spool | Upload | Download
Step = Request | tuple[Request, ...] | Pause | InThread | FileStep
Conversation = Generator[Step, Any, Any]
Adaptor = Callable[..., Conversation]
A = TypeVar("A", bound=Adaptor)
Send = Callable[[Request], Awaitable[Any]]
Move = Callable[[FileStep], Awaitable[Any]]


async def _no_files(step: FileStep) -> Any:
    raise TypeError(f"{type(step).__name__}: this conversation moves no file")


class LegacyService:
    """The adaptors of one DIRAC service."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.adaptors: dict[str, Adaptor] = {}

    def adapts(self, adaptor: A) -> A:
        """Register the decorated function under its own name."""
        self.adaptors[adaptor.__name__] = adaptor
        return adaptor

    def transfers(self, action: str) -> Callable[[A], A]:
        """Register the decorated function as a transfer: ``FromClient``, ``ToClient`` ..."""

        def register(adaptor: A) -> A:
            self.adaptors[transfer_name(action)] = adaptor
            return adaptor

        return register


def open_conversation(adaptor: Adaptor, call: Call) -> Conversation:
    """Start the adaptor with a call's arguments, which the method's record has checked."""
    if _wants_call(adaptor):
        return adaptor(*call.arguments, call=call)
    return adaptor(*call.arguments)


@cache
def _wants_call(adaptor: Adaptor) -> bool:
    return "call" in inspect.signature(adaptor).parameters


async def converse(
    conversation: Conversation,
    send: Send,
    move: Move = _no_files,
    *,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Reply:
    """Play a conversation to its end; ``send`` gives the body of an answer or raises RestFailure.

    ``move`` does what moves the file of a transfer, and raises RestFailure, too.
    """
    try:
        step = next(conversation)
        while True:
            try:
                answer = None
                if isinstance(step, Pause):
                    await wait(step.seconds)
                elif isinstance(step, InThread):
                    answer = await asyncio.to_thread(step.run)
                else:
                    answer = await _answer(step, send, move)
            except RestFailure as failure:
                step = conversation.throw(failure)
            else:
                step = conversation.send(answer)
    except StopIteration as end:
        return end.value if isinstance(end.value, Reply) else Reply(end.value)


async def _answer(step: Request | tuple[Request, ...] | FileStep, send: Send, move: Move) -> Any:
    """The body of one answer, or those of several; the first failure wins, after all have ended."""
    if isinstance(step, Request):
        return await send(step)
    if isinstance(step, FileStep):
        return await move(step)
    slots = asyncio.Semaphore(CONCURRENT_REQUESTS)

    async def sent(request: Request) -> Any:
        async with slots:
            return await send(request)

    answers = await asyncio.gather(*map(sent, step), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return tuple(answers)
