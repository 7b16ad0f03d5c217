"""The router: which side answers, and what happens when REST fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from adaptor.backend import InProcessBackend, TokenCache
from adaptor.conversation import Conversation, Request, RestFailure
from adaptor.router import Router
from legacy_rpc.messages import Answered, Call, Errno, Failure, Identity, Reply, Write
from migration_plans.plan import Entry, Plan, State
from shared_db.rules.refusals import too_long

SERVICE = "WorkloadManagement/PilotManager"
ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser",))
OUTSIDER = Identity("carol", "no_vo_group")

LIVE = Plan({(SERVICE, "method"): Entry(State.LIVE, line=3)})
LEGACY = Plan({(SERVICE, "method"): Entry(State.LEGACY, line=3)})


@dataclass
class Backend:
    """Answers each request with the next thing of a list: a body, or a failure."""

    answers: list[Any]

    def can_serve(self, identity: Identity) -> bool:
        return identity.vo is not None

    async def send(self, identity: Identity, request: Request) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def native(call: Call) -> Reply:
    """The old side."""
    if call.arguments == ["fails"]:
        raise Failure("native says no", 5)
    return Reply("native")


def reads() -> Conversation:
    return (yield Request("POST", "/api/jobs/search"))


def writes_twice() -> Conversation:
    yield Request("PATCH", "/api/jobs/status")
    return (yield Request("PATCH", "/api/jobs/status"))


def refuses() -> Conversation:
    yield Request("GET", "/x")
    raise too_long("Status")


def fails() -> Conversation:
    yield Request("GET", "/x")
    raise Failure("adaptor says no", 7, {"InvalidJobIDs": [1]})


async def routed(
    adaptor: Callable[[], Conversation],
    answers: list[Any],
    *,
    write: Write = Write.READ,
    plan: Plan = LIVE,
    identity: Identity = ALICE,
    arguments: list[Any] | None = None,
) -> Answered:
    """A call through a router whose REST side gives these answers."""
    router = Router(
        plan=lambda: plan,
        native=native,
        backend=Backend(answers),
        adaptors={(SERVICE, "method"): adaptor},
        write_class=lambda _service, _method: write,
        translated=lambda call: (call, lambda reply: reply),
    )
    return await router.answer(Call(SERVICE, "method", arguments or [], identity, "test"))


def told(answered: Answered) -> tuple[Any, str, str]:
    """What came back, by which route, and why."""
    outcome = answered.outcome
    value = outcome.value if isinstance(outcome, Reply) else outcome.message
    return value, answered.route, answered.reason


async def test_live_goes_to_rest() -> None:
    """A live method is answered by REST."""
    assert told(await routed(reads, ["rest"])) == ("rest", "rest", "live")


@pytest.mark.parametrize(("plan", "reason"), [(LEGACY, "legacy"), (Plan(), "default")])
async def test_legacy_goes_to_native(plan: Plan, reason: str) -> None:
    """A method that is legacy, or not in the plan, is answered by the native side."""
    assert told(await routed(reads, [], plan=plan)) == ("native", "native", reason)


async def test_without_a_token_the_old_side_answers() -> None:
    """A caller for whom no token can be had stays on the old side, whatever the plan says."""
    assert told(await routed(reads, [], identity=OUTSIDER)) == ("native", "native", "no-token")


async def test_failure_of_the_native_side_is_the_outcome() -> None:
    """What the native side refuses is refused."""
    answered = await routed(reads, [], plan=LEGACY, arguments=["fails"])
    assert told(answered) == ("native says no", "native", "legacy")


async def test_failure_of_the_adaptor_is_the_outcome() -> None:
    """What the adaptor refuses is refused with its extra keys, and nobody else is asked."""
    answered = await routed(fails, [None])
    assert told(answered) == ("adaptor says no", "rest", "live")
    assert isinstance(answered.outcome, Failure)
    assert answered.outcome.as_result()["InvalidJobIDs"] == [1]


async def test_refusal_of_a_rule_is_diracs_error() -> None:
    """A value that a rule refuses becomes the error that DIRAC gives."""
    answered = await routed(refuses, [None])
    assert isinstance(answered.outcome, Failure)
    assert answered.outcome.errno == Errno.EMYSQL
    assert "Data too long for column 'Status'" in answered.outcome.message


AWAY = RestFailure(503, "database away")
NO_ROUTE = RestFailure(404, "Not Found")
UNKNOWN = "The outcome of method is unknown: the REST backend answered 503 (database away)."


@pytest.mark.parametrize(
    ("adaptor", "answers", "write", "expected"),
    [
        (reads, [AWAY], Write.READ, ("native", "native", "fallback-503")),
        (reads, [RestFailure(403, "Forbidden")], Write.READ, ("native", "native", "fallback-403")),
        (writes_twice, [None, AWAY], Write.IDEMPOTENT, ("native", "native", "fallback-503")),
        (writes_twice, [NO_ROUTE], Write.CREATE, ("native", "native", "fallback-404")),
        (writes_twice, [RestFailure(405, "")], Write.APPEND, ("native", "native", "fallback-405")),
        (writes_twice, [RestFailure(501, "")], Write.APPEND, ("native", "native", "fallback-501")),
        (writes_twice, [RestFailure(422, [])], Write.CREATE, ("native", "native", "fallback-422")),
        (writes_twice, [AWAY], Write.CREATE, (UNKNOWN, "rest", "live")),
        (writes_twice, [AWAY], Write.APPEND, (UNKNOWN, "rest", "live")),
        (writes_twice, [None, NO_ROUTE], Write.CREATE, ("method was refused", "rest", "live")),
        (
            writes_twice,
            [RestFailure(404, "At least one pilot does not exist.")],
            Write.CREATE,
            ("method was refused", "rest", "live"),
        ),
        (writes_twice, [NO_ROUTE], Write.TRANSFER, ("method was refused", "rest", "live")),
        (
            writes_twice,
            [RestFailure(403, "Forbidden")],
            Write.CREATE,
            ("Unauthorized query ( 1111 : Forbidden)", "rest", "live"),
        ),
    ],
)
async def test_fallback(
    adaptor: Callable[[], Conversation], answers: list[Any], write: Write, expected: tuple[str, str, str]
) -> None:
    """After a failure of REST the old side is asked exactly where that cannot execute a write twice."""
    value, route, reason = told(await routed(adaptor, answers, write=write))
    assert (route, reason) == expected[1:]
    assert value.startswith(expected[0])


@dataclass
class Minted:
    text: str
    principal: str
    expires: float


class TestTokenCache:
    """One token per caller, renewed in time."""

    def make(self, lifetime: float = 1200.0, size: int = 100) -> tuple[TokenCache, list[str], list[float]]:
        minted: list[str] = []
        now = [1000.0]

        def mint(identity: Identity) -> Minted | None:
            if identity.vo is None:
                return None
            minted.append(f"{identity.username}/{identity.group}")
            return Minted(f"token {len(minted)}", identity.username, now[0] + lifetime)

        return TokenCache(mint, size=size, clock=lambda: now[0]), minted, now

    def test_minted_once(self) -> None:
        """The same caller gets the same token again."""
        cache, minted, _ = self.make()
        assert cache.token_for(ALICE) is cache.token_for(ALICE)
        assert minted == ["alice/demo_user"]

    def test_renewed_before_it_ends(self) -> None:
        """A token that ends within the margin is not used any more."""
        cache, minted, now = self.make()
        cache.token_for(ALICE)
        now[0] += 1139
        cache.token_for(ALICE)
        assert len(minted) == 1
        now[0] += 2
        cache.token_for(ALICE)
        assert len(minted) == 2

    def test_not_shared_between_groups_or_properties(self) -> None:
        """Another group, or other properties of the same group, mean another token."""
        cache, minted, _ = self.make()
        cache.token_for(ALICE)
        cache.token_for(Identity("alice", "demo_admin", vo="demo"))
        cache.token_for(Identity("alice", "demo_user", vo="demo", properties=("Operator",)))
        assert len(minted) == 3

    def test_none_where_there_can_be_none(self) -> None:
        """A caller without a VO has no token."""
        cache, _, _ = self.make()
        assert cache.token_for(OUTSIDER) is None

    def test_bounded(self) -> None:
        """The least recently used token goes when there are too many."""
        cache, minted, _ = self.make(size=2)
        for name in ("a", "b", "a", "c", "a", "b"):
            cache.token_for(Identity(name, "g", vo="demo"))
        assert minted == ["a/g", "b/g", "c/g", "b/g"]


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

    cache = TokenCache(lambda identity: Minted("t", identity.username, 1e12) if identity.vo else None)
    backend = InProcessBackend(run, cache)
    request = Request("POST", "/api/x", {"a": 1}, {"page": 1})
    assert await backend.send(ALICE, request) == [1]
    assert sent == [("POST", "/api/x", {"page": 1}, {"a": 1}, "alice")]
    for status, detail in ((409, "exists"), (416, [])):
        with pytest.raises(RestFailure) as raised:
            await backend.send(ALICE, request)
        assert (raised.value.status, raised.value.detail) == (status, detail)
    with pytest.raises(RestFailure) as raised:
        await backend.send(OUTSIDER, request)
    assert raised.value.status == 401
    assert not backend.can_serve(OUTSIDER)
    assert len(sent) == 3
