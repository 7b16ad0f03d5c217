"""WorkloadManagement/PilotsLogging over REST."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request
from adaptor.pilot_messages import told
from adaptor.pilots import lines_of
from adaptor.values import LARGEST_PAGE
from legacy_rpc.messages import Call
from shared_db.rules.clock import utc_now
from shared_db.rules.pilot_logs import record_line, record_stamp, records_of
from shared_db.rules.pilots import references_of

pilots_logging = LegacyService("WorkloadManagement/PilotsLogging")


@pilots_logging.adapts
def addPilotsLogging(
    pilotUUID: str,
    timestamp: str,
    source: str,
    phase: str,
    status: str,
    messageContent: str,
    *,
    call: Call,
) -> Conversation:
    """`POST /api/pilots/legacy/message`: the record, as JSON, is one line. Differences: none."""
    stamp = record_stamp(pilotUUID)
    line = record_line((timestamp, source, phase, status, messageContent), utc_now())
    yield from told(stamp, call.identity.vo or "", [line])


@pilots_logging.adapts
def getPilotsLogging(pilotUUID: str) -> Conversation:
    """`POST /api/pilots/search/logs`, one for every 10,000 lines. Differences: none."""
    lines = yield from lines_of(record_stamp(pilotUUID))
    return records_of(pilotUUID, lines)


@pilots_logging.adapts
def deletePilotsLogging(pilotUUID: str | list[Any]) -> Conversation:
    """`DELETE /api/pilots/logs`, one for every 10,000 pilots. Differences: none."""
    stamps = sorted({record_stamp(name) for name in references_of(pilotUUID)})
    for first in range(0, len(stamps), LARGEST_PAGE):
        some = stamps[first : first + LARGEST_PAGE]
        yield Request("DELETE", "/api/pilots/logs", query={"pilot_stamps": some})
