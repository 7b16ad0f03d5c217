"""Commands to jobs (Kill, mostly): queued in JobCommands, delivered once with a heartbeat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, Update, bindparam, select, tuple_

from shared_db.connection import UnitOfWork
from shared_db.queries.values import check_values, chunks
from shared_db.rules import clock
from shared_db.schema.job_db import JOB_DB, JobCommands

KILL = "Kill"
RECEIVED, SENT = "Received", "Sent"


@dataclass(frozen=True, slots=True)
class Command:
    """What a job is told to do."""

    job_id: int
    command: str
    arguments: str = ""


async def queue_commands(work: UnitOfWork, commands: Sequence[Command]) -> list[Command]:
    """Queue commands for jobs, whose rows the caller has locked.

    Returns those that were not queued: a job can be told something with the same arguments only once in a
    second, whatever it is told, since that is JobCommands' key (legacy-schema.md, 0.10).
    Raises InvalidValue.
    """
    now = clock.to_column(clock.utc_now())
    taken = await _told_at(work, {each.job_id for each in commands}, now)
    rows: list[dict[str, Any]] = []
    clashing: list[Command] = []
    for each in commands:
        if (each.job_id, each.arguments) in taken:
            clashing.append(each)
            continue
        taken.add((each.job_id, each.arguments))
        rows.append(
            {
                "JobID": each.job_id,
                "Command": each.command,
                "Arguments": each.arguments,
                "ReceptionTime": now,
            }
        )
    check_values(JobCommands, rows)
    if rows:
        await work.change(JOB_DB, JobCommands.insert(), rows)
    return clashing


async def _told_at(work: UnitOfWork, job_ids: Iterable[int], moment: datetime) -> set[tuple[int, str]]:
    """The jobs, with the arguments, that a command was queued for in one second."""
    told: set[tuple[int, str]] = set()
    for chunk in chunks(sorted(job_ids)):
        rows = await work.rows(JOB_DB, _told(), {"ids": chunk, "moment": moment})
        told |= {(job_id, arguments) for job_id, arguments in rows}
    return told


@cache
def _told() -> Select[Any]:
    c = JobCommands.c
    return select(c.JobID, c.Arguments).where(
        c.JobID.in_(bindparam("ids", expanding=True)), c.ReceptionTime == bindparam("moment")
    )


async def deliver_commands(work: UnitOfWork, job_ids: Iterable[int]) -> list[Command]:
    """The commands that wait for jobs, oldest first; they count as sent from now on."""
    commands: list[Command] = []
    for chunk in chunks(sorted(job_ids)):
        waiting = await work.rows(JOB_DB, _waiting(), {"ids": chunk, "status": RECEIVED})
        # By their keys: a DIRAC service may have queued another one in the meantime.
        for some in chunks(waiting, _KEYS):
            keys = [(row.JobID, row.Arguments, row.ReceptionTime) for row in some]
            ids = sorted({row.JobID for row in some})
            await work.change(JOB_DB, _sending(), {"ids": ids, "keys": keys, "sent": SENT})
        commands += [Command(row.JobID, row.Command, row.Arguments) for row in waiting]
    return commands


# Three bound parameters each.
_KEYS = 3_000


@cache
def _waiting() -> Select[Any]:
    c = JobCommands.c
    return (
        select(c.JobID, c.Command, c.Arguments, c.ReceptionTime)
        .where(c.JobID.in_(bindparam("ids", expanding=True)), c.Status == bindparam("status"))
        .order_by(c.JobID, c.ReceptionTime, c.Arguments)
        .with_for_update()
    )


@cache
def _sending() -> Update:
    c = JobCommands.c
    key = tuple_(c.JobID, c.Arguments, c.ReceptionTime)
    return (
        JobCommands.update()
        .where(c.JobID.in_(bindparam("ids", expanding=True)), key.in_(bindparam("keys", expanding=True)))
        .values(Status=bindparam("sent"))
    )
