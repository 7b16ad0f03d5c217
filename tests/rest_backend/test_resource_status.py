"""States of sites and resources as DiracX shows them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB, ResourceStatus, SiteStatus

MARCH = datetime(2024, 3, 1, 12)  # noqa: DTZ001 - as the column has it
FINE = {"allowed": True, "warnings": None}


def banned(reason: str) -> dict[str, Any]:
    return {"allowed": False, "reason": reason}


def state(name: str, status: str, reason: str = "because", **others: Any) -> dict[str, Any]:
    return {"Name": name, "Status": status, "Reason": reason, "DateEffective": MARCH, **others}


async def keep(grid: Any, table: Any, *rows: dict[str, Any]) -> None:
    async with grid.databases.unit_of_work(write=True) as work:
        for row in rows:
            await work.change(RESOURCE_STATUS_DB, table.insert(), row)


async def rss(grid: Any, what: str, **given: Any) -> Any:
    return await grid.http("GET", f"/api/rss/{what}", **{"caller": "alice", **given})


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("Active", FINE),
        ("Degraded", {"allowed": True, "warnings": "because"}),
        ("Banned", banned("because")),
        ("Probing", banned("because")),
        ("Error", banned("because")),
        ("Unknown", banned("because")),
        ("Odd", banned("Unknown status: Odd")),
    ],
)
async def test_what_a_status_means(grid, status, shown) -> None:
    await keep(grid, SiteStatus, state("DEMO.Geneva.ch", status))
    assert (await rss(grid, "site")).body == {"DEMO.Geneva.ch": {"all": shown}}


async def test_the_callers_vo_goes_before_all(grid) -> None:
    await keep(
        grid,
        SiteStatus,
        state("A", "Active", VO="zebra"),
        state("A", "Banned", "for all", VO="all"),
        state("B", "Active", VO="all"),
        state("B", "Banned", "for demo", VO="demo"),
    )
    assert (await rss(grid, "site")).body == {
        "A": {"all": banned("for all")},
        "B": {"all": banned("for demo")},
    }
    assert (await rss(grid, "site", caller="olga")).body == {
        "A": {"all": banned("for all")},
        "B": {"all": FINE},
    }


async def test_resources_by_kind(grid) -> None:
    await keep(
        grid,
        ResourceStatus,
        state("ce1", "Active", ElementType="ComputingElement"),
        state("ce2", "Active", ElementType="ComputeElement"),
        state("fts1", "Banned", ElementType="FTS"),
        *(
            state("SE1", status, ElementType="StorageElement", StatusType=f"{use}Access")
            for use, status in (
                ("Read", "Active"),
                ("Write", "Banned"),
                ("Check", "Degraded"),
                ("Remove", "Error"),
            )
        ),
        state("SE2", "Active", ElementType="StorageElement", StatusType="ReadAccess"),
    )
    assert (await rss(grid, "compute")).body == {"ce1": {"all": FINE}, "ce2": {"all": FINE}}
    assert (await rss(grid, "fts")).body == {"fts1": {"all": banned("because")}}
    assert (await rss(grid, "storage")).body == {
        "SE1": {
            "read": FINE,
            "write": banned("because"),
            "check": {"allowed": True, "warnings": "because"},
            "remove": banned("because"),
        }
    }


async def test_a_client_gets_it_once(grid) -> None:
    said = await rss(grid, "site")
    assert (said.status, said.body, said.headers["ETag"]) == (200, {}, "empty-0-demo")
    await keep(
        grid, SiteStatus, state("A", "Active"), state("B", "Active", DateEffective=MARCH + timedelta(hours=1))
    )
    said = await rss(grid, "site")
    assert said.headers["ETag"] == "2024-03-01T13:00:00+00:00-2-demo"
    assert said.headers["Last-Modified"] == "Fri, 01 Mar 2024 13:00:00 GMT"
    assert "Authorization" in said.headers["Vary"]
    again = await rss(grid, "site", headers={"If-None-Match": said.headers["ETag"]})
    assert (again.status, again.body) == (304, None)
    other = await rss(grid, "site", caller="olga", headers={"If-None-Match": said.headers["ETag"]})
    assert other.status == 200


async def test_it_needs_a_token(grid) -> None:
    assert (await rss(grid, "site", caller=None)).status == 401
