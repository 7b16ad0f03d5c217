"""What a heartbeat makes of a job (legacy-methods.md, section 5 and fact 11; rest-diracx.md, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared_db.rules.clock import from_column, to_column
from shared_db.rules.dates import mysql_datetime
from shared_db.rules.status_updates import DIRACX, Policy, StatusUpdate

HEARTBEAT = "Heartbeat"
# DIRAC's key for the moment of a heartbeat, among the measurements.
HEARTBEAT_TIME = "HeartBeatTime"

# A job in one of these turns out to be running.
_WAKING = frozenset({"Matched", "Stalled"})


@dataclass(frozen=True, slots=True)
class HeartBeat:
    """What a job says about itself at intervals.

    ``measured``: numbers or texts by name.  ``parameters``: what becomes job parameters.  ``moment`` (aware)
    is when it was, if DIRAC's caller says so.
    """

    measured: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    moment: datetime | None = None


def dirac_beat(dynamic: Mapping[str, Any], static: Mapping[str, Any]) -> HeartBeat | None:
    """A heartbeat as sendHeartBeat is given it.

    HeartBeatTime among the dynamic data is a date text as MySQL reads it, or a naive UTC time; what is empty
    means that there is none.  None is returned for any other: DIRAC then keeps nothing, and answers as if it
    had.  Of a parameter that is too long the end is kept.
    """
    moment = dynamic.get(HEARTBEAT_TIME) or None
    if moment is not None:
        moment = moment if isinstance(moment, datetime) else mysql_datetime(moment)
        if moment is None:
            return None
    return HeartBeat(
        {name: value for name, value in dynamic.items() if name != HEARTBEAT_TIME},
        {name: kept_output(text) for name, text in _texts(static).items() if _fits(name, "")},
        from_column(moment),
    )


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a heartbeat changes: columns of Jobs by hand, and a status update by the rules."""

    change: dict[str, Any]
    update: StatusUpdate | None = None


def effect_of(beat: HeartBeat, status: str, *, policy: Policy, now: datetime) -> Effect:
    """What a heartbeat makes of a job in ``status``.

    DIRAC's says that the job is Running whatever it was, and logs nothing; one that carries its own moment
    wakes only a Matched or Stalled job.  DiracX's wakes by a status update, and never more than that.
    """
    if policy is DIRACX:
        if status in _WAKING:
            return Effect({}, StatusUpdate(now, "Running", source=HEARTBEAT))
        return Effect({"HeartBeatTime": to_column(now)})
    if beat.moment is None:
        return Effect({"HeartBeatTime": to_column(now), "Status": "Running"})
    change: dict[str, Any] = {"HeartBeatTime": to_column(beat.moment)}
    if status in _WAKING:
        change |= {"Status": "Running", "LastUpdateTime": to_column(now)}
    return Effect(change)


# HeartBeatLoggingInfo.Name is a VARCHAR(100), Value a TEXT.
NAME_SIZE = 100
VALUE_SIZE = 65_535


def kept_output(text: str) -> str:
    """The end of what a job wrote, as much of it as a job parameter can hold."""
    clean = text.replace("\0", "").encode(errors="replace")
    return clean[-VALUE_SIZE:].decode(errors="ignore")


def measurements(measured: Mapping[str, Any]) -> dict[str, str]:
    """The measurements that can be kept, as they are kept.

    DIRAC logs that it could not keep some and answers as if it had (then it keeps none of the call); so what
    does not fit is left out here and never spoils a heartbeat.
    """
    texts = {str(name): str(value) for name, value in measured.items() if value is not None}
    return {name: value for name, value in texts.items() if _fits(name, value)}


def _fits(name: str, value: str) -> bool:
    return (
        len(name) <= NAME_SIZE
        and len(value.encode(errors="surrogatepass")) <= VALUE_SIZE
        and all(_is_text(each) for each in (name, value))
    )


def _is_text(text: str) -> bool:
    """False for lone surrogates, and for the character that PostgreSQL's texts cannot hold."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)
