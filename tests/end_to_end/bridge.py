"""Programs of `wherry serve` for tests: one with the old doors, and one that is the backend of another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptor.methods.catalogue import SERVICES
from legacy_rpc.client.diset import Endpoint, call, client_tls
from wherry.demo.credentials import GridCredentials, registry_text

START_SECONDS = 60.0

# Every method that has an adaptor is live.
PLAN = yaml.safe_dump(
    {
        "plan": 1,
        "services": {
            service.name: {"methods": {name: {"state": "live"} for name in service.adaptors}}
            for service in SERVICES
            if service.adaptors
        },
    }
)


@dataclass
class Program:
    """A program that is up; ``ready`` says where it listens."""

    directory: Path
    credentials: GridCredentials
    ready: dict[str, Any]
    calls: int = 0

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in (self.directory / "log").read_text().splitlines()]

    def call(
        self, service: str, method: str, *arguments: Any, who: str = "alice.demo_user"
    ) -> dict[str, Any]:
        """A legacy call with a user's proxy, ``USER.GROUP``."""
        user, group = who.split(".")
        tls = client_tls(self.credentials.proxies[user][group], self.credentials.ca_path)
        return self._call(service, method, arguments, tls)

    def call_as_host(self, service: str, method: str, *arguments: Any) -> dict[str, Any]:
        """A legacy call with the host's certificate."""
        both = self.directory / "host.pem"
        files = (self.credentials.host_certificate, self.credentials.host_key)
        both.write_text("".join(file.read_text() for file in files))
        tls = client_tls(both, self.credentials.ca_path)
        return self._call(service, method, arguments, tls, extra_credentials="hosts")

    def _call(
        self, service: str, method: str, arguments: tuple[Any, ...], tls: ssl.SSLContext, **more: Any
    ) -> dict[str, Any]:
        self.calls += 1
        name = service if "/" in service else f"WorkloadManagement/{service}"
        url = f"dips://localhost:{self.ready['dips']}/{name}"
        answer: dict[str, Any] = asyncio.run(
            call(Endpoint.parse(url), method, arguments, tls, seconds=60, **more)
        )
        return answer

    def route(self, method: str) -> tuple[str, str]:
        """The route of the last call of a method, and why it went there."""
        deadline = time.monotonic() + 10
        while True:  # the log is written behind the answer
            made = [record for record in self.records if record["event"] == "call"]
            if len(made) >= self.calls:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        last = [record for record in made if record["method"] == method][-1]
        return last["route"], last["reason"]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `wherry ARGUMENTS` with the program's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "wherry", *arguments, "-c", str(self.directory / "wherry.yaml")],
            capture_output=True,
            text=True,
            timeout=60,
        )


@contextlib.contextmanager
def running_wherry(
    directory: Path,
    credentials: GridCredentials,
    databases: Mapping[str, Path],
    config: str,
    plan: str = PLAN,
) -> Iterator[Program]:
    """`wherry serve`, with all methods live, until the block ends; ``config`` is added to what all have."""
    pki = credentials.ca_path.parent
    (directory / "registry.cfg").write_text(registry_text(pki))
    (directory / "plan.yaml").write_text(plan)
    urls = {name: f"sqlite:///{path}" for name, path in databases.items()}
    (directory / "wherry.yaml").write_text(
        f"database: {json.dumps(urls)}\nregistry: registry.cfg\nplan: plan.yaml\n"
        f"tls: {{certificate: {pki}/hostcert.pem, key: {pki}/hostkey.pem, ca_path: {pki}/ca}}\n"
        f"tasks: {{jobs: false}}\n{config}"
    )
    command = [sys.executable, "-m", "wherry", "serve", "-c", str(directory / "wherry.yaml")]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Program(directory, credentials, _ready(process, directory / "log"))
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert process.returncode == 0, (directory / "log").read_text()


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """The record that says where a program listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        for line in log.read_text().splitlines():
            if line.startswith("{") and json.loads(line).get("event") == "ready":
                record: dict[str, Any] = json.loads(line)
                return record
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
