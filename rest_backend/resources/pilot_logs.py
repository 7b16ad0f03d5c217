"""What pilots say of themselves, kept line by line and read back (rest-diracx.md, 7, unreleased routes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from rest_backend.errors import RestError
from rest_backend.models.pilot_work import LegacyPilotMessage, LogLimits, LogLine, LogsOfPilots, LogTail
from rest_backend.models.search import Paging, SearchParams
from rest_backend.operations import Answer, Context, Operation, Raw
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.policies.pilots import (
    OPERATE_PILOTS,
    READ_PILOT_LOGS,
    TELL_OF_PILOTS,
    reads_all_pilot_logs,
)
from rest_backend.resources.answers import paged
from rest_backend.resources.pilot_jobs import readable
from rest_backend.resources.pseudo_parameters import resolved
from shared_db.queries.conditions import Condition
from shared_db.queries.pilot_jobs import known_pilots, pilots_of_stamps
from shared_db.queries.pilot_logs import PilotLogs, add_lines, last_lines, remove_logs
from shared_db.queries.search import find_page
from shared_db.rules import clock
from shared_db.rules.pilot_logs import NOT_REGISTERED, Line

PILOT_ID = "PilotID"
STAMP = "PilotStamp"
TEXT = "text/plain"


async def keep_lines(context: Context, stamp: str, vo: str, lines: Sequence[LogLine]) -> Answer:
    """Keep lines of a pilot.  Raises RestError 413 for too many; what is cut off a long one is said in it."""
    settings = context.resources.settings.pilots
    if len(lines) > settings.lines_per_message:
        raise RestError(
            413,
            f"{len(lines)} lines in one message, at most {settings.lines_per_message} may be:"
            " send the rest in further messages",
        )
    said = (
        Line(
            each.timestamp.replace(tzinfo=each.timestamp.tzinfo or UTC),
            each.message,
            each.severity,
            each.scope,
        )
        for each in lines
    )
    rows = [line.as_row(settings.longest_line) for line in said]
    await add_lines(context.work, stamp, vo, rows, clock.utc_now())
    return Answer(None, 204)


async def legacy_message(context: Context, message: LegacyPilotMessage, _query: None) -> Answer:
    """Keep lines of a pilot that somebody else tells, or that has a user's token.

    They belong to the pilot's VO; of a pilot that is not registered, to the one given or the caller's.
    """
    known = await pilots_of_stamps(context.work, [message.pilot_stamp])
    vo = known[-1].vo if known else message.vo or context.caller.vo
    if not vo:
        raise RestError(400, NOT_REGISTERED)
    return await keep_lines(context, message.pilot_stamp, vo, message.lines)


async def search_logs(context: Context, body: SearchParams | None, paging: Paging) -> Answer:
    """Lines that meet all conditions, a page at a time, in the order in which they came.

    ``PilotID`` is that of the youngest pilot with the stamp, null when there is none (any more).
    """
    search = (body or SearchParams()).search_for(paging)

    async def stamps_of(pilot_ids: list[Any]) -> list[str]:
        if not all(isinstance(each, int) for each in pilot_ids):
            raise RestError(400, "'PilotID' pseudo-parameter values must be integers.")
        return [pilot.stamp for pilot in await known_pilots(context.work, pilot_ids)]

    search = await resolved(search, PILOT_ID, STAMP, stamps_of)
    asked = search.columns
    wants_id = not asked or PILOT_ID in asked
    if asked and wants_id:
        columns = dict.fromkeys([*(name for name in asked if name != PILOT_ID), STAMP])
        search = replace(search, columns=list(columns))
    if not reads_all_pilot_logs(context.caller):
        search = replace(search, conditions=[*search.conditions, Condition("VO", "eq", context.caller.vo)])
    page = await find_page(context.work, PilotLogs, search)
    if wants_id:
        pilots = await pilots_of_stamps(context.work, {row[STAMP] for row in page.rows})
        ids = {pilot.stamp: pilot.pilot_id for pilot in pilots}
        for row in page.rows:
            row[PILOT_ID] = ids.get(row[STAMP])
            if asked and STAMP not in asked:
                del row[STAMP]
    return paged(page, paging, "logs")


async def tail(context: Context, _body: None, query: LogTail) -> Answer:
    """The last lines of a pilot as plain text.

    404 where there are none: then PilotManager says that logging is not available.
    """
    vo = None if reads_all_pilot_logs(context.caller) else context.caller.vo
    lines = await last_lines(context.work, query.pilot_stamp, vo, query.lines)
    if not lines:
        pilots = readable(context, await pilots_of_stamps(context.work, [query.pilot_stamp]))
        if not pilots:
            raise RestError(404, "This pilot does not exist.")
        raise RestError(404, f"Pilot logging not available for {pilots[-1].grid_type} CEs")
    text = "".join(
        Line(said_at, message, severity, scope).as_text() for said_at, severity, scope, message in lines
    )
    return Answer(Raw(text.encode(), f"{TEXT}; charset=utf-8"))


async def delete_logs(context: Context, _body: None, query: LogsOfPilots) -> Answer:
    """Forget all that pilots said; those of which there is nothing are no error."""
    await remove_logs(context.work, query.pilot_stamps)
    return Answer(None, 204)


async def log_limits(context: Context, _body: None, _query: None) -> Answer:
    """What a message of a pilot may hold, and how long it is kept."""
    settings = context.resources.settings.pilots
    kept = settings.log_lifetime
    return Answer(
        LogLimits(
            lines_per_message=settings.lines_per_message,
            characters_per_line=settings.longest_line,
            days_kept=None if kept is None else kept.days,
        )
    )


OPERATIONS = (
    Operation(
        "pilots_send_legacy_message",
        "POST",
        "/api/pilots/legacy/message",
        legacy_message,
        TELL_OF_PILOTS,
        body=LegacyPilotMessage,
        statuses=(204,),
        errors=(400, 413),
        writes=True,
        creates=True,
        extension=True,
    ),
    Operation(
        "pilots_search_logs",
        "POST",
        "/api/pilots/search/logs",
        search_logs,
        READ_PILOT_LOGS,
        body=SearchParams | None,
        parameters=Paging,
        response=list[dict[str, Any]],
        statuses=(200, 206),
        errors=(400, 416),
        extension=True,
    ),
    Operation(
        "pilots_get_pilot_logs",
        "GET",
        "/api/pilots/logs",
        tail,
        READ_PILOT_LOGS,
        parameters=LogTail,
        response=str,
        errors=(404,),
        content_type=TEXT,
        extension=True,
    ),
    Operation(
        "pilots_delete_pilot_logs",
        "DELETE",
        "/api/pilots/logs",
        delete_logs,
        OPERATE_PILOTS,
        parameters=LogsOfPilots,
        statuses=(204,),
        writes=True,
        extension=True,
    ),
    Operation(
        "pilots_get_log_limits",
        "GET",
        "/api/pilots/logs/limits",
        log_limits,
        AUTHENTICATED,
        response=LogLimits,
        extension=True,
    ),
)
