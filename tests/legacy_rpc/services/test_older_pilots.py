"""Pilots in the form of clients before DIRAC 9: what they write, and what they read."""

from __future__ import annotations

from typing import Any

import pytest

from legacy_rpc.messages import Call, Failure, Identity, Reply
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.older_pilots import DROPPED
from shared_db.cfg import parse_cfg
from shared_db.registry import Registry
from shared_db.rules.pilot_monitor import COLUMNS
from shared_db.rules.pilots import PILOT_INFO

REGISTRY = Registry.from_cfg(
    parse_cfg("""
Registry
{
  Groups
  {
    lab_user
    {
      VO = lab
    }
    lab_pilot
    {
      VO = lab
    }
    far_user
    {
      VO = far
    }
    odd
    {
    }
  }
  VO
  {
    lab
    {
      DefaultGroup = lab_user
    }
  }
}
""")
)
MANAGER = "WorkloadManagement/PilotManager"
TABLE = all_services()
NOBODY = {"PilotID": [0]}


def translated(method: str, arguments: list[Any], version: str = "v8.0.86") -> tuple[Any, Any]:
    """The arguments in the newest form, and what puts a value into the client's."""
    call = Call(MANAGER, method, arguments, Identity("alice", "lab_user"), "test", client_version=version)
    newest, restore = TABLE.translated(call, REGISTRY)
    return newest.arguments, lambda value: restore(Reply(value)).value


def info(vo: str) -> dict[str, Any]:
    """A pilot as 9 has it."""
    return dict.fromkeys(PILOT_INFO, "x") | {"VO": vo, "PilotID": 7}


@pytest.mark.parametrize("version", ["7.3.38", "v7r3p38", "8.0.86"])
def test_a_group_means_its_vo(version: str) -> None:
    """Who adds pilots names a group; one without a VO is refused."""
    arguments = [["ref"], "lab_pilot", "CREAM", {"ref": "s"}]
    assert translated("addPilotReferences", arguments, version)[0] == [["ref"], "lab", "CREAM", {"ref": "s"}]
    for group in ("odd", "nogroup"):
        with pytest.raises(Failure, match=f"Group '{group}' is not registered in this installation"):
            translated("addPilotReferences", [["ref"], group], version)


@pytest.mark.parametrize("version", ["9.0.28", "9.1.22", "", "somebody's"])
def test_newer_clients_name_a_vo(version: str) -> None:
    """Clients of 9, and such as are none of DIRAC's, are taken at their word."""
    assert translated("addPilotReferences", [["ref"], "lab"], version)[0] == [["ref"], "lab"]
    assert translated("getPilotInfo", ["ref"], version)[1]({"ref": info("lab")}) == {"ref": info("lab")}


@pytest.mark.parametrize(
    ("wire", "version", "setup", "release"),
    [
        ("https", "python-requests/2.32.3", "Demo", (8, 0)),
        ("https", "python-requests/2.32.3", "None", None),
        ("https", "curl/8.5.0", "", None),
        ("https", "9.1.22", "Demo", (9, 1)),
        ("dips", "somebody's", "Demo", None),
        ("dips", "7.3.38", "Demo", (7, 3)),
    ],
)
def test_who_is_older(wire: str, version: str, setup: str, release: tuple[int, int] | None) -> None:
    """Who names a setup over HTTPS is older than 9; otherwise the version tells, if there is one."""
    caller = Identity("alice", "lab_user")
    call = Call(MANAGER, "getPilotInfo", ["x"], caller, wire, client_version=version, setup=setup)
    assert call.release == release


@pytest.mark.parametrize("method", ["getPilotInfo", "getPilots"])
def test_pilots_belong_to_a_group(method: str) -> None:
    """Each pilot has the group of its VO, and in the columns that 9 dropped what 8.0 itself writes there."""
    older = translated(method, ["5"])[1]({"ref": info("lab") | {"Jobs": [1]}, "far": info("nowhere")})
    assert list(older["ref"]) == [
        *("PilotJobReference", "OwnerDN", "OwnerGroup", "GridType", "Broker", "Status", "DestinationSite"),
        *("BenchMark", "ParentID", "OutputReady", "AccountingSent", "SubmissionTime", "PilotID"),
        *("LastUpdateTime", "TaskQueueID", "GridSite", "PilotStamp", "Queue", "Jobs"),
    ]
    assert DROPPED.items() <= older["ref"].items()
    assert (older["ref"]["OwnerGroup"], older["far"]["OwnerGroup"]) == ("lab_user", "Unknown")
    assert "Jobs" not in older["far"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({"Status": "Done"}, {"Status": "Done"}),
        ({"OwnerGroup": "lab_pilot"}, {"VO": ["lab"]}),
        ({"OwnerGroup": ["lab_pilot", "far_user", "nogroup"]}, {"VO": ["", "far", "lab"]}),
        ({"OwnerGroup": "lab_user", "VO": ["far", "lab"]}, {"VO": ["lab"]}),
        ({"OwnerGroup": "lab_user", "VO": "far"}, NOBODY),
        ({"OwnerDN": "Unknown", "Broker": ["x", "Unknown"], "TaskQueueID": "0"}, {}),
        ({"OwnerDN": "/CN=alice"}, NOBODY),
        ({"TaskQueueID": [5, 6], "PilotID": 3}, NOBODY),
        ({"Owner": "alice"}, NOBODY),
    ],
)
def test_conditions(asked: dict[str, Any], meant: dict[str, Any]) -> None:
    """A condition on the group is one on its VO; one on what is dropped holds for all pilots or for none."""
    for method, before in (
        ("selectPilots", []),
        ("countPilots", []),
        ("getCurrentPilotCounters", []),
        ("getPilotStatistics", ["Status"]),
        ("getCounters", ["PilotAgents", ["Status"]]),
    ):
        assert translated(method, [*before, asked])[0] == [*before, meant], method
    for method in ("getPilotMonitorWeb", "getPilotSummaryWeb"):
        assert translated(method, [asked, [], 0, 5])[0] == [meant, [], 0, 5], method
    assert translated("countPilots", [asked, "older", "newer"])[0] == [meant, "older", "newer"]


def test_a_page() -> None:
    """The monitor shows DN, group, broker, parent and task queue in place of the VO."""
    _, restore = translated("getPilotMonitorWeb", [{}, [], 0, 1])
    record = [{"VO": "lab", "PilotID": 7, "GridSite": None}.get(name, name) for name in COLUMNS]
    older = restore({"TotalRecords": 1, "ParameterNames": list(COLUMNS), "Records": [record]})
    assert older["ParameterNames"] == [
        *("PilotJobReference", "OwnerDN", "OwnerGroup", "GridType", "Broker", "Status", "DestinationSite"),
        *("BenchMark", "ParentID", "SubmissionTime", "PilotID", "LastUpdateTime", "CurrentJobID"),
        *("TaskQueueID", "GridSite"),
    ]
    shown = dict(zip(older["ParameterNames"], older["Records"][0], strict=True))
    assert shown | {"OwnerDN": "Unknown", "OwnerGroup": "lab_user", "TaskQueueID": 0, "PilotID": 7} == shown
    assert shown["GridSite"] is None
    assert restore({"TotalRecords": 0}) == {"TotalRecords": 0}


def test_selectors() -> None:
    """The selectors are of groups, and of nobody's DNs."""
    _, restore = translated("getPilotMonitorSelectors", [])
    found = {name: [name] for name in ("GridType", "Status", "DestinationSite", "GridSite")}
    older = restore({"VO": ["far", "lab"], **found})
    assert older == {
        "OwnerDN": ["Unknown"],
        "Owner": [],
        "OwnerGroup": ["far_user", "lab_user"],
        "Broker": ["Unknown"],
        **found,
    }
    assert list(older) == [
        *("OwnerDN", "Owner", "OwnerGroup", "GridType", "Broker", "Status", "DestinationSite", "GridSite"),
    ]


def test_grouped_summaries() -> None:
    """Two arguments instead of one, of which the first was never looked at; groups are VOs."""
    arguments, restore = translated("getGroupedPilotSummary", [{"Foo": 1}, ["GridSite", "OwnerGroup"]])
    assert arguments == [["GridSite", "VO"]]
    table = {"ParameterNames": ["Site", "VO", "Status"], "Records": [["s", "lab", "Idle"]]}
    assert restore(table)["ParameterNames"] == ["Site", "OwnerGroup", "Status"]
    method = TABLE.method(MANAGER, "getGroupedPilotSummary")
    assert method is not None
    method.check([{}, []], (8, 0))
    method.check([[]], (9, 0))
    with pytest.raises(
        Failure, match=r"export_getGroupedPilotSummary\(\) takes 3 positional arguments but 5"
    ):
        method.check([{}, [], 0, 25], (8, 0))


def test_statistics_by_what_is_dropped() -> None:
    """By group they are those of its VO; of what all pilots have alike there is one number."""
    arguments, restore = translated("getPilotStatistics", ["OwnerGroup", {"OwnerGroup": "lab_pilot"}])
    assert arguments == ["VO", {"VO": ["lab"]}]
    assert restore({"lab": 2, "nowhere": 3, "far": 4, "": 1}) == {"far_user": 4, "lab_user": 2, "Unknown": 4}
    arguments, restore = translated("getPilotStatistics", ["OwnerDN", {}])
    assert arguments == ["VO", {}]
    assert restore({"lab": 2, "far": 4}) == {"Unknown": 6}
    assert translated("getPilotStatistics", ["Status", {}])[1]({"Done": 2}) == {"Done": 2}


def test_counters_by_what_is_dropped() -> None:
    """They are added up where groups or what all pilots have alike takes the place of the VO."""
    keys = ["Status", "OwnerGroup", "Broker"]
    arguments, restore = translated("getCounters", ["PilotAgents", keys, {}, "2026-01-01"])
    assert arguments == ["PilotAgents", ["Status", "VO"], {}, "2026-01-01"]
    counted = [({"Status": "Done", "VO": vo}, 1) for vo in ("a", "b", "lab")]
    assert restore(counted) == [
        ({"Status": "Done", "OwnerGroup": "lab_user", "Broker": "Unknown"}, 1),
        ({"Status": "Done", "OwnerGroup": "Unknown", "Broker": "Unknown"}, 2),
    ]
    arguments, restore = translated("getCounters", ["PilotAgents", ["Status", 5], {}])
    assert arguments == ["PilotAgents", ["Status", 5], {}]
    assert restore(counted) == counted


@pytest.mark.parametrize(
    ("sort_list", "meant"),
    [
        ([["OwnerGroup", "DESC"]], [["VO", "DESC"]]),
        ([["OwnerDN", "ASC"]], []),
        ([["Status", "ASC"]], [["Status", "ASC"]]),
        ([], []),
    ],
)
def test_how_a_page_is_sorted(sort_list: list[Any], meant: list[Any]) -> None:
    """A page is sorted by group as by VO, and by what all pilots have alike not at all."""
    assert translated("getPilotMonitorWeb", [{}, sort_list, 0, 5])[0] == [{}, meant, 0, 5]


def test_outputs_and_clearing() -> None:
    """An output has an owner in place of the VO; who clears pilots is told nothing."""
    _, restore = translated("getPilotOutput", ["ref"])
    older = restore({"StdOut": "o", "StdErr": "e", "VO": "lab", "FileList": []})
    assert older == {
        "StdOut": "o",
        "StdErr": "e",
        "OwnerDN": "Unknown",
        "OwnerGroup": "lab_user",
        "FileList": [],
    }
    assert translated("clearPilots", [30, 7])[1]([1, 2]) is None
