"""The states of sites and resources that DIRAC's ResourceStatusSystem keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB, ResourceStatus, SiteStatus

EVERY_VO = "all"


async def states_of_sites(work: UnitOfWork, vo: str) -> Sequence[AnyRow]:
    """Rows (Name, StatusType, Status, Reason, DateEffective, VO) that hold for a VO, those for all VOs first.

    Empty where the installation has no such table.
    """
    return await _states(work, SiteStatus, vo, None)


async def states_of_resources(work: UnitOfWork, vo: str, element_types: Sequence[str]) -> Sequence[AnyRow]:
    """The same of the resources of some types: ``ComputingElement``, ``StorageElement``, ``FTS`` ..."""
    return await _states(work, ResourceStatus, vo, element_types)


async def all_states(work: UnitOfWork, table: str) -> list[dict[str, Any]]:
    """Every row of ``SiteStatus`` or ``ResourceStatus``, all columns: some for each element of the grid."""
    states = {each.name: each for each in (SiteStatus, ResourceStatus)}[table]
    if not work.has(states):
        return []
    rows = await work.rows(RESOURCE_STATUS_DB, _all(states))
    return [dict(zip(states.c.keys(), row, strict=True)) for row in rows]


@cache
def _all(table: Table) -> Select[Any]:
    return select(table).order_by(table.c.Name, table.c.StatusType, table.c.VO)


async def _states(
    work: UnitOfWork, table: Table, vo: str, element_types: Sequence[str] | None
) -> Sequence[AnyRow]:
    if not work.has(table):
        return []
    given: dict[str, Any] = {"vos": [EVERY_VO, vo]}
    if element_types is not None:
        given["element_types"] = list(element_types)
    rows = await work.rows(RESOURCE_STATUS_DB, _statement(table, element_types is not None), given)
    return sorted(rows, key=lambda row: (row.Name, row.VO != EVERY_VO))


@cache
def _statement(table: Table, typed: bool) -> Select[Any]:
    c = table.c
    statement = select(c.Name, c.StatusType, c.Status, c.Reason, c.DateEffective, c.VO).where(
        c.VO.in_(bindparam("vos", expanding=True))
    )
    return (
        statement.where(c.ElementType.in_(bindparam("element_types", expanding=True))) if typed else statement
    )
