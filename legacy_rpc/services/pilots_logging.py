"""WorkloadManagement/PilotsLogging (legacy-methods.md, section 11), which 9 has dropped."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.table import Context, Service
from shared_db.queries.pilot_jobs import pilots_of_stamps
from shared_db.queries.pilot_logs import add_lines, all_lines, remove_logs
from shared_db.rules.clock import utc_now
from shared_db.rules.pilot_logs import record_line, record_stamp, records_of, vo_of_lines
from shared_db.rules.pilots import references_of

pilots_logging = Service("WorkloadManagement/PilotsLogging", handler_class="PilotsLoggingHandler")

OPERATOR = ("Operator",)


@pilots_logging.method(str, str, str, str, str, str, write=Write.APPEND, authorization=OPERATOR, until="8.0")
async def addPilotsLogging(
    context: Context,
    pilotUUID: str,
    timestamp: str,
    source: str,
    phase: str,
    status: str,
    messageContent: str,
) -> None:
    """Keep a record of a pilot, named by any text of at most 255 characters, as are the others.

    It is a line of the pilot's log, and belongs to the pilot's VO, or that of the caller; a caller without a
    VO is refused for a pilot that is not registered.
    """
    now = utc_now()
    stamp = record_stamp(pilotUUID)
    line = record_line((timestamp, source, phase, status, messageContent), now)
    async with context.databases.unit_of_work(write=True) as work:
        registered = [pilot.vo for pilot in await pilots_of_stamps(work, [stamp])]
        vo = vo_of_lines(registered, "", context.call.identity.vo or "", speaks_for_all=True)
        await add_lines(work, stamp, vo, [line.as_row(context.common.pilots.longest_line)], now)


@pilots_logging.method(str, until="8.0")
async def getPilotsLogging(context: Context, pilotUUID: str) -> list[dict[str, str]]:
    """`[{"pilotUUID", "timestamp", "source", "phase", "status", "messageContent"}]`, sorted by the
    text of the time stamp. What the pilot said through `TornadoPilotLogging` is among it.
    """
    async with context.databases.unit_of_work() as work:
        return records_of(pilotUUID, await all_lines(work, record_stamp(pilotUUID)))


@pilots_logging.method([str, list], write=Write.IDEMPOTENT, authorization=OPERATOR, until="8.0")
async def deletePilotsLogging(context: Context, pilotUUID: str | list[Any]) -> None:
    """Forget all that one or several pilots said; unknown ones are no error."""
    stamps = [record_stamp(name) for name in references_of(pilotUUID)]
    async with context.databases.unit_of_work(write=True) as work:
        await remove_logs(work, set(stamps))
