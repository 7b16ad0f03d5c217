"""Pilots: their statuses, the sizes of their columns, and what PilotManager's arguments mean.

Statuses: legacy-methods.md, section 1.3.  There is no state machine, any text is stored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shared_db.rules.pilot_selections import mysql_number
from shared_db.rules.refusals import (
    Refusal,
    UnfitArgument,
    cut_off,
    missing,
    no_number,
    out_of_range,
    several_values,
    too_long,
)

# In the order of DIRAC's tables; `Scheduled` is deprecated and unknown to DiracX.
PILOT_STATES = (
    "Submitted",
    "Waiting",
    "Running",
    "Done",
    "Failed",
    "Deleted",
    "Aborted",
    "Unknown",
    "Scheduled",
)
DIRACX_PILOT_STATES = PILOT_STATES[:-1]

# A pilot in one of these runs no more.
FINAL_STATES = frozenset({"Done", "Aborted", "Deleted", "Failed"})

REASON_NOT_GIVEN = "Not given"

# Columns of text and how many characters they hold (legacy-schema.md, section 3).
TEXT_SIZES: Mapping[str, int] = {
    "PilotJobReference": 255,
    "PilotStamp": 32,
    "DestinationSite": 128,
    "Queue": 128,
    "GridSite": 128,
    "VO": 128,
    "GridType": 32,
    "Status": 32,
    "StatusReason": 255,
}

# What getPilotInfo answers about a pilot, in its order.
PILOT_INFO = (
    "PilotJobReference",
    "VO",
    "GridType",
    "Status",
    "DestinationSite",
    "BenchMark",
    "AccountingSent",
    "SubmissionTime",
    "PilotID",
    "LastUpdateTime",
    "GridSite",
    "PilotStamp",
    "Queue",
)


def check_sizes(values: Mapping[str, str | None]) -> None:
    """Raise the Refusal that MySQL's strict mode would raise for a pilot's columns."""
    for column, value in values.items():
        if value is None:
            raise missing(column)
        if len(value) > TEXT_SIZES[column]:
            raise too_long(column)


def registrations(references: Sequence[Any], vo: str, grid_type: Any, stamps: Any) -> list[dict[str, str]]:
    """What addPilotReferences stores for each reference: PilotJobReference, VO, GridType, PilotStamp.

    Values of other types are stored as their text, as MySQL does.  Raises Refusal for the first value that
    does not fit, and UnfitArgument for stamps that are no mapping.
    """
    pilots = []
    for reference in references:
        pilot = {
            "PilotJobReference": _text(reference),
            "VO": vo,
            "GridType": _text(grid_type),
            "PilotStamp": _stamp(reference, stamps),
        }
        check_sizes(pilot)
        pilots.append({column: str(value) for column, value in pilot.items()})
    return pilots


def status_changes(
    status: str, destination: Any = None, reason: Any = None, grid_site: Any = None, queue: Any = None
) -> dict[str, str]:
    """The columns that setPilotStatus sets, besides LastUpdateTime; what is empty is left as it is.

    Raises Refusal for a value that does not fit its column.
    """
    optional = {"GridSite": grid_site, "Queue": queue, "DestinationSite": destination}
    changes = {"Status": status, "StatusReason": _one_text(reason or REASON_NOT_GIVEN)}
    changes |= {column: _one_text(value) for column, value in optional.items() if value}
    check_sizes(changes)
    return {column: str(value) for column, value in changes.items()}


def flag_of(mark: Any) -> bool:
    """What setAccountingFlag's argument means.  Raises Refusal for what the column cannot hold."""
    if mark is None:
        raise missing("AccountingSent")
    text = str(mark).capitalize()
    if text not in ("True", "False"):
        raise cut_off("AccountingSent")
    return text == "True"


def benchmark_of(mark: float) -> float:
    """A benchmark as DIRAC keeps it, with six decimals.  Raises Refusal for what is no number."""
    if not math.isfinite(mark):
        raise no_number("BenchMark", f"{mark:f}")
    return float(f"{mark:f}")


def job_number(job_id: Any) -> int:
    """The job that a pilot runs.  Raises UnfitArgument, and Refusal for what no job has."""
    try:
        number = int(job_id)
    except (TypeError, ValueError) as error:
        raise UnfitArgument(str(error)) from error
    if not 0 < number < 2**32:
        raise out_of_range("JobID")
    return number


def report_from(job_id: int) -> dict[str, str]:
    """What a job's report means for its pilot."""
    return {"Status": "Running", "StatusReason": f"Report from job {job_id}"}


def destination_changes(destination: Any) -> dict[str, str]:
    """The columns that a destination sets, but for its site.  Raises Refusal for one that does not fit."""
    if not destination:
        return {}
    check_sizes({"DestinationSite": str(destination)})
    return {"DestinationSite": str(destination)}


def ids_to_delete(given: list[Any] | int) -> list[int]:
    """The ids that deletePilots is given, those that a pilot can have.  Raises Refusal for none at all."""
    ids = given if isinstance(given, list) else [given]
    if not ids:
        raise Refusal("Failed to remove pilot from PilotOutput, JobToPilotMapping, PilotAgents tables")
    numbers = [mysql_number(each) for each in ids]
    return sorted({int(number) for number in numbers if number.is_integer() and 0 < number < 2**32})


def killed_by(who: str) -> dict[str, str]:
    """What becomes of a pilot that somebody kills."""
    return {"Status": "Aborted", "StatusReason": f"Killed by {who}"[: TEXT_SIZES["StatusReason"]]}


def references_of(given: str | list[Any]) -> list[str]:
    """One reference or several."""
    return [given] if isinstance(given, str) else [str(each) for each in given]


def all_known(asked: Sequence[str], known: Collection[str]) -> None:
    """Raise the Refusal for the first reference that no pilot has."""
    for reference in asked:
        if reference not in known:
            raise Refusal(f"Failed to get info for pilot {reference}")


def unknown_reference(reference: str) -> Refusal:
    """No pilot has a reference, where a job is to be noted."""
    return Refusal(f"PilotJobReference {reference} not found")


def no_reference(reference: str) -> Refusal:
    """No pilot has a reference, where an output is to be kept."""
    return Refusal(f"Pilot reference not found {reference}")


# The oldest pilots that are asked for, in days.
_MOST_DAYS = 36_500


def days_of(interval: int) -> int:
    """An age in days.  Raises Refusal for one that would mean every pilot, or none ever."""
    if not 0 <= interval <= _MOST_DAYS:
        raise Refusal(f"The age of pilots to clear is a number of days from 0 to {_MOST_DAYS}")
    return int(interval)


def no_vo_of(group: str) -> Refusal:
    """A group whose VO cannot be told, where releases before 9 name a group."""
    return Refusal(f"Group '{group}' is not registered in this installation, or has no VO.")


def _stamp(reference: Any, stamps: Any) -> str | None:
    try:
        return _text(stamps[reference]) if reference in stamps else ""
    except (TypeError, LookupError) as error:
        raise UnfitArgument(str(error)) from error


def _one_text(value: Any) -> str | None:
    """As `_text`; a list of one value is that value, since MySQL gets it in parentheses.  Raises Refusal."""
    while isinstance(value, list | tuple):
        if len(value) != 1:
            raise several_values()
        value = value[0]
    return _text(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def no_pilots(asked: Any) -> str:
    """What getPilotInfo says when there is none: with what was asked for, unless nothing was."""
    return f"No pilots found for PilotJobReference(s): {asked}" if asked else "No pilots found"


def summary_of(
    counts: Sequence[tuple[str, str, int]],
    aborted_hour: Sequence[tuple[str, int]],
    aborted_day: Sequence[tuple[str, int]],
) -> dict[str, dict[str, int]]:
    """What getPilotSummary answers, from ``(DestinationSite, Status, count)`` and numbers of aborted pilots.

    Total names all nine statuses, a destination only those it has; other statuses are not counted.
    """
    summary: dict[str, dict[str, int]] = {"Total": dict.fromkeys(PILOT_STATES, 0)}
    for site, status, count in counts:
        if site and status in PILOT_STATES:
            summary.setdefault(site, {})[status] = count
            summary["Total"][status] += count
    for key, aborted in (("Aborted_Hour", aborted_hour), ("Aborted_Day", aborted_day)):
        for site, count in aborted:
            if site in summary:
                summary[site][key] = count
    return summary


# PilotOutput's columns are MEDIUMTEXT.
OUTPUT_BYTES = 2**24 - 1


def read_output(stored: str | None) -> str:
    """What a stored output means: DIRAC writes two quotes for nothing (legacy-schema.md, section 3)."""
    return "" if stored is None or stored == '""' else stored


def storable_text(text: str) -> str:
    """A text as every engine can hold it: PostgreSQL has no character 0, and half a surrogate is none."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def cut_line(text: str, most: int) -> str:
    """A line of at most ``most`` characters; what is left out is said at its end."""
    return text if len(text) <= most else f"{text[:most]} [{len(text) - most} characters more were cut off]"


def cut_output(text: str, most: int) -> str:
    """The last ``most`` bytes (UTF-8) of an output, since the end tells what went wrong.

    What is left out is said at its beginning.
    """
    data = text.encode()
    if len(data) <= most:
        return text
    return f"[{len(data) - most} bytes before this were cut off]\n{data[-most:].decode(errors='ignore')}"
