"""The router: which side answers, and what happens when REST fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from adaptor.conversation import Conversation, Request, RestFailure
from adaptor.router import Router
from adaptor.routes import Uses
from legacy_rpc.messages import Answered, Call, Errno, Failure, Identity, Reply, Write
from migration_plans.plan import Entry, Old, Plan, State
from shared_db.rules.refusals import too_long

SERVICE = "WorkloadManagement/PilotManager"
ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser",))
OUTSIDER = Identity("carol", "no_vo_group")

LIVE = Plan({(SERVICE, "method"): Entry(State.LIVE, line=3)})
ELSEWHERE = Plan(
    {(SERVICE, "method"): Entry(State.LEGACY, line=3, old=Old.UPSTREAM)}, services={SERVICE: Old.UPSTREAM}
)
LIVE_ELSEWHERE = Plan({(SERVICE, "method"): Entry(State.LIVE, line=3, old=Old.UPSTREAM)})
LEGACY = Plan({(SERVICE, "method"): Entry(State.LEGACY, line=3)})


@dataclass
class Backend:
    """Answers each request with the next thing of a list: a body, or a failure."""

    answers: list[Any]
    routes: bool = True

    async def can_serve(self, identity: Identity) -> bool:
        return identity.vo is not None

    async def can_carry(self, _uses: Uses) -> bool:
        return self.routes

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


async def upstream(call: Call) -> Reply:
    """The old side, elsewhere."""
    if call.arguments == ["fails"]:
        raise Failure("upstream says no", 6, {"Extra": 1})
    return Reply("upstream", {"JobID": 5})


def reads() -> Conversation:
    return (yield Request("POST", "/api/jobs/search"))


def writes_twice() -> Conversation:
    yield Request("PATCH", "/api/jobs/status")
    return (yield Request("PATCH", "/api/jobs/status"))


def looks_up() -> Conversation:
    yield Request("POST", "/api/jobs/search")
    return (yield Request("PATCH", "/api/jobs/status"))


def both_at_once() -> Conversation:
    return (yield Request("POST", "/api/jobs/search"), Request("PATCH", "/api/jobs/status"))


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
    routes: bool = True,
    method: str = "method",
) -> Answered:
    """A call through a router whose REST side gives these answers."""
    router = Router(
        plan=lambda: plan,
        native=native,
        backend=Backend(answers, routes),
        adaptors={(SERVICE, "method"): adaptor},
        write_class=lambda _service, _method: write,
        translated=lambda call: (call, lambda reply: reply),
        upstream=upstream,
    )
    return await router.answer(Call(SERVICE, method, arguments or [], identity, "test"))


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


async def test_without_the_routes_the_old_side_answers() -> None:
    """A method whose routes the REST backend has not stays on the old side, whoever calls."""
    for identity in (ALICE, OUTSIDER):
        assert told(await routed(reads, [], identity=identity, routes=False))[1:] == ("native", "no-route")


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
UNSENT = RestFailure(0, "connection refused", sent=False)
UNHEARD = "The outcome of method is unknown: the REST backend answered nothing (gone)."
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
        (writes_twice, [UNSENT], Write.CREATE, ("native", "native", "fallback-0")),
        (writes_twice, [RestFailure(0, "gone")], Write.CREATE, (UNHEARD, "rest", "live")),
        (writes_twice, [AWAY], Write.CREATE, (UNKNOWN, "rest", "live")),
        (writes_twice, [AWAY], Write.APPEND, (UNKNOWN, "rest", "live")),
        (writes_twice, [None, NO_ROUTE], Write.CREATE, ("method was refused", "rest", "live")),
        (looks_up, [AWAY], Write.CREATE, ("native", "native", "fallback-503")),
        (looks_up, [RestFailure(403, "Forbidden")], Write.APPEND, ("native", "native", "fallback-403")),
        (looks_up, [[], AWAY], Write.CREATE, (UNKNOWN, "rest", "live")),
        (both_at_once, [AWAY, None], Write.CREATE, (UNKNOWN, "rest", "live")),
        (both_at_once, [AWAY, AWAY], Write.CREATE, (UNKNOWN, "rest", "live")),
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


# --- the old side elsewhere


@pytest.mark.parametrize(("method", "reason"), [("method", "legacy"), ("unknown", "default")])
async def test_upstream_answers(method: str, reason: str) -> None:
    """Where the plan says so an existing service answers, also of what is not known here."""
    answered = await routed(reads, [], plan=ELSEWHERE, method=method)
    assert told(answered) == ("upstream", "upstream", reason)
    assert isinstance(answered.outcome, Reply)
    assert answered.outcome.extra == {"JobID": 5}


async def test_failure_of_the_upstream_is_the_outcome() -> None:
    """It is not tried elsewhere."""
    answered = await routed(reads, ["rest"], plan=ELSEWHERE, arguments=["fails"])
    assert answered.outcome.as_result() == {
        "OK": False,
        "Errno": 6,
        "Message": "upstream says no",
        "Extra": 1,
    }
    assert answered.route == "upstream"


async def test_without_a_token_the_upstream_answers() -> None:
    """The old side in force is there."""
    answered = await routed(reads, [], plan=LIVE_ELSEWHERE, identity=OUTSIDER)
    assert told(answered) == ("upstream", "upstream", "no-token")


async def test_fallback_to_the_upstream() -> None:
    """When REST fails and it is safe, the old side in force is asked."""
    answered = await routed(reads, [RestFailure(503, "no database")], plan=LIVE_ELSEWHERE)
    assert told(answered) == ("upstream", "upstream", "fallback-503")


async def test_no_fallback_of_a_write_to_the_upstream() -> None:
    """A write that may have been executed is not made again elsewhere."""
    answered = await routed(
        writes_twice, [None, RestFailure(503, "x")], plan=LIVE_ELSEWHERE, write=Write.CREATE
    )
    assert answered.route == "rest"
    assert "outcome" in told(answered)[0]
