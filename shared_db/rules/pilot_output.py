"""What pilots wrote, as WMSAdministrator's getJobPilotOutput shows it (legacy-methods.md, section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared_db.rules.refusals import Refusal, UnfitArgument

LARGEST = 2**31 - 1
# Nobody here asks a computing element.
NOT_HERE = "the output is not kept here, and the computing element is not asked"

# A pilot's reference, its standard output and its standard error; None: not kept.
Written = tuple[str, str | None, str | None]


def job_id_of(given: Any) -> int:
    """The job whose pilots are wanted.  Raises UnfitArgument, and Refusal for what no job has."""
    try:
        job_id = int(given)
    except ValueError as error:
        raise UnfitArgument(str(error)) from error
    if not 0 < job_id <= LARGEST:
        raise no_pilot(job_id)
    return job_id


def no_pilot(job_id: int) -> Refusal:
    """No pilot ran a job."""
    return Refusal(f"Failed to get pilot for Job {job_id}: ")


def job_pilot_output(pilots: Sequence[Written]) -> dict[str, str]:
    """All that the pilots of a job wrote, one after the other; of one reference the youngest pilot's."""
    written = {reference: (output, error) for reference, output, error in pilots}
    return {
        "StdOut": "".join(_part(reference, output, "output") for reference, (output, _) in written.items()),
        "StdErr": "".join(_part(reference, error, "error") for reference, (_, error) in written.items()),
    }


def _part(reference: str, text: str | None, kind: str) -> str:
    shown = f"Could not retrieve {kind}: {NOT_HERE}" if text is None else text
    return f"# PilotJobReference: {reference}\n\n{shown}\n"


def no_info() -> Refusal:
    """No pilot has the reference."""
    return Refusal("Failed to get info for pilot")


def no_output(grid_type: str) -> Refusal:
    """Nothing is kept of what a pilot wrote."""
    return Refusal(f"Pilot output not available for {grid_type} CEs")


def no_log(grid_type: str) -> Refusal:
    """Nothing is kept of what a pilot said."""
    return Refusal(f"Pilot logging not available for {grid_type} CEs")


def pilot_output(vo: str, output: str, error: str = "") -> dict[str, Any]:
    """What getPilotOutput answers."""
    return {"StdOut": output, "StdErr": error, "VO": vo, "FileList": []}


def first_output(outputs: Sequence[tuple[str | None, str | None]]) -> tuple[str, str] | None:
    """Of what pilots with one reference wrote the first that is not empty; None for none."""
    return next(((output or "", error or "") for output, error in outputs if output or error), None)
