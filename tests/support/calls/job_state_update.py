"""Generated calls of WorkloadManagement/JobStateUpdate."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import Maker

SERVICE = "WorkloadManagement/JobStateUpdate"

STATUSES = ("", "Checking", "Staging", "Waiting", "Matched", "Running", "Stalled", "Completing", "Done")
# Not those of jobs that are told to stop, on REST only (see setJobStatus there).
STATUSES += ("Failed", "Received")
TEXTS = ("", "Application", "x" * 129, "Uploading Outputs")
SOURCES = ("", "JobWrapper", "JobAgent", "Watchdog", "s" * 40)
OLD = "2020-01-01 00:00:00"
TIMES = ("2026-11-21 12:00:00", "2026-11-21 11:00:00.25", "2026-11-21 11:59:59.5", OLD)
ODD_TIMES = ("abc", "2026-13-01 00:00:00", "2099-01-01 00:00:00", 5, None, "")
ATTRIBUTES = ("Status", "MinorStatus", "ApplicationStatus", "Site", "StartExecTime", "EndExecTime", "Owner")
ATTRIBUTES += ("HeartBeatTime", "Nope")
VALUES = ("", "Waiting", "Killed", "Bogus", "DEMO.Lyon.fr", "2026-11-20 10:00:00", "x" * 200)
PAIRS: tuple[Any, ...] = (("a", "1"), ["b", 2], ("Site", "x"), "xy", ("n" * 101, "v"), ("v", "v" * 66_000))
ODD_PAIRS: tuple[Any, ...] = ("x", 5, ("one",), None)


def job(chance: random.Random) -> Any:
    """A job's id as callers write it."""
    if chance.random() < 0.1:
        return chance.choice(("", "abc", " 3 ", -1, 2**40, 99999, True, "1,2"))
    number = chance.randint(1, 325)
    return chance.choice((number, number, str(number)))


def job_with_past(chance: random.Random) -> Any:
    """The same, of which JobManager ends none: REST logs that, and what was before then counts no more."""
    number = job(chance)
    return number // 5 * 5 if type(number) is int and number > 0 else chance.choice(("abc", 2**40, 99999))


def moment(chance: random.Random) -> Any:
    return chance.choice(TIMES if chance.random() < 0.9 else ODD_TIMES)


def status(chance: random.Random) -> list[Any]:
    texts = [chance.choice((*STATUSES, "Bogus")), chance.choice(TEXTS), chance.choice(SOURCES)]
    more = [moment(chance), chance.random() < 0.5][: chance.choice((0, 0, 1, 2))]
    if OLD in more:
        texts[0] = "Waiting"  # REST refuses what is no status also where it is old
    if True in more:
        texts[0] = "Done"
    return [job_with_past(chance), *texts, *more]


def update(chance: random.Random, *, old: bool) -> Any:
    if chance.random() < 0.05:
        return chance.choice((5, "text", {"MinorStatus": 5}, {"Status": ["x"]}))
    names = {"Status": STATUSES, "MinorStatus": TEXTS, "ApplicationStatus": TEXTS, "Source": SOURCES}
    if not old:
        names |= {"Status": (*STATUSES, "Bogus"), "ApplicationStatus": (*TEXTS, "y" * 256)}
    return {name: chance.choice(texts) for name, texts in names.items() if chance.random() < 0.6}


def bulk(chance: random.Random) -> list[Any]:
    moments = [moment(chance) for _ in range(chance.randint(0, 3))]
    force = chance.choice(([], [], [True]))
    # With force what is no status goes to the native side.
    old = OLD in moments or bool(force)
    return [job_with_past(chance), {each: update(chance, old=old) for each in moments}, *force]


def attribute(chance: random.Random) -> list[Any]:
    return [job(chance), chance.choice(ATTRIBUTES), chance.choice(VALUES)]


def pairs(chance: random.Random) -> list[Any]:
    return [
        chance.choice(PAIRS if chance.random() < 0.93 else ODD_PAIRS) for _ in range(chance.randint(0, 3))
    ]


def of_jobs(chance: random.Random) -> dict[Any, Any]:
    return {job(chance): pair for pair in pairs(chance)}


def heartbeat(chance: random.Random) -> list[Any]:
    # Not what deleteJob is called for, nor what is Killed or Deleted: on REST these are told to stop.
    number: Any = chance.choice((chance.randint(161, 325), chance.randint(161, 325), 99999, "abc"))
    if isinstance(number, int) and number % 16 in (14, 15):
        number -= 2
    dynamic = {"Load": 1.5, "CPU": "3", "None": None, 5: 6, "n" * 101: 1}
    chosen = {name: value for name, value in dynamic.items() if chance.random() < 0.6}
    if chance.random() < 0.3:
        chosen["HeartBeatTime"] = moment(chance)
    static = {"StandardOutput": "o" * 70_000, "p": "q", 7: None}
    return [number, chosen, {name: value for name, value in static.items() if chance.random() < 0.5}]


CALLS: dict[str, Maker] = {
    "setJobStatus": status,
    "setJobStatusBulk": bulk,
    "setJobApplicationStatus": lambda chance: [
        job(chance),
        chance.choice((*TEXTS, "y" * 256)),
        chance.choice(SOURCES),
    ],
    "setJobAttribute": attribute,
    "setJobSite": lambda chance: [job(chance), chance.choice(VALUES)],
    "setJobFlag": lambda chance: [job(chance), chance.choice(ATTRIBUTES)],
    "unsetJobFlag": lambda chance: [job(chance), chance.choice(ATTRIBUTES)],
    "setJobParameter": lambda chance: [job(chance), chance.choice(("n", "n" * 101)), chance.choice(VALUES)],
    "setJobParameters": lambda chance: [job(chance), pairs(chance)],
    "setJobsParameter": lambda chance: [of_jobs(chance)],
    "sendHeartBeat": heartbeat,
    "updateJobFromStager": lambda chance: [job(chance), chance.choice(("Done", "Failed", ""))],
}
