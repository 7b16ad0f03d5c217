"""The pages of pilots that DIRAC's monitor shows (legacy-methods.md, section 7, getPilotMonitorWeb)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared_db.rules.pilot_selections import ALLOWED_COLUMNS, Comparison, selection
from shared_db.rules.pilot_tables import UNKNOWN
from shared_db.rules.refusals import Refusal, UnfitArgument

COLUMNS = (
    "PilotJobReference",
    "VO",
    "GridType",
    "Status",
    "DestinationSite",
    "BenchMark",
    "SubmissionTime",
    "PilotID",
    "LastUpdateTime",
    "CurrentJobID",
    "GridSite",
)
SELECTORS = ("VO", "GridType", "Status", "DestinationSite", "GridSite")

# The longest page that both routes ask for at once.
LARGEST_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a page is sorted by; then by PilotID."""

    column: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Pages:
    """Which pages of a size hold some rows, and which of the rows on them are meant."""

    size: int
    numbers: range
    rows: slice


def monitored(selected: Mapping[Any, Any], sort_list: Sequence[Any]) -> tuple[list[Comparison], list[Order]]:
    """What getPilotMonitorWeb's arguments select, and how that is sorted.  Raises Refusal, UnfitArgument."""
    conditions = dict(selected)
    conditions.pop("LastUpdateTime", None)
    start, end = (conditions.pop(name) if conditions.get(name) else None for name in ("FromDate", "ToDate"))
    order = [_order(sort_list[0])] if sort_list else []
    try:
        return selection(conditions, newer=start, older=end, time_stamp="LastUpdateTime"), order
    except Refusal as refusal:
        raise failed_to_select(refusal.message) from refusal


def failed_to_select(reason: str) -> Refusal:
    """What is said in place of the reason alone."""
    return Refusal(f"Failed to select pilots: {reason}")


def _order(key: Any) -> Order:
    """A sort key ``[column, direction]``; only the first one counts."""
    try:
        column, direction = str(key[0]), str(key[1]).upper()
    except (IndexError, KeyError, TypeError) as error:
        raise UnfitArgument(str(error)) from error
    if direction not in ("ASC", "DESC"):
        raise failed_to_select(f"Unknown order attribute type {direction}")
    if column not in ALLOWED_COLUMNS:
        raise failed_to_select(f"Unknown order attribute field {column}")
    return Order(column, direction == "DESC")


def window(total: int, start: int, most: int) -> range:
    """Which rows of all are wanted; negative numbers count from the end.  Raises Refusal."""
    if start >= total:
        raise Refusal("Item number out of range")
    return range(total)[start : min(start + most, total)]


def pages_of(rows: range) -> Pages | None:
    """The pages, counted from 1, that hold some rows; None for no rows."""
    if not rows:
        return None
    size = min(len(rows), LARGEST_PAGE)
    first = rows.start // size
    numbers = range(first + 1, (rows.stop - 1) // size + 2)
    skipped = rows.start - first * size
    return Pages(size, numbers, slice(skipped, skipped + len(rows)))


def page(
    total: int,
    references: Sequence[str],
    pilots: Mapping[str, Mapping[str, Any]],
    site_by_ce: Mapping[str, str],
) -> dict[str, Any]:
    """What getPilotMonitorWeb answers: of each reference the youngest pilot, all but numbers as texts."""
    found = [pilots[reference] for reference in references if reference in pilots]
    return {
        "TotalRecords": total,
        "ParameterNames": list(COLUMNS),
        "Records": [_record(pilot, site_by_ce) for pilot in found],
    }


def lack_site(pilots: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether some of the pilots are of no known site, which their computing element may tell."""
    return any(pilot["GridSite"] == UNKNOWN for pilot in pilots.values())


def _record(pilot: Mapping[str, Any], site_by_ce: Mapping[str, str]) -> list[Any]:
    record: list[Any] = [value if isinstance(value := pilot[name], int) else str(value) for name in COLUMNS]
    if pilot["GridSite"] == UNKNOWN and site_by_ce:
        record[-1] = site_by_ce.get(pilot["DestinationSite"])
    return record
