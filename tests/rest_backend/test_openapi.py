"""Our OpenAPI document beside DiracX 0.7.0's."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from rest_backend.openapi import openapi_document
from rest_backend.table import OPERATIONS

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


# --- Reading a document


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
    }
    return Route(
        operation["operationId"],
        set(operation["responses"]),
        {name: _facts(each, schemas)[""] for name, each in parameters.items()},
        _facts(_content(body), schemas),
        body.get("required", False),
        _facts(_content(answer), schemas),
        "security" in operation,
    )


def _content(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a request's or an answer's JSON; no properties where there is none."""
    return described.get("content", {}).get("application/json", {}).get("schema") or {"properties": {}}


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
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _variants(each, schemas)
    elif "$ref" in schema:
        yield from _variants(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    else:
        yield schema


BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems")


def _scalar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {' '.join(sorted(value.replace(' ', '_') for value in schema['enum']))}"
    return " ".join(
        [schema.get("type", "any"), *(f"{name} {schema[name]}" for name in BOUNDS if name in schema)]
    )


# --- What DiracX 0.7.0's document says, read by the same functions from its running server

TEXT, NULL = "string", "null"
PAGING: Facts = {
    "query page": {"integer minimum 1", "default 1"},
    "query per_page": {"integer minimum 1 maximum 10000", "default 100"},
}
CONDITIONS: Facts = {
    ".search[].operator!": {"one of eq gt like lt neq not_like regex", "one of in not_in"},
    ".search[].parameter!": {TEXT},
    ".search[].value!": {TEXT, "integer"},
    ".search[].values![]": {TEXT, "integer"},
}
SEARCH: Facts = {
    **CONDITIONS,
    "": {NULL},
    ".distinct": {"boolean", "default false"},
    ".parameters": {NULL},
    ".parameters[]": {TEXT},
    ".sort[].direction!": {"one of asc desc"},
    ".sort[].parameter!": {TEXT},
}
JOB_STATUS = (
    "one of Checking Completed Completing Deleted Done Failed Killed Matched Received Rescheduled Running "
    "Staging Stalled Submitting Waiting"
)
PILOT_STATUS = "one of Aborted Deleted Done Failed Running Submitted Unknown Waiting"
OBJECT: Facts = {"": {"object"}}
UP_TO_32, UP_TO_128, UP_TO_255 = (f"string maxLength {length}" for length in (32, 128, 255))

DIRACX: Mapping[tuple[str, str], Route] = {
    ("POST", "/api/jobs/search"): Route(
        "jobs_search", {"200", "206"}, PAGING, SEARCH, False, {"[]": {"object"}}, True
    ),
    ("PATCH", "/api/jobs/status"): Route(
        "jobs_set_job_statuses",
        {"200"},
        {"query force": {"boolean", "default false"}},
        {
            ".*.*.ApplicationStatus": {TEXT, NULL},
            ".*.*.MinorStatus": {TEXT, NULL},
            ".*.*.Source": {TEXT, 'default "Unknown"'},
            ".*.*.Status": {JOB_STATUS, NULL},
        },
        True,
        {
            ".failed!.*.*": {TEXT},
            ".success!.*.ApplicationStatus": {TEXT, NULL},
            ".success!.*.EndExecTime": {TEXT, NULL},
            ".success!.*.HeartBeatTime": {TEXT, NULL},
            ".success!.*.LastUpdateTime": {TEXT, NULL},
            ".success!.*.MinorStatus": {TEXT, NULL},
            ".success!.*.StartExecTime": {TEXT, NULL},
            ".success!.*.Status": {JOB_STATUS, NULL},
        },
        True,
    ),
    ("POST", "/api/pilots/"): Route(
        "pilots_register_pilot",
        {"201"},
        {},
        {
            "": {"closed"},
            ".destination_site": {UP_TO_128, 'default "NotAssigned"'},
            ".grid_site": {UP_TO_128, 'default "Unknown"'},
            ".grid_type": {UP_TO_32, 'default "DIRAC"'},
            ".pilot_reference": {UP_TO_255, NULL},
            ".pilot_stamp!": {"string minLength 1 maxLength 32"},
            ".pilot_status": {PILOT_STATUS, 'default "Submitted"'},
            ".vo!": {"string minLength 1 maxLength 128"},
        },
        True,
        {},
        True,
    ),
    ("PATCH", "/api/pilots/metadata"): Route(
        "pilots_update_pilot_metadata",
        {"204"},
        {},
        {
            ".*": {"closed"},
            ".*.AccountingSent": {"boolean", NULL},
            ".*.BenchMark": {"number", NULL},
            ".*.CurrentJobID": {"integer", NULL},
            ".*.DestinationSite": {UP_TO_128, NULL},
            ".*.GridSite": {UP_TO_128, NULL},
            ".*.GridType": {UP_TO_32, NULL},
            ".*.Queue": {UP_TO_128, NULL},
            ".*.Status": {PILOT_STATUS, NULL},
            ".*.StatusReason": {UP_TO_255, NULL},
        },
        True,
        {},
        True,
    ),
    ("POST", "/api/pilots/search"): Route(
        "pilots_search", {"200", "206"}, PAGING, SEARCH, False, {"[]": {"object"}}, True
    ),
    ("POST", "/api/pilots/summary"): Route(
        "pilots_summary", {"200"}, {}, {**CONDITIONS, ".grouping![]": {TEXT}}, True, {}, True
    ),
    ("GET", "/api/auth/userinfo"): Route(
        "auth_userinfo",
        {"200"},
        {},
        {},
        False,
        {
            ".dirac_group!": {TEXT},
            ".policies!": {"object"},
            ".preferred_username!": {TEXT},
            ".properties![]": {TEXT},
            ".sub!": {TEXT},
            ".vo!": {TEXT},
        },
        True,
    ),
    ("GET", "/.well-known/openid-configuration"): Route(
        ".well-known_get_openid_configuration",
        {"200"},
        {},
        {},
        False,
        {
            ".authorization_endpoint!": {TEXT},
            ".code_challenge_methods_supported![]": {TEXT},
            ".device_authorization_endpoint!": {TEXT},
            ".grant_types_supported![]": {TEXT},
            ".issuer!": {TEXT},
            ".jwks_uri!": {TEXT},
            ".response_types_supported![]": {TEXT},
            ".revocation_endpoint!": {TEXT},
            ".scopes_supported![]": {TEXT},
            ".token_endpoint!": {TEXT},
            ".token_endpoint_auth_methods_supported![]": {TEXT},
            ".token_endpoint_auth_signing_alg_values_supported![]": {TEXT},
            ".userinfo_endpoint!": {TEXT},
        },
        False,
    ),
    ("GET", "/.well-known/jwks.json"): Route(".well-known_get_jwks", {"200"}, {}, {}, False, OBJECT, False),
    ("GET", "/.well-known/dirac-metadata"): Route(
        ".well-known_get_installation_metadata",
        {"200"},
        {},
        {},
        False,
        {
            ".virtual_organizations!.*.default_group!": {TEXT},
            ".virtual_organizations!.*.groups!.*.properties![]": {TEXT},
            ".virtual_organizations!.*.support!.email!": {TEXT, NULL},
            ".virtual_organizations!.*.support!.message!": {TEXT},
            ".virtual_organizations!.*.support!.webpage!": {TEXT, NULL},
        },
        False,
    ),
    ("GET", "/.well-known/security.txt"): Route(
        ".well-known_get_security_txt", {"200"}, {}, {}, False, {"": {TEXT}}, False
    ),
}

# Where ours differs: (route, part, path) -> what ours has (None: nothing), and why.
_DEFAULTS = "our model has a default for it, so it is not marked as required; it is always sent"
_STATUS = "a job may be in a status that the REST enumeration lacks, as Scouting"
_SUMMARY = "DiracX's summaries are typed as anything"
_INSTALLATION = ("GET", "/.well-known/dirac-metadata")
_SUPPORT = ".virtual_organizations!.*.support!"

DIFFERENCES: Mapping[tuple[tuple[str, str], str, str], tuple[set[str] | None, str]] = {
    (_INSTALLATION, "answer", f"{_SUPPORT}.email"): ({TEXT, NULL}, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.email!"): (None, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.webpage"): ({TEXT, NULL}, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.webpage!"): (None, _DEFAULTS),
    (("PATCH", "/api/jobs/status"), "answer", ".success!.*.Status"): ({TEXT, NULL}, _STATUS),
    (("POST", "/api/pilots/summary"), "answer", "[]"): ({"object"}, _SUMMARY),
}


# --- The comparison


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Our document, as a client reads it."""
    return json.loads(json.dumps(openapi_document(OPERATIONS, "1.2.3")))


def differences(ours: Facts, theirs: Facts) -> dict[str, set[str] | None]:
    """What ours has where it is not the same."""
    return {
        path: ours.get(path) for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)
    }


@pytest.mark.parametrize("key", DIRACX, ids=" ".join)
def test_a_route_of_diracx(document, key) -> None:
    """A route that DiracX has too is the same for a client, but for the differences that are listed."""
    ours, theirs = routes(document)[key], DIRACX[key]
    assert (ours.operation_id, ours.statuses) == (theirs.operation_id, theirs.statuses)
    assert (ours.body_required, ours.secured) == (theirs.body_required, theirs.secured)
    for part in ("parameters", "body", "answer"):
        listed = {
            path: has for (route, of, path), (has, _) in DIFFERENCES.items() if (route, of) == (key, part)
        }
        assert differences(getattr(ours, part), getattr(theirs, part)) == listed


def test_differences_have_routes_and_reasons() -> None:
    """Every listed difference belongs to a compared route and says why it is there."""
    assert {route for route, _, _ in DIFFERENCES} <= DIRACX.keys()
    assert all(why for _, why in DIFFERENCES.values())


def test_what_is_not_diracxs_is_marked(document) -> None:
    """Exactly the routes that DiracX lacks have the tag `extension`, beside their resource's."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            resource = path.strip("/").removeprefix("api/").split("/")[0]
            extension = (method.upper(), path) not in DIRACX
            assert operation["tags"] == [resource, *(["extension"] if extension else [])]


def test_every_route_says_who_may(document) -> None:
    """Every route's description ends with its policy, and names the extensions of it."""
    named = {operation.name: operation.policy for operation in OPERATIONS}
    for operations in document["paths"].values():
        for operation in operations.values():
            policy = named[operation["operationId"]]
            assert operation["description"].endswith(f"Policy: {policy.rule} {policy.extension}".strip())
            assert operation["summary"].endswith((".", "`"))


def test_everything_but_health_is_documented(document) -> None:
    """The document has every operation of the table but itself and the probes, which DiracX hides too."""
    documented = {
        operation["operationId"] for path in document["paths"].values() for operation in path.values()
    }
    assert {operation.name for operation in OPERATIONS} - documented == {
        "health_live",
        "health_ready",
        "health_startup",
        "openapi",
    }
    assert len(documented) == len(routes(document))


def test_the_document_as_a_whole(document) -> None:
    """The document names itself as DiracX's does, has our version, and all its references lead somewhere."""
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "Dirac", "version": "1.2.3"}
    assert set(document["components"]["securitySchemes"]) == {"OpenIdConnect"}
    references = set(_references(document))
    assert references
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


async def test_where_it_is(grid, document) -> None:
    """Anybody can read the document, at DiracX's path."""
    said = await grid.http("GET", "/api/openapi.json", caller=None)
    assert said.status == 200
    assert said.body["paths"] == document["paths"]


async def test_answers_have_the_documented_members(grid, document) -> None:
    """An answer has the members that the document promises, no fewer and no more."""
    named = document["components"]["schemas"]
    said = await grid.http("GET", "/api/auth/userinfo")
    assert said.body.keys() == named["UserInfoResponse"]["properties"].keys()
    said = await grid.http("PATCH", "/api/jobs/status", {1: {"2024-05-01T00:00:00Z": {}}, 999: {}})
    assert said.body.keys() == named["SetJobStatusReturn"]["properties"].keys()
    assert said.body["success"]["1"].keys() == named["SetJobStatusReturnSuccess"]["properties"].keys()
    said = await grid.http("PATCH", "/api/pilots/legacy", {"pilot_ids": [1], "metadata": {"Status": "Done"}})
    assert said.body.keys() == named["ChangedRows"]["properties"].keys()
