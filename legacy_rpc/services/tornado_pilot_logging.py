"""WorkloadManagement/TornadoPilotLogging (legacy-methods.md, section 11), which DIRAC serves over HTTPS only.

Lines are kept in our own database, not in files.
"""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.table import Context, Service
from shared_db.queries.pilot_jobs import pilots_of_stamps
from shared_db.queries.pilot_logs import add_lines, all_lines
from shared_db.rules import pilot_logs as rules
from shared_db.rules.clock import utc_now

tornado_pilot_logging = Service(
    "WorkloadManagement/TornadoPilotLogging", handler_class="TornadoPilotLoggingHandler"
)


@tornado_pilot_logging.method(write=Write.APPEND, authorization=("Operator", "GenericPilot"), since="9.0")
async def sendMessage(context: Context, message: Any, pilotUUID: Any, wnVO: Any) -> None:
    """Keep lines of a pilot: a list of texts, or one text, in JSON. The pilot is named by its UUID or stamp.

    They belong to the pilot's VO, or, of one that is not registered, to the caller's, else to `wnVO`. Pilots
    speak for pilots of their own VO only. `Pilot UUID is invalid`, `VO name is invalid: …`.
    """
    stamp, vo = rules.addressed(context.call.identity.vo, wnVO, pilotUUID)
    await _keep(context, stamp, vo, rules.read_message(message))


@tornado_pilot_logging.method(
    write=Write.APPEND, authorization=("Operator", "Pilot", "GenericPilot"), since="9.0"
)
async def finaliseLogs(context: Context, payload: Any, pilotUUID: Any, wnVO: Any) -> None:
    """Write what the payload (an object in JSON) says as a pilot's last line. Nothing is closed or moved: the
    log can be read, and written to, as before. Errors as of `sendMessage`.
    """
    stamp, vo = rules.addressed(context.call.identity.vo, wnVO, pilotUUID)
    await _keep(context, stamp, vo, [rules.finished(payload)])


async def _keep(context: Context, stamp: str, vo: str, texts: list[str]) -> None:
    caller = context.call.identity
    now = utc_now()
    rows = [rules.Line(now, text).as_row(context.common.pilots.longest_line) for text in texts]
    async with context.databases.unit_of_work(write=True) as work:
        registered = [each.vo for each in await pilots_of_stamps(work, [stamp])]
        speaks_for_all = caller.has("Operator", "ServiceAdministrator")
        owner = rules.vo_of_lines(registered, vo, caller.vo or "", speaks_for_all=speaks_for_all)
        await add_lines(work, stamp, owner, rows, now)


@tornado_pilot_logging.method(authorization=("Operator", "TrustedHost"), since="9.0")
async def getMetadata(context: Context) -> dict[str, Any]:
    """`{"LogPath": "", "LinesPerMessage", "CharactersPerLine"}`: there are no files of logs to be fetched."""
    return rules.metadata(context.common.pilots)


@tornado_pilot_logging.method(since="9.0")
async def getLogs(context: Context, logfile: Any, vo: Any) -> dict[str, str]:
    """`{"StdOut"}`: all that a pilot of a VO wrote so far. The file is its UUID or stamp, with `.log` or not.

    Where there is none: `FileNotFoundError(2, 'No such file or directory')`.
    """
    stamp = rules.log_file_stamp(str(logfile))
    async with context.databases.unit_of_work() as work:
        lines = await all_lines(work, stamp, rules.checked_vo(vo))
    if not lines:
        raise rules.no_log()
    return {"StdOut": rules.raw_text(line.message for line in lines)}
