"""The old side's runner: admits callers and answers calls, the same for every wire.

The order is a DIRAC service's: service, action, authorisation; acknowledgement; then method, argument
types, call (legacy-wire.md, section 2).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from legacy_rpc.authorisation import ANONYMOUS, VISITOR, Rule, identify, rule_in_force
from legacy_rpc.credentials import Directory
from legacy_rpc.messages import (
    FILE_TRANSFER,
    RPC,
    Answered,
    AnyCredential,
    Call,
    Credential,
    Errno,
    Failure,
    Identity,
    Outcome,
    Proposal,
    Release,
    Reply,
    Write,
    transfer_name,
)

logger = logging.getLogger(__name__)

# Connections for messages, which only executors make (sheet, section 5.1).
CONNECTIONS = ("Connection", "Message")
# Of a service or a method; they are written into logs and answers.
LONGEST_NAME = 200
# What a DIRAC service says of a transfer that it does not offer (sheet, section 2).
TRANSFERS_REFUSED = {
    "FromClient": "receiving files",
    "ToClient": "sending files",
    "BulkFromClient": "bulk receiving",
    "BulkToClient": "bulk sending",
    "ListBulk": "bulk listing",
}


_ANYONE = Rule.parse(("all",))


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many seconds a call may take, and how many a caller may have running at a time."""

    seconds: float = 600.0
    per_caller: int = 100


class MethodRecord(Protocol):
    """What the front door needs to know of a method."""

    @property
    def rule(self) -> Rule:
        """Who may call it, unless the registry says otherwise."""

    @property
    def hard_coded(self) -> bool:
        """The rule is its own: only what the registry says of this very method outweighs it."""

    @property
    def write(self) -> Write:
        """What repeating it would do."""

    @property
    def transfer(self) -> bool:
        """It moves a file."""

    @property
    def builtin(self) -> bool:
        """It is about the service itself, and goes where the service is."""

    def check(self, arguments: Sequence[Any], release: Release | None = None) -> None:
        """Raise Failure for arguments of wrong type or number, for a client of that release."""


class Passing(Protocol):
    """Which calls are passed through to an existing service elsewhere, by the plan in force."""

    def may(self, service: str, method: str) -> bool:
        """Whether a call may come to that; also of what the table does not have."""

    def must(self, service: str, method: str) -> bool:
        """Whether every call does, so that its arguments are that service's to judge."""


class NothingPassed:
    """Everything is answered here."""

    def may(self, service: str, method: str) -> bool:  # noqa: ARG002 - whatever it is
        """Never."""
        return False

    must = may


class ServiceRecord(Protocol):
    """What the front door needs to know of a service."""

    @property
    def default_rule(self) -> Rule:
        """Who may call a method that the service does not have: they are told that it is unknown."""

    @property
    def methods(self) -> Mapping[str, MethodRecord]:
        """The methods by name."""


class Services(Protocol):
    """The table of services."""

    def service(self, name: str) -> ServiceRecord | None:
        """A service by name."""


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """What is logged and counted of a call; ``seconds`` without the wire's share."""

    call: Call
    answered: Answered
    seconds: float


class FrontDoor:
    """Admits and answers.

    ``native`` runs a method's native handler and raises Failure; ``route`` decides which side answers, has it
    answer, and raises nothing.  ``finished`` is told of every call, those that were refused admission too.
    """

    def __init__(
        self,
        services: Services,
        directory: Callable[[], Directory],
        native: Callable[[Call], Awaitable[Reply]],
        route: Callable[[Call], Awaitable[Answered]],
        finished: Callable[[FinishedCall], None],
        limits: CallLimits | None = None,
        passing: Passing | None = None,
    ) -> None:
        self._passing = passing or NothingPassed()
        self._limits = limits or CallLimits()
        self._running: Counter[tuple[str, str]] = Counter()
        self._left_behind: set[asyncio.Task[Answered]] = set()
        self._services = services
        self._directory = directory
        self._native = native
        self._route = route
        self._finished = finished

    def admit(self, proposal: Proposal, credential: AnyCredential | None) -> Identity:
        """Who calls, if they may.  Raises Failure, to be sent in place of the acknowledgement."""
        try:
            return self._admitted(proposal, credential)
        except Failure as failure:
            self._tell(_refused(proposal, credential, failure))
            raise

    def _admitted(self, proposal: Proposal, credential: AnyCredential | None) -> Identity:
        if max(len(proposal.service), len(proposal.method)) > LONGEST_NAME:
            problem = f"No service and no method has a name of more than {LONGEST_NAME} characters"
            raise Failure(problem, reason="unknown-method")
        service = self._services.service(proposal.service)
        if service is None and not self._passing.may(proposal.service, proposal.name):
            raise Failure(f"{proposal.service} is not up in this server", reason="unknown-service")
        if proposal.action in CONNECTIONS:
            # An error in place of the acknowledgement ends it: DIRAC's MessageClient keeps the text only,
            # whatever the number, and reconnects only when a connection is lost that had been accepted.
            raise Failure(f"{proposal.action} is not offered here: executors need DIRAC's own service")
        if proposal.action not in (RPC, FILE_TRANSFER):
            raise Failure(f"{proposal.action} is not a known action type")
        directory = self._directory()
        elsewhere = (service is None or proposal.name not in service.methods) and self._passing.may(
            proposal.service, proposal.name
        )
        if service is None or elsewhere:
            rule = _rule_elsewhere(proposal, directory)
        else:
            rule = _rule(service, proposal, directory)
        identity = identify(credential, proposal.extra_credentials, rule, directory)
        if elsewhere and not identity.dn:  # nobody can be called for who has no name
            raise Failure.of(Errno.ENOAUTH, "Unauthorized query")
        return identity

    async def handle(self, call: Call) -> Outcome:
        """The result of an admitted call; never raises."""
        started = time.perf_counter()
        answered = await self._within_limits(call)
        self._tell(FinishedCall(call, answered, time.perf_counter() - started))
        if answered.route == "refused" and isinstance(answered.outcome, Failure):
            answered.outcome.reason = answered.reason
        return answered.outcome

    async def _within_limits(self, call: Call) -> Answered:
        caller = (call.identity.dn or call.peer, call.identity.group)
        if self._running[caller] >= self._limits.per_caller:
            problem = f"{self._limits.per_caller} of your calls are being served: wait for some to end"
            return Answered(Failure(problem), "refused", "overload")
        seconds = self._seconds_for(call)
        if seconds == 0.0:
            problem = f"{call.method} was not begun: the time for it was over"
            return Answered(Failure(problem), "refused", "timeout")
        self._running[caller] += 1
        if self._writes(call):
            return await self._written(call, caller, seconds)
        try:
            async with asyncio.timeout(seconds):
                return await self._answered(call)
        except TimeoutError:
            return _too_late(call)
        finally:
            self._leave(caller)

    async def _written(self, call: Call, caller: tuple[str, str], seconds: float | None) -> Answered:
        """The answer of a call that writes; out of time it goes on, or its work would be half done."""
        task = asyncio.ensure_future(self._answered(call))
        task.add_done_callback(lambda _task: self._leave(caller))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
        self._left_behind.add(task)
        task.add_done_callback(self._left_behind.discard)
        return _too_late(call, ": it goes on, and its outcome is unknown")

    def _writes(self, call: Call) -> bool:
        service = self._services.service(call.service)
        method = service.methods.get(call.method) if service else None
        if method is None:
            return self._passing.may(call.service, call.method)
        return method.write is not Write.READ

    def _leave(self, caller: tuple[str, str]) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]

    def _seconds_for(self, call: Call) -> float | None:
        """A transfer takes as long as its bytes, each block of which has a time of its own."""
        if call.incoming is not None or call.outgoing is not None:
            return None
        if call.deadline is None:
            return self._limits.seconds
        return min(self._limits.seconds, max(0.0, call.deadline - asyncio.get_running_loop().time()))

    async def _answered_by_us(self, call: Call) -> Answered:
        try:
            outcome: Outcome = await self._native(call)
        except Failure as failure:
            outcome = failure
        return Answered(outcome, "native", "builtin")

    def _tell(self, finished: FinishedCall) -> None:
        """Log and count; a fault there must not cost the caller the answer."""
        try:
            self._finished(finished)
        except Exception:
            logger.exception("a call could not be logged or counted")

    async def _answered(self, call: Call) -> Answered:
        service = self._services.service(call.service)
        method = service.methods.get(call.method) if service else None
        passed = self._passing.may(call.service, call.method)
        if (method is None and not passed) or _lacks_its_file(call):
            return Answered(_unknown(call.method), "refused", "unknown-method")
        try:
            if method is not None and not self._passing.must(call.service, call.method):
                method.check(call.arguments, call.release)
        except Failure as failure:
            return Answered(failure, "refused", "arguments")
        try:
            ours = method is not None and method.builtin and not passed
            return await (self._answered_by_us(call) if ours else self._route(call))
        except Exception as error:
            logger.exception("unhandled error in %s.%s", call.service, call.method)
            return Answered(
                Failure(f"Server error while serving {call.method}: {error}"), "refused", "internal-error"
            )


def _rule(service: ServiceRecord, proposal: Proposal, directory: Directory) -> Rule:
    """Who may do what is proposed.  What the service does not have is under its default rule."""
    method = service.methods.get(proposal.name)
    declared, hard_coded = (method.rule, method.hard_coded) if method else (service.default_rule, False)
    written = directory.authorization(proposal.service)
    return rule_in_force(written, proposal.name, declared, hard_coded=hard_coded)


def _rule_elsewhere(proposal: Proposal, directory: Directory) -> Rule:
    """Who may have passed through what the table does not have: all whom the service there lets in.

    Its methods may have rules of their own, which the registry's ``Default`` does not replace; so only what
    the registry says of this very method counts here.
    """
    written = directory.authorization(proposal.service)
    return rule_in_force(written, proposal.name, _ANYONE, hard_coded=True)


def _too_late(call: Call, fate: str = "") -> Answered:
    problem = f"{call.method} was not done within the time for a call{fate}"
    return Answered(Failure(problem), "refused", "timeout")


def _lacks_its_file(call: Call) -> bool:
    """Whether a transfer was asked for as if it were a call."""
    if not call.method.startswith(f"{FILE_TRANSFER}/"):
        return False
    return call.incoming is None and call.outgoing is None and call.method != transfer_name("ListBulk")


def _unknown(name: str) -> Failure:
    kind, _, action = name.partition("/")
    if kind == FILE_TRANSFER and action in TRANSFERS_REFUSED:
        return Failure(f"This server does no allow {TRANSFERS_REFUSED[action]}")
    return Failure(f"Unknown method {name}")


def _refused(proposal: Proposal, credential: AnyCredential | None, failure: Failure) -> FinishedCall:
    """The record of a caller who was turned away: known by no more than the certificate."""
    dn = credential.dn if isinstance(credential, Credential) else ""
    nobody = Identity(ANONYMOUS, VISITOR, kind=ANONYMOUS, dn=dn, credential=credential)
    service, method = proposal.service[:LONGEST_NAME], proposal.method[:LONGEST_NAME]
    call = replace(proposal, service=service, method=method).call((), nobody)
    return FinishedCall(call, Answered(failure, "refused", "admission"), 0.0)
