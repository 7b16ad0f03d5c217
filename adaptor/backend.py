"""Sends requests to the new side on behalf of a caller: the only I/O of this package."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Identity

# A token is not used when it ends within so many seconds: a conversation must not outlive it.
TOKEN_MARGIN_SECONDS = 60.0
CACHED_TOKENS = 10_000


class Token(Protocol):
    """A caller's access token, and the principal it stands for; ``expires`` is in epoch seconds."""

    @property
    def text(self) -> str: ...

    @property
    def principal(self) -> Any: ...

    @property
    def expires(self) -> float: ...


class TokenCache:
    """One token per caller: minted when first needed, again before it ends, never shared between groups.

    ``mint`` gives None for a caller who can have no token (a group without a VO, say).
    """

    def __init__(
        self,
        mint: Callable[[Identity], Token | None],
        *,
        size: int = CACHED_TOKENS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mint = mint
        self._size = size
        self._clock = clock
        self._tokens: OrderedDict[tuple[Any, ...], Token] = OrderedDict()

    def token_for(self, identity: Identity) -> Token | None:
        """A token that is good for a while, or None."""
        key = (
            identity.kind,
            identity.username,
            identity.group,
            identity.vo,
            identity.properties,
            identity.by_token,
        )
        token = self._tokens.get(key)
        if token is None or token.expires - self._clock() < TOKEN_MARGIN_SECONDS:
            token = self._mint(identity)
            if token is None:
                return None
            self._tokens[key] = token
            if len(self._tokens) > self._size:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(key)
        return token


class Answer(Protocol):
    """What the in-process shell gives back; ``body`` is made of JSON's types."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> Any: ...


class Backend(Protocol):
    """Where requests go."""

    def can_serve(self, identity: Identity) -> bool:
        """Whether a token can be had for the caller."""

    async def send(self, identity: Identity, request: Request) -> Any:
        """The body of a successful answer.  Raises RestFailure."""


# (method, path, query, body, principal) -> answer
Call = Callable[[str, str, Mapping[str, Any], Any, Any], Awaitable[Answer]]


class InProcessBackend:
    """Our own REST backend, by a plain call of its runner: same validation, policy and errors, no socket."""

    def __init__(self, call: Call, tokens: TokenCache) -> None:
        self._call = call
        self._tokens = tokens

    def can_serve(self, identity: Identity) -> bool:
        """Whether a token can be had for the caller."""
        return self._tokens.token_for(identity) is not None

    async def send(self, identity: Identity, request: Request) -> Any:
        """The body of a successful answer.  Raises RestFailure."""
        token = self._tokens.token_for(identity)
        if token is None:
            raise RestFailure(401, f"no token can be had for {identity.username} in {identity.group}")
        answer = await self._call(request.method, request.path, request.query, request.body, token.principal)
        if answer.status >= 400:
            detail = answer.body["detail"] if isinstance(answer.body, dict) else answer.body
            raise RestFailure(answer.status, detail)
        return answer.body
