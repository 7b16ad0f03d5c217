"""The states of jobs that are being submitted (legacy-methods.md, 1.2 and section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared_db.rules.job_states import BULK_CONFIRMATION, JOB_ACCEPTED
from shared_db.rules.refusals import Refusal

SUBMISSION_ERROR = 1503


@dataclass(frozen=True, slots=True)
class InitialState:
    """What a submitted job is first."""

    status: str
    minor_status: str


ACCEPTED = InitialState("Received", JOB_ACCEPTED)
# Members of a parametric job wait for the client to say that it knows all their ids.
UNCONFIRMED = InitialState("Submitting", BULK_CONFIRMATION)

# Confirming jobs that are on their way already is no error: the first answer may have been lost.
_CONFIRMED = frozenset({"Received", "Checking", "Waiting", "Matched", "Running"})


def to_confirm(requested: Sequence[int], statuses: Mapping[int, str]) -> list[int]:
    """The ids that confirmBulkSubmission moves on: all of them, or none when that was done before.

    ``statuses`` are those of the jobs that exist.  Raises Refusal for an id that is no job's or is named
    twice, for other states and for a mix of both.
    """
    if not requested:
        raise _refusal("Invalid job specification: []")
    found = {statuses[job_id] for job_id in requested if job_id in statuses}
    if len(statuses.keys() & set(requested)) == len(requested):
        if found <= _CONFIRMED:
            return []
        if found == {UNCONFIRMED.status}:
            return list(requested)
    raise _refusal("Requested jobs for bulk transaction are not valid")


def _refusal(detail: str) -> Refusal:
    return Refusal(f"Job submission error ( {SUBMISSION_ERROR} : {detail})", SUBMISSION_ERROR)
