"""What a client must know of a route, read from an OpenAPI document of version 3.0 or 3.1."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Facts = Mapping[str, set[str]]


@dataclass(frozen=True)
class Route:
    """What a client must know of a route."""

    operation_id: str
    statuses: set[str]
    parameters: Facts
    body: Facts
    body_required: bool
    answer: Facts
    secured: bool


def routes(document: Mapping[str, Any]) -> dict[tuple[str, str], Route]:
    """The routes of an OpenAPI document, whether of version 3.0 or 3.1."""
    schemas = document.get("components", {}).get("schemas", {})
    return {
        (method.upper(), path): _route(operation, schemas)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _route(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Route:
    body = operation.get("requestBody", {})
    answer = operation["responses"][min(operation["responses"])]
    parameters = {
        f"{each['in']} {each['name']}{'!' if each['required'] else ''}": each["schema"]
        for each in operation.get("parameters", ())
        # A request that makes something may be named: an extension of every such route.
        if each["name"] != "Idempotency-Key"
    }
    return Route(
        operation["operationId"],
        # DiracX's document lists no errors.
        {status for status in operation["responses"] if status < "400"},
        {name: set().union(*_facts(each, schemas).values()) for name, each in parameters.items()},
        _facts(_content(body), schemas),
        body.get("required", False),
        _facts(_content(answer), schemas),
        "security" in operation,
    )


def _content(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a request's or an answer's JSON, or form; no properties where there is none."""
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        if described.get("content", {}).get(kind, {}).get("schema"):
            return described["content"][kind]["schema"]
    return {"properties": {}}


def _facts(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, set[str]]:
    """Types, bounds, enumerations and defaults by path; `!` marks what is required, `*` any key."""
    facts: dict[str, set[str]] = defaultdict(set)
    for path, fact in _walk(schema, schemas, ""):
        facts[path].add(fact)
    return dict(facts)


def _walk(schema: Mapping[str, Any], schemas: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if schema.get("default") not in (None, []):
        yield path, f"default {json.dumps(schema['default'])}"
    for each in _variants(schema, schemas):
        if "properties" in each:
            for name, inner in each["properties"].items():
                mark = "!" if name in each.get("required", ()) else ""
                yield from _walk(inner, schemas, f"{path}.{name}{mark}")
            if each.get("additionalProperties") is False:
                yield path, "closed"
        elif isinstance(each.get("additionalProperties"), Mapping):
            yield from _walk(each["additionalProperties"], schemas, f"{path}.*")
        elif "items" in each:
            yield from _walk(each["items"], schemas, f"{path}[]")
        else:
            yield path, _scalar(each)


def _variants(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas of which a value must meet one, with references followed."""
    if schema.get("nullable"):
        yield {"type": "null"}
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        for each in several:
            yield from _variants(each, schemas)
    elif "$ref" in schema:
        yield from _variants(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    else:
        yield schema


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems")


def _scalar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {' '.join(sorted(value.replace(' ', '_') for value in schema['enum']))}"
    return " ".join(
        [schema.get("type", "any"), *(f"{name} {schema[name]:g}" for name in BOUNDS if name in schema)]
    )


def _main() -> None:
    """Print the facts of a document as the tests keep DiracX's; its texts are left out."""
    found = routes(json.loads(Path(sys.argv[1]).read_text()))
    kept = {" ".join(key): asdict(route) for key, route in sorted(found.items())}
    print(json.dumps(kept, default=sorted, indent=1))


if __name__ == "__main__":
    _main()
