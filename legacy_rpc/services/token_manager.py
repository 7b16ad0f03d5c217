"""Framework/TokenManager (legacy-methods.md, section 12): records only, there are no handlers here."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.table import Context, Service

_ABOUT = """\
Tokens of identity providers that DIRAC keeps for its users. Calls are [passed
through](plan.md#the-old-side) to DIRAC's own service; without an `upstream` they are an error that says
so. Tokens of Wherry itself are [another thing](authentication.md)."""

token_manager = Service(
    "Framework/TokenManager", handler_class="TokenManagerHandler", about=_ABOUT, elsewhere=True
)


@token_manager.method(since="8.0", authorization=("authenticated",))
async def getUserTokensInfo(_context: Context) -> None:
    """Answers which tokens there are of the caller."""


@token_manager.method(since="8.0", authorization=("ProxyManagement",))
async def getUsersTokensInfo(_context: Context, users: Any) -> None:
    """Answers which tokens there are of some users."""


@token_manager.method(None, None, None, None, None, write=Write.IDEMPOTENT, since="8.0")
async def getToken(
    _context: Context,
    username: Any,
    userGroup: Any,
    scope: Any,
    audience: Any,
    identityProvider: Any,
    requiredTimeLeft: Any = 0,
) -> None:
    """Answers a token of a user for a scope and an audience; the service may have it renewed."""


@token_manager.method(str, write=Write.IDEMPOTENT, since="8.0")
async def deleteToken(_context: Context, userDN: str) -> None:
    """Deletes the tokens of a user."""


@token_manager.method(str, since="8.0")
async def getTokensByUserID(_context: Context, userID: str) -> None:
    """Answers the tokens of one who is known to the identity provider by this id."""
