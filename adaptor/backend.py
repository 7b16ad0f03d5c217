"""Sends requests to the new side on behalf of a caller: in process here, over HTTP in http_backend.py.

The only I/O of this package.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from adaptor.conversation import Request, RestFailure
from adaptor.routes import Uses
from legacy_rpc.messages import Identity

# A token is not used when it ends within so many seconds: a conversation must not outlive it.
TOKEN_MARGIN_SECONDS = 60.0
CACHED_TOKENS = 10_000


class Token(Protocol):
    """A caller's access token; ``expires`` is in epoch seconds."""

    @property
    def expires(self) -> float: ...


class OwnToken(Token, Protocol):
    """One of our own backend, which knows whom it stands for."""

    @property
    def principal(self) -> Any: ...


T = TypeVar("T", bound=Token)
# Gives None for a caller who can have no token (in a group without a VO, say).  May raise RestFailure.
Mint = Callable[[Identity], Awaitable[T | None]]


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    """A token, or that there is none, until it is to be asked for again."""

    token: T | None
    until: float


class TokenCache(Generic[T]):
    """One token per caller: minted when first needed, again before it ends, never shared between groups.

    Whoever needs a token that is being minted waits for that one.  ``refusal_seconds``: for how long a
    caller who can have none is not asked about again.
    """

    def __init__(
        self,
        mint: Mint[T],
        *,
        size: int = CACHED_TOKENS,
        refusal_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mint = mint
        self._size = size
        self._refusal_seconds = refusal_seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[Any, ...], _Kept[T]] = OrderedDict()
        self._minting: dict[tuple[Any, ...], asyncio.Task[T | None]] = {}

    async def token_for(self, identity: Identity) -> T | None:
        """A token that is good for a while, or None.  Raises what ``mint`` raises."""
        key = _key(identity)
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.until:
            self._kept.move_to_end(key)
            return kept.token
        task = self._minting.get(key)
        if task is None:
            task = asyncio.create_task(self._minted(key, identity))
            self._minting[key] = task
            task.add_done_callback(_look_at)
        # One caller who goes away takes nobody's token along.
        return await asyncio.shield(task)

    async def another(self, identity: Identity, refused: T) -> T | None:
        """A token in place of one that was refused, unless there is another already."""
        key = _key(identity)
        kept = self._kept.get(key)
        if kept is not None and kept.token is refused:
            del self._kept[key]
        return await self.token_for(identity)

    async def _minted(self, key: tuple[Any, ...], identity: Identity) -> T | None:
        try:
            token = await self._mint(identity)
            now = self._clock()
            left = token.expires - now if token else self._refusal_seconds
            # A token that is short-lived is used for half its time.
            self._kept[key] = _Kept(token, now + left - (min(TOKEN_MARGIN_SECONDS, left / 2) if token else 0))
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return token
        finally:
            del self._minting[key]


def _key(identity: Identity) -> tuple[Any, ...]:
    return (
        identity.kind,
        identity.username,
        identity.group,
        identity.vo,
        identity.properties,
        identity.by_token,
    )


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is nobody's."""
    if not task.cancelled():
        task.exception()


def no_token(identity: Identity) -> RestFailure:
    """The failure of a request that cannot be sent."""
    return RestFailure(401, f"no token can be had for {identity.username} in {identity.group}", sent=False)


class Answer(Protocol):
    """What the in-process shell gives back; ``body`` is made of JSON's types."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> Any: ...


class Backend(Protocol):
    """Where requests go."""

    async def can_serve(self, identity: Identity) -> bool:
        """Whether a token can be had for the caller."""

    async def can_carry(self, uses: Uses) -> bool:
        """Whether there is every route that an adaptor needs, as far as is known."""

    async def send(self, identity: Identity, request: Request) -> Any:
        """The body of a successful answer.  Raises RestFailure."""


# (method, path, query, body, principal) -> answer
Call = Callable[[str, str, Mapping[str, Any], Any, Any], Awaitable[Answer]]


class InProcessBackend:
    """Our own REST backend, by a plain call of its runner: same validation, policy and errors, no socket."""

    def __init__(self, call: Call, tokens: TokenCache[OwnToken]) -> None:
        self._call = call
        self._tokens = tokens

    async def can_serve(self, identity: Identity) -> bool:
        """Whether a token can be had for the caller."""
        return await self._tokens.token_for(identity) is not None

    async def can_carry(self, uses: Uses) -> bool:  # noqa: ARG002 - every route is there
        """Always: tests hold that our own backend has what adaptors need."""
        return True

    async def send(self, identity: Identity, request: Request) -> Any:
        """The body of a successful answer.  Raises RestFailure."""
        token = await self._tokens.token_for(identity)
        if token is None:
            raise no_token(identity)
        answer = await self._call(request.method, request.path, request.query, request.body, token.principal)
        if answer.status >= 400:
            detail = answer.body["detail"] if isinstance(answer.body, dict) else answer.body
            raise RestFailure(answer.status, detail)
        return answer.body
