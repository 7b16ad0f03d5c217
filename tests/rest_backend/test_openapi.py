"""Our OpenAPI document beside DiracX 0.7.0's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_facts import Facts, Route, routes

from rest_backend.openapi import openapi_document
from rest_backend.table import OPERATIONS

# --- What DiracX 0.7.0's document says

# Drawn from its running server's document by what reads ours too: `tests/support/openapi_facts.py DOCUMENT`.
VECTOR = Path(__file__).parents[1] / "vectors/diracx-routes.json"
TEXT, NULL = "string", "null"


def _read(kept: Mapping[str, Any]) -> Route:
    parts = {name: {path: set(each) for path, each in kept[name].items()} for name in PARTS}
    return Route(**{**kept, **parts, "statuses": set(kept["statuses"])})


PARTS = ("parameters", "body", "answer")
DIRACX = {tuple(name.split()): _read(kept) for name, kept in json.loads(VECTOR.read_text()).items()}

# Where ours differs: (route, part, path) -> what ours has (None: nothing), and why.
_DEFAULTS = "our model has a default for it, so it is not marked as required; it is always sent"
_STATUS = "a job may be in a status that the REST enumeration lacks, as Scouting"
_SUMMARY = "DiracX's summaries are typed as anything"
_NAMES = "DiracX types the names of sandboxes as anything"
_REDIRECTS = "DiracX's document says 200 of what answers 307"
_UNCHANGED = "DiracX's document does not tell that it answers 304 to a client that has it already"
_PAGE = "without a code there is a page to type it into"
_REFUSAL = "a provider may answer with an error in place of a code"
_LISTED = "DiracX types the listed tokens as anything"
_IN_QUERY = "pilots send the token in the query, and the client's name is a setting"
_GRANTS = "DiracX's document has a text for each grant"
_INSTALLATION = ("GET", "/.well-known/dirac-metadata")
_TOKEN_LIST = ("GET", "/api/auth/refresh-tokens")
_REVOKE = ("POST", "/api/auth/revoke")
_COMPLETED = [("GET", f"/api/auth/{flow}/complete") for flow in ("device", "authorize")]
_SUPPORT = ".virtual_organizations!.*.support!"

_CHOICE = "a VO may have several identity providers"
_MIX_UP = "a code that another VO's identity provider gave is not sent on (RFC 9207)"
DIFFERENCES: Mapping[tuple[tuple[str, str], str, str], tuple[set[str] | None, str]] = {
    (_INSTALLATION, "answer", f"{_SUPPORT}.email"): ({TEXT, NULL}, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.email!"): (None, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.webpage"): ({TEXT, NULL}, _DEFAULTS),
    (_INSTALLATION, "answer", f"{_SUPPORT}.webpage!"): (None, _DEFAULTS),
    (("GET", "/api/auth/device"), "parameters", "query user_code"): ({TEXT, NULL}, _PAGE),
    (("GET", "/api/auth/device"), "parameters", "query user_code!"): (None, _PAGE),
    **{(key, "parameters", "query code!"): (None, _REFUSAL) for key in _COMPLETED},
    **{
        (key, "parameters", f"query {name}"): ({TEXT, NULL}, _REFUSAL)
        for key in _COMPLETED
        for name in ("code", "error")
    },
    **{(key, "parameters", "query iss"): ({TEXT, NULL}, _MIX_UP) for key in _COMPLETED},
    **{
        (key, "parameters", "query provider"): ({"string maxLength 64", NULL}, _CHOICE)
        for key in (
            ("GET", "/api/auth/authorize"),
            *((method, "/api/auth/device") for method in ("GET", "POST")),
        )
    },
    (("POST", "/api/auth/token"), "body", ".grant_type!"): (
        {"one of authorization_code refresh_token urn:ietf:params:oauth:grant-type:device_code"},
        _GRANTS,
    ),
    (_TOKEN_LIST, "answer", "[]"): (None, _LISTED),
    **{(_TOKEN_LIST, "answer", f"[].{name}!"): ({TEXT}, _LISTED) for name in ("JTI", "Scope", "Sub")},
    (_TOKEN_LIST, "answer", "[].Status!"): ({"integer"}, _LISTED),
    (_REVOKE, "body", ".client_id"): ({TEXT, NULL}, _IN_QUERY),
    (_REVOKE, "body", ".token!"): (None, _IN_QUERY),
    (_REVOKE, "body", ".token"): ({TEXT, NULL}, _IN_QUERY),
    **{
        (_REVOKE, "parameters", f"query {name}"): ({TEXT, NULL}, _IN_QUERY)
        for name in ("client_id", "refresh_token", "token", "token_type_hint")
    },
    (("PATCH", "/api/jobs/status"), "answer", ".success!.*.Status"): ({TEXT, NULL}, _STATUS),
    (("POST", "/api/jobs/summary"), "answer", "[]"): ({"object"}, _SUMMARY),
    (("POST", "/api/pilots/summary"), "answer", "[]"): ({"object"}, _SUMMARY),
    (("GET", "/api/jobs/{job_id}/sandbox"), "answer", ".*[]"): ({TEXT}, _NAMES),
    (("GET", "/api/jobs/{job_id}/sandbox/{sandbox_type}"), "answer", "[]"): ({TEXT}, _NAMES),
}

STATUSES: Mapping[tuple[str, str], tuple[set[str], str]] = {
    **{key: ({"307"}, _REDIRECTS) for key in _COMPLETED},
    **{("GET", f"/api/auth/{flow}"): ({"200", "307"}, _REDIRECTS) for flow in ("device", "authorize")},
    **{
        ("GET", path): ({"200", "304"}, _UNCHANGED)
        for path in ("/api/config/", *(f"/api/rss/{what}" for what in ("compute", "fts", "site", "storage")))
    },
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
    statuses, _ = STATUSES.get(key, (theirs.statuses, ""))
    assert (ours.operation_id, ours.statuses) == (theirs.operation_id, statuses)
    assert (ours.body_required, ours.secured) == (theirs.body_required, theirs.secured)
    for part in PARTS:
        listed = {
            path: has for (route, of, path), (has, _) in DIFFERENCES.items() if (route, of) == (key, part)
        }
        assert differences(getattr(ours, part), getattr(theirs, part)) == listed


def test_differences_have_routes_and_reasons() -> None:
    """Every listed difference belongs to a compared route and says why it is there."""
    assert {route for route, _, _ in DIFFERENCES} | STATUSES.keys() <= DIRACX.keys()
    assert all(why for _, why in [*DIFFERENCES.values(), *STATUSES.values()])


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


ALWAYS = {"400", "429", "500", "503"}


def test_every_route_says_how_it_fails(document) -> None:
    """Every route lists the statuses of its errors, with what it needs to have them, in both forms."""
    named = {operation.name: operation for operation in OPERATIONS}
    for operations in document["paths"].values():
        for described in operations.values():
            operation = named[described["operationId"]]
            listed = {status for status in described["responses"] if status >= "400"}
            assert listed >= ALWAYS
            assert listed >= (set() if operation.policy.public else {"401", "403"})
            assert ({"408", "413", "415"} <= listed) == (operation.body is not None)
            assert listed >= {str(status) for status in operation.errors}
            assert listed >= ({"422"} if operation.body is not None or operation.parameters else set())
            assert listed >= ({"404", "409"} if operation.writes else set())
            for status in listed:
                assert_error(described["responses"][status], status)


def assert_error(response: Mapping[str, Any], status: str) -> None:
    """An error is described as it is sent; a page beyond the end is an empty list."""
    if status == "416":
        assert response["content"] == {"application/json": {"schema": {"type": "array", "maxItems": 0}}}
        return
    of = {kind: each["schema"]["$ref"].rpartition("/")[2] for kind, each in response["content"].items()}
    plain = "HTTPValidationError" if status == "422" else "ErrorBody"
    assert of == {"application/json": plain, "application/problem+json": "Problem"}
    assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))


def test_what_creates_takes_a_key(document) -> None:
    """Exactly the operations that make something have the header Idempotency-Key."""
    creating = {operation.name for operation in OPERATIONS if operation.creates}
    with_key = {
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }
    assert with_key == creating
    assert creating >= {"pilots_add_legacy_pilots", "pilots_register_pilot"}


def test_everything_but_health_is_documented(document) -> None:
    """The document has every operation of the table but itself, and what DiracX hides or is for people."""
    documented = {
        operation["operationId"] for path in document["paths"].values() for operation in path.values()
    }
    assert {operation.name for operation in OPERATIONS} - documented == {
        # DiracX hides it too.
        "auth_legacy_exchange",
        # For people.
        "docs",
        "docs_asset",
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
