"""The table of operations, and the one runner of it.

An operation is a record: method, path, models, policy, handler.  Two shells carry the table: HTTP
(``app.py``) and in process (the adaptors).  Authentication is the shell's; validation, policy, the unit of
work and the meaning of errors are the runner's, so that both shells mean the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import pydantic

from rest_backend.access import Gatekeeper
from rest_backend.errors import RestError, from_data_error, from_validation
from rest_backend.idempotency import claim_of, once
from rest_backend.identity_providers import IdentityProviders
from rest_backend.messages import Answer, Raw, RestRequest, decode, encode, plain, plain_error
from rest_backend.parameters import Parameters, PathTemplate
from rest_backend.pilot_access import check_pilot
from rest_backend.principals import Principal
from rest_backend.revocations import Revocations
from rest_backend.sandbox_store.store import SandboxStore
from rest_backend.settings import Settings
from rest_backend.tokens import TokenIssuer
from shared_db.cfg import CfgSection
from shared_db.connection import Databases, UnitOfWork, again
from shared_db.errors import DataError
from shared_db.registry import Registry

__all__ = [
    "Answer",
    "Context",
    "Handler",
    "Operation",
    "Policy",
    "Raw",
    "Resources",
    "RestRequest",
    "Runner",
    "decode",
    "encode",
]


# What may stand in a path as it is (RFC 3986, 3.3).
_IN_PATHS = "/:@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True)
class Resources:
    """What handlers may use besides the database; handed over by the composition root.

    ``cfg`` is the whole configuration, of which the registry is a section; ``cfg_modified``: when it changed.
    """

    databases: Databases
    registry: Callable[[], Registry]
    issuer: TokenIssuer
    settings: Settings = field(default_factory=Settings)
    cfg: Callable[[], CfgSection] = CfgSection
    cfg_modified: Callable[[], datetime] = lambda: datetime.fromtimestamp(0, UTC)
    identity_providers: IdentityProviders = field(default_factory=lambda: IdentityProviders({}))
    revocations: Revocations = field(default_factory=Revocations)
    sandboxes: SandboxStore | None = None

    @property
    def sandbox_store(self) -> SandboxStore:
        """Where the files of sandboxes are.  Raises RestError 503 where nowhere is."""
        if self.sandboxes is None:
            raise RestError(503, "This server keeps no sandboxes")
        return self.sandboxes

    @property
    def gatekeeper(self) -> Gatekeeper:
        """What says whom an access token lets in."""
        return Gatekeeper(self.issuer, self.registry, self.revocations)


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

    ``creates``: to run it twice makes more than to run it once; a request that says so with an
    ``Idempotency-Key`` is run once (:mod:`rest_backend.idempotency`).  ``errors``: statuses it may answer
    beside those that follow from the other fields (:mod:`rest_backend.openapi`).
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
    creates: bool = False
    errors: Sequence[int] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for what the runner could not keep its promise about."""
        if self.creates and not (self.writes and self.transactional):
            raise ValueError(f"{self.name}: what creates must write, in the runner's unit of work")

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

        ``HEAD`` finds what ``GET`` does: the same answer, whose body is not sent.

        Raises RestError: 404, 405 with ``Allow``, or 307 to the same path with or without its last slash.
        """
        methods = self._methods(path)
        if methods is None:
            other = path[:-1] if path.endswith("/") else f"{path}/"
            if self._methods(other) is not None:
                raise RestError(307, "Temporary Redirect", {"Location": quote(other, safe=_IN_PATHS)})
            raise RestError(404, "Not Found")
        operation = methods.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise RestError(405, "Method Not Allowed", {"Allow": ", ".join(_allowed(methods))})
        return operation

    def methods(self, path: str) -> Sequence[str]:
        """The methods that a path has; none for an unknown path."""
        methods = self._methods(path)
        return [] if methods is None else _allowed(methods)

    def _methods(self, path: str) -> Mapping[str, Operation] | None:
        """The operations on a path; one that is written out goes before one with parts in braces."""
        methods = self._by_path.get(path)
        if methods is not None:
            return methods
        found: dict[str, Operation] = {}
        for template, several in self._templates:
            if template.matches(path):
                # Of two that fit (`…/sandbox/output`, `…/sandbox/{sandbox_type}`) each has its methods.
                found = {**several, **found}
        return found or None

    async def run(self, operation: Operation, request: RestRequest, principal: Principal | None) -> Answer:
        """Validate, open the unit of work, check the policy, handle.  Raises RestError."""
        parameters = operation.parameter_reader.read(request) if operation.parameter_reader else None
        body = request.body
        if operation.body_adapter is not None:
            body = _validated(operation.body_adapter, body)

        async def admitted(work: UnitOfWork | None) -> Context:
            context = Context(principal, work, self.resources, request)
            await check_pilot(principal, operation.path, self.resources.databases, work)
            await operation.policy.check(context, body, parameters)
            return context

        async def handled(work: UnitOfWork | None) -> Answer:
            return await operation.handler(await admitted(work), body, parameters)

        async def attempt() -> Answer:
            async with self.resources.databases.unit_of_work(write=operation.writes) as work:
                return await handled(work)

        claim = claim_of(operation.name, request, principal) if operation.creates else None
        try:
            if claim is not None:
                return await once(self.resources.databases, claim, admitted, handled)
            return await (again(attempt) if operation.transactional else handled(None))
        except DataError as error:
            raise from_data_error(error) from error

    async def call(self, request: RestRequest, principal: Principal) -> Answer:
        """The in-process shell: a verified principal, and an answer as JSON would carry it.

        Errors come as answers too: ``{"detail": ...}`` with their status.
        """
        try:
            answer = await self.run(self.find(request.method, request.path), request, principal)
            if request.method == "HEAD":
                return replace(answer, body=None)
            if isinstance(answer.body, Raw):
                return answer
            return Answer(await plain(answer.body), answer.status, answer.headers)
        except RestError as error:
            return Answer(plain_error(error.detail), error.status, error.headers)


def _allowed(methods: Mapping[str, Operation]) -> Sequence[str]:
    """What ``Allow`` says of a path."""
    return [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]


def _validated(adapter: pydantic.TypeAdapter[Any], body: Any) -> Any:
    try:
        return adapter.validate_python(body)
    except pydantic.ValidationError as error:
        raise from_validation(error, lambda _location: ["body"]) from error
