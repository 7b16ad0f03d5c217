"""Rows of WorkloadManagement/TornadoPilotLogging."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import ALICE, AWARE, Row, search
from rows.pilot_pages import LOG_COLUMNS, line
from shared_db.rules.refusals import Refusal

SERVICE = "WorkloadManagement/TornadoPilotLogging"

UUID, STAMP = "00000000-1111-2222-3333-aaaaaaaaaaaa", "00000000111122223333aaaaaaaaaaaa"
HOST = replace(ALICE, username="localhost", group="hosts", kind="host", vo=None)


def told(vo: str, *messages: str) -> Request:
    lines: list[dict[str, Any]] = [
        {"timestamp": AWARE, "severity": "INFO", "message": message, "scope": ""} for message in messages
    ]
    body = {"pilot_stamp": STAMP, "lines": lines, "vo": vo}
    return Request("POST", "/api/pilots/legacy/message", body)


def logs(vo: str) -> Request:
    return search(
        "/api/pilots/search/logs",
        LOG_COLUMNS,
        ("PilotStamp", "eq", STAMP),
        ("VO", "eq", vo),
        order="LineID",
    )


ROWS = {
    "lines of a pilot, of the caller's VO": Row(
        SERVICE, "sendMessage", ['["one", "two"]', UUID, "other"], [(told("demo", "one", "two"), None)]
    ),
    "a text of lines, of the VO that a host says": Row(
        SERVICE,
        "sendMessage",
        ['"one\\ntwo\\n"', STAMP, "a.b"],
        [(told("a.b", "one", "two"), None)],
        identity=HOST,
    ),
    "more lines than one request may have": Row(
        SERVICE,
        "sendMessage",
        [str(["x"] * 1001).replace("'", '"'), STAMP, ""],
        [(told("demo", *["x"] * 1000), None), (told("demo", "x"), None)],
    ),
    "no lines": Row(SERVICE, "sendMessage", ["[]", STAMP, ""]),
    "more than the backend takes": Row(
        SERVICE,
        "sendMessage",
        ['["one"]', STAMP, ""],
        [(told("demo", "one"), RestFailure(413, "too many"))],
        Failure("too many"),
    ),
    "lines of what is no pilot": Row(
        SERVICE, "sendMessage", ['["one"]', "../x", ""], [], Refusal("Pilot UUID is invalid")
    ),
    "lines of what is no VO": Row(
        SERVICE,
        "sendMessage",
        ['["one"]', STAMP, "../x"],
        [],
        Refusal("VO name is invalid: ../x"),
        identity=HOST,
    ),
    "no JSON": Row(
        SERVICE,
        "sendMessage",
        ["one", STAMP, ""],
        [],
        Refusal("JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"),
    ),
    "the end of a log": Row(
        SERVICE,
        "finaliseLogs",
        ['{"retCode": 1}', UUID, ""],
        [(told("demo", 'finalised: {"retCode": 1}'), None)],
    ),
    "metadata": Row(
        SERVICE,
        "getMetadata",
        [],
        [
            (
                Request("GET", "/api/pilots/logs/limits"),
                {"lines_per_message": 5, "characters_per_line": 6, "days_kept": None},
            )
        ],
        {"LogPath": "", "LinesPerMessage": 5, "CharactersPerLine": 6},
    ),
    "a log": Row(
        SERVICE,
        "getLogs",
        [f"{UUID}.log", "demo"],
        [(logs("demo"), [line(1, "one"), line(2, "two")])],
        {"StdOut": "one\ntwo\n"},
    ),
    "no log": Row(
        SERVICE,
        "getLogs",
        [STAMP, "demo"],
        [(logs("demo"), [])],
        Refusal("FileNotFoundError(2, 'No such file or directory')"),
    ),
}
