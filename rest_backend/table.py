"""Every operation there is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from rest_backend.openapi import openapi_document
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import PUBLIC
from rest_backend.resources import auth, health, jobs, pilots


async def openapi(_context: Context, _body: None, _query: None) -> Answer:
    """This document."""
    return Answer(_document())


@cache
def _document() -> dict[str, Any]:
    return openapi_document(OPERATIONS, version("wherry"))


OPERATIONS: tuple[Operation, ...] = (
    *auth.OPERATIONS,
    *health.OPERATIONS,
    *jobs.OPERATIONS,
    *pilots.OPERATIONS,
    Operation("openapi", "GET", "/api/openapi.json", openapi, PUBLIC, documented=False),
)
