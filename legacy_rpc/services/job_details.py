"""JobMonitoring: what is kept of jobs besides their attributes."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any

from legacy_rpc.services.job_monitoring import job_monitoring
from legacy_rpc.services.table import Context
from shared_db.queries.heartbeats import heartbeat_data
from shared_db.queries.jdls import current_jdls, original_jdls
from shared_db.queries.parameters import attic_parameters, input_data, job_parameters, optimizer_parameters
from shared_db.queries.statuses import logging_by_job
from shared_db.rules.jdl.storage import extracted
from shared_db.rules.job_details import (
    cycle_of,
    files_shown,
    history_shown,
    ids_of,
    int_of,
    measurements_shown,
    names_of,
)

Parameters = dict[str, str]


@job_monitoring.method(int, bool)
async def getJobJDL(context: Context, jobID: int, original: bool) -> str | tuple[()]:
    """The JDL of a job: as it was submitted, or as DIRAC has completed it; ``()`` for a job that does not
    exist.

    Every known caller may read every JDL, as in DIRAC.
    """
    read = original_jdls if original else current_jdls
    async with context.databases.unit_of_work() as work:
        stored = (await read(work, [int(jobID)])).get(jobID)
    # A long one takes its time, in which other callers are served.
    return () if stored is None else await to_thread(extracted, stored)


@job_monitoring.method(int)
async def getJobLoggingInfo(context: Context, jobID: int) -> list[tuple[str, str, str, str, str]]:
    """``[(Status, MinorStatus, ApplicationStatus, StatusTime, Source)]``, oldest first; the time is a text,
    in UTC.

    Error for a job without any: ``No Logging information for job N``.
    """
    async with context.databases.unit_of_work() as work:
        found = await logging_by_job(work, [int(jobID)])
    return history_shown(jobID, found.get(jobID, []))


@job_monitoring.method([str, int], str)
async def getJobParameter(context: Context, jobID: str | int, parName: str) -> Parameters:
    """``{name: value}`` of one parameter of a job, ``{}`` if it has none of the name.  Values are texts."""
    job_id, names = int_of(jobID), names_of(parName)
    async with context.databases.unit_of_work() as work:
        return (await job_parameters(work, [job_id], names)).get(job_id, {})


@job_monitoring.method([str, int, list])
async def getJobParameters(
    context: Context, jobIDs: str | int | list[Any], parName: Any = None
) -> dict[int, Parameters]:
    """``{id: {name: value}}`` of those jobs that have parameters: all, one, or those in a list.

    Values are texts, as before DIRAC 9; the keys ``JobID`` and ``timestamp`` of 9's documents are not among
    them.
    """
    wanted, names = ids_of(jobIDs), names_of(parName)
    async with context.databases.unit_of_work() as work:
        return await job_parameters(work, wanted, names)


@job_monitoring.method(int, until="8.0")
async def getJobOptParameters(context: Context, jobID: int) -> Parameters:
    """``{name: value}`` of what the optimizers have noted of a job."""
    async with context.databases.unit_of_work() as work:
        return (await optimizer_parameters(work, [int(jobID)])).get(jobID, {})


@job_monitoring.method(int, until="8.0")
async def getAtticJobParameters(
    context: Context, jobID: int, parameters: Any = None, rescheduleCycle: Any = -1
) -> dict[int, Parameters]:
    """``{cycle: {name: value}}``: what a job's parameters were before it was rescheduled; -1 means every
    cycle.
    """
    names, cycle = names_of(parameters), cycle_of(rescheduleCycle)
    async with context.databases.unit_of_work() as work:
        return (await attic_parameters(work, [int(jobID)], names, cycle)).get(jobID, {})


@job_monitoring.method(int)
async def getJobHeartBeatData(context: Context, jobID: int) -> list[tuple[str, str, str]]:
    """``[(name, value, time)]`` of what a job measured, by name and time: values with one decimal, times in
    UTC.

    A value that is no number is shown as it is; DIRAC fails then.
    """
    async with context.databases.unit_of_work() as work:
        found = await heartbeat_data(work, [int(jobID)])
    return measurements_shown(found.get(jobID, []))


@job_monitoring.method((int, list))
async def getInputData(context: Context, jobID: int | list[Any]) -> list[str] | dict[int, list[str]]:
    """The input files of a job, without ``LFN:``; of a list of jobs ``{id: [file]}``, of every id in it."""
    several = isinstance(jobID, list)
    wanted = ids_of(jobID)
    async with context.databases.unit_of_work() as work:
        found = await input_data(work, wanted)
    shown = {job_id: files_shown(found.get(job_id, ())) for job_id in wanted}
    return shown if several else shown[wanted[0]]
