"""Conversions that the adaptors of several services use."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Any

from adaptor.conversation import Request, RestFailure, Step
from shared_db.rules.clock import to_column

# DiracX's largest page.
LARGEST_PAGE = 10_000

# How times in UTC end, and how many characters they have up to the seconds.
_IN_UTC = ("Z", "+00:00")
_SECONDS = len("2026-11-21T10:00:00")


def where(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    """One condition of a search; ``in`` takes a list."""
    key = "values" if operator in ("in", "not in") else "value"
    return {"parameter": parameter, "operator": operator, key: value}


def search_all(
    path: str, parameters: Sequence[str], conditions: Sequence[Mapping[str, Any]], order: str
) -> Generator[Step, Any, list[dict[str, Any]]]:
    """Every row that meets the conditions, page by page, ascending by ``order``."""
    body = {
        "parameters": list(parameters),
        "search": list(conditions),
        "sort": [{"parameter": order, "direction": "asc"}],
    }
    rows: list[dict[str, Any]] = []
    page = 1
    while True:
        try:
            found = yield Request("POST", path, body, {"page": page, "per_page": LARGEST_PAGE})
        except RestFailure as failure:
            if failure.status == 416:  # the last page was full
                return rows
            raise
        rows += found
        if len(found) < LARGEST_PAGE:
            return rows
        page += 1


def search_in(
    path: str, parameters: Sequence[str], column: str, values: Sequence[Any], order: str
) -> Generator[Step, Any, list[dict[str, Any]]]:
    """Every row whose column has one of the values, however many values there are."""
    rows: list[dict[str, Any]] = []
    for first in range(0, len(values), LARGEST_PAGE):
        some = list(values[first : first + LARGEST_PAGE])
        rows += yield from search_all(path, parameters, [where(column, "in", some)], order)
    return rows


def legacy_time(text: str | None) -> datetime | None:
    """A REST time as DIRAC gives it: naive UTC, without microseconds."""
    if text is None:
        return None
    if text.endswith(_IN_UTC):  # always so, of our own backend; a page has hundreds of times
        return datetime.fromisoformat(text[:_SECONDS])
    return to_column(datetime.fromisoformat(text))


def legacy_flag(value: Any) -> str:
    """A JSON boolean as DIRAC gives it: 'True' or 'False'."""
    return str(value)
