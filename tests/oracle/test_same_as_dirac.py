"""The same calls to DIRAC 9.1.22 and to the native handlers, on equal rows and in one database in turn."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import time_machine
from calls import CALLS
from guests import guest_databases
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import RELEASE, SERVICES, Oracle
from sides import ADMIN, CALLERS, START

from legacy_rpc.services.catalogue import WORKLOAD_MANAGEMENT, all_services

from .stage import Stage, Step, close_stage, open_stage

pytestmark = pytest.mark.clients

# In all; `make oracle` makes more, and others every time.
WANTED = int(os.environ.get("WHERRY_ORACLE_CALLS", "2200"))
SAME_EVERY_TIME = "WHERRY_ORACLE_CALLS" not in os.environ
STEPS = 24  # calls on one state of the databases

TABLE = all_services()
# Those that DIRAC 9.1 has.
METHODS = [
    (service, method)
    for service, method in CALLS
    if service in SERVICES
    and (record := TABLE.method(service, method))
    and record.until is None
    and not record.transfer
]
# DIRAC remembers of a DN, for every group, what it said of it first: whoever claims a group that is not his
# is a stranger in his own, too, from then on.
MEMBERS = [each for each in CALLERS if each != ("bob", "demo_admin")]
IN_TURN_SHARE = 0.25


@pytest.fixture(autouse=True)
def stager_without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a job to be in Staging; nor do the services of the oracle."""
    monkeypatch.setattr("shared_db.rules.staging.PAUSE", 0.0)


def test_every_method_has_calls() -> None:
    """No method of workload management can be added without arguments for it."""
    without = {
        (service.name, method.name)
        for service in WORKLOAD_MANAGEMENT
        for method in service.methods.values()
        if not method.builtin and (service.name, method.name) not in CALLS
    }
    assert not without


@contextmanager
def on_stage(oracle: Oracle, servers: Any, directory: Path) -> Iterator[tuple[asyncio.Runner, Stage]]:
    """A stage whose clock stands still, and the loop that it lives in."""
    with (
        guest_databases(servers.url("mariadb"), RELEASE) as urls,
        asyncio.Runner() as runner,
        time_machine.travel(START, tick=False) as clock,
    ):
        stage = runner.run(open_stage(oracle, urls, directory, clock))
        try:
            yield runner, stage
        finally:
            oracle.go_on()
            runner.run(close_stage(stage))


@st.composite
def calls_of(draw: Callable[[Any], Any], methods: list[tuple[str, str]]) -> list[Step]:
    """Calls; a smaller example has fewer of them."""
    steps = []
    for _ in range(STEPS):
        if draw(st.integers(0, 19)):
            service, method = draw(st.sampled_from(methods))
            caller = draw(st.one_of(st.just(ADMIN), st.sampled_from(MEMBERS)))
            chance: random.Random = draw(st.randoms(use_true_random=False))
            steps.append(Step(caller, service, method, CALLS[service, method](chance)))
    return steps


def compare(
    on: tuple[asyncio.Runner, Stage], methods: list[tuple[str, str]], wanted: float, *, in_turn: bool = False
) -> None:
    """Make so many calls of these methods, at least."""
    runner, stage = on

    @settings(
        max_examples=int(wanted / STEPS * 1.4) + 3,  # some are short: the first has no call at all
        derandomize=SAME_EVERY_TIME,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        # To make an example smaller takes minutes: that is for a developer's run.
        phases=(Phase.generate,) if SAME_EVERY_TIME else (Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(calls_of(methods))
    def play(steps: list[Step]) -> None:
        runner.run(stage.play(steps, in_turn=in_turn))

    play()


@pytest.mark.parametrize("service", dict.fromkeys(service for service, _ in METHODS))
def test_equal_databases(oracle: Oracle, servers: Any, tmp_path: Path, service: str) -> None:
    """Every reply and every row is DIRAC's, whoever calls and with whatever arguments."""
    methods = [each for each in METHODS if each[0] == service]
    with on_stage(oracle, servers, tmp_path) as on:
        wanted = WANTED * (1 - IN_TURN_SHARE) * len(methods) / len(METHODS)
        compare(on, methods, wanted)
        assert on[1].calls.total() >= wanted
        assert set(on[1].calls) == set(methods)


def test_one_database_in_turn(oracle: Oracle, servers: Any, tmp_path: Path) -> None:
    """DIRAC and its guest work on one database, each seeing what the other wrote: as if there were one."""
    with on_stage(oracle, servers, tmp_path) as on:
        compare(on, METHODS, 2 * WANTED * IN_TURN_SHARE, in_turn=True)  # every other call is the guest's
        assert on[1].calls.total() >= WANTED * IN_TURN_SHARE
