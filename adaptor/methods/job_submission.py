"""WorkloadManagement/JobManager over REST: jobs that come."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from adaptor.conversation import Conversation, InThread, Request, RestFailure, Step
from adaptor.methods.job_manager import job_manager, wants_proxy
from legacy_rpc.messages import Call, Failure, Identity, Reply
from shared_db.rules.jdl.description import RefusedAfterInsertion
from shared_db.rules.jdl.parametric import expand
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.refusals import Refusal
from shared_db.rules.submission import (
    Order,
    check_submitter,
    ids_to_confirm,
    may_submit,
    not_to_confirm,
    order_of,
    refused_job,
)

LIMITS = "/api/jobs/limits"
# More members than a parametric job can have; what it expands to is bounded besides.
MANY = 100_000
# Characters of a JDL that is checked in no time.
SHORT = 5_000


@job_manager.adapts
def submitJob(jobDesc: str, *, call: Call) -> Conversation:
    """`POST /api/jobs/jdl`; before it perhaps `GET /api/jobs/limits` (DIRAC's own checks, in its texts,
    where the backend tells what they are), after it perhaps `GET /api/proxies/own` (likewise).

    Differences: a job that names another VO, or a platform that the site does not know, spends no id, so the
    error has no `JobId`.
    """
    caller = call.identity
    check_submitter(
        limited=bool(getattr(caller.credential, "limited", False)),
        username=caller.username,
        group=caller.group,
        properties=caller.group_properties,
    )
    parametric = yield from _checked(jobDesc, caller)
    inserted = yield Request("POST", "/api/jobs/jdl", [jobDesc])
    job_ids = [job["JobID"] for job in inserted]
    value = job_ids if parametric else job_ids[0]
    upload = yield from wants_proxy()
    return Reply(value, {"JobID": value, "requireProxyUpload": upload})


def _checked(text: str, caller: Identity) -> Generator[Step, Any, bool]:
    """Whether a job is parametric, if it passes the site's checks.  Raises Refusal, Failure."""
    try:
        limits = yield Request("GET", LIMITS)
    except RestFailure as failure:
        if not failure.not_executed:
            raise
        parametric: bool = yield InThread(partial(_is_parametric, text))  # the backend alone judges it
        return parametric
    owner = Submitter(caller.username, caller.group, caller.vo or "")
    check = partial(_order_or_refusal, text, owner, _policy(limits), limits["parametric_jobs"])
    order = check() if len(text) < SHORT and "Parameters" not in text else (yield InThread(check))
    if isinstance(order, RefusedAfterInsertion):
        raise Failure(order.message, order.errno, refused_job(order))
    if isinstance(order, Refusal):
        raise order
    return order.parametric


def _is_parametric(text: str) -> bool:
    """Whether members are asked for; what is no JDL, or too much, is the backend's to refuse."""
    try:
        return expand(text, MANY).parametric
    except Refusal:
        return False


def _order_or_refusal(*given: Any) -> Order | Refusal:
    """The order, or why there is none: a conversation is told of no error but a request's."""
    try:
        return order_of(*given)
    except Refusal as refusal:
        return refusal


def _policy(limits: Mapping[str, Any]) -> DescriptionPolicy:
    """What a site asks of jobs, as far as it decides whether they are taken."""
    named = {field.name for field in fields(DescriptionPolicy)}
    renamed = {"input_data": "max_input_data"}
    given = {renamed.get(name, name): _frozen(name, value) for name, value in limits.items()}
    return DescriptionPolicy(**{name: value for name, value in given.items() if name in named})


def _frozen(name: str, value: Any) -> Any:
    match value:
        case list():
            return frozenset(value) if name == "sites" else tuple(value)
        case dict():
            return {key: frozenset(each) for key, each in value.items()}
        case _:
            return value


@job_manager.adapts
def confirmBulkSubmission(jobIDs: list[Any], *, call: Call) -> Conversation:
    """`POST /api/jobs/confirm`, repeated where it was done before.

    Differences: none.
    """
    requested = ids_to_confirm(jobIDs)
    caller = call.identity
    if not may_submit(username=caller.username, group=caller.group, properties=caller.group_properties):
        raise not_to_confirm()
    try:
        yield Request("POST", "/api/jobs/confirm", {"job_ids": requested})
    except RestFailure as failure:
        if failure.status in (400, 403):
            raise not_to_confirm() from failure
        raise
    return requested


@job_manager.adapts
def getMaxParametricJobs() -> Conversation:
    """`GET /api/jobs/limits`.

    Differences: none.
    """
    return (yield Request("GET", LIMITS))["parametric_jobs"]
