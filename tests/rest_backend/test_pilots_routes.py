"""Pilots (``rest-diracx.md``, section 7), and the routes beside DiracX's that legacy callers need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select

from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

from .conftest import Grid, one

REGISTER = "/api/pilots/"
METADATA = "/api/pilots/metadata"
SEARCH = "/api/pilots/search"
SUMMARY = "/api/pilots/summary"
LEGACY = "/api/pilots/legacy"
JOBS = "/api/pilots/jobs/search"
NOW = "2024-06-01T08:30:00Z"  # the stopped clock's
COLUMNS = """
    PilotID InitialJobID CurrentJobID PilotJobReference PilotStamp DestinationSite Queue GridSite VO GridType
    BenchMark SubmissionTime LastUpdateTime Status StatusReason AccountingSent
""".split()  # noqa: SIM905 - a table's head reads better in lines


async def pilots(grid: Grid, *conditions: Mapping[str, Any], caller: str = "admin") -> list[dict[str, Any]]:
    """The pilots that meet all conditions."""
    said = await grid.http("POST", SEARCH, {"search": conditions}, caller=caller)
    assert said.status == 200, said.body
    return said.body


async def found(grid: Grid, *conditions: Mapping[str, Any], caller: str = "admin") -> list[int]:
    """Their ids."""
    return [pilot["PilotID"] for pilot in await pilots(grid, *conditions, caller=caller)]


async def by_stamp(grid: Grid, stamp: str) -> dict[str, Any]:
    """The one pilot with a stamp."""
    [pilot] = await pilots(grid, one("PilotStamp", "eq", stamp))
    return pilot


# --- Registration

NEW: Mapping[str, Any] = {"pilot_stamp": "new", "vo": "demo"}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param({}, {}, id="defaults"),
        pytest.param(
            {
                "grid_type": "Slurm",
                "grid_site": "DEMO.Lyon.fr",
                "destination_site": "ce01",
                "pilot_reference": "slurm://ce01/1",
                "pilot_status": "Running",
            },
            {
                "GridType": "Slurm",
                "GridSite": "DEMO.Lyon.fr",
                "DestinationSite": "ce01",
                "PilotJobReference": "slurm://ce01/1",
                "Status": "Running",
            },
            id="all given",
        ),
        pytest.param({"pilot_reference": None}, {}, id="no reference"),
        pytest.param({"vo": "other"}, {"VO": "other"}, id="another VO"),
    ],
)
async def test_registration(grid, stopped_clock, given, stored) -> None:
    """A new pilot is answered with 201 and `null`, and has what was given or else DiracX's defaults."""
    said = await grid.http("POST", REGISTER, {**NEW, **given})
    assert (said.status, said.body) == (201, None)
    assert said.headers["Content-Length"] == "4"
    assert await by_stamp(grid, "new") == {
        "PilotID": 7,
        "InitialJobID": 0,
        "CurrentJobID": 0,
        "PilotJobReference": "new",
        "PilotStamp": "new",
        "DestinationSite": "NotAssigned",
        "Queue": "Unknown",
        "GridSite": "Unknown",
        "VO": "demo",
        "GridType": "DIRAC",
        "BenchMark": 0.0,
        "SubmissionTime": NOW,
        "LastUpdateTime": NOW,
        "Status": "Submitted",
        "StatusReason": "Unknown",
        "AccountingSent": False,
        **stored,
    }


@pytest.mark.parametrize(
    ("given", "caller", "status", "detail"),
    [
        ({"pilot_stamp": "s1"}, "admin", 409, "Pilot with stamp 's1' already exists"),
        ({"pilot_stamp": "twin"}, "pilot", 409, "Pilot with stamp 'twin' already exists"),
        ({"vo": "novo"}, "admin", 400, "VO 'novo' is not registered in this installation."),
        ({}, "alice", 403, "Insufficient permissions to manage pilots."),
        ({"vo": "other"}, "pilot", 403, "Pilots can only be registered for your own VO."),
        ({"pilot_stamp": "s1", "vo": "novo"}, "alice", 403, "Insufficient permissions to manage pilots."),
    ],
)
async def test_refused_registrations(grid, given, caller, status, detail) -> None:
    """A registration that cannot be is refused in DiracX's words, and adds nothing."""
    said = await grid.http("POST", REGISTER, {**NEW, **given}, caller=caller)
    assert (said.status, said.detail) == (status, detail)
    assert await found(grid) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"extra": 1}, ("extra_forbidden", "extra")),
        ({"PilotStamp": "new"}, ("extra_forbidden", "PilotStamp")),
        ({"pilot_stamp": ""}, ("string_too_short", "pilot_stamp")),
        ({"pilot_stamp": "x" * 33}, ("string_too_long", "pilot_stamp")),
        ({"pilot_stamp": 5}, ("string_type", "pilot_stamp")),
        ({"vo": None}, ("string_type", "vo")),
        ({"pilot_status": "Scheduled"}, ("enum", "pilot_status")),
        ({"grid_type": None}, ("string_type", "grid_type")),
    ],
)
async def test_registrations_of_the_wrong_shape(grid, given, problem) -> None:
    """What does not fit the route's shape is 422, unknown members too."""
    said = await grid.http("POST", REGISTER, {**NEW, **given})
    assert said.status == 422
    assert [(each["type"], each["loc"]) for each in said.detail] == [(problem[0], ["body", problem[1]])]


@pytest.mark.parametrize("length", [1, 32])
async def test_stamps_at_their_limits(grid, length) -> None:
    """The shortest and the longest stamp are accepted and found again."""
    stamp = "x" * length
    assert (await grid.http("POST", REGISTER, {**NEW, "pilot_stamp": stamp})).status == 201
    assert (await by_stamp(grid, stamp))["PilotStamp"] == stamp


TOO_LONG = {
    "grid_type": 33,
    "grid_site": 129,
    "destination_site": 129,
    "pilot_reference": 256,
}


@pytest.mark.parametrize("name", TOO_LONG)
async def test_texts_too_long_for_their_column(grid, name) -> None:
    """A text longer than its column is the client's error, and adds nothing."""
    said = await grid.http("POST", REGISTER, {**NEW, name: "x" * TOO_LONG[name]})
    assert said.status in (400, 422)
    assert len(await found(grid)) == 6
    assert (await grid.http("POST", REGISTER, {**NEW, name: "x" * (TOO_LONG[name] - 1)})).status == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", REGISTER, {**NEW, "vo": ""}, id="vo"),
        *[
            pytest.param("POST", REGISTER, {**NEW, name: "x" * length}, id=name)
            for name, length in TOO_LONG.items()
        ],
        *[
            pytest.param("PATCH", METADATA, {"s1": {name: "x" * length}}, id=name)
            for name, length in {
                "StatusReason": 256,
                "DestinationSite": 129,
                "Queue": 129,
                "GridSite": 129,
                "GridType": 33,
            }.items()
        ],
    ],
)
async def test_lengths_are_validated(grid, method, path, body) -> None:
    """A length outside DiracX's bounds is a validation error that names the member."""
    assert (await grid.http(method, path, body)).status == 422


async def test_two_registrations_at_once(grid) -> None:
    """Of several registrations of one stamp at the same time exactly one succeeds."""
    said = await asyncio.gather(*[grid.http("POST", REGISTER, NEW) for _ in range(6)])
    assert sorted(each.status for each in said) == [201] + [409] * 5
    assert (await by_stamp(grid, "new"))["PilotID"] == 7


# --- Metadata


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"Status": "Done"}, {"Status": "Done"}),
        ({"StatusReason": "r" * 255}, {"StatusReason": "r" * 255}),
        ({"BenchMark": 3}, {"BenchMark": 3.0}),
        ({"BenchMark": 12.25}, {"BenchMark": 12.25}),
        ({"DestinationSite": "ce02", "Queue": "q"}, {"DestinationSite": "ce02", "Queue": "q"}),
        ({"GridSite": "G", "GridType": "T"}, {"GridSite": "G", "GridType": "T"}),
        ({"AccountingSent": True}, {"AccountingSent": True}),
        ({"CurrentJobID": 5}, {"CurrentJobID": 5}),
        ({"Status": None, "Queue": None}, {}),
        ({}, {}),
    ],
)
async def test_metadata(grid, stopped_clock, given, stored) -> None:
    """204 without a body; what was given is set, nulls are passed over, the time of update is now."""
    before = await by_stamp(grid, "s1")
    said = await grid.http("PATCH", METADATA, {"s1": given})
    assert (said.status, said.body) == (204, None)
    assert await by_stamp(grid, "s1") == {**before, "LastUpdateTime": NOW, **stored}


async def test_metadata_of_several(grid, stopped_clock) -> None:
    """Each stamp gets its own fields, every pilot of a stamp gets them, and others are left alone."""
    updates = {"s1": {"Status": "Done"}, "s3": {"Status": "Failed"}, "twin": {"Queue": "q"}}
    assert (await grid.http("PATCH", METADATA, updates)).status == 204
    after = [
        (pilot["Status"], pilot["Queue"], pilot["LastUpdateTime"] == NOW) for pilot in await pilots(grid)
    ]
    assert after == [
        ("Done", "demo", True),
        ("Done", "demo", False),
        ("Failed", "demo", True),
        ("Running", "q", True),
        ("Aborted", "q", True),
        ("Scheduled", "demo", False),
    ]


@pytest.mark.parametrize(
    ("updates", "caller", "status", "detail"),
    [
        ({"s1": {"Status": "Done"}, "none": {}}, "admin", 404, "At least one pilot does not exist."),
        ({"s1": {"Status": "Done"}, "S1": {}}, "admin", 404, "At least one pilot does not exist."),
        ({"s1": {"Status": "Done"}}, "alice", 403, "Insufficient permissions to manage pilots."),
        ({"none": {}}, "alice", 403, "Insufficient permissions to manage pilots."),
    ],
)
async def test_refused_metadata(grid, updates, caller, status, detail) -> None:
    """An unknown pilot or a caller without the right refuses the whole call."""
    said = await grid.http("PATCH", METADATA, updates, caller=caller)
    assert (said.status, said.detail) == (status, detail)
    assert (await by_stamp(grid, "s1"))["Status"] == "Running"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"extra": 1}, ("extra_forbidden", ["body", "s1", "extra"])),
        ({"VO": "other"}, ("extra_forbidden", ["body", "s1", "VO"])),
        ({"PilotStamp": "x"}, ("extra_forbidden", ["body", "s1", "PilotStamp"])),
        ({"Status": "Scheduled"}, ("enum", ["body", "s1", "Status"])),
        ({"BenchMark": "fast"}, ("float_parsing", ["body", "s1", "BenchMark"])),
        ({"AccountingSent": "perhaps"}, ("bool_parsing", ["body", "s1", "AccountingSent"])),
        ({"CurrentJobID": 1.5}, ("int_from_float", ["body", "s1", "CurrentJobID"])),
    ],
)
async def test_metadata_of_the_wrong_shape(grid, fields, problem) -> None:
    """Unknown members and wrong types are 422, and nothing is set."""
    said = await grid.http("PATCH", METADATA, {"s1": fields, "s2": {"Status": "Failed"}})
    assert said.status == 422
    assert [(each["type"], each["loc"]) for each in said.detail] == [problem]
    assert (await by_stamp(grid, "s2"))["Status"] == "Done"


# --- Search


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (one("Status", "eq", "Running"), [1, 4]),
        (one("PilotStamp", "eq", "twin"), [4, 5]),
        (one("PilotStamp", "in", ["s1", "idle"]), [1, 6]),
        (one("PilotJobReference", "like", "htcondorce://ce01.lyon%"), [2, 3, 6]),
        (one("VO", "neq", "demo"), [3]),
        (one("AccountingSent", "eq", "True"), [2]),
        (one("CurrentJobID", "gt", 0), []),
        (one("SubmissionTime", "gt", "2024-03-01 16"), [5, 6]),
        (one("JobID", "eq", 2), [1]),
        (one("JobID", "in", [2, 3, 6]), [1, 2]),
        (one("JobID", "in", []), []),
        (one("JobID", "eq", 999), []),
        (one("BenchMark", "gt", 10), [1, 2, 3, 4, 5]),
        (one("BenchMark", "gt", "10.4"), [1, 2, 3, 4, 5]),
        (one("BenchMark", "lt", "9"), [6]),
        (one("BenchMark", "in", ["10.5", "0"]), [1, 2, 3, 4, 5, 6]),
    ],
    ids=str,
)
async def test_search(grid, condition, expected) -> None:
    """Conditions on every kind of column, and JobID: the pilots that ran a job."""
    assert await found(grid, condition) == expected


async def test_columns(grid) -> None:
    """A pilot has all of DIRAC's columns, in table order, with DiracX's types."""
    [pilot] = await pilots(grid, one("PilotID", "eq", 2))
    assert list(pilot) == COLUMNS
    assert pilot == {
        "PilotID": 2,
        "InitialJobID": 0,
        "CurrentJobID": 0,
        "PilotJobReference": "htcondorce://ce01.lyon.example.org/s2",
        "PilotStamp": "s2",
        "DestinationSite": "ce01.lyon.example.org",
        "Queue": "demo",
        "GridSite": "DEMO.Geneva.ch",
        "VO": "demo",
        "GridType": "HTCondorCE",
        "BenchMark": 10.5,
        "SubmissionTime": "2024-03-01T14:00:00Z",
        "LastUpdateTime": "2024-03-01T14:00:00Z",
        "Status": "Done",
        "StatusReason": "Report",
        "AccountingSent": True,
    }


@pytest.mark.parametrize(
    ("conditions", "detail"),
    [
        ([one("JobID", "eq", "2")], "'JobID' pseudo-parameter values must be integers."),
        ([one("JobID", "in", ["2", "3"])], "'JobID' pseudo-parameter values must be integers."),
        (
            [one("JobID", "eq", 2), one("PilotID", "eq", 1)],
            "Cannot combine 'JobID' pseudo-parameter with a real 'PilotID' filter in the same request.",
        ),
        (
            [one("JobID", "gt", 2)],
            "Operator gt is not supported on the 'JobID' pseudo-parameter; use 'eq' or 'in'.",
        ),
        ([one("Nope", "eq", 1)], "Unknown column Nope"),
    ],
)
async def test_searches_that_mean_nothing(grid, conditions, detail) -> None:
    """What cannot be searched for is a 400 in DiracX's words."""
    said = await grid.http("POST", SEARCH, {"search": conditions})
    assert (said.status, said.detail) == (400, detail)


@pytest.mark.parametrize(
    "condition",
    [one("BenchMark", "eq", "abc"), one("BenchMark", "like", "1%"), one("BenchMark", "regex", "5$")],
    ids=str,
)
async def test_numbers_with_fractions_are_numbers(grid, condition) -> None:
    """What cannot be compared with a number is a 400 that names the column."""
    said = await grid.http("POST", SEARCH, {"search": [condition]})
    assert said.status == 400
    assert "BenchMark" in said.detail


@pytest.mark.parametrize(
    ("query", "status", "expected", "content_range"),
    [
        ({}, 200, [1, 2, 3, 4, 5, 6], None),
        ({"per_page": "4"}, 206, [1, 2, 3, 4], "pilots 0-3/6"),
        ({"per_page": "4", "page": "2"}, 206, [5, 6], "pilots 4-5/6"),
        ({"per_page": "4", "page": "3"}, 416, [], "pilots */6"),
    ],
)
async def test_pages(grid, query, status, expected, content_range) -> None:
    """Pages are counted in pilots."""
    said = await grid.http("POST", SEARCH, {"parameters": ["PilotID"]}, query=query)
    assert (said.status, said.headers.get("Content-Range")) == (status, content_range)
    assert [pilot["PilotID"] for pilot in said.body] == expected


VISIBLE = [
    ("alice", [1, 2, 4, 5, 6]),
    ("guest", [1, 2, 4, 5, 6]),
    ("olga", [3]),
    ("admin", [1, 2, 3, 4, 5, 6]),
    ("operator", [1, 2, 3, 4, 5, 6]),
    ("pilot", [1, 2, 3, 4, 5, 6]),
    ("wms", [1, 2, 3, 4, 5, 6]),
]


@pytest.mark.parametrize(("caller", "expected"), VISIBLE)
async def test_whose_pilots_are_seen(grid, caller, expected) -> None:
    """Users see the pilots of their own VO, in searches and in sums; operators and pilots see all."""
    assert await found(grid, caller=caller) == expected
    said = await grid.http("POST", SUMMARY, {"grouping": ["VO"]}, caller=caller)
    assert sum(row["count"] for row in said.body) == len(expected)


async def test_another_vo_cannot_be_asked_for(grid) -> None:
    """A condition on the VO narrows what a user sees and never widens it."""
    assert await found(grid, one("VO", "eq", "other"), caller="alice") == []
    assert await found(grid, one("PilotStamp", "eq", "s3"), caller="alice") == []
    assert await found(grid, one("JobID", "eq", 7), caller="alice") == []
    said = await grid.http("POST", SEARCH, {"parameters": ["PilotID"]}, caller="olga", query={"page": "2"})
    assert said.headers["Content-Range"] == "pilots */1"


# --- Summary


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"grouping": ["Status"]},
            {("Running", 2), ("Done", 1), ("Submitted", 1), ("Aborted", 1), ("Scheduled", 1)},
        ),
        ({"grouping": ["Status"], "search": [one("VO", "eq", "other")]}, {("Submitted", 1)}),
        ({"grouping": ["Status"], "search": [one("VO", "eq", "none")]}, set()),
        (
            {"grouping": ["AccountingSent", "VO"], "unknown": 1},
            {("other", False, 1), ("demo", False, 4), ("demo", True, 1)},
        ),
    ],
)
async def test_summary(grid, body, expected) -> None:
    """Numbers of pilots by some columns, which come in table order with `count` last."""
    said = await grid.http("POST", SUMMARY, body)
    assert said.status == 200
    assert {tuple(row.values()) for row in said.body} == expected
    assert {list(row)[-1] for row in said.body} <= {"count"}


async def test_summary_by_every_column(grid) -> None:
    """An empty grouping groups by every column."""
    said = await grid.http("POST", SUMMARY, {"grouping": []})
    assert [list(row) for row in said.body] == [[*COLUMNS, "count"]] * 6


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"grouping": ["Nope"]}, 400),
        ({"grouping": ["Status"], "search": [one("Nope", "eq", 1)]}, 400),
        ({}, 422),
        ({"grouping": "Status"}, 422),
        ({"grouping": None}, 422),
    ],
)
async def test_refused_summaries(grid, body, status) -> None:
    """Unknown columns are 400, a wrong shape 422."""
    assert (await grid.http("POST", SUMMARY, body)).status == status


# --- Beside DiracX: what PilotManager's callers need


async def test_adding_in_bulk(grid, stopped_clock) -> None:
    """Pilots are added as PilotManager does: nothing need be new, nor any VO known."""
    new = [
        {"pilot_reference": "r", "pilot_stamp": "s1", "vo": "demo"},
        {"pilot_reference": "r", "pilot_stamp": "s1", "vo": "nowhere", "grid_type": "Slurm"},
    ]
    said = await grid.http("POST", LEGACY, new)
    assert (said.status, said.body) == (201, None)
    added = await pilots(grid, one("PilotJobReference", "eq", "r"))
    names = ("PilotStamp", "VO", "GridType", "Status", "SubmissionTime", "LastUpdateTime")
    assert [tuple(pilot[name] for name in names) for pilot in added] == [
        ("s1", "demo", "DIRAC", "Submitted", NOW, NOW),
        ("s1", "nowhere", "Slurm", "Submitted", NOW, NOW),
    ]


async def test_stamps_are_invented(grid) -> None:
    """Pilots that come without a stamp each get a unique one that tells nothing of their reference."""
    new = [{"pilot_reference": "same", "vo": "demo"} for _ in range(50)]
    assert (await grid.http("POST", LEGACY, new)).status == 201
    stamps = [pilot["PilotStamp"] for pilot in await pilots(grid, one("PilotJobReference", "eq", "same"))]
    assert len(set(stamps)) == 50
    assert {len(stamp) for stamp in stamps} == {32}
    assert (await grid.http("PATCH", METADATA, {stamps[0]: {"Status": "Done"}})).status == 204


@pytest.mark.parametrize(
    "pilot",
    [
        {"pilot_reference": "x" * 256, "vo": "demo"},
        {"pilot_reference": "r", "vo": "x" * 129},
        {"pilot_reference": "r", "vo": "demo", "pilot_stamp": "x" * 33},
        {"pilot_reference": "r", "vo": "demo", "grid_type": "x" * 33},
        {"pilot_reference": "r"},
        {"vo": "demo"},
        {"pilot_reference": "r", "vo": "demo", "extra": 1},
    ],
)
async def test_bulk_of_the_wrong_shape(grid, pilot) -> None:
    """One pilot of the wrong shape refuses the whole bulk."""
    said = await grid.http("POST", LEGACY, [{"pilot_reference": "r", "vo": "demo"}, pilot])
    assert said.status == 422
    assert {tuple(problem["loc"][:2]) for problem in said.detail} == {("body", 1)}
    assert len(await found(grid)) == 6


async def test_adding_none(grid) -> None:
    """No pilot at all is added without complaint."""
    assert (await grid.http("POST", LEGACY, [])).status == 201
    assert len(await found(grid)) == 6


async def test_updating_by_id(grid, stopped_clock) -> None:
    """The same fields are set for several pilots, any text as status; the answer counts changed rows."""
    update = {
        "pilot_ids": [1, 3, 4, 999],
        "metadata": {"Status": "MyState", "StatusReason": "why", "Queue": "q", "GridSite": None},
    }
    said = await grid.http("PATCH", LEGACY, update)
    assert (said.status, said.body) == (200, {"changed": 3})
    for pilot in await pilots(grid, one("PilotID", "in", [1, 3, 4])):
        assert [
            pilot[name] for name in ("Status", "StatusReason", "Queue", "GridSite", "LastUpdateTime")
        ] == [
            "MyState",
            "why",
            "q",
            "DEMO.Geneva.ch",
            NOW,
        ]
    assert await found(grid, one("Status", "eq", "MyState")) == [1, 3, 4]


async def test_updating_twice_in_a_second(grid, stopped_clock) -> None:
    """A row that is as wanted already is not counted as changed."""
    update = {"pilot_ids": [1], "metadata": {"Status": "Done"}}
    assert (await grid.http("PATCH", LEGACY, update)).body == {"changed": 1}
    assert (await grid.http("PATCH", LEGACY, update)).body == {"changed": 0}


@pytest.mark.parametrize(
    ("given", "site"),
    [
        ({"DestinationSite": "ce.known"}, "DEMO.Known.ch"),
        ({"DestinationSite": "ce.unknown"}, "DEMO.Geneva.ch"),
        ({"DestinationSite": "ce.known", "GridSite": "Given"}, "Given"),
        ({}, "DEMO.Geneva.ch"),
    ],
)
async def test_the_site_of_a_computing_element(make_grid, given, site) -> None:
    """A computing element that the registry knows brings its site, unless a site is given."""
    settings = {"Resources/Sites/DEMO/DEMO.Known.ch/CEs/ce.known/CEType": "HTCondorCE"}
    async with make_grid(settings=settings) as grid:
        update = {"pilot_ids": [1], "metadata": {"Status": "Done", **given}}
        assert (await grid.http("PATCH", LEGACY, update)).status == 200
        assert (await by_stamp(grid, "s1"))["GridSite"] == site


@pytest.mark.parametrize(
    "update",
    [
        {"pilot_ids": [], "metadata": {"Status": "Done"}},
        {"pilot_ids": ["x"], "metadata": {"Status": "Done"}},
        {"pilot_ids": [1], "metadata": {}},
        {"pilot_ids": [1], "metadata": {"Status": None}},
        {"pilot_ids": [1], "metadata": {"Status": "x" * 33}},
        {"pilot_ids": [1], "metadata": {"Status": "Done", "StatusReason": "x" * 256}},
        {"pilot_ids": [1], "metadata": {"Status": "Done", "BenchMark": "fast"}},
        {"pilot_ids": [1], "metadata": {"Status": "Done", "PilotStamp": "x"}},
        {"pilot_ids": [1], "metadata": {"Status": "Done"}, "extra": 1},
        {"metadata": {"Status": "Done"}},
    ],
)
async def test_updates_of_the_wrong_shape(grid, update) -> None:
    """An update of the wrong shape is 422, and nothing is set."""
    assert (await grid.http("PATCH", LEGACY, update)).status == 422
    rows = await grid.rows(PILOT_AGENTS_DB, select(PilotAgents.c.Status).where(PilotAgents.c.PilotID == 1))
    assert rows == [("Running",)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], [(1, 2), (1, 6), (2, 3), (3, 7)]),
        ([one("JobID", "in", [3, 7, 99])], [(2, 3), (3, 7)]),
        ([one("PilotID", "eq", 1)], [(1, 2), (1, 6)]),
        ([one("StartTime", "eq", "2024-03-01")], [(1, 2), (2, 3)]),
        ([one("PilotID", "eq", 1), one("JobID", "eq", 3)], []),
    ],
)
async def test_which_pilots_ran_which_jobs(grid, conditions, expected) -> None:
    """The mapping of pilots and jobs can be searched by each of its columns."""
    said = await grid.http("POST", JOBS, {"search": conditions}, caller="operator")
    assert said.status == 200
    assert sorted((row["PilotID"], row["JobID"]) for row in said.body) == expected
    assert {tuple(row) for row in said.body} <= {("PilotID", "JobID", "StartTime")}


async def test_pages_of_the_mapping(grid) -> None:
    """Pages of the mapping are counted in jobs."""
    body = {"sort": [{"parameter": "JobID", "direction": "desc"}], "parameters": ["JobID"]}
    said = await grid.http("POST", JOBS, body, query={"per_page": "3"})
    assert (said.status, said.headers["Content-Range"]) == (206, "jobs 0-2/4")
    assert said.body == [{"JobID": 7}, {"JobID": 6}, {"JobID": 3}]
