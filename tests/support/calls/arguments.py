"""Arguments as callers write them: mostly plausible, some odd."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Maker = Callable[[random.Random], list[Any]]

ODD = (
    "",
    0,
    1,
    -1,
    2**40,
    1.5,
    True,
    None,
    "abc",
    "1,2",
    "1, 2",
    " 3 ",
    "nope",
    [],
    {},
    [None],
    [[1]],
    ["x"],
)
DATES = ("", "2026-11-21", "2026-11-20 12:00:00", "2026-11-2", "20261119", "abc", "2026-13-01", None, 5)


def job_ids(chance: random.Random) -> Any:
    """Job ids as callers write them: mostly plausible."""
    if chance.random() < 0.25:
        return chance.choice(ODD)
    ids: list[Any] = [chance.randint(1, 330) for _ in range(chance.randint(1, 6))]
    if chance.random() < 0.3:
        ids = [str(each) for each in ids]
    return chance.choice([ids, ids[0], ", ".join(map(str, ids))])
