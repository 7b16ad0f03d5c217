"""What legacy services make of pilots' logs, without a database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared_db.rules import pilot_logs as rules
from shared_db.rules.refusals import Refusal, UnfitArgument

NOW = datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)
UUID, STAMP = "00000000-1111-2222-3333-aaaaaaaaaaaa", "00000000111122223333aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("registered", "given", "own", "speaks_for_all", "vo"),
    [
        ([], "given", "own", True, "given"),
        ([], "", "own", True, "own"),
        ([], "", "own", False, "own"),
        ([], "own", "own", False, "own"),
        (["own", "own"], "given", "own", False, "own"),
        (["a", "b"], "given", "own", True, "b"),
    ],
)
def test_whose_lines_they_are(
    registered: list[str], given: str, own: str, speaks_for_all: bool, vo: str
) -> None:
    """Lines belong to the pilot's VO, or of an unknown one to that which is given, or the caller's."""
    assert rules.vo_of_lines(registered, given, own, speaks_for_all=speaks_for_all) == vo


@pytest.mark.parametrize(
    ("registered", "given", "own"), [([], "given", "own"), (["a"], "", "own"), (["own", "a"], "own", "own")]
)
def test_nobody_speaks_for_another_vo(registered: list[str], given: str, own: str) -> None:
    """Who may not speak for all is refused for any pilot of another VO."""
    with pytest.raises(Refusal) as refusal:
        rules.vo_of_lines(registered, given, own, speaks_for_all=False)
    assert refusal.value.errno == 1111


def test_nobodys_lines() -> None:
    """Without any VO the lines cannot be kept."""
    with pytest.raises(Refusal, match="not registered"):
        rules.vo_of_lines([], "", "", speaks_for_all=True)


def test_names_of_logs() -> None:
    """A log is named by a stamp or a UUID, which are one where they are the same."""
    assert rules.log_stamp(UUID) == rules.log_stamp(STAMP) == rules.log_file_stamp(f"{UUID}.log") == STAMP
    for name in ("", "x", UUID.upper(), f"{STAMP}\n", "../" + STAMP[3:]):
        with pytest.raises(Refusal, match="Pilot UUID is invalid"):
            rules.log_stamp(name)
        with pytest.raises(Refusal, match="No such file"):
            rules.log_file_stamp(name)


@pytest.mark.parametrize("vo", ["demo", "lz.example.org", "a-b"])
def test_safe_names_of_vos(vo: str) -> None:
    """Names that are safe in a path are taken."""
    assert rules.checked_vo(vo) == vo


@pytest.mark.parametrize("vo", ["", "..", "a/b", "a_b", ".a", "a.", "a\n", "x" * 65, None, 5])
def test_unsafe_names_of_vos(vo: Any) -> None:
    """Others are refused by name."""
    with pytest.raises(Refusal, match="VO name is invalid: "):
        rules.checked_vo(vo)


def test_messages() -> None:
    """A message is a list of texts or a text in JSON; all else is refused, and says why."""
    assert rules.read_message('["a", "b\\n"]') == ["a", "b\n"]
    assert rules.read_message('"a\\nb\\n"') == ["a", "b"]
    for wrong in ("{}", "5", "[1]", "null"):
        with pytest.raises(Refusal, match="a text or a list of texts"):
            rules.read_message(wrong)
    with pytest.raises(Refusal, match="JSONDecodeError"):
        rules.read_message("no")
    with pytest.raises(UnfitArgument):
        rules.read_message(5)
    for deep in ("[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(Refusal, match="RecursionError"):
            rules.read_message(deep)
        with pytest.raises(Refusal, match="RecursionError"):
            rules.finished(deep)
    with pytest.raises(Refusal, match="an object in JSON"):
        rules.finished("[]")


@pytest.mark.parametrize("end", [r"\n", r"\r", r"\u2028"])
def test_too_many_lines(end: str) -> None:
    """A message of many empty lines is refused before they take their room."""
    assert len(rules.read_message(f'"{end * rules.MOST_LINES}"')) == rules.MOST_LINES
    too_many = [""] * (rules.MOST_LINES + 1)
    for many in (f'"{end * len(too_many)}"', json.dumps(too_many)):
        with pytest.raises(Refusal, match="More than 100000 lines in one message"):
            rules.read_message(many)


def test_lines_as_text() -> None:
    """A line is shown with its time in UTC, its severity and, if it has one, its scope."""
    assert rules.Line(NOW, "hello").as_text() == "2026-11-21T12:00:00.500Z INFO hello\n"
    late = rules.Line(NOW + timedelta(hours=1), "x", "WARN", "setup")
    assert late.as_text() == "2026-11-21T13:00:00.500Z WARN [setup] x\n"


RECORD = ("1427721819.0", "pilot", "Installing", "a status of many characters", "what \u00e9")


def test_records_survive() -> None:
    """A record of PilotsLogging is read back as it was written, however its texts look."""
    line = rules.record_line(RECORD, NOW)
    assert len(line.severity) <= rules.LONGEST_SEVERITY
    said = rules.Line(NOW, "said", "WARN", "setup")
    cut = rules.Line(NOW, line.message[:20], "INFO", rules.RECORD_SCOPE)
    first, second, third = rules.records_of("p", [said, line, cut])
    assert tuple(first.values()) == ("p", *RECORD)
    assert second == {
        "pilotUUID": "p",
        "timestamp": "2026-11-21 12:00:00.500000",
        "source": "setup",
        "phase": "",
        "status": "WARN",
        "messageContent": "said",
    }
    assert third["messageContent"] == line.message[:20]


def test_names_of_records() -> None:
    """Any text names a pilot there; different ones do not meet."""
    long = [rules.record_stamp("x" * number) for number in (33, 34, 255)]
    assert len({*long, rules.record_stamp("s1"), rules.record_stamp(UUID)}) == 5
    assert all(len(stamp) == rules.LONGEST_STAMP for stamp in long)
    assert (rules.record_stamp("s1"), rules.record_stamp(UUID)) == ("s1", STAMP)
    assert len(rules.record_stamp("\ud800")) == rules.LONGEST_STAMP  # which no database holds
    for name in ("", "x" * 256):
        with pytest.raises(Refusal):
            rules.record_stamp(name)
