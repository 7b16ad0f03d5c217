"""Standard output and error of pilots: PilotOutput."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from shared_db.connection import UnitOfWork
from shared_db.engines.base import AnyRow
from shared_db.errors import Conflict
from shared_db.queries.search import find_by_ids
from shared_db.rules.pilots import read_output
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents, PilotOutput


async def store_output(work: UnitOfWork, pilot_id: int, output: str, error: str) -> None:
    """Keep what a pilot wrote.  Raises Conflict when that was kept already."""
    if await find_by_ids(work, [PilotOutput.c.PilotID], PilotOutput.c.PilotID, [pilot_id]):
        raise Conflict("The output of this pilot is stored already.")
    row = {"PilotID": pilot_id, "StdOutput": output, "StdError": error}
    await work.change(PILOT_AGENTS_DB, PilotOutput.insert(), row)


async def outputs_of(work: UnitOfWork, pilot_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """``{PilotID: (output, error)}`` of the pilots that have one."""
    c = PilotOutput.c
    rows = await find_by_ids(work, [c.PilotID, c.StdOutput, c.StdError], c.PilotID, pilot_ids)
    return {pilot_id: (read_output(output), read_output(error)) for pilot_id, output, error in rows}


async def pilots_by(work: UnitOfWork, column: str, value: Any) -> list[AnyRow]:
    """``PilotID, PilotJobReference, PilotStamp, VO, GridType`` of pilots, by ascending PilotID."""
    found = await work.rows(PILOT_AGENTS_DB, _pilots(column), {"values": value})
    return list(found)


@cache
def _pilots(column: str) -> Select[Any]:
    c = PilotAgents.c
    return (
        select(c.PilotID, c.PilotJobReference, c.PilotStamp, c.VO, c.GridType)
        .where(c[column].in_(bindparam("values", expanding=True)))
        .order_by(c.PilotID)
    )
