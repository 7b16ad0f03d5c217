"""Which side a call goes to, and why (migration.md, Routing one call)."""

from __future__ import annotations

from dataclasses import dataclass

from migration_plans.plan import Old, Plan, State

NATIVE = Old.NATIVE
UPSTREAM = Old.UPSTREAM
REST = "rest"


@dataclass(frozen=True, slots=True)
class Decision:
    """A route, and the reason for it: a short word that can be a label."""

    route: str
    reason: str


def decide(plan: Plan, service: str, method: str, *, token_available: bool) -> Decision:
    """Where one call of a method goes.

    ``token_available``: a token can be had for the caller's VO and group; without one a call stays on the
    old side, whatever the plan says.  The old side is ``native`` or ``upstream``.
    """
    entry = plan.entry(service, method)
    old = plan.old(service, method)
    if entry.state is State.LEGACY:
        return Decision(old, State.LEGACY if entry.line else "default")
    if not token_available:
        return Decision(old, "no-token")
    return Decision(REST, State.LIVE)
