"""Which routes adaptors use, as their docstrings say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rows import ROWS

from adaptor.conversation import Conversation, Request
from adaptor.methods.catalogue import ADAPTORS
from adaptor.routes import Offered, Route, Uses, uses_of

SEARCH = Route("POST", "/api/jobs/search")
METADATA = Route("PATCH", "/api/pilots/metadata")
LEGACY = Route("PATCH", "/api/pilots/legacy")
JDL = Route("GET", "/api/jobs/{job_id}/jdl")


def documented(text: str) -> Callable[[], Conversation]:
    """An adaptor with this docstring."""

    def adaptor() -> Conversation:
        yield Request("GET", "/")

    adaptor.__doc__ = text
    return adaptor


@pytest.mark.parametrize(
    ("text", "routes", "needed"),
    [
        ("", (), ()),
        ("Differences: `/api/jobs/heartbeat` knows seven names.", (), ()),
        ("`POST /api/jobs/search`, one for every 10,000 ids.", (SEARCH,), ((SEARCH,),)),
        (
            "`POST /api/jobs/search`, then `PATCH /api/pilots/metadata`\n or `PATCH /api/pilots/legacy`.",
            (SEARCH, METADATA, LEGACY),
            ((SEARCH,), (METADATA, LEGACY)),
        ),
        ("`POST /api/jobs/search`, perhaps `GET /api/jobs/{job_id}/jdl`", (SEARCH, JDL), ((SEARCH,),)),
        (
            "perhaps `PATCH /api/pilots/metadata` or `PATCH /api/pilots/legacy`; `POST /api/jobs/search`",
            (METADATA, LEGACY, SEARCH),
            ((SEARCH,),),
        ),
    ],
)
def test_routes_of_a_docstring(
    text: str, routes: tuple[Route, ...], needed: tuple[tuple[Route, ...], ...]
) -> None:
    """What stands in backticks is needed, unless the word before says that it is not, or not alone."""
    assert uses_of(documented(text)) == Uses(routes, needed)


def test_declared_requests() -> None:
    """A request is one of a route if method and path fit, braces standing for any one part."""
    uses = Uses((SEARCH, JDL))
    assert uses.declare(Request("POST", "/api/jobs/search", {}, {"page": 1}))
    assert uses.declare(Request("GET", "/api/jobs/12/jdl"))
    for method, path in (
        ("GET", "/api/jobs/search"),
        ("GET", "/api/jobs/12/13/jdl"),
        ("GET", "/api/jobs/12/jdl/"),
        ("GET", "/api/jobs/12"),
    ):
        assert not uses.declare(Request(method, path))


DOCUMENT = {
    "paths": {
        "/api/jobs/search": {"post": {}, "summary": "no method"},
        "/api/jobs/{id}/jdl": {"get": {"parameters": [{"name": "original"}]}},
        "/api/pilots/": {"post": {"parameters": [{"name": "Idempotency-Key", "in": "header"}]}},
        "/api/pilots/metadata": {"patch": {}},
    }
}


def test_what_a_document_offers() -> None:
    """An OpenAPI document says which routes there are, whatever their variable parts are called."""
    offered = Offered.of_openapi(DOCUMENT)
    assert offered.find("GET", "/api/jobs/12/jdl") == Route("GET", "/api/jobs/{id}/jdl")
    assert offered.find("GET", "/api/jobs/search") is None
    assert offered.missing(Uses((), ((SEARCH,), (JDL,), (LEGACY, METADATA)))) == []
    assert offered.missing(Uses((), ((LEGACY,), (SEARCH,), (Route("GET", "/api/x"), LEGACY)))) == [
        LEGACY,
        Route("GET", "/api/x"),
    ]
    assert offered.takes_key("POST", "/api/pilots/")
    assert not offered.takes_key("POST", "/api/jobs/search")
    assert not offered.takes_key("POST", "/api/x")


@pytest.mark.parametrize("document", [None, [], {}, {"paths": []}])
def test_no_document(document: object) -> None:
    """What is no OpenAPI document is refused."""
    with pytest.raises(ValueError, match="no OpenAPI document"):
        Offered.of_openapi(document)


def sent(service: str, method: str) -> list[Request]:
    """All requests in the rows of an adaptor."""
    steps = [
        step
        for row in ROWS.values()
        if (row.service, row.method) == (service, method)
        for step, _ in row.exchange
    ]
    flat = [each for step in steps for each in (step if isinstance(step, tuple) else (step,))]
    return [each for each in flat if isinstance(each, Request)]


each_adaptor = pytest.mark.parametrize(("service", "method"), ADAPTORS)


@each_adaptor
def test_every_request_is_declared(service: str, method: str) -> None:
    """An adaptor's docstring names every request that it sends in a row."""
    uses = uses_of(ADAPTORS[service, method])
    undeclared = {f"{each.method} {each.path}" for each in sent(service, method) if not uses.declare(each)}
    assert undeclared == set()


@each_adaptor
def test_every_declared_route_is_used(service: str, method: str) -> None:
    """An adaptor's docstring names no request that it sends in no row."""
    requests = sent(service, method)
    unused = {
        str(route)
        for route in uses_of(ADAPTORS[service, method]).routes
        if not any(route.carries(each.method, each.path) for each in requests)
    }
    assert unused == set()
