"""What the front door lets through to services elsewhere: whom, with which arguments, and when not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from legacy_rpc.front_door import CallLimits, FrontDoor
from legacy_rpc.messages import Answered, Call, Failure, Identity, Outcome, Proposal, Reply, Write
from legacy_rpc.services.builtin import add_builtin_methods
from legacy_rpc.services.table import Service, ServiceTable
from shared_db.cfg import parse_cfg
from tests.legacy_rpc.conftest import Callers

HERE, ELSEWHERE = "Test/Echo", "Data/Catalog"
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"


def table() -> ServiceTable:
    """One service, with a method, a transfer, and what every service has."""
    service = Service(HERE, handler_class="EchoHandler", authorization=("Operator",))

    @service.method(int)
    async def add(_context: Any, a: int) -> int:
        return a

    @service.method(int, write=Write.CREATE, authorization=("authenticated",))
    async def create(_context: Any, a: int) -> int:
        return a

    @service.transfer("ToClient", authorization=("authenticated",))
    async def send(_context: Any, name: str, token: str) -> None:
        """Nothing."""

    add_builtin_methods(service)
    return ServiceTable([service])


@dataclass
class Passed:
    """Passes through what is named; ``judged``: whose arguments are checked here all the same."""

    names: set[tuple[str, str]] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)

    def may(self, service: str, method: str) -> bool:
        return service in self.services or (service, method) in self.names

    def must(self, service: str, method: str) -> bool:
        return self.may(service, method) and method not in self.judged


@dataclass
class Door:
    """A front door, and the calls that it gave to the router or to the native side."""

    registry: Any
    passed: Passed
    seconds: float = 5.0
    routed: list[Call] = field(default_factory=list)
    native: list[Call] = field(default_factory=list)
    wait: float = 0.0

    def __post_init__(self) -> None:
        async def run(call: Call) -> Reply:
            self.native.append(call)
            return Reply("native")

        async def route(call: Call) -> Answered:
            self.routed.append(call)
            await asyncio.sleep(self.wait)
            return Answered(Reply("routed"), "upstream", "legacy")

        self.front = FrontDoor(
            table(),
            lambda: self.registry.current,
            run,
            route,
            lambda _finished: None,
            CallLimits(seconds=self.seconds),
            self.passed,
        )

    def admit(self, service: str, method: str, caller: Any, action: str = "RPC") -> Identity:
        return self.front.admit(Proposal(service, action, method), caller)

    async def call(self, service: str, method: str, *arguments: Any, caller: Any = Callers.alice) -> Outcome:
        identity = self.admit(service, method, caller)
        return await self.front.handle(Call(service, method, arguments, identity, "dips"))


def refused(outcome: Outcome) -> str:
    """The text of a failure."""
    assert isinstance(outcome, Failure)
    return outcome.message


async def test_a_service_that_is_not_here(registry) -> None:
    """It passes through whole, with any method and any arguments, for whoever the registry knows."""
    door = Door(registry, Passed(services={ELSEWHERE}))
    for method, arguments in (("listDirectory", ["/"]), ("ping", []), ("echo", [1, 2, 3])):
        assert await door.call(ELSEWHERE, method, *arguments) == Reply("routed")
    assert [(each.method, list(each.arguments)) for each in door.routed] == [
        ("listDirectory", ["/"]),
        ("ping", []),
        ("echo", [1, 2, 3]),
    ]
    assert not door.native
    with pytest.raises(Failure, match="^Data/Other is not up in this server$"):
        await door.call("Data/Other", "ping")


async def test_whom_the_registry_does_not_know(registry) -> None:
    """Who showed a certificate is passed on, to be judged there; who showed none is refused here."""
    door = Door(registry, Passed(services={ELSEWHERE}))
    assert door.admit(ELSEWHERE, "x", Callers.stranger).kind == "anonymous"
    assert door.admit(ELSEWHERE, "x", Callers.stranger).dn == Callers.stranger.dn
    with pytest.raises(Failure, match="^Unauthorized query") as nobody:
        door.admit(ELSEWHERE, "x", None)
    assert nobody.value.as_result() == {"OK": False, "Errno": 1111, "Message": UNAUTHORIZED}


async def test_what_the_registry_says_of_a_method_counts(registry) -> None:
    """An administrator can keep a method of a service elsewhere to some; its Default is not looked at."""
    text = registry.path.read_text()
    cfg = parse_cfg(text)
    cfg.set("Systems/Data/Services/Catalog/Authorization/Default", "CSAdministrator")
    cfg.set("Systems/Data/Services/Catalog/Authorization/removeAll", "Operator")
    registry.path.write_text(cfg.to_text())
    assert registry.refresh()
    door = Door(registry, Passed(services={ELSEWHERE}))
    assert await door.call(ELSEWHERE, "list") == Reply("routed")
    assert await door.call(ELSEWHERE, "removeAll", caller=Callers.admin) == Reply("routed")
    with pytest.raises(Failure, match="^Unauthorized query"):
        await door.call(ELSEWHERE, "removeAll", caller=Callers.bob)


async def test_a_service_of_the_table_that_passes_whole(registry) -> None:
    """Known methods keep their rule and lose the check of arguments, unknown ones are let through."""
    door = Door(registry, Passed(services={HERE}))
    assert await door.call(HERE, "add", "no number", 2, caller=Callers.admin) == Reply("routed")
    with pytest.raises(Failure, match="^Unauthorized query"):
        await door.call(HERE, "add", 1, caller=Callers.bob)
    assert await door.call(HERE, "newInTheNextRelease", caller=Callers.bob) == Reply("routed")
    assert await door.call(HERE, "ping") == Reply("routed")
    assert not door.native


async def test_arguments_that_rest_will_read_are_checked(registry) -> None:
    """A live method's old side may be elsewhere: its adaptor needs arguments of the right type."""
    door = Door(registry, Passed(services={HERE}, judged={"add"}))
    assert refused(await door.call(HERE, "add", "x", caller=Callers.admin)).startswith("Type mismatch")
    assert not door.routed


async def test_one_method_elsewhere(registry) -> None:
    """The others of its service, and what every service has, are as before."""
    door = Door(registry, Passed(names={(HERE, "create")}))
    assert await door.call(HERE, "create", "x") == Reply("routed")
    assert await door.call(HERE, "ping") == Reply("native")
    assert refused(await door.call(HERE, "unknown", caller=Callers.admin)) == "Unknown method unknown"
    assert refused(await door.call(HERE, "add", "x", caller=Callers.admin)).startswith("Type mismatch")


async def test_transfers(registry) -> None:
    """They are routed like calls; one that was asked for as a call is none."""
    door = Door(registry, Passed(services={ELSEWHERE, HERE}))
    for service in (HERE, ELSEWHERE):
        identity = door.admit(service, "ToClient", Callers.alice, "FileTransfer")
        call = Call(service, "FileTransfer/ToClient", ["id", ""], identity, "dips", outgoing=object())  # type: ignore[arg-type]
        assert await door.front.handle(call) == Reply("routed")
        as_call = Call(service, "FileTransfer/ToClient", ["id", ""], identity, "dips")
        assert refused(await door.front.handle(as_call)) == "This server does no allow sending files"
    plain = Door(registry, Passed())
    identity = plain.admit(HERE, "ToClient", Callers.alice, "FileTransfer")
    call = Call(HERE, "FileTransfer/ToClient", ["id", ""], identity, "dips", outgoing=object())  # type: ignore[arg-type]
    assert await plain.front.handle(call) == Reply("routed")


@pytest.mark.parametrize("action", ["Connection", "Message", "Dance"])
async def test_connections_are_not_passed_through(registry, action: str) -> None:
    """Executors' connections are no calls, wherever the service is."""
    with pytest.raises(Failure, match=f"^{action} is not"):
        Door(registry, Passed(services={ELSEWHERE})).admit(ELSEWHERE, "new", Callers.alice, action)


async def test_an_unknown_method_may_write(registry) -> None:
    """Out of time it goes on, and its caller is told that nobody knows how it ends."""
    door = Door(registry, Passed(services={ELSEWHERE}), seconds=0.05, wait=0.2)
    assert "its outcome is unknown" in refused(await door.call(ELSEWHERE, "whatever"))
    assert "outcome" not in refused(await door.call(HERE, "add", 1, caller=Callers.admin))
