"""JobMonitoring over REST: what is kept of jobs besides their attributes.  Differences of all: see
job_monitoring.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from adaptor.conversation import Conversation, Request, RestFailure, Step
from adaptor.jobs import SEARCH, detailed
from adaptor.methods.job_monitoring import job_monitoring
from adaptor.values import legacy_time, where
from shared_db.rules.job_details import (
    cycle_of,
    files_shown,
    history_shown,
    ids_of,
    int_of,
    measurements_shown,
    names_of,
)

PARAMETERS = "/api/jobs/parameters/search"
ATTIC = "/api/jobs/attic-parameters/search"
HEARTBEATS = "/api/jobs/heartbeats/search"
INPUT_DATA = "/api/jobs/input-data/search"


@job_monitoring.adapts
def getJobJDL(jobID: int, original: bool) -> Conversation:
    """`GET /api/jobs/{job_id}/jdl`.

    Differences: where GlobalJobsInfo is False, REST shows somebody else's JDL to JobAdministrator, JobMonitor
    and GenericPilot only; the native side shows it to every known caller, as DIRAC does, and answers then.
    """
    query = {"original": "true"} if original else {}
    try:
        answer = yield Request("GET", f"/api/jobs/{int(jobID)}/jdl", None, query)
    except RestFailure as failure:
        if failure.status == 404:
            return ()
        raise
    return answer["JDL"]


@job_monitoring.adapts
def getJobLoggingInfo(jobID: int) -> Conversation:
    """`POST /api/jobs/search` for LoggingInfo.

    Differences: of a job that was removed, and whose history stayed, REST knows nothing.
    """
    body = {"parameters": ["LoggingInfo"], "search": [where("JobID", "eq", int(jobID))]}
    rows = yield Request("POST", SEARCH, body)
    records = [record for row in rows for record in row["LoggingInfo"]]
    return history_shown(
        jobID, [{**record, "StatusTime": legacy_time(record["StatusTime"])} for record in records]
    )


@job_monitoring.adapts
def getJobParameter(jobID: str | int, parName: str) -> Conversation:
    """`POST /api/jobs/parameters/search`.  Differences: none."""
    job_id = int_of(jobID)
    return (yield from _detail(PARAMETERS, job_id, names=names_of(parName))) or {}


@job_monitoring.adapts
def getJobParameters(jobIDs: str | int | list[Any], parName: Any = None) -> Conversation:
    """`POST /api/jobs/parameters/search`, one for every 1,000 ids.  Differences: none."""
    return (yield from detailed(PARAMETERS, _possible(ids_of(jobIDs)), names=names_of(parName)))


@job_monitoring.adapts
def getJobOptParameters(jobID: int) -> Conversation:
    """`POST /api/jobs/parameters/search`, of optimizers.  Differences: none."""
    return (yield from _detail(PARAMETERS, int(jobID), kind="optimizer")) or {}


@job_monitoring.adapts
def getAtticJobParameters(jobID: int, parameters: Any = None, rescheduleCycle: Any = -1) -> Conversation:
    """`POST /api/jobs/attic-parameters/search`.  Differences: none."""
    names, cycle = names_of(parameters), cycle_of(rescheduleCycle)
    if cycle is not None and not 0 <= cycle < 2**32:
        return {}
    found = yield from _detail(ATTIC, int(jobID), names=names, cycle=cycle)
    return {int(number): texts for number, texts in (found or {}).items()}


@job_monitoring.adapts
def getJobHeartBeatData(jobID: int) -> Conversation:
    """`POST /api/jobs/heartbeats/search`.  Differences: none."""
    found = yield from _detail(HEARTBEATS, int(jobID))
    return measurements_shown(
        (each["Name"], each["Value"], moment)
        for each in found or ()
        if (moment := legacy_time(each["HeartBeatTime"])) is not None
    )


@job_monitoring.adapts
def getInputData(jobID: int | list[Any]) -> Conversation:
    """`POST /api/jobs/input-data/search`, one for every 1,000 ids.  Differences: none."""
    wanted = ids_of(jobID)
    found = yield from detailed(INPUT_DATA, _possible(wanted))
    shown = {job_id: files_shown(found.get(job_id, ())) for job_id in wanted}
    return shown if isinstance(jobID, list) else shown[wanted[0]]


def _detail(path: str, job_id: int, **more: Any) -> Generator[Step, Any, Any]:
    """What a search for details tells of one job; None if nothing."""
    return (yield from detailed(path, _possible([job_id]), **more)).get(job_id)


def _possible(job_ids: list[int]) -> list[int]:
    """Those of the ids that a job can have: others would spoil the request."""
    return [job_id for job_id in job_ids if 0 <= job_id < 2**32]
