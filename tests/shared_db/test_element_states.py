"""What ResourceStatusSystem keeps, changed from here, on every engine."""

from __future__ import annotations

from shared_db.connection import Databases
from shared_db.queries.element_states import delete_states, put_state
from shared_db.queries.resource_status import all_states
from shared_db.rules.element_states import key_of
from shared_db.schema.resource_status_db import ResourceStatus

SE = {"Name": "SE", "StatusType": "ReadAccess", "Status": "Active", "ElementType": "StorageElement"}


async def test_states_are_put_changed_and_deleted(databases: Databases) -> None:
    """One row for each element, use and VO; a changed status has another effective date, no other change."""
    async with databases.unit_of_work(write=True) as work:
        await put_state(work, ResourceStatus, SE, change=False)
        await put_state(work, ResourceStatus, SE | {"VO": "lab"}, change=True)
        await put_state(work, ResourceStatus, SE | {"Status": "Banned"}, change=False)
    async with databases.unit_of_work() as work:
        first = await all_states(work, "ResourceStatus")
    assert [(row["VO"], row["Status"], row["TokenOwner"]) for row in first] == [
        ("all", "Active", "rs_svc"),
        ("lab", "Active", "rs_svc"),
    ]
    async with databases.unit_of_work(write=True) as work:
        await put_state(work, ResourceStatus, SE | {"Status": "Banned", "Reason": "down"}, change=True)
        assert await delete_states(work, ResourceStatus, [key_of(first[1])]) == 1
    async with databases.unit_of_work() as work:
        (row,) = await all_states(work, "ResourceStatus")
    assert (row["VO"], row["Status"], row["Reason"]) == ("all", "Banned", "down")
    assert row["DateEffective"] >= first[0]["DateEffective"]
