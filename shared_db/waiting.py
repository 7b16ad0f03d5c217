"""Waiting that must not be broken off."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(future: asyncio.Future[T]) -> T:
    """The future's result; a cancellation in the meantime, however often, takes effect when it is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
