"""The job state machine (legacy-methods.md, section 1.1)."""

from __future__ import annotations

from collections.abc import Mapping

from shared_db.rules.refusals import Refusal

JOB_STATES = (
    "Submitting",
    "Received",
    "Checking",
    "Scouting",
    "Staging",
    "Waiting",
    "Matched",
    "Rescheduled",
    "Running",
    "Stalled",
    "Completing",
    "Completed",
    "Done",
    "Failed",
    "Killed",
    "Deleted",
)

# The first of these that a job reaches sets EndExecTime.
FINAL_STATES = frozenset({"Done", "Completed", "Failed", "Killed"})
# A job that enters one of these leaves the task queue.
REMOVED_STATES = frozenset({"Killed", "Deleted"})

# Minor statuses that come with a change of state made here (legacy-methods.md, 1.2).
JOB_ACCEPTED = "Job accepted"
BULK_CONFIRMATION = "Bulk transaction confirmation"
MARKED_FOR_TERMINATION = "Marked for termination"
CHECKING_ACCOUNTING = "Checking accounting"
JOB_RESCHEDULED = "Job Rescheduled"
MAXIMUM_OF_RESCHEDULINGS = "Maximum of reschedulings reached"
STAGING_FAILED = "Staging input files failed"

# What MinorStatus and ApplicationStatus are until somebody says more.
UNKNOWN = "Unknown"

_ALLOWED: Mapping[str, frozenset[str]] = {
    state: frozenset(following.split())
    for state, following in {
        "Submitting": "Received Checking Deleted Killed",
        "Received": "Checking Scouting Staging Waiting Failed Deleted Killed",
        "Checking": "Scouting Staging Waiting Rescheduled Failed Deleted Killed",
        "Scouting": "Checking Stalled Failed Killed",
        "Staging": "Checking Waiting Failed Killed",
        "Waiting": "Matched Rescheduled Deleted Killed",
        "Matched": "Running Failed Rescheduled Killed",
        "Rescheduled": "Waiting Received Deleted Failed Killed",
        "Running": "Stalled Done Failed Rescheduled Completing Killed Received",
        "Stalled": "Running Failed Killed",
        "Completing": "Done Failed Completed Stalled Killed",
        "Completed": "Done Failed",
        "Done": "Deleted",
        "Failed": "Rescheduled Deleted",
        "Killed": "Deleted",
        # No way out is written down for Deleted, and DIRAC's machine then refuses none (section 0, 13).
        "Deleted": " ".join(JOB_STATES),
    }.items()
}


def check_known(status: str) -> None:
    """Raises Refusal, in DIRAC's words, for a status that is none."""
    if status not in JOB_STATES:
        raise Refusal(f"getNextState: '{status}' is not a valid state")


def may_move(current: str, wanted: str) -> bool:
    """True when a job in ``current`` may be put in ``wanted``; staying is always allowed.

    Asking for an illegal move is no error: the job then stays where it is.

    A status that the machine does not know (a site's own, or a very old one) can be left for nothing.
    """
    return current == wanted or wanted in _ALLOWED.get(current, ())
