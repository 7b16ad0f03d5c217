"""Generated calls of WorkloadManagement/Matcher.

Which job a pilot gets of several queues is a matter of chance, so these ask for one queue's, or for a job.
"""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import ODD, Maker
from calls.pilot_manager import reference

SERVICE = "WorkloadManagement/Matcher"
SITES = ("DEMO.Geneva.ch", "DEMO.Lyon.fr", "LCG.Nowhere.org")


def resource(chance: random.Random) -> dict[str, Any]:
    """A site, and what it offers."""
    described: dict[str, Any] = {
        "Site": chance.choice(SITES),
        "CPUTime": chance.choice((300, 86400, 86400, 10**6)),
    }
    more = {
        "GridCE": ("ce01.lyon.example.org", "", ["a", "b"], "Any"),
        "Platform": ("x86_64-el9", ["x86_64-el9", "ANY"], []),
        "JobType": ("User", ["User", "Test"]),
        "Tag": ("[GPU, 'Big']", ["GPU"], "", ["any"]),
        "RequiredTag": ("GPU", "Any", []),
        "NumberOfProcessors": (1, 8, "8", "many", 5000),
        "WholeNode": (True, ""),
        "MaxRAM": (0, 2048, -1, 2**40),
        "Setup": ("Demo",),
    }
    for name, values in more.items():
        if chance.random() < 0.1:
            described[name] = chance.choice(values)
    if chance.random() < 0.1:
        described[chance.choice([*described, "Owner", "OwnerGroup"])] = chance.choice(ODD)
    return described


def request(chance: random.Random) -> list[Any]:
    """Arguments of requestJob."""
    if chance.random() < 0.05:
        return [chance.choice(ODD)]
    described = resource(chance)
    if chance.random() < 0.1:
        described.pop(chance.choice(("Site", "CPUTime")))
    if chance.random() < 0.3:
        waiting = 16 * chance.randint(0, 19) + 5
        described["JobID"] = chance.choice(
            (waiting, waiting, str(waiting), chance.randint(1, 330), "x", 2**40)
        )
    else:
        described["Owner"] = chance.choice(("alice", "bob", "nobody"))
        described["OwnerGroup"] = chance.choice(("demo_user", ["demo_admin"], "other"))
    if chance.random() < 0.9:
        described["DIRACVersion"] = "9.1.22"
    if chance.random() < 0.7:
        described["PilotReference"] = chance.choice((reference(chance), "Unknown", 5))
        described["PilotBenchmark"] = chance.choice((1.5, 7, float("nan")))
        described["PilotInfoReportedFlag"] = chance.choice((True, False))
    if chance.random() < 0.3:
        described["VirtualOrganization"] = chance.choice(("demo", "novo"))
    return [described]


def look(chance: random.Random) -> list[Any]:
    """Arguments of getMatchingTaskQueues."""
    described = resource(chance)
    if chance.random() < 0.3:
        described["Site"] = chance.choice((list(SITES), [], ["LCG.Nowhere.org"]))
    if chance.random() < 0.3:
        described["OwnerGroup"] = chance.choice(("demo_user", ["demo_user", "demo_admin"]))
    if chance.random() < 0.2:
        described.pop("Site")
    return [described]


CALLS: dict[str, Maker] = {
    "requestJob": request,
    "getActiveTaskQueues": lambda _chance: [],
    "getMatchingTaskQueues": look,
}
