"""The table of operations, and the one runner of it.

An operation is a record: method, path, models, policy, handler.  Two shells carry the table: HTTP
(``app.py``) and in process (the adaptors).  Authentication is the shell's; validation, policy, the unit of
work and the meaning of errors are the runner's, so that both shells mean the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
import pydantic

from rest_backend.errors import RestError, from_data_error, from_validation, malformed_json
from rest_backend.principals import Principal
from rest_backend.tokens import TokenIssuer
from shared_db.connection import Databases, UnitOfWork, again
from shared_db.errors import DataError
from shared_db.registry import Registry


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back; ``body`` is made of JSON's types, datetimes and models."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """What handlers may use besides the database; handed over by the composition root."""

    databases: Databases
    registry: Callable[[], Registry]
    issuer: TokenIssuer


@dataclass(frozen=True, slots=True)
class Context:
    """One request being handled; ``base_url`` has no trailing slash."""

    principal: Principal | None
    work: UnitOfWork
    resources: Resources
    base_url: str

    @property
    def caller(self) -> Principal:
        """The principal of an operation that is not public."""
        assert self.principal is not None
        return self.principal


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may use an operation.

    ``rule`` says it in a sentence; ``extension`` names where it goes beyond DiracX's and why.  ``check``
    raises Forbidden.  ``public``: no token is needed.
    """

    name: str
    rule: str
    check: Callable[[Context, Any], Awaitable[None]]
    extension: str = ""
    public: bool = False


Handler = Callable[[Context, Any, Any], Awaitable[Answer]]


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    ``body`` and ``query`` are what pydantic validates: a model, or any type.  A handler gets
    ``(context, body, query)``.  ``writes``: its unit of work may change rows.
    """

    name: str
    method: str
    path: str
    handler: Handler
    policy: Policy
    body: Any = None
    query: type[pydantic.BaseModel] | None = None
    response: Any = None
    statuses: Sequence[int] = (200,)
    writes: bool = False
    extension: bool = False
    documented: bool = True

    @property
    def tag(self) -> str:
        """The resource an operation belongs to, as DiracX groups them."""
        first, *rest = self.path.strip("/").split("/")
        return rest[0] if first == "api" else first

    @cached_property
    def body_adapter(self) -> pydantic.TypeAdapter[Any] | None:
        """The validator of the request body; None when the operation takes none."""
        return None if self.body is None else pydantic.TypeAdapter(self.body)


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A request in either shell; ``body`` is made of JSON's types, None when there is none."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    base_url: str = ""


class Runner:
    """Finds and runs operations."""

    def __init__(self, operations: Sequence[Operation], resources: Resources) -> None:
        self.operations = tuple(operations)
        self._resources = resources
        self._by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            methods = self._by_path.setdefault(operation.path, {})
            if operation.method in methods:
                raise ValueError(f"two operations for {operation.method} {operation.path}")
            methods[operation.method] = operation

    def find(self, method: str, path: str) -> Operation:
        """The operation for a request.

        Raises RestError: 404, 405 with ``Allow``, or 307 to the same path with or without its last slash.
        """
        methods = self._by_path.get(path)
        if methods is None:
            other = path[:-1] if path.endswith("/") else f"{path}/"
            if other in self._by_path:
                raise RestError(307, "Temporary Redirect", {"Location": other})
            raise RestError(404, "Not Found")
        if method not in methods:
            raise RestError(405, "Method Not Allowed", {"Allow": ", ".join(methods)})
        return methods[method]

    async def run(self, operation: Operation, request: RestRequest, principal: Principal | None) -> Answer:
        """Validate, open the unit of work, check the policy, handle.  Raises RestError."""
        query = None
        if operation.query is not None:
            query = _validated("query", operation.query.model_validate, dict(request.query))
        body = request.body
        if operation.body_adapter is not None:
            body = _validated("body", operation.body_adapter.validate_python, body)
        databases = self._resources.databases

        async def attempt() -> Answer:
            async with databases.unit_of_work(write=operation.writes) as work:
                context = Context(principal, work, self._resources, request.base_url)
                await operation.policy.check(context, body)
                return await operation.handler(context, body, query)

        try:
            return await again(attempt)
        except DataError as error:
            raise from_data_error(error) from error

    async def call(self, request: RestRequest, principal: Principal) -> Answer:
        """The in-process shell: a verified principal, and an answer as JSON would carry it.

        Errors come as answers too: ``{"detail": ...}`` with their status.
        """
        try:
            answer = await self.run(self.find(request.method, request.path), request, principal)
            return Answer(orjson.loads(encode(answer.body)), answer.status, answer.headers)
        except RestError as error:
            detail = orjson.loads(encode({"detail": error.detail}))
            return Answer(detail, error.status, error.headers)


def _validated(place: str, validate: Callable[[Any], Any], value: Any) -> Any:
    try:
        return validate(value)
    except pydantic.ValidationError as error:
        raise from_validation(place, error) from error


def encode(value: Any) -> bytes:
    """JSON, with DiracX's form of times (``2026-11-21T20:56:16Z``, no microseconds when zero)."""
    return orjson.dumps(value, default=_model, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def _model(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def decode(data: bytes) -> Any:
    """A request body; nothing at all is None.  Raises RestError 422 for what is no JSON."""
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise malformed_json(error.pos, error.msg) from error
