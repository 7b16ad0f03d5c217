"""Every fuzz target on its seeds, its bombs, and some thousand mutations that are the same in every run."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from fuzz_targets import TARGETS, mutated

BOMB_MEMORY = 16 * 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """The messages to start from are there and keep the promise."""
    seeds = TARGETS[name].seeds()
    assert seeds
    for seed in seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    """Damaged messages are refused, or are other messages; nothing else happens."""
    dice = random.Random(name)
    seeds = TARGETS[name].seeds()
    for _ in range(TARGETS[name].rounds):
        data = mutated(seeds, dice)
        try:
            TARGETS[name].check(data)
        except Exception as error:
            error.add_note(f"with {data!r}")
            raise


@pytest.mark.parametrize(("name", "bomb"), [(name, bomb) for name in TARGETS for bomb in TARGETS[name].bombs])
def test_bombs(name: str, bomb: bytes) -> None:
    """What promises much, or nests without end, costs little memory."""
    tracemalloc.start()
    try:
        TARGETS[name].check(bomb)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOMB_MEMORY
