"""Pilots: PilotAgents and JobToPilotMapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.bulk import as_rows, update_each
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import by_columns, check_values, chunks, would_change
from shared_db.rules.clock import to_column, utc_now
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents


async def add_pilots(work: UnitOfWork, pilots: Sequence[Mapping[str, Any]]) -> None:
    """Insert pilots, given as columns and values; their times are now, their status Submitted by default.

    Neither references nor stamps need be new.  Raises InvalidValue.
    """
    now = to_column(utc_now())
    rows = [
        {"Status": "Submitted", **pilot, "SubmissionTime": now, "LastUpdateTime": now} for pilot in pilots
    ]
    check_values(PilotAgents, rows)
    for some in by_columns(rows):
        await work.change(PILOT_AGENTS_DB, PilotAgents.insert(), some)


async def stamps_in_use(work: UnitOfWork, stamps: Iterable[str]) -> list[str]:
    """Those of the stamps that a pilot has already."""
    rows = await find_by_ids(work, [PilotAgents.c.PilotStamp], PilotAgents.c.PilotStamp, stamps)
    return [row[0] for row in rows]


async def pilots_with_jobs(
    work: UnitOfWork, keys: Sequence[Any], columns: Sequence[str], key: str = "PilotJobReference"
) -> list[tuple[dict[str, Any], list[int]]]:
    """The wanted columns of every pilot whose column ``key`` is one of ``keys``, and the jobs that it ran.

    By ascending PilotID; no key at all means every pilot, as in DIRAC.  One statement gives both.
    """
    found: dict[int, tuple[dict[str, Any], list[int]]] = {}
    for row in await _with_jobs(work, tuple(columns), keys, key):
        pilot_id, job_id, *values = row
        if pilot_id not in found:
            found[pilot_id] = (dict(zip(columns, values, strict=True)), [])
        if job_id is not None:
            found[pilot_id][1].append(job_id)
    return [found[pilot_id] for pilot_id in sorted(found)]


async def _with_jobs(
    work: UnitOfWork, columns: tuple[str, ...], keys: Sequence[Any], key: str
) -> list[AnyRow]:
    if not keys:
        return await work.rows(PILOT_AGENTS_DB, _with_jobs_statement(columns, None))
    rows: list[AnyRow] = []
    for chunk in chunks(dict.fromkeys(keys)):
        statement = _with_jobs_statement(columns, key)
        rows += await work.rows(PILOT_AGENTS_DB, statement, {"keys": chunk})
    return rows


@cache
def _with_jobs_statement(columns: tuple[str, ...], key: str | None) -> Select[Any]:
    pilots, mapping = PilotAgents.c, JobToPilotMapping.c
    statement = (
        select(pilots.PilotID, mapping.JobID, *[pilots[name].label(f"pilot_{name}") for name in columns])
        .join_from(PilotAgents, JobToPilotMapping, mapping.PilotID == pilots.PilotID, isouter=True)
        .order_by(pilots.PilotID, mapping.JobID)
    )
    if key is not None:
        return statement.where(pilots[key].in_(bindparam("keys", expanding=True)))
    return statement


async def ids_of_references(work: UnitOfWork, references: Iterable[str]) -> list[AnyRow]:
    """``PilotID, PilotJobReference, Status`` of every pilot with one of the references, by PilotID."""
    c = PilotAgents.c
    columns = [c.PilotID, c.PilotJobReference, c.Status]
    return await find_by_ids(work, columns, c.PilotJobReference, references)


async def pilots_of_jobs(work: UnitOfWork, job_ids: Sequence[int]) -> list[int]:
    """Ids of the pilots that ran one of the jobs."""
    mapping = JobToPilotMapping.c
    return sorted({row[0] for row in await find_by_ids(work, [mapping.PilotID], mapping.JobID, job_ids)})


async def jobs_of_stamps(work: UnitOfWork, stamps: Sequence[str]) -> list[int]:
    """Ids of the jobs that were run by a pilot with one of the stamps."""
    pilots, mapping = PilotAgents.c, JobToPilotMapping.c
    rows = await find_by_ids(work, [pilots.PilotID], pilots.PilotStamp, stamps)
    ran = await find_by_ids(work, [mapping.JobID], mapping.PilotID, [row[0] for row in rows])
    return sorted({row[0] for row in ran})


async def update_pilots(
    work: UnitOfWork, column: str, keys: Sequence[Any], values: Mapping[str, Any], *, touch: bool = True
) -> int:
    """Set columns of all pilots whose ``column`` is one of ``keys``; ``touch``: LastUpdateTime becomes now.

    Returns how many rows changed: 0 when no pilot is there or nothing differed (twice in one second).
    Raises InvalidValue.
    """
    changes = {**values, "LastUpdateTime": to_column(utc_now())} if touch else values
    check_values(PilotAgents, [changes])
    changed = 0
    for chunk in chunks(keys):
        statement = (
            PilotAgents.update()
            .where(PilotAgents.c[column].in_(chunk), would_change(PilotAgents, changes))
            .values(changes)
        )
        changed += await work.change(PILOT_AGENTS_DB, statement)
    return changed


async def patch_pilots(work: UnitOfWork, changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Set columns of pilots by stamp, each its own; LastUpdateTime becomes now.

    A stamp that several pilots share means all of them; None leaves a column as it is.  Returns the stamps
    that no pilot has, and then changes nothing.  Raises InvalidValue.
    """
    now = to_column(utc_now())
    check_values(PilotAgents, list(changes.values()), may_be_unset=True)
    pilots = PilotAgents.c
    found = await find_by_ids(work, [pilots.PilotID, pilots.PilotStamp], pilots.PilotStamp, changes)
    # MySQL takes stamps for equal that differ in case only.
    there = [(pilot_id, stamp) for pilot_id, stamp in found if stamp in changes]
    if unknown := changes.keys() - {stamp for _, stamp in there}:
        return sorted(unknown)
    rows = [{"PilotID": pilot_id, "LastUpdateTime": now, **changes[stamp]} for pilot_id, stamp in there]
    given = {name for row in rows for name in row}
    # In table order, so that few different statements are built.
    names = tuple(each.name for each in PilotAgents.columns if each.name in given - {"PilotID"})
    if rows:
        await work.change(PILOT_AGENTS_DB, update_each(PilotAgents, ("PilotID",), names), as_rows(rows))
    return []


async def count_by_destination(
    work: UnitOfWork, submitted_from: datetime | None = None, submitted_to: datetime | None = None
) -> list[tuple[str, str, int]]:
    """``(DestinationSite, Status, count)`` of pilots submitted between two naive UTC times, included."""
    submitted = PilotAgents.c.SubmissionTime
    conditions = []
    if submitted_from is not None:
        conditions.append(submitted >= submitted_from)
    if submitted_to is not None:
        conditions.append(submitted <= submitted_to)
    columns = (PilotAgents.c.DestinationSite, PilotAgents.c.Status)
    statement = select(*columns, func.count()).where(and_(True, *conditions)).group_by(*columns)
    return [(site, status, count) for site, status, count in await work.rows(PILOT_AGENTS_DB, statement)]


async def count_aborted_since(work: UnitOfWork, moment: datetime) -> list[tuple[str, int]]:
    """``(DestinationSite, count)`` of aborted pilots last updated at or after a naive UTC time."""
    statement = (
        select(PilotAgents.c.DestinationSite, func.count())
        .where(PilotAgents.c.Status == "Aborted", PilotAgents.c.LastUpdateTime >= moment)
        .group_by(PilotAgents.c.DestinationSite)
    )
    return [(site, count) for site, count in await work.rows(PILOT_AGENTS_DB, statement)]
