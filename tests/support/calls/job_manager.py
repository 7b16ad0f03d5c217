"""Generated calls of WorkloadManagement/JobManager."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import ODD, Maker, job_ids

SERVICE = "WorkloadManagement/JobManager"

ATTRIBUTES = (
    'JobName = "a %j"',
    'JobName = "%s"',
    'JobName = "' + "n" * 129 + '"',
    'JobType = "User"',
    'JobType = "Odd"',
    'JobGroup = "g"',
    'Site = "DEMO.Lyon.fr"',
    'Site = {"DEMO.Lyon.fr", "DEMO.Geneva.ch"}',
    'Site = "NO.Such.site"',
    'BannedSites = "DEMO.Lyon.fr"',
    "Priority = 3",
    "Priority = 99",
    "CPUTime = 1",
    'Owner = "bob"',
    'OwnerGroup = "demo_admin"',
    'VirtualOrganization = "demo"',
    'LogLevel = "DEBUG"',
    'LogLevel = "LOUD"',
    'InputData = {"LFN:/demo/a", "/demo/b"}',
    'InputData = "/other/a"',
    'Parameters = {"a", "b"}',
    "Parameters = 2; ParameterStart = 5",
    "Parameters = 0",
    "Parameters = 21",
    'Parameters.A = {"x"}',
    'Arguments = "%s %n %(A)s"',
    'Tags = "GPU"',
    # An 8.0 client's.
    'OwnerDN = "/CN=x"; OwnerName = "bob"; DIRACSetup = "Old"',
)
TEXTS = ("", "  ", "[]", "[", "foo bar", "Executable", 'Executable = "/bin/echo"; ]', "Arguments = 1;")


def description(chance: random.Random) -> list[Any]:
    """A JDL as people write them: mostly good."""
    if chance.random() < 0.15:
        return [chance.choice(TEXTS)]
    if chance.random() < 0.05:
        return [chance.choice(ODD)]
    attributes = ['Executable = "/bin/echo"', *chance.sample(ATTRIBUTES, chance.choice((0, 0, 1, 1, 2, 3)))]
    text = "; ".join(attributes) + ";"
    return [f"[{text}]" if chance.random() < 0.5 else text]


def ids_to_end(chance: random.Random, most: int = 330) -> Any:
    """Ids up to ``most`` that 5 does not divide: of the others, what happened before is reported, and
    heartbeats are sent for those above 160; what JobManager ends is logged, and told to stop, on REST only.
    """
    ids = job_ids(chance)
    return [_to_end(each, most) for each in ids] if isinstance(ids, list) else _to_end(ids, most)


def _to_end(job_id: Any, most: int) -> Any:
    if isinstance(job_id, str):
        return str(_to_end(int(job_id), most)) if job_id.isdecimal() else job_id
    if type(job_id) is not int or not 0 < job_id < 1000:
        return job_id
    number = (job_id - 1) % most + 1
    return number - 1 if number % 5 == 0 else number


def some_ids(chance: random.Random) -> list[Any]:
    """Ids as callers write them, in one argument."""
    return [job_ids(chance)]


CALLS: dict[str, Maker] = {
    "submitJob": description,
    "confirmBulkSubmission": some_ids,
    "deleteJob": lambda chance: [ids_to_end(chance, 160), True][: chance.randint(1, 2)],
    "removeJob": some_ids,
    "rescheduleJob": some_ids,
    "resetJob": some_ids,
    "getMaxParametricJobs": lambda _: [],
    "killJob": lambda chance: [ids_to_end(chance), True][: chance.randint(1, 2)],
}
