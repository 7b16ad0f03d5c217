"""Leases of periodic tasks: one holder at a time, and nothing is changed by one who is it no longer.

Moments are by the holders' own clocks.  Whoever wants to take over waits ``Terms.clocks`` longer than a lease
says, so that hosts whose clocks differ by less do not take from each other what is still held.  Clocks that
differ by more cost work that is begun twice or late, but do no harm: what changes rows holds the lease's row
(:func:`hold`) in its own transaction, and who holds what is no matter of time there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, Update, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.schema.wherry_db import WHERRY_DB, leases

# Who holds a lease that was given up.
NOBODY = ""


class LeaseLost(Exception):
    """Somebody else has the lease by now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was taken: whose, and for the how many-th time it has changed hands."""

    name: str
    holder: str
    term: int


@dataclass(frozen=True, slots=True)
class Terms:
    """For how long leases are taken at a time, and how much the clocks of hosts may differ."""

    lasting: timedelta = timedelta(seconds=60)
    clocks: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a lease stands; ``due_at`` None: its task was never done."""

    holder: str
    until: datetime
    due_at: datetime | None

    def open_at(self, now: datetime, clocks: timedelta) -> bool:
        """Whether its task is due and nobody is at it."""
        free = self.holder == NOBODY or self.until + clocks <= now
        return free and (self.due_at is None or self.due_at <= now)


async def standings(work: UnitOfWork, names: Sequence[str]) -> dict[str, Standing]:
    """How the leases stand that were taken at least once, by name; nothing is locked."""
    rows = await work.rows(WHERRY_DB, _standings(), {"names": list(names)})
    return {row.name: Standing(row.holder, row.until, row.due_at) for row in rows}


async def take(work: UnitOfWork, name: str, holder: str, terms: Terms, now: datetime) -> Lease | None:
    """The lease, if its task is due and nobody holds it; it ends after its time unless it is held on to.

    ``holder`` names one life of one process.  Raises Conflict when somebody else takes, at the same moment, a
    lease that was never taken before: try again.
    """
    rows = await work.rows(WHERRY_DB, _locking(), {"wanted": name})
    if not rows:
        first = {"name": name, "holder": holder, "until": now + terms.lasting, "term": 1}
        await work.change(WHERRY_DB, leases.insert(), first)
        return Lease(name, holder, 1)
    [row] = rows
    if not Standing(row.holder, row.until, row.due_at).open_at(now, terms.clocks):
        return None
    lease = Lease(name, holder, row.term + 1)
    until = now + terms.lasting
    values = {"wanted": name, "new_holder": holder, "new_until": until, "new_term": lease.term}
    await work.change(WHERRY_DB, _taking(), values)
    return lease


async def hold(work: UnitOfWork, lease: Lease, terms: Terms, now: datetime) -> None:
    """Hold a lease for the rest of a unit of work, and from now on for its time again.

    Nobody can take it before the unit ends.  To be done first in every unit that changes what the lease is
    for.  Raises LeaseLost, also when it was given up: the unit must not go on then.
    """
    # Looked at, not counted: on MySQL an UPDATE to what is there already changes no row.
    rows = await work.rows(WHERRY_DB, _locking(), {"wanted": lease.name})
    if not any((row.holder, row.term) == (lease.holder, lease.term) for row in rows):
        raise LeaseLost(f"the lease of {lease.name} has passed to another")
    await work.change(WHERRY_DB, _holding(), {"wanted": lease.name, "new_until": now + terms.lasting})


async def give_up(work: UnitOfWork, lease: Lease, due_at: datetime, now: datetime) -> None:
    """Let others have the lease as soon as its task is due again; nothing if they have it already."""
    values = {
        "wanted": lease.name,
        "own_holder": lease.holder,
        "own_term": lease.term,
        "new_holder": NOBODY,
        "new_until": now,
        "new_due_at": due_at,
    }
    await work.change(WHERRY_DB, _giving_up(), values)


@cache
def _standings() -> Select[Any]:
    c = leases.c
    return select(c.name, c.holder, c.until, c.due_at).where(c.name.in_(bindparam("names", expanding=True)))


@cache
def _locking() -> Select[Any]:
    return select(leases).where(leases.c.name == bindparam("wanted")).with_for_update()


@cache
def _taking() -> Update:
    return (
        leases.update()
        .where(leases.c.name == bindparam("wanted"))
        .values(holder=bindparam("new_holder"), until=bindparam("new_until"), term=bindparam("new_term"))
    )


@cache
def _holding() -> Update:
    return leases.update().where(leases.c.name == bindparam("wanted")).values(until=bindparam("new_until"))


@cache
def _giving_up() -> Update:
    c = leases.c
    own = (c.holder == bindparam("own_holder"), c.term == bindparam("own_term"))
    return (
        leases.update()
        .where(c.name == bindparam("wanted"), *own)
        .values(holder=bindparam("new_holder"), until=bindparam("new_until"), due_at=bindparam("new_due_at"))
    )
