"""WorkloadManagement/Matcher over REST."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request, RestFailure
from legacy_rpc.messages import Call, Errno, Failure
from shared_db.rules.resources import (
    Resource,
    matched_job,
    read_look,
    read_request,
    sees_everybody,
    shown_queue,
)

matcher = LegacyService("WorkloadManagement/Matcher")

_NOTHING_SAID = asdict(Resource())


@matcher.adapts
def requestJob(resourceDescription: Any) -> Conversation:
    """`POST /api/matcher/request`; 204 is 1510, and 409 is 1511.

    Differences: none. Of DIRAC: an error after the match leaves the job in its queue; a job that is not
    Waiting any more is passed over; a pilot of another VO than the caller's is not touched; a CE that is not
    named leaves the pilot's as it is.
    """
    asked = read_request(resourceDescription)
    said = {
        "job_id": asked.job_id,
        "pilot_reference": asked.pilot_reference,
        "pilot_benchmark": asked.benchmark,
        "pilot_reported": asked.reported,
        "release_version": asked.version,
        "release_project": asked.project,
        "vo": asked.vo,
    }
    body = _body(asked.resource) | {name: value for name, value in said.items() if value}
    try:
        found = yield Request("POST", "/api/matcher/request", body | {"release_needed": True})
    except RestFailure as failure:
        if failure.status == 409:
            raise Failure.of(Errno.EWMSPLTVER) from failure
        raise
    if found is None:
        raise Failure.of(Errno.EWMSNOMATCH)
    return matched_job(
        jdl=found["JDL"],
        job_id=found["JobID"],
        owner=found["Owner"],
        group=found["OwnerGroup"],
        dn=found["OwnerDN"],
        parameters=found["parameters"],
    )


def _body(resource: Resource) -> dict[str, Any]:
    """What is said of a resource, in JSON's types."""
    said = {name: value for name, value in asdict(resource).items() if value != _NOTHING_SAID[name]}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    return {"cpu_time": resource.cpu_time, **lists}


@matcher.adapts
def getActiveTaskQueues() -> Conversation:
    """`POST /api/task-queues/search`.

    Differences: none.
    """
    found = yield Request("POST", "/api/task-queues/search")
    return {queue["TQId"]: shown_queue(queue) for queue in found}


@matcher.adapts
def getMatchingTaskQueues(resourceDict: dict[str, Any], *, call: Call) -> Conversation:
    """`POST /api/task-queues/matching`.

    Differences: none. Of DIRAC: limits of sites are looked at where one site is named.
    """
    caller = call.identity
    everybody = sees_everybody(caller.properties, by_token=caller.by_token)
    body = _body(read_look(resourceDict)) | ({"everybody": True} if everybody else {})
    found = yield Request("POST", "/api/task-queues/matching", body)
    return {queue["TQId"]: shown_queue(queue) for queue in found}
