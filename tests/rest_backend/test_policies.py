"""Who may do what over REST (``rest-diracx.md``, 6.1 and 7, widened by the extensions that policies name)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from rest_backend.policies.catalogue import POLICIES
from rest_backend.principals import Principal
from rest_backend.table import OPERATIONS
from rest_backend.tokens import TokenIssuer
from shared_db.schema.job_db import JOB_DB, Jobs

LATER = "2024-05-01T10:00:00Z"
NAMED = {operation.name: operation for operation in OPERATIONS}

# Statuses by caller.
#   anon   no token                        expired  alice's token of yesterday
#   alice, bob  plain users (NormalUser)   away     alice in a group of another VO
#   olga   a user of another VO            carol    NormalUser and JobSharing
#   guest  bob, with JobMonitor only       oper     dave, with NormalUser and Operator
#   admin  alice, administrator of jobs and services
#   pilot  GenericPilot                    strange  GenericPilot of another VO
#   wms    the property Pilot              host     TrustedHost, JobAdministrator, Operator
TABLE = """
                         anon expired alice bob away olga carol guest oper admin pilot strange wms host
openid-configuration      200     200   200 200  200  200   200   200  200   200   200     200 200  200
jwks                      200     200   200 200  200  200   200   200  200   200   200     200 200  200
dirac-metadata            200     200   200 200  200  200   200   200  200   200   200     200 200  200
security                  200     200   200 200  200  200   200   200  200   200   200     200 200  200
live                      200     200   200 200  200  200   200   200  200   200   200     200 200  200
ready                     200     200   200 200  200  200   200   200  200   200   200     200 200  200
startup                   200     200   200 200  200  200   200   200  200   200   200     200 200  200
openapi                   200     200   200 200  200  200   200   200  200   200   200     200 200  200
userinfo                  401     401   200 200  200  200   200   200  200   200   200     200 200  200

jobs-search               401     401   200 200  200  200   200   200  200   200   200     200 200  200
status-alices             401     401   200 403  200  403   403   403  403   200   200     200 403  200
status-alices-as-admin    401     401   200 403  200  403   403   403  403   200   200     200 403  200
status-bobs               401     401   403 200  403  403   403   200  403   200   200     200 403  200
status-of-both            401     401   403 403  403  403   403   403  403   200   200     200 403  200
status-daves-shared       401     401   403 403  403  403   200   403  200   200   200     200 403  200
status-olgas              401     401   403 403  403  200   403   403  403   200   200     200 403  200
status-missing            401     401   403 403  403  403   403   403  403   404   404     404 403  404
status-none               401     401   403 403  403  403   403   403  403   404   404     404 403  404
status-forced             401     401   403 403  403  403   403   403  403   200   403     403 403  200

pilots-search             401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilots-summary            401     401   200 200  200  200   200   200  200   200   200     200 200  200
register-demo             401     401   403 403  403  403   403   403  201   201   201     403 403  201
register-other            401     401   403 403  403  403   403   403  201   201   403     201 403  201
metadata-one              401     401   403 403  403  403   403   403  204   204   204     204 204  204
metadata-two-vos          401     401   403 403  403  403   403   403  204   204   204     204 204  204
pilot-jobs                401     401   403 403  403  403   403   403  200   200   403     403 403  200
legacy-add                401     401   403 403  403  403   403   403  201   201   403     403 403  201
legacy-update             401     401   403 403  403  403   403   403  200   200   200     200 200  200
"""
OTHER_NAMES = {"away": "alice_elsewhere", "oper": "operator", "strange": "other_pilot"}


@dataclass(frozen=True)
class Asked:
    """A request for an operation."""

    operation: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)


def status(*jobs: int) -> dict[int, Any]:
    """An update of some jobs."""
    return {job: {LATER: {"MinorStatus": "x"}} for job in jobs}


DONE = {"Status": "Done"}
REQUESTS: Mapping[str, Asked] = {
    "openid-configuration": Asked(".well-known_get_openid_configuration"),
    "jwks": Asked(".well-known_get_jwks"),
    "dirac-metadata": Asked(".well-known_get_installation_metadata"),
    "security": Asked(".well-known_get_security_txt"),
    "live": Asked("health_live"),
    "ready": Asked("health_ready"),
    "startup": Asked("health_startup"),
    "openapi": Asked("openapi"),
    "userinfo": Asked("auth_userinfo"),
    # DiracX asks for NormalUser or JobAdministrator: extension monitoring-for-all.
    "jobs-search": Asked("jobs_search"),
    # DiracX compares the VO too: extension job-owner, from any of the owner's groups.
    "status-alices": Asked("jobs_set_job_statuses", status(1)),
    "status-alices-as-admin": Asked("jobs_set_job_statuses", status(3)),
    "status-bobs": Asked("jobs_set_job_statuses", status(4)),
    "status-of-both": Asked("jobs_set_job_statuses", status(1, 4)),
    # Dave submitted it in carol's group: extension job-sharing.  He himself is the operator.
    "status-daves-shared": Asked("jobs_set_job_statuses", status(6)),
    "status-olgas": Asked("jobs_set_job_statuses", status(7)),
    # Only those who may touch any job learn that one is not there.
    "status-missing": Asked("jobs_set_job_statuses", status(999)),
    "status-none": Asked("jobs_set_job_statuses", {}),
    "status-forced": Asked("jobs_set_job_statuses", status(1), {"force": "true"}),
    # DiracX refuses GenericPilot: extension pilot-look-ups.  Which pilots are seen: test_pilots_routes.py.
    "pilots-search": Asked("pilots_search"),
    "pilots-summary": Asked("pilots_summary", {"grouping": ["Status"]}),
    # DiracX knows ServiceAdministrator and GenericPilot: extension pilot-operator.
    "register-demo": Asked("pilots_register_pilot", {"pilot_stamp": "new", "vo": "demo"}),
    "register-other": Asked("pilots_register_pilot", {"pilot_stamp": "new", "vo": "other"}),
    # DiracX lets GenericPilot change one pilot of its own VO: extension pilot-reports.
    "metadata-one": Asked("pilots_update_pilot_metadata", {"s1": DONE}),
    "metadata-two-vos": Asked("pilots_update_pilot_metadata", {"s1": DONE, "s3": DONE}),
    "pilot-jobs": Asked("pilots_search_pilot_jobs"),
    "legacy-add": Asked("pilots_add_legacy_pilots", [{"pilot_reference": "r", "vo": "demo"}]),
    "legacy-update": Asked("pilots_update_legacy_pilots", {"pilot_ids": [1, 3], "metadata": DONE}),
}


def read_table() -> dict[str, dict[str, int]]:
    """The statuses by request and caller."""
    head, *rows = [line.split() for line in TABLE.splitlines() if line]
    return {name: dict(zip(head, map(int, statuses), strict=True)) for name, *statuses in rows}


EXPECTED = read_table()


@pytest.mark.parametrize("name", EXPECTED)
async def test_who_may(grid, name) -> None:
    """Each kind of caller gets exactly the status that the table says."""
    asked = REQUESTS[name]
    operation = NAMED[asked.operation]
    request = (operation.method, operation.path, asked.body)
    yesterday = TokenIssuer(grid.issuer.keys, grid.issuer.issuer, timedelta(days=-1))
    old_token = yesterday.mint(grid.principal("alice")).text
    headers = {"anon": {}, "expired": {"Authorization": f"Bearer {old_token}"}}
    given = {}
    for caller in EXPECTED[name]:
        if caller in headers:
            said = await grid.http(*request, caller=None, headers=headers[caller], query=asked.query)
        else:
            # In process, where nothing that was done stays: the shells mean the same (test_operations.py).
            async with grid.databases.rehearsal():
                principal = OTHER_NAMES.get(caller, caller)
                said = await grid.call(*request, caller=principal, query=asked.query)
        given[caller] = said.status
    assert given == EXPECTED[name]


def test_every_operation_has_a_row() -> None:
    """Every row has its request, and every operation a row."""
    assert list(EXPECTED) == list(REQUESTS)
    assert {asked.operation for asked in REQUESTS.values()} == NAMED.keys()


def test_every_operation_has_a_known_policy() -> None:
    """Operations have policies from the one list, each of which says its rule and has its own name."""
    assert all(operation.policy in POLICIES for operation in OPERATIONS)
    assert len({policy.name for policy in POLICIES}) == len(POLICIES)
    assert all(policy.rule.endswith(".") for policy in POLICIES)


def test_writing_needs_more_than_a_token() -> None:
    """Whatever changes rows refuses some caller with a good token, and is no GET."""
    for operation in OPERATIONS:
        if operation.writes:
            rows = [row for name, row in EXPECTED.items() if REQUESTS[name].operation == operation.name]
            assert any(row["guest"] == 403 for row in rows), operation.name
            assert operation.method in ("POST", "PATCH")


async def test_what_a_refused_caller_learns(grid) -> None:
    """A refusal is the same whether or not the job is there: it tells nothing of others' jobs."""
    refusals = [
        await grid.http("PATCH", "/api/jobs/status", status(*jobs), caller="alice")
        for jobs in ([4], [999], [1, 4], [1, 999])
    ]
    assert {(said.status, said.detail) for said in refusals} == {(403, "Forbidden")}


async def test_a_caller_without_a_name(grid) -> None:
    """A caller without a name or group owns no job, not even one without an owner."""
    async with grid.databases.unit_of_work(write=True) as work:
        nobodys = Jobs.update().where(Jobs.c.JobID == 1).values(Owner="", OwnerGroup="")
        await work.change(JOB_DB, nobodys)
    nameless = Principal("subject", "demo", "", "", ("NormalUser",))
    headers = {"Authorization": f"Bearer {grid.issuer.mint(nameless).text}"}
    said = await grid.http("PATCH", "/api/jobs/status", status(1), caller=None, headers=headers)
    assert (said.status, said.detail) == (403, "Forbidden")
