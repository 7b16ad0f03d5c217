"""Work that can be done bit by bit: a generator that yields after every piece and returns what came of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

# A piece takes a millisecond or so.
Steps = Generator[None, None, T]


def in_one_go(work: Steps[T]) -> T:
    """What the work returns; raises what it raises."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: T = end.value
            return value
