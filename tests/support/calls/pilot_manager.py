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
    """Arguments of addPilotReferences.

    No two references have a stamp in common: DiracX names pilots by stamp, and would change both.
    """
    references = [chance.choice(("new1", "new2", "new3", 7)) for _ in range(chance.randint(0, 3))]
    arguments: list[Any] = [references, chance.choice(("demo", "novo"))]
    if chance.random() < 0.6:
        arguments += ["CREAM", {each: f"{each}-{chance.randint(1, 4)}" for each in references}]
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


CALLS: dict[str, Maker] = {
    "getPilotInfo": lambda chance: [pilot_references(chance)],
    "getPilotSummary": lambda chance: [chance.choice(DATES) for _ in range(chance.randint(0, 2))],
    "setPilotStatus": status_arguments,
    "addPilotReferences": new_pilots,
}
