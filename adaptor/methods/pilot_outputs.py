"""PilotManager and WebApp over REST: what pilots wrote and said."""

from __future__ import annotations

from adaptor.conversation import Conversation, Request, RestFailure
from adaptor.methods.pilot_manager import pilot_manager
from adaptor.methods.web_app import web_app
from adaptor.pilots import lines_of, named
from legacy_rpc.messages import Errno, Failure
from shared_db.rules.pilot_logs import raw_text
from shared_db.rules.pilot_output import first_output, no_info, no_log, no_output, pilot_output
from shared_db.rules.pilots import TEXT_SIZES, no_pilots, no_reference
from shared_db.rules.refusals import duplicate

OUTPUT = "/api/pilots/output"


@web_app.adapts
@pilot_manager.adapts
def getPilotOutput(pilotReference: str) -> Conversation:
    """`GET /api/pilots/output`, perhaps `POST /api/pilots/search` and `POST /api/pilots/search/logs` (nothing
    was stored).

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    if not 1 <= len(pilotReference) <= TEXT_SIZES["PilotJobReference"]:
        raise no_info()
    try:
        pilots = yield Request("GET", OUTPUT, query={"pilot_reference": pilotReference})
    except RestFailure as failure:
        if failure.status == 404 and not failure.not_executed:
            raise no_info() from failure
        raise
    output = first_output([(pilot["StdOut"], pilot["StdErr"]) for pilot in pilots])
    youngest = pilots[-1]
    if output:
        return pilot_output(youngest["VO"], *output)
    lines = (yield from lines_of(youngest["PilotStamp"])) if youngest["PilotStamp"] else []
    if lines:
        return pilot_output(youngest["VO"], raw_text(line.message for line in lines))
    known = yield from named(pilotReference, ("PilotID", "GridType"))
    raise no_output(known[-1]["GridType"]) if known else no_info()


@pilot_manager.adapts
def storePilotOutput(pilotReference: str, output: str, error: str) -> Conversation:
    """`POST /api/pilots/search`, then `POST /api/pilots/output`. Differences: none."""
    pilots = yield from named(pilotReference, ("PilotID",))
    if not pilots:
        raise no_reference(pilotReference)
    pilot_id = pilots[0]["PilotID"]
    try:
        yield Request("POST", OUTPUT, {"pilot_id": pilot_id, "StdOut": output, "StdErr": error})
    except RestFailure as failure:
        if failure.status == 409:
            raise duplicate(pilot_id) from failure
        raise
    return 1


@web_app.adapts
@pilot_manager.adapts
def getPilotLoggingInfo(pilotReference: str) -> Conversation:
    """`POST /api/pilots/search`, perhaps `POST /api/pilots/search/logs` (the pilot has a stamp).

    Differences: a caller with a bearer token sees pilots of his VO only.
    """
    pilots = yield from named(pilotReference, ("PilotID", "PilotStamp", "GridType"))
    if not pilots:
        raise Failure.of(Errno.EWMSNOPILOT, no_pilots(pilotReference))
    youngest = pilots[-1]
    lines = (yield from lines_of(youngest["PilotStamp"])) if youngest["PilotStamp"] else []
    if not lines:
        raise no_log(youngest["GridType"])
    return "".join(line.as_text() for line in lines)
