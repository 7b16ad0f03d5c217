"""Matching: pilots ask for jobs (legacy-methods.md, section 6)."""

from __future__ import annotations

from rest_backend.errors import RestError
from rest_backend.models.matching import JobRequest, MatchedJob, QueueDescription, ResourceDescription
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.task_queues import LOOK_FOR_JOBS, REQUEST_JOBS
from rest_backend.resources.task_queues import described
from shared_db.queries.match_requests import Pilot, as_far_as_the_site_may, request_job
from shared_db.queries.matching import excluded_at, matching_queues
from shared_db.queries.task_queues import task_queues
from shared_db.rules.matching import (
    Offer,
    Wanted,
    WrongVersion,
    accepted,
    check_version,
    offered_tags,
    restriction,
    site_limits,
)


async def match(context: Context, body: JobRequest, _parameters: None) -> Answer:
    """Get a waiting job for a pilot; it is Matched then, and nobody else gets it.

    204 where there is none for it, which is the usual case.
    """
    caller = context.caller
    resources = context.resources
    try:
        check_version(resources.cfg(), caller.vo, body.release_version, body.release_project, needed=False)
    except WrongVersion as error:
        raise RestError(409, str(error)) from error
    pilot = Pilot(
        reference=body.pilot_reference,
        stamp=caller.pilot_stamp or body.pilot_stamp,
        vo=caller.vo,
        ce=body.ce,
        queue=body.queue,
        benchmark=body.pilot_benchmark,
        reported=body.pilot_reported,
    )
    offer = _offer(context, body, body.job_id)
    found = await request_job(resources.databases, offer, pilot, caller.vo, resources.cfg())
    if found is None:
        return Answer(None, 204)
    return Answer(
        MatchedJob(
            JobID=found.job_id,
            JDL=found.jdl,
            Owner=found.owner,
            OwnerDN=next(iter(resources.registry().dns_of(found.owner)), ""),
            OwnerGroup=found.owner_group,
            VO=found.vo,
            parameters=dict(found.parameters),
        )
    )


def _offer(context: Context, body: ResourceDescription, job_id: int | None = None) -> Offer:
    caller = context.caller
    wanted = Wanted(tuple(body.owners) or None, tuple(body.owner_groups) or None)
    properties = ("GenericPilot",) if caller.pilot_stamp else caller.properties
    groups = context.resources.registry().groups_of_vo(caller.vo)
    allowed = restriction(properties, caller.username, caller.group, groups, wanted)
    return Offer(
        site=body.site,
        cpu_time=body.cpu_time,
        grid_ces=accepted([body.ce]),
        platforms=accepted(body.platforms),
        job_types=accepted(body.job_types),
        # A pilot that wants jobs with a tag has it.
        tags=offered_tags([*body.tags, *body.required_tags], body.processors, whole_node=body.whole_node),
        required_tags=tuple(dict.fromkeys(body.required_tags)),
        owners=allowed.owners,
        owner_groups=allowed.groups,
        max_ram=body.max_ram,
        job_id=job_id,
    )


async def search_matching(context: Context, body: ResourceDescription, _parameters: None) -> Answer:
    """The queues in which a pilot would find jobs at this moment."""
    caller = context.caller
    cfg = context.resources.cfg()
    offer = await as_far_as_the_site_may(context.work, _offer(context, body), caller.vo, cfg)
    without = await excluded_at(context.work, offer.site, site_limits(cfg, caller.vo, offer.site, body.ce))
    found = await matching_queues(context.work, offer, without)
    return Answer([described(queue) for queue in await task_queues(context.work, found)])


OPERATIONS = (
    Operation(
        "matcher_request_job",
        "POST",
        "/api/matcher/request",
        match,
        REQUEST_JOBS,
        body=JobRequest,
        response=MatchedJob,
        statuses=(200, 204),
        errors=(409,),
        transactional=False,
        extension=True,
    ),
    Operation(
        "task-queues_search_matching_task_queues",
        "POST",
        "/api/task-queues/matching",
        search_matching,
        LOOK_FOR_JOBS,
        body=ResourceDescription,
        response=list[QueueDescription],
        extension=True,
    ),
)
