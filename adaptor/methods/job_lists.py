"""Lists and numbers of jobs over REST: JobMonitoring's, and WebApp's since DIRAC 9.

Differences of all methods, beside that which job_monitoring tells: a condition for jobs that have no value
(None) is none of REST's, nor are more than 10,000 groups: the native side answers then.
"""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation
from adaptor.jobs import counted, every_id, jobs_of, values_of
from adaptor.methods.job_monitoring import job_monitoring
from adaptor.methods.web_app import web_app
from shared_db.rules.clock import to_column, utc_now
from shared_db.rules.job_counts import (
    counted_attributes,
    counters,
    current_counters,
    distinct_values,
    of_last_day,
    site_summary,
    statistics,
)
from shared_db.rules.job_selections import Selectors, selection, selectors


@job_monitoring.adapts
def getJobs(attrDict: Any = None, cutDate: Any = None) -> Conversation:
    """`POST /api/jobs/ids/search`, or `POST /api/jobs/search`, one for every 10,000 jobs found.

    Differences: none; conditions on None are the native side's.
    """
    found = yield from every_id(selection(attrDict, newer=cutDate))
    return [str(job_id) for job_id in found]


@job_monitoring.adapts
def getCounters(attrList: list[Any], attrDict: Any = None, cutDate: Any = "") -> Conversation:
    """`POST /api/jobs/summary`; for PilotJobReference before it perhaps `POST /api/pilots/search` and perhaps
    `POST /api/pilots/jobs/search`.

    Differences: none; conditions on None, and more than 10,000 groups, are the native side's.
    """
    return (yield from _counters(attrList, attrDict, cutDate))


@web_app.adapts
def getJobsCounters(attrList: list[Any], attrDict: Any = None, cutDate: Any = "") -> Conversation:
    """`POST /api/jobs/summary`; for PilotJobReference before it perhaps `POST /api/pilots/search` and perhaps
    `POST /api/pilots/jobs/search`.

    Differences: none; conditions on None, and more than 10,000 groups, are the native side's.
    """
    return (yield from _counters(attrList, attrDict, cutDate))


def _counters(attributes: list[Any], selected: Any, since: Any) -> Conversation:
    meant, asked = selectors(selected), counted_attributes(attributes)
    jobs = yield from jobs_of(meant)
    wanted = Selectors(meant.conditions, newer=str(since)).comparisons(jobs)
    [counts] = yield from counted(tuple(dict.fromkeys(asked.values())), wanted)
    return counters(asked, counts)


@web_app.adapts
@job_monitoring.adapts
def getJobStats(attribute: str, selectDict: dict[Any, Any]) -> Conversation:
    """`POST /api/jobs/summary`; for PilotJobReference before it perhaps `POST /api/pilots/search` and perhaps
    `POST /api/pilots/jobs/search`.

    Differences: none; conditions on None, and more than 10,000 groups, are the native side's.
    """
    meant = selectors(selectDict)
    [column] = counted_attributes([attribute]).values()
    jobs = yield from jobs_of(meant)
    [counts] = yield from counted([column], meant.comparisons(jobs))
    return statistics(counts)


@job_monitoring.adapts
def getCurrentJobCounters(attrDict: Any = None) -> Conversation:
    """`POST /api/jobs/summary` twice; for PilotJobReference before it perhaps `POST /api/pilots/search` and
    perhaps `POST /api/pilots/jobs/search`.

    Differences: none; conditions on None are the native side's.
    """
    meant = selectors(attrDict)
    jobs = yield from jobs_of(meant)
    wanted = Selectors(meant.conditions).comparisons(jobs)
    of_all, of_day = yield from counted(["Status"], wanted, [*wanted, of_last_day(to_column(utc_now()))])
    return current_counters(of_all, of_day)


@job_monitoring.adapts
def getSiteSummary() -> Conversation:
    """`POST /api/jobs/summary`.  Differences: none."""
    [counts] = yield from counted(["Site", "Status"], [])
    return site_summary(counts)


@web_app.adapts
@job_monitoring.adapts
def getApplicationStates(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("ApplicationStatus", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getJobTypes(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("JobType", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getOwners(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("Owner", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getOwnerGroup() -> Conversation:
    """`POST /api/jobs/search`, for distinct values.  Differences: none."""
    return (yield from _distinct("OwnerGroup", None, None, None))


@job_monitoring.adapts
def getProductionIds(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("JobGroup", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getJobGroups(condDict: Any = None, older: Any = None, cutDate: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("JobGroup", condDict, older, cutDate))


@web_app.adapts
@job_monitoring.adapts
def getSites(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("Site", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getStates(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("Status", condDict, older, newer))


@web_app.adapts
@job_monitoring.adapts
def getMinorStates(condDict: Any = None, older: Any = None, newer: Any = None) -> Conversation:
    """`POST /api/jobs/search`, for distinct values.

    Differences: none; conditions on None are the native side's.
    """
    return (yield from _distinct("MinorStatus", condDict, older, newer))


def _distinct(column: str, conditions: Any, older: Any, newer: Any) -> Conversation:
    values = yield from values_of(column, selection(conditions, older=older, newer=newer))
    return distinct_values([((value,), 1) for value in values])
