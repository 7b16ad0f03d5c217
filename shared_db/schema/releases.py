"""How the tables of other DIRAC releases differ from 9.1's, and what that means (legacy-schema.md, 1 to 6).

The bridge copes with a difference that is listed here; one that is not is somebody's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Which releases have the difference, and what it means for the bridge."""

    releases: str
    meaning: str


OLD = "DIRAC 7.3 and 8.0"
_MASK = Known("DIRAC 9", "there is no site mask here to read or to set")
_NO_STATES = Known(
    "installations without a ResourceStatusSystem", "nothing is told of the states of resources"
)
_VO = Known(OLD, "the VO is that of OwnerGroup in the registry")

MISSING_TABLES: Mapping[str, Known] = {
    "JobParameters": Known(
        "DIRAC 9.1.22",
        "job parameters are in OpenSearch; `wherry db upgrade --missing-tables` makes a place for them here",
    ),
    "SiteMask": _MASK,
    "SiteMaskLogging": _MASK,
    "SiteStatus": _NO_STATES,
    "ResourceStatus": _NO_STATES,
    "tq_RAM_requirements": Known(f"{OLD}, and 9.0 before 9.0.20", "task queues ask for no memory"),
}

MISSING_COLUMNS: Mapping[tuple[str, str], Known] = {
    ("Jobs", "VO"): _VO,
    ("PilotAgents", "VO"): _VO,
    ("tq_TaskQueues", "VO"): _VO,
    ("tq_TaskQueues", "Owner"): Known(OLD, "OwnerDN stands in its place"),
    ("sb_Owners", "VO"): _VO,
}

# Columns of a table that 9 has dropped, and what an INSERT must do about those without a default.
EXTRA_COLUMNS: Mapping[str, tuple[frozenset[str], Known]] = {
    "Jobs": (
        frozenset(
            {"DIRACSetup", "JobSplitType", "MasterJobID", "OwnerDN", "ApplicationNumStatus", "SystemPriority"}
            | {"DeletedFlag", "KilledFlag", "FailedFlag", "ISandboxReadyFlag", "OSandboxReadyFlag"}
            | {"RetrievedFlag"}
        ),
        Known(OLD, "an INSERT leaves them to their defaults"),
    ),
    "PilotAgents": (
        frozenset(
            {"TaskQueueID", "Broker", "OwnerDN", "OwnerGroup", "GridRequirements", "ParentID", "OutputReady"}
        ),
        Known(OLD, "an INSERT must name OwnerDN and OwnerGroup"),
    ),
    "tq_TaskQueues": (frozenset({"OwnerDN", "Setup"}), Known(OLD, "an INSERT must name them")),
    "sb_Owners": (frozenset({"OwnerDN"}), Known(OLD, "an INSERT must name it")),
    "sb_EntityMapping": (frozenset({"EntitySetup"}), Known(OLD, "an INSERT must name it")),
}

# By table and key; `primary` is the primary key.
MISSING_KEYS: Mapping[tuple[str, str], Known] = {
    ("Jobs", "JobName"): Known(f"{OLD} and DIRAC 9.0", "a search by JobName alone reads the whole table"),
    ("PilotAgents", "idx_dest_queue_status"): Known(
        f"{OLD} and DIRAC 9.0", "pilots of one queue are found among all of their CE or status"
    ),
    ("sb_EntityMapping", "primary"): Known(OLD, "its unique key Mapping does the work"),
}

BYTES_FOR_TEXT = Known("DIRAC 7.3", "the bytes are read and written as UTF-8")
