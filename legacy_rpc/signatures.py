"""What the wires that describe themselves say of a service: its methods' names, help texts and parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from legacy_rpc.messages import FILE_TRANSFER, transfer_name
from legacy_rpc.servers.door import STREAMS

# A parameter that must be given has this for its default.
REQUIRED: Final = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, its declared types (none: it takes anything), and its default."""

    name: str
    types: tuple[type, ...] = ()
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """It has no default."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Signature:
    """One method as its callers see it; a transfer's name is ``FileTransfer/DIRECTION``."""

    name: str
    help: str = ""
    parameters: Sequence[Parameter] = ()

    @property
    def transfer(self) -> bool:
        """It moves a file."""
        return self.name.startswith(f"{FILE_TRANSFER}/")


# The methods of every service, by its name, in the order in which they are declared.
Signatures = Mapping[str, Sequence[Signature]]


def signature_of(
    name: str, handler: Callable[..., Any], types: Sequence[type | Sequence[type] | None]
) -> Signature:
    """The signature of a method with a handler whose first parameter is not the caller's to give.

    ``types`` are those declared of the first parameters: a class, several, or None for anything.
    """
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    declared = [*map(_classes, types), *[()] * len(parameters)]
    return Signature(
        name,
        inspect.getdoc(handler) or "",
        tuple(
            Parameter(each.name, classes, each.default)
            for each, classes in zip(parameters, declared, strict=False)
        ),
    )


def _classes(declared: type | Sequence[type] | None) -> tuple[type, ...]:
    if declared is None:
        return ()
    return (declared,) if isinstance(declared, type) else tuple(declared)


def as_calls(signatures: Sequence[Signature]) -> Sequence[Signature]:
    """What a service offers on wires that have only calls: its methods, and the streams among its transfers.

    ``streamToClient`` takes what the transfer does and answers the file; ``streamFromClient`` takes the file
    after the transfer's first three parameters, all of which must be given.
    """
    streams = {transfer_name(direction): name for name, direction in STREAMS.items()}
    calls = [signature for signature in signatures if not signature.transfer]
    for signature in signatures:
        name = streams.get(signature.name)
        if name is None:
            continue
        parameters = signature.parameters
        if signature.name == transfer_name("FromClient"):
            needed = [Parameter(each.name, each.types) for each in parameters[:3]]
            parameters = (*needed, Parameter("data", (bytes,)))
        calls.append(Signature(name, signature.help, parameters))
    return calls
