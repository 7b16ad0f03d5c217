"""Decides which side answers a call, and has it answer; never executes a write twice.

The sides arrive as callables: ``native`` runs a native handler, ``upstream`` passes a call through to an
existing service, the backend takes REST requests.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from adaptor.backend import Backend
from adaptor.conversation import Adaptor, Request, RestFailure, converse, open_conversation
from adaptor.moving import Files, Mover
from adaptor.routes import uses_of
from legacy_rpc.messages import Answered, Call, Errno, Failure, Identity, Outcome, Reply, Write
from migration_plans.plan import Old, Plan
from migration_plans.routing import NATIVE, REST, UPSTREAM, Decision, decide
from shared_db.rules.refusals import Refusal, UnfitArgument

logger = logging.getLogger(__name__)

# The reason where the REST backend has not all routes that an adaptor needs.
NO_ROUTE = "no-route"

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
        upstream: Native | None = None,
        files: Files | None = None,
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._adaptors = adaptors
        self._write_class = write_class
        self._translated = translated
        self._files = files
        self._old_sides = {NATIVE: native, UPSTREAM: upstream or native}

    async def decide(self, service: str, method: str, identity: Identity) -> Decision:
        """Where a call would go; a token is asked for where the plan says REST."""
        plan = self._plan()
        decision = decide(plan, service, method, token_available=True)
        if decision.route != REST:
            return decision
        adaptor = self._adaptors.get((service, method))
        carried = adaptor is None or await self._backend.can_carry(uses_of(adaptor))
        if adaptor is not None and carried and await self._backend.can_serve(identity):
            return decision
        old = decide(plan, service, method, token_available=False)
        return old if carried else replace(old, reason=NO_ROUTE)

    async def answer(self, call: Call) -> Answered:
        """Have the side that the plan names answer.  Never raises Failure: it is in the outcome."""
        decision = await self.decide(call.service, call.method, call.identity)
        if decision.route == REST:
            return await self._from_rest(call, decision.reason)
        return await self._from_old(call, Old(decision.route), decision.reason)

    async def _from_old(self, call: Call, old: Old, reason: str) -> Answered:
        try:
            outcome: Outcome = await self._old_sides[old](call)
        except Failure as failure:
            outcome = failure
        return Answered(outcome, old, reason)

    async def _from_rest(self, call: Call, reason: str) -> Answered:
        """Play the adaptor; fall back to the old side in force where that is safe."""
        sender = _Sender(self._backend, call.identity)
        mover = Mover(self._files, call)
        adaptor = self._adaptors[call.service, call.method]
        try:
            newest, restore = self._translated(call)
            async with mover:
                reply = await converse(open_conversation(adaptor, newest), sender.send, mover.move)
            return Answered(restore(reply), REST, reason)
        except Failure as failure:
            return Answered(failure, REST, reason)
        except Refusal as refusal:
            return Answered(Failure(refusal.message, refusal.errno), REST, reason)
        except UnfitArgument as error:
            return Answered(Failure(f"Server error while serving {call.method}: {error}"), REST, reason)
        except RestFailure as failure:
            write = self._write_class(call.service, call.method)
            if not mover.moved and _may_fall_back(write, wrote=sender.wrote):
                logger.warning("%s.%s falls back: REST answered %s", call.service, call.method, failure)
                old = self._plan().old(call.service, call.method)
                return await self._from_old(call, old, f"fallback-{failure.status}")
            return Answered(_failure_of(failure, call, write), REST, reason)


class _Sender:
    """Sends the requests of one conversation; ``wrote``: whether one of them did write, or may have."""

    def __init__(self, backend: Backend, identity: Identity) -> None:
        self._backend = backend
        self._identity = identity
        self.wrote = False

    async def send(self, request: Request) -> Any:
        try:
            answer = await self._backend.send(self._identity, request)
        except RestFailure as failure:
            self.wrote = self.wrote or (request.writes and not failure.not_executed)
            raise
        self.wrote = self.wrote or request.writes
        return answer


def _may_fall_back(write: Write, *, wrote: bool) -> bool:
    """Whether the old side may be asked after REST failed (design.md, the table of write classes)."""
    match write:
        case Write.READ | Write.IDEMPOTENT:
            return True
        case Write.APPEND | Write.CREATE:
            return not wrote
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
