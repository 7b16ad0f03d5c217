"""Names of sandboxes (legacy-schema.md, section 5; rest-diracx.md, 6.5).

A *name* (SEPFN) is a path below a storage element; a *location* (``SB:<SEName>|<SEPFN>``) is what stands in
JDLs and on the wires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_db.rules.refusals import Refusal, UnfitArgument

INPUT, OUTPUT = "Input", "Output"
_LOCATION = "SB:"
_JOB = "Job:"
# What the names begin with that DIRAC's SandboxStore gives, and those that REST gives.
_LEGACY, _REST = "/SandBox/", "/S3/"
# Clients before 9 fetch nothing whose name begins with anything else than the former.
_REST_FOR_OLD = "/SandBox/S3/"
# Archives that REST knows, which both sides take.
ARCHIVES = ("tar.bz2", "tar.zst")
# Columns of sb_EntityMapping.
_LONGEST_ENTITY, _LONGEST_TYPE, _LONGEST_NAME = 128, 64, 255

# DIRAC's texts.
TOO_BIG = "Sandbox is too big. Please upload it to a grid storage element"
WRONG_HASH = "Hashes don't match!"
NO_MATCH = "No sandbox matches the requirements"
NOT_THERE = "Sandbox does not exist"
NOT_AUTHORIZED = "Not authorized to access sandbox"
NO_VO = "VO is not specified"
NO_DATA = "No data provided"
NO_DISK = "The sandboxes are in an S3 service, which has no disk to measure"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a sandbox is."""

    name: str
    group: str
    vo: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where a sandbox is."""

    storage_element: str
    name: str

    def __str__(self) -> str:
        return f"{_LOCATION}{self.storage_element}|{self.name}"


def rest_folder(bucket: str, owner: Owner) -> str:
    """What the names of an owner's REST sandboxes begin with."""
    return f"/S3/{bucket}/{owner.vo}/{owner.group}/{owner.name}/"


def rest_name(bucket: str, owner: Owner, sha256: str, archive: str) -> str:
    """The name of what was uploaded over REST; ``archive`` is its kind, as ``tar.zst``.

    Of the same content there is one name, however a client writes the digits of its checksum.
    """
    return f"{rest_folder(bucket, owner)}sha256:{sha256.lower()}.{archive}"


def is_location(text: str) -> bool:
    """Whether an entry of a JDL's InputSandbox names a sandbox, and not a file."""
    return text.startswith(_LOCATION)


def parse_location(text: str) -> Location | None:
    """A location as it is written; None when the storage element or the name is missing."""
    storage_element, bar, name = text.removeprefix(_LOCATION).partition("|")
    if not (is_location(text) and bar and storage_element.strip() and name.strip()):
        return None
    return Location(storage_element.strip(), _plain(name.strip()))


def _plain(name: str) -> str:
    """A name as it is stored, that an old client was given in another form."""
    return name.removeprefix("/SandBox") if name.startswith(_REST_FOR_OLD) else name


def for_old_clients(text: str) -> str:
    """The same text with locations that clients before 9 take; they are found by them, too."""
    return text.replace(f"|{_REST}", f"|{_REST_FOR_OLD}")


def name_of(text: str) -> str:
    """The name in a location, or in a name that is given alone."""
    return text.split("|", 1)[-1]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose sandboxes somebody may assign, fetch and see: DIRAC's rule of getSandboxId.

    ``everything``: with JobAdministrator or JobMonitor.  ``shares``: with JobSharing, those of the own group;
    else those of the own name and group.  VOs are not asked for, since a group is of one VO.
    """

    owner: Owner
    everything: bool = False
    shares: bool = False

    def covers(self, owner: str, group: str) -> bool:
        """Whether a sandbox of this owner and group is within reach."""
        if self.everything:
            return True
        return group == self.owner.group and (self.shares or owner == self.owner.name)


def reach_of(owner: Owner, properties: Iterable[str]) -> Reach:
    """What is within reach of somebody with these properties.  Raises Refusal for whom nothing is."""
    held = set(properties)
    reach = Reach(owner, not held.isdisjoint(("JobAdministrator", "JobMonitor")), "JobSharing" in held)
    if not (reach.everything or reach.shares or "NormalUser" in held):
        raise Refusal(NOT_AUTHORIZED)
    return reach


def acting_for(owner: Owner, properties: Iterable[str], name: Any, group: Any) -> Owner:
    """On behalf of whom a caller gives sandboxes: a JobAdministrator may name somebody, others themselves."""
    if "JobAdministrator" not in properties:
        return owner
    named = name if isinstance(name, str) else ""
    return Owner(named or owner.name, group if isinstance(group, str) and group else owner.group, owner.vo)


def managed_by(owner: Owner, properties: Iterable[str]) -> Reach:
    """What somebody may give and take, with these properties: JobMonitor only looks.

    Raises Refusal for whom nothing is.
    """
    return reach_of(owner, [name for name in properties if name != "JobMonitor"])


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file that a client sent, on the disk for as long as its call is answered."""

    path: Path
    size: int
    md5: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Announced:
    """What a client wants to upload: the MD5 it says ('' for none), its kind, and the jobs it is for."""

    md5: str
    archive: str
    entities: Mapping[str, str]


def read_announcement(file_id: Any, size: Any, largest: int) -> Announced:
    """The identifier of an upload: ``<md5>.tar.bz2``, or that and ``{entity: type}``.

    ``size`` is what the client says (-1: nothing).  Raises Refusal and UnfitArgument.
    """
    if isinstance(size, int) and size > largest:
        raise Refusal(TOO_BIG)
    entities: Any = {}
    if isinstance(file_id, list | tuple):
        if len(file_id) < 2:
            raise Refusal("File identified tuple has to have length greater than 1")
        file_id, entities = file_id[0], file_id[1] or {}
    if not isinstance(file_id, str):
        raise UnfitArgument(f"{type(file_id).__name__!r} object has no attribute 'find'")
    if not isinstance(entities, Mapping):
        raise UnfitArgument(f"{type(entities).__name__!r} object has no entities to assign to")
    at = file_id.find(".tar")
    archive = file_id[at + 1 :] if at > -1 else ""
    if archive not in ARCHIVES:
        raise Refusal(f"Invalid sandbox extension: {archive[:_LONGEST_TYPE]}")
    for entity, kind in entities.items():
        _check_mapping(entity, kind)
    return Announced(file_id[:at], archive, dict(entities))


def is_entity(text: str) -> bool:
    """Whether a text can have sandboxes.

    MySQL takes `job:1`, `Job:1 ` and `J\u00f6b:1` for `Job:1`, so no such text may stand beside it.
    """
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        return False
    return not text.lower().startswith(_JOB.lower()) or text.startswith(_JOB)


def _check_mapping(entity: Any, kind: Any) -> None:
    if isinstance(entity, str) and not is_entity(entity):
        raise Refusal(f"{entity[:_LONGEST_ENTITY]!r} is no entity")
    for text, longest in ((entity, _LONGEST_ENTITY), (kind, _LONGEST_TYPE)):
        if not isinstance(text, str) or not 0 < len(text) <= longest or not _storable(text):
            raise Refusal(
                f"{str(text)[:longest]!r} is no entity, or no type of a sandbox, of {longest} characters"
            )


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def legacy_name(owner: Owner, md5: str, archive: str, *, shares: bool) -> str:
    """The name of an upload as DIRAC's SandboxStore gives it; ``shares``: the group has JobSharing."""
    holder = owner.group if shares else f"{owner.name}.{owner.group}"
    return f"{_LEGACY}{holder[0]}/{holder}/{md5[:3]}/{md5[3:6]}/{md5}.{archive}"


def takes_over(stored_as: str, former: str) -> bool:
    """Whether what one legacy name leads to may be replaced: by the same content, or by its own owner.

    Members of a group with JobSharing have names in common, and may say any MD5 over REST: nobody is to put
    an archive of his own in place of a colleague's, which jobs would run.
    """
    *_, vo, group, name, file = stored_as.split("/")
    return former.split("/")[-4:-1] == [vo, group, name] or former.endswith(f"/{file}")


def is_legacy(name: str) -> bool:
    """Whether a name is one that DIRAC's SandboxStore gives."""
    return name.startswith(_LEGACY) and not name.startswith(_REST_FOR_OLD) and len(name) <= _LONGEST_NAME


def name_in_url(service: str, file_id: Any) -> str:
    """The name of the sandbox that a client wants: what follows the service's name, or all of it.

    Raises Refusal.
    """
    if isinstance(file_id, list | tuple) and file_id:
        file_id = file_id[0]
    if not isinstance(file_id, str) or not _storable(file_id):
        raise Refusal(NO_MATCH)
    name = file_id.rpartition(service)[2]
    if not name.startswith("/"):
        raise Refusal(NO_MATCH)
    return _plain(name)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A sandbox that an entity, ``Job:<id>`` for instance, is to have."""

    entity: str
    kind: str
    at: Location


def read_assignments(entities: Mapping[Any, Any]) -> list[Assignment]:
    """``{entity: [(location, type), ...]}``.  Raises Refusal with DIRAC's texts."""
    found = []
    for entity, sandboxes in entities.items():
        if not isinstance(sandboxes, list | tuple):
            raise Refusal(f"Entry for entity {entity} is not an iterable of tuples/lists")
        for each in sandboxes:
            if not isinstance(each, list | tuple):
                raise Refusal(f"Entry for entity {entity} is not an iterable of tuples/lists")
            if len(each) != 2:
                raise Refusal(f"SB definition is not ( SBLocation, Type )! It's {each}")
            text, kind = each
            if not isinstance(text, str) or not is_location(text):
                raise Refusal(f"{text} doesn't seem to be a sandbox")
            at = parse_location(text)
            if at is None:
                raise Refusal("SB Location has to have SEName|SEPFN form")
            _check_mapping(entity, kind)
            found.append(Assignment(entity, kind, at))
    return found


def not_assignable(owner: Owner) -> Refusal:
    """A sandbox is not there, or not within reach, or its job is not the caller's."""
    return Refusal(
        f"Sandbox does not exist or you are not authorized to assign it being {owner.name}@{owner.group}"
    )


def job_of(entity: str) -> int | None:
    """The id of a job among entities; None for what is none."""
    number = entity.removeprefix(_JOB)
    is_job = number != entity and number.isascii() and number.isdigit() and len(number) < 11
    return int(number) if is_job else None


def read_entities(entities: Sequence[Any]) -> list[str]:
    """Those that can have sandboxes."""
    return [
        each
        for each in entities
        if isinstance(each, str) and 0 < len(each) <= _LONGEST_ENTITY and is_entity(each)
    ]


def by_kind(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """``{type: [location, ...]}`` of ``(type, location)``."""
    sandboxes: dict[str, list[str]] = {}
    for kind, location in found:
        sandboxes.setdefault(kind, []).append(location)
    return sandboxes
