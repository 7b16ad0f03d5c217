"""More about jobs than their attributes: JDL, parameters, measurements, input data.

What is asked about many jobs is answered for those that have something to tell; of jobs that the caller may
not see, and of those that do not exist, there is nothing.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Collection

from rest_backend.errors import RestError
from rest_backend.models.job_details import (
    AtticParameters,
    AtticSearch,
    DetailedJobs,
    InputData,
    JdlQuery,
    JobJdl,
    Measurement,
    Measurements,
    ParameterKind,
    Parameters,
    ParameterSearch,
)
from rest_backend.models.jobs import OneJob
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import QUERY_JOBS, READ_JDL, sees_all_jobs
from shared_db.queries.heartbeats import heartbeat_data
from shared_db.queries.jdls import current_jdls, original_jdls
from shared_db.queries.jobs import job_attributes
from shared_db.queries.parameters import attic_parameters, input_data, job_parameters, optimizer_parameters
from shared_db.rules.jdl.storage import extracted


async def get_jdl(context: Context, _body: None, query: JdlQuery) -> Answer:
    """The JDL of a job: the current one, which DIRAC has completed, or the one that was submitted."""
    read = original_jdls if query.original else current_jdls
    stored = await read(context.work, [query.job_id])
    if query.job_id not in stored:
        raise _not_found(query.job_id)
    # A long one takes its time, in which other callers are served.
    text = await to_thread(extracted, stored[query.job_id])
    return Answer(JobJdl(JobID=query.job_id, JDL=text))


async def search_parameters(context: Context, body: ParameterSearch, _parameters: None) -> Answer:
    """The parameters of jobs by name, as texts."""
    read = optimizer_parameters if body.kind is ParameterKind.OPTIMIZER else job_parameters
    return Answer(await read(context.work, await _visible(context, body.job_ids), body.names))


async def get_parameters(context: Context, _body: None, query: OneJob) -> Answer:
    """The parameters of a job by name, as texts."""
    await _require_visible(context, query.job_id)
    found = await job_parameters(context.work, [query.job_id])
    return Answer(found.get(query.job_id, {}))


async def search_attic(context: Context, body: AtticSearch, _parameters: None) -> Answer:
    """What the parameters of jobs were before they were rescheduled, by reschedule cycle."""
    found = await attic_parameters(
        context.work, await _visible(context, body.job_ids), body.names, body.cycle
    )
    return Answer(found)


async def search_heartbeats(context: Context, body: DetailedJobs, _parameters: None) -> Answer:
    """What jobs measured at intervals, oldest first."""
    return Answer(await _measurements(context, await _visible(context, body.job_ids)))


async def get_heartbeats(context: Context, _body: None, query: OneJob) -> Answer:
    """What a job measured at intervals, oldest first."""
    await _require_visible(context, query.job_id)
    found = await _measurements(context, [query.job_id])
    return Answer(found.get(query.job_id, []))


async def _measurements(context: Context, job_ids: Collection[int]) -> dict[int, list[dict[str, object]]]:
    data = await heartbeat_data(context.work, job_ids)
    return {
        job_id: [{"Name": name, "Value": value, "HeartBeatTime": moment} for name, value, moment in rows]
        for job_id, rows in data.items()
    }


async def search_input_data(context: Context, body: DetailedJobs, _parameters: None) -> Answer:
    """The input files of jobs, as their JDL names them."""
    return Answer(await input_data(context.work, await _visible(context, body.job_ids)))


async def get_input_data(context: Context, _body: None, query: OneJob) -> Answer:
    """The input files of a job, as its JDL names them."""
    await _require_visible(context, query.job_id)
    found = await input_data(context.work, [query.job_id])
    return Answer(found.get(query.job_id, []))


async def _visible(context: Context, job_ids: Collection[int]) -> Collection[int]:
    """Those of the jobs that the caller may see; some of them may not exist."""
    if sees_all_jobs(context):
        return job_ids
    rows = await job_attributes(context.work, job_ids, ["Owner"])
    return [row.JobID for row in rows if row.Owner == context.caller.username]


async def _require_visible(context: Context, job_id: int) -> None:
    if not await job_attributes(context.work, await _visible(context, [job_id]), []):
        raise _not_found(job_id)


def _not_found(job_id: int) -> RestError:
    return RestError(404, f"Job {job_id} not found")


OPERATIONS = (
    Operation(
        "jobs_get_jdl",
        "GET",
        "/api/jobs/{job_id}/jdl",
        get_jdl,
        READ_JDL,
        parameters=JdlQuery,
        response=JobJdl,
        extension=True,
    ),
    Operation(
        "jobs_get_parameters",
        "GET",
        "/api/jobs/{job_id}/parameters",
        get_parameters,
        QUERY_JOBS,
        parameters=OneJob,
        response=dict[str, str],
        extension=True,
    ),
    Operation(
        "jobs_get_heartbeats",
        "GET",
        "/api/jobs/{job_id}/heartbeats",
        get_heartbeats,
        QUERY_JOBS,
        parameters=OneJob,
        response=list[Measurement],
        extension=True,
    ),
    Operation(
        "jobs_get_input_data",
        "GET",
        "/api/jobs/{job_id}/input-data",
        get_input_data,
        QUERY_JOBS,
        parameters=OneJob,
        response=list[str],
        extension=True,
    ),
    Operation(
        "jobs_search_parameters",
        "POST",
        "/api/jobs/parameters/search",
        search_parameters,
        QUERY_JOBS,
        body=ParameterSearch,
        response=Parameters,
        extension=True,
    ),
    Operation(
        "jobs_search_attic_parameters",
        "POST",
        "/api/jobs/attic-parameters/search",
        search_attic,
        QUERY_JOBS,
        body=AtticSearch,
        response=AtticParameters,
        extension=True,
    ),
    Operation(
        "jobs_search_heartbeats",
        "POST",
        "/api/jobs/heartbeats/search",
        search_heartbeats,
        QUERY_JOBS,
        body=DetailedJobs,
        response=Measurements,
        extension=True,
    ),
    Operation(
        "jobs_search_input_data",
        "POST",
        "/api/jobs/input-data/search",
        search_input_data,
        QUERY_JOBS,
        body=DetailedJobs,
        response=InputData,
        extension=True,
    ),
)
