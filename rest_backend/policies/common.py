"""Policies of no resource in particular."""

from __future__ import annotations

from typing import Any

from rest_backend.operations import Context, Policy


async def anyone(_context: Context, _body: Any, _parameters: Any) -> None:
    """Refuses nobody."""


PUBLIC = Policy("public", "Anybody, without a token.", anyone, public=True)
AUTHENTICATED = Policy("authenticated", "Anybody with a valid token.", anyone)

POLICIES = (PUBLIC, AUTHENTICATED)
