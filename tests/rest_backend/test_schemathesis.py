"""schemathesis asks for everything that our own OpenAPI document allows, and for much that it does not.

All of its checks, on every operation: a minute with the tests, ten at night (``make schemathesis``).  Where a
check is wrong about an API that is DiracX's, it is told so: by operation here, by rule in
``tests/support/schemathesis_hooks.py``, each with its reason.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rest_backend.app import make_app
from rest_backend.http.listener import ConnectionLimits, listening_at
from rest_backend.openapi import openapi_document
from rest_backend.table import OPERATIONS

SECONDS = int(os.environ.get("WHERRY_SCHEMATHESIS_SECONDS", "60"))
SEED = os.environ.get("WHERRY_SCHEMATHESIS_SEED", "20261122")
HOOKS = Path(__file__).parents[1] / "support/schemathesis_hooks.py"
# Its report names each failure with a curl command; more than these are the same ones again.
LAST_CHARACTERS = 12_000

# What fits the document may be refused for what is (not) in the database: an unknown column, VO, page.
REFUSED = ("2xx", "3xx", "400", "401", "403", "404", "409", "416", "429")
# What does not fit it is refused thus; 413: more items than are allowed are too many bytes, too.
NEGATIVE = ("400", "401", "403", "404", "405", "409", "413", "415", "422")
# What fits may be refused with 422 for rules that no schema tells: by operation, which.
RULES: Mapping[str, str] = {
    "auth_get_oidc_token": "each kind of grant has fields of its own",
    "auth_perform_secret_exchange": "a vacuum pilot needs fields that others need not",
    "auth_revoke_refresh_token_by_refresh_token": "the token is in the form or in the query",
    "pilots_add_jobs_to_pilot": "either pilot_stamp or pilot_id",
    "pilots_update_legacy_pilots": "at least one field",
    "pilots_add_legacy_pilots": "either vo or owner_group",
    "pilots_kill_pilots": "pilot_ids or pilot_stamps",
    "pilots_register_pilots": "a stamp may be named once",
    "pilots_store_pilot_output": "one of three names of a pilot",
}


def configuration() -> str:
    """schemathesis' own configuration: what the checks are told that the document cannot say."""
    lines = [f'hooks = "{HOOKS}"']
    lines += ["[checks.positive_data_acceptance]", f"expected-statuses = {list(REFUSED)!r}"]
    lines += ["[checks.negative_data_rejection]", f"expected-statuses = {list(NEGATIVE)!r}"]
    for name in RULES:
        lines += ["[[operations]]", f'include-operation-id = "{name}"']
        lines += [f"checks.positive_data_acceptance.expected-statuses = {[*REFUSED, '422']!r}"]
    return "\n".join(lines)


def test_exceptions_are_of_operations() -> None:
    """Every exception is of an operation that there is."""
    document = openapi_document(OPERATIONS, "0")
    named = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert RULES.keys() <= named


async def test_the_document_is_true(make_grid, tmp_path) -> None:
    """No answer is a 500, none has a status, a type, headers or a body that the document does not list.

    What fits the document is accepted, and what does not is refused.
    """
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program is not None, "schemathesis is not installed: install the extra `test`"
    config = tmp_path / "schemathesis.toml"
    config.write_text(configuration())
    listening = socket.create_server(("127.0.0.1", 0))
    async with make_grid() as grid:
        app = make_app(grid.runner, routes=grid.sandboxes.routes)
        async with listening_at(app, listening, ConnectionLimits(), drain_seconds=1):
            process = await asyncio.create_subprocess_exec(
                program,
                "--config-file",
                str(config),
                "run",
                f"http://127.0.0.1:{listening.getsockname()[1]}/api/openapi.json",
                *("--checks", "all", "--max-time", str(SECONDS), "--seed", SEED, "--no-color"),
                *("--header", f"Authorization: Bearer {grid.token('admin')}"),
                *("--continue-on-failure", "--warnings", "off", "--request-timeout", "30"),
                cwd=tmp_path,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await process.communicate()
    said = output.decode(errors="replace")
    if process.returncode:
        pytest.fail(said[-LAST_CHARACTERS:], pytrace=False)
    assert "Test cases" in said, said
