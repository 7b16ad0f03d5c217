"""Periodic tasks of two whole programs on one database: what one leaves undone, the other does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import pytest

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
rest: {listen: "127.0.0.1:0"}
operations: {listen: "127.0.0.1:0"}
tasks: {jobs: true, lease_seconds: 3, clock_seconds: 1}
"""
LEASE_SECONDS, CLOCK_SECONDS = 3, 1
# What a worker takes to look again, on a busy machine.
LOOKING_SECONDS = 12
DEADLINE = 90.0
TASK = "remove-deleted-jobs"
# Enough for many batches.
JOBS = 12_000


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[Process, str]]:
    """A `wherry serve` that is ready, and where its metrics are; killed afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry", "serve", "-c", str(directory / "tasks.yaml"), stderr=PIPE
    )
    assert process.stderr is not None
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(DEADLINE):
            while (record := json.loads(await process.stderr.readline()))["event"] != "ready":
                pass
        reading = asyncio.create_task(_drop(process))
        yield process, record["operations"]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if reading:
            await reading


async def _drop(process: Process) -> None:
    assert process.stderr is not None
    while await process.stderr.readline():
        pass


class Base:
    """The database of both, looked at from outside."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def fill(self) -> None:
        """Very many Deleted jobs, and nothing else."""
        with closing(sqlite3.connect(self.file, timeout=30)) as connection, connection:
            for table in ("LoggingInfo", "tq_Jobs", "Jobs", "JobJDLs"):
                connection.execute(f"DELETE FROM {table}")
            ids = [(each,) for each in range(1, JOBS + 1)]
            jdls = "INSERT INTO JobJDLs (JobID, JDL, JobRequirements, OriginalJDL) VALUES (?, '', '', '')"
            connection.executemany(jdls, ids)
            values = "(?, 'Deleted', '2020-01-01 00:00:00')"
            jobs = f"INSERT INTO Jobs (JobID, Status, LastUpdateTime) VALUES {values}"
            connection.executemany(jobs, ids)

    def jobs(self) -> int:
        """How many are left."""
        return int(self._ask("SELECT count(*) FROM Jobs")[0])

    def lease(self) -> tuple[str, int]:
        """Process and term of the task's holder; '' for nobody."""
        rows = self._ask("SELECT holder, term FROM wherry_leases WHERE name = ?", f"task:{TASK}")
        return (rows[0].split(":")[-2] if rows and rows[0] else "", rows[1] if rows else 0)

    def _ask(self, question: str, *values: str) -> tuple:  # type: ignore[type-arg]
        with closing(sqlite3.connect(self.file, timeout=30)) as connection:
            return connection.execute(question, values).fetchone() or ()


async def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> float:
    """Wait for a condition; returns the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_one_does_it_and_the_other_takes_over(directory: Path, how: signal.Signals) -> None:
    """Killed or stopped in the midst of a task: the other goes on, when the lease is over or at once."""
    (directory / "tasks.yaml").write_text(CONFIG)
    base = Base(directory / "wherry.db")
    base.fill()
    async with serving(directory) as (one, _), serving(directory) as (two, _):
        await until(lambda: base.jobs() < JOBS)
        holder, term = base.lease()
        first, second = (one, two) if holder == str(one.pid) else (two, one)
        assert holder == str(first.pid)
        left = base.jobs()
        os.kill(first.pid, how)
        await first.wait()
        at_its_end = base.jobs()
        assert 0 < at_its_end <= left
        took = await until(lambda: base.lease()[0] == str(second.pid))
        limit = LOOKING_SECONDS + (LEASE_SECONDS + CLOCK_SECONDS if how is signal.SIGKILL else 0)
        assert took < limit
        assert base.lease()[1] == term + 1
        await until(lambda: base.jobs() == 0)
        await until(lambda: base.lease()[0] == "")


async def test_what_was_done_is_counted(directory: Path) -> None:
    """By task, for who watches; every task was done once."""
    (directory / "tasks.yaml").write_text(CONFIG)

    async def metrics(url: str) -> dict[str, float]:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
            text = await response.text()
        found = re.findall(r"^(wherry_task_\S+) (\S+)$", text, flags=re.MULTILINE)
        return {name: float(value) for name, value in found}

    async with serving(directory) as (_, operations):
        done = f'wherry_task_runs_total{{outcome="done",task="{TASK}"}}'
        async with asyncio.timeout(DEADLINE):
            while done not in (found := await metrics(operations)):
                await asyncio.sleep(0.2)
        assert found[done] == 1
        assert found[f'wherry_task_seconds_count{{task="{TASK}"}}'] == 1
        assert abs(time.time() - found[f'wherry_task_last_done_seconds{{task="{TASK}"}}']) < DEADLINE
        # The demo's Deleted jobs are days old.
        assert found[f'wherry_task_items_total{{task="{TASK}"}}'] > 0
        assert not [name for name in found if 'outcome="failed"' in name]
