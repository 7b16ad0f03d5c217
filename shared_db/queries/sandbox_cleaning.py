"""Sandboxes that nobody needs any more: finding them, and forgetting them when their files are gone.

A sandbox leaves in three steps, of which each can be the last before a crash.  It is *claimed*: its row moves
to a storage element that no client can name, so that from then on the sandbox is not there and whoever
uploads it again gets a new row.  Its file is deleted.  Its row is deleted.  A claimed row that is found later
is where the next run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, Update, bindparam, or_, select

from shared_db.connection import UnitOfWork
from shared_db.queries.sandbox_names import forget_names
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import chunks
from shared_db.rules.clock import to_column
from shared_db.schema.sandbox_metadata_db import SANDBOX_METADATA_DB, sb_EntityMapping, sb_SandBoxes

# No client can name it: a storage element has letters only.
_CLAIMED = "#removing"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A sandbox on its way out."""

    sandbox_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Which sandboxes of a storage element may go; times are aware.

    ``folder``: what their names begin with.  ``unassigned_before``: the last access of those that no job was
    ever given, or that were taken from all; ``unmapped_before``: of those that are marked as assigned while
    no job has them, as DIRAC leaves the sandboxes of removed jobs.
    """

    storage_element: str
    folder: str
    unassigned_before: datetime
    unmapped_before: datetime


async def claim_sandboxes(
    work: UnitOfWork, unneeded: Unneeded, *, after: int, most: int
) -> tuple[int, list[Claimed]]:
    """Claim some of the sandboxes that may go, of those with a larger SBId than ``after``.

    Returns the last SBId that was looked at, with which to go on (0: there are no more), and those claimed.
    """
    rows = await work.rows(
        SANDBOX_METADATA_DB,
        _candidates(),
        {
            "after": after,
            "element": unneeded.storage_element,
            "folder": f"{unneeded.folder}%",
            "unassigned_before": to_column(unneeded.unassigned_before),
            "unmapped_before": to_column(unneeded.unmapped_before),
            "most": most,
        },
    )
    if not rows:
        return 0, []
    # In statements of their own, which see what was kept while this one waited for locks.
    mapping = sb_EntityMapping.c
    needed = {
        row.SBId for row in await find_by_ids(work, [mapping.SBId], mapping.SBId, [row.SBId for row in rows])
    }
    leaving = await _names_at(work, unneeded.storage_element + _CLAIMED, [row.SEPFN for row in rows])
    claimed = [
        Claimed(row.SBId, row.SEPFN) for row in rows if row.SBId not in needed and row.SEPFN not in leaving
    ]
    ids = [each.sandbox_id for each in claimed]
    for chunk in chunks(ids):
        element = unneeded.storage_element + _CLAIMED
        await work.change(SANDBOX_METADATA_DB, _claiming(), {"ids": chunk, "claimed": element})
    return rows[-1].SBId, claimed


async def claimed_sandboxes(
    work: UnitOfWork, storage_element: str, *, after: int, most: int
) -> list[Claimed]:
    """Some of the sandboxes that were claimed and are not forgotten, by ascending SBId above ``after``."""
    parameters = {"element": storage_element + _CLAIMED, "after": after, "most": most}
    rows = await work.rows(SANDBOX_METADATA_DB, _claimed(), parameters)
    return [Claimed(row.SBId, row.SEPFN) for row in rows]


async def registered_again(work: UnitOfWork, storage_element: str, claimed: Sequence[Claimed]) -> set[str]:
    """The names of those that somebody registered anew after they were claimed."""
    return await _names_at(work, storage_element, [each.name for each in claimed])


async def forget_sandboxes(work: UnitOfWork, claimed: Iterable[Claimed]) -> None:
    """Delete the rows of claimed sandboxes, and what else they were called."""
    gone = list(claimed)
    for chunk in chunks(sorted(each.sandbox_id for each in gone)):
        await work.change(SANDBOX_METADATA_DB, _forgetting(), {"ids": chunk})
    await forget_names(work, {each.name for each in gone})


async def _names_at(work: UnitOfWork, storage_element: str, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for chunk in chunks(sorted(set(names))):
        rows = await work.rows(SANDBOX_METADATA_DB, _at(), {"element": storage_element, "names": chunk})
        found |= {row.SEPFN for row in rows}
    return found


@cache
def _candidates() -> Select[Any]:
    c = sb_SandBoxes.c
    mapped = select(sb_EntityMapping.c.SBId).where(sb_EntityMapping.c.SBId == c.SBId).exists()
    return (
        select(c.SBId, c.SEPFN)
        .where(
            c.SBId > bindparam("after"),
            c.SEName == bindparam("element"),
            c.SEPFN.like(bindparam("folder")),
            or_(
                (c.Assigned == 0) & (c.LastAccessTime < bindparam("unassigned_before")),
                (c.Assigned != 0) & (c.LastAccessTime < bindparam("unmapped_before")) & ~mapped,
            ),
        )
        .order_by(c.SBId)
        .limit(bindparam("most"))
        .with_for_update()
    )


@cache
def _claimed() -> Select[Any]:
    c = sb_SandBoxes.c
    condition = (c.SEName == bindparam("element"), c.SBId > bindparam("after"))
    return select(c.SBId, c.SEPFN).where(*condition).order_by(c.SBId).limit(bindparam("most"))


@cache
def _at() -> Select[Any]:
    c = sb_SandBoxes.c
    names = c.SEPFN.in_(bindparam("names", expanding=True))
    return select(c.SEPFN).where(c.SEName == bindparam("element"), names)


@cache
def _claiming() -> Update:
    condition = sb_SandBoxes.c.SBId.in_(bindparam("ids", expanding=True))
    return sb_SandBoxes.update().where(condition).values(SEName=bindparam("claimed"))


@cache
def _forgetting() -> Delete:
    return sb_SandBoxes.delete().where(sb_SandBoxes.c.SBId.in_(bindparam("ids", expanding=True)))
