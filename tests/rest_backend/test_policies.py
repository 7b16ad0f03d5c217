"""Who may do what over REST (``rest-diracx.md``, 6.1 and 7, widened by the extensions that policies name)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from rest_backend.messages import RestRequest
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
docs                      200     200   200 200  200  200   200   200  200   200   200     200 200  200
docs-asset                200     200   200 200  200  200   200   200  200   200   200     200 200  200
userinfo                  401     401   200 200  200  200   200   200  200   200   200     200 200  200
config                    401     401   200 200  200  200   200   200  200   200   200     200 200  200
own-proxy                 401     401   200 200  200  200   200   200  200   200   200     200 200  200
rss-site                  401     401   200 200  200  200   200   200  200   200   200     200 200  200
rss-compute               401     401   200 200  200  200   200   200  200   200   200     200 200  200
rss-fts                   401     401   200 200  200  200   200   200  200   200   200     200 200  200
rss-storage               401     401   200 200  200  200   200   200  200   200   200     200 200  200
device-begin              200     200   200 200  200  200   200   200  200   200   200     200 200  200
device-page               200     200   200 200  200  200   200   200  200   200   200     200 200  200
device-complete           400     400   400 400  400  400   400   400  400   400   400     400 400  400
device-finished           200     200   200 200  200  200   200   200  200   200   200     200 200  200
authorize                 422     422   422 422  422  422   422   422  422   422   422     422 422  422
authorize-provider        400     400   400 400  400  400   400   400  400   400   400     400 400  400
authorize-complete        400     400   400 400  400  400   400   400  400   400   400     400 400  400
token                     401     401   401 401  401  401   401   401  401   401   401     401 401  401
revoke                    200     200   200 200  200  200   200   200  200   200   200     200 200  200
legacy-exchange           503     503   503 503  503  503   503   503  503   503   503     503 503  503
refresh-tokens            401     401   200 200  200  200   200   200  200   200   200     200 200  200
refresh-token-missing     401     401   404 404  404  404   404   404  404   404   404     404 404  404

jobs-search               401     401   200 200  200  200   200   200  200   200   200     200 200  200
status-alices             401     401   200 403  403  403   403   403  200   200   200     200 403  200
status-alices-as-admin    401     401   200 403  403  403   403   403  200   200   200     200 403  200
status-bobs               401     401   403 200  403  403   403   200  200   200   200     200 403  200
status-of-both            401     401   403 403  403  403   403   403  200   200   200     200 403  200
status-daves-shared       401     401   403 403  403  403   200   403  200   200   200     200 403  200
status-olgas              401     401   403 403  403  200   403   403  200   200   200     200 403  200
status-missing            401     401   403 403  403  403   403   403  404   404   404     404 403  404
status-none               401     401   403 403  403  403   403   403  404   404   404     404 403  404
status-forced             401     401   403 403  403  403   403   403  403   200   403     403 403  200
jobs-ids                  401     401   200 200  200  200   200   200  200   200   200     200 200  200
jobs-summary              401     401   200 200  200  200   200   200  200   200   200     200 200  200
jobs-counters             401     401   200 200  200  200   200   200  200   200   200     200 200  200
submit                    401     401   201 201  201  201   201   403  201   201   403     403 403  403
confirm-olgas             401     401   403 403  403  200   403   403  403   200   403     403 403  200
limits                    401     401   200 200  200  200   200   200  200   200   200     200 200  200
reschedule-alices         401     401   400 403  403  403   403   403  403   400   400     400 403  400
remove-alices             401     401   200 403  403  403   403   403  403   200   403     403 403  200
remove-daves-shared       401     401   403 403  403  403   200   403  200   200   403     403 403  200
heartbeat                 401     401   200 403  403  403   403   403  200   200   200     200 403  200
heartbeat-legacy          401     401   200 403  403  403   403   403  200   200   200     200 403  200
metadata                  401     401   204 403  403  403   403   403  204   204   204     204 403  204
attributes                401     401   200 403  403  403   403   403  200   200   200     200 403  200
parameters                401     401   200 403  403  403   403   403  200   200   200     200 403  200
jdl-alices                401     401   200 403  403  403   403   403  403   200   403     403 403  200
jdl-daves-shared          401     401   403 403  403  403   200   403  200   200   403     403 403  200
parameters-of-one         401     401   200 200  200  200   200   200  200   200   200     200 200  200
heartbeats-of-one         401     401   200 200  200  200   200   200  200   200   200     200 200  200
input-data-of-one         401     401   200 200  200  200   200   200  200   200   200     200 200  200
parameters-of-some        401     401   200 200  200  200   200   200  200   200   200     200 200  200
attic-of-some             401     401   200 200  200  200   200   200  200   200   200     200 200  200
heartbeats-of-some        401     401   200 200  200  200   200   200  200   200   200     200 200  200
input-data-of-some        401     401   200 200  200  200   200   200  200   200   200     200 200  200

sandbox-new               401     401   200 200  200  200   200   403  200   200   403     403 403  403
sandbox-get               401     401   403 403  403  403   403   404  403   404   403     403 403  404
sandboxes-alices          401     401   200 403  403  403   403   200  403   200   403     403 403  200
sandboxes-daves-shared    401     401   403 403  403  403   200   200  200   200   403     403 403  200
sandboxes-missing         401     401   403 403  403  403   403   200  403   200   403     403 403  200
sandbox-of-type           401     401   200 403  403  403   403   200  403   200   403     403 403  200
sandbox-assign            401     401   400 403  403  403   403   403  403   400   400     400 403  400
sandbox-unassign          401     401   200 403  403  403   403   403  403   200   200     200 403  200
sandbox-unassign-some     401     401   204 403  403  403   403   403  403   204   204     204 403  204
sandbox-name              401     401   403 403  403  403   403   403  403   403   403     403 403  403
sandbox-names             401     401   200 200  200  200   200   200  200   200   403     403 403  200
sandbox-of-entities       401     401   200 200  200  200   200   200  200   200   403     403 403  200
sandbox-to-entities       401     401   400 400  400  400   400   403  400   400   403     403 403  400
sandbox-from-entities     401     401   200 200  200  200   200   403  200   200   403     403 403  200
sandbox-space             401     401   200 200  200  200   200   200  200   200   200     200 200  200

pilots-search             401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilots-summary            401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilots-counters           401     401   200 200  200  200   200   200  200   200   200     200 200  200
register-demo             401     401   403 403  403  403   403   403  201   201   201     403 403  201
register-other            401     401   403 403  403  403   403   403  201   201   403     201 403  201
metadata-one              401     401   403 403  403  403   403   403  204   204   204     204 204  204
metadata-two-vos          401     401   403 403  403  403   403   403  204   204   204     204 204  204
pilot-jobs                401     401   403 403  403  403   403   403  200   200   403     403 403  200
pilot-fields               401     401   403 403  403  403   403   403  204   204   204     204 204  204
pilots-delete              401     401   403 403  403  403   403   403  204   204   403     403 403  204
pilots-kill                401     401   403 403  403  403   403   403  200   200   403     403 403  200
jobs-of-pilot              401     401   200 200  200  200   200   200  200   200   200     200 200  200
jobs-to-pilot              401     401   403 403  403  403   403   403  204   204   403     403 403  204
pilot-tells-demo           401     401   403 403  403  403   403   403  204   204   204     403 204  204
pilot-tells-other          401     401   403 403  403  403   403   403  204   204   403     204 403  204
pilot-logs-search          401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilot-logs-demo            401     401   404 404  404  404   404   404  404   404   404     404 404  404
pilot-logs-delete          401     401   403 403  403  403   403   403  204   204   403     403 403  204
sites-of-ces              401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilot-log-limits           401     401   200 200  200  200   200   200  200   200   200     200 200  200
pilot-output-demo          401     401   200 200  404  404   200   200  200   200   200     404 200  200
pilot-output-other         401     401   404 404  200  200   404   404  200   200   404     200 404  200
pilot-output-store         401     401   403 403  403  403   403   403  201   201   403     403 403  201
pilots-register-bulk       401     401   403 403  403  403   403   403  200   200   403     403 403  200
pilot-secrets              401     401   403 403  403  403   403   403  200   200   403     403 403  200
pilot-secrets-change       401     401   403 403  403  403   403   403  404   404   403     403 403  404
pilot-secret-exchange      401     401   401 401  401  401   401   401  401   401   401     401 401  401
pilot-refresh              401     401   401 401  401  401   401   401  401   401   401     401 401  401
pilot-info                 401     401   403 403  403  403   403   403  403   403   403     403 403  403
pilot-message              401     401   403 403  403  403   403   403  403   403   403     403 403  403
pilot-own-fields           401     401   403 403  403  403   403   403  403   403   403     403 403  403
pilot-job-status           401     401   403 403  403  403   403   403  403   403   403     403 403  403
pilot-job-heartbeat        401     401   403 403  403  403   403   403  403   403   403     403 403  403
pilot-job-metadata         401     401   403 403  403  403   403   403  403   403   403     403 403  403
legacy-add                401     401   403 403  403  403   403   403  201   201   403     403 403  201
legacy-update             401     401   403 403  403  403   403   403  200   200   200     200 200  200

job-request               401     401   200 204  204  204   204   204  204   204   200     204 204  204
queues-matching           401     401   200 200  200  200   200   200  200   200   200     200 200  200
queues-of-everybody       401     401   403 403  403  403   403   403  403   200   403     403 403  200
queues-search             401     401   403 403  403  403   403   403  403   200   403     403 403  200
queue-jobs                401     401   403 403  403  403   403   403  403   200   403     403 403  200
mask-read                 401     401   200 200  200  200   200   200  200   200   200     200 200  200
mask-allowed              401     401   200 200  200  200   200   200  200   200   200     200 200  200
mask-history              401     401   200 200  200  200   200   200  200   200   200     200 200  200
mask-summary              401     401   200 200  200  200   200   200  200   200   200     200 200  200
mask-known                401     401   200 200  200  200   200   200  200   200   200     200 200  200
mask-change               401     401   403 403  403  403   403   403  200   200   403     403 403  200
mask-set                  401     401   403 403  403  403   403   403  200   200   403     403 403  200
mask-clear                401     401   403 403  403  403   403   403  200   200   403     403 403  200
"""
OTHER_NAMES = {"away": "alice_elsewhere", "oper": "operator", "strange": "other_pilot"}


@dataclass(frozen=True)
class Asked:
    """A request for an operation."""

    operation: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    # What stands in the path's braces.
    parts: Mapping[str, Any] = field(default_factory=dict)


def status(*jobs: int) -> dict[int, Any]:
    """An update of some jobs."""
    return {job: {LATER: {"MinorStatus": "x"}} for job in jobs}


DONE = {"Status": "Done"}
OFFER = {"site": "DEMO.Geneva.ch", "cpu_time": 500_000}
SANDBOX = {"checksum_algorithm": "sha256", "checksum": "ab" * 32, "size": 3, "format": "tar.zst"}
PFN = f"/S3/sandboxes/demo/nobody/nobody/sha256:{'ab' * 32}.tar.zst"
ASSIGNMENT = {"entity": "Job:1", "type": "Output", "pfn": f"SB:SandboxSE|{PFN}"}
REQUESTS: Mapping[str, Asked] = {
    "openid-configuration": Asked(".well-known_get_openid_configuration"),
    "jwks": Asked(".well-known_get_jwks"),
    "dirac-metadata": Asked(".well-known_get_installation_metadata"),
    "security": Asked(".well-known_get_security_txt"),
    "live": Asked("health_live"),
    "ready": Asked("health_ready"),
    "startup": Asked("health_startup"),
    "openapi": Asked("openapi"),
    "docs": Asked("docs"),
    "docs-asset": Asked("docs_asset", parts={"asset": "start.js"}),
    "userinfo": Asked("auth_userinfo"),
    "config": Asked("config_serve_config"),
    "own-proxy": Asked("proxies_get_own_proxy"),
    **{f"rss-{what}": Asked(f"rss_get_{what}_status") for what in ("site", "compute", "fts", "storage")},
    # What these prove, to whom: test_auth_device.py, test_auth_code.py, test_auth_tokens.py.
    "device-begin": Asked(
        "auth_initiate_device_flow", query={"client_id": "myDIRACClientID", "scope": "vo:demo"}
    ),
    "device-page": Asked("auth_do_device_flow"),
    "device-complete": Asked("auth_finish_device_flow", query={"code": "x", "state": "x"}),
    "device-finished": Asked("auth_finished"),
    "authorize": Asked("auth_initiate_authorization_flow"),
    "authorize-provider": Asked("auth_choose_provider", query={"provider": "x", "state": "x"}),
    "authorize-complete": Asked("auth_complete_authorization_flow", query={"code": "x", "state": "x"}),
    "token": Asked(
        "auth_get_oidc_token", {"grant_type": "refresh_token", "client_id": "x", "refresh_token": "x"}
    ),
    "revoke": Asked("auth_revoke_refresh_token_by_refresh_token", {"token": "x"}),
    "legacy-exchange": Asked(
        "auth_legacy_exchange", query={"preferred_username": "alice", "scope": "vo:demo"}
    ),
    "refresh-tokens": Asked("auth_get_refresh_tokens"),
    "refresh-token-missing": Asked(
        "auth_revoke_refresh_token_by_jti", parts={"jti": "018f0000-0000-7000-8000-000000000000"}
    ),
    # DiracX asks for NormalUser or JobAdministrator: extension monitoring-for-all.
    "jobs-search": Asked("jobs_search"),
    # From another VO a certificate is needed: extension job-owner, test_an_owner_from_another_vo.  Operator
    # and TrustedHost may report on any job: extension job-operators.
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
    "jobs-ids": Asked("jobs_list_ids", {}),
    "jobs-summary": Asked("jobs_summary", {"grouping": ["Status"]}),
    "jobs-counters": Asked("jobs_get_counters"),
    "submit": Asked("jobs_submit_jdl_jobs", ['Executable = "/bin/echo";']),
    # GenericPilot may report about any job, but neither confirm nor remove it.
    "confirm-olgas": Asked("jobs_confirm_jobs", {"job_ids": [7]}),
    "limits": Asked("jobs_get_limits"),
    # Whoever may is told that this job has no JDL to start from.
    "reschedule-alices": Asked("jobs_reschedule_jobs", {"job_ids": [1]}),
    "remove-alices": Asked("jobs_remove_jobs", {"job_ids": [1, 2]}),
    "remove-daves-shared": Asked("jobs_remove_jobs", {"job_ids": [6]}),
    "heartbeat": Asked("jobs_add_heartbeat", {2: {"LoadAverage": 1}}),
    "heartbeat-legacy": Asked("jobs_add_legacy_heartbeat", {2: {"dynamic": {"Load": 1}}}),
    "metadata": Asked("jobs_patch_metadata", {2: {"Site": "DEMO.Lyon.fr", "Free": 1}}),
    "attributes": Asked("jobs_patch_attributes", {2: {"Site": "DEMO.Lyon.fr"}}),
    "parameters": Asked("jobs_patch_parameters", {2: {"Free": "x"}}),
    "jdl-alices": Asked("jobs_get_jdl", parts={"job_id": 1}),
    "jdl-daves-shared": Asked("jobs_get_jdl", parts={"job_id": 6}),
    # Anybody may look, at the own VO's jobs or not: extension monitoring-for-all.
    "parameters-of-one": Asked("jobs_get_parameters", parts={"job_id": 1}),
    "heartbeats-of-one": Asked("jobs_get_heartbeats", parts={"job_id": 1}),
    "input-data-of-one": Asked("jobs_get_input_data", parts={"job_id": 1}),
    "parameters-of-some": Asked("jobs_search_parameters", {"job_ids": [1]}),
    "attic-of-some": Asked("jobs_search_attic_parameters", {"job_ids": [1]}),
    "heartbeats-of-some": Asked("jobs_search_heartbeats", {"job_ids": [1]}),
    "input-data-of-some": Asked("jobs_search_input_data", {"job_ids": [1]}),
    "sandbox-new": Asked("jobs_initiate_sandbox_upload", SANDBOX),
    # Whoever may read any learns that one is not there.  Whose are whose: test_sandboxes.py.
    "sandbox-get": Asked("jobs_get_sandbox_file", query={"pfn": PFN}),
    # DiracX refuses JobMonitor: extension sandbox-monitor.
    "sandboxes-alices": Asked("jobs_get_job_sandboxes", parts={"job_id": 1}),
    "sandboxes-daves-shared": Asked("jobs_get_job_sandboxes", parts={"job_id": 6}),
    "sandboxes-missing": Asked("jobs_get_job_sandboxes", parts={"job_id": 999}),
    "sandbox-of-type": Asked("jobs_get_job_sandbox", parts={"job_id": 1, "sandbox_type": "input"}),
    # Whoever may is told that there is no such sandbox.
    "sandbox-assign": Asked("jobs_assign_sandbox_to_job", PFN, parts={"job_id": 1}),
    "sandbox-unassign": Asked("jobs_unassign_job_sandboxes", parts={"job_id": 1}),
    "sandbox-unassign-some": Asked("jobs_unassign_bulk_jobs_sandboxes", {"job_ids": [1, 2]}),
    "sandbox-name": Asked("jobs_name_legacy_sandbox", {"pfn": PFN, "md5": "ab" * 16, "format": "tar.zst"}),
    "sandbox-names": Asked("jobs_search_legacy_sandboxes", {"names": ["/SandBox/x"]}),
    "sandbox-of-entities": Asked("jobs_search_entity_sandboxes", {"entities": ["Job:1"]}),
    # There is no such sandbox.
    "sandbox-to-entities": Asked("jobs_assign_entity_sandboxes", {"sandboxes": [ASSIGNMENT]}),
    "sandbox-from-entities": Asked("jobs_unassign_entity_sandboxes", {"entities": ["Job:1"]}),
    "sandbox-space": Asked("jobs_get_sandbox_space"),
    # DiracX refuses GenericPilot: extension pilot-look-ups.  Which pilots are seen: test_pilots_routes.py.
    "pilots-search": Asked("pilots_search"),
    "pilots-summary": Asked("pilots_summary", {"grouping": ["Status"]}),
    # DiracX knows ServiceAdministrator and GenericPilot: extension pilot-operator.
    "pilots-counters": Asked("pilots_get_counters"),
    "register-demo": Asked("pilots_register_pilot", {"pilot_stamp": "new", "vo": "demo"}),
    "register-other": Asked("pilots_register_pilot", {"pilot_stamp": "new", "vo": "other"}),
    # DiracX lets GenericPilot change one pilot of its own VO: extension pilot-reports.
    "metadata-one": Asked("pilots_update_pilot_metadata", {"s1": DONE}),
    "metadata-two-vos": Asked("pilots_update_pilot_metadata", {"s1": DONE, "s3": DONE}),
    "pilot-jobs": Asked("pilots_search_pilot_jobs"),
    "pilot-fields": Asked(
        "pilots_update_pilot_fields", {"pilot_stamps_to_fields_mapping": [{"PilotStamp": "s1", **DONE}]}
    ),
    "pilots-delete": Asked("pilots_delete_pilots", query={"pilot_stamps": "s1"}),
    "pilots-kill": Asked("pilots_kill_pilots", {"pilot_ids": [1]}),
    # Which are seen, of whom: test_pilot_work.py.
    "jobs-of-pilot": Asked("pilots_get_pilot_jobs", query={"pilot_stamp": "s1"}),
    "jobs-to-pilot": Asked("pilots_add_jobs_to_pilot", {"pilot_stamp": "s1", "job_ids": [1]}),
    "pilot-tells-demo": Asked("pilots_send_legacy_message", {"pilot_stamp": "s1", "lines": []}),
    "pilot-tells-other": Asked("pilots_send_legacy_message", {"pilot_stamp": "s3", "lines": []}),
    "pilot-logs-search": Asked("pilots_search_logs"),
    # It said nothing yet.
    "pilot-logs-demo": Asked("pilots_get_pilot_logs", query={"pilot_stamp": "s1"}),
    "pilot-logs-delete": Asked("pilots_delete_pilot_logs", query={"pilot_stamps": "s1"}),
    "sites-of-ces": Asked("pilots_get_sites_of_ces"),
    "pilot-log-limits": Asked("pilots_get_log_limits"),
    "pilot-output-demo": Asked("pilots_get_pilot_outputs", query={"pilot_id": "1"}),
    "pilot-output-other": Asked("pilots_get_pilot_outputs", query={"pilot_id": "3"}),
    "pilot-output-store": Asked("pilots_store_pilot_output", {"pilot_id": 1, "StdOut": "x"}),
    "pilots-register-bulk": Asked("pilots_register_pilots", {"pilot_stamps": ["new"], "vo": "other"}),
    "pilot-secrets": Asked("pilots_create_pilot_secrets", {"vo": "other"}),
    # Whoever may is told that there is no such secret.
    "pilot-secrets-change": Asked("pilots_update_secrets_constraints", {"f" * 64: {}}),
    "pilot-secret-exchange": Asked(
        "auth_perform_secret_exchange", {"pilot_stamp": "s1", "pilot_secret": "f" * 64}
    ),
    "pilot-refresh": Asked("auth_refresh_pilot_tokens", {"pilot_stamp": "s1", "refresh_token": "x"}),
    # A pilot with a token of its own is none of these callers: test_a_pilot_and_every_operation.
    "pilot-info": Asked("pilots_get_pilot_info"),
    "pilot-message": Asked("pilots_send_message", {"lines": []}),
    "pilot-own-fields": Asked("pilots_update_own_metadata", DONE),
    "pilot-job-status": Asked("pilots_set_own_job_statuses", status(2)),
    "pilot-job-heartbeat": Asked("pilots_add_own_heartbeats", {2: {"LoadAverage": 1}}),
    "pilot-job-metadata": Asked("pilots_update_own_job_metadata", {2: {"Site": "x"}}),
    "legacy-add": Asked("pilots_add_legacy_pilots", [{"pilot_reference": "r", "vo": "demo"}]),
    "legacy-update": Asked("pilots_update_legacy_pilots", {"pilot_ids": [1, 3], "metadata": DONE}),
    # Alice's job waits, and nobody else's.
    "job-request": Asked("matcher_request_job", OFFER),
    "queues-matching": Asked("task-queues_search_matching_task_queues", OFFER),
    "queues-of-everybody": Asked("task-queues_search_matching_task_queues", {**OFFER, "everybody": True}),
    "queues-search": Asked("task-queues_search_task_queues"),
    "queue-jobs": Asked("task-queues_get_jobs", parts={"queue_id": 1}),
    "mask-read": Asked("site-mask_get_site_mask"),
    "mask-allowed": Asked("site-mask_get_allowed_sites"),
    "mask-history": Asked("site-mask_get_history"),
    "mask-summary": Asked("site-mask_get_summary"),
    "mask-known": Asked("site-mask_get_known_sites"),
    "mask-change": Asked("site-mask_update_sites", {"sites": {"LCG.X.y": "Banned"}}),
    "mask-set": Asked("site-mask_set_site_mask", {"sites": ["LCG.X.y"]}),
    "mask-clear": Asked("site-mask_clear_site_mask"),
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
    request = (operation.method, operation.path.format(**asked.parts), asked.body)
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


OPEN_TO_PILOTS = ("/api/pilots/internal/", "/api/matcher/", "/api/config/", "/api/rss/")


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_pilot_and_every_operation(grid, name) -> None:
    """A pilot with a token of its own has its own routes, matching, config and rss, and nothing else."""
    asked = REQUESTS[name]
    operation = NAMED[asked.operation]
    path = operation.path.format(**asked.parts)
    said = await grid.http(operation.method, path, asked.body, caller="pilot:s1", query=asked.query)
    if operation.policy.public:
        assert said.status == EXPECTED[name]["anon"]
    elif path.startswith(OPEN_TO_PILOTS):
        assert said.status in (200, 204)
    else:
        assert said.status == 403


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
        if operation.writes and not operation.policy.public:
            rows = [row for name, row in EXPECTED.items() if REQUESTS[name].operation == operation.name]
            assert any(row["guest"] == 403 for row in rows), operation.name
            assert operation.method in ("POST", "PUT", "PATCH", "DELETE")


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
    request = RestRequest("PATCH", "/api/jobs/status", {}, status(1))
    answer = await grid.runner.call(request, nameless)
    assert (answer.status, answer.body) == (403, {"detail": "Forbidden"})
    # Over HTTP there is nobody whom the registry does not know.
    headers = {"Authorization": f"Bearer {grid.issuer.mint(nameless).text}"}
    said = await grid.http("PATCH", "/api/jobs/status", status(1), caller=None, headers=headers)
    assert (said.status, said.detail) == (401, "Invalid JWT")


async def test_an_owner_from_another_vo(grid) -> None:
    """A certificate proves in every VO who somebody is; a token, what the provider of its VO says."""
    alice = grid.principal("alice_elsewhere")
    request = RestRequest("PATCH", "/api/jobs/status", body=status(1))
    assert (await grid.runner.call(request, alice)).status == 403
    assert (await grid.runner.call(request, replace(alice, by_certificate=True))).status == 200


async def test_what_a_certificate_lets_look_at(grid) -> None:
    """Callers by certificate read every JDL and find jobs by pilot; those by token do not, nor pilots."""
    bob = grid.principal("bob")
    questions = (RestRequest("GET", "/api/jobs/1/jdl"), RestRequest("POST", "/api/pilots/jobs/search"))
    for request in questions:
        assert (await grid.runner.call(request, bob)).status == 403
        assert (await grid.runner.call(request, replace(bob, by_certificate=True))).status == 200
        pilot = replace(bob, by_certificate=True, pilot_stamp="s1")
        assert (await grid.runner.call(request, pilot)).status == 403


async def test_pilots_of_other_vos(grid) -> None:
    """WebApp shows everybody all pilots: so does REST whoever proves by a certificate who he is."""
    bob = grid.principal("bob")
    proven = replace(bob, by_certificate=True)

    async def seen(caller: Principal) -> tuple[list[str], int, int]:
        found = await grid.runner.call(
            RestRequest("POST", "/api/pilots/search", body={"parameters": ["VO"], "distinct": True}), caller
        )
        counted = await grid.runner.call(
            RestRequest("POST", "/api/pilots/summary", body={"grouping": ["VO"]}), caller
        )
        others = [pilot["PilotID"] for pilot in await all_pilots(grid) if pilot["VO"] != bob.vo]
        output = await grid.runner.call(
            RestRequest("GET", "/api/pilots/output", {"pilot_id": others[0]}), caller
        )
        return sorted(row["VO"] for row in found.body), len(counted.body), output.status

    own, every = await seen(bob), await seen(proven)
    assert own == (["demo"], 1, 404)
    assert set(every[0]) > {"demo"}
    assert every[1:] == (len(every[0]), 200)


async def all_pilots(grid) -> list[dict[str, Any]]:
    """Every pilot that there is."""
    operator = grid.principal("operator")
    answer = await grid.runner.call(RestRequest("POST", "/api/pilots/search"), operator)
    return list(answer.body)
