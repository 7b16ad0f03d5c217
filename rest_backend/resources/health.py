"""Probes for orchestrators; not in the OpenAPI document, as in DiracX."""

from __future__ import annotations

from sqlalchemy import literal, select

from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import PUBLIC
from shared_db.schema import SCHEMAS


async def live(_context: Context, _body: None, _query: None) -> Answer:
    """The process answers."""
    return Answer({"status": "live"})


async def ready(context: Context, _body: None, _query: None) -> Answer:
    """Requests can be served: every database answers (else 503)."""
    await _ping(context)
    return Answer({"status": "ready"})


async def startup(context: Context, _body: None, _query: None) -> Answer:
    """The start is over: every database answers (else 503)."""
    await _ping(context)
    return Answer({"status": "startup complete"})


async def _ping(context: Context) -> None:
    for database, schema in SCHEMAS.items():
        await context.work.rows(database, select(literal(1)).select_from(schema.sorted_tables[0]).limit(1))


OPERATIONS = (
    Operation("health_live", "GET", "/api/health/live", live, PUBLIC, documented=False),
    Operation("health_ready", "GET", "/api/health/ready", ready, PUBLIC, documented=False),
    Operation("health_startup", "GET", "/api/health/startup", startup, PUBLIC, documented=False),
)
