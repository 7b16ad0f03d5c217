"""Several processes on the same ports, so that all cores work.

The parent binds the sockets, brings our own tables up to date and then only watches: each worker is the whole
program, started anew should it die.  What they share is the databases, the administrators' files and the
directory through which their metrics are added up.  Limits are each worker's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.config import Config
from wherry.metrics import METRICS_DIRECTORY, worker_ended
from wherry.serve import prepare, stop_signals
from wherry.sockets import Sockets

logger = logging.getLogger(__name__)

# What a worker is told by its parent, as JSON.
WORKER = "WHERRY_WORKER"

# A worker that dies is started anew after so long; one that cannot live must not keep the machine busy.
RESTART_SECONDS = 1.0
# How long workers may take to end: their calls have DRAIN_SECONDS, their listeners a little more.
END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a worker has of its parent: listening sockets, and a pipe that ends when the parent does."""

    sockets: dict[str, int]
    parent: int

    @classmethod
    def of_this_process(cls) -> Inheritance | None:
        """What this process inherited; None if it is nobody's worker."""
        text = os.environ.pop(WORKER, None)
        return None if text is None else cls(**json.loads(text))


async def supervise(config: Config, config_path: Path) -> None:
    """Run the workers until a signal comes, and end them in order.  Raises ConfigError."""
    with ExitStack() as stack:
        sockets = stack.enter_context(Sockets.bound(config))
        await prepare(config, sockets)
        metrics = stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-metrics-"))
        stopped = stack.enter_context(stop_signals())
        ours, theirs = os.pipe()
        stack.callback(os.close, theirs)
        stack.callback(os.close, ours)
        told = json.dumps({"sockets": sockets.descriptors, "parent": ours})
        start = _Start(
            command=(sys.executable, "-m", "wherry", "serve", "-c", str(config_path)),
            environment={**os.environ, WORKER: told, METRICS_DIRECTORY: metrics},
            descriptors=(*sockets.descriptors.values(), ours),
        )
        logger.info("starting workers", extra={"fields": {"workers": config.workers}})
        async with asyncio.TaskGroup() as group:
            for number in range(config.workers):
                group.create_task(_keep_running(start, number, stopped))
            await stopped.wait()
            sockets.close()  # or the kernel would go on to accept while the workers end
        logger.info("stopped")


@dataclass(frozen=True, slots=True)
class _Start:
    """How a worker is started."""

    command: tuple[str, ...]
    environment: dict[str, str]
    descriptors: tuple[int, ...]

    async def __call__(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *self.command, env=self.environment, pass_fds=self.descriptors, stdin=asyncio.subprocess.DEVNULL
        )


async def _keep_running(start: _Start, number: int, stopped: asyncio.Event) -> None:
    stop = asyncio.create_task(stopped.wait())
    while not stopped.is_set():
        process = await start()
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.is_set():
            await _end(process, ended)
            break
        logger.error("worker %d ended with %s: it is started anew", number, process.returncode)
        worker_ended(process.pid, start.environment[METRICS_DIRECTORY])
        await asyncio.wait({stop}, timeout=RESTART_SECONDS)
    stop.cancel()


async def _end(process: Process, ended: asyncio.Task[int]) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    _, running = await asyncio.wait({ended}, timeout=END_SECONDS)
    if running:
        logger.error("worker %d did not end in %g s: it is killed", process.pid, END_SECONDS)
        with suppress(ProcessLookupError):
            process.kill()
        await ended


def follow_parent(descriptor: int, stopped: asyncio.Event) -> None:
    """Stop when the parent is gone: nobody would end this worker any more."""
    asyncio.get_running_loop().add_reader(descriptor, stopped.set)
