"""Which routes of a REST backend an adaptor uses, as its docstring says.

Every request that an adaptor may send stands there in backticks, ``METHOD /path`` with variable parts in
braces.  Each is needed, unless the word before it is ``or`` (in place of the one before: one of them is
enough) or ``perhaps`` (only some calls send it).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from adaptor.conversation import Adaptor, Request

# What OpenAPI calls the operations of a path.
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
IDEMPOTENCY_KEY = "Idempotency-Key"

_NAMED = re.compile(rf"(?:\b(or|perhaps)\s+)?`({'|'.join(METHODS)}) (/[^\s`?]*)`")


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, whose parts in braces stand for anything."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def carries(self, method: str, path: str) -> bool:
        """Whether a request is one of this route; ``path`` may be such a pattern, too."""
        mine, theirs = self.path.split("/"), path.split("/")
        return (
            method == self.method
            and len(mine) == len(theirs)
            and all(one == other or one[:1] == "{" for one, other in zip(mine, theirs, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Uses:
    """``needed``: of each tuple one route must be there.  ``routes``: all that may be asked for."""

    routes: tuple[Route, ...] = ()
    needed: tuple[tuple[Route, ...], ...] = ()

    def declare(self, request: Request) -> bool:
        """Whether the request is one of those that may be sent."""
        return any(route.carries(request.method, request.path) for route in self.routes)


@cache
def uses_of(adaptor: Adaptor) -> Uses:
    """What an adaptor's docstring says; nothing where it has none."""
    routes: dict[Route, None] = {}
    needed: list[tuple[Route, ...]] = []
    perhaps = False  # of the route before: what may stand in its place is not needed either
    for word, method, path in _NAMED.findall(inspect.getdoc(adaptor) or ""):
        route = Route(method, path)
        routes[route] = None
        if word == "perhaps":
            perhaps = True
        elif word == "or" and perhaps:
            continue
        elif word == "or" and needed:
            needed[-1] = (*needed[-1], route)
        else:
            perhaps = False
            needed.append((route,))
    return Uses(tuple(routes), tuple(needed))


class Offered:
    """The routes that a backend has, and which of them take an Idempotency-Key."""

    def __init__(self, routes: Mapping[Route, bool]) -> None:
        self._keyed = dict(routes)
        self._exact = {(route.method, route.path): route for route in routes}

    @classmethod
    def of_openapi(cls, document: Any) -> Offered:
        """From an OpenAPI document.  Raises ValueError for what is none."""
        paths = document.get("paths") if isinstance(document, dict) else None
        if not isinstance(paths, dict):
            raise ValueError("no OpenAPI document")
        return cls(
            {
                Route(method.upper(), path): _takes_key(operation)
                for path, operations in paths.items()
                if isinstance(operations, dict)
                for method, operation in operations.items()
                if method.upper() in METHODS
            }
        )

    def find(self, method: str, path: str) -> Route | None:
        """The route that carries such requests; a written one comes before one with braces."""
        exact = self._exact.get((method, path))
        return exact or next((route for route in self._keyed if route.carries(method, path)), None)

    def takes_key(self, method: str, path: str) -> bool:
        """Whether such a request, sent twice under one key, is executed once."""
        route = self.find(method, path)
        return route is not None and self._keyed[route]

    def missing(self, uses: Uses) -> list[Route]:
        """What an adaptor needs and is not there: the first of several that would do."""
        return [some[0] for some in uses.needed if not self._any(some)]

    def _any(self, routes: Iterable[Route]) -> bool:
        return any(self.find(route.method, route.path) for route in routes)


def _takes_key(operation: Any) -> bool:
    parameters = operation.get("parameters", []) if isinstance(operation, dict) else []
    return any(isinstance(each, dict) and each.get("name") == IDEMPOTENCY_KEY for each in parameters)
