"""The new side is complete without the old one: the test of the design.

Each program runs in a fresh interpreter in which the packages of the old side cannot be imported, builds the
application, answers a search over HTTP, and prints what it was answered and what it has imported.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OLD_SIDE = ("legacy_rpc", "adaptor", "migration_plans")

HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ImportError(f"{{name}} is hidden")

sys.meta_path.insert(0, Hidden())

import asyncio, json
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

import rest_backend.principals

DIRECTORY = Path({directory!r})
CALLER = rest_backend.principals.Principal("subject", "demo", "demo_user", "alice", ("NormalUser",))
"""

BY_HAND = """
from aiohttp import web
from rest_backend.app import make_app
from rest_backend.keys import KeySet
from rest_backend.operations import Resources, Runner
from rest_backend.table import OPERATIONS
from rest_backend.tokens import TokenIssuer
from shared_db.connection import open_databases
from shared_db.registry import RegistryFile

@asynccontextmanager
async def served():
    registry = RegistryFile(DIRECTORY / "registry.cfg")
    registry.load()
    databases = open_databases(f"sqlite:///{DIRECTORY / 'grid.db'}")
    issuer = TokenIssuer(KeySet.load_or_create(DIRECTORY / "keys.json"), "https://alone.example.org/")
    runner = Runner(OPERATIONS, Resources(databases, lambda: registry.current, issuer))
    app = web.AppRunner(make_app(runner))
    await app.setup()
    await web.TCPSite(app, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{app.addresses[0][1]}", issuer
    await app.cleanup()
    await databases.dispose()
"""

SERVE = """
from wherry.config import load_config
from wherry.serve import serving

@asynccontextmanager
async def served():
    async with serving(load_config(DIRECTORY / "wherry.yaml")) as up:
        yield up.addresses.rest, up.new.issuer
"""

ASKING = """
async def main():
    async with served() as (url, issuer), aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {issuer.mint(CALLER).text}"}
        alices = {"parameter": "Owner", "operator": "eq", "value": "alice"}
        search = {"parameters": ["JobID"], "search": [alices]}
        async with session.post(f"{url}/api/jobs/search", json=search, headers=headers) as response:
            found = [response.status, await response.json()]
        async with session.get(f"{url}/api/openapi.json") as response:
            document = await response.json()
    hidden = [name for name in sys.modules if name.partition(".")[0] in HIDDEN]
    print(json.dumps({"found": found, "routes": len(document["paths"]), "hidden": hidden}))

asyncio.run(main())
"""

REGISTRY = """
Registry
{
  Users
  {
    alice
    {
      Subject = subject
      DN = /O=Grid/CN=alice
    }
  }
  Groups
  {
    demo_user
    {
      Users = alice
      Properties = NormalUser
      VO = demo
    }
  }
}
"""
CONFIG = """
database: sqlite:///grid.db
registry: registry.cfg
rest: {listen: "127.0.0.1:0"}
"""


def run(program: str, directory: Path, hidden: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a program in which packages are hidden."""
    start = HIDING.format(hidden=set(hidden), directory=str(directory))
    text = f"{start}\nHIDDEN = {set(hidden)!r}\n{program}"
    command = [sys.executable, "-W", "error", "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("program", "hidden"),
    [
        pytest.param(BY_HAND, (*OLD_SIDE, "wherry"), id="rest_backend and shared_db"),
        pytest.param(SERVE, OLD_SIDE, id="wherry serve"),
    ],
)
def test_the_new_side_alone(tmp_path, filled_file, program, hidden) -> None:
    """A search is answered over HTTP where no package of the old side can be imported."""
    shutil.copy(filled_file, tmp_path / "grid.db")
    (tmp_path / "registry.cfg").write_text(REGISTRY)
    (tmp_path / "wherry.yaml").write_text(CONFIG)
    done = run(program + ASKING, tmp_path, hidden)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["found"] == [200, [{"JobID": 1}, {"JobID": 2}, {"JobID": 3}]]
    assert said["routes"] > 10
    assert said["hidden"] == []


def test_hidden_is_hidden(tmp_path) -> None:
    """The test above means something: what is hidden cannot be imported, and other packages can."""
    trying = """
for name in (*sorted(HIDDEN), "shared_db"):
    try:
        __import__(name)
        print(name)
    except ImportError as error:
        print(error)
"""
    done = run(trying, tmp_path, OLD_SIDE)
    assert done.stdout.splitlines() == [*(f"{name} is hidden" for name in sorted(OLD_SIDE)), "shared_db"]
