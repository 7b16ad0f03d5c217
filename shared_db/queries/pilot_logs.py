"""What pilots say of themselves: lines in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, DateTime, Delete, MetaData, Select, String, Table, Text, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.queries.values import chunks
from shared_db.rules.pilot_logs import Line
from shared_db.schema.types import BigId
from shared_db.schema.wherry_db import WHERRY_DB, pilot_logs

# The same table in the names that searches over REST have for its columns.
PilotLogs = Table(
    pilot_logs.name,
    MetaData(info={"database": WHERRY_DB}),
    Column("line_id", BigId, key="LineID", primary_key=True),
    Column("pilot_stamp", String(32), key="PilotStamp", nullable=False),
    Column("vo", String(64), key="VO", nullable=False),
    Column("said_at", DateTime, key="TimeStamp", nullable=False),
    Column("severity", String(16), key="Severity", nullable=False),
    Column("scope", String(64), key="Scope", nullable=False),
    Column("message", Text, key="Message", nullable=False),
)


async def add_lines(
    work: UnitOfWork, stamp: str, vo: str, lines: Sequence[Mapping[str, Any]], received: datetime
) -> None:
    """Keep lines of a pilot: ``said_at`` (aware), ``severity``, ``scope``, ``message``."""
    rows = [{"pilot_stamp": stamp, "vo": vo, "received_at": received, **line} for line in lines]
    if rows:
        await work.change(WHERRY_DB, pilot_logs.insert(), rows)


async def last_lines(work: UnitOfWork, stamp: str, vo: str | None, most: int) -> list[AnyRow]:
    """``(said_at, severity, scope, message)`` of a pilot's last lines, in the order in which they came.

    ``vo``: only those of this VO.
    """
    bound = {"stamp": stamp, "most": most} | ({} if vo is None else {"vo": vo})
    return (await work.rows(WHERRY_DB, _last(of_vo=vo is not None), bound))[::-1]


@cache
def _last(*, of_vo: bool) -> Select[Any]:
    c = pilot_logs.c
    statement = select(c.said_at, c.severity, c.scope, c.message).where(c.pilot_stamp == bindparam("stamp"))
    if of_vo:
        statement = statement.where(c.vo == bindparam("vo"))
    return statement.order_by(c.line_id.desc()).limit(bindparam("most"))


async def all_lines(work: UnitOfWork, stamp: str, vo: str | None = None) -> list[Line]:
    """All that a pilot said, in the order in which it came.  ``vo``: only the lines of this VO."""
    bound = {"stamp": stamp} | ({} if vo is None else {"vo": vo})
    rows = await work.rows(WHERRY_DB, _all(of_vo=vo is not None), bound)
    return [Line(row.said_at, row.message, row.severity, row.scope) for row in rows]


@cache
def _all(*, of_vo: bool) -> Select[Any]:
    c = pilot_logs.c
    statement = select(c.said_at, c.severity, c.scope, c.message).where(c.pilot_stamp == bindparam("stamp"))
    if of_vo:
        statement = statement.where(c.vo == bindparam("vo"))
    return statement.order_by(c.line_id)


async def remove_logs(work: UnitOfWork, stamps: Iterable[str]) -> int:
    """Forget all that pilots with these stamps said; returns how many lines."""
    removed = 0
    for chunk in chunks(sorted(stamps)):
        removed += await work.change(WHERRY_DB, _of_stamps(), {"stamps": chunk})
    return removed


@cache
def _of_stamps() -> Delete:
    return pilot_logs.delete().where(pilot_logs.c.pilot_stamp.in_(bindparam("stamps", expanding=True)))


async def purge_pilot_logs(work: UnitOfWork, before: datetime, most: int = 10_000) -> int:
    """Forget at most so many lines received before an aware time; returns how many: 0 when none is left."""
    rows = await work.rows(WHERRY_DB, _old(), {"before": before, "most": most})
    if not rows:
        return 0
    return await work.change(WHERRY_DB, _by_id(), {"ids": [row[0] for row in rows]})


@cache
def _old() -> Select[Any]:
    c = pilot_logs.c
    condition = c.received_at < bindparam("before")
    return select(c.line_id).where(condition).order_by(c.received_at).limit(bindparam("most"))


@cache
def _by_id() -> Delete:
    return pilot_logs.delete().where(pilot_logs.c.line_id.in_(bindparam("ids", expanding=True)))
