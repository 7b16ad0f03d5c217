"""Sites: what the configuration and the site mask know of them (legacy-methods.md, section 8)."""

from __future__ import annotations

from rest_backend.models.sites import KnownSite
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.common import AUTHENTICATED
from shared_db.queries.site_mask import site_statuses
from shared_db.rules.site_pages import known_sites


async def known(context: Context, _body: None, _parameters: None) -> Answer:
    """The sites of the configuration, and those of which mask or states say something."""
    statuses = await site_statuses(context.work, context.caller.vo)
    found = known_sites(context.resources.cfg(), statuses)
    return Answer(
        {
            name: KnownSite(Tier=site.tier, MaskStatus=site.mask, Configured=site.configured)
            for name, site in found.items()
        }
    )


OPERATIONS = (
    Operation(
        "site-mask_get_known_sites",
        "GET",
        "/api/site-mask/known",
        known,
        AUTHENTICATED,
        response=dict[str, KnownSite],
        extension=True,
    ),
)
