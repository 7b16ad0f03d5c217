"""What HTTP adds to every operation: compression, CORS, ids, versions, rates, problem details, conditions."""

from __future__ import annotations

import gzip
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from rest_backend.app import make_app
from rest_backend.conditional import conditional, has_tag
from rest_backend.http.compression import accepts_gzip
from rest_backend.http.rates import Rates, network_of
from rest_backend.messages import Answer, Raw
from rest_backend.operations import Operation, Runner
from rest_backend.policies.common import PUBLIC
from rest_backend.settings import HttpSettings, Settings
from rest_backend.table import OPERATIONS

from .conftest import LARGEST_BODY, Grid

DOCUMENT = "/api/openapi.json"
LIVE = "/api/health/live"
USERINFO = "/api/auth/userinfo"
PLAIN_GETS = sorted({each.path for each in OPERATIONS if each.method == "GET" and "{" not in each.path})
PORTAL = "https://portal.example.org"


async def raw(grid: Any, method: str, path: str, **given: Any) -> tuple[int, bytes, Any]:
    """Status, body as it came over the wire, headers; ``given`` as aiohttp has it."""
    session = grid.client.session
    before, session._auto_decompress = session._auto_decompress, False
    try:
        async with grid.client.request(method, path, allow_redirects=False, **given) as response:
            return response.status, await response.read(), response.headers
    finally:
        session._auto_decompress = before


@asynccontextmanager
async def shell(grid: Grid, **http: Any) -> AsyncIterator[Grid]:
    """A grid behind a shell with other settings."""
    settings = Settings(http=HttpSettings(**http))
    runner = Runner(grid.runner.operations, replace(grid.runner.resources, settings=settings))
    async with TestClient(TestServer(make_app(runner))) as client:
        other = copy(grid)
        other.client = client
        yield other


# --- HEAD and OPTIONS


@pytest.mark.parametrize("path", PLAIN_GETS)
async def test_head(grid, path) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    headers = {"Authorization": f"Bearer {grid.token('admin')}", "Accept-Encoding": "identity"}
    got, head = [await raw(grid, method, path, headers=headers) for method in ("GET", "HEAD")]
    assert (head[0], head[1]) == (got[0], b"")
    for name in ("Content-Type", "Content-Length", "ETag", "Location"):
        assert head[2].get(name) == got[2].get(name), name


async def test_options(grid) -> None:
    """OPTIONS needs no token and says which methods a path has; an unknown path is 404."""
    status, body, headers = await raw(grid, "OPTIONS", "/api/jobs/search")
    assert (status, body, headers["Allow"]) == (204, b"", "POST, OPTIONS")
    status, body, _ = await raw(grid, "OPTIONS", "/api/nothing")
    assert (status, orjson.loads(body)) == (404, {"detail": "Not Found"})


# --- Compression


@pytest.mark.parametrize(
    ("accept", "zipped"),
    [
        ("gzip, deflate", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0, *", False),
        ("gzip;q=nonsense", False),
        ("identity", False),
        ("", False),
    ],
)
async def test_large_answers_are_compressed(grid, accept, zipped) -> None:
    """For those who accept it; the content is the same, and caches are told what it depends on."""
    assert accepts_gzip(accept) == zipped
    status, body, headers = await raw(grid, "GET", DOCUMENT, headers={"Accept-Encoding": accept})
    assert (status, headers.get("Content-Encoding")) == (200, "gzip" if zipped else None)
    assert "Accept-Encoding" in headers["Vary"]
    _, plain, _ = await raw(grid, "GET", DOCUMENT, headers={"Accept-Encoding": "identity"})
    assert (gzip.decompress(body) if zipped else body) == plain
    assert int(headers["Content-Length"]) == len(body) <= len(plain)


async def test_small_answers_are_not_compressed(grid) -> None:
    """It would cost more than it saves."""
    _, _, headers = await raw(grid, "GET", LIVE, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_request(grid, coding, pack) -> None:
    """A body may come compressed."""
    data = pack(b'{"parameters": ["JobID"]}')
    said = await grid.http("POST", "/api/jobs/search", data=data, headers={"Content-Encoding": coding})
    assert (said.status, said.body[0]) == (200, {"JobID": 1})


async def test_a_bomb(grid) -> None:
    """A small body that is a large one inside is 413, and is never opened as a whole."""
    bomb = gzip.compress(b" " * 400_000_000, 9)
    assert len(bomb) < LARGEST_BODY
    tracemalloc.start()
    try:
        said = await grid.http("POST", "/api/jobs/search", data=bomb, headers={"Content-Encoding": "gzip"})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said.status == 413
    assert most < 40_000_000


@pytest.mark.parametrize(
    ("coding", "data", "status"),
    [("zip", b"{}", 415), ("gzip", b"no gzip at all", 400), ("deflate", b"\xff\xff", 400)],
)
async def test_codings_that_cannot_be_read(grid, coding, data, status) -> None:
    """An unknown coding is 415, a broken body 400."""
    said = await grid.http("POST", "/api/jobs/search", data=data, headers={"Content-Encoding": coding})
    assert said.status == status, said.body
    assert isinstance(said.detail, str)


# --- CORS


async def test_a_page_that_may_call(grid) -> None:
    """It may read the answer and its telling headers, with credentials; errors too."""
    async with shell(grid, cors_origins=(PORTAL,)) as other:
        for path, status in ((LIVE, 200), ("/nowhere", 404), (USERINFO, 401)):
            said = await other.http("GET", path, caller=None, headers={"Origin": PORTAL})
            assert said.status == status
            assert said.headers["Access-Control-Allow-Origin"] == PORTAL
            assert said.headers["Access-Control-Allow-Credentials"] == "true"
            assert {"Content-Range", "ETag"} <= set(said.headers["Access-Control-Expose-Headers"].split(", "))
            assert said.headers["Vary"] == "Origin"


async def test_preflight(grid) -> None:
    """A browser that asks first is told methods and headers; for another page nothing."""
    asking = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, x-a",
    }
    async with shell(grid, cors_origins=(PORTAL,)) as other:
        said = await other.http(
            "OPTIONS", "/api/jobs/status", caller=None, headers={"Origin": PORTAL, **asking}
        )
        assert said.status == 204
        assert said.headers["Access-Control-Allow-Methods"] == "PATCH, OPTIONS"
        assert said.headers["Access-Control-Allow-Headers"] == "authorization, x-a"
        assert said.headers["Access-Control-Allow-Origin"] == PORTAL
        said = await other.http(
            "OPTIONS", "/api/jobs/status", caller=None, headers={"Origin": "https://evil.example", **asking}
        )
        assert not [name for name in said.headers if name.startswith("Access-Control")]


async def test_any_page_without_credentials(grid) -> None:
    """The wildcard never goes with credentials."""
    async with shell(grid, cors_origins=("*",)) as other:
        said = await other.http("GET", LIVE, headers={"Origin": "https://anywhere.example"})
        assert said.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in said.headers


async def test_without_cors(grid) -> None:
    """Unless it is configured no page may call."""
    said = await grid.http("GET", LIVE, headers={"Origin": PORTAL})
    assert not [name for name in said.headers if name.startswith("Access-Control")]


# --- Ids, versions, headers


@pytest.mark.parametrize("header", ["x-ms-client-request-id", "X-Request-ID"])
async def test_an_id_that_is_given(grid, header, caplog) -> None:
    """It stands in the answer and in the log."""
    with caplog.at_level(logging.INFO, "rest_backend.app"):
        said = await grid.http("GET", LIVE, headers={header: "c0ffee-1"})
    assert said.headers["X-Request-ID"] == "c0ffee-1"
    [record] = [each for each in caplog.records if each.getMessage() == "request"]
    assert record.fields["request_id"] == "c0ffee-1"
    assert (record.fields["operation"], record.fields["status"]) == ("health_live", 200)


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>", "é"])
async def test_ids_that_are_not_repeated(grid, given) -> None:
    """An id that might do harm where it is shown is replaced."""
    said = await grid.http("GET", LIVE, headers={"X-Request-ID": given})
    assert len(said.headers["X-Request-ID"]) == 32
    assert said.headers["X-Request-ID"].isalnum()


@pytest.mark.parametrize("path", [USERINFO, LIVE, "/.well-known/jwks.json", "/nowhere"])
@pytest.mark.parametrize(
    ("version", "told"),
    [
        (
            "0.0.0",
            "Client version 0.0.0 is not compatible with the server. Upgrade to a version >= 0.0.1a1.",
        ),
        ("foo", "Invalid version string: 'foo'"),
    ],
)
async def test_clients_that_are_too_old(grid, path, version, told) -> None:
    """On every path, and before anybody asks who calls."""
    said = await grid.http("GET", path, caller=None, headers={"DiracX-Client-Version": version})
    assert (said.status, said.detail) == (400, told)


@pytest.mark.parametrize("version", ["0.0.1a1", "0.7.0", "1.0.dev3+local"])
async def test_clients_that_are_welcome(grid, version) -> None:
    """The oldest, today's, tomorrow's."""
    assert (await grid.http("GET", USERINFO, headers={"DiracX-Client-Version": version})).status == 200


@pytest.mark.parametrize(
    ("version", "status"), [(None, 201), ("0.7.0", 201), ("0.4.0", 201), ("0.3.0", 200), ("0.0.2", 200)]
)
async def test_what_was_made_for_old_clients(grid, version, status) -> None:
    """DiracX clients before 0.4.0 call 201 a failure, and their users would submit again."""
    headers = {"DiracX-Client-Version": version} if version else {}
    said = await grid.http("POST", "/api/jobs/jdl", ['Executable = "a";'], headers=headers)
    assert (said.status, len(said.body)) == (status, 1)


async def _page(_context, _body, _query) -> Answer:
    return Answer(Raw(b"<h1>x</h1>", "text/html; charset=utf-8"))


PAGE = Operation("page", "GET", "/api/test/page", _page, PUBLIC, content_type="text/html")


async def test_security_headers(make_grid) -> None:
    """No sniffing anywhere, nothing kept of what has to do with tokens, nothing loaded by a page."""
    async with make_grid(operations=[PAGE]) as grid:
        _, _, headers = await raw(grid, "GET", "/api/test/page")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        said = await grid.http("GET", USERINFO)
        assert (said.headers["Cache-Control"], said.headers["Pragma"]) == ("no-store", "no-cache")
        assert "Cache-Control" not in (await grid.http("GET", LIVE)).headers


# --- Rates


async def test_rates(grid) -> None:
    """Each token has its share, so has an address without one; beyond it 429 says when to come again."""
    async with shell(grid, requests_per_minute=3) as other:
        token = {"Authorization": f"Bearer {other.token('alice')}"}
        said = [await other.http("GET", USERINFO, caller=None, headers=token) for _ in range(4)]
        assert [each.status for each in said] == [200, 200, 200, 429]
        assert 0 < int(said[3].headers["Retry-After"]) <= 20
        assert said[3].detail == "Too many requests: 3 a minute are allowed"
        # Another token is another caller; one that proves nothing is counted by address.
        assert (await other.http("GET", USERINFO, caller="bob")).status == 200
        bad = {"Authorization": "Bearer nonsense"}
        given = [(await other.http("GET", USERINFO, caller=None, headers=bad)).status for _ in range(4)]
        assert given == [401, 401, 401, 429]
        assert (await other.http("GET", "/.well-known/jwks.json", caller=None)).status == 429
        assert (await other.http("GET", "/nowhere", caller=None)).status == 429
        assert {(await other.http("GET", LIVE, caller=None)).status for _ in range(9)} == {200}


def test_a_bucket_fills_again() -> None:
    """Steadily, and never beyond what it holds."""
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(61)] == [0] * 60 + [1]
    now[0] = 1.0
    assert [rates.take("a"), rates.take("a")] == [0, 1]
    now[0] = 1000.0
    assert [rates.take("a") for _ in range(61)] == [0] * 60 + [1]


def test_buckets_are_bounded() -> None:
    """However many names callers have, so many are remembered."""
    rates = Rates(1, most=100)
    for number in range(1000):
        rates.take(str(number))
    assert len(rates) == 100
    assert (rates.take("999"), rates.take("0")) == (60, 0)


def test_networks() -> None:
    """A site has half of an IPv6 address to itself."""
    assert network_of("2001:db8::1") == network_of("2001:db8::2") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of(None) == ""


# --- Problem details


PROBLEM = {"Accept": "application/json;q=0.5, application/problem+json"}


async def problem(grid: Any, method: str, path: str, **given: Any) -> tuple[Any, Any]:
    """An error as whoever asks for problem details gets it."""
    headers = {"Authorization": f"Bearer {grid.token('admin')}", **PROBLEM}
    _, body, got = await raw(grid, method, path, headers=headers, **given)
    assert got["Content-Type"] == "application/problem+json"
    told = orjson.loads(body)
    assert told["request_id"] == got["X-Request-ID"]
    return told, got


async def test_a_problem(grid) -> None:
    """It has the members of RFC 9457, and a sentence."""
    told, _ = await problem(grid, "GET", "/nowhere")
    del told["request_id"]
    assert told == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found.",
        "instance": "/nowhere",
    }


async def test_a_problem_of_fields(grid) -> None:
    """What does not fit is named in the sentence, and by pointers."""
    told, _ = await problem(grid, "POST", "/api/jobs/search?page=0", json={"sort": [{"parameter": "JobID"}]})
    assert told["status"] == 422
    assert told["detail"].startswith("The request cannot be understood. query page: Input should be")
    assert [(each["place"], each["pointer"]) for each in told["errors"]] == [("query", "/page")]


async def test_a_problem_of_parts(grid) -> None:
    """What each part of a request was refused for is kept."""
    told, _ = await problem(grid, "PATCH", "/api/jobs/status", json={"999": {}})
    assert (told["status"], told["errors"]["failed"]) == (404, {"999": {"detail": "Not found"}})


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/problem+json;q=0", ""])
async def test_diracx_form_otherwise(grid, accept) -> None:
    """Whoever does not ask for problem details gets DiracX's form."""
    said = await grid.http("GET", "/nowhere", headers={"Accept": accept})
    assert said.body == {"detail": "Not Found"}


# --- Conditional requests


MODIFIED = datetime(2026, 11, 21, 20, 56, 16, 500_000, tzinfo=UTC)
TAG = "32fb04ab"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": f'"{TAG}"'}, 304),
        ({"if-none-match": f'W/"{TAG}"'}, 304),
        ({"if-none-match": f'"other", W/"{TAG}"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": "other"}, 200),
        ({"if-none-match": TAG[:-1]}, 200),
        ({"if-modified-since": "Sat, 21 Nov 2026 20:56:17 GMT"}, 304),
        ({"if-modified-since": "Sat, 21 Nov 2026 20:56:16 GMT"}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-none-match": "other", "if-modified-since": "Sun, 22 Nov 2026 20:56:16 GMT"}, 304),
    ],
)
def test_conditions(headers, status) -> None:
    """304 for the same tag or a later time, without a body; both validators always."""
    answer = conditional(headers, {"a": 1}, TAG, MODIFIED, {"Vary": "Authorization"})
    assert (answer.status, answer.body) == (status, {"a": 1} if status == 200 else None)
    assert answer.headers == {
        "ETag": TAG,
        "Last-Modified": "Sat, 21 Nov 2026 20:56:16 GMT",
        "Vary": "Authorization",
    }


def test_a_tag_with_odd_characters() -> None:
    """DiracX's tags of statuses have colons and spaces."""
    tag = "2026-11-21 20:56:16+00:00-7-demo"
    assert has_tag(tag, tag)
    assert has_tag(f'"{tag}"', tag)


async def test_the_address_that_clients_are_told(make_grid) -> None:
    """Behind a proxy the configured address counts, whatever a request says."""
    path = "/.well-known/openid-configuration"
    for public_url, said in (
        ("https://grid.example.org/w", "https://grid.example.org/w"),
        ("", "http://evil.example"),
    ):
        async with make_grid(rest=Settings(http=HttpSettings(public_url=public_url))) as grid:
            answer = await grid.http("GET", path, headers={"Host": "evil.example"})
            assert answer.body["token_endpoint"] == f"{said}/api/auth/token"
