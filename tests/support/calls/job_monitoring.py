"""Generated calls of WorkloadManagement/JobMonitoring."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import DATES, Maker, job_ids

SERVICE = "WorkloadManagement/JobMonitoring"

# What jobs of the demo have, what they have not, and what is odd.
VALUES: dict[str, tuple[Any, ...]] = {
    "Status": (
        "Done",
        "Failed",
        "Running",
        "nope",
        ["Done", "Waiting"],
        ["Done", None],
        5,
        ("Done", "Killed"),
    ),
    "MinorStatus": ("Application", "Job accepted"),
    "Site": ("ANY", "DEMO.Lyon.fr", ["DEMO.Lyon.fr", "DEMO.Geneva.ch"]),
    "Owner": ("alice", "bob", ["alice", "bob"], "zoe"),
    "JobGroup": ("group1", ["group1", "group2"], "00000000"),
    "JobID": (1, "2", [3, 4, "5"], "abc", True, 1.5, "6.0", 2**40, -1, [None]),
    "UserPriority": (1, "1", 0, ""),
    "VerifiedFlag": ("True", True, "False", ["True", "x"]),
    "AccountedFlag": ("False", "Failed"),
    "LastUpdateTime": ("2026-11-21", "abc"),
    "SubmissionTime": ("2026-11-20 12:00:00", ["2026-11-19", "2026-11-18"]),
    "VO": ("demo", "novo"),
    "`status`": ("Done",),
    "Jobs.Site": ("ANY",),
    "Nope": (1,),
    "No pe": (1,),
}
COLUMNS = (
    "Status",
    "Site",
    "Owner",
    "JobGroup",
    "MinorStatus",
    "status",
    "JobID",
    "SubmissionTime",
    "VerifiedFlag",
)


def conditions(chance: random.Random) -> Any:
    """A dictionary of conditions, mostly of things that jobs have."""
    if chance.random() < 0.15:
        return chance.choice((None, {}, [], "", "x", 5, ["x"], {1: 2}, {"Status": []}))
    plausible = list(VALUES)[:10] if chance.random() < 0.8 else list(VALUES)
    names = chance.sample(plausible, chance.randint(0, 2))
    return {name: chance.choice(VALUES[name]) for name in names}


def selectors(chance: random.Random) -> dict[Any, Any]:
    """A ``selectDict``."""
    selected = conditions(chance)
    selected = dict(selected) if isinstance(selected, dict) else {}
    if chance.random() < 0.3:
        selected[chance.choice(("FromDate", "LastUpdate"))] = date(chance)
    if chance.random() < 0.2:
        selected["ToDate"] = date(chance)
    if chance.random() < 0.2:
        reference = (
            f"htcondorce://ce01.{chance.choice(('geneva', 'lyon'))}.example.org/{chance.randint(1, 240)}.0"
        )
        selected["PilotJobReference"] = chance.choice((reference, [reference, "zz"], "zz", "", 5))
    return selected


def date(chance: random.Random) -> Any:
    """A date text, or what is none."""
    return chance.choice((*DATES, "2026-11-20 12:00:00.5", "UTC_TIMESTAMP()"))


def some(chance: random.Random, *arguments: Any, least: int = 0) -> list[Any]:
    """The first ones of some arguments."""
    return list(arguments[: chance.randint(least, len(arguments))])


def one_id(chance: random.Random) -> int:
    """An id, mostly of a job that exists."""
    return chance.choice((chance.randint(1, 330), chance.randint(1, 320), 0, -1, 2**40, True))


def attribute(chance: random.Random) -> Any:
    """An attribute's name."""
    return chance.choice((*COLUMNS, "HeartBeatTime", "Foo", ""))


def attributes(chance: random.Random) -> Any:
    """Several, or what is no list of them."""
    if chance.random() < 0.2:
        return chance.choice((None, [], "", "Status, Owner", 5, {"a": 1}, [5], ("Status",)))
    return [attribute(chance) for _ in range(chance.randint(1, 4))]


def list_of_ids(chance: random.Random) -> Any:
    """A list of ids."""
    found = job_ids(chance)
    return found if isinstance(found, list) else [found]


def page(chance: random.Random) -> list[Any]:
    """Arguments of getJobPageSummaryWeb."""
    sort: list[Any] = [
        [chance.choice((*COLUMNS, "Foo", "EndExecTime")), chance.choice(("ASC", "DESC", "desc"))]
    ]
    if chance.random() < 0.3:
        sort = chance.choice(([], [["JobID"]], ["JobID"], [[1, 2]], [["JobID", "up"]], [["Job ID", "ASC"]]))
    start = chance.choice((0, 0, 0, 3, 7, 25, 400, -1))
    most = chance.choice((10, 25, 4, 100, 0, 1, -3))
    return [
        selectors(chance),
        sort,
        start,
        most,
        *([chance.choice((True, False))] if chance.random() < 0.3 else []),
    ]


def attic(chance: random.Random) -> list[Any]:
    """Arguments of getAtticJobParameters."""
    names = chance.choice((None, [], ["HostName"], "HostName", ["nope"]))
    return some(chance, one_id(chance), names, chance.choice((-1, 0, 1, 7)), least=1)


def distinct(chance: random.Random) -> list[Any]:
    """Arguments of those that give distinct values."""
    return some(chance, conditions(chance), date(chance), date(chance))


CALLS: dict[str, Maker] = {
    "getJobsStatus": lambda chance: [job_ids(chance)],
    "getJobsStates": lambda chance: [job_ids(chance)],
    "getJobsMinorStatus": lambda chance: [job_ids(chance)],
    "getJobsApplicationStatus": lambda chance: [job_ids(chance)],
    "getJobsSites": lambda chance: [job_ids(chance)],
    "getJobsParameters": lambda chance: [job_ids(chance), attributes(chance)],
    "getJobsSummary": lambda chance: [list_of_ids(chance)],
    "getJobsPrimarySummary": lambda chance: [list_of_ids(chance)],
    "getJobSummary": lambda chance: [one_id(chance)],
    "getJobPrimarySummary": lambda chance: [one_id(chance)],
    "getJobAttributes": lambda chance: some(chance, one_id(chance), attributes(chance), least=1),
    "getJobAttribute": lambda chance: [one_id(chance), attribute(chance)],
    "getJobStatus": lambda chance: [one_id(chance)],
    "getJobOwner": lambda chance: [one_id(chance)],
    "getJobSite": lambda chance: [one_id(chance)],
    "getJobJDL": lambda chance: [one_id(chance), chance.choice((True, False))],
    "getJobLoggingInfo": lambda chance: [one_id(chance)],
    "getJobParameter": lambda chance: [
        chance.choice((one_id(chance), str(one_id(chance)), "abc", "")),
        chance.choice(("HostName", "CPU(MHz)", "nope", "HostName,Memory(kB)", "")),
    ],
    "getJobParameters": lambda chance: some(
        chance, job_ids(chance), chance.choice((None, "HostName", ["HostName", "nope"], [], 5)), least=1
    ),
    "getJobOptParameters": lambda chance: [one_id(chance)],
    "getAtticJobParameters": attic,
    "getJobHeartBeatData": lambda chance: [one_id(chance)],
    "getInputData": lambda chance: [chance.choice((one_id(chance), list_of_ids(chance)))],
    "getJobs": lambda chance: some(chance, conditions(chance), date(chance)),
    "getCounters": lambda chance: some(
        chance,
        chance.choice(([attribute(chance), attribute(chance)], [attribute(chance)], [], [1])),
        chance.choice((conditions(chance), selectors(chance))),
        date(chance),
        least=1,
    ),
    "getJobStats": lambda chance: [attribute(chance), selectors(chance)],
    "getCurrentJobCounters": lambda chance: some(
        chance, chance.choice((conditions(chance), selectors(chance)))
    ),
    "getSiteSummary": lambda _chance: [],
    "getApplicationStates": distinct,
    "getJobTypes": distinct,
    "getOwners": distinct,
    "getOwnerGroup": lambda _chance: [],
    "getProductionIds": distinct,
    "getJobGroups": distinct,
    "getSites": distinct,
    "getStates": distinct,
    "getMinorStates": distinct,
    "getJobPageSummaryWeb": page,
}
