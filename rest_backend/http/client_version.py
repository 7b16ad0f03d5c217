"""``DiracX-Client-Version``: clients that are too old are told so (rest-diracx.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from rest_backend.errors import RestError

VERSION_HEADER = "DiracX-Client-Version"
# A version is short; of longer ones no more is parsed and remembered.
_LONGEST = 100
# Clients before it take 200 for what was made, and call 201 a failure.
_FIRST_WITH_CREATED = Version("0.4.0")


def check_client_version(headers: Mapping[str, str], oldest: str) -> None:
    """Refuse clients older than ``oldest``; those that do not say are welcome.  Raises RestError 400."""
    given = headers.get(VERSION_HEADER)
    if given is None:
        return
    problem = _problem(given[:_LONGEST], oldest)
    if problem:
        raise RestError(400, problem)


def status_for(headers: Mapping[str, str], status: int) -> int:
    """The status as the client knows it; its version was checked before."""
    given = headers.get(VERSION_HEADER)
    if status != 201 or given is None or Version(given[:_LONGEST]) >= _FIRST_WITH_CREATED:
        return status
    return 200


@lru_cache(maxsize=256)
def _problem(given: str, oldest: str) -> str:
    try:
        version = Version(given)
    except InvalidVersion:
        return f"Invalid version string: '{given}'"
    if version >= Version(oldest):
        return ""
    return f"Client version {given} is not compatible with the server. Upgrade to a version >= {oldest}."
