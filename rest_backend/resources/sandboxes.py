"""Sandboxes: archives of files that go into jobs and come out of them (rest-diracx.md, 6.5).

The files do not pass through here: clients get signed URLs of the sandbox store.
"""

from __future__ import annotations

from rest_backend.errors import RestError
from rest_backend.models.jobs import JobIds, OneJob
from rest_backend.models.sandboxes import (
    JobSandboxType,
    SandboxDownloadResponse,
    SandboxInfo,
    SandboxPfn,
    SandboxQuery,
    SandboxUploadResponse,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import MANAGE_JOBS
from rest_backend.policies.sandboxes import (
    CREATE_SANDBOXES,
    READ_JOB_SANDBOXES,
    READ_SANDBOXES,
    owner_of,
)
from rest_backend.sandbox_store.store import Upload
from shared_db.connection import again
from shared_db.errors import Conflict
from shared_db.queries.sandbox_jobs import (
    SandboxAlreadyAssigned,
    SandboxNotFound,
    assign_sandbox,
    sandboxes_of_job,
    unassign_sandboxes,
)
from shared_db.queries.sandboxes import register_sandbox, touch_sandbox
from shared_db.rules.sandboxes import INPUT, OUTPUT, Location, name_of, rest_name


async def initiate_upload(context: Context, info: SandboxInfo, _parameters: None) -> Answer:
    """Register a sandbox, and give the signed form with which to upload it.

    There is neither URL nor field where the sandbox is stored already.
    """
    settings, store = context.resources.settings.sandboxes, context.resources.sandbox_store
    if info.size > settings.largest:
        raise RestError(400, f"Sandbox too large, maximum allowed is {settings.largest} bytes")
    name = rest_name(store.bucket, owner_of(context.caller), info.checksum, info.format)
    at = Location(settings.storage_element, name)
    try:
        assigned = await _registered(context, at, info.size)
    except Conflict:  # somebody registered it in this moment; now it is there
        assigned = await _registered(context, at, info.size)
    # A sandbox is registered before it is uploaded: only one that a job has is known to be there.
    if assigned or (assigned is not None and await store.holds(name)):
        return Answer(SandboxUploadResponse(pfn=str(at)))
    upload = Upload(name, info.checksum.lower(), info.size)
    form = await store.upload_form(upload, context.request.base_url)
    return Answer(SandboxUploadResponse(pfn=str(at), url=form.url, fields=dict(form.fields)))


async def _registered(context: Context, at: Location, size: int) -> bool | None:
    """As ``register_sandbox``, in a unit of work of its own: none is open while the store is asked."""

    async def attempt() -> bool | None:
        async with context.resources.databases.unit_of_work(write=True) as work:
            return await register_sandbox(work, owner_of(context.caller), at, size)

    return await again(attempt)


async def sandbox_file(context: Context, _body: None, query: SandboxQuery) -> Answer:
    """A signed URL from which to fetch a sandbox; whether it was uploaded shows there.

    The URL takes no token, and clients should send none.
    """
    settings, store = context.resources.settings.sandboxes, context.resources.sandbox_store
    at = Location(settings.storage_element, name_of(query.pfn))

    async def touched() -> bool:
        async with context.resources.databases.unit_of_work(write=True) as work:
            return await touch_sandbox(work, at)

    if not await again(touched):
        raise RestError(404, "Sandbox not found")
    url = await store.download_url(at.name, context.request.base_url)
    return Answer(SandboxDownloadResponse(url=url, expires_in=settings.url_seconds))


async def job_sandboxes(context: Context, _body: None, job: OneJob) -> Answer:
    """The names of a job's sandboxes, those that went in and those that came out."""
    of_job = await sandboxes_of_job(context.work, job.job_id)
    return Answer({kind: [at.name for each, at in of_job if each == kind] for kind in (INPUT, OUTPUT)})


async def job_sandbox(context: Context, _body: None, wanted: JobSandboxType) -> Answer:
    """The names of the sandboxes that went into a job, or came out of it."""
    of_job = await sandboxes_of_job(context.work, wanted.job_id)
    return Answer([at.name for kind, at in of_job if kind.lower() == wanted.sandbox_type])


async def assign_output(context: Context, pfn: str, job: OneJob) -> Answer:
    """Give a job a sandbox that came out of it; the body is the sandbox's name or location."""
    at = Location(context.resources.settings.sandboxes.storage_element, name_of(pfn))
    try:
        await assign_sandbox(context.work, job.job_id, at, OUTPUT)
    except SandboxNotFound as error:
        raise RestError(400, "Sandbox not found") from error
    except (SandboxAlreadyAssigned, Conflict) as error:
        raise RestError(400, "Sandbox already assigned") from error
    return Answer()


async def unassign_job(context: Context, _body: None, job: OneJob) -> Answer:
    """Take all sandboxes from a job."""
    await unassign_sandboxes(context.work, [job.job_id])
    return Answer()


async def unassign_jobs(context: Context, jobs: JobIds, _parameters: None) -> Answer:
    """Take all sandboxes from some jobs."""
    await unassign_sandboxes(context.work, jobs.job_ids)
    return Answer(None, 204)


_OF_JOB = "/api/jobs/{job_id}/sandbox"

OPERATIONS = (
    Operation(
        "jobs_initiate_sandbox_upload",
        "POST",
        "/api/jobs/sandbox",
        initiate_upload,
        CREATE_SANDBOXES,
        body=SandboxInfo,
        response=SandboxUploadResponse,
        writes=True,
        transactional=False,
    ),
    Operation(
        "jobs_get_sandbox_file",
        "GET",
        "/api/jobs/sandbox",
        sandbox_file,
        READ_SANDBOXES,
        parameters=SandboxQuery,
        response=SandboxDownloadResponse,
        # That it was asked for is noted in a unit of its own; a client changes nothing.
        transactional=False,
        errors=(404,),
    ),
    Operation(
        "jobs_get_job_sandboxes",
        "GET",
        _OF_JOB,
        job_sandboxes,
        READ_JOB_SANDBOXES,
        parameters=OneJob,
        response=dict[str, list[str]],
    ),
    Operation(
        "jobs_unassign_job_sandboxes",
        "DELETE",
        _OF_JOB,
        unassign_job,
        MANAGE_JOBS,
        parameters=OneJob,
        writes=True,
    ),
    Operation(
        "jobs_assign_sandbox_to_job",
        "PATCH",
        f"{_OF_JOB}/output",
        assign_output,
        MANAGE_JOBS,
        body=SandboxPfn,
        parameters=OneJob,
        writes=True,
    ),
    Operation(
        "jobs_get_job_sandbox",
        "GET",
        f"{_OF_JOB}/{{sandbox_type}}",
        job_sandbox,
        READ_JOB_SANDBOXES,
        parameters=JobSandboxType,
        response=list[str],
    ),
    Operation(
        "jobs_unassign_bulk_jobs_sandboxes",
        "POST",
        "/api/jobs/sandbox/unassign",
        unassign_jobs,
        MANAGE_JOBS,
        body=JobIds,
        statuses=(204,),
        writes=True,
    ),
)
