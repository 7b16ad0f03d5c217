"""How a site wants jobs described, and whose they are."""

from __future__ import annotations

from dataclasses import replace

from rest_backend.operations import Context, Resources
from shared_db.connection import UnitOfWork
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.site import site_jobs


def description_policy(context: Context, vo: str) -> DescriptionPolicy:
    """What the site asks of the jobs of a VO, with the keys that the tables' own release looks for."""
    return policy_of(context.resources, context.work, vo)


def submitter(context: Context, owner: str, group: str, vo: str) -> Submitter:
    """A user as the submitter of jobs; the DN is the first that the registry has."""
    return submitter_of(context.resources, owner, group, vo)


def policy_of(resources: Resources, work: UnitOfWork, vo: str) -> DescriptionPolicy:
    """The same as ``description_policy``, where there is no request."""
    policy = site_jobs(resources.cfg(), vo).description
    if work.has_setups:
        return replace(policy, setup=resources.registry().setup or "")
    return policy


def submitter_of(resources: Resources, owner: str, group: str, vo: str) -> Submitter:
    """The same as ``submitter``, where there is no request."""
    dns = resources.registry().dns_of(owner)
    return Submitter(owner, group, vo, next(iter(dns), ""))
