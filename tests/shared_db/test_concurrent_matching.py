"""Many pilots at once: no job is given twice, and none is left behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from queue_hands import jobs_in, queued, waiting

from shared_db.cfg import CfgSection, parse_cfg
from shared_db.connection import Databases, again, open_databases
from shared_db.engines.base import Limits
from shared_db.queries.jobs import leave_task_queue, locked_jobs, update_jobs
from shared_db.queries.match_requests import Pilot, request_job
from shared_db.rules.matching import Offer

HOMES = ["sqlite", "mariadb", "postgresql"]
every_home = pytest.mark.parametrize("engine", HOMES, indirect=True)
PILOTS = 16
OFFER = Offer("LCG.Lab.org", 500_000, tags=("GPU",))
# Some in one queue, some in others, of several priorities.
KINDS = ("", "Priority = 7;", 'Site = "LCG.Lab.org";', "CPUTime = 1000;", 'Tags = "GPU"; Priority = 0;')


async def serve(databases: Databases, cfg: CfgSection | None = None) -> list[int]:
    """A pilot's life: it asks until there is nothing left."""
    taken: list[int] = []
    while match := await request_job(databases, OFFER, Pilot(), "lab", cfg or CfgSection()):
        taken.append(match.job_id)
    return taken


@every_home
async def test_sixteen_pilots_share_a_thousand_jobs(databases: Databases) -> None:
    """All jobs are run, each once, and nothing is left in the queues."""
    job_ids = await waiting(databases, [KINDS[number % len(KINDS)] for number in range(1_000)])
    taken = await asyncio.gather(*[serve(databases) for _ in range(PILOTS)])
    assert sorted(job_id for each in taken for job_id in each) == job_ids
    assert await queued(databases) == {}
    assert Counter(job["Status"] for job in (await jobs_in(databases)).values()) == {"Matched": 1_000}


@every_home
async def test_pilots_of_several_processes_share_them(
    databases: Databases, database_urls: str | dict[str, str]
) -> None:
    """The same with four processes of four pilots each."""
    job_ids = await waiting(databases, [KINDS[number % len(KINDS)] for number in range(160)])
    command = [sys.executable, "-c", PROCESS, json.dumps(database_urls)]
    here = Path(__file__).parent
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here.parents[1], text=True) for _ in range(4)
    ]
    answers = [await asyncio.to_thread(process.communicate) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(job_id for text, _ in answers for job_id in json.loads(text)) == job_ids
    assert await queued(databases) == {}


PROCESS = """
import asyncio, json, sys
sys.path[:0] = ["tests/support", "tests/shared_db", "."]
from test_concurrent_matching import in_a_process
print(json.dumps(asyncio.run(in_a_process(json.loads(sys.argv[1])))))
"""


async def in_a_process(urls: str | dict[str, str]) -> list[int]:
    """What a process of its own does."""
    databases = open_databases(urls, limits=Limits(busy_seconds=30))
    try:
        taken = await asyncio.gather(*[serve(databases) for _ in range(4)])
        return [job_id for each in taken for job_id in each]
    finally:
        await databases.dispose()


@every_home
async def test_jobs_are_killed_and_submitted_while_pilots_ask(databases: Databases) -> None:
    """Every job ends up Matched by one pilot, or Killed, never both; new ones are found too."""
    first = await waiting(databases, ["" for _ in range(100)])
    killed: set[int] = set()

    async def kill(job_id: int) -> None:
        async def attempt() -> bool:
            async with databases.unit_of_work(write=True) as work:
                rows = await locked_jobs(work, [job_id], ("Status",))
                if rows[0].Status != "Waiting":
                    return False
                await update_jobs(work, {job_id: {"Status": "Killed"}})
                await leave_task_queue(work, [job_id])
                return True

        if await again(attempt):
            killed.add(job_id)

    async def submit() -> list[int]:
        async def attempt() -> list[int]:
            return await waiting(databases, ["", 'Site = "LCG.Lab.org";'])

        return [job_id for _ in range(10) for job_id in await again(attempt)]

    *taken, _, more = await asyncio.gather(
        *[serve(databases) for _ in range(8)],
        asyncio.gather(*[kill(job_id) for job_id in first[::-3]]),
        submit(),
    )
    late = await serve(databases)
    got = [job_id for each in taken for job_id in each] + late
    assert len(got) == len(set(got))
    assert set(got) | killed == set(first) | set(more)
    assert not set(got) & killed
    assert await queued(databases) == {}


LIMITED = parse_cfg("""
Operations
{
  Defaults
  {
    JobScheduling
    {
      RunningLimit
      {
        LCG.Lab.org
        {
          JobType
          {
            Test = 3
          }
        }
      }
    }
  }
}
""")


@every_home
async def test_a_limit_holds_whoever_asks_at_the_same_time(databases: Databases) -> None:
    """A site that may run three jobs of a type gets three, not one for each pilot."""
    await waiting(databases, ['JobType = "Test";'] * 20 + [""] * 2)
    taken = await asyncio.gather(*[serve(databases, LIMITED) for _ in range(PILOTS)])
    types = Counter(
        job["JobType"] for job in (await jobs_in(databases)).values() if job["Status"] == "Matched"
    )
    assert types == {"Test": 3, "user": 2}
    assert sum(map(len, taken)) == 5
