"""The table of operations and its runner: both shells mean the same, and a unit of work is one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from rest_backend.errors import Forbidden
from rest_backend.operations import Answer, Operation, Policy, RestRequest, Runner, decode, encode
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.table import OPERATIONS
from shared_db.errors import Conflict
from shared_db.schema import SCHEMAS
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

from .conftest import Grid, one

LATER = "2024-05-01T10:00:00Z"


@dataclass(frozen=True)
class Row:
    """A request, and the status that both shells answer."""

    status: int
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    caller: str = "admin"


def search(*condition: Any) -> dict[str, Any]:
    """A search with one condition."""
    return {"search": [one(*condition)]}


PUBLIC = [Row(200), Row(200, caller="olga"), Row(200, query={"unknown": "x"})]

SEARCH = [
    Row(200),
    Row(200, {"parameters": ["Status"], "distinct": True, "unknown": 1}),
    Row(200, search("Status", "in", [])),
    Row(200, {"sort": [{"parameter": "Status", "direction": "desc"}]}, caller="bob"),
    Row(206, query={"page": "2", "per_page": "2"}),
    Row(416, query={"page": "99", "per_page": "2"}),
    Row(400, search("Nope", "eq", "x")),
    Row(400, {"parameters": ["Nope"]}),
    Row(400, {"sort": [{"parameter": "Nope", "direction": "asc"}]}),
    Row(400, search("SubmissionTime", "eq", "yesterday")),
    Row(400, search("Status", "regex", "[")),
    Row(422, search("Status", "ilike", "x")),
    Row(422, search("Status", "eq", ["x"])),
    Row(422, query={"page": "0"}),
    Row(422, query={"per_page": "10001", "page": "x"}),
    Row(422, ["not a mapping"]),
]

# By operation: requests on its method and path.
REQUESTS: Mapping[str, list[Row]] = {
    "auth_userinfo": [Row(200), Row(200, caller="pilot"), Row(200, caller="host")],
    **{operation.name: PUBLIC for operation in OPERATIONS if operation.policy.public},
    "jobs_search": [
        *SEARCH,
        Row(200, {"parameters": ["LoggingInfo"]}),
        Row(200, search("PilotStamp", "eq", "s1")),
        Row(400, search("PilotStamp", "like", "s%")),
    ],
    "jobs_set_job_statuses": [
        Row(200, {"1": {LATER: {"Status": "Killed", "Source": "JobManager"}}}),
        Row(200, {1: {LATER: {"MinorStatus": "by number"}}}),
        Row(200, {"1": {LATER: {"Status": "Done"}}}),
        Row(200, {"1": {LATER: {"Status": "Done"}}}, {"force": "true"}),
        Row(200, {"2": {LATER: {"ApplicationStatus": "x"}}, "999": {LATER: {}}}),
        Row(200, {"1": {LATER: {"Status": "Killed"}}}, caller="alice"),
        Row(403, {"1": {LATER: {"Status": "Killed"}}}, caller="bob"),
        Row(403, {"1": {LATER: {"Status": "Done"}}}, {"force": "1"}, caller="alice"),
        Row(404, {"999": {LATER: {"Status": "Done"}}}),
        Row(404, {}),
        Row(422, {"1": {LATER: {"Status": "Bogus"}}}),
        Row(422, {"one": {LATER: {}}}),
        Row(422, {"1": {"tomorrow": {}}}),
        Row(422, {"1": {LATER: {}}}, {"force": "perhaps"}),
        Row(422),
    ],
    "pilots_register_pilot": [
        Row(201, {"pilot_stamp": "new", "vo": "demo"}),
        Row(201, {"pilot_stamp": "new", "vo": "demo", "pilot_status": "Running"}, caller="pilot"),
        Row(409, {"pilot_stamp": "s1", "vo": "demo"}),
        Row(400, {"pilot_stamp": "new", "vo": "novo"}),
        Row(403, {"pilot_stamp": "new", "vo": "demo"}, caller="alice"),
        Row(403, {"pilot_stamp": "new", "vo": "other"}, caller="pilot"),
        Row(422, {"pilot_stamp": "new", "vo": "demo", "extra": 1}),
        Row(422, {"vo": "demo"}),
        Row(422),
    ],
    "pilots_update_pilot_metadata": [
        Row(204, {"s1": {"Status": "Done", "StatusReason": None}, "s3": {"BenchMark": 3}}),
        Row(204, {"twin": {"AccountingSent": True}}),
        Row(404, {"s1": {"Status": "Done"}, "none": {}}),
        Row(403, {"s1": {"Status": "Done"}}, caller="alice"),
        Row(422, {"s1": {"Status": "Scheduled"}}),
        Row(422, {"s1": {"extra": 1}}),
        Row(422, [1]),
    ],
    "pilots_search": [
        *SEARCH,
        Row(200, search("JobID", "in", [2, 3])),
        Row(400, search("JobID", "eq", "2")),
    ],
    "pilots_summary": [
        Row(200, {"grouping": ["Status"]}),
        Row(200, {"grouping": []}, caller="bob"),
        Row(400, {"grouping": ["Nope"]}),
        Row(422, {}),
        Row(422),
    ],
    "pilots_add_legacy_pilots": [
        Row(201, [{"pilot_reference": "r", "pilot_stamp": "t", "vo": "demo"}] * 2),
        Row(201, []),
        Row(403, [{"pilot_reference": "r", "vo": "demo"}], caller="pilot"),
        Row(422, [{"pilot_reference": "r", "vo": "demo", "extra": 1}]),
        Row(422, {}),
    ],
    "pilots_update_legacy_pilots": [
        Row(200, {"pilot_ids": [1, 4, 99], "metadata": {"Status": "Scheduled"}}),
        Row(200, {"pilot_ids": [99], "metadata": {"Status": "Done"}}, caller="pilot"),
        Row(403, {"pilot_ids": [1], "metadata": {"Status": "Done"}}, caller="alice"),
        Row(422, {"pilot_ids": [], "metadata": {"Status": "Done"}}),
        Row(422, {"pilot_ids": [1], "metadata": {}}),
    ],
    "pilots_search_pilot_jobs": [
        Row(200),
        Row(200, search("JobID", "eq", 2), caller="operator"),
        Row(403, caller="bob"),
        Row(206, query={"per_page": "1"}),
        Row(416, query={"page": "50"}),
        Row(400, search("Nope", "eq", "x")),
        Row(422, query={"page": "-1"}),
    ],
}
NAMED = {operation.name: operation for operation in OPERATIONS}


def test_every_operation_is_compared() -> None:
    """The table below leaves no operation out, and names none that is gone."""
    assert REQUESTS.keys() == NAMED.keys()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{number}-{row.status}")
        for name, rows in REQUESTS.items()
        for number, row in enumerate(rows)
    ],
)
async def test_both_shells_mean_the_same(grid, twin, stopped_clock, name, row) -> None:
    """A request has the same status, body, telling headers and effect over HTTP and in process."""
    operation = NAMED[name]
    request = (operation.method, operation.path, row.body)
    given = {"caller": row.caller, "query": row.query}
    base_url = str(grid.client.make_url("")).rstrip("/")

    http = await grid.http(*request, **given)
    call = await twin.call(*request, **given, base_url=base_url)

    assert http.status == row.status
    assert http.meaning == call.meaning
    assert await contents(grid) == await contents(twin)


async def contents(grid: Grid) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {
        table.name: await grid.rows(database, select(table))
        for database, schema in SCHEMAS.items()
        for table in schema.sorted_tables
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/jobs/search", 405),
        ("POST", "/api/pilots", 307),
        ("GET", "/api/auth/userinfo/", 307),
    ],
)
async def test_what_is_not_in_the_table(grid, method, path, status) -> None:
    """Unknown paths, wrong methods and slashes too many or too few are answered alike by both shells."""
    http, call = await grid.http(method, path), await grid.call(method, path)
    assert http.meaning == call.meaning
    assert http.status == status


# --- The runner, on operations made for it

MARK = PilotAgents.insert().values(PilotID=77, PilotStamp="mark", VO="demo")


async def _mark(context, _body, _query) -> Answer:
    await context.work.change(PILOT_AGENTS_DB, MARK)
    return Answer("marked")


async def _mark_and_fail(context, _body, _query) -> Answer:
    await context.work.change(PILOT_AGENTS_DB, MARK)
    raise Conflict("after the mark")


async def _refuse(_context, _body, _parameters) -> None:
    raise Forbidden("Not you.")


async def _break(_context, _body, _query) -> Answer:
    raise LookupError("secret /etc/passwd")


REFUSED = Policy("refused", "Nobody.", _refuse)
EXTRA = (
    Operation("mark", "POST", "/api/test/mark", _mark, AUTHENTICATED, writes=True),
    Operation("mark_reading", "POST", "/api/test/reading", _mark, AUTHENTICATED),
    Operation("mark_and_fail", "POST", "/api/test/fail", _mark_and_fail, AUTHENTICATED, writes=True),
    Operation("mark_refused", "POST", "/api/test/refused", _mark, REFUSED, body=list[int], writes=True),
    Operation("break", "POST", "/api/test/break", _break, AUTHENTICATED),
)


@pytest.mark.parametrize(
    ("path", "body", "status", "marks"),
    [
        pytest.param("mark", None, 200, 1, id="success is committed"),
        pytest.param("reading", None, 500, 0, id="a reading operation cannot write"),
        pytest.param("fail", None, 409, 0, id="a failure is rolled back"),
        pytest.param("refused", [1], 403, 0, id="the policy is asked before the handler"),
        pytest.param("refused", "x", 422, 0, id="validation comes before the policy"),
    ],
)
async def test_an_operation_is_one_unit_of_work(make_grid, path, body, status, marks) -> None:
    """What an operation wrote is there if it succeeded, and not at all otherwise."""
    async with make_grid(operations=EXTRA) as grid:
        said = await grid.http("POST", f"/api/test/{path}", body)
        wanted = select(PilotAgents.c.PilotID).where(PilotAgents.c.PilotID == 77)
        assert said.status == status
        assert len(await grid.rows(PILOT_AGENTS_DB, wanted)) == marks


async def test_a_bug_is_logged_and_ends_nothing(make_grid, caplog) -> None:
    """An unexpected error is logged, tells the client nothing, and the connection lives on."""
    async with make_grid(operations=EXTRA) as grid:
        with caplog.at_level(logging.ERROR, "rest_backend.app"):
            broken = await grid.http("POST", "/api/test/break")
        assert (broken.status, broken.body) == (500, {"detail": "Internal Server Error"})
        [record] = caplog.records
        assert record.getMessage() == "unhandled error in POST /api/test/break"
        assert record.exc_info is not None
        assert (await grid.http("GET", "/api/auth/userinfo")).status == 200


def test_a_path_is_served_once(grid) -> None:
    """Two operations for the same method and path are a mistake that stops the program."""
    with pytest.raises(ValueError, match="two operations for POST /api/test/mark"):
        Runner((EXTRA[0], EXTRA[0]), grid.runner._resources)


async def test_in_process_errors_are_answers(grid) -> None:
    """In process an error is an answer made of JSON's types, never an exception, whatever was sent."""
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    request = RestRequest("PATCH", "/api/jobs/status", {}, {5: {moment: {"Status": float("nan")}}})
    answer = await grid.runner.call(request, grid.principal("admin"))
    assert answer.status == 422
    [problem] = answer.body["detail"]
    assert problem["input"] == "nan"
    assert decode(encode(answer.body)) == answer.body
