"""The oracle: real DIRAC 9.1.22 services, called over DISET, to compare with and to pass calls through to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from empty_databases import on_server, run
from guests import guest_sql, statements
from missing import missing
from sides import HOSTS, Caller
from sqlalchemy import Connection, make_url

from legacy_rpc.client.diset import Endpoint, call, client_tls
from shared_db.administration import upgrade
from shared_db.cfg import CfgSection, parse_cfg
from shared_db.connection import open_databases
from shared_db.schema import SCHEMAS, WHERRY_DB
from shared_db.schema.resource_status_db import RESOURCE_STATUS_DB
from wherry.demo.credentials import GridCredentials, grid_credentials, registry_text
from wherry.demo.pki import KeyPair, make_proxy

RELEASE = "9.1.22"
ENVIRONMENT = Path(__file__).parents[2] / ".clients" / f"dirac-{RELEASE}-server"
START_SECONDS = 90.0
STAGER = "StorageManagementDB"
SERVICES = (
    "WorkloadManagement/PilotManager",
    "WorkloadManagement/JobMonitoring",
    "WorkloadManagement/JobStateUpdate",
    "WorkloadManagement/JobManager",
    "WorkloadManagement/Matcher",
    "WorkloadManagement/WMSAdministrator",
    "WorkloadManagement/SandboxStore",
    "Monitoring/WebApp",
    "ResourceStatus/ResourceStatus",  # Matcher asks it which sites may run jobs
)


class Clock:
    """What the services' clock is told by, and where it says that it has heard."""

    def __init__(self, orders: BinaryIO, answers: BinaryIO) -> None:
        self._orders = orders
        self._answers = answers

    def tell(self, order: str) -> None:
        """See oracle_services.py."""
        self._orders.write(f"{order}\n".encode())
        self._orders.flush()
        if not self._answers.read(1):
            raise RuntimeError("DIRAC's services have ended")


@dataclass
class Oracle:
    """Services that are up.

    ``services`` are their URLs by name, ``databases`` those of the logical databases, for Wherry too;
    ``registry`` is the CFG text of who is who, which the services and Wherry have in common.  The host
    ``localhost``, whose certificate is in ``credentials``, is a TrustedHost.
    """

    services: dict[str, str]
    databases: dict[str, str]
    credentials: GridCredentials
    registry: str
    directory: Path
    _clock: Clock
    _contexts: dict[Caller, ssl.SSLContext] = field(default_factory=dict)

    def tls(self, caller: Caller) -> ssl.SSLContext:
        """The TLS context of a user with a group; the group ``hosts``: of the host."""
        if caller not in self._contexts:
            user, group = caller
            mine = self.credentials
            if group == HOSTS:
                self._contexts[caller] = client_tls(mine.host_certificate, mine.ca_path, mine.host_key)
            else:
                self._contexts[caller] = client_tls(self._proxy(user, group), mine.ca_path)
        return self._contexts[caller]

    def _proxy(self, user: str, group: str) -> Path:
        """A proxy file; also of a user who claims a group that he is not in."""
        if group in self.credentials.proxies[user]:
            return self.credentials.proxies[user][group]
        certificate, key = (file.read_bytes() for file in self.credentials.users[user])
        private = serialization.load_pem_private_key(key, None)
        assert isinstance(private, RSAPrivateKey)
        owner = KeyPair(x509.load_pem_x509_certificate(certificate), private)
        return make_proxy(owner, group).write(self.directory / f"{user}.{group}.pem")

    async def call(
        self, caller: Caller, service: str, method: str, arguments: Sequence[Any]
    ) -> dict[str, Any]:
        """What the caller gets, over the network."""
        endpoint = Endpoint.parse(self.services[service])
        kind = HOSTS if caller[1] == HOSTS else ""
        return await call(endpoint, method, arguments, self.tls(caller), seconds=15, extra_credentials=kind)

    def stand_still(self, moment: datetime) -> None:
        """From now on it is this moment for the services."""
        self._clock.tell(f"{moment.timestamp():.6f}")

    def go_on(self) -> None:
        """It is what it is again."""
        self._clock.tell("now")

    def log(self) -> str:
        """What the services have written."""
        return (self.directory / "log").read_text()


@contextmanager
def running_oracle(server: str, directory: Path, services: Sequence[str] = SERVICES) -> Iterator[Oracle]:
    """Services on databases of their own on a MariaDB server, which are gone afterwards.

    ``server`` is its URL, with an account that may create databases.
    """
    if not (ENVIRONMENT / "bin/python").exists():
        missing(f"no {ENVIRONMENT}: run tests/clients/build.py")
    credentials = grid_credentials(directory / "pki")
    registry = registry_text(credentials.ca_path.parent)
    with ExitStack() as stack:
        databases = stack.enter_context(_databases(server))
        ports = dict(zip(services, _free_ports(len(services)), strict=True))
        configuration = _configuration(registry, credentials, ports, databases, directory)
        (directory / "dirac.cfg").write_text(configuration)
        urls = {name: f"dips://localhost:{port}/{name}" for name, port in ports.items()}
        clock = stack.enter_context(_process(directory, credentials, services, list(ports.values())))
        asyncio.run(_add_missing_tables(databases))
        run(databases["JobDB"], partial(_execute, statements=[FREE_PARAMETERS]))
        yield Oracle(urls, databases, credentials, registry, directory, clock)


@contextmanager
def _databases(server: str) -> Iterator[dict[str, str]]:
    """Databases with the tables of DIRAC's own files; the other tables DIRAC makes when it starts."""
    prefix = f"wherry_oracle_{uuid.uuid4().hex[:12]}"
    urls = {name: f"{server}{prefix}_{name}" for name in (*SCHEMAS, WHERRY_DB, STAGER)}
    on_server(server, *(f"CREATE DATABASE {prefix}_{name}" for name in urls))
    try:
        for name in ("JobDB", "JobLoggingDB", "PilotAgentsDB"):
            run(urls[name], partial(_execute, statements=guest_sql(RELEASE, name)))
        run(urls[STAGER], partial(_execute, statements=_stager_sql()))
        yield {name: url for name, url in urls.items() if name != STAGER}
    finally:
        on_server(server, *(f"DROP DATABASE IF EXISTS {prefix}_{name}" for name in urls))


def _stager_sql() -> list[str]:
    """Its tables: a job that is Staging cannot be killed without."""
    [file] = ENVIRONMENT.glob(f"lib/*/site-packages/DIRAC/StorageManagementSystem/DB/{STAGER}.sql")
    flags = re.IGNORECASE | re.MULTILINE
    return statements(
        re.sub(r"^(--|use |drop database|create database).*$", "", file.read_text(), flags=flags)
    )


# OpenSearch, in whose place the table is, knows nothing of jobs.
FREE_PARAMETERS = "ALTER TABLE JobParameters DROP FOREIGN KEY IF EXISTS JobParameters_ibfk_1"


async def _add_missing_tables(urls: dict[str, str]) -> None:
    """What Wherry has besides: its own tables, and those that DIRAC dropped."""
    databases = open_databases(urls, create=True)
    try:
        await upgrade(databases, missing_tables=True)
    finally:
        await databases.dispose()


def _execute(connection: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _configuration(
    registry: str,
    credentials: GridCredentials,
    ports: dict[str, int],
    databases: dict[str, str],
    directory: Path,
) -> str:
    """What the services read: the registry, and DIRAC's own template for each of them."""
    cfg = parse_cfg(registry)
    cfg.set("DIRAC/Configuration/Servers", "")
    cfg.set("DIRAC/Security/CertFile", str(credentials.host_certificate))
    cfg.set("DIRAC/Security/KeyFile", str(credentials.host_key))
    cfg.set("DIRAC/Security/UseServerCertificate", "yes")
    cfg.set("LocalSite/Site", "DEMO.Geneva.ch")
    server = make_url(next(iter(databases.values())))
    cfg.set("Systems/Databases/User", server.username or "root")
    cfg.set("Systems/Databases/Password", server.password or "")
    cfg.set("Systems/Databases/Host", server.host or "127.0.0.1")
    cfg.set("Systems/Databases/Port", str(server.port or 3306))
    for name, url in databases.items():
        cfg.set(f"Systems/WorkloadManagement/Databases/{name}/DBName", str(make_url(url).database))
    resources = str(make_url(databases[RESOURCE_STATUS_DB]).database)
    cfg.set(f"Systems/ResourceStatus/Databases/{RESOURCE_STATUS_DB}/DBName", resources)
    stager = make_url(databases["JobDB"]).database.removesuffix("JobDB") + STAGER
    cfg.set(f"Systems/StorageManagement/Databases/{STAGER}/DBName", stager)
    for service, port in ports.items():
        system, name = service.split("/")
        here = f"Systems/{system}/Services/{name}"
        template = parse_cfg(_template(system)).section(f"Services/{name}") or CfgSection()
        for path, value in _options(template):
            cfg.set(f"{here}/{path}", value)
        cfg.set(f"{here}/Port", str(port))
        cfg.set(f"{here}/Protocol", "dips")
        cfg.set(f"Systems/{system}/URLs/{name}", f"dips://localhost:{port}/{service}")
    # As many as where nothing is configured, as with us.
    cfg.set("Systems/WorkloadManagement/Services/JobManager/MaxParametricJobs", "20")
    cfg.set("Systems/WorkloadManagement/Services/SandboxStore/BasePath", str(directory / "sandboxes"))
    cfg.set("Systems/DataManagement/Services/StorageElement/BasePath", str(directory / "storage"))
    return cfg.to_text()


def _template(system: str) -> str:
    [file] = ENVIRONMENT.glob(f"lib/*/site-packages/DIRAC/{system}System/ConfigTemplate.cfg")
    return file.read_text()


def _options(section: CfgSection, above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.options.items():
        yield above + name, value
    for name, inner in section.sections.items():
        yield from _options(inner, f"{above}{name}/")


@contextmanager
def _process(
    directory: Path, credentials: GridCredentials, services: Sequence[str], ports: Sequence[int]
) -> Iterator[Clock]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DIRAC_ROOT_PATH": str(directory),
        "DIRACSYSCONFIG": str(directory / "dirac.cfg"),
        "X509_CERT_DIR": str(credentials.ca_path),
    }
    launcher = Path(__file__).with_name("oracle_services.py")
    answers, its_answers = os.pipe()
    with (directory / "log").open("wb") as log, os.fdopen(answers, "rb", buffering=0) as heard:
        # It ends with us, since its input does.
        process = subprocess.Popen(
            [ENVIRONMENT / "bin/python", launcher, str(its_answers), *services],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[its_answers],
        )
        os.close(its_answers)
        assert process.stdin is not None
        try:
            _wait(process, ports, lambda: (directory / "log").read_text()[-3000:])
            yield Clock(process.stdin, heard)
        finally:
            process.kill()
            process.communicate()


def _wait(process: subprocess.Popen[bytes], ports: Sequence[int], log: Callable[[], str]) -> None:
    """Until all services listen."""
    deadline = time.monotonic() + START_SECONDS
    waiting = list(ports)
    while waiting:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"DIRAC's services did not start: {log()}")
        time.sleep(0.05)
        waiting = [port for port in waiting if not _listens(port)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    """Ports that nobody gets by chance until DIRAC, which must be told, has bound them."""
    chance = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = chance.randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found = list(dict.fromkeys([*found, port]))
    return found
