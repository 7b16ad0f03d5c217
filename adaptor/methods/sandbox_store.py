"""WorkloadManagement/SandboxStore over REST (docs/decisions/0012)."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from adaptor.conversation import (
    Conversation,
    Download,
    LegacyService,
    Request,
    RestFailure,
    Spool,
    Step,
    Upload,
)
from legacy_rpc.messages import Call, Identity
from shared_db.rules import sandboxes as rules
from shared_db.rules.archives import ZstdAsGzip, needs_repacking
from shared_db.rules.refusals import Refusal
from shared_db.rules.sandboxes import Announced, Owner, Spooled

sandbox_store = LegacyService("WorkloadManagement/SandboxStore")

SANDBOX = "/api/jobs/sandbox"
LEGACY = "/api/jobs/sandbox/legacy"
ENTITIES = "/api/jobs/sandbox/entities"
# The backend has a limit of its own, and says so; this one only bounds what comes to the disk.
LARGEST = 1024 * 1024 * 1024
TOO_LARGE = "Sandbox too large"


def _owner(caller: Identity) -> Owner:
    return Owner(caller.username, caller.group, caller.vo or "")


@sandbox_store.transfers("FromClient")
def fromClient(fileId: Any, token: Any = "", fileSize: Any = -1, *, call: Call) -> Conversation:  # noqa: ARG001
    """`POST /api/jobs/sandbox`, the file to the URL that it gives, `PUT /api/jobs/sandbox/legacy`.

    Differences: the backend's limit is known when the file has come. Of DIRAC: `tar.bz2` and `tar.zst` are
    taken and no other archive, and nothing that is empty; the hash of an archive that is there already is
    compared too; jobs of others get no sandboxes.
    """
    announced = rules.read_announcement(fileId, fileSize, LARGEST)
    if not announced.md5.isalnum():
        raise Refusal(rules.WRONG_HASH)
    return (yield from _uploaded(announced, call))


@sandbox_store.transfers("BulkFromClient")
def bulkFromClient(fileId: Any, token: Any = "", fileSize: Any = -1, *, call: Call) -> Conversation:  # noqa: ARG001
    """`POST /api/jobs/sandbox`, the file to the URL that it gives, `PUT /api/jobs/sandbox/legacy`.

    Differences: as of the single one. Of DIRAC: it works.
    """
    announced = rules.read_announcement(fileId, fileSize, LARGEST)
    return (yield from _uploaded(Announced("", announced.archive, announced.entities), call))


def _uploaded(announced: Announced, call: Call) -> Conversation:
    if not call.identity.vo:
        raise Refusal(rules.NO_VO)
    spooled: Spooled = yield Spool(LARGEST)
    if announced.md5 and spooled.md5 != announced.md5:
        raise Refusal(rules.WRONG_HASH)
    if not spooled.size:
        raise Refusal(rules.NO_DATA)
    pfn = yield from _stored(announced, spooled)
    body = {"pfn": pfn, "md5": spooled.md5, "format": announced.archive}
    entities = {"entities": dict(announced.entities)} if announced.entities else {}
    try:
        return (yield Request("PUT", LEGACY, body | entities))["pfn"]
    except RestFailure as failure:
        if failure.status == 400 and failure.detail == rules.WRONG_HASH:
            raise Refusal(rules.WRONG_HASH) from failure
        if failure.status in (400, 403) and entities:
            raise rules.not_assignable(_owner(call.identity)) from failure
        raise


def _stored(announced: Announced, spooled: Spooled) -> Generator[Step, Any, str]:
    """Where the file is, which is sent there unless it is there already."""
    info = {
        "checksum_algorithm": "sha256",
        "checksum": spooled.sha256,
        "size": spooled.size,
        "format": announced.archive,
    }
    try:
        form = yield Request("POST", SANDBOX, info)
    except RestFailure as failure:
        if failure.status == 400 and str(failure.detail).startswith(TOO_LARGE):
            raise Refusal(rules.TOO_BIG) from failure
        raise
    if form.get("url"):
        yield Upload(form["url"], form["fields"], spooled.path)
    pfn: str = form["pfn"]
    return pfn


@sandbox_store.transfers("ToClient")
def toClient(fileID: Any, token: Any = "", *, call: Call) -> Conversation:  # noqa: ARG001
    """`GET /api/jobs/sandbox`, perhaps `POST /api/jobs/sandbox/legacy/search` before it (a name made of an
    MD5); then the file from the URL that it gives.

    Differences: none. Of DIRAC: clients before 9 get a `tar.zst` as a gzipped tar.
    """
    rules.reach_of(_owner(call.identity), call.identity.properties)
    name = rules.name_in_url(sandbox_store.name, fileID)
    if rules.is_legacy(name):
        known = yield Request("POST", f"{LEGACY}/search", {"names": [name]})
        if name not in known:
            raise Refusal(rules.NO_MATCH)
        name = rules.name_of(known[name])
        if rules.is_legacy(name):  # a DIRAC service stored it
            raise Refusal(rules.NOT_THERE)
    try:
        url = (yield Request("GET", SANDBOX, query={"pfn": name}))["url"]
    except RestFailure as failure:
        if failure.status in (403, 404, 422):
            raise Refusal(rules.NO_MATCH) from failure
        raise
    try:
        yield Download(url, ZstdAsGzip if needs_repacking(name, call.release) else None)
    except RestFailure as failure:
        if failure.status == 404:
            raise Refusal(rules.NOT_THERE) from failure
        raise


@sandbox_store.adapts
def getSandboxesAssignedToEntity(entityId: str, *, call: Call) -> Conversation:
    """`POST /api/jobs/sandbox/entities/search`.

    Differences: none.
    """
    rules.reach_of(_owner(call.identity), call.identity.properties)
    entities = rules.read_entities([entityId])
    if not entities:
        return {}
    found = yield Request("POST", f"{ENTITIES}/search", {"entities": entities})
    return rules.by_kind((each["type"], each["legacy_pfn"] or each["pfn"]) for each in found)


@sandbox_store.adapts
def assignSandboxesToEntities(
    enDict: Mapping[Any, Any],
    ownerName: Any = "",
    ownerGroup: Any = "",
    entitySetup: Any = False,  # noqa: ARG001
    *,
    call: Call,
) -> Conversation:
    """`POST /api/jobs/sandbox/entities`.

    Differences: none. Of DIRAC: all or none; a job's are given by those who may put some into it.
    """
    wanted = rules.read_assignments(enDict)
    if not wanted:
        return None
    caller = call.identity
    owner = rules.acting_for(_owner(caller), caller.properties, ownerName, ownerGroup)
    acting = {} if owner == _owner(caller) else {"owner": owner.name, "owner_group": owner.group}
    sandboxes = [{"entity": each.entity, "type": each.kind, "pfn": str(each.at)} for each in wanted]
    try:
        return (yield Request("POST", ENTITIES, {"sandboxes": sandboxes} | acting))["assigned"]
    except RestFailure as failure:
        if failure.status in (400, 403) and not failure.not_executed:
            raise rules.not_assignable(owner) from failure
        raise


@sandbox_store.adapts
def unassignEntities(
    entitiesList: Sequence[Any],
    entitiesSetup: Any = False,  # noqa: ARG001
    *,
    call: Call,
) -> Conversation:
    """`POST /api/jobs/sandbox/entities/unassign`.

    Differences: none.
    """
    entities = rules.read_entities(entitiesList)
    try:
        rules.managed_by(_owner(call.identity), call.identity.properties)
    except Refusal:
        return 0
    if not entities:
        return 0
    return int(bool((yield Request("POST", f"{ENTITIES}/unassign", {"entities": entities}))["entities"]))


@sandbox_store.adapts
def getFreeDiskSpace() -> Conversation:
    """`GET /api/jobs/sandbox/space`.

    Differences: none.
    """
    return float((yield from _space())["free"])


@sandbox_store.adapts
def getTotalDiskSpace() -> Conversation:
    """`GET /api/jobs/sandbox/space`.

    Differences: none.
    """
    return float((yield from _space())["total"])


def _space() -> Conversation:
    space = yield Request("GET", f"{SANDBOX}/space")
    if space is None:
        raise Refusal(rules.NO_DISK)
    return space
