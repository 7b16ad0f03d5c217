"""Which pilots ran which jobs: JobToPilotMapping, and the pilots behind a stamp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.errors import Conflict, InvalidValue
from shared_db.queries.search import find_by_ids
from shared_db.queries.values import LARGEST_UNSIGNED
from shared_db.rules import clock
from shared_db.rules.pilots import FINAL_STATES
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents


@dataclass(frozen=True, slots=True)
class KnownPilot:
    """What decides what a pilot may do."""

    pilot_id: int
    stamp: str
    vo: str
    site: str
    grid_type: str
    status: str

    @property
    def ended(self) -> bool:
        """It will run no more."""
        return self.status in FINAL_STATES


async def pilots_of_stamps(
    work: UnitOfWork, stamps: Iterable[str], *, lock: bool = False
) -> list[KnownPilot]:
    """Every pilot with one of the stamps, by ascending PilotID; stamps need not be unique.

    ``lock``: nobody else changes them until the unit of work ends.
    """
    wanted = {stamp for stamp in stamps if stamp}
    rows = await work.rows(PILOT_AGENTS_DB, _pilots(lock=lock), {"stamps": sorted(wanted)})
    pilots = [KnownPilot(*row) for row in rows]
    # MySQL takes stamps for equal that differ in case only.
    return [pilot for pilot in pilots if pilot.stamp in wanted]


@cache
def _pilots(*, lock: bool) -> Select[Any]:
    c = PilotAgents.c
    statement = (
        select(c.PilotID, c.PilotStamp, c.VO, c.GridSite, c.GridType, c.Status)
        .where(c.PilotStamp.in_(bindparam("stamps", expanding=True)))
        .order_by(c.PilotID)
    )
    return statement.with_for_update() if lock else statement


async def known_pilots(work: UnitOfWork, pilot_ids: Iterable[int], *, lock: bool = False) -> list[KnownPilot]:
    """The pilots with some ids, by ascending PilotID; ``lock``: as in ``pilots_of_stamps``."""
    if lock:
        rows = await work.rows(PILOT_AGENTS_DB, _locked_pilots(), {"ids": sorted(pilot_ids)})
        return [KnownPilot(*row) for row in rows]
    c = PilotAgents.c
    columns = [c.PilotID, c.PilotStamp, c.VO, c.GridSite, c.GridType, c.Status]
    return [KnownPilot(*row) for row in await find_by_ids(work, columns, c.PilotID, pilot_ids)]


@cache
def _locked_pilots() -> Select[Any]:
    c = PilotAgents.c
    ids = bindparam("ids", expanding=True, type_=BigInteger())
    statement = select(c.PilotID, c.PilotStamp, c.VO, c.GridSite, c.GridType, c.Status)
    return statement.where(c.PilotID.in_(ids)).order_by(c.PilotID).with_for_update()


async def jobs_of_pilots(work: UnitOfWork, pilot_ids: Iterable[int]) -> list[int]:
    """Ids of the jobs that one of the pilots ran, ascending."""
    mapping = JobToPilotMapping.c
    rows = await find_by_ids(work, [mapping.JobID], mapping.PilotID, pilot_ids)
    return sorted({row[0] for row in rows})


async def may_run(work: UnitOfWork, stamp: str, vo: str, job_ids: Sequence[int]) -> bool:
    """Whether each of the jobs belongs to a pilot of this stamp and VO; of no job at all: no."""
    mapping = JobToPilotMapping.c
    own = {pilot.pilot_id for pilot in await pilots_of_stamps(work, [stamp]) if pilot.vo == vo}
    rows = await find_by_ids(work, [mapping.JobID, mapping.PilotID], mapping.JobID, job_ids)
    allowed = {job_id for job_id, pilot_id in rows if pilot_id in own}
    return bool(job_ids) and allowed >= set(job_ids)


async def associate_jobs(work: UnitOfWork, pilot_ids: Sequence[int], job_ids: Sequence[int]) -> None:
    """Note that pilots, whose rows the caller has locked, run jobs from now on.

    Raises Conflict when one of them does already, InvalidValue for a number that is no job's.
    """
    wanted = list(dict.fromkeys(job_ids))
    if any(not 0 < each <= LARGEST_UNSIGNED for each in wanted):
        raise InvalidValue("JobID", "out of range")
    mapping = JobToPilotMapping.c
    before = await find_by_ids(work, [mapping.PilotID, mapping.JobID], mapping.JobID, wanted)
    if any(pilot_id in pilot_ids for pilot_id, _ in before):
        raise Conflict("This pilot is already associated with this job.")
    now = clock.to_column(clock.utc_now())
    rows = [
        {"PilotID": pilot_id, "JobID": job_id, "StartTime": now}
        for pilot_id in pilot_ids
        for job_id in wanted
    ]
    if rows:
        await work.change(PILOT_AGENTS_DB, JobToPilotMapping.insert(), rows)
