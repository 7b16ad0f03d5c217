"""What pilots wrote to their standard output and error (legacy-methods.md, sections 7 and 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_backend.errors import RestError
from rest_backend.models.pilot_work import NewPilotOutput, PilotOutput, StoredOutput, WhichOutput
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.pilots import OPERATE_PILOTS, READ_PILOT_LOGS, may_read_of
from shared_db.queries.pilot_outputs import outputs_of, pilots_by, store_output
from shared_db.queries.pilots import pilots_of_jobs
from shared_db.rules.pilots import cut_output, storable_text

# What names a pilot, and the column that it is.
_NAMES = {"pilot_id": "PilotID", "pilot_reference": "PilotJobReference", "pilot_stamp": "PilotStamp"}


async def pilot_outputs(context: Context, _body: None, query: WhichOutput) -> Answer:
    """What was kept of the outputs of a pilot, or of all pilots that ran a job; the oldest pilot first.

    Outputs that only the computing element has are null: it is not asked.
    """
    given = query.model_dump(exclude_none=True)
    if len(given) != 1:
        raise RestError(
            400, "You must provide exactly one of pilot_id, pilot_reference, pilot_stamp and job_id"
        )
    [(name, value)] = given.items()
    if name == "job_id":
        wanted, column = await pilots_of_jobs(context.work, [value]), "PilotID"
    else:
        wanted, column = [value], _NAMES[name]
    pilots = await _known(context, column, wanted)
    if not pilots:
        raise RestError(
            404,
            f"Failed to get pilot for Job {value}: " if name == "job_id" else "Failed to get info for pilot",
        )
    outputs = await outputs_of(context.work, [pilot.PilotID for pilot in pilots])
    return Answer([_shown(pilot, *outputs.get(pilot.PilotID, (None, None))) for pilot in pilots])


async def _known(context: Context, column: str, values: Sequence[Any]) -> list[Any]:
    """The pilots that a column names and the caller may know of."""
    found = await pilots_by(context.work, column, values)
    return [pilot for pilot in found if may_read_of(context.caller, pilot.VO)]


def _shown(pilot: Any, output: str | None, error: str | None) -> PilotOutput:
    return PilotOutput(
        PilotID=pilot.PilotID,
        PilotJobReference=pilot.PilotJobReference,
        PilotStamp=pilot.PilotStamp,
        VO=pilot.VO,
        StdOut=output,
        StdErr=error,
    )


async def keep_output(context: Context, given: NewPilotOutput, _query: None) -> Answer:
    """Keep what a pilot wrote; once only.

    Of an output that is too large the end is kept: its first line then says so, and so does the answer.
    """
    [(name, value)] = given.model_dump(include=set(_NAMES), exclude_none=True).items()
    pilots = await pilots_by(context.work, _NAMES[name], [value])
    if not pilots:
        raise RestError(404, f"Pilot reference not found {value}")
    most = context.resources.settings.pilots.largest_output
    written = [storable_text(text) for text in (given.StdOut, given.StdErr)]
    kept = [cut_output(text, most) for text in written]
    pilot_id = pilots[-1].PilotID
    await store_output(context.work, pilot_id, *kept)
    return Answer(StoredOutput(PilotID=pilot_id, truncated=kept != written), 201)


OPERATIONS = (
    Operation(
        "pilots_get_pilot_outputs",
        "GET",
        "/api/pilots/output",
        pilot_outputs,
        READ_PILOT_LOGS,
        parameters=WhichOutput,
        response=list[PilotOutput],
        errors=(400, 404),
        extension=True,
    ),
    Operation(
        "pilots_store_pilot_output",
        "POST",
        "/api/pilots/output",
        keep_output,
        OPERATE_PILOTS,
        body=NewPilotOutput,
        response=StoredOutput,
        statuses=(201,),
        errors=(404, 409),
        writes=True,
        extension=True,
    ),
)
