"""What a rehearsal tells of the rows that it would have changed, on every engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select

from shared_db.connection import Databases
from shared_db.queries.bulk import as_rows, update_each
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents
from shared_db.schema.wherry_db import WHERRY_DB, leases

MOMENT = datetime(2024, 3, 1, 12, tzinfo=UTC)
COLUMN_MOMENT = datetime(2024, 3, 1, 12)  # noqa: DTZ001 - as the column has it


async def add_pilots(databases: Databases, *stamps: str) -> list[int]:
    async with databases.unit_of_work(write=True) as work:
        rows = [{"PilotStamp": stamp, "PilotJobReference": stamp, "VO": "demo"} for stamp in stamps]
        return await work.insert_ids(PILOT_AGENTS_DB, PilotAgents, rows)


async def test_updates_tell_what_changed(databases: Databases) -> None:
    """In one statement for several rows; a row that has the value already is not told."""
    one, two, three = await add_pilots(databases, "one", "two", "three")
    statement = PilotAgents.update().where(PilotAgents.c.PilotID.in_(bindparam("ids", expanding=True)))
    async with databases.rehearsal() as outer:
        async with databases.unit_of_work(write=True) as work:
            await work.change(PILOT_AGENTS_DB, statement.values(Status="Done"), {"ids": [one, two]})
        async with databases.unit_of_work(write=True) as work:
            await work.change(PILOT_AGENTS_DB, statement.values(Status="Failed"), {"ids": [two]})
            await work.change(PILOT_AGENTS_DB, statement.values(GridType="LCG"), {"ids": [three]})
        effects = await outer.effects()
    told = {dict(effect.key)["PilotID"]: (effect.before, effect.after) for effect in effects}
    assert told == {
        one: ({"Status": "Unknown"}, {"Status": "Done"}),
        two: ({"Status": "Unknown"}, {"Status": "Failed"}),
    }


async def test_updates_with_a_value_for_each_row(databases: Databases) -> None:
    one, two = await add_pilots(databases, "one", "two")
    async with databases.rehearsal() as outer:
        async with databases.unit_of_work(write=True) as work:
            rows = [{"PilotID": one, "Status": "Done"}, {"PilotID": two, "Status": "Failed"}]
            statement = update_each(PilotAgents, ("PilotID",), ("Status",))
            await work.change(PILOT_AGENTS_DB, statement, as_rows(rows))
        effects = await outer.effects()
    assert {dict(each.key)["PilotID"]: each.after for each in effects} == {
        one: {"Status": "Done"},
        two: {"Status": "Failed"},
    }


async def test_removed_rows_and_tables_without_a_key(databases: Databases) -> None:
    pair = {"PilotID": 1, "JobID": 2, "StartTime": COLUMN_MOMENT}
    async with databases.unit_of_work(write=True) as work:
        await work.change(PILOT_AGENTS_DB, JobToPilotMapping.insert(), pair)
    async with databases.rehearsal() as outer:
        async with databases.unit_of_work(write=True) as work:
            await work.change(PILOT_AGENTS_DB, JobToPilotMapping.delete())
        [effect] = await outer.effects()
    assert (effect.table, effect.before, effect.after) == ("JobToPilotMapping", pair, None)
    assert dict(effect.key) == pair


async def test_added_rows(databases: Databases) -> None:
    """With the number that the database gave; and one that goes again is not told."""
    lease = {"name": "stalled", "holder": "a:1", "until": MOMENT}
    async with databases.rehearsal() as outer:
        async with databases.unit_of_work(write=True) as work:
            [pilot] = await work.insert_ids(
                PILOT_AGENTS_DB, PilotAgents, [{"PilotStamp": "new", "VO": "demo"}]
            )
            await work.change(WHERRY_DB, leases.insert(), lease)
        [first, second] = await outer.effects()
        assert (first.table, first.before, dict(first.key)) == ("PilotAgents", None, {"PilotID": pilot})
        assert (second.database, dict(second.key), second.after) == (WHERRY_DB, {"name": "stalled"}, lease)
        async with databases.unit_of_work(write=True) as work:
            await work.change(WHERRY_DB, leases.delete())
        assert [each.table for each in await outer.effects()] == ["PilotAgents"]


async def test_what_a_unit_took_back_is_not_told(databases: Databases) -> None:
    await add_pilots(databases, "one")
    statement: Any = PilotAgents.update().values(Status="Done")
    async with databases.rehearsal() as outer:
        try:
            async with databases.unit_of_work(write=True) as work:
                await work.change(PILOT_AGENTS_DB, statement)
                await work.insert_ids(PILOT_AGENTS_DB, PilotAgents, [{"PilotStamp": "new", "VO": "demo"}])
                raise LookupError
        except LookupError:
            pass
        assert await outer.effects() == []
    async with databases.unit_of_work() as work:
        assert len(await work.rows(PILOT_AGENTS_DB, select(PilotAgents.c.PilotID))) == 1
