"""Which job a pilot may have: the rules against a model in plain Python, and what a match changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from queue_hands import GROUPS, jobs_in, queued, waiting
from sqlalchemy import select

from shared_db.cfg import CfgSection
from shared_db.connection import Databases, open_databases
from shared_db.queries.jobs import update_jobs
from shared_db.queries.match_requests import Pilot, request_job
from shared_db.queries.matching import Match, matching_queues
from shared_db.queries.pilots import add_pilots
from shared_db.queries.site_mask import allowed_sites, mask_sites, set_site_mask, site_history, site_mask
from shared_db.queries.statuses import logging_by_job
from shared_db.queries.task_queues import Queued, enqueue, task_queues
from shared_db.rules.matching import (
    Excluded,
    Offer,
    Wanted,
    WrongVersion,
    check_version,
    in_order_of_chance,
    offered_tags,
    restriction,
)
from shared_db.rules.task_queues import Demand
from shared_db.schema.pilot_agents_db import PILOT_AGENTS_DB, JobToPilotMapping, PilotAgents

SITE = "LCG.Lab.org"
HERE = Offer(SITE, 500_000)


async def ask(
    databases: Databases, offer: Offer = HERE, cfg: CfgSection | None = None, **pilot: object
) -> Match | None:
    """A job for a pilot of VO lab."""
    return await request_job(databases, offer, Pilot(**pilot), "lab", cfg or CfgSection())  # type: ignore[arg-type]


# The rules


def fits(demand: Demand, offer: Offer, without: Excluded) -> bool:
    """The model: may a pilot have the jobs of a queue, said as simply as it can be."""

    def meets(wishes: Iterable[str], offered: Sequence[str] | None) -> bool:
        return not wishes or offered is None or bool(set(wishes) & set(offered))

    return (
        demand.cpu_time <= offer.cpu_time
        and meets(demand.sites, [offer.site])
        and offer.site not in demand.banned_sites
        and meets(demand.grid_ces, offer.grid_ces)
        and meets(demand.platforms, offer.platforms)
        and meets(demand.job_types, offer.job_types)
        and (not offer.only_job_types or bool(demand.job_types & set(offer.job_types or ())))
        and (offer.tags is None or demand.tags <= set(offer.tags))
        and demand.tags >= set(offer.required_tags)
        and (offer.owners is None or demand.owner in offer.owners)
        and (offer.owner_groups is None or demand.owner_group in offer.owner_groups)
        and (offer.max_ram is None or demand.min_ram <= offer.max_ram)
        and not demand.job_types & without.get("JobType", frozenset())
        and demand.owner not in without.get("Owner", ())
        and demand.owner_group not in without.get("OwnerGroup", ())
    )


def some(*values: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), max_size=2)


def offered(*values: str) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(values), unique=True, max_size=2).map(tuple)


SITES = ("LCG.A.a", "LCG.B.b", "LCG.C.c")
demands = st.builds(
    Demand,
    owner=st.sampled_from(["alice", "bob"]),
    owner_group=st.sampled_from(["lab_user", "lab_prod"]),
    vo=st.just("lab"),
    cpu_time=st.sampled_from([360, 86400]),
    sites=some(*SITES),
    banned_sites=some(*SITES),
    grid_ces=some("ce1", "ce2"),
    platforms=some("el8", "el9"),
    job_types=some("User", "Test"),
    tags=some("GPU", "MultiProcessor", "4Processors"),
    min_ram=st.sampled_from([0, 0, 1000, 4000]),
    max_ram=st.sampled_from([0, 8000]),
)
offers = st.builds(
    Offer,
    site=st.sampled_from([*SITES, "LCG.D.d"]),
    cpu_time=st.sampled_from([0, 360, 100_000]),
    grid_ces=offered("ce1", "ce2", "ce3"),
    platforms=offered("el8", "el9"),
    job_types=offered("User", "Test", "Other"),
    tags=offered("GPU", "MultiProcessor", "4Processors"),
    required_tags=st.sampled_from([(), (), ("GPU",), ("GPU", "MultiProcessor")]),
    owners=offered("alice", "bob"),
    owner_groups=offered("lab_user", "lab_prod"),
    max_ram=st.sampled_from([None, 0, 1000, 2000]),
)
exclusions = st.fixed_dictionaries(
    {}, optional={"JobType": some("User"), "Owner": some("alice"), "OwnerGroup": some("lab_prod")}
)


@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"], indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(demands, min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(offers, exclusions), min_size=1, max_size=8),
)
def test_the_queues_that_fit_are_those_of_the_model(
    database_urls, wishes: list[Demand], pilots: list[tuple[Offer, Excluded]]
) -> None:
    """On every engine the same queues fit as in the model, for any jobs and pilots."""

    async def run() -> None:
        databases = open_databases(database_urls, registry=lambda: GROUPS)
        try:
            async with databases.unit_of_work(write=True) as work:
                jobs = {number: Queued(demand, 1) for number, demand in enumerate(wishes, 1_000)}
                await enqueue(work, jobs, GROUPS)
                there = {each.demand: each.queue_id for each in await task_queues(work)}
                for offer, without in pilots:
                    kept = {name: values for name, values in without.items() if values}
                    expected = {there[demand] for demand in there if fits(demand, offer, kept)}
                    assert (await matching_queues(work, offer, kept)).keys() == expected
                raise _Rollback
        except _Rollback:
            pass
        finally:
            await databases.dispose()

    asyncio.run(run())


class _Rollback(Exception):
    """So that every example begins with empty queues."""


def test_queues_are_drawn_by_priority() -> None:
    """Of two queues the one with three times the priority comes first three times as often."""
    random = Random(1)
    first = [in_order_of_chance({1: 300.0, 2: 100.0}, random)[0] for _ in range(4_000)]
    assert 0.72 < first.count(1) / len(first) < 0.78


@pytest.mark.parametrize(
    ("tags", "processors", "whole", "expected"),
    [
        ((), 1, False, ()),
        (("GPU",), 3, False, ("GPU", "1Processors", "2Processors", "3Processors", "MultiProcessor")),
        ((), 1, True, ("WholeNode",)),
        (("a", "a"), 1, False, ("a",)),
    ],
)
def test_tags_that_a_pilot_offers(tags, processors, whole, expected) -> None:
    """A pilot of three processors can run jobs of one, two and three."""
    assert offered_tags(tags, processors, whole_node=whole) == expected


def test_nobody_offers_a_million_tags() -> None:
    """A pilot that boasts costs no memory."""
    assert len(offered_tags((), 10**9)) == 1025


@pytest.mark.parametrize(
    ("properties", "wanted", "expected"),
    [
        (["GenericPilot"], Wanted(), Wanted(None, ("lab_user", "lab_prod"))),
        (["GenericPilot"], Wanted(("bob",), ("lab_prod", "foreign")), Wanted(("bob",), ("lab_prod",))),
        (["NormalUser"], Wanted(("bob",), ("lab_prod",)), Wanted(("alice",), ("lab_user",))),
        (["NormalUser", "JobSharing"], Wanted(("bob",)), Wanted(("bob",), ("lab_user",))),
    ],
)
def test_whose_jobs_somebody_may_have(properties, wanted, expected) -> None:
    """Generic pilots serve their VO, private ones their owner, those of a sharing group the group."""
    assert restriction(properties, "alice", "lab_user", ("lab_user", "lab_prod"), wanted) == expected


def _pilot_cfg(**options: str) -> CfgSection:
    cfg = CfgSection()
    for name, value in options.items():
        cfg.set(f"Operations/Defaults/Pilot/{name}", value)
    return cfg


@pytest.mark.parametrize(
    ("version", "project", "options", "accepted"),
    [
        ("", "", {}, False),
        ("", "", {"CheckVersion": "False"}, True),
        ("v9r1p22", "", {"Version": "9.1.22"}, True),
        ("9.1.22", "", {"Version": "9.1.23, 9.1.22"}, True),
        ("9.1.23", "", {"Version": "9.1.22"}, False),
        ("9.1.23", "", {"Version": "9.1.23", "Project": "Bar"}, False),
        ("9.1.23", "Bar", {"Version": "9.1.23", "Project": "Bar"}, True),
        ("8.0.0a2", "", {"Version": "v8r0-pre2"}, False),
    ],
)
def test_versions_of_pilots(version, project, options, accepted) -> None:
    """Those that DIRAC 9.1.22 took and refused."""
    if accepted:
        check_version(_pilot_cfg(**options), "lab", version, project)
    else:
        with pytest.raises(WrongVersion):
            check_version(_pilot_cfg(**options), "lab", version, project)


# What a match changes


async def test_a_match(databases: Databases) -> None:
    """The job is Matched at the pilot's site and out of its queue; the pilot runs, and has the job."""
    [job_id] = await waiting(databases, [""])
    async with databases.unit_of_work(write=True) as work:
        await add_pilots(work, [{"PilotJobReference": "ref", "PilotStamp": "stamp", "VO": "lab"}])
    match = await ask(databases, reference="ref", vo="lab", ce="ce.lab.org", benchmark=12.5)
    assert match is not None
    assert (match.job_id, match.owner, match.owner_group, match.vo) == (job_id, "alice", "lab_user", "lab")
    assert match.parameters == {"OptimizerChain": "JobPath,JobSanity,JobScheduling"}
    assert f"JobID = {job_id};" in match.jdl
    job = (await jobs_in(databases))[job_id]
    assert (job["Status"], job["MinorStatus"], job["ApplicationStatus"]) == ("Matched", "Assigned", "Unknown")
    assert (job["Site"], job["StartExecTime"]) == (SITE, None)
    assert await queued(databases) == {}
    async with databases.unit_of_work() as work:
        history = await logging_by_job(work, [job_id])
        assert [(each["Status"], each["MinorStatus"], each["Source"]) for each in history[job_id]] == [
            ("Received", "Job accepted", "JobManager"),
            ("Checking", "JobSanity", "JobPath"),
            ("Checking", "JobScheduling", "JobSanity"),
            ("Waiting", "Pilot Agent Submission", "JobScheduling"),
            ("Matched", "Assigned", "Matcher"),
        ]
        c = PilotAgents.c
        columns = (c.PilotID, c.CurrentJobID, c.Status, c.GridSite, c.DestinationSite, c.BenchMark)
        [pilot] = await work.rows(PILOT_AGENTS_DB, select(*columns))
        assert tuple(pilot)[1:] == (job_id, "Running", SITE, "ce.lab.org", 12.5)
        [mapped] = await work.rows(PILOT_AGENTS_DB, select(JobToPilotMapping))
        assert (mapped.PilotID, mapped.JobID) == (pilot.PilotID, job_id)
    assert await ask(databases) is None


async def test_an_unknown_pilot_gets_a_job_too(databases: Databases) -> None:
    """As DIRAC's Matcher serves it."""
    job_ids = await waiting(databases, [""])
    match = await ask(databases, reference="nobody's")
    assert match is not None
    assert [match.job_id] == job_ids


async def test_the_oldest_of_a_priority_and_the_urgent_first(databases: Databases) -> None:
    """Priority 10 goes before all others, of equal priority the oldest; priority 0 comes last."""
    slow, first, second, urgent = await waiting(
        databases, ["Priority = 0;", "Priority = 3;", "Priority = 3;", "Priority = 10;"]
    )
    taken = [match.job_id for _ in range(4) if (match := await ask(databases))]
    assert taken == [urgent, first, second, slow]


async def test_one_job_and_no_other(databases: Databases) -> None:
    """A pilot that names a job gets it, if it waits and its wishes are met."""
    first, second, far = await waiting(databases, ["", "", 'Site = "LCG.Far.away";'])
    assert await ask(databases, replace(HERE, job_id=second, owners=("bob",))) is None
    assert await ask(databases, replace(HERE, job_id=far)) is None
    match = await ask(databases, replace(HERE, job_id=second))
    assert match is not None
    assert match.job_id == second
    assert await ask(databases, replace(HERE, job_id=second)) is None
    assert set(await queued(databases)) == {first, far}


async def test_what_is_left_in_a_queue_by_others_is_cleared(databases: Databases) -> None:
    """A job that has gone on without leaving its queue is passed over, and leaves it."""
    gone, checking, good = await waiting(databases, ["", "", ""])
    async with databases.unit_of_work(write=True) as work:
        await update_jobs(work, {gone: {"Status": "Done"}, checking: {"Status": "Checking"}})
    match = await ask(databases)
    assert match is not None
    assert match.job_id == good
    assert await ask(databases) is None
    # Whatever makes it wait will find its place in the queue.
    assert set(await queued(databases)) == {checking}


# The site mask

HOMES = pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"], indirect=True)


@HOMES
async def test_a_banned_site_gets_test_jobs_only(databases: Databases) -> None:
    """And jobs again when it is allowed."""
    plain, test = await waiting(databases, ["", 'JobType = "Test";'])
    async with databases.unit_of_work(write=True) as work:
        assert await mask_sites(work, {SITE: "Banned"}, "alice", "broken") == [SITE]
        assert await mask_sites(work, {SITE: "Banned"}, "bob") == []
    assert [match.job_id for _ in range(2) if (match := await ask(databases))] == [test]
    async with databases.unit_of_work(write=True) as work:
        assert await mask_sites(work, {SITE: "Active"}, "alice") == [SITE]
    assert [match.job_id for _ in range(2) if (match := await ask(databases))] == [plain]


async def test_a_site_that_is_not_in_the_configuration(databases: Databases) -> None:
    """Gets nothing where the configuration names sites, unless the mask allows it."""
    cfg = CfgSection()
    cfg.set("Resources/Sites/LCG/LCG.Known.org/CE", "ce")
    job_ids = await waiting(databases, [""])
    assert await ask(databases, cfg=cfg) is None
    match = await ask(databases, replace(HERE, site="LCG.Known.org"), cfg)
    assert match is not None
    assert [match.job_id] == job_ids


@HOMES
async def test_the_mask_and_its_history(databases: Databases) -> None:
    """Setting the mask bans what it no longer names; one entry for each site and second is kept."""
    async with databases.unit_of_work(write=True) as work:
        assert await set_site_mask(work, ["A", "B"], "alice") == ["A", "B"]
        assert await set_site_mask(work, ["B", "C"], "bob", "new") == ["A", "C"]
        mask = await site_mask(work)
        assert {site: each.status for site, each in mask.items()} == {
            "A": "Banned",
            "B": "Active",
            "C": "Active",
        }
        assert (mask["A"].author, mask["A"].comment) == ("bob", "new")
        assert await allowed_sites(work, "lab", {"D", "A"}) == ["B", "C", "D"]
        history = await site_history(work, ["A", "B"])
        assert [each.status for each in history["B"]] == ["Active"]
        assert history["A"][-1].status == "Banned"
