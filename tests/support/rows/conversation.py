"""What a row of an adaptor is made of: arguments, the requests it yields with scripted answers, its value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from adaptor.conversation import FileStep, Request
from adaptor.values import LARGEST_PAGE
from legacy_rpc.messages import Identity

ALICE = Identity("alice", "demo_user", vo="demo", properties=("NormalUser",))

PAGE = {"page": 1, "per_page": LARGEST_PAGE}


class Matching:
    """Equal to any text that a pattern fits: for times and other values of the moment."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other) is not None

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"Matching({self.pattern!r})"


MOMENT = Matching(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
AWARE = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


class AnyKey(dict[str, Any]):
    """Equal to a dictionary of one item whose key fits a pattern."""

    def __init__(self, key: Matching, value: Any) -> None:
        super().__init__()
        self.key, self.value = key, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and [(self.key, self.value)] == list(other.items())

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Row:
    """One behaviour of an adaptor; an answer that is an exception is thrown into it."""

    service: str
    method: str
    arguments: list[Any]
    exchange: list[tuple[Request | tuple[Request, ...] | FileStep, Any]] = field(default_factory=list)
    expected: Any = None
    identity: Identity = ALICE
    client_version: str = ""


def search(path: str, parameters: tuple[str, ...], *conditions: tuple[str, str, Any], order: str) -> Request:
    """The search that an adaptor is expected to send."""
    body = {
        "parameters": list(parameters),
        "search": [
            {"parameter": name, "operator": operator, ("values" if operator == "in" else "value"): value}
            for name, operator, value in conditions
        ],
        "sort": [{"parameter": order, "direction": "asc"}],
    }
    return Request("POST", path, body, PAGE)


def job_search(names: tuple[str, ...], ids: list[int]) -> Request:
    return search("/api/jobs/search", ("JobID", *names), ("JobID", "in", ids), order="JobID")
