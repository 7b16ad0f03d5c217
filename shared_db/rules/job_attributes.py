"""The attributes of jobs that legacy callers may name, and what they get of them (legacy-methods.md, section
4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared_db.rules.refusals import Refusal

TIMES = frozenset(
    {
        "SubmissionTime",
        "RescheduleTime",
        "LastUpdateTime",
        "StartExecTime",
        "HeartBeatTime",
        "EndExecTime",
    }
)
NUMBERS = frozenset({"JobID", "UserPriority", "RescheduleCounter"})
FLAGS = frozenset({"VerifiedFlag", "AccountedFlag"})
TEXTS = frozenset(
    {
        "JobType",
        "JobGroup",
        "Site",
        "JobName",
        "Owner",
        "OwnerGroup",
        "VO",
        "Status",
        "MinorStatus",
        "ApplicationStatus",
    }
)
# What a job may be without.
NULLABLE = TIMES | {"ApplicationStatus"}

# In the order in which DIRAC answers them.
JOB_ATTRIBUTES = tuple(sorted(TIMES | NUMBERS | FLAGS | TEXTS))
_COLUMNS = {name.lower(): name for name in JOB_ATTRIBUTES}
# An attribute can be written in thousands of ways, each of which every job would be answered with.
MOST_SPELLINGS = 100


def column_of(name: Any) -> str | None:
    """The attribute that is meant, in whatever case it is written; None for none."""
    return _COLUMNS.get(name.lower()) if isinstance(name, str) else None


def attributes_asked(asked: Any) -> dict[str, str]:
    """``{name as it is written: attribute}`` in the order of the answer; nothing asked for means all.

    A text is a list with commas.  Raises Refusal for the first that is no attribute.
    """
    if not asked:
        return {name: name for name in JOB_ATTRIBUTES}
    if isinstance(asked, str):
        asked = asked.replace(" ", "").split(",")
    if isinstance(asked, dict):
        asked = list(asked)
    if not isinstance(asked, list | tuple) or not all(isinstance(name, str) for name in asked):
        raise Refusal("Attributes of jobs are asked for as a list of names")
    found: dict[str, str] = {}
    for name in asked:
        column = column_of(name)
        if column is None:
            raise Refusal(f"Unknown job attribute: {name}")
        found[name] = column
        if len(found) > MOST_SPELLINGS:
            raise Refusal(f"More than {MOST_SPELLINGS} attributes are asked for")
    return dict(sorted(found.items()))


def columns_needed(asked: Mapping[str, str]) -> list[str]:
    """The columns beside JobID that an answer is made of, each once."""
    return [name for name in dict.fromkeys(asked.values()) if name != "JobID"]


def answered(asked: Mapping[str, str], job: Mapping[str, Any]) -> dict[str, Any]:
    """One job's answer."""
    return {name: job[column] for name, column in asked.items()}


def jobs_answered(asked: Mapping[str, str], jobs: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """``{JobID: answer}``."""
    return {job["JobID"]: answered(asked, job) for job in jobs}
