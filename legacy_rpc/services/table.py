"""The table of what can be called on the old side: services, and one record for every method.

A native handler is an async function whose name is the legacy method and whose parameters, after the
context, are the legacy signature.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from legacy_rpc.authorisation import Rule
from legacy_rpc.messages import Call, Errno, Failure, Identity, Release, Reply, Write, transfer_name
from legacy_rpc.services.sandbox_files import SandboxFiles
from legacy_rpc.upstream import no_upstream
from shared_db.connection import Databases, again
from shared_db.errors import DataError, InvalidValue, Unavailable
from shared_db.registry import Registry, RegistryFile
from shared_db.rules.pilot_logs import PilotLimits
from shared_db.rules.refusals import Refusal, UnfitArgument, of_value
from shared_db.sealing import Seal

# The oldest release whose clients are served.
OLDEST = "7.3"

# One declared argument: None takes anything, a class or several take their instances.  A list or tuple prints
# in DIRAC's error texts as DIRAC prints it.
ArgumentType = None | type | list[type] | tuple[type, ...]


# Releases of DIRAC whose clients know other forms than 9's.
NINE: Release = (9, 0)


@dataclass(frozen=True, slots=True)
class OlderForm:
    """How clients of releases before ``before`` write a method's arguments and read its value.

    Handlers and adaptors know the newest form only; this turns the older one into it and back, alike on both
    routes.  ``types`` are the declared types then (None: as now), and ``optional`` how many more arguments it
    may have; ``arguments`` and ``value`` are the two ways.  Both may ask the registry, and raise Failure.
    """

    before: Release = NINE
    types: Sequence[ArgumentType] | None = None
    optional: int = 0
    arguments: Callable[[Sequence[Any], Registry], Sequence[Any]] | None = None
    value: Callable[[Any, Call, Registry], Any] | None = None

    def is_of(self, release: Release | None) -> bool:
        """Whether a client of a release speaks this form."""
        return release is not None and release < self.before


@dataclass(frozen=True, slots=True, repr=False)
class TokenPair:
    """What a caller gets to use the new side with; ``expires_in`` is in seconds, of the access token."""

    access_token: str
    expires_in: int
    refresh_token: str


def nothing_revoked(_chain: Sequence[bytes]) -> None:
    """CRLs are not looked at."""


async def _no_tokens(_identity: Identity) -> TokenPair:
    raise Failure("This server issues no tokens: it has no new side")


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """What goes to existing services elsewhere: those that are ``named``, and others that ``passes`` says.

    ``since``: when the plan that says so was written, None: nothing is ever passed through.
    """

    named: Sequence[str]
    passes: Callable[[str], bool]
    since: Callable[[], datetime | None]


NOTHING_PASSED = PassedThrough((), lambda _service: False, lambda: None)


@dataclass(frozen=True, slots=True)
class Common:
    """What native handlers may use, whoever calls.

    ``public_url`` tells where clients reach a service, ``rest_url`` the new side (empty: nowhere).
    ``issue_tokens`` raises Failure for a caller who can have none.  ``ca_path`` is the directory of trusted
    authorities.  ``passed``: what goes to existing services elsewhere.  ``seal`` keeps the keys of uploaded
    proxies; None: proxies are not kept here.  ``check_revoked`` raises PeerError for a chain, DER up to the
    root, in which a certificate was revoked.  ``optimise``: submitted jobs go to Waiting at once; not, where
    DIRAC's own optimisers run.  ``pilots``: how much is kept of what pilots write.
    ``sandboxes``: where their files are; None: sandboxes are not kept here.
    """

    databases: Databases
    registry: RegistryFile
    public_url: Callable[[str], str]
    rest_url: str = ""
    issue_tokens: Callable[[Identity], Awaitable[TokenPair]] = _no_tokens
    passed: PassedThrough = NOTHING_PASSED
    ca_path: Path | None = None
    seal: Seal | None = None
    check_revoked: Callable[[Sequence[bytes]], None] = nothing_revoked
    optimise: bool = True
    pilots: PilotLimits = field(default_factory=PilotLimits)
    sandboxes: SandboxFiles | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a native handler may use: the call, and what every call has in common."""

    call: Call
    common: Common

    @property
    def databases(self) -> Databases:
        """The shared databases."""
        return self.common.databases

    @property
    def registry(self) -> RegistryFile:
        """Who is who."""
        return self.common.registry

    def public_url(self, service: str) -> str:
        """Where clients reach a service."""
        return self.common.public_url(service)


Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Method:
    """The one record of a legacy method: argument types, authorisation, write class, native handler.

    ``callers`` is the rule as it is written.  ``parameters`` are the signature's names with their defaults
    (``Parameter.empty``: must be given).  ``description`` is what the reference says of it (Markdown).
    ``hard_coded``: the rule is the method's own, so the registry's ``Default`` does not replace it.
    ``builtin``: every service has it, it is about the service itself and goes where it is.  ``transfer``: it
    moves a file, and its arguments are the transfer's information list.  ``handler_class`` and ``static`` (it
    is not given itself) are those of DIRAC's method, of which Python's texts speak.  ``since`` and ``until``
    are the first and last releases of DIRAC that have it (None: 9.1 has it still); clients of all of them may
    call it here.  ``older``: the form that clients before 9 know, where it is another.
    """

    service: str
    name: str
    types: Sequence[ArgumentType]
    rule: Rule
    callers: tuple[str, ...]
    write: Write
    handler: Handler
    handler_class: str
    parameters: tuple[tuple[str, Any], ...]
    description: str
    hard_coded: bool = False
    builtin: bool = False
    transfer: bool = False
    static: bool = False
    since: str = OLDEST
    until: str | None = None
    older: OlderForm | None = None

    def older_form(self, release: Release | None) -> OlderForm | None:
        """The form that a client of a release speaks, where it is another than the newest."""
        return self.older if self.older is not None and self.older.is_of(release) else None

    def check(self, arguments: Sequence[Any], release: Release | None = None) -> None:
        """Raise the Failure that a DIRAC service answers for arguments of wrong type or number.

        The types are checked first, left to right, then their number; what is beyond the declared types is
        left to the signature (legacy-wire.md, section 2).
        """
        form = self.older_form(release)
        if form is not None and form.types is not None:
            self._check_types(arguments, form.types)
            self._check_most(len(arguments), len(form.types), len(form.types) + form.optional)
            return
        self._check_types(arguments, self.types)
        self._check_signature(len(arguments))

    def _check_types(self, arguments: Sequence[Any], types: Sequence[ArgumentType]) -> None:
        for index, (value, declared) in enumerate(zip(arguments, types, strict=False)):
            if declared is not None and not isinstance(value, _classes(declared)):
                raise Failure(
                    f"Type mismatch in parameter {index} (starting with param 0)"
                    f" Received {type(value)}, expected {declared}"
                )
        if len(arguments) < len(types):
            raise Failure(f"Function {self.name} expects at least {len(types)} arguments")

    def _check_signature(self, given: int) -> None:
        """Raise what Python says of DIRAC's handler, whose first argument is itself."""
        required = [name for name, default in self.parameters if default is inspect.Parameter.empty]
        self._check_most(given, len(required), len(self.parameters))
        if given >= len(required):
            return
        absent = required[given:]
        names = " and ".join(f"'{name}'" for name in absent)
        plural = "s" if len(absent) > 1 else ""
        raise Failure(
            f"Server error while serving {self.name}: {self._exported} missing {len(absent)}"
            f" required positional argument{plural}: {names}"
        )

    def _check_most(self, given: int, required: int, accepted: int) -> None:
        if given <= accepted:
            return
        self_given = 0 if self.static else 1
        least, most = required + self_given, accepted + self_given
        takes = f"from {least} to {most}" if least != most else str(most)
        plural = "" if most == 1 and least == 1 else "s"
        raise Failure(
            f"Server error while serving {self.name}: {self._exported} takes {takes} positional"
            f" argument{plural} but {given + self_given} were given"
        )

    @property
    def _exported(self) -> str:
        return f"{self.handler_class}.export_{self.name}()"


def _classes(declared: type | list[type] | tuple[type, ...]) -> type | tuple[type, ...]:
    return declared if isinstance(declared, type) else tuple(declared)


# Transfers that change nothing here.
READING_TRANSFERS = ("ToClient", "BulkToClient", "ListBulk")

# DIRAC's class that has what every service answers.
BUILTIN_CLASS = "RequestHandler"


class Service:
    """A DIRAC service: its name, and its methods as they are declared.

    ``authorization`` is what a method needs unless it says otherwise.  ``handler_class`` is the name of
    DIRAC's class, which its error texts contain.  ``elsewhere``: there are only records here, of methods that
    are passed through to DIRAC's own service; what is decorated is never run.  ``about`` is what the
    reference says of all its methods (Markdown).
    """

    def __init__(
        self,
        name: str,
        *,
        handler_class: str,
        authorization: Sequence[str] = ("authenticated",),
        about: str = "",
        elsewhere: bool = False,
    ) -> None:
        self.name = name
        self.elsewhere = elsewhere
        self.handler_class = handler_class
        self.callers = tuple(authorization)
        self.default_rule = Rule.parse(authorization)
        self.about = about
        self.methods: dict[str, Method] = {}

    def method(
        self,
        *types: ArgumentType,
        write: Write = Write.READ,
        authorization: Sequence[str] | None = None,
        builtin: bool = False,
        static: bool = False,
        since: str = OLDEST,
        until: str | None = None,
        older: OlderForm | None = None,
    ) -> Callable[[H], H]:
        """Declare the decorated handler as a method with these argument types.

        Several services may declare one handler, one decorator above the other.
        """

        def declare(handler: H) -> H:
            self._add(
                handler.__name__,
                handler,
                authorization,
                types=types,
                write=write,
                handler_class=BUILTIN_CLASS if builtin else self.handler_class,
                builtin=builtin,
                static=static,
                since=since,
                until=until,
                older=older,
            )
            return handler

        return declare

    def transfer(self, action: str, *, authorization: Sequence[str] | None = None) -> Callable[[H], H]:
        """Declare the decorated handler as a transfer: ``ToClient``, ``FromClient``, ``BulkToClient`` ...

        Its parameters, after the context, are the transfer's information list.  The bytes are
        ``context.call.incoming`` or ``context.call.outgoing``; ``ListBulk`` has neither.
        """

        def declare(handler: H) -> H:
            self._add(
                transfer_name(action),
                handler,
                authorization,
                types=(),
                write=Write.READ if action in READING_TRANSFERS else Write.TRANSFER,
                handler_class=self.handler_class,
                transfer=True,
            )
            return handler

        return declare

    def _add(self, name: str, handler: Handler, authorization: Sequence[str] | None, **record: Any) -> None:
        parameters = list(inspect.signature(handler).parameters.values())[1:]  # but for the context
        only_a_record = self.elsewhere and not record.get("builtin")
        self.methods[name] = Method(
            service=self.name,
            name=name,
            rule=self.default_rule if authorization is None else Rule.parse(authorization),
            callers=self.callers if authorization is None else tuple(authorization),
            hard_coded=authorization is not None,
            handler=_passed_through(self.name, handler) if only_a_record else handler,
            parameters=tuple((each.name, each.default) for each in parameters),
            description=handler.__doc__ or "",
            **record,
        )


def _passed_through(service: str, record: Handler) -> Handler:
    """What stands for a native handler where there is none: it names the mend."""

    @functools.wraps(record)
    async def refuse(*_: Any) -> Any:
        raise no_upstream(service)

    return refuse


class ServiceTable:
    """Every service here, by name."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = {service.name: service for service in services}

    @property
    def catalogue(self) -> Mapping[str, Sequence[str]]:
        """``{service: [method, ...]}`` of what a plan can route."""
        return {
            name: [
                method.name for method in service.methods.values() if not (method.builtin or method.transfer)
            ]
            for name, service in self._services.items()
        }

    @property
    def services(self) -> Sequence[Service]:
        """All of them, in the order of the reference."""
        return tuple(self._services.values())

    @property
    def transfers(self) -> Mapping[str, Sequence[str]]:
        """``{service: [FileTransfer/DIRECTION, ...]}``."""
        return {
            name: [method.name for method in service.methods.values() if method.transfer]
            for name, service in self._services.items()
        }

    def service(self, name: str) -> Service | None:
        """A service by its name, ``WorkloadManagement/JobManager``."""
        return self._services.get(name)

    def method(self, service: str, method: str) -> Method | None:
        """A method's record."""
        found = self._services.get(service)
        return found.methods.get(method) if found else None

    def translated(self, call: Call, registry: Registry) -> tuple[Call, Callable[[Reply], Reply]]:
        """A call in its newest form, and what puts the reply into the caller's.  Raises Failure."""
        method = self.method(call.service, call.method)
        form = method.older_form(call.release) if method else None
        if form is None:
            return call, _as_it_is
        newest = call
        if form.arguments is not None:
            newest = replace(call, arguments=form.arguments(call.arguments, registry))
        if form.value is None:
            return newest, _as_it_is
        value = form.value
        return newest, lambda reply: Reply(value(reply.value, call, registry), reply.extra)


def _as_it_is(reply: Reply) -> Reply:
    return reply


class NativeSide:
    """The old side as it is implemented here: runs native handlers on the shared database."""

    def __init__(self, table: ServiceTable, common: Common) -> None:
        self._table = table
        self._common = common

    async def answer(self, call: Call) -> Reply:
        """Run the handler of a call whose arguments have been checked.  Raises Failure."""
        method = self._table.method(call.service, call.method)
        assert method is not None
        call, restore = self._table.translated(call, self._common.registry.current)
        context = Context(call, self._common)
        handler = method.handler
        try:
            if method.transfer:  # its bytes come, or go, once only
                value = await handler(context, *call.arguments)
            else:
                # A handler asks for one unit of work at most, so it may be repeated when that was broken off.
                value = await again(lambda: handler(context, *call.arguments))
        except Refusal as refusal:
            raise Failure(refusal.message, refusal.errno) from refusal
        except UnfitArgument as error:
            raise Failure(f"Server error while serving {call.method}: {error}") from error
        except DataError as error:
            raise _failure_of(error) from error
        return restore(value if isinstance(value, Reply) else Reply(value))


def _failure_of(error: DataError) -> Failure:
    """A domain error as a legacy one: a database that is not there is not the query's fault."""
    if isinstance(error, InvalidValue) and (refusal := of_value(error.column, error.problem)):
        return Failure(refusal.message, refusal.errno)
    return Failure.of(Errno.EDB if isinstance(error, Unavailable) else Errno.EMYSQL, str(error))
