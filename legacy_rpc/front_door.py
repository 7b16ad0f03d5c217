"""The old side's runner: admits callers and answers calls, the same for every wire.

The order is a DIRAC service's: service, action, authorisation; acknowledgement; then method, argument
types, call (legacy-wire.md, section 2).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from legacy_rpc.authorisation import ANONYMOUS, VISITOR, Rule, identify
from legacy_rpc.credentials import Directory
from legacy_rpc.messages import Answered, Call, Credential, Failure, Identity, Outcome, Proposal, Reply

logger = logging.getLogger(__name__)

RPC = "RPC"


class MethodRecord(Protocol):
    """What the front door needs to know of a method."""

    @property
    def rule(self) -> Rule:
        """Who may call it."""

    @property
    def builtin(self) -> bool:
        """It is about the service itself, and is never routed."""

    def check(self, arguments: Sequence[Any]) -> None:
        """Raise Failure for arguments of wrong type or number."""


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
    ) -> None:
        self._services = services
        self._directory = directory
        self._native = native
        self._route = route
        self._finished = finished

    def admit(self, proposal: Proposal, credential: Credential | None) -> Identity:
        """Who calls, if they may.  Raises Failure, to be sent in place of the acknowledgement."""
        try:
            return self._admitted(proposal, credential)
        except Failure as failure:
            self._tell(_refused(proposal, credential, failure))
            raise

    def _admitted(self, proposal: Proposal, credential: Credential | None) -> Identity:
        service = self._services.service(proposal.service)
        if service is None:
            raise Failure(f"{proposal.service} is not up in this server")
        if proposal.action != RPC:
            raise Failure(f"{proposal.action} is not a known action type")
        method = service.methods.get(proposal.method)
        rule = method.rule if method else service.default_rule
        return identify(credential, proposal.extra_credentials, rule, self._directory())

    async def handle(self, call: Call) -> Outcome:
        """The result of an admitted call; never raises."""
        started = time.perf_counter()
        answered = await self._answered(call)
        self._tell(FinishedCall(call, answered, time.perf_counter() - started))
        return answered.outcome

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
        if method is None:
            return Answered(Failure(f"Unknown method {call.method}"), "refused", "unknown-method")
        try:
            method.check(call.arguments)
        except Failure as failure:
            return Answered(failure, "refused", "arguments")
        try:
            return await (self._answered_by_us(call) if method.builtin else self._route(call))
        except Exception as error:
            logger.exception("unhandled error in %s.%s", call.service, call.method)
            return Answered(
                Failure(f"Server error while serving {call.method}: {error}"), "refused", "internal-error"
            )


def _refused(proposal: Proposal, credential: Credential | None, failure: Failure) -> FinishedCall:
    """The record of a caller who was turned away: known by no more than the certificate."""
    nobody = Identity(
        ANONYMOUS, VISITOR, kind=ANONYMOUS, dn=credential.dn if credential else "", credential=credential
    )
    call = Call(
        service=proposal.service,
        method=proposal.method,
        arguments=(),
        identity=nobody,
        wire=proposal.wire,
        client_version=proposal.client_version,
        peer=proposal.peer,
    )
    return FinishedCall(call, Answered(failure, "refused", "admission"), 0.0)
