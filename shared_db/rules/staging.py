"""What the stager's word on a job's input files makes of the job (updateJobFromStager)."""

from __future__ import annotations

from shared_db.rules.clock import utc_now
from shared_db.rules.job_states import STAGING_FAILED
from shared_db.rules.status_updates import StatusUpdate

STAGING = "Staging"

# The stager may be quicker than whoever puts the job to Staging: so often the job is looked at, with so many
# seconds between.
TRIALS = 10
PAUSE = 1.0


def not_staging() -> str:
    """The answer where the job did not come to be in Staging."""
    return f"Job is not in Staging after {TRIALS} seconds"


def found_staging(trial: int) -> str:
    """The answer where it did so late; ``trial`` from 0."""
    return f"Found job in Staging after {trial} seconds"


def stager_update(status: str) -> StatusUpdate:
    """Files that are there (``Done``) let the job go on to be scheduled."""
    if status == "Done":
        return StatusUpdate(utc_now(), "Checking", "JobScheduling", source="StagerSystem")
    return StatusUpdate(utc_now(), minor_status=STAGING_FAILED, source="StagerSystem")
