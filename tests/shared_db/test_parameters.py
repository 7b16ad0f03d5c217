"""What is kept about jobs by name, and their input data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from job_hands import Hands

from shared_db.connection import Databases
from shared_db.errors import Foreign, InvalidValue
from shared_db.queries import parameters as queries
from shared_db.schema.job_db import AtticJobParameters, InputData, JobParameters, OptimizerParameters

TABLES = [
    (queries.set_job_parameters, queries.job_parameters, JobParameters),
    (queries.set_optimizer_parameters, queries.optimizer_parameters, OptimizerParameters),
]


@pytest.fixture
def hands(databases: Databases) -> Hands:
    """Hands in this test's database."""
    return Hands(databases)


@pytest.mark.parametrize(("set_", "get", "table"), TABLES, ids=["jobs", "optimizers"])
async def test_setting_and_getting(
    hands: Hands, set_: Callable[..., Any], get: Callable[..., Any], table: Any
) -> None:
    """New and different ones are counted and kept; others of the job, and of other jobs, stay."""
    await hands.add("Running", "Running", "Running")
    assert await hands.run(set_, {1: {"a": "1", "b": "2"}, 2: {"a": "1"}, 99: {"a": "1"}}) == 3
    assert await hands.run(set_, {1: {"b": "3", "a": "1", "c": ""}, 2: {}}) == 2
    assert await hands.run(set_, {1: {"b": "3", "a": "1", "c": ""}}) == 0
    assert await hands.run(set_, {}) == 0
    stored = {1: {"a": "1", "b": "3", "c": ""}, 2: {"a": "1"}}
    assert await hands.run(get, [2, 1, 3, 99]) == stored
    assert await hands.run(get, [1, 2], ["b", "zz"]) == {1: {"b": "3"}}
    assert await hands.run(get, [1], []) == {}
    rows = await hands.read(table.c.JobID, table.c.Name, table.c.Value)
    assert rows == [(1, "a", "1"), (1, "b", "3"), (1, "c", ""), (2, "a", "1")]


async def test_a_parameter_of_one_job_is_not_another_s(hands: Hands) -> None:
    """Jobs of one call that set different names keep what the others set."""
    await hands.add("Running", "Running")
    await hands.run(queries.set_job_parameters, {1: {"a": "1", "b": "1"}, 2: {"a": "2", "b": "2"}})
    await hands.run(queries.set_job_parameters, {1: {"a": "3"}, 2: {"b": "3"}})
    assert await hands.run(queries.job_parameters, [1, 2]) == {
        1: {"a": "3", "b": "1"},
        2: {"a": "2", "b": "3"},
    }


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [("n" * 101, "v", "Name"), ("n", "v" * 65_536, "Value"), ("n", "\u00e9" * 32_768, "Value")],
)
async def test_parameters_that_do_not_fit(
    hands: Hands, contents: Any, name: str, value: str, column: str
) -> None:
    """A name of over 100 characters, a value of over 65535 bytes; the other jobs of the call get none."""
    await hands.add("Running", "Running")
    before = await contents()
    with pytest.raises(InvalidValue) as caught:
        await hands.run(queries.set_job_parameters, {1: {"a": "1"}, 2: {name: value}})
    assert (caught.value.column, caught.value.problem) == (column, "too long")
    assert await contents() == before


async def test_long_values_that_fit(hands: Hands) -> None:
    """The last byte of a TEXT; an optimizer may keep more."""
    await hands.add("Running")
    await hands.run(queries.set_job_parameters, {1: {"n": "v" * 65_535}})
    await hands.run(queries.set_optimizer_parameters, {1: {"n": "v" * 200_000}})
    assert len((await hands.run(queries.job_parameters, [1]))[1]["n"]) == 65_535
    assert len((await hands.run(queries.optimizer_parameters, [1]))[1]["n"]) == 200_000


async def test_forgetting_an_optimizer_s_parameter(hands: Hands) -> None:
    """One name of some jobs; returns how many had it."""
    await hands.add("Checking", "Checking", "Checking")
    await hands.run(queries.set_optimizer_parameters, {1: {"a": "1", "b": "1"}, 2: {"b": "1"}, 3: {"a": "1"}})
    assert await hands.run(queries.remove_optimizer_parameters, [1, 2, 99], "a") == 1
    left = {1: {"b": "1"}, 2: {"b": "1"}, 3: {"a": "1"}}
    assert await hands.run(queries.optimizer_parameters, [1, 2, 3]) == left


async def test_the_attic(hands: Hands) -> None:
    """Parameters by the cycle in which they were kept."""
    await hands.add("Running", "Running")
    rows = [(1, "a", 0, "x"), (1, "a", 1, "y"), (1, "b", 1, "z"), (2, "a", 2, "w")]
    names = ("JobID", "Name", "RescheduleCycle", "Value")
    await hands.insert(AtticJobParameters, *[dict(zip(names, row, strict=True)) for row in rows])
    assert await hands.run(queries.attic_parameters, [1, 99]) == {1: {0: {"a": "x"}, 1: {"a": "y", "b": "z"}}}


async def test_keeping_parameters_in_the_attic(hands: Hands) -> None:
    """Each job's go under a cycle of its own; what was kept there goes, other cycles stay."""
    await hands.add("Running", "Running")
    keep = queries.set_attic_parameters
    assert await hands.run(keep, {1: {"a": "x", "b": "y"}, 2: {"a": "z"}}, {1: 0, 2: 3}) == 3
    assert await hands.run(keep, {1: {"a": "w"}}, {1: 1}) == 1
    assert await hands.run(keep, {1: {"a": "v"}}, {1: 0}) == 1
    assert await hands.run(queries.attic_parameters, [1, 2]) == {
        1: {0: {"a": "v"}, 1: {"a": "w"}},
        2: {3: {"a": "z"}},
    }


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"names": ["a"]}, {1: {0: {"a": "x"}, 1: {"a": "w"}}, 2: {3: {"a": "z"}}}),
        ({"names": []}, {}),
        ({"cycle": 0}, {1: {0: {"a": "x", "b": "y"}}}),
        ({"names": ["b", "none"], "cycle": 0}, {1: {0: {"b": "y"}}}),
        ({"cycle": 9}, {}),
    ],
)
async def test_choosing_from_the_attic(hands: Hands, chosen: Any, expected: Any) -> None:
    """Some names, one cycle, or both."""
    await hands.add("Running", "Running")
    keep = queries.set_attic_parameters
    await hands.run(keep, {1: {"a": "x", "b": "y"}, 2: {"a": "z"}}, {1: 0, 2: 3})
    await hands.run(keep, {1: {"a": "w"}}, {1: 1})
    assert await hands.run(queries.attic_parameters, [1, 2], **chosen) == expected


async def test_no_place_for_parameters(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DIRAC keeps them elsewhere, to ask for them or to set them names the mend."""
    await hands.add("Running")
    monkeypatch.setattr(
        "shared_db.connection.UnitOfWork.has", lambda _work, table: table is not JobParameters
    )
    for attempt in (
        hands.run(queries.set_job_parameters, {1: {"a": "b"}}),
        hands.run(queries.job_parameters, [1]),
    ):
        with pytest.raises(Foreign, match="--missing-tables"):
            await attempt


async def test_input_data(hands: Hands) -> None:
    """Files are replaced, named twice they are there once; jobs that are not there get none."""
    await hands.add("Received", "Received", "Received")
    assert (
        await hands.run(queries.set_input_data, {1: ["/lab/b", "LFN:/lab/a", "/lab/b"], 2: ["/lab/c"]}) == 3
    )
    assert await hands.run(queries.set_input_data, {2: ["/lab/d"], 99: ["/lab/e"]}) == 1
    assert await hands.run(queries.input_data, [1, 2, 3]) == {1: ["/lab/b", "LFN:/lab/a"], 2: ["/lab/d"]}
    assert await hands.run(queries.set_input_data, {1: []}) == 0
    c = InputData.c
    assert await hands.read(c.JobID, c.LFN, c.Status) == [(2, "/lab/d", "AprioriGood")]


async def test_the_number_of_statements_does_not_grow(
    hands: Hands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same number of statements, to set, to change and to get."""
    costs: list[list[int]] = []
    for number in (10, 1000):
        ids = await hands.add(*["Running"] * number)
        cost = []
        for action in (
            hands.run(queries.set_job_parameters, {each: {"a": f"{each}", "b": "1"} for each in ids}),
            hands.run(queries.set_job_parameters, {each: {"a": "2", f"c{each % 3}": "1"} for each in ids}),
            hands.run(queries.job_parameters, ids),
            hands.run(queries.set_input_data, {each: [f"/lab/{each}"] for each in ids}),
            hands.run(queries.set_input_data, {each: ["/lab/1", "/lab/2"] for each in ids}),
            hands.run(queries.input_data, ids),
            hands.run(queries.attic_parameters, ids),
        ):
            statements.clear()
            await action
            cost.append(len(statements))
        costs.append(cost)
    assert costs[0] == costs[1]
    assert await hands.run(queries.job_parameters, ids[:1]) == {
        ids[0]: {"a": "2", "b": "1", f"c{ids[0] % 3}": "1"}
    }
