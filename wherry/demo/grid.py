"""The demo grid: everything on one machine, one method carried across, then it goes on serving."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legacy_rpc.client.diset import Endpoint, client_tls
from legacy_rpc.client.diset import call as call_service
from legacy_rpc.messages import Identity
from shared_db.cfg import CfgSection
from shared_db.connection import open_databases
from wherry.build import principal_of
from wherry.config import Address, ConfigError, load_config
from wherry.demo.credentials import GROUPS, USERS, VO, GridCredentials, grid_credentials, registry_text
from wherry.demo.data import fill
from wherry.demo.login import CALLBACK_PATH, CLIENT_ID, LoginPage, Person
from wherry.listeners import SERVERS
from wherry.logs import logging_to
from wherry.serve import Serving, serving, serving_http, stop_signals
from wherry.sockets import bind

if TYPE_CHECKING:
    from legacy_rpc.front_door import FinishedCall

Say = Callable[[str], None]

SERVICE = "WorkloadManagement/PilotManager"
METHOD = "getPilotSummary"
# How long the edited plan may take to be in force; the promise is one second.
TAKES_EFFECT_SECONDS = 5.0

PLAN = """\
# The demo writes this file at each start and edits the state of {method} while you watch.
# Edit it yourself while the demo runs: a change takes effect within a second.
plan: 1
services:
  WorkloadManagement/PilotManager:
    methods:
      {method}: {{state: {state}}}
  WorkloadManagement/JobMonitoring: {{state: legacy}}
  WorkloadManagement/JobManager: {{state: legacy, because: "try `live` here"}}
"""

# The wires beside dips, which comes first.
WIRES = tuple(name for name in ("https", "xmlrpc", "msgpack", "grpc") if name in SERVERS)

CONFIG = """\
database: sqlite:///wherry.db
registry: registry.cfg
plan: plan.yaml
tls: {{certificate: pki/hostcert.pem, key: pki/hostkey.pem, ca_path: pki/ca}}
legacy:
{wires}
  public_host: localhost
rest: {{listen: "127.0.0.1:{rest}"}}
operations: {{listen: "127.0.0.1:{operations}"}}
auth:
  issuer: "https://demo.wherry.invalid/"
  keys: keys.json
  access_token_minutes: 720
  providers: {{{vo}: {{url: "{login}", client_id: {client_id}}}}}  # the demo's own
  redirect_uris: ["{login}{callback}"]
tasks: {{jobs: false}}  # the demo's jobs are old, and in every state, on purpose
"""


async def run_demo(directory: Path, port: int, *, once: bool, say: Say) -> bool:
    """Set up (or take up again) the grid in a directory, make the crossing, and serve until stopped.

    The directory is an absolute path; ``port`` 0 means any free.  Returns whether the answers were equal.
    Raises ConfigError or OSError, for a port in use or a directory that cannot be written.
    """
    started = time.perf_counter()
    with stop_signals() as stopped, _alone(directory), _login_socket(port) as login_socket:
        say(f"Making the demo grid in {directory}")
        credentials = grid_credentials(directory / "pki")
        say("  certificates, proxies and registry: alice (demo_user, demo_admin), bob (demo_user), pilot")
        login = f"http://localhost:{login_socket.getsockname()[1]}"
        _write_files(directory, port, login)
        await _make_database(directory / "wherry.db")
        say("  database: a few hundred jobs and pilots in every state")
        seen: deque[FinishedCall] = deque(maxlen=2)  # the calls before and after the crossing
        with (directory / "wherry.log").open("a", encoding="utf-8") as log, logging_to(log):
            async with (
                serving(load_config(directory / "wherry.yaml"), seen.append) as up,
                serving_http(_login_page(login, up).app(), login_socket),
            ):
                _write_client_cfg(directory, up)
                say(f"Ready in {time.perf_counter() - started:.1f} s")
                _tell(directory, up, login, say)
                equal = await _cross(directory, credentials, up, seen, say)
                _write_grid(directory, credentials, up, login)
                if not once:
                    say("Serving; Ctrl-C ends it.")
                    await stopped.wait()
        say("Stopped; nothing is left running.")
    return equal


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory; two demos in one would write over each other's files.  Raises ConfigError."""
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{directory}: another demo runs here: stop it, or choose another --dir"
            ) from error
        yield


def _login_socket(port: int) -> socket.socket:
    """Where the login page listens, after all others: the configuration must name it, so it comes first."""
    return bind(Address(host="127.0.0.1", port=port + 3 + len(WIRES) if port else 0), "login page")


def _login_page(url: str, up: Serving) -> LoginPage:
    """The demo's identity provider, for the users of the registry; its client is our REST side."""
    registry = up.new.registry.current
    people = {
        user: Person(
            registry.subject(user, VO),
            tuple(group for group, (members, _) in GROUPS.items() if user in members),
        )
        for user in USERS
    }
    addresses = (up.addresses.rest, up.addresses.rest.replace("localhost", "127.0.0.1"))
    flows = ("device", "authorize")
    return LoginPage(
        url, people, [f"{rest}/api/auth/{flow}/complete" for rest in addresses for flow in flows]
    )


def _write_files(directory: Path, port: int, login: str) -> None:
    (directory / "demo.json").unlink(missing_ok=True)  # that of an earlier run names ports of that run
    (directory / "registry.cfg").write_text(registry_text(directory / "pki"))
    (directory / "plan.yaml").write_text(PLAN.format(method=METHOD, state="legacy"))
    names = ["dips", "rest", "operations", *WIRES]
    ports = {name: port + offset if port else 0 for offset, name in enumerate(names)}
    wires = (f'  {name}: {{listen: "127.0.0.1:{ports[name]}"}}' for name in ("dips", *WIRES))
    (directory / "wherry.yaml").write_text(
        CONFIG.format(
            wires="\n".join(wires),
            rest=ports["rest"],
            operations=ports["operations"],
            vo=VO,
            login=login,
            client_id=CLIENT_ID,
            callback=CALLBACK_PATH,
        )
    )


async def _make_database(database: Path) -> None:
    """Fill a new database, unless an earlier demo left a whole one."""
    if not _filled(database):
        databases = open_databases(f"sqlite:///{database}", create=True)
        await fill(databases)
        await databases.dispose()


def _filled(database: Path) -> bool:
    """Whether an earlier demo left a whole database here; what is left of a broken one is removed."""
    try:
        with sqlite3.connect(database) as connection:
            connection.execute("SELECT * FROM wherry_version")  # an older program's has none
            if connection.execute("SELECT count(*) FROM tq_Jobs").fetchone()[0]:
                return True
    except sqlite3.Error:
        pass
    for leftover in database.parent.glob(f"{database.name}*"):
        leftover.unlink()
    return False


def _client_cfg(directory: Path) -> Path:
    return directory / "client.cfg"


def _write_client_cfg(directory: Path, up: Serving) -> None:
    """The DIRAC configuration that clients need."""
    cfg = CfgSection()
    cfg.set("DIRAC/Setup", "Demo")
    cfg.set("DIRAC/VirtualOrganization", VO)
    cfg.set("DIRAC/Configuration/Servers", up.addresses.service("Configuration/Server"))
    cfg.set("DIRAC/Security/UseServerCertificate", "no")
    _client_cfg(directory).write_text(cfg.to_text())


def _write_grid(directory: Path, credentials: GridCredentials, up: Serving, login: str) -> None:
    """demo.json, which names everything.

    It comes last, whole, and says by being there that the grid is ready and the demo's own calls are over.
    """
    assert up.old is not None
    grid = {
        "urls": {name: up.addresses.service(name) for name in up.old.services.catalogue},
        **{name: up.addresses.wire(name) for name in WIRES},
        "rest": up.addresses.rest,
        "login": login,
        "metrics": f"{up.addresses.operations}/metrics",
        "ca_path": str(credentials.ca_path),
        "dirac_cfg": str(_client_cfg(directory)),
        "plan": str(directory / "plan.yaml"),
        "config": str(directory / "wherry.yaml"),
        "certificates": {
            user: {"certificate": str(certificate), "key": str(key)}
            for user, (certificate, key) in credentials.users.items()
        },
        "proxies": {
            user: {group: str(file) for group, file in by_group.items()}
            for user, by_group in credentials.proxies.items()
        },
        "tokens": _tokens(up),
    }
    draft = directory / ".demo.json"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(grid, file, indent=1)
    draft.replace(directory / "demo.json")


def _tokens(up: Serving) -> dict[str, dict[str, str]]:
    """An access token for every user in every group."""
    registry = up.new.registry.current
    tokens: dict[str, dict[str, str]] = {}
    for group, (members, properties) in GROUPS.items():
        for user in members:
            principal = principal_of(Identity(user, group, vo=VO, properties=properties), registry)
            assert principal is not None
            tokens.setdefault(user, {})[group] = up.new.issuer.mint(principal).text
    return tokens


def _tell(directory: Path, up: Serving, login: str, say: Say) -> None:
    say(f"  old clients   {up.addresses.service(SERVICE)}")
    say(f"  new clients   {up.addresses.rest}/api/openapi.json")
    say(f"  login page    {login} (anybody can be anybody: no passwords)")
    say(f"  metrics       {up.addresses.operations}/metrics")
    say(f"  plan          {directory / 'plan.yaml'}")
    say(f"  log           {directory / 'wherry.log'}")
    say(f"  everything    {directory / 'demo.json'}")
    say("An unmodified DIRAC client needs only:")
    say(f"  export DIRACSYSCONFIG={_client_cfg(directory)}")
    say(f"  export X509_CERT_DIR={(directory / 'pki/ca')}")
    say(f"  export X509_USER_PROXY={(directory / 'pki/proxies/alice.demo_admin.pem')}")
    say("An unmodified DiracX client needs only:")
    say(f"  export DIRACX_URL={up.addresses.rest}")
    say(f"  dirac login {VO}")


async def _cross(
    directory: Path, credentials: GridCredentials, up: Serving, seen: deque[FinishedCall], say: Say
) -> bool:
    """Call, switch the plan, call again; says what came from where, and whether it was equal."""
    assert up.old is not None
    endpoint = Endpoint.parse(up.addresses.service(SERVICE))
    tls = client_tls(credentials.proxies["alice"]["demo_admin"], credentials.ca_path)
    say(f"The crossing of {METHOD}:")

    async def call(state: str) -> dict[str, Any]:
        answer = await call_service(endpoint, METHOD, [], tls)
        finished = seen[-1]
        total = answer.get("Value", {}).get("Total", {})
        say(
            f"  plan says {state:6} -> answered by the {finished.answered.route} side in"
            f" {finished.seconds * 1000:.1f} ms: {sum(total.values())} pilots at"
            f" {len(answer.get('Value', {})) - 1} computing elements"
        )
        return answer

    before = await call("legacy")
    (directory / "plan.yaml").write_text(PLAN.format(method=METHOD, state="live"))
    await _in_force(up)
    after = await call("live")
    routes = [finished.answered.route for finished in seen]
    equal = before == after and bool(before.get("OK")) and routes == ["native", "rest"]
    say("  The answers are equal." if equal else f"  THE ANSWERS DIFFER: {before} {after} ({routes})")
    return equal


async def _in_force(up: Serving) -> None:
    """Wait until the edited plan is the one in force.  Raises ConfigError when it does not come to be."""
    assert up.old is not None
    plan = up.old.plan
    try:
        async with asyncio.timeout(TAKES_EFFECT_SECONDS):
            while plan.current.entry(SERVICE, METHOD).state != "live":  # noqa: ASYNC110 - as users see it
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise ConfigError(
            f"{plan.path} was edited and did not take effect within {TAKES_EFFECT_SECONDS:g} s: {plan.error}"
        ) from error
