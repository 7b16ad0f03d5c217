"""The states of jobs that are being submitted (legacy-methods.md, 1.2 and section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared_db.rules.jdl.description import JobDescription, RefusedAfterInsertion, describe
from shared_db.rules.jdl.parametric import EWMSJDL, expand
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.job_ids import ids_to_manage, selectable
from shared_db.rules.job_policy import DELETE, SUBMIT, has_right
from shared_db.rules.job_states import BULK_CONFIRMATION, JOB_ACCEPTED
from shared_db.rules.refusals import Refusal

SUBMISSION_ERROR = 1503


@dataclass(frozen=True, slots=True)
class InitialState:
    """What a submitted job is first."""

    status: str
    minor_status: str


ACCEPTED = InitialState("Received", JOB_ACCEPTED)
# Members of a parametric job wait for the client to say that it knows all their ids.
UNCONFIRMED = InitialState("Submitting", BULK_CONFIRMATION)


@dataclass(frozen=True, slots=True)
class Order:
    """What a call of submitJob asks for; members of a parametric job are answered as a list."""

    jobs: list[JobDescription]
    parametric: bool

    @property
    def state(self) -> InitialState:
        """The state in which the jobs come."""
        return UNCONFIRMED if self.parametric else ACCEPTED

    def answer(self, job_ids: Sequence[int]) -> int | list[int]:
        """The value of the call."""
        return list(job_ids) if self.parametric else job_ids[0]


def check_submitter(*, limited: bool, username: str, group: str, properties: Sequence[str]) -> None:
    """Raises Refusal for a caller who may submit nothing; ``limited``: known by a limited proxy."""
    if limited:
        raise _refusal("Can't submit using a limited proxy")
    if not may_submit(username=username, group=group, properties=properties):
        raise _refusal("Job submission not authorized")


def may_submit(*, username: str, group: str, properties: Sequence[str]) -> bool:
    """Whether a caller may have jobs at all."""
    return has_right(SUBMIT, username=username, group=group, properties=properties, owner="", owner_group="")


def order_of(text: str, owner: Submitter, policy: DescriptionPolicy, most: int) -> Order:
    """The jobs that a description stands for, ``most`` at most, checked as DIRAC's JobManager does.

    Raises Refusal: RefusedAfterInsertion where DIRAC spends an id on it.
    """
    if not text.strip():
        raise Refusal(f"Invalid job description ( {EWMSJDL} : The job description is empty)", EWMSJDL)
    expansion = expand(text, most)
    jobs = [describe(each, owner, policy) for each in expansion.jobs]
    for job in jobs:
        job.check_sizes()
    return Order(jobs, expansion.parametric)


def refused_job(refusal: RefusedAfterInsertion, job_id: int | None = None) -> dict[str, Any]:
    """The extra keys of an answer that refuses a job; ``job_id``: the one that was spent on it, if any."""
    if not refusal.minor_status:
        return {}
    told = {"Status": "Failed", "MinorStatus": refusal.minor_status}
    return told if job_id is None else {"JobId": job_id, **told}


# What must be known of jobs to let somebody confirm them.
WHOSE = ("Owner", "OwnerGroup")


def check_confirmer(
    jobs: Iterable[Mapping[str, str]], *, username: str, group: str, properties: Sequence[str]
) -> None:
    """Raises Refusal for a caller who may have no jobs, or none of these.

    DIRAC lets whoever may submit confirm everybody's jobs; here they must be the caller's to change.
    """
    if not may_submit(username=username, group=group, properties=properties):
        raise not_to_confirm()
    for job in jobs:
        if not has_right(
            DELETE,
            username=username,
            group=group,
            properties=properties,
            owner=job["Owner"],
            owner_group=job["OwnerGroup"],
        ):
            raise not_to_confirm()


def ids_to_confirm(job_ids: list[Any]) -> list[int]:
    """The ids that confirmBulkSubmission is called with.  Raises Refusal, UnfitArgument."""
    requested = ids_to_manage(job_ids)
    if not requested:
        raise _refusal(f"Invalid job specification: {job_ids}")
    try:
        if set(selectable(requested)) == set(requested):
            return requested
    except Refusal as refusal:
        raise not_to_confirm() from refusal
    raise not_to_confirm()


# Confirming jobs that are on their way already is no error: the first answer may have been lost.
_CONFIRMED = frozenset({"Received", "Checking", "Waiting", "Matched", "Running"})


def to_confirm(requested: Sequence[int], statuses: Mapping[int, str]) -> list[int]:
    """The ids that confirmBulkSubmission moves on: all of them, or none when that was done before.

    ``statuses`` are those of the jobs that exist.  Raises Refusal for an id that is no job's or is named
    twice, for other states and for a mix of both.
    """
    if not requested:
        raise _refusal("Invalid job specification: []")
    found = {statuses[job_id] for job_id in requested if job_id in statuses}
    if len(statuses.keys() & set(requested)) == len(requested):
        if found <= _CONFIRMED:
            return []
        if found == {UNCONFIRMED.status}:
            return list(requested)
    raise not_to_confirm()


def not_to_confirm() -> Refusal:
    """Jobs that cannot be confirmed, or not by this caller."""
    return _refusal("Requested jobs for bulk transaction are not valid")


def _refusal(detail: str) -> Refusal:
    return Refusal(f"Job submission error ( {SUBMISSION_ERROR} : {detail})", SUBMISSION_ERROR)
