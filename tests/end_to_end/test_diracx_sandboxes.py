"""The unmodified DiracX 0.7.0 client uploads and downloads sandboxes: in our directory, and in S3."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.server import ThreadedMotoServer

from .conftest import Client, DemoGrid

pytestmark = pytest.mark.clients

DIRAC = "9.1.22"  # whose environment holds diracx-client and diracx-api 0.7.0
BUCKET = "end-to-end"


@pytest.fixture(scope="module")
def client(dirac_client: Callable[[str], Client]) -> Client:
    """The environment with the DiracX client."""
    return dirac_client(DIRAC)


@pytest.fixture
def with_s3(demo_grid: DemoGrid, tmp_path: Path) -> Iterator[str]:
    """The URL of a server beside the demo's, on the same database, that keeps sandboxes in moto's S3."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")):
        pass
    config = demo_config(demo_grid)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config["rest"] = {"listen": address}
    s3 = {"endpoint": endpoint, "bucket": BUCKET, "access_key": "id", "secret_key": "key"}
    config["sandboxes"] = {"s3": s3}
    file = tmp_path / "wherry.yaml"
    file.write_text(yaml.safe_dump(config))
    process = subprocess.Popen([sys.executable, "-m", "wherry", "serve", "-c", str(file)])
    try:
        wait_for(f"http://{address}/api/health/ready", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)
        moto.stop()


def demo_config(grid: DemoGrid) -> dict[str, Any]:
    """What the demo runs with, for another directory, without its legacy side."""
    config = yaml.safe_load(Path(grid.facts["config"]).read_text())
    base = Path(grid.facts["config"]).parent
    kept = {name: config[name] for name in ("registry", "auth", "tls") if name in config}
    kept["registry"] = str(base / kept["registry"])
    kept["tls"] = {name: str(base / file) for name, file in kept.get("tls", {}).items() if name != "crls"}
    kept["auth"] = {**kept["auth"], "keys": str(base / kept["auth"].get("keys", "keys.json"))}
    kept["database"] = f"sqlite:///{base / config['database'].removeprefix('sqlite:///')}"
    return kept


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until a server is ready."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.1)


SESSION = """
import asyncio, json, os
from pathlib import Path
from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client.sync import SyncDiracClient

there = Path("THERE")
source = there / "input"
source.mkdir(parents=True)
(source / "script.sh").write_text("#!/bin/sh")
(source / "data").write_bytes(os.urandom(3_000_000))

async def main():
    pfn = await create_sandbox([source / "script.sh", source])
    again = await create_sandbox([source / "script.sh", source])
    see((pfn.partition("/sha256:")[0], pfn.rpartition(":")[2][64:], pfn == again))
    (there / "output").mkdir()
    await download_sandbox(pfn, there / "output")
    return pfn

pfn = asyncio.run(main())
see(sorted(str(path.relative_to(there / "output")) for path in (there / "output").rglob("*")))
see((there / "output/input/data").read_bytes() == (source / "data").read_bytes())
with SyncDiracClient() as api:
    see(api.jobs.assign_sandbox_to_job(JOB, json.dumps(pfn)))  # the generated client sends it as it is
    see(api.jobs.get_job_sandboxes(JOB) == {"Input": [], "Output": [pfn.partition("|")[2]]})
    see(api.jobs.get_job_sandbox(JOB, "output") == [pfn.partition("|")[2]])
    see(api.jobs.unassign_job_sandboxes(JOB))
    see(api.jobs.unassign_bulk_jobs_sandboxes({"job_ids": [JOB]}))
    see(api.jobs.get_job_sandboxes(JOB))
"""


def credentials(grid: DemoGrid, tmp_path: Path) -> Path:
    """A file with alice's token, as the client keeps it."""
    facts = grid.facts
    ends = int(time.time()) + 3600
    refresh = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "none"}, {"exp": ends})]
    content = {
        "access_token": facts["tokens"]["alice"]["demo_user"],
        "refresh_token": ".".join(
            [*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in refresh), "s"]
        ),
        "expires_on": ends,
    }
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(content))
    file.chmod(0o600)
    return file


def session(client: Client, url: str, tmp_path: Path, bucket: str) -> None:
    """Alice's session: up, again, down, and into a job of hers."""
    file = credentials(client.grid, tmp_path)
    script = SESSION.replace("THERE", str(tmp_path / "there")).replace("JOB", "6")
    variables = {"DIRACX_URL": url, "DIRACX_CREDENTIALS_PATH": str(file)}
    created, extracted, same, assigned, listed, of_type, taken, taken_again, none = client.run(
        script, **variables
    )
    assert created == (f"SB:SandboxSE|/S3/{bucket}/demo/demo_user/alice", ".tar.zst", True)
    assert extracted == ["input", "input/data", "input/script.sh", "script.sh"]
    assert (same, assigned, listed, of_type) == (True, None, True, True)
    assert (taken, taken_again, none) == (None, None, {"Input": [], "Output": []})


def test_in_our_directory(client: Client, demo_grid: DemoGrid, tmp_path: Path) -> None:
    """What the client packs it gets back, from the embedded store."""
    session(client, demo_grid.facts["rest"], tmp_path, "sandboxes")
    assert list((demo_grid.directory / "sandboxes/stored").rglob("*/*"))
    assert list((demo_grid.directory / "sandboxes/incoming").iterdir()) == []


def test_in_s3(client: Client, with_s3: str, tmp_path: Path) -> None:
    """The same with an S3 service: the client talks to it itself."""
    session(client, with_s3, tmp_path, BUCKET)
