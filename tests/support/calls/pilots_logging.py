"""Generated calls of WorkloadManagement/PilotsLogging."""

from __future__ import annotations

import random
from typing import Any

from calls.arguments import Maker

SERVICE = "WorkloadManagement/PilotsLogging"

# What names a pilot: its stamp, a UUID, a reference, or something odd.
PILOTS = (
    "new-1",
    "0" * 8 + "-1111-2222-3333-" + "a" * 12,
    "ref://ce.example.org/" + "9" * 30,
    "",
    "x" * 256,
)


def record(chance: random.Random) -> list[Any]:
    """Arguments of addPilotsLogging."""
    texts = [chance.choice(("pilot", "Installing", "info", "", "x" * 20)) for _ in range(4)]
    if chance.random() < 0.1:
        texts[chance.randrange(4)] = "x" * 256
    moment = chance.choice(("1427721819.0", "2026-11-21 11:00:00", "2026-11-21 10:00:00.5"))
    return [chance.choice(PILOTS), moment, *texts]


CALLS: dict[str, Maker] = {
    "addPilotsLogging": record,
    "getPilotsLogging": lambda chance: [chance.choice(PILOTS)],
    "deletePilotsLogging": lambda chance: [chance.choice((*PILOTS, list(PILOTS[:3]), []))],
}
