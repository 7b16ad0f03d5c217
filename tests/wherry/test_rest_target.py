"""Live methods on another backend: what our own has, and what the check of a plan says."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from adaptor.methods.catalogue import ADAPTORS
from adaptor.routes import Offered, uses_of
from rest_backend.openapi import openapi_document
from rest_backend.table import OPERATIONS
from wherry.cli import cli

EXCHANGE_KEY = "diracx:legacy:" + base64.urlsafe_b64encode(b"a key of the tests").decode()
DIRACX_PATHS = {
    "/api/jobs/search": {"post": {}},
    "/api/jobs/status": {"patch": {}},
    "/api/pilots/search": {"post": {}},
}


def test_our_own_backend_has_every_route() -> None:
    """Whatever an adaptor may ask for is an operation of ours."""
    offered = Offered.of_openapi(openapi_document(OPERATIONS, "test"))
    wanted = {route for adaptor in ADAPTORS.values() for route in uses_of(adaptor).routes}
    assert [str(route) for route in wanted if offered.find(route.method, route.path) is None] == []


def test_submissions_can_be_repeated() -> None:
    """What makes something with us takes a key, so that it is sent again when its connection broke."""
    offered = Offered.of_openapi(openapi_document(OPERATIONS, "test"))
    for path in ("/api/jobs/jdl", "/api/pilots/", "/api/pilots/legacy"):
        assert offered.takes_key("POST", path)
    assert not offered.takes_key("POST", "/api/jobs/search")


@dataclass
class Documented:
    """A server with nothing but an OpenAPI document; ``asked`` are the paths of its requests."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def documented() -> Iterator[Documented]:
    """A target with some of DiracX's routes."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"paths": DIRACX_PATHS}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Documented(f"http://127.0.0.1:{server.server_port}", asked)
        server.shutdown()
        thread.join()


PLAN = """\
plan: 1
services:
  WorkloadManagement/JobManager:
    methods:
      killJob: {state: live}
  WorkloadManagement/WMSAdministrator:
    methods:
      getSiteMask: {state: live}
      banSite: {state: legacy}
"""


def check_plan(directory: Path, url: str, *arguments: str) -> tuple[int, str]:
    """The exit code of `wherry plan check`, and what it prints, for live methods on a target."""
    text = (directory / "wherry.yaml").read_text()
    line = 'rest: {listen: "127.0.0.1:0"}'
    assert line in text
    text = text.replace(line, f'rest: {{target: "{url}", exchange_key: "{EXCHANGE_KEY}"}}')
    (directory / "wherry.yaml").write_text(text)
    (directory / "plan.yaml").write_text(PLAN)
    result = CliRunner().invoke(cli, ["plan", "check", *arguments, "-c", str(directory / "wherry.yaml")])
    return result.exit_code, result.output


def test_plan_check(directory: Path, documented: Documented) -> None:
    """`wherry plan check` asks the target for its routes, and names live methods that need others."""
    code, output = check_plan(directory, documented.url)
    assert code == 1
    first, line = output.splitlines()
    assert "good" in first
    assert line == (
        f"line 8: getSiteMask of WorkloadManagement/WMSAdministrator stays on the old side: "
        f"{documented.url} has no GET /api/site-mask/"
    )
    assert documented.asked == ["/api/openapi.json"]


def test_plan_check_of_a_file(directory: Path, documented: Documented) -> None:
    """A plan that is not in force yet is checked against the target of a named configuration."""
    new = directory / "new.yaml"
    new.write_text(PLAN.replace("getSiteMask: {state: live}", "getSiteMask: {state: legacy}"))
    code, output = check_plan(directory, documented.url, str(new))
    assert (code, output.splitlines()[1:]) == (0, [])
    assert documented.asked


def test_plan_check_of_a_target_that_is_away(directory: Path, unused_tcp_port: int) -> None:
    """A target that cannot be asked is an error of one line."""
    code, output = check_plan(directory, f"http://127.0.0.1:{unused_tcp_port}")
    assert code == 2
    assert f"wherry: `rest.target`: http://127.0.0.1:{unused_tcp_port} cannot be reached" in output
    assert EXCHANGE_KEY not in output
