"""When a job or pilot is taken for lost, and how long those that have ended stay.

The rules are those of DIRAC 9.1.22's StalledJobAgent, JobCleaningAgent and PilotStatusAgent, and so are the
times unless it is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from shared_db.rules.clock import from_column

# Who logs what happens to jobs here.
STALLED_JOB_AGENT = "StalledJobAgent"

PILOT_NOT_RUNNING = "Job stalled: pilot not running"
# Jobs in one of these ought to report.
REPORTING = ("Running", "Completing")
# Pilots in one of these may have a future.
TRANSIENT_PILOTS = ("Submitted", "Waiting", "Scheduled", "Running", "Unknown")


@dataclass(frozen=True, slots=True)
class JobPatience:
    """After how long without news a job is taken for lost.

    ``stalled``: one that ought to report; ``failed``: a Stalled one whose pilot runs.  DIRAC counts in cycles
    of its watchdog, of 30 minutes: two, or six, and a half.  ``submitting``: a member of a parametric job
    that nobody confirms.  ``matched``, ``rescheduled``: one that does not begin.  ``received``: one that was
    not optimised, for which DIRAC's optimisers look all the time.
    """

    stalled: timedelta = timedelta(minutes=75)
    failed: timedelta = timedelta(minutes=195)
    submitting: timedelta = timedelta(minutes=5)
    matched: timedelta = timedelta(minutes=120)
    rescheduled: timedelta = timedelta(minutes=10)
    received: timedelta = timedelta(minutes=10)


_AFTER_A_WEEK: Mapping[str, timedelta] = MappingProxyType(
    dict.fromkeys(("Done", "Killed", "Failed"), timedelta(days=7))
)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long jobs stay after their last update.

    ``ended``: by status, until they are Deleted; those that it does not name stay.  ``deleted``: until a
    Deleted one is removed for good; DIRAC's agent, which comes by every hour, removes all that it meets.
    """

    ended: Mapping[str, timedelta] = field(default_factory=lambda: _AFTER_A_WEEK)
    deleted: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PilotPatience:
    """After how long without news a pilot is Deleted, and how long after its submission it is removed."""

    silent: timedelta = timedelta(days=3)
    removed: timedelta = timedelta(days=30)
    aborted_removed: timedelta = timedelta(days=7)


def last_news(heartbeat: datetime | None, last_update: datetime | None) -> datetime | None:
    """When a job was heard of last, from its columns; None: never."""
    return from_column(max((each for each in (heartbeat, last_update) if each), default=None))


def is_lost(news: datetime | None, patience: timedelta, now: datetime) -> bool:
    """Whether the last news are too old; where there never were any, nothing can be said, as in DIRAC."""
    return news is not None and now - news > patience


def why_failed(
    pilots: Collection[str], news: datetime | None, patience: timedelta, now: datetime
) -> str | None:
    """The minor status with which a Stalled job is Failed; None: it may report yet.

    ``pilots``: the statuses of those that the job was given to.
    """
    if "Running" not in pilots:
        return PILOT_NOT_RUNNING
    if is_lost(news, patience, now):
        return f"Stalling for more than {int(patience.total_seconds())} sec"
    return None
