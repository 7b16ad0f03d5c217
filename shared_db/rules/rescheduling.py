"""When a job may start anew (legacy-methods.md, section 3; rest-diracx.md, 6.5)."""

from __future__ import annotations

MAX_RESCHEDULING = 3

# What JobManager says where it could not do it for some jobs.
NOT_RESCHEDULED = "Some jobs can not be rescheduled"
NOT_RESET = "Some jobs failed resetting"


def next_count(counter: int, *, reset: bool, limit: int = MAX_RESCHEDULING) -> int | None:
    """The RescheduleCounter of a job that starts anew; None when it has done so often enough.

    A reset starts to count from 0.
    """
    count = 0 if reset else counter + 1
    return count if count <= limit else None


def exhausted(limit: int = MAX_RESCHEDULING) -> str:
    """What DiracX answers for a job that has started anew often enough."""
    return f"Maximum number of reschedules exceeded ({limit})"
