"""Build environments of unmodified clients and servers for the tests; see README.md beside this file."""

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UV = "uv==0.13.9"
MARKER = ".ready"  # written last: without it, or with another recipe's hash in it, a folder is built anew


@dataclass(frozen=True)
class Recipe:
    """What one virtual environment holds."""

    witness: ClassVar[str] = "bin/python"  # is in every finished folder

    requirement: str
    exclude_newer: str = "2026-11-01"  # no releases after this day: the same versions on every machine
    leave_out: tuple[str, ...] = ("gfal2-python",)  # it needs a grid storage library that no test uses
    also: tuple[str, ...] = ()  # what a client imports and its package does not ask for
    stubs: Mapping[str, str] = field(default_factory=dict)  # modules by name that no index has any more
    system: tuple[str, ...] = field(default=(), repr=False)  # Debian packages besides those that all need
    check: str = (  # is run in the finished environment, and leaves most bytecode compiled
        "import DIRAC.Interfaces.API.Dirac, DIRAC.Core.DISET.RPCClient\n"
        "from DIRAC.WorkloadManagementSystem.Client import JobManagerClient, JobMonitoringClient\n"
        "from DIRAC.WorkloadManagementSystem.Client import JobStateUpdateClient, PilotManagerClient\n"
    )


@dataclass(frozen=True)
class NpmRecipe:
    """What one folder of npm packages holds."""

    witness: ClassVar[str] = "node_modules"

    requirement: str
    check: str  # is run by node in the finished folder
    before: str = "2026-11-01"  # as exclude_newer


RECIPES: dict[str, Recipe | NpmRecipe] = {
    # Tornado: calls by HTTPS with a token need its JSON functions.
    "dirac-9.1.22": Recipe("DIRAC==9.1.22", also=("tornado",)),
    "dirac-8.0.86": Recipe("DIRAC==8.0.86", also=("tornado",)),
    "dirac-7.3.38": Recipe(
        "DIRAC==7.3.38",
        leave_out=("gfal2-python", "subprocess32"),  # the second is Python 2's name of what all Pythons have
        also=("tornado", "setuptools<81", "six", "future", "importlib_resources<6"),
        stubs={"subprocess32": "from subprocess import *\n"},
        check="import DIRAC.Core.DISET.RPCClient, DIRAC.Core.Tornado.Client.TornadoClient",
    ),
    # The oracle (tests/support/oracle.py): with what services of workload management import of the extra
    # "server", and with a clock that tests set.
    "dirac-9.1.22-server": Recipe(
        "DIRAC==9.1.22",
        also=("mysqlclient", "opensearch-py", "numpy", "python-json-logger", "ldap3", "time-machine"),
        check=(
            "import DIRAC.Core.scripts.dirac_service, DIRAC.Core.Base.DB, time_machine\n"
            "from DIRAC.WorkloadManagementSystem.Service import PilotManagerHandler, JobMonitoringHandler\n"
            "from DIRAC.WorkloadManagementSystem.Service import JobStateUpdateHandler, JobManagerHandler\n"
            "from DIRAC.WorkloadManagementSystem.Service import MatcherHandler, WMSAdministratorHandler\n"
            "from DIRAC.WorkloadManagementSystem.Service import SandboxStoreHandler\n"
        ),
        system=("pkg-config", "libmariadb-dev"),
    ),
    # Two, since they need two libraries of one name: msgpack of before and after its texts had a type.
    "msgpack-rpc-python-0.4.1": Recipe("msgpack-rpc-python==0.4.1", check="import msgpackrpc"),
    "aio-msgpack-rpc-0.2.0": Recipe("aio-msgpack-rpc==0.2.0", check="import aio_msgpack_rpc"),
    # Older DiracX clients: the last of the first line, and the last before 201 for what was made.
    **{
        f"diracx-{version}": Recipe(
            f"diracx-cli=={version}",
            also=tuple(f"diracx-{part}=={version}" for part in ("api", "client", "core")),
            leave_out=(),
            check="import diracx.cli, diracx.client.sync, diracx.client.aio",
        )
        for version in ("0.0.14", "0.3.0")
    },
    # A real DiracX to stand behind the bridge, on SQLite (tests/end_to_end/diracx_server.py).
    "diracx-0.7.0-server": Recipe(
        "diracx-routers==0.7.0",
        # All parts of one release (diracx-testing keeps in SQLite what OpenSearch is for), and a server.
        also=(
            *(f"diracx-{part}==0.7.0" for part in ("core", "db", "logic", "tasks", "testing")),
            *("uvicorn", "aiosqlite"),
        ),
        leave_out=(),
        check="import diracx.testing.routers, diracx.routers.factory, uvicorn, aiosqlite",
    ),
    # A certified OpenID Connect provider, to log in by.  Node.js 18 keeps its cryptography elsewhere.
    "oidc-provider-9.13.3": NpmRecipe(
        "oidc-provider@9.13.3",
        check='globalThis.crypto ??= require("node:crypto").webcrypto; import("oidc-provider")',
    ),
}

# Debian package: is what we need of it there? All but the first compile M2Crypto, which has no wheel for
# Linux; uv keeps the wheel it makes, so both environments and later builds on the machine share it.
SYSTEM_PACKAGES: dict[str, Callable[[], object]] = {
    f"python{PYTHON}-venv": lambda: importlib.util.find_spec("ensurepip"),
    f"python{PYTHON}-dev": lambda: Path(sysconfig.get_path("include"), "Python.h").exists(),
    "gcc": lambda: shutil.which("gcc"),
    "libc6-dev": lambda: Path("/usr/include/stdio.h").exists(),
    "libssl-dev": lambda: Path("/usr/include/openssl/ssl.h").exists(),
    "swig": lambda: shutil.which("swig"),
}
# For recipes that name them: these compile mysqlclient.
MORE_PACKAGES: dict[str, Callable[[], object]] = {
    "pkg-config": lambda: shutil.which("pkg-config"),
    "libmariadb-dev": lambda: shutil.which("mariadb_config"),
}
NODE_PACKAGES: dict[str, Callable[[], object]] = {
    "nodejs": lambda: shutil.which("node"),
    "npm": lambda: shutil.which("npm"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)} (all, if none is given)"
    )
    parser.add_argument(
        "--dir", type=Path, default=ROOT / ".clients", help="where to build (default: %(default)s)"
    )
    parser.add_argument(
        "--install-system", action="store_true", help="apt-get install missing Debian packages"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(RECIPES):
        parser.error(f"no recipe for {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    args.dir.mkdir(parents=True, exist_ok=True)
    folder = args.dir.resolve()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Programs we start hold the lock too: if we are killed, no other run begins before they have ended.
        run = partial(_run, lock.fileno())
        for name in args.names or RECIPES:
            started = time.monotonic()
            recipe = RECIPES[name]
            build = partial(_build, run, recipe, args.install_system)
            made = _make(folder / name, repr(recipe), build, recipe.witness)
            print(f"{name}: {'built' if made else 'ready'} in {time.monotonic() - started:.1f} s", flush=True)


def _make(folder: Path, recipe: str, build: Callable[[Path], None], witness: str = Recipe.witness) -> bool:
    """Have `build` make the folder, unless it is there, whole and by this recipe; say whether it was made."""
    # The scripts in an environment name its folder, and its libraries are of one Python.
    wanted = hashlib.sha256(f"{recipe} {UV} {PYTHON} {folder}".encode()).hexdigest()
    marker = folder / MARKER
    if marker.is_file() and marker.read_text() == wanted and (folder / witness).exists():
        return False
    marker.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    build(folder)
    marker.write_text(wanted)
    return True


def _build(run: Callable[..., str], recipe: Recipe | NpmRecipe, install_system: bool, folder: Path) -> None:
    if isinstance(recipe, Recipe):
        more = {name: MORE_PACKAGES[name] for name in recipe.system}
        _require_system(run, SYSTEM_PACKAGES | more, install_system)
        _build_python(run, recipe, folder)
    else:
        _require_system(run, NODE_PACKAGES, install_system)
        _build_npm(run, recipe, folder)


def _build_npm(run: Callable[..., str], recipe: NpmRecipe, folder: Path) -> None:
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}\n')  # else npm looks for one further up
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--before", recipe.before]
    run(["npm", "install", "--prefix", folder, *options, recipe.requirement])
    run(["node", "-e", recipe.check], cwd=folder)


def _build_python(run: Callable[..., str], recipe: Recipe, folder: Path) -> None:
    tool = folder.parent / ".uv"
    _make(tool, "", partial(_build_uv, run))
    uv = str(tool / "bin/uv")
    # uv does not read pip's configuration: hand it the index, should that name another than the usual one.
    configured = run([tool / "bin/pip", "config", "get", "global.index-url"], check=False).strip()
    index = os.environ.get("PIP_INDEX_URL", configured)
    env = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1"}
    env |= {"UV_DEFAULT_INDEX": index} if index else {}
    overrides = folder.parent / ".overrides.txt"
    overrides.write_text("".join(f"{name}; sys_platform == 'never'\n" for name in recipe.leave_out))
    run([uv, "venv", "--python", sys.executable, folder], env)
    python = folder / "bin/python"
    options = ["--python", python, "--overrides", overrides, "--exclude-newer", recipe.exclude_newer]
    run([uv, "pip", "install", *options, recipe.requirement, *recipe.also], env)
    for name, text in recipe.stubs.items():
        next(folder.glob("lib/python*/site-packages")).joinpath(f"{name}.py").write_text(text)
    run([python, "-c", recipe.check])


def _build_uv(run: Callable[..., str], folder: Path) -> None:
    run([sys.executable, "-m", "venv", folder])
    run([folder / "bin/pip", "install", UV])


def _require_system(
    run: Callable[..., str], packages: Mapping[str, Callable[[], object]], install: bool
) -> None:
    missing = [package for package, present in packages.items() if not present()]
    if missing and not install:
        raise SystemExit(
            f"missing Debian packages: {' '.join(missing)} (--install-system installs them, as root)"
        )
    if missing:
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], env)
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], env)


def _run(
    lock: int,
    command: list[str | Path],
    env: Mapping[str, str] | None = None,
    check: bool = True,
    cwd: Path | None = None,
) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        pass_fds=[lock],
    )
    if check and done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise SystemExit(f"{tail}\nfailed ({done.returncode}): {' '.join(map(str, command))}")
    return done.stdout


if __name__ == "__main__":
    main()
