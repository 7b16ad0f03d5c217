"""WorkloadManagement/Matcher (legacy-methods.md, section 6)."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Errno, Failure, Write
from legacy_rpc.services.older_queues import OLDER_QUEUES, OLDER_REQUEST, OLDER_SEARCH
from legacy_rpc.services.table import Context, Service
from shared_db.queries.match_requests import Pilot, queues_for, request_job
from shared_db.queries.task_queues import TaskQueue, task_queues
from shared_db.rules.matching import Wanted, WrongVersion, check_version, restriction
from shared_db.rules.resources import (
    Resource,
    matched_job,
    offer_of,
    read_look,
    read_request,
    sees_everybody,
    shown_queue,
)

matcher = Service("WorkloadManagement/Matcher", handler_class="MatcherHandlerMixin")


@matcher.method([str, dict], write=Write.CREATE, older=OLDER_REQUEST)
async def requestJob(context: Context, resourceDescription: Any) -> dict[str, Any]:
    """Gives a pilot a waiting job that it fits, which is `Matched` then and nobody else's. Answers `JDL`,
    `JobID`, `Owner`, `DN`, `Group`, `PilotInfoReportedFlag` and the job's optimizer parameters. `Site` and
    `CPUTime` must be given. A GenericPilot gets jobs of its VO (a host those of `VirtualOrganization`),
    anybody else their own, with JobSharing the group's. A site that may not run jobs gets those of type Test
    only. Errors: 1510 where there is none, 1511 for a wrong release of the pilot, `Error requesting job` for
    a description that cannot be used.
    """
    asked = read_request(resourceDescription)
    caller, cfg = context.call.identity, context.registry.cfg
    vo = caller.vo or asked.vo
    try:
        check_version(cfg, vo, asked.version, asked.project)
    except WrongVersion as error:
        raise Failure.of(Errno.EWMSPLTVER) from error
    pilot = Pilot(
        reference=asked.pilot_reference,
        vo=vo,
        ce=asked.resource.ce,
        benchmark=asked.benchmark,
        reported=asked.reported,
    )
    offer = offer_of(asked.resource, _allowed(context, asked.resource, vo), asked.job_id)
    match = await request_job(context.databases, offer, pilot, vo, cfg)
    if match is None:
        raise Failure.of(Errno.EWMSNOMATCH)
    return matched_job(
        jdl=match.jdl,
        job_id=match.job_id,
        owner=match.owner,
        group=match.owner_group,
        dn=next(iter(context.registry.current.dns_of(match.owner)), ""),
        parameters=match.parameters,
    )


def _allowed(context: Context, resource: Resource, vo: str) -> Wanted:
    """Whose jobs the caller may have."""
    caller = context.call.identity
    groups = context.registry.current.groups_of_vo(vo)
    return restriction(caller.properties, caller.username, caller.group, groups, resource.wanted)


@matcher.method(authorization=("JobAdministrator",), older=OLDER_QUEUES)
async def getActiveTaskQueues(context: Context) -> dict[int, dict[str, Any]]:
    """`{id: {"Priority", "Jobs", "Owner", "OwnerGroup", "CPUTime", …}}` of the task queues that have jobs,
    with `Sites`, `GridCEs`, `BannedSites`, `Platforms`, `JobTypes`, `Tags`, `MinRAM` and `MaxRAM` where they
    ask for some.
    """
    async with context.databases.unit_of_work() as work:
        return _shown(await task_queues(work))


@matcher.method(dict, older=OLDER_SEARCH)
async def getMatchingTaskQueues(context: Context, resourceDict: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The same of the queues that a resource fits; `CPUTime` must be given, `Site` may be one, several or
    none. All queues are looked at, whoever asks; callers with a bearer token see their own.
    """
    caller = context.call.identity
    resource = read_look(resourceDict)
    vo = caller.vo or ""
    everybody = sees_everybody(caller.properties, by_token=caller.by_token)
    allowed = None if everybody else _allowed(context, resource, vo)
    async with context.databases.unit_of_work() as work:
        return _shown(await queues_for(work, resource, allowed, vo, context.registry.cfg))


def _shown(queues: list[TaskQueue]) -> dict[int, dict[str, Any]]:
    return {queue.queue_id: shown_queue(queue.described()) for queue in queues}
