"""What every route does over HTTP (reference sheet ``rest-diracx.md``, sections 1 and 2)."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import Any

import orjson
import pytest
from yarl import URL

from rest_backend.operations import Operation
from rest_backend.table import OPERATIONS

from .conftest import LARGEST_BODY, Grid, Said, one
from .test_operations import REQUESTS, Row

PROTECTED = [operation for operation in OPERATIONS if not operation.policy.public]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LATER = "2024-05-01T10:00:00Z"
KILL = {"1": {LATER: {"Status": "Killed"}}}


def ids(operations) -> list[str]:
    """Test ids."""
    return [operation.name for operation in operations]


# --- Who calls (section 2, first rows; which tokens are good is tested in test_tokens.py)


@pytest.mark.parametrize("operation", PROTECTED, ids=ids(PROTECTED))
async def test_no_authorization(grid, operation) -> None:
    """Without a token the answer is a challenge, whatever the body is."""
    said = await grid.http(operation.method, operation.path, data=b"{", caller=None)
    assert (said.status, said.detail) == (401, "Authorization header is missing")
    assert said.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "token"])
async def test_no_bearer_token(grid, header) -> None:
    """An Authorization header of another kind is a bad request."""
    said = await grid.http("GET", "/api/auth/userinfo", caller=None, headers={"Authorization": header})
    assert (said.status, said.detail) == (400, "Invalid authorization header")
    assert "WWW-Authenticate" not in said.headers


async def test_the_schemes_case(grid) -> None:
    """The word Bearer may be written in any case (RFC 9110, 11.1)."""
    headers = {"Authorization": f"bearer {grid.token('alice')}"}
    assert (await grid.http("GET", "/api/auth/userinfo", caller=None, headers=headers)).status == 200


async def test_a_bad_token(grid) -> None:
    """A token that proves nothing is refused without a challenge."""
    headers = {"Authorization": "Bearer nonsense"}
    said = await grid.http("GET", "/api/auth/userinfo", caller=None, headers=headers)
    assert (said.status, said.detail) == (401, "Invalid JWT")
    assert "WWW-Authenticate" not in said.headers


async def test_public_routes_ask_for_nothing(grid) -> None:
    """A bad Authorization header does no harm where none is needed."""
    headers = {"Authorization": "Bearer nonsense"}
    path = "/.well-known/openid-configuration"
    assert (await grid.http("GET", path, caller=None, headers=headers)).status == 200


# --- Where and how


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/", "/api/jobs", "/api/jobs/search/more", "/API/auth/userinfo", "/api//auth/userinfo"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_path(grid, method, path) -> None:
    """An unknown path is 404 before anybody asks who calls."""
    said = await grid.http(method, path, caller=None)
    assert (said.status, said.detail) == (404, "Not Found")


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
async def test_wrong_method(grid, path) -> None:
    """Every other method is 405, and Allow names those that there are; where GET is, HEAD is too."""
    known = {operation.method for operation in OPERATIONS if operation.path == path} | {"OPTIONS"}
    known |= {"HEAD"} if "GET" in known else set()
    for method in METHODS:
        if method not in known:
            said = await grid.http(method, path, caller=None)
            assert said.status == 405, method
            assert set(said.headers["Allow"].split(", ")) == known
            assert said.body == (None if method == "HEAD" else {"detail": "Method Not Allowed"})


async def test_wrong_method_on_the_document(grid) -> None:
    """The OpenAPI document is a path like any other: a wrong method is 405."""
    said = await grid.http("POST", "/api/openapi.json", caller=None)
    assert (said.status, said.headers.get("Allow")) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("POST", "/api/pilots", "/api/pilots/"),
        ("GET", "/api/pilots", "/api/pilots/"),
        ("POST", "/api/jobs/search/", "/api/jobs/search"),
        ("GET", "/.well-known/jwks.json/", "/.well-known/jwks.json"),
        # A part of the path stays what it was: it ends neither the path nor the header.
        ("GET", "/api/jobs/1%3Fa%23b/jdl/", "/api/jobs/1%3Fa%23b/jdl"),
        ("GET", "/api/jobs/1%0D%0ASet-Cookie:%20a=b/jdl/", "/api/jobs/1%0D%0ASet-Cookie:%20a=b/jdl"),
    ],
)
async def test_redirects(grid, method, path, location) -> None:
    """A slash too few or too many is mended by 307, which keeps method and body."""
    said = await grid.http(method, URL(path, encoded=True), caller=None)
    assert (said.status, said.headers["Location"]) == (307, location)
    assert "Set-Cookie" not in said.headers


async def test_a_path_with_a_line_break(grid) -> None:
    """It is unknown, and answered as every other: with an id by which the log has it."""
    said = await grid.http("GET", URL("/api/nothing%0A", encoded=True), caller=None)
    assert (said.status, said.detail) == (404, "Not Found")
    assert said.headers["X-Request-ID"]


async def test_a_redirect_is_followed(grid) -> None:
    """A client that follows 307 registers its pilot at the path without slash too."""
    url, body = "/api/pilots", {"pilot_stamp": "new", "vo": "demo"}
    headers = {"Authorization": f"Bearer {grid.token('admin')}"}
    async with grid.client.post(url, json=body, headers=headers) as response:
        assert (response.status, await response.json()) == (201, None)


async def test_a_redirect_keeps_the_query(grid) -> None:
    """The target of a redirect has the query of the request, as Starlette's has."""
    said = await grid.http("POST", "/api/jobs/search/", query={"page": "2", "per_page": "3"})
    assert said.headers["Location"].endswith("/api/jobs/search?page=2&per_page=3")


# --- Bodies


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"parameters":["JobID"]}', "application/json"),
        (b'{"parameters":["JobID"]}', "application/json; charset=utf-8"),
        (b' {"parameters":["JobID"]}\n', "application/octet-stream"),
    ],
)
async def test_a_body_is_json(grid, data, content_type) -> None:
    """A body is read as JSON whatever it is called."""
    said = await grid.http("POST", "/api/jobs/search", data=data, headers={"Content-Type": content_type})
    assert said.status == 200
    assert said.body[0] == {"JobID": 1}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{", id="cut short"),
        pytest.param(b"nope", id="no JSON"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"page=1", id="a form"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'"\xff"', id="no UTF-8"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="nested too deep"),
        pytest.param(b" ", id="white space"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/jobs/search"), ("PATCH", "/api/jobs/status"), ("POST", "/api/pilots/")],
)
async def test_malformed_json(grid, method, path, data) -> None:
    """What is no JSON is 422 of type json_invalid, with its position."""
    said = await grid.http(method, path, data=data)
    assert said.status == 422
    [problem] = said.detail
    where, position = problem.pop("loc")
    reason = problem["ctx"].pop("error")
    assert problem == {"type": "json_invalid", "msg": "JSON decode error", "input": {}, "ctx": {}}
    assert (where, type(position), type(reason)) == ("body", int, str)


async def test_no_body(grid) -> None:
    """No body at all is no JSON error: it is a missing one, where one is needed."""
    assert (await grid.http("POST", "/api/jobs/search", data=b"")).status == 200
    said = await grid.http("PATCH", "/api/jobs/status", data=b"")
    assert (said.status, said.detail[0]["loc"]) == (422, ["body"])


def search(operator: str, value: Any, parameter: Any = "JobID") -> dict[str, Any]:
    """A search with one condition."""
    return {"search": [one(parameter, operator, value)]}


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "problems"),
    [
        pytest.param(
            "POST",
            "/api/jobs/search",
            {"page": "0", "per_page": "10001"},
            None,
            [
                ("greater_than_equal", ["query", "page"], "0", {"ge": 1}),
                ("less_than_equal", ["query", "per_page"], "10001", {"le": 10000}),
            ],
            id="paging",
        ),
        pytest.param(
            "POST",
            "/api/jobs/search",
            {"page": "one"},
            None,
            [("int_parsing", ["query", "page"], "one", None)],
            id="no number",
        ),
        pytest.param(
            "POST",
            "/api/jobs/search",
            {},
            {"sort": [{"parameter": "JobID", "direction": "up"}]},
            [("literal_error", ["body", "sort", 0, "direction"], "up", {"expected": "'asc' or 'desc'"})],
            id="sort direction",
        ),
        pytest.param(
            "PATCH",
            "/api/jobs/status",
            {"force": "maybe"},
            KILL,
            [("bool_parsing", ["query", "force"], "maybe", None)],
            id="no boolean",
        ),
        pytest.param(
            "PATCH",
            "/api/jobs/status",
            {},
            {"one": {}},
            [("int_parsing", ["body", "one", "[key]"], "one", None)],
            id="no job id",
        ),
        pytest.param(
            "POST",
            "/api/pilots/",
            {},
            {"pilot_stamp": "x" * 33, "extra": 1},
            [
                ("string_too_long", ["body", "pilot_stamp"], "x" * 33, {"max_length": 32}),
                ("missing", ["body", "vo"], {"pilot_stamp": "x" * 33, "extra": 1}, None),
                ("extra_forbidden", ["body", "extra"], 1, None),
            ],
            id="several",
        ),
    ],
)
async def test_validation(grid, method, path, query, body, problems) -> None:
    """422 lists every problem as FastAPI does: type, loc, msg, input and, where there is more to say, ctx."""
    said = await grid.http(method, path, body, query=query)
    assert said.status == 422
    found = [
        (problem["type"], problem["loc"], problem["input"], problem.get("ctx")) for problem in said.detail
    ]
    assert found == problems
    for problem in said.detail:
        assert problem.keys() - {"ctx"} == {"type", "loc", "msg", "input"}
        assert isinstance(problem["msg"], str)


@pytest.mark.parametrize(
    "body",
    [
        search("ilike", "x"),
        search("in", 1),
        search("eq", [1]),
        search("eq", 1.5),
        search("eq", None),
        search("eq", 1, parameter=5),
        {"search": "x"},
        {"search": [{}]},
        {"parameters": "JobID"},
        {"parameters": [1]},
        {"distinct": "perhaps"},
        {"sort": [{"parameter": "JobID"}]},
        "x",
        [],
        7,
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/jobs/search", "/api/pilots/search", "/api/pilots/jobs/search"])
async def test_searches_that_are_refused(grid, path, body) -> None:
    """A search of the wrong shape is 422, and every problem says where in the body it is."""
    said = await grid.http("POST", path, body)
    assert said.status == 422
    assert {problem["loc"][0] for problem in said.detail} == {"body"}


async def test_a_large_body(grid) -> None:
    """A body over the limit is 413, and one just below it is read."""
    filler = b'{"unknown":"%s"}'
    within = filler % (b"x" * (LARGEST_BODY - len(filler)))
    assert (await grid.http("POST", "/api/jobs/search", data=within)).status == 200
    said = await grid.http("POST", "/api/jobs/search", data=within + b" " * 100_000)
    assert said.status == 413
    assert str(LARGEST_BODY) in said.detail


async def test_more_problems_than_can_be_named(grid) -> None:
    """A large body that is wrong all over costs no more than reading it."""
    said = await grid.http("PATCH", "/api/jobs/metadata", {str(job): 1 for job in range(1, 2001)})
    assert said.status == 422
    [problem] = said.detail
    assert problem["loc"] == ["body"]
    assert "2000 parts of the request are wrong" in problem["msg"]


@pytest.mark.parametrize("part", ["search", "sort"])
async def test_a_list_that_is_wrong_all_over(grid, part) -> None:
    """Its first item is named, and the others are not even looked at."""
    said = await grid.http("POST", "/api/jobs/search", {part: [{}] * 100_000})
    assert said.status == 422
    assert {tuple(problem["loc"][:3]) for problem in said.detail} == {("body", part, 0)}


async def test_a_large_body_of_nobody(grid) -> None:
    """Who has not said who he is may not fill our memory: forms and secrets are short."""
    for path, content_type in (
        ("/api/auth/token", "application/x-www-form-urlencoded"),
        ("/api/auth/secret-exchange", "application/json"),
    ):
        said = await grid.http(
            "POST", path, caller=None, data=b"x" * 70_000, headers={"Content-Type": content_type}
        )
        assert said.status == 413
        assert "65536" in said.detail


# Numbers and times that fit their type but no column.
EXTREMES = [
    pytest.param("POST", "/api/jobs/search", search("eq", "9" * 30), id="job id of 30 digits"),
    pytest.param("POST", "/api/jobs/search", search("eq", 2**63), id="job id of 64 bits"),
    pytest.param("PATCH", "/api/jobs/status", {str(2**63): {LATER: {}}}, id="status of job of 64 bits"),
    pytest.param("PATCH", "/api/jobs/status", {"1": {"0001-01-01T00:00:00+23:00": {}}}, id="before year 1"),
    pytest.param("PATCH", "/api/jobs/status", {"1": {"9999-12-31T23:59:59-23:00": {}}}, id="after year 9999"),
    pytest.param("POST", "/api/jobs/search?page=99999999999999999999", None, id="page of 20 digits"),
    pytest.param("PATCH", "/api/pilots/metadata", {"s1": {"CurrentJobID": 2**63}}, id="column of 64 bits"),
    pytest.param("POST", "/api/pilots/search", search("eq", 2**63), id="pilot's job of 64 bits"),
    pytest.param(
        "PATCH", "/api/pilots/legacy", {"pilot_ids": [2**63], "metadata": {"Status": "Done"}}, id="pilot id"
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), EXTREMES)
async def test_extremes_are_the_clients_fault(grid, method, path, body) -> None:
    """A number or time that nothing can hold is a client's error, or matches nothing; never a 500."""
    said = await grid.http(method, path, body)
    assert said.status < 500


# --- Answers


async def test_every_answer_is_json(grid) -> None:
    """Answers are JSON by name; 204 has neither a body nor a type."""
    headers = {"Authorization": f"Bearer {grid.token('admin')}", "Accept-Encoding": "identity"}
    for method, path, status in [
        ("GET", "/api/auth/userinfo", 200),
        ("GET", "/.well-known/security.txt", 200),
        ("GET", "/api/openapi.json", 200),
        ("GET", "/nowhere", 404),
    ]:
        async with grid.client.request(method, path, headers=headers) as response:
            assert (response.status, response.content_type) == (status, "application/json")
            assert int(response.headers["Content-Length"]) == len(await response.read())
    async with grid.client.patch("/api/pilots/metadata", json={"s1": {}}, headers=headers) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert "Content-Type" not in response.headers


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|\+00:00)")


@pytest.mark.parametrize(
    ("path", "body", "column"),
    [
        ("/api/jobs/search", {"parameters": ["SubmissionTime"]}, "SubmissionTime"),
        ("/api/pilots/search", {"parameters": ["LastUpdateTime"]}, "LastUpdateTime"),
        ("/api/pilots/jobs/search", {}, "StartTime"),
        ("/api/pilots/summary", {"grouping": ["SubmissionTime"]}, "SubmissionTime"),
    ],
)
async def test_times(grid, path, body, column) -> None:
    """Times are aware and end in Z, without microseconds when there are none."""
    rows = (await grid.http("POST", path, body)).body
    assert rows
    for row in rows:
        assert TIME.fullmatch(row[column])
        assert datetime.fromisoformat(row[column]).utcoffset().total_seconds() == 0
        assert row[column].endswith(":00:00Z")


async def test_many_at_once(grid) -> None:
    """Concurrent readers and writers, more than there are database connections, are all served."""
    search = [grid.http("POST", "/api/jobs/search", {"parameters": ["JobID"]}) for _ in range(30)]
    update = [
        grid.http("PATCH", "/api/jobs/status", {"2": {LATER: {"ApplicationStatus": str(number)}}})
        for number in range(10)
    ]
    said = await asyncio.gather(*search, *update)
    assert {each.status for each in said} == {200}
    job = await grid.job(2, "LoggingInfo")
    assert {record["ApplicationStatus"] for record in job["LoggingInfo"]} >= set("0123456789")


# --- The database is away

# By name: what they do needs no row; of the last ones the table has only what is refused.
NEED_NO_DATABASE = {
    "jobs_get_sandbox_space",
    "proxies_get_own_proxy",
    "auth_choose_provider",
    "auth_finished",
    "auth_legacy_exchange",
    "auth_userinfo",
    "config_serve_config",
    "docs",
    "docs_asset",
    "health_live",
    "jobs_get_limits",
    "openapi",
    "pilots_get_log_limits",
    "pilots_get_sites_of_ces",
    *(operation.name for operation in OPERATIONS if operation.tag == ".well-known"),
    "auth_complete_authorization_flow",
    "auth_finish_device_flow",
    "auth_initiate_authorization_flow",
    "auth_initiate_device_flow",
    "auth_refresh_pilot_tokens",
    "pilots_create_pilot_secrets",
    "auth_revoke_refresh_token_by_refresh_token",
}


async def test_the_database_is_away_and_comes_back(make_grid) -> None:
    """Without its database the server says 503 and when to try again; afterwards it goes on by itself.

    What can be refused without a look at the database still is.
    """
    async with make_grid() as grid:
        assert (await grid.http("POST", "/api/jobs/search")).status == 200
        away = grid.file.rename(grid.file.with_suffix(".away"))
        for operation in OPERATIONS:
            said = [(row, await ask(grid, operation, row)) for row in REQUESTS[operation.name]]
            unavailable = [answer for _, answer in said if answer.status == 503]
            assert all(answer.status in (503, row.status) or row.status < 400 for row, answer in said)
            if operation.name not in NEED_NO_DATABASE:
                assert unavailable, operation.name
                assert {answer.headers["Retry-After"] for answer in unavailable} == {"10"}
            else:
                assert said[0][1].status == said[0][0].status, operation.name
        away.rename(grid.file)
        assert (await grid.http("POST", "/api/jobs/search")).status == 200
        assert (await grid.http("PATCH", "/api/jobs/status", KILL)).status == 200


async def ask(grid: Grid, operation: Operation, row: Row) -> Said:
    """Make a request of the table."""
    path = operation.path.format(**row.parts)
    return await grid.http(operation.method, path, row.body, caller=row.caller, query=row.query)


async def test_the_database_is_held_by_another(make_grid) -> None:
    """A writer waits its configured time for a foreign lock, then says 503; readers are not held up."""
    async with make_grid(busy_seconds=0.1) as grid:
        await grid.http("POST", "/api/jobs/search")
        with closing(sqlite3.connect(grid.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            said = await grid.http("PATCH", "/api/jobs/status", KILL)
            assert (said.status, said.headers["Retry-After"]) == (503, "10")
            assert (await grid.http("POST", "/api/jobs/search")).status == 200
        assert (await grid.http("PATCH", "/api/jobs/status", KILL)).status == 200


# --- One connection


async def test_a_bad_request_leaves_the_connection(grid) -> None:
    """Errors of all kinds and a good request follow each other on one connection."""
    token = f"Authorization: Bearer {grid.token('admin')}\r\n"
    requests = [
        ("GET /nowhere", "", b"", 404),
        ("GET /api/auth/userinfo", "", b"", 401),
        ("POST /api/jobs/search", token, b"{", 422),
        ("DELETE /api/jobs/search", token, b"x" * 100, 405),
        ("GET /api/auth/userinfo", token, b"", 200),
    ]
    reader, writer = await asyncio.open_connection(grid.client.host, grid.client.port)
    try:
        for line, header, body, status in requests:
            head = f"{line} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert answer.startswith(f"HTTP/1.1 {status} ")
            length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
            orjson.loads(await reader.readexactly(int(length[1])))
    finally:
        writer.close()
        await writer.wait_closed()
