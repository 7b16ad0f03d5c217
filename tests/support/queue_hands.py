"""What tests of queues and matching do all the time: submit jobs and optimise them, and ask for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from shared_db.cfg import parse_cfg
from shared_db.connection import Databases
from shared_db.queries.optimisation import optimise
from shared_db.queries.submission import submit_jobs
from shared_db.registry import Registry
from shared_db.rules.jdl.description import describe
from shared_db.rules.jdl.policy import DIRACX_0_7, Submitter
from shared_db.schema.job_db import JOB_DB, Jobs
from shared_db.schema.task_queue_db import TASK_QUEUE_DB, tq_Jobs

GROUPS = Registry.from_cfg(
    parse_cfg("""
DIRAC
{
  Setup = Production
}
Registry
{
  Users
  {
    alice
    {
      DN = /O=Lab/CN=alice
    }
    bob
    {
      DN = /O=Lab/CN=bob
    }
    carol
    {
      DN = /O=Lab/CN=carol
    }
  }
  Groups
  {
    lab_user
    {
      Users = alice, bob, carol
      Properties = NormalUser
      VO = lab
    }
    lab_prod
    {
      Users = alice, bob
      Properties = NormalUser, JobSharing
      VO = lab
      JobShare = 5000
    }
    other_user
    {
      Users = carol
      Properties = NormalUser
      VO = other
    }
  }
}
""")
)
ALICE = Submitter("alice", "lab_user", "lab", "/O=Lab/CN=alice")


async def waiting(
    databases: Databases, jdls: Sequence[str], owner: Submitter = ALICE, registry: Registry = GROUPS
) -> list[int]:
    """Submit jobs and have them optimised; their ids."""
    jobs = [describe(f'Executable = "/bin/echo"; {jdl}', owner, DIRACX_0_7) for jdl in jdls]
    async with databases.unit_of_work(write=True) as work:
        submitted = await submit_jobs(work, jobs)
        await optimise(work, submitted.job_ids, registry)
    return submitted.job_ids


async def jobs_in(databases: Databases) -> dict[int, Mapping[str, Any]]:
    """Every job by id."""
    async with databases.unit_of_work() as work:
        return {row.JobID: row._mapping for row in await work.rows(JOB_DB, select(Jobs))}


async def queued(databases: Databases) -> dict[int, int]:
    """The queue of each job that is in one."""
    async with databases.unit_of_work() as work:
        rows = await work.rows(TASK_QUEUE_DB, select(tq_Jobs.c.JobId, tq_Jobs.c.TQId))
        return {row.JobId: row.TQId for row in rows}
