"""Errors as answers: DiracX's ``{"detail": ...}``, or RFC 9457 for whoever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

PROBLEM_JSON = "application/problem+json"


class ErrorBody(BaseModel):
    """Why a request was refused: a text, or what each part of it was refused for."""

    detail: Any


class ValidationProblem(BaseModel):
    """What is wrong with one part of a request; ``loc`` begins with body, query, path or header."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class HTTPValidationError(BaseModel):
    """Everything that does not fit the request's model; or a text, for what fits and cannot be done."""

    detail: list[ValidationProblem] | str


class FieldProblem(BaseModel):
    """What is wrong with one part of a request; ``pointer`` is a JSON pointer, ``place`` where it leads."""

    place: str
    pointer: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457); ``detail`` is a sentence, ``errors`` has the parts."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldProblem] | dict[str, Any] | None = None


def wants_problem(accept: str) -> bool:
    """Whether ``Accept`` names problem details, and does not weigh them with 0."""
    if PROBLEM_JSON not in accept:
        return False
    for each in accept.lower().split(","):
        kind, *parameters = (part.replace(" ", "") for part in each.split(";"))
        if kind == PROBLEM_JSON:
            return not any(part in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
    return False


def problem_of(status: int, detail: Any, path: str, request_id: str) -> dict[str, Any]:
    """An error as problem details; ``detail`` is what DiracX's shape has."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _sentence(status, detail),
        "instance": path,
        "request_id": request_id,
    }
    if isinstance(detail, list):
        problem["errors"] = [_field(each) for each in detail]
    elif isinstance(detail, dict):
        problem["errors"] = detail
    return problem


def _sentence(status: int, detail: Any) -> str:
    if isinstance(detail, list):
        parts = "; ".join(f"{_where(each['loc'])}: {each['msg']}" for each in detail[:3])
        more = f"; and {len(detail) - 3} more" if len(detail) > 3 else ""
        return f"The request cannot be understood. {parts}{more}."
    if isinstance(detail, dict):
        return "Nothing was done for any part of the request; errors says why."
    text = str(detail).strip() or HTTPStatus(status).description or HTTPStatus(status).phrase
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _where(location: Sequence[Any]) -> str:
    place, *rest = location
    return f"{place} {'.'.join(map(str, rest))}" if rest else str(place)


def _field(problem: Any) -> dict[str, str]:
    place, *rest = problem["loc"]
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in rest)
    return {
        "place": str(place),
        "pointer": "".join(f"/{part}" for part in escaped),
        "detail": str(problem["msg"]),
    }
