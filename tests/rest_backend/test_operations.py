"""The table of operations and its runner: both shells mean the same, and a unit of work is one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from rest_backend.errors import Forbidden
from rest_backend.operations import Answer, Operation, Policy, RestRequest, Runner, decode, encode
from rest_backend.policies.common import AUTHENTICATED
from rest_backend.table import OPERATIONS
from shared_db.errors import Conflict
from shared_db.schema import SCHEMAS
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, PilotAgents

from .conftest import Grid, one

LATER = "2024-05-01T10:00:00Z"

# What a pilot with nothing special offers.
OFFER: dict[str, Any] = {"site": "DEMO.Geneva.ch", "cpu_time": 500_000}


@dataclass(frozen=True)
class Row:
    """A request, and the status that both shells answer."""

    status: int
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    caller: str = "admin"
    # What stands in the path's braces.
    parts: Mapping[str, Any] = field(default_factory=dict)


def search(*condition: Any) -> dict[str, Any]:
    """A search with one condition."""
    return {"search": [one(*condition)]}


PUBLIC = [Row(200), Row(200, caller="olga"), Row(200, query={"unknown": "x"})]

SEARCH = [
    Row(200),
    Row(200, {"parameters": ["Status"], "distinct": True, "unknown": 1}),
    Row(200, search("Status", "in", [])),
    Row(200, {"sort": [{"parameter": "Status", "direction": "desc"}]}, caller="bob"),
    Row(206, query={"page": "2", "per_page": "2"}),
    Row(416, query={"page": "99", "per_page": "2"}),
    Row(400, search("Nope", "eq", "x")),
    Row(400, {"parameters": ["Nope"]}),
    Row(400, {"sort": [{"parameter": "Nope", "direction": "asc"}]}),
    Row(400, search("SubmissionTime", "eq", "yesterday")),
    Row(400, search("Status", "regex", "[")),
    Row(422, search("Status", "ilike", "x")),
    Row(422, search("Status", "eq", ["x"])),
    Row(422, query={"page": "0"}),
    Row(422, query={"per_page": "10001", "page": "x"}),
    Row(422, ["not a mapping"]),
]

JDL = 'Executable = "/bin/echo";'
PARAMETRIC = 'Executable = "/bin/echo"; Arguments = "%s"; Parameters = 3;'


def nested(depth: int) -> Any:
    """A value so many levels deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


DETAILS = [
    Row(200, {"job_ids": [1, 4, 999]}),
    Row(200, {"job_ids": []}, caller="guest"),
    Row(422, {"job_ids": [1] * 1001}),
    Row(422, {"job_ids": ["x"]}),
    Row(422, {}),
]

JOB = {"job_id": 1}
SANDBOX = {"checksum_algorithm": "sha256", "checksum": "ab" * 32, "size": 3, "format": "tar.zst"}
PFN = f"/S3/sandboxes/demo/nobody/nobody/sha256:{'ab' * 32}.tar.zst"
NAMED = {"md5": "ab" * 16, "format": "tar.zst"}

LINE = {"timestamp": LATER, "severity": "INFO", "message": "x", "scope": "Core"}

CLIENT = "myDIRACClientID"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRANT = {"client_id": CLIENT}
CODE = {"code": "x", "redirect_uri": "x", "code_verifier": "x"}
AUTHORIZE = {
    "response_type": "code",
    "code_challenge": "x" * 43,
    "code_challenge_method": "S256",
    "client_id": CLIENT,
    "redirect_uri": "https://evil.example.org/",
    "scope": "vo:demo",
    "state": "x",
}
PROVIDERS_ANSWER = [
    Row(400, query={"code": "x", "state": "x"}),
    Row(400, query={"error": "access_denied", "state": "x"}),
    Row(422, query={"code": "x"}),
]

# By operation: requests on its method and path.
REQUESTS: Mapping[str, list[Row]] = {
    "auth_userinfo": [Row(200), Row(200, caller="pilot"), Row(200, caller="host")],
    **{operation.name: PUBLIC for operation in OPERATIONS if operation.policy.public},
    "docs_asset": [
        Row(200, parts={"asset": "start.js"}),
        Row(200, caller="olga", parts={"asset": "swagger-ui.css"}),
        Row(422, parts={"asset": "other.js"}),
    ],
    **dict.fromkeys(
        (
            "config_serve_config",
            "proxies_get_own_proxy",
            *(f"rss_get_{what}_status" for what in ("site", "compute", "fts", "storage")),
        ),
        PUBLIC,
    ),
    # What has random codes in its answer: test_auth_device.py, test_auth_code.py, test_auth_tokens.py.
    "auth_initiate_device_flow": [
        Row(400, query={"client_id": "nobody", "scope": "vo:demo"}),
        Row(400, query={"client_id": CLIENT, "scope": "vo:nope"}),
        Row(422, query={"scope": "vo:demo"}),
    ],
    "auth_do_device_flow": [Row(200), Row(400, query={"user_code": "BBBBBBBB"})],
    "auth_finish_device_flow": PROVIDERS_ANSWER,
    "auth_initiate_authorization_flow": [
        Row(400, query={**AUTHORIZE, "client_id": "nobody"}),
        Row(400, query=AUTHORIZE),
        Row(422, query={**AUTHORIZE, "code_challenge_method": "plain"}),
        Row(422),
    ],
    "auth_choose_provider": [
        Row(400, query={"state": "x", "provider": "iam"}),
        Row(422, query={"state": "x", "provider": "x" * 65}),
        Row(422, query={"provider": "iam"}),
    ],
    "auth_complete_authorization_flow": PROVIDERS_ANSWER,
    "auth_get_oidc_token": [
        Row(400, {**GRANT, "grant_type": DEVICE_GRANT, "device_code": "x"}),
        Row(400, {**GRANT, "grant_type": "authorization_code", **CODE}),
        Row(401, {**GRANT, "grant_type": "refresh_token", "refresh_token": "x"}),
        Row(422, {**GRANT, "grant_type": "refresh_token"}),
        Row(422, {**GRANT, "grant_type": "password"}),
        Row(422, {}),
    ],
    "auth_get_refresh_tokens": [Row(200), Row(200, caller="olga")],
    "auth_revoke_refresh_token_by_jti": [
        Row(400, parts={"jti": "x"}),
        Row(404, parts={"jti": "018f0000-0000-7000-8000-000000000000"}),
    ],
    "auth_revoke_refresh_token_by_refresh_token": [
        Row(200, {"token": "x"}),
        Row(200, {"token": "x", "token_type_hint": "refresh_token", "client_id": CLIENT}),
        Row(200, {}, query={"refresh_token": "x", "client_id": CLIENT}),
        Row(400, {"token": "x", "token_type_hint": "access_token"}),
        Row(401, {"token": "x", "client_id": "nobody"}),
        Row(422, {}),
    ],
    "auth_legacy_exchange": [
        Row(503, query={"preferred_username": "alice", "scope": "vo:demo"}),
        Row(422, query={"scope": "vo:demo"}),
    ],
    "jobs_search": [
        *SEARCH,
        Row(200, {"parameters": ["LoggingInfo"]}),
        Row(200, search("PilotStamp", "eq", "s1")),
        Row(400, search("PilotStamp", "like", "s%")),
    ],
    "jobs_set_job_statuses": [
        Row(200, {"1": {LATER: {"Status": "Killed", "Source": "JobManager"}}}),
        Row(200, {1: {LATER: {"MinorStatus": "by number"}}}),
        Row(200, {"1": {LATER: {"Status": "Done"}}}),
        Row(200, {"1": {LATER: {"Status": "Done"}}}, {"force": "true"}),
        Row(200, {"2": {LATER: {"ApplicationStatus": "x"}}, "999": {LATER: {}}}),
        Row(200, {"1": {LATER: {"Status": "Killed"}}}, caller="alice"),
        Row(403, {"1": {LATER: {"Status": "Killed"}}}, caller="bob"),
        Row(403, {"1": {LATER: {"Status": "Done"}}}, {"force": "1"}, caller="alice"),
        Row(404, {"999": {LATER: {"Status": "Done"}}}),
        Row(404, {}),
        Row(422, {"1": {LATER: {"Status": "Bogus"}}}),
        Row(422, {"one": {LATER: {}}}),
        Row(422, {"1": {"tomorrow": {}}}),
        Row(422, {"1": {LATER: {}}}, {"force": "perhaps"}),
        Row(422),
    ],
    "jobs_get_counters": [
        Row(200),
        Row(200, query={"by": ["Owner", "VO"]}),
        Row(200, query={"by": "OwnerGroup"}, caller="bob"),
        Row(422, query={"by": "Nope"}),
    ],
    "pilots_get_counters": [
        Row(200),
        Row(200, query={"by": "VO"}, caller="bob"),
        Row(422, query={"by": "Owner"}),
    ],
    "jobs_list_ids": [
        Row(200, {}),
        Row(200, {"search": [{"parameter": "Owner", "operator": "eq", "value": "alice"}]}, caller="olga"),
        Row(400, {"search": [{"parameter": "Nope", "operator": "eq", "value": 1}]}),
        Row(422, {"search": [{"parameter": "Owner"}]}),
    ],
    "jobs_summary": [
        Row(200, {"grouping": ["Status"]}),
        Row(200, {"grouping": []}, caller="bob"),
        Row(200, {"grouping": ["Site"], **search("PilotStamp", "eq", "s1")}, caller="pilot"),
        Row(400, {"grouping": ["Nope"]}),
        Row(400, {"grouping": ["Status"], **search("Nope", "eq", "x")}),
        Row(422, {"search": []}),
        Row(422),
    ],
    "jobs_submit_jdl_jobs": [
        Row(201, [JDL], caller="alice"),
        Row(201, [JDL, '[Executable = "b";]'], caller="olga"),
        Row(201, [PARAMETRIC], caller="bob"),
        Row(400, [], caller="alice"),
        Row(400, ["not a JDL"], caller="alice"),
        Row(400, [JDL, PARAMETRIC], caller="alice"),
        Row(400, [JDL] * 21, caller="alice"),
        Row(403, [JDL], caller="pilot"),
        Row(422, JDL, caller="alice"),
        Row(422, [1], caller="alice"),
        Row(422),
    ],
    "jobs_confirm_jobs": [
        Row(200, {"job_ids": [7]}, caller="olga"),
        Row(400, {"job_ids": [1, 3]}),
        Row(400, {"job_ids": [999]}),
        Row(403, {"job_ids": [1]}, caller="bob"),
        Row(403, {"job_ids": [1]}, caller="pilot"),
        Row(422, {"job_ids": []}),
        Row(422),
    ],
    "jobs_get_limits": [Row(200), Row(200, caller="guest")],
    "jobs_reschedule_jobs": [
        Row(400, {"job_ids": [1]}),
        Row(400, {"job_ids": [999]}),
        Row(400, {"job_ids": []}),
        Row(403, {"job_ids": []}, caller="alice"),
        Row(403, {"job_ids": [1, 4]}, caller="alice"),
        Row(422, {"job_ids": ["x"]}),
        Row(422, {"job_ids": [1]}, {"reset_jobs": "perhaps"}),
        Row(422, [1]),
    ],
    "jobs_remove_jobs": [
        Row(200, {"job_ids": [1, 1, 999]}),
        Row(200, {"job_ids": [2, 3]}, caller="alice"),
        Row(403, {"job_ids": [1, 999]}, caller="alice"),
        Row(403, {"job_ids": [1]}, caller="pilot"),
        Row(422, {"job_ids": []}),
        Row(422, {"job_ids": [2**63]}),
    ],
    "jobs_add_heartbeat": [
        Row(200, {"2": {"LoadAverage": 1.5, "CPUConsumed": "3", "StandardOutput": "so far"}}),
        Row(200, {"5": {}, "6": {"Vsize": None}}, caller="carol"),
        Row(200, {}),
        Row(403, {"4": {}}, caller="alice"),
        Row(404, {"2": {"Vsize": 1}, "999": {}}),
        Row(422, {"2": {"Load": 1}}),
        Row(422, {"2": {"LoadAverage": "much"}}),
        Row(422, {"2": {"LoadAverage": "nan"}}),
        Row(422),
    ],
    "jobs_add_legacy_heartbeat": [
        Row(200, {"2": {"dynamic": {"Load": 1, "Text": "x"}, "static": {"Node": "n1"}}}),
        Row(200, {"6": {"moment": LATER}}, caller="pilot"),
        Row(403, {"2": {}}, caller="bob"),
        Row(404, {"999": {}}),
        Row(422, {"2": {"Load": 1}}),
        Row(422, {"2": {"static": {"Node": 1}}}),
        Row(422, {"2": {"moment": "2024-05-01T10:00:00"}}),
    ],
    "jobs_patch_metadata": [
        Row(204, {"1": {"Site": "DEMO.Lyon.fr", "CPUNormalizationFactor": "10.9", "Free": {"a": [1, None]}}}),
        Row(204, {"1": {"HostName": None}}, caller="alice"),
        Row(204, {"999": {"Site": "DEMO.Lyon.fr"}}),
        Row(400, {"1": {"Status": "Done"}}),
        Row(400, {"1": {"Site": "x" * 101}}),
        Row(400, {"1": {"x" * 101: "long name"}}),
        Row(403, {"1": {"Free": 1}}, caller="bob"),
        Row(404, {"1": {"Free": 1}, "999": {"Free": 1}}),
        Row(422, {"1": {"CPUNormalizationFactor": "fast"}}),
        Row(422, {"1": {"CPUNormalizationFactor": "inf"}}),
        Row(422, {"1": {"AccountedFlag": []}}),
        Row(422, {"1": {"Free": nested(40)}}),
        Row(422, {"1": 1}),
    ],
    "jobs_patch_attributes": [
        Row(200, {"1": {"Site": "DEMO.Lyon.fr", "StartExecTime": LATER}, "999": {"Site": "ANY"}}),
        Row(200, {"3": {"Status": "Running"}}),
        Row(400, {"1": {"Status": "Bogus"}}),
        Row(403, {"1": {"Site": "ANY"}}, caller="bob"),
        Row(422, {"1": {"Owner": "bob"}}),
        Row(422, {"1": {"EndExecTime": "2024-05-01T10:00:00"}}),
        Row(422, {"1": {"EndExecTime": "0001-01-01T00:00:00+14:00"}}),
    ],
    "jobs_patch_parameters": [
        Row(200, {"1": {"Status": "a text", "Memory(MB)": "much"}, "999": {"a": "b"}}),
        Row(200, {"1": {}}, caller="alice"),
        Row(400, {"1": {"a": "x" * 70_000}}),
        Row(403, {"1": {"a": "b"}}, caller="bob"),
        Row(422, {"1": {"a": 1}}),
        Row(422),
    ],
    "jobs_get_jdl": [
        Row(200, parts={"job_id": 1}, caller="alice"),
        Row(200, parts={"job_id": 4}, query={"original": "true"}),
        Row(403, parts={"job_id": 4}, caller="alice"),
        Row(404, parts={"job_id": 999}),
        Row(422, parts={"job_id": "one"}),
        Row(422, parts={"job_id": 2**63}),
        Row(422, parts={"job_id": 1}, query={"original": "perhaps"}),
    ],
    **{
        name: [
            Row(200, parts={"job_id": 1}),
            Row(200, parts={"job_id": 4}, caller="olga"),
            Row(404, parts={"job_id": 999}),
            Row(422, parts={"job_id": "one"}),
        ]
        for name in ("jobs_get_parameters", "jobs_get_heartbeats", "jobs_get_input_data")
    },
    "jobs_search_parameters": [
        *DETAILS,
        Row(200, {"job_ids": [1], "names": ["a"], "kind": "optimizer"}),
        Row(200, {"job_ids": [1], "names": []}),
        Row(422, {"job_ids": [1], "kind": "other"}),
    ],
    "jobs_search_attic_parameters": [
        *DETAILS,
        Row(200, {"job_ids": [1], "names": ["a"], "cycle": 0}),
        Row(422, {"job_ids": [1], "cycle": -1}),
    ],
    "jobs_search_heartbeats": DETAILS,
    "jobs_search_input_data": DETAILS,
    "jobs_initiate_sandbox_upload": [
        Row(200, SANDBOX, caller="alice"),
        Row(200, {**SANDBOX, "format": "tar.bz2", "checksum": "AB" * 32, "unknown": 1}, caller="bob"),
        Row(400, {**SANDBOX, "size": 100 * 1024 * 1024 + 1}, caller="alice"),
        Row(403, SANDBOX, caller="guest"),
        Row(403, SANDBOX, caller="host"),
        Row(422, {**SANDBOX, "size": 0}),
        Row(422, {**SANDBOX, "checksum": "ab"}),
        Row(422, {**SANDBOX, "checksum_algorithm": "md5"}),
        Row(422, {**SANDBOX, "format": "zip"}),
        Row(422),
    ],
    "jobs_get_sandbox_file": [
        Row(404, query={"pfn": PFN}),
        Row(404, query={"pfn": f"SB:SandboxSE|{PFN}"}),
        Row(404, query={"pfn": PFN.replace("nobody", "no\0body")}),
        Row(403, query={"pfn": PFN}, caller="alice"),
        Row(422, query={"pfn": f"{PFN}\n"}),
        Row(422, query={"pfn": "/SandBox/a/alice.demo_user/0aa/d3a/0aad3a.tar.bz2"}),
        Row(422, query={"pfn": PFN.replace("nobody", "n" * 100)}),
        Row(422),
    ],
    "jobs_get_job_sandboxes": [
        Row(200, parts=JOB),
        Row(200, parts={"job_id": 999}),
        Row(403, parts=JOB, caller="bob"),
        Row(422, parts={"job_id": "one"}),
        Row(422, parts={"job_id": 10**30}),
    ],
    "jobs_get_job_sandbox": [
        Row(200, parts={**JOB, "sandbox_type": "output"}),
        Row(403, parts={**JOB, "sandbox_type": "input"}, caller="bob"),
        Row(422, parts={**JOB, "sandbox_type": "Input"}),
    ],
    "jobs_assign_sandbox_to_job": [
        Row(400, PFN, parts=JOB),
        Row(400, f"SB:SandboxSE|{PFN}", parts=JOB, caller="alice"),
        Row(403, PFN, parts=JOB, caller="bob"),
        Row(422, {"pfn": PFN}, parts=JOB),
        Row(422, "x", parts=JOB),
        Row(422, parts=JOB),
    ],
    "jobs_unassign_job_sandboxes": [
        Row(200, parts=JOB),
        Row(200, parts={"job_id": 999}),
        Row(403, parts={"job_id": 999}, caller="alice"),
    ],
    "jobs_unassign_bulk_jobs_sandboxes": [
        Row(204, {"job_ids": [1, 999]}),
        Row(204, {"job_ids": []}),
        Row(403, {"job_ids": []}, caller="alice"),
        Row(403, {"job_ids": [1, 4]}, caller="alice"),
        Row(422, [1]),
        Row(422, {"job_ids": ["one"]}),
    ],
    "jobs_name_legacy_sandbox": [
        Row(400, {"pfn": PFN.replace("nobody/nobody", "demo_user/alice"), **NAMED}, caller="alice"),
        Row(403, {"pfn": PFN, **NAMED}, caller="alice"),
        Row(403, {"pfn": PFN, **NAMED}, caller="pilot"),
        Row(422, {"pfn": PFN, **NAMED, "md5": "../x"}),
        Row(422, {"pfn": PFN, **NAMED, "format": "tar.gz"}),
        Row(422, {"pfn": PFN, **NAMED, "entities": {"": "Input"}}),
    ],
    "jobs_search_legacy_sandboxes": [
        Row(200, {"names": []}),
        Row(200, {"names": ["/SandBox/a/alice.demo_user/abc/def/x.tar.bz2", "\0"]}, caller="alice"),
        Row(403, {"names": []}, caller="pilot"),
        Row(422, {"names": ["x" * 256]}),
    ],
    "jobs_search_entity_sandboxes": [
        Row(200, {"entities": ["Job:1"]}, caller="alice"),
        Row(200, {"entities": []}),
        Row(403, {"entities": []}, caller="pilot"),
        Row(422, {"entities": [""]}),
    ],
    "jobs_assign_entity_sandboxes": [
        Row(200, {"sandboxes": []}),
        Row(400, {"sandboxes": [{"entity": "Job:1", "type": "Input", "pfn": f"SB:SandboxSE|{PFN}"}]}),
        Row(400, {"sandboxes": [{"entity": "Job:1", "type": "Input", "pfn": "x"}]}, caller="alice"),
        Row(400, {"sandboxes": [], "owner_group": "demo_pilot"}),
        Row(403, {"sandboxes": []}, caller="pilot"),
        Row(422, {"sandboxes": [{"entity": "Job:1", "type": "Input"}]}),
    ],
    "jobs_unassign_entity_sandboxes": [
        Row(200, {"entities": ["Job:1"]}, caller="alice"),
        Row(403, {"entities": ["Job:1"]}, caller="pilot"),
        Row(422, {"entities": ["x" * 129]}),
    ],
    "jobs_get_sandbox_space": [Row(200), Row(200, caller="pilot")],
    "pilots_register_pilot": [
        Row(201, {"pilot_stamp": "new", "vo": "demo"}),
        Row(201, {"pilot_stamp": "new", "vo": "demo", "pilot_status": "Running"}, caller="pilot"),
        Row(409, {"pilot_stamp": "s1", "vo": "demo"}),
        Row(400, {"pilot_stamp": "new", "vo": "novo"}),
        Row(403, {"pilot_stamp": "new", "vo": "demo"}, caller="alice"),
        Row(403, {"pilot_stamp": "new", "vo": "other"}, caller="pilot"),
        Row(422, {"pilot_stamp": "new", "vo": "demo", "extra": 1}),
        Row(422, {"vo": "demo"}),
        Row(422),
    ],
    "pilots_update_pilot_metadata": [
        Row(204, {"s1": {"Status": "Done", "StatusReason": None}, "s3": {"BenchMark": 3}}),
        Row(204, {"twin": {"AccountingSent": True}}),
        Row(404, {"s1": {"Status": "Done"}, "none": {}}),
        Row(403, {"s1": {"Status": "Done"}}, caller="alice"),
        Row(422, {"s1": {"Status": "Scheduled"}}),
        Row(422, {"s1": {"extra": 1}}),
        Row(422, [1]),
    ],
    "pilots_search": [
        *SEARCH,
        Row(200, search("JobID", "in", [2, 3])),
        Row(400, search("JobID", "eq", "2")),
    ],
    "pilots_summary": [
        Row(200, {"grouping": ["Status"]}),
        Row(200, {"grouping": []}, caller="bob"),
        Row(400, {"grouping": ["Nope"]}),
        Row(422, {}),
        Row(422),
    ],
    "pilots_add_legacy_pilots": [
        Row(201, [{"pilot_reference": "r", "pilot_stamp": "t", "vo": "demo"}] * 2),
        Row(201, []),
        Row(403, [{"pilot_reference": "r", "vo": "demo"}], caller="pilot"),
        Row(422, [{"pilot_reference": "r", "vo": "demo", "extra": 1}]),
        Row(422, {}),
    ],
    "pilots_update_legacy_pilots": [
        Row(200, {"pilot_ids": [1, 4, 99], "metadata": {"Status": "Scheduled"}}),
        Row(200, {"pilot_ids": [99], "metadata": {"Status": "Done"}}, caller="pilot"),
        Row(403, {"pilot_ids": [1], "metadata": {"Status": "Done"}}, caller="alice"),
        Row(422, {"pilot_ids": [], "metadata": {"Status": "Done"}}),
        Row(422, {"pilot_ids": [1], "metadata": {}}),
        Row(
            200,
            {"pilot_ids": [1], "metadata": {"DestinationSite": "ce9"}, "site_of_unknown_ce": "Unknown"},
        ),
        Row(422, {"pilot_ids": [1], "metadata": {"DestinationSite": "ce9"}, "site_of_unknown_ce": ""}),
    ],
    "pilots_get_sites_of_ces": [Row(200), Row(200, caller="guest"), Row(403, caller="pilot:s1")],
    "pilots_update_pilot_fields": [
        Row(204, {"pilot_stamps_to_fields_mapping": [{"PilotStamp": "s1", "Status": "Done"}]}),
        Row(404, {"pilot_stamps_to_fields_mapping": [{"PilotStamp": "none"}]}),
        Row(403, {"pilot_stamps_to_fields_mapping": [{"PilotStamp": "s1"}]}, caller="alice"),
        Row(422, {"pilot_stamps_to_fields_mapping": [{"Status": "Done"}]}),
        Row(422, {"pilot_stamps_to_fields_mapping": []}),
    ],
    "pilots_delete_pilots": [
        Row(204, query={"pilot_stamps": "s1"}),
        Row(204, query={"pilot_ids": "4", "pilot_stamps[]": "s2"}),
        Row(204, query={"age_in_days": "7", "delete_only_aborted": "true"}),
        Row(400),
        Row(400, query={"pilot_ids": "4", "age_in_days": "7"}),
        Row(403, query={"pilot_stamps": "s1"}, caller="pilot"),
        Row(422, query={"age_in_days": "-1"}),
        Row(422, query={"pilot_ids": str(10**30)}),
    ],
    "pilots_kill_pilots": [
        Row(200, {"pilot_ids": [1, 2]}),
        Row(200, {"pilot_stamps": ["twin"]}, caller="operator"),
        Row(404, {"pilot_ids": [99]}),
        Row(403, {"pilot_ids": [1]}, caller="pilot"),
        Row(422, {}),
        Row(422, {"pilot_ids": [-1]}),
    ],
    "pilots_get_pilot_jobs": [
        Row(200, query={"pilot_stamp": "s1"}),
        Row(200, query={"job_id": "2"}, caller="bob"),
        Row(400),
        Row(422, query={"job_id": str(10**30)}),
        Row(422, query={"pilot_stamp": "x" * 33}),
        Row(403, query={"job_id": "2"}, caller="pilot:s1"),
    ],
    "pilots_add_jobs_to_pilot": [
        Row(204, {"pilot_stamp": "s1", "job_ids": [1, 4]}),
        Row(204, {"pilot_id": 1, "job_ids": [1, 4]}),
        Row(400, {"pilot_id": 99, "job_ids": [1]}),
        Row(422, {"pilot_id": 1, "pilot_stamp": "s1", "job_ids": [1]}),
        Row(422, {"job_ids": [1]}),
        Row(400, {"pilot_stamp": "none", "job_ids": [1]}),
        Row(400, {"pilot_stamp": "s1", "job_ids": [2**40]}),
        Row(409, {"pilot_stamp": "s1", "job_ids": [1, 2]}),
        Row(403, {"pilot_stamp": "s1", "job_ids": [1]}, caller="alice"),
        Row(422, {"pilot_stamp": "s1", "job_ids": []}),
    ],
    "pilots_send_legacy_message": [
        Row(204, {"pilot_stamp": "s1", "lines": [LINE]}, caller="pilot"),
        Row(204, {"pilot_stamp": "s1", "lines": []}),
        Row(403, {"pilot_stamp": "s3", "lines": [LINE]}, caller="pilot"),
        Row(413, {"pilot_stamp": "s1", "lines": [LINE] * 1001}),
        Row(422, {"pilot_stamp": "s1", "lines": [{**LINE, "timestamp": "yesterday"}]}),
        Row(422, {"pilot_stamp": "a\0b", "lines": [LINE]}),
        Row(422, {"lines": [LINE]}),
    ],
    "pilots_search_logs": [
        Row(200),
        Row(200, search("Message", "like", "%x%"), caller="bob"),
        Row(200, search("PilotID", "in", [1, 2])),
        Row(400, search("PilotID", "eq", "1")),
        Row(400, search("Nope", "eq", "x")),
        Row(400, search("TimeStamp", "eq", "yesterday")),
        Row(200, query={"page": "50"}),
        Row(403, caller="pilot:s1"),
        Row(422, query={"page": "0"}),
    ],
    "pilots_get_pilot_logs": [
        Row(404, query={"pilot_stamp": "s1"}),
        Row(404, query={"pilot_stamp": "none"}),
        Row(403, query={"pilot_stamp": "s1"}, caller="pilot:s1"),
        Row(422),
        Row(422, query={"pilot_stamp": "s1", "lines": "0"}),
    ],
    "pilots_delete_pilot_logs": [
        Row(204, query={"pilot_stamps": "s1"}),
        Row(403, query={"pilot_stamps": "s1"}, caller="alice"),
        Row(422),
    ],
    "pilots_get_log_limits": [Row(200), Row(200, caller="guest"), Row(403, caller="pilot:s1")],
    "pilots_get_pilot_outputs": [
        Row(200, query={"pilot_id": "1"}),
        Row(200, query={"job_id": "2"}, caller="alice"),
        Row(404, query={"job_id": "777"}),
        Row(404, query={"pilot_id": "3"}, caller="alice"),
        Row(400),
        Row(422, query={"pilot_id": str(10**30)}),
        Row(403, query={"pilot_id": "1"}, caller="pilot:s1"),
    ],
    "pilots_store_pilot_output": [
        Row(201, {"pilot_id": 1, "StdOut": "out", "StdErr": "err\0"}),
        Row(404, {"pilot_reference": "zz", "StdOut": ""}),
        Row(403, {"pilot_id": 1, "StdOut": ""}, caller="alice"),
        Row(422, {"StdOut": ""}),
        Row(422, {"pilot_id": 1, "pilot_stamp": "s1", "StdOut": ""}),
    ],
    "pilots_register_pilots": [
        Row(200, {"pilot_stamps": ["n1", "n2"], "vo": "demo", "generate_secrets": False}),
        Row(400, {"pilot_stamps": ["n1"], "vo": "novo"}),
        Row(409, {"pilot_stamps": ["n1", "s1"], "vo": "demo"}),
        Row(403, {"pilot_stamps": ["n1"], "vo": "demo"}, caller="pilot"),
        Row(422, {"pilot_stamps": ["n1", "n1"], "vo": "demo"}),
    ],
    # What has secrets in it is never the same twice: test_pilot_tokens.py.
    "pilots_create_pilot_secrets": [
        Row(400, {"vo": "novo"}),
        Row(403, {"vo": "demo"}, caller="pilot"),
        Row(422, {"vo": "demo", "n": 0}),
        Row(422, {}),
    ],
    "pilots_update_secrets_constraints": [
        Row(204, {}),
        Row(404, {"f" * 64: {"Sites": ["x"]}}),
        Row(400, {"f" * 64: {"VOs": ["novo"]}}),
        Row(403, {}, caller="alice"),
        Row(422, {"f" * 64: {"Owners": []}}),
    ],
    "auth_perform_secret_exchange": [
        Row(401, {"pilot_stamp": "s1", "pilot_secret": "f" * 64}),
        Row(401, {"pilot_stamp": "v", "pilot_secret": "f" * 64, "vo": "demo", "status": "Running"}),
        Row(422, {"pilot_stamp": "s1"}),
        Row(422, {"pilot_stamp": "s1", "pilot_secret": "", "x": 1}),
    ],
    "auth_refresh_pilot_tokens": [
        Row(401, {"pilot_stamp": "s1", "refresh_token": "garbage"}),
        Row(422, {"pilot_stamp": "s1"}),
    ],
    "pilots_get_pilot_info": [
        Row(200, caller="pilot:s1"),
        Row(401, caller="pilot:s2"),
        Row(401, caller="pilot:none"),
        Row(403),
    ],
    "pilots_send_message": [
        Row(204, {"lines": [LINE]}, caller="pilot:s1"),
        Row(403, {"lines": [LINE], "pilot_stamp": "s2"}, caller="pilot:s1"),
        Row(403, {"lines": [LINE]}),
        Row(413, {"lines": [LINE] * 1001}, caller="pilot:s1"),
        Row(422, {"lines": {}}, caller="pilot:s1"),
    ],
    "pilots_update_own_metadata": [
        Row(204, {"Status": "Done"}, caller="pilot:s1"),
        Row(204, {}, caller="pilot:twin"),
        Row(403, {"Status": "Done"}, caller="pilot"),
        Row(422, {"Status": "Scheduled"}, caller="pilot:s1"),
    ],
    "pilots_set_own_job_statuses": [
        Row(200, {"2": {LATER: {"MinorStatus": "x"}}}, caller="pilot:s1"),
        Row(403, {"3": {LATER: {"MinorStatus": "x"}}}, caller="pilot:s1"),
        Row(403, {"2": {LATER: {"MinorStatus": "x"}}}),
        Row(422, {"2": {LATER: {"Status": "Bogus"}}}, caller="pilot:s1"),
    ],
    "pilots_add_own_heartbeats": [
        Row(200, {"2": {"LoadAverage": 1.5}}, caller="pilot:s1"),
        Row(403, {"3": {"LoadAverage": 1.5}}, caller="pilot:s1"),
        Row(422, {"2": {"extra": 1}}, caller="pilot:s1"),
    ],
    "pilots_update_own_job_metadata": [
        Row(204, {"2": {"Site": "x", "Free": 1}}, caller="pilot:s1"),
        Row(403, {"3": {"Site": "x"}}, caller="pilot:s1"),
        Row(400, {"2": {"Status": "Done"}}, caller="pilot:s1"),
        Row(422, {"2": []}, caller="pilot:s1"),
    ],
    "pilots_search_pilot_jobs": [
        Row(200),
        Row(200, search("JobID", "eq", 2), caller="operator"),
        Row(403, caller="bob"),
        Row(206, query={"per_page": "1"}),
        Row(416, query={"page": "50"}),
        Row(400, search("Nope", "eq", "x")),
        Row(422, query={"page": "-1"}),
    ],
    "matcher_request_job": [
        Row(200, OFFER, caller="pilot"),
        Row(200, OFFER | {"job_id": 1, "pilot_stamp": "s1", "pilot_benchmark": 1.5}, caller="alice"),
        Row(200, OFFER, caller="pilot:s1"),
        Row(204, OFFER | {"cpu_time": 0}, caller="pilot"),
        Row(204, OFFER | {"required_tags": ["GPU"]}, caller="pilot"),
        Row(204, OFFER | {"job_id": 2}, caller="pilot"),
        Row(204, OFFER, caller="other_pilot"),
        Row(403, OFFER | {"pilot_stamp": "s2"}, caller="pilot:s1"),
        Row(422, {"site": "DEMO.Geneva.ch"}, caller="pilot"),
        Row(422, OFFER | {"Setup": "x"}, caller="pilot"),
        Row(422, OFFER | {"processors": 0}, caller="pilot"),
        Row(204, OFFER | {"vo": "other"}, caller="host"),
    ],
    "task-queues_search_matching_task_queues": [
        Row(200, OFFER, caller="pilot"),
        Row(200, OFFER, caller="bob"),
        Row(200, OFFER | {"owners": ["bob"]}, caller="other_pilot"),
        Row(200, {"cpu_time": 1}),
        Row(200, {"cpu_time": 1, "sites": ["DEMO.Geneva.ch", "X"], "ces": ["a", "b"], "everybody": True}),
        Row(403, OFFER, caller="pilot:s1"),
        Row(403, OFFER | {"everybody": True}, caller="pilot"),
        Row(422, {"site": "DEMO.Geneva.ch"}),
    ],
    "task-queues_search_task_queues": [
        Row(200),
        Row(200, {"queue_ids": [1], "vos": ["demo"]}),
        Row(200, {"queue_ids": []}),
        Row(403, caller="operator"),
        Row(422, {"queue_ids": [-1]}),
        Row(422, {"queues": [1]}),
    ],
    "task-queues_get_jobs": [
        Row(200, parts={"queue_id": 1}),
        Row(200, parts={"queue_id": 999}),
        Row(200, query={"after": "1", "per_page": "1"}, parts={"queue_id": 1}),
        Row(403, parts={"queue_id": 1}, caller="pilot"),
        Row(422, parts={"queue_id": "x"}),
        Row(422, query={"per_page": "0"}, parts={"queue_id": 1}),
    ],
    "site-mask_get_site_mask": [
        Row(200),
        Row(200, query={"site": "DEMO.Geneva.ch"}, caller="olga"),
        Row(422, query={"site": ""}),
    ],
    "site-mask_get_known_sites": [Row(200), Row(200, caller="olga")],
    "site-mask_get_summary": [Row(200), Row(200, caller="olga")],
    "site-mask_clear_site_mask": [Row(200), Row(200, caller="operator"), Row(403, caller="bob")],
    "site-mask_get_allowed_sites": [Row(200), Row(200, caller="olga")],
    "site-mask_get_history": [Row(200), Row(200, query={"site": "DEMO.Geneva.ch"}, caller="bob")],
    "site-mask_update_sites": [
        Row(200, {"sites": {"DEMO.Geneva.ch": "Banned"}, "comment": "broken"}),
        Row(200, {"sites": {"DEMO.Geneva.ch": "Active", "LCG.X.y": "Banned"}}, caller="operator"),
        Row(403, {"sites": {"DEMO.Geneva.ch": "Banned"}}, caller="bob"),
        Row(422, {"sites": {}}),
        Row(422, {"sites": {"DEMO.Geneva.ch": "Closed"}}),
    ],
    "site-mask_set_site_mask": [
        Row(200, {"sites": ["DEMO.Geneva.ch"]}),
        Row(200, {"sites": []}),
        Row(403, {"sites": []}, caller="pilot"),
        Row(422, {"sites": "DEMO.Geneva.ch"}),
    ],
}
NAMED = {operation.name: operation for operation in OPERATIONS}


def test_every_operation_is_compared() -> None:
    """The table below leaves no operation out, and names none that is gone."""
    assert REQUESTS.keys() == NAMED.keys()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{number}-{row.status}")
        for name, rows in REQUESTS.items()
        for number, row in enumerate(rows)
    ],
)
async def test_both_shells_mean_the_same(grid, twin, stopped_clock, name, row) -> None:
    """A request has the same status, body, telling headers and effect over HTTP and in process."""
    operation = NAMED[name]
    request = (operation.method, operation.path.format(**row.parts), row.body)
    given = {"caller": row.caller, "query": row.query}
    base_url = str(grid.client.make_url("")).rstrip("/")

    http = await grid.http(*request, **given)
    call = await twin.call(*request, **given, base_url=base_url)

    assert http.status == row.status
    assert http.meaning == call.meaning
    assert await contents(grid) == await contents(twin)


async def contents(grid: Grid) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {
        table.name: await grid.rows(database, select(table))
        for database, schema in SCHEMAS.items()
        for table in schema.sorted_tables
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("DELETE", "/api/jobs/search", 405),
        ("POST", "/api/pilots", 307),
        ("GET", "/api/auth/userinfo/", 307),
    ],
)
async def test_what_is_not_in_the_table(grid, method, path, status) -> None:
    """Unknown paths, wrong methods and slashes too many or too few are answered alike by both shells."""
    http, call = await grid.http(method, path), await grid.call(method, path)
    assert http.meaning == call.meaning
    assert http.status == status


# --- The runner, on operations made for it

MARK = PilotAgents.insert().values(PilotID=77, PilotStamp="mark", VO="demo")


async def _mark(context, _body, _query) -> Answer:
    await context.work.change(PILOT_AGENTS_DB, MARK)
    return Answer("marked")


async def _mark_and_fail(context, _body, _query) -> Answer:
    await context.work.change(PILOT_AGENTS_DB, MARK)
    raise Conflict("after the mark")


async def _refuse(_context, _body, _parameters) -> None:
    raise Forbidden("Not you.")


async def _break(_context, _body, _query) -> Answer:
    raise LookupError("secret /etc/passwd")


REFUSED = Policy("refused", "Nobody.", _refuse)
EXTRA = (
    Operation("mark", "POST", "/api/test/mark", _mark, AUTHENTICATED, writes=True),
    Operation("mark_reading", "POST", "/api/test/reading", _mark, AUTHENTICATED),
    Operation("mark_and_fail", "POST", "/api/test/fail", _mark_and_fail, AUTHENTICATED, writes=True),
    Operation("mark_refused", "POST", "/api/test/refused", _mark, REFUSED, body=list[int], writes=True),
    Operation("break", "POST", "/api/test/break", _break, AUTHENTICATED),
)


@pytest.mark.parametrize(
    ("path", "body", "status", "marks"),
    [
        pytest.param("mark", None, 200, 1, id="success is committed"),
        pytest.param("reading", None, 500, 0, id="a reading operation cannot write"),
        pytest.param("fail", None, 409, 0, id="a failure is rolled back"),
        pytest.param("refused", [1], 403, 0, id="the policy is asked before the handler"),
        pytest.param("refused", "x", 422, 0, id="validation comes before the policy"),
    ],
)
async def test_an_operation_is_one_unit_of_work(make_grid, path, body, status, marks) -> None:
    """What an operation wrote is there if it succeeded, and not at all otherwise."""
    async with make_grid(operations=EXTRA) as grid:
        said = await grid.http("POST", f"/api/test/{path}", body)
        wanted = select(PilotAgents.c.PilotID).where(PilotAgents.c.PilotID == 77)
        assert said.status == status
        assert len(await grid.rows(PILOT_AGENTS_DB, wanted)) == marks


async def test_a_bug_is_logged_and_ends_nothing(make_grid, caplog) -> None:
    """An unexpected error is logged, tells the client nothing, and the connection lives on."""
    async with make_grid(operations=EXTRA) as grid:
        with caplog.at_level(logging.ERROR, "rest_backend.app"):
            broken = await grid.http("POST", "/api/test/break")
        told = {"detail": "Internal Server Error", "request_id": broken.headers["X-Request-ID"]}
        assert (broken.status, broken.body) == (500, told)
        [record] = caplog.records
        assert record.fields == {"request_id": told["request_id"]}
        assert record.getMessage() == "unhandled error in POST /api/test/break"
        assert record.exc_info is not None
        assert (await grid.http("GET", "/api/auth/userinfo")).status == 200


def test_a_path_is_served_once(grid) -> None:
    """Two operations for the same method and path are a mistake that stops the program."""
    with pytest.raises(ValueError, match="two operations for POST /api/test/mark"):
        Runner((EXTRA[0], EXTRA[0]), grid.runner.resources)


async def test_in_process_errors_are_answers(grid) -> None:
    """In process an error is an answer made of JSON's types, never an exception, whatever was sent."""
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    request = RestRequest("PATCH", "/api/jobs/status", {}, {5: {moment: {"Status": float("nan")}}})
    answer = await grid.runner.call(request, grid.principal("admin"))
    assert answer.status == 422
    [problem] = answer.body["detail"]
    assert problem["input"] == "nan"
    assert decode(encode(answer.body)) == answer.body
    for sent, told in (("\ud800", "?"), (10**30, 10**30)):
        request = RestRequest("PATCH", "/api/jobs/status", {}, {5: {moment: {"Status": [sent]}}})
        answer = await grid.runner.call(request, grid.principal("admin"))
        assert (answer.status, answer.body["detail"][0]["input"]) == (422, [told])
