"""The command line, as it is typed: output, exit codes, one-line errors."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
import pytest

from .conftest import Grid

ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"
BOB = "/DC=org/DC=wherry/OU=people/CN=bob"


@dataclass
class Run:
    """What a command did."""

    code: int
    out: str
    err: str


async def wherry(*arguments: str, **environment: str) -> Run:
    """Run a command to its end, while this loop goes on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "wherry",
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Run(process.returncode, out.decode(), err.decode())


def one_line(run: Run) -> str:
    """The error of a failed command: one line."""
    lines = run.err.splitlines()
    assert len(lines) == 1, run.err
    assert lines[0].startswith("wherry: ")
    return lines[0].removeprefix("wherry: ")


async def test_help() -> None:
    """Every command explains itself."""
    top = await wherry("--help")
    assert top.code == 0
    for command in ("serve", "demo", "plan", "db", "explain", "call", "keys", "token"):
        assert command in top.out
    for command in (
        ["serve"],
        ["demo"],
        ["plan"],
        ["plan", "check"],
        ["plan", "show"],
        ["db", "init"],
        ["db", "check"],
        ["db", "upgrade"],
        ["explain"],
        ["call"],
    ):
        run = await wherry(*command, "--help")
        assert (run.code, run.out[:6]) == (0, "Usage:")


async def test_serve_with_a_wrong_configuration(directory: Path) -> None:
    """`wherry serve` says what is wrong in one line, and exits with 2."""
    config = directory / "wherry.yaml"
    good = config.read_text()
    port = "127.0.0.1:0"
    cases = {
        good + "regstry: x\n": "`regstry` is not known: did you mean `registry`?",
        good.replace("registry: registry.cfg", "registry: nowhere.cfg"): "nowhere.cfg cannot be read",
        good.replace("plan: plan.yaml", "plan: nowhere.yaml"): "nowhere.yaml cannot be read",
        good.replace("hostkey.pem", "alicekey.pem"): "`tls`:",
        good.replace(f'rest: {{listen: "{port}"}}', 'rest: {listen: "203.0.113.1:1"}'): "`rest.listen`:",
        good.replace("sqlite:///", "oracle://"): "oracle: cannot be used: write sqlite:///PATH",
    }
    for text, message in cases.items():
        config.write_text(text)
        run = await wherry("serve", "-c", str(config))
        assert run.code == 2, text
        assert message in one_line(run)
    config.write_text(good)
    (directory / "plan.yaml").write_text("plan: 1\nservices: {x: {state: live}}\n")
    run = await wherry("serve", "-c", str(config))
    assert (run.code, "line 2: unknown service 'x'" in one_line(run)) == (2, True)
    (directory / "keys.json").write_text("{}")
    (directory / "plan.yaml").write_text("plan: 1\n")
    run = await wherry("serve", "-c", str(config))
    assert (run.code, "no usable private JWKS" in one_line(run)) == (2, True)


async def test_serve_until_a_signal(directory: Path) -> None:
    """`wherry serve` logs that it is ready, and ends in order on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry", "serve", "-c", str(directory / "wherry.yaml"), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stderr.readline(), 30))
        assert ready["event"] == "ready"
        assert ready["dips"] > 0
        process.terminate()
        rest = await asyncio.wait_for(process.stderr.read(), 30)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b'"event":"stopping"' in rest
    with pytest.raises(OSError, match="111|refused"):
        await asyncio.open_connection("127.0.0.1", ready["dips"])


async def test_new_side_alone(directory: Path) -> None:
    """Without `legacy:` the REST side, metrics and health are served; a missing database is told at once."""
    config = directory / "wherry.yaml"
    kept = [
        line for line in config.read_text().splitlines() if not line.startswith(("legacy", "plan", "tls"))
    ]
    config.write_text("\n".join(kept))
    (directory / "wherry.db").unlink()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wherry", "serve", "-c", str(config), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    first = json.loads(await asyncio.wait_for(process.stderr.readline(), 30))
    assert "unable to open database file" in first["event"]
    assert first["level"] == "error"
    ready = json.loads(await asyncio.wait_for(process.stderr.readline(), 30))
    assert ready["event"] == "ready"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{ready['rest']}/.well-known/jwks.json") as response:
            assert response.status == 200
        async with session.get(f"{ready['operations']}/metrics") as response:
            assert response.status == 200
            text = await response.text()
            assert 'operation=".well-known_get_jwks",status="200"} 1.0' in text
            assert "wherry_calls" not in text
        async with session.get(f"{ready['operations']}/health/ready") as response:
            assert response.status == 503
    process.terminate()
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def test_db_init(directory: Path) -> None:
    """Tables are made in a new file; a second time nothing is changed; a path that cannot be is named."""
    config = directory / "wherry.yaml"
    (directory / "wherry.db").unlink()
    logical = (
        "JobDB",
        "JobLoggingDB",
        "PilotAgentsDB",
        "TaskQueueDB",
        "SandboxMetadataDB",
        "ProxyDB",
        "ResourceStatusDB",
    )
    for found, own in (("made", "from nothing to version"), ("is there", "is at version")):
        run = await wherry("db", "init", "-c", str(config))
        assert (run.code, run.err) == (0, "")
        lines = [*(f"{name}: {found}" for name in logical), f"WherryDB: {own} 0004"]
        assert run.out.splitlines() == lines
    tables = sqlite3.connect(directory / "wherry.db").execute("SELECT name FROM sqlite_master").fetchall()
    assert {("Jobs",), ("PilotAgents",), ("LoggingInfo",), ("tq_Jobs",), ("wherry_leases",)} <= set(tables)
    config.write_text(config.read_text().replace("wherry.db", "nowhere/wherry.db"))
    run = await wherry("db", "init", "-c", str(config))
    assert (run.code, "unable to open database file" in one_line(run)) == (2, True)


async def test_plan_check(directory: Path) -> None:
    """A good plan is 0; a broken one is 1, with line and mend."""
    config = ("-c", str(directory / "wherry.yaml"))
    run = await wherry("plan", "check", *config)
    assert (run.code, "good; generation" in run.out) == (0, True)
    broken = directory / "broken.yaml"
    broken.write_text("plan: 1\nservices:\n  WorkloadManagement/JobManager: {state: alive}\n")
    run = await wherry("plan", "check", str(broken))
    assert run.code == 1
    assert one_line(run) == f"{broken}, line 3: unknown state 'alive': did you mean 'live'?"


async def test_plan_show(directory: Path) -> None:
    """Every method is shown with its state and where that stands."""
    (directory / "plan.yaml").write_text(
        "plan: 1\nservices:\n  WorkloadManagement/JobManager: {state: live, because: tried}\n"
    )
    run = await wherry("plan", "show", "-c", str(directory / "wherry.yaml"))
    assert run.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in run.out.splitlines()}
    assert lines["killJob"] == ["live", "line", "3", "(tried)"]
    assert lines["getPilotInfo"] == ["legacy", "default"]
    assert lines["getVersion"] == ["legacy", "default", "no", "adaptor"]


async def test_explain(directory: Path) -> None:
    """Where a call would go, for a VO, a group or a DN; what is not there is named."""
    (directory / "plan.yaml").write_text(
        "plan: 1\nservices:\n  WorkloadManagement/JobManager: {state: live}\n"
    )
    config = ("-c", str(directory / "wherry.yaml"))
    run = await wherry("explain", "killJob", "--vo", "demo", *config)
    assert run.out.splitlines() == [
        "method: WorkloadManagement/JobManager.killJob",
        "caller: any member in group demo_user, VO demo",
        "route: rest",
        f"reason: live ({directory / 'plan.yaml'}, line 3)",
    ]
    run = await wherry(
        "explain", "PilotManager.getPilotInfo", "--dn", ALICE, "--group", "demo_admin", *config
    )
    assert run.out.splitlines()[1:] == [
        "caller: alice in group demo_admin, VO demo",
        "route: native",
        "reason: default",
    ]
    run = await wherry("explain", "WorkloadManagement/PilotManager.getPilotInfo", "--dn", BOB, *config)
    assert run.out.splitlines()[2] == "route: refused (needs one of the properties Operator)"
    wrong = {
        ("getPilotInf", "--vo", "demo"): "unknown method 'getPilotInf': did you mean 'getPilotInfo'?",
        ("killJob",): "say who calls: --dn, --group or --vo",
        ("ping", "--vo", "demo"): "ping is about the service itself: it is always answered natively",
        ("killJob", "--vo", "x", "--group", "demo_user"): (
            "group 'demo_user' is not in VO 'x': leave out one of --group and --vo"
        ),
        ("killJob", "--vo", "x"): "unknown VO 'x': known are demo",
        ("killJob", "--group", "x"): "unknown group 'x': known are demo_user, demo_admin, demo_pilot",
        ("killJob", "--dn", "/CN=x"): "no user has the DN /CN=x: look into the registry",
        ("killJob", "--dn", BOB, "--group", "demo_admin"): f"the user of {BOB} is not in group 'demo_admin'",
    }
    for arguments, message in wrong.items():
        run = await wherry("explain", *arguments, *config)
        assert (run.code, one_line(run)) == (2, message)


async def test_token(directory: Path) -> None:
    """A token for a user of the registry, good for this installation's REST side."""
    config = ("-c", str(directory / "wherry.yaml"))
    run = await wherry("token", "alice", "--group", "demo_admin", *config)
    assert run.code == 0
    claims = jwt.decode(run.out.strip(), options={"verify_signature": False})
    assert claims["preferred_username"] == "alice"
    assert claims["dirac_group"] == "demo_admin"
    assert claims["iss"] == "https://test.invalid/"
    assert (directory / "keys.json").stat().st_mode & 0o777 == 0o600
    run = await wherry("token", "bob", "--group", "demo_admin", *config)
    assert (run.code, one_line(run)) == (
        2,
        "bob is not in group 'demo_admin': name one of demo_user with --group",
    )
    run = await wherry("token", "carol", *config)
    assert one_line(run) == "unknown user 'carol': known are alice, bob, pilot"


async def test_keys_rotate(directory: Path) -> None:
    """A new key signs, the old ones verify; with `--forget` only the last of them."""
    config = ("-c", str(directory / "wherry.yaml"))

    async def kid_of_a_token() -> str:
        run = await wherry("token", "alice", *config)
        return str(jwt.get_unverified_header(run.out.strip())["kid"])

    first = await kid_of_a_token()
    run = await wherry("keys", "rotate", *config)
    assert run.code == 0
    second = await kid_of_a_token()
    assert run.out.splitlines() == [f"{second} Ed25519 signs", f"{first} Ed25519 verifies"]
    run = await wherry("keys", "rotate", "--forget", *config)
    third = await kid_of_a_token()
    assert run.out.splitlines() == [f"{third} Ed25519 signs", f"{second} Ed25519 verifies"]
    (directory / "keys.json").write_text("{}")
    run = await wherry("keys", "rotate", *config)
    assert run.code == 2
    assert "keys.json" in one_line(run)


async def test_call(grid: Grid) -> None:
    """A legacy call from the shell prints JSON; S_ERROR is 1, no answer is 2."""
    url = f"dips://localhost:{grid.up.addresses.wires['dips']}"
    access = {
        "X509_USER_PROXY": str(grid.credentials.proxies["alice"]["demo_admin"]),
        "X509_CERT_DIR": str(grid.credentials.ca_path),
    }
    monitoring, pilots = "WorkloadManagement/JobMonitoring", "WorkloadManagement/PilotManager"
    run = await wherry("call", monitoring, "getJobsStatus", "[1, 2]", "--url", url, **access)
    assert run.code == 0
    assert json.loads(run.out) == {
        "OK": True,
        "Value": {"1": {"Status": "Received"}, "2": {"Status": "Checking"}},
    }
    whole = f"{url}/{pilots}"
    run = await wherry(
        "call", pilots, "getPilotInfo", "zz", "--url", whole, "--encoding", "dencode", **access
    )
    assert run.code == 1
    assert json.loads(run.out)["Errno"] == 1550
    run = await wherry("call", pilots, "ping", "--url", url, **access)
    assert "time" in json.loads(run.out)["Value"]
    wrong = {
        ("ping", "--url", "http://x"): "a service's URL has the form dips://HOST:PORT/System/Component",
        ("ping", "--url", "dips://localhost:1"): "cannot be called",
        ("ping", "[1", "--url", url): "is no JSON",
        ("ping", "--url", url, "--proxy", "/nowhere"): "no usable proxy",
        ("ping", "--url", url, "--ca-path", "/nowhere"): "no CA directory",
        ("ping", "--url", url, "--token", "x"): "is for https:// only",
    }
    for arguments, message in wrong.items():
        run = await wherry("call", pilots, *arguments, **access)
        assert run.code == 2, arguments
        assert message in one_line(run)
    bob = {**access, "X509_USER_PROXY": str(grid.credentials.proxies["bob"]["demo_user"])}
    run = await wherry("call", pilots, "getPilotInfo", "x", "--url", url, **bob)
    assert (run.code, json.loads(run.out)["Errno"]) == (1, 1111)
