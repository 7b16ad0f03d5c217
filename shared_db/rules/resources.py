"""What pilots say of where they run, and which jobs they may have for it (legacy-methods.md, section 6).

REST's body has these names; DIRAC's dictionary is read here, for both routes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared_db.rules.matching import ANY, Offer, Wanted, accepted, offered_tags
from shared_db.rules.refusals import Refusal, UnfitArgument

# All that DIRAC's clients are told of a description that cannot be read, and of trouble with a match.
NO_REQUEST = "Error requesting job"
# The longest name of a site, a CE, and what a queue asks for.
_LONGEST_SITE, _LONGEST_CE, _LONGEST = 100, 128, 64
_LONGEST_REFERENCE = 255
_MOST = 1_000
_LARGEST = 2**32 - 1
NOBODY = "Unknown"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a pilot offers, and which jobs it wants.

    ``cpu_time`` is in seconds, ``max_ram`` in MB.  ``sites`` and ``ces`` are several in place of one, of
    those who only look.  What is empty offers whatever is asked for, but for ``tags``.
    """

    site: str = ""
    sites: tuple[str, ...] = ()
    cpu_time: int = 0
    ce: str = ""
    ces: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    required_tags: tuple[str, ...] = ()
    processors: int = 1
    whole_node: bool = False
    max_ram: int | None = None
    owners: tuple[str, ...] = ()
    owner_groups: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        """Whose jobs it wants."""
        return Wanted(self.owners or None, self.owner_groups or None)


def offer_of(resource: Resource, allowed: Wanted, job_id: int | None = None) -> Offer:
    """The offer of a resource to those whose jobs the caller may have."""
    every_tag = any(tag.casefold() == ANY for tag in resource.tags)
    tags = [*resource.tags, *resource.required_tags]  # a pilot that wants jobs with a tag has it
    return Offer(
        site=resource.site,
        sites=resource.sites or None,
        cpu_time=resource.cpu_time,
        grid_ces=accepted([resource.ce, *resource.ces]),
        platforms=accepted(resource.platforms),
        job_types=accepted(resource.job_types),
        tags=None if every_tag else offered_tags(tags, resource.processors, whole_node=resource.whole_node),
        required_tags=tuple(dict.fromkeys(resource.required_tags)),
        owners=allowed.owners,
        owner_groups=allowed.groups,
        max_ram=resource.max_ram,
        job_id=job_id,
    )


@dataclass(frozen=True, slots=True)
class Requested:
    """A description as requestJob takes it: the resource, and who asks.

    ``vo``: whose jobs a host wants.  ``reported``: where the pilot runs is known already.
    """

    resource: Resource
    job_id: int | None = None
    pilot_reference: str = ""
    benchmark: float | None = None
    reported: bool = False
    version: str = ""
    project: str = ""
    vo: str = ""


def read_request(description: Any) -> Requested:
    """The description that a pilot asks for a job with.

    Raises Refusal (``Error requesting job``) for one that DIRAC's Matcher cannot use, and UnfitArgument.
    """
    if not isinstance(description, Mapping):
        raise UnfitArgument(f"{type(description).__name__!r} object has no attribute 'get'")
    try:
        resource = _resource(description, several=False)
        if not resource.site:
            raise Refusal("Missing Site Name in Resource JDL")
        return Requested(
            resource,
            job_id=_job_id(description),
            pilot_reference=_reference(description.get("PilotReference")),
            benchmark=_benchmark(description.get("PilotBenchmark")),
            reported=bool(description.get("PilotInfoReportedFlag", False)),
            version=_word(description.get("ReleaseVersion", description.get("DIRACVersion"))),
            project=_word(description.get("ReleaseProject")),
            vo=_word(description.get("VirtualOrganization")),
        )
    except Refusal as refusal:
        raise Refusal(NO_REQUEST) from refusal


def read_look(description: Mapping[str, Any]) -> Resource:
    """The description that somebody looks for task queues with; a site need not be named.

    Raises Refusal with the text of DIRAC's TaskQueueDB.
    """
    return _resource(description, several=True)


def _resource(description: Mapping[str, Any], *, several: bool) -> Resource:
    sites = _texts(description, "Site", _LONGEST_SITE)
    if isinstance(description.get("Site"), list | tuple) and not several:
        raise Refusal("One site asks for a job")
    one = len(sites) == 1
    tags, required = _tags(description)
    ces = _texts(description, "GridCE", _LONGEST_CE)
    resource = Resource(
        site=sites[0] if one else "",
        sites=() if one else sites,
        cpu_time=_cpu_time(description),
        ce=ces[0] if len(ces) == 1 else "",
        ces=ces if len(ces) != 1 else (),
        platforms=_texts(description, "Platform"),
        job_types=_texts(description, "JobType"),
        tags=tags,
        required_tags=required,
        processors=_processors(description.get("NumberOfProcessors")),
        whole_node="WholeNode" in description,
        max_ram=_number(description, "MaxRAM", "RAM"),
        owners=_texts(description, "Owner"),
        owner_groups=_texts(description, "OwnerGroup"),
    )
    offered = offered_tags(tags, resource.processors, whole_node=resource.whole_node)
    if any(tag.casefold() == ANY for tag in required):
        return replace(resource, required_tags=())
    if set(required) - set(offered):
        raise Refusal("Wrong conditions")
    return resource


def _texts(description: Mapping[str, Any], name: str, longest: int = _LONGEST) -> tuple[str, ...]:
    """One or several texts; empty ones ask for nothing."""
    value = description.get(name, ())
    given = tuple(value) if isinstance(value, list | tuple) else (value,)
    for each in given:
        if not isinstance(each, str):
            contained = "List contained type" if isinstance(value, list | tuple) else "Type"
            raise _mismatch(name, f"{contained} {type(each)} is not valid -> {str}")
        if len(each) > longest or not _storable(each):
            raise _mismatch(name, f"{each[:longest]!r} is no such name")
    if len(given) > _MOST:
        raise _mismatch(name, f"more than {_MOST} values")
    return tuple(each for each in given if each)


def _mismatch(name: str, problem: str) -> Refusal:
    return Refusal(f"Match definition field {name} failed : {problem}")


def _storable(text: str) -> bool:
    """False for what no database can hold, and that therefore names nothing."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def _tags(description: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tags and the required ones, which count only where there are tags; DIRAC takes ``[a, b]`` too."""
    if "Tag" not in description:
        return (), ()
    read = {
        name: _texts({name: _listed(description[name])}, name)
        for name in ("Tag", "RequiredTag")
        if name in description
    }
    return read["Tag"], read.get("RequiredTag", ())


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [each.strip("\"' ") for each in value.strip("[]").split(",")]


def _cpu_time(description: Mapping[str, Any]) -> int:
    if "CPUTime" not in description:
        raise Refusal("Missing mandatory field 'CPUTime' in match request definition")
    number = _number(description, "CPUTime", "CPUTime")
    assert number is not None
    return number


def _number(description: Mapping[str, Any], name: str, called: str) -> int | None:
    if name not in description:
        return None
    value = description[name]
    for each in value if isinstance(value, list | tuple) else ():
        if not isinstance(each, int):
            raise _mismatch(called, f"List contained type {type(each)} is not valid -> {int}")
    if not isinstance(value, int):
        raise _mismatch(called, f"Type {type(value)} is not valid -> {int}")
    return min(max(int(value), 0), _LARGEST)


def _processors(value: Any) -> int:
    return _bounded(value) or 1


def _bounded(value: Any) -> int:
    """A number that may be written as a text; 0 for anything else."""
    if not isinstance(value, int | float | str):
        return 0
    try:
        return min(max(int(value), 0), _LARGEST)
    except (ValueError, OverflowError):
        return 0


def _job_id(description: Mapping[str, Any]) -> int | None:
    if "JobID" not in description:
        return None
    found = _bounded(description["JobID"])
    if not found:
        raise Refusal("No job has this id")
    return found


def _reference(value: Any) -> str:
    """The pilot's reference; '' for one that names no pilot."""
    known = isinstance(value, str) and value != NOBODY and len(value) <= _LONGEST_REFERENCE
    return value if known and _storable(value) else ""


def _benchmark(value: Any) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    return None


def _word(value: Any) -> str:
    """A text, where something else counts as not given."""
    return value[:_LONGEST] if isinstance(value, str) and _storable(value) else ""


def sees_everybody(properties: Iterable[str], *, by_token: bool) -> bool:
    """Whether somebody who looks for queues sees everybody's: in DIRAC all do who have a certificate."""
    return not by_token or "JobAdministrator" in properties


# What a queue asks for, by the key that DIRAC has for it; keys without values are left out.
_ASKED = ("Sites", "GridCEs", "BannedSites", "Platforms", "JobTypes", "Tags")


def shown_queue(queue: Mapping[str, Any]) -> dict[str, Any]:
    """A task queue as DIRAC shows it; ``queue`` has the names of REST's answers."""
    shown = {name: queue[name] for name in ("Priority", "Jobs", "Owner", "OwnerGroup", "CPUTime")}
    shown |= {name: list(queue[name]) for name in _ASKED if queue[name]}
    if queue["MinRAM"] or queue["MaxRAM"]:
        shown |= {"MinRAM": queue["MinRAM"], "MaxRAM": queue["MaxRAM"]}
    return shown


def matched_job(
    *, jdl: str, job_id: int, owner: str, group: str, dn: str, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """What requestJob answers: ``DN`` is for agents of releases before 9, ``Owner`` for later ones."""
    return {
        "JDL": jdl,
        "JobID": job_id,
        **parameters,
        "DN": dn,
        "Owner": owner,
        "Group": group,
        "PilotInfoReportedFlag": True,
    }
