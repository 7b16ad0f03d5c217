"""A whole small grid in one process, on ports of its own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adaptor.methods.catalogue import SERVICES
from legacy_rpc.client.diset import Endpoint, call, client_tls
from legacy_rpc.front_door import FinishedCall
from shared_db.connection import open_databases
from wherry.config import load_config
from wherry.demo.credentials import GridCredentials, grid_credentials, registry_text
from wherry.demo.data import fill
from wherry.serve import Serving, serving

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: {pki}/hostcert.pem, key: {pki}/hostkey.pem, ca_path: {pki}/ca}}
legacy: {{dips: {{listen: "127.0.0.1:0"}}, public_host: localhost}}
rest: {{listen: "127.0.0.1:0"}}
operations: {{listen: "127.0.0.1:0"}}
auth: {{issuer: "https://test.invalid/"}}
limits: {{database_busy_seconds: 0.3}}
tasks: {{jobs: false}}
"""


def plan_text(state: str) -> str:
    """A plan in which every method that has an adaptor has one state."""
    services = "".join(
        f"  {service.name}:\n    methods:\n"
        + "".join(f"      {method}: {{state: {state}}}\n" for method in service.adaptors)
        for service in SERVICES
        if service.adaptors
    )
    return f"plan: 1\nservices:\n{services}"


@dataclass
class Grid:
    """A grid that is up; ``calls`` holds what the front door answered."""

    directory: Path
    credentials: GridCredentials
    up: Serving
    calls: list[FinishedCall] = field(default_factory=list)

    def tls(self, user: str = "alice", group: str = "demo_admin") -> ssl.SSLContext:
        """A client's TLS context with a proxy."""
        return client_tls(self.credentials.proxies[user][group], self.credentials.ca_path)

    async def call(
        self, service: str, method: str, *arguments: Any, tls: ssl.SSLContext | None = None
    ) -> dict[str, Any]:
        """A legacy call over the network, as alice the administrator unless told otherwise."""
        endpoint = Endpoint.parse(self.up.addresses.service(f"WorkloadManagement/{service}"))
        return await call(endpoint, method, arguments, tls or self.tls(), seconds=20)

    def write_plan(self, text: str) -> None:
        """What an administrator does."""
        (self.directory / "plan.yaml").write_text(text)


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> GridCredentials:
    """Certificates and proxies, made once."""
    return grid_credentials(tmp_path_factory.mktemp("pki"))


async def fill_directory(directory: Path, credentials: GridCredentials, config: str = CONFIG) -> Path:
    """Put everything into a directory that `wherry serve` needs."""
    pki = credentials.ca_path.parent
    (directory / "registry.cfg").write_text(registry_text(pki))
    (directory / "plan.yaml").write_text(plan_text("legacy"))
    (directory / "wherry.yaml").write_text(config.format(pki=pki))
    databases = open_databases(f"sqlite:///{directory / 'wherry.db'}", create=True)
    await fill(databases)
    await databases.dispose()
    return directory


@pytest.fixture
async def directory(credentials: GridCredentials, tmp_path: Path) -> Path:
    """A directory with everything that `wherry serve` needs."""
    return await fill_directory(tmp_path, credentials)


StartGrid = Callable[[], AbstractAsyncContextManager[Grid]]


@pytest.fixture
def start_grid(directory: Path, credentials: GridCredentials) -> StartGrid:
    """A function that brings the grid up."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Grid]:
        calls: list[FinishedCall] = []
        async with serving(load_config(directory / "wherry.yaml"), calls.append) as up:
            yield Grid(directory, credentials, up, calls)

    return start


@pytest.fixture
async def grid(start_grid: StartGrid) -> AsyncIterator[Grid]:
    """A grid that is up."""
    async with start_grid() as grid:
        yield grid


@pytest.fixture(autouse=True)
def own_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on the environment of whoever runs it."""
    for name in ("WHERRY_CONFIG", "X509_USER_PROXY", "X509_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield
