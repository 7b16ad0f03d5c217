"""Every operation there is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from rest_backend.openapi import openapi_document
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import PUBLIC
from rest_backend.resources import (
    auth,
    authorization_flow,
    configuration,
    counters,
    device_flow,
    docs,
    health,
    job_details,
    job_management,
    job_reports,
    job_submission,
    jobs,
    legacy_sandboxes,
    matching,
    pilot_internal,
    pilot_jobs,
    pilot_logs,
    pilot_outputs,
    pilot_removal,
    pilot_secrets,
    pilot_tokens,
    pilots,
    proxies,
    resource_status,
    sandboxes,
    site_mask,
    sites,
    task_queues,
    well_known,
)


async def openapi(_context: Context, _body: None, _query: None) -> Answer:
    """This document."""
    return Answer(_document())


@cache
def _document() -> dict[str, Any]:
    return openapi_document(OPERATIONS, version("wherry"))


OPERATIONS: tuple[Operation, ...] = (
    *auth.OPERATIONS,
    *authorization_flow.OPERATIONS,
    *device_flow.OPERATIONS,
    *well_known.OPERATIONS,
    *configuration.OPERATIONS,
    *docs.OPERATIONS,
    *health.OPERATIONS,
    *jobs.OPERATIONS,
    *job_submission.OPERATIONS,
    *job_management.OPERATIONS,
    *job_reports.OPERATIONS,
    *job_details.OPERATIONS,
    *counters.OPERATIONS,
    *pilots.OPERATIONS,
    *pilot_removal.OPERATIONS,
    *pilot_jobs.OPERATIONS,
    *pilot_logs.OPERATIONS,
    *pilot_outputs.OPERATIONS,
    *pilot_secrets.OPERATIONS,
    *pilot_tokens.OPERATIONS,
    *pilot_internal.OPERATIONS,
    *proxies.OPERATIONS,
    *resource_status.OPERATIONS,
    *sandboxes.OPERATIONS,
    *legacy_sandboxes.OPERATIONS,
    *matching.OPERATIONS,
    *task_queues.OPERATIONS,
    *site_mask.OPERATIONS,
    *sites.OPERATIONS,
    Operation("openapi", "GET", "/api/openapi.json", openapi, PUBLIC, documented=False),
)
