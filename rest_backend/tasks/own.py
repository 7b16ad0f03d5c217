"""Tasks on our own tables: what has ended goes."""

from __future__ import annotations

from datetime import timedelta

from rest_backend.idempotency import KEPT
from rest_backend.tasks.turn import Turn
from shared_db.queries.answers import purge_answers
from shared_db.queries.flows import purge_flows
from shared_db.queries.pilot_logs import purge_pilot_logs
from shared_db.queries.pilot_secrets import purge_ended_secrets
from shared_db.queries.proxies import purge_proxies, purge_proxy_log
from shared_db.queries.refresh_tokens import purge_refresh_tokens
from shared_db.queries.revocations import purge_revocations
from shared_db.rules import clock

# A flow that has ended is remembered for a while: who asks is told so, and not that there is none.
FLOWS_REMEMBERED = timedelta(hours=1)


async def purge_tokens(turn: Turn) -> int:
    """Refresh tokens that have ended are forgotten."""
    now = clock.utc_now()
    return await turn.until_none(lambda work: purge_refresh_tokens(work, now))


async def purge_logins(turn: Turn) -> int:
    """Logins whose time was over an hour ago are forgotten."""
    before = clock.utc_now() - FLOWS_REMEMBERED
    return await turn.until_none(lambda work: purge_flows(work, before))


async def purge_refusals(turn: Turn) -> int:
    """Revocations of tokens that have all ended are forgotten."""
    now = clock.utc_now()
    return await turn.until_none(lambda work: purge_revocations(work, now))


async def purge_secrets(turn: Turn) -> int:
    """Pilot secrets whose time is over are forgotten."""
    now = clock.utc_now()
    return await turn.until_none(lambda work: purge_ended_secrets(work, now))


async def purge_logs(turn: Turn) -> int:
    """Lines of pilots' logs are forgotten after their time, `pilots.log_days`."""
    lifetime = turn.resources.settings.pilots.log_lifetime
    if lifetime is None:
        return 0
    before = clock.utc_now() - lifetime
    return await turn.until_none(lambda work: purge_pilot_logs(work, before, most=1000))


async def purge_kept_answers(turn: Turn) -> int:
    """Answers kept for repeated requests are forgotten."""
    before = clock.utc_now() - KEPT
    return await turn.until_none(lambda work: purge_answers(work, before))


async def purge_delegated_proxies(turn: Turn) -> int:
    """Delegated proxies that have ended are forgotten."""
    return await turn.until_none(purge_proxies)


async def purge_log_of_proxies(turn: Turn) -> int:
    """The log of who did what with whose proxy is kept for `tasks.proxy_log_days`."""
    before = clock.utc_now() - turn.settings.proxy_log
    return await turn.until_none(lambda work: purge_proxy_log(work, before))
