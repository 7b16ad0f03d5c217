"""What is kept about pilots beside their rows: jobs, secrets, logs, outputs; and how they are removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared_db.connection import Databases, again
from shared_db.errors import Conflict, InvalidValue
from shared_db.queries.conditions import Condition
from shared_db.queries.pilot_jobs import (
    associate_jobs,
    jobs_of_pilots,
    known_pilots,
    may_run,
    pilots_of_stamps,
)
from shared_db.queries.pilot_logs import PilotLogs, add_lines, last_lines, purge_pilot_logs, remove_logs
from shared_db.queries.pilot_outputs import outputs_of, pilots_by, store_output
from shared_db.queries.pilot_removal import old_pilots, remove_old_pilots, remove_pilots
from shared_db.queries.pilot_secrets import (
    Secret,
    add_secrets,
    constrain_secrets,
    find_secrets,
    purge_ended_secrets,
    spend_secret,
)
from shared_db.queries.pilots import add_pilots, patch_pilots, pilots_with_jobs, update_pilots
from shared_db.queries.search import Search, find_page
from shared_db.rules.pilots import cut_line, cut_output, read_output, storable_text
from shared_db.schema.wherry_db import WHERRY_DB, pilot_logs, pilot_secrets

NOW = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Store:
    """Queries in units of work of their own."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases

    async def __call__(self, query: Any, *arguments: Any, **named: Any) -> Any:
        async def attempt() -> Any:
            async with self.databases.unit_of_work(write=True) as work:
                return await query(work, *arguments, **named)

        return await again(attempt)

    async def add(self, *stamps: str, vo: str = "lab", **columns: Any) -> None:
        """Pilots whose references are their stamps."""
        rows = [{"PilotJobReference": each, "PilotStamp": each, "VO": vo, **columns} for each in stamps]
        await self(add_pilots, rows)

    async def all(self, *columns: str) -> list[tuple[Any, ...]]:
        """Some columns of every pilot."""
        return [tuple(found.values()) for found, _ in await self(pilots_with_jobs, [], columns)]


@pytest.fixture
async def store(databases: Databases) -> Store:
    """The database of this test; tables of our own are not emptied for each by themselves."""
    async with databases.unit_of_work(write=True) as work:
        for table in (pilot_secrets, pilot_logs):
            await work.change(WHERRY_DB, table.delete())
    return Store(databases)


# Pilots by stamp, and their jobs


async def test_pilots_of_stamps(store: Store) -> None:
    """All that share one, by id; stamps that differ in case are two, and no stamp is nobody's."""
    await store.add("a", "b", "a", "A", "")
    assert [each.pilot_id for each in await store(pilots_of_stamps, ["a", "none", ""])] == [1, 3]
    assert [each.pilot_id for each in await store(pilots_of_stamps, ["A"], lock=True)] == [4]
    assert await store(pilots_of_stamps, []) == []
    [pilot] = await store(known_pilots, [2, 99])
    assert (pilot.stamp, pilot.status, pilot.ended) == ("b", "Submitted", False)


async def test_jobs_of_pilots(store: Store) -> None:
    """A pair is noted once; what a pilot may touch is what it runs."""
    await store.add("a", "b")
    await store(associate_jobs, [1], [5, 6, 5])
    await store(associate_jobs, [2], [6])
    assert await store(jobs_of_pilots, [1]) == [5, 6]
    with pytest.raises(Conflict, match="This pilot is already associated with this job"):
        await store(associate_jobs, [1], [7, 6])
    with pytest.raises(InvalidValue):
        await store(associate_jobs, [1], [2**32])
    assert await store(jobs_of_pilots, [1]) == [5, 6]
    asked: Sequence[tuple[str, list[int]]] = [("a", [5, 6]), ("a", [7]), ("b", [5, 6]), ("a", []), ("A", [5])]
    assert [await store(may_run, stamp, "lab", jobs) for stamp, jobs in asked] == [
        True,
        False,
        False,
        False,
        False,
    ]


# Changes by stamp


async def test_pilots_are_patched_each_in_its_own_way(
    store: Store, statements: list[tuple[str, Any]]
) -> None:
    """In one statement for all; what is not given stays, and a stamp that is shared means all of it."""
    await store.add("a", "b", "b", "c")
    await store(update_pilots, "PilotStamp", ["c"], {"Queue": "old"})
    statements.clear()
    changes = {"a": {"Status": "Done", "BenchMark": 2.5}, "b": {"Queue": "long"}, "c": {}}
    assert await store(patch_pilots, changes) == []
    assert sum(text.startswith("UPDATE") for text, _ in statements) == 1
    assert await store.all("Status", "BenchMark", "Queue", "AccountingSent") == [
        ("Done", 2.5, "Unknown", "False"),
        ("Submitted", 0.0, "long", "False"),
        ("Submitted", 0.0, "long", "False"),
        ("Submitted", 0.0, "old", "False"),
    ]


async def test_nothing_is_patched_when_one_stamp_is_unknown(store: Store) -> None:
    """Its name comes back."""
    await store.add("a")
    assert await store(patch_pilots, {"a": {"Status": "Done"}, "A": {"Status": "Done"}}) == ["A"]
    assert await store.all("Status") == [("Submitted",)]
    assert await store(patch_pilots, {}) == []
    with pytest.raises(InvalidValue):
        await store(patch_pilots, {"a": {"Status": "x" * 33}})


async def test_without_a_touch_the_time_stays(store: Store) -> None:
    """Then only what differs counts as changed."""
    await store.add("a")
    [before] = await store.all("LastUpdateTime")
    assert await store(update_pilots, "PilotID", [1], {"BenchMark": 2.0}, touch=False) == 1
    assert await store(update_pilots, "PilotID", [1], {"BenchMark": 2.0}, touch=False) == 0
    assert await store.all("LastUpdateTime", "BenchMark") == [(before[0], 2.0)]


# Secrets


async def test_secrets_come_back_as_they_were_made(store: Store) -> None:
    """With and without limits; by their text only."""
    made = {
        "one": Secret("lab", {"VOs": ["lab"]}, 3, NOW + MINUTE),
        "two": Secret("lab", {}, None, None),
    }
    await store(add_secrets, made, NOW)
    assert await store(find_secrets, ["one", "two", "three"]) == made


@pytest.mark.parametrize("most", [1, 3])
async def test_a_secret_is_used_as_often_as_it_may_be(store: Store, most: int) -> None:
    """Also when many use it at the same time."""
    await store(add_secrets, {"one": Secret("lab", {}, most)}, NOW)
    spent = await asyncio.gather(*[store(spend_secret, "one") for _ in range(6)])
    assert sorted(spent) == [False] * (6 - most) + [True] * most
    assert await store(spend_secret, "unknown") is False


async def test_a_secret_without_count(store: Store) -> None:
    """It is never used up."""
    await store(add_secrets, {"one": Secret("lab", {}, None)}, NOW)
    assert [await store(spend_secret, "one") for _ in range(3)] == [True] * 3


async def test_constraints_are_replaced_by_name(store: Store) -> None:
    """Of many secrets at once, each by its own; one that is unknown leaves all as they were."""
    texts = [f"secret {number}" for number in range(600)]
    await store(add_secrets, dict.fromkeys(texts, Secret("lab", {"VOs": ["lab"]})), NOW)
    new = {text: {"PilotStamps": [text]} for text in texts}
    assert await store(constrain_secrets, new) == []
    found = await store(find_secrets, texts)
    assert all(found[text].constraints == {"VOs": ["lab"], "PilotStamps": [text]} for text in texts)
    assert await store(constrain_secrets, {texts[0]: {"VOs": []}, "unknown": {}}) == ["unknown"]
    assert (await store(find_secrets, texts[:1]))[texts[0]].constraints["VOs"] == ["lab"]


@pytest.mark.parametrize(
    ("constraints", "allowed"),
    [
        ({}, True),
        ({"VOs": [], "PilotStamps": [], "Sites": []}, True),
        ({"VOs": ["lab"], "PilotStamps": ["a"], "Sites": ["S"]}, True),
        ({"VOs": ["Lab"]}, False),
        ({"PilotStamps": ["b"]}, False),
        ({"Sites": ["T"]}, False),
        ({"Unheard": ["of"]}, False),
    ],
)
def test_what_constraints_allow(constraints: dict[str, list[str]], allowed: bool) -> None:
    """Each list that is not empty must name the pilot's own; an unknown constraint forbids."""
    assert Secret("lab", constraints).allows(vo="lab", stamp="a", site="S") is allowed


async def test_ended_secrets_are_purged_in_bites(store: Store) -> None:
    """The oldest first, and none that is still good."""
    ends = [NOW, NOW - MINUTE, NOW + MINUTE, None]
    made = {str(number): Secret("lab", {}, 1, end) for number, end in enumerate(ends)}
    await store(add_secrets, made, NOW)
    assert [await store(purge_ended_secrets, NOW, most=1) for _ in range(3)] == [1, 1, 0]
    assert (await store(find_secrets, made)).keys() == {"2", "3"}


# Logs


def said(*messages: str) -> list[dict[str, Any]]:
    """Lines of a log, a second apart."""
    return [
        {
            "said_at": NOW + timedelta(seconds=number),
            "severity": "INFO",
            "scope": "Core",
            "message": message,
        }
        for number, message in enumerate(messages)
    ]


async def test_lines_are_read_in_the_order_in_which_they_came(store: Store) -> None:
    """The last ones, of a stamp and a VO; by their own clock to the microsecond."""
    await store(add_lines, "a", "lab", said("one", "two", "drei \u00e4\U0001f600"), NOW)
    await store(add_lines, "b", "lab", said("other"), NOW)
    lines = await store(last_lines, "a", None, 2)
    assert [tuple(line) for line in lines] == [
        (NOW + timedelta(seconds=1), "INFO", "Core", "two"),
        (NOW + timedelta(seconds=2), "INFO", "Core", "drei \u00e4\U0001f600"),
    ]
    assert len(await store(last_lines, "a", "lab", 9)) == 3
    assert await store(last_lines, "a", "other", 9) == []
    await store(add_lines, "a", "lab", [], NOW)


async def test_logs_are_searched(store: Store) -> None:
    """By the names that searches have for the columns, times too."""
    await store(add_lines, "a", "lab", said("one", "two"), NOW)
    search = Search(
        columns=["TimeStamp", "Message"], conditions=[Condition("TimeStamp", "eq", "2026-05-01T12:00:01")]
    )
    page = await store(find_page, PilotLogs, search)
    assert page.rows == [{"TimeStamp": NOW + timedelta(seconds=1), "Message": "two"}]
    page = await store(find_page, PilotLogs, Search(conditions=[Condition("Message", "like", "%n%")]))
    assert [row["Message"] for row in page.rows] == ["one"]


async def test_old_lines_are_purged_in_bites(store: Store) -> None:
    """By when they were received, whatever the pilot's clock said."""
    await store(add_lines, "a", "lab", said("one", "two", "three"), NOW - MINUTE)
    await store(add_lines, "a", "lab", said("four"), NOW)
    assert [await store(purge_pilot_logs, NOW, most=2) for _ in range(3)] == [2, 1, 0]
    assert [line.message for line in await store(last_lines, "a", None, 9)] == ["four"]
    assert await store(remove_logs, {"a", "b"}) == 1
    assert await store(remove_logs, set()) == 0


# Outputs


async def test_outputs(store: Store) -> None:
    """They are stored once, large ones too."""
    await store.add("a", "b")
    large = "x" * 3_000_000
    await store(store_output, 1, large, "err")
    with pytest.raises(Conflict, match="stored already"):
        await store(store_output, 1, "again", "")
    assert await store(outputs_of, [1, 2]) == {1: (large, "err")}
    assert [row.PilotID for row in await store(pilots_by, "PilotJobReference", ["b", "zz"])] == [2]


# Removal


async def test_all_of_a_pilot_goes(store: Store) -> None:
    """Its output, its jobs and its logs; of others nothing, and a shared stamp keeps its logs."""
    await store.add("a", "b", "b")
    for pilot_id in (1, 2, 3):
        await store(store_output, pilot_id, "x", "y")
        await store(associate_jobs, [pilot_id], [pilot_id])
    for stamp in ("a", "b"):
        await store(add_lines, stamp, "lab", said("x"), NOW)
    assert await store(remove_pilots, [1, 2, 99]) == 2
    assert await store.all("PilotID") == [(3,)]
    assert (await store(outputs_of, [1, 2, 3])).keys() == {3}
    assert await store(jobs_of_pilots, [1, 2, 3]) == [3]
    assert await store(last_lines, "a", None, 9) == []
    assert len(await store(last_lines, "b", None, 9)) == 1
    assert await store(remove_pilots, []) == 0


async def test_old_pilots_go_in_bites(store: Store, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those submitted before a moment; the aborted ones alone, if asked for."""
    monkeypatch.setattr("shared_db.queries.pilots.utc_now", clock)
    await store.add("a", "b", Status="Aborted")
    await store.add("c", "d", "e")
    later = clock() + MINUTE
    assert await store(old_pilots, clock()) == []
    assert await store(old_pilots, later, aborted_only=True) == [1, 2]
    removed = [await store(remove_old_pilots, later, aborted_only=True, most=1) for _ in range(3)]
    assert removed == [1, 1, 0]
    assert [await store(remove_old_pilots, later, most=2) for _ in range(3)] == [2, 1, 0]


# Rules


def test_what_is_cut_off_is_said() -> None:
    """Of lines the end, of outputs the beginning, with whole characters."""
    assert (cut_line("abc", 3), cut_line("abcd", 3)) == ("abc", "abc [1 characters more were cut off]")
    assert cut_output("\u00e4bc", 4) == "\u00e4bc"
    assert cut_output("x\u00e4bc", 3) == "[2 bytes before this were cut off]\nbc"


def test_texts_that_no_database_holds() -> None:
    """They lose what cannot be stored, and nothing else."""
    assert storable_text("a\0\ud800\u00e4") == "a\ufffd?\u00e4"
    assert [read_output(each) for each in (None, '""', "", "x")] == ["", "", "", "x"]
