"""Which attributes of jobs their own reports may set (legacy-methods.md, section 5; rest-diracx.md, 6.5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shared_db.rules.refusals import Refusal

# What setJobAttribute may set; Status is judged by the state machine.
DIRAC_SETTABLE = frozenset(
    {
        "Status",
        "MinorStatus",
        "ApplicationStatus",
        "Site",
        "StartExecTime",
        "EndExecTime",
        "HeartBeatTime",
    }
)
DIRACX_SETTABLE = frozenset({"Site"})


def check_settable(attribute: str) -> None:
    """Raises Refusal, in DIRAC's words, for an attribute that setJobAttribute does not set."""
    if attribute not in DIRAC_SETTABLE:
        raise Refusal(f"Job attribute '{attribute}' cannot be modified through JobStateUpdate")


def divided(
    metadata: Mapping[str, Any], attributes: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One job's metadata of DiracX, as attributes to set and job parameters; a free name is a parameter.

    ``attributes`` are all that a job has.  Raises Refusal for one that may not be set.
    """
    for name in metadata:
        if name in attributes and name not in DIRACX_SETTABLE:
            raise Refusal(f"Job attribute {name} cannot be modified through this endpoint")
    return (
        {name: value for name, value in metadata.items() if name in DIRACX_SETTABLE},
        {name: value for name, value in metadata.items() if name not in DIRACX_SETTABLE},
    )
