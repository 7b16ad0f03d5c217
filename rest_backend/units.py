"""Units of work of operations that ask for their own (``transactional=False``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from shared_db.connection import UnitOfWork, again
from shared_db.errors import Conflict

T = TypeVar("T")


class Units(Protocol):
    """What gives units of work: databases, or who lets them be used on some condition."""

    def unit_of_work(self, *, write: bool = False) -> AbstractAsyncContextManager[UnitOfWork]:
        """As of :meth:`shared_db.connection.Databases.unit_of_work`."""


async def reading(databases: Units, look: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """What is found in a unit of work of its own."""

    async def attempt() -> T:
        async with databases.unit_of_work() as work:
            return await look(work)

    return await again(attempt)


async def writing(databases: Units, change: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """What comes of a change in a unit of work of its own.

    It is committed before this returns, and tried once more when somebody else put the same row there.
    """

    async def attempt() -> T:
        async with databases.unit_of_work(write=True) as work:
            return await change(work)

    try:
        return await again(attempt)
    except Conflict:
        return await again(attempt)
