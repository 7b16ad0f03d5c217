"""WorkloadManagement/TornadoPilotLogging over REST."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Conversation, LegacyService, Request
from adaptor.pilot_messages import told
from adaptor.pilots import lines_of
from legacy_rpc.messages import Call
from shared_db.rules import pilot_logs as rules
from shared_db.rules.clock import utc_now

tornado_pilot_logging = LegacyService("WorkloadManagement/TornadoPilotLogging")


@tornado_pilot_logging.adapts
def sendMessage(message: Any, pilotUUID: Any, wnVO: Any, *, call: Call) -> Conversation:
    """`POST /api/pilots/legacy/message`, one for every 1,000 lines.

    Differences: more lines than that go in several steps, each of which stays done.
    """
    stamp, vo = rules.addressed(call.identity.vo, wnVO, pilotUUID)
    now = utc_now()
    yield from told(stamp, vo, [rules.Line(now, text) for text in rules.read_message(message)])


@tornado_pilot_logging.adapts
def finaliseLogs(payload: Any, pilotUUID: Any, wnVO: Any, *, call: Call) -> Conversation:
    """`POST /api/pilots/legacy/message`. Differences: none."""
    stamp, vo = rules.addressed(call.identity.vo, wnVO, pilotUUID)
    yield from told(stamp, vo, [rules.Line(utc_now(), rules.finished(payload))])


@tornado_pilot_logging.adapts
def getMetadata() -> Conversation:
    """`GET /api/pilots/logs/limits`. Differences: none."""
    limits = yield Request("GET", "/api/pilots/logs/limits")
    return rules.metadata(
        rules.PilotLimits(
            longest_line=limits["characters_per_line"], lines_per_message=limits["lines_per_message"]
        )
    )


@tornado_pilot_logging.adapts
def getLogs(logfile: Any, vo: Any) -> Conversation:
    """`POST /api/pilots/search/logs`, one for every 10,000 lines.

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    lines = yield from lines_of(rules.log_file_stamp(str(logfile)), rules.checked_vo(vo))
    if not lines:
        raise rules.no_log()
    return {"StdOut": rules.raw_text(line.message for line in lines)}
