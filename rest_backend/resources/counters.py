"""Usage as it is now: who has how many jobs and pilots in which status.

DIRAC's current counters: statuses in which nothing ends any more are counted whole, those in which something
ended as far as it did so within a day.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Table

from rest_backend.models.counters import JobCounters, PilotCounters
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import QUERY_JOBS, sees_all_jobs
from rest_backend.policies.pilots import READ_PILOTS, sees_all_pilots
from shared_db.queries.conditions import Condition
from shared_db.queries.search import summarise
from shared_db.rules import pilots
from shared_db.rules.clock import utc_now
from shared_db.rules.job_counts import ENDED
from shared_db.schema.job_db import Jobs
from shared_db.schema.pilot_agents_db import PilotAgents

RECENT = timedelta(days=1)


async def count_jobs(context: Context, _body: None, wanted: JobCounters) -> Answer:
    """How many jobs are in each status now; of those that ended, the last day's.

    ``by``: for each owner, group, VO, site or type besides.
    """
    own = [] if sees_all_jobs(context) else [Condition("Owner", "eq", context.caller.username)]
    return await _counted(context, Jobs, wanted.by, ENDED, own)


async def count_pilots(context: Context, _body: None, wanted: PilotCounters) -> Answer:
    """How many pilots are in each status now; of those that ended, the last day's.

    ``by``: for each VO, grid site, grid type, computing element or queue besides.
    """
    own = [] if sees_all_pilots(context.caller) else [Condition("VO", "eq", context.caller.vo)]
    return await _counted(context, PilotAgents, wanted.by, pilots.FINAL_STATES, own)


async def _counted(
    context: Context, table: Table, by: Sequence[str], ended: Collection[str], own: Sequence[Condition]
) -> Answer:
    """Two counts of disjoint rows, in order of their columns."""
    columns = ["Status", *dict.fromkeys(by)]
    since = f"{utc_now() - RECENT:%Y-%m-%dT%H:%M:%SZ}"
    final = Condition("Status", "in", sorted(ended))
    going_on = Condition("Status", "not in", sorted(ended))
    rows = [
        *await summarise(context.work, table, columns, [*own, going_on]),
        *await summarise(
            context.work, table, columns, [*own, final, Condition("LastUpdateTime", "gt", since)]
        ),
    ]
    return Answer(sorted(rows, key=lambda row: [str(row[name]) for name in columns]))


def _operation(what: str, handler: Any, policy: Any, parameters: Any) -> Operation:
    return Operation(
        f"{what}_get_counters",
        "GET",
        f"/api/{what}/counters",
        handler,
        policy,
        parameters=parameters,
        response=list[dict[str, Any]],
        extension=True,
    )


OPERATIONS = (
    _operation("jobs", count_jobs, QUERY_JOBS, JobCounters),
    _operation("pilots", count_pilots, READ_PILOTS, PilotCounters),
)
