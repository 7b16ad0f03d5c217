"""Who may do what with whose job, on the legacy side (legacy-methods.md, section 0.2)."""

from __future__ import annotations

from collections.abc import Sequence

# Rights an owner has on his own jobs, members of a JobSharing group on the group's, administrators on all.
_ALL_BUT_SUBMIT = frozenset(
    {"GetInfo", "GetSandbox", "PutSandbox", "ChangeStatus", "Delete", "Kill", "Reschedule"}
)
_BY_PROPERTY = {
    "JobAdministrator": _ALL_BUT_SUBMIT | {"Reset", "GetJob", "GetStats"},
    "NormalUser": frozenset({"Submit"}),
    "GenericPilot": frozenset({"Reschedule", "ChangeStatus"}),
    "JobMonitor": frozenset({"GetInfo"}),
}

KILL = "Kill"
DELETE = "Delete"
RESCHEDULE = "Reschedule"
RESET = "Reset"
SUBMIT = "Submit"
CHANGE_STATUS = "ChangeStatus"
PUT_SANDBOX = "PutSandbox"

# Who sees everybody's jobs where GlobalJobsInfo is False.
LOOKS_AT_ALL = ("JobAdministrator", "JobMonitor", "GenericPilot")


def has_right(
    right: str,
    *,
    username: str,
    group: str,
    properties: Sequence[str],
    owner: str,
    owner_group: str,
) -> bool:
    """True when a caller has a right on a job of ``owner`` and ``owner_group``.

    Ownership compares the user name only, so any group of the same user will do (DIRAC 9).
    """
    if any(right in _BY_PROPERTY.get(name, ()) for name in properties):
        return True
    owns = owner == username and username != ""
    shares = owner_group == group and "JobSharing" in properties
    return (owns or shares) and right in _ALL_BUT_SUBMIT
