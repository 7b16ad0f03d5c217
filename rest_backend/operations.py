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
from rest_backend.parameters import Parameters, PathTemplate
from rest_backend.principals import Principal
from rest_backend.settings import Settings
from rest_backend.tokens import TokenIssuer
from shared_db.cfg import CfgSection
from shared_db.connection import Databases, UnitOfWork, again
from shared_db.errors import DataError
from shared_db.registry import Registry


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is no JSON, as it is sent."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back; ``body`` is made of JSON's types, datetimes and models, or is Raw.

    The unit of work is committed whatever ``status`` says; to raise RestError rolls it back.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """What handlers may use besides the database; handed over by the composition root.

    ``cfg`` is the whole configuration that the registry is a section of.
    """

    databases: Databases
    registry: Callable[[], Registry]
    issuer: TokenIssuer
    settings: Settings = field(default_factory=Settings)
    cfg: Callable[[], CfgSection] = CfgSection


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A request in either shell; ``body`` is made of JSON's types, None when there is none.

    ``query``: several values of one name are a list.  ``headers`` have names in lower case.  ``base_url`` has
    no trailing slash.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """One request being handled."""

    principal: Principal | None
    unit: UnitOfWork | None
    resources: Resources
    request: RestRequest

    @property
    def caller(self) -> Principal:
        """The principal of an operation that is not public."""
        assert self.principal is not None
        return self.principal

    @property
    def work(self) -> UnitOfWork:
        """The unit of work of a transactional operation; others ask ``resources.databases`` for theirs."""
        assert self.unit is not None
        return self.unit


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may use an operation.

    ``rule`` says it in a sentence; ``extension`` names where it goes beyond DiracX's and why.  ``check`` gets
    ``(context, body, parameters)`` and raises Forbidden.  ``public``: no token is needed.
    """

    name: str
    rule: str
    check: Callable[[Context, Any, Any], Awaitable[None]]
    extension: str = ""
    public: bool = False


Handler = Callable[[Context, Any, Any], Awaitable[Answer]]


@dataclass(frozen=True)
class Operation:
    """One method on one path, which may have parts in braces: ``/api/jobs/{job_id}/sandbox``.

    ``body`` is what pydantic validates: a model, or any type.  ``parameters`` is a model of what stands in
    path, query and headers (:mod:`rest_backend.parameters`).  A handler gets ``(context, body, parameters)``.
    ``form``: the body is no JSON but a form.  ``content_type``: of a successful answer.

    ``writes``: the unit of work may change rows.  ``transactional``: one unit of work around policy and
    handler; without, the handler asks for its own, so that none is open while it waits for others than the
    database.
    """

    name: str
    method: str
    path: str
    handler: Handler
    policy: Policy
    body: Any = None
    parameters: type[pydantic.BaseModel] | None = None
    response: Any = None
    statuses: Sequence[int] = (200,)
    content_type: str = "application/json"
    form: bool = False
    writes: bool = False
    transactional: bool = True
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

    @cached_property
    def template(self) -> PathTemplate:
        """The path with its parts in braces."""
        return PathTemplate(self.path)

    @cached_property
    def parameter_reader(self) -> Parameters | None:
        """What reads and validates the parameters; None when the operation takes none."""
        return None if self.parameters is None else Parameters(self.parameters, self.template)


class Runner:
    """Finds and runs operations."""

    def __init__(self, operations: Sequence[Operation], resources: Resources) -> None:
        self.operations = tuple(operations)
        self.resources = resources
        self._by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            methods = self._by_path.setdefault(operation.path, {})
            if operation.method in methods:
                raise ValueError(f"two operations for {operation.method} {operation.path}")
            methods[operation.method] = operation
        self._templates = [
            (next(iter(methods.values())).template, methods)
            for path, methods in self._by_path.items()
            if "{" in path
        ]

    def find(self, method: str, path: str) -> Operation:
        """The operation for a request.

        Raises RestError: 404, 405 with ``Allow``, or 307 to the same path with or without its last slash.
        """
        methods = self._methods(path)
        if methods is None:
            other = path[:-1] if path.endswith("/") else f"{path}/"
            if self._methods(other) is not None:
                raise RestError(307, "Temporary Redirect", {"Location": other})
            raise RestError(404, "Not Found")
        if method not in methods:
            raise RestError(405, "Method Not Allowed", {"Allow": ", ".join(methods)})
        return methods[method]

    def _methods(self, path: str) -> Mapping[str, Operation] | None:
        """The operations on a path; one that is written out goes before one with parts in braces."""
        methods = self._by_path.get(path)
        if methods is not None:
            return methods
        return next((methods for template, methods in self._templates if template.matches(path)), None)

    async def run(self, operation: Operation, request: RestRequest, principal: Principal | None) -> Answer:
        """Validate, open the unit of work, check the policy, handle.  Raises RestError."""
        parameters = operation.parameter_reader.read(request) if operation.parameter_reader else None
        body = request.body
        if operation.body_adapter is not None:
            body = _validated(operation.body_adapter, body)

        async def handled(work: UnitOfWork | None) -> Answer:
            context = Context(principal, work, self.resources, request)
            await operation.policy.check(context, body, parameters)
            return await operation.handler(context, body, parameters)

        async def attempt() -> Answer:
            async with self.resources.databases.unit_of_work(write=operation.writes) as work:
                return await handled(work)

        try:
            return await (again(attempt) if operation.transactional else handled(None))
        except DataError as error:
            raise from_data_error(error) from error

    async def call(self, request: RestRequest, principal: Principal) -> Answer:
        """The in-process shell: a verified principal, and an answer as JSON would carry it.

        Errors come as answers too: ``{"detail": ...}`` with their status.
        """
        try:
            answer = await self.run(self.find(request.method, request.path), request, principal)
            if isinstance(answer.body, Raw):
                return answer
            return Answer(orjson.loads(encode(answer.body)), answer.status, answer.headers)
        except RestError as error:
            detail = orjson.loads(encode({"detail": error.detail}))
            return Answer(detail, error.status, error.headers)


def _validated(adapter: pydantic.TypeAdapter[Any], body: Any) -> Any:
    try:
        return adapter.validate_python(body)
    except pydantic.ValidationError as error:
        raise from_validation(error, lambda _location: ["body"]) from error


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
