"""Pilots (rest-diracx.md, section 7), and what legacy callers need beyond DiracX's routes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rest_backend.errors import RestError
from rest_backend.models.pilots import (
    ChangedRows,
    LegacyPilot,
    LegacyPilotMetadata,
    LegacyPilotUpdate,
    PilotFieldsUpdate,
    PilotMetadata,
    PilotRegistrationParams,
)
from rest_backend.models.search import Paging, SearchParams, SummaryParams
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.policies.pilots import (
    MANAGE_PILOTS,
    OPERATE_PILOTS,
    READ_PILOTS,
    REGISTER_PILOT,
    sees_all_pilots,
)
from rest_backend.resources.answers import paged
from rest_backend.resources.pseudo_parameters import resolved
from shared_db.connection import UnitOfWork
from shared_db.errors import InvalidQuery
from shared_db.queries.conditions import Condition
from shared_db.queries.pilots import add_pilots, patch_pilots, pilots_of_jobs, stamps_in_use, update_pilots
from shared_db.queries.search import find_page, summarise
from shared_db.schema.pilot_agents_db import PilotAgents

JOB_ID = "JobID"


async def register_pilot(context: Context, pilot: PilotRegistrationParams, _query: None) -> Answer:
    """Add one pilot; its stamp must be new."""
    require_registered_vo(context, pilot.vo)
    if await stamps_in_use(context.work, [pilot.pilot_stamp]):
        raise RestError(409, f"Pilot with stamp '{pilot.pilot_stamp}' already exists")
    row = {
        "PilotStamp": pilot.pilot_stamp,
        "VO": pilot.vo,
        "GridType": pilot.grid_type,
        "GridSite": pilot.grid_site,
        "DestinationSite": pilot.destination_site,
        "PilotJobReference": pilot.pilot_stamp if pilot.pilot_reference is None else pilot.pilot_reference,
        "Status": pilot.pilot_status,
    }
    await add_pilots(context.work, [row])
    return Answer(None, 201)


def require_registered_vo(context: Context, vo: str) -> None:
    """Raise RestError 400 for a VO that the registry does not know."""
    if not context.resources.registry().groups_of_vo(vo):
        raise RestError(400, f"VO '{vo}' is not registered in this installation.")


async def add_legacy_pilots(context: Context, pilots: Sequence[LegacyPilot], _query: None) -> Answer:
    """Add pilots in bulk as PilotManager does: any VO, and nothing need be new."""
    rows = [
        {
            "PilotJobReference": pilot.pilot_reference,
            "PilotStamp": pilot.pilot_stamp or invented_stamp(),
            "VO": _vo_of(context, pilot),
            "GridType": pilot.grid_type,
        }
        for pilot in pilots
    ]
    await add_pilots(context.work, rows)
    return Answer(None, 201)


def _vo_of(context: Context, pilot: LegacyPilot) -> str:
    if pilot.vo is not None:
        return pilot.vo
    group = pilot.owner_group or ""
    vo = context.resources.registry().vo_of(group)
    if vo is None:
        raise RestError(400, f"Group '{group}' is not registered in this installation, or has no VO.")
    return vo


def invented_stamp() -> str:
    """A stamp for a pilot that came without one; never derived from its reference, which may recur."""
    return secrets.token_hex(16)


async def patch_pilot_metadata(
    context: Context, updates: Mapping[str, PilotMetadata], _query: None
) -> Answer:
    """Set fields of pilots by stamp; all of them must exist."""
    return await _patched(context, {stamp: columns_of(metadata) for stamp, metadata in updates.items()})


async def patch_pilot_fields(context: Context, given: PilotFieldsUpdate, _query: None) -> Answer:
    """Set fields of pilots by stamp, in the form of the pilot migration plan; all of them must exist."""
    changes: dict[str, dict[str, Any]] = {}
    for each in given.pilot_stamps_to_fields_mapping:
        changes.setdefault(each.PilotStamp, {}).update(columns_of(each))
    for columns in changes.values():
        columns.pop("PilotStamp")
    return await _patched(context, changes)


async def _patched(context: Context, changes: Mapping[str, Mapping[str, Any]]) -> Answer:
    if await patch_pilots(context.work, changes):
        raise RestError(404, "At least one pilot does not exist.")
    return Answer(None, 204)


def columns_of(metadata: PilotMetadata | LegacyPilotMetadata) -> dict[str, Any]:
    """The columns that are to be set; flags are texts there."""
    columns = metadata.model_dump(exclude_none=True)
    if "AccountingSent" in columns:
        columns["AccountingSent"] = str(columns["AccountingSent"])
    return columns


async def patch_legacy_pilots(context: Context, update: LegacyPilotUpdate, _query: None) -> Answer:
    """Set the same fields of several pilots by PilotID; answers how many rows changed.

    Where a computing element is given without its site, the site is the registry's.  LastUpdateTime is set
    with a status only, as PilotManager's methods do.
    """
    values = columns_of(update.metadata)
    if "DestinationSite" in values and "GridSite" not in values:
        sites = context.resources.registry().site_by_ce
        site = sites.get(values["DestinationSite"], update.site_of_unknown_ce)
        values |= {"GridSite": site} if site else {}
    touch = "Status" in values
    changed = await update_pilots(context.work, "PilotID", update.pilot_ids, values, touch=touch)
    return Answer(ChangedRows(changed=changed))


async def sites_of_ces(context: Context, _body: None, _query: None) -> Answer:
    """Which site each computing element belongs to, by the configuration."""
    return Answer(dict(context.resources.registry().site_by_ce))


async def search_pilots(context: Context, body: SearchParams | None, paging: Paging) -> Answer:
    """Pilots that meet all conditions, a page at a time.

    The pseudo-parameter ``JobID`` (a condition) means the pilots that ran a job.
    """
    search = (body or SearchParams()).search_for(paging)
    search = await resolved(search, JOB_ID, "PilotID", _pilots_of(context.work))
    search = replace(search, conditions=[*search.conditions, *_own_vo(context)])
    return paged(await find_page(context.work, PilotAgents, search), paging, "pilots")


async def summarise_pilots(context: Context, body: SummaryParams, _query: None) -> Answer:
    """Numbers of pilots by some columns."""
    conditions = [spec.condition() for spec in body.search]
    return Answer(await summarise(context.work, PilotAgents, body.grouping, [*conditions, *_own_vo(context)]))


def _own_vo(context: Context) -> list[Condition]:
    """The condition that keeps a caller to the pilots of the own VO, where the policy says so."""
    return [] if sees_all_pilots(context.caller) else [Condition("VO", "eq", context.caller.vo)]


def _pilots_of(work: UnitOfWork) -> Callable[[list[Any]], Awaitable[list[int]]]:
    """The pilots that ran some jobs."""

    async def pilots(job_ids: list[Any]) -> list[int]:
        if not all(isinstance(job_id, int) for job_id in job_ids):
            raise InvalidQuery("'JobID' pseudo-parameter values must be integers.")
        return await pilots_of_jobs(work, job_ids)

    return pilots


OPERATIONS = (
    Operation(
        "pilots_register_pilot",
        "POST",
        "/api/pilots/",
        register_pilot,
        REGISTER_PILOT,
        body=PilotRegistrationParams,
        statuses=(201,),
        writes=True,
        creates=True,
    ),
    Operation(
        "pilots_update_pilot_metadata",
        "PATCH",
        "/api/pilots/metadata",
        patch_pilot_metadata,
        MANAGE_PILOTS,
        body=dict[str, PilotMetadata],
        statuses=(204,),
        writes=True,
    ),
    Operation(
        "pilots_search",
        "POST",
        "/api/pilots/search",
        search_pilots,
        READ_PILOTS,
        body=SearchParams | None,
        parameters=Paging,
        response=list[dict[str, Any]],
        statuses=(200, 206),
    ),
    Operation(
        "pilots_summary",
        "POST",
        "/api/pilots/summary",
        summarise_pilots,
        READ_PILOTS,
        body=SummaryParams,
        response=list[dict[str, Any]],
    ),
    Operation(
        "pilots_update_pilot_fields",
        "PATCH",
        "/api/pilots/fields",
        patch_pilot_fields,
        MANAGE_PILOTS,
        body=PilotFieldsUpdate,
        statuses=(204,),
        writes=True,
        extension=True,
        errors=(404,),
    ),
    Operation(
        "pilots_add_legacy_pilots",
        "POST",
        "/api/pilots/legacy",
        add_legacy_pilots,
        OPERATE_PILOTS,
        body=list[LegacyPilot],
        statuses=(201,),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "pilots_get_sites_of_ces",
        "GET",
        "/api/pilots/legacy/sites",
        sites_of_ces,
        AUTHENTICATED,
        response=dict[str, str],
        extension=True,
    ),
    Operation(
        "pilots_update_legacy_pilots",
        "PATCH",
        "/api/pilots/legacy",
        patch_legacy_pilots,
        MANAGE_PILOTS,
        body=LegacyPilotUpdate,
        response=ChangedRows,
        writes=True,
        extension=True,
    ),
)
