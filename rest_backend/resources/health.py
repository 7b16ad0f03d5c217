"""Probes for orchestrators; not in the OpenAPI document, as in DiracX.

A program that does not answer ``live`` is to be started anew; one that is not ``ready`` is to be spared
requests until it is.
"""

from __future__ import annotations

import asyncio

from sqlalchemy import literal, select

from rest_backend.errors import RETRY_AFTER_SECONDS, RestError
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import PUBLIC
from shared_db.errors import DataError
from shared_db.schema import SCHEMAS

# An orchestrator asks every few seconds, and gives up itself after some.
PING_SECONDS = 5.0


async def live(_context: Context, _body: None, _query: None) -> Answer:
    """The process answers; nothing else is asked."""
    return Answer({"status": "live"})


async def ready(context: Context, _body: None, _query: None) -> Answer:
    """Requests can be served: every database answers (else 503, which names the one that does not).

    The registry was read before anything listens, and a broken edit of it changes nothing.
    """
    await _check(context)
    return Answer({"status": "ready"})


async def startup(context: Context, _body: None, _query: None) -> Answer:
    """The start is over: what ``ready`` asks for was there (else 503)."""
    await _check(context)
    return Answer({"status": "startup complete"})


async def _check(context: Context) -> None:
    for database in SCHEMAS:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await _ping(context, database)
        except TimeoutError as error:
            raise _not_ready(f"{database} ping failed: no answer within {PING_SECONDS:g} s") from error
        except DataError as error:
            raise _not_ready(f"{database} ping failed: {error}") from error


async def _ping(context: Context, database: str) -> None:
    """A unit of work for each: one that fails tells which it is."""
    async with context.resources.databases.unit_of_work() as work:
        table = SCHEMAS[database].sorted_tables[0]
        await work.rows(database, select(literal(1)).select_from(table).limit(1))


def _not_ready(reason: str) -> RestError:
    return RestError(503, reason, {"Retry-After": RETRY_AFTER_SECONDS})


OPERATIONS = tuple(
    Operation(
        f"health_{probe.__name__}",
        "GET",
        f"/api/health/{probe.__name__}",
        probe,
        PUBLIC,
        documented=False,
        transactional=False,
    )
    for probe in (live, ready, startup)
)
