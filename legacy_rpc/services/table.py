"""The table of what can be called on the old side: services, and one record for every method.

A native handler is an async function whose name is the legacy method and whose parameters, after the
context, are the legacy signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from legacy_rpc.authorisation import Rule
from legacy_rpc.messages import Call, Errno, Failure, Reply, Write
from shared_db.connection import Databases, again
from shared_db.errors import DataError, Unavailable
from shared_db.registry import RegistryFile
from shared_db.rules.refusals import Refusal, UnfitArgument

# One declared argument: None takes anything, a class or several take their instances.  A list prints in
# DIRAC's error texts as DIRAC prints it.
ArgumentType = None | type | list[type]


@dataclass(frozen=True, slots=True)
class Context:
    """What a native handler may use."""

    call: Call
    databases: Databases
    registry: RegistryFile
    public_url: Callable[[str], str]


Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Method:
    """The one record of a legacy method: argument types, authorisation, write class, native handler.

    ``required`` names the arguments that must be given, ``accepted`` is how many can be.  ``builtin``:
    every service has it, it is about the service itself and is never routed.  ``handler_class`` and
    ``static`` (it is not given itself) are those of DIRAC's method, of which Python's texts speak.
    """

    service: str
    name: str
    types: Sequence[ArgumentType]
    rule: Rule
    write: Write
    handler: Handler
    handler_class: str
    required: tuple[str, ...]
    accepted: int
    builtin: bool = False
    static: bool = False

    def check(self, arguments: Sequence[Any]) -> None:
        """Raise the Failure that a DIRAC service answers for arguments of wrong type or number.

        The types are checked first, left to right, then their number; what is beyond the declared types is
        left to the signature (legacy-wire.md, section 2).
        """
        for index, (value, declared) in enumerate(zip(arguments, self.types, strict=False)):
            if declared is not None and not isinstance(value, _classes(declared)):
                raise Failure(
                    f"Type mismatch in parameter {index} (starting with param 0)"
                    f" Received {type(value)}, expected {declared}"
                )
        if len(arguments) < len(self.types):
            raise Failure(f"Function {self.name} expects at least {len(self.types)} arguments")
        self._check_signature(len(arguments))

    def _check_signature(self, given: int) -> None:
        """Raise what Python says of DIRAC's handler, whose first argument is itself."""
        if len(self.required) <= given <= self.accepted:
            return
        handler = f"{self.handler_class}.export_{self.name}()"
        self_given = 0 if self.static else 1
        if given > self.accepted:
            least, most = len(self.required) + self_given, self.accepted + self_given
            takes = f"from {least} to {most}" if least != most else str(most)
            plural = "" if most == 1 and least == 1 else "s"
            raise Failure(
                f"Server error while serving {self.name}: {handler} takes {takes} positional argument{plural}"
                f" but {given + self_given} were given"
            )
        absent = self.required[given:]
        names = " and ".join(f"'{name}'" for name in absent)
        plural = "s" if len(absent) > 1 else ""
        raise Failure(
            f"Server error while serving {self.name}: {handler} missing {len(absent)}"
            f" required positional argument{plural}: {names}"
        )


def _classes(declared: type | list[type]) -> type | tuple[type, ...]:
    return declared if isinstance(declared, type) else tuple(declared)


# DIRAC's class that has what every service answers.
BUILTIN_CLASS = "RequestHandler"


class Service:
    """A DIRAC service: its name, and its methods as they are declared.

    ``authorization`` is what a method needs unless it says otherwise.  ``handler_class`` is the name of
    DIRAC's class, which its error texts contain.
    """

    def __init__(
        self, name: str, *, handler_class: str, authorization: Sequence[str] = ("authenticated",)
    ) -> None:
        self.name = name
        self.handler_class = handler_class
        self.default_rule = Rule.parse(authorization)
        self.methods: dict[str, Method] = {}

    def method(
        self,
        *types: ArgumentType,
        write: Write = Write.READ,
        authorization: Sequence[str] | None = None,
        builtin: bool = False,
        static: bool = False,
    ) -> Callable[[H], H]:
        """Declare the decorated handler as a method with these argument types."""

        def declare(handler: H) -> H:
            name = handler.__name__
            rule = self.default_rule if authorization is None else Rule.parse(authorization)
            parameters = list(inspect.signature(handler).parameters.values())[1:]  # but for the context
            self.methods[name] = Method(
                service=self.name,
                name=name,
                types=types,
                rule=rule,
                write=write,
                handler=handler,
                handler_class=BUILTIN_CLASS if builtin else self.handler_class,
                required=tuple(each.name for each in parameters if each.default is each.empty),
                accepted=len(parameters),
                builtin=builtin,
                static=static,
            )
            return handler

        return declare


class ServiceTable:
    """Every service here, by name."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = {service.name: service for service in services}

    @property
    def catalogue(self) -> Mapping[str, Sequence[str]]:
        """``{service: [method, ...]}`` of what a plan can route."""
        return {
            name: [method.name for method in service.methods.values() if not method.builtin]
            for name, service in self._services.items()
        }

    def service(self, name: str) -> Service | None:
        """A service by its name, ``WorkloadManagement/JobManager``."""
        return self._services.get(name)

    def method(self, service: str, method: str) -> Method | None:
        """A method's record."""
        found = self._services.get(service)
        return found.methods.get(method) if found else None


class NativeSide:
    """The old side as it is implemented here: runs native handlers on the shared database."""

    def __init__(
        self,
        table: ServiceTable,
        databases: Databases,
        registry: RegistryFile,
        public_url: Callable[[str], str],
    ) -> None:
        self._table = table
        self._databases = databases
        self._registry = registry
        self._public_url = public_url

    async def answer(self, call: Call) -> Reply:
        """Run the handler of a call whose arguments have been checked.  Raises Failure."""
        method = self._table.method(call.service, call.method)
        assert method is not None
        context = Context(call, self._databases, self._registry, self._public_url)
        handler = method.handler
        try:
            # A handler asks for one unit of work at most, so it may be repeated when that was broken off.
            value = await again(lambda: handler(context, *call.arguments))
        except Refusal as refusal:
            raise Failure(refusal.message, refusal.errno) from refusal
        except UnfitArgument as error:
            raise Failure(f"Server error while serving {call.method}: {error}") from error
        except DataError as error:
            raise _failure_of(error) from error
        return value if isinstance(value, Reply) else Reply(value)


def _failure_of(error: DataError) -> Failure:
    """A domain error as a legacy one: a database that is not there is not the query's fault."""
    return Failure.of(Errno.EDB if isinstance(error, Unavailable) else Errno.EMYSQL, str(error))
