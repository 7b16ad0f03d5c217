"""Sandboxes in SandboxMetadataDB: registering them, whose they are, when somebody last asked for them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.sandbox_names import stored_location, stored_names
from shared_db.queries.values import check_values, chunks, storable
from shared_db.rules import clock
from shared_db.rules.sandboxes import Location, Owner, is_legacy
from shared_db.schema.sandbox_metadata_db import SANDBOX_METADATA_DB, sb_Owners, sb_SandBoxes


def findable(name: str) -> bool:
    """False for a text that no engine's column can hold, and that therefore names nothing."""
    return "\0" not in name and storable(name)


async def register_sandbox(work: UnitOfWork, owner: Owner, at: Location, size: int) -> bool | None:
    """Register a sandbox, or note that it was asked for again.

    Returns None when it is new, else whether it is assigned to a job.  Raises InvalidValue, and Conflict when
    somebody else registers it at the same moment: the unit of work may then be tried again.
    """
    now = clock.to_column(clock.utc_now())
    found = await work.rows(SANDBOX_METADATA_DB, _locking(), _bound(at))
    if found:
        await work.change(SANDBOX_METADATA_DB, _touching(), {"id": found[0].SBId, "now": now})
        return bool(found[0].Assigned)
    row = {
        "OwnerId": await _owner_id(work, owner),
        "SEName": at.storage_element,
        "SEPFN": at.name,
        "Bytes": size,
        "RegistrationTime": now,
        "LastAccessTime": now,
    }
    check_values(sb_SandBoxes, [row])
    await work.change(SANDBOX_METADATA_DB, sb_SandBoxes.insert(), [row])
    return None


async def _owner_id(work: UnitOfWork, owner: Owner) -> int:
    """The id of an owner, who is added when he is not there.

    No key keeps two units of work from adding him twice, so owners are compared by name and never by id.
    """
    values = {"Owner": owner.name, "OwnerGroup": owner.group, "VO": owner.vo}
    check_values(sb_Owners, [values])
    found = await work.rows(
        SANDBOX_METADATA_DB, _owners_id(), {"owner": owner.name, "group": owner.group, "vo": owner.vo}
    )
    if found:
        return int(found[0].OwnerId)
    [owner_id] = await work.insert_ids(SANDBOX_METADATA_DB, sb_Owners, [values])
    return owner_id


async def sandbox_owner(work: UnitOfWork, at: Location) -> Owner | None:
    """Whose a sandbox is, by any of its names; None when it is not registered."""
    if not findable(at.name):
        return None
    at = await stored_location(work, at)
    found = await work.rows(SANDBOX_METADATA_DB, _owner_of(), _bound(at))
    return Owner(found[0].Owner, found[0].OwnerGroup, found[0].VO) if found else None


async def owners_of_names(work: UnitOfWork, storage_element: str, names: Iterable[str]) -> dict[str, Owner]:
    """Whose sandboxes are, by the names under which they are stored."""
    found: dict[str, Owner] = {}
    for chunk in chunks(sorted(set(names))):
        rows = await work.rows(
            SANDBOX_METADATA_DB, _owners_of_names(), {"element": storage_element, "names": chunk}
        )
        found |= {row.SEPFN: Owner(row.Owner, row.OwnerGroup, row.VO) for row in rows}
    return found


async def touch_sandbox(work: UnitOfWork, at: Location) -> bool:
    """Note that a sandbox was asked for; False when it is not registered."""
    locked = await locked_sandboxes(work, [at])
    if not locked:
        return False
    now = clock.to_column(clock.utc_now())
    await work.change(SANDBOX_METADATA_DB, _touching(), {"id": locked[at], "now": now})
    return True


async def locked_sandboxes(work: UnitOfWork, wanted: Iterable[Location]) -> dict[Location, int]:
    """The ids of those of the sandboxes that are registered; nobody removes them until the unit ends.

    They may be called by any of their names.
    """
    locations = {each: each for each in wanted if findable(each.name)}
    if not locations:
        return {}
    stored = await stored_names(work, {each.name for each in locations if is_legacy(each.name)})
    locations |= {
        each: Location(each.storage_element, stored[each.name]) for each in locations if each.name in stored
    }
    found: dict[Location, int] = {}
    for names in chunks(sorted({each.name for each in locations.values()})):
        rows = await work.rows(SANDBOX_METADATA_DB, _locking_names(), {"names": names})
        found |= {Location(row.SEName, row.SEPFN): int(row.SBId) for row in rows}
    return {at: found[as_stored] for at, as_stored in locations.items() if as_stored in found}


def _bound(at: Location) -> dict[str, str]:
    return {"element": at.storage_element, "name": at.name}


def _there() -> tuple[ColumnElement[bool], ...]:
    c = sb_SandBoxes.c
    return (
        c.SEName == bindparam("element"),
        c.SEPFN == bindparam("name"),  # noqa: SIM300 - a column
    )


@cache
def _locking() -> Select[Any]:
    c = sb_SandBoxes.c
    return select(c.SBId, c.Assigned).where(*_there()).with_for_update()


@cache
def _locking_names() -> Select[Any]:
    c = sb_SandBoxes.c
    condition = c.SEPFN.in_(bindparam("names", expanding=True))
    return select(c.SBId, c.SEName, c.SEPFN).where(condition).order_by(c.SBId).with_for_update()


@cache
def _touching() -> Update:
    c = sb_SandBoxes.c
    return sb_SandBoxes.update().where(c.SBId == bindparam("id")).values(LastAccessTime=bindparam("now"))


@cache
def _owners_id() -> Select[Any]:
    c = sb_Owners.c
    condition = (
        c.Owner == bindparam("owner"),
        c.OwnerGroup == bindparam("group"),
        c.VO == bindparam("vo"),  # noqa: SIM300 - a column
    )
    return select(c.OwnerId).where(*condition).order_by(c.OwnerId).limit(1)


@cache
def _owners_of_names() -> Select[Any]:
    c = sb_SandBoxes.c
    return (
        select(c.SEPFN, sb_Owners.c.Owner, sb_Owners.c.OwnerGroup, sb_Owners.c.VO)
        .join_from(sb_SandBoxes, sb_Owners, sb_Owners.c.OwnerId == c.OwnerId)
        .where(c.SEName == bindparam("element"), c.SEPFN.in_(bindparam("names", expanding=True)))
    )


@cache
def _owner_of() -> Select[Any]:
    c = sb_SandBoxes.c
    return (
        select(sb_Owners.c.Owner, sb_Owners.c.OwnerGroup, sb_Owners.c.VO)
        .join_from(sb_SandBoxes, sb_Owners, sb_Owners.c.OwnerId == c.OwnerId)
        .where(*_there())
    )
