"""Jobs that legacy callers select: which they mean, and how they are found and counted on every engine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from job_hands import Hands
from sqlalchemy import Boolean, DateTime, Enum, Integer

from shared_db.cfg import parse_cfg
from shared_db.connection import Databases
from shared_db.queries.job_selections import counts_by, distinct, selected_ids, selected_jobs
from shared_db.queries.site_mask import mask_sites, site_statuses
from shared_db.rules import job_attributes
from shared_db.rules.job_attributes import MOST_SPELLINGS, attributes_asked
from shared_db.rules.job_counts import counted_attributes, in_order
from shared_db.rules.job_selections import NO_VALUE, Comparison, range_of_time, selection, selectors
from shared_db.rules.refusals import Refusal, UnfitArgument
from shared_db.rules.site_pages import KnownSite, known_sites
from shared_db.schema.job_db import Jobs

NOON = datetime(2026, 11, 20, 12, 0, 0)  # noqa: DTZ001 - as the columns hold it

CFG = """
Resources
{
  Sites
  {
    LCG
    {
      LCG.A.ch
      {
        MoUTierLevel = 1
      }
      LCG.B.fr
      {
      }
    }
  }
}
"""


@pytest.fixture
async def hands(databases: Databases) -> Hands:
    """Jobs 1 to 6 of two owners."""
    hands = Hands(databases)
    moments = {"LastUpdateTime": NOON, "StartExecTime": None}
    await hands.add("Done", "Failed", Owner="alice", OwnerGroup="lab_user", VO="lab", Site="A", **moments)
    await hands.add(
        "Done", "Running", Owner="bob", OwnerGroup="other", VO="Unknown", Site="B", UserPriority=3, **moments
    )
    later = {"LastUpdateTime": datetime(2026, 11, 20, 12, 0, 1), "StartExecTime": NOON}  # noqa: DTZ001
    await hands.add("Running", "Waiting", Owner="bob", OwnerGroup="lab_user", VO="lab", Site="A", **later)
    return hands


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (None, [1, 2, 3, 4, 5, 6]),
        ({"Status": "Done"}, [1, 3]),
        ({"status": ["Done", "Waiting"], "`Owner`": "bob"}, [3, 6]),
        ({"JobID": ["2", 3, "4 and more", "x", 5.0, 1.5, 2**70]}, [2, 3, 4, 5]),
        ({"JobID": "6.0"}, [6]),
        ({"JobID": [None]}, []),
        ({"UserPriority": "3"}, [3, 4]),
        ({"StartExecTime": None}, [1, 2, 3, 4]),
        ({"StartExecTime": None, "Status": "Done"}, [1, 3]),
        ({"Site": None}, []),
        ({"LastUpdateTime": "2026-11-20 12:00:00"}, [1, 2, 3, 4]),
        ({"LastUpdateTime": ["2026-11-20 12:00:01", "abc"]}, [5, 6]),
        ({"LastUpdateTime": "2026-11-20 12:00:00.5"}, []),
        ({"Status": "\udcff"}, []),
        ({"Status": "a\0b"}, []),
    ],
)
async def test_conditions(hands: Hands, conditions: Any, found: list[int]) -> None:
    """Values are compared as MySQL does it; a list means any of them, None that there is no value."""
    assert await hands.run(selected_ids, selection(conditions)) == found


@pytest.mark.parametrize(
    ("newer", "older", "found"),
    [
        ("2026-11-20 12:00:00", None, [1, 2, 3, 4, 5, 6]),
        ("2026-11-20 12:00:00.000001", None, [5, 6]),
        ("2026-11-20 12:00:01", "", [5, 6]),
        (NOON, datetime(2026, 11, 20, 12, 0, 1), [1, 2, 3, 4]),  # noqa: DTZ001
        (None, "2026-11-20 12:00:00.5", [1, 2, 3, 4]),
        ("abc", None, [1, 2, 3, 4, 5, 6]),
        (5, "2026-11-20 12:00:01", [1, 2, 3, 4]),
        (None, "abc", []),
        ("0001-01-01", "9999-12-31", []),
    ],
)
async def test_ranges_of_time(hands: Hands, newer: Any, older: Any, found: list[int]) -> None:
    """The first moment is included, the last is not; what is no time is before every other."""
    assert await hands.run(selected_ids, selection({}, newer=newer, older=older)) == found


async def test_a_window(hands: Hands) -> None:
    """Jobs sorted by a column, either way, and by id; none without a value comes first."""
    for sort, start, most, found in (
        (None, 1, 3, [2, 3, 4]),
        (("Site", False), 0, 3, [1, 2, 5]),
        (("Site", True), 0, 3, [3, 4, 1]),
        (("StartExecTime", False), 3, 9, [4, 5, 6]),
        (("StartExecTime", True), 0, 3, [5, 6, 1]),
        (("OwnerGroup", True), 1, 2, [4, 1]),
    ):
        rows = await hands.run(selected_jobs, [], sort, start, most)
        assert [row.JobID for row in rows] == found, sort
    [row] = await hands.run(selected_jobs, selection({"JobID": 5}), None, 0, 10)
    assert (row.Owner, row.StartExecTime, row.VerifiedFlag) == ("bob", NOON, "False")


async def test_numbers(hands: Hands) -> None:
    """Counted by any columns, under conditions; distinct values likewise."""
    by_owner = await hands.run(counts_by, ["Owner", "Status"], selection({"Status": ["Done", "Running"]}))
    assert in_order(by_owner) == [
        (("alice", "Done"), 1),
        (("bob", "Done"), 1),
        (("bob", "Running"), 2),
    ]
    by_start = await hands.run(counts_by, ["StartExecTime"], [])
    assert in_order(by_start) == [((None,), 4), ((NOON,), 2)]
    assert sorted(await hands.run(distinct, "Site", selection({"Owner": "bob"}))) == ["A", "B"]
    assert await hands.run(counts_by, ["VO"], selection({"VO": "lab"})) == [(("lab",), 4)]
    assert await hands.run(counts_by, ["VO"], selection({"Status": "nope"})) == []


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"Nope": 1}, "Unknown column 'Nope' in 'WHERE'"),
        ({"Other.Status": 1}, "Unknown column 'Other.Status' in 'WHERE'"),
        ({"No pe": 1}, "( 1131 : Invalid condDict argument)"),
        ({5: 1}, "( 1131 : Invalid condDict argument)"),
        ({"Status": []}, "( 1131 : No values are given for Status)"),
        ({"Status": [["a"]]}, "( 1131 : Status is not compared with a list in a list)"),
        (["x"], "( 1131 : 'list' object has no attribute 'items')"),
    ],
)
def test_what_is_no_condition(conditions: Any, said: str) -> None:
    """It is refused with a number, and a text that tells what is wrong."""
    with pytest.raises(Refusal) as refusal:
        selection(conditions)
    assert refusal.value.errno == 1131
    assert said in refusal.value.message


def test_selectors() -> None:
    """A range of time and pilots are taken out of the conditions, unless they are empty."""
    read = selectors(
        {"FromDate": "a", "LastUpdate": "b", "ToDate": "c", "PilotJobReference": "ref", "Site": 1}
    )
    assert (read.newer, read.older, read.pilots) == ("a", "c", ("ref",))
    assert read.conditions == {"LastUpdate": "b", "Site": 1}
    assert selectors({"LastUpdate": "b"}).newer == "b"
    assert selectors({"PilotJobReference": ["a", "b"], "JobID": 3}).pilots == ()
    assert selectors({"FromDate": "", "PilotJobReference": ""}).conditions.keys() == {
        "FromDate",
        "PilotJobReference",
    }
    assert selectors(None).comparisons([3]) == [Comparison("JobID", "eq", 3)]
    with pytest.raises(UnfitArgument, match="'int' object is not iterable"):
        selectors({"PilotJobReference": 5})
    with pytest.raises(UnfitArgument, match="'str' object has no attribute 'get'"):
        selectors("x")


def test_an_attribute_in_thousands_of_spellings() -> None:
    """Each would be in the answer of every job."""
    bits = range(len("JobGroup"))
    spelled = [
        "".join(c.upper() if number >> bit & 1 else c for bit, c in zip(bits, "jobgroup", strict=True))
        for number in range(MOST_SPELLINGS + 1)
    ]
    assert len(attributes_asked(spelled[1:])) == len(counted_attributes(spelled[1:])) == MOST_SPELLINGS
    for asked in (attributes_asked, counted_attributes):
        with pytest.raises(Refusal, match="More than 100 attributes"):
            asked(spelled)


def test_attributes_are_those_of_the_table() -> None:
    """What the rules know of attributes is what the table says."""
    assert set(job_attributes.JOB_ATTRIBUTES) == set(Jobs.c.keys())
    for column in Jobs.columns:
        is_time, is_number = isinstance(column.type, DateTime), isinstance(column.type, Integer)
        is_flag = isinstance(column.type, Enum | Boolean) or column.name.endswith("Flag")
        assert (column.name in job_attributes.TIMES) is is_time
        assert (column.name in job_attributes.NUMBERS) is is_number
        assert (column.name in job_attributes.FLAGS) is is_flag
        assert (column.name in job_attributes.NULLABLE) is bool(column.nullable)
    assert selection({"HeartBeatTime": None})[0].operator == NO_VALUE
    assert range_of_time("EndExecTime") == []


async def test_known_sites(databases: Databases) -> None:
    """Sites of the configuration, and those that are masked, with their tiers."""
    cfg = parse_cfg(CFG)
    async with databases.unit_of_work(write=True) as work:
        await mask_sites(work, {"LCG.B.fr": "Banned", "LCG.C.de": "Active"}, "alice")
        statuses = await site_statuses(work, "lab")
    assert statuses == {"LCG.B.fr": "Banned", "LCG.C.de": "Active"}
    assert known_sites(cfg, {**statuses, "LCG.D.it": "Probing"}) == {
        "LCG.A.ch": KnownSite(1, "NoMask", configured=True),
        "LCG.B.fr": KnownSite(2, "Banned", configured=True),
        "LCG.C.de": KnownSite(2, "Active", configured=False),
        "LCG.D.it": KnownSite(2, "NoMask", configured=False),
    }
