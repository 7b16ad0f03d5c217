"""Sends lines of pilots, as both legacy services of pilot logs do."""

from __future__ import annotations

from collections.abc import Sequence

from adaptor.conversation import Conversation, Request, RestFailure
from legacy_rpc.messages import Failure
from shared_db.rules.pilot_logs import Line

MESSAGE = "/api/pilots/legacy/message"
# What one message may hold, unless the administrators say otherwise.
LINES = 1_000


def told(stamp: str, vo: str, lines: Sequence[Line]) -> Conversation:
    """Tell lines of a pilot; ``vo`` is that of one that is not registered, empty: it is not known.

    Raises Failure for what the backend does not take.
    """
    for first in range(0, len(lines), LINES):
        body = {"pilot_stamp": stamp, "lines": [_line(line) for line in lines[first : first + LINES]]}
        try:
            yield Request("POST", MESSAGE, body | ({"vo": vo} if vo else {}))
        except RestFailure as failure:
            if failure.status in (400, 413):
                raise Failure(str(failure.detail)) from failure
            raise


def _line(line: Line) -> dict[str, str]:
    return {
        "timestamp": line.said_at.isoformat(),
        "severity": line.severity,
        "message": line.message,
        "scope": line.scope,
    }
