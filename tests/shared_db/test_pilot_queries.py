"""Pilots: adding, looking up and changing them; counts are of changed rows, and references may recur."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared_db.connection import Databases
from shared_db.errors import InvalidValue
from shared_db.queries import pilots
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents

# More than fit into one statement.
MANY = 10_001

# How many characters each text of a pilot holds (legacy-schema.md, section 3).
SIZES = {
    "PilotJobReference": 255,
    "PilotStamp": 32,
    "DestinationSite": 128,
    "Queue": 128,
    "GridSite": 128,
    "VO": 128,
    "GridType": 32,
    "Status": 32,
    "StatusReason": 255,
}


@pytest.fixture(autouse=True)
def clock(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still for the queries until a test lets it pass."""
    monkeypatch.setattr(pilots, "utc_now", clock)
    return clock


@pytest.fixture
def read(databases: Databases) -> Callable[..., Awaitable[Any]]:
    """``await read(query, arguments ...)``: a query in a unit of work of its own."""

    async def run(query: Any, *arguments: Any) -> Any:
        async with databases.unit_of_work() as work:
            return await query(work, *arguments)

    return run


@pytest.fixture
def write(databases: Databases) -> Callable[..., Awaitable[Any]]:
    """``await write(query, arguments ...)``: the same where rows are changed."""

    async def run(query: Any, *arguments: Any) -> Any:
        async with databases.unit_of_work(write=True) as work:
            return await query(work, *arguments)

    return run


Query = Callable[..., Awaitable[Any]]


def pilot(reference: str = "p", **columns: Any) -> dict[str, Any]:
    """A pilot of which only some columns matter."""
    return {"PilotJobReference": reference, "VO": "lab", **columns}


async def everything(read: Query, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of all pilots, by id."""
    return [tuple(found.values()) for found, _ in await read(pilots.pilots_with_jobs, [], columns)]


async def update(write: Query, keys: Sequence[Any], column: str = "PilotJobReference", **values: Any) -> int:
    """How many rows an update changed."""
    return int(await write(pilots.update_pilots, column, keys, values))


# Adding


async def test_a_new_pilot_is_submitted_now(read: Query, write: Query, clock: Any) -> None:
    """Status and times are filled in, everything else is DIRAC's default."""
    await write(pilots.add_pilots, [pilot("https://ce/1")])
    columns = [column.name for column in PilotAgents.columns]
    [row] = await everything(read, *columns)
    assert dict(zip(columns, row, strict=True)) == {
        "PilotID": 1,
        "InitialJobID": 0,
        "CurrentJobID": 0,
        "PilotJobReference": "https://ce/1",
        "PilotStamp": "",
        "DestinationSite": "NotAssigned",
        "Queue": "Unknown",
        "GridSite": "Unknown",
        "VO": "lab",
        "GridType": "LCG",
        "BenchMark": 0.0,
        "SubmissionTime": clock.column,
        "LastUpdateTime": clock.column,
        "Status": "Submitted",
        "StatusReason": "Unknown",
        "AccountingSent": "False",
    }


async def test_what_is_given_of_a_new_pilot_is_kept(read: Query, write: Query) -> None:
    """A status of the caller's own wins over Submitted."""
    await write(pilots.add_pilots, [pilot("p", Status="Waiting", PilotStamp="s", GridType="DIRAC")])
    assert await everything(read, "Status", "PilotStamp", "GridType") == [("Waiting", "s", "DIRAC")]


async def test_neither_references_nor_stamps_need_be_new(read: Query, write: Query) -> None:
    """Duplicates are stored in the order in which they come, under ids of their own."""
    await write(pilots.add_pilots, [pilot("p", PilotStamp="s"), pilot("q", PilotStamp="s")])
    await write(pilots.add_pilots, [pilot("p", PilotStamp="s")])
    assert await everything(read, "PilotID", "PilotJobReference") == [(1, "p"), (2, "q"), (3, "p")]


async def test_pilots_may_be_given_with_different_columns(read: Query, write: Query) -> None:
    """Each pilot of a list keeps what is given of it."""
    await write(pilots.add_pilots, [pilot("p"), pilot("q", PilotStamp="s")])
    assert await everything(read, "PilotStamp") == [("",), ("s",)]


async def test_no_pilots_are_no_error(read: Query, write: Query) -> None:
    """An empty list adds nothing."""
    await write(pilots.add_pilots, [])
    assert await everything(read, "PilotID") == []


async def test_more_pilots_than_fit_into_a_statement(
    read: Query, write: Query, statements: list[tuple[str, Any]]
) -> None:
    """They are added by one statement and found by few, all of them."""
    references = [f"p{number:05}" for number in range(MANY)]
    await write(pilots.add_pilots, [pilot(reference) for reference in references])
    assert sum(text.startswith("INSERT") for text, _ in statements) == 1
    found = await read(pilots.pilots_with_jobs, references, ["PilotJobReference"])
    assert [columns["PilotJobReference"] for columns, _ in found] == references
    assert await update(write, references, Status="Done") == MANY
    assert sum(text.startswith(("SELECT", "UPDATE")) for text, _ in statements) == 4


# Releases of DIRAC whose pilots have no VO.
OLD_GUESTS = ("guest-8.0.86", "guest-7.3.38")


@pytest.mark.parametrize(("column", "size"), SIZES.items())
async def test_texts_that_fit_and_texts_that_do_not(
    read: Query, write: Query, engine: str, column: str, size: int
) -> None:
    """A text as long as its column is stored whole; a longer one is refused, with all that came with it."""
    if column == "VO" and engine in OLD_GUESTS:
        return  # there the VO is that of a group of the registry
    fits, too_long = "ü" * size, "ü" * (size + 1)
    await write(
        pilots.add_pilots, [pilot(**{column: fits})] if column != "PilotJobReference" else [pilot(fits)]
    )
    assert await everything(read, column) == [(fits,)]
    for attempt in [
        lambda: write(pilots.add_pilots, [pilot("q"), {**pilot(), column: too_long}]),
        lambda: update(write, [1], "PilotID", **{column: too_long}),
    ]:
        with pytest.raises(InvalidValue) as refused:
            await attempt()
        assert (refused.value.column, refused.value.problem) == (column, "too long")
    assert await everything(read, column) == [(fits,)]


@pytest.mark.parametrize("column", [*SIZES, "BenchMark", "AccountingSent", "CurrentJobID"])
async def test_nothing_is_no_value(read: Query, write: Query, column: str) -> None:
    """None is refused where the column allows no NULL."""
    await write(pilots.add_pilots, [pilot()])
    before = await everything(read, column)
    for attempt in [
        lambda: write(pilots.add_pilots, [{**pilot(), column: None}]),
        lambda: update(write, [1], "PilotID", **{column: None}),
    ]:
        with pytest.raises(InvalidValue) as refused:
            await attempt()
        assert (refused.value.column, refused.value.problem) == (column, "null")
    assert await everything(read, column) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("StatusReason", "na\udcefve"),
        ("CurrentJobID", 2**32),
        ("CurrentJobID", -1),
        ("CurrentJobID", 2**64),
    ],
    ids=["bytes that are no text", "too large", "negative", "64 bits"],
)
async def test_what_a_column_cannot_hold_is_refused(
    write: Query, read: Query, column: str, value: Any
) -> None:
    """Bytes that are no text (DISET brings them) and numbers out of range are refused, naming the column."""
    await write(pilots.add_pilots, [pilot(CurrentJobID=2**32 - 1)])
    with pytest.raises(InvalidValue) as refused:
        await update(write, ["p"], **{column: value})
    assert refused.value.column == column
    assert await everything(read, "CurrentJobID", "StatusReason") == [(2**32 - 1, "Unknown")]


# Looking up


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["a"], [(1, "a"), (3, "a")]),
        (["b", "a"], [(1, "a"), (2, "b"), (3, "a")]),
        (["a", "a"], [(1, "a"), (3, "a")]),
        (["nope", "c"], [(4, "c")]),
        (["nope"], []),
        (["x"], []),
        ([], [(1, "a"), (2, "b"), (3, "a"), (4, "c")]),
    ],
)
async def test_pilots_with_a_reference(
    read: Query, write: Query, references: list[str], expected: list[tuple[int, str]]
) -> None:
    """All that have one of the references, by id; unknown ones are skipped, none at all means every pilot."""
    await write(pilots.add_pilots, [pilot(reference) for reference in "abac"])
    found = await read(pilots.pilots_with_jobs, references, ["PilotID", "PilotJobReference"])
    assert [tuple(columns.values()) for columns, _ in found] == expected


async def test_columns_come_as_asked_for(read: Query, write: Query) -> None:
    """Rows have the wanted columns in the wanted order."""
    await write(pilots.add_pilots, [pilot("p", PilotStamp="s")])
    [(columns, jobs)] = await read(pilots.pilots_with_jobs, ["p"], ["VO", "PilotStamp", "PilotID"])
    assert list(columns.items()) == [("VO", "lab"), ("PilotStamp", "s"), ("PilotID", 1)]
    assert jobs == []


@pytest.mark.parametrize(
    "references",
    [
        ["a", *map(str, range(MANY)), "b"],
        ["b", *map(str, range(MANY)), "a"],
        ["a", *map(str, range(MANY)), "a", "b"],
    ],
    ids=["in order", "not in order", "twice"],
)
async def test_more_references_than_fit_into_a_statement(
    read: Query, write: Query, references: list[str]
) -> None:
    """Pilots come by ascending id and once each, however many references there are."""
    await write(pilots.add_pilots, [pilot("a"), pilot("b")])
    found = await read(pilots.pilots_with_jobs, references, ["PilotJobReference"])
    assert [columns["PilotJobReference"] for columns, _ in found] == ["a", "b"]


async def test_stamps_in_use(read: Query, write: Query) -> None:
    """Those of the stamps that a pilot has, and no others; duplicates do no harm."""
    await write(pilots.add_pilots, [pilot("a", PilotStamp="s"), pilot("b", PilotStamp="s")])
    unknown = map(str, range(MANY))
    assert set(await read(pilots.stamps_in_use, ["s", *unknown, "t"])) == {"s"}
    assert await read(pilots.stamps_in_use, []) == []


@pytest.fixture
async def mapped(write: Query, clock: Any) -> None:
    """Pilots 1 to 3 with stamps a, b, a; the first ran jobs 7 and 8, the third job 8 (stored twice)."""
    await write(pilots.add_pilots, [pilot(str(n), PilotStamp=s) for n, s in enumerate("aba")])

    async def ran(work: Any) -> None:
        rows = [
            {"PilotID": p, "JobID": j, "StartTime": clock.column} for p, j in [(1, 7), (1, 8), (3, 8), (3, 8)]
        ]
        await work.change(PILOT_AGENTS_DB, JobToPilotMapping.insert(), rows)

    await write(ran)


@pytest.mark.parametrize("references", [["0", "1", "2"], [], [*"210", *map(str, range(100, 100 + MANY))]])
async def test_jobs_of_pilots(read: Query, mapped: None, references: list[str]) -> None:
    """Each pilot comes with the jobs that it ran, also with one that is stored twice."""
    found = await read(pilots.pilots_with_jobs, references, ["PilotID"])
    assert [(columns["PilotID"], jobs) for columns, jobs in found] == [(1, [7, 8]), (2, []), (3, [8, 8])]


async def test_pilots_of_jobs(read: Query, mapped: None) -> None:
    """The ids of the pilots that ran one of the jobs, once each and in order."""
    assert await read(pilots.pilots_of_jobs, [8, 7]) == [1, 3]
    assert await read(pilots.pilots_of_jobs, [7]) == [1]
    assert await read(pilots.pilots_of_jobs, [9]) == []
    assert await read(pilots.pilots_of_jobs, [8, *range(100, 100 + MANY), 7]) == [1, 3]


async def test_jobs_of_stamps(read: Query, mapped: None) -> None:
    """The ids of the jobs that any pilot with one of the stamps ran, once each and in order."""
    assert await read(pilots.jobs_of_stamps, ["a"]) == [7, 8]
    assert await read(pilots.jobs_of_stamps, ["b", "nope"]) == []
    assert await read(pilots.jobs_of_stamps, ["a", *map(str, range(MANY)), "a"]) == [7, 8]


# Changing


async def test_an_unknown_pilot_changes_nothing(read: Query, write: Query) -> None:
    """Not found is no error, but 0 rows; so is no key at all."""
    await write(pilots.add_pilots, [pilot("p")])
    assert await update(write, ["nope"], Status="Done") == 0
    assert await update(write, [], Status="Done") == 0
    assert await everything(read, "Status") == [("Submitted",)]


async def test_what_is_the_same_already_is_not_counted(read: Query, write: Query, clock: Any) -> None:
    """0 when nothing differs within one second; a second later LastUpdateTime does."""
    await write(pilots.add_pilots, [pilot("p")])
    assert await update(write, ["p"], Status="Running", StatusReason="because") == 1
    assert await update(write, ["p"], Status="Running", StatusReason="because") == 0
    clock.advance(0.3)
    assert await update(write, ["p"], Status="Running") == 0
    clock.advance(0.7)
    assert await update(write, ["p"], Status="Running") == 1
    assert await everything(read, "Status", "StatusReason", "LastUpdateTime") == [
        ("Running", "because", clock.column)
    ]


async def test_only_what_is_given_changes(read: Query, write: Query, clock: Any) -> None:
    """Other columns, the submission time and other pilots stay as they are."""
    await write(pilots.add_pilots, [pilot("p", Queue="long"), pilot("q", Queue="long")])
    submitted = clock.column
    clock.advance(5)
    assert await update(write, ["p"], Status="Done", BenchMark=12.5, AccountingSent="True") == 1
    columns = ("Status", "BenchMark", "AccountingSent", "Queue", "SubmissionTime", "LastUpdateTime")
    assert await everything(read, *columns) == [
        ("Done", 12.5, "True", "long", submitted, clock.column),
        ("Submitted", 0.0, "False", "long", submitted, submitted),
    ]


async def test_every_pilot_with_the_reference_is_changed(read: Query, write: Query) -> None:
    """A duplicated reference counts 2, and 1 where one of the two was so already."""
    await write(pilots.add_pilots, [pilot("p"), pilot("q"), pilot("p")])
    assert await update(write, ["p"], Status="Running") == 2
    assert await update(write, [1], "PilotID", Status="Done") == 1
    assert await update(write, ["p"], Status="Done") == 1
    assert await everything(read, "Status") == [("Done",), ("Submitted",), ("Done",)]


async def test_a_time_that_was_never_set_differs(read: Query, write: Query, clock: Any) -> None:
    """A row without LastUpdateTime counts as changed, though all else is the same."""

    async def old_row(work: Any) -> None:
        await work.change(
            PILOT_AGENTS_DB, PilotAgents.insert(), {"PilotJobReference": "p", "VO": "lab", "Status": "Done"}
        )

    await write(old_row)
    assert await update(write, ["p"], Status="Done") == 1
    assert await everything(read, "LastUpdateTime") == [(clock.column,)]


@pytest.mark.parametrize(
    ("column", "keys", "changed"),
    [
        ("PilotID", [2, 3], [2, 3]),
        ("PilotStamp", ["a"], [1, 3]),
        ("PilotStamp", ["a", "b", "a"], [1, 2, 3]),
        ("PilotID", [3, *range(100, 100 + MANY), 1, 3], [1, 3]),
    ],
    ids=["ids", "stamp", "stamps, one twice", "more than fit into a statement"],
)
async def test_pilots_are_changed_by_any_column(
    read: Query, write: Query, column: str, keys: list[Any], changed: list[int]
) -> None:
    """Keys may be ids or stamps, any number of them; a pilot is counted once."""
    await write(pilots.add_pilots, [pilot(str(n), PilotStamp=s) for n, s in enumerate("aba")])
    assert await update(write, keys, column, Status="Done") == len(changed)
    assert [row[0] for row in await everything(read, "PilotID", "Status") if row[1] == "Done"] == changed


# Counting


async def test_pilots_are_counted_by_destination_and_status(read: Query, write: Query, clock: Any) -> None:
    """Both ends of the period of submission are included; without a period every pilot counts."""
    now = clock.column
    for ce, status in [("ce1", "Done"), ("ce1", "Done"), ("ce1", "Bogus"), ("ce2", "Done")]:
        await write(pilots.add_pilots, [pilot(DestinationSite=ce, Status=status)])
        clock.advance(60)

    async def never_submitted(work: Any) -> None:
        await work.change(PILOT_AGENTS_DB, PilotAgents.insert(), {"DestinationSite": "ce3", "VO": "lab"})

    await write(never_submitted)

    async def count(first: int | None = None, last: int | None = None) -> list[tuple[str, str, int]]:
        bounds = [None if minute is None else now + timedelta(minutes=minute) for minute in (first, last)]
        return sorted(await read(pilots.count_by_destination, *bounds))

    assert await count() == [
        ("ce1", "Bogus", 1),
        ("ce1", "Done", 2),
        ("ce2", "Done", 1),
        ("ce3", "Unknown", 1),
    ]
    assert await count(1, 3) == [("ce1", "Bogus", 1), ("ce1", "Done", 1), ("ce2", "Done", 1)]
    assert await count(3) == [("ce2", "Done", 1)]
    assert await count(None, 0) == [("ce1", "Done", 1)]
    assert await count(4) == []


async def test_aborted_pilots_are_counted_since_a_time(read: Query, write: Query, clock: Any) -> None:
    """Those last updated at that very second count, those before and those of other statuses do not."""
    await write(
        pilots.add_pilots, [pilot(f"{n}", DestinationSite=ce) for n, ce in enumerate(["ce1", "ce1", "ce2"])]
    )
    moments = []
    for reference, status in [("0", "Aborted"), ("1", "Aborted"), ("2", "Failed")]:
        clock.advance(10)
        await update(write, [reference], Status=status)
        moments.append(clock.column)
    expected = [[("ce1", 2)], [("ce1", 1)], []]
    assert [await read(pilots.count_aborted_since, moment) for moment in moments] == expected
