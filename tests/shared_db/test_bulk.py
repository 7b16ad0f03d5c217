"""Nothing costs more with every job stored: changes find rows by their key, summaries have a bound."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from shared_db.connection import Databases
from shared_db.errors import InvalidQuery
from shared_db.queries import search
from shared_db.queries.bulk import as_rows, update_each
from shared_db.queries.jobs import update_jobs
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs

JOBS = 2000


@pytest.mark.parametrize("many", [1, 500])
async def test_updates_use_the_key(
    databases: Databases, engine: str, statements: list[tuple[str, Any]], many: int
) -> None:
    """The database's own plan; of PostgreSQL, which nobody has told of these rows, the hardest."""
    await add_jobs(databases)
    statements.clear()
    async with databases.unit_of_work(write=True) as work:
        await update_jobs(work, {job_id: {"MinorStatus": f"step {job_id}"} for job_id in range(3, many + 3)})
    [update] = [each for each in statements if each[0].startswith("UPDATE")]
    plan = await databases.sync_run(JOB_DB, partial(explained, statement=update))
    if engine == "postgresql":
        assert any('using "Jobs_pkey" on "Jobs"' in step["QUERY PLAN"] for step in plan), plan
    elif engine == "sqlite":
        assert any(step["detail"].startswith("SEARCH Jobs USING INTEGER PRIMARY KEY") for step in plan), plan
    else:
        assert [(step["type"], step["key"]) for step in plan if step["table"] == "Jobs"] == [
            ("eq_ref", "PRIMARY")
        ], plan


async def test_any_number_is_a_key(databases: Databases) -> None:
    """Rows are found by the largest key there is; those that are not there are left out."""
    largest = 2**31 - 1
    await add_jobs(databases, 1, 2, largest)
    async with databases.unit_of_work(write=True) as work:
        rows = [{"JobID": each, "MinorStatus": f"of {each}"} for each in (0, 1, largest, 2**63 - 1)]
        await work.change(JOB_DB, update_each(Jobs, ("JobID",), ("MinorStatus",)), as_rows(rows))
        found = await work.rows(JOB_DB, Jobs.select().order_by(Jobs.c.JobID))
    assert [row.MinorStatus for row in found] == ["of 1", "Unknown", f"of {largest}"]


async def add_jobs(databases: Databases, *job_ids: int) -> None:
    """Jobs with these numbers, or JOBS of them."""
    ids = [{"JobID": each} for each in job_ids or range(1, JOBS + 1)]
    texts = {"JDL": "", "JobRequirements": "", "OriginalJDL": ""}
    async with databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, JobJDLs.insert(), [{**each, **texts} for each in ids])
        await work.change(JOB_DB, Jobs.insert(), ids)


def explained(connection: Connection, statement: tuple[str, Any]) -> list[Any]:
    """The plan of a statement as it was sent."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return list(connection.exec_driver_sql(f"{explain} {statement[0]}", statement[1]).mappings())


async def test_a_summary_by_job_is_refused(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many groups as jobs would be an answer that grows with every job stored."""
    monkeypatch.setattr(search, "MOST_GROUPS", 3)
    await add_jobs(databases, 1, 2, 3)
    async with databases.unit_of_work() as work:
        assert len(await search.summarise(work, Jobs, ["JobID"], [])) == 3
    await add_jobs(databases, 4)
    async with databases.unit_of_work() as work:
        with pytest.raises(InvalidQuery, match="more than 3 groups: group by fewer columns"):
            await search.summarise(work, Jobs, ["JobID"], [])
        assert await search.summarise(work, Jobs, ["Owner"], []) == [{"Owner": "Unknown", "count": 4}]
