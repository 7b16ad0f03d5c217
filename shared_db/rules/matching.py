"""Which waiting jobs a pilot may have, and which of them it gets (legacy-methods.md, section 6).

The rules are those that Matcher, Limiter and TaskQueueDB of DIRAC 9.1.22 showed when they were run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from shared_db.cfg import CfgSection
from shared_db.rules.jdl.values import integer_in
from shared_db.rules.site import Options
from shared_db.rules.task_queues import FIRST, LAST, weight

MATCHER = "Matcher"
MATCHED = "Matched"
ASSIGNED = "Assigned"
# What a site that is not in production may run.
TEST = "Test"
# Offered as a platform, job type and so on: whatever is asked for.
ANY = "any"

# Nobody asks for more processors than that by name (Operations JobDescription/MaxNumberOfProcessors).
MOST_PROCESSORS = 1024

# Counted where a site limits how many jobs of a kind it runs.
RUNNING_STATES = ("Running", "Matched", "Stalled")
# Columns of Jobs by which kinds of jobs can be told apart, and what a queue's jobs have of them.
LIMITED = ("JobType", "Owner", "OwnerGroup")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pilot offers and which jobs it may have; None: whatever is asked for, whoever asks.

    ``cpu_time`` is in seconds, ``max_ram`` in MB.  ``sites``: any of these, in place of ``site``, for those
    who only look (no site at all: wherever jobs want to run).  ``required_tags``: of jobs, each must ask for
    all of them.
    ``only_job_types``: a job must ask for one of the types, it is not enough that it asks for none.
    ``job_id``: this job and no other.
    """

    site: str
    cpu_time: int
    grid_ces: tuple[str, ...] | None = None
    platforms: tuple[str, ...] | None = None
    job_types: tuple[str, ...] | None = None
    only_job_types: bool = False
    tags: tuple[str, ...] | None = ()
    required_tags: tuple[str, ...] = ()
    owners: tuple[str, ...] | None = None
    owner_groups: tuple[str, ...] | None = None
    max_ram: int | None = None
    job_id: int | None = None
    sites: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose jobs: of these owners and groups; None: of any."""

    owners: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """What a site puts up with: values by column of Jobs, then by its value.

    ``running``: how many jobs at most.  ``delays``: seconds that pass between two.
    """

    running: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    delays: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.running or self.delays)


_NO = frozenset({"false", "no", "n", "0"})
# Numbers and words; what stands between them is a matter of spelling.
_PIECES = re.compile(r"\d+|a(?=\d)|b(?=\d)|rc")

# Kinds of jobs that a pilot cannot have: values by column of Jobs.
Excluded = Mapping[str, frozenset[str]]


class WrongVersion(Exception):
    """A pilot's software is none of those that the site asks for; DIRAC's error 1511."""


def check_version(cfg: CfgSection, vo: str, version: str, project: str, *, needed: bool = True) -> None:
    """Compare a pilot's release with Operations ``Pilot/Version`` (the newest first) and ``Pilot/Project``.

    Nothing is compared where ``Pilot/CheckVersion`` is off.  ``needed``: a pilot that says none is refused
    even where none is asked for, as by DIRAC.  Raises WrongVersion.
    """
    options = Options(cfg, vo)
    if options.operations("Pilot/CheckVersion").lower() in _NO:
        return
    wanted, project_wanted = options.listed("Pilot/Version"), options.operations("Pilot/Project")
    if not version and (needed or wanted):
        raise WrongVersion("Version check requested and not provided by Pilot")
    if wanted and _release(version) not in map(_release, wanted):
        listed = ", ".join(wanted)
        raise WrongVersion(
            f"Pilot version does not match the production version: {version} not in ( {listed} )"
        )
    if project_wanted and project != project_wanted:
        raise WrongVersion(f"Version check requested but expected project {project_wanted} not received")


def _release(version: str) -> tuple[str, ...]:
    """A release in either of DIRAC's spellings: ``v9r1p22`` is ``9.1.22``, ``v8r0-pre2`` is ``8.0a2``."""
    return tuple(_PIECES.findall(version.lower().removeprefix("v").replace("-pre", "a")))


def restriction(
    properties: Iterable[str], username: str, group: str, groups_of_vo: Iterable[str], wanted: Wanted
) -> Wanted:
    """Whose jobs somebody may have who asks for some: a generic pilot those of its VO, others their own.

    In a group with JobSharing the group's are everybody's.
    """
    held = set(properties)
    if "GenericPilot" in held:
        known = tuple(groups_of_vo)
        groups = known if wanted.groups is None else tuple(each for each in wanted.groups if each in known)
        return Wanted(wanted.owners, groups)
    if "JobSharing" in held:
        return Wanted(wanted.owners, (group,))
    return Wanted((username,), (group,))


def accepted(values: Iterable[str]) -> tuple[str, ...] | None:
    """The values that a pilot offers; None when it names none, or says ANY."""
    named = tuple(dict.fromkeys(value for value in values if value))
    return None if not named or any(value.casefold() == ANY for value in named) else named


def offered_tags(tags: Iterable[str], processors: int = 1, *, whole_node: bool = False) -> tuple[str, ...]:
    """The tags of a pilot with so many processors; jobs ask for ``nProcessors``, of which it has them all."""
    names = list(tags)
    if processors > 1:
        count = min(processors, MOST_PROCESSORS)
        names += [f"{number}Processors" for number in range(1, count + 1)]
        names.append("MultiProcessor")
    if whole_node:
        names.append("WholeNode")
    return tuple(dict.fromkeys(names))


def site_limits(cfg: CfgSection, vo: str, site: str, ce: str = "") -> SiteLimits:
    """The limits of a site, and of one of its computing elements, below Operations ``JobScheduling``.

    ``RunningLimit/SITE/COLUMN/VALUE``, ``RunningLimit/SITE/CEs/CE/COLUMN/VALUE`` (which counts the jobs of
    the whole site) and ``MatchingDelay/SITE/COLUMN/VALUE``; columns are those of LIMITED.
    """
    options = Options(cfg, vo)
    running: dict[str, dict[str, int]] = {}
    delays: dict[str, dict[str, int]] = {}
    if _wanted(options, "CheckJobLimits"):
        for place in (site, *([f"{site}/CEs/{ce}"] if ce else [])):
            for column, numbers in _numbers(options, f"JobScheduling/RunningLimit/{place}").items():
                known = running.setdefault(column, {})
                known |= {value: min(most, known.get(value, most)) for value, most in numbers.items()}
    if _wanted(options, "CheckMatchingDelay"):
        delays = _numbers(options, f"JobScheduling/MatchingDelay/{site}")
    return SiteLimits(running, delays)


def _wanted(options: Options, name: str) -> bool:
    return options.operations(f"JobScheduling/{name}").lower() not in _NO


def _numbers(options: Options, path: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for column in LIMITED:
        section = options.section(f"{path}/{column}")
        read = {value: integer_in(text) for value, text in (section.options if section else {}).items()}
        if numbers := {value: number for value, number in read.items() if number is not None}:
            found[column] = numbers
    return found


def excluded(
    limits: SiteLimits, running: Mapping[str, Mapping[str, int]], delayed: Mapping[str, Iterable[str]]
) -> Excluded:
    """The kinds of jobs that a site has enough of, or had one of a moment ago."""
    found: dict[str, set[str]] = {column: set(values) for column, values in delayed.items()}
    for column, numbers in limits.running.items():
        counts = running.get(column, {})
        found.setdefault(column, set()).update(
            value for value, most in numbers.items() if counts.get(value, 0) >= most
        )
    return {column: frozenset(values) for column, values in found.items() if values}


def in_order_of_chance(priorities: Mapping[int, float], random: Random) -> list[int]:
    """Queues in the order in which a pilot tries them: the first is drawn by priority, so is the next ..."""
    drawn = {each: random.expovariate(max(priority, 1e-9)) for each, priority in priorities.items()}
    return sorted(drawn, key=drawn.__getitem__)


def levels_in_order_of_chance(levels: Iterable[int], random: Random) -> list[int]:
    """User priorities of a queue's jobs in the order in which they are tried.

    DIRAC draws among the jobs themselves, which takes longer the more there are; of equal priority both take
    the oldest.
    """
    return in_order_of_chance({level: weight(level) for level in levels}, random)


LEVELS = range(LAST, FIRST + 1)
"""User priorities that weigh differently: all from FIRST on weigh the same."""
