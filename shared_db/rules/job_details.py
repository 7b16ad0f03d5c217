"""What legacy callers ask of jobs besides attributes, and its form (legacy-methods.md, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared_db.rules.refusals import Refusal, UnfitArgument

_PREFIX = "lfn:"
# Every cycle of the attic.
EVERY_CYCLE = -1


def int_of(value: Any) -> int:
    """An id of a job as these methods read it.  Raises UnfitArgument."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnfitArgument(str(error)) from error


def ids_of(job_ids: Any) -> list[int]:
    """The ids of one job or a list, each once.  Raises UnfitArgument."""
    listed = job_ids if isinstance(job_ids, list | tuple) else [job_ids]
    return list(dict.fromkeys(map(int_of, listed)))


def names_of(names: Any) -> list[str] | None:
    """The names of parameters in a list, or in a text with commas; None means all.  Raises UnfitArgument."""
    if not names:
        return None
    if isinstance(names, str):
        return names.replace(" ", "").split(",")
    if not isinstance(names, list | tuple):
        raise UnfitArgument(f"{type(names).__name__!r} object is not iterable")
    return [str(name) for name in names]


def cycle_of(cycle: Any) -> int | None:
    """A reschedule cycle; None means every one.  Raises UnfitArgument."""
    number = int_of(cycle)
    return None if number == EVERY_CYCLE else number


def measurements_shown(
    measurements: Iterable[tuple[str, str, datetime]],
) -> list[tuple[str, str, str]]:
    """``[(name, value with one decimal, naive UTC time as a text)]``, by name and time.

    A value that is no number is shown as it is.
    """
    ordered = sorted(measurements, key=lambda each: (each[0].casefold(), each[2]))
    return [(name, _decimal(value), _time(moment)) for name, value, moment in ordered]


def _decimal(value: str) -> str:
    try:
        return f"{float(value.replace(chr(34), '')):.1f}"
    except ValueError:
        return value


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def files_shown(names: Iterable[str]) -> list[str]:
    """Input files without ``LFN:`` before them."""
    stripped = [name.strip() for name in names]
    return [name[len(_PREFIX) :] if name.lower().startswith(_PREFIX) else name for name in stripped]


def history_shown(job_id: int, records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """``[(Status, MinorStatus, ApplicationStatus, naive UTC time as a text, Source)]``, oldest first.

    ``StatusTime`` of the records is a time.  Raises Refusal where there are none.
    """
    if not records:
        raise Refusal(f"No Logging information for job {job_id}")
    return [
        (
            record["Status"],
            record["MinorStatus"],
            record["ApplicationStatus"],
            _time(record["StatusTime"]),
            record["Source"],
        )
        for record in records
    ]
