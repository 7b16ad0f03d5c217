"""What JobManager's methods decide before they act, alike on both routes (legacy-methods.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared_db.rules.job_ids import ids_to_manage
from shared_db.rules.job_policy import DELETE, KILL, has_right
from shared_db.rules.job_states import may_move
from shared_db.rules.refusals import Refusal

# What must be known of a job to decide.
NEEDED = ("Owner", "OwnerGroup", "Status")

# What is needed of the jobs that exist, in the order in which to go through them.
Known = Mapping[int, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Sorted:
    """Requested ids: of jobs that the caller has a right on, of no job, and of jobs that he has none on.

    ``own``: one of the jobs at least is the caller's.
    """

    valid: list[int]
    invalid: list[int]
    unauthorized: list[int]
    own: bool = False

    def in_order(self, requested: Iterable[int]) -> list[int]:
        """The valid ones in the order of the call."""
        chosen = set(self.valid)
        return [job_id for job_id in requested if job_id in chosen]

    def lists(self, failed: Sequence[int] = ()) -> dict[str, list[int]]:
        """The extra keys of an answer that names what was not done."""
        named = {
            "InvalidJobIDs": self.invalid,
            "NonauthorizedJobIDs": self.unauthorized,
            "FailedJobIDs": list(failed),
        }
        return {name: ids for name, ids in named.items() if ids}


def sort_ids(
    right: str,
    requested: Iterable[int],
    jobs: Known,
    *,
    username: str,
    group: str,
    properties: Sequence[str],
) -> Sorted:
    """Sort the requested ids by the caller's right on them; valid ones come in the order of ``jobs``."""
    invalid, unauthorized, valid = [], [], set()
    own = False
    for job_id in requested:
        job = jobs.get(job_id)
        if job is None:
            invalid.append(job_id)
            continue
        own = own or job["Owner"] == username
        if has_right(
            right,
            username=username,
            group=group,
            properties=properties,
            owner=job["Owner"],
            owner_group=job["OwnerGroup"],
        ):
            valid.add(job_id)
        else:
            unauthorized.append(job_id)
    return Sorted([job_id for job_id in jobs if job_id in valid], invalid, unauthorized, own)


@dataclass(frozen=True, slots=True)
class KillPlan:
    """Ids by what becomes of them.

    A job of the caller's that may not move to Killed (one that is Done, say) is in none of the lists: it is
    skipped in silence.  ``own``: one of the jobs at least is the caller's.
    """

    kill: list[int]
    invalid: list[int]
    unauthorized: list[int]
    own: bool = field(default=False, kw_only=True)

    def extra(self, failed: Sequence[int] = (), *, wants_proxy: bool = False) -> tuple[bool, dict[str, Any]]:
        """Whether the call succeeds, and the extra keys of its answer."""
        extra: dict[str, Any] = {}
        if self.unauthorized:
            extra["NonauthorizedJobIDs"] = self.unauthorized
        if failed:
            extra["FailedJobIDs"] = list(failed)
        succeeds = not extra
        extra["requireProxyUpload"] = wants_proxy
        if self.invalid:
            extra["InvalidJobIDs"] = self.invalid
        return succeeds, extra


@dataclass(frozen=True, slots=True)
class DeletePlan(KillPlan):
    """``delete`` is what the call answers; a job may be killed, deleted, both (killed first) or neither."""

    delete: list[int]


SOME_FAILED = "Some jobs failed deletion"

# A caller whose stored proxy ends sooner is asked to upload one.
PROXY_SECONDS = 18_000


def specified(job_ids: Any) -> list[int]:
    """The ids of a call that must name some.  Raises Refusal, UnfitArgument."""
    requested = ids_to_manage(job_ids)
    if not requested:
        raise Refusal(f"Invalid job specification: {job_ids}")
    return requested


def not_removed(ids: Sorted) -> str:
    """What removeJob says of the jobs that it did not remove; empty: it removed all."""
    told = [": invalid jobs"] * bool(ids.invalid) + [": non-authorized jobs"] * bool(ids.unauthorized)
    return "Some jobs failed removal" + "".join(told) if told else ""


def plan_kill(
    requested: Iterable[int],
    jobs: Known,
    *,
    username: str,
    group: str,
    properties: Sequence[str],
) -> KillPlan:
    """Sort the requested ids; ``jobs`` holds the needed columns of those that exist, in the order to kill."""
    ids = sort_ids(KILL, requested, jobs, username=username, group=group, properties=properties)
    return KillPlan(_able(ids.valid, jobs, "Killed"), ids.invalid, ids.unauthorized, own=ids.own)


def plan_delete(
    requested: Iterable[int],
    jobs: Known,
    *,
    username: str,
    group: str,
    properties: Sequence[str],
) -> DeletePlan:
    """The same for deleteJob.

    Both lists go by the status that a job has now: a Running one is killed and not deleted, a Received one is
    killed and deleted, a Completed one is left as it is (seen on DIRAC 9.1.22 for every status).
    """
    ids = sort_ids(DELETE, requested, jobs, username=username, group=group, properties=properties)
    kill, delete = (_able(ids.valid, jobs, status) for status in ("Killed", "Deleted"))
    return DeletePlan(kill, ids.invalid, ids.unauthorized, delete, own=ids.own)


def _able(valid: Iterable[int], jobs: Known, status: str) -> list[int]:
    return [job_id for job_id in valid if may_move(jobs[job_id]["Status"], status)]
