"""What pilots say of themselves through the legacy services (legacy-methods.md, sections 7 and 11).

Lines are kept by stamp, with a time, a severity and a scope; both routes keep and show them alike.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared_db.rules.pilots import cut_line, storable_text
from shared_db.rules.refusals import Refusal, UnfitArgument, too_long

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STAMP = re.compile(r"[0-9a-z]{32}")
_VO = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
LONGEST_STAMP = 32
LONGEST_VO = 64
LONGEST_SEVERITY = 16
# Of one message of TornadoPilotLogging; pilots send some hundreds at a time.
MOST_LINES = 100_000
# What ends a line for `splitlines`.
_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

ENOAUTH = 1111
NOT_REGISTERED = "This pilot is not registered: give the vo that its lines belong to"
OF_ANOTHER_VO = "Insufficient permissions to access all of the provided pilots."


@dataclass(frozen=True, slots=True)
class PilotLimits:
    """What is kept of pilots: characters of a line, lines of one message over REST, bytes of an output."""

    longest_line: int = 8_000
    lines_per_message: int = 1_000
    largest_output: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """Something that a pilot said; ``said_at`` is aware."""

    said_at: datetime
    message: str
    severity: str = "INFO"
    scope: str = ""

    def as_row(self, longest: int) -> dict[str, Any]:
        """The line as it is kept, of at most so many characters."""
        return {
            "said_at": self.said_at,
            "severity": storable_text(self.severity),
            "scope": storable_text(self.scope),
            "message": cut_line(storable_text(self.message), longest),
        }

    def as_text(self) -> str:
        """The line as it is shown in a log."""
        moment = self.said_at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        return f"{moment}Z {self.severity} {f'[{self.scope}] ' if self.scope else ''}{self.message}\n"


def vo_of_lines(registered: Sequence[str], given: str, own_vo: str, *, speaks_for_all: bool) -> str:
    """The VO that lines belong to: the pilot's, or of one that is not registered the given or caller's.

    ``registered``: the VOs of the pilots that have the stamp, the youngest last.  Raises Refusal for pilots
    of another VO, unless the caller may speak for all.
    """
    wanted = given or own_vo
    vo = registered[-1] if registered else wanted
    if not speaks_for_all and set(registered or (wanted,)) != {own_vo}:
        raise Refusal(f"Unauthorized query ( {ENOAUTH} : {OF_ANOTHER_VO})", ENOAUTH)
    if not vo:
        raise Refusal(NOT_REGISTERED)
    return vo


# TornadoPilotLogging


def log_stamp(name: str) -> str:
    """The stamp of a pilot that writes a log: its stamp, or its UUID without dashes.  Raises Refusal."""
    if _UUID.fullmatch(name):
        return name.replace("-", "")
    if not _STAMP.fullmatch(name):
        raise Refusal("Pilot UUID is invalid")
    return name


def log_file_stamp(name: str) -> str:
    """The same of a log file, finished or not.  Raises Refusal for what is no log file."""
    try:
        return log_stamp(name.removesuffix(".log"))
    except Refusal:
        raise no_log() from None


def no_log() -> Refusal:
    """There is no such log."""
    return Refusal("FileNotFoundError(2, 'No such file or directory')")


def checked_vo(vo: Any) -> str:
    """A VO's name that is safe as part of a path, as DIRAC wants it.  Raises Refusal."""
    if not isinstance(vo, str) or not _VO.fullmatch(vo) or len(vo) > LONGEST_VO:
        raise Refusal(f"VO name is invalid: {vo}")
    return vo


def addressed(caller_vo: str | None, given_vo: Any, pilot: Any) -> tuple[str, str]:
    """The stamp and the VO of lines that a caller sends: the VO given counts where he has none.

    Raises Refusal.
    """
    vo = checked_vo(caller_vo or given_vo)
    return log_stamp(str(pilot)), vo


def read_message(message: Any) -> list[str]:
    """The texts of a message: a list of them in JSON, or one text, whose lines they are.

    Raises Refusal, UnfitArgument.
    """
    content = _read_json(message)
    if isinstance(content, str):
        # Counted before they are made, each of which takes far more room than its one character.
        _check_number(sum(map(content.count, _LINE_BREAKS)))
        content = content.splitlines()
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise Refusal("A message is a text or a list of texts, in JSON")
    _check_number(len(content))
    return content


def _check_number(lines: int) -> None:
    if lines > MOST_LINES:
        raise Refusal(f"More than {MOST_LINES} lines in one message: send the rest in further messages")


def _read_json(text: Any) -> Any:
    """Raises Refusal, UnfitArgument."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(repr(error)) from error
    except TypeError as error:
        raise UnfitArgument(str(error)) from error


def finished(payload: Any) -> str:
    """The last line of a log, from the payload of finaliseLogs.  Raises Refusal, UnfitArgument."""
    content = _read_json(payload)
    if not isinstance(content, dict):
        raise Refusal("The payload is an object in JSON")
    return f"finalised: {json.dumps(content, ensure_ascii=False)}"


def raw_text(messages: Iterable[str]) -> str:
    """What a pilot wrote, line by line."""
    return "".join(f"{message}\n" for message in messages)


def metadata(limits: PilotLimits) -> dict[str, Any]:
    """What getMetadata answers: there is no directory of log files here."""
    return {
        "LogPath": "",
        "LinesPerMessage": limits.lines_per_message,
        "CharactersPerLine": limits.longest_line,
    }


# PilotsLogging

RECORD_SCOPE = "PilotsLogging"
RECORD = ("timestamp", "source", "phase", "status", "messageContent")
_LONGEST_FIELD = 255


def record_stamp(name: str) -> str:
    """The stamp of a pilot that PilotsLogging names by any text: the text, where it fits.

    A UUID is without its dashes, a longer text its MD5.  Raises Refusal.
    """
    if not name or len(name) > _LONGEST_FIELD:
        raise too_long("pilotUUID") if name else Refusal("Pilot UUID is invalid")
    if _UUID.fullmatch(name):
        return name.replace("-", "")
    if len(name) <= LONGEST_STAMP and storable_text(name) == name:
        return name
    return hashlib.md5(name.encode(errors="replace"), usedforsecurity=False).hexdigest()


def record_line(values: Sequence[str], now: datetime) -> Line:
    """The line that holds a record of PilotsLogging, all of it; values as in RECORD.  Raises Refusal."""
    record = dict(zip(RECORD, values, strict=True))
    for name, value in record.items():
        if len(value) > _LONGEST_FIELD:
            raise too_long(name)
    message = json.dumps(record, ensure_ascii=False)
    return Line(now, message, record["status"][:LONGEST_SEVERITY], RECORD_SCOPE)


def records_of(name: str, lines: Iterable[Line]) -> list[dict[str, str]]:
    """What getPilotsLogging answers, by time stamp (a text); lines that others wrote are records too."""
    records = [{"pilotUUID": name, **_record(line)} for line in lines]
    return sorted(records, key=lambda record: record["timestamp"])


def _record(line: Line) -> Mapping[str, str]:
    if line.scope == RECORD_SCOPE:
        try:
            record = json.loads(line.message)
        except ValueError:  # cut off
            record = None
        if isinstance(record, dict) and tuple(record) == RECORD:
            return record
    moment = line.said_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    values = (moment, line.scope, "", line.severity, line.message)
    return dict(zip(RECORD, values, strict=True))
