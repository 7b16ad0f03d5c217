"""A demo grid in a process of its own, and unmodified clients in environments of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from missing import missing

from .diracx import DIRACX, DiracX

CLIENTS = Path(__file__).parents[2] / ".clients"

# What a script needs to tell what it saw, types and all: `see(value)` prints a value that `ast` can read.
PREAMBLE = """
import datetime
def see(value):
    if isinstance(value, dict):
        value.pop("rpcStub", None)
    print("SEEN " + repr(value), flush=True)
"""


@dataclass
class DemoGrid:
    """A running `wherry demo`; ``facts`` is its demo.json."""

    directory: Path
    facts: dict[str, Any]

    def proxy(self, user: str, group: str) -> Path:
        """A user's proxy file."""
        return Path(self.facts["proxies"][user][group])

    def log(self) -> list[dict[str, Any]]:
        """The records that the grid has written."""
        lines = (self.directory / "wherry.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def calls(self, method: str) -> list[dict[str, Any]]:
        """The records of the calls of a method."""
        return [record for record in self.log() if record.get("method") == method]


@contextmanager
def running_demo(directory: Path) -> Iterator[DemoGrid]:
    """`wherry demo`, up until the block ends; it must then end in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry", "demo", "--dir", str(directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        grid_file = directory / "demo.json"
        deadline = time.monotonic() + 60
        while not grid_file.exists():
            assert process.poll() is None, "the demo ended"
            assert time.monotonic() < deadline, "the demo is not ready"
            time.sleep(0.05)
        yield DemoGrid(directory, json.loads(grid_file.read_text()))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def demo_grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoGrid]:
    """A demo grid for all tests that leave its jobs as many as they were."""
    with running_demo(tmp_path_factory.mktemp("demo")) as grid:
        yield grid


@pytest.fixture(scope="module")
def busy_grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoGrid]:
    """A demo grid for the tests of one module, which may do anything to it."""
    with running_demo(tmp_path_factory.mktemp("busy")) as grid:
        yield grid


@pytest.fixture
def diracx(busy_grid: DemoGrid, tmp_path: Path) -> DiracX:
    """Somebody who has the DiracX client, and has not logged in yet."""
    return DiracX(environment_of(DIRACX), busy_grid.facts["rest"], tmp_path)


@pytest.fixture(scope="module")
def bob(busy_grid: DemoGrid, tmp_path_factory: pytest.TempPathFactory) -> DiracX:
    """bob with the DiracX client, logged in once for the tests of a module, which leave him so."""
    home = tmp_path_factory.mktemp("bob")
    return DiracX(environment_of(DIRACX), busy_grid.facts["rest"], home).logged_in("bob")


@dataclass
class Client:
    """An unmodified client's environment."""

    version: str
    environment: Path
    grid: DemoGrid
    root: Path

    def variables(self, credential: Path | None, extra: dict[str, str]) -> dict[str, str]:
        """What a user sets, and nothing that the tests' own environment adds."""
        facts = self.grid.facts
        return {
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.root),
            "DIRAC_ROOT_PATH": str(self.root),
            "DIRACSYSCONFIG": facts["dirac_cfg"],
            "X509_CERT_DIR": facts["ca_path"],
            "X509_USER_PROXY": str(credential or self.grid.proxy("alice", "demo_admin")),
            **extra,
        }

    def run(self, script: str, credential: Path | None = None, **extra: str) -> list[Any]:
        """Run a script in the environment; returns what it showed with ``see``."""
        done = self.command("python", "-c", PREAMBLE + script, credential=credential, **extra)
        assert done.returncode == 0, done.stdout + done.stderr
        import datetime

        seen = [line[5:] for line in done.stdout.splitlines() if line.startswith("SEEN ")]
        return [eval(text, {"datetime": datetime}) for text in seen]

    def command(
        self, *command: str, credential: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's commands to its end."""
        return subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            env=self.variables(credential, extra),
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="session")
def dirac_client(demo_grid: DemoGrid, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """A function from a version to its client; without the environments this fails in CI, else skips."""

    def find(version: str) -> Client:
        return Client(version, environment_of(version), demo_grid, tmp_path_factory.mktemp("home"))

    return find


def environment_of(version: str) -> Path:
    """The environment of a DIRAC release; without it this fails in CI, else skips."""
    environment = CLIENTS / f"dirac-{version}"
    if not (environment / "bin/python").exists():
        missing(f"no environment with DIRAC {version}: run `make clients`")
    return environment
