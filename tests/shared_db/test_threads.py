"""Worker threads: one for quick work, helpers while it is held up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from shared_db.engines.threads import WorkerThreads


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    """One thread and two helpers."""
    made = WorkerThreads("test", helpers=2)
    yield made
    await made.end()


async def test_results_and_exceptions(threads: WorkerThreads) -> None:
    """A caller gets what the function returns or raises."""
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert await threads.run(lambda: None) is None


async def test_quick_work_is_done_by_one_thread(threads: WorkerThreads) -> None:
    """Work that holds nobody up stays on one thread, in the order in which it was asked for."""
    order: list[int] = []

    def work(number: int) -> str:
        order.append(number)
        return threading.current_thread().name

    names = await asyncio.gather(*[threads.run(work, number) for number in range(100)])
    assert set(names) == {"test-1"}
    assert order == list(range(100))


async def test_slow_work_holds_nobody_up(threads: WorkerThreads) -> None:
    """While the first thread is at something slow, others are served, one after another too."""
    gate = threading.Event()
    slow = asyncio.create_task(threads.run(gate.wait, 10))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(2):
        for number in range(5):
            assert await threads.run(lambda same=number: same) == number
    assert not slow.done()
    gate.set()
    assert await slow is True


async def test_as_many_at_a_time_as_there_are_threads(threads: WorkerThreads) -> None:
    """Three slow jobs run side by side; a fourth waits for one of them."""
    gate = threading.Event()
    running: list[str] = []

    def work() -> None:
        running.append(threading.current_thread().name)
        gate.wait(10)

    jobs = [asyncio.create_task(threads.run(work)) for _ in range(4)]
    async with asyncio.timeout(2):
        while len(running) < 3:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert sorted(running) == ["test-1", "test-2", "test-3"]
    gate.set()
    await asyncio.gather(*jobs)
    assert len(running) == 4


async def test_a_cancelled_caller_waits_for_the_end(threads: WorkerThreads) -> None:
    """What a thread has begun is over when its caller goes on, however often the caller is cancelled."""
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.1)
        ended.set()

    task = asyncio.create_task(threads.run(work))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_the_end_leaves_no_thread() -> None:
    """After the end no thread is left; what was asked for before is done."""
    threads = WorkerThreads("ending", helpers=3)
    jobs = [asyncio.create_task(threads.run(time.sleep, 0.02)) for _ in range(6)]
    await asyncio.gather(*jobs)
    await threads.end()
    assert not [each for each in threading.enumerate() if each.name.startswith("ending")]


async def test_threads_that_were_never_needed() -> None:
    """Threads are started by the first job, and an end without one does nothing."""
    threads = WorkerThreads("idle", helpers=3)
    await threads.end()
    assert not [each for each in threading.enumerate() if each.name.startswith("idle")]
