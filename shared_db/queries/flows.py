"""Logins under way: device and authorization flows (rest-diracx.md, section 5).

A flow goes from PENDING to READY (the identity provider has answered) to DONE (tokens were issued); each step
compares and sets in one statement, so that it happens once, on every engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, update

from shared_db.connection import UnitOfWork
from shared_db.queries.purging import purge
from shared_db.schema.wherry_db import WHERRY_DB, flows

DEVICE = "device"
AUTHORIZATION = "authorization"

PENDING = "PENDING"
READY = "READY"
DONE = "DONE"
ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Flow:
    """A row; codes are kept as their SHA-256, in hex, and ``id_token_json`` is '' until READY."""

    flow_id: str
    kind: str
    client_id: str
    scope: str
    created_at: datetime
    expires_at: datetime
    status: str = PENDING
    user_code: str | None = None
    code_hash: str | None = None
    redirect_uri: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""
    id_token_json: str = ""


_COLUMNS = [flows.c[name] for name in Flow.__dataclass_fields__]


async def add_flow(work: UnitOfWork, flow: Flow) -> None:
    """Begin a flow.  Raises Conflict where its user code is in use."""
    row = {name: getattr(flow, name) for name in Flow.__dataclass_fields__}
    await work.change(WHERRY_DB, flows.insert(), row)


async def pending_flow(
    work: UnitOfWork, now: datetime, *, flow_id: str | None = None, user_code: str | None = None
) -> Flow | None:
    """A flow that waits for the identity provider and has not ended, by its id or its user code."""
    named = flows.c.flow_id == flow_id if flow_id is not None else flows.c.user_code == user_code
    return await _flow(work, named & (flows.c.status == PENDING) & (flows.c.expires_at > now))


async def flow_of_code(work: UnitOfWork, kind: str, code_hash: str) -> Flow | None:
    """The flow, ended or not, that a code belongs to."""
    return await _flow(work, (flows.c.code_hash == code_hash) & (flows.c.kind == kind))


async def _flow(work: UnitOfWork, which: ColumnElement[bool]) -> Flow | None:
    rows = await work.rows(WHERRY_DB, select(*_COLUMNS).where(which))
    return Flow(*rows[0]) if rows else None


async def make_ready(
    work: UnitOfWork, flow_id: str, now: datetime, id_token_json: str, code_hash: str | None = None
) -> bool:
    """Keep what the identity provider said, and the hash of a code that is handed out now.

    False when the flow does not wait any more.
    """
    values = {"status": READY, "id_token_json": id_token_json}
    if code_hash is not None:
        values["code_hash"] = code_hash
    waiting = (flows.c.flow_id == flow_id) & (flows.c.status == PENDING) & (flows.c.expires_at > now)
    return await work.change(WHERRY_DB, update(flows).where(waiting).values(values)) == 1


async def fail(work: UnitOfWork, flow_id: str) -> bool:
    """Note that the identity provider refused; False when the flow does not wait any more."""
    return await _go_on(work, flow_id, PENDING, ERROR)


async def finish(work: UnitOfWork, flow_id: str) -> bool:
    """Note that tokens are issued; False when somebody else was first."""
    return await _go_on(work, flow_id, READY, DONE)


async def _go_on(work: UnitOfWork, flow_id: str, before: str, after: str) -> bool:
    here = (flows.c.flow_id == flow_id) & (flows.c.status == before)
    return await work.change(WHERRY_DB, update(flows).where(here).values(status=after)) == 1


async def purge_flows(work: UnitOfWork, ended_before: datetime, most: int = 1000) -> int:
    """Remove flows whose time was over by then, so many at most; returns how many."""
    return await purge(work, flows.c.flow_id, flows.c.expires_at <= ended_before, most)
