"""Submitted jobs go to Waiting with their queue; what DIRAC 9.1.22 did with the same jobs is in the rows."""

from __future__ import annotations

from typing import Any

import pytest
from queue_hands import GROUPS, jobs_in, queued, waiting

from shared_db.connection import Databases
from shared_db.queries.jdls import current_jdls
from shared_db.queries.jobs import leave_task_queue
from shared_db.queries.optimisation import optimise
from shared_db.queries.statuses import logging_by_job
from shared_db.queries.task_queues import remove_empty_queues, set_all_priorities, task_queues
from shared_db.rules.jdl.description import job_requirements
from shared_db.rules.jdl.policy import Submitter
from shared_db.rules.jdl.storage import extracted
from shared_db.rules.optimisation import Unschedulable, Whose, schedule
from shared_db.rules.task_queues import segment, weight

# What JobScheduling of DIRAC 9.1.22 put into TaskQueueDB for a job with these attributes.
SEEN: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ('BannedSite = "LCG.A.a";', {"banned_sites": {"LCG.A.a"}}),
    ('BannedSites = {"LCG.A.a", "LCG.B.b"};', {"banned_sites": {"LCG.A.a", "LCG.B.b"}}),
    ("NumberOfProcessors = 1;", {}),
    ("NumberOfProcessors = 4;", {"tags": {"4Processors", "MultiProcessor"}}),
    ("MinNumberOfProcessors = 1;", {"tags": {"MultiProcessor"}}),
    ("MinNumberOfProcessors = 2;", {"tags": {"2Processors", "MultiProcessor"}}),
    ("MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8;", {"tags": {"2Processors", "MultiProcessor"}}),
    ("MinNumberOfProcessors = 4; MaxNumberOfProcessors = 4;", {"tags": {"4Processors", "MultiProcessor"}}),
    ("MinNumberOfProcessors = 1; MaxNumberOfProcessors = 8;", {"tags": {"MultiProcessor"}}),
    ("MaxNumberOfProcessors = 8;", {}),
    ("NumberOfProcessors = 1; MaxNumberOfProcessors = 4;", {}),
    ('WholeNode = "Yes";', {"tags": {"MultiProcessor", "WholeNode"}}),
    ("WholeNode = 1;", {"tags": {"MultiProcessor", "WholeNode"}}),
    ('WholeNode = "True";', {"tags": {"MultiProcessor", "WholeNode"}}),
    ('WholeNode = "no";', {}),
    (
        'WholeNode = "Yes"; NumberOfProcessors = 4;',
        {"tags": {"4Processors", "MultiProcessor", "WholeNode"}},
    ),
    ('Tags = {"GPU", "x"};', {"tags": {"GPU", "x"}}),
    ('Tags = {"GPU", "GPU"};', {"tags": {"GPU"}}),
    ('Tags = "a"; Tag = "b";', {"tags": {"a", "b"}}),
    (
        'NumberOfProcessors = 4; Tags = {"GPU"};',
        {"tags": {"4Processors", "MultiProcessor", "GPU"}},
    ),
    ("MinRAM = 2048;", {"min_ram": 2048}),
    ("MaxRAM = 4096;", {"max_ram": 4096}),
    ("MinRAM = 1000; MaxRAM = 2000;", {"min_ram": 1000, "max_ram": 2000}),
    ('JobType = "User";', {"job_types": {"User"}}),
    ('GridCE = {"ce1", "ce2"};', {"grid_ces": {"ce1", "ce2"}}),
    ('GridCEs = {"ce1"};', {}),
    ('Site = "ANY";', {}),
    ('Site = "Any";', {}),
    ('Site = {"ANY", "LCG.A.a"};', {"sites": {"LCG.A.a"}}),
    ('Site = {"LCG.A.a", "LCG.B.b"};', {"sites": {"LCG.A.a", "LCG.B.b"}}),
    (
        'Site = {"LCG.A.a", "LCG.B.b"}; BannedSites = {"LCG.A.a"};',
        {"sites": {"LCG.B.b"}, "banned_sites": {"LCG.A.a"}},
    ),
    ("CPUTime = 1000;", {"cpu_time": 1800}),
    ('SubmitPool = "p"; JobTypes = "zed";', {}),
    ('JobRequirements = [CPUTime = 86400; Platforms = {"el9", "el8"};];', {"platforms": {"el8", "el9"}}),
]


@pytest.mark.parametrize(("attributes", "expected"), SEEN)
def test_what_jobs_ask_for(attributes: str, expected: dict[str, Any]) -> None:
    """The same as DIRAC finds in them."""
    demand = schedule(f"[CPUTime = 86400; {attributes}]", Whose("alice", "lab_user", "lab")).demand
    asked = {name: getattr(demand, name) for name in demand.__slots__}
    usual = schedule("[CPUTime = 86400;]", Whose("alice", "lab_user", "lab")).demand
    assert schedule("[]", Whose("alice", "lab_user", "lab")).demand == usual
    plain = {name: getattr(usual, name) for name in usual.__slots__}
    assert asked == plain | expected


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('Site = "LCG.A.a"; BannedSites = {"LCG.A.a"};', "Impossible site requirement"),
        ("MinRAM = 3000; MaxRAM = 2000;", "MinRAM 3000 is above MaxRAM 2000"),
        ('MinRAM = "lots";', "MinRAM must be a number of megabytes"),
        ("MinRAM = -1;", "MinRAM must be a number of megabytes"),
        (f'Tags = "{"x" * 65}";', f"Tags is longer than 64 characters: {'x' * 64}"),
        ('CPUTime = "soon";', "CPUTime must be a number of seconds"),
    ],
)
def test_jobs_that_no_pilot_can_have(attributes: str, reason: str) -> None:
    """DIRAC refuses the first, and starts the others anew until they have started anew too often."""
    with pytest.raises(Unschedulable, match=reason) as caught:
        schedule(f"[CPUTime = 86400; {attributes}]", Whose("alice", "lab_user", "lab"))
    assert caught.value.minor_status == "JobScheduling optimizer"


def test_segments_and_weights() -> None:
    """What fitCPUTimeToSegments and tq_Jobs.RealPriority of DIRAC 9.1.22 are."""
    cpu_times = (0, 1, 360, 361, 1000, 3600, 5000, 86399, 86400, 86401, 172801, 500000, 1080000, 2000000)
    assert [segment(each) for each in cpu_times] == [
        *(360, 360, 360, 1800, 1800, 3600, 21600),
        *(86400, 86400, 172800, 259200, 518400, 1080000, 1080000),
    ]
    assert [weight(each) for each in (0, 1, 5, 9, 10, 100)] == [1e-5, 1, 5, 9, 1e6, 1e6]


async def test_what_is_stored(databases: Databases) -> None:
    """States, history, site and the JDL with what the job asks for among its requirements."""
    plain, site, several, bad, lost = await waiting(
        databases,
        [
            "",
            'Site = "LCG.A.a"; NumberOfProcessors = 2;',
            'Site = {"LCG.A.a", "LCG.B.b"};',
            'Site = "LCG.A.a"; BannedSites = "LCG.A.a";',
            'InputSandbox = "SB:SandboxSE|/SandBox/none";',
        ],
    )
    jobs = await jobs_in(databases)
    assert {job_id: (each["Status"], each["MinorStatus"], each["Site"]) for job_id, each in jobs.items()} == {
        plain: ("Waiting", "Pilot Agent Submission", "ANY"),
        site: ("Waiting", "Pilot Agent Submission", "LCG.A.a"),
        several: ("Waiting", "Pilot Agent Submission", "Multiple"),
        bad: ("Failed", "JobScheduling optimizer", "LCG.A.a"),
        lost: ("Failed", "JobSanity optimizer", "ANY"),
    }
    assert jobs[bad]["ApplicationStatus"] == "Impossible site requirement"
    assert jobs[lost]["ApplicationStatus"] == (
        "Sandbox does not exist or you are not authorized to assign it being alice@lab_user"
    )
    assert set(await queued(databases)) == {plain, site, several}
    async with databases.unit_of_work() as work:
        stored = await current_jdls(work, [site])
        requirements = job_requirements(extracted(stored[site]))
        assert requirements["Sites"] == ["LCG.A.a"]
        assert requirements["Tags"] == ["2Processors", "MultiProcessor"]
        history = await logging_by_job(work, [bad])
        last = history[bad][-1]
        assert (last["Status"], last["ApplicationStatus"], last["Source"]) == (
            "Failed",
            "Impossible site requirement",
            "JobScheduling",
        )


async def test_only_received_jobs_are_taken(databases: Databases) -> None:
    """Optimising twice, or what is on its way, changes nothing; nor does a job that is not there."""
    job_ids = await waiting(databases, ["", ""])
    before = await jobs_in(databases)
    async with databases.unit_of_work(write=True) as work:
        await optimise(work, [*job_ids, 999_999], GROUPS)
    assert await jobs_in(databases) == before


@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"], indirect=True)
async def test_statements_do_not_grow_with_jobs(databases: Databases, statements: list[Any]) -> None:
    """Forty jobs of four kinds take as many statements as four."""
    kinds = ["", "CPUTime = 1000;", 'Site = "LCG.A.a";', "Priority = 3;"]
    numbers = []
    for times in (1, 10):
        await waiting(databases, kinds)  # the queues are there
        statements.clear()
        await waiting(databases, kinds * times)
        numbers.append(len(statements))
    assert numbers[0] == numbers[1]


async def priorities(databases: Databases) -> dict[int, float]:
    """Of every queue with jobs, rounded as MySQL's FLOAT shows them."""
    async with databases.unit_of_work() as work:
        return {each.queue_id: round(each.priority, 3) for each in await task_queues(work)}


async def test_shares(databases: Databases) -> None:
    """The numbers that TaskQueueDB of DIRAC 9.1.22 gave for the same jobs, one after the other."""
    bob = Submitter("bob", "lab_user", "lab")
    await waiting(databases, [""])
    assert await priorities(databases) == {1: 1000}
    await waiting(databases, [""], bob)
    assert await priorities(databases) == {1: 500, 2: 500}
    await waiting(databases, ["CPUTime = 300;"])
    assert await priorities(databases) == {1: 250, 2: 500, 3: 250}
    await waiting(databases, ["CPUTime = 300; Priority = 9;"], bob)
    assert await priorities(databases) == {1: 250, 2: 50, 3: 250, 4: 450}
    # One more queue for other sites: both stand for the whole of their kind.
    await waiting(databases, ['Site = "LCG.A.a";'])
    assert await priorities(databases) == {1: 333.333, 2: 50, 3: 166.667, 4: 450, 5: 333.333}


async def test_a_sharing_group_is_one_owner(databases: Databases) -> None:
    """Its JobShare is split among the queues of all."""
    for name in ("alice", "bob"):
        await waiting(databases, [""], Submitter(name, "lab_prod", "lab"))
    assert await priorities(databases) == {1: 2500, 2: 2500}


@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"], indirect=True)
async def test_empty_queues_go(databases: Databases) -> None:
    """A queue without jobs is removed, with all that it asked for, and what is left has its share."""
    first, second = await waiting(databases, ["", 'Tags = "GPU"; Site = "LCG.A.a"; MinRAM = 10;'])
    assert await priorities(databases) == {1: 500, 2: 500}
    async with databases.unit_of_work(write=True) as work:
        await leave_task_queue(work, [second])
    async with databases.unit_of_work(write=True) as work:
        assert await remove_empty_queues(work, GROUPS) == 1
        assert await remove_empty_queues(work, GROUPS) == 0
        await set_all_priorities(work, GROUPS)
    assert await priorities(databases) == {1: 1000}
    assert await queued(databases) == {first: 1}
    assert await waiting(databases, ['Tags = "GPU";'])
