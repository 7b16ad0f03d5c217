"""Matching: pilots ask for jobs (legacy-methods.md, section 6)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rest_backend.errors import RestError
from rest_backend.models.matching import (
    JobRequest,
    MatchedJob,
    QueueDescription,
    QueueLookUp,
    ResourceDescription,
)
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.task_queues import LOOK_FOR_JOBS, REQUEST_JOBS
from rest_backend.resources.task_queues import described
from shared_db.queries.match_requests import Pilot, queues_for, request_job
from shared_db.rules.matching import Wanted, WrongVersion, check_version, restriction
from shared_db.rules.resources import Resource, offer_of


async def match(context: Context, body: JobRequest, _parameters: None) -> Answer:
    """Get a waiting job for a pilot; it is Matched then, and nobody else gets it.

    204 where there is none for it, which is the usual case.
    """
    caller, resources = context.caller, context.resources
    vo = _vo(context, body)
    try:
        check_version(
            resources.cfg(), vo, body.release_version, body.release_project, needed=body.release_needed
        )
    except WrongVersion as error:
        raise RestError(409, str(error)) from error
    pilot = Pilot(
        reference=body.pilot_reference,
        stamp=caller.pilot_stamp or body.pilot_stamp,
        vo=vo,
        ce=body.ce,
        queue=body.queue,
        benchmark=body.pilot_benchmark,
        reported=body.pilot_reported,
    )
    resource = _resource(body)
    offer = offer_of(resource, _allowed(context, resource, vo), body.job_id)
    found = await request_job(resources.databases, offer, pilot, vo, resources.cfg())
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


def _vo(context: Context, body: JobRequest) -> str:
    """The VO whose jobs are asked for: a host, which is in none, names one."""
    return context.caller.vo or body.vo


def _resource(body: ResourceDescription) -> Resource:
    said: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in body.model_dump(include=_RESOURCE).items()
    }
    return Resource(**said)


_RESOURCE = {field.name for field in fields(Resource)}


def _allowed(context: Context, resource: Resource, vo: str) -> Wanted:
    caller = context.caller
    properties = ("GenericPilot",) if caller.pilot_stamp else caller.properties
    groups = context.resources.registry().groups_of_vo(vo)
    return restriction(properties, caller.username, caller.group, groups, resource.wanted)


async def search_matching(context: Context, body: QueueLookUp, _parameters: None) -> Answer:
    """The queues in which a pilot would find jobs at this moment.

    ``everybody``: in whosoever's queues, whether or not the site may run jobs, as DIRAC's Matcher shows them.
    """
    resource, vo = _resource(body), context.caller.vo
    allowed = None if body.everybody else _allowed(context, resource, vo)
    found = await queues_for(context.work, resource, allowed, vo, context.resources.cfg())
    return Answer([described(queue) for queue in found])


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
        body=QueueLookUp,
        response=list[QueueDescription],
        extension=True,
    ),
)
