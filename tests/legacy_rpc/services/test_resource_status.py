"""ResourceStatus/ResourceStatus: the answers are those of DIRAC 9.1.22, asked the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine

from legacy_rpc.messages import Call, Failure, Identity
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import Common, NativeSide
from shared_db.administration import initialise
from shared_db.connection import Databases, open_databases
from shared_db.queries.site_mask import mask_sites, site_mask
from shared_db.registry import RegistryFile

SERVICE = "ResourceStatus/ResourceStatus"
NOW = datetime(2026, 11, 22, 11, 42, 34)  # noqa: DTZ001 - DIRAC's are naive
NEVER = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001
ALICE = Identity("alice", "lab_admin", vo="lab", properties=("SiteManager",))
ALL_COLUMNS = [
    "Name",
    "StatusType",
    "Status",
    "Reason",
    "DateEffective",
    "TokenExpiration",
    "ElementType",
    "LastCheckTime",
    "TokenOwner",
    "VO",
]


class Side:
    """The native handlers over a database of their own."""

    def __init__(self, databases: Databases, registry: RegistryFile) -> None:
        self.databases = databases
        self.native = NativeSide(all_services(), Common(databases, registry, lambda service: service))

    async def __call__(self, method: str, *arguments: Any) -> dict[str, Any]:
        try:
            reply = await self.native.answer(Call(SERVICE, method, arguments, ALICE, "test"))
        except Failure as failure:
            return failure.as_result()
        return reply.as_result()


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    """A side with nothing said of anything."""
    (tmp_path / "registry.cfg").write_text("Registry\n{\n}\n")
    registry = RegistryFile(tmp_path / "registry.cfg")
    registry.load()
    databases = open_databases(f"sqlite:///{tmp_path / 'wherry.db'}", create=True)
    await initialise(databases)
    with time_machine.travel(f"{NOW}+00:00", tick=False):
        yield Side(databases, registry)
    await databases.dispose()


def site(name: str, status: str, reason: str, owner: str = "rs_svc") -> list[Any]:
    """A row as it is told."""
    return [name, "all", status, reason, NOW, NEVER, "Site", NOW, owner, "all"]


A = {"Name": "LAB.A.org", "StatusType": "all", "VO": "all", "Status": "Active", "ElementType": "Site"}
B = {"Name": "LAB.B.org", "StatusType": "all", "Status": "Banned", "ElementType": "Site", "Reason": "bad"}


async def test_states_are_told_as_dirac_tells_them(side: Side) -> None:
    """Rows and columns, whole and chosen, ordered and limited."""
    assert await side("select", "SiteStatus", {"Name": None}) == {
        "OK": True,
        "Value": [],
        "Columns": ALL_COLUMNS,
    }
    assert await side("addOrModify", "SiteStatus", A | {"Reason": "r", "TokenOwner": "alice"}) == {
        "OK": True,
        "Value": None,
    }
    await side("addOrModify", "SiteStatus", B)
    await side("addOrModify", "SiteStatus", B | {"Status": "Active", "Reason": "bad2"})
    rows = [site("LAB.A.org", "Active", "r", "alice"), site("LAB.B.org", "Active", "bad2")]
    assert (await side("select", "SiteStatus", {}))["Value"] == rows
    assert (await side("select", "SiteStatus", {"Name": "LAB.A.org"}))["Value"] == rows[:1]
    names = {"Name": ["LAB.A.org", "LAB.B.org"], "Meta": {"columns": ["Name", "Status"]}}
    assert await side("select", "SiteStatus", names) == {
        "OK": True,
        "Value": [["LAB.A.org", "Active"], ["LAB.B.org", "Active"]],
        "Columns": ["name", "status"],
    }
    last = {"Meta": {"columns": ["Name"], "order": ["Name", "desc"], "limit": 1}}
    assert (await side("select", "SiteStatus", last))["Value"] == [["LAB.B.org"]]
    kinds = {"Meta": {"columns": ["Status"], "distinct": True}}
    assert (await side("select", "SiteStatus", kinds))["Value"] == [["Active"]]
    newer = {"Status": "Active", "Meta": {"newer": ["DateEffective", "2020-01-01 00:00:00"]}}
    assert (await side("select", "SiteStatus", newer))["Value"] == rows
    older = {"Meta": {"older": ["DateEffective", "2020-01-01 00:00:00"]}}
    assert (await side("select", "SiteStatus", older))["Value"] == []


async def test_what_is_said_first_stays_unless_it_is_modified(side: Side) -> None:
    """insert and addIfNotThere leave a row alone that is there; delete counts."""
    element = {"Name": "SE", "StatusType": "ReadAccess", "Status": "Active", "ElementType": "StorageElement"}
    for method in ("insert", "insert", "addIfNotThere"):
        answer = await side(method, "ResourceStatus", element | {"Reason": method})
        assert answer == {"OK": True, "Value": None}
    shown = {"ElementType": "StorageElement", "Meta": {"columns": ["Name", "StatusType", "Reason"]}}
    assert (await side("select", "ResourceStatus", shown))["Value"] == [["SE", "ReadAccess", "insert"]]
    assert await side("delete", "ResourceStatus", {"Name": "SE"}) == {"OK": True, "Value": 1}
    assert await side("delete", "ResourceStatus", {"Name": "SE"}) == {"OK": True, "Value": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SiteStatus", {"Nope": 1}), "type object 'SiteStatus' has no attribute 'nope'"),
        (("SiteStatus", {"Meta": {"columns": ["Nope"]}}), "type object 'SiteStatus' has no attribute 'nope'"),
        (("SiteStatus", {"Meta": {"limit": "x"}}), "limit is no number: 'x'"),
        (("SiteStatus", {"Meta": {"newer": ["DateEffective", "soon"]}}), "no time can be read: 'soon'"),
        (("SiteHistory", {}), "There is no SiteHistory here"),
    ],
)
async def test_what_cannot_be_answered_is_an_error(
    side: Side, arguments: tuple[Any, ...], message: str
) -> None:
    """Unknown columns are refused in Python's words, as by DIRAC; a table that is not kept, with the mend."""
    answer = await side("select", *arguments)
    assert not answer["OK"]
    assert message in answer["Message"]


async def test_a_name_is_needed(side: Side) -> None:
    """A state without a name is refused, and one longer than its column, as by MySQL."""
    assert not (await side("addOrModify", "SiteStatus", {"Status": "Active"}))["OK"]
    answer = await side("insert", "SiteStatus", {"Name": "x" * 100})
    assert "Data too long for column 'Name'" in answer["Message"]


async def test_banning_a_masked_site_bans_it_in_the_mask(side: Side) -> None:
    """The mask goes before the states, so a state that is set changes the mask where it names the site."""
    async with side.databases.unit_of_work(write=True) as work:
        await mask_sites(work, {"LAB.B.org": "Active"}, "bob")
    told = {"Meta": {"columns": ["Name", "Status"]}}
    assert (await side("select", "SiteStatus", told))["Value"] == [["LAB.B.org", "Active"]]
    await side("addOrModify", "SiteStatus", B)
    await side("addOrModify", "SiteStatus", A | {"Reason": "r"})
    async with side.databases.unit_of_work() as work:
        assert {name: each.status for name, each in (await site_mask(work)).items()} == {
            "LAB.B.org": "Banned"
        }
