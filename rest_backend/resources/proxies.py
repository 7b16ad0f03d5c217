"""Stored proxies, as far as their owners ask for them: legacy clients are told to upload one in time."""

from __future__ import annotations

from rest_backend.models.proxies import OwnProxy
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from shared_db.queries.proxies import proxy_seconds


async def get_own_proxy(context: Context, _body: None, _parameters: None) -> Answer:
    """For how long the caller's stored proxy lasts; of the proxy itself nothing is shown."""
    resources, caller = context.resources, context.caller
    dns = resources.registry().dns_of(caller.username) if caller.username else ()
    if not (resources.settings.keeps_proxies and dns):
        return Answer(OwnProxy(kept=resources.settings.keeps_proxies, seconds_left=0))
    return Answer(OwnProxy(kept=True, seconds_left=await proxy_seconds(context.work, dns)))


OPERATIONS = (
    Operation(
        "proxies_get_own_proxy",
        "GET",
        "/api/proxies/own",
        get_own_proxy,
        AUTHENTICATED,
        response=OwnProxy,
        extension=True,
    ),
)
