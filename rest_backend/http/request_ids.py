"""Ids by which a request is found again: in its answer, in the log, and at the client."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

REQUEST_ID_HEADER = "X-Request-ID"
# DiracX's clients send the first; balancers in front of us the second.
_GIVEN = ("x-ms-client-request-id", REQUEST_ID_HEADER)
_SANE = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")


def request_id_of(headers: Mapping[str, str]) -> str:
    """The id that came with a request if it is safe to repeat, else a new one."""
    for name in _GIVEN:
        given = headers.get(name)
        if given is not None and _SANE.fullmatch(given):
            return given
    return secrets.token_hex(16)
