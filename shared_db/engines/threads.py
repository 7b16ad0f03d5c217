"""Worker threads for a driver that blocks.

Several threads that are busy with Python at once wait for each other's lock more than they work: measured,
a look-up on eight threads costs 4.4 ms of processor time for a whole call, on one thread 3.1 ms.  So one
thread does all the quick work, from one queue, and helpers take over while it is held up by something slow.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from shared_db.waiting import to_its_end

T = TypeVar("T")

# A job that takes longer is slow, and no reason to keep others waiting.
QUICK_SECONDS = 0.005

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class WorkerThreads:
    """One thread that works, and ``helpers`` more for when it is held up."""

    def __init__(self, name: str, helpers: int) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._help = threading.Semaphore(0)
        self._done = 0  # jobs that the first thread has ended
        self._seen = -1
        self._pending = 0
        self._watching = False
        self._ending = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-1", daemon=True),
            *[
                threading.Thread(target=self._assist, name=f"{name}-{number}", daemon=True)
                for number in range(2, helpers + 2)
            ],
        ]
        self._started = False

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run in a thread; a caller who is cancelled, however often, still waits for its end."""
        self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        self._jobs.put((loop, future, function, arguments))
        self._watch(loop)
        try:
            return await to_its_end(future)
        finally:
            self._pending -= 1

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after a while whether the first thread has moved on."""
        if not self._watching:
            self._watching = True
            self._seen = self._done
            loop.call_later(QUICK_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watching = False
        if self._pending:
            if self._done == self._seen and not self._jobs.empty():
                self._help.release()
            self._watch(loop)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(job)
            self._done += 1

    def _assist(self) -> None:
        while True:
            self._help.acquire()
            if self._ending:
                return
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                continue
            if job is None:  # the end, which is the first thread's to see
                self._jobs.put(None)
                return
            _do(job)

    async def end(self) -> None:
        """Let every thread end when it has done its job."""
        if self._started:
            self._ending = True
            self._jobs.put(None)
            for _ in self._threads:
                self._help.release()
            await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


def _do(job: _Job) -> None:
    loop, future, function, arguments = job
    try:
        result = function(*arguments)
    except BaseException as error:  # noqa: BLE001 - it is the asker's
        _tell(loop, _fail, future, error)
    else:
        _tell(loop, _succeed, future, result)


def _tell(loop: asyncio.AbstractEventLoop, *what: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(*what)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
