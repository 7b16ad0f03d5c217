"""The backend of live methods where it is another one: our own REST backend elsewhere, or a real DiracX."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from adaptor.conversation import RestFailure
from adaptor.http_backend import HttpBackend, routes_of
from adaptor.http_session import Target
from adaptor.methods.catalogue import ADAPTORS
from adaptor.routes import Offered, uses_of
from legacy_rpc.messages import Failure
from legacy_rpc.services.table import TokenPair
from migration_plans.plan import Plan, State

if TYPE_CHECKING:
    from legacy_rpc.messages import Identity
    from wherry.config import Config


class TargetAway(Exception):
    """The target could not be asked; the text is one line."""


def target_of(config: Config) -> Target | None:
    """Where live methods go; None: to our own backend, in process."""
    rest = config.rest
    if rest is None or not rest.elsewhere:
        return None
    return Target(rest.target, rest.exchange_key, rest.target_ca)


def target_tokens(backend: HttpBackend) -> Callable[[Identity], Awaitable[TokenPair]]:
    """What gives legacy callers tokens where new clients talk to the target itself.

    They can be prolonged for as long as what the caller proved its identity with is good.
    """

    async def issue(identity: Identity) -> TokenPair:
        if identity.credential is None:
            raise Failure(f"{identity.username} gets no tokens: only users in a VO do")
        minutes = max(1, identity.credential.seconds_left(datetime.now(UTC)) // 60)
        try:
            tokens = await backend.exchange(identity, refresh_minutes=minutes)
        except RestFailure as failure:
            raise Failure(f"No tokens can be had now: {failure.detail}") from failure
        if tokens is None:
            raise Failure(f"{identity.username} in {identity.group} gets no tokens from the REST backend")
        return TokenPair(tokens.text, tokens.seconds, tokens.refresh)

    return issue


async def not_carried(target: Target, plan: Plan) -> list[str]:
    """A line for every live method that needs a route which the target has not.  Raises TargetAway."""
    try:
        offered = await routes_of(target)
    except RestFailure as failure:
        raise TargetAway(f"`rest.target`: {failure.detail}") from failure
    return list(_lines(target, plan, offered))


def _lines(target: Target, plan: Plan, offered: Offered) -> Iterator[str]:
    for (service, method), adaptor in ADAPTORS.items():
        entry = plan.entry(service, method)
        missing = offered.missing(uses_of(adaptor))
        if entry.state is State.LIVE and missing:
            routes = ", ".join(map(str, missing))
            yield (
                f"line {entry.line}: {method} of {service} stays on the old side: "
                f"{target.url} has no {routes}"
            )
