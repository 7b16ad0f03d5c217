"""A file's description as the text of a .proto file, with its comments."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import descriptor_pb2

from legacy_rpc.codecs.grpc_schema import FIELDS, MESSAGES, METHODS, SERVICES, SYNTAX, Field, FileProto

Path = tuple[int, ...]
Message = descriptor_pb2.DescriptorProto

NAMES = {
    Field.TYPE_STRING: "string",
    Field.TYPE_INT64: "int64",
    Field.TYPE_INT32: "int32",
    Field.TYPE_BOOL: "bool",
    Field.TYPE_DOUBLE: "double",
    Field.TYPE_BYTES: "bytes",
}
NESTED = 3


def proto_text(file: FileProto) -> str:
    """What protoc reads; it makes of it the same description."""
    return "\n".join(_Text(file).lines()) + "\n"


class _Text:
    def __init__(self, file: FileProto) -> None:
        self._file = file
        self._comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}

    def lines(self) -> Iterator[str]:
        file = self._file
        yield from self._comment((SYNTAX,), "")
        yield f'syntax = "{file.syntax}";'
        yield ""
        yield f"package {file.package};"
        yield ""
        yield from (f'import "{name}";' for name in file.dependency)
        for index, service in enumerate(file.service):
            yield ""
            yield from self._service((SERVICES, index), service)
        for index, message in enumerate(file.message_type):
            yield ""
            yield from self._message((MESSAGES, index), message, "")

    def _comment(self, path: Path, indent: str) -> Iterator[str]:
        for line in self._comments.get(path, "").splitlines():
            yield f"{indent}//{line}"

    def _service(self, path: Path, service: descriptor_pb2.ServiceDescriptorProto) -> Iterator[str]:
        yield from self._comment(path, "")
        yield f"service {service.name} {{"
        for index, rpc in enumerate(service.method):
            yield from self._comment((*path, METHODS, index), "  ")
            request, reply = self._short(rpc.input_type), self._short(rpc.output_type)
            yield f"  rpc {rpc.name}({request}) returns ({reply});"
        yield "}"

    def _message(self, path: Path, message: Message, indent: str) -> Iterator[str]:
        yield from self._comment(path, indent)
        if not message.field:
            yield f"{indent}message {message.name} {{}}"
            return
        yield f"{indent}message {message.name} {{"
        inside = f"{indent}  "
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message((*path, NESTED, index), nested, inside)
        open_oneof = False
        for index, field in enumerate(message.field):
            in_oneof = field.HasField("oneof_index") and not field.proto3_optional
            if in_oneof and not open_oneof:
                yield f"{inside}oneof {message.oneof_decl[field.oneof_index].name} {{"
            open_oneof = in_oneof
            deeper = f"{inside}  " if in_oneof else inside
            yield from self._comment((*path, FIELDS, index), deeper)
            yield f"{deeper}{self._kind(message, field)} {field.name} = {field.number};"
        if open_oneof:  # here a oneof is the last there is in its message
            yield f"{inside}}}"
        yield f"{indent}}}"

    def _kind(self, message: Message, field: Field) -> str:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
                return f"map<{self._type(nested.field[0])}, {self._type(nested.field[1])}>"
        if field.proto3_optional:
            return f"optional {self._type(field)}"
        repeated = "repeated " if field.label == Field.LABEL_REPEATED else ""
        return f"{repeated}{self._type(field)}"

    def _type(self, field: Field) -> str:
        return NAMES.get(field.type) or self._short(field.type_name)

    def _short(self, full_name: str) -> str:
        """A name as it is written inside its own package."""
        return full_name.removeprefix(".").removeprefix(f"{self._file.package}.")
