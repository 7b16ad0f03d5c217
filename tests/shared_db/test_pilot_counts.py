"""Pilots that legacy callers select: numbers, references, pages; on every engine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared_db.connection import Databases
from shared_db.queries.pilot_counts import (
    count_groups,
    references_on,
    selected_references,
    youngest_pilots,
)
from shared_db.queries.pilot_jobs import associate_jobs, known_pilots
from shared_db.queries.pilot_logs import add_lines, all_lines
from shared_db.queries.pilot_removal import old_pilots
from shared_db.queries.pilots import add_pilots, ids_of_references, pilots_with_jobs, update_pilots
from shared_db.rules.pilot_counts import Count, Group, in_order
from shared_db.rules.pilot_logs import Line
from shared_db.rules.pilot_monitor import Order, Pages
from shared_db.rules.pilot_selections import NOTHING, grouping_of, selection
from shared_db.rules.pilot_tables import grouped_counts
from shared_db.rules.refusals import Refusal
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

START = datetime(2026, 11, 21, 12, 0, 0)  # noqa: DTZ001 - DIRAC's are naive
HOUR = timedelta(hours=1)


@pytest.fixture
async def pilots(databases: Databases) -> Databases:
    """Five pilots, an hour apart, of which two share a reference."""
    rows = [
        {"PilotJobReference": reference, "VO": "lab", "Status": status, "GridSite": site, "BenchMark": mark}
        for reference, status, site, mark in (
            ("a", "Done", "s1", 1.5),
            ("b", "Running", "s2", 0.1),
            ("a", "Done", "s2", 2.0),
            ("c", "Aborted", "s1", 1.5),
            ("d", "Done", "s1", 0.0),
        )
    ]
    async with databases.unit_of_work(write=True) as work:
        await add_pilots(work, rows)
        for number in range(1, 6):
            times = {"SubmissionTime": START + number * HOUR, "LastUpdateTime": START + number * HOUR}
            one = PilotAgents.update().where(PilotAgents.c.PilotID == number).values(times)
            await work.change(PILOT_AGENTS_DB, one)
        await update_pilots(work, "PilotID", [5], {"CurrentJobID": 7, "AccountingSent": "True"}, touch=False)
    return databases


@pytest.mark.parametrize(
    ("conditions", "times", "expected"),
    [
        ({}, {}, "abacd"),
        ({"Status": "Done"}, {}, "aad"),
        ({"Status": ["Done", "Aborted", None], "GridSite": "s1"}, {}, "acd"),
        ({"`PilotAgents.Status`": "Running"}, {}, "b"),
        ({"Status": None}, {}, ""),
        ({"CurrentJobID": "abc"}, {}, "abac"),
        ({"CurrentJobID": [7.0, "7x"]}, {}, "d"),
        ({"CurrentJobID": 1.5}, {}, ""),
        ({"CurrentJobID": 10**30}, {}, ""),
        ({"BenchMark": ["1.5", 0.1]}, {}, "abc"),
        ({"AccountingSent": "true"}, {}, "d"),
        ({"SubmissionTime": "2026-11-21 13:00:00"}, {}, "a"),
        ({"SubmissionTime": ["2026-11-21 14:00:00", "20261121150000", "x"]}, {}, "ba"),
        ({"SubmissionTime": "abc"}, {}, ""),
        ({}, {"newer": "2026-11-21 15:00:00"}, "acd"),
        ({}, {"older": "2026-11-21 15:00:00"}, "ab"),
        ({"GridSite": "s1"}, {"newer": "2026-11-21 14:00:00", "older": "2026-11-21 17:00:00"}, "c"),
        ({}, {"newer": "abc"}, "abacd"),
        ({}, {"older": "abc"}, ""),
        ({}, {"newer": "2026-11-21 15:00:00", "time_stamp": ""}, "abacd"),
        ({}, {"newer": "2026-11-21 15:00:00", "time_stamp": "lastupdatetime"}, "acd"),
    ],
)
async def test_selected_pilots(
    pilots: Databases, conditions: Mapping[Any, Any], times: Mapping[str, Any], expected: str
) -> None:
    """Conditions mean on every engine what MySQL makes of them (seen on DIRAC 9.1.22); the oldest first."""
    search = selection(conditions, **times)
    async with pilots.unit_of_work() as work:
        assert "".join(await selected_references(work, search)) == expected
        groups = await count_groups(work, Count(("Status",), tuple(search)))
        assert sum(group.count for group in groups) == len(expected)


async def test_groups(pilots: Databases) -> None:
    """Pilots are counted by any columns, whose values come as DIRAC has them."""
    async with pilots.unit_of_work() as work:
        by_two = await count_groups(work, Count(("Status", "GridSite")))
        by_kinds = await count_groups(work, Count(("AccountingSent", "BenchMark", "SubmissionTime")))
        none = await count_groups(work, Count(("Status",), (NOTHING,)))
    assert in_order(by_two, ["Status", "GridSite"]) == [
        Group(("Aborted", "s1"), 1),
        Group(("Done", "s1"), 2),
        Group(("Done", "s2"), 1),
        Group(("Running", "s2"), 1),
    ]
    first = in_order(by_kinds, ["AccountingSent", "BenchMark", "SubmissionTime"])[0]
    assert first == Group(("True", 0.0, START + 5 * HOUR), 1)
    assert none == []


def test_columns_named_again_and_again() -> None:
    """They are refused in a moment: a message has room for millions of names."""
    many = ["GridSite"] * 1_000_000
    with pytest.raises(Refusal, match="Duplicate column name 'GridSite'"):
        grouped_counts(many, START)
    assert grouping_of("PilotAgents", ["VO", "vo"]) == ["VO", "VO"]
    with pytest.raises(Refusal, match="More than 64 columns to count by"):
        grouping_of("PilotAgents", many)


async def test_pages_of_references(pilots: Databases) -> None:
    """A page is sorted by its key and then by age; pages follow each other without a gap."""
    pages = Pages(2, range(1, 4), slice(1, 4))
    async with pilots.unit_of_work() as work:
        by_mark = await references_on(work, [], [Order("BenchMark", descending=True)], pages)
        by_age = await references_on(
            work, selection({"GridSite": "s1"}), [], Pages(2, range(2, 3), slice(0, 9))
        )
        youngest = await youngest_pilots(work, ["a", "d", "zz"], ("PilotID", "PilotJobReference", "GridSite"))
    assert by_mark == ["a", "c", "b"]
    assert by_age == ["d"]
    assert youngest == {
        "a": {"PilotID": 3, "PilotJobReference": "a", "GridSite": "s2"},
        "d": {"PilotID": 5, "PilotJobReference": "d", "GridSite": "s1"},
    }


async def test_pilots_by_id_and_reference(pilots: Databases) -> None:
    """A reference stands for all pilots that have it, an id for one."""
    async with pilots.unit_of_work(write=True) as work:
        await associate_jobs(work, [3], [12, 11])
        named = await ids_of_references(work, ["a", "zz"])
        found = await pilots_with_jobs(work, [3, 4, 99], ["GridSite"], "PilotID")
        locked = await known_pilots(work, [4, 1, 99], lock=True)
    assert [tuple(row) for row in named] == [(1, "a", "Done"), (3, "a", "Done")]
    assert found == [({"GridSite": "s2"}, [11, 12]), ({"GridSite": "s1"}, [])]
    assert [each.pilot_id for each in locked] == [1, 4]


async def test_all_old_pilots(pilots: Databases) -> None:
    """Without a bound all old pilots are found, however many there are."""
    before = (START + 4 * HOUR).replace(tzinfo=UTC)
    async with pilots.unit_of_work() as work:
        assert await old_pilots(work, before, most=None) == [1, 2, 3]
        assert await old_pilots(work, before, most=2) == [1, 2]
        assert await old_pilots(work, before + HOUR, aborted_only=True, most=None) == [4]


async def test_all_lines(pilots: Databases) -> None:
    """All that a pilot said, in the order in which it came, of all VOs or of one."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    lines = [Line(now + number * HOUR, f"line {number}", "INFO", "setup") for number in (2, 1)]
    async with pilots.unit_of_work(write=True) as work:
        await add_lines(work, "s1", "lab", [line.as_row(100) for line in lines], now)
        await add_lines(work, "s1", "other", [lines[0].as_row(4)], now)
        every, one, none = (
            await all_lines(work, "s1"),
            await all_lines(work, "s1", "lab"),
            await all_lines(work, "s2"),
        )
    assert one == lines
    assert [line.message for line in every] == ["line 2", "line 1", "line [2 characters more were cut off]"]
    assert none == []
