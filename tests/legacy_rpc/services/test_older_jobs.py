"""Jobs as clients before DIRAC 9 ask for them and are told of them."""

from __future__ import annotations

from typing import Any

import pytest

from legacy_rpc.messages import Call, Identity
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.older_jobs import OLDER_ATTRIBUTES
from shared_db.cfg import parse_cfg
from shared_db.registry import Registry
from shared_db.rules.job_attributes import JOB_ATTRIBUTES, MOST_SPELLINGS
from shared_db.rules.job_pages import PAGE_COLUMNS

DN, OTHER = "/O=Lab/CN=alice", "/O=Lab/CN=bob"
REGISTRY = Registry.from_cfg(
    parse_cfg(
        f"""
DIRAC
{{
  Setup = Production
}}
Registry
{{
  Users
  {{
    alice
    {{
      DN = {DN}
    }}
    bob
    {{
      DN = {OTHER}
    }}
  }}
  Groups
  {{
    lab_user
    {{
      Users = alice, bob
    }}
  }}
}}
"""
    )
)
TABLE = all_services()
NO_JOB = {"JobID": [None]}


def call(method: str, arguments: list[Any], version: str = "v8.0.86") -> Call:
    return Call(
        "WorkloadManagement/JobMonitoring",
        method,
        arguments,
        Identity("alice", "lab_user"),
        "test",
        client_version=version,
    )


def asked(method: str, *arguments: Any, version: str = "v8.0.86") -> list[Any]:
    """The arguments of an older client as 9 has them."""
    newest, _ = TABLE.translated(call(method, list(arguments), version), REGISTRY)
    return list(newest.arguments)


def told(method: str, value: Any, *arguments: Any) -> Any:
    """The value of 9 as an older client gets it."""
    form = TABLE.method("WorkloadManagement/JobMonitoring", method).older_form((8, 0))  # type: ignore[union-attr]
    assert form is not None
    assert form.value is not None
    return form.value(value, call(method, list(arguments)), REGISTRY)


JOB = {name: f"my {name}" for name in JOB_ATTRIBUTES} | {"Owner": "alice"}


def test_all_attributes() -> None:
    """A job has those that 8.0 knows, in its order; what 9 has dropped is as a job starts with it."""
    [job] = told("getJobsSummary", {3: JOB}, [3]).values()
    assert tuple(job) == OLDER_ATTRIBUTES
    assert len(job) == 32
    assert "VO" not in job
    assert (job["OwnerDN"], job["DIRACSetup"], job["Status"]) == (DN, "Production", "my Status")
    assert (job["KilledFlag"], job["MasterJobID"], job["JobSplitType"]) == ("False", 0, "Single")
    assert told("getJobSummary", {}, 3) == {}
    assert told("getJobAttributes", JOB, 3) == job
    assert told("getJobsParameters", {}, [], [["JobID", "ASC"], 3]) == {}


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["Status"], ["Status"]),
        (["OwnerDN", "Owner", "Status"], ["Owner", "Status"]),
        (["ownerdn"], ["Owner"]),
        (["KilledFlag", "DIRACSetup"], ["JobID"]),
        (["OwnerDN", {}, ["Status"]], ["Owner", {}, ["Status"]]),
        ("Status, OwnerDN", ["Status", "Owner"]),
        ([], []),
        (None, None),
        (5, 5),
    ],
)
def test_attributes_that_are_named(names: Any, newest: Any) -> None:
    """What 9 has dropped is not asked for; the owner is, in place of the DN."""
    assert asked("getJobAttributes", 3, names) == [3, newest]


def test_far_too_many_names() -> None:
    """They are left as they are, of which 8.0's are no attributes: the call is refused."""
    names = ["OwnerDN", *(f"x{number}" for number in range(MOST_SPELLINGS))]
    assert asked("getJobAttributes", 3, names) == [3, names]
    assert asked("getCounters", names, {}) == [names, {}]


def test_values_of_named_attributes() -> None:
    """Each under the name that was asked for, sorted."""
    assert told("getJobsParameters", {3: {"JobID": 3, "Owner": "alice"}}, [3], ["OwnerDN", "KilledFlag"]) == {
        3: {"KilledFlag": "False", "OwnerDN": DN}
    }
    assert asked("getJobAttribute", 3, "OwnerDN") == [3, "Owner"]
    assert told("getJobAttribute", "nobody", 3, "OwnerDN") == "Unknown"
    assert told("getJobAttribute", None, 3, "OwnerDN") is None
    assert told("getJobAttribute", 3, 3, "MasterJobID") == 0
    assert told("getJobAttribute", "Done", 3, "Status") == "Done"


@pytest.mark.parametrize(
    ("conditions", "newest"),
    [
        ({"Status": "Done"}, {"Status": "Done"}),
        ({"OwnerDN": DN, "Site": "A"}, {"Site": "A", "Owner": ["alice"]}),
        ({"OwnerDN": [DN, OTHER, "/CN=x"]}, {"Owner": ["alice", "bob"]}),
        ({"OwnerDN": "/CN=x"}, NO_JOB),
        ({"OwnerDN": DN, "Owner": ["alice", "bob"]}, {"Owner": ["alice"]}),
        ({"OwnerDN": DN, "Owner": "bob"}, {"Owner": "bob", **NO_JOB}),
        ({"OwnerDN": DN, "Owner": [["alice"]]}, {"Owner": [["alice"]], **NO_JOB}),
        ({"DIRACSetup": "Production", "JobID": 3}, {"JobID": 3}),
        ({"DIRACSetup": "Test", "JobID": 3}, NO_JOB),
        ({"KilledFlag": ["True", "False"], "ApplicationNumStatus": "0"}, {}),
        ({"KilledFlag": "True"}, NO_JOB),
        (None, None),
        ("x", "x"),
    ],
)
def test_conditions(conditions: Any, newest: Any) -> None:
    """A DN is its user; a condition that every job meets goes, one that none meets leaves no job."""
    assert asked("getJobs", conditions, "2026-11-20") == [newest, "2026-11-20"]
    assert asked("getCounters", ["Site"], conditions) == [["Site"], newest]


def test_numbers_by_dropped_attributes() -> None:
    """Owners with one DN are one; what is alike for all jobs is one number."""
    assert asked("getCounters", ["OwnerDN", "Status"]) == [["Owner", "Status"]]
    assert told(
        "getCounters",
        [({"Owner": "alice", "Status": "Done"}, 2), ({"Owner": "x", "Status": "Done"}, 3)],
        ["OwnerDN", "Status"],
    ) == [({"OwnerDN": DN, "Status": "Done"}, 2), ({"OwnerDN": "Unknown", "Status": "Done"}, 3)]
    assert asked("getCounters", ["DIRACSetup"]) == [["VO"]]
    assert told("getCounters", [({"VO": "a"}, 2), ({"VO": "b"}, 3)], ["DIRACSetup"]) == [
        ({"DIRACSetup": "Production"}, 5)
    ]
    assert asked("getJobStats", "OwnerDN", {"OwnerDN": DN}) == ["Owner", {"Owner": ["alice"]}]
    assert told("getJobStats", {"x": 1, "y": 2, "alice": 3}, "OwnerDN", {}) == {"Unknown": 3, DN: 3}
    assert told("getJobStats", {"a": 1, "b": 2}, "FailedFlag", {}) == {"False": 3}


def test_pages() -> None:
    """Records have the columns of 8.0; a sort by a DN is by the owner, one by what is alike is none."""
    page = {"TotalRecords": 1, "ParameterNames": list(PAGE_COLUMNS), "Records": [[*JOB.values(), "alive"]]}
    shown = told("getJobPageSummaryWeb", page, {}, [], 0, 10)
    assert shown["ParameterNames"] == [*OLDER_ATTRIBUTES, "LastSignOfLife"]
    [record] = shown["Records"]
    assert dict(zip(shown["ParameterNames"], record, strict=True))["OwnerDN"] == DN
    assert record[-1] == "alive"
    assert told("getJobPageSummaryWeb", {"TotalRecords": 0}, {}, [], 0, 10) == {"TotalRecords": 0}
    assert asked("getJobPageSummaryWeb", {"OwnerDN": DN}, [["OwnerDN", "ASC"]], 0, 10) == [
        {"Owner": ["alice"]},
        [["Owner", "ASC"]],
        0,
        10,
    ]
    assert asked("getJobPageSummaryWeb", {}, [["SystemPriority", "ASC"]], 0, 10) == [{}, [], 0, 10]
    assert asked("getJobPageSummaryWeb", {}, [["JobID"]], 0, 10) == [{}, [["JobID"]], 0, 10]


@pytest.mark.parametrize("version", ["9.1.22", "", "nobody"])
def test_newer_clients(version: str) -> None:
    """Clients of DIRAC 9, and those that do not say what they are, know 9's attributes only."""
    assert asked("getJobs", {"OwnerDN": DN}, version=version) == [{"OwnerDN": DN}]
