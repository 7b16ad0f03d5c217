"""A real DiracX 0.7.0 server in a process of its own, on SQLite files that Wherry shares with it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from missing import missing

from wherry.demo.credentials import GROUPS, USERS, VO

ENVIRONMENT = Path(__file__).parents[2] / ".clients/diracx-0.7.0-server"
EXCHANGE_KEY = "diracx:legacy:" + base64.urlsafe_b64encode(b"a key of the tests, 32 bytes or so").decode()
EXCHANGE_KEY_HASH = hashlib.sha256(
    base64.urlsafe_b64decode(EXCHANGE_KEY.removeprefix("diracx:legacy:"))
).hexdigest()
# The databases that both sides have.
SHARED = ("JobDB", "JobLoggingDB", "PilotAgentsDB", "TaskQueueDB", "SandboxMetadataDB", "ResourceStatusDB")
START_SECONDS = 60.0


@dataclass(frozen=True)
class RestServer:
    """A REST backend that is up, and gives tokens for ``EXCHANGE_KEY``."""

    url: str

    def ask(self, method: str, path: str, token: str, body: Any = None) -> Any:
        """The body of an answer; an error status raises."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or "null")

    def token(self, user: str, group: str) -> str:
        """A token of a user, by the exchange that DIRAC's services use."""
        query = f"preferred_username={user}&scope=vo:{VO}%20group:{group}"
        answer = self.ask("GET", f"/api/auth/legacy-exchange?{query}", EXCHANGE_KEY)
        return str(answer["access_token"])


@dataclass(frozen=True)
class DiracXServer(RestServer):
    """``directory`` has its files."""

    directory: Path

    def log(self) -> str:
        """What it has said."""
        return (self.directory / "log").read_text()


def configuration() -> dict[str, Any]:
    """The demo grid's registry, as DiracX has it."""
    return {
        "Registry": {
            VO: {
                "IdP": {"URL": "https://idp.invalid/", "ClientID": "none"},
                "DefaultGroup": "demo_user",
                "Users": {f"sub-of-{user}": {"PreferedUsername": user} for user in USERS},
                "Groups": {
                    group: {
                        "Properties": list(properties),
                        "Users": [f"sub-of-{user}" for user in members],
                    }
                    for group, (members, properties) in GROUPS.items()
                },
            }
        },
        "Operations": {"Defaults": {}},
        "DIRAC": {},
    }


def _variables(directory: Path, url: str, s3: str, databases: Mapping[str, Path]) -> dict[str, str]:
    """Its whole environment: nothing of the tests' own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DIRACX_CONFIG_BACKEND_URL": f"git+file://{directory / 'cs'}",
        "DIRACX_LEGACY_EXCHANGE_HASHED_API_KEY": EXCHANGE_KEY_HASH,
        "DIRACX_SERVICE_AUTH_TOKEN_ISSUER": url,
        "DIRACX_SERVICE_AUTH_TOKEN_KEYSTORE": f"file://{directory / 'keys.json'}",
        "DIRACX_SERVICE_AUTH_STATE_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
        "DIRACX_SERVICE_AUTH_ALLOWED_REDIRECTS": "[]",
        "DIRACX_SANDBOX_STORE_BUCKET_NAME": "sandboxes",
        "DIRACX_SANDBOX_STORE_AUTO_CREATE_BUCKET": "true",
        "DIRACX_SANDBOX_STORE_S3_CLIENT_KWARGS": json.dumps(
            {"endpoint_url": s3, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        ),
        # Parameters of jobs: in OpenSearch at a site.
        "DIRACX_OS_DB_JOBPARAMETERSDB": json.dumps(
            {"sqlalchemy_dsn": f"sqlite+aiosqlite:///{directory / 'parameters.db'}"}
        ),
        **{
            f"DIRACX_DB_URL_{name.upper()}": f"sqlite+aiosqlite:///{path}" for name, path in databases.items()
        },
    }


def _make_keys(file: Path) -> None:
    from rest_backend.keys import KeyFile

    KeyFile.load_or_create(file)


def _make_configuration(folder: Path) -> None:
    folder.mkdir()
    (folder / "default.yml").write_text(yaml.safe_dump(configuration()))
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "master"], ["add", "."], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@contextlib.contextmanager
def running_diracx(directory: Path, s3: str, databases: Mapping[str, Path]) -> Iterator[DiracXServer]:
    """A server, up until the block ends; ``s3`` is the address of an S3 service.

    ``databases``: the files of those in ``SHARED``.
    """
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        missing("no environment with DiracX's server: run `make clients`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    variables = _variables(directory, url, s3, {**databases, "AuthDB": directory / "AuthDB.db"})
    _make_keys(directory / "keys.json")
    _make_configuration(directory / "cs")
    with (directory / "log").open("ab") as log:
        # DiracX's own application, for people who try it: it makes its tables, and needs no OpenSearch.
        application = "diracx.testing.routers:create_app"
        command = [python, "-m", "uvicorn", "--factory", application, "--port", str(port)]
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, cwd=directory)
    server = DiracXServer(url, directory)
    try:
        _wait(process, server)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], server: DiracXServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{server.url}/api/health/ready", timeout=5).close()
            return
        assert process.poll() is None, server.log()
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.1)
