"""Changing the states that ResourceStatusSystem keeps of sites and resources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, Table, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.errors import Foreign
from shared_db.queries.values import check_values
from shared_db.rules import clock
from shared_db.rules.element_states import DEFAULTS, KEY, key_of
from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB, ResourceStatus, SiteStatus

TABLES: Mapping[str, Table] = {table.name: table for table in (SiteStatus, ResourceStatus)}


async def put_state(work: UnitOfWork, table: Table, given: Mapping[str, Any], *, change: bool) -> None:
    """Say something of an element: a new row, or (``change``) what differs in the one that is there.

    ``DateEffective`` is now where the status is another one.  Raises Foreign, InvalidValue.
    """
    _check_there(work, table)
    key = dict(zip(_PARAMETERS, key_of(given), strict=True))
    now = clock.to_column(clock.utc_now())
    found = await work.rows(RESOURCE_STATUS_DB, _locked(table), key)
    if not found:
        row = {**DEFAULTS, "DateEffective": now, "LastCheckTime": now, **given}
        check_values(table, [row])
        await work.change(RESOURCE_STATUS_DB, table.insert(), [row])
        return
    if not change:
        return
    moved = given.get("Status", found[0].Status) != found[0].Status
    values = ({"DateEffective": now} if moved else {}) | {"LastCheckTime": now} | dict(given)
    check_values(table, [values])
    await work.change(RESOURCE_STATUS_DB, table.update().where(*_the_one(table)).values(values), key)


@cache
def _locked(table: Table) -> Select[Any]:
    return select(table).where(*_the_one(table)).with_for_update()


# Not the columns' own names, which an UPDATE keeps for what it sets.
_PARAMETERS = tuple(f"the_{name}" for name in KEY)


def _the_one(table: Table) -> list[ColumnElement[bool]]:
    columns = zip(KEY, _PARAMETERS, strict=True)
    return [table.c[name] == bindparam(parameter) for name, parameter in columns]


async def delete_states(work: UnitOfWork, table: Table, keys: list[tuple[Any, ...]]) -> int:
    """Forget states by their keys; returns how many there were.  Raises Foreign."""
    _check_there(work, table)
    if not keys:
        return 0
    given = [dict(zip(_PARAMETERS, key, strict=True)) for key in keys]
    await work.change(RESOURCE_STATUS_DB, _forgetting(table), given)
    return len(keys)


@cache
def _forgetting(table: Table) -> Delete:
    return table.delete().where(*_the_one(table))


def _check_there(work: UnitOfWork, table: Table) -> None:
    if not work.has(table):
        raise Foreign(
            f"There is no table {table.name}, which releases before 9 do not have",
            "`wherry db upgrade --missing-tables` makes it",
        )
