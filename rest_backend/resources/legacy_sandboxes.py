"""Sandboxes as DIRAC's clients know them: by names made of an MD5, and by entities (0012)."""

from __future__ import annotations

from rest_backend.errors import RestError
from rest_backend.models.sandboxes import (
    AssignedSandboxes,
    DiskSpace,
    EntityNames,
    EntitySandbox,
    LegacyLocation,
    LegacyNames,
    LegacyUpload,
    NewAssignments,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.policies.sandboxes import (
    MANAGE_SANDBOXES,
    NAME_SANDBOXES,
    REACH_SANDBOXES,
    managed_by_caller,
    owner_of,
    reach_of_caller,
)
from shared_db.queries.sandbox_entities import (
    assign_to_entities,
    sandboxes_of_entities,
    take_from_entities,
)
from shared_db.queries.sandbox_names import note_name, stored_names
from shared_db.queries.sandboxes import findable, owners_of_names, sandbox_owner
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import (
    Assignment,
    Location,
    Reach,
    acting_for,
    legacy_name,
    managed_by,
    name_of,
    parse_location,
)


async def name_upload(context: Context, upload: LegacyUpload, _parameters: None) -> Answer:
    """Note by which name a client of DIRAC's knows what it uploaded, and give it to jobs.

    400 unless all of it can be done.
    """
    caller, work = context.caller, context.work
    owner, element = owner_of(caller), context.resources.settings.sandboxes.storage_element
    at = Location(element, name_of(upload.pfn))
    if await sandbox_owner(work, at) is None:
        raise RestError(400, "Sandbox not found")
    name = legacy_name(owner, upload.md5, upload.format.value, shares=caller.has("JobSharing"))
    try:
        await note_name(work, name, at.name)
    except Refusal as refusal:
        raise RestError(400, refusal.message) from refusal
    if upload.entities:
        wanted = [Assignment(entity, kind, at) for entity, kind in upload.entities.items()]
        await _assigned(context, wanted, managed_by_caller(caller))
    return Answer(LegacyLocation(pfn=str(Location(element, name))))


async def _assigned(context: Context, wanted: list[Assignment], reach: Reach) -> int:
    caller = context.caller
    try:
        return await assign_to_entities(
            context.work, wanted, reach, caller.properties, by_certificate=caller.by_certificate
        )
    except Refusal as refusal:
        raise RestError(400, refusal.message) from refusal


async def search_names(context: Context, asked: LegacyNames, _parameters: None) -> Answer:
    """The locations of sandboxes by the names that DIRAC's clients know them by, of those within reach.

    What a DIRAC service stored has no other name.
    """
    reach = reach_of_caller(context.caller)
    element = context.resources.settings.sandboxes.storage_element
    known = await stored_names(context.work, asked.names)
    stored = {name: known.get(name, name) for name in asked.names if findable(name)}
    owners = await owners_of_names(context.work, element, stored.values())
    return Answer(
        {
            name: str(Location(element, stored_as))
            for name, stored_as in stored.items()
            if stored_as in owners and reach.covers(owners[stored_as].name, owners[stored_as].group)
        }
    )


async def search_entities(context: Context, asked: EntityNames, _parameters: None) -> Answer:
    """The sandboxes of some entities that are within reach."""
    found = await sandboxes_of_entities(context.work, asked.entities, reach_of_caller(context.caller))
    return Answer(
        [
            EntitySandbox(
                entity=each.entity,
                type=each.kind,
                pfn=str(each.at),
                legacy_pfn=None if each.legacy is None else str(each.legacy),
            )
            for each in found
        ]
    )


async def assign(context: Context, asked: NewAssignments, _parameters: None) -> Answer:
    """Give entities sandboxes, all or none: 400."""
    caller = context.caller
    owner = acting_for(owner_of(caller), caller.properties, asked.owner, asked.owner_group)
    properties = caller.properties
    if owner != owner_of(caller):
        properties = context.resources.registry().properties_of(owner.group)
    wanted = []
    for each in asked.sandboxes:
        at = parse_location(each.pfn)
        if at is None:
            raise RestError(400, "SB Location has to have SEName|SEPFN form")
        wanted.append(Assignment(each.entity, each.type, at))
    try:
        reach = managed_by(owner, properties)
    except Refusal as refusal:
        raise RestError(400, refusal.message) from refusal
    return Answer(AssignedSandboxes(assigned=await _assigned(context, wanted, reach)))


async def unassign(context: Context, asked: EntityNames, _parameters: None) -> Answer:
    """Take all their sandboxes from those entities that have one within reach, which are answered."""
    reach = managed_by_caller(context.caller)
    return Answer(EntityNames(entities=await take_from_entities(context.work, asked.entities, reach)))


async def space(context: Context, _body: None, _parameters: None) -> Answer:
    """How much room there is for sandboxes; null where they are in S3."""
    found = await context.resources.sandbox_store.space()
    return Answer(None if found is None else DiskSpace(free=found[0], total=found[1]))


_ENTITIES = "/api/jobs/sandbox/entities"

OPERATIONS = (
    Operation(
        "jobs_name_legacy_sandbox",
        "PUT",
        "/api/jobs/sandbox/legacy",
        name_upload,
        NAME_SANDBOXES,
        body=LegacyUpload,
        response=LegacyLocation,
        errors=(400,),
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_search_legacy_sandboxes",
        "POST",
        "/api/jobs/sandbox/legacy/search",
        search_names,
        REACH_SANDBOXES,
        body=LegacyNames,
        response=dict[str, str],
        extension=True,
    ),
    Operation(
        "jobs_search_entity_sandboxes",
        "POST",
        f"{_ENTITIES}/search",
        search_entities,
        REACH_SANDBOXES,
        body=EntityNames,
        response=list[EntitySandbox],
        extension=True,
    ),
    Operation(
        "jobs_assign_entity_sandboxes",
        "POST",
        _ENTITIES,
        assign,
        MANAGE_SANDBOXES,
        body=NewAssignments,
        response=AssignedSandboxes,
        errors=(400,),
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_unassign_entity_sandboxes",
        "POST",
        f"{_ENTITIES}/unassign",
        unassign,
        MANAGE_SANDBOXES,
        body=EntityNames,
        response=EntityNames,
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_get_sandbox_space",
        "GET",
        "/api/jobs/sandbox/space",
        space,
        AUTHENTICATED,
        response=DiskSpace | None,
        transactional=False,
        extension=True,
    ),
)
