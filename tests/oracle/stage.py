"""DIRAC's services and Wherry's native handlers on equal rows, and calls made to both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import time_machine
from more_rows import add_more_rows
from oracle import Oracle
from sides import START, Caller, Side, make_side
from worlds import World, differences

from legacy_rpc.client.diset import CallError
from legacy_rpc.codecs.encodings import JENCODE
from shared_db.administration import upgrade
from shared_db.connection import open_databases
from shared_db.rules.clock import utc_now
from wherry.demo.data import fill

from .declared import NO_ANSWER, Exchange, declared

STEP = timedelta(seconds=1.5)
UNCOMPARED = ("rpcStub", "CallStack", "ExecInfo")


@dataclass(frozen=True)
class Step:
    """One call."""

    caller: Caller
    service: str
    method: str
    arguments: list[Any]


@dataclass
class Stage:
    """Wherry alone on databases of its own; DIRAC on others, with another Wherry as its guest."""

    oracle: Oracle
    alone: Side
    guest: Side
    worlds: tuple[World, World]  # of `alone`, of the oracle
    clock: time_machine.Traveller
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)

    async def play(self, steps: Sequence[Step], *, in_turn: bool) -> None:
        """Make the calls on equal rows; replies are compared, and at the end the rows.

        ``in_turn``: DIRAC and its guest take the calls in turn, in the same databases.
        """
        self.clock.move_to(START)
        try:
            for number, step in enumerate(steps):
                self.clock.shift(STEP)
                if await self._compare(step, is_guests=in_turn and number % 2 == 1):
                    await self._restore()
            await self._compare_rows()
        finally:
            await self._restore()

    async def _ask_dirac(
        self, caller: Caller, service: str, method: str, arguments: list[Any]
    ) -> dict[str, Any]:
        try:
            return await self.oracle.call(caller, service, method, arguments)
        except CallError as error:
            if "closed the connection" not in str(error):
                raise
            return {"OK": False, "Errno": 0, "Message": NO_ANSWER}

    async def _compare(self, step: Step, is_guests: bool) -> bool:
        """Whether the rows differ now, as they may."""
        self.oracle.stand_still(utc_now())
        others = self.guest.call if is_guests else self._ask_dirac
        arguments = _carried(step.arguments)
        ours, theirs = await asyncio.gather(
            self.alone.call(step.caller, step.service, step.method, arguments),
            others(step.caller, step.service, step.method, step.arguments),
        )
        self.calls[step.service, step.method] += not is_guests
        exchange = Exchange(step.caller, step.method, arguments, _comparable(theirs), _comparable(ours))
        found = list(unequal(exchange.dirac, exchange.ours))
        difference = declared(exchange, replies_differ=bool(found))
        if found and not difference:
            raise AssertionError(f"{step}\nreplies, DIRAC <> here:\n" + "\n".join(found[:20]))
        if difference:
            self.explained[difference.why] += 1
        if difference and difference.tables:
            await self._compare_rows(difference.tables)
            return True
        return False

    async def _compare_rows(self, but: tuple[str, ...] = ()) -> None:
        """Of all tables, but those whose names begin so."""
        own, other = self.worlds
        left, right = [
            {table: rows for table, rows in dump.items() if not (but and table.startswith(but))}
            for dump in await asyncio.gather(other.rows(), own.rows())
        ]
        found = differences(left, right, own.columns)
        assert not found, "rows, DIRAC <> here:\n" + "\n".join(found[:40])

    async def _restore(self) -> None:
        await asyncio.gather(*(world.restore() for world in self.worlds))


def _carried(value: Any) -> Any:
    """A value as it arrives."""
    return JENCODE.decode(JENCODE.encode(value))


def _comparable(result: dict[str, Any]) -> dict[str, Any]:
    try:
        return _carried({key: value for key, value in result.items() if key not in UNCOMPARED})
    except TypeError:
        return {"OK": False, "Errno": 0, "Message": NO_ANSWER}


def unequal(left: Any, right: Any, where: str = "") -> Iterator[str]:
    """Where two values differ, a line each; 1, 1.0 and True are equal in Python and differ for clients."""
    if type(left) is not type(right):
        yield f"{where}: {left!r} <> {right!r}"
    elif isinstance(left, dict):
        for key in [*left, *(each for each in right if each not in left)]:
            if key in left and key in right:
                yield from unequal(left[key], right[key], f"{where}[{key!r}]")
            else:
                who, value = ("DIRAC", left[key]) if key in left else ("here", right[key])
                yield f"{where}[{key!r}]: only {who}: {value!r}"
        yield from (f"{where}: key {one!r} <> {other!r}" for one, other in _keys_of_other_types(left, right))
    elif isinstance(left, list | tuple) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from unequal(one, other, f"{where}[{number}]")
    elif left != right:
        yield f"{where}: {left!r} <> {right!r}"


def _keys_of_other_types(left: dict[Any, Any], right: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    others = {key: key for key in right}
    return ((key, others[key]) for key in left if key in others and type(others[key]) is not type(key))


async def open_stage(
    oracle: Oracle, urls: dict[str, str], directory: Path, clock: time_machine.Traveller
) -> Stage:
    """Everything filled and connected; what a test left that was broken off is taken away first."""
    worlds = World(urls), World(oracle.databases)
    sides: list[Side] = []
    try:
        for name, databases, world in zip(("alone", "guest"), (urls, oracle.databases), worlds, strict=True):
            await _make_tables(databases)
            await world.keep()
            await world.empty()
            await _fill(databases)
            await world.keep()
            (directory / name).mkdir()
            make = partial(make_side, directory / name, oracle.credentials, oracle.registry, databases)
            # DIRAC's own optimisers would run; a slow machine is no difference.
            sides.append(make("legacy", optimise=False, busy_seconds=20))
        own, other = worlds
        found = differences(await other.rows(), await own.rows(), own.columns)
        assert not found, found[:10]
    except BaseException:
        await _leave(sides, worlds)
        raise
    return Stage(oracle, sides[0], sides[1], worlds, clock)


async def _make_tables(urls: dict[str, str]) -> None:
    databases = open_databases(urls, create=True)
    try:
        await upgrade(databases, missing_tables=True)
    finally:
        await databases.dispose()


async def _fill(urls: dict[str, str]) -> None:
    databases = open_databases(urls, create=True)
    try:
        await fill(databases)
        await add_more_rows(databases)
    finally:
        await databases.dispose()


async def close_stage(stage: Stage) -> None:
    """Disconnect, and leave nothing in the oracle's databases."""
    await _leave((stage.alone, stage.guest), stage.worlds)


async def _leave(sides: Sequence[Side], worlds: Sequence[World]) -> None:
    for side in sides:
        await side.close()
    for world in worlds:
        await world.empty()
        await world.close()
