"""Many pilots ask over the legacy front door at once: no job is given twice, and none is left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from empty_databases import empty_database
from guests import HOMES
from queue_hands import jobs_in, queued, waiting

from legacy_rpc.messages import Call, Credential, Proposal
from shared_db.administration import initialise
from shared_db.connection import open_databases
from shared_db.rules.jdl.policy import Submitter
from wherry.build import OldSide, load_registry, make_new_side, make_old_side
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials, registry_text

from .conftest import CONFIG, plan_text

MATCHER = "WorkloadManagement/Matcher"
PILOTS = 16
JOBS = 200
DN = "/DC=org/DC=wherry/OU=people/CN=pilot"
OFFER = {"Site": "DEMO.Geneva.ch", "CPUTime": 500_000, "DIRACVersion": "9.1.22", "Tag": ["GPU"]}
# Some in one queue, some in others, of several priorities.
KINDS = ("", "Priority = 7;", 'Site = "DEMO.Geneva.ch";', "CPUTime = 1000;", 'Tags = "GPU"; Priority = 0;')


@pytest.fixture
def urls(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the databases are."""
    servers = None if kind == "sqlite" else request.getfixturevalue("servers")
    with empty_database(kind, servers, tmp_path) as made:
        yield made


@pytest.fixture
async def grid(
    urls: str, state: str, credentials: GridCredentials, tmp_path: Path
) -> AsyncIterator[tuple[OldSide, Any, list[int]]]:
    """A legacy side whose methods go one way, its databases, and jobs that wait in them."""
    pki = credentials.ca_path.parent
    (tmp_path / "registry.cfg").write_text(registry_text(pki))
    (tmp_path / "plan.yaml").write_text(plan_text(state))
    config = CONFIG.format(pki=pki).replace("sqlite:///wherry.db", json.dumps(urls))
    config = config.replace("database_busy_seconds: 0.3", "database_busy_seconds: 30")
    (tmp_path / "wherry.yaml").write_text(config)
    loaded = load_config(tmp_path / "wherry.yaml")
    registry = load_registry(loaded).current
    databases = open_databases(urls, create=True)
    await initialise(databases)
    owner = Submitter("alice", "demo_user", "demo", "/CN=alice")
    jdls = [KINDS[number % len(KINDS)] for number in range(JOBS)]
    job_ids = await waiting(databases, jdls, owner, registry)
    new = make_new_side(loaded, "http://localhost")
    old = make_old_side(loaded, new, lambda service: f"dips://localhost:1/{service}", lambda _call: None)
    yield old, databases, job_ids
    await old.close()
    await new.close()
    await databases.dispose()


async def serve(old: OldSide) -> list[int]:
    """A pilot's life: it asks until there is nothing left."""
    credential = Credential(
        DN, DN, DN, datetime.now(UTC) + timedelta(days=1), is_proxy=True, group="demo_pilot"
    )
    identity = old.front_door.admit(Proposal(MATCHER, "RPC", "requestJob"), credential)
    taken: list[int] = []
    while True:
        outcome = await old.front_door.handle(Call(MATCHER, "requestJob", [OFFER], identity, "test"))
        result = outcome.as_result()
        if not result["OK"]:
            assert result["Errno"] == 1510, result
            return taken
        assert (result["Value"]["Owner"], result["Value"]["DN"]) == (
            "alice",
            "/DC=org/DC=wherry/OU=people/CN=alice",
        )
        taken.append(result["Value"]["JobID"])


@pytest.mark.parametrize("kind", HOMES)
@pytest.mark.parametrize("state", ["legacy", "live"])
async def test_sixteen_pilots_share_the_jobs(grid: tuple[OldSide, Any, list[int]]) -> None:
    """All jobs are run, each once, and nothing is left in the queues."""
    old, databases, job_ids = grid
    taken = await asyncio.gather(*[serve(old) for _ in range(PILOTS)])
    assert sorted(job_id for each in taken for job_id in each) == job_ids
    assert await queued(databases) == {}
    assert {job["Status"] for job in (await jobs_in(databases)).values()} == {"Matched"}
