"""Heartbeats: signs of life with measurements, which are answered with the commands that wait for a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.queries.commands import Command, deliver_commands
from shared_db.queries.jobs import locked_jobs, update_jobs
from shared_db.queries.parameters import set_job_parameters
from shared_db.queries.statuses import set_job_statuses
from shared_db.queries.values import chunks
from shared_db.rules import clock
from shared_db.rules.heartbeats import HeartBeat, effect_of, measurements
from shared_db.rules.status_updates import Policy
from shared_db.schema.job_db import JOB_DB, HeartBeatLoggingInfo, JobParameters


@dataclass(frozen=True, slots=True)
class Answer:
    """The commands for the jobs, and the ids that are no job's (``Job N not found``)."""

    commands: list[Command]
    missing: list[int]


async def add_heartbeats(work: UnitOfWork, beats: Mapping[int, HeartBeat], *, policy: Policy) -> Answer:
    """Note the heartbeats of jobs, and deliver what waits for them.

    A measurement of a name that was noted in the same second stays as it was.  In a database without the
    table JobParameters the parameters are the caller's to keep.
    Raises InvalidValue for a parameter that cannot be stored.
    """
    now = clock.utc_now()
    statuses = {row.JobID: row.Status for row in await locked_jobs(work, beats, ("Status",))}
    there = {job_id: beats[job_id] for job_id in statuses}
    effects = {
        job_id: effect_of(beat, statuses[job_id], policy=policy, now=now) for job_id, beat in there.items()
    }
    await update_jobs(work, {job_id: effect.change for job_id, effect in effects.items() if effect.change})
    updates = {job_id: [effect.update] for job_id, effect in effects.items() if effect.update is not None}
    if updates:
        await set_job_statuses(work, updates, policy=policy)
    await _note(work, there, clock.to_column(now))
    if work.has(JobParameters):
        await set_job_parameters(work, {job_id: beat.parameters for job_id, beat in there.items()})
    commands = await deliver_commands(work, there)
    return Answer(commands, [job_id for job_id in beats if job_id not in statuses])


async def _note(work: UnitOfWork, beats: Mapping[int, HeartBeat], moment: datetime) -> None:
    """Keep the measurements; their key is the job, the name and the second."""
    values = {job_id: kept for job_id, beat in beats.items() if (kept := measurements(beat.measured))}
    noted: set[tuple[int, str]] = set()
    for chunk in chunks(values):
        found = await work.rows(JOB_DB, _noted_at(), {"ids": chunk, "moment": moment})
        # MySQL takes names for equal that differ in case only.
        noted |= {(job_id, name.casefold()) for job_id, name in found}
    rows: list[dict[str, Any]] = []
    for job_id, kept in values.items():
        for name, value in kept.items():
            if (job_id, name.casefold()) not in noted:
                noted.add((job_id, name.casefold()))
                rows.append({"JobID": job_id, "Name": name, "Value": value, "HeartBeatTime": moment})
    if rows:
        await work.change(JOB_DB, HeartBeatLoggingInfo.insert(), rows)


@cache
def _noted_at() -> Select[Any]:
    c = HeartBeatLoggingInfo.c
    return select(c.JobID, c.Name).where(
        c.JobID.in_(bindparam("ids", expanding=True)), c.HeartBeatTime == bindparam("moment")
    )


async def heartbeat_data(
    work: UnitOfWork, job_ids: Iterable[int]
) -> dict[int, list[tuple[str, str, datetime]]]:
    """``{JobID: [(name, value, aware time)]}``, oldest first; jobs without any are left out."""
    data: dict[int, list[tuple[str, str, datetime]]] = {}
    for chunk in chunks(sorted(set(job_ids))):
        for job_id, name, value, moment in await work.rows(JOB_DB, _data(), {"ids": chunk}):
            aware = clock.from_column(moment)
            assert aware is not None
            data.setdefault(job_id, []).append((name, value, aware))
    return data


@cache
def _data() -> Select[Any]:
    c = HeartBeatLoggingInfo.c
    return (
        select(c.JobID, c.Name, c.Value, c.HeartBeatTime)
        .where(c.JobID.in_(bindparam("ids", expanding=True)))
        .order_by(c.JobID, c.HeartBeatTime, c.Name)
    )
