"""The messages and services of the gRPC wire, made from the table of methods.

One file has what does not depend on the table (values, replies, errors, the generic service); each DIRAC
system has a file and a package of its own, with one typed service per DIRAC service and one rpc per method.
A parameter's position in the legacy signature is its field number: the old wires are positional, so a
signature can only ever grow at its end, and numbers stay when methods and parameters are added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, message_factory, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from legacy_rpc.signatures import Parameter, Signature, Signatures, as_calls

PACKAGE = "wherry.v1"
BASE_FILE = "wherry/v1/legacy_rpc.proto"
GENERIC_SERVICE = f"{PACKAGE}.LegacyRpc"

Field = descriptor_pb2.FieldDescriptorProto
FileProto = descriptor_pb2.FileDescriptorProto

# Parameters declared with exactly one of these have it on the wire; any other is a Value.
SCALARS: dict[type, Field.Type.ValueType] = {
    str: Field.TYPE_STRING,
    int: Field.TYPE_INT64,
    bool: Field.TYPE_BOOL,
    float: Field.TYPE_DOUBLE,
    bytes: Field.TYPE_BYTES,
}

# Where things stand in a file's description (descriptor.proto, SourceCodeInfo.Location.path).
MESSAGES, FIELDS, SERVICES, METHODS, SYNTAX = 4, 2, 6, 2, 12


@dataclass(frozen=True, slots=True)
class Rpc:
    """A typed method: the legacy method it calls, and the message that has its arguments."""

    service: str
    method: str
    parameters: Sequence[Parameter]
    request: type[Message]


class Schema:
    """Everything that can be called, as gRPC sees it.

    ``files`` are the descriptions with their comments, each after those it needs; ``pool`` has them and what
    they import.  ``services`` are full names.  ``rpcs`` are the typed methods by path:
    ``/wherry.v1.workload_management.PilotManager/getPilotSummary``.
    """

    def __init__(self, signatures: Signatures) -> None:
        by_system: dict[str, dict[str, Sequence[Signature]]] = {}
        for name, methods in signatures.items():
            by_system.setdefault(name.partition("/")[0], {})[name] = as_calls(methods)
        self.files = [_base_file(), *(_system_file(*each) for each in by_system.items())]
        self.pool = DescriptorPool()
        for module in (struct_pb2, timestamp_pb2):
            self.add(module.DESCRIPTOR.serialized_pb)
        for file in self.files:
            self.add(file.SerializeToString())
        self.services = [f"{file.package}.{each.name}" for file in self.files for each in file.service]
        self.call_request = self.message(f"{PACKAGE}.CallRequest")
        self.value = self.message(f"{PACKAGE}.Value")
        self.reply = self.message(f"{PACKAGE}.Reply")
        self.error = self.message(f"{PACKAGE}.Error")
        self.rpcs = {
            f"/{package_of(system)}.{_component(name)}/{method.name}": Rpc(
                name,
                method.name,
                method.parameters,
                self.message(f"{package_of(system)}.{_request_name(_component(name), method.name)}"),
            )
            for system, services in by_system.items()
            for name, methods in services.items()
            for method in methods
        }

    def add(self, serialized: bytes) -> None:
        """Have a file in the pool, whose imports are there already."""
        self.pool.AddSerializedFile(serialized)

    def message(self, full_name: str) -> type[Any]:
        """The class of a message."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(full_name))


def package_of(system: str) -> str:
    """The package of a DIRAC system's services: ``wherry.v1.workload_management``."""
    return f"{PACKAGE}.{_snake(system)}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _component(service: str) -> str:
    return service.partition("/")[2]


def _request_name(component: str, method: str) -> str:
    """Services' names have no underscore, so no two methods of a system have the same."""
    return f"{component}_{method[0].upper()}{method[1:]}Request"


# --- a file and its comments


class _File:
    """A file's description while it is made."""

    def __init__(self, name: str, package: str, about: str, imports: Iterable[str]) -> None:
        self.proto = FileProto(name=name, package=package, syntax="proto3", dependency=imports)
        self._comment((SYNTAX,), about)

    def message(self, name: str, about: str) -> descriptor_pb2.DescriptorProto:
        """Another message; its fields come next."""
        self._comment((MESSAGES, len(self.proto.message_type)), about)
        return self.proto.message_type.add(name=name)

    def field(
        self,
        name: str,
        number: int,
        kind: Field.Type.ValueType | str,
        about: str = "",
        *,
        optional: bool = False,
        **more: Any,
    ) -> Field:
        """Another field of the newest message; ``kind`` is a scalar, or a message's full name."""
        message = self.proto.message_type[-1]
        self._comment((MESSAGES, len(self.proto.message_type) - 1, FIELDS, len(message.field)), about)
        field = message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL, **more)
        if isinstance(kind, str):
            field.type, field.type_name = Field.TYPE_MESSAGE, f".{kind}"
        else:
            field.type = kind
        if optional:  # whether it is given can be told: proto3 has a oneof of one field for that
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
        return field

    def map_field(self, name: str, number: int, kind: Field.Type.ValueType | str, about: str = "") -> None:
        """Another field of the newest message: a map from text."""
        message = self.proto.message_type[-1]
        entry = descriptor_pb2.DescriptorProto(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
        value = entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL)
        if isinstance(kind, str):
            value.type, value.type_name = Field.TYPE_MESSAGE, f".{kind}"
        else:
            value.type = kind
        self.field(name, number, f"{self.proto.package}.{message.name}.{entry.name}", about)
        message.field[-1].label = Field.LABEL_REPEATED
        message.nested_type.append(entry)

    def service(self, name: str, about: str) -> None:
        """Another service; its rpcs come next."""
        self._comment((SERVICES, len(self.proto.service)), about)
        self.proto.service.add(name=name)

    def rpc(self, name: str, request: str, reply: str, about: str) -> None:
        """Another rpc of the newest service."""
        service = self.proto.service[-1]
        self._comment((SERVICES, len(self.proto.service) - 1, METHODS, len(service.method)), about)
        service.method.add(name=name, input_type=f".{request}", output_type=f".{reply}")

    def _comment(self, path: tuple[int, ...], text: str) -> None:
        if text:
            lines = "".join(f" {line}\n" if line else "\n" for line in text.splitlines())
            self.proto.source_code_info.location.add(path=path, span=(0, 0, 0), leading_comments=lines)


# --- what does not depend on the table

_VALUE = f"{PACKAGE}.Value"


def _base_file() -> FileProto:
    file = _File(
        BASE_FILE,
        PACKAGE,
        "What every service of DIRAC's legacy RPC shares, and the generic service.\n"
        "Generated by `wherry proto`; numbers never change.",
        ("google/protobuf/struct.proto", "google/protobuf/timestamp.proto"),
    )
    file.message("Date", "A day without a time.")
    for number, name in enumerate(("year", "month", "day"), 1):
        file.field(name, number, Field.TYPE_INT32)
    _add_value(file)
    file.message("ListValue", "A list; tuples arrive as lists.")
    file.field("values", 1, _VALUE).label = Field.LABEL_REPEATED
    entries = file.message("MapValue", "A dictionary, in order. Its keys may be numbers.")
    entry = entries.nested_type.add(name="Entry")
    for number, name in enumerate(("key", "value"), 1):
        entry.field.add(
            name=name,
            number=number,
            label=Field.LABEL_OPTIONAL,
            type=Field.TYPE_MESSAGE,
            type_name=f".{_VALUE}",
        )
    file.field("entries", 1, f"{PACKAGE}.MapValue.Entry").label = Field.LABEL_REPEATED
    _add_generic_service(file)
    return file.proto


def _add_value(file: _File) -> None:
    message = file.message("Value", "Any value of the legacy RPC. Nothing set is the same as null.")
    message.oneof_decl.add(name="kind")
    null = file.field("null_value", 1, Field.TYPE_ENUM, oneof_index=0)
    null.type_name = ".google.protobuf.NullValue"
    kinds: tuple[tuple[str, Field.Type.ValueType | str, str], ...] = (
        ("bool_value", Field.TYPE_BOOL, ""),
        ("int_value", Field.TYPE_INT64, ""),
        ("double_value", Field.TYPE_DOUBLE, ""),
        ("string_value", Field.TYPE_STRING, ""),
        ("bytes_value", Field.TYPE_BYTES, "Also a text that is no Unicode."),
        ("datetime_value", "google.protobuf.Timestamp", "DIRAC's times have no zone and are UTC."),
        ("date_value", f"{PACKAGE}.Date", ""),
        ("list_value", f"{PACKAGE}.ListValue", ""),
        ("map_value", f"{PACKAGE}.MapValue", ""),
    )
    for number, (name, kind, about) in enumerate(kinds, 2):
        file.field(name, number, kind, about, oneof_index=0)


def _add_generic_service(file: _File) -> None:
    file.message("CallRequest", "A call of any method of any service.")
    file.field("service", 1, Field.TYPE_STRING, "As in WorkloadManagement/PilotManager.")
    file.field("method", 2, Field.TYPE_STRING)
    file.field("arguments", 3, _VALUE, "In the order of the legacy signature.").label = Field.LABEL_REPEATED
    file.map_field(
        "metadata",
        4,
        Field.TYPE_STRING,
        "As gRPC metadata of the same names, which it outweighs; never who calls.",
    )
    file.message("Reply", "S_OK.")
    file.field("value", 1, _VALUE)
    file.map_field("extra", 2, _VALUE, "Further keys beside Value, such as InvalidJobIDs.")
    file.field("error", 3, f"{PACKAGE}.Error", "S_ERROR, for callers that ask for it in the reply.")
    file.message("Error", "S_ERROR; stands in the trailing metadata as wherry-error-bin.")
    file.field("errno", 1, Field.TYPE_INT64, "DIRAC's Errno; 0: none.")
    file.field("message", 2, Field.TYPE_STRING, "DIRAC's Message.")
    file.map_field("extra", 3, _VALUE, "Further keys beside Errno and Message.")
    file.field("shortened", 4, Field.TYPE_BOOL, "Not all of it had room in the metadata.")
    file.service("LegacyRpc", "Any method of any service.")
    file.rpc(
        "Call", f"{PACKAGE}.CallRequest", f"{PACKAGE}.Reply", "Call a method by its name in the legacy RPC."
    )


# --- the table


def _system_file(system: str, services: dict[str, Sequence[Signature]]) -> FileProto:
    package = package_of(system)
    file = _File(
        f"{package.replace('.', '/')}.proto",
        package,
        f"The services of DIRAC's {system}, one rpc per method.\n"
        "Generated by `wherry proto`. A field's number is the parameter's position in the legacy signature;\n"
        "optional fields have a default there.",
        (BASE_FILE,),
    )
    for name, methods in services.items():
        component = _component(name)
        file.service(component, name)
        for method in methods:
            request = _request_name(component, method.name)
            file.message(request, f"The arguments of {name}.{method.name}.")
            for position, parameter in enumerate(method.parameters, 1):
                file.field(
                    parameter.name,
                    position,
                    wire_type(parameter) or _VALUE,
                    _declared(parameter),
                    optional=not parameter.required,
                )
            file.rpc(method.name, f"{package}.{request}", f"{PACKAGE}.Reply", method.help)
    return file.proto


def wire_type(parameter: Parameter) -> Field.Type.ValueType | None:
    """A parameter's scalar type on the wire; None: it is a Value."""
    return SCALARS.get(parameter.types[0]) if len(parameter.types) == 1 else None


def _declared(parameter: Parameter) -> str:
    """What the type on the wire does not say."""
    said: list[str] = []
    if parameter.types and wire_type(parameter) is None:
        said.append(" or ".join(each.__name__ for each in parameter.types))
    if not parameter.required:
        said.append(f"default {parameter.default!r}")
    return "; ".join(said)
