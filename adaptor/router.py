"""Decides which side answers a call, and has it answer; never executes a write twice.

The two sides arrive as callables: ``native`` runs a native handler, the backend takes REST requests.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from adaptor.backend import Backend
from adaptor.conversation import Adaptor, Request, RestFailure, converse, open_conversation
from legacy_rpc.messages import Answered, Call, Errno, Failure, Identity, Outcome, Reply, Write
from migration_plans.plan import Plan
from migration_plans.routing import NATIVE, REST, Decision, decide
from shared_db.rules.refusals import Refusal, UnfitArgument

logger = logging.getLogger(__name__)

Native = Callable[[Call], Awaitable[Reply]]
# A call in the newest form of its method, and what puts the reply into the form of the caller's release.
Translated = Callable[[Call], tuple[Call, Callable[[Reply], Reply]]]


class Router:
    """Routes the calls of every method in the table."""

    def __init__(
        self,
        *,
        plan: Callable[[], Plan],
        native: Native,
        backend: Backend,
        adaptors: Mapping[tuple[str, str], Adaptor],
        write_class: Callable[[str, str], Write],
        translated: Translated,
    ) -> None:
        self._plan = plan
        self._native = native
        self._backend = backend
        self._adaptors = adaptors
        self._write_class = write_class
        self._translated = translated

    def decide(self, service: str, method: str, identity: Identity) -> Decision:
        """Where a call would go; sends nothing."""
        entry = (service, method) in self._adaptors
        available = entry and self._backend.can_serve(identity)
        return decide(self._plan(), service, method, token_available=available)

    async def answer(self, call: Call) -> Answered:
        """Have the side that the plan names answer.  Never raises Failure: it is in the outcome."""
        decision = self.decide(call.service, call.method, call.identity)
        if decision.route == REST:
            return await self._from_rest(call, decision.reason)
        return Answered(await self._from_native(call), NATIVE, decision.reason)

    async def _from_native(self, call: Call) -> Outcome:
        try:
            return await self._native(call)
        except Failure as failure:
            return failure

    async def _from_rest(self, call: Call, reason: str) -> Answered:
        """Play the adaptor; fall back to the native side where that is safe."""
        sender = _Sender(self._backend, call.identity)
        adaptor = self._adaptors[call.service, call.method]
        try:
            newest, restore = self._translated(call)
            reply = await converse(open_conversation(adaptor, newest), sender.send)
            return Answered(restore(reply), REST, reason)
        except Failure as failure:
            return Answered(failure, REST, reason)
        except Refusal as refusal:
            return Answered(Failure(refusal.message, refusal.errno), REST, reason)
        except UnfitArgument as error:
            return Answered(Failure(f"Server error while serving {call.method}: {error}"), REST, reason)
        except RestFailure as failure:
            write = self._write_class(call.service, call.method)
            if _may_fall_back(write, failure, wrote_before=sender.wrote_before):
                logger.warning("%s.%s falls back: REST answered %s", call.service, call.method, failure)
                return Answered(await self._from_native(call), NATIVE, f"fallback-{failure.status}")
            return Answered(_failure_of(failure, call, write), REST, reason)


class _Sender:
    """Sends the requests of one conversation, and remembers whether an earlier one wrote."""

    def __init__(self, backend: Backend, identity: Identity) -> None:
        self._backend = backend
        self._identity = identity
        self.wrote_before = False

    async def send(self, request: Request) -> Any:
        answer = await self._backend.send(self._identity, request)
        self.wrote_before = self.wrote_before or request.writes
        return answer


def _may_fall_back(write: Write, failure: RestFailure, *, wrote_before: bool) -> bool:
    """Whether the native side may be asked after REST failed (design.md, the table of write classes)."""
    match write:
        case Write.READ | Write.IDEMPOTENT:
            return True
        case Write.APPEND | Write.CREATE:
            return failure.not_executed and not wrote_before
        case Write.TRANSFER:
            return False


def _failure_of(failure: RestFailure, call: Call, write: Write) -> Failure:
    """An HTTP error that no adaptor handled, as a legacy one."""
    if failure.status in (401, 403):
        return Failure.of(Errno.ENOAUTH, str(failure.detail))
    if 400 <= failure.status < 500:
        return Failure(f"{call.method} was refused by the REST backend: {failure.detail}")
    if write is Write.READ:
        return Failure.of(Errno.EDB, str(failure.detail))
    return Failure(
        f"The outcome of {call.method} is unknown: the REST backend answered {failure.status or 'nothing'}"
        f" ({failure.detail}). Check before you repeat it"
    )
