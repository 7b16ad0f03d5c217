"""schemathesis asks for everything that our own OpenAPI document allows, and for much that it does not.

A minute with the tests, ten at night (``make schemathesis``).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from rest_backend.openapi import openapi_document
from rest_backend.table import OPERATIONS

SECONDS = int(os.environ.get("WHERRY_SCHEMATHESIS_SECONDS", "60"))
SEED = os.environ.get("WHERRY_SCHEMATHESIS_SEED", "20261122")
# Its report names each failure with a curl command; more than these are the same ones again.
LAST_CHARACTERS = 12_000

# What fits the document may be refused for what is (not) in the database: an unknown column, VO, page.
REFUSED = ("2xx", "3xx", "400", "401", "403", "404", "409", "416", "429")
# And for rules that no schema tells: by operation, which.
RULES = {
    **{each.name: "a key that was used for another request" for each in OPERATIONS if each.creates},
    "auth_get_oidc_token": "each kind of grant has fields of its own",
    "auth_perform_secret_exchange": "a vacuum pilot needs fields that others need not",
    "auth_revoke_refresh_token_by_refresh_token": "the token is in the form or in the query",
    "pilots_update_legacy_pilots": "pilots by one of their names",
    "pilots_add_legacy_pilots": "either vo or owner_group",
    "pilots_kill_pilots": "pilot_ids or pilot_stamps",
    "pilots_register_pilots": "a stamp may be named once",
    "pilots_store_pilot_output": "one of three names of a pilot",
}
# Checks that take for a fault what is none: numbers may be written as texts or as true and false, as at
# DiracX; a request about a pilot is not about the one just made; a path may also fit one with braces.
UNFIT = ("negative_data_rejection", "ensure_resource_availability", "allow_header_conformance")
# How much is found by these depends on how much time there is: at night only.
NIGHTLY = ("positive_data_acceptance", "content_type_conformance")


def configuration() -> str:
    """schemathesis' own configuration: what the checks are told that the document cannot say."""
    lines = ["[checks.positive_data_acceptance]", f"expected-statuses = {list(REFUSED)!r}"]
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
    """No answer is a 500, none has a status, a type, headers or a body that the document does not list."""
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program is not None, "schemathesis is not installed: install the extra `test`"
    without = UNFIT if SECONDS > 60 else (*UNFIT, *NIGHTLY)
    config = tmp_path / "schemathesis.toml"
    config.write_text(configuration())
    async with make_grid() as grid:
        process = await asyncio.create_subprocess_exec(
            program,
            "--config-file",
            str(config),
            "run",
            str(grid.client.make_url("/api/openapi.json")),
            *(
                "--checks",
                "all",
                "--exclude-checks",
                ",".join(without),
                "--max-time",
                str(SECONDS),
                "--seed",
                SEED,
                "--no-color",
            ),
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
