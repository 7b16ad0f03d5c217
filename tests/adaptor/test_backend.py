"""Tokens of callers, and our own backend in process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from adaptor.backend import InProcessBackend, TokenCache
from adaptor.conversation import Request, RestFailure
from adaptor.routes import Route, Uses
from legacy_rpc.messages import Identity

ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser",))
OUTSIDER = Identity("carol", "no_vo_group")


@dataclass
class Minted:
    text: str
    principal: str
    expires: float


class Mint:
    """Makes tokens, and remembers for whom; ``now`` is the time, ``waits`` holds it up."""

    def __init__(self, lifetime: float = 1200.0) -> None:
        self.lifetime = lifetime
        self.now = 1000.0
        self.minted: list[str] = []
        self.waits = asyncio.Event()
        self.waits.set()
        self.error: Exception | None = None

    async def __call__(self, identity: Identity) -> Minted | None:
        self.minted.append(f"{identity.username}/{identity.group}")
        await self.waits.wait()
        if self.error is not None:
            raise self.error
        if identity.vo is None:
            return None
        return Minted(f"token {len(self.minted)}", identity.username, self.now + self.lifetime)

    def cache(self, size: int = 100, refusal_seconds: float = 0.0) -> TokenCache[Minted]:
        return TokenCache(self, size=size, refusal_seconds=refusal_seconds, clock=lambda: self.now)


async def test_minted_once() -> None:
    """The same caller gets the same token again."""
    mint = Mint()
    cache = mint.cache()
    assert await cache.token_for(ALICE) is await cache.token_for(ALICE)
    assert mint.minted == ["alice/demo_user"]


@pytest.mark.parametrize(("lifetime", "used"), [(1200.0, 1140.0), (40.0, 20.0)])
async def test_renewed_before_it_ends(lifetime: float, used: float) -> None:
    """A token that ends within the margin is not used any more; a short-lived one is for half its time."""
    mint = Mint(lifetime)
    cache = mint.cache()
    await cache.token_for(ALICE)
    mint.now += used - 1
    await cache.token_for(ALICE)
    assert len(mint.minted) == 1
    mint.now += 2
    await cache.token_for(ALICE)
    assert len(mint.minted) == 2


async def test_not_shared_between_groups_or_properties() -> None:
    """Another group, or other properties of the same group, mean another token."""
    mint = Mint()
    cache = mint.cache()
    await cache.token_for(ALICE)
    await cache.token_for(Identity("alice", "demo_admin", vo="demo"))
    await cache.token_for(Identity("alice", "demo_user", vo="demo", properties=("Operator",)))
    assert len(mint.minted) == 3


async def test_one_at_a_time() -> None:
    """Calls of one caller at the same time wait for one token; one that goes away takes it from nobody."""
    mint = Mint()
    cache = mint.cache()
    mint.waits.clear()
    calls = [asyncio.create_task(cache.token_for(ALICE)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    mint.waits.set()
    tokens = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(tokens[0], asyncio.CancelledError)
    assert {getattr(token, "text", "") for token in tokens[1:]} == {"token 1"}
    assert mint.minted == ["alice/demo_user"]


async def test_a_refused_token_is_replaced_once() -> None:
    """A token that was refused is not used again, and those who had the same one share its successor."""
    mint = Mint()
    cache = mint.cache()
    first = await cache.token_for(ALICE)
    assert first is not None
    second = await cache.another(ALICE, first)
    assert second is not None
    assert second.text == "token 2"
    assert await cache.another(ALICE, first) is second
    assert len(mint.minted) == 2


async def test_none_where_there_can_be_none() -> None:
    """A caller without a VO has no token, and is not asked about again for a while."""
    mint = Mint()
    cache = mint.cache(refusal_seconds=60)
    for _ in range(2):
        assert await cache.token_for(OUTSIDER) is None
    assert len(mint.minted) == 1
    mint.now += 61
    assert await cache.token_for(OUTSIDER) is None
    assert len(mint.minted) == 2


async def test_a_failure_is_not_kept() -> None:
    """Where no token could be asked for, all who waited are told, and the next call asks again."""
    mint = Mint()
    mint.error = RestFailure(0, "away")
    cache = mint.cache()
    failures = await asyncio.gather(*(cache.token_for(ALICE) for _ in range(3)), return_exceptions=True)
    assert failures == [mint.error] * 3
    mint.error = None
    assert await cache.token_for(ALICE) is not None
    assert len(mint.minted) == 2


async def test_bounded() -> None:
    """The least recently used token goes when there are too many."""
    mint = Mint()
    cache = mint.cache(size=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        await cache.token_for(Identity(name, "g", vo="demo"))
    assert mint.minted == ["a/g", "b/g", "c/g", "b/g"]


@dataclass
class Answer:
    status: int
    body: Any


async def test_in_process_backend() -> None:
    """Answers below 400 are bodies, others failures with their detail; without a token nothing is sent."""
    sent: list[Any] = []
    answers = [Answer(206, [1]), Answer(409, {"detail": "exists"}), Answer(416, {"detail": []})]

    async def run(*request: Any) -> Answer:
        sent.append(request)
        return answers.pop(0)

    backend = InProcessBackend(run, Mint().cache())
    request = Request("POST", "/api/x", {"a": 1}, {"page": 1})
    assert await backend.can_serve(ALICE)
    assert await backend.can_carry(Uses(needed=((Route("GET", "/api/anything"),),)))
    assert await backend.send(ALICE, request) == [1]
    assert sent == [("POST", "/api/x", {"page": 1}, {"a": 1}, "alice")]
    for status, detail in ((409, "exists"), (416, [])):
        with pytest.raises(RestFailure) as raised:
            await backend.send(ALICE, request)
        assert (raised.value.status, raised.value.detail) == (status, detail)
    with pytest.raises(RestFailure) as raised:
        await backend.send(OUTSIDER, request)
    assert raised.value.status == 401
    assert raised.value.not_executed
    assert not await backend.can_serve(OUTSIDER)
    assert len(sent) == 3
