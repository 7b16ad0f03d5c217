"""Rows of WorkloadManagement/PilotsLogging."""

from __future__ import annotations

import json
from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import AWARE, Row, search
from rows.pilot_pages import LOG_COLUMNS, line
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/PilotsLogging"

UUID, STAMP = "00000000-1111-2222-3333-aaaaaaaaaaaa", "00000000111122223333aaaaaaaaaaaa"
RECORD = {
    "timestamp": "1427721819.0",
    "source": "pilot",
    "phase": "Installing",
    "status": "info",
    "messageContent": "é",
}
LINE = {
    "timestamp": AWARE,
    "severity": "info",
    "message": json.dumps(RECORD, ensure_ascii=False),
    "scope": "PilotsLogging",
}
NOT_REGISTERED = "This pilot is not registered: give the vo that its lines belong to"


def told(vo: dict[str, str], *lines: dict[str, Any]) -> Request:
    body = {"pilot_stamp": STAMP, "lines": list(lines), **vo}
    return Request("POST", "/api/pilots/legacy/message", body)


def logs(stamp: str) -> Request:
    return search("/api/pilots/search/logs", LOG_COLUMNS, ("PilotStamp", "eq", stamp), order="LineID")


ROWS = {
    "a record of a pilot": Row(
        SERVICE, "addPilotsLogging", [UUID, *RECORD.values()], [(told({"vo": "demo"}, LINE), None)]
    ),
    "a record of a pilot that is not registered, by nobody's VO": Row(
        SERVICE,
        "addPilotsLogging",
        [UUID, *RECORD.values()],
        [(told({"vo": "demo"}, LINE), RestFailure(400, NOT_REGISTERED))],
        Failure(NOT_REGISTERED),
    ),
    "a record that is too long": Row(
        SERVICE,
        "addPilotsLogging",
        [UUID, "1", "x" * 256, "", "", ""],
        [],
        Refusal(
            "MySQL Error ( 1131 : Execution failed.: "
            "((1406, \"Data too long for column 'source' at row 1\") ))",
            1131,
        ),
    ),
    "records of a pilot, by their time stamps": Row(
        SERVICE,
        "getPilotsLogging",
        [UUID],
        [(logs(STAMP), [line(1, "said", "setup"), line(2, LINE["message"], "PilotsLogging")])],
        [
            {"pilotUUID": UUID, **RECORD},
            {
                "pilotUUID": UUID,
                "timestamp": "2026-11-21 20:56:16.500000",
                "source": "setup",
                "phase": "",
                "status": "INFO",
                "messageContent": "said",
            },
        ],
    ),
    "a pilot by a long reference": Row(
        SERVICE,
        "getPilotsLogging",
        ["ref://" + "9" * 40],
        [(logs("bf5c507c262e9c332ff3c528f0e5035f"), [])],
        [],
    ),
    "a pilot to forget": Row(
        SERVICE,
        "deletePilotsLogging",
        [[UUID, "s1", "s1"]],
        [(Request("DELETE", "/api/pilots/logs", query={"pilot_stamps": [STAMP, "s1"]}), None)],
    ),
    "no pilots to forget": Row(SERVICE, "deletePilotsLogging", [[]]),
}
