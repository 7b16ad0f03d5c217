"""`workers: N`: several processes on the same ports, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from legacy_rpc.client.diset import Endpoint, call, client_tls
from wherry.demo.credentials import GridCredentials

DEADLINE = 60.0
MONITORING = "WorkloadManagement/JobMonitoring"


class Program:
    """A `wherry serve` in processes of its own, with what it logs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.records: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def read_log(self) -> None:
        """Take the log's lines as they come: each must be whole."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.records.append(json.loads(line))
            async with self._news:
                self._news.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to be logged."""
        async with asyncio.timeout(DEADLINE), self._news:
            await self._news.wait_for(condition)

    def events(self, text: str) -> list[dict[str, Any]]:
        """The records whose event begins with a text."""
        return [record for record in self.records if record["event"].startswith(text)]

    def workers(self) -> set[int]:
        """The process ids of the workers that live."""
        pid = self.process.pid
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Program]:
    """Two workers that are ready; nothing of them is left afterwards, whatever happened."""
    config = directory / "wherry.yaml"
    config.write_text(config.read_text() + "workers: 2\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry", "serve", "-c", str(config), stderr=PIPE, start_new_session=True
    )
    program = Program(process)
    reading = asyncio.create_task(program.read_log())
    try:
        await program.until(lambda: len(program.events("ready")) == 2)
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.wait_for(reading, DEADLINE)


class Caller:
    """Alice, who asks a program's services."""

    def __init__(self, program: Program, credentials: GridCredentials) -> None:
        ready = program.events("ready")[0]
        self._url = f"dips://localhost:{ready['dips']}/{MONITORING}"
        self._operations = ready["operations"]
        self._tls = client_tls(credentials.proxies["alice"]["demo_admin"], credentials.ca_path)

    async def ask(self) -> None:
        """One call, which must be answered."""
        answer = await call(Endpoint.parse(self._url), "getJobsStatus", [[1]], self._tls, seconds=20)
        assert answer["OK"]

    async def counted(self) -> float:
        """How many calls the metrics tell of."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._operations}/metrics") as response:
            text = await response.text()
        found = re.findall(r"^wherry_calls_total\{.*getJobsStatus.*\} (\S+)$", text, flags=re.MULTILINE)
        return sum(map(float, found))


async def test_calls_are_shared_and_counted_together(directory: Path, credentials: GridCredentials) -> None:
    """Both workers answer on one port; whichever is asked for metrics tells of all."""
    async with serving(directory) as program:
        caller = Caller(program, credentials)
        for _ in range(4):
            await asyncio.gather(*(caller.ask() for _ in range(10)))
        assert await caller.counted() == 40
        await program.until(lambda: len(program.events("call")) == 40)


async def test_a_dead_worker_is_started_anew(directory: Path, credentials: GridCredentials) -> None:
    """The others answer meanwhile."""
    async with serving(directory) as program:
        caller = Caller(program, credentials)
        before = program.workers()
        os.kill(min(before), signal.SIGKILL)
        await program.until(lambda: bool(program.events("worker ")))
        await caller.ask()
        await program.until(lambda: len(program.events("ready")) == 3)
        assert len(program.workers()) == 2
        assert program.workers() != before


async def test_a_signal_ends_all_in_order(directory: Path) -> None:
    """SIGTERM to the parent: every worker stops in order, and the exit code is 0."""
    async with serving(directory) as program:
        program.process.terminate()
        assert await asyncio.wait_for(program.process.wait(), DEADLINE) == 0
        await program.until(lambda: len(program.events("stopping")) == 2)
        assert program.events("stopped")


async def test_workers_end_with_their_parent(directory: Path) -> None:
    """A parent that is killed leaves no worker behind."""
    async with serving(directory) as program:
        program.process.kill()
        await program.until(lambda: len(program.events("stopping")) == 2)


@pytest.mark.parametrize("broken", ["registry.cfg", "plan.yaml", "wherry.db"])
async def test_what_no_worker_could_use_stops_the_start(directory: Path, broken: str) -> None:
    """The parent finds out, says it in one line, and exits with 2."""
    (directory / broken).write_text("{")
    config = directory / "wherry.yaml"
    config.write_text(config.read_text() + "workers: 2\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry", "serve", "-c", str(config), stderr=PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    last = errors.decode().splitlines()[-1]
    assert (process.returncode, last[:8]) == (2, "wherry: ")
    assert broken in last or "database" in last
