"""The demo grid as a newcomer starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from wherry.demo.grid import WIRES

DEMO = (sys.executable, "-m", "wherry", "demo")


def run_once(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A whole demo that exits after the crossing."""
    return subprocess.run(
        [*DEMO, "--dir", str(directory), "--once", *options], capture_output=True, text=True, timeout=90
    )


def test_once_and_again(tmp_path: Path) -> None:
    """The crossing shows both routes and equal answers; a later run takes up the same grid."""
    first = run_once(tmp_path / "grid")
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    for line in (
        "plan says legacy -> answered by the native side",
        "plan says live   -> answered by the rest side",
        "The answers are equal.",
        "Stopped; nothing is left running.",
    ):
        assert line in first.stdout
    authority = next((tmp_path / "grid/pki/ca").glob("*.0")).read_bytes()
    second = run_once(tmp_path / "grid")
    assert second.returncode == 0
    assert next((tmp_path / "grid/pki/ca").glob("*.0")).read_bytes() == authority


def test_broken_leftovers_are_made_anew(tmp_path: Path) -> None:
    """A database or certificate that an interrupted demo left broken does no harm."""
    directory = tmp_path / "grid"
    assert run_once(directory).returncode == 0
    (directory / "wherry.db").write_bytes(b"garbage")
    (directory / "pki/hostcert.pem").write_text("garbage")
    run = run_once(directory)
    assert run.returncode == 0, run.stderr


def free_ports(count: int) -> int:
    """The first of some free consecutive ports, for the moment."""
    for first in range(23000, 60000, 17):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def test_demo_json_fixed_ports_and_ctrl_c(tmp_path: Path) -> None:
    """--port fixes the ports; demo.json names every listener and file; Ctrl-C leaves nothing running."""
    port = free_ports(8)
    process = subprocess.Popen(
        [*DEMO, "--dir", str(tmp_path), "--port", str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        grid_file = tmp_path / "demo.json"
        deadline = time.monotonic() + 60
        while not grid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        grid = json.loads(grid_file.read_text())
        assert grid_file.stat().st_mode & 0o777 == 0o600
        assert grid["urls"]["WorkloadManagement/PilotManager"] == (
            f"dips://localhost:{port}/WorkloadManagement/PilotManager"
        )
        assert "Configuration/Server" in grid["urls"]
        assert grid["rest"] == f"http://localhost:{port + 1}"
        assert grid["metrics"] == f"http://127.0.0.1:{port + 2}/metrics"
        last = port + 3 + len(WIRES)
        assert grid["login"] == f"http://localhost:{last}"
        with urllib.request.urlopen(f"{grid['login']}/.well-known/openid-configuration") as answer:
            assert json.load(answer)["issuer"] == grid["login"]
        for name in ("ca_path", "dirac_cfg", "plan", "config"):
            assert Path(grid[name]).exists()
        assert set(grid["proxies"]) == set(grid["tokens"]) == {"alice", "bob", "pilot"}
        assert set(grid["proxies"]["alice"]) == {"demo_user", "demo_admin"}
        assert all(Path(file).exists() for groups in grid["proxies"].values() for file in groups.values())
        other = subprocess.run([*DEMO, "--dir", str(tmp_path)], capture_output=True, text=True, timeout=60)
        assert other.returncode == 2
        assert "another demo runs here" in other.stderr
        taken = run_once(tmp_path / "other", "--port", str(port))
        assert taken.returncode == 2
        assert f"cannot listen on 127.0.0.1:{last} (Address already in use): choose another" in taken.stderr
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.rstrip().endswith("Stopped; nothing is left running.")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
