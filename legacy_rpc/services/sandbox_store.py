"""WorkloadManagement/SandboxStore (legacy-methods.md, section 9; docs/decisions/0012).

Files are stored under the names that REST gives them; the name that a client of DIRAC's is told, made of its
MD5, is noted beside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from legacy_rpc.messages import Failure, Identity, Write
from legacy_rpc.services.sandbox_files import SandboxFiles
from legacy_rpc.services.table import Context, OlderForm, Service
from shared_db.connection import UnitOfWork, again
from shared_db.errors import Conflict
from shared_db.queries.sandbox_entities import (
    assign_to_entities,
    sandboxes_of_entities,
    take_from_entities,
)
from shared_db.queries.sandbox_names import note_name, stored_location
from shared_db.queries.sandboxes import register_sandbox, sandbox_owner, touch_sandbox
from shared_db.rules import sandboxes as rules
from shared_db.rules.archives import ZstdAsGzip, needs_repacking
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import Announced, Assignment, Location, Owner, Reach, Spooled

T = TypeVar("T")

sandbox_store = Service("WorkloadManagement/SandboxStore", handler_class="SandboxStoreHandlerMixin")

UNTIL = "8.0"


def _for_old_clients(value: Mapping[str, Sequence[str]], *_more: Any) -> dict[str, list[str]]:
    return {kind: list(map(rules.for_old_clients, locations)) for kind, locations in value.items()}


# Clients before 9 may name a setup (a database has the jobs of one), and have no use for REST's names.
OLDER = OlderForm(
    types=(str,), optional=1, arguments=lambda arguments, _registry: arguments[:1], value=_for_old_clients
)


def _files(context: Context) -> SandboxFiles:
    files = context.common.sandboxes
    if files is None:
        raise Failure("Sandboxes are not kept here")
    return files


def _owner(caller: Identity) -> Owner:
    return Owner(caller.username, caller.group, caller.vo or "")


async def _written(context: Context, change: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """A unit of work of a transfer, which may be tried again by itself: its bytes come once only."""

    async def attempt() -> T:
        async with context.databases.unit_of_work(write=True) as work:
            return await change(work)

    return await again(attempt)


@sandbox_store.transfer("FromClient")
async def fromClient(context: Context, fileId: Any, token: Any = "", fileSize: Any = -1) -> str:
    """Stores an archive, `tar.bz2` or `tar.zst`, and answers `SB:<storage element>|<name>`. It is called
    `<md5>.tar.bz2`, alone or in a list with `{entity: type}`, to which it is assigned. One that is there
    already is not stored again. Errors: `Sandbox is too big. …`, `Hashes don't match!`, `Invalid sandbox
    extension: …`.
    """
    announced = rules.read_announcement(fileId, fileSize, _files(context).largest)
    if not announced.md5.isalnum():
        raise Refusal(rules.WRONG_HASH)
    return await _uploaded(context, announced)


@sandbox_store.transfer("BulkFromClient")
async def bulkFromClient(context: Context, fileId: Any, token: Any = "", fileSize: Any = -1) -> str:
    """The same of several files in one archive, which is called by the MD5 of what comes. (DIRAC answers
    `Cannot create temporary file`.)
    """
    announced = rules.read_announcement(fileId, fileSize, _files(context).largest)
    return await _uploaded(context, Announced("", announced.archive, announced.entities))


async def _uploaded(context: Context, announced: Announced) -> str:
    """Store what comes, unless it is there; its location for the client."""
    files, owner = _files(context), _owner(context.call.identity)
    if not owner.vo:
        raise Refusal(rules.NO_VO)
    incoming = context.call.incoming
    assert incoming is not None
    async with files.spooled(incoming, files.largest) as spooled:
        if announced.md5 and spooled.md5 != announced.md5:
            raise Refusal(rules.WRONG_HASH)
        if not spooled.size:
            raise Refusal(rules.NO_DATA)
        at = await _stored(context, announced, spooled)
    return await _named(context, announced, spooled.md5, at)


def _legacy_location(context: Context, announced: Announced, md5: str) -> Location:
    """Where the client is told that its upload is."""
    caller = context.call.identity
    name = rules.legacy_name(_owner(caller), md5, announced.archive, shares=caller.has("JobSharing"))
    return Location(_files(context).storage_element, name)


async def _stored(context: Context, announced: Announced, spooled: Spooled) -> Location:
    """Register a file and store it, unless it is there under another name."""
    files, owner = _files(context), _owner(context.call.identity)
    name = rules.rest_name(files.bucket, owner, spooled.sha256, announced.archive)
    at = Location(files.storage_element, name)

    async def registered(work: UnitOfWork) -> bool | None:
        return await register_sandbox(work, owner, at, spooled.size)

    try:
        assigned = await _written(context, registered)
    except Conflict:  # somebody registered it in this moment; now it is there
        assigned = await _written(context, registered)
    if not assigned and (assigned is None or not await files.holds(name)):
        await files.put(name, spooled.path)
    return at


async def _named(context: Context, announced: Announced, md5: str, at: Location) -> str:
    """Note the name that the client knows it by, and give it to the entities."""
    caller = context.call.identity
    location = _legacy_location(context, announced, md5)
    wanted = [Assignment(entity, kind, at) for entity, kind in announced.entities.items()]

    async def noted(work: UnitOfWork) -> None:
        await note_name(work, location.name, at.name)
        if wanted:
            reach = _reach(_owner(caller), caller.properties)
            await _assigned(context, work, wanted, reach)

    await _written(context, noted)
    return str(location)


@sandbox_store.transfer("ToClient")
async def toClient(context: Context, fileID: Any, token: Any = "") -> None:
    """Sends a sandbox, by its URL or its name, of whichever side. To its owner, in the same group; with
    JobSharing to the group, and to JobAdministrator and JobMonitor. Clients before 9 get a `tar.zst` as a
    gzipped tar. Errors: `Not authorized to access sandbox`, `No sandbox matches the requirements`, `Sandbox
    does not exist`.
    """
    caller, files = context.call.identity, _files(context)
    reach = rules.reach_of(_owner(caller), caller.properties)
    asked = Location(files.storage_element, rules.name_in_url(sandbox_store.name, fileID))

    async def found(work: UnitOfWork) -> Location:
        owner = await sandbox_owner(work, asked)
        if owner is None or not reach.covers(owner.name, owner.group):
            raise Refusal(rules.NO_MATCH)
        await touch_sandbox(work, asked)
        return await stored_location(work, asked)

    at = await _written(context, found)
    await _send(context, files, at.name)


async def _send(context: Context, files: SandboxFiles, name: str) -> None:
    outgoing = context.call.outgoing
    assert outgoing is not None
    if not needs_repacking(name, context.call.release):
        async for block in files.read(name):
            await outgoing.send(block)
        return
    repacking = ZstdAsGzip()
    async for block in files.read(name):
        pieces = repacking.feed(block)
        while piece := await asyncio.to_thread(next, pieces, b""):
            await outgoing.send(piece)
    for piece in repacking.end():
        await outgoing.send(piece)


@sandbox_store.method(str, older=OLDER)
async def getSandboxesAssignedToEntity(context: Context, entityId: str) -> dict[str, list[str]]:
    """`{"Input": [location, …], "Output": […]}` of an entity (`Job:<id>`): of the caller's own sandboxes,
    with JobSharing of the group's, of any for JobAdministrator and JobMonitor; nobody else: `Not authorized
    to access sandbox`. What was uploaded over REST has its name there.
    """
    caller = context.call.identity
    reach = rules.reach_of(_owner(caller), caller.properties)
    entities = rules.read_entities([entityId])
    async with context.databases.unit_of_work() as work:
        found = await sandboxes_of_entities(work, entities, reach)
    return rules.by_kind((each.kind, str(each.legacy or each.at)) for each in found)


@sandbox_store.method(dict, write=Write.IDEMPOTENT, until=UNTIL)
async def assignSandboxesToEntities(
    context: Context,
    enDict: Mapping[Any, Any],
    ownerName: Any = "",
    ownerGroup: Any = "",
    entitySetup: Any = False,
) -> int | None:
    """Gives entities (`{entity: [(location, type), …]}`) sandboxes of the caller, or of whom a
    JobAdministrator names; answers how many. All or none; a job's are given by those who may put some into
    it.
    """
    caller = context.call.identity
    wanted = rules.read_assignments(enDict)
    if not wanted:
        return None
    owner = rules.acting_for(_owner(caller), caller.properties, ownerName, ownerGroup)
    properties: Sequence[str] = caller.properties
    if owner != _owner(caller):
        properties = context.registry.current.properties_of(owner.group)
    reach = _reach(owner, properties)
    async with context.databases.unit_of_work(write=True) as work:
        return await _assigned(context, work, wanted, reach)


async def _assigned(context: Context, work: UnitOfWork, wanted: Sequence[Assignment], reach: Reach) -> int:
    caller = context.call.identity
    return await assign_to_entities(
        work, wanted, reach, caller.properties, by_certificate=not caller.by_token
    )


def _reach(owner: Owner, properties: Sequence[str]) -> Reach:
    try:
        return rules.managed_by(owner, properties)
    except Refusal as refusal:
        raise rules.not_assignable(owner) from refusal


@sandbox_store.method((list, tuple), write=Write.IDEMPOTENT, until=UNTIL)
async def unassignEntities(context: Context, entitiesList: Sequence[Any], entitiesSetup: Any = False) -> int:
    """Takes all their sandboxes from those entities that have one within the caller's reach; answers 1, or 0
    where there is none.
    """
    caller = context.call.identity
    try:
        reach = rules.managed_by(_owner(caller), caller.properties)
    except Refusal:
        return 0
    async with context.databases.unit_of_work(write=True) as work:
        return int(bool(await take_from_entities(work, rules.read_entities(entitiesList), reach)))


@sandbox_store.method(until=UNTIL)
async def getFreeDiskSpace(context: Context) -> float:
    """The free bytes of the disk on which sandboxes lie; an error where they are in S3."""
    return float((await _space(context))[0])


@sandbox_store.method(until=UNTIL)
async def getTotalDiskSpace(context: Context) -> float:
    """The bytes of the disk on which sandboxes lie; an error where they are in S3."""
    return float((await _space(context))[1])


async def _space(context: Context) -> tuple[int, int]:
    space = await _files(context).space()
    if space is None:
        raise Refusal(rules.NO_DISK)
    return space
