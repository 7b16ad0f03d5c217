"""Search and summary against a plain model, their errors, and that nothing can be smuggled into the SQL."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest
from guests import HOMES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Double, MetaData, String, Table
from sqlalchemy.dialects.mysql import VARCHAR

from shared_db.connection import Databases, UnitOfWork
from shared_db.errors import InvalidQuery
from shared_db.queries.conditions import Condition
from shared_db.queries.search import Page, Search, Sort, find_page, summarise
from shared_db.schema.job_db import JOB_DB
from shared_db.schema.types import Seconds, Signed, Unsigned, flag

# A table with a column of each kind that DIRAC has, and NULL allowed in all of them.
metadata = MetaData(info={"database": JOB_DB})
Samples = Table(
    "Samples",
    metadata,
    Column("Id", Unsigned, primary_key=True),
    # Compared letter by letter everywhere; what MariaDB's usual collation does has a test of its own.
    Column("Word", String(40).with_variant(VARCHAR(40, collation="utf8mb4_nopad_bin"), "mysql", "mariadb")),
    Column("Number", Signed),
    Column("Real", Double),
    Column("Moment", Seconds),
    Column("AccountedFlag", flag("True", "False", "Failed"), nullable=False),
)
COLUMNS = [column.name for column in Samples.columns]
Sample = Mapping[str, Any]


@pytest.fixture(params=HOMES)
def engine(request: pytest.FixtureRequest) -> str:
    """What is here is not about DIRAC's tables."""
    return str(request.param)


# In the order in which MySQL sorts them; elsewhere they are sorted as the texts that they are.
FLAGS = ["True", "False", "Failed"]
FLAGS_ARE_TEXTS = ContextVar("FLAGS_ARE_TEXTS", default=True)


@pytest.fixture
async def databases(databases: Databases, engine: str) -> Databases:
    """Databases with the samples' table too, which is empty."""
    FLAGS_ARE_TEXTS.set(engine != "mariadb")
    await databases.sync_run(JOB_DB, metadata.create_all)
    async with databases.unit_of_work(write=True) as work:
        await work.change(JOB_DB, Samples.delete())
    return databases


async def fill(work: UnitOfWork, rows: Sequence[Sample]) -> None:
    """Store samples; Ids count from 1 in their order."""
    if rows:
        await work.change(JOB_DB, Samples.insert(), list(rows))


def sample(number: int = 1, **columns: Any) -> Sample:
    """A sample of which only some columns matter."""
    return {"Id": number, **dict.fromkeys(COLUMNS[1:5]), "AccountedFlag": "False", **columns}


# The model: what a condition, a search and a summary mean, in plain Python


def text_holds(value: str, operator: str, wanted: Any) -> bool:
    """A comparison of texts."""
    if operator.endswith("like"):
        pattern = re.sub(
            r"\\?(.)|\\$",
            lambda it: {"%": ".*", "_": "."}.get(it[0], re.escape(it[1] or "")),
            wanted,
            flags=re.DOTALL,
        )
        return (re.fullmatch(pattern, value, re.DOTALL) is not None) is not operator.startswith("not")
    if operator == "regex":
        return re.search(wanted, value) is not None
    return ordered_holds(value, operator, wanted)


def ordered_holds(value: Any, operator: str, wanted: Any) -> bool:
    """A comparison of what has an order."""
    match operator:
        case "eq":
            return bool(value == wanted)
        case "neq":
            return bool(value != wanted)
        case "gt":
            return bool(value > wanted)
        case "lt":
            return bool(value < wanted)
        case "in":
            return value in wanted
        case "not in":
            return value not in wanted
    raise AssertionError(operator)


def time_holds(value: datetime, operator: str, wanted: Any) -> bool:
    """A comparison with the period that a date text names: times in it begin with that text."""
    text = value.isoformat()
    periods = [
        re.sub(r"(\.\d+)?Z?$", "", each.replace(" ", "T"))
        for each in (wanted if isinstance(wanted, list) else [wanted])
    ]
    inside = any(text.startswith(period) for period in periods)
    match operator:
        case "eq" | "in":
            return inside
        case "neq" | "not in":
            return not inside
        case "gt":
            return text[: len(periods[0])] > periods[0]
        case "lt":
            return text[: len(periods[0])] < periods[0]
    raise AssertionError(operator)


def holds(row: Sample, condition: Condition) -> bool:
    """What a condition means for a row; a column without a value meets none, but for ``not in []``."""
    value, wanted = row[condition.column], condition.value
    if value is None:
        return condition.operator == "not in" and not wanted
    if condition.column == "Moment":
        return time_holds(value, condition.operator, wanted)
    if condition.column in ("Id", "Number", "Real"):
        wanted = [float(each) for each in wanted] if isinstance(wanted, list) else float(wanted)
        return ordered_holds(value, condition.operator, wanted)
    return text_holds(value, condition.operator, wanted)


def as_answered(row: Sample, columns: Sequence[str] | None) -> dict[str, Any]:
    """A row as REST gives it: aware times, JSON booleans, columns in the table's order."""
    answer = {name: row[name] for name in COLUMNS if columns is None or name in columns}
    if answer.get("Moment"):
        answer["Moment"] = answer["Moment"].replace(tzinfo=UTC)
    if "AccountedFlag" in answer:
        answer["AccountedFlag"] = {"True": True, "False": False, "Failed": "Failed"}[answer["AccountedFlag"]]
    return answer


def sortable(value: Any) -> Any:
    """A value of REST's as the column sorts it."""
    value = str(value) if isinstance(value, bool) else value
    return value if FLAGS_ARE_TEXTS.get() or value not in FLAGS else FLAGS.index(value)


def in_order(rows: Sequence[dict[str, Any]], sort: Sequence[Sort]) -> list[dict[str, Any]]:
    """Rows sorted by some columns; no value comes before any value."""
    for key in reversed(sort):
        rows = sorted(
            rows,
            key=lambda row: (row[key.column] is not None, sortable(row[key.column])),
            reverse=key.descending,
        )
    return list(rows)


def expected_rows(rows: Sequence[Sample], search: Search) -> list[dict[str, Any]]:
    """All rows that a search finds, on all its pages."""
    found = [row for row in rows if all(holds(row, condition) for condition in search.conditions)]
    answers = [as_answered(row, search.columns) for row in in_order(list(map(dict, found)), search.sort)]
    if search.distinct:
        answers = [row for number, row in enumerate(answers) if row not in answers[:number]]
    return answers


# Random rows, conditions and searches

LETTERS = st.text("ab%_'1 ", max_size=4)
BOUNDARIES = [
    datetime.fromisoformat(text)
    for text in (
        "2024-02-29T23:59:59",
        "2025-12-31T23:59:59",
        "2026-01-01T00:00:00",
        "2026-01-31T23:59:59",
        "2026-02-01T00:00:00",
        "2026-02-01T00:59:59",
        "2026-02-01T01:00:00",
        "2026-02-01T01:00:59",
        "2026-02-01T01:01:00",
        "2026-02-01T01:01:01",
    )
]
MOMENTS = st.sampled_from(BOUNDARIES) | st.datetimes(
    datetime(2024, 1, 1),  # noqa: DTZ001
    datetime(2027, 12, 31),  # noqa: DTZ001
).map(lambda moment: moment.replace(microsecond=0))
NUMBERS = st.integers(-2, 3) | st.sampled_from([-(2**31), 2**31 - 1])
REALS = st.sampled_from([-1.5, 0.0, 0.25, 2.0])
FORMATS = ["%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d{}%H", "%Y-%m-%d{}%H:%M", "%Y-%m-%d{}%H:%M:%S"]


@st.composite
def date_texts(draw: st.DrawFn, precision: int | None = None) -> str:
    """A moment as a date text of some precision."""
    if precision is None:
        precision = draw(st.integers(0, len(FORMATS) - 1))
    text = draw(MOMENTS).strftime(FORMATS[precision].format(draw(st.sampled_from(" T"))))
    return text + (draw(st.sampled_from(["", ".5", ".999999", ".000001Z"])) if precision == 5 else "")


def lists_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Values for ``in``."""
    return st.lists(values, max_size=3)


ORDERED = st.sampled_from(["eq", "neq", "gt", "lt"])
LISTED = st.sampled_from(["in", "not in"])
WRITTEN_NUMBERS = NUMBERS | NUMBERS.map(str)
WRITTEN_REALS = REALS.map(str) | st.integers(-2, 3)
CONDITIONS = st.one_of(
    st.builds(Condition, st.just("Word"), ORDERED | st.sampled_from(["like", "not like"]), LETTERS),
    st.builds(
        Condition,
        st.just("Word"),
        st.just("regex"),
        st.sampled_from(["", "a", "^a", "b$", "^$", "a.*b", "[ab]{2}", "%", "'", "(a|1)_"]),
    ),
    st.builds(Condition, st.just("Word"), LISTED, lists_of(LETTERS)),
    st.builds(
        Condition, st.just("AccountedFlag"), ORDERED, st.sampled_from(["True", "False", "Failed", True])
    ).map(lambda it: Condition(it.column, it.operator, str(it.value))),
    st.builds(Condition, st.sampled_from(["Id", "Number"]), ORDERED, WRITTEN_NUMBERS),
    st.builds(Condition, st.sampled_from(["Id", "Number"]), LISTED, lists_of(WRITTEN_NUMBERS)),
    st.builds(Condition, st.just("Real"), ORDERED, WRITTEN_REALS),
    st.builds(Condition, st.just("Real"), LISTED, lists_of(WRITTEN_REALS)),
    st.builds(Condition, st.just("Moment"), ORDERED, date_texts()),
    st.builds(
        Condition,
        st.just("Moment"),
        LISTED,
        st.integers(0, 5).flatmap(lambda precision: lists_of(date_texts(precision))),
    ),
)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "Word": st.none() | LETTERS,
            "Number": st.none() | NUMBERS,
            "Real": st.none() | REALS,
            "Moment": st.none() | MOMENTS,
            "AccountedFlag": st.sampled_from(FLAGS),
        }
    ),
    max_size=12,
).map(lambda rows: [{"Id": number, **row} for number, row in enumerate(rows, 1)])
NAMES = st.lists(st.sampled_from(COLUMNS), unique=True, min_size=1)


@st.composite
def searches(draw: st.DrawFn) -> Search:
    """Any search; a distinct one sorts by columns that it asks for."""
    distinct = draw(st.booleans())
    columns = draw(
        st.lists(st.sampled_from(COLUMNS[1:]), unique=True, min_size=1) if distinct else st.none() | NAMES
    )
    to_sort_by = columns if distinct else COLUMNS
    return Search(
        columns=columns,
        conditions=draw(st.lists(CONDITIONS, max_size=2)),
        sort=draw(st.lists(st.builds(Sort, st.sampled_from(to_sort_by), st.booleans()), max_size=2)),
        distinct=distinct,
        per_page=draw(st.integers(1, 14)),
    )


PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def all_pages(work: UnitOfWork, search: Search) -> tuple[list[dict[str, Any]], set[int]]:
    """The rows of all pages up to the first empty one, and the totals that the pages name."""
    rows: list[dict[str, Any]] = []
    totals = set()
    for number in range(1, 100):
        page = await find_page(work, Samples, Search(**{**as_keywords(search), "page": number}))
        totals.add(page.total)
        if not page.rows:
            return rows, totals
        assert len(page.rows) <= search.per_page
        rows += page.rows
    raise AssertionError("the pages have no end")


def as_keywords(search: Search) -> dict[str, Any]:
    """The arguments that make a search."""
    return {name: getattr(search, name) for name in Search.__slots__}


@PROPERTY
@given(rows=ROWS, search=searches())
async def test_pages_are_what_the_model_says(
    databases: Databases, rows: list[Sample], search: Search
) -> None:
    """All pages together are the rows that meet the conditions, in order, and every page knows the total."""
    async with databases.rehearsal() as work:
        await fill(work, rows)
        found, totals = await all_pages(work, search)
    expected = expected_rows(rows, search)
    assert totals == {len(expected)}
    if search.distinct:
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert in_order(found, search.sort) == found
    else:
        assert found == expected


@PROPERTY
@given(rows=ROWS, grouping=NAMES | st.just([]), conditions=st.lists(CONDITIONS, max_size=2))
async def test_summaries_are_what_the_model_says(
    databases: Databases, rows: list[Sample], grouping: list[str], conditions: list[Condition]
) -> None:
    """Rows are counted by the values of the columns asked for, by all columns where none is."""
    async with databases.rehearsal() as work:
        await fill(work, rows)
        found = await summarise(work, Samples, grouping, conditions)
    expected = Counter(
        tuple(row.items())
        for row in expected_rows(rows, Search(columns=grouping or None, conditions=conditions))
    )
    assert Counter({tuple(row.items())[:-1]: row["count"] for row in found}) == expected
    assert len(found) == len(expected)


# Cases worth a line of their own


async def find(databases: Databases, rows: Sequence[Sample], *conditions: Condition, **search: Any) -> Page:
    """Store samples and search them; they are gone afterwards."""
    async with databases.rehearsal() as work:
        await fill(work, rows)
        return await find_page(work, Samples, Search(conditions=conditions, **search))


def ids(page: Page) -> list[int]:
    """Which samples a page holds."""
    return [row["Id"] for row in page.rows]


SECONDS = [sample(number, Moment=moment) for number, moment in enumerate(BOUNDARIES, 1)]


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("eq", "2026", [3, 4, 5, 6, 7, 8, 9, 10]),
        ("neq", "2026", [1, 2]),
        ("lt", "2026", [1, 2]),
        ("gt", "2025", [3, 4, 5, 6, 7, 8, 9, 10]),
        ("gt", "2024-02", [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("gt", "2026-01", [5, 6, 7, 8, 9, 10]),
        ("eq", "2026-01", [3, 4]),
        ("eq", "2025-12", [2]),
        ("gt", "2025-12", [3, 4, 5, 6, 7, 8, 9, 10]),
        ("eq", "2024-02-29", [1]),
        ("lt", "2026-01-01", [1, 2]),
        ("eq", "2026-02-01 00", [5, 6]),
        ("gt", "2026-02-01T00", [7, 8, 9, 10]),
        ("eq", "2026-02-01 01:00", [7, 8]),
        ("gt", "2026-02-01 01:00", [9, 10]),
        ("gt", "2026-02-01 01:01:00", [10]),
        ("eq", "2026-02-01T01:01:00.999999Z", [9]),
        ("gt", "2026-02-01T01:01:00.999999", [10]),
        ("in", ["2024", "2025"], [1, 2]),
        ("not in", ["2024", "2025"], [3, 4, 5, 6, 7, 8, 9, 10]),
        ("in", [], []),
        ("not in", [], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
async def test_a_date_means_the_whole_period(
    databases: Databases, operator: str, value: Any, expected: list[int]
) -> None:
    """Periods begin with their first second and end before the next one's (rest-diracx.md, 6.3)."""
    assert ids(await find(databases, SECONDS, Condition("Moment", operator, value))) == expected


@pytest.mark.parametrize(
    ("page", "expected"), [(1, [1, 2, 3, 4]), (2, [5, 6, 7, 8]), (3, [9, 10]), (4, []), (10**9, [])]
)
async def test_every_page_knows_the_total(databases: Databases, page: int, expected: list[int]) -> None:
    """Pages come in order of the key, beyond the end they are empty, and all name the same total."""
    found = await find(databases, SECONDS, page=page, per_page=4)
    assert (ids(found), found.total) == (expected, 10)


async def test_a_full_last_page_is_the_last(databases: Databases) -> None:
    """The total is right where the rows end with a page."""
    assert await find(databases, SECONDS[:4], columns=["Id"], page=2, per_page=2) == Page(
        [{"Id": 3}, {"Id": 4}], 4
    )


@pytest.mark.parametrize(("page", "expected"), [(1, ["a", "b"]), (2, ["c"]), (3, [])])
async def test_distinct_rows_are_counted_once(databases: Databases, page: int, expected: list[str]) -> None:
    """Rows that are alike in the columns asked for are one row, on the pages and in the total."""
    rows = [sample(number, Word=word) for number, word in enumerate("cbaabc", 1)]
    search = {"columns": ["Word"], "sort": [Sort("Word")], "distinct": True}
    found = await find(databases, rows, page=page, per_page=2, **search)
    assert found == Page([{"Word": word} for word in expected], 3)


async def test_nothing_found_is_an_empty_page(databases: Databases) -> None:
    """No rows: no error, and a total of 0."""
    assert await find(databases, []) == Page([], 0)
    assert await find(databases, [], page=3) == Page([], 0)


async def test_rows_have_the_form_of_rest(databases: Databases) -> None:
    """Times are aware, flags are booleans but for Failed, columns come in the table's order."""
    rows = [
        sample(1, Word="a", Number=-1, Real=0.25, Moment=BOUNDARIES[0], AccountedFlag="True"),
        sample(2, AccountedFlag="Failed"),
    ]
    page = await find(databases, rows, columns=["AccountedFlag", "Moment", "Id"])
    assert [list(row.items()) for row in page.rows] == [
        [("Id", 1), ("Moment", BOUNDARIES[0].replace(tzinfo=UTC)), ("AccountedFlag", True)],
        [("Id", 2), ("Moment", None), ("AccountedFlag", "Failed")],
    ]


async def test_an_empty_list_of_columns_means_all(databases: Databases, attempt: Any) -> None:
    """``parameters: []`` is as if there were none, as in DiracX."""
    found = await attempt(find(databases, [sample(1)], columns=[]))
    assert found == Page([as_answered(sample(1), None)], 1)


# Errors


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (("Nope", "eq", "a"), "Unknown column Nope"),
        (("word", "eq", "a"), "Unknown column word"),
        (("count", "eq", 1), "Unknown column count"),
        (("Word", "regex", "["), "Invalid regex ["),
        (("Word", "regex", "(?P<a"), "Invalid regex (?P<a"),
        (("Word", "regex", "a" * 1001), "A regular expression may have at most 1000 characters"),
        (
            ("Word", "regex", "(" * 450 + "a" + ")" * 450),
            "A regular expression is nested too deeply: write a simpler one",
        ),
        *[
            (("Word", "regex", each), "A regular expression repeats its parts too often: write a simpler one")
            # Each took the memory of the machine, or a second and more.
            for each in (
                "(?:(?:(?:a?){255}){255}){255}",
                "(?x)(?:(?:a?) { 255 } ) {255}",
                "(?:a?){,99999}",
                "(?:a?)#]{2}\n{30000}",
                ".{9999}" * 100,
            )
        ],
        (("Moment", "eq", "yesterday"), "Cannot parse value='yesterday'"),
        (("Moment", "like", "2026%"), "Cannot parse value='2026%'"),
        (("Moment", "eq", "2026-01-01T00:00:00+00:00"), "Cannot parse value='2026-01-01T00:00:00+00:00'"),
        (("Moment", "eq", "2026-13"), "Cannot parse value='2026-13'"),
        (("Moment", "eq", "2026-02-30"), "Cannot parse value='2026-02-30'"),
        (("Moment", "eq", "2026-1-1"), "Cannot parse value='2026-1-1'"),
        (("Moment", "eq", "2026-01-01 24"), "Cannot parse value='2026-01-01 24'"),
        (("Moment", "eq", "2026-01-01 10:00:00\n"), "Cannot parse value='2026-01-01 10:00:00\\n'"),
        (("Moment", "eq", ""), "Cannot parse value=''"),
        (("Moment", "gt", 20), "Cannot parse value=20"),
        (("Moment", "in", ["2026", "tomorrow"]), "Cannot parse value='tomorrow'"),
        (
            ("Moment", "in", ["2026", "2026-01"]),
            "Cannot mix different time resolutions in query=['2026', '2026-01']",
        ),
        (
            ("Moment", "not in", ["2026-01-01 10", "2026-01-01"]),
            "Cannot mix different time resolutions in query=['2026-01-01 10', '2026-01-01']",
        ),
        (("Moment", "regex", "2026"), "Operator regex cannot be used on Moment, which is a time"),
        (("Number", "regex", "5"), "Operator regex cannot be used on Number, which is a number"),
        (("Number", "like", "5"), "Operator like cannot be used on Number, which is a number"),
        (("Number", "eq", "five"), "Cannot parse value='five' as a number for Number"),
        (("Number", "eq", "5.5"), "Cannot parse value='5.5' as a number for Number"),
        (("Number", "eq", ""), "Cannot parse value='' as a number for Number"),
        (("Number", "in", ["1", "x"]), "Cannot parse value=['1', 'x'] as a number for Number"),
        (("Real", "gt", "much"), "Cannot parse value='much' as a number for Real"),
        (("Real", "like", "2%"), "Operator like cannot be used on Real, which is a number"),
        (("Real", "regex", "2"), "Operator regex cannot be used on Real, which is a number"),
    ],
    ids=str,
)
async def test_a_condition_that_means_nothing_is_refused(
    databases: Databases, attempt: Any, condition: tuple[str, str, Any], message: str
) -> None:
    """Search and summary name what is wrong, in DiracX's words where it has some (rest-diracx.md, 6.3)."""
    conditions = [Condition(*condition)]
    async with databases.unit_of_work() as work:
        found = await attempt(find_page(work, Samples, Search(conditions=conditions)))
        assert (type(found), str(found)) == (InvalidQuery, message)
        counted = await attempt(summarise(work, Samples, ["Word"], conditions))
        assert (type(counted), str(counted)) == (InvalidQuery, message)


@pytest.mark.parametrize(
    "pattern", ["[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"\\d{4}", "(ab){2,3}", "a{1,}"]
)
async def test_patterns_that_repeat_are_taken(databases: Databases, pattern: str) -> None:
    """What people look for is small enough."""
    async with databases.unit_of_work() as work:
        everything = await find_page(work, Samples, Search())
        found = await find_page(work, Samples, Search(conditions=[Condition("Word", "regex", pattern)]))
    assert found.total == sum(bool(re.search(pattern, row["Word"] or "")) for row in everything.rows)


async def test_an_unknown_column_is_refused_wherever_it_is_named(databases: Databases) -> None:
    """Columns asked for, grouped by and sorted by must be there."""
    async with databases.unit_of_work() as work:
        for search, message in [
            (Search(columns=["Nope", "Id"]), "Unrecognised parameters requested {'Nope'}"),
            (Search(sort=[Sort("Id"), Sort("Nope")]), "Cannot sort by Nope: unknown column"),
        ]:
            with pytest.raises(InvalidQuery) as refused:
                await find_page(work, Samples, search)
            assert str(refused.value) == message
        with pytest.raises(InvalidQuery) as refused:
            await summarise(work, Samples, ["Nope"], [])
        assert str(refused.value) == "Unrecognised parameters requested {'Nope'}"


@pytest.mark.parametrize("column", ["Number", "Moment", "Word"])
@pytest.mark.parametrize("operator", ["ilike", "", "eq; DROP TABLE Samples"])
async def test_an_unknown_operator_is_refused(
    databases: Databases, attempt: Any, column: str, operator: str
) -> None:
    """Only the nine operators exist, on any column."""
    found = await attempt(find(databases, [sample(1)], Condition(column, operator, "2026")))
    assert isinstance(found, InvalidQuery)


@pytest.mark.parametrize(
    ("conditions", "search"),
    [
        ([Condition("Number", "eq", 2**63)], {}),
        ([Condition("Number", "in", [1, -(2**70)])], {}),
        ([Condition("Word", "eq", "\udcff")], {}),
        ([], {"page": 10**19}),
    ],
    ids=["number of 64 bits", "number in a list", "bytes that are no text", "page of 64 bits"],
)
async def test_what_the_driver_cannot_carry_is_not_found(
    databases: Databases, attempt: Any, conditions: list[Condition], search: dict[str, Any]
) -> None:
    """A value beyond what SQLite can hold meets no row, or is refused as an InvalidQuery."""
    found = await attempt(find(databases, [sample(1, Word="a", Number=1)], *conditions, **search))
    assert isinstance(found, InvalidQuery | Page)
    assert isinstance(found, InvalidQuery) or found.rows == []


@pytest.mark.parametrize(
    "search",
    [
        Search(conditions=[Condition("Moment", "in", ["2026-01-01"] * 1001)]),
        Search(conditions=[Condition("Number", "gt", 0)] * 1001),
        Search(sort=[Sort("Word")] * 2001),
    ],
    ids=["dates", "conditions", "sort keys"],
)
async def test_a_search_of_any_length_is_answered_or_refused(
    databases: Databases, attempt: Any, search: Search
) -> None:
    """What the caller wrote too long is the caller's fault, and trying again later will not help."""
    async with databases.unit_of_work() as work:
        found = await attempt(find_page(work, Samples, search))
    assert found == Page() or isinstance(found, InvalidQuery)


# What is written into a search stays a value

SMUGGLED = [
    "'; DROP TABLE Samples; --",
    '" OR "1" = "1',
    "' OR '1' = '1",
    "x' UNION SELECT 1, 2, 3, 4, 5, 6 --",
    "%' OR Id > 0 --",
    "a\\' OR 1=1 --",
    "?",
    ":Word_1",
    "%(Word_1)s",
    "%s",
    "[Word]",
    "NULL",
]
TEXT_OPERATORS = ["eq", "neq", "gt", "lt", "like", "not like"]


@pytest.mark.parametrize("text", SMUGGLED)
async def test_sql_in_a_value_is_a_value(databases: Databases, text: str) -> None:
    """It finds the row that holds this very text and no other, and every operator takes it."""
    rows = [sample(1, Word=text), sample(2, Word="harmless")]
    async with databases.rehearsal() as work:
        await fill(work, rows)
        for operator, value in [("eq", text), ("in", [text]), ("regex", re.escape(text))]:
            search = Search(conditions=[Condition("Word", operator, value)])
            assert ids(await find_page(work, Samples, search)) == [1]
        for operator in TEXT_OPERATORS:
            condition = Condition("Word", operator, text)
            found = await find_page(work, Samples, Search(conditions=[condition]))
            assert ids(found) == [row["Id"] for row in rows if holds(row, condition)]
        assert await summarise(work, Samples, ["Word"], [Condition("Word", "eq", text)]) == [
            {"Word": text, "count": 1}
        ]
        assert (await find_page(work, Samples, Search())).total == 2


@pytest.mark.parametrize("name", [*SMUGGLED, "Id, Word", "Id; --", "Samples.Id", "1", "*", "", "metadata"])
async def test_sql_in_a_name_is_refused(
    databases: Databases, statements: list[tuple[str, Any]], name: str
) -> None:
    """What is no column is refused before anything is sent to the database."""
    async with databases.unit_of_work() as work:
        for search in [
            Search(columns=[name]),
            Search(sort=[Sort(name)]),
            Search(conditions=[Condition(name, "eq", "a")]),
        ]:
            with pytest.raises(InvalidQuery):
                await find_page(work, Samples, search)
        with pytest.raises(InvalidQuery):
            await summarise(work, Samples, [name], [])
    assert statements == []


@pytest.mark.parametrize(
    "condition",
    [
        *[Condition("Word", operator, "7654321") for operator in [*TEXT_OPERATORS, "regex"]],
        *[Condition(name, operator, 7654321) for name in ("Number", "Real") for operator in ("eq", "gt")],
        *[Condition(name, "in", ["7654321", "7654322"]) for name in ("Word", "Number", "Real")],
        *[Condition("Moment", operator, "7654-03-21") for operator in ("eq", "neq", "gt", "lt")],
        Condition("Moment", "not in", ["7654-03-21", "7654-03-22"]),
    ],
    ids=lambda condition: f"{condition.column} {condition.operator}",
)
async def test_every_value_is_a_bound_parameter(
    databases: Databases, statements: list[tuple[str, Any]], condition: Condition
) -> None:
    """Neither values nor the numbers of a page are written into a statement."""
    async with databases.unit_of_work() as work:
        await find_page(work, Samples, Search(conditions=[condition], page=8888, per_page=9999))
        await summarise(work, Samples, ["Word"], [condition])
    selects = [(text, bound) for text, bound in statements if text.startswith("SELECT")]
    assert len(selects) == 3
    for text, bound in selects:
        assert not re.search(r"765|888|999|\d{3}", text)
        assert any("765" in str(value) for value in bound)
    assert 9999 in selects[0][1]
    assert 8887 * 9999 in selects[0][1]
