"""The names, made of an MD5, that DIRAC's clients know sandboxes by, and those they are stored under.

A sandbox that a DIRAC service has stored under such a name has a row in sb_SandBoxes, and none here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.errors import Conflict, Interrupted
from shared_db.queries.values import check_values, chunks
from shared_db.rules import clock
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import WRONG_HASH, Location, is_legacy, takes_over
from shared_db.schema.wherry_db import WHERRY_DB, sandbox_names


async def note_name(work: UnitOfWork, name: str, stored_as: str) -> None:
    """Note that a sandbox is called so, too.  Raises InvalidValue, and Refusal for somebody else's name."""
    found = await stored_names(work, [name])
    if found.get(name) == stored_as:
        return
    if found and not takes_over(stored_as, found[name]):
        raise Refusal(WRONG_HASH)
    row = {"name": name, "stored_as": stored_as, "noted_at": clock.utc_now()}
    check_values(sandbox_names, [row])
    if found:
        await work.change(WHERRY_DB, _forgetting_name(), {"name": name})
    try:
        await work.change(WHERRY_DB, sandbox_names.insert(), [row])
    except Conflict as error:
        raise Interrupted(f"somebody else notes the name {name} at this moment") from error


async def stored_names(work: UnitOfWork, names: Iterable[str]) -> dict[str, str]:
    """The names under which sandboxes are stored, by those that DIRAC's clients know them by."""
    found: dict[str, str] = {}
    for chunk in chunks(sorted(set(names))):
        rows = await work.rows(WHERRY_DB, _stored(), {"names": chunk})
        found |= {row.name: row.stored_as for row in rows}
    return found


async def stored_location(work: UnitOfWork, at: Location) -> Location:
    """Where a sandbox is stored; the location itself, where it has no other name."""
    if not is_legacy(at.name):
        return at
    found = await stored_names(work, [at.name])
    return Location(at.storage_element, found.get(at.name, at.name))


async def legacy_names(work: UnitOfWork, stored: Iterable[str]) -> dict[str, str]:
    """The names that DIRAC's clients gave sandboxes, by those under which they are stored: the first one."""
    found: dict[str, str] = {}
    for chunk in chunks(sorted(set(stored))):
        for row in await work.rows(WHERRY_DB, _called(), {"names": chunk}):
            found.setdefault(row.stored_as, row.name)
    return found


async def forget_names(work: UnitOfWork, stored: Iterable[str]) -> None:
    """Forget what sandboxes were called that are no more."""
    for chunk in chunks(sorted(set(stored))):
        await work.change(WHERRY_DB, _forgetting(), {"names": chunk})


@cache
def _stored() -> Select[Any]:
    c = sandbox_names.c
    return select(c.name, c.stored_as).where(c.name.in_(bindparam("names", expanding=True)))


@cache
def _called() -> Select[Any]:
    c = sandbox_names.c
    condition = c.stored_as.in_(bindparam("names", expanding=True))
    return select(c.name, c.stored_as).where(condition).order_by(c.noted_at, c.name)


@cache
def _forgetting() -> Delete:
    return sandbox_names.delete().where(sandbox_names.c.stored_as.in_(bindparam("names", expanding=True)))


@cache
def _forgetting_name() -> Delete:
    return sandbox_names.delete().where(sandbox_names.c.name == bindparam("name"))
