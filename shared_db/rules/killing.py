"""What killJob decides before it kills anything, the same on both routes (legacy-methods.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared_db.rules.job_policy import KILL, has_right
from shared_db.rules.job_states import may_move

# What must be known of a job to decide.
NEEDED = ("Owner", "OwnerGroup", "Status")


@dataclass(frozen=True, slots=True)
class KillPlan:
    """Ids by what becomes of them.

    A job of the caller's that may not move to Killed (one that is Done, say) is in none of the lists: it is
    skipped in silence.
    """

    kill: list[int]
    invalid: list[int]
    unauthorized: list[int]

    def extra(self, failed: Sequence[int] = ()) -> tuple[bool, dict[str, Any]]:
        """Whether the call succeeds, and the extra keys of its answer."""
        extra: dict[str, Any] = {}
        if self.unauthorized:
            extra["NonauthorizedJobIDs"] = self.unauthorized
        if failed:
            extra["FailedJobIDs"] = list(failed)
        succeeds = not extra
        # True would ask for a proxy to be stored here, and nothing here uses stored proxies yet.
        extra["requireProxyUpload"] = False
        if self.invalid:
            extra["InvalidJobIDs"] = self.invalid
        return succeeds, extra


SOME_FAILED = "Some jobs failed deletion"


def plan_kill(
    requested: Iterable[int],
    jobs: Mapping[int, Mapping[str, str]],
    *,
    username: str,
    group: str,
    properties: Sequence[str],
) -> KillPlan:
    """Sort the requested ids; ``jobs`` holds the needed columns of those that exist, in the order to kill."""
    invalid, unauthorized, valid = [], [], set()
    for job_id in requested:
        job = jobs.get(job_id)
        if job is None:
            invalid.append(job_id)
        elif has_right(
            KILL,
            username=username,
            group=group,
            properties=properties,
            owner=job["Owner"],
            owner_group=job["OwnerGroup"],
        ):
            valid.add(job_id)
        else:
            unauthorized.append(job_id)
    kill = [job_id for job_id, job in jobs.items() if job_id in valid and may_move(job["Status"], "Killed")]
    return KillPlan(kill, invalid, unauthorized)
