"""Jobs come: submission by JDL, confirmation, and what may be submitted (rest-diracx.md, 6.2)."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rest_backend.errors import RestError
from rest_backend.models.job_submission import ConfirmedJobs, InsertedJob, SubmissionLimits
from rest_backend.models.jobs import SomeJobIds
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.jobs import CREATE_JOBS, OWN_JOBS, QUERY_JOBS
from shared_db.queries.descriptions import description_policy, submitter_of
from shared_db.queries.optimisation import optimise
from shared_db.queries.submission import confirm_jobs, submit_jobs
from shared_db.rules.jdl.description import JobDescription, describe
from shared_db.rules.jdl.parametric import TooManyJobs, expand
from shared_db.rules.jdl.policy import DIRACX_0_7, DescriptionPolicy, Submitter
from shared_db.rules.refusals import Refusal
from shared_db.rules.site import site_jobs
from shared_db.rules.submission import ACCEPTED, UNCONFIRMED, InitialState

SYNTAX_ERROR = DIRACX_0_7.refusal
PARAMETRIC_IN_BULK = "You cannot submit parametric jobs in a bulk fashion"
TOO_MANY = "Normal user cannot submit more than {most} jobs at once"


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked to be submitted: the jobs, and the state in which they come."""

    jobs: Sequence[JobDescription]
    state: InitialState


async def submit_jdl_jobs(context: Context, definitions: Sequence[str], _parameters: None) -> Answer:
    """Submit jobs by JDL: one, several, or a parametric one, which is expanded.

    Members of a parametric job wait for their confirmation.  Others are Received, which is answered, and
    where this server optimises they go on to Waiting at once.
    """
    caller, resources = context.caller, context.resources
    cfg, registry = resources.cfg(), resources.registry()
    policy = description_policy(context.work, cfg, registry, caller.vo)
    policy = replace(policy, validates=False, refuses_empty=True, refusal=SYNTAX_ERROR)
    owner = submitter_of(registry, caller.username, caller.group, caller.vo)
    most = _Most(resources.settings.jobs.most_per_submission, site_jobs(cfg, caller.vo).most_parametric)
    # Before the first statement, so that nobody waits for a transaction that reads a long text.
    order = await to_thread(_order, definitions, owner, policy, most)
    submitted = await submit_jobs(context.work, order.jobs, state=order.state)
    if order.state is ACCEPTED:
        await optimised(context, submitted.job_ids)
    answers = [
        InsertedJob(
            JobID=job_id,
            Status=order.state.status,
            MinorStatus=order.state.minor_status,
            TimeStamp=submitted.moment,
        )
        for job_id in submitted.job_ids
    ]
    return Answer(answers, 201)


@dataclass(frozen=True, slots=True)
class _Most:
    """How many jobs there may be at once: in a list, and as members of a parametric job."""

    listed: int
    members: int


def _order(definitions: Sequence[str], owner: Submitter, policy: DescriptionPolicy, most: _Most) -> _Order:
    """What the definitions ask for.  Raises RestError."""
    try:
        if not definitions:
            raise Refusal(SYNTAX_ERROR)
        if len(definitions) == 1:
            expansion = expand(definitions[0], most.members)
            jobs = [describe(each, owner, policy) for each in expansion.jobs]
            return _Order(jobs, UNCONFIRMED if expansion.parametric else ACCEPTED)
        if len(definitions) > most.listed:
            raise RestError(400, TOO_MANY.format(most=most.listed))
        return _Order([_single(each, owner, policy) for each in definitions], ACCEPTED)
    except TooManyJobs as error:
        raise RestError(400, TOO_MANY.format(most=most.members)) from error
    except Refusal as error:
        raise RestError(400, SYNTAX_ERROR) from error


def _single(definition: str, owner: Submitter, policy: DescriptionPolicy) -> JobDescription:
    try:
        expand(definition, 0)
    except TooManyJobs as error:
        raise RestError(400, PARAMETRIC_IN_BULK) from error
    return describe(definition, owner, policy)


async def optimised(context: Context, job_ids: Sequence[int]) -> None:
    """Have Received jobs go on to Waiting, unless DIRAC's own optimisers do that here."""
    if context.resources.settings.jobs.optimise and job_ids:
        await optimise(context.work, job_ids, context.resources.registry())


async def confirm(context: Context, body: SomeJobIds, _parameters: None) -> Answer:
    """Confirm the members of a parametric job, all at once, once their ids are known to who submitted them.

    To confirm jobs that are on their way already is no error.
    """
    try:
        moved = await confirm_jobs(context.work, body.job_ids)
    except Refusal as refusal:
        raise RestError(400, refusal.message) from refusal
    await optimised(context, moved)
    return Answer(ConfirmedJobs(confirmed=moved))


async def limits(context: Context, _body: None, _parameters: None) -> Answer:
    """What the caller may submit, and what is assumed where a job does not say."""
    site = site_jobs(context.resources.cfg(), context.caller.vo)
    jobs = site.description
    return Answer(
        SubmissionLimits(
            jobs_per_submission=context.resources.settings.jobs.most_per_submission,
            parametric_jobs=site.most_parametric,
            reschedulings=site.max_rescheduling,
            job_types=list(jobs.job_types),
            log_levels=list(jobs.log_levels),
            input_data=jobs.max_input_data,
            default_cpu_time=jobs.default_cpu_time,
            min_cpu_time=jobs.min_cpu_time,
            max_cpu_time=jobs.max_cpu_time,
            default_priority=jobs.default_priority,
            min_priority=jobs.min_priority,
            max_priority=jobs.max_priority,
            min_processors=jobs.min_processors,
            max_processors=jobs.max_processors,
            sites=None if jobs.sites is None else sorted(jobs.sites),
            platforms=None
            if jobs.platforms is None
            else {name: sorted(each) for name, each in jobs.platforms.items()},
        )
    )


OPERATIONS = (
    Operation(
        "jobs_submit_jdl_jobs",
        "POST",
        "/api/jobs/jdl",
        submit_jdl_jobs,
        CREATE_JOBS,
        body=list[str],
        response=list[InsertedJob],
        statuses=(201,),
        writes=True,
        creates=True,
    ),
    Operation(
        "jobs_confirm_jobs",
        "POST",
        "/api/jobs/confirm",
        confirm,
        OWN_JOBS,
        body=SomeJobIds,
        response=ConfirmedJobs,
        writes=True,
        extension=True,
    ),
    Operation(
        "jobs_get_limits",
        "GET",
        "/api/jobs/limits",
        limits,
        QUERY_JOBS,
        response=SubmissionLimits,
        extension=True,
    ),
)
