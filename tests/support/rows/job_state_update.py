"""Rows of WorkloadManagement/JobStateUpdate; those of statuses: job_statuses."""

from __future__ import annotations

from typing import Any

from adaptor.conversation import Pause, Request, RestFailure
from legacy_rpc.messages import Failure
from rows.conversation import Row, job_search
from rows.job_statuses import (
    ADMIN,
    BOBS,
    BOGUS,
    FORBIDDEN,
    NOT_AUTHORIZED,
    OWN,
    PILOT,
    SERVICE,
    STATUS,
    changed,
    mysql,
    reported,
    whose,
)
from shared_db.rules.refusals import Refusal, UnfitArgument


def attribute(**values: str) -> Request:
    return Request("PATCH", "/api/jobs/attributes", {"1": values})


ATTRIBUTES = {
    "a site": Row(
        SERVICE,
        "setJobSite",
        [1, "LCG.X.ch"],
        [(whose(1), [OWN]), (attribute(Site="LCG.X.ch"), {"changed": 1})],
        1,
    ),
    "a site of no job": Row(SERVICE, "setJobSite", [1, "x"], [(whose(1), [])], 0, ADMIN),
    "a site of no job, by a pilot": Row(
        SERVICE, "setJobSite", [1, "x"], [(whose(1), [])], NOT_AUTHORIZED, PILOT
    ),
    "a time": Row(
        SERVICE,
        "setJobAttribute",
        [1, "StartExecTime", "2026-01-02"],
        [
            (whose(1), [OWN]),
            (attribute(StartExecTime="2026-01-02T00:00:00+00:00"), {"changed": 0}),
        ],
        0,
    ),
    "what is no time": Row(
        SERVICE,
        "setJobAttribute",
        [1, "EndExecTime", "abc"],
        [(whose(1), [OWN])],
        mysql(
            1292,
            "Incorrect datetime value: 'abc' for column `JobDB`.`Jobs`.`EndExecTime` at row 1",
        ),
    ),
    "a status as an attribute counts twice": Row(
        SERVICE,
        "setJobAttribute",
        [1, "Status", "Waiting"],
        [(whose(1), [OWN]), (attribute(Status="Waiting"), {"changed": 1})],
        2,
    ),
    "what is no status, as an attribute": Row(
        SERVICE,
        "setJobAttribute",
        [1, "Status", "Bogus"],
        [(whose(1), [OWN]), (attribute(Status="Bogus"), RestFailure(400, BOGUS.message))],
        Failure(BOGUS.message),
    ),
    "a status of no job, as an attribute": Row(
        SERVICE, "setJobAttribute", [1, "Status", "Done"], [(whose(1), [])], None, ADMIN
    ),
    "an attribute that may not be set": Row(
        SERVICE,
        "setJobAttribute",
        ["x", "Owner", "bob"],
        [],
        Refusal("Job attribute 'Owner' cannot be modified through JobStateUpdate"),
    ),
    "a flag": Row(
        SERVICE,
        "setJobFlag",
        [1, "AccountedFlag"],
        [],
        Refusal("Job flag 'AccountedFlag' cannot be modified through JobStateUpdate"),
    ),
    "a flag less": Row(
        SERVICE,
        "unsetJobFlag",
        [1, "AccountedFlag"],
        [],
        Refusal("Job flag 'AccountedFlag' cannot be modified through JobStateUpdate"),
    ),
}


def parameters(values: dict[str, dict[str, str]]) -> Request:
    return Request("PATCH", "/api/jobs/parameters", values)


PARAMETERS = {
    "a parameter": Row(
        SERVICE,
        "setJobParameter",
        [1, "n", "v"],
        [(whose(1), [OWN]), (parameters({"1": {"n": "v"}}), {"changed": 1})],
    ),
    "a parameter of any job": Row(
        SERVICE,
        "setJobParameter",
        [1, "n", "v"],
        [(parameters({"1": {"n": "v"}}), {"changed": 0})],
        None,
        ADMIN,
    ),
    "a parameter of another's": Row(
        SERVICE, "setJobParameter", [1, "n", "v"], [(whose(1), [BOBS])], NOT_AUTHORIZED
    ),
    "parameters": Row(
        SERVICE,
        "setJobParameters",
        [1, [("a", 1), ["b", "2"], "xy"]],
        [
            (whose(1), [OWN]),
            (parameters({"1": {"a": "1", "b": "2", "x": "y"}}), {"changed": 3}),
        ],
    ),
    "no parameters": Row(SERVICE, "setJobParameters", [1, []], [(whose(1), [OWN])]),
    "a parameter that is too long": Row(
        SERVICE,
        "setJobParameters",
        [1, [("a", "v" * 65_536)]],
        [(whose(1), [OWN])],
        mysql(1406, "Data too long for column 'Value' at row 1"),
    ),
    "a name without a value": Row(
        SERVICE,
        "setJobParameters",
        [1, ["x"]],
        [(whose(1), [OWN])],
        UnfitArgument("dictionary update sequence element #0 has length 1; 2 is required"),
    ),
    "parameters of several jobs, the own ones set": Row(
        SERVICE,
        "setJobsParameter",
        [{"1": ("a", 1), 2: ["b", "2"], 3: ("c", "3"), 1: ("d", "4")}],
        [
            (
                whose(1, 2, 3),
                [OWN, OWN | {"JobID": 3, "Owner": "bob"}],
            ),
            (parameters({"1": {"a": "1", "d": "4"}}), {"changed": 2}),
        ],
        Refusal("Not authorized to modify job 3"),
    ),
    "parameters of any jobs": Row(
        SERVICE,
        "setJobsParameter",
        [{1: ("a", "1"), 2**40: ("b", "2")}],
        [(parameters({"1": {"a": "1"}}), {"changed": 1})],
        None,
        ADMIN,
    ),
    "parameters of no jobs": Row(SERVICE, "setJobsParameter", [{}], [], None),
}

BEAT = {"dynamic": {"Load": "1.5"}, "static": {"p": "5"}}


def beat(body: dict[str, Any]) -> Request:
    return Request("PATCH", "/api/jobs/legacy/heartbeat", {"1": body})


HEARTBEATS = {
    "a heartbeat, and a command": Row(
        SERVICE,
        "sendHeartBeat",
        [1, {"Load": 1.5, "none": None}, {"p": 5}],
        [(beat(BEAT), [{"job_id": 1, "command": "Kill", "arguments": ""}])],
        {"Kill": ""},
    ),
    "a heartbeat of then": Row(
        SERVICE,
        "sendHeartBeat",
        [1, {"HeartBeatTime": "2026-01-02 03:04:05"}, {}],
        [(beat({"dynamic": {}, "static": {}, "moment": "2026-01-02T03:04:05+00:00"}), [])],
        {},
    ),
    "a heartbeat of a time that is none": Row(
        SERVICE,
        "sendHeartBeat",
        [1, {"HeartBeatTime": "abc"}, {}],
        [(whose(1), [OWN])],
        UnfitArgument("HeartBeatTime is no time: 'abc'"),
    ),
    "a heartbeat of no job": Row(
        SERVICE,
        "sendHeartBeat",
        [1, {"Load": 1.5}, {"p": 5}],
        [(beat(BEAT), RestFailure(404, "Job 1 not found"))],
        Failure("Job 1 not found"),
        ADMIN,
    ),
    "a heartbeat of another's": Row(
        SERVICE, "sendHeartBeat", [1, {"Load": 1.5}, {"p": 5}], [(beat(BEAT), FORBIDDEN)], NOT_AUTHORIZED
    ),
}

STAGING = job_search(("Owner", "OwnerGroup", "Status"), [1])
FAILED = {"MinorStatus": "Staging input files failed", "Source": "StagerSystem"}
STAGED = {"Status": "Checking", "MinorStatus": "JobScheduling", "Source": "StagerSystem"}
SECOND = Pause(1.0)

STAGER = {
    "files are there": Row(
        SERVICE,
        "updateJobFromStager",
        [1, "Done"],
        [
            (STAGING, [OWN | {"Status": "Staging"}]),
            (reported(STAGED), changed(Status="Checking", MinorStatus="JobScheduling")),
        ],
        (["MinorStatus"], ["JobScheduling"]),
    ),
    "files are not there, in the third second": Row(
        SERVICE,
        "updateJobFromStager",
        [1, "Failed"],
        [
            (STAGING, [OWN | {"Status": "Checking"}]),
            (SECOND, None),
            (STAGING, [OWN | {"Status": "Checking"}]),
            (SECOND, None),
            (STAGING, [OWN | {"Status": "Staging"}]),
            (reported(FAILED), changed(MinorStatus="Staging input files failed")),
        ],
        "Found job in Staging after 2 seconds",
    ),
    "the job never comes to Staging": Row(
        SERVICE,
        "updateJobFromStager",
        [1, "Done"],
        [(STAGING, [OWN | {"Status": "Running"}]), (SECOND, None)] * 10,
        "Job is not in Staging after 10 seconds",
    ),
    "files of no job": Row(
        SERVICE, "updateJobFromStager", [1, "Done"], [(STAGING, [])], "No Matching Job", ADMIN
    ),
    "files of another's job": Row(
        SERVICE, "updateJobFromStager", [1, "Done"], [(STAGING, [BOBS])], NOT_AUTHORIZED
    ),
}

ROWS = {**STATUS, **ATTRIBUTES, **PARAMETERS, **HEARTBEATS, **STAGER}
