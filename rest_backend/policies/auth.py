"""Who may get, see and revoke tokens (rest-diracx.md, section 5)."""

from __future__ import annotations

from rest_backend.errors import Forbidden
from rest_backend.operations import Policy
from rest_backend.policies.common import anyone
from rest_backend.principals import Principal
from shared_db.queries.refresh_tokens import StoredToken

PROOF = Policy(
    "proof",
    "Anybody who brings what the request is about: a code, a token to renew or revoke, a key; nobody for"
    " more than that proves.",
    anyone,
    public=True,
)

OWN_REFRESH_TOKENS = Policy(
    "own-refresh-tokens", "Anybody with a valid token: the own ones. ProxyManagement: everybody's.", anyone
)


def sees_all_tokens(caller: Principal) -> bool:
    """False for a caller who deals with the own tokens only."""
    return caller.has("ProxyManagement")


def require_own(caller: Principal, stored: StoredToken) -> None:
    """Raise Forbidden for a token that the caller may not revoke."""
    if not sees_all_tokens(caller) and stored.subject != f"{caller.vo}:{caller.subject}":
        raise Forbidden("Cannot revoke a refresh token owned by someone else")


POLICIES = (PROOF, OWN_REFRESH_TOKENS)
