"""The oracle itself: what the comparisons stand on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from oracle import Oracle

ALICE = ("alice", "demo_admin")


@pytest.mark.clients
async def test_the_services_are_diracs(oracle: Oracle) -> None:
    """Every service answers over the network, as DIRAC 9.1.22 and under its own name."""
    for service in oracle.services:
        value = (await oracle.call(ALICE, service, "ping", []))["Value"]
        assert (value["name"], value["version"]) == (service, "9.1.22")


@pytest.mark.clients
async def test_who_is_who(oracle: Oracle) -> None:
    """Users, the pilot and the host are what the registry says, in DIRAC's eyes."""
    seen = {}
    for caller in (ALICE, ("bob", "demo_user"), ("pilot", "demo_pilot"), ("localhost", "hosts")):
        answer = await oracle.call(caller, "WorkloadManagement/PilotManager", "whoami", [])
        seen[caller] = answer["Value"]["group"], answer["Value"]["username"]
    assert seen == {caller: (caller[1], caller[0]) for caller in seen}


@pytest.mark.clients
async def test_its_clock_is_ours(oracle: Oracle) -> None:
    """Once told so, it is another day for DIRAC's Python and for its MySQL; and then today again."""
    standing = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    moment = standing.replace(tzinfo=None)
    oracle.stand_still(standing)
    try:
        pong = await oracle.call(ALICE, "WorkloadManagement/PilotManager", "ping", [])
        assert pong["Value"]["time"] == moment
        pilots = [["clock"], "demo"]
        await oracle.call(ALICE, "WorkloadManagement/PilotManager", "addPilotReferences", pilots)
        found = await oracle.call(ALICE, "WorkloadManagement/PilotManager", "getPilotInfo", ["clock"])
        assert found["Value"]["clock"]["SubmissionTime"] == moment
    finally:
        await oracle.call(ALICE, "WorkloadManagement/PilotManager", "deletePilots", [["clock"]])
        oracle.go_on()
    pong = await oracle.call(ALICE, "WorkloadManagement/PilotManager", "ping", [])
    assert abs(pong["Value"]["time"] - datetime.now(UTC).replace(tzinfo=None)) < timedelta(seconds=30)
