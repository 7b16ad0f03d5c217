"""Sandboxes of entities as DIRAC's SandboxStore gives, shows and takes them: each within the caller's reach.

An entity is a text, ``Job:<id>`` nearly always.  A job's sandboxes are given by whoever may put some into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.jobs import job_attributes
from shared_db.queries.sandbox_jobs import give, unassign_entities, within_reach
from shared_db.queries.sandbox_names import legacy_names
from shared_db.queries.values import chunks
from shared_db.rules.job_policy import PUT_SANDBOX, has_right
from shared_db.rules.sandboxes import Assignment, Location, Reach, is_entity, job_of, not_assignable
from shared_db.schema.sandbox_metadata_db import (
    SANDBOX_METADATA_DB,
    sb_EntityMapping,
    sb_Owners,
    sb_SandBoxes,
)


@dataclass(frozen=True, slots=True)
class Assigned:
    """A sandbox of an entity; ``legacy``: where DIRAC's clients think it is, None for those of REST's."""

    entity: str
    kind: str
    at: Location
    legacy: Location | None


async def assign_to_entities(
    work: UnitOfWork,
    wanted: Sequence[Assignment],
    reach: Reach,
    properties: Sequence[str],
    *,
    by_certificate: bool = True,
) -> int:
    """Give entities sandboxes; what they have already stays.  Returns how many were to be given.

    All or none: raises Refusal.  ``properties`` are the caller's.  Who shows no certificate owns the jobs of
    his own VO only: another VO's provider may call anybody by his name.
    """
    ids = await within_reach(work, {each.at for each in wanted}, reach)
    fit = all(each.at in ids and is_entity(each.entity) for each in wanted)
    if not fit or not await _own_jobs(work, wanted, reach, properties, by_certificate=by_certificate):
        raise not_assignable(reach.owner)
    await give(work, [{"SBId": ids[each.at], "EntityId": each.entity, "Type": each.kind} for each in wanted])
    return len(wanted)


async def _own_jobs(
    work: UnitOfWork,
    wanted: Iterable[Assignment],
    reach: Reach,
    properties: Sequence[str],
    *,
    by_certificate: bool,
) -> bool:
    """Whether the caller may put sandboxes into those of the jobs that exist."""
    job_ids = {job_id for each in wanted if (job_id := job_of(each.entity)) is not None}
    rows = await job_attributes(work, job_ids, ("Owner", "OwnerGroup", "VO")) if job_ids else []
    return all(
        has_right(
            PUT_SANDBOX,
            username=reach.owner.name,
            group=reach.owner.group,
            properties=properties,
            owner=row.Owner if by_certificate or reach.owner.vo == row.VO else "",
            owner_group=row.OwnerGroup,
        )
        for row in rows
    )


async def sandboxes_of_entities(work: UnitOfWork, entities: Iterable[str], reach: Reach) -> list[Assigned]:
    """Those of the sandboxes of some entities that are within reach, by ascending SBId."""
    rows = [row for row in await _mapped(work, entities) if reach.covers(row.Owner, row.OwnerGroup)]
    names = await legacy_names(work, {row.SEPFN for row in rows})
    return [
        Assigned(
            row.EntityId,
            row.Type,
            Location(row.SEName, row.SEPFN),
            Location(row.SEName, names[row.SEPFN]) if row.SEPFN in names else None,
        )
        for row in rows
    ]


async def take_from_entities(work: UnitOfWork, entities: Iterable[str], reach: Reach) -> list[str]:
    """Take all their sandboxes from those entities that have one within reach; these, by name."""
    rows = await _mapped(work, entities)
    reached = sorted({row.EntityId for row in rows if reach.covers(row.Owner, row.OwnerGroup)})
    await unassign_entities(work, reached)
    return reached


async def _mapped(work: UnitOfWork, entities: Iterable[str]) -> list[Any]:
    rows: list[Any] = []
    for chunk in chunks(sorted(filter(is_entity, set(entities)))):
        rows += await work.rows(SANDBOX_METADATA_DB, _of_entities(), {"entities": chunk})
    return rows


@cache
def _of_entities() -> Select[Any]:
    sandbox, mapping = sb_SandBoxes.c, sb_EntityMapping.c
    return (
        select(
            mapping.EntityId,
            mapping.Type,
            sandbox.SEName,
            sandbox.SEPFN,
            sb_Owners.c.Owner,
            sb_Owners.c.OwnerGroup,
        )
        .join_from(sb_EntityMapping, sb_SandBoxes, mapping.SBId == sandbox.SBId)
        .join(sb_Owners, sb_Owners.c.OwnerId == sandbox.OwnerId)
        .where(mapping.EntityId.in_(bindparam("entities", expanding=True)))
        .order_by(sandbox.SBId, mapping.Type)
    )
