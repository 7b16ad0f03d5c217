"""The servers that are measured, each in a process of its own, on a throw-away grid."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from shared_db.connection import open_databases
from wherry.demo.credentials import GridCredentials, grid_credentials, registry_text
from wherry.demo.data import fill

# How long a server may take to start, or to follow an edited plan; and to end.
EVENT_SECONDS = 30.0
STOP_SECONDS = 15.0
SERVICE = "WorkloadManagement/PilotManager"
METHOD = "getPilotInfo"

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {certificate: pki/hostcert.pem, key: pki/hostkey.pem, ca_path: pki/ca}
legacy: {dips: {listen: "127.0.0.1:0"}, public_host: localhost}
rest: {listen: "127.0.0.1:0"}
operations: {listen: "127.0.0.1:0"}
tasks: {jobs: false}
auth: {issuer: "https://benchmark.wherry.invalid/"}
"""

PILOT_WITH_A_JOB = """
SELECT PilotJobReference FROM PilotAgents JOIN JobToPilotMapping USING (PilotID)
GROUP BY PilotID ORDER BY count(*), PilotID LIMIT 1
"""


class ServerError(Exception):
    """A server did not start, or did not do what it was asked."""


class Grid:
    """Certificates, proxies and the demo grid's database in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.credentials: GridCredentials = grid_credentials(directory / "pki")
        (directory / "registry.cfg").write_text(registry_text(directory / "pki"))
        self.write_plan("legacy")
        asyncio.run(_make_database(directory / "wherry.db"))
        with sqlite3.connect(directory / "wherry.db") as connection:
            (self.pilot,) = connection.execute(PILOT_WITH_A_JOB).fetchone()
        connection.close()

    @property
    def proxy(self) -> Path:
        """Of a user who may ask for pilots."""
        return self.credentials.proxies["alice"]["demo_admin"]

    def write_plan(self, state: str) -> None:
        """Set the state of the measured method, as an administrator does: the file is replaced whole."""
        draft = self.directory / ".plan.yaml"
        draft.write_text(f"plan: 1\nservices: {{{SERVICE}: {{methods: {{{METHOD}: {{state: {state}}}}}}}}}\n")
        draft.replace(self.directory / "plan.yaml")


async def _make_database(path: Path) -> None:
    databases = open_databases(f"sqlite:///{path}", create=True)
    await fill(databases)
    await databases.dispose()


class Server:
    """A process that is ended with the block; in a session of its own, so that Ctrl-C is only ours."""

    def __init__(
        self, command: Sequence[str | Path], *, pipe: int | None = None, stderr: IO[str] | None = None
    ) -> None:
        """``pipe``: subprocess.PIPE, for standard input and output."""
        self.port = 0
        self.process = subprocess.Popen(
            [sys.executable, *command],
            text=True,
            start_new_session=True,
            stdin=pipe,
            stdout=pipe,
            stderr=stderr,
        )

    def __enter__(self) -> Self:
        try:
            self.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def await_ready(self) -> None:
        """Wait until calls are taken; sets the port.  Raises ServerError."""
        raise NotImplementedError

    def rss_mb(self) -> float:
        """The memory that is resident, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            kib = status.read_text().partition("VmRSS:")[2].split()[0]
        else:
            command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
            kib = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return round(int(kib) / 1024, 1)

    def cpu_seconds(self) -> float | None:
        """Processor time of all threads so far; None where there is no /proc."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        if not tasks.exists():
            return None
        nanoseconds = 0
        for task in tasks.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9


class Floor(Server):
    """The asyncio server that answers constants; see floor.py."""

    def __init__(self, grid: Grid, replies: Sequence[bytes]) -> None:
        credentials = grid.credentials
        super().__init__(
            [
                Path(__file__).with_name("floor.py"),
                credentials.host_certificate,
                credentials.host_key,
                credentials.ca_path,
                *(reply.decode("ascii") for reply in replies),
            ],
            pipe=subprocess.PIPE,
        )

    def await_ready(self) -> None:
        """It says its port once it listens."""
        assert self.process.stdout is not None
        port = self.process.stdout.readline()
        if not port:
            raise ServerError("the floor did not start")
        self.port = int(port)


class Wherry(Server):
    """``wherry serve``, with its log in a file; ``more`` is added to its configuration."""

    def __init__(self, grid: Grid, workers: int = 1, more: str = "") -> None:
        self._grid = grid
        self._state = "legacy"
        self.rest = ""
        self._operations = ""
        self._workers = workers
        config = grid.directory / f"wherry-{workers}.yaml"
        config.write_text(f"{CONFIG}workers: {workers}\n{more}")
        self._log_path = config.with_suffix(".log")
        with self._log_path.open("w") as log:
            super().__init__(["-m", "wherry", "serve", "-c", config], stderr=log)
        self._log = self._log_path.open()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._log.close()

    def await_ready(self) -> None:
        """It logs its ports once it listens."""
        for _ in range(self._workers):
            ready = self._await_event(lambda event: event == "ready")
        self.port = ready["dips"]
        self.rest = ready["rest"]
        self._operations = ready["operations"]

    def set_state(self, state: str) -> None:
        """Edit the plan, and wait until it is in force."""
        if state != self._state:
            self._log.seek(0, 2)
            self._grid.write_plan(state)
            self._await_event(lambda event: "plan.yaml took effect" in event)
            self._state = state

    def answered_by(self) -> dict[str, int]:
        """How many calls of the measured method each side has answered, by the server's own metrics."""
        with urllib.request.urlopen(f"{self._operations}/metrics", timeout=STOP_SECONDS) as answer:
            text = answer.read().decode()
        counted = dict.fromkeys(("native", "rest"), 0)
        for labels, number in re.findall(r"^wherry_calls_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            if f'method="{SERVICE}.{METHOD}"' in labels and 'outcome="ok"' in labels:
                route = re.search(r'route="(\w+)"', labels)
                counted[route[1] if route else ""] += int(float(number))
        return counted

    def _await_event(self, wanted: Callable[[str], bool]) -> dict[str, Any]:
        """The next record of the log with such an event."""
        deadline = time.monotonic() + EVENT_SECONDS
        line = ""
        while time.monotonic() < deadline and self.process.poll() is None:
            line += self._log.readline()
            if not line.endswith("\n"):
                time.sleep(0.01)
                continue
            record: dict[str, Any] = json.loads(line) if line.startswith("{") else {"event": line}
            if wanted(record["event"]):
                return record
            line = ""
        end_of_log = self._log_path.read_text()[-1000:]
        raise ServerError(f"wherry serve did not do what it should; its log ends: {end_of_log}")
