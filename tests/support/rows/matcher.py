"""Rows of WorkloadManagement/Matcher."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Request, RestFailure
from legacy_rpc.messages import Errno, Failure
from rows.conversation import Row
from shared_db.rules.refusals import Refusal, UnfitArgument

SERVICE = "WorkloadManagement/Matcher"
REQUEST = "/api/matcher/request"
LOOK = "/api/task-queues/matching"

OFFER: dict[str, Any] = {"Site": "LCG.Lab.org", "CPUTime": 86400}
SAID = {"site": "LCG.Lab.org", "cpu_time": 86400}
JOB = {
    "JobID": 7,
    "JDL": "[ ]",
    "Owner": "alice",
    "OwnerDN": "/CN=alice",
    "OwnerGroup": "demo_user",
    "VO": "demo",
    "parameters": {"StageRequest": "3"},
}
MATCHED = {
    "JDL": "[ ]",
    "JobID": 7,
    "StageRequest": "3",
    "DN": "/CN=alice",
    "Owner": "alice",
    "Group": "demo_user",
    "PilotInfoReportedFlag": True,
}
QUEUE: dict[str, Any] = {
    "TQId": 3,
    "Owner": "alice",
    "OwnerGroup": "demo_user",
    "VO": "demo",
    "CPUTime": 86400,
    "Priority": 1000.0,
    "Enabled": True,
    "Jobs": 2,
    "Sites": ["LCG.Lab.org"],
    **{key: [] for key in ("BannedSites", "GridCEs", "Platforms", "JobTypes", "Tags")},
    "MinRAM": 0,
    "MaxRAM": 0,
}
SHOWN = {
    3: {
        "Priority": 1000.0,
        "Jobs": 2,
        "Owner": "alice",
        "OwnerGroup": "demo_user",
        "CPUTime": 86400,
        "Sites": ["LCG.Lab.org"],
    }
}


def asking(description: Any, said: dict[str, Any], answer: Any = JOB, expected: Any = MATCHED) -> Row:
    """A pilot that asks for a job."""
    request = Request("POST", REQUEST, SAID | said | {"release_needed": True})
    return Row(SERVICE, "requestJob", [description], [(request, answer)], expected)


def refused(description: Any, expected: Any | None = None) -> Row:
    """One that is refused without a request."""
    return Row(SERVICE, "requestJob", [description], [], expected or Refusal("Error requesting job"))


def looking(description: dict[str, Any], said: dict[str, Any]) -> Row:
    """Somebody who looks for queues."""
    request = Request("POST", LOOK, said | {"everybody": True})
    return Row(SERVICE, "getMatchingTaskQueues", [description], [(request, [QUEUE])], SHOWN)


ROWS: dict[str, Row] = {
    "a job": asking(OFFER, {}),
    "no job": asking(OFFER, {}, None, Failure.of(Errno.EWMSNOMATCH)),
    "a wrong release": asking(OFFER, {}, RestFailure(409, "no"), Failure.of(Errno.EWMSPLTVER)),
    "another refusal": asking(OFFER, {}, RestFailure(403, "no"), RestFailure(403, "no")),
    "all that a pilot says": asking(
        OFFER
        | {
            "GridCE": "ce.lab.org",
            "Platform": ["x86", "any"],
            "JobType": "User",
            "Tag": "['GPU', \"Big\"]",
            "RequiredTag": "GPU",
            "NumberOfProcessors": "4",
            "WholeNode": "",
            "MaxRAM": 4000,
            "Owner": "alice",
            "OwnerGroup": ["demo_user", "demo_prod"],
            "JobID": "7",
            "PilotReference": "ref1",
            "PilotBenchmark": 12,
            "PilotInfoReportedFlag": True,
            "DIRACVersion": "9.1.22",
            "ReleaseProject": "DIRAC",
            "VirtualOrganization": "demo",
            "Setup": "Production",
        },
        {
            "ce": "ce.lab.org",
            "platforms": ["x86", "any"],
            "job_types": ["User"],
            "tags": ["GPU", "Big"],
            "required_tags": ["GPU"],
            "processors": 4,
            "whole_node": True,
            "max_ram": 4000,
            "owners": ["alice"],
            "owner_groups": ["demo_user", "demo_prod"],
            "job_id": 7,
            "pilot_reference": "ref1",
            "pilot_benchmark": 12.0,
            "pilot_reported": True,
            "release_version": "9.1.22",
            "release_project": "DIRAC",
            "vo": "demo",
        },
    ),
    "what names nothing": asking(
        OFFER
        | {
            "GridCE": [],
            "Tag": "",
            "NumberOfProcessors": "many",
            "PilotReference": "Unknown",
            "PilotBenchmark": float("nan"),
            "ReleaseVersion": None,
        },
        {},
    ),
    "several CEs": asking(OFFER | {"GridCE": ["a", "b"]}, {"ces": ["a", "b"]}),
    "any required tag": asking(OFFER | {"Tag": ["x"], "RequiredTag": "Any"}, {"tags": ["x"]}),
    "required tags without tags": asking(OFFER | {"RequiredTag": "x"}, {}),
    "no site": refused({"CPUTime": 1}),
    "several sites": refused(OFFER | {"Site": ["a", "b"]}),
    "no time": refused({"Site": "a"}),
    "a time as a text": refused(OFFER | {"CPUTime": "10"}),
    "a tag that is not offered": refused(OFFER | {"Tag": "a", "RequiredTag": "b"}),
    "a group that is no text": refused(OFFER | {"OwnerGroup": [1]}),
    "a name that is too long": refused(OFFER | {"Platform": "x" * 65}),
    "no job has the id": refused(OFFER | {"JobID": "x"}),
    "no description": refused("[ Site = a ]", UnfitArgument("'str' object has no attribute 'get'")),
    "active queues": Row(
        SERVICE,
        "getActiveTaskQueues",
        [],
        [(Request("POST", "/api/task-queues/search"), [QUEUE | {"MinRAM": 5, "MaxRAM": 0}])],
        {3: SHOWN[3] | {"MinRAM": 5, "MaxRAM": 0}},
    ),
    "queues of a site": looking(OFFER, SAID),
    "queues of several sites": looking(
        {"CPUTime": 5, "Site": ["a", "b"]}, {"cpu_time": 5, "sites": ["a", "b"]}
    ),
    "queues of any site": looking({"CPUTime": 5}, {"cpu_time": 5}),
    "looking without a time": Row(
        SERVICE,
        "getMatchingTaskQueues",
        [{}],
        [],
        Refusal("Missing mandatory field 'CPUTime' in match request definition"),
    ),
    "looking with a wrong type": Row(
        SERVICE,
        "getMatchingTaskQueues",
        [{"CPUTime": 1, "Platform": [None]}],
        [],
        Refusal(
            "Match definition field Platform failed :"
            " List contained type <class 'NoneType'> is not valid -> <class 'str'>"
        ),
    ),
}
