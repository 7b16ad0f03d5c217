"""Every periodic task: how often it is done, what it does, and whose tables it is on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from rest_backend.tasks import jobs, own, pilots, sandboxes
from rest_backend.tasks.turn import Turn


@dataclass(frozen=True, slots=True)
class Task:
    """Something that is done again and again, by one worker of one host at a time.

    ``run`` says in its first line what it does, and returns of how many rows or files.  ``on_diracs``: it
    works on DIRAC's tables, and is left out where DIRAC's own agents do.
    """

    name: str
    every: timedelta
    run: Callable[[Turn], Awaitable[int]]
    on_diracs: bool = False

    @property
    def lease(self) -> str:
        """The name of its lease."""
        return f"task:{self.name}"


def _minutes(minutes: int) -> timedelta:
    return timedelta(minutes=minutes)


TASKS = (
    # A Stalled job has until the next time, half an hour on the average, before anything is held against it.
    Task("mark-stalled-jobs", _minutes(30), jobs.mark_stalled_jobs, on_diracs=True),
    Task("fail-stalled-jobs", _minutes(30), jobs.fail_stalled_jobs, on_diracs=True),
    Task("fail-unconfirmed-jobs", _minutes(5), jobs.fail_unconfirmed_jobs, on_diracs=True),
    Task("reschedule-stuck-jobs", _minutes(5), jobs.reschedule_stuck_jobs, on_diracs=True),
    Task("optimise-stuck-jobs", _minutes(5), jobs.optimise_stuck_jobs, on_diracs=True),
    Task("delete-ended-jobs", _minutes(60), jobs.delete_ended_jobs, on_diracs=True),
    Task("remove-deleted-jobs", _minutes(60), jobs.remove_deleted_jobs, on_diracs=True),
    Task("clean-task-queues", _minutes(5), jobs.clean_task_queues, on_diracs=True),
    Task("share-priorities", _minutes(5), jobs.share_priorities, on_diracs=True),
    Task("give-up-silent-pilots", _minutes(60), pilots.give_up_silent_pilots, on_diracs=True),
    Task("remove-past-pilots", _minutes(60), pilots.remove_past_pilots, on_diracs=True),
    Task("clean-sandboxes", _minutes(60), sandboxes.clean_unneeded_sandboxes, on_diracs=True),
    Task("purge-tokens", _minutes(10), own.purge_tokens),
    Task("purge-logins", _minutes(10), own.purge_logins),
    Task("purge-revocations", _minutes(10), own.purge_refusals),
    Task("purge-pilot-secrets", _minutes(60), own.purge_secrets),
    Task("purge-pilot-logs", _minutes(60), own.purge_logs),
    Task("purge-answers", _minutes(10), own.purge_kept_answers),
    Task("purge-proxies", _minutes(10), own.purge_delegated_proxies),
    Task("purge-proxy-log", _minutes(60), own.purge_log_of_proxies),
)
