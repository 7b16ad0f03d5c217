"""Jobs: reading their attributes and setting them one by one."""

from __future__ import annotations

from typing import Any

import pytest
from job_hands import Hands, at, column

from shared_db.connection import Databases
from shared_db.errors import InvalidValue
from shared_db.queries.jobs import job_attributes, locked_jobs, set_job_attributes
from shared_db.rules.metadata import check_settable, divided
from shared_db.rules.refusals import Refusal
from shared_db.schema.job_db import Jobs


@pytest.fixture
def hands(databases: Databases) -> Hands:
    """Hands in this test's database."""
    return Hands(databases)


@pytest.mark.parametrize("read", [job_attributes, locked_jobs])
async def test_attributes_of_the_jobs_that_exist(hands: Hands, read: Any) -> None:
    """The id and the wanted columns, by ascending id; unknown jobs are left out."""
    await hands.add("Waiting", "Running", "Done", Owner="alice")
    rows = await hands.run(read, [3, 99, 1, 3], ["Status", "Owner"])
    assert [row._asdict() for row in rows] == [
        {"JobID": 1, "Status": "Waiting", "Owner": "alice"},
        {"JobID": 3, "Status": "Done", "Owner": "alice"},
    ]
    assert await hands.run(read, [], ["Status"]) == []


@pytest.mark.parametrize("read", [job_attributes, locked_jobs])
async def test_attributes_of_more_jobs_than_fit_into_a_statement(hands: Hands, read: Any) -> None:
    """They come by ascending id, however many are asked for."""
    await hands.add("Waiting", "Running")
    rows = await hands.run(read, [2, *range(100, 10_200), 1], [])
    assert [row.JobID for row in rows] == [1, 2]


async def test_setting_attributes(hands: Hands, contents: Any) -> None:
    """Each job gets its own; those that change are counted, and nothing else changes."""
    await hands.add(*["Running"] * 5, Site="A", MinorStatus="m")
    before = await contents()
    values: dict[int, dict[str, Any]] = {
        1: {"Site": "B"},
        2: {"Site": "A"},
        3: {"MinorStatus": "n", "HeartBeatTime": column(at(1))},
        4: {"Site": "A", "MinorStatus": "o"},
        99: {"Site": "B"},
    }
    assert await hands.run(set_job_attributes, values) == 3
    assert await hands.run(set_job_attributes, values) == 0
    c = Jobs.c
    assert await hands.read(c.JobID, c.Site, c.MinorStatus, c.HeartBeatTime) == [
        (1, "B", "m", None),
        (2, "A", "m", None),
        (3, "A", "n", column(at(1))),
        (4, "A", "o", None),
        (5, "A", "m", None),
    ]
    after = await contents()
    del before["Jobs"], after["Jobs"]
    assert after == before


@pytest.mark.parametrize(
    ("status", "force", "changed", "becomes"),
    [
        ("Done", False, 1, "Done"),
        ("Waiting", False, 0, "Running"),
        ("Waiting", True, 1, "Waiting"),
        ("Running", False, 0, "Running"),
        ("Bogus", True, 1, "Bogus"),
    ],
)
async def test_a_status_set_as_an_attribute(
    hands: Hands, status: str, force: bool, changed: int, becomes: str
) -> None:
    """The state machine is asked; times and history stay, in whatever status the job is then."""
    await hands.add("Running", logged=[(0, "Running")])
    before = await hands.job()
    assert await hands.run(set_job_attributes, {1: {"Status": status}}, force=force) == changed
    assert await hands.job() == {**before, "Status": becomes}
    assert len(await hands.records()) == 1


async def test_attributes_that_are_refused(hands: Hands, contents: Any) -> None:
    """A status that is none and a text that is too long; no other job of the call changes."""
    await hands.add("Running", "Running")
    before = await contents()
    with pytest.raises(Refusal, match="^getNextState: 'Bogus' is not a valid state$"):
        await hands.run(set_job_attributes, {1: {"Site": "B"}, 2: {"Status": "Bogus"}})
    with pytest.raises(InvalidValue) as caught:
        await hands.run(set_job_attributes, {1: {"Site": "B"}, 2: {"Site": "s" * 101}})
    assert (caught.value.column, caught.value.problem) == ("Site", "too long")
    assert await contents() == before


# Which may be set


def test_what_dirac_lets_be_set() -> None:
    """Seven attributes; others are refused in JobStateUpdate's words, existing or not."""
    for name in ("Status", "MinorStatus", "ApplicationStatus", "Site"):
        check_settable(name)
    for name in ("StartExecTime", "EndExecTime", "HeartBeatTime"):
        check_settable(name)
    for name in ("Owner", "Bogus", "LastUpdateTime", "site"):
        with pytest.raises(Refusal) as caught:
            check_settable(name)
        message = f"Job attribute '{name}' cannot be modified through JobStateUpdate"
        assert (caught.value.message, caught.value.errno) == (message, 0)


def test_metadata_of_diracx() -> None:
    """Site is an attribute, every free name a parameter, any other attribute is refused."""
    given = {"Site": "LAB.A.org", "HostName": "wn1", "Foo": {"a": [1]}}
    assert divided(given, Jobs.c.keys()) == ({"Site": "LAB.A.org"}, {"HostName": "wn1", "Foo": {"a": [1]}})
    assert divided({}, Jobs.c.keys()) == ({}, {})
    for name in ("Status", "JobID", "HeartBeatTime"):
        with pytest.raises(Refusal, match=f"^Job attribute {name} cannot be modified through this endpoint$"):
            divided({"Site": "a", name: "x"}, Jobs.c.keys())


async def test_the_number_of_statements_does_not_grow(
    hands: Hands, statements: list[tuple[str, Any]]
) -> None:
    """Ten jobs and a thousand cost the same number of statements, whatever they get."""
    costs = []
    for number in (10, 1000):
        ids = await hands.add(*["Running"] * number)
        statements.clear()
        values = {each: {"Site": f"S{each % 7}"} if each % 2 else {"MinorStatus": "m"} for each in ids}
        assert await hands.run(set_job_attributes, values) == number
        costs.append(len(statements))
    assert costs[0] == costs[1]
