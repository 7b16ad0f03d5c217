"""``ETag``, ``If-None-Match`` and ``If-Modified-Since`` as DiracX means them (rest-diracx.md, section 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from rest_backend.messages import Answer

_QUOTED = re.compile(r'(?:W/)?"([^"]*)"')


def conditional(
    request_headers: Mapping[str, str],
    body: Any,
    etag: str,
    modified: datetime,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """200 with the body, or 304 without one for a client that has it already.

    ``request_headers`` have names in lower case.  ``etag`` is sent without quotes, as DiracX's clients send
    it back; ``modified`` is aware.
    """
    told = {**(headers or {}), **validators(etag, modified)}
    return Answer(None, 304, told) if is_known(request_headers, etag, modified) else Answer(body, 200, told)


def validators(etag: str, modified: datetime) -> Mapping[str, str]:
    """The headers by which a client asks again."""
    return {"ETag": etag, "Last-Modified": format_datetime(modified.astimezone(UTC), usegmt=True)}


def is_known(request_headers: Mapping[str, str], etag: str, modified: datetime) -> bool:
    """Whether a client says that it has this version.

    Either its tag is this one's, or its time is *later* than this one's: equal is not enough, since what was
    changed twice in a second has one time.  A time that cannot be read says nothing.
    """
    if has_tag(request_headers.get("if-none-match", ""), etag):
        return True
    since = _moment(request_headers.get("if-modified-since", ""))
    return since is not None and since > modified


def has_tag(if_none_match: str, etag: str) -> bool:
    """Whether a header names a tag: bare, quoted, weak, one of several, or ``*`` for any."""
    given = if_none_match.strip()
    if not given:
        return False
    if given in ("*", etag):
        return True
    return etag in _QUOTED.findall(given) or etag in (each.strip() for each in given.split(","))


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
