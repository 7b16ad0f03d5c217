"""Task queues: what jobs ask of pilots, and how queues share the resources (legacy-schema.md, section 4).

Where the sheet is silent, TaskQueueDB and the optimisers of DIRAC 9.1.22 were run and asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from shared_db.registry import Registry

# Seconds; the CPU time that a job asks for is rounded up to one of these.
CPU_SEGMENTS = (
    *(360, 1800, 3600, 21600),
    *(43200, 86400, 172800, 259200, 345600),
    *(518400, 691200, 864000, 1080000),
)

DEFAULT_GROUP_SHARE = 1000.0
SMALLEST_SHARE = 0.001
# What a user priority weighs: itself, but for the ends of the scale.
LAST = 0
FIRST = 10
_WEIGHT_OF_LAST = 1e-5
_WEIGHT_OF_FIRST = 1e6


@dataclass(frozen=True, slots=True)
class Demand:
    """What a queue asks of a pilot; jobs that ask for the same share a queue.

    An empty set asks for nothing, but for ``banned_sites``: where the jobs must not run.  ``cpu_time`` is in
    seconds, ``min_ram`` and ``max_ram`` in MB, 0 where nothing was asked.
    """

    owner: str
    owner_group: str
    vo: str
    cpu_time: int
    sites: frozenset[str] = frozenset()
    banned_sites: frozenset[str] = frozenset()
    grid_ces: frozenset[str] = frozenset()
    platforms: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    min_ram: int = 0
    max_ram: int = 0


@dataclass(frozen=True, slots=True)
class WeighedQueue:
    """A queue with jobs in it; ``weight`` is the mean of theirs."""

    queue_id: int
    demand: Demand
    weight: float


def segment(cpu_time: int) -> int:
    """The CPU time of the queue for jobs that need so many seconds; none has more than the last one."""
    return CPU_SEGMENTS[min(bisect_left(CPU_SEGMENTS, cpu_time), len(CPU_SEGMENTS) - 1)]


def weight(priority: int) -> float:
    """RealPriority: how likely a job of this user priority is taken, next to others of its queue."""
    if priority <= LAST:
        return _WEIGHT_OF_LAST
    return _WEIGHT_OF_FIRST if priority >= FIRST else float(priority)


def group_share(registry: Registry, group: str) -> float:
    """The share of the resources that a group has, next to other groups: its JobShare."""
    known = registry.groups.get(group)
    if known is None or known.job_share is None:
        return DEFAULT_GROUP_SHARE
    return known.job_share


def shares_jobs(registry: Registry, group: str) -> bool:
    """Whether a group's jobs are everybody's in it, so that its owners share its share unsplit."""
    return "JobSharing" in registry.properties_of(group)


def queue_priorities(queues: Iterable[WeighedQueue], registry: Registry) -> dict[int, float]:
    """The Priority of queues by id; all that have jobs in one of the groups must be among them.

    A group's share is split evenly among the owners who have jobs (of a group with JobSharing it is one
    part), and an owner's part among his queues by the weight of their jobs.  Queues that differ only in sites
    and memory stand in for each other: each has what all of them have together.
    """
    owned: dict[str, dict[str, list[WeighedQueue]]] = defaultdict(lambda: defaultdict(list))
    for queue in queues:
        group = queue.demand.owner_group
        owned[group]["" if shares_jobs(registry, group) else queue.demand.owner].append(queue)
    priorities: dict[int, float] = {}
    for group, owners in owned.items():
        share = group_share(registry, group) / len(owners)
        for some in owners.values():
            priorities |= _split(some, share)
    return priorities


def _split(queues: Iterable[WeighedQueue], share: float) -> dict[int, float]:
    of_kind: dict[Demand, float] = defaultdict(float)
    kinds = {queue: _kind(queue.demand) for queue in queues}
    total = sum(queue.weight for queue in kinds)
    for queue, kind in kinds.items():
        of_kind[kind] += max(share * queue.weight / total, SMALLEST_SHARE)
    return {queue.queue_id: of_kind[kind] for queue, kind in kinds.items()}


def _kind(demand: Demand) -> Demand:
    return replace(demand, sites=frozenset(), banned_sites=frozenset(), min_ram=0, max_ram=0)
