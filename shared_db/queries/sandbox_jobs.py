"""Which sandboxes belong to which jobs (sb_EntityMapping; its EntityId is ``Job:<jobid>``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Delete, Select, Update, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.sandboxes import locked_sandboxes
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import chunks
from shared_db.rules.sandboxes import (
    INPUT,
    Location,
    Reach,
    is_location,
    not_assignable,
    parse_location,
)
from shared_db.schema.sandbox_metadata_db import (
    SANDBOX_METADATA_DB,
    sb_EntityMapping,
    sb_Owners,
    sb_SandBoxes,
)


class SandboxNotFound(Exception):
    """A sandbox is not registered."""


class SandboxAlreadyAssigned(Exception):
    """A job has the sandbox already."""


async def sandboxes_of_job(work: UnitOfWork, job_id: int) -> list[tuple[str, Location]]:
    """``(type, location)`` of a job's sandboxes, in the order in which they were registered."""
    rows = await work.rows(SANDBOX_METADATA_DB, _of_entity(), {"entity": _entity(job_id)})
    return [(row.Type, Location(row.SEName, row.SEPFN)) for row in rows]


async def assign_sandbox(work: UnitOfWork, job_id: int, at: Location, kind: str) -> None:
    """Give a job a sandbox.  Raises SandboxNotFound, SandboxAlreadyAssigned."""
    locked = await locked_sandboxes(work, [at])
    if not locked:
        raise SandboxNotFound
    row = {"SBId": locked[at], "EntityId": _entity(job_id), "Type": kind}
    if await _assigned(work, [row]):
        raise SandboxAlreadyAssigned
    await _assign(work, [row])


async def assign_input_sandboxes(
    work: UnitOfWork, entries: Mapping[int, Sequence[str]], reach: Reach
) -> dict[int, str]:
    """Give submitted jobs the sandboxes that their JDLs name, as DIRAC's JobSanity optimiser does.

    ``entries``: by job the entries of its InputSandbox; those that are files are passed over.  What a job has
    already stays.  Returns for each job that cannot have all of its sandboxes the text of DIRAC's error; such
    a job gets none.
    """
    wanted = {
        job_id: [parse_location(each) for each in inputs if is_location(each)]
        for job_id, inputs in entries.items()
    }
    ids = await within_reach(work, {at for each in wanted.values() for at in each if at}, reach)
    refused = {job_id for job_id, each in wanted.items() if any(at not in ids for at in each)}
    rows = [
        {"SBId": sandbox_id, "EntityId": _entity(job_id), "Type": INPUT}
        for job_id, each in wanted.items()
        if job_id not in refused
        for sandbox_id in dict.fromkeys(ids[at] for at in each if at)
    ]
    await give(work, rows)
    return dict.fromkeys(sorted(refused), not_assignable(reach.owner).message)


async def within_reach(
    work: UnitOfWork, wanted: Collection[Location], reach: Reach
) -> dict[Location | None, int]:
    """The ids of those sandboxes that are registered and may be assigned; they are locked."""
    locked = await locked_sandboxes(work, wanted)
    allowed: set[int] = set()
    for chunk in chunks(locked.values()):
        rows = await work.rows(SANDBOX_METADATA_DB, _owners_of(), {"ids": chunk})
        allowed |= {row.SBId for row in rows if reach.covers(row.Owner, row.OwnerGroup)}
    return {at: sandbox_id for at, sandbox_id in locked.items() if sandbox_id in allowed}


async def _assigned(work: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> set[tuple[int, str, str]]:
    """Those of the rows, as tuples, that are there already."""
    there: set[tuple[int, str, str]] = set()
    for chunk in chunks(sorted({row["EntityId"] for row in rows})):
        found = await work.rows(SANDBOX_METADATA_DB, _mapped(), {"entities": chunk})
        there |= {(row.SBId, row.EntityId, row.Type) for row in found}
    return there & {(row["SBId"], row["EntityId"], row["Type"]) for row in rows}


async def give(work: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give entities sandboxes (``SBId``, ``EntityId``, ``Type``) that they have not already."""
    there = await _assigned(work, rows)
    new = {tuple(row.values()): row for row in rows if tuple(row.values()) not in there}
    await _assign(work, list(new.values()))


async def _assign(work: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    await work.change(SANDBOX_METADATA_DB, sb_EntityMapping.insert(), rows)
    await _mark(work, {row["SBId"] for row in rows}, assigned=True)


async def unassign_sandboxes(work: UnitOfWork, job_ids: Iterable[int]) -> None:
    """Take their sandboxes from jobs; a sandbox that no job has any more is no longer marked as assigned.

    To be called too when jobs are removed, so that their sandboxes can be cleaned away.
    """
    await unassign_entities(work, map(_entity, job_ids))


async def unassign_entities(work: UnitOfWork, entities: Iterable[str]) -> None:
    """The same of entities by their names."""
    for chunk in chunks(sorted(set(entities))):
        rows = await work.rows(SANDBOX_METADATA_DB, _mapped(), {"entities": chunk})
        sandbox_ids = sorted({row.SBId for row in rows})
        for some in chunks(sandbox_ids):
            await work.rows(SANDBOX_METADATA_DB, _locking_ids(), {"ids": some})
        await work.change(SANDBOX_METADATA_DB, _unmapping(), {"entities": chunk})
        mapping = sb_EntityMapping.c
        left = {row.SBId for row in await find_by_ids(work, [mapping.SBId], mapping.SBId, sandbox_ids)}
        await _mark(work, set(sandbox_ids) - left, assigned=False)


async def _mark(work: UnitOfWork, sandbox_ids: Iterable[int], *, assigned: bool) -> None:
    for chunk in chunks(sorted(sandbox_ids)):
        await work.change(SANDBOX_METADATA_DB, _marking(), {"ids": chunk, "assigned": int(assigned)})


def _entity(job_id: int) -> str:
    return f"Job:{job_id}"


@cache
def _of_entity() -> Select[Any]:
    sandbox, mapping = sb_SandBoxes.c, sb_EntityMapping.c
    return (
        select(mapping.Type, sandbox.SEName, sandbox.SEPFN)
        .join_from(sb_EntityMapping, sb_SandBoxes, mapping.SBId == sandbox.SBId)
        .where(mapping.EntityId == bindparam("entity"))
        .order_by(sandbox.SBId)
    )


@cache
def _mapped() -> Select[Any]:
    c = sb_EntityMapping.c
    condition = c.EntityId.in_(bindparam("entities", expanding=True))
    return select(c.SBId, c.EntityId, c.Type).where(condition)


@cache
def _unmapping() -> Delete:
    return sb_EntityMapping.delete().where(
        sb_EntityMapping.c.EntityId.in_(bindparam("entities", expanding=True))
    )


@cache
def _owners_of() -> Select[Any]:
    c = sb_SandBoxes.c
    return (
        select(c.SBId, sb_Owners.c.Owner, sb_Owners.c.OwnerGroup)
        .join_from(sb_SandBoxes, sb_Owners, sb_Owners.c.OwnerId == c.OwnerId)
        .where(c.SBId.in_(bindparam("ids", expanding=True)))
    )


@cache
def _locking_ids() -> Select[Any]:
    c = sb_SandBoxes.c
    condition = c.SBId.in_(bindparam("ids", expanding=True))
    return select(c.SBId).where(condition).order_by(c.SBId).with_for_update()


@cache
def _marking() -> Update:
    condition = sb_SandBoxes.c.SBId.in_(bindparam("ids", expanding=True))
    return sb_SandBoxes.update().where(condition).values(Assigned=bindparam("assigned"))
