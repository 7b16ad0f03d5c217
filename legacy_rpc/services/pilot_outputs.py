"""PilotManager and WebApp: what pilots wrote and said.

Nobody here may speak to a computing element: what is told is what was kept.
"""

from __future__ import annotations

from legacy_rpc.messages import Errno, Failure, Write
from legacy_rpc.services.older_pilots import OLDER_OUTPUT
from legacy_rpc.services.pilot_manager import pilot_manager
from legacy_rpc.services.table import Context
from legacy_rpc.services.web_app import web_app
from shared_db.errors import Conflict
from shared_db.queries.pilot_logs import all_lines
from shared_db.queries.pilot_outputs import outputs_of, pilots_by, store_output
from shared_db.rules.pilot_logs import raw_text
from shared_db.rules.pilot_output import first_output, no_info, no_log, no_output, pilot_output
from shared_db.rules.pilots import cut_output, no_pilots, no_reference, storable_text
from shared_db.rules.refusals import duplicate


@web_app.method(str, since="9.1")
@pilot_manager.method(str, until="9.1.12", older=OLDER_OUTPUT)
async def getPilotOutput(context: Context, pilotReference: str) -> dict[str, object]:
    """`{"StdOut", "StdErr", "VO", "FileList": []}` of a pilot: the output that was stored, else the lines
    that the pilot sent itself (`TornadoPilotLogging`).

    The CE is not asked: where nothing is kept, `Pilot output not available for … CEs`. Unknown pilot:
    `Failed to get info for pilot`.
    """
    async with context.databases.unit_of_work() as work:
        pilots = await pilots_by(work, "PilotJobReference", [pilotReference])
        if not pilots:
            raise no_info()
        youngest = pilots[-1]
        stored = await outputs_of(work, [pilot.PilotID for pilot in pilots])
        output = first_output(list(stored.values()))
        said = [] if output or not youngest.PilotStamp else await all_lines(work, youngest.PilotStamp)
    if output:
        return pilot_output(youngest.VO, *output)
    if not said:
        raise no_output(youngest.GridType)
    return pilot_output(youngest.VO, raw_text(line.message for line in said))


@pilot_manager.method(str, str, str, write=Write.CREATE, until="9.1.14")
async def storePilotOutput(context: Context, pilotReference: str, output: str, error: str) -> int:
    """Keep what the (oldest) pilot with a reference wrote, once: 1; the second time error 1131.

    Of more than `pilots: output_bytes` the end is kept, and says so. Unknown pilot:
    `Pilot reference not found …`.
    """
    most = context.common.pilots.largest_output
    kept = [cut_output(storable_text(text), most) for text in (output, error)]
    async with context.databases.unit_of_work(write=True) as work:
        pilots = await pilots_by(work, "PilotJobReference", [pilotReference])
        if not pilots:
            raise no_reference(pilotReference)
        pilot_id = pilots[0].PilotID
        try:
            await store_output(work, pilot_id, *kept)
        except Conflict as error_of_ours:
            raise duplicate(pilot_id) from error_of_ours
    return 1


@web_app.method(str, since="9.1")
@pilot_manager.method(str, until="9.1.12")
async def getPilotLoggingInfo(context: Context, pilotReference: str) -> str:
    """What a pilot said itself (`TornadoPilotLogging`, `PilotsLogging`), a line each with its time.

    The CE is not asked: where the pilot said nothing, `Pilot logging not available for … CEs`. Unknown
    pilot: error 1550.
    """
    async with context.databases.unit_of_work() as work:
        pilots = await pilots_by(work, "PilotJobReference", [pilotReference])
        stamp = pilots[-1].PilotStamp if pilots else ""
        lines = await all_lines(work, stamp) if stamp else []
    if not pilots:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    if not lines:
        raise no_log(pilots[-1].GridType)
    return "".join(line.as_text() for line in lines)
