"""Lists of jobs, numbers of jobs by attributes and distinct values: JobMonitoring's, and WebApp's since DIRAC
9.
"""

from __future__ import annotations

from typing import Any

from legacy_rpc.services.job_monitoring import job_monitoring
from legacy_rpc.services.older_jobs import (
    OLDER_CONDITIONS,
    OLDER_COUNTERS,
    OLDER_STATISTICS,
)
from legacy_rpc.services.table import Context
from legacy_rpc.services.web_app import web_app
from shared_db.connection import UnitOfWork
from shared_db.queries.job_selections import counts_by, distinct, selected_ids
from shared_db.queries.pilots import pilots_with_jobs
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.job_counts import (
    Count,
    counted_attributes,
    counters,
    current_counters,
    distinct_values,
    of_last_day,
    site_summary,
    statistics,
)
from shared_db.rules.job_selections import Selectors, selection, selectors
from shared_db.rules.pilot_selections import Comparison

Counters = list[tuple[dict[str, Any], int]]


@job_monitoring.method(older=OLDER_CONDITIONS)
async def getJobs(context: Context, attrDict: Any = None, cutDate: Any = None) -> list[str]:
    """The ids, as texts, of the jobs that meet all conditions and were updated at or after a time; ascending.

    A condition is ``{attribute: value}``, or a list of values; None is no value.  Error for an unknown one:
    number 1131 with MySQL's text.
    """
    wanted = selection(attrDict, newer=cutDate)
    async with context.databases.unit_of_work() as work:
        return [str(job_id) for job_id in await selected_ids(work, wanted)]


@job_monitoring.method(list, until="8.0", older=OLDER_COUNTERS)
async def getCounters(
    context: Context, attrList: list[Any], attrDict: Any = None, cutDate: Any = ""
) -> Counters:
    """``[({attribute: value, ...}, number), ...]`` in the order of the attributes' values.

    Conditions and time as in `getJobs`; FromDate, LastUpdate and ToDate are taken out of them and ignored.
    Errors: number 1131, for unknown attributes and for none.
    """
    return await _counters(context, attrList, attrDict, cutDate)


@web_app.method(list, since="9.0")
async def getJobsCounters(
    context: Context, attrList: list[Any], attrDict: Any = None, cutDate: Any = ""
) -> Counters:
    """``[({attribute: value, ...}, number), ...]``: JobMonitoring's `getCounters`, under the name it has
    since 9.
    """
    return await _counters(context, attrList, attrDict, cutDate)


async def _counters(context: Context, attributes: list[Any], selected: Any, since: Any) -> Counters:
    meant, asked = selectors(selected), counted_attributes(attributes)
    async with context.databases.unit_of_work() as work:
        wanted = Selectors(meant.conditions, newer=str(since)).comparisons(await jobs_of(work, meant))
        counts = await counts_by(work, tuple(dict.fromkeys(asked.values())), wanted)
    return counters(asked, counts)


async def jobs_of(work: UnitOfWork, meant: Selectors) -> list[int]:
    """The jobs that the pilots ran which are asked for; of pilots with one reference the youngest counts."""
    if not meant.pilots:
        return []
    found = await pilots_with_jobs(work, meant.pilots, ("PilotJobReference",))
    by_reference = {pilot["PilotJobReference"]: jobs for pilot, jobs in found}
    return sorted({job_id for jobs in by_reference.values() for job_id in jobs})


@web_app.method(str, dict, since="9.0")
@job_monitoring.method(str, dict, until="8.0", older=OLDER_STATISTICS)
async def getJobStats(context: Context, attribute: str, selectDict: dict[Any, Any]) -> dict[Any, int]:
    """``{value: number}`` of one attribute, of the jobs that a ``selectDict`` means (as in
    `getJobPageSummaryWeb`).
    """
    meant = selectors(selectDict)
    [column] = counted_attributes([attribute]).values()
    async with context.databases.unit_of_work() as work:
        counts = await counts_by(work, [column], meant.comparisons(await jobs_of(work, meant)))
    return statistics(counts)


@job_monitoring.method(until="7.3", older=OLDER_CONDITIONS)
async def getCurrentJobCounters(context: Context, attrDict: Any = None) -> dict[str, int]:
    """``{status: number}``; of Done, Completed, Failed, Killed and Deleted those updated within the last day.

    DIRAC 7.3 looks for the number of the last day in one place only, and gives 0 for most.
    """
    meant = selectors(attrDict)
    recent = of_last_day(to_column(utc_now()))
    async with context.databases.unit_of_work() as work:
        wanted = Selectors(meant.conditions).comparisons(await jobs_of(work, meant))
        of_all = await counts_by(work, ["Status"], wanted)
        of_day = await counts_by(work, ["Status"], [*wanted, recent])
    return current_counters(of_all, of_day)


@job_monitoring.method(until="8.0")
async def getSiteSummary(context: Context) -> dict[str, dict[str, int]]:
    """``{site: {"Waiting", "Running", "Stalled", "Done", "Failed"}}``, and ``Total``; Matched counts as
    Waiting.
    """
    async with context.databases.unit_of_work() as work:
        return site_summary(await counts_by(work, ["Site", "Status"], []))


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getApplicationStates(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of ApplicationStatus, of jobs that meet conditions; ``older`` is not included."""
    return await _distinct(context, "ApplicationStatus", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getJobTypes(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of JobType, as `getApplicationStates`."""
    return await _distinct(context, "JobType", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getOwners(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of Owner, as `getApplicationStates`."""
    return await _distinct(context, "Owner", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0")
async def getOwnerGroup(context: Context) -> list[Any]:
    """The distinct values of OwnerGroup."""
    return await _distinct(context, "OwnerGroup", None, None, None)


@job_monitoring.method(until="7.3", older=OLDER_CONDITIONS)
async def getProductionIds(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of JobGroup, as `getApplicationStates`."""
    return await _distinct(context, "JobGroup", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getJobGroups(
    context: Context, condDict: Any = None, older: Any = None, cutDate: Any = None
) -> list[Any]:
    """The distinct values of JobGroup, as `getApplicationStates`."""
    return await _distinct(context, "JobGroup", condDict, older, cutDate)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getSites(context: Context, condDict: Any = None, older: Any = None, newer: Any = None) -> list[Any]:
    """The distinct values of Site, as `getApplicationStates`."""
    return await _distinct(context, "Site", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getStates(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of Status, as `getApplicationStates`."""
    return await _distinct(context, "Status", condDict, older, newer)


@web_app.method(since="9.0")
@job_monitoring.method(until="8.0", older=OLDER_CONDITIONS)
async def getMinorStates(
    context: Context, condDict: Any = None, older: Any = None, newer: Any = None
) -> list[Any]:
    """The distinct values of MinorStatus, as `getApplicationStates`."""
    return await _distinct(context, "MinorStatus", condDict, older, newer)


async def _distinct(context: Context, column: str, conditions: Any, older: Any, newer: Any) -> list[Any]:
    wanted: list[Comparison] = selection(conditions, older=older, newer=newer)
    async with context.databases.unit_of_work() as work:
        found: list[Count] = [((value,), 1) for value in await distinct(work, column, wanted)]
    return distinct_values(found)
