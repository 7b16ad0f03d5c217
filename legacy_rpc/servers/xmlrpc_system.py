"""The methods by which an XML-RPC server describes itself (XML-RPC Introspection, version 1).

All methods are listed, whoever asks: their names are in the documentation, and who may call one is found out,
and logged, when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any

from legacy_rpc.messages import Failure
from legacy_rpc.signatures import Parameter, Signature, Signatures, as_calls

PREFIX = "system."

# What XML-RPC calls the types that arguments are declared to have.
_TYPES: Mapping[type, str] = {
    int: "int",
    bool: "boolean",
    float: "double",
    str: "string",
    bytes: "base64",
    datetime: "dateTime.iso8601",
    list: "array",
    tuple: "array",
    dict: "struct",
}
# What is not declared, such as what a method returns.
ANY = "any"

# A wire's own methods: what each does, and its signatures.
Own = Mapping[str, tuple[str, list[list[str]]]]

OWN: Own = {
    "system.listMethods": ("The names of all methods, whether or not the caller may call them.", [["array"]]),
    "system.methodHelp": ("What a method does.", [["string", "string"]]),
    "system.methodSignature": (
        "The types that a method's arguments may have, after that of its value; `any` is not declared.",
        [["array", "string"]],
    ),
    "system.multicall": (
        "Call methods in turn: a struct of `methodName` and `params` becomes `[value]`, or a fault.",
        [["array", "array"]],
    ),
    "system.wholeResult": (
        "Call a method with an array of arguments: its result as DIRAC clients see it, with all of its keys.",
        [["struct", "string", "array"]],
    ),
}


class SystemMethods:
    """Answers ``system.listMethods``, ``system.methodHelp`` and ``system.methodSignature``."""

    def __init__(self, signatures: Signatures, own: Own = OWN) -> None:
        self._help = {name: text for name, (text, _) in own.items()}
        self._signatures = {name: types for name, (_, types) in own.items()}
        for service, methods in signatures.items():
            for method in as_calls(methods):
                name = f"{service.replace('/', '.')}.{method.name}"
                self._help[name] = method.help
                self._signatures[name] = _signatures_of(method)
        self._names = sorted(self._help)

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """The value of one of these methods.  Raises Failure for other methods and arguments."""
        match method, params:
            case "system.listMethods", []:
                return self._names
            case "system.methodHelp", [str() as name]:
                return self._help[self._known(name)]
            case "system.methodSignature", [str() as name]:
                return self._signatures[self._known(name)]
            case "system.listMethods", _:
                raise Failure("system.listMethods takes no arguments", reason="arguments")
            case (("system.methodHelp" | "system.methodSignature"), _):
                raise Failure(f"{method} takes the name of a method", reason="arguments")
            case (("system.multicall" | "system.wholeResult"), _):
                raise Failure(f"{method} cannot be called within another call", reason="unknown-method")
        raise Failure(f"Unknown method {method[:100]}", reason="unknown-method")

    def _known(self, name: str) -> str:
        if name not in self._help:
            raise Failure(f"Unknown method {name[:100]}", reason="unknown-method")
        return name


def _signatures_of(method: Signature) -> list[list[str]]:
    """One for every number of arguments and every choice among their types."""
    needed = sum(each.required for each in method.parameters)
    return [
        [ANY, *types]
        for given in range(needed, len(method.parameters) + 1)
        for types in product(*map(_types_of, method.parameters[:given]))
    ]


def _types_of(parameter: Parameter) -> Sequence[str]:
    return [_TYPES.get(each, ANY) for each in parameter.types] or [ANY]
