"""Usage counters: what there is now, by status, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from shared_db.schema.job_db import JOB_DB, Jobs
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents


async def end(grid, hours: float) -> None:
    """Let job 3, which is Done, and pilots 2 and 5, which ended, have ended so many hours ago."""
    then = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None, microsecond=0)
    async with grid.databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, update(Jobs).where(Jobs.c.JobID == 3).values(LastUpdateTime=then))
        ended = PilotAgents.c.PilotID.in_([2, 5])
        await work.change(PILOT_AGENTS_DB, update(PilotAgents).where(ended).values(LastUpdateTime=then))


def numbers(said, *names: str) -> dict:
    """Counts by the values of columns."""
    assert said.status == 200
    return {tuple(row[name] for name in names): row["count"] for row in said.body}


GOING_ON = {("Matched",): 1, ("Received",): 1, ("Running",): 1, ("Stalled",): 1, ("Waiting",): 2}


@pytest.mark.parametrize(("hours", "done"), [(23, {("Done",): 1}), (25, {})])
async def test_jobs_that_ended_count_for_a_day(grid, hours, done) -> None:
    """What goes on is counted whole, however old; what ended for a day."""
    await end(grid, hours)
    said = await grid.http("GET", "/api/jobs/counters")
    assert numbers(said, "Status") == GOING_ON | done
    assert [row["Status"] for row in said.body] == sorted(row["Status"] for row in said.body)


@pytest.mark.parametrize(("hours", "ended"), [(23, {("Aborted", "demo"): 1, ("Done", "demo"): 1}), (25, {})])
async def test_pilots(grid, hours, ended) -> None:
    """The same of pilots, here by VO too."""
    await end(grid, hours)
    going_on = {("Running", "demo"): 2, ("Scheduled", "demo"): 1, ("Submitted", "other"): 1}
    said = await grid.http("GET", "/api/pilots/counters", query={"by": "VO"})
    assert numbers(said, "Status", "VO") == going_on | ended


async def test_by_owner_and_vo(grid) -> None:
    """Any of the columns, together; one that is named twice is one."""
    query = {"by": ["Owner", "VO", "Owner"]}
    said = await grid.call("GET", "/api/jobs/counters", query=query)
    assert numbers(said, "Owner", "VO", "Status") == {
        ("alice", "demo", "Running"): 1,
        ("alice", "demo", "Waiting"): 1,
        ("bob", "demo", "Waiting"): 1,
        ("carol", "demo", "Matched"): 1,
        ("dave", "demo", "Stalled"): 1,
        ("olga", "other", "Received"): 1,
    }


async def test_who_sees_what(make_grid) -> None:
    """A user who sees no jobs of others has those of the own counted, and pilots of the own VO."""
    hidden = {"Operations/Defaults/Services/JobMonitoring/GlobalJobsInfo": "False"}
    async with make_grid(settings=hidden) as grid:
        jobs = await grid.http("GET", "/api/jobs/counters", caller="bob")
        assert numbers(jobs, "Status") == {("Waiting",): 1}
        pilots = await grid.http("GET", "/api/pilots/counters", caller="olga")
        assert numbers(pilots, "Status") == {("Submitted",): 1}
