"""Generated calls of WorkloadManagement/PilotManager."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import DATES, ODD, Maker

SERVICE = "WorkloadManagement/PilotManager"


def reference(chance: random.Random) -> str:
    """A pilot's reference: of the demo, of one added here, or of none."""
    ce = chance.choice(("geneva", "lyon", "tsukuba"))
    return chance.choice(
        (f"htcondorce://ce01.{ce}.example.org/{chance.randint(1, 240)}.0", "new1", "new2", "zz")
    )


def pilot_references(chance: random.Random) -> Any:
    """One or several references, or something odd."""
    if chance.random() < 0.2:
        return chance.choice(ODD)
    return chance.choice((reference(chance), [reference(chance) for _ in range(3)]))


def new_pilots(chance: random.Random) -> list[Any]:
    """Arguments of addPilotReferences; some pilots share a stamp."""
    references = [chance.choice(("new1", "new2", "new3", 7)) for _ in range(chance.randint(0, 3))]
    arguments: list[Any] = [references, chance.choice(("demo", "novo"))]
    if chance.random() < 0.6:
        arguments += ["CREAM", {each: f"new-{chance.randint(1, 4)}" for each in references}]
    if chance.random() < 0.15:
        arguments[chance.randrange(len(arguments))] = chance.choice(ODD)
    return arguments


def status_arguments(chance: random.Random) -> list[Any]:
    """Arguments of setPilotStatus."""
    states = ("Running", "Done", "Aborted", "Scheduled", "Bogus", "", "x" * 40)
    arguments: list[Any] = [reference(chance), chance.choice(states)]
    optional = ("ce01.lyon.example.org", "a reason", "DEMO.Lyon.fr", "queue")
    given = optional[: chance.randint(0, 4)]
    return arguments + [value if chance.random() < 0.7 else chance.choice(ODD) for value in given]


COLUMNS: dict[str, tuple[Any, ...]] = {
    "Status": ("Done", "Aborted", "Running", "done", "Bogus", "", 0),
    "VO": ("demo", "novo", "x"),
    "GridSite": ("DEMO.Lyon.fr", "DEMO.Geneva.ch", "Unknown"),
    "DestinationSite": ("ce01.lyon.example.org", "NotAssigned"),
    "GridType": ("HTCondorCE", "DIRAC"),
    "PilotID": (1, "2", 5.0, "3x", "abc", -1, 2**40, 1.5),
    "CurrentJobID": (0, "0", "abc", 7),
    "BenchMark": (0, "5.5", "x", 1e400),
    "SubmissionTime": DATES,
    "AccountingSent": ("True", "False", "false"),
    "PilotJobReference": ("new1", "htcondorce://ce01.lyon.example.org/5.0"),
    "Queue": ("demo", None),
    "PilotStamp": ("", "new-1"),
}
NAMES = tuple(COLUMNS)
ODD_NAMES = ("Foo", "", "a b", 5, "PilotAgents.Status", "`Status`", "status", "Jobs.Status", "OwnerGroup")
TIMES = ("SubmissionTime", "LastUpdateTime", "", "Foo", "Status", None, "a b")


def conditions(chance: random.Random) -> dict[Any, Any]:
    """A dictionary of conditions: plausible ones, few odd ones."""
    chosen: dict[Any, Any] = {}
    for name in chance.sample(NAMES, chance.choice((0, 1, 1, 2))):
        values = COLUMNS[name]
        some = [chance.choice(values) for _ in range(chance.randint(1, 3))]
        chosen[name] = chance.choice((some, some[0]))
    if chance.random() < 0.12:
        chosen[chance.choice(ODD_NAMES)] = chance.choice(("Done", [], None, ["Done", None]))
    return chosen


def moment(chance: random.Random) -> Any:
    """A time as callers write it, within the demo's few days or odd."""
    hours = chance.randint(0, 80)
    return chance.choice((f"2026-11-{21 - hours // 24:02} {hours % 24:02}:17:00", chance.choice(DATES)))


def counted(chance: random.Random) -> list[Any]:
    """Arguments of countPilots."""
    more = [moment(chance), moment(chance), chance.choice(TIMES)]
    return [conditions(chance), *more[: chance.randint(0, 3)]]


def counters(chance: random.Random) -> list[Any]:
    """Arguments of getCounters and getPilotsCounters."""
    keys = chance.sample((*NAMES, "LastUpdateTime"), chance.randint(1, 3))
    if chance.random() < 0.15:
        keys = chance.choice(([], ["Foo"], [5], ["a b"], ["Status", "Status"], ["status", "`VO`"]))
    table = chance.choice(("PilotAgents",) * 8 + ("Foo", "", "JobToPilotMapping"))
    return [table, keys, conditions(chance), moment(chance), chance.choice(TIMES)][: chance.randint(3, 5)]


def statistics(chance: random.Random) -> list[Any]:
    """Arguments of getPilotStatistics."""
    selected = conditions(chance)
    for name in ("FromDate", "ToDate", "LastUpdate"):
        if chance.random() < 0.25:
            selected[name] = moment(chance)
    return [chance.choice((*NAMES, "LastUpdateTime", "Foo", "")), selected]


def monitored(chance: random.Random) -> list[Any]:
    """Arguments of getPilotMonitorWeb."""
    selected = conditions(chance)
    for name in ("FromDate", "ToDate", "LastUpdateTime"):
        if chance.random() < 0.2:
            selected[name] = moment(chance)
    key = [chance.choice((*NAMES, "Foo")), chance.choice(("ASC", "DESC", "desc", "x"))]
    order = chance.choice(([], [key], [key], [["PilotID"]], [[]], [5]))
    start = chance.choice((0, 0, 10, 25, 239, 1000, -3))
    return [selected, order, start, chance.choice((0, 5, 10, 25, 300, -1))]


def summarised(chance: random.Random) -> list[Any]:
    """Arguments of getPilotSummaryWeb."""
    selected = conditions(chance) if chance.random() < 0.5 else {}
    if chance.random() < 0.3:
        selected["LastUpdateTime"] = moment(chance)
    if chance.random() < 0.3:
        selected["ExpandSite"] = chance.choice(("DEMO.Lyon.fr", "", "x"))
    return [selected, [], chance.choice((0, 0, 1)), chance.choice((0, 1, 10))]


def grouped(chance: random.Random) -> list[Any]:
    """Arguments of getGroupedPilotSummary."""
    odd: tuple[list[Any], ...] = ([], ["Foo"], ["Status"], ["VO", "VO"], [5], ["InitialJobID"], [["x"]])
    columns = chance.sample(("GridSite", "DestinationSite", "VO", "GridType", "Queue"), chance.randint(1, 3))
    return [chance.choice(odd) if chance.random() < 0.2 else columns]


def stored(chance: random.Random) -> list[Any]:
    """Arguments of storePilotOutput."""
    return [reference(chance), *chance.choice((("out\n", "error"), ("", ""), ('""', '""'), ("a\0b", "")))]


def deleted(chance: random.Random) -> list[Any]:
    """Arguments of deletePilots: few, since others want some to be there."""
    some = [chance.choice((chance.randint(200, 240), "231", "x", None, 1.5)) for _ in range(2)]
    return [chance.choice((some, chance.randint(235, 260), "new1", "zz", []))]


def noted(chance: random.Random) -> list[Any]:
    """Arguments of setJobForPilot."""
    job = chance.choice((chance.randint(1, 330), "12", "x", -1, 2**40, 0))
    ce = chance.choice(("ce01.lyon.example.org", "ce9.example.org", "", None, "x" * 200))
    return [job, reference(chance), ce][: chance.randint(2, 3)]


def group_references(chance: random.Random) -> list[Any]:
    """Arguments of addPilotTQReference."""
    references, _, *more = new_pilots(chance)
    group = chance.choice(("demo_pilot", "demo_user", "nogroup"))
    if not isinstance(references, list):
        references = ["new4"]
    return [references, 5, "/CN=x", group, "Broker", *more]


ACCOUNTING = ("True", "False", "true", "yes", "", True, None)

CALLS: dict[str, Maker] = {
    "getPilotInfo": lambda chance: [pilot_references(chance)],
    "getPilots": lambda chance: [
        chance.choice((chance.randint(1, 330), str(chance.randint(1, 90)), "x", -1))
    ],
    "getPilotSummary": lambda chance: [chance.choice(DATES) for _ in range(chance.randint(0, 2))],
    "setPilotStatus": status_arguments,
    "addPilotReferences": new_pilots,
    "addPilotTQReference": group_references,
    "selectPilots": lambda chance: [conditions(chance)],
    "countPilots": counted,
    "getCurrentPilotCounters": lambda chance: [conditions(chance)],
    "setPilotBenchmark": lambda chance: [
        reference(chance),
        chance.choice((1.5, 0.1234567, -1.0, 1e300, float("inf"), float("nan"))),
    ],
    "setAccountingFlag": lambda chance: [reference(chance), chance.choice(ACCOUNTING)][
        : chance.randint(1, 2)
    ],
    "setJobForPilot": noted,
    "killPilot": lambda chance: [chance.choice((reference(chance), [reference(chance)], [], ["zz"]))],
    "deletePilots": deleted,
    "clearPilots": lambda chance: [chance.choice((2, 3, 40, -1)), chance.choice((2, 30, 40_000))],
    "getPilotOutput": lambda chance: [chance.choice((reference(chance), "", "x" * 300))],
    "storePilotOutput": stored,
    "getPilotLoggingInfo": lambda chance: [reference(chance)],
    "getPilotMonitorWeb": monitored,
    "getPilotMonitorSelectors": lambda _: [],
    "getPilotSummaryWeb": summarised,
    "getGroupedPilotSummary": grouped,
    "getPilotStatistics": statistics,
    "getCounters": counters,
}
