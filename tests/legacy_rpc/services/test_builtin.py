"""What every service answers about itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from legacy_rpc.codecs.encodings import DENCODE, JENCODE
from legacy_rpc.services.catalogue import all_services

SERVICES = sorted(all_services().catalogue)
PEOPLE = "/DC=org/DC=wherry/OU=people/CN="
CA = "/DC=org/DC=wherry/CN=Test CA"


@pytest.mark.parametrize("service", SERVICES)
async def test_ping(make_old_side, callers, service: str) -> None:
    """Everyone may ask; the keys, their order and their types are DIRAC's, the times naive UTC."""
    answer = await make_old_side().call(service, "ping", caller=callers.stranger)
    value = answer["Value"]
    assert {key: type(item) for key, item in value.items()} == {
        "version": str,
        "time": datetime,
        "host uptime": int,
        "service start time": datetime,
        "service uptime": int,
        "load": str,
        "name": str,
        "URL": str,
        "cpu times": dict,
    }
    assert list(value) == [
        *("version", "time", "host uptime", "service start time", "service uptime", "load", "name", "URL"),
        "cpu times",
    ]
    assert (value["name"], value["URL"]) == (service, f"dips://bridge.example.org:9130/{service}")
    now = datetime.now(UTC).replace(tzinfo=None)
    assert timedelta(0) <= now - value["time"] < timedelta(seconds=10)
    assert value["time"] - value["service start time"] >= timedelta(seconds=value["service uptime"])
    assert value["service uptime"] >= 0
    assert value["host uptime"] >= value["service uptime"]
    assert [float(load) >= 0 for load in value["load"].split(" ")] == [True] * 3
    assert list(value["cpu times"]) == [
        "user time",
        "system time",
        "children user time",
        "children system time",
        "elapsed real time",
    ]
    assert {type(item) for item in value["cpu times"].values()} == {float}


async def test_ping_goes_over_both_wires(make_old_side) -> None:
    """Clients of every release can read it."""
    answer = await make_old_side().call(SERVICES[0], "ping")
    assert DENCODE.decode(DENCODE.encode(answer)) == answer
    assert JENCODE.decode(JENCODE.encode(answer))["Value"]["time"] == answer["Value"]["time"].replace(
        microsecond=0
    )


async def test_ping_moves_on(make_old_side) -> None:
    """Two pings have two times and one start."""
    side = make_old_side()
    first = (await side.call(SERVICES[0], "ping"))["Value"]
    await asyncio.sleep(0.01)
    second = (await side.call(SERVICES[0], "ping"))["Value"]
    assert second["time"] > first["time"]
    assert second["service start time"] == first["service start time"]


ALICE = {
    "subject": f"{PEOPLE}alice/CN=1234567890",
    "issuer": f"{PEOPLE}alice",
    "isProxy": True,
    "isLimitedProxy": False,
    "validDN": False,
    "validGroup": False,
    "DN": f"{PEOPLE}alice",
    "identity": f"{PEOPLE}alice",
    "group": "demo_user",
    "VO": "demo",
    "properties": ["NormalUser"],
    "username": "alice",
}
HOST = {
    "subject": "/DC=org/DC=wherry/OU=hosts/CN=wherry.example.org",
    "issuer": CA,
    "isProxy": False,
    "isLimitedProxy": False,
    "validDN": False,
    "validGroup": False,
    "DN": "/DC=org/DC=wherry/OU=hosts/CN=wherry.example.org",
    "extraCredentials": "hosts",
    "properties": ["TrustedHost", "Operator"],
    "group": "hosts",
    "username": "wherry.example.org",
}
STRANGER = {
    **ALICE,
    "subject": f"{PEOPLE}mallory/CN=1234567890",
    "issuer": f"{PEOPLE}mallory",
    "DN": f"{PEOPLE}mallory",
    "identity": f"{PEOPLE}mallory",
    "group": "visitor",
    "properties": [],
    "username": "anonymous",
}


@pytest.mark.parametrize(
    ("caller", "extra", "expected"),
    [
        ("alice", "", ALICE),
        (
            "admin",
            "",
            {
                **ALICE,
                "group": "demo_admin",
                "properties": ["Operator", "NormalUser", "JobAdministrator", "SiteManager"],
            },
        ),
        ("host", "hosts", HOST),
        ("stranger", "", STRANGER),
    ],
)
@pytest.mark.parametrize("service", SERVICES)
async def test_whoami(
    make_old_side, callers, service: str, caller: str, extra: str, expected: dict[str, Any]
) -> None:
    """Callers are told what they are here, with DIRAC's keys in DIRAC's order; strangers are told so."""
    answer = await make_old_side().call(service, "whoami", caller=getattr(callers, caller), extra=extra)
    value = answer["Value"]
    left = value.pop("secondsLeft")
    assert value == expected
    assert list(value) == list(expected)
    assert isinstance(left, int)
    assert 0 < left <= 3600  # of credentials that were made when this module was read


@pytest.mark.parametrize(
    "text", ["", "h\u00e9llo", "x" * 100_000, "\udcff"], ids=["empty", "text", "long", "binary"]
)
@pytest.mark.parametrize("service", SERVICES)
async def test_echo(make_old_side, callers, service: str, text: str) -> None:
    """A known caller gets the same text back."""
    answer = await make_old_side().call(service, "echo", text, caller=callers.admin)
    assert answer == {"OK": True, "Value": text}


@pytest.mark.parametrize("service", SERVICES)
async def test_builtin_methods_are_not_routed(make_old_side, callers, service: str) -> None:
    """They are about the service that was asked: no plan names them, and no router sees them."""

    async def route(_call: Any) -> Any:
        raise AssertionError("routed")

    side = make_old_side(None, route)
    for method, arguments in [("ping", []), ("whoami", []), ("echo", ["x"])]:
        assert (await side.call(service, method, *arguments, caller=callers.admin))["OK"]
        assert method not in all_services().catalogue[service]
    assert {(told.answered.route, told.answered.reason) for told in side.finished} == {("native", "builtin")}
