"""The OpenAPI document, drawn from the table of operations and the models that validate."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from inspect import getdoc
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from rest_backend.operations import Operation

_REFERENCE = "#/components/schemas/{model}"


def openapi_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document; extensions of ours carry the tag ``extension`` beside their resource's."""
    documented = [operation for operation in operations if operation.documented]
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for operation in documented:
        if operation.body_adapter is not None:
            wanted.append((operation.name, "validation", operation.body_adapter))
        if operation.response is not None:
            wanted.append((operation.name, "serialization", TypeAdapter(operation.response)))
    schemas, definitions = TypeAdapter.json_schemas(wanted, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in documented:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(
            operation,
            schemas.get((operation.name, "validation")),
            schemas.get((operation.name, "serialization")),
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Dirac", "version": version},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
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
        "responses": {str(status): _response(status, response) for status in operation.statuses},
    }
    if operation.query is not None:
        described["parameters"] = _parameters(operation.query)
    if body is not None:
        described["requestBody"] = {
            "required": not _accepts_none(operation),
            "content": {"application/json": {"schema": body}},
        }
    if not policy.public:
        described["security"] = [{"OpenIdConnect": []}]
    return described


def _accepts_none(operation: Operation) -> bool:
    adapter = operation.body_adapter
    return adapter is not None and type(None) in getattr(operation.body, "__args__", ())


def _response(status: int, schema: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status == HTTPStatus.PARTIAL_CONTENT:
        response["headers"] = {"Content-Range": {"schema": {"type": "string"}}}
    if status != HTTPStatus.NO_CONTENT:
        response["content"] = {"application/json": {"schema": schema if schema is not None else {}}}
    return response


def _parameters(query: Any) -> list[dict[str, Any]]:
    _, schema = models_json_schema([(query, "validation")])
    properties = schema["$defs"][query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": properties[name]} for name in properties
    ]
