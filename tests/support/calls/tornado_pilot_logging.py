"""Generated calls of WorkloadManagement/TornadoPilotLogging."""

from __future__ import annotations

import json
import random
from typing import Any

from calls.arguments import Maker

SERVICE = "WorkloadManagement/TornadoPilotLogging"

STAMP, UUID = "0a" * 16, "0a" * 4 + "-" + "-".join(["0a0a"] * 3) + "-" + "0a" * 6
PILOTS = (STAMP, UUID, "b" * 32, "../x", "", 5)
VOS = ("demo", "novo", "a_b", "", None)
MESSAGES = (
    json.dumps(["one", "two \u00e9"]),
    json.dumps("three\nfour\n"),
    json.dumps([]),
    json.dumps({}),
    json.dumps([1]),
    "no JSON",
    json.dumps(["x" * 9000]),
    json.dumps(["many"] * 1_200),
    5,
)
PAYLOADS = (json.dumps({"retCode": 0}), json.dumps({}), "no JSON", json.dumps([1]), None)


def told(chance: random.Random, texts: tuple[Any, ...]) -> list[Any]:
    """Arguments of sendMessage and finaliseLogs."""
    return [chance.choice(texts), chance.choice(PILOTS), chance.choice(VOS)]


CALLS: dict[str, Maker] = {
    "sendMessage": lambda chance: told(chance, MESSAGES),
    "finaliseLogs": lambda chance: told(chance, PAYLOADS),
    "getMetadata": lambda _: [],
    "getLogs": lambda chance: [
        f"{chance.choice(PILOTS)}{chance.choice(('', '.log'))}",
        chance.choice(VOS),
    ],
}
