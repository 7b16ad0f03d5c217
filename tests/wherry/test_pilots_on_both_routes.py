"""Pilots on both routes: what generated calls would rarely meet."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from calls import CALLS
from sides import ADMIN, START

from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import NINE
from shared_db.queries.pilot_logs import add_lines
from shared_db.queries.pilots import add_pilots
from shared_db.rules.pilot_logs import Line

from .test_both_routes import RoutedSide, assert_equal_rows, kind, places, sides, without_declared

MANAGER = "WorkloadManagement/PilotManager"
WEB = "Monitoring/WebApp"
LOGGING = "WorkloadManagement/TornadoPilotLogging"
Sides = tuple[RoutedSide, RoutedSide]
__all__ = ["kind", "places", "sides"]  # fixtures
OLDER = [
    name
    for name, method in all_services().service(MANAGER).methods.items()  # type: ignore[union-attr]
    if method.older is not None
]


async def both(
    sides: Sides, caller: Any, service: str, method: str, *arguments: Any, client: str = ""
) -> Any:
    """The reply, which is the same on both routes."""
    native, rest = [await each.call(caller, service, method, arguments, client=client) for each in sides]
    assert without_declared(native) == without_declared(rest), (method, arguments)
    routes = [each.finished[-1].answered.route for each in sides]
    assert routes in (["native", "rest"], ["refused", "refused"])
    return native


async def test_a_shared_stamp(sides: Sides) -> None:
    """A status is of the pilots with a reference, not of those that have their stamp, too."""
    with time_machine.travel(START, tick=False):
        stamps = {"new1": "shared", "new2": "shared"}
        await both(sides, ADMIN, MANAGER, "addPilotReferences", list(stamps), "demo", "DIRAC", stamps)
        changed = await both(sides, ADMIN, MANAGER, "setPilotStatus", "new1", "Done", "", "because")
        found = await both(sides, ADMIN, MANAGER, "getPilotInfo", list(stamps))
    assert changed == {"OK": True, "Value": 1}
    assert {name: pilot["Status"] for name, pilot in found["Value"].items()} == {
        "new1": "Done",
        "new2": "Submitted",
    }
    await assert_equal_rows(*sides)


@pytest.mark.parametrize("method", OLDER)
async def test_older_clients(sides: Sides, method: str) -> None:
    """Clients of 7.3 and 8.0 get the same on both routes, too, in their form."""
    chance = random.Random(method)
    with time_machine.travel(START, tick=False) as clock:
        for number in range(25):
            clock.shift(timedelta(seconds=1.5))
            arguments = CALLS[MANAGER, method](chance)
            if method == "getGroupedPilotSummary":
                columns = ["OwnerGroup" if each == "VO" else each for each in arguments[0]]
                arguments = [{}, columns]
            if method == "addPilotReferences" and len(arguments) > 1 and isinstance(arguments[1], str):
                arguments[1] = chance.choice(("demo_user", "demo_pilot", "nogroup"))
            for each in arguments:
                if isinstance(each, dict) and chance.random() < 0.4:
                    names = ("OwnerGroup", "OwnerDN", "Owner", "Broker", "TaskQueueID")
                    each[chance.choice(names)] = chance.choice(("demo_user", "Unknown", 0, ["demo_pilot"]))
            client = ("7.3.38", "v8.0.86")[number % 2]
            await both(sides, ADMIN, MANAGER, method, *arguments, client=client)
    assert NINE > (8, 0)
    await assert_equal_rows(*sides)


async def test_pilots_of_another_vo(sides: Sides) -> None:
    """WebApp shows everybody's pilots to everybody, and all that they said and wrote."""
    for side in sides:
        async with side.new.databases.unit_of_work(write=True) as work:
            pilot = {"PilotJobReference": "far", "PilotStamp": "f" * 32, "VO": "elsewhere", "GridType": "X"}
            await add_pilots(work, [pilot])
            await add_lines(work, "f" * 32, "elsewhere", [Line(START, "hello").as_row(99)], START)
    bob = ("bob", "demo_user")
    selected = await both(sides, bob, WEB, "getPilotMonitorWeb", {"VO": "elsewhere"}, [], 0, 5)
    assert selected["Value"]["TotalRecords"] == 1
    assert "elsewhere" in (await both(sides, bob, WEB, "getPilotMonitorSelectors"))["Value"]["VO"]
    output = await both(sides, bob, WEB, "getPilotOutput", "far")
    assert output["Value"] == {"StdOut": "hello\n", "StdErr": "", "VO": "elsewhere", "FileList": []}
    said = await both(sides, bob, WEB, "getPilotLoggingInfo", "far")
    assert said["Value"] == "2026-11-21T12:00:00.000Z INFO hello\n"
    log = await both(sides, bob, LOGGING, "getLogs", "f" * 32, "elsewhere")
    assert log["Value"] == {"StdOut": "hello\n"}
    other = await both(sides, bob, LOGGING, "getLogs", "f" * 32, "demo")
    assert other["Message"] == "FileNotFoundError(2, 'No such file or directory')"


async def test_who_speaks_for_a_pilot(sides: Sides) -> None:
    """A pilot speaks for those of its VO, an operator for all; what was said is kept with the pilot's VO."""
    for side in sides:
        async with side.new.databases.unit_of_work(write=True) as work:
            pilot = {"PilotJobReference": "far", "PilotStamp": "f" * 32, "VO": "elsewhere", "GridType": "X"}
            await add_pilots(work, [pilot])
    mine = ("pilot", "demo_pilot")
    refused = await both(sides, mine, LOGGING, "sendMessage", '["no"]', "f" * 32, "demo")
    assert refused["Errno"] == 1111
    await both(sides, mine, LOGGING, "sendMessage", '["yes"]', "a" * 32, "demo")
    await both(sides, ADMIN, LOGGING, "sendMessage", '["of any"]', "f" * 32, "demo")
    await both(sides, ADMIN, LOGGING, "finaliseLogs", '{"retCode": 0}', "f" * 32, "demo")
    far = await both(sides, ADMIN, LOGGING, "getLogs", "f" * 32, "elsewhere")
    assert far["Value"] == {"StdOut": 'of any\nfinalised: {"retCode": 0}\n'}
    near = await both(sides, ADMIN, LOGGING, "getLogs", "a" * 32 + ".log", "demo")
    assert near["Value"] == {"StdOut": "yes\n"}


async def test_what_becomes_of_pilots(sides: Sides) -> None:
    """Pilots are killed, given jobs and outputs, and forgotten, with the same rows on both routes."""
    with time_machine.travel(START, tick=False) as clock:

        async def call(method: str, *arguments: Any) -> Any:
            clock.shift(timedelta(seconds=2))
            return (await both(sides, ADMIN, MANAGER, method, *arguments)).get("Value")

        await call("addPilotReferences", ["p", "p", "q"], "demo", "X", {"p": "s1", "q": "s2"})
        assert await call("setJobForPilot", 12, "p", "ce01.lyon.example.org") == 2
        assert await call("setJobForPilot", 12, "p", "nowhere") == 2
        assert await call("setJobForPilot", 12, "p") == 0
        oldest, _ = [pilot for pilot in (await call("getPilots", 12)).items() if pilot[0] == "p"] * 2
        assert oldest[1]["GridSite"] == "Unknown"
        assert 12 in oldest[1]["Jobs"]
        assert await call("storePilotOutput", "p", "out", "error") == 1
        assert (await call("getPilotOutput", "p"))["StdOut"] == "out"
        assert await call("setAccountingFlag", "p") == 2
        assert await call("setPilotBenchmark", "q", 1.5) == 1
        await call("killPilot", ["p", "q"])
        assert {pilot["Status"] for pilot in (await call("getPilotInfo", ["p", "q"])).values()} == {"Aborted"}
        assert await call("deletePilots", "p") == [oldest[1]["PilotID"]]
        assert await call("countPilots", {"PilotJobReference": "p"}) == 1
        assert len(await call("clearPilots", 2, 1)) > 1
    await assert_equal_rows(*sides)
