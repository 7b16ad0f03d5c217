"""The boundary to HTTP: which status and which body an error has (rest-diracx.md, section 2).

Every body is ``{"detail": ...}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic

from shared_db.errors import (
    Conflict,
    DataError,
    InvalidQuery,
    InvalidValue,
    OutcomeUnknown,
    TooSlow,
    Unavailable,
)


class RestError(Exception):
    """An answer other than success: a status, a detail, and headers."""

    def __init__(self, status: int, detail: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


class Unauthorized(RestError):
    """The token is missing or proves nothing."""

    def __init__(self, detail: str, *, challenge: bool = False) -> None:
        super().__init__(401, detail, {"WWW-Authenticate": "Bearer"} if challenge else None)


class Forbidden(RestError):
    """The caller is known and may not do this."""

    def __init__(self, detail: str = "Forbidden") -> None:
        super().__init__(403, detail)


# By the nearest of an error's classes.
_STATUS: Mapping[type, int] = {
    InvalidQuery: 400,
    InvalidValue: 400,
    TooSlow: 400,
    Conflict: 409,
    Unavailable: 503,
    # Not 503, which invites to repeat the request.
    OutcomeUnknown: 500,
    # What is stored cannot be read.
    DataError: 500,
}
RETRY_AFTER_SECONDS = "10"


def from_data_error(error: DataError) -> RestError:
    """A domain error as an answer."""
    status = next(_STATUS[each] for each in type(error).__mro__ if each in _STATUS)
    return RestError(status, str(error), {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else None)


# To name a million takes a quarter of a minute, in which nobody else is served.
MOST_PROBLEMS = 1000


def from_validation(
    error: pydantic.ValidationError, place: Callable[[Sequence[Any]], Sequence[str]]
) -> RestError:
    """422 with a list of ``{"type", "loc", "msg", "input", "ctx"?}``.

    ``place`` gives what goes before a location: ``body``, ``query``, ``path`` or ``header``.
    """
    count = error.error_count()
    if count > MOST_PROBLEMS:
        told = f"{count} parts of the request are wrong, more than can be named"
        return RestError(
            422, [{"type": "too_many_problems", "loc": [*place(())], "msg": told, "input": None}]
        )
    details = []
    for problem in error.errors(include_url=False):
        item: dict[str, Any] = {**problem, "loc": [*place(problem["loc"]), *problem["loc"]]}
        if "ctx" in item:
            item["ctx"] = {name: _plain(value) for name, value in item["ctx"].items()}
        item["input"] = _plain(item["input"]) if _is_shallow(item["input"]) else _TOO_DEEP
        details.append(item)
    return RestError(422, details)


def malformed_json(position: int, reason: str) -> RestError:
    """422 for a body that is no JSON."""
    return RestError(
        422,
        [
            {
                "type": "json_invalid",
                "loc": ["body", position],
                "msg": "JSON decode error",
                "input": {},
                "ctx": {"error": reason},
            }
        ],
    )


# How deep a value may nest that is shown; what writes JSON does not write much deeper ones.
_DEEPEST = 64
_TOO_DEEP = f"nested more than {_DEEPEST} levels deep"


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False


def _plain(value: Any) -> Any:
    """A value that JSON can carry: exceptions, NaN and infinities become texts."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Exception | bytes):
        return str(value)
    return value
