"""Clients of DIRAC 8.0 ask about jobs in their own words: the answers are the same on both routes."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from calls.job_monitoring import CALLS, SERVICE
from sides import START, Side

from legacy_rpc.messages import Call, Credential, Proposal
from shared_db.rules.site import SiteJobs

from .test_both_routes import KINDS, chance, kind, places  # noqa: F401 - fixtures
from .test_both_routes import sides as sides  # noqa: PLC0414 - a fixture

PEOPLE = "/DC=org/DC=wherry/OU=people/CN="
ALICE = PEOPLE + "alice"
CREDENTIAL = Credential(ALICE, ALICE, ALICE, START + timedelta(days=1), is_proxy=True, group="demo_user")
ATTRIBUTES = ("OwnerDN", "DIRACSetup", "KilledFlag", "MasterJobID", "Owner", "Status")
CONDITIONS: dict[str, tuple[Any, ...]] = {
    "OwnerDN": (ALICE, [ALICE, PEOPLE + "bob"], "/CN=nobody"),
    "DIRACSetup": ("Demo", "Other"),
    "KilledFlag": ("False", "True"),
    "Owner": ("alice", "bob"),
    "Status": ("Done", ["Done", "Waiting"]),
}


def conditions(chance: random.Random) -> dict[str, Any]:  # noqa: F811 - the fixture is for tests
    """Some conditions, in which older attributes are named."""
    return {name: chance.choice(CONDITIONS[name]) for name in chance.sample(list(CONDITIONS), 2)}


def arguments(method: str, chance: random.Random) -> list[Any]:  # noqa: F811
    """Arguments in which older attributes are named."""
    names = chance.sample(ATTRIBUTES, 2)
    page = [conditions(chance), [[names[0], "DESC"], ["JobID", "ASC"]], 0, 7]
    job_id = chance.randint(1, 320)
    return {
        "getJobAttributes": [job_id, names],
        "getJobAttribute": [job_id, names[0]],
        "getJobsParameters": [[job_id, job_id + 1], names],
        "getJobs": [conditions(chance)],
        "getCounters": [names, conditions(chance)],
        "getJobStats": [names[0], conditions(chance)],
        "getJobPageSummaryWeb": page,
        "getStates": [conditions(chance)],
    }.get(method) or CALLS[method](chance)


async def ask(side: Side, method: str, given: list[Any], version: str = "v8.0.86") -> Any:
    """What a client of a release is answered."""
    identity = side.old.front_door.admit(Proposal(SERVICE, "RPC", method), CREDENTIAL)
    call = Call(SERVICE, method, given, identity, "test", client_version=version)
    return (await side.old.front_door.handle(call)).as_result()


@pytest.mark.parametrize("kind", KINDS)
async def test_both_routes_agree(sides: tuple[Side, Side], chance: random.Random) -> None:  # noqa: F811
    """Every method of JobMonitoring, on every kind of tables."""
    native, rest = sides
    with time_machine.travel(START, tick=False):
        for method in [*CALLS] * 4:
            given = arguments(method, chance)
            assert await ask(native, method, given) == await ask(rest, method, given), (method, given)


async def test_what_they_see(sides: tuple[Side, Side]) -> None:
    """What DIRAC 9 has dropped is in pages and in single jobs; 9's clients see VO instead."""
    for side in sides:
        page = (await ask(side, "getJobPageSummaryWeb", [{"OwnerDN": ALICE}, [["JobID", "ASC"]], 0, 1]))[
            "Value"
        ]
        job = dict(zip(page["ParameterNames"], page["Records"][0], strict=True))
        assert (job["JobID"], job["OwnerDN"], job["DIRACSetup"]) == (1, ALICE, "Demo")
        assert isinstance(job["LastSignOfLife"], datetime)
        older = (await ask(side, "getJobSummary", [1]))["Value"]
        assert older == {name: value for name, value in job.items() if name != "LastSignOfLife"}
        newer = (await ask(side, "getJobSummary", [1], version="9.1.22"))["Value"]
        assert newer["VO"] == "demo"
        assert {name: older[name] for name in newer if name != "VO"} == {
            name: value for name, value in newer.items() if name != "VO"
        }


async def test_own_jobs_only(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where GlobalJobsInfo is False the pages show own jobs, but to administrators; on both routes."""
    for module in ("legacy_rpc.services.job_pages", "rest_backend.policies.jobs"):
        monkeypatch.setattr(f"{module}.site_jobs", lambda *_: SiteJobs(all_may_look=False))
    for side in sides:
        seen = {}
        for user, group in (("alice", "demo_user"), ("bob", "demo_user"), ("alice", "demo_admin")):
            page = await side.call((user, group), SERVICE, "getJobPageSummaryWeb", [{}, [], 0, 1000])
            names = page["Value"]["ParameterNames"]
            owners = {record[names.index("Owner")] for record in page["Value"]["Records"]}
            seen[user, group] = page["Value"]["TotalRecords"], owners
        assert seen == {
            ("alice", "demo_user"): (208, {"alice"}),
            ("bob", "demo_user"): (112, {"bob"}),
            ("alice", "demo_admin"): (320, {"alice", "bob"}),
        }
