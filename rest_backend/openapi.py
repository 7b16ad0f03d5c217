"""The OpenAPI document, drawn from the table of operations and the models that validate."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from inspect import getdoc
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from rest_backend.http.problems import PROBLEM_JSON, ErrorBody, HTTPValidationError, Problem
from rest_backend.operations import Operation
from rest_backend.parameters import Parameters

_REFERENCE = "#/components/schemas/{model}"
ERROR_MODELS = (ErrorBody, HTTPValidationError, Problem)
# Statuses that say when to try again.
_RETRIED = (429, 503)
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is sent again with the same key is not executed again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}

# What keys of JSON, which are texts, look like for what they are read as.
_KEYS = {
    "int": {"pattern": "^-?[0-9]{1,18}$"},
    "datetime": {"format": "date-time"},
}


class _Schemas(GenerateJsonSchema):
    """pydantic's schemas, with what they leave unsaid: how large numbers may be, and what keys are."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """A number, no larger than databases and most clients can have it."""
        return {**super().int_schema(schema), "format": "int64"}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A mapping whose keys may be numbers or times."""
        described = super().dict_schema(schema)
        keys = schema.get("keys_schema", {})
        while "schema" in keys:
            keys = keys["schema"]
        if keys.get("type") in _KEYS:
            described["propertyNames"] = _KEYS[keys["type"]]
        return described


def openapi_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document; extensions of ours carry the tag ``extension`` beside their resource's."""
    documented = [operation for operation in operations if operation.documented]
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for operation in documented:
        if operation.body_adapter is not None:
            wanted.append((operation.name, "validation", operation.body_adapter))
        if operation.response is not None:
            wanted.append((operation.name, "serialization", TypeAdapter(operation.response)))
    wanted += [(each.__name__, "serialization", TypeAdapter(each)) for each in ERROR_MODELS]
    schemas, definitions = TypeAdapter.json_schemas(
        wanted, ref_template=_REFERENCE, schema_generator=_Schemas
    )
    components = definitions.get("$defs", {})
    paths: dict[str, dict[str, Any]] = {}
    for operation in documented:
        described = _described(
            operation,
            schemas.get((operation.name, "validation")),
            schemas.get((operation.name, "serialization")),
        )
        if operation.parameter_reader is not None:
            described["parameters"], used = _parameters(operation.parameter_reader)
            components |= used
        if operation.creates:
            described.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Dirac", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "OpenIdConnect": {
                    "type": "openIdConnect",
                    "openIdConnectUrl": "/.well-known/openid-configuration",
                }
            },
        },
    }


def _described(operation: Operation, body: Any, response: Any) -> dict[str, Any]:
    summary, _, description = (getdoc(operation.handler) or "").partition("\n\n")
    policy = operation.policy
    described: dict[str, Any] = {
        "tags": [operation.tag, *(["extension"] if operation.extension else [])],
        "summary": summary,
        "operationId": operation.name,
        "description": f"{description}\n\nPolicy: {policy.rule} {policy.extension}".strip(),
        "responses": {str(status): _response(operation, status, response) for status in operation.statuses}
        | {str(status): _error(status) for status in errors_of(operation)},
    }
    if body is not None:
        content_type = "application/x-www-form-urlencoded" if operation.form else "application/json"
        described["requestBody"] = {
            "required": not _accepts_none(operation),
            "content": {content_type: {"schema": body}},
        }
    if not policy.public:
        described["security"] = [{"OpenIdConnect": []}]
    return described


def _accepts_none(operation: Operation) -> bool:
    adapter = operation.body_adapter
    return adapter is not None and type(None) in getattr(operation.body, "__args__", ())


def _response(operation: Operation, status: int, schema: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status == HTTPStatus.PARTIAL_CONTENT:
        response["headers"] = {"Content-Range": {"schema": {"type": "string"}}}
    if 200 <= status < 300 and status != HTTPStatus.NO_CONTENT:
        response["content"] = {operation.content_type: {"schema": schema if schema is not None else {}}}
    return response


def errors_of(operation: Operation) -> Sequence[int]:
    """The statuses, other than those of success, that an operation may answer."""
    errors = {400, 429, 500, 503, *operation.errors}
    if not operation.policy.public:
        errors |= {401, 403}
    if operation.body is not None:
        errors |= {408, 413, 415, 422}
    if operation.parameters is not None or operation.creates:
        errors.add(422)
    if operation.writes or operation.template.names or 206 in operation.statuses:
        errors.add(404)
    if operation.writes:
        errors.add(409)
    if 206 in operation.statuses:
        errors.add(416)
    return sorted(errors - set(operation.statuses))


def _error(status: int) -> dict[str, Any]:
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        # A page beyond the end is an empty one, as DiracX has it (rest-diracx.md, section 1, 3).
        nothing = {"schema": {"type": "array", "maxItems": 0}}
        return {"description": HTTPStatus(status).phrase, "content": {"application/json": nothing}}
    model = HTTPValidationError if status == HTTPStatus.UNPROCESSABLE_ENTITY else ErrorBody
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/json": {"schema": _reference(model)},
            PROBLEM_JSON: {"schema": _reference(Problem)},
        },
    }
    if status in _RETRIED:
        response["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return response


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _parameters(reader: Parameters) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The parameters of an operation, and the schemas that they refer to."""
    schema = reader.model.model_json_schema(ref_template=_REFERENCE, schema_generator=_Schemas)
    required = schema.get("required", ())
    parameters = [
        {"name": name, "in": reader.places[name], "required": name in required, "schema": each}
        for name, each in schema["properties"].items()
    ]
    return parameters, schema.get("$defs", {})
