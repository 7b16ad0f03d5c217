"""How a site wants jobs described, and whose they are; both sides submit and reschedule by it."""

from __future__ import annotations

from dataclasses import replace

from shared_db.cfg import CfgSection
from shared_db.connection import UnitOfWork
from shared_db.queries.rescheduling import Original, Rebuild
from shared_db.registry import Registry
from shared_db.rules.jdl.description import JobRecord, redescribe
from shared_db.rules.jdl.policy import DescriptionPolicy, Submitter
from shared_db.rules.site import site_jobs


def description_policy(work: UnitOfWork, cfg: CfgSection, registry: Registry, vo: str) -> DescriptionPolicy:
    """What the site asks of the jobs of a VO, with the keys that the tables' own release looks for."""
    policy = site_jobs(cfg, vo).description
    return replace(policy, setup=registry.setup or "") if work.has_setups else policy


def submitter_of(registry: Registry, owner: str, group: str, vo: str) -> Submitter:
    """A user as the submitter of jobs; the DN is the first that the registry has."""
    return Submitter(owner, group, vo, next(iter(registry.dns_of(owner)), ""))


def rebuilding(work: UnitOfWork, cfg: CfgSection, registry: Registry) -> Rebuild:
    """What makes jobs that start anew of what was submitted, by what the site asks now."""

    def rebuild(original: Original) -> JobRecord:
        owner = submitter_of(registry, original.owner, original.owner_group, original.vo)
        policy = description_policy(work, cfg, registry, original.vo)
        return redescribe(original.jdl, owner, policy).for_job(original.job_id)

    return rebuild
