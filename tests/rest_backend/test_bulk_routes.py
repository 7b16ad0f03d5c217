"""What is asked about many things takes as many statements as what is asked about a few."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from rest_backend.messages import AT_ONCE, encode, encode_gently, plain
from shared_db.schema.job_db import JOB_DB, JobJDLs, Jobs
from shared_db.schema.job_logging_db import JOB_LOGGING_DB, LoggingInfo
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

from .conftest import NOON, Grid

FEW, MANY = 10, 200
LATER = "2024-05-01T10:00:00Z"

Ids = Sequence[int]


def of_each(told: Callable[[int], Any]) -> Callable[[Ids], Any]:
    """A body with something for each job."""
    return lambda ids: {str(each): told(each) for each in ids}


def listed(ids: Ids) -> dict[str, Any]:
    """A body that lists jobs."""
    return {"job_ids": list(ids)}


def stamps(ids: Ids) -> list[str]:
    """The pilots that have the same numbers."""
    return [f"p{each}" for each in ids]


# Every route that takes many things: its method and path, and what it is sent.  Statuses, values and, where
# they may be left out, columns differ from one to the next.
ROUTES: dict[str, tuple[str, str, Callable[[Ids], Any]]] = {
    "statuses": (
        "PATCH",
        "/api/jobs/status",
        of_each(lambda i: {LATER: {"Status": ("Running", "Killed", "Failed")[i % 3], "Source": f"s{i}"}}),
    ),
    "heartbeats": (
        "PATCH",
        "/api/jobs/heartbeat",
        of_each(lambda i: {"Vsize": i} if i % 2 else {"LoadAverage": 1, "StandardOutput": f"o{i}"}),
    ),
    "legacy heartbeats": (
        "PATCH",
        "/api/jobs/legacy/heartbeat",
        of_each(lambda i: {"dynamic": {f"Load{i % 5}": i}, "static": {"Node": f"n{i}"}}),
    ),
    "metadata": (
        "PATCH",
        "/api/jobs/metadata",
        of_each(lambda i: {"Site": f"LAB.S{i}.ch"} if i % 2 else {"HostName": f"h{i}"}),
    ),
    "attributes": (
        "PATCH",
        "/api/jobs/attributes",
        of_each(lambda i: {"Site": f"LAB.S{i}.ch"} if i % 2 else {"ApplicationStatus": f"a{i}"}),
    ),
    "parameters": (
        "PATCH",
        "/api/jobs/parameters",
        of_each(lambda i: {f"name{i}": "value", "other": f"{i}"}),
    ),
    "parameters of": ("POST", "/api/jobs/parameters/search", listed),
    "attic parameters of": ("POST", "/api/jobs/attic-parameters/search", listed),
    "heartbeats of": ("POST", "/api/jobs/heartbeats/search", listed),
    "input data of": ("POST", "/api/jobs/input-data/search", listed),
    "rescheduling": ("POST", "/api/jobs/reschedule", listed),
    "sandboxes let go": ("POST", "/api/jobs/sandbox/unassign", listed),
    "removal": ("POST", "/api/jobs/remove", listed),
    "search with history": (
        "POST",
        "/api/jobs/search?per_page=1000",
        lambda ids: {
            "parameters": ["JobID", "LoggingInfo"],
            "search": [{"parameter": "JobID", "operator": "in", "values": list(ids)}],
        },
    ),
    "pilots added": (
        "POST",
        "/api/pilots/bulk",
        lambda ids: {
            "pilot_stamps": [f"new{each}" for each in ids],
            "vo": "demo",
            "pilot_references": {f"new{each}": f"ref{each}" for each in ids[::2]},
        },
    ),
    "legacy pilots added": (
        "POST",
        "/api/pilots/legacy",
        lambda ids: [
            {"pilot_reference": f"r{i}", "vo": "demo", **({"pilot_stamp": f"l{i}"} if i % 2 else {})}
            for i in ids
        ],
    ),
    "pilots' metadata": (
        "PATCH",
        "/api/pilots/metadata",
        lambda ids: {
            f"p{i}": {"Status": "Done"} if i % 2 else {"BenchMark": i, "StatusReason": f"x{i}"} for i in ids
        },
    ),
    "pilots' fields": (
        "PATCH",
        "/api/pilots/fields",
        lambda ids: {
            "pilot_stamps_to_fields_mapping": [
                {"PilotStamp": f"p{i}", **({"Status": "Done"} if i % 2 else {"Queue": f"q{i}"})} for i in ids
            ]
        },
    ),
    "legacy pilots' metadata": (
        "PATCH",
        "/api/pilots/legacy",
        lambda ids: {"pilot_ids": list(ids), "metadata": {"Status": "Scheduled"}},
    ),
    "pilots killed": ("POST", "/api/pilots/kill", lambda ids: {"pilot_stamps": stamps(ids)}),
    "jobs of a pilot": ("PATCH", "/api/pilots/jobs", lambda ids: {"pilot_stamp": "s1", "job_ids": list(ids)}),
    "lines of a log": (
        "POST",
        "/api/pilots/legacy/message",
        lambda ids: {
            "pilot_stamp": "s1",
            "lines": [
                {"timestamp": LATER, "severity": "INFO", "message": f"m{i}", "scope": "Core"} for i in ids
            ],
        },
    ),
    "secrets": ("POST", "/api/pilots/secrets", lambda ids: {"n": len(ids), "vo": "demo"}),
    "sites": (
        "PATCH",
        "/api/site-mask/",
        lambda ids: {"sites": {f"LAB.S{i}.ch": "Active" if i % 2 else "Banned" for i in ids}, "comment": "x"},
    ),
    "all sites": (
        "PUT",
        "/api/site-mask/",
        lambda ids: {"sites": [f"LAB.S{i}.ch" for i in ids], "comment": "x"},
    ),
}


@pytest.fixture
def sent(grid: Grid) -> Iterator[list[str]]:
    """The statements that the database gets, as they come."""
    texts: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        texts.append(statement)

    engine = grid.databases._engines[JOB_DB].sync
    event.listen(engine, "before_cursor_execute", note)
    yield texts
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", ROUTES)
async def test_the_number_of_statements_does_not_grow(grid: Grid, sent: list[str], name: str) -> None:
    method, path, body = ROUTES[name]
    few, many = range(1001, 1001 + FEW), range(2001, 2001 + MANY)
    await add_jobs_and_pilots(grid, [*few, *many])
    counts = []
    for ids in (few, many):
        sent.clear()
        said = await grid.http(method, path, body(ids))
        assert said.status < 300, said.body
        counts.append(len(sent))
    assert counts[0] > 0
    assert counts[1] <= counts[0], sent


@pytest.mark.parametrize("many", [0, 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
async def test_long_lists_are_the_same_json(many: int) -> None:
    """In however many pieces they are written."""
    rows = [{"JobID": each, "Time": NOON, "None": None} for each in range(many)]
    whole = encode(rows)
    assert await encode_gently(rows) == whole
    assert await plain(rows) == orjson.loads(whole)


async def test_others_get_their_turn_while_a_long_list_is_written() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    rows = [{"JobID": each} for each in range(5 * AT_ONCE)]
    await encode_gently(rows)
    assert turns >= 4
    await plain(rows)
    assert turns >= 8
    task.cancel()


async def add_jobs_and_pilots(grid: Grid, ids: Ids) -> None:
    """Jobs that may be rescheduled, each with its record, and pilots with the same numbers."""
    moment = NOON.replace(tzinfo=None)
    jdl = '[ Executable = "/bin/echo"; ]'
    jobs = {"Owner": "alice", "OwnerGroup": "demo_user", "VO": "demo", "Status": "Failed"}
    record = {"SeqNum": 1, "Status": "Failed", "StatusTime": moment, "StatusTimeOrder": 1.0}
    times = {"SubmissionTime": moment, "LastUpdateTime": moment}
    async with grid.databases.unit_of_work(write=True) as work:
        for database, table, rows in (
            (
                JOB_DB,
                JobJDLs,
                [{"JobID": i, "JDL": jdl, "JobRequirements": "", "OriginalJDL": jdl} for i in ids],
            ),
            (JOB_DB, Jobs, [{"JobID": i, **jobs, **times} for i in ids]),
            (JOB_LOGGING_DB, LoggingInfo, [{"JobID": i, **record} for i in ids]),
            (
                PILOT_AGENTS_DB,
                PilotAgents,
                [
                    {"PilotID": i, "PilotStamp": f"p{i}", "PilotJobReference": f"r{i}", "VO": "demo", **times}
                    for i in ids
                ],
            ),
        ):
            await work.change(database, table.insert(), rows)
