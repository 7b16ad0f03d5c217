"""Whether the caller whom a token names may still act: asked of the registry and of what was revoked.

Everything asked is in memory, so that each request can ask.
"""

from __future__ import annotations

from collections.abc import Callable

from rest_backend.errors import Unauthorized
from rest_backend.principals import Principal
from rest_backend.revocations import Revocations
from rest_backend.tokens import AccessToken, TokenIssuer
from shared_db.registry import Registry

HOSTS_GROUP = "hosts"
HOSTS_VO = ""


class Gatekeeper:
    """Verifies access tokens: what they say, and whether it is still so."""

    def __init__(
        self, issuer: TokenIssuer, registry: Callable[[], Registry], revocations: Revocations
    ) -> None:
        self._issuer = issuer
        self._registry = registry
        self._revocations = revocations

    def verify(self, text: str) -> AccessToken:
        """A token with what it proves.  Raises Unauthorized: ``Invalid JWT``."""
        token = self._issuer.verify_access(text)
        if self._revocations.refuses(token) or not is_known(token.principal, self._registry()):
            raise Unauthorized("Invalid JWT")
        return token


def is_known(principal: Principal, registry: Registry) -> bool:
    """Whether the registry still has a caller as the token says.

    A user must be in the group, and not suspended in its VO.  Properties are those of the token: they were
    right when it was issued.
    """
    if principal.pilot_stamp:
        return principal.vo in registry.vos
    if principal.vo == HOSTS_VO and principal.group == HOSTS_GROUP:
        known = principal.username in registry.hosts
        return known and registry.subject(principal.username, HOSTS_VO) == principal.subject
    user = registry.user_with_subject(principal.subject, principal.vo)
    return (
        user is not None
        and user.name == principal.username
        and registry.vo_of(principal.group) == principal.vo
        and registry.may_act(user.name, principal.group)
    )
