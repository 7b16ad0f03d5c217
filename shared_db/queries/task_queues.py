"""Task queues: finding or making the queue of a job, their priorities, and taking empty ones away.

The locks on queues: who puts jobs into a queue holds it, so that it is not removed meanwhile; who makes or
removes queues holds all queues of the group, since their priorities change together.  Both by ascending id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    CompoundSelect,
    Delete,
    Select,
    Table,
    bindparam,
    func,
    literal,
    select,
    union_all,
)

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.bulk import as_rows, update_each
from shared_db.queries.jobs import leave_task_queue
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import LARGEST_UNSIGNED, check_values, chunks
from shared_db.registry import Registry
from shared_db.rules.task_queues import SMALLEST_SHARE, Demand, WeighedQueue, queue_priorities, weight
from shared_db.schema.task_queue_db import (
    TASK_QUEUE_DB,
    tq_Jobs,
    tq_RAM_requirements,
    tq_TaskQueues,
    tq_TQToBannedSites,
    tq_TQToGridCEs,
    tq_TQToJobTypes,
    tq_TQToPlatforms,
    tq_TQToSites,
    tq_TQToTags,
)

# What a queue has any number of: the table, by the attribute of Demand.
VALUES: Mapping[str, Table] = {
    "sites": tq_TQToSites,
    "banned_sites": tq_TQToBannedSites,
    "grid_ces": tq_TQToGridCEs,
    "platforms": tq_TQToPlatforms,
    "job_types": tq_TQToJobTypes,
    "tags": tq_TQToTags,
}


@dataclass(frozen=True, slots=True)
class Queued:
    """A job for the queues: what it asks for, and its user priority."""

    demand: Demand
    priority: int


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """A queue as it is: how likely it is to be served, next to others, and how many jobs wait in it."""

    queue_id: int
    demand: Demand
    priority: float
    enabled: bool
    jobs: int

    def described(self) -> dict[str, Any]:
        """As it is answered over REST, and read by the rules of what DIRAC shows."""
        demand = self.demand
        return {
            "TQId": self.queue_id,
            "Owner": demand.owner,
            "OwnerGroup": demand.owner_group,
            "VO": demand.vo,
            "CPUTime": demand.cpu_time,
            "Priority": self.priority,
            "Enabled": self.enabled,
            "Jobs": self.jobs,
            "Sites": sorted(demand.sites),
            "BannedSites": sorted(demand.banned_sites),
            "GridCEs": sorted(demand.grid_ces),
            "Platforms": sorted(demand.platforms),
            "JobTypes": sorted(demand.job_types),
            "Tags": sorted(demand.tags),
            "MinRAM": demand.min_ram,
            "MaxRAM": demand.max_ram,
        }


async def enqueue(work: UnitOfWork, jobs: Mapping[int, Queued], registry: Registry) -> None:
    """Put jobs into the queues that ask for what they ask for, which are made where there are none.

    A job that is in a queue already changes over.
    """
    await leave_task_queue(work, jobs)
    demands = list(dict.fromkeys(job.demand for job in jobs.values()))
    queues, made = await _queues_for(work, demands)
    rows = [
        {
            "TQId": queues[job.demand],
            "JobId": job_id,
            "Priority": min(max(job.priority, 0), LARGEST_UNSIGNED),
            "RealPriority": weight(job.priority),
        }
        for job_id, job in sorted(jobs.items())
    ]
    check_values(tq_Jobs, rows)
    if rows:
        await work.change(TASK_QUEUE_DB, tq_Jobs.insert(), rows)
    await set_priorities(work, {demand.owner_group for demand in made}, registry)


async def _queues_for(work: UnitOfWork, demands: Sequence[Demand]) -> tuple[dict[Demand, int], list[Demand]]:
    """A queue for each demand, held until the unit of work ends; and which of them are new."""
    found = await _find(work, demands)
    held = await _hold(work, found.values())
    queues = {demand: queue_id for demand, queue_id in found.items() if queue_id in held}
    missing = [demand for demand in demands if demand not in queues]
    if not missing:
        return queues, []
    # Somebody may be making them at this moment.
    await _hold_groups(work, {demand.owner_group for demand in missing})
    queues |= await _find(work, missing)
    made = [demand for demand in missing if demand not in queues]
    return {**queues, **dict(zip(made, await _make(work, made), strict=True))}, made


async def _find(work: UnitOfWork, demands: Collection[Demand]) -> dict[Demand, int]:
    if not demands:
        return {}
    bound = {
        "owners": sorted({demand.owner for demand in demands}),
        "groups": sorted({demand.owner_group for demand in demands}),
        "cpu_times": sorted({demand.cpu_time for demand in demands}),
    }
    rows = await work.rows(TASK_QUEUE_DB, _candidates(), bound)
    there = await demands_of(work, [row[0] for row in rows])
    wanted = set(demands)
    return {demand: queue_id for queue_id, demand in sorted(there.items(), reverse=True) if demand in wanted}


@cache
def _candidates() -> Select[Any]:
    c = tq_TaskQueues.c
    return select(c.TQId).where(
        c.Owner.in_(bindparam("owners", expanding=True)),
        c.OwnerGroup.in_(bindparam("groups", expanding=True)),
        c.CPUTime.in_(bindparam("cpu_times", expanding=True)),
    )


async def _hold(work: UnitOfWork, queue_ids: Iterable[int]) -> set[int]:
    """Keep queues from being removed; those that are there still."""
    rows: list[AnyRow] = []
    for chunk in chunks(sorted(queue_ids)):
        rows += await work.rows(TASK_QUEUE_DB, _holding(), {"ids": chunk})
    return {row[0] for row in rows}


@cache
def _holding() -> Select[Any]:
    c = tq_TaskQueues.c
    statement = select(c.TQId).where(c.TQId.in_(bindparam("ids", expanding=True))).order_by(c.TQId)
    return statement.with_for_update(read=True)


async def _hold_groups(work: UnitOfWork, groups: Iterable[str]) -> list[int]:
    """Keep everybody else from the queues of some groups; their ids."""
    rows = await work.rows(TASK_QUEUE_DB, _holding_groups(), {"groups": sorted(groups)})
    return [row[0] for row in rows]


@cache
def _holding_groups() -> Select[Any]:
    c = tq_TaskQueues.c
    condition = c.OwnerGroup.in_(bindparam("groups", expanding=True))
    return select(c.TQId).where(condition).order_by(c.TQId).with_for_update()


async def _make(work: UnitOfWork, demands: Sequence[Demand]) -> list[int]:
    rows = [
        {
            "Owner": demand.owner,
            "OwnerGroup": demand.owner_group,
            "VO": demand.vo,
            "CPUTime": demand.cpu_time,
            "Priority": SMALLEST_SHARE,
            "Enabled": 1,
        }
        for demand in demands
    ]
    if not rows:
        return []
    check_values(tq_TaskQueues, rows)
    queue_ids = await work.insert_ids(TASK_QUEUE_DB, tq_TaskQueues, rows)
    for name, table in VALUES.items():
        values = [
            {"TQId": queue_id, "Value": value}
            for queue_id, demand in zip(queue_ids, demands, strict=True)
            for value in sorted(getattr(demand, name))
        ]
        if values:
            check_values(table, values)
            await work.change(TASK_QUEUE_DB, table.insert(), values)
    memory = [
        {"TQId": queue_id, "MinRAM": demand.min_ram, "MaxRAM": demand.max_ram}
        for queue_id, demand in zip(queue_ids, demands, strict=True)
        if demand.min_ram or demand.max_ram
    ]
    if memory and work.has(tq_RAM_requirements):
        await work.change(TASK_QUEUE_DB, tq_RAM_requirements.insert(), memory)
    return queue_ids


async def demands_of(work: UnitOfWork, queue_ids: Iterable[int]) -> dict[int, Demand]:
    """What each of some queues asks for, by id."""
    ids = sorted(set(queue_ids))
    c = tq_TaskQueues.c
    rows = await find_by_ids(work, [c.TQId, c.Owner, c.OwnerGroup, c.VO, c.CPUTime], c.TQId, ids)
    values = await _values_of(work, ids)
    memory: dict[int, tuple[int, int]] = {}
    if work.has(tq_RAM_requirements):
        ram = tq_RAM_requirements.c
        found = await find_by_ids(work, [ram.TQId, ram.MinRAM, ram.MaxRAM], ram.TQId, ids)
        memory = {row.TQId: (row.MinRAM, row.MaxRAM) for row in found}
    return {row.TQId: _demand(row, values.get(row.TQId, {}), memory.get(row.TQId, (0, 0))) for row in rows}


def _demand(row: AnyRow, values: Mapping[str, Iterable[str]], memory: tuple[int, int]) -> Demand:
    plain = Demand(row.Owner, row.OwnerGroup, row.VO, row.CPUTime, min_ram=memory[0], max_ram=memory[1])
    named: dict[str, Any] = {name: frozenset(each) for name, each in values.items()}
    return replace(plain, **named)


async def _values_of(work: UnitOfWork, queue_ids: Sequence[int]) -> dict[int, dict[str, list[str]]]:
    found: dict[int, dict[str, list[str]]] = {}
    # Each statement has the ids once for each table.
    for chunk in chunks(queue_ids, 1_000):
        for name, queue_id, value in await work.rows(TASK_QUEUE_DB, _all_values(), {"ids": chunk}):
            found.setdefault(queue_id, {}).setdefault(name, []).append(value)
    return found


@cache
def _all_values() -> CompoundSelect[Any]:
    ids: BindParameter[Any] = bindparam("ids", expanding=True)
    return union_all(
        *[
            select(literal(name, literal_execute=True).label("name"), table.c.TQId, table.c.Value).where(
                table.c.TQId.in_(ids)
            )
            for name, table in VALUES.items()
        ]
    )


async def set_priorities(work: UnitOfWork, groups: Iterable[str], registry: Registry) -> None:
    """Share out anew what groups have among their queues; the caller may hold them already.

    To be done when queues come or go, and now and then for the rest: the priorities of jobs count too.
    """
    named = sorted(set(groups))
    if not named:
        return
    await _hold_groups(work, named)
    weights = {row[0]: float(row[1]) for row in await work.rows(TASK_QUEUE_DB, _weights(), {"groups": named})}
    demands = await demands_of(work, weights)
    queues = [WeighedQueue(each, demands[each], mean) for each, mean in weights.items() if each in demands]
    rows = [
        {"TQId": queue_id, "Priority": priority}
        for queue_id, priority in queue_priorities(queues, registry).items()
    ]
    if rows:
        await work.change(TASK_QUEUE_DB, update_each(tq_TaskQueues, ("TQId",), ("Priority",)), as_rows(rows))


@cache
def _weights() -> Select[Any]:
    c = tq_TaskQueues.c
    return (
        select(c.TQId, func.avg(tq_Jobs.c.RealPriority))
        .join(tq_Jobs, tq_Jobs.c.TQId == c.TQId)
        .where(c.OwnerGroup.in_(bindparam("groups", expanding=True)))
        .group_by(c.TQId)
    )


async def set_all_priorities(work: UnitOfWork, registry: Registry) -> None:
    """Share out anew among all queues, as DIRAC does from time to time."""
    rows = await work.rows(TASK_QUEUE_DB, select(tq_TaskQueues.c.OwnerGroup).distinct())
    await set_priorities(work, [row[0] for row in rows], registry)


async def remove_empty_queues(work: UnitOfWork, registry: Registry, *, most: int = 1_000) -> int:
    """Take away at most so many queues without jobs; returns how many.

    To be done every five minutes or so: DIRAC lets an empty queue stand for 300 s, in which the owner's next
    jobs find it.
    """
    rows = await work.rows(TASK_QUEUE_DB, _empty(), {"most": most})
    if not rows:
        return 0
    groups = {row.OwnerGroup for row in rows}
    await _hold_groups(work, groups)
    ids = [row.TQId for row in rows]
    taken = await find_by_ids(work, [tq_Jobs.c.TQId], tq_Jobs.c.TQId, ids)
    empty = sorted(set(ids) - {row[0] for row in taken})
    if not empty:
        return 0
    tables = [*VALUES.values(), *([tq_RAM_requirements] if work.has(tq_RAM_requirements) else [])]
    for table in tables:
        await work.change(TASK_QUEUE_DB, _removing(table), {"ids": empty})
    removed = await work.change(TASK_QUEUE_DB, _removing(tq_TaskQueues), {"ids": empty})
    await set_priorities(work, groups, registry)
    return removed


@cache
def _empty() -> Select[Any]:
    c = tq_TaskQueues.c
    job = select(tq_Jobs.c.JobId).where(tq_Jobs.c.TQId == c.TQId)
    return select(c.TQId, c.OwnerGroup).where(~job.exists()).order_by(c.TQId).limit(bindparam("most"))


@cache
def _removing(table: Table) -> Delete:
    return table.delete().where(table.c.TQId.in_(bindparam("ids", expanding=True)))


async def task_queues(work: UnitOfWork, queue_ids: Iterable[int] | None = None) -> list[TaskQueue]:
    """Queues that have jobs, by ascending id; all or some.  Their jobs are counted."""
    c = tq_TaskQueues.c
    if queue_ids is None:
        rows = await work.rows(TASK_QUEUE_DB, _counted())
    else:
        rows = []
        for chunk in chunks(sorted(set(queue_ids))):
            rows += await work.rows(TASK_QUEUE_DB, _counted().where(c.TQId.in_(chunk)))
    demands = await demands_of(work, [row.TQId for row in rows])
    return [
        TaskQueue(row.TQId, demands[row.TQId], row.Priority, row.Enabled >= 1, row.jobs)
        for row in rows
        if row.TQId in demands
    ]


@cache
def _counted() -> Select[Any]:
    c = tq_TaskQueues.c
    return (
        select(c.TQId, c.Priority, c.Enabled, func.count().label("jobs"))
        .join(tq_Jobs, tq_Jobs.c.TQId == c.TQId)
        .group_by(c.TQId, c.Priority, c.Enabled)
        .order_by(c.TQId)
    )


async def jobs_of_queue(
    work: UnitOfWork, queue_id: int, *, after: int = 0, most: int = 100
) -> Sequence[AnyRow]:
    """Rows (JobId, Priority, RealPriority) of the jobs in a queue, a page at a time, by ascending id."""
    bound = {"queue": queue_id, "after": after, "most": most}
    return await work.rows(TASK_QUEUE_DB, _jobs_after(), bound)


@cache
def _jobs_after() -> Select[Any]:
    c = tq_Jobs.c
    return (
        select(c.JobId, c.Priority, c.RealPriority)
        .where(c.TQId == bindparam("queue"), c.JobId > bindparam("after"))
        .order_by(c.JobId)
        .limit(bindparam("most"))
    )
